"""Settings of the whole suite, and the bundles that many tests share."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.fixtures.bundles import Trained, TrainedByKind

# Machines that share their cores stall at random; a deadline an example would only say so. The examples are the same
# on every run, so that a failure is a fact about the change and not about the day.
settings.register_profile(
    "wearcast", deadline=None, derandomize=True, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("wearcast")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedByKind:
    """A small bundle of each backbone, by its kind; trained once, however many workers run the tests. Do not write."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    @cache
    def by_kind(kind: str) -> Trained:
        from tests.fixtures.bundles import train_once

        return train_once(kind, shared / "trained")

    return by_kind
