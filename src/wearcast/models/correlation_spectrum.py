"""Auto-correlation of series that are not padded, from their spectra, as one step of training.

The discrete Fourier transform runs along time and the projections along channels, so either may come first: a series
is transformed once, projected to queries, keys and values there, joined, projected back and transformed once more. By
the Wiener-Khinchin theorem the correlation is a product of spectra (Wu et al. 2021, equation 5), and by the shift
theorem so is the weighted sum of rolled values (equation 6): the spectrum of the values times that of the weights, laid
out by delay. The transform is a product with a constant matrix, exact for any length and, up to some hundreds of steps,
faster than a fast one over so many short series. Forward and backward pass are written out: each is a chain of
products whose parts autograd would copy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["LONGEST", "Projections", "Waves", "correlated"]

LONGEST = 1024
"""Steps up to which a product with a matrix is taken for the transform."""

Choose = Callable[[Tensor], Tensor]


class Waves(NamedTuple):
    """The real Fourier transform of `length` steps as matrices; cosines first, then sines."""

    spectrum: Tensor
    """`(2 · (length // 2 + 1), length)`: steps to spectrum."""
    steps: Tensor
    """`(length, 2 · (length // 2 + 1))`: spectrum to steps."""

    @classmethod
    def of(cls, length: int) -> Waves:
        """For series of one length."""
        frequency = torch.arange(length // 2 + 1, dtype=torch.float64)
        turn = 2 * math.pi / length * (torch.outer(frequency, torch.arange(length, dtype=torch.float64)) % length)
        both = torch.cat([torch.cos(turn), -torch.sin(turn)])
        alone = (frequency == 0) | (2 * frequency == length)
        share = torch.where(alone, 1.0, 2.0).repeat(2) / length
        return cls(both.float(), (both.T * share).float())


class Projections(NamedTuple):
    """Weights and biases, as `torch.nn.Linear` holds them."""

    query: Tensor
    query_bias: Tensor
    key_value: Tensor
    key_value_bias: Tensor
    output: Tensor
    output_bias: Tensor


def correlated(
    series: Tensor, other: Tensor | None, maps: Projections, waves: Waves, n_heads: int, choose: Choose
) -> Tensor:
    """Join a series with itself or another by the delays at which they are alike.

    Args:
        series: queries, `(batch, length, d_model)`.
        other: keys and values, `(batch, any, d_model)`; cut or filled up with zeros at its start. None for `series`.
        maps: see there.
        waves: of `length`.
        n_heads: each with delays of its own.
        choose: likeness of each delay, `(batch, heads, length)`, to the best delays, `(batch, heads, delays)`.
    """
    if other is not None and other.shape[1] > series.shape[1]:
        other = other[:, other.shape[1] - series.shape[1] :]
    joined: Tensor = _Correlated.apply(series, other, waves, n_heads, choose, *maps)  # type: ignore[no-untyped-call]
    return joined


class _Correlated(torch.autograd.Function):
    """`correlated`; with `F` frequencies and `d` channels the spectrum of a series is `(batch, 2 F, d)`.

    The gradient of a spectrum is by its real and imaginary parts, so it passes a product as its conjugate.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor | None, waves: Waves, n_heads: int, choose: Choose, *maps: Tensor
    ) -> Tensor:
        to = Projections(*maps)
        own, others = torch.matmul(waves.spectrum, x), None
        if y is None:
            both = _projected(own, *_merged(to), waves.spectrum)
            query, key_value = both[..., : x.shape[2]], both[..., x.shape[2] :]
        else:
            seen = waves.spectrum[:, x.shape[1] - y.shape[1] :]
            others = torch.matmul(seen, y)
            query = _projected(own, to.query, to.query_bias, waves.spectrum)
            key_value = _projected(others, to.key_value, to.key_value_bias, seen)
            ctx.n_other = y.shape[1]
        key, value = key_value.chunk(2, dim=2)
        likeness = torch.matmul(waves.steps, _product_sums(query, key, n_heads) * (n_heads / x.shape[2]))
        likeness = likeness.transpose(1, 2).contiguous()
        delay = choose(likeness)
        weight = torch.softmax(likeness.gather(2, delay), dim=2)
        by_delay = torch.zeros_like(likeness).scatter_(2, delay, weight)
        weighting = torch.matmul(waves.spectrum, by_delay.transpose(1, 2))
        pooled = _times(value, weighting, torch.empty_like(own), conjugate=True)
        out = torch.matmul(pooled.flatten(0, 1), to.output.t()).view(*own.shape[:2], -1)
        out[:, 0] += x.shape[1] * to.output_bias
        ctx.waves, ctx.n_heads = waves, n_heads
        ctx.save_for_backward(own, others, query, key_value, delay, weight, weighting, pooled, *maps)
        return torch.matmul(waves.steps, out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        own, others, query, key_value, delay, weight, weighting, pooled, *maps = ctx.saved_tensors
        to, waves = Projections(*maps), ctx.waves
        length, d = gradient.shape[1:]
        for_out = torch.matmul(waves.steps.t(), gradient)
        for_pooled, for_output = _back(for_out, to.output, pooled)
        key, value = key_value.chunk(2, dim=2)
        for_both = own.new_empty(*own.shape[:2], 3 * d)
        for_query, for_key, for_value = for_both.chunk(3, dim=2)
        _times(for_pooled, weighting, for_value)
        for_weight = torch.matmul(waves.spectrum.t(), _product_sums(value, for_pooled, ctx.n_heads))
        for_weight = for_weight.transpose(1, 2).gather(2, delay)
        for_best = weight * (for_weight - (weight * for_weight).sum(dim=2, keepdim=True))
        for_likeness = for_best.new_zeros(*delay.shape[:2], length).scatter_(2, delay, for_best)
        for_product = torch.matmul(waves.steps.t(), for_likeness.transpose(1, 2)) * (ctx.n_heads / d)
        _times(key, for_product, for_query)
        _times(query, for_product, for_key, conjugate=True)
        for_output_bias = length * for_out[:, 0].sum(dim=0)
        if others is None:
            for_own, for_into = _back(for_both, _merged(to)[0], own)
            for_bias = _for_bias(for_both, waves.spectrum)
            each = (for_into[:d], for_bias[:d], for_into[d:], for_bias[d:], for_output, for_output_bias)
            return torch.matmul(waves.spectrum.t(), for_own), None, None, None, None, *each
        seen = waves.spectrum[:, length - ctx.n_other :]
        for_own, for_query_map = _back(for_query, to.query, own)
        for_others, for_map = _back(for_both[..., d:], to.key_value, others)
        biases = _for_bias(for_query, waves.spectrum), _for_bias(for_both[..., d:], seen)
        for_x, for_y = torch.matmul(waves.spectrum.t(), for_own), torch.matmul(seen.t(), for_others)
        each = (for_query_map, biases[0], for_map, biases[1], for_output, for_output_bias)
        return for_x, for_y, None, None, None, *each


def _merged(to: Projections) -> tuple[Tensor, Tensor]:
    return torch.cat([to.query, to.key_value]), torch.cat([to.query_bias, to.key_value_bias])


def _projected(spectrum: Tensor, weight: Tensor, bias: Tensor, seen: Tensor) -> Tensor:
    """The spectrum of the projected series; `seen` is the transform, of the steps that have a bias."""
    out = torch.matmul(spectrum.flatten(0, 1), weight.t()).view(*spectrum.shape[:2], -1)
    if 2 * (seen.shape[1] // 2 + 1) == len(seen):  # a constant is all in the first frequency
        out[:, 0] += seen.shape[1] * bias
    else:
        out += torch.outer(seen.sum(dim=1), bias)
    return out


def _back(for_out: Tensor, weight: Tensor, spectrum: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of a projection's input and weight."""
    rows = for_out.reshape(-1, for_out.shape[2])
    return torch.matmul(rows, weight).view_as(spectrum), torch.matmul(rows.t(), spectrum.flatten(0, 1))


def _for_bias(for_out: Tensor, seen: Tensor) -> Tensor:
    if 2 * (seen.shape[1] // 2 + 1) == len(seen):
        return seen.shape[1] * for_out[:, 0].sum(dim=0)
    return torch.matmul(seen.sum(dim=1), for_out.sum(dim=0))


def _product_sums(a: Tensor, b: Tensor, n_heads: int) -> Tensor:
    """`a` times the conjugate of `b`, summed over the channels of each head: `(batch, 2 F, heads)`."""
    half = a.shape[1] // 2
    real = torch.mul(a[:, :half], b[:, :half]).addcmul_(a[:, half:], b[:, half:])
    imaginary = torch.mul(a[:, half:], b[:, :half]).addcmul_(a[:, :half], b[:, half:], value=-1)
    of_head = _of_head(a, n_heads)
    return torch.cat([torch.matmul(real, of_head), torch.matmul(imaginary, of_head)], dim=1)


def _times(a: Tensor, weighting: Tensor, out: Tensor, *, conjugate: bool = False) -> Tensor:
    """Each channel of `a` times its head's `weighting`, `(batch, 2 F, heads)`, or the conjugate of it."""
    half, sign = a.shape[1] // 2, -1 if conjugate else 1
    if weighting.shape[2] > 1:
        weighting = torch.matmul(weighting, _of_head(a, weighting.shape[2]).t())
    real, imaginary, w, v = a[:, :half], a[:, half:], weighting[:, :half], weighting[:, half:]
    torch.mul(real, w, out=out[:, :half]).addcmul_(imaginary, v, value=-sign)
    torch.mul(imaginary, w, out=out[:, half:]).addcmul_(real, v, value=sign)
    return out


def _of_head(x: Tensor, n_heads: int) -> Tensor:
    """Which head each channel belongs to, `(channels, heads)`."""
    return torch.eye(n_heads, dtype=x.dtype, device=x.device).repeat_interleave(x.shape[2] // n_heads, dim=0)
