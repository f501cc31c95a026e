"""Variable selection networks, all variables at once.

Lim, Arık, Loeff & Pfister 2021, section 4.2, equations 6 to 8. A textbook version runs one gated residual network
after another over embedded variables. Here inputs are real numbers, so an embedding is `ξ_j = w_j x_j + b_j`, and:

- the first linear map of every network acts on an affine function of one number, so the two are multiplied ahead;
- the second linear map (equation 3) and the gate's (equation 5) have nothing between them and are multiplied ahead too;
- what is left is one batched product for all variables.

Parameters and function are the paper's. One deviation: dropout acts before equation 3 instead of after it, with one
draw for the whole window (Gal & Ghahramani 2016), so that the two maps stay mergeable.

On a CPU the mixture of equation 8 runs over slices of the batch that fit the cache. Large batches are computed again in
the backward pass instead of being stored: `batch × time × variables × d_model` numbers are never all in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from wearcast.models.gating import merged

__all__ = ["VariableSelection"]

EPSILON = 1e-5
SLICE_NUMBERS = 350_000  # numbers in one (variables, rows, d_model) block: about 1.4 MB
STORED_NUMBERS = 30_000_000  # up to this many numbers in a batch, three blocks of that size are stored: 360 MB


class MixtureWeights(NamedTuple):
    """The merged maps of all per-variable networks; `C` variables, `d` channels."""

    inner: Tensor
    """`(C, 2, d)`: slope and intercept of the embedding under the first linear map (equation 4)."""
    skip: Tensor
    """`(C, 2, d)`: slope and intercept of the embedding itself."""
    gated: Tensor
    """`(C, d, 2 d)`: equation 3 and equation 5, whose value comes first and whose gate comes last."""
    gated_bias: Tensor
    """`(C, 2 d)`."""
    scale: Tensor
    """`(C, d)`: of the layer normalisation."""
    shift: Tensor
    """`(C, d)`: of the layer normalisation."""


class VariableSelection(nn.Module):
    """Which variables matter at each step, and their weighted sum."""

    def __init__(self, n_variables: int, d_model: int, *, has_context: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        n, d = n_variables, d_model
        self.dropout = dropout
        # Embeddings and the per-variable networks (equation 7).
        self.embed_weight = nn.Parameter(torch.empty(n, d).uniform_(-1, 1))
        self.embed_bias = nn.Parameter(torch.empty(n, d).uniform_(-1, 1))
        self.inner_weight = nn.Parameter(_xavier(n, d, d))
        self.inner_bias = nn.Parameter(torch.zeros(n, d))
        self.outer_weight = nn.Parameter(_xavier(n, d, d))
        self.outer_bias = nn.Parameter(torch.zeros(n, d))
        self.gate_weight = nn.Parameter(_xavier(n, d, 2 * d))
        self.gate_bias = nn.Parameter(torch.zeros(n, 2 * d))
        self.norm_scale = nn.Parameter(torch.ones(n, d))
        self.norm_shift = nn.Parameter(torch.zeros(n, d))
        # The network of the weights (equation 6); its input is all embeddings side by side.
        self.select_inner = nn.Parameter(_xavier(n * d, d).view(n, d, d))
        self.select_skip = nn.Parameter(_xavier(n * d, n).view(n, d, n))
        self.select_inner_bias = nn.Parameter(torch.zeros(d))
        self.select_skip_bias = nn.Parameter(torch.zeros(n))
        self.select_context = nn.Linear(d, d, bias=False) if has_context else None
        self.select_outer = nn.Linear(d, d)
        self.select_gate = nn.Linear(d, 2 * n)
        self.select_scale = nn.Parameter(torch.ones(n))
        self.select_shift = nn.Parameter(torch.zeros(n))
        for layer in (self.select_outer, self.select_gate, self.select_context):
            if layer is not None:
                nn.init.xavier_uniform_(layer.weight)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Select from real variables.

        Args:
            x: `(batch, time, n_variables)`.
            context: `(batch, d_model)` or None.

        Returns:
            The selection, `(batch, time, d_model)`, and the weights, `(batch, time, n_variables)`, which sum to one.
        """
        by_variable = x.permute(2, 0, 1).contiguous()
        weights = self._weights(by_variable, context)
        maps = self._merged()
        keep = None
        if self.training and self.dropout > 0:
            keep = x.new_empty(x.shape[2], x.shape[0], 1, maps.scale.shape[1]).bernoulli_(1 - self.dropout)
        if _sliceable(x):
            store = torch.is_grad_enabled() and by_variable.numel() * maps.scale.shape[1] <= STORED_NUMBERS
            mixed = _SlicedMixture.apply(by_variable, weights, keep, store, *maps)  # type: ignore[no-untyped-call]
        else:
            mixed = _mixture(by_variable, weights, keep, maps)
        return mixed, weights.permute(1, 2, 0)

    def _weights(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Equation 6 with variables first, `(C, batch, time)` to the same shape.

        The embedding is merged into the first linear map and into the skip.
        """
        into = torch.einsum("nd,ndo->on", self.embed_weight, self.select_inner)
        into_bias = self.select_inner_bias + torch.einsum("nd,ndo->o", self.embed_bias, self.select_inner)
        past = torch.einsum("nd,ndo->on", self.embed_weight, self.select_skip)
        past_bias = self.select_skip_bias + torch.einsum("nd,ndo->o", self.embed_bias, self.select_skip)
        hidden = torch.addmm(into_bias.unsqueeze(1), into, x.flatten(1)).view(-1, *x.shape[1:])
        if self.select_context is not None and context is not None:
            hidden = hidden + self.select_context(context).t().unsqueeze(2)
        hidden = functional.elu(hidden)
        if self.training and self.dropout > 0:
            keep = x.new_empty(hidden.shape[0], x.shape[1], 1).bernoulli_(1 - self.dropout)
            hidden = hidden * keep.div_(1 - self.dropout)
        gate, gate_bias = merged(self.select_outer, self.select_gate)
        gated = functional.glu(torch.addmm(gate_bias.unsqueeze(1), gate, hidden.flatten(1)), dim=0)
        total = torch.addmm(past_bias.unsqueeze(1), past, x.flatten(1)) + gated
        centred = total - total.mean(dim=0)
        normed = centred * torch.rsqrt(centred.square().mean(dim=0) + EPSILON)
        normed = torch.addcmul(self.select_shift.unsqueeze(1), normed, self.select_scale.unsqueeze(1))
        return torch.softmax(normed, dim=0).view_as(x)

    def _merged(self) -> MixtureWeights:
        """Multiply out the linear maps that have nothing between them."""
        embed = torch.stack([self.embed_weight, self.embed_bias], dim=1)
        inner = torch.bmm(embed, self.inner_weight)
        inner = torch.stack([inner[:, 0], inner[:, 1] + self.inner_bias], dim=1)
        outer = self.outer_weight / (1 - self.dropout) if self.training else self.outer_weight
        gated = torch.bmm(outer, self.gate_weight)
        bias = torch.baddbmm(self.gate_bias.unsqueeze(1), self.outer_bias.unsqueeze(1), self.gate_weight).squeeze(1)
        return MixtureWeights(inner, embed, gated, bias, self.norm_scale, self.norm_shift)


def _xavier(*shape: int) -> Tensor:
    """Uniform after Glorot & Bengio 2010 over the last two axes."""
    bound = (6.0 / (shape[-2] + shape[-1])) ** 0.5
    return torch.empty(shape).uniform_(-bound, bound)


def _sliceable(x: Tensor) -> bool:
    """Slicing pays on a CPU in full precision; graphs for export and compilation are better left whole."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling() and not torch.is_autocast_enabled("cpu")


def _mixture(x: Tensor, weights: Tensor, keep: Tensor | None, maps: MixtureWeights) -> Tensor:
    """Equations 7 and 8 as they are written; `_Block` is the same with fewer passes over memory.

    Args:
        x: `(C, batch, time)`.
        weights: `(C, batch, time)`.
        keep: `(C, batch, 1, d)` of zeros and ones, or None.
        maps: see `MixtureWeights`.
    """
    n, _, time = x.shape
    affine = torch.stack([x, torch.ones_like(x)], dim=3).flatten(1, 2)
    hidden = functional.elu(torch.bmm(affine, maps.inner))
    if keep is not None:
        hidden = (hidden.view(n, -1, time, hidden.shape[2]) * keep).flatten(1, 2)
    value, gate = torch.baddbmm(maps.gated_bias.unsqueeze(1), hidden, maps.gated).chunk(2, dim=2)
    normed = functional.layer_norm(
        torch.bmm(affine, maps.skip) + value * torch.sigmoid(gate), value.shape[2:], eps=EPSILON
    )
    networks = normed * maps.scale.unsqueeze(1) + maps.shift.unsqueeze(1)
    mixed = (networks * weights.flatten(1, 2).unsqueeze(2)).sum(dim=0)
    return mixed.view(-1, time, mixed.shape[1])


class _SlicedMixture(torch.autograd.Function):
    """`_mixture` over slices of the batch; with `store` false, recomputed in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor, keep: Tensor | None, store: bool, *maps: Tensor) -> Tensor:
        ctx.save_for_backward(x, weights, keep, *maps)
        ctx.stored = deque()
        mapped = MixtureWeights(*maps)
        mixed = x.new_empty(x.shape[1] * x.shape[2], mapped.scale.shape[1])
        for rows, block in _blocks(x, weights, keep, mapped, recycle=not store):
            block.mix(mixed[rows])
            if store:
                ctx.stored.append((rows, block))
        return mixed.view(*x.shape[1:], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weights, keep, *maps = ctx.saved_tensors
        mapped = MixtureWeights(*maps)
        totals = MixtureWeights(*(torch.zeros_like(one) for one in mapped))
        for_weights = torch.empty_like(weights)
        for_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        by_row = gradient.flatten(0, 1)
        # Blocks are spent here; a second backward pass through the same graph makes them anew.
        stored, ctx.stored = ctx.stored, deque()
        blocks = stored or _blocks(x, weights, keep, mapped, recycle=True)
        for rows, block in blocks:
            for_weights.flatten(1)[:, rows], for_affine = block.backward(by_row[rows], totals, for_x is not None)
            if for_x is not None and for_affine is not None:
                for_x.flatten(1)[:, rows] = for_affine[..., 0]
        half = mapped.scale.shape[1]  # what a block says of the gate stands before what it says of the value
        totals = totals._replace(gated=totals.gated.roll(half, 2), gated_bias=totals.gated_bias.roll(half, 1))
        return for_x, for_weights, None, None, *totals


def _blocks(
    x: Tensor, weights: Tensor, keep: Tensor | None, maps: MixtureWeights, *, recycle: bool
) -> Iterator[tuple[slice, _Block]]:
    """Cut `(C, batch, time)` along the batch; a slice counts rows of batch and time together.

    With `recycle`, a block takes over the memory of the one before: fresh memory costs as much as the arithmetic.
    """
    n, batch, time = x.shape
    d = maps.scale.shape[1]
    size = max(1, SLICE_NUMBERS // (n * time * d))
    affine = torch.stack([x, torch.ones_like(x)], dim=3).flatten(1, 2)
    by_row, swapped = weights.flatten(1), maps.gated.roll(d, 2).transpose(1, 2)
    scratch: _Memory | None = None
    kept: _Memory | None = None
    for first in range(0, batch, size):
        rows = slice(first * time, min(first + size, batch) * time)
        count = rows.stop - rows.start
        scratch = scratch or _Memory(x, 2 * n * count * d)
        kept = kept if recycle and kept is not None else _Memory(x, 3 * n * count * d)
        mask = None if keep is None else keep[:, first : first + size]
        yield rows, _Block(affine[:, rows], by_row[:, rows], mask, maps, swapped, kept, scratch)


class _Memory:
    """Numbers that are cut up anew for each block."""

    def __init__(self, like: Tensor, count: int) -> None:
        self.numbers = like.new_empty(count)

    def cut(self, n: int, rows: int, *widths: int) -> list[Tensor]:
        """One tensor `(n, rows, width)` after another."""
        parts = torch.split(self.numbers[: n * rows * sum(widths)], [n * rows * width for width in widths])
        return [part.view(n, rows, width) for part, width in zip(parts, widths, strict=True)]


class _Block:
    """Forward and backward of the mixture on some rows.

    The layer normalisation is never stored, only its moments, and its input is computed again from its parts.
    """

    def __init__(
        self,
        affine: Tensor,
        weights: Tensor,
        keep: Tensor | None,
        maps: MixtureWeights,
        swapped: Tensor,
        kept: _Memory,
        scratch: _Memory,
    ) -> None:
        n, rows, d = *weights.shape, maps.scale.shape[1]
        self.affine, self.weights, self.keep, self.maps, self.swapped = affine, weights, keep, maps, swapped
        self.hidden, self.gated = kept.cut(n, rows, d, 2 * d)
        self.value, self.gate = self.gated.chunk(2, dim=2)
        self.total, self.spare = scratch.cut(n, rows, d, d)
        # ELU is the less of exp(x) - 1 and max(x, 0).
        torch.bmm(affine, maps.inner, out=self.spare)
        torch.exp(self.spare, out=self.hidden).sub_(1)
        torch.minimum(self.hidden, self.spare.clamp_(min=0), out=self.hidden)
        self._drop(self.hidden)
        torch.baddbmm(maps.gated_bias.unsqueeze(1), self.hidden, maps.gated, out=self.gated)
        self.gate.sigmoid_()
        self._add_up()
        averaging = self.total.new_full((d, 1), 1 / d)
        self.mean = torch.mm(self.total.view(-1, d), averaging).view(n, -1)
        torch.mul(self.total, self.total, out=self.spare)
        square = torch.mm(self.spare.view(-1, d), averaging).view(n, -1)
        variance = square.addcmul_(self.mean, self.mean, value=-1).clamp_(min=0)
        self.rate = variance.add_(EPSILON).rsqrt_()
        self.share = self.weights * self.rate

    def _add_up(self) -> None:
        torch.mul(self.value, self.gate, out=self.total).baddbmm_(self.affine, self.maps.skip)

    def mix(self, out: Tensor) -> None:
        """Equation 8, `(rows, d)`; to be called before the next block is made."""
        torch.mul(self.total, self.share.unsqueeze(2), out=self.spare).mul_(self.maps.scale.unsqueeze(1))
        torch.sum(self.spare, dim=0, out=out)
        out.addmm_((self.share * self.mean).t(), self.maps.scale, alpha=-1)
        out.addmm_(self.weights.t(), self.maps.shift)

    def backward(self, g: Tensor, totals: MixtureWeights, needs_x: bool) -> tuple[Tensor, Tensor | None]:
        """Add the maps' gradients to `totals`; return those of the weights and of `[x, 1]`. Spends what is kept."""
        maps, d = self.maps, g.shape[1]
        self._add_up()
        weighted = torch.mul(self.total, g, out=self.spare)
        totals.scale.add_(torch.bmm(self.share.unsqueeze(1), weighted).squeeze(1)).sub_((self.share * self.mean) @ g)
        totals.shift.addmm_(self.weights, g)
        # Layer normalisation: per row, the sums of the gradient and of the gradient times the normed value.
        plain = maps.scale @ g.t()
        normed = torch.bmm(weighted, maps.scale.unsqueeze(2)).squeeze(2)
        normed = normed.addcmul_(self.mean, plain, value=-1).mul_(self.rate)
        for_weights = torch.addmm(normed, maps.shift, g.t())
        slope = (self.share * self.rate).mul_(normed).mul_(-1 / d)
        level = (self.share * plain).mul_(-1 / d).addcmul_(slope, self.mean, value=-1)
        scaled = torch.mul(g, maps.scale.unsqueeze(1), out=self.spare)
        for_total = self.total.mul_(slope.unsqueeze(2)).add_(level.unsqueeze(2))
        for_total.addcmul_(scaled, self.share.unsqueeze(2))
        affine = self.affine.transpose(1, 2)
        totals.skip.baddbmm_(affine, for_total)
        for_affine = torch.bmm(for_total, maps.skip.transpose(1, 2)) if needs_x else None
        # Gated linear unit: the gate's derivative is value · gate · (1 - gate). The gate's part comes to stand first.
        self.value.addcmul_(self.value, self.gate, value=-1)
        self.gate.mul_(for_total)
        self.value.mul_(self.gate)
        totals.gated.baddbmm_(self.hidden.transpose(1, 2), self.gated)
        totals.gated_bias.add_(self.gated.sum(dim=1))
        for_hidden = torch.bmm(self.gated, self.swapped, out=self.spare)
        self._drop(for_hidden)
        # The derivative of ELU from its result; where dropped, the result is wrong and the gradient is zero.
        for_inner = torch.ops.aten.elu_backward.grad_input(
            for_hidden, 1.0, 1.0, 1.0, True, self.hidden, grad_input=self.total
        )
        totals.inner.baddbmm_(affine, for_inner)
        if for_affine is not None:
            for_affine.baddbmm_(for_inner, maps.inner.transpose(1, 2))
        return for_weights, for_affine

    def _drop(self, x: Tensor) -> None:
        if self.keep is not None:
            x.view(*self.keep.shape[:2], -1, x.shape[2]).mul_(self.keep)
