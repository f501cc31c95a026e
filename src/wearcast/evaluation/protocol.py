"""The protocol: which forecasts are scored against which truth, and the frozen result.

Two protocols, chosen by the data and always named in the result:

- `last`: the histories were cut before the end of life (the C-MAPSS test sets), so the point metrics, coverage, width
  and CRPS are over the last reading of each unit.
- `trajectory`: the histories run to the end of life, so they are pooled over all windows.

The NASA score is over the last reading of each unit and the prognostic metrics are along the trajectories, in both.
Units whose end of life is not known are forecast but not scored, and the result says how many they are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wearcast.errors import FleetError, ModelError
from wearcast.evaluation.metrics import (
    COVERAGE,
    LAST_METRICS,
    WINDOW_METRICS,
    CalibrationCurve,
    Metric,
    Scored,
    calibration_curve,
    covered,
    interval_width,
    rmse,
)
from wearcast.evaluation.prognostics import PROGNOSTIC_METRICS, Trajectory, UnitPrognosis, judge, worst_unit
from wearcast.fleet import Fleet
from wearcast.forecast import Forecast, RulForecast
from wearcast.schema import UnitId
from wearcast.target import Target

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "ALL_METRICS",
    "ConditionCoverage",
    "Evaluation",
    "Forecaster",
    "Manifest",
    "Record",
    "TrainingData",
    "UnitCoverage",
    "at_each_window",
    "evaluate_rul",
    "fleet_at",
]

Floats = NDArray[np.float64]
ProtocolName = Literal["last", "trajectory"]
Truth = Literal["known", "partial", "unknown"]
Value = float | None | dict[str, Any]

ALL_METRICS: tuple[Metric[Any], ...] = (*WINDOW_METRICS, *LAST_METRICS, *PROGNOSTIC_METRICS)
"""Every metric of a RUL evaluation, in the order in which it is reported."""


class TrainingData(Protocol):
    """What evaluation reads of the record of the training data."""

    def units_seen(self, fleet: Fleet) -> tuple[UnitId, ...]:
        """Units of a fleet that were trained on."""


class Manifest(Protocol):
    """What evaluation reads of a bundle's description of itself."""

    @property
    def name(self) -> str:
        """Name of the recipe."""

    @property
    def seed(self) -> int:
        """Seed of the training."""

    @property
    def target(self) -> Target:
        """What is forecast."""

    @property
    def data(self) -> TrainingData:
        """What was trained on."""

    @property
    def training(self) -> Mapping[str, float | int | str]:
        """What training took, and sizes of what came of it."""

    def model_dump(self, *, mode: str = ...) -> dict[str, Any]:
        """All of it, ready for JSON."""


class Forecaster(Protocol):
    """What evaluation asks of a bundle."""

    @property
    def path(self) -> Path:
        """Where it lies."""

    @property
    def manifest(self) -> Manifest:
        """Its description of itself."""

    def rows(self, fleet: Fleet) -> NDArray[np.int64]:
        """Readings of which it takes a window: those that `predict` forecasts at when `every` is 1."""

    def predict(self, fleet: Fleet, *, every: int | None = None, without: Collection[str] = ()) -> Forecast:
        """Forecast the last reading of each unit, or each `every`-th of `rows`; those in `without` are seen healthy."""


@dataclass(frozen=True)
class Record:
    """Whose forecasts, of what.

    Attributes:
        bundle: path of the bundle.
        recipe: name of the recipe; evaluations of one recipe are seeds of one another.
        dataset: name of the fleet.
        split: which split of it.
        target: kind of target.
        seed: seed of the training.
        trained_on: units of this fleet that the model was trained on, so that figures here flatter it.
    """

    bundle: str
    recipe: str
    dataset: str
    split: str
    target: str
    seed: int
    trained_on: tuple[UnitId, ...]

    @classmethod
    def of(cls, bundle: Forecaster, fleet: Fleet, split: str, seed: int | None) -> Record:
        """Of this bundle and fleet."""
        manifest = bundle.manifest
        return cls(
            bundle=str(bundle.path),
            recipe=manifest.name,
            dataset=fleet.name.removesuffix(f" {split}"),
            split=split,
            target=manifest.target.kind,
            seed=manifest.seed if seed is None else seed,
            trained_on=manifest.data.units_seen(fleet),
        )


