"""Readings as arrays forecast as the fleet that they were taken from, to the last bit."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from tests.fixtures.bundles import TrainedByKind, TrainedEnsemble
from tests.fixtures.fleets import make_fleet

from wearcast import Bundle, Fleet
from wearcast.features import Derived, with_derived
from wearcast.features.derived import Limits
from wearcast.readings import Readings


def assert_same_forecasts(bundle: Bundle, fleet: Fleet, every: int | None = None) -> None:
    """What is said of the arrays is what is said of the fleet."""
    wanted, found = (
        bundle.predict(one, every=every).to_frame() for one in (fleet, Readings.of(fleet, fleet.column_names))
    )
    assert found.with_columns(pl.col("unit").cast(wanted["unit"].dtype)).equals(wanted)


@pytest.mark.parametrize("kind", ["cnn_bilstm", "lightgbm", "tft"])
@pytest.mark.parametrize("every", [None, 1])
def test_arrays_forecast_as_their_fleet(kind: str, every: int | None, trained: TrainedByKind) -> None:
    one = trained(kind)
    assert_same_forecasts(one.bundle, one.fleet, every)


def test_an_ensemble_reads_arrays_too(ensemble: TrainedEnsemble) -> None:
    assert_same_forecasts(ensemble.bundle, ensemble.fleet)


def test_missing_readings_are_held_as_in_a_fleet(trained: TrainedByKind) -> None:
    one = trained("cnn_bilstm")
    sensor = one.fleet.schema.sensors[0]
    rng = np.random.default_rng(0)
    holes = pl.Series(np.where(rng.random(one.fleet.n_rows) < 0.3, np.nan, 0.0), dtype=pl.Float32)
    frame = one.fleet.frame.with_columns(pl.col(sensor) + holes)
    damaged = Fleet(frame, one.fleet.schema, one.fleet.events)
    assert_same_forecasts(one.bundle, damaged, every=3)


@pytest.mark.parametrize("time_unit", ["second", "hour", "day"])
def test_age_and_time_of_a_clock_are_those_of_the_fleet(time_unit: str) -> None:
    stamps = pl.datetime_range(
        pl.datetime(2024, 2, 28, 23), pl.datetime(2024, 3, 2), "7h", time_unit="us", eager=True
    ).alias("at")
    table = pl.DataFrame({"pump": ["a"] * 4 + ["b"] * (len(stamps) - 4), "at": stamps, "flow": np.arange(len(stamps))})
    fleet = Fleet.from_frame(table, unit="pump", time="at", time_unit=time_unit, sensors=["flow"])  # type: ignore[arg-type]
    rows = np.arange(fleet.n_rows)
    readings = Readings.of(fleet, fleet.column_names)
    np.testing.assert_array_equal(readings.age_at(rows), fleet.age_at(rows))
    assert readings.time_at(rows[2:]).equals(fleet.time_at(rows[2:]))
    assert readings.unit_at(rows).to_list() == fleet.unit_at(rows).cast(pl.String).to_list()
    np.testing.assert_array_equal(readings.microseconds(slice(1, 3)), fleet.microseconds(slice(1, 3)))


def test_a_column_is_derived_from_arrays_as_from_a_fleet() -> None:
    plain = make_fleet(units=3, cycles=6)
    table, size = plain.frame, np.diff(plain.offsets)
    kind = pl.Series("kind", ["L", "M", "?"], dtype=pl.String).gather(np.repeat([0, 1, 2], size))
    fleet = Fleet.from_frame(
        table.with_columns(kind), unit="unit", cycle="time", sensors=["s0", "s1"], statics=["kind"]
    )
    wear = Derived(
        name="wear",
        operation="product",
        columns=("s0", "s1"),
        limits=Limits(column="kind", values={"L": 2.0, "M": 4.0}),
    )
    wanted, found = (
        with_derived(one, [wear]).column("wear") for one in (fleet, Readings.of(fleet, fleet.column_names))
    )
    np.testing.assert_array_equal(found, wanted)
    assert np.isnan(wanted[size[0] + size[1] :]).all(), "a variant without a limit has no value"
    first = slice(0, size[0])
    np.testing.assert_array_equal(wanted[first], fleet.column("s0", first) * fleet.column("s1", first) / 2)


def test_a_bundle_says_what_it_reads(trained: TrainedByKind, ensemble: TrainedEnsemble) -> None:
    for bundle in (trained("tft").bundle, ensemble.bundle):
        assert set(bundle.columns) <= set(trained("tft").fleet.column_names)
        assert set(trained("cnn_bilstm").fleet.schema.settings) <= set(bundle.columns)
        assert bundle.time_unit == "cycle"
        assert bundle.text_columns <= set(bundle.columns)
