"""The forecast: one frozen table in which no figure contradicts another."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wearcast.distribution import TimeToEvent
from wearcast.forecast import RulForecast, quantile_name

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def make_forecast(means: tuple[float, ...] = (5.0, 40.0, 400.0), *, max_rul: float = 125.0) -> RulForecast:
    """One row a mean, each an exponential life."""
    grid = np.linspace(0.0, 300.0, 301)
    survival = np.exp(-grid[None, :] / np.array(means)[:, None])
    flags = tuple(("short_history", "missing") if i == 0 else () for i in range(len(means)))
    return RulForecast(
        unit=pl.Series("unit", [f"pump {i}" for i in range(len(means))]),
        time=pl.Series("time", range(10, 10 + len(means))),
        distribution=TimeToEvent(grid, survival),
        max_rul=max_rul,
        horizons=(10.0, 30.0, 60.5),
        quantile_levels=LEVELS,
        condition=np.arange(len(means), dtype=np.int16) - 1,
        flags=flags,
        model="test 1",
    )


def test_the_columns_are_those_that_programs_read() -> None:
    assert make_forecast().to_frame().columns == [
        "unit",
        "time",
        "rul",
        *("rul_q05", "rul_q25", "rul_q50", "rul_q75", "rul_q95"),
        *("failure_probability_10", "failure_probability_30", "failure_probability_60.5"),
        "flags",
        "model",
    ]


def test_a_row_says_what_its_distribution_says() -> None:
    forecast = make_forecast()
    row = forecast.to_frame().row(1, named=True)
    assert (row["unit"], row["time"], row["flags"], row["model"]) == ("pump 1", 11, "", "test 1")
    assert row["rul_q50"] == pytest.approx(40 * np.log(2), abs=0.01)
    assert row["failure_probability_30"] == pytest.approx(1 - np.exp(-30 / 40))
    assert row["rul"] == pytest.approx(forecast.distribution.expected(125.0)[1])
    assert forecast.to_frame()["flags"][0] == "short_history;missing"


def test_printed_it_is_its_table() -> None:
    text = repr(make_forecast())
    assert text.startswith("RulForecast of test 1, ")
    assert "pump 2" in text
    assert len(text) < 4_000


def test_the_expected_rul_is_capped_and_the_quantiles_are_not() -> None:
    forecast = make_forecast((1e5,))
    assert forecast.rul[0] == pytest.approx(125.0, abs=0.2)
    assert forecast.to_frame()["rul_q50"][0] == 300.0


@given(st.lists(st.floats(0.5, 1e4), min_size=1, max_size=4), st.floats(0.1, 0.98))
def test_no_figure_contradicts_another(means: list[float], coverage: float) -> None:
    forecast = make_forecast(tuple(means))
    table = forecast.to_frame()
    quantiles = table.select(pl.col("^rul_q.*$")).to_numpy()
    probabilities = table.select(pl.col("^failure_probability_.*$")).to_numpy()
    assert (np.diff(quantiles, axis=1) >= 0).all()
    assert (np.diff(probabilities, axis=1) >= 0).all()
    # P(failure <= 30) >= 1/2 and "the median is at most 30" are the same statement.
    assert ((probabilities[:, 1] >= 0.5) == (quantiles[:, 2] <= 30 + 1e-9)).all()
    lower, upper = forecast.interval(coverage)
    assert (lower <= upper).all()
    assert ((lower <= quantiles[:, 2]) & (quantiles[:, 2] <= upper)).all()


def test_the_interval_holds_the_share_it_promises() -> None:
    forecast = make_forecast((5.0, 40.0))
    lower, upper = forecast.interval(0.9)
    inside = forecast.distribution.failure_probability(upper) - forecast.distribution.failure_probability(lower)
    assert inside == pytest.approx(0.9)
    assert lower == pytest.approx(forecast.to_frame()["rul_q05"].to_numpy())


def test_selected_rows_are_whole_rows_in_the_order_asked_for() -> None:
    forecast = make_forecast()
    some = forecast.select([2, 0])
    assert len(some) == 2
    assert some.to_frame().equals(forecast.to_frame()[[2, 0]])
    assert some.condition.tolist() == [1, -1]
    assert some.flags == ((), ("short_history", "missing"))


def test_selecting_nothing_keeps_the_columns() -> None:
    nothing = make_forecast().select([])
    assert nothing.to_frame().height == 0
    assert nothing.to_frame().columns == make_forecast().to_frame().columns


def test_a_forecast_cannot_be_edited() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_forecast().max_rul = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("level", "name"),
    [(0.05, "rul_q05"), (0.5, "rul_q50"), (0.95, "rul_q95"), (0.1, "rul_q10"), (0.01, "rul_q01"), (0.29, "rul_q29")],
)
def test_a_quantile_is_named_by_its_percent(level: float, name: str) -> None:
    assert quantile_name(level) == name


def test_quantile_names_of_near_levels_differ() -> None:
    assert len({quantile_name(level) for level in (0.02, 0.025, 0.0251, 0.2, 0.25)}) == 5
