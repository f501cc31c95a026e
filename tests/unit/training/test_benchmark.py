"""A suite: what is missing is run, what fails is a row, and the page is made from the JSON alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from wearcast.errors import UsageError
from wearcast.evaluation.figures import FIGURES
from wearcast.training import benchmark as room
from wearcast.training import suites
from wearcast.training.benchmark import run_suite
from wearcast.training.benchmark_page import benchmark_page, benchmark_table
from wearcast.training.run import train as real_train
from wearcast.training.suites import SUITES, Anchor, Part, Suite, find_suite, recipes_of

SMALL = (
    "dataset.units=8", "dataset.test_units=4", "dataset.typical_life=40", "backbone.n_trees=4", "backbone.folds=2",
    "backbone.threads=1", "backbone.min_leaf_rows=5",
)  # fmt: skip
TINY = Suite(
    name="tiny",
    title="Tiny | engines",
    protocol="Simulated engines.",
    search="Nobody searched.",
    parts=(
        Part(
            name="made up",
            dataset="simulated",
            target="rul",
            anchors=(Anchor("an oracle", {"rmse_capped": 0.5}, "knows the future", "nowhere"),),
        ),
    ),
)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """Trees with two seeds, and a network that does not know what is set."""
    out = tmp_path_factory.mktemp("benchmark")
    return run_suite(TINY, seeds=2, out=out, models=("lightgbm", "cnn-bilstm"), assignments=SMALL), out


def test_each_model_is_a_row_over_its_seeds(ran: tuple[dict[str, Any], Path]):
    """Mean, spread and worst of each figure, and what it costs."""
    results, out = ran
    (part,) = results["parts"]
    row = part["rows"][0]
    assert (row["recipe"], row["seeds"], row["errors"]) == ("simulated-lightgbm", 2, [])
    spread = row["metrics"]["rmse_capped"]
    assert spread["worst"] == max(spread["values"])
    assert spread["mean"] == pytest.approx(sum(spread["values"]) / 2)
    assert set(row["metrics"]) == {figure.name for figure in FIGURES["rul"]}
    assert row["cost"]["latency_ms"] > 0
    assert row["cost"]["trees"] > 0
    assert json.loads((out / "tiny.json").read_text())["parts"] == results["parts"]


def test_a_model_that_fails_is_a_row_with_its_error(ran: tuple[dict[str, Any], Path]):
    """Last, without figures."""
    failed = ran[0]["parts"][0]["rows"][-1]
    assert failed["recipe"] == "simulated-cnn-bilstm"
    assert failed["seeds"] == 0
    assert "backbone.n_trees" in failed["errors"][0]
    assert failed["metrics"]["rmse_capped"] is None


def test_a_second_run_does_what_is_missing(ran: tuple[dict[str, Any], Path], monkeypatch: pytest.MonkeyPatch):
    """A third seed is trained, the two others are not; a changed recipe is."""
    results, out = ran
    trained: list[int] = []

    def train(experiment: Any, **rest: Any) -> Any:
        trained.append(experiment.seed)
        return real_train(experiment, **rest)

    monkeypatch.setattr(room, "train", train)
    more = run_suite(TINY, seeds=3, out=out, models=("lightgbm",), assignments=SMALL)
    assert trained == [2]
    before, after = (r["parts"][0]["rows"][0]["metrics"]["rmse_capped"]["values"] for r in (results, more))
    assert tuple(after[:2]) == tuple(before)
    run_suite(TINY, seeds=1, out=out, models=("lightgbm",), assignments=(*SMALL, "backbone.n_trees=3"))
    assert trained == [2, 0]
    lost = out / "tiny" / "made-up" / "simulated-lightgbm-seed1.json"
    lost.unlink()
    run_suite(TINY, seeds=2, out=out, models=("lightgbm",), assignments=SMALL)
    assert trained == [2, 0, 0]  # the bundle of seed 1 was whole and is only scored again
    assert lost.exists()


def test_forecasts_lie_beside_the_results(ran: tuple[dict[str, Any], Path]):
    """So that a test set whose truth is elsewhere can be scored there."""
    table = (ran[1] / "tiny" / "made-up" / "simulated-lightgbm-seed0.csv").read_text()
    assert table.startswith("unit,time,rul,")


def test_the_page_says_protocol_anchors_and_errors(ran: tuple[dict[str, Any], Path]):
    """From the JSON alone; a bar in a name does not break the table."""
    page = benchmark_page(json.loads(json.dumps(ran[0])))
    assert "# Benchmark: Tiny | engines" in page
    assert re.search(r"^\| an oracle \|.* \| knows the future \(nowhere\) \|$", page, re.MULTILINE)
    assert "over 2 seeds" in page
    assert "Nobody searched. How evaluation goes: " in page
    columns, rows = benchmark_table(ran[0]["parts"][0])
    assert all(len(row) == len(columns) for row in rows)
    assert "`simulated-cnn-bilstm` failed: " in page
    assert "`wearcast benchmark tiny --seeds 2 --models lightgbm,cnn-bilstm --set dataset.units=8 " in page
    assert "--page docs/results-tiny.md` with Wearcast" in page
    assert re.search(r"Trained on \d+ cores \(\w+\), [^;]+\. Seconds", page)  # two seeds, one machine


def test_unknown_truth_is_said():
    """A row without figures says why."""
    part = TINY.parts[0]
    result = {"evaluation": {"metrics": {"rmse_capped": None}, "truth": "unknown", "truth_note": "…"}, "cost": {}}
    row = room._row(part, "a", [result])
    assert row["note"] == "the truth of the test set is not at hand"
    assert row["metrics"]["rmse_capped"] is None


def test_wrong_names_are_answered(tmp_path: Path):
    """With the nearest or the known ones."""
    with pytest.raises(UsageError, match="cmapss"):
        find_suite("cmaps")
    with pytest.raises(UsageError, match="one of made up"):
        run_suite(TINY, seeds=1, out=tmp_path, parts=("FD009",))
    with pytest.raises(UsageError, match="simulated-lightgbm"):
        run_suite(TINY, seeds=1, out=tmp_path, models=("oracle",))


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_each_suite_has_recipes_and_anchors_in_its_own_figures(suite: Suite):
    """Every part is answered by a shipped recipe; anchors name their protocol and figures that are reported."""
    for part in suite.parts:
        assert recipes_of(part)
        known = {figure.name for figure in FIGURES[part.target]}
        for anchor in part.anchors:
            assert anchor.protocol
            assert anchor.source
            assert set(anchor.figures) <= known
    assert any(part.anchors for part in suite.parts)


def test_the_command_prints_tables_and_writes_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """And one JSON object where a program reads it."""
    from wearcast.cli import main

    monkeypatch.delenv("COLUMNS", raising=False)  # workers of pytest-xdist have it
    monkeypatch.setattr(suites, "SUITES", (TINY,))
    words = ["benchmark", "tiny", "--seeds", "1", "--models", "lightgbm", "--out", str(tmp_path), "--no-progress"]
    words += [word for text in SMALL for word in ("--set", text)]
    assert main([*words, "--page", str(tmp_path / "tiny.md")]) == 0
    out = capfd.readouterr().out
    assert "an oracle *" in out
    assert "simulated-lightgbm" in out
    assert "Every recipe was changed by" in (tmp_path / "tiny.md").read_text()
    assert main([*words, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["suite"] == "tiny"
