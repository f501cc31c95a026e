"""`wearcast datasets`, and the mapping flags that it shares with the others."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from tests.unit.cli.conftest import PUMP_FLAGS, Run, write_pumps

from wearcast.cli.options import MappingFlags
from wearcast.cli.sources import column_mapping
from wearcast.datasets import ColumnMapping, FailureTable
from wearcast.errors import ConfigError, UsageError


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, whatever this machine has."""
    monkeypatch.setenv("WEARCAST_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def test_list(run: Run):
    assert "cmapss/FD001" in run("datasets", "list").out
    listed = json.loads(run("datasets", "list", "--json").out)
    states = {entry["name"]: entry["state"] for entry in listed}
    assert states.items() >= {"simulated": "built in", "cmapss": "absent"}.items()


def test_info(run: Run):
    shown = run("datasets", "info", "cmapss")
    assert "Saxena" in shown.out
    assert "total temperature at LPT outlet" in shown.out
    assert json.loads(run("datasets", "info", "cmapss", "--json").out)["subsets"][0] == "FD001"
    wrong = run("datasets", "info", "cmaps")
    assert wrong.code == 3
    assert "did you mean 'cmapss'" in wrong.err


def test_info_says_what_is_here(run: Run, tmp_path: Path, data_folder: Path):
    (data_folder / "cmapss").mkdir(parents=True)
    (data_folder / "cmapss" / "train_FD001.txt").write_text("1 1\n")
    shown = run("datasets", "info", "cmapss")
    assert "incomplete" in shown.out
    found = json.loads(run("datasets", "info", "cmapss", "--json").out)
    assert found["missing"][0] == "train_FD002.txt"
    assert len(found["fingerprint"]) == 64


def test_info_as_croissant(run: Run):
    described = json.loads(run("datasets", "info", "cmapss", "--croissant").out)
    assert described["conformsTo"].endswith("croissant/1.0")
    assert run("datasets", "info", "simulated", "--croissant").code == 2


def test_fetch_offline_says_what_to_do_by_hand(run: Run):
    ran = run("datasets", "fetch", "cmapss", "--offline", "--mirror", "http://127.0.0.1:9")
    assert ran.code == 3
    assert "while offline (by hand: download" in ran.err


def test_fetch_from_a_wrong_file_leaves_nothing(run: Run, tmp_path: Path, data_folder: Path):
    missing = run("datasets", "fetch", "cmapss", "--from", tmp_path / "absent.zip", "--no-progress")
    assert missing.code == 3
    assert "absent.zip" in missing.err
    with zipfile.ZipFile(tmp_path / "wrong.zip", "w") as wrong:
        wrong.writestr("readme.txt", "nothing here")
    assert run("datasets", "fetch", "cmapss", "--from", tmp_path / "wrong.zip").code == 3
    assert list(data_folder.rglob("*.zip")) == []
    assert run("datasets", "fetch", "simulated").code == 2


def test_check_own_files_and_write_their_mapping(run: Run, tmp_path: Path):
    source = write_pumps(tmp_path)
    mapping = tmp_path / "out" / "pumps.yaml"
    failures = ("--failures", tmp_path / "failures.csv")
    ran = run("datasets", "check", source, *PUMP_FLAGS, *failures, "--write-mapping", mapping)
    assert ran.code == 0, ran.err
    assert "8 failed" in ran.out
    written = ColumnMapping.from_yaml(mapping)
    assert written.sensors == ("s0", "s1", "s2")
    assert written.end_of_life == FailureTable(failures=str(tmp_path / "failures.csv"))
    again = run("datasets", "check", source, "--mapping", mapping, "--json")
    assert again.code == 0
    report = json.loads(again.out)
    assert (report["units"], report["failed"]) == (8, 8)


def test_check_exits_with_3_where_nothing_can_be_learnt(run: Run, tmp_path: Path):
    ran = run("datasets", "check", write_pumps(tmp_path), *PUMP_FLAGS, "--json")
    assert ran.code == 3
    report = json.loads(ran.out)
    assert report["worst"] == "error"
    assert any("still running" in finding["what"] for finding in report["findings"])


def test_check_a_declared_set(run: Run, tmp_path: Path):
    assert run("datasets", "check", "simulated").code == 0
    assert run("datasets", "check", "cmapss/FD001").code == 3
    flags = run("datasets", "check", "simulated", "--unit", "x")
    assert flags.code == 2
    assert "--unit maps the columns of files" in flags.err
    assert run("datasets", "check", "simulated", "--write-mapping", tmp_path / "x.yaml").code == 2


@pytest.mark.parametrize(
    ("words", "code", "say"),
    [
        (("--unit", "pmup", "--cycle", "hours"), 3, "did you mean 'pump'"),
        (("--cycle", "hours"), 2, "which column names the unit?"),
        (("--unit", "pump"), 2, "the time axis needs one column"),
        (("--unit", "pump", "--cycle", "hours", "--time", "hours"), 2, "--cycle, or --time"),
        (("--unit", "pump", "--cycle", "hours", "--end-of-life", "lastrow"), 2, "did you mean 'last_row'"),
        (("--unit", "pump", "--time", "hours", "--time-unit", "hours"), 2, "--time-unit hours: time_unit"),
        (("--unit", "pump", "--cycle", "hours", "--sensors", "s0,s9"), 3, "s9"),
        (("--mapping", "absent.yaml"), 2, "no such file"),
        (("--unit", "pump", "--cycle", "hours", "--failures", "a", "--end-of-life", "censored"), 2, "not both"),
    ],
)
def test_wrong_mappings_are_answered_in_one_line(words: tuple[str, ...], code: int, say: str, run: Run, tmp_path: Path):
    ran = run("datasets", "check", write_pumps(tmp_path), *words)
    assert ran.code == code
    assert say in ran.err.splitlines()[0]


def test_missing_source(run: Run):
    ran = run("datasets", "check", "cmapss/FD01")
    assert ran.code == 3
    assert "did you mean 'cmapss/FD001'" in ran.err


def test_flags_win_over_the_mapping_file_and_paths_in_it_are_relative_to_it(tmp_path: Path):
    path = tmp_path / "deep" / "pumps.yaml"
    path.parent.mkdir()
    path.write_text("unit: pump\ntime: stamp\ntime_unit: day\nend_of_life: {failures: f.csv, unit: p}\n")
    assert column_mapping(MappingFlags(mapping=path)) == ColumnMapping(
        unit="pump",
        time="stamp",
        time_unit="day",
        end_of_life=FailureTable(failures=str(tmp_path / "deep" / "f.csv"), unit="p"),
    )
    flags = MappingFlags(mapping=path, cycle="n", unit="asset", sensors="a, b", failures="other.csv")
    assert column_mapping(flags) == ColumnMapping(
        unit="asset", cycle="n", sensors=("a", "b"), end_of_life=FailureTable(failures="other.csv", unit="p")
    )


def test_a_range_that_was_typed_is_written_into_the_mapping(run: Run, tmp_path: Path):
    source, written = write_pumps(tmp_path), tmp_path / "pumps.yaml"
    (tmp_path / "said.yaml").write_text(
        "{unit: pump, cycle: hours, ranges: {s1: [-9, null]}, units_of_measure: {s0: m³/h}}"
    )
    said = ("--mapping", tmp_path / "said.yaml", "--fail-on", "never")
    ran = run("datasets", "check", source, *said, "--range", "s0=-9:120", "--write-mapping", written)
    assert ran.code == 0, ran.err
    assert "s0 (m³/h)" in ran.out
    assert ColumnMapping.from_yaml(written).ranges == {"s1": (-9, None), "s0": (-9, 120)}


def test_flags_are_laid_over_a_mapping_that_is_known_already():
    base = ColumnMapping(unit="pump", cycle="hours", end_of_life="last_row")
    assert column_mapping(MappingFlags(), base) is base
    assert column_mapping(MappingFlags(), None) is None
    changed = column_mapping(MappingFlags(unit="asset", sensors="rest", statics="maker"), base)
    assert changed == ColumnMapping(unit="asset", cycle="hours", statics=("maker",), end_of_life="last_row")


def test_a_wrong_key_in_a_mapping_file_has_its_line(tmp_path: Path):
    path = tmp_path / "pumps.yaml"
    path.write_text("unit: pump\ncylce: hours\n")
    with pytest.raises(ConfigError, match=r"pumps\.yaml:2: unknown key cylce \(did you mean 'cycle'\?\)"):
        column_mapping(MappingFlags(mapping=path))
    with pytest.raises(UsageError, match="not both"):
        column_mapping(MappingFlags(unit="u", failures="f", end_of_life="censored"))
