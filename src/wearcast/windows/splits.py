"""Splits by unit: every window of a unit is on one side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from wearcast.config import Strict
from wearcast.errors import FleetError
from wearcast.fleet import Fleet

__all__ = ["SplitSpec", "UnitSplit", "split_units"]


class SplitSpec(Strict):
    """How the training fleet is divided by unit."""

    validation_share: float = Field(
        0.2, gt=0, lt=0.9, description="Share of the units held out for early stopping and calibration."
    )


@dataclass(frozen=True)
class UnitSplit:
    """Two fleets without a common unit."""

    train: Fleet
    validation: Fleet

    def __post_init__(self) -> None:
        both = set(self.train.units) & set(self.validation.units)
        if both:
            raise FleetError(f"unit {next(iter(both))!r} is on both sides of the split")


def split_units(fleet: Fleet, spec: SplitSpec, seed: int) -> UnitSplit:
    """Divide the fleet by unit, the same way for one seed; failed and censored units are divided alike.

    Raises:
        FleetError: fewer than two failed units, so that one side would have nothing to learn from.
    """
    failed = np.isfinite(fleet.end_of_life_age)
    if failed.sum() < 2:
        raise FleetError(
            f"{int(failed.sum())} of {fleet.n_units} units have failed; learning a time to failure takes at least 2",
            where=fleet.name,
            hint="add units that failed, or give their failure times as events",
        )
    rng = np.random.default_rng([seed, 0x5917])
    held_out: list[int] = []
    for group in (np.flatnonzero(failed), np.flatnonzero(~failed)):
        share = round(len(group) * spec.validation_share)
        count = min(max(share, 1), len(group) - 1) if len(group) > 1 else 0
        held_out += rng.permutation(group)[:count].tolist()
    chosen = set(held_out)
    return UnitSplit(
        train=fleet.select(unit for i, unit in enumerate(fleet.units) if i not in chosen),
        validation=fleet.select(unit for i, unit in enumerate(fleet.units) if i in chosen),
    )
