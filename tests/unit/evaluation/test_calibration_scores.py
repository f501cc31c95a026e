"""Calibration of class scores, alarm thresholds and quantiles: what is known comes back, nothing is reversed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wearcast.evaluation.calibration import calibrate_quantiles, calibrate_scores, choose_threshold
from wearcast.inference import ProbabilityOutput, QuantileOutput
from wearcast.target import BestF1, FalseAlarmRate, Fixed, LeastCost

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
RANKED = st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=40)


def calibrated(scores: np.ndarray, answer: np.ndarray) -> ProbabilityOutput:
    """The output of so many classes, calibrated on these rows."""
    slope, shift = calibrate_scores(scores, answer)
    return ProbabilityOutput(classes=tuple(f"c{i}" for i in range(scores.shape[1])), slope=slope, shift=shift)


def draw(true: np.ndarray, seed: int = 0) -> np.ndarray:
    """Classes drawn with these logits."""
    rng = np.random.default_rng(seed)
    return np.asarray((true + rng.gumbel(size=true.shape)).argmax(axis=1))


class TestScores:
    @pytest.mark.parametrize(
        ("slope", "shift"), [(0.4, (0.5, -0.5)), (2.5, (-1.0, 1.0)), (1.0, (0.3, -0.7, 1.0, -0.6))]
    )
    def test_a_known_slope_and_shift_come_back(self, slope: float, shift: tuple[float, ...]) -> None:
        scores = np.random.default_rng(1).normal(size=(20_000, len(shift)))
        found = calibrate_scores(scores, draw(slope * scores + shift))
        assert found[0] == pytest.approx(slope, rel=0.05)
        np.testing.assert_allclose(found[1], shift, atol=0.06)

    @pytest.mark.parametrize("share", [0.3, 0.03, 0.005])
    def test_rare_failures_keep_their_share_after_balanced_training(self, share: float) -> None:
        """Scores as if both classes were alike: probabilities come back to how often there is a failure."""
        rng = np.random.default_rng(2)
        answer = (rng.uniform(size=40_000) < share).astype(np.int64)
        score = rng.normal(size=40_000) + 2.0 * answer
        scores = np.column_stack([np.zeros(40_000), 2 * score - 2])
        probability = calibrated(scores, answer).probability(scores)[:, 1]
        assert probability.mean() == pytest.approx(answer.mean(), rel=0.02)

    @given(st.integers(0, 10**6), st.integers(1, 60))
    @settings(max_examples=40, deadline=None)
    def test_order_is_never_reversed(self, seed: int, n: int) -> None:
        rng = np.random.default_rng(seed)
        scores = rng.normal(size=(n, 2)) * rng.choice([0.1, 1, 30])
        output = calibrated(scores, rng.integers(0, 2, n))
        order = np.argsort(scores[:, 1] - scores[:, 0])
        probability = output.probability(scores)
        assert (np.diff(probability[order, 1]) >= 0).all()
        assert np.isfinite(probability).all()

    @pytest.mark.parametrize("k", [2, 4])
    def test_scores_that_say_the_opposite_give_the_shares_of_the_classes(self, k: int) -> None:
        scores = np.random.default_rng(3).normal(size=(5000, k))
        answer = draw(np.linspace(0, 2, k) - 2 * scores)
        output = calibrated(scores, answer)
        assert output.slope == pytest.approx(1e-3)
        share = np.bincount(answer, minlength=k) / len(answer)
        np.testing.assert_allclose(output.probability(scores).mean(axis=0), share, atol=0.01)

    @pytest.mark.parametrize("n", [1, 2, 5])
    @pytest.mark.parametrize("k", [2, 4])
    def test_few_rows_do_not_make_probabilities_extreme(self, n: int, k: int) -> None:
        """Every score is right; Platt's counts leave room for what was not seen."""
        answer = np.arange(n) % k
        scores = 8.0 * np.eye(k)[answer]
        probability = calibrated(scores, answer).probability(scores)
        assert (probability.argmax(axis=1) == answer).all() or n == 1
        assert probability.max() < 0.96

    @pytest.mark.parametrize("missing", [0, 1, 3])
    def test_a_class_that_no_held_out_row_has_stays_possible_and_unlikely(self, missing: int) -> None:
        scores = np.random.default_rng(4).normal(size=(2000, 4))
        answer = draw(scores + np.where(np.arange(4) == missing, -1e9, 0.0))
        probability = calibrated(scores, answer).probability(scores)[:, missing]
        assert probability.min() > 0
        assert probability.mean() < 0.002

    def test_scores_that_are_all_alike_give_the_shares_too(self) -> None:
        answer = np.array([0] * 70 + [1] * 30)
        probability = calibrated(np.zeros((100, 2)), answer).probability(np.zeros((1, 2)))
        assert probability[0, 1] == pytest.approx(0.3, abs=0.02)

    def test_a_constant_added_to_every_score_of_a_row_changes_nothing(self) -> None:
        scores = np.random.default_rng(5).normal(size=(300, 3))
        answer = draw(scores)
        base = np.linspace(-50, 50, 300)[:, None]
        slope, shift = calibrate_scores(scores, answer)
        moved_slope, moved_shift = calibrate_scores(scores + base, answer)
        assert moved_slope == pytest.approx(slope)
        assert moved_shift == pytest.approx(shift, abs=1e-6)


