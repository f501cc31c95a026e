"""`wearcast select` and the leaderboard of `wearcast compare`, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

from tests.unit.cli.conftest import SMALL, Run

DATA = ["--set", "dataset.units=8", "--set", "dataset.test_units=4", "--set", "dataset.typical_life=40"]


def test_select_leaves_a_bundle_and_says_why(run: Run, tmp_path: Path):
    """One candidate that takes a second: chosen, written, explained, and ready to be evaluated."""
    settings = [word for text in SMALL for word in ("--set", text)]
    words = ["select", "simulated", "--budget", "5m", "--models", "lightgbm", "--folds", "2", "--no-progress"]
    ran = run(*words, *DATA, *settings, "--out", tmp_path / "out")
    assert ran.code == 0
    assert "simulated-lightgbm is chosen: RMSE, capped" in ran.out
    assert "leaderboard.html" in ran.err
    assert run("evaluate", tmp_path / "out" / "best", "--no-report", "--json").code == 0
    told = json.loads(run(*words, *DATA, *settings, "--out", tmp_path / "out", "--json").out)
    assert told["chosen"] == "simulated-lightgbm"
    assert told["comparison"]["metric"] == "rmse_capped"


def test_select_answers_wrong_words(run: Run):
    """A time that is none, a model that is none, a set that is none."""
    assert "not a time: 'soon'" in run("select", "simulated", "--budget", "soon").err
    ran = run("select", "simulated", "--models", "lihgtgbm")
    assert (ran.code, "no such model" in ran.err) == (2, True)
    assert run("select", "cmaps/FD001").code == 3


def test_compare_writes_the_leaderboard(run: Run, bundle: Path, tmp_path: Path):
    """With the cost of each bundle; a name that is no page is refused before the work."""
    page = tmp_path / "board.html"
    told = json.loads(run("compare", bundle, "--report", page, "--json").out)
    assert told["groups"][0]["costs"][0]["latency_ms"] > 0
    assert "Leaderboard" in page.read_text(encoding="utf-8")
    ran = run("compare", bundle, "--report", tmp_path / "board.txt")
    assert (ran.code, "end its name in .html" in ran.err) == (2, True)
