"""Calendar marks as channels: of the past, of the steps ahead, and beyond the end of the readings."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import numpy as np
import polars as pl
import pytest
from tests.fixtures.fleets import make_fleet

from wearcast import Fleet
from wearcast.errors import FleetError
from wearcast.features import SequenceFeatures, StatisticsFeatures, calendar_marks
from wearcast.inference.tables import table_columns, table_of
from wearcast.windows import Preprocessing, Windows, WindowSpec

FEATURES = SequenceFeatures(healthy_steps=3, calendar=("hour", "weekday"))


def make_clocked(n: int = 30, *, every: str = "1h", unit: str = "a", planned: bool = False) -> Fleet:
    """One unit from a Friday evening on."""
    start = datetime(2024, 3, 1, 20)
    time = pl.datetime_range(start, interval=every, end=datetime(2030, 1, 1), eager=True).head(n)
    wear = np.sin(np.arange(n))
    frame = pl.DataFrame({"u": [unit] * n, "t": time, "s": wear, "plan": wear + 1})
    return Fleet.from_frame(frame, unit="u", time="t", sensors=["s"], known_future=["plan"] if planned else [])


def marks_from(time: datetime, step_h: float, n: int) -> np.ndarray:
    """Hour and weekday of `n` points in time."""
    first = np.datetime64(time, "us").astype(np.int64)
    return calendar_marks(first + (np.arange(n) * step_h * 3.6e9).astype(np.int64), ("hour", "weekday"))


class TestSteps:
    @pytest.mark.parametrize("planned", [False, True])
    def test_the_past_and_the_future_of_each_window_are_marked(self, planned: bool) -> None:
        """The 24th reading, with five readings after it: three steps ahead are readings of the unit."""
        fleet = make_clocked(planned=planned)
        fitted = Preprocessing.fit(fleet, FEATURES)
        windows = Windows(fitted.transform(fleet), WindowSpec(context_length=4, prediction_length=3), np.array([23]))
        batch = windows.batch(slice(None))
        expected = marks_from(fleet.frame["time"][20], 1, 7)
        at = [fitted.names.index(f"calendar_{mark}") for mark in ("hour", "weekday")]
        np.testing.assert_allclose(batch.past[0][:, at], expected[:4], atol=1e-6)
        assert batch.known_future is not None
        assert batch.known_future.shape[2] == fitted.n_known_future == 2 + planned
        np.testing.assert_allclose(batch.known_future[0][:, -2:], expected[4:], atol=1e-6)

    @pytest.mark.parametrize("every", ["1h", "30m"])
    def test_marks_go_on_beyond_the_last_reading(self, every: str) -> None:
        fleet = make_clocked(every=every, planned=True)
        fitted = Preprocessing.fit(fleet, FEATURES)
        windows = Windows(
            fitted.transform(fleet), WindowSpec(context_length=2, prediction_length=6), np.array([27, 29])
        )
        future = windows.batch(slice(None)).known_future
        assert future is not None
        step = {"1h": 1.0, "30m": 0.5}[every]
        np.testing.assert_allclose(future[0][:, 1:], marks_from(fleet.frame["time"][28], step, 6), atol=1e-6)
        np.testing.assert_allclose(future[1][:, 1:], marks_from(fleet.frame["time"][29], step, 7)[1:], atol=1e-6)
        assert not future[1][:, 0].any()  # a plan that nobody gave

    def test_a_unit_of_one_reading_goes_on_at_the_step_of_the_training_units(self) -> None:
        fitted = Preprocessing.fit(make_clocked(every="2h"), FEATURES)
        fleet = make_clocked(1, unit="new")
        windows = Windows(fitted.transform(fleet), WindowSpec(context_length=2, prediction_length=2), np.array([0]))
        future = windows.batch(slice(None)).known_future
        assert future is not None
        np.testing.assert_allclose(future[0], marks_from(fleet.frame["time"][0], 2, 3)[1:], atol=1e-6)

    def test_a_unit_goes_on_at_its_own_step_unless_a_sampling_rate_is_known(self) -> None:
        fitted = Preprocessing.fit(make_clocked(every="2h"), FEATURES)
        own = fitted.transform(make_clocked(every="30m")).calendar
        known = fitted.model_copy(update={"sampling_rate_hz": 1 / 7200}).transform(make_clocked(every="30m")).calendar
        assert own is not None
        assert known is not None
        assert (own.step_us[0], known.step_us[0]) == (1_800_000_000, 7_200_000_000)


class TestFitting:
    def test_cycles_have_no_calendar(self) -> None:
        with pytest.raises(FleetError, match="no calendar") as caught:
            Preprocessing.fit(make_fleet(), FEATURES)
        assert "features.calendar" in str(caught.value)

    def test_units_of_one_reading_each_have_no_step(self) -> None:
        fleet = Fleet.from_frame(
            pl.DataFrame({"u": [1, 2], "t": [datetime(2024, 1, 1)] * 2, "s": [0.0, 1.0]}),
            unit="u", time="t", sensors=["s"],
        )  # fmt: skip
        with pytest.raises(FleetError, match="no unit has two readings"):
            Preprocessing.fit(fleet, FEATURES)

    def test_a_stored_preprocessing_without_marks_is_read_as_before(self) -> None:
        fleet = make_fleet()
        stored = Preprocessing.fit(fleet, SequenceFeatures()).model_dump(mode="json")
        del stored["features"]["calendar"], stored["step_s"]
        read = Preprocessing.model_validate(stored)
        assert read.names == Preprocessing.fit(fleet, SequenceFeatures()).names
        assert read.transform(fleet).calendar is None

    def test_it_survives_being_stored(self) -> None:
        fitted = Preprocessing.fit(make_clocked(), FEATURES)
        assert Preprocessing.model_validate_json(fitted.model_dump_json()) == fitted


@pytest.mark.parametrize("kind", ["sequence", "statistics"])
def test_names_and_values_agree(kind: Literal["sequence", "statistics"]) -> None:
    fleet = make_clocked(planned=True)
    features = FEATURES if kind == "sequence" else StatisticsFeatures(scales=(3,), calendar=("hour",))
    fitted = Preprocessing.fit(fleet, features)
    channels, rows = fitted.transform(fleet), np.arange(fleet.n_rows)
    if isinstance(features, StatisticsFeatures):
        names, values = table_columns(fitted, features), table_of(channels, rows, features)
    else:
        names, values = (
            fitted.names,
            Windows(channels, WindowSpec(context_length=1), rows).batch(slice(None)).past[:, 0],
        )
    assert values.shape[1] == len(names)
    hour = values[:, names.index("calendar_hour")]
    np.testing.assert_allclose(hour, fleet.frame["time"].dt.hour().to_numpy() / 23 - 0.5, atol=1e-6)