def arrays(rows: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities from 0 to 1 with many ties, and whether each has a failure."""
    return np.array([place / 8 for place, _ in rows]), np.array([positive for _, positive in rows])


def candidates(probability: np.ndarray) -> list[float]:
    """A threshold for each way to divide the rows, from no alarm to alarms only."""
    return [2.0, *sorted(set(probability.tolist()), reverse=True)]


def counts(threshold: float, probability: np.ndarray, positive: np.ndarray) -> tuple[int, int, int]:
    """Right alarms, false ones, and failures without one."""
    alarm = probability >= threshold
    return int((alarm & positive).sum()), int((alarm & ~positive).sum()), int((~alarm & positive).sum())


class TestThreshold:
    @given(RANKED)
    def test_the_best_f1_is_that_of_brute_force(self, rows: list[tuple[int, bool]]) -> None:
        probability, positive = arrays(rows)

        def f1(threshold: float) -> float:
            right, false, missed = counts(threshold, probability, positive)
            return 2 * right / max(2 * right + false + missed, 1)

        found = choose_threshold(BestF1(), probability, positive)
        assert f1(found) == max(f1(threshold) for threshold in candidates(probability))
        if not positive.any():
            assert not (probability >= found).any()

    @given(RANKED, st.floats(0.1, 20), st.floats(0.1, 20))
    def test_the_least_cost_is_that_of_brute_force(
        self, rows: list[tuple[int, bool]], miss: float, false_alarm: float
    ) -> None:
        probability, positive = arrays(rows)

        def cost(threshold: float) -> float:
            _, false, missed = counts(threshold, probability, positive)
            return miss * missed + false_alarm * false

        found = choose_threshold(LeastCost(miss=miss, false_alarm=false_alarm), probability, positive)
        assert cost(found) == pytest.approx(min(cost(threshold) for threshold in candidates(probability)))

    @given(RANKED, st.floats(0.01, 0.9))
    def test_no_more_false_alarms_than_allowed_and_no_failure_given_away(
        self, rows: list[tuple[int, bool]], at_most: float
    ) -> None:
        probability, positive = arrays(rows)
        healthy = max(int((~positive).sum()), 1)

        def within(threshold: float) -> bool:
            return counts(threshold, probability, positive)[1] <= at_most * healthy

        found = choose_threshold(FalseAlarmRate(at_most=at_most), probability, positive)
        assert within(found)
        most = max(counts(t, probability, positive)[0] for t in candidates(probability) if within(t))
        assert counts(found, probability, positive)[0] == most

    def test_neighbouring_numbers_are_told_apart(self) -> None:
        """The middle of two neighbours rounds to one of them: the alarm must stay with the upper one only."""
        for lower in (0.5, np.nextafter(0.5, 1.0), 1 / 3, 1e-12):
            upper = np.nextafter(lower, 1.0)
            found = choose_threshold(BestF1(), np.array([lower, upper]), np.array([False, True]))
            assert lower < found <= upper

    def test_a_threshold_lies_in_the_middle_of_the_gap(self) -> None:
        found = choose_threshold(BestF1(), np.array([0.9, 0.7, 0.3]), np.array([True, True, False]))
        assert found == pytest.approx(0.5)

    def test_a_given_threshold_is_taken(self) -> None:
        assert choose_threshold(Fixed(probability=0.3), np.zeros(0), np.zeros(0, dtype=bool)) == 0.3


def make_quantiles(n: int, width: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of normal values whose spread is off by `width`, one factor a step, and what came."""
    from statistics import NormalDist

    rng = np.random.default_rng(seed)
    steps, k = len(width), 2
    centre = rng.normal(size=(n, steps, k))
    sd = rng.uniform(0.5, 2.0, size=(n, steps, k))
    z = np.array([NormalDist().inv_cdf(level) for level in LEVELS])
    quantiles = centre[..., None] + (sd * width[:, None])[..., None] * z
    return quantiles, centre + sd * rng.normal(size=(n, steps, k))


def as_output(spread: np.ndarray) -> QuantileOutput:
    """The output that applies these factors."""
    return QuantileOutput(
        columns=("a", "b"),
        quantile_levels=LEVELS,
        mean=(0.0, 0.0),
        sd=(1.0, 1.0),
        relative=False,
        spread=tuple(tuple(row) for row in spread.tolist()),
    )


class TestQuantiles:
    def test_fresh_draws_fall_below_each_level_as_often_as_it_says(self) -> None:
        width = np.array([0.3, 1.0, 2.5])
        quantiles, value = make_quantiles(4000, width, 0)
        found = calibrate_quantiles(quantiles, value, np.ones(value.shape, dtype=bool), LEVELS)
        np.testing.assert_allclose(found[:, [0, 1, 3, 4]] * width[:, None], 1.0, atol=0.12)
        assert (found[:, 2] == 1).all()
        quantiles, value = make_quantiles(4000, width, 1)
        below = (value[..., None] <= as_output(found).quantiles(quantiles, None)).mean(axis=(0, 2))
        np.testing.assert_allclose(below, np.broadcast_to(LEVELS, (3, 5)), atol=0.02)

    def test_what_is_not_known_does_not_count(self) -> None:
        quantiles, value = make_quantiles(300, np.array([0.5, 0.5]), 2)
        known = np.ones(value.shape, dtype=bool)
        known[::2] = False
        expected = calibrate_quantiles(quantiles[1::2], value[1::2], known[1::2], LEVELS)
        value[::2] = 1e6
        np.testing.assert_allclose(calibrate_quantiles(quantiles, value, known, LEVELS), expected)

    def test_a_step_that_no_row_knows_is_left_as_it_is(self) -> None:
        quantiles, value = make_quantiles(50, np.array([0.5, 0.5]), 3)
        known = np.ones(value.shape, dtype=bool)
        known[:, 1] = False
        assert (calibrate_quantiles(quantiles, value, known, LEVELS)[1] == 1).all()

    @given(st.integers(0, 10**6), st.integers(1, 30))
    @settings(max_examples=40, deadline=None)
    def test_calibrated_quantiles_never_cross_and_the_median_stays(self, seed: int, n: int) -> None:
        rng = np.random.default_rng(seed)
        quantiles = np.sort(rng.normal(size=(n, 2, 2, 5)), axis=3)
        value = rng.normal(rng.normal(), 3, size=(n, 2, 2))
        found = calibrate_quantiles(quantiles, value, rng.uniform(size=value.shape) < 0.8, LEVELS)
        assert np.isfinite(found).all()
        assert (found >= 0).all()
        after = as_output(found).quantiles(quantiles, None)
        assert (np.diff(after, axis=3) >= 0).all()
        np.testing.assert_allclose(after[..., 2], quantiles[..., 2], atol=1e-6)


def test_temperature_alone_leaves_the_likeliest_class_as_it_is():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(300, 3)) * 4
    answer = np.where(rng.random(300) < 0.7, 0, scores.argmax(axis=1))  # the first class far more often
    slope, shift = calibrate_scores(scores, answer, shifts=False)
    assert shift == pytest.approx((0.0, 0.0, 0.0), abs=1e-6)
    assert 0 < slope < 1
    assert calibrate_scores(scores, answer)[1][0] > 0.1
