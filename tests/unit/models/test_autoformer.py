"""Autoformer: decomposition and auto-correlation against plain loops, two ways of correlating, padding, the horizon."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from wearcast.errors import ModelError
from wearcast.models import Autoformer, Inputs
from wearcast.models.auto_correlation import (
    AutoCorrelation,
    aggregate,
    correlation,
    correlation_by_fft,
    number_of_delays,
)
from wearcast.models.autoformer import AutoformerBackbone, DecoderLayer
from wearcast.models.decomposition import SeasonalNorm, SeriesDecomposition, real_steps

Array = NDArray[Any]
LENGTH = 11


def padded_mask(batch: int, length: int = LENGTH) -> Tensor:
    """Row `i` lacks its first `2 i` steps; the last row keeps one."""
    mask = torch.ones(batch, length, dtype=torch.bool)
    for row in range(batch):
        mask[row, : min(2 * row, length - 1)] = False
    mask[-1, :-1] = False
    return mask


def slow_trend(series: Array, width: int) -> Array:
    """Moving average of `(length, n)`, the first and last step repeated beyond the ends."""
    before = (width - 1) // 2
    long = np.concatenate([series[:1]] * before + [series] + [series[-1:]] * (width - 1 - before))
    return np.stack([long[t : t + width].mean(axis=0) for t in range(len(series))])


def slow_correlation(query: Array, key: Array) -> Array:
    """Equation 5 for `(length, n)`, without its 1 / L, mean over channels."""
    length = len(query)
    return np.array(
        [
            np.mean([sum(query[t, c] * key[t - delay, c] for t in range(length)) for c in range(query.shape[1])])
            for delay in range(length)
        ]
    )


def slow_auto_correlation(query: Array, key: Array, value: Array, factor: float) -> Array:
    """Equation 6 for one head."""
    likeness = slow_correlation(query, key)
    best = np.argsort(-likeness)[: number_of_delays(len(query), factor)]
    weight = np.exp(likeness[best] - likeness[best].max())
    weight /= weight.sum()
    rolled = np.stack([np.roll(value, -delay, axis=0) for delay in best])
    return np.asarray(np.tensordot(weight, rolled, axes=1))


@pytest.mark.parametrize("width", [1, 4, 5, 25])
def test_the_trend_of_real_steps_is_the_moving_average_of_them_alone(width: int) -> None:
    mask = padded_mask(4)
    x = torch.randn(4, LENGTH, 3, generator=torch.Generator().manual_seed(0))
    season, trend = SeriesDecomposition(LENGTH, width)(x, real_steps(mask))
    torch.testing.assert_close(season + trend, torch.where(mask.unsqueeze(2), x, season + trend))
    for row in range(4):
        expected = slow_trend(x[row, mask[row]].numpy(), width)
        np.testing.assert_allclose(trend[row, mask[row]].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("length", [1, 2, 11, 96])
def test_diagonals_and_fourier_transform_agree_with_a_plain_loop(length: int) -> None:
    """Wiener-Khinchin: the product's diagonals, the spectra, and the sum as equation 5 writes it."""
    query, key = torch.randn(2, 3, 2, 4, length, generator=torch.Generator().manual_seed(0)).unbind(0)
    found = correlation(query, key, None)
    torch.testing.assert_close(found, correlation_by_fft(query, key), atol=1e-4, rtol=1e-5)
    expected = slow_correlation(query[1, 0].T.double().numpy(), key[1, 0].T.double().numpy())
    np.testing.assert_allclose(found[1, 0].numpy(), expected, atol=1e-4)


