"""Selecting a model within a budget: what is tried, what is not, why one is chosen, and that no test unit is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.experiments import make_experiment

from wearcast.bundle import load_bundle
from wearcast.datasets import resolve_source
from wearcast.datasets.simulated import SimulatedDataset
from wearcast.errors import ConfigError, ModelError, UsageError
from wearcast.target import FaultTarget
from wearcast.training import selection as room
from wearcast.training.board import BOARD, Board
from wearcast.training.budget import Budget, OutOfTime, Pace, parse_duration
from wearcast.training.candidates import Candidate, find_candidates
from wearcast.training.ensemble import folds_of, pool_members
from wearcast.training.experiment import Ensemble
from wearcast.training.out_of_fold import OutOfFold
from wearcast.training.selection import Selection, select
from wearcast.training.workers import PartTrainer
from wearcast.windows import SplitSpec

DATA = SimulatedDataset(units=8, test_units=2, typical_life=40)


def candidate(kind: str, name: str | None = None, **changes: Any) -> Candidate:
    """A small model on a small simulated fleet."""
    experiment = make_experiment(kind, max_rul=40.0, **changes).model_copy(
        update={"dataset": DATA, "name": name or kind.replace("_", "-"), "split": SplitSpec()}
    )
    return Candidate(name or kind.replace("_", "-"), experiment)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Selection, Path, list[str]]:
    """A selection between trees and a network, with budget for both."""
    out = tmp_path_factory.mktemp("selection")
    said: list[str] = []
    both = [candidate("lightgbm"), candidate("cnn_bilstm", epochs=1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room._Run, "_probe", lambda self, candidate: Pace(fixed_seconds=1.0, epoch_seconds=1.0))
        return select(both, seconds=600, out=out, folds=2, say=said.append), out, said


def test_candidates_are_judged_on_the_same_held_out_readings(found: tuple[Selection, Path, list[str]]):
    """Trees, the network and their ensemble, paired by unit; the best first."""
    selection, _, _ = found
    groups = {group.recipe: group for group in selection.comparison.groups}
    assert {"lightgbm", "cnn-bilstm"} <= set(groups)
    assert selection.board.chosen == selection.comparison.groups[0].recipe
    fleets = {group.evaluations[0].fleet.fingerprint for group in groups.values()}
    assert len(fleets) == 1
    assert all(group.split == "held out" and not group.evaluations[0].record.trained_on for group in groups.values())
    assert len({difference.n for difference in selection.comparison.differences}) == 1
    assert {e.status for e in selection.board.entries.values()} <= {"done", "unfit"}


def test_the_best_is_a_bundle_that_predicts(found: tuple[Selection, Path, list[str]]):
    """It forecasts units that were never read before."""
    selection, out, _ = found
    bundle = load_bundle(out / "best")
    test = DATA.load("test")
    assert len(bundle.predict(test)) == test.n_units
    assert bundle.manifest.data.fingerprint == DATA.load("train").fingerprint
    assert bundle.path == selection.bundle.path


def test_the_choice_is_explained(found: tuple[Selection, Path, list[str]]):
    """Which, by what figure, whether the difference is real, and what a forecast takes."""
    selection, _, said = found
    text = " ".join(selection.board.why)
    assert f"{selection.board.chosen} is chosen: RMSE, capped" in text
    assert "real" in text
    assert "A forecast takes" in text
    assert said[0] == "learning from simulated train, 8 units"
    assert any(line.startswith("lightgbm: done, ") for line in said)


def test_a_finished_selection_is_not_trained_again(
    found: tuple[Selection, Path, list[str]], monkeypatch: pytest.MonkeyPatch
):
    """The same command reads what is there and comes to the same result; another question is refused."""
    selection, out, _ = found

    def never(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("wearcast.training.parts.train_model", never)
    both = [candidate("lightgbm"), candidate("cnn_bilstm", epochs=1)]
    again = select(both, seconds=600, out=out, folds=2)
    assert again.board.chosen == selection.board.chosen
    assert again.board.entries["cnn-bilstm"].metrics == selection.board.entries["cnn-bilstm"].metrics
    with pytest.raises(ConfigError, match="another selection"):
        select(both, seconds=600, out=out, folds=3)


def test_the_test_units_are_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whatever asks for another split than that of training fails here."""
    real = SimulatedDataset.load

    def load(self: SimulatedDataset, split: str = "train", **rest: Any) -> Any:
        assert split == "train"
        return real(self, "train", **rest)

    monkeypatch.setattr(SimulatedDataset, "load", load)
    selection = select([candidate("lightgbm")], seconds=600, out=tmp_path, folds=2)
    assert selection.board.chosen == "lightgbm"
    assert json.loads((tmp_path / "best" / "bundle.json").read_text())["kind"] == "model"


