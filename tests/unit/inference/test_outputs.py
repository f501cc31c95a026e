"""Outputs: what a graph's numbers mean, through JSON and back, as the forecasts that programs read."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from wearcast.errors import ModelError
from wearcast.forecast import ClassForecast, Moments, RulForecast, SensorForecast
from wearcast.inference import Output, ProbabilityOutput, QuantileOutput, SurvivalOutput
from wearcast.target import RulTarget

SURVIVAL = SurvivalOutput(
    target=RulTarget(max_rul=10.0, horizons=(2.5, 5.0), quantile_levels=(0.05, 0.5)),
    grid=(0.0, 5.0, 10.0),
    raw=(0.0, 0.4, 1.0),
    calibrated=(0.0, 0.5, 1.0),
)
FAILURE = ProbabilityOutput(classes=("healthy", "failure"), slope=2.0, shift=(0.5, -0.5), threshold=0.3)
FAULT = ProbabilityOutput(classes=("ball", "inner", "outer race"), shift=(0.0, 0.0, 0.0))
VALUES = QuantileOutput(
    columns=("temp", "flow"),
    quantile_levels=(0.05, 0.5, 0.95),
    mean=(10.0, 20.0),
    sd=(2.0, 4.0),
    relative=True,
    spread=((1.5, 1.0, 2.0), (0.5, 1.0, 1.0)),
)


def make_moments(n: int) -> Moments:
    """So many rows; the first has two flags."""
    return Moments(
        unit=pl.Series("unit", [f"u{i}" for i in range(n)], dtype=pl.String),
        time=pl.Series("time", range(n), dtype=pl.Int64),
        condition=np.zeros(n, dtype=np.int16),
        flags=tuple(("short_history", "out_of_range") if i == 0 else () for i in range(n)),
        model="m 1",
    )


@pytest.mark.parametrize("output", [SURVIVAL, FAILURE, FAULT, VALUES], ids=lambda output: output.kind)
def test_an_output_is_the_same_after_json(output: Output) -> None:
    again = TypeAdapter(Output).validate_json(output.model_dump_json())
    assert again == output
    assert type(again) is type(output)


def test_numbers_that_are_none_cannot_be_stored() -> None:
    with pytest.raises(ValidationError):
        ProbabilityOutput(classes=("a", "b"), shift=(0.0, float("nan")))
    with pytest.raises(ValidationError):
        ProbabilityOutput(classes=("a", "b"), slope=-1.0, shift=(0.0, 0.0))


class TestColumns:
    """Those that "What programs read" in the design names."""

    def test_of_a_rul(self) -> None:
        forecast = SURVIVAL.forecast(np.array([[1.0, 0.6, 0.1]]), make_moments(1))
        assert isinstance(forecast, RulForecast)
        table = forecast.to_frame()
        said = ["rul", "rul_q05", "rul_q50", "failure_probability_2.5", "failure_probability_5"]
        assert table.columns == ["unit", "time", *said, "flags", "model"]
        assert table["failure_probability_5"][0] == pytest.approx(0.5)  # 0.4 as the model says it, calibrated
        assert table["rul_q50"][0] == pytest.approx(5.0)

    def test_of_a_failure(self) -> None:
        forecast = FAILURE.forecast(np.array([[0.0, 0.0], [0.0, 3.0]]), make_moments(2))
        assert isinstance(forecast, ClassForecast)
        table = forecast.to_frame()
        assert table.columns == ["unit", "time", "failure_probability", "alarm", "flags", "model"]
        assert table["failure_probability"].to_list() == pytest.approx([1 / (1 + np.e), 1 / (1 + np.exp(-5.0))])
        assert table["alarm"].to_list() == [False, True]
        assert table["flags"].to_list() == ["short_history;out_of_range", ""]

    def test_of_a_fault(self) -> None:
        raw = np.log(np.array([[0.2, 0.7, 0.1], [0.3, 0.3, 0.4]]))
        table = FAULT.forecast(raw, make_moments(2)).to_frame()
        named = ["probability_ball", "probability_inner", "probability_outer race"]
        assert table.columns == ["unit", "time", "fault", *named, "flags", "model"]
        assert table["fault"].to_list() == ["inner", "outer race"]
        np.testing.assert_allclose(table.select(named).to_numpy(), np.exp(raw))

    def test_of_sensors(self) -> None:
        raw = np.arange(2 * 2 * 2 * 3, dtype=np.float32).reshape(2, 2, 2, 3)
        last = np.array([[100.0, 200.0], [300.0, 400.0]], dtype=np.float32)
        forecast = VALUES.forecast(raw, make_moments(2), last)
        assert isinstance(forecast, SensorForecast)
        table = forecast.to_frame()
        assert table.columns == ["unit", "time", "step", "column", "value", "q05", "q50", "q95", "flags", "model"]
        assert table.height == 8
        row = table.filter(pl.col("unit") == "u1", pl.col("step") == 2, pl.col("column") == "flow").row(0, named=True)
        # The last of all: 21, 22, 23 in standard deviations of 4 from 400, the lower one at half its distance.
        assert (row["q05"], row["value"], row["q50"], row["q95"]) == (400 + 4 * 21.5, 488, 488, 492)
        assert row["time"] == 1
        assert table["flags"].to_list()[:4] == ["short_history;out_of_range"] * 4

    @pytest.mark.parametrize(
        ("output", "shape"), [(SURVIVAL, (0, 3)), (FAILURE, (0, 2)), (FAULT, (0, 3)), (VALUES, (0, 2, 2, 3))]
    )
    def test_without_a_row_the_columns_are_the_same(self, output: Output, shape: tuple[int, ...]) -> None:
        last = np.zeros((3, 2), dtype=np.float32)
        none = output.forecast(np.zeros(shape, dtype=np.float32), make_moments(0), last[:0]).to_frame()
        some = output.forecast(np.zeros((3, *shape[1:]), dtype=np.float32), make_moments(3), last).to_frame()
        assert none.height == 0
        assert none.schema == some.schema

    @pytest.mark.parametrize(("output", "shape"), [(FAULT, (4, 3)), (VALUES, (4, 2, 2, 3))])
    def test_selected_rows_are_whole_rows(self, output: Output, shape: tuple[int, ...]) -> None:
        raw = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        forecast = output.forecast(raw, make_moments(4), np.zeros((4, 2), dtype=np.float32))
        table = forecast.to_frame()
        expected = pl.concat([table.filter(pl.col("unit") == unit) for unit in ("u3", "u1")])
        assert forecast.select([3, 1]).to_frame().equals(expected)


class TestNumbers:
    @given(st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=3))
    def test_probabilities_sum_to_one_for_any_score(self, scores: list[float]) -> None:
        probability = FAULT.probability(np.array([scores]))
        assert probability.sum() == pytest.approx(1.0)
        assert (probability >= 0).all()

    def test_an_alarm_begins_at_the_threshold(self) -> None:
        forecast = FAILURE.model_copy(update={"slope": 1.0, "shift": (0.0, 0.0), "threshold": 0.5}).forecast(
            np.zeros((1, 2)), make_moments(1)
        )
        assert isinstance(forecast, ClassForecast)
        assert forecast.alarm.tolist() == [True]

    def test_values_that_are_not_changes_stand_on_the_mean(self) -> None:
        still = VALUES.model_copy(update={"relative": False, "spread": ()})
        found = still.quantiles(np.zeros((1, 2, 2, 3)), None)
        assert found[0, 0].tolist() == [[10.0] * 3, [20.0] * 3]

    def test_changes_say_nothing_without_the_last_reading(self) -> None:
        with pytest.raises(ModelError, match="last reading"):
            VALUES.quantiles(np.zeros((1, 2, 2, 3)), None)

    def test_changes_of_a_column_without_a_reading_yet_are_from_its_mean(self) -> None:
        found = VALUES.quantiles(np.zeros((1, 2, 2, 3)), np.array([[np.nan, 7.0]], dtype=np.float32))
        assert found[0, 1].tolist() == [[10.0] * 3, [7.0] * 3]

    def test_quantiles_that_cross_are_put_in_order(self) -> None:
        crossed = np.array([3.0, 0.0, -3.0]).reshape(1, 1, 1, 3).repeat(2, axis=1).repeat(2, axis=2)
        found = VALUES.quantiles(crossed, np.zeros((1, 2), dtype=np.float32))
        assert (np.diff(found, axis=3) >= 0).all()