@dataclass(frozen=True)
class ConditionCoverage:
    """Coverage, width and error in one operating condition, over all windows whose truth is known."""

    condition: int
    n_windows: int
    coverage_90: float
    coverage_90_capped: float
    width_90: float
    rmse_capped: float

    def to_dict(self) -> dict[str, Any]:
        """As in `evaluate --json`."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class UnitCoverage:
    """How coverage differs between units, each over its whole trajectory."""

    units: tuple[Any, ...]
    coverage_90: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Summary over units: the lowest, the quartiles, and how many units are covered less than half the time."""
        share = np.array(self.coverage_90)
        low, first, median, third = np.quantile(share, [0.0, 0.25, 0.5, 0.75])
        return {
            "n_units": len(share),
            "min": float(low),
            "q25": float(first),
            "median": float(median),
            "q75": float(third),
            "lowest_unit": self.units[int(share.argmin())],
            "units_below_half": int((share < 0.5).sum()),
        }


@dataclass(frozen=True)
class Evaluation(Record):
    """What one bundle says about one fleet, and how right it was.

    Attributes:
        protocol: which windows the point metrics, coverage, width and CRPS are over.
        fleet: the fleet, at the readings that were forecast at.
        forecast: a forecast at each window, in the fleet's order.
        true_rul: true RUL of each forecast, `(n,)`, NaN where it is not known.
        metrics: value of each metric, None where the truth is not known.
        prognostics: one a unit whose truth is known.
        conditions: one an operating condition.
        unit_coverage: None where no truth is known.
        calibration: None where no truth is known.
    """

    protocol: ProtocolName
    fleet: Fleet = field(repr=False)
    forecast: RulForecast = field(repr=False)
    true_rul: Floats = field(repr=False)
    metrics: Mapping[str, Value]
    prognostics: tuple[UnitPrognosis, ...] = field(repr=False)
    conditions: tuple[ConditionCoverage, ...] = field(repr=False)
    unit_coverage: UnitCoverage | None = field(repr=False)
    calibration: CalibrationCurve | None = field(repr=False)

    @property
    def record(self) -> Record:
        """Whose forecasts, of what."""
        return self

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether the truth of each forecast is known, `(n,)`."""
        return np.isfinite(self.true_rul)

    @property
    def last(self) -> NDArray[np.intp]:
        """Row of the last forecast of each unit, `(n_units,)`."""
        return self.fleet.offsets[1:].astype(np.intp) - 1

    @property
    def latest(self) -> RulForecast:
        """The forecast at the last reading of each unit."""
        return self.forecast.select(self.last)

    @property
    def urgent(self) -> NDArray[np.intp]:
        """Row of the last forecast of each unit, most urgent first: by the lower end of the interval, then by RUL."""
        forecast = self.forecast.select(self.last)
        return np.asarray(self.last[np.lexsort((forecast.rul, np.round(forecast.interval(COVERAGE)[0], 6)))])

    @property
    def scored(self) -> NDArray[np.intp]:
        """Rows that the point metrics, coverage, width and CRPS are over."""
        rows = self.last if self.protocol == "last" else np.arange(len(self.forecast))
        return rows[self.known[rows]]

    @property
    def n_units_known(self) -> int:
        """Number of units whose end of life is known."""
        return int(self.known[self.last].sum())

    @property
    def truth(self) -> Truth:
        """Whether the end of life of every, of some or of no unit is known."""
        if self.n_units_known == self.fleet.n_units:
            return "known"
        return "partial" if self.n_units_known else "unknown"

    @property
    def truth_note(self) -> str:
        """One plain sentence on what could be scored."""
        n, known = self.fleet.n_units, self.n_units_known
        if self.truth == "unknown":
            return f"The end of life of none of the {n} units is known: nothing is scored, the forecasts stand."
        if self.truth == "partial":
            return f"The end of life of {known} of {n} units is known: only these are scored, {n - known} are not."
        return f"The end of life of all {n} units is known."

    @property
    def protocol_note(self) -> str:
        """One plain sentence on which forecasts are scored."""
        if self.truth == "unknown":
            return "Forecast at each reading."
        if self.protocol == "last":
            return "Scored at the last reading of each unit; prognostic metrics along the trajectories."
        return "The histories run to the end of life: scored at every reading, pooled; NASA score at the last ones."

    def to_dict(self) -> dict[str, Any]:
        """The object that `evaluate --json` prints."""
        return {
            "bundle": self.bundle,
            "recipe": self.recipe,
            "model": self.forecast.model,
            "dataset": self.dataset,
            "split": self.split,
            "target": self.target,
            "n_units": self.fleet.n_units,
            "n_windows": len(self.forecast),
            "seed": self.seed,
            "metrics": dict(self.metrics),
            "trained_on_this_data": bool(self.trained_on),
            "units_trained_on": list(self.trained_on),
            "protocol": self.protocol,
            "protocol_note": self.protocol_note,
            "truth": self.truth,
            "truth_note": self.truth_note,
            "n_units_scored": self.n_units_known,
            "n_windows_scored": len(self.scored),
            "max_rul": self.forecast.max_rul,
            "time_unit": self.fleet.schema.time_unit,
            "per_condition": [condition.to_dict() for condition in self.conditions],
            "per_unit_coverage_90": self.unit_coverage.to_dict() if self.unit_coverage else None,
            "calibration": (
                {"levels": list(self.calibration.levels), "observed": list(self.calibration.observed)}
                if self.calibration
                else None
            ),
        }

    def table(self) -> Table:
        """The metrics as a table for the terminal."""
        from wearcast.evaluation.table import evaluation_table

        return evaluation_table(self)


def evaluate_rul(bundle: Forecaster, fleet: Fleet, *, split: str = "test", seed: int | None = None) -> Evaluation:
    """Forecast each window of a fleet once and score what can be scored.

    Args:
        bundle: what forecasts.
        fleet: the units to judge it on; they must not have been trained on.
        split: name of the split, for the record.
        seed: seed of the training, for the record; that of the bundle unless given.

    Raises:
        FleetError: the fleet is empty.
        ModelError: the bundle did not forecast each window once, or forecast something that is not a number.
    """
    forecast, rows_judged = at_each_window(bundle, fleet)
    if not isinstance(forecast, RulForecast):
        raise ModelError("the bundle does not forecast a remaining useful life", where=str(bundle.path))
    if not np.isfinite(forecast.distribution.survival).all():
        raise ModelError("the forecast holds values that are not numbers", where=forecast.model)
    record = Record.of(bundle, fleet, split, seed)
    fleet = fleet_at(fleet, rows_judged)
    remaining, known = fleet.rul()
    truth = np.where(known, remaining, np.nan)
    last = fleet.offsets[1:] - 1
    protocol = _protocol(truth[last])
    everything = Scored(forecast.rul, truth, forecast.distribution, forecast.max_rul)
    rows = last if protocol == "last" else np.arange(fleet.n_rows)
    prognostics = _prognostics(everything, fleet)
    return Evaluation(
        **vars(record),
        protocol=protocol,
        fleet=fleet,
        forecast=forecast,
        true_rul=truth,
        metrics=_metrics(everything, rows[known[rows]], last[known[last]], prognostics),
        prognostics=prognostics,
        conditions=_conditions(everything, forecast.condition),
        unit_coverage=_unit_coverage(everything, fleet),
        calibration=calibration_curve(everything.select(rows[known[rows]])) if known.any() else None,
    )


def at_each_window(bundle: Forecaster, fleet: Fleet) -> tuple[Forecast, NDArray[np.int64]]:
    """A forecast at every reading of which the bundle takes a window, and those rows of the fleet, in its order.

    Raises:
        FleetError: the fleet is empty.
        ModelError: it is not one a window.
    """
    if fleet.n_units == 0:
        raise FleetError("there is no unit to evaluate", where=fleet.name)
    rows = bundle.rows(fleet)
    forecast = bundle.predict(fleet, every=1)
    key = pl.DataFrame({"unit": forecast.unit, "time": forecast.time}).with_row_index("forecast")
    wanted = fleet.frame.select("unit", "time")
    wanted = wanted if len(rows) == fleet.n_rows else wanted[rows]
    index = wanted.join(key, on=["unit", "time"], how="left", maintain_order="left")["forecast"]
    if len(index) != len(rows) or len(forecast) != len(rows) or index.null_count():
        raise ModelError(f"{len(forecast)} forecasts for {len(rows)} readings", where=forecast.model)
    order = index.to_numpy().astype(np.intp)
    return (forecast if (order == np.arange(len(order))).all() else forecast.select(order)), rows


def fleet_at(fleet: Fleet, rows: NDArray[np.int64]) -> Fleet:
    """The fleet with these readings only, those of forecasts that are judged."""
    return fleet if len(rows) == fleet.n_rows else replace(fleet, frame=fleet.frame[rows])


def _protocol(last_truth: Floats) -> ProtocolName:
    """`last` unless most of the known units have reached their end of life."""
    known = last_truth[np.isfinite(last_truth)]
    return "last" if len(known) == 0 or (known > 0).mean() > 0.5 else "trajectory"


def _metrics(
    everything: Scored, rows: NDArray[np.int64], last: NDArray[np.int64], prognostics: Sequence[UnitPrognosis]
) -> dict[str, Value]:
    if not len(last):
        return {**dict.fromkeys(m.name for m in ALL_METRICS), "worst_unit": None}
    windows, ends = everything.select(rows), everything.select(last)
    values = {m.name: m(windows) for m in WINDOW_METRICS}
    values |= {m.name: m(ends) for m in LAST_METRICS}
    values |= {m.name: m(prognostics) for m in PROGNOSTIC_METRICS}
    found: dict[str, Value] = {name: value if np.isfinite(value) else None for name, value in values.items()}
    worst = worst_unit(prognostics)
    return {**found, "worst_unit": worst.to_dict() if worst else None}


def _prognostics(everything: Scored, fleet: Fleet) -> tuple[UnitPrognosis, ...]:
    median = everything.distribution.quantile(0.5)
    error = everything.rul - everything.capped
    found = []
    for unit, start, stop in zip(fleet.units, fleet.offsets[:-1], fleet.offsets[1:], strict=True):
        if np.isfinite(everything.truth[start]):
            part = slice(start, stop)
            found.append(judge(Trajectory(unit, fleet.age[part], median[part], everything.truth[part], error[part])))
    return tuple(found)


def _conditions(everything: Scored, condition: NDArray[Any]) -> tuple[ConditionCoverage, ...]:
    known = np.isfinite(everything.truth)
    found = []
    for value in np.unique(condition[known]):
        part = everything.select(known & (condition == value))
        found.append(
            ConditionCoverage(
                condition=int(value),
                n_windows=len(part),
                coverage_90=float(covered(part).mean()),
                coverage_90_capped=float(covered(part, capped=True).mean()),
                width_90=float(interval_width(part).mean()),
                rmse_capped=rmse(part.rul, part.capped),
            )
        )
    return tuple(found)


def _unit_coverage(everything: Scored, fleet: Fleet) -> UnitCoverage | None:
    known = np.isfinite(everything.truth)
    if not known.any():
        return None
    hit = covered(everything, COVERAGE) & known
    starts = fleet.offsets[:-1]
    share = np.add.reduceat(hit.astype(np.float64), starts) / np.diff(fleet.offsets)
    which = np.flatnonzero(known[starts])
    return UnitCoverage(tuple(fleet.units[i] for i in which), tuple(float(share[i]) for i in which))
