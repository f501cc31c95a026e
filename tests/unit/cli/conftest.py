"""The command line in this very process, and bundles that take a second to train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.fixtures.fleets import make_fleet

SMALL = ["backbone.n_trees=5", "backbone.folds=2", "backbone.threads=1", "backbone.min_leaf_rows=5"]


@dataclass(frozen=True)
class Ran:
    """What a command left: its exit code, and what it wrote."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run one command line and say what came of it; tables are as wide as they are."""
    from wearcast.cli import main

    monkeypatch.delenv("COLUMNS", raising=False)  # workers of pytest-xdist have it

    def call(*words: object) -> Ran:
        capfd.readouterr()
        code = main([str(word) for word in words])
        written = capfd.readouterr()
        return Ran(code, written.out, written.err)

    return call


def train(*words: str) -> None:
    """Train through the command line, quietly and fast."""
    from wearcast.cli import main

    settings = [word for text in SMALL for word in ("--set", text)]
    assert main(["train", *words, *settings, "--no-progress", "--json"]) == 0


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the LightGBM recipe on a small simulated fleet."""
    out = tmp_path_factory.mktemp("cli") / "simulated"
    train(
        "simulated-lightgbm", "--out", str(out), "--set", "dataset.units=10", "--set", "dataset.test_units=4",
        "--set", "dataset.typical_life=60",
    )  # fmt: skip
    return out


def write_pumps(folder: Path, *, units: int = 8, censored: int = 0, seed: int = 0) -> Path:
    """A CSV of pumps with their failures beside it: `pumps.csv` and `failures.csv`."""
    fleet = make_fleet(units=units, cycles=40, censored=censored, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    table = fleet.frame.rename({"unit": "pump", "time": "hours"})
    table.write_csv(folder / "pumps.csv")
    fleet.events.select("unit", "time").rename({"unit": "pump", "time": "hours"}).write_csv(folder / "failures.csv")
    return folder / "pumps.csv"


PUMP_FLAGS = ("--unit", "pump", "--cycle", "hours", "--sensors", "s0,s1,s2", "--settings", "load")


@pytest.fixture(scope="session")
def pumps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle trained on the CSV of pumps, whose failures are in a table."""
    folder = tmp_path_factory.mktemp("pumps")
    source = write_pumps(folder)
    out = folder / "bundle"
    train(
        "lightgbm", "--source", str(source), *PUMP_FLAGS, "--failures", str(folder / "failures.csv"), "--out", str(out)
    )
    return out