def test_the_ends_of_the_real_steps_are_joined() -> None:
    mask = padded_mask(5)
    query, key = torch.randn(2, 5, 1, 3, LENGTH, generator=torch.Generator().manual_seed(1)) * mask.view(5, 1, 1, -1)
    found = correlation(query, key, real_steps(mask))
    for row in range(5):
        alone = [x[row, 0, :, mask[row]].T.numpy() for x in (query, key)]
        expected = slow_correlation(*alone)
        np.testing.assert_allclose(found[row, 0, : len(expected)].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("n_heads", [1, 2])
@pytest.mark.parametrize("padded", [False, True])
def test_auto_correlation_is_the_papers(n_heads: int, padded: bool) -> None:
    """Delays, weights and rolled values of each window's real steps, head by head, as in a plain loop."""
    torch.manual_seed(0)
    layer = AutoCorrelation(6, n_heads, LENGTH, factor=1.7)
    x = torch.randn(5, LENGTH, 6)
    mask = padded_mask(5) if padded else torch.ones(5, LENGTH, dtype=torch.bool)
    found = layer(x, x, real_steps(mask), real_steps(mask)).detach()
    for row in range(5):
        series = x[row, mask[row]]
        query, (key, value) = layer.query(series), layer.key_value(series).chunk(2, dim=1)
        heads = [
            slow_auto_correlation(q.detach().numpy(), k.detach().numpy(), v.detach().numpy(), 1.7)
            for q, k, v in zip(*(part.chunk(n_heads, dim=1) for part in (query, key, value)), strict=True)
        ]
        expected = layer.output(torch.from_numpy(np.concatenate(heads, axis=1))).detach()
        torch.testing.assert_close(found[row, mask[row]], expected, atol=1e-5, rtol=1e-5)


def test_delays_find_the_period() -> None:
    """A series of period 8 likes itself best at multiples of 8."""
    time = torch.arange(32.0)
    wave = torch.stack([torch.sin(2 * math.pi * time / 8), torch.cos(2 * math.pi * time / 8)], dim=1).unsqueeze(0)
    delay, weight = AutoCorrelation(2, 1, 32, factor=1.2).delays(wave, wave, None)
    assert sorted(delay.flatten().tolist()) == [0, 8, 16, 24]
    torch.testing.assert_close(weight, torch.full_like(weight, 0.25))


def test_between_delays_as_good_as_each_other_the_shorter_is_taken() -> None:
    """Rounding must not choose: a constant series is as like itself at any delay."""
    layer = AutoCorrelation(2, 1, 32, factor=1.2)
    constant = torch.full((1, 32, 2), 0.1) + 1e-9 * torch.randn(1, 32, 2)
    assert sorted(layer.delays(constant, constant, None)[0].flatten().tolist()) == [0, 1, 2, 3]
    half = real_steps(torch.arange(32).unsqueeze(0) >= 16)
    assert half is not None
    shown = layer.delays(constant * half.mask.unsqueeze(2), constant * half.mask.unsqueeze(2), half)[0]
    assert sorted(shown.flatten().tolist())[:2] == [0, 1]


def test_the_gathered_sum_equals_rolls_and_the_graphs_form(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(3, LENGTH, 4, generator=generator)
    delay = torch.randint(0, LENGTH, (3, 2, 5), generator=generator)
    weight = torch.rand(3, 2, 5, generator=generator)
    expected = torch.zeros_like(value)
    for row in range(3):
        for head, channels in enumerate((slice(0, 2), slice(2, 4))):
            for shift, share in zip(delay[row, head].tolist(), weight[row, head], strict=True):
                expected[row, :, channels] += share * torch.roll(value[row, :, channels], -shift, dims=0)
    torch.testing.assert_close(aggregate(value, delay, weight, None), expected)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(aggregate(value, delay, weight, None), expected)


@pytest.mark.parametrize(("length", "factor", "expected"), [(1, 3, 1), (2, 1, 1), (96, 1, 4), (96, 3, 13), (3, 9, 3)])
def test_number_of_delays(length: int, factor: float, expected: int) -> None:
    assert number_of_delays(length, factor) == expected


def test_the_seasonal_norm_leaves_no_level() -> None:
    mask = padded_mask(4)
    normed = SeasonalNorm(5)(torch.randn(4, LENGTH, 5), real_steps(mask))
    level = torch.stack([normed[row, mask[row]].mean(dim=0) for row in range(4)])
    torch.testing.assert_close(level, torch.zeros(4, 5), atol=1e-6, rtol=0)


def make_backbone(horizon: int, *, context: int = LENGTH, n_marks: int = 0, **spec: Any) -> AutoformerBackbone:
    """A small backbone whose norms and biases are away from their initial values."""
    torch.manual_seed(0)
    inputs = Inputs(n_past=3, n_known_future=n_marks, prediction_length=horizon, context_length=context)
    backbone = AutoformerBackbone(Autoformer(d_model=8, moving_average=5, d_feed_forward=12, **spec), inputs)
    for parameter in backbone.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return backbone.eval()


@pytest.mark.parametrize("horizon", [0, 1, 20])
def test_a_window_without_padding_says_the_same_beside_padded_ones(horizon: int) -> None:
    """Two ways through the code, by Fourier transform and by diagonals, are one function."""
    backbone = make_backbone(horizon, factor=2.0, n_decoder_layers=2)
    past, mask = torch.randn(5, LENGTH, 3), padded_mask(5)
    together = backbone.decode(past, mask)
    torch.testing.assert_close(together[:1], backbone.decode(past[:1], mask[:1]), atol=1e-5, rtol=1e-4)
    assert together.shape == (5, max(horizon, 1), backbone.d_state)
    assert torch.equal(backbone(past, mask), together[:, -1])


def test_what_stands_in_padded_steps_changes_nothing() -> None:
    for horizon in (0, 3):
        backbone = make_backbone(horizon)
        past, mask = torch.randn(5, LENGTH, 3), padded_mask(5)
        wild = torch.where(mask.unsqueeze(2), past, 1e4 * torch.randn_like(past))
        assert torch.equal(backbone.decode(past, mask), backbone.decode(wild, mask))


def test_the_trend_begins_with_the_mean_of_the_real_steps() -> None:
    """With what the layers add silenced, the state's trend is the mean that equation 2 continues the series with."""
    backbone = make_backbone(4)
    for layer in backbone.decoder:
        assert isinstance(layer, DecoderLayer)
        layer.project_trend.neighbours.weight.data.zero_()
    past, mask = torch.randn(5, LENGTH, 3), padded_mask(5)
    trend = backbone.decode(past, mask)[:, :, -3:]
    for row in range(5):
        torch.testing.assert_close(trend[row], past[row, mask[row]].mean(dim=0).expand(4, 3))


def test_a_centred_network_hands_the_level_on_and_reads_the_rest() -> None:
    """Another level of the real steps moves the last numbers of the state by as much, and nothing else."""
    backbone = make_backbone(4, centred=True)
    past, mask = torch.randn(5, LENGTH, 3), padded_mask(5)
    first, higher = (backbone.decode(past + level, mask) for level in (0.0, 2.5))
    assert first.shape == (5, 4, 8 + 3 + 3)
    torch.testing.assert_close(higher[:, :, :11], first[:, :, :11], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(higher[:, :, 11:], first[:, :, 11:] + 2.5)
    torch.testing.assert_close(first[1, 0, 11:], past[1, mask[1]].mean(dim=0))


def test_planned_values_reach_the_horizon_and_must_be_given() -> None:
    backbone = make_backbone(4, n_marks=2)
    past, mask, marks = torch.randn(2, LENGTH, 3), torch.ones(2, LENGTH, dtype=torch.bool), torch.randn(2, 4, 2)
    changed = backbone.decode(past, mask, None, marks + 1.0) - backbone.decode(past, mask, None, marks)
    assert changed.abs().amax(dim=2).min() > 1e-5
    with pytest.raises(ModelError, match="2 known-future variables"):
        backbone.decode(past, mask)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValidationError, match="divided among n_heads 3"):
        Autoformer(d_model=8, n_heads=3)


def with_marks(**spec: Any) -> AutoformerBackbone:
    """A backbone that is told that the first of three past channels is a mark, known over four steps ahead."""
    torch.manual_seed(0)
    inputs = Inputs(n_past=3, n_known_future=1, prediction_length=4, context_length=LENGTH, known_future_at=(0,))
    backbone = AutoformerBackbone(Autoformer(d_model=8, moving_average=5, d_feed_forward=12, **spec), inputs)
    for parameter in backbone.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return backbone.eval()


def test_marks_have_no_trend_and_are_read_alike_in_the_past_and_ahead() -> None:
    """The state holds the trend of two values; the decoder's map of marks sees its start and the horizon."""
    backbone = with_marks()
    seen: list[Tensor] = []
    assert backbone.embed_decoder.marks is not None
    backbone.embed_decoder.marks.register_forward_hook(lambda _module, inputs, _result: seen.append(inputs[0]))
    past, marks = torch.randn(2, LENGTH, 3), torch.randn(2, 4, 1)
    state = backbone.decode(past, torch.ones(2, LENGTH, dtype=torch.bool), None, marks)
    assert state.shape == (2, 4, 8 + 2)
    torch.testing.assert_close(seen[0], torch.cat([past[:, -(LENGTH // 2) :, :1], marks], dim=1))
    assert [backbone.levels_of(channel) for channel in range(3)] == [(), (8,), (9,)]
    assert with_marks(centred=True).levels_of(2) == (9, 11)


def test_a_learned_trend_begins_as_the_mean_and_reads_real_steps_alone() -> None:
    plain, learned = make_backbone(4), make_backbone(4, trend_ahead="learned")
    assert learned.go_on is not None
    learned.load_state_dict({**plain.state_dict(), "go_on.weight": torch.zeros(4, LENGTH)})
    past, mask = torch.randn(5, LENGTH, 3), padded_mask(5)
    torch.testing.assert_close(learned.decode(past, mask), plain.decode(past, mask))
    learned.go_on.weight.data[:, -1] = 1.0  # all of what the last step differs from the mean
    for layer in learned.decoder:
        assert isinstance(layer, DecoderLayer)
        layer.project_trend.neighbours.weight.data.zero_()
    trend = learned.decode(past, mask)[:, :, -3:]
    torch.testing.assert_close(trend, past[:, -1:].expand(-1, 4, -1))
    learned.go_on.weight.data.normal_()
    wild = torch.where(mask.unsqueeze(2), past, 1e4 * torch.randn_like(past))
    torch.testing.assert_close(learned.decode(wild, mask), learned.decode(past, mask))
