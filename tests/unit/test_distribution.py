"""The time-to-event distribution against numerical integration and its own laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wearcast.distribution import Recalibration, TimeToEvent

FINE = 40_001


def exponential(mean: float = 20.0, end: float = 200.0, edges: int = 41) -> TimeToEvent:
    """One row of `S(t) = exp(−t / mean)` on an even grid."""
    grid = np.linspace(0.0, end, edges)
    return TimeToEvent(grid, np.exp(-grid / mean)[None, :])


@st.composite
def distributions(draw: st.DrawFn) -> TimeToEvent:
    """Any distribution on any grid, with flat stretches, jumps to zero and mass beyond the grid."""
    n_edges = draw(st.integers(2, 12))
    steps = draw(st.lists(st.floats(0.1, 50.0), min_size=n_edges - 1, max_size=n_edges - 1))
    grid = np.concatenate([[0.0], np.cumsum(steps)])
    rows = draw(st.integers(1, 3))
    shares = st.lists(
        st.one_of(st.just(0.0), st.just(1.0), st.floats(0.0, 1.0)), min_size=n_edges - 1, max_size=n_edges - 1
    )
    survival = np.ones((rows, n_edges))
    for row in range(rows):
        survival[row, 1:] = np.cumprod(draw(shares))
    return TimeToEvent(grid, survival)


@st.composite
def recalibrations(draw: st.DrawFn) -> Recalibration:
    """Any monotone map of [0, 1] onto itself."""
    inner = draw(st.lists(st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)), max_size=6))
    raw = sorted(pair[0] for pair in inner)
    calibrated = sorted(pair[1] for pair in inner)
    return Recalibration((0.0, *raw, 1.0), (0.0, *calibrated, 1.0))


# ---------------------------------------------------------------------- against numerical integration


def curve(d: TimeToEvent, row: int, end: float) -> tuple[np.ndarray, np.ndarray]:
    """`S` on a fine mesh that holds the grid's edges, by plain interpolation."""
    t = np.unique(np.concatenate([np.linspace(0.0, end, FINE), d.grid[d.grid <= end]]))
    return t, np.interp(t, d.grid, d.survival[row])


@pytest.mark.parametrize("cap", [None, 7.3, 50.0, 125.0, 1000.0])
def test_expected_is_the_area_under_the_curve(cap: float | None) -> None:
    d = exponential()
    t, s = curve(d, 0, min(cap or 200.0, 200.0))
    assert d.expected(cap)[0] == pytest.approx(np.trapezoid(s, t), rel=1e-9)


def test_expected_of_a_finely_resolved_exponential_is_its_mean() -> None:
    assert exponential(mean=20.0, end=600.0, edges=6001).expected()[0] == pytest.approx(20.0, rel=1e-5)


@pytest.mark.parametrize("time", [0.0, 3.0, 20.0, 55.5, 199.0, 250.0])
@pytest.mark.parametrize("cap", [None, 33.3, 125.0])
def test_crps_is_the_integral_of_the_squared_distance_to_the_step(time: float, cap: float | None) -> None:
    d = exponential()
    end = cap or 200.0
    t, _ = curve(d, 0, end)
    before = t <= min(time, end)
    t_before, t_after = np.append(t[before], min(time, end)), np.insert(t[~before], 0, min(time, end))
    total = np.trapezoid((1 - np.interp(t_before, d.grid, d.survival[0])) ** 2, t_before)
    total += np.trapezoid(np.interp(t_after, d.grid, d.survival[0]) ** 2, t_after)
    assert d.crps(np.array([time]), cap)[0] == pytest.approx(total, rel=1e-5, abs=1e-8)


def test_crps_of_a_certain_forecast_is_the_absolute_error() -> None:
    grid = np.array([0.0, 9.999, 10.0, 40.0])
    certain = TimeToEvent(grid, np.array([[1.0, 1.0, 0.0, 0.0]] * 3))
    assert certain.crps(np.array([10.0, 4.0, 31.0])) == pytest.approx([0.0, 6.0, 21.0], abs=2e-3)


