"""The head's loss against plain formulas; censored units teach what they know and no more."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wearcast.distribution import TimeToEvent
from wearcast.models.time_to_event import TimeToEventHead, TimeToEventLoss, log_survival, restricted_mean

GRID = torch.tensor([0.0, 1, 2, 4, 8], dtype=torch.float64)


def logits_of(hazards: list[float], n: int = 1) -> torch.Tensor:
    return torch.logit(torch.tensor([hazards] * n, dtype=torch.float64))


def loss_of(hazards: list[float], time: float, known: bool, weight: float = 1e6) -> float:
    loss = TimeToEventLoss(GRID, max_rul=4.0, likelihood_weight=weight)
    value, _ = loss(logits_of(hazards), torch.tensor([time], dtype=torch.float64), torch.tensor([known]))
    return float(value) / weight


HAZARDS = [0.1, 0.2, 0.5, 0.3]


@pytest.mark.parametrize(
    ("time", "known", "probability"),
    [
        (0.5, True, 0.1),
        (1.0, True, 0.9 * 0.2),
        (3.0, True, 0.9 * 0.8 * 0.5),
        (9.0, True, 0.9 * 0.8 * 0.5 * 0.7),  # beyond the grid: as good as still running there
        (2.0, False, 0.9 * 0.8),
        (3.0, False, 0.9 * 0.8 * 0.75),  # half of the bin has passed
        (8.0, False, 0.9 * 0.8 * 0.5 * 0.7),
    ],
)
def test_likelihood_of_events_and_censored_times(time, known, probability):
    assert loss_of(HAZARDS, time, known) == pytest.approx(-np.log(probability), abs=1e-4)


def test_log_survival_and_restricted_mean_agree_with_the_distribution():
    logits = logits_of(HAZARDS)
    survival = log_survival(logits).exp()
    np.testing.assert_allclose(survival.numpy()[0], np.cumprod([1.0, 0.9, 0.8, 0.5, 0.7]))
    expected = TimeToEvent(GRID.numpy(), survival.numpy()).expected(4.0)
    np.testing.assert_allclose(restricted_mean(survival, GRID, 3).numpy(), expected)


def test_point_target_of_a_running_unit_is_the_mean_beyond_its_time():
    """Buckley & James: E[min(T, cap) | T > c], here against a fine numerical integral."""
    loss = TimeToEventLoss(GRID, max_rul=4.0, likelihood_weight=1.0)
    survival = log_survival(logits_of(HAZARDS)).exp()
    mean = restricted_mean(survival, GRID, loss.cap_bins)
    for censored in (0.0, 0.3, 1.0, 2.7, 3.9):
        t = np.linspace(censored, 4, 20001)
        curve = np.interp(t, GRID.numpy(), survival.numpy()[0])
        expected = censored + np.trapezoid(curve, t) / curve[0]
        got = loss._point_target(survival, mean, torch.tensor([censored], dtype=torch.float64), torch.tensor([False]))
        assert float(got) == pytest.approx(expected, abs=1e-3)


def test_a_running_unit_pulls_the_curve_up_and_never_down():
    logits = logits_of(HAZARDS).requires_grad_()
    loss = TimeToEventLoss(GRID, max_rul=4.0, likelihood_weight=1.0)
    value, _ = loss(logits, torch.tensor([2.5], dtype=torch.float64), torch.tensor([False]))
    value.backward()
    assert logits.grad is not None
    assert (logits.grad >= -1e-9).all()
    assert (logits.grad[0, :3] > 0).all()


def test_fitting_censored_samples_finds_the_true_curve():
    """With half of an exponential sample censored, the fitted curve is the true one, not the shorter observed one."""
    rng = np.random.default_rng(0)
    event, stop = rng.exponential(4.0, 4000), rng.exponential(4.0, 4000)
    time = torch.tensor(np.minimum(event, stop))
    known = torch.tensor(event <= stop)
    logits = torch.zeros(1, 4, dtype=torch.float64, requires_grad=True)
    loss = TimeToEventLoss(GRID, max_rul=4.0, likelihood_weight=1.0)
    optimiser = torch.optim.Adam([logits], lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        loss(logits.expand(4000, 4), time, known)[0].backward()
        optimiser.step()
    survival = log_survival(logits).exp().detach().numpy()[0]
    np.testing.assert_allclose(survival[1:4], np.exp(-GRID.numpy()[1:4] / 4), atol=0.03)


def test_head_starts_from_the_fleets_own_hazard():
    head = TimeToEventHead(5, 3, 1)
    head.start_from(torch.tensor(HAZARDS))
    hazard = torch.sigmoid(head(torch.zeros(1, 5)))
    np.testing.assert_allclose(hazard.detach().numpy()[0], HAZARDS, rtol=1e-5)


def test_the_tail_does_not_shape_the_state():
    head = TimeToEventHead(5, 3, 1)
    state = torch.randn(2, 5, requires_grad=True)
    head(state)[:, 3].sum().backward()
    assert state.grad is None or not state.grad.any()
