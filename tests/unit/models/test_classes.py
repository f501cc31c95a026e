"""The class head and its losses: against plain loops, with gradients that stay finite at the ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wearcast.models.classes import ClassHead, ClassLoss


def make_case(k: int = 3, n: int = 12, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scores, answers and whether each is known."""
    generator = torch.Generator().manual_seed(seed)
    raw = 2 * torch.randn(n, k, generator=generator)
    answer = torch.randint(0, k, (n,), generator=generator)
    known = torch.rand(n, generator=generator) < 0.8
    known[0] = True
    return raw, answer, known


@given(st.integers(0, 500), st.sampled_from([2, 4]), st.sampled_from([0.0, 0.5, 2.0]))
@settings(max_examples=25, deadline=None)
def test_the_loss_equals_a_plain_loop(seed: int, k: int, gamma: float) -> None:
    raw, answer, known = make_case(k, seed=seed)
    weight = np.random.default_rng(seed).uniform(0.2, 5.0, k)
    value, logs = ClassLoss(torch.tensor(weight).float(), gamma=gamma)(raw, answer, known)
    total = weights = 0.0
    for row, (scores, label, is_known) in enumerate(zip(raw.tolist(), answer.tolist(), known.tolist(), strict=True)):
        share = np.exp(scores) / np.exp(scores).sum()
        np.testing.assert_allclose(logs[row].exp().numpy(), share, rtol=1e-4, atol=1e-6)
        if is_known:
            total += weight[label] * (1 - share[label]) ** gamma * -np.log(share[label])
            weights += weight[label]
    assert float(value) == pytest.approx(total / weights, rel=1e-4)


def test_without_weights_it_is_the_cross_entropy() -> None:
    raw, answer, known = make_case()
    value, logs = ClassLoss(torch.ones(3))(raw, answer, known)
    torch.testing.assert_close(value, torch.nn.functional.cross_entropy(raw[known], answer[known]))
    errors = ClassLoss(torch.ones(3)).errors(logs, answer, known)
    assert errors.shape == (int(known.sum()),)
    torch.testing.assert_close(errors.mean(), value)


def test_errors_weigh_classes_as_the_loss_does() -> None:
    raw, answer, known = make_case()
    loss = ClassLoss(torch.tensor([1.0, 10.0, 0.1]))
    value, logs = loss(raw, answer, known)
    weight = loss.weight[answer][known].sum()
    torch.testing.assert_close(loss.errors(logs, answer, known).sum() / weight, value)


def test_a_sure_right_answer_counts_less_in_the_focal_loss() -> None:
    sure, unsure = torch.tensor([[6.0, 0.0]]), torch.tensor([[0.1, 0.0]])
    answer, known = torch.tensor([0]), torch.tensor([True])
    plain, focal = ClassLoss(torch.ones(2)), ClassLoss(torch.ones(2), gamma=2.0)
    eased = [float(focal(raw, answer, known)[0] / plain(raw, answer, known)[0]) for raw in (sure, unsure)]
    assert eased[0] < 1e-4 < eased[1]


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("size", [0.0, 1.0, 100.0])
def test_gradients_are_finite_for_any_score(size: float, gamma: float) -> None:
    raw, answer, known = make_case()
    raw = (raw * size).requires_grad_()
    ClassLoss(torch.ones(3), gamma=gamma)(raw, answer, known)[0].backward()
    assert raw.grad is not None
    assert torch.isfinite(raw.grad).all()


def test_rows_that_are_not_known_move_nothing() -> None:
    raw, answer, known = make_case()
    known[3:] = False
    raw.requires_grad_()
    loss = ClassLoss(torch.ones(3), gamma=2.0)
    loss(raw, answer, known)[0].backward()
    assert raw.grad is not None
    assert (raw.grad[3:] == 0).all()
    assert (raw.grad[:3] != 0).any()
    value, _ = loss(raw, answer, torch.zeros(12, dtype=torch.bool))
    assert value == 0


@pytest.mark.parametrize("share", [(0.9, 0.1), (0.2, 0.3, 0.5), (1.0, 0.0)])
def test_the_head_begins_with_the_share_of_each_class(share: tuple[float, ...]) -> None:
    torch.manual_seed(0)
    head = ClassHead(8, len(share))
    head.start_from(torch.tensor(share))
    with torch.no_grad():
        said = torch.softmax(head(torch.zeros(4, 8)), dim=1)
    torch.testing.assert_close(said, torch.tensor(share).expand(4, -1), atol=1e-5, rtol=0)
    assert torch.isfinite(head.project.bias).all()
