"""Forecasts held to properties: of short and strange histories, of other units, of the future."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.bundles import KINDS, Trained, TrainedByKind

from wearcast import Fleet
from wearcast.errors import FleetError, UsageError
from wearcast.inference import engine as engine_module

FEW = settings(max_examples=12)
SENSORS = ("s0", "s1", "s2")


def cut(source: Trained, readings: list[int], *, prefix: str | None = None) -> Fleet:
    """The source's fleet with so many first readings of each unit, none of units with 0; renamed if asked for."""
    row = pl.int_range(pl.len()).over("unit")
    keep = pl.DataFrame({"unit": source.fleet.units[: len(readings)], "readings": readings})
    frame = source.fleet.frame.join(keep, on="unit", how="inner", maintain_order="left")
    frame = frame.filter(row < pl.col("readings")).drop("readings")
    if prefix is not None:
        frame = frame.with_columns(pl.format("{}-{}", pl.lit(prefix), "unit").alias("unit"))
    schema = source.fleet.schema
    return Fleet.from_frame(
        frame,
        unit="unit",
        cycle="time",
        sensors=schema.sensors,
        settings=schema.settings,
        statics=schema.statics,
        known_future=schema.known_future,
    )


def edited(fleet: Fleet, **columns: pl.Expr) -> Fleet:
    """The fleet with other values in these columns."""
    return replace(fleet, frame=fleet.frame.with_columns(**{k: v.cast(pl.Float32) for k, v in columns.items()}))


# ------------------------------------------------------------------ short and strange histories


@pytest.mark.parametrize("kind", KINDS)
def test_units_never_seen_are_forecast_from_their_first_reading(kind: str, trained: TrainedByKind):
    """One reading, fewer than the window, more than it; and the frame says which are short."""
    fleet = cut(trained(kind), [1, 2, 15, 16, 30], prefix="new")
    forecast = trained(kind).bundle.predict(fleet)
    frame = forecast.to_frame()
    assert frame["unit"].to_list() == [f"new-{i}" for i in range(1, 6)]
    assert frame["time"].to_list() == [1, 2, 15, 16, 30]
    assert np.isfinite(frame.select(pl.exclude("unit", "time", "flags", "model")).to_numpy()).all()
    assert frame["flags"].to_list() == ["short_history"] * 3 + [""] * 2