def test_held_out_forecasts_answer_nothing_else(found: tuple[Selection, Path, list[str]], tmp_path: Path):
    """Of another fleet, or of the last readings, the models did see units: they are not asked."""
    one = select([candidate("lightgbm")], seconds=600, out=tmp_path, folds=2)
    run_fleet = one.comparison.groups[0].evaluations[0].fleet
    trees = candidate("lightgbm").experiment
    whole = Ensemble(
        name="x", dataset=DATA, target=trees.target, members={"lightgbm": trees}, split=SplitSpec(validation_share=0.5)
    )
    pooled = pool_members(whole, PartTrainer(folds_of(whole, DATA.load("train"))), work=tmp_path / "work")
    forecaster = OutOfFold(pooled, pooled.rows)
    with pytest.raises(ModelError, match="learnt from only"):
        forecaster.predict(run_fleet, every=1)
    with pytest.raises(ModelError, match="learnt from only"):
        forecaster.predict(pooled.fleet)


def test_what_does_not_fit_into_the_budget_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An estimate from a probe; it is said, kept for the next run, and the next run with more time goes on."""
    monkeypatch.setattr(room._Run, "_probe", lambda self, candidate: Pace(fixed_seconds=1.0, epoch_seconds=300.0))
    both = [candidate("lightgbm"), candidate("cnn_bilstm", epochs=4)]
    first = select(both, seconds=500, out=tmp_path, folds=2)
    entry = first.board.entries["cnn-bilstm"]
    assert entry.status == "not begun"
    assert "it would take about 2402 s (2 models, 4 epochs of 300.0 s)" in entry.note
    assert any("cnn-bilstm was not tried" in sentence for sentence in first.board.why)

    def never(*_: object) -> Pace:
        raise AssertionError("probed again")

    monkeypatch.setattr(room._Run, "_probe", never)
    kept = Board.read(tmp_path)
    assert kept is not None
    pace = Pace(fixed_seconds=0.1, epoch_seconds=300.0)
    kept.model_copy(update={"entries": {**kept.entries, "cnn-bilstm": entry.model_copy(update={"pace": pace})}}).save(
        tmp_path
    )
    real = pool_members

    def slow(ensemble: Ensemble, *rest: Any, **named: Any) -> Any:
        if "cnn-bilstm" in ensemble.members:
            raise OutOfTime("1 of 2 models took 900 s each, 10 s are left")
        return real(ensemble, *rest, **named)

    monkeypatch.setattr(room, "pool_members", slow)
    second = select(both, seconds=1900, out=tmp_path, folds=2)
    stopped = second.board.entries["cnn-bilstm"]
    assert (stopped.status, stopped.note) == ("stopped", "1 of 2 models took 900 s each, 10 s are left")
    assert stopped.experiment is not None
    assert stopped.experiment["trainer"]["max_epochs"] == 3  # of 4: what fits


def test_nothing_is_probed_that_would_not_fit_at_the_fastest_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """To see how long a larger network takes could take longer than is left."""
    real = room._Run._probe

    def known(run: room._Run, one: Candidate) -> Pace:
        return Pace(fixed_seconds=1.0, epoch_seconds=30.0) if one.recipe == "cnn-bilstm" else real(run, one)

    monkeypatch.setattr(room._Run, "_probe", known)
    three = [candidate("lightgbm"), candidate("cnn_bilstm", epochs=4), candidate("tft", epochs=4)]
    found = select(three, seconds=100, out=tmp_path, folds=2)
    assert found.board.entries["tft"].status == "not begun"
    assert "too few at the pace of the fastest network so far" in found.board.entries["tft"].note


def test_a_candidate_that_fails_is_one_line(tmp_path: Path):
    """The others are chosen from; with none left it is a clear error."""
    bad = candidate("lightgbm", "bad")
    fault = FaultTarget(label="nowhere")
    bad = Candidate("bad", bad.experiment.model_copy(update={"target": fault}))
    found = select([candidate("lightgbm"), bad], seconds=600, out=tmp_path / "a", folds=2)
    assert found.board.entries["bad"].status == "failed"
    assert found.board.chosen == "lightgbm"
    with pytest.raises(ConfigError, match="no candidate could be trained"):
        select([bad], seconds=600, out=tmp_path / "b", folds=2)
    assert Board.read(tmp_path / "b") is not None


def test_a_damaged_record_is_refused(tmp_path: Path):
    """With its path."""
    (tmp_path / BOARD).write_text("{}")
    with pytest.raises(ConfigError, match=r"selection\.json"):
        Board.read(tmp_path)


def test_durations():
    """Seconds, minutes and hours; anything else is a wrong call."""
    assert [parse_duration(text) for text in ("90", "90s", "20m", "1.5h")] == [90, 90, 1200, 5400]
    for wrong in ("", "0", "-3m", "soon", "5 d"):
        with pytest.raises(UsageError, match="not a time"):
            parse_duration(wrong)


def test_a_budget_counts_what_earlier_runs_spent():
    """And keeps a little for the end."""
    budget = Budget(100.0, spent_before=60.0)
    assert 60 <= budget.spent < 61
    assert 36 < budget.left <= 37
    assert Pace(fixed_seconds=5.0, epoch_seconds=2.0).epochs_within(12.0) == 3


@pytest.mark.parametrize(
    ("source", "first", "kinds"),
    [("cmapss/FD003", "cmapss-fd003-", {"lightgbm", "cnn_bilstm", "tft"}), ("ai4i", "ai4i-failure", {"lightgbm"})],
)
def test_a_set_is_tried_with_its_own_recipes(source: str, first: str, kinds: set[str]):
    """Tables before networks; ensembles are not among them."""
    candidates, _ = find_candidates(resolve_source(source), source=source)
    assert candidates[0].recipe.startswith(first)
    assert kinds <= {c.kind for c in candidates}
    assert all(c.experiment.dataset.name == source for c in candidates)
    assert not any("ensemble" in c.recipe for c in candidates)


def test_all_learn_from_what_the_shipped_ensemble_learns_from_unless_told_otherwise():
    """From the training engines of both subsets that fly under one condition."""
    for said, also in (((), ("FD003",)), (("dataset.also=[]",), ()), (("dataset.also=[FD002]",), ("FD002",))):
        candidates, _ = find_candidates(resolve_source("cmapss/FD001"), source="cmapss/FD001", assignments=said)
        assert {c.experiment.dataset.also for c in candidates} == {also}


def test_models_can_be_named_and_what_does_not_fit_is_said(tmp_path: Path):
    """By kind or by name; what a setting does not fit is left out with the reason."""
    table = tmp_path / "pumps.csv"
    table.write_text("unit,cycle,s0\n1,1,0.5\n")
    own = resolve_source(table)
    candidates, unfit = find_candidates(own, source=str(table), assignments=("backbone.dropout=0.2",))
    assert "tft" in [c.recipe for c in candidates]
    assert "unknown key backbone.dropout" in next(u.why for u in unfit if u.recipe == "lightgbm")
    with pytest.raises(UsageError, match="lightgbm does not fit: unknown key"):
        find_candidates(own, source=str(table), models=("lightgbm",), assignments=("backbone.dropout=0.2",))
    with pytest.raises(UsageError, match=r"no shipped recipe fits.*horizon or label"):
        find_candidates(own, source=str(table), target="failure")
    cmapss = resolve_source("cmapss/FD001")
    named, _ = find_candidates(cmapss, source="cmapss/FD001", models=("cnn-bilstm", "lightgbm"))
    assert [c.kind for c in named] == ["lightgbm", "cnn_bilstm"]
    with pytest.raises(UsageError, match="no such model"):
        find_candidates(cmapss, source="cmapss/FD001", models=("lihgtgbm",))


def test_a_folder_of_something_else_is_spared(tmp_path: Path):
    """A selection would remove and replace what lies in it."""
    (tmp_path / "work").mkdir()
    with pytest.raises(ConfigError, match="something else than a selection"):
        select([candidate("lightgbm")], seconds=600, out=tmp_path, folds=2)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="this is a file, a selection is a folder"):
        select([candidate("lightgbm")], seconds=600, out=tmp_path / "file", folds=2)
