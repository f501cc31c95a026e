"""`wearcast registry …` as a person and as a program sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.bundles import TrainedByKind
from tests.fixtures.registries import NAME, altered

from wearcast.registry.reading import open_store


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, uri: str, tmp_path: Path) -> Run:
    """Run `wearcast registry …` on the copy."""
    from wearcast.cli import main

    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("WEARCAST_REGISTRY", uri)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def call(*words: object) -> Ran:
        capfd.readouterr()
        code = main(["registry", *(str(word) for word in words)])
        written = capfd.readouterr()
        return Ran(code, written.out, written.err)

    return call


def test_from_the_list_to_champion_and_back(run: Run):
    assert run("list").code == 0
    assert run("promote", "pumps/1", "--tolerance", 9).code == 0
    ran = run("promote", "pumps/2", "--tolerance", 9)
    assert (ran.code, "pumps@champion is version 2 now, before it was 1" in ran.err) == (0, True)
    assert "rmse_capped" in ran.out
    models = run("list", "--json").json
    assert [(one["name"], one["versions"], one["aliases"]) for one in models] == [("pumps", 2, {"champion": "2"})]
    shown = run("show", "pumps@champion", "--json").json
    assert (shown["version"], shown["recipe"], shown["columns"]) == ("2", "test-lightgbm", ["load", "s0", "s1", "s2"])
    back = run("rollback", "pumps", "--reason", "false alarms", "--by", "ann", "--json").json
    move = back["move"]
    assert (back["version"], back["before"], move["reason"], move["who"]) == ("1", "2", "false alarms", "ann")
    told = run("lineage", "pumps/2", "--json").json
    (spell,) = told["aliases"]
    assert (spell["alias"], spell["ended_with"]) == ("champion", "rollback")
    assert [move["action"] for move in told["history"]] == ["promote", "promote", "rollback"]


def test_tables_are_for_people(run: Run):
    run("promote", "pumps/1", "--tolerance", 9)
    assert "test-cnn-bilstm" in run("list", NAME).out
    shown = run("show", "pumps/1").out
    assert all(part in shown for part in ("data fingerprint", "Held out", "Gate", "**Intended use.**"))
    assert "Aliases over time" in run("lineage", "pumps/1").out


def test_diff_says_where_two_versions_differ(run: Run):
    found = run("diff", "pumps/1", "pumps/2", "--json").json
    assert found["experiment"]["backbone.kind"] == ["cnn_bilstm", "lightgbm"]
    assert found["facts"]["recipe"] == ["test-cnn-bilstm", "test-lightgbm"]
    assert "data" not in found["facts"]
    assert found["columns"] == {"only_one": [], "only_other": []}
    ran = run("diff", "pumps/1", "pumps/2")
    assert "backbone.kind" in ran.out
    assert "columns: the same" in ran.err
    same = run("diff", "pumps/1", "pumps/1", "--json").json
    assert (same["facts"], same["experiment"], same["metrics"]) == ({}, {}, {})


def test_register_is_idempotent_and_leaves_a_parent(run: Run, trained: TrainedByKind, tmp_path: Path):
    ran = run("register", trained("lightgbm").path, "--name", NAME)
    assert (ran.code, ran.out) == (0, "pumps/2\n")
    assert "it is registered already" in ran.err

    def other(manifest: dict[str, Any]) -> None:
        manifest["seed"] = 5

    new = altered(trained("lightgbm").bundle, tmp_path / "new", other)
    told = run("register", new.path, "--name", NAME, "--parent", "pumps/2", "--json").json
    assert (told["new"], told["version"], told["parent"]) == (True, "3", "pumps/2")
    assert [one["reference"] for one in run("lineage", "pumps/3", "--json").json["parents"]] == ["pumps/2"]


def test_the_gate_measures_both_on_a_named_set(run: Run, uri: str):
    """The columns of these bundles are not in the simulated fleet: that is said, and nothing moves."""
    run("promote", "pumps/1", "--tolerance", 9)
    ran = run("promote", "pumps/2", "--on", "simulated")
    assert ran.code == 3
    assert open_store(uri).model(NAME).aliases == {"champion": "1"}


def test_the_gate_says_no_with_an_exit_code(run: Run, trained: TrainedByKind, tmp_path: Path, uri: str):
    def worse(manifest: dict[str, Any]) -> None:
        manifest["metrics"]["validation_rmse_capped"] = 99.0

    bad = altered(trained("lightgbm").bundle, tmp_path / "bad", worse)
    run("promote", "pumps/2")
    assert run("register", bad.path, "--name", NAME).code == 0
    ran = run("promote", "pumps/3")
    assert (ran.code, "the gate says no: rmse_capped" in ran.err) == (4, True)
    assert run("promote", "pumps/3", "--override", "a test").code == 0
    assert open_store(uri).model(NAME).aliases == {"champion": "3"}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["show", "pumps@champion"], 4, "no alias 'champion'"),
        (["show", "pumps"], 4, "NAME@ALIAS"),
        (["list", "../x"], 4, "no model is registered"),
        (["promote", "pumps/9"], 4, "no version 9"),
        (["promote", "pumps/1", "--alias", "prod"], 2, "no such alias"),
        (["promote", "pumps/1", "--split", "test"], 2, "--on SOURCE"),
        (["promote", "pumps/1", "--override", " "], 2, "needs words"),
        (["rollback", "pumps"], 4, "never set"),
        (["list", "--registry", "mlruns"], 2, "not a registry"),
        (["list", "--registry", "http://127.0.0.1:9"], 4, "does not answer"),
        (["list", "--registry", "sqlite:////nowhere/x.db"], 4, "no registry here yet"),
        (["register", "nowhere"], 4, "there is no bundle here"),
    ],
)
def test_wrong_words_have_one_line_and_a_code(run: Run, words: list[str], code: int, said: str):
    ran = run(*words)
    assert (ran.code, ran.err.count("\n")) == (code, 1), ran.err
    assert said in ran.err
