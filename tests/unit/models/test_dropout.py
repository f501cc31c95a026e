"""Dropout with cheap draws: how much is dropped, what is left, and that a seed repeats it."""

from __future__ import annotations

import pytest
import torch

from wearcast.models.dropout import Dropout, dropped


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5, 0.9])
def test_a_share_is_dropped_and_the_rest_scaled_up(share: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(40, 50, 101)
    found = dropped(x, share)
    kept = found > 0
    assert float((~kept).float().mean()) == pytest.approx(share, abs=0.004)
    torch.testing.assert_close(found[kept], torch.full_like(found[kept], 1 / (1 - share)), rtol=1e-3, atol=0)
    assert not torch.equal(kept[:, 0], kept[:, 1])


def test_a_seed_repeats_it_and_another_does_not() -> None:
    x = torch.ones(3, 70)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(dropped(x, 0.5))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_the_gradient_passes_where_nothing_is_dropped() -> None:
    x = torch.randn(4, 9, requires_grad=True)
    found = dropped(x, 0.3)
    found.sum().backward()
    torch.testing.assert_close(x.grad, (found / x).detach())


def test_nothing_is_dropped_when_served_or_at_a_share_of_zero() -> None:
    x = torch.randn(2, 5)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0).train()(x) is x
    assert dropped(x.to(torch.bfloat16), 0.5).dtype == torch.bfloat16
