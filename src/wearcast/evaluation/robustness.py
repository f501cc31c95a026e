"""How a forecast bears bad data: the same model, the same path, on readings that were spoilt on purpose.

Each disturbance makes a fleet of spoilt readings, the bundle forecasts it as it would any other, and the forecasts are
judged against the truth of the unspoilt fleet. Draws share their random numbers, so that the sensors missing at one
level are among those missing at the next, and `lost` and `stuck` strike the same sensors at the same moments.

An operating condition that the model has never seen cannot be had without training another model. What is measured is
what the preprocessing makes of one: the settings of one condition are moved beyond all that occur, so that its readings
are scaled as those of the nearest condition that is known.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wearcast.errors import FleetError, UsageError
from wearcast.evaluation.by_target import evaluate
from wearcast.evaluation.figures import Figure, main_figure
from wearcast.evaluation.protocol import Evaluation, Forecaster, Manifest
from wearcast.fleet import Fleet
from wearcast.forecast import Forecast
from wearcast.windows import OperatingConditions

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["DISTURBANCES", "Case", "Disturbance", "Robustness", "measure_robustness"]

MOST_WINDOWS = 2000
"""Forecasts that a figure is over, evenly along the histories, where all readings are judged."""
MOST_CONDITIONS = 20

Rng = np.random.Generator
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class _Scene:
    """A fleet and what disturbances need to know of it.

    Attributes:
        fleet: unspoilt.
        sd: standard deviation within an operating condition, of each sensor that varies.
        conditions: of the fleet.
        condition: of each row, `(n_rows,)`.
    """

    fleet: Fleet
    sd: Mapping[str, float]
    conditions: OperatingConditions
    condition: NDArray[np.int16]

    @classmethod
    def of(cls, fleet: Fleet) -> _Scene:
        """Look at a fleet."""
        conditions = OperatingConditions.fit(fleet)
        condition, _ = conditions.assign(fleet)
        found = {name: _spread(fleet.frame[name].to_numpy(), condition) for name in fleet.schema.sensors}
        return cls(fleet, {name: sd for name, sd in found.items() if sd > 0}, conditions, condition)

    def with_columns(self, columns: Mapping[str, NDArray[np.float32]]) -> Fleet:
        """The fleet with other readings in these columns."""
        series = [pl.Series(name, values, dtype=pl.Float32) for name, values in columns.items()]
        return replace(self.fleet, frame=self.fleet.frame.with_columns(series))

    def some(self, share: float, rng: Rng) -> list[str]:
        """A share of the sensors that vary, at least one; with the same `rng`, more of them are those and others."""
        order = rng.permutation(sorted(self.sd))
        return [str(name) for name in order[: max(1, round(share * len(order)))]]


def _spread(column: NDArray[np.float32], condition: NDArray[np.int16]) -> float:
    """Pooled standard deviation within the conditions; 0 if that is but rounding."""
    known = np.isfinite(column)
    x, group = column[known].astype(np.float64), condition[known]
    if not len(x):
        return 0.0
    mean = np.bincount(group, weights=x) / np.maximum(np.bincount(group), 1)
    sd = float(np.sqrt(((x - mean[group]) ** 2).mean()))
    return sd if sd > 1e-6 * max(float(np.abs(mean).max()), 1e-6) else 0.0


# ------------------------------------------------------------------ disturbances


@dataclass(frozen=True)
class Disturbance:
    """One way in which data are bad.

    Attributes:
        name: in tables and JSON.
        meaning: what a level says.
        levels: how bad.
        spoil: the scene and a level as spoilt fleets, one a draw of random numbers.
        random: whether draws differ.
    """

    name: str
    meaning: str
    levels: tuple[float, ...]
    spoil: Callable[[_Scene, float, Iterator[Rng]], Iterator[Fleet]]
    random: bool = True


def _missing(scene: _Scene, share: float, draws: Iterator[Rng]) -> Iterator[Fleet]:
    nothing = np.full(scene.fleet.n_rows, np.nan, dtype=np.float32)
    for rng in draws:
        yield scene.with_columns(dict.fromkeys(scene.some(share, rng), nothing))


def _from_then_on(*, held: bool) -> Callable[[_Scene, float, Iterator[Rng]], Iterator[Fleet]]:
    """Sensors that fall silent, or repeat one reading, from a moment of each unit's history on."""

    def spoil(scene: _Scene, share: float, draws: Iterator[Rng]) -> Iterator[Fleet]:
        offsets, sizes = scene.fleet.offsets, np.diff(scene.fleet.offsets)
        row = np.arange(scene.fleet.n_rows)
        for rng in draws:
            names = scene.some(share, rng)
            columns = {}
            for name in names:
                moment = np.repeat(offsets[:-1] + (rng.random(len(sizes)) * sizes).astype(np.int64), sizes)
                column = scene.fleet.frame[name].to_numpy()
                columns[name] = np.where(row > moment, column[moment] if held else np.float32(np.nan), column)
            yield scene.with_columns(columns)

    return spoil