def test_a_short_history_is_forecast_as_the_same_readings_of_a_longer_one(trained: TrainedByKind):
    """Padding is nothing: the sixth of forty readings knows as much as the sixth of six."""
    source = trained("cnn_bilstm")
    whole = source.predict(source.fleet, every=1)
    index = [int(start) + 5 for start in source.fleet.offsets[:-1]]
    short = source.predict(cut(source, [6] * source.fleet.n_units))
    np.testing.assert_allclose(short.rul, whole.select(index).rul, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sensor_that_says_nothing_at_all_is_flagged_and_forecast(kind: str, trained: TrainedByKind):
    source = trained(kind)
    forecast = source.predict(edited(source.fleet, s1=pl.lit(float("nan"))))
    assert all(flags == ("missing_readings",) for flags in forecast.flags)
    assert np.isfinite(forecast.rul).all()


def test_flags_come_together_where_several_hold(trained: TrainedByKind):
    fleet = edited(cut(trained("cnn_bilstm"), [3]), load=pl.lit(1e4), s0=pl.lit(float("nan")), s2=pl.lit(1e9))
    assert trained("cnn_bilstm").bundle.predict(fleet).to_frame()["flags"].to_list() == [
        "short_history;unseen_condition;missing_readings;out_of_range"
    ]


def test_no_unit_no_forecast(trained: TrainedByKind):
    source = trained("lightgbm")
    for kind in KINDS:
        forecast = trained(kind).bundle.predict(trained(kind).fleet.select([]))
        assert len(forecast) == 0
        assert forecast.to_frame().columns == source.predict(source.fleet).to_frame().columns


# ------------------------------------------------------------------ other units, the future


@pytest.mark.parametrize("kind", KINDS)
@given(readings=st.lists(st.integers(0, 35), min_size=8, max_size=8).filter(any))
@FEW
def test_a_forecast_does_not_depend_on_the_rest_of_the_fleet(kind: str, readings: list[int], trained: TrainedByKind):
    source = trained(kind)
    fleet = cut(source, readings)
    together = source.predict(fleet)
    for row, unit in enumerate(fleet.units):
        alone = source.predict(fleet.select([unit]))
        np.testing.assert_allclose(alone.rul, together.rul[row : row + 1], rtol=1e-5)
        assert alone.flags[0] == together.flags[row]


@pytest.mark.parametrize("kind", KINDS)
@given(
    unit=st.integers(0, 7),
    now=st.integers(1, 30),
    values=st.tuples(*[st.sampled_from([-1e4, -1.0, 0.3, 8.0, 1e6, float("nan")])] * 4),
)
@FEW
def test_what_comes_later_changes_no_forecast(
    kind: str, unit: int, now: int, values: tuple[float, ...], trained: TrainedByKind
):
    """Sensors and settings after `now`, of the unit itself and of all others; what is planned is not theirs.

    A reading in four is missing, so that what fills them is held to it too.
    """
    source = trained(kind)
    gaps = pl.when(pl.col("time") % 4 == 0).then(pl.lit(float("nan"))).otherwise(pl.col("s0"))
    fleet = edited(source.fleet, s0=gaps)
    past = (pl.col("unit") == source.fleet.units[unit]) & (pl.col("time") <= now)
    changes = {
        name: pl.when(past).then(pl.col(name)).otherwise(pl.lit(value))
        for name, value in zip((*SENSORS, "load"), values, strict=True)
    }
    before = source.predict(fleet, every=1).to_frame().filter(past)
    after = source.predict(edited(fleet, **changes), every=1).to_frame().filter(past)
    assert before.height == now
    np.testing.assert_allclose(after["rul"], before["rul"], rtol=1e-5)
    assert after["flags"].to_list() == before["flags"].to_list()


def test_what_is_planned_is_used(trained: TrainedByKind):
    """The TFT's known-future column is an input: another plan ahead is another forecast."""
    source = trained("tft")
    past = pl.col("time") <= 20
    changed = edited(source.fleet, plan=pl.when(past).then(pl.col("plan")).otherwise(pl.lit(3.0)))
    before, after = (source.predict(f, every=1).to_frame().filter(pl.col("time") == 20) for f in
                     (source.fleet, changed))  # fmt: skip
    assert not np.allclose(before["rul"], after["rul"], rtol=1e-4)


# ------------------------------------------------------------------ batches, steps, sensors left out


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_the_size_of_a_batch_does_not_show(
    kind: str, batch: int, trained: TrainedByKind, monkeypatch: pytest.MonkeyPatch
):
    source = trained(kind)
    fleet = cut(source, [7, 1, 3])
    expected = source.predict(fleet, every=1)
    monkeypatch.setattr(engine_module, "BATCH", batch)
    found = source.predict(fleet, every=1)
    np.testing.assert_allclose(found.rul, expected.rul, rtol=1e-5)
    np.testing.assert_allclose(found.distribution.survival, expected.distribution.survival, atol=1e-5)


@pytest.mark.parametrize("every", [1, 2, 7, 1000])
def test_each_step_back_from_the_last_reading(every: int, trained: TrainedByKind):
    """A slow loop says which readings; the forecasts are those of `every=1`."""
    source = trained("lightgbm")
    fleet = cut(source, [9, 1, 14])
    wanted, first = [], 0
    for n in (9, 1, 14):
        wanted += sorted(first + n - 1 - back for back in range(0, n, every))
        first += n
    whole, some = source.predict(fleet, every=1), source.predict(fleet, every=every)
    assert some.time.to_list() == whole.select(wanted).time.to_list()
    np.testing.assert_array_equal(some.rul, whole.select(wanted).rul)


@pytest.mark.parametrize("every", [0, -1])
def test_a_step_of_nothing(every: int, trained: TrainedByKind):
    with pytest.raises(UsageError, match="every must be at least 1"):
        trained("lightgbm").bundle.predict(trained("lightgbm").fleet, every=every)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sensor_left_out_is_not_read(kind: str, trained: TrainedByKind):
    """Whatever it says, the forecast is the same; with it, it is not."""
    source = trained(kind)
    other = edited(source.fleet, s2=pl.col("s2") * -2 + 1)
    hidden, hidden_other = (source.predict(fleet, every=3, without=["s2"]) for fleet in (source.fleet, other))
    np.testing.assert_array_equal(hidden.rul, hidden_other.rul)
    seen, seen_other = (source.predict(fleet, every=3) for fleet in (source.fleet, other))
    assert not np.allclose(seen.rul, seen_other.rul, rtol=1e-4)
    assert not np.allclose(seen.rul, hidden.rul, rtol=1e-4)


@pytest.mark.parametrize("without", [["s9"], ["s0", "load"], "s0"])
def test_only_sensors_can_be_left_out(without: list[str], trained: TrainedByKind):
    """A wrong name would be silently obeyed; a bare text is a collection of its letters."""
    source = trained("lightgbm")
    with pytest.raises(UsageError, match="there is no sensor"):
        source.predict(source.fleet, without=without)


# ------------------------------------------------------------------ fleets that do not fit


@pytest.mark.parametrize("column", ["s0", "load", "plan", "power", "site"])
def test_every_column_that_the_model_reads_is_asked_for(column: str, trained: TrainedByKind):
    source = trained("tft")
    with pytest.raises(FleetError, match=f"column '{column}' is missing; the model needs") as caught:
        source.predict(replace(source.fleet, frame=source.fleet.frame.drop(column)))
    assert caught.value.exit_code == 3


def test_another_unit_of_time_is_refused(trained: TrainedByKind):
    source = trained("lightgbm")
    stamped = source.fleet.frame.with_columns(time=pl.datetime(2026, 1, 1) + pl.duration(hours=pl.col("time")))
    fleet = Fleet.from_frame(stamped, unit="unit", time="time", sensors=SENSORS, settings=["load"])
    with pytest.raises(FleetError, match="time is in hours, but the model was trained on cycles"):
        source.predict(fleet)


def test_the_order_of_columns_is_of_no_account(trained: TrainedByKind):
    source = trained("tft")
    turned = replace(source.fleet, frame=source.fleet.frame.select(sorted(source.fleet.frame.columns, reverse=True)))
    np.testing.assert_array_equal(source.predict(turned).rul, source.predict(source.fleet).rul)


def test_a_site_never_seen_is_no_site(trained: TrainedByKind):
    source = trained("tft")
    moved = replace(source.fleet, frame=source.fleet.frame.with_columns(site=pl.lit("moon")))
    found = source.predict(moved)
    assert np.isfinite(found.rul).all()
    assert (source.bundle.engine.preprocessing.transform(moved).static[:, -2:] == 0).all()
