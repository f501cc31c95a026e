"""Figures of class forecasts against plain definitions; alarms on fleets small enough to judge by eye."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wearcast import Fleet
from wearcast.evaluation.classification import (
    average_precision,
    confusion,
    held_out_classes,
    judge_alarms,
    macro_f1,
    roc_auc,
)

RANKED = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=40)
ANSWERS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40)


def arrays(rows: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    """Scores with many ties, and whether each is positive."""
    return np.array([score / 6 for score, _ in rows]), np.array([positive for _, positive in rows])


class TestRanking:
    @given(RANKED)
    def test_average_precision_is_the_mean_precision_over_the_positives(self, rows: list[tuple[int, bool]]) -> None:
        score, positive = arrays(rows)
        found = average_precision(score, positive)
        if not positive.any():
            assert np.isnan(found)
            return
        at = [positive[score >= score[i]].mean() for i in np.flatnonzero(positive)]
        assert found == pytest.approx(np.mean(at))

    @given(RANKED)
    def test_roc_auc_is_the_share_of_pairs_in_the_right_order(self, rows: list[tuple[int, bool]]) -> None:
        score, positive = arrays(rows)
        found = roc_auc(score, positive)
        if positive.all() or not positive.any():
            assert np.isnan(found)
            return
        pairs = score[positive][:, None] - score[~positive][None, :]
        assert found == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())

    @pytest.mark.parametrize("levels", [3, 50, 10**6])
    def test_both_are_those_of_scikit_learn(self, levels: int) -> None:
        metrics = pytest.importorskip("sklearn.metrics")
        rng = np.random.default_rng(levels)
        for share in (0.02, 0.5, 0.9):
            positive = rng.uniform(size=400) < share
            score = np.round((rng.normal(size=400) + positive) * levels) / levels
            assert average_precision(score, positive) == pytest.approx(metrics.average_precision_score(positive, score))
            assert roc_auc(score, positive) == pytest.approx(metrics.roc_auc_score(positive, score))

    def test_one_class_only(self) -> None:
        score = np.array([0.1, 0.9, 0.9])
        assert average_precision(score, np.ones(3, dtype=bool)) == 1.0
        assert np.isnan(average_precision(score, np.zeros(3, dtype=bool)))
        assert np.isnan(roc_auc(score, np.ones(3, dtype=bool)))


class TestConfusion:
    @given(ANSWERS)
    def test_counts_and_macro_f1_equal_plain_loops(self, rows: list[tuple[int, int]]) -> None:
        truth, said = np.array(rows).T
        counts = confusion(truth, said, 4)
        for i in range(4):
            for j in range(4):
                assert counts[i, j] == sum(row == (i, j) for row in rows)
        scores = []
        for name in range(4):
            right = sum(row == (name, name) for row in rows)
            false = sum(t != name and s == name for t, s in rows)
            missed = sum(t == name and s != name for t, s in rows)
            if right + false + missed:
                scores.append(2 * right / (2 * right + false + missed))
        assert macro_f1(counts) == pytest.approx(np.mean(scores))

    def test_macro_f1_is_that_of_scikit_learn(self) -> None:
        metrics = pytest.importorskip("sklearn.metrics")
        rng = np.random.default_rng(0)
        truth, said = rng.integers(0, 3, 200), rng.integers(1, 4, 200)  # 0 is never said, 3 is never true
        expected = metrics.f1_score(truth, said, average="macro", zero_division=0.0)
        assert macro_f1(confusion(truth, said, 6)) == pytest.approx(expected)

    def test_without_rows_there_is_no_figure(self) -> None:
        assert np.isnan(macro_f1(np.zeros((2, 2), dtype=np.int64)))
        assert held_out_classes(np.zeros((0, 2)), np.zeros(0, dtype=np.int64)) == {}

    def test_held_out_figures_of_two_and_of_more_classes(self) -> None:
        two = held_out_classes(np.array([[0.8, 0.2], [0.4, 0.6]]), np.array([0, 1]))
        assert two["validation_log_loss"] == pytest.approx(-np.log([0.8, 0.6]).mean())
        assert (two["validation_macro_f1"], two["validation_pr_auc"]) == (1.0, 1.0)
        no_failure = held_out_classes(np.array([[0.8, 0.2]]), np.array([0]))
        assert "validation_pr_auc" not in no_failure
        three = held_out_classes(np.eye(3), np.array([0, 1, 1]))
        assert three["validation_log_loss"] == pytest.approx(-np.log(1e-12) / 3)
        assert np.isfinite(list(three.values())).all()


def make_cycles(lives: dict[int, int], ends: dict[int, int]) -> Fleet:
    """Units with so many cycles; those in `ends` fail at that cycle."""
    unit = np.repeat(list(lives), list(lives.values()))
    cycle = np.concatenate([np.arange(1, n + 1) for n in lives.values()])
    frame = pl.DataFrame({"u": unit, "c": cycle, "s": cycle * 1.0})
    events = pl.DataFrame(
        {"unit": list(ends), "time": list(ends.values())}, schema={"unit": pl.Int64, "time": pl.Int64}
    )
    return Fleet.from_frame(frame, unit="u", cycle="c", sensors=["s"], events=events)


def on(fleet: Fleet, *at: tuple[int, int]) -> np.ndarray:
    """Alarms at these units and cycles."""
    return np.array([key in at for key in fleet.frame.select("unit", "time").iter_rows()])


class TestAlarms:
    def test_several_units(self) -> None:
        """Unit 1 is announced 3 before its end after a false alarm, unit 2 is missed, unit 3 runs on."""
        fleet = make_cycles({1: 10, 2: 10, 3: 10}, {1: 10, 2: 10})
        found = judge_alarms(on(fleet, (1, 2), (1, 3), (1, 7), (1, 9), (3, 1)), fleet, 4.0)
        assert (found.n_events, found.caught, found.forewarning) == (2, 1, (3.0,))
        assert found.false_alarms == 2  # cycles 2 and 3 of unit 1 are one stretch; unit 3 at 1
        assert found.asset_months is None
        assert found.to_dict() == {
            "n_events": 2,
            "events_caught": 1,
            "forewarning_median": 3.0,
            "forewarning_min": 3.0,
            "false_alarms": 2,
            "false_alarms_per_asset_month": None,
        }

    def test_an_alarm_that_begins_before_the_horizon_and_reaches_into_it_is_right(self) -> None:
        fleet = make_cycles({1: 10}, {1: 10})
        found = judge_alarms(on(fleet, *((1, cycle) for cycle in range(3, 8))), fleet, 4.0)
        assert (found.caught, found.forewarning, found.false_alarms) == (1, (4.0,), 0)

    def test_a_stretch_ends_with_its_unit(self) -> None:
        fleet = make_cycles({1: 4, 2: 10}, {1: 4, 2: 10})
        found = judge_alarms(on(fleet, (1, 3), (1, 4), (2, 1), (2, 2)), fleet, 2.0)
        assert (found.n_events, found.caught, found.false_alarms) == (2, 1, 1)

    def test_what_comes_after_the_last_readings_of_a_running_unit_is_not_known(self) -> None:
        fleet = make_cycles({1: 10}, {})
        assert judge_alarms(on(fleet, (1, 8)), fleet, 4.0).false_alarms == 0
        assert judge_alarms(on(fleet, (1, 5), (1, 6)), fleet, 4.0).false_alarms == 0
        assert judge_alarms(on(fleet, (1, 4), (1, 8)), fleet, 4.0).false_alarms == 1

    def test_a_failure_beyond_the_horizon_of_every_reading_cannot_be_missed(self) -> None:
        fleet = make_cycles({1: 10, 2: 10}, {1: 50, 2: 13})
        found = judge_alarms(on(fleet, (2, 10)), fleet, 4.0)
        assert (found.n_events, found.caught, found.forewarning) == (1, 1, (3.0,))

    def test_false_alarms_on_a_clock_are_counted_by_month(self) -> None:
        """60 days and one more within the horizon; the false alarms come at days 1, 3 and 30."""
        days = [datetime(2024, 1, 1) + timedelta(days=day) for day in range(62)]
        frame = pl.DataFrame({"u": ["p"] * 62, "t": days, "s": [0.0] * 62})
        fleet = Fleet.from_frame(frame, unit="u", time="t", time_unit="hour", sensors=["s"], events="last_row")
        alarm = np.zeros(62, dtype=bool)
        alarm[[1, 3, 30, 60]] = True
        found = judge_alarms(alarm, fleet, 24.0)
        assert found.false_alarms == 3
        assert found.asset_months == pytest.approx(59 / 30)  # the days before the last two readings
        assert found.to_dict()["false_alarms_per_asset_month"] == pytest.approx(3 / (59 / 30))
        assert found.forewarning == (24.0,)

    @given(st.integers(0, 10**6), st.integers(1, 12))
    @settings(max_examples=40, deadline=None)
    def test_alarms_equal_a_plain_loop(self, seed: int, horizon: int) -> None:
        rng = np.random.default_rng(seed)
        lives = {unit: int(rng.integers(1, 15)) for unit in (1, 2, 3, 4)}
        ends = {unit: lives[unit] + int(rng.integers(0, 6)) for unit in (1, 2)}
        fleet = make_cycles(lives, ends)
        alarm = rng.uniform(size=fleet.n_rows) < 0.5
        events, forewarning, false, at = 0, [], 0, 0
        for unit, life in lives.items():
            mine = alarm[at : at + life]
            at += life
            left = [ends.get(unit, life) - cycle for cycle in range(1, life + 1)]
            runs: list[list[int]] = []
            for i in range(life):
                if mine[i]:
                    if i == 0 or not mine[i - 1]:
                        runs.append([])
                    runs[-1].append(i)
            false += sum(all(left[i] > horizon for i in run) for run in runs)
            if unit in ends and left[-1] <= horizon:
                events += 1
                forewarning += [left[i] for i in range(life) if mine[i] and left[i] <= horizon][:1]
        found = judge_alarms(alarm, fleet, float(horizon))
        assert (found.n_events, found.forewarning, found.false_alarms) == (events, tuple(forewarning), false)
        assert found.caught == len(forewarning)
