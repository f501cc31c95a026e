"""What a bootstrap draws again, for each kind of target, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from tests.fixtures.forecasters import Oracle, SimpleManifest, make_judged_fleet
from tests.fixtures.judged import make_class_evaluation, make_value_evaluation

from wearcast.errors import UsageError
from wearcast.evaluation import Cost, compare, measure_cost, write_leaderboard
from wearcast.evaluation.classification import average_precision, macro_f1
from wearcast.evaluation.figures import FIGURES, SHOWN, main_figure
from wearcast.evaluation.pieces import grouping_of, pieces_of
from wearcast.evaluation.protocol import evaluate_rul


def drawn_rows(groups: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """Each row as often as its group was drawn, by a plain loop."""
    return np.concatenate([np.flatnonzero(groups == g) for g, times in enumerate(draw) for _ in range(int(times))])


@pytest.mark.parametrize("ties", [3, 10**6])
def test_average_precision_of_drawn_units_is_that_of_repeated_rows(ties: int):
    """Against the plain figure of a table in which drawn units stand several times, ties included."""
    evaluation = make_class_evaluation(ties=ties)
    groups = grouping_of(evaluation)
    draws = np.random.default_rng(1).integers(0, 4, (5, groups.count)).astype(float)
    found = pieces_of(evaluation, groups).figure(draws)
    known = evaluation.known
    for draw, figure in zip(draws, found, strict=True):
        rows = drawn_rows(groups.group, draw)
        score = evaluation.forecast.probability[known, 1][rows]
        assert figure == pytest.approx(average_precision(score, evaluation.answer[known][rows] == 1))


def test_macro_f1_of_drawn_units_is_that_of_repeated_rows():
    """Against the confusion of the repeated rows; a class that never comes does not count."""
    evaluation = make_class_evaluation(target="fault")
    groups = grouping_of(evaluation)
    draws = np.random.default_rng(1).integers(0, 2, (4, groups.count)).astype(float)
    found = pieces_of(evaluation, groups).figure(draws)
    known = evaluation.known
    for draw, figure in zip(draws, found, strict=True):
        rows = drawn_rows(groups.group, draw)
        counts = np.zeros((3, 3), dtype=np.int64)
        np.add.at(counts, (evaluation.answer[known][rows], evaluation.forecast.likeliest[known][rows]), 1)
        assert figure == pytest.approx(macro_f1(counts))


def test_a_draw_without_a_failure_has_no_figure():
    """It says nothing, and is left out of the interval."""
    evaluation = make_class_evaluation()
    groups = grouping_of(evaluation)
    found = pieces_of(evaluation, groups).figure(np.zeros((1, groups.count)))
    assert np.isnan(found).all()


@pytest.mark.parametrize("target", ["failure", "fault"])
def test_models_of_classes_are_compared_by_unit(target: Literal["failure", "fault"]):
    """More is better: the direction of the verdict follows the figure."""
    name = main_figure(target).name
    good = make_class_evaluation("good", skill=3.0, target=target, metrics={name: 0.9})
    bad = make_class_evaluation("bad", skill=0.2, target=target, seed=1, metrics={name: 0.5})
    comparison = compare([bad, good])
    (difference,) = comparison.differences
    assert [group.recipe for group in comparison.groups] == ["good", "bad"]
    assert (difference.by, difference.n) == ("units", 12)
    assert difference.low > 0
    assert difference.verdict == "good is better than bad"
    assert comparison.to_dict()["metric"] == name


def test_one_unit_is_divided_into_blocks_of_time():
    """Blocks are longer than what is forecast ahead; their means make the whole mean."""
    fine, coarse = make_value_evaluation("fine"), make_value_evaluation("coarse", scale=3.0, seed=1)
    comparison = compare([coarse, fine])
    (difference,) = comparison.differences
    assert difference.by == "blocks of time"
    assert 2 <= difference.n <= 20
    assert difference.verdict == "fine is better than coarse"
    expected = fine.metrics["mae"] - coarse.metrics["mae"]
    assert difference.difference == pytest.approx(expected)


def test_few_units_are_a_reservation():
    """The interval stands, and what to hold against it."""
    comparison = compare([make_value_evaluation("a", units=3), make_value_evaluation("b", units=3, seed=1)])
    assert comparison.differences[0].by == "units"
    assert "only 3 units" in str(comparison.differences[0].reservation)


def test_different_questions_are_refused():
    """Another target, other readings, another cap, another number of steps, other answers."""
    fleet, lives = make_judged_fleet()
    life = evaluate_rul(Oracle(lives), fleet)
    with pytest.raises(UsageError, match="different targets"):
        compare([life, make_value_evaluation()])
    other_fleet, other_lives = make_judged_fleet(seed=4)
    with pytest.raises(UsageError, match=r"different readings.*--source"):
        compare([life, evaluate_rul(Oracle(other_lives), other_fleet)])
    with pytest.raises(UsageError, match="capped at 125 and labels capped at 100"):
        compare([life, evaluate_rul(Oracle(lives, max_rul=100.0), fleet)])
    values = make_value_evaluation()
    with pytest.raises(UsageError, match="3 steps ahead and s0, 5 steps ahead"):
        compare([values, replace(values, mae_by_step=np.ones((2, 5)))])
    classes = make_class_evaluation()
    with pytest.raises(UsageError, match="parameters differ"):
        compare([classes, replace(classes, answer=1 - classes.answer)])


def test_each_target_has_a_main_figure_and_those_beside_it():
    """What the tables show is declared, and the main figure comes first."""
    for target, names in SHOWN.items():
        declared = [figure.name for figure in FIGURES[target]]
        assert set(names) <= set(declared)
        assert names[0] == main_figure(target).name
        assert len(declared) == len(set(declared))


def test_badness_ranks_by_direction():
    """The least bad is the lowest, the highest or the nearest."""
    named = {figure.name: figure for figure in FIGURES["rul"]}
    assert min([12.0, 9.0], key=named["rmse"].badness) == 9.0
    assert min([0.99, 0.92, 0.7], key=named["coverage_90"].badness) == 0.92
    assert min([0.5, 0.7], key=named["relative_accuracy"].badness) == 0.7


def test_cost_is_read_off_the_manifest_and_measured():
    """Zero parameters are none; a forecast takes time."""
    fleet, lives = make_judged_fleet()
    facts: dict[str, float | int | str] = {"seconds": 3.5, "trees": 120, "models": 2, "parameters": 0}
    cost = measure_cost(Oracle(lives, manifest=SimpleManifest(training=facts)), fleet)
    assert (cost.training_seconds, cost.parameters, cost.trees) == (3.5, None, 120)
    assert cost.size == "2 models, 120 trees"
    assert cost.latency_ms is not None
    assert cost.latency_ms > 0


def test_the_leaderboard_is_one_safe_page(tmp_path: Path):
    """Names are text; the verdict, the cost and three pictures are there, and no address outside."""
    fleet, lives = make_judged_fleet(units=20)
    evaluations = [
        evaluate_rul(Oracle(lives, sd=sd, seed=seed, manifest=SimpleManifest(name=name, seed=seed)), fleet)
        for name, sd in (("<b>fine", 4.0), ("coarse", 14.0))
        for seed in (1, 2)
    ]
    costs = [Cost(12.0, 3400, None, 1, latency) for latency in (2.0, 2.2, 30.0, 31.0)]
    html = write_leaderboard(compare(evaluations, costs), tmp_path / "board.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;fine is first" in html
    assert "Its lead over every other model is real." in html
    assert "3,400 parameters" in html
    assert html.count("<svg") == 3
    assert "<b>fine" not in html
    assert "http" not in html.replace("http-equiv", "")


def test_a_leaderboard_says_what_is_alike_and_what_is_not_known(tmp_path: Path):
    """Two of one error; and a fleet whose truth is not known."""
    fleet, lives = make_judged_fleet(units=20)
    alike = [
        evaluate_rul(Oracle(lives, sd=6, seed=seed, manifest=SimpleManifest(name=name)), fleet)
        for seed, name in enumerate("ab")
    ]
    costs = [Cost(1.0, None, 10, 1, latency) for latency in (9.0, 1.0)]
    comparison = compare(alike, costs)
    html = write_leaderboard(comparison, tmp_path / "alike.html").read_text(encoding="utf-8")
    assert f"no real difference between it and {comparison.groups[1].recipe}" in html
    fleet, lives = make_judged_fleet(units=4, unknown=4)
    unknown = compare([evaluate_rul(Oracle(lives), fleet)])
    html = write_leaderboard(unknown, tmp_path / "unknown.html").read_text(encoding="utf-8")
    assert "nothing is scored" in html
    assert "<svg" not in html
