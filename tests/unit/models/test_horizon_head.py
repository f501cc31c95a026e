"""The head over the horizon: one shape for every backbone, quantiles in order, losses of what is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wearcast.models.quantile import HorizonHead, PinballLoss

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def make_head(steps: int, columns: int, *, decoded: bool, levels: tuple[float, ...] = LEVELS) -> HorizonHead:
    """A head of six states."""
    torch.manual_seed(0)
    return HorizonHead(6, steps, columns, levels=levels, decoded=decoded)


@pytest.mark.parametrize("decoded", [True, False])
@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("n", [1, 5])
def test_one_shape_whether_a_backbone_decodes_or_not(n: int, steps: int, columns: int, decoded: bool) -> None:
    state = torch.randn(n, steps if decoded else 1, 6, generator=torch.Generator().manual_seed(1))
    quantiles = make_head(steps, columns, decoded=decoded)(state)
    assert quantiles.shape == (n, steps, columns, len(LEVELS))
    assert (quantiles.diff(dim=-1) > 0).all()


def test_a_state_a_step_is_read_by_one_projection() -> None:
    head = make_head(3, 2, decoded=True)
    state = torch.randn(2, 1, 6).expand(2, 3, 6)
    quantiles = head(state)
    torch.testing.assert_close(quantiles[:, 0], quantiles[:, 2])


def test_one_state_for_the_horizon_has_a_projection_a_step_and_column() -> None:
    """Each output moves with its own weights: the layout is steps, then columns, then levels."""
    head = make_head(3, 2, decoded=False)
    state = torch.zeros(1, 1, 6)
    before = head(state)
    with torch.no_grad():
        head.project.project.bias.view(3, 2, len(LEVELS))[1, 0, 2] += 5.0  # the median of step 2, column 1
    moved = (head(state) - before).abs().sum(-1)[0]
    assert (moved > 1).tolist() == [[False, False], [True, False], [False, False]]


@pytest.mark.parametrize("levels", [(0.5,), (0.1, 0.5), (0.5, 0.9)])
def test_few_levels(levels: tuple[float, ...]) -> None:
    assert make_head(2, 2, decoded=False, levels=levels)(torch.zeros(3, 1, 6)).shape == (3, 2, 2, len(levels))


@given(st.integers(0, 500))
@settings(max_examples=15, deadline=None)
def test_the_loss_and_its_errors_equal_a_plain_loop(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(4, 2, 3, len(LEVELS), generator=generator)
    answer = torch.randn(4, 2, 3, generator=generator)
    known = torch.rand(4, 2, 3, generator=generator) < 0.6
    known[0, 0, 0] = True
    loss = PinballLoss(LEVELS)
    value, figure = loss(raw, answer, known)
    expected = []
    for index in known.nonzero().tolist():
        y, q = float(answer[tuple(index)]), raw[tuple(index)].tolist()
        each = [level * (y - a) if y >= a else (1 - level) * (a - y) for level, a in zip(LEVELS, q, strict=True)]
        expected.append(np.mean(each))
    assert float(value) == pytest.approx(np.mean(expected), rel=1e-4)
    np.testing.assert_allclose(loss.errors(figure, answer, known).numpy(), expected, rtol=1e-4, atol=1e-6)


def test_what_is_not_known_moves_nothing() -> None:
    raw = torch.randn(2, 2, 1, 5, requires_grad=True)
    known = torch.tensor([[[True], [False]], [[False], [False]]])
    PinballLoss(LEVELS)(raw, torch.zeros(2, 2, 1), known)[0].backward()
    assert raw.grad is not None
    assert torch.isfinite(raw.grad).all()
    assert (raw.grad[~known] == 0).all()
    assert (raw.grad[known] != 0).all()
    nothing, _ = PinballLoss(LEVELS)(raw, torch.zeros(2, 2, 1), torch.zeros_like(known))
    assert nothing == 0


def test_the_level_that_a_decoder_says_is_the_forecast_before_anything_is_learnt() -> None:
    head = make_head(2, 2, decoded=True)
    before = head.project.project.weight.detach().clone()
    head.carry([(4, 5), ()])
    state = torch.zeros(1, 2, 6)
    state[..., 4], state[..., 5] = 3.0, 0.5
    moved = (head(state) - head(torch.zeros_like(state)))[0]
    torch.testing.assert_close(moved[:, 0], torch.full((2, len(LEVELS)), 3.5))
    after = torch.unflatten(head.project.project.weight, 0, (2, len(LEVELS)))
    assert torch.equal(after[1], torch.unflatten(before, 0, (2, len(LEVELS)))[1])
    assert torch.equal(after[0, :, :4], torch.unflatten(before, 0, (2, len(LEVELS)))[0, :, :4])