def _noise(scene: _Scene, size: float, draws: Iterator[Rng]) -> Iterator[Fleet]:
    for rng in draws:
        yield scene.with_columns(
            {
                name: (scene.fleet.frame[name].to_numpy() + size * sd * rng.standard_normal(scene.fleet.n_rows)).astype(
                    np.float32
                )
                for name, sd in sorted(scene.sd.items())
            }
        )


def _forgotten(scene: _Scene, share: float, draws: Iterator[Rng]) -> Iterator[Fleet]:
    offsets, sizes = scene.fleet.offsets, np.diff(scene.fleet.offsets)
    first = np.repeat(offsets[:-1] + np.minimum((share * sizes).astype(np.int64), sizes - 1), sizes)
    kept = np.arange(scene.fleet.n_rows) >= first
    yield replace(scene.fleet, frame=scene.fleet.frame.filter(pl.Series(kept)))


def _unseen(scene: _Scene, _level: float, draws: Iterator[Rng]) -> Iterator[Fleet]:
    """Each condition in turn, at most so many, with its settings beyond the range of all."""
    if len(scene.conditions) < 2:
        return
    order = next(draws).permutation(len(scene.conditions))[:MOST_CONDITIONS]
    telling = [i for i, parts in enumerate(scene.conditions.parts) if len(parts) > 1]
    for condition in order:
        columns = {}
        for i in telling:
            name, parts = scene.conditions.settings[i], scene.conditions.parts[i]
            low, high = parts[0][0], parts[-1][1]
            moved = high + 0.5 * (high - low)
            column = scene.fleet.frame[name].to_numpy()
            columns[name] = np.where(scene.condition == condition, np.float32(moved), column)
        yield scene.with_columns(columns)


_SHARES = (0.1, 0.2, 0.3, 0.5)

DISTURBANCES: tuple[Disturbance, ...] = (
    Disturbance("missing", "share of the sensors that never gave a reading", _SHARES, _missing),
    Disturbance("lost", "share of the sensors that fall silent at some moment", _SHARES, _from_then_on(held=False)),
    Disturbance(
        "stuck", "share of the sensors that repeat one reading from then on", _SHARES, _from_then_on(held=True)
    ),
    Disturbance("noise", "noise on every sensor, in its standard deviations", (0.1, 0.25, 0.5, 1.0), _noise),
    Disturbance(
        "history",
        "share of each history that is lost, from its start on",
        (0.25, 0.5, 0.75, 0.9),
        _forgotten,
        random=False,
    ),
    Disturbance("condition", "one operating condition is not known", (1.0,), _unseen, random=False),
)
"""All that are measured, in this order. `lost` and `stuck` have a moment of their own for each sensor of each unit."""


# ------------------------------------------------------------------ result