def test_crps_is_proper_the_truth_beats_every_other_mean() -> None:
    times = np.random.default_rng(0).exponential(20.0, size=4000)
    scores = []
    for mean in (10.0, 20.0, 40.0):
        d = exponential(mean=mean, end=400.0, edges=401)
        scores.append(TimeToEvent(d.grid, np.repeat(d.survival, len(times), axis=0)).crps(times).mean())
    assert scores[1] == min(scores)


def test_quantiles_of_an_exponential_are_those_of_the_formula() -> None:
    d = exponential(mean=20.0, end=200.0, edges=2001)
    for level in (0.05, 0.25, 0.5, 0.75, 0.95):
        assert d.quantile(level)[0] == pytest.approx(-20.0 * np.log(1 - level), abs=0.01)


# ---------------------------------------------------------------------- laws


@given(distributions(), st.lists(st.floats(0.001, 0.999), min_size=2, max_size=5))
def test_quantiles_never_cross_and_stay_on_the_grid(d: TimeToEvent, levels: list[float]) -> None:
    quantiles = np.stack([d.quantile(level) for level in sorted(levels)])
    assert (np.diff(quantiles, axis=0) >= -1e-9).all()
    assert ((quantiles >= 0) & (quantiles <= d.grid[-1])).all()


@given(distributions(), st.floats(0.001, 0.999))
def test_the_quantile_inverts_the_failure_probability(d: TimeToEvent, level: float) -> None:
    reached = 1 - d.survival[:, -1] >= level
    probability = d.failure_probability(d.quantile(level))
    assert probability[reached] == pytest.approx(level, abs=1e-9)
    assert (probability[~reached] < level).all()


@given(distributions(), st.lists(st.floats(0.0, 1e4), min_size=2, max_size=5))
def test_failure_probability_never_falls_with_the_horizon(d: TimeToEvent, horizons: list[float]) -> None:
    values = np.stack([d.failure_probability(h) for h in sorted(horizons)])
    assert (np.diff(values, axis=0) >= -1e-12).all()
    assert ((values >= 0) & (values <= 1)).all()
    assert (d.failure_probability(0.0) == 0).all()


