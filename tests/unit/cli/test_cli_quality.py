"""`wearcast datasets check`: severity decides the exit code, and the report and the figures are written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.cli.conftest import PUMP_FLAGS, Run, write_pumps

from wearcast.cli.quality import kind_of_target
from wearcast.datasets import SimulatedDataset
from wearcast.schema import FleetSchema


@pytest.fixture
def check(run: Run, tmp_path: Path):
    """Check the pumps, which all failed, with more flags."""
    source = write_pumps(tmp_path)
    return lambda *flags: run("datasets", "check", source, *PUMP_FLAGS, "--end-of-life", "last_row", *flags)


@pytest.mark.parametrize(
    ("flags", "code"),
    [((), 0), (("--range", "s0=-0.01:0.01"), 3), (("--range", "s0=-0.01:0.01", "--fail-on", "never"), 0),
     (("--fail-on", "warning"), 3)],
)  # fmt: skip
def test_severity_decides(flags: tuple[str, ...], code: int, check):
    ran = check(*flags)
    assert ran.code == code, ran.out


@pytest.mark.parametrize(
    ("flags", "say"),
    [
        (("--fail-on", "eror"), "--fail-on: no such severity: 'eror' (did you mean 'error'?)"),
        (("--target", "rull"), "--target: no such target: 'rull' (did you mean 'rul'?)"),
        (("--range", "s0"), "--range: 's0' is no range"),
        (("--range", "s9=0:1"), "no column 's9' to have a range"),
        (("--metrics", "figures.txt"), "--metrics: 'figures.txt' says no format"),
    ],
)
def test_wrong_flags_are_answered_in_one_line(flags: tuple[str, ...], say: str, check):
    ran = check(*flags)
    assert ran.code == 2
    assert say in ran.err
    assert len(ran.err.splitlines()) == 1


def test_the_report_and_the_figures_are_written(check, tmp_path: Path):
    pytest.importorskip("jinja2")
    prom, lines, page = tmp_path / "out" / "q.prom", tmp_path / "q.jsonl", tmp_path / "out" / "q.html"
    assert check("--report", page, "--metrics", prom).code == 0
    assert "<h2>What to do</h2>" in page.read_text()
    assert "wearcast_data_rows{" in prom.read_text()
    for _ in range(2):
        ran = check("--metrics", lines, "--json")
        assert ran.code == 0
        assert json.loads(ran.out)["target"] == "rul"
    assert [json.loads(line)["worst"] for line in lines.read_text().splitlines()] == ["warning"] * 2
    assert check("--metrics", prom / "q.json").code == 2


def test_the_tables_show_labels_and_what_was_not_looked_at(check):
    shown = check()
    assert "Not looked at" in shown.out
    assert "judged for" in shown.out


def test_a_declared_set_without_ends_and_labels_is_there_to_forecast_its_sensors():
    dataset = SimulatedDataset(units=3)
    fleet = dataset.load("all")
    assert kind_of_target(None, dataset, fleet) is None
    running = fleet.select(fleet.units)
    object.__setattr__(running, "events", fleet.events.clear())
    assert kind_of_target(None, dataset, running) == "sensor"
    assert kind_of_target("failure", dataset, running) == "failure"
    assert isinstance(fleet.schema, FleetSchema)