@dataclass(frozen=True)
class Case:
    """The main figure under one disturbance.

    Attributes:
        disturbance: its name.
        level: how bad.
        mean: over the draws.
        worst: of the draws.
        undisturbed: the figure of the same forecasts on unspoilt data.
        draws: how many there were.
    """

    disturbance: str
    level: float
    mean: float
    worst: float
    undisturbed: float
    draws: int

    def to_dict(self) -> dict[str, Any]:
        """As in `evaluate --json`."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class Robustness:
    """What bad data do to the main figure of a bundle.

    Attributes:
        figure: the main figure of the target.
        undisturbed: its value on unspoilt data.
        n_forecasts: how many forecasts it is over.
        sensors: those that are spoilt.
        seed: of the random numbers.
        cases: by disturbance and level.
        not_measured: why some disturbances are not.
    """

    figure: Figure
    undisturbed: float
    n_forecasts: int
    sensors: tuple[str, ...]
    seed: int
    cases: tuple[Case, ...]
    not_measured: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "metric": self.figure.name,
            "direction": self.figure.direction,
            "undisturbed": self.undisturbed,
            "n_forecasts": self.n_forecasts,
            "sensors": list(self.sensors),
            "seed": self.seed,
            "cases": [case.to_dict() for case in self.cases],
            "not_measured": dict(self.not_measured),
        }

    def table(self) -> Table:
        """For the terminal."""
        from rich.table import Table

        table = Table(title=f"{self.figure.label} on bad data; {self.figure.text(self.undisturbed)} on good data")
        for name, side in (("disturbance", "left"), ("level", "right"), ("mean", "right"), ("worst", "right")):
            table.add_column(name, justify="right" if side == "right" else "left")
        table.add_column("without it", justify="right", style="dim")
        table.add_column("what the level is", style="dim")
        meanings = {one.name: one.meaning for one in DISTURBANCES}
        said = ""
        for case in self.cases:
            first, said = case.disturbance != said, case.disturbance
            numbers = (self.figure.text(value) for value in (case.mean, case.worst, case.undisturbed))
            table.add_row(
                said if first else "", f"{case.level:g}", *numbers, meanings[said] if first else "", end_section=False
            )
        for name, reason in self.not_measured.items():
            table.add_row(name, "—", "—", "—", "—", reason)
        return table


# ------------------------------------------------------------------ measuring


@dataclass(frozen=True)
class _Seen:
    """A bundle that sees `fleet` whatever it is asked about: forecasts of spoilt data for judgement by the truth.

    Attributes:
        bundle: what forecasts.
        fleet: what it sees; it has every reading of the fleet that is asked about.
        every: only every so many windows, counted back from the last of each unit; None for the last alone.
    """

    bundle: Forecaster
    fleet: Fleet
    every: int | None

    @property
    def path(self) -> Path:
        """Of the bundle."""
        return self.bundle.path

    @property
    def manifest(self) -> Manifest:
        """Of the bundle."""
        return self.bundle.manifest

    def rows(self, fleet: Fleet) -> Rows:
        """See `Forecaster`."""
        if self.every is None:
            last: Rows = fleet.offsets[1:] - 1
            return last
        rows = self.bundle.rows(fleet)
        unit = np.searchsorted(fleet.offsets, rows, side="right")
        to_go = np.searchsorted(unit, unit, side="right") - 1 - np.arange(len(rows))
        chosen: Rows = rows[to_go % self.every == 0]
        return chosen

    def predict(self, fleet: Fleet, *, every: int | None = None, without: Collection[str] = ()) -> Forecast:
        """See `Forecaster`."""
        forecast = self.bundle.predict(self.fleet, every=self.every, without=without)
        keys = pl.DataFrame({"unit": forecast.unit, "time": forecast.time}).with_row_index("forecast")
        wanted = fleet.frame[self.rows(fleet)].select("unit", "time")
        index = wanted.join(keys, on=["unit", "time"], how="inner", maintain_order="left")["forecast"]
        return forecast.select(index.to_numpy().astype(np.intp))


def measure_robustness(
    bundle: Forecaster, fleet: Fleet, *, draws: int = 5, seed: int = 0, most_windows: int = MOST_WINDOWS
) -> Robustness:
    """Spoil a fleet in every way of `DISTURBANCES` and judge the forecasts by the main figure of the target.

    Where units are judged at their last reading (see `Evaluation`), so are they here.

    Args:
        bundle: what forecasts.
        fleet: the units; they must not have been trained on.
        draws: how often each random disturbance is drawn.
        seed: of the draws.
        most_windows: about how many forecasts a figure is over, unless units are judged at their last reading.

    Raises:
        UsageError: `draws` or `most_windows` is below 1.
        FleetError: the truth is not known, or no sensor varies.
    """
    if draws < 1 or most_windows < 1:
        raise UsageError(f"draws and most_windows must be at least 1, got {draws} and {most_windows}")
    scene, figure = _Scene.of(fleet), main_figure(bundle.manifest.target.kind)
    if not scene.sd:
        raise FleetError("no sensor varies: there is nothing to spoil", where=fleet.name)
    every: int | None = max(1, len(bundle.rows(fleet)) // most_windows)
    judged = evaluate(_Seen(bundle, fleet, every), fleet)
    if isinstance(judged, Evaluation) and judged.protocol == "last":
        every = None
    whole = _Seen(bundle, fleet, every)
    undisturbed = _value(whole, fleet, figure)
    cases, not_measured = [], {}
    for one in DISTURBANCES:
        for level in one.levels:
            count = draws if one.random else 1
            fleets = one.spoil(scene, level, (np.random.default_rng([seed, draw]) for draw in range(count)))
            values, base = [], undisturbed
            for spoilt in fleets:
                # Readings that were taken away are not judged, in neither.
                shorter = spoilt.n_rows < fleet.n_rows
                values.append(_value(_Seen(bundle, spoilt, every), spoilt if shorter else fleet, figure))
                base = _value(whole, spoilt, figure) if shorter else undisturbed
            if values:
                worst = max(values, key=figure.badness)
                cases.append(Case(one.name, level, float(np.mean(values)), worst, base, len(values)))
            else:
                not_measured[one.name] = "the fleet has one operating condition"
    n_forecasts = len(whole.rows(fleet))
    return Robustness(figure, undisturbed, n_forecasts, tuple(scene.sd), seed, tuple(cases), not_measured)


def _value(seen: _Seen, fleet: Fleet, figure: Figure) -> float:
    value = evaluate(seen, fleet).metrics[figure.name]
    if not isinstance(value, int | float):
        raise FleetError(f"{figure.label} cannot be measured: the truth is not known", where=fleet.name)
    return float(value)