@given(distributions(), st.floats(0.1, 400.0), st.floats(0.1, 400.0))
def test_expected_grows_with_the_cap_and_never_passes_it(d: TimeToEvent, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert (d.expected(low) <= d.expected(high) + 1e-9).all()
    assert (d.expected(high) <= min(high, d.grid[-1]) + 1e-9).all()
    assert (d.expected(low) >= 0).all()


@given(distributions(), st.floats(0.0, 500.0), st.floats(0.1, 300.0))
def test_crps_is_between_nothing_and_the_length_of_the_grid(d: TimeToEvent, time: float, cap: float) -> None:
    score = d.crps(np.full(len(d), time), cap)
    assert (score >= -1e-9).all()
    assert (score <= min(cap, d.grid[-1]) + 1e-9).all()


@given(distributions(), recalibrations(), st.floats(0.01, 0.99))
def test_recalibration_keeps_one_monotone_distribution(d: TimeToEvent, map_: Recalibration, level: float) -> None:
    again = map_.apply(d)
    assert (again.survival[:, 0] == 1).all()
    assert (np.diff(again.survival, axis=1) <= 0).all()
    assert (again.quantile(level) <= again.quantile(min(level + 0.005, 0.995)) + 1e-9).all()


@given(distributions())
def test_recalibration_by_nothing_changes_nothing(d: TimeToEvent) -> None:
    assert Recalibration().apply(d).survival == pytest.approx(d.survival, abs=1e-12)


@given(distributions(), recalibrations())
def test_recalibration_keeps_the_order_of_units(d: TimeToEvent, map_: Recalibration) -> None:
    before, after = 1 - d.survival[:, -1], 1 - map_.apply(d).survival[:, -1]
    order = np.argsort(before, kind="stable")
    assert (np.diff(after[order]) >= -1e-12).all()


@settings(max_examples=25)
@given(distributions())
def test_reading_a_row_apart_gives_what_reading_all_gives(d: TimeToEvent) -> None:
    times = np.linspace(0.0, d.grid[-1], len(d))
    for row in range(len(d)):
        one = d[row : row + 1]
        assert one.quantile(0.3)[0] == d.quantile(0.3)[row]
        assert one.expected(5.0)[0] == pytest.approx(d.expected(5.0)[row])
        assert one.crps(times[row : row + 1])[0] == pytest.approx(d.crps(times)[row])
        assert one.survival_at(times[row])[0] == d.survival_at(times)[row]


# ---------------------------------------------------------------------- edges of the contract


def test_mass_beyond_the_grid_is_said_to_lie_at_its_end() -> None:
    d = TimeToEvent(np.array([0.0, 10.0]), np.array([[1.0, 0.8]]))
    assert d.quantile(0.5)[0] == 10.0
    assert d.quantile(0.1)[0] == pytest.approx(5.0)
    assert d.failure_probability(99.0)[0] == pytest.approx(0.2)
    assert d.expected()[0] == pytest.approx(9.0)


def test_a_unit_sure_to_last_has_every_quantile_at_the_end() -> None:
    d = TimeToEvent(np.array([0.0, 5.0, 10.0]), np.ones((1, 3)))
    assert [d.quantile(level)[0] for level in (0.01, 0.5, 0.99)] == [10.0] * 3


def test_survival_takes_one_time_for_all_or_one_a_row() -> None:
    d = TimeToEvent(np.array([0.0, 10.0]), np.array([[1.0, 0.0], [1.0, 0.5]]))
    assert d.survival_at(5.0) == pytest.approx([0.5, 0.75])
    assert d.survival_at(np.array([2.0, 10.0])) == pytest.approx([0.8, 0.5])
    assert d.survival_at(-3.0) == pytest.approx([1.0, 1.0])


def test_rows_are_taken_by_slice_mask_and_index() -> None:
    d = TimeToEvent(np.array([0.0, 10.0]), np.array([[1.0, 0.1], [1.0, 0.2], [1.0, 0.3]]))
    assert d[1:].survival[:, 1].tolist() == [0.2, 0.3]
    assert d[np.array([True, False, True])].survival[:, 1].tolist() == [0.1, 0.3]
    assert d[np.array([2, 0])].survival[:, 1].tolist() == [0.3, 0.1]
    assert len(d[:0]) == 0


def test_rounding_of_a_float32_network_is_made_monotone() -> None:
    d = TimeToEvent(np.array([0.0, 1.0, 2.0]), np.array([[0.9999999, 0.5, 0.5000001]], dtype=np.float32))
    assert d.survival.dtype == np.float64
    assert d.survival[0, 0] == 1.0
    assert d.survival[0, 2] == d.survival[0, 1]


def test_no_rows_give_no_figures() -> None:
    d = TimeToEvent(np.array([0.0, 1.0]), np.ones((0, 2)))
    assert len(d) == 0
    assert d.quantile(0.5).shape == d.expected(1.0).shape == d.crps(np.zeros(0)).shape == (0,)


@pytest.mark.parametrize(
    ("grid", "survival", "message"),
    [
        ([0.0, 1.0], [[1.0, 0.5, 0.2]], "do not fit"),
        ([0.0, 1.0], [1.0, 0.5], "do not fit"),
        ([1.0, 2.0], [[1.0, 0.5]], "start at 0"),
        ([0.0, 2.0, 2.0], [[1.0, 0.5, 0.2]], "ascend"),
    ],
)
def test_a_grid_or_curve_of_the_wrong_shape_is_refused(grid: list[float], survival: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TimeToEvent(np.array(grid), np.array(survival))


@pytest.mark.parametrize(
    ("raw", "calibrated", "message"),
    [
        ((0.0,), (0.0,), "raw must run"),
        ((0.0, 0.9), (0.0, 1.0), "raw must run"),
        ((0.1, 1.0), (0.0, 1.0), "raw must run"),
        ((0.0, 0.6, 0.4, 1.0), (0.0, 0.2, 0.3, 1.0), "raw must run"),
        ((0.0, 0.5, 1.0), (0.0, 0.7, 0.9), "calibrated must run"),
        ((0.0, 0.5, 1.0), (0.0, 1.0), "3 raw knots but 2"),
    ],
)
def test_a_map_that_is_not_monotone_from_0_to_1_is_refused(
    raw: tuple[float, ...], calibrated: tuple[float, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Recalibration(raw, calibrated)
