"""Splits by unit, or by time where there is but one unit: no reading is on both sides."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from wearcast.config import Strict
from wearcast.errors import FleetError
from wearcast.fleet import Fleet
from wearcast.target import RulTarget, Target

__all__ = ["SplitSpec", "UnitSplit", "split_folds", "split_units"]


class SplitSpec(Strict):
    """How the training fleet is divided."""

    by: Literal["unit", "time"] = Field(
        "unit", description="'time': the last part of each unit is held out, for what is learnt within a unit."
    )
    validation_share: float = Field(
        0.2, gt=0, lt=0.9, description="Share of the units, or of each history, held out for stopping and calibration."
    )


@dataclass(frozen=True)
class UnitSplit:
    """Two fleets without a common unit, or if `by` is time, without a common stretch of time of a unit.

    Attributes:
        train: what is learnt from.
        validation: what is held out. If `by` is time, whole units, so that a reading that is held out has the context,
            the age and the healthy start that it has in service.
        by: see `SplitSpec`.
        late: whether each reading of `validation` is held out, `(n_rows,)`; None if all are.
    """

    train: Fleet
    validation: Fleet
    by: Literal["unit", "time"] = "unit"
    late: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        both = set(self.train.units) & set(self.validation.units)
        if self.by == "unit" and both:
            raise FleetError(f"unit {next(iter(both))!r} is on both sides of the split")
        learnt = self.train.frame.group_by("unit").agg(pl.col("time").max().alias("end"))
        judged = self.validation.frame[self.held_out].group_by("unit").agg(pl.col("time").min().alias("start"))
        overlap = learnt.join(judged, on="unit").filter(pl.col("end") >= pl.col("start"))["unit"]
        if len(overlap):
            raise FleetError(f"unit {overlap[0]!r} has one stretch of time on both sides of the split")

    @property
    def held_out(self) -> NDArray[np.int64]:
        """Rows of `validation` that are held out."""
        return np.arange(self.validation.n_rows) if self.late is None else np.flatnonzero(self.late)


def split_units(fleet: Fleet, spec: SplitSpec, seed: int, target: Target | None = None) -> UnitSplit:
    """Divide the fleet, the same way for one seed; by unit, units of each kind (failed, censored, …) are divided alike.

    Raises:
        FleetError: there are too few units that something can be learnt from, or a history is too short to divide.
    """
    if spec.by == "time":
        return _split_time(fleet, spec)
    kind = (target or RulTarget()).strata(fleet)
    rng = np.random.default_rng([seed, 0x5917])
    held_out: list[int] = []
    for group in (np.flatnonzero(kind == value) for value in np.unique(kind)[::-1]):
        share = round(len(group) * spec.validation_share)
        count = min(max(share, 1), len(group) - 1) if len(group) > 1 else 0
        held_out += rng.permutation(group)[:count].tolist()
    if not held_out:
        raise FleetError(
            f"none of {fleet.n_units} units is like another: no kind has one to learn from and one to hold out",
            where=fleet.name,
            hint="set split.by to time, or add units",
        )
    chosen = set(held_out)
    return UnitSplit(
        train=fleet.select(unit for i, unit in enumerate(fleet.units) if i not in chosen),
        validation=fleet.select(unit for i, unit in enumerate(fleet.units) if i in chosen),
    )


def split_folds(fleet: Fleet, spec: SplitSpec, seed: int, target: Target | None = None) -> tuple[UnitSplit, ...]:
    """Splits under which every unit is held out once, `1 / validation_share` of them; by time there is but one.

    Units of each kind (failed, censored, …) are divided alike.

    Raises:
        FleetError: there are too few units, or a history is too short to divide.
    """
    if spec.by == "time":
        return (_split_time(fleet, spec),)
    kind = (target or RulTarget()).strata(fleet)
    folds = min(max(round(1 / spec.validation_share), 2), fleet.n_units)
    # Within a kind at random, then dealt round like cards.
    place = np.random.default_rng([seed, 0xF01D]).permutation(fleet.n_units)
    fold = np.empty(fleet.n_units, dtype=np.intp)
    fold[np.lexsort((place, kind))] = np.arange(fleet.n_units) % folds
    if folds < 2:
        raise FleetError("there is one unit only: none can be held out", where=fleet.name, hint="set split.by to time")
    return tuple(
        UnitSplit(
            train=fleet.select(unit for unit, at in zip(fleet.units, fold, strict=True) if at != k),
            validation=fleet.select(unit for unit, at in zip(fleet.units, fold, strict=True) if at == k),
        )
        for k in range(folds)
    )


def _split_time(fleet: Fleet, spec: SplitSpec) -> UnitSplit:
    sizes = np.diff(fleet.offsets)
    kept = np.round(sizes * (1 - spec.validation_share)).astype(np.int64)
    short = np.flatnonzero((kept < 1) | (kept >= sizes))
    if len(short):
        raise FleetError(
            f"unit {fleet.units[short[0]]!r} has {sizes[short[0]]} readings, too few to divide by time",
            where=fleet.name,
            hint="take split.by unit, or leave such units out",
        )
    early = np.arange(fleet.n_rows) - np.repeat(fleet.offsets[:-1], sizes) < np.repeat(kept, sizes)
    return UnitSplit(replace(fleet, frame=fleet.frame.filter(pl.Series(early))), fleet, by="time", late=~early)
