"""Figures of forecast values against integrals and plain loops."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.fleets import make_fleet
from tests.fixtures.forecasters import NOTHING_SEEN

from wearcast import Fleet
from wearcast.bundle import DataRecord
from wearcast.evaluation.forecasting import (
    ValueEvaluation,
    crps_of_quantiles,
    evaluate_values,
    held_out_values,
    value_metrics,
)
from wearcast.evaluation.judged_report import judged_content
from wearcast.forecast import SensorForecast
from wearcast.target import SensorTarget

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def make_values(n: int = 30, steps: int = 3, k: int = 2, seed: int = 0) -> dict[str, Any]:
    """Quantiles, what came, whether it is known, and the last values."""
    rng = np.random.default_rng(seed)
    quantiles = np.sort(rng.normal(size=(n, steps, k, len(LEVELS))), axis=3).astype(np.float32)
    value = rng.normal(size=(n, steps, k)).astype(np.float32)
    known = rng.uniform(size=(n, steps, k)) < 0.7
    last = rng.normal(size=(n, k)).astype(np.float32)
    return {"quantiles": quantiles, "value": np.where(known, value, np.float32(0)), "known": known, "last": last}


class TestCrps:
    @pytest.mark.parametrize("y", [-2.5, 0.0, 0.7, 4.0])
    def test_on_dense_levels_it_is_that_of_the_normal(self, y: float) -> None:
        """Closed form: Gneiting & Raftery 2007, eq. 21."""
        from statistics import NormalDist

        normal = NormalDist()
        levels = (np.arange(2000) + 0.5) / 2000
        quantiles = np.array([normal.inv_cdf(level) for level in levels])
        expected = y * (2 * normal.cdf(y) - 1) + 2 * normal.pdf(y) - 1 / np.sqrt(np.pi)
        found = crps_of_quantiles(quantiles[None].astype(np.float32), levels.tolist(), np.array([y]))
        assert found[0] == pytest.approx(expected, abs=2e-3)

    @given(st.floats(-5, 5), st.floats(-5, 5))
    def test_of_a_point_it_is_the_absolute_error(self, point: float, y: float) -> None:
        quantiles = np.full((1, len(LEVELS)), point)
        found = crps_of_quantiles(quantiles, LEVELS, np.array([y]))
        # Uneven levels: each stands for those nearest to it, so the two sides weigh alike all the same.
        assert found[0] == pytest.approx(abs(point - y), abs=1e-9)

    def test_one_level_is_twice_the_pinball_loss(self) -> None:
        assert crps_of_quantiles(np.array([[1.0]]), (0.5,), np.array([4.0]))[0] == pytest.approx(3.0)


class TestFigures:
    @given(st.integers(0, 1000))
    @settings(max_examples=15, deadline=None)
    def test_figures_equal_a_plain_loop(self, seed: int) -> None:
        case = make_values(seed=seed)
        found = value_metrics(levels=LEVELS, **case)
        squares, errors, still, inside, widths = [], [], [], [], []
        for index in zip(*np.nonzero(case["known"]), strict=True):
            y, q = float(case["value"][index]), case["quantiles"][index].astype(float)
            squares.append((q[2] - y) ** 2)
            errors.append(abs(q[2] - y))
            still.append(float(case["last"][index[0], index[2]]) - y)
            inside.append(q[0] <= y <= q[4])
            widths.append(q[4] - q[0])
        assert found["mse"] == pytest.approx(np.mean(squares), rel=1e-5)
        assert found["mae"] == pytest.approx(np.mean(errors), rel=1e-5)
        assert found["mse_persistence"] == pytest.approx(np.mean(np.square(still)), rel=1e-5)
        assert found["mae_persistence"] == found["crps_persistence"] == pytest.approx(np.mean(np.abs(still)), rel=1e-5)
        assert found["skill_mae"] == pytest.approx(1 - np.mean(errors) / np.mean(np.abs(still)), abs=1e-5)
        assert found["coverage_90"] == pytest.approx(np.mean(inside))
        assert found["width_90"] == pytest.approx(np.mean(widths), rel=1e-5)

    def test_what_is_not_known_does_not_count(self) -> None:
        case = make_values()
        worse = {**case, "value": np.where(case["known"], case["value"], np.float32("nan"))}
        assert value_metrics(levels=LEVELS, **worse) == value_metrics(levels=LEVELS, **case)

    def test_a_column_without_a_reading_yet_is_not_scored(self) -> None:
        case = make_values()
        expected = value_metrics(levels=LEVELS, **{name: array[5:] for name, array in case.items()})
        case["last"][:5] = np.nan
        assert value_metrics(levels=LEVELS, **case) == expected

    def test_without_a_known_value_there_is_no_figure(self) -> None:
        case = make_values()
        case["known"][:] = False
        assert value_metrics(levels=LEVELS, **case) == {}
        assert held_out_values(levels=LEVELS, **case) == {}

    def test_coverage_is_named_after_the_interval_that_there_is(self) -> None:
        case = make_values()
        case["quantiles"] = case["quantiles"][..., 1:4]
        assert "coverage_90" not in value_metrics(levels=(0.25, 0.5, 0.75), **case)

    def test_where_nothing_changed_there_is_no_skill(self) -> None:
        case = make_values()
        case["value"][:] = 1.0
        case["last"][:] = 1.0
        assert np.isnan(value_metrics(levels=LEVELS, **case)["skill_mae"])
        assert "validation_skill_mae" not in held_out_values(levels=LEVELS, **case)


@dataclass(frozen=True)
class StillManifest:
    """As much of a manifest as evaluation reads."""

    name: str = "still"
    seed: int = 0
    target: SensorTarget = field(default_factory=lambda: SensorTarget(columns=("s1", "s0")))
    data: DataRecord = NOTHING_SEEN
    training: dict[str, float | int | str] = field(default_factory=dict)

    def model_dump(self, *, mode: str = "python") -> dict[str, Any]:
        """Nothing that is read here."""
        return {}


@dataclass(frozen=True)
class Still:
    """Forecasts that the last reading stays, give or take 1."""

    manifest: StillManifest = field(default_factory=StillManifest)
    path: Path = Path("still")

    def rows(self, fleet: Fleet) -> np.ndarray:
        """Every reading."""
        return np.arange(fleet.n_rows)

    def predict(self, fleet: Fleet, *, every: int | None = None, without: Any = ()) -> SensorForecast:
        """At each reading, two steps ahead."""
        assert every == 1
        last = fleet.values(("s1", "s0"))
        quantiles = last[:, None, :, None] + np.array([-1.0, -0.5, 0.0, 0.5, 1.0], dtype=np.float32)
        return SensorForecast(
            unit=fleet.frame["unit"],
            time=fleet.frame["time"],
            condition=np.zeros(fleet.n_rows, dtype=np.int16),
            flags=((),) * fleet.n_rows,
            model="still",
            names=("s1", "s0"),
            quantile_levels=LEVELS,
            quantiles=np.repeat(quantiles, 2, axis=1),
        )


class TestEvaluation:
    def evaluate(self, fleet: Fleet) -> ValueEvaluation:
        """The figures of the forecast that nothing changes."""
        return evaluate_values(Still(), fleet, split="test", seed=None)

    def test_persistence_has_the_figures_of_persistence(self) -> None:
        found = self.evaluate(make_fleet())
        assert found.metrics["mae"] == pytest.approx(found.metrics["mae_persistence"])
        assert found.metrics["skill_mae"] == pytest.approx(0.0)
        np.testing.assert_allclose(found.mae_by_step[0], found.mae_by_step[1])
        assert found.n_scored == found.n_windows - 3  # what comes after each unit's last reading
        assert found.latest.time.to_list() == [len(found.fleet.unit_frame(unit)) for unit in (1, 2, 3)]

    def test_errors_by_step_equal_a_plain_loop(self) -> None:
        fleet = make_fleet(units=2, cycles=9)
        found = self.evaluate(fleet)
        for step in (1, 2):
            errors = []
            for unit in fleet.units:
                values = fleet.unit_frame(unit).select("s1", "s0").to_numpy()
                errors.append(np.abs(values[step:] - values[:-step]).ravel())
            assert found.mae_by_step[0, step - 1] == pytest.approx(np.concatenate(errors).mean(), rel=1e-5)

    def test_a_constant_sensor_has_no_skill_and_the_report_says_so(self) -> None:
        fleet = make_fleet()
        frame = fleet.frame.with_columns(pl.lit(3.0, dtype=pl.Float32).alias(name) for name in ("s0", "s1"))
        found = self.evaluate(Fleet(frame, fleet.schema, fleet.events))
        assert found.metrics["skill_mae"] is None
        assert "nothing changed" in judged_content(found)["summary"][0]

    def test_histories_too_short_to_have_an_answer_are_not_scored(self) -> None:
        fleet = make_fleet(units=2)
        short = Fleet(fleet.frame.group_by("unit", maintain_order=True).head(1), fleet.schema)
        found = self.evaluate(short)
        assert (found.n_scored, found.truth) == (0, "unknown")
        assert set(found.metrics.values()) == {None}
