"""What foreign data, files and people do wrong: each one clear line with its exit code, or a counted repair."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from tests.unit.cli.conftest import PUMP_FLAGS, SMALL, Ran, Run, write_pumps

ROLES = ("--unit", "unit", "--cycle", "cycle", "--end-of-life", "last_row")


def rows(*cells: str, units: int = 3, cycles: int = 30) -> list[list[str]]:
    """Rows of `unit,cycle,flow` with more `cells`."""
    rng = np.random.default_rng(0)
    return [[f"U{u}", str(c), f"{rng.normal():.3f}", *cells] for u in range(units) for c in range(1, cycles + 1)]


def write(path: Path, table: list[list[str]], header: str = "unit,cycle,flow") -> Path:
    path.write_text("\n".join([header, *(",".join(row) for row in table)]) + "\n", encoding="utf-8")
    return path


def refused(ran: Ran, code: int, *words: str) -> None:
    """The run ended with the code and one line that says all the words."""
    assert ran.code == code
    assert ran.err.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in ran.err
    for word in words:
        assert word in ran.err.splitlines()[-1]


# ------------------------------------------------------------------ files that are not what they say


@pytest.mark.parametrize(
    ("content", "say"),
    [
        (b"", ("the file is empty", "(write or copy it again)")),
        (b"unit,cycle,flow\n", ("a header but no rows", "(write or copy it again)")),
        (bytes(range(256)) * 20, ("this is not text", "CSV, TSV and Parquet files are read")),
        (gzip.compress(b"unit,cycle,flow\n" * 9), ("this is not text",)),
        (b"PK\x03\x04" + bytes(60), ("this is not text",)),
        (b"PAR1" + bytes(60), ("this is a Parquet file", "(end its name in .parquet)")),
        ("unit,cycle,flöw\nA,1,2\n".encode("latin-1"), ("is not UTF-8", "(save it as UTF-8)")),
        ("unit,cycle,flow\nA,1,2\n".encode("utf-16"), ("UTF-16", "(save it as UTF-8)")),
    ],
    ids=["empty", "header only", "binary", "gzip", "zip", "parquet", "latin-1", "utf-16"],
)
def test_bytes_that_are_no_table_of_text(content: bytes, say: tuple[str, ...], run: Run, tmp_path: Path):
    """What kind of file it is, rather than what a CSV reader thinks of its bytes."""
    file = tmp_path / "readings.csv"
    file.write_bytes(content)
    refused(run("datasets", "check", file, *ROLES), 3, "readings.csv", *say)


@pytest.mark.parametrize("name", ["nothing.csv", "folder.csv"])
def test_no_file_or_a_folder_without_a_table(name: str, run: Run, tmp_path: Path):
    """A folder is no file, whatever it is called."""
    (tmp_path / "folder.csv").mkdir()
    refused(run("datasets", "check", tmp_path / name, *ROLES), 3, name)


@pytest.mark.parametrize("words", [("datasets", "check", ""), ("train", "lightgbm", "--source", " ")])
def test_a_source_without_a_name(words: tuple[str, ...], run: Run):
    """An empty variable in a script is the caller's mistake, not a bug."""
    refused(run(*words), 2, "the name of the source is empty")


def test_a_pipe_is_refused_rather_than_read_in_part(run: Run, tmp_path: Path):
    """The columns are looked at before the rows are read, and a pipe gives its bytes once."""
    os.mkfifo(tmp_path / "pipe")
    refused(run("datasets", "check", tmp_path / "pipe", *ROLES), 3, "pipe", "(write it into a file first)")


@pytest.mark.parametrize(
    ("line", "say"),
    [
        ("A,2,3,4", "line 3: 4 cells, but the header has 3 (a cell that holds ',' must stand in double quotes)"),
        ("A,2", "line 3: 2 cells, but the header has 3 (a missing reading is an empty cell, not no cell)"),
    ],
)
def test_a_row_of_another_width(line: str, say: str, run: Run, tmp_path: Path):
    """Named by its line, with what is most likely wrong."""
    file = tmp_path / "ragged.csv"
    file.write_text(f"unit,cycle,flow\nA,1,2\n{line}\nA,3,4\n")
    refused(run("datasets", "check", file, *ROLES), 3, say)


def test_columns_of_text_are_named_where_no_sensor_is_left(run: Run, tmp_path: Path):
    """Numbers with points between thousands are text to us: which column it is tells the user where to look."""
    file = tmp_path / "german.csv"
    file.write_text("unit;cycle;flow\nA;1;1.234,5\nA;2;2.234,5\n")
    refused(run("datasets", "check", file, *ROLES), 3, "no numeric column left", "cells of flow are text")


# ------------------------------------------------------------------ names


def test_names_over_two_lines_and_with_commas(run: Run, tmp_path: Path):
    """A line break counts as a blank, and what holds a comma is quoted, on the flag as in the message."""
    header = 'unit,cycle,"flow, mean","vib\nx"," y "'
    file = write(tmp_path / "odd.csv", rows("1", "2"), header)
    flags = ("--unit", "unit", "--cycle", "cycle", "--end-of-life", "last_row")
    ran = run("datasets", "check", file, *flags, "--sensors", '"flow, mean", vib x', "--json")
    assert [column["name"] for column in json.loads(ran.out)["columns"]] == ["flow, mean", "vib x"]
    refused(run("datasets", "check", file, *flags, "--sensors", "flow, mean"), 3, "'flow'", '"flow, mean"', "vib x, y")


def test_control_characters_reach_no_terminal(run: Run, tmp_path: Path):
    """A name that holds an escape sequence is shown, not obeyed."""
    file = write(tmp_path / "evil.csv", rows(), "unit,cycle,\x1b[2Jflow")
    ran = run("datasets", "check", file, *ROLES, "--sensors", "none")
    refused(ran, 3, r"\x1b[2Jflow")
    assert "\x1b" not in ran.err


def test_a_misspelt_key_of_a_mapping_is_named_though_the_unit_is_missing_by_it(run: Run, tmp_path: Path):
    """`unitt` is the cause, the missing unit is only what follows from it."""
    mapping = tmp_path / "map.yaml"
    mapping.write_text("unitt: unit\ncycle: cycle\n")
    ran = run("datasets", "check", write(tmp_path / "a.csv", rows()), "--mapping", mapping)
    assert ran.code == 2
    assert "map.yaml:1: unknown key unitt (did you mean 'unit'?)" in ran.err


# ------------------------------------------------------------------ what check and notes say


def test_sensors_that_never_vary_are_an_error_of_check_as_they_are_of_training(run: Run, tmp_path: Path):
    """Exit code 3 from both."""
    file = write(tmp_path / "still.csv", [[*row[:2], "5"] for row in rows(units=8)])
    ran = run("datasets", "check", file, *ROLES, "--json")
    assert ran.code == 3
    assert any("no sensor varies" in finding["what"] for finding in json.loads(ran.out)["findings"])
    refused(run("train", "lightgbm", "--source", file, *ROLES, "--out", tmp_path / "b"), 3, "no sensor varies")


def test_a_file_is_named_once_and_by_its_own_name(pumps: Path, run: Run, tmp_path: Path):
    """The note of one file does not repeat it, and what the user named is not called a test split."""
    text = (pumps.parent / "pumps.csv").read_text()
    file = tmp_path / "comma.csv"
    file.write_text(text.replace(",", ";").replace(".", ","))
    ran = run("predict", pumps, file)
    assert ran.code == 0
    assert ran.err == f"{file}: numbers are read with a decimal comma\n"
    ran = run("predict", pumps, write(tmp_path / "few.csv", [["a", "1", "2"]], "pump,hours,s0"), "--sensors", "s0")
    refused(ran, 3, "few.csv")
    assert "few.csv test" not in ran.err


# ------------------------------------------------------------------ places that cannot be written


def test_a_file_in_the_way(bundle: Path, run: Run, tmp_path: Path):
    """Said as it is, not as `File exists`."""
    (tmp_path / "file").write_text("mine")
    place = tmp_path / "file" / "below"
    refused(run("predict", bundle, "simulated", "--out", place / "f.csv"), 2, "a folder above it is a file")
    refused(run("train", "simulated-lightgbm", "--out", place, "--set", "dataset.units=4"), 4, "a folder above it")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_report_that_cannot_be_is_refused_before_the_work(bundle: Path, run: Run, monkeypatch: pytest.MonkeyPatch):
    """Nothing is scored for a report that cannot be written after it."""
    ran = run("evaluate", bundle, "--report", "x.pdf")
    assert (ran.code, ran.out) == (2, "")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    ran = run("evaluate", bundle)
    refused(ran, 2, "jinja2", "pip install 'wearcast[report]'", "--no-report")
    assert ran.out == ""
    assert run("evaluate", bundle, "--no-report").code == 0


def limited(*words: object, bytes_: int) -> subprocess.CompletedProcess[str]:
    """A command that can write no file larger than this, as if the disk were full.

    It keeps no compiled code: what is cut off there would be found by every later import.
    """
    code = (
        "import resource, sys\nsys.dont_write_bytecode = True\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({bytes_}, {bytes_}))\n"
        "from wearcast.cli import main\nsys.exit(main(sys.argv[1:]))"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False, timeout=120
    )


def content(folder: Path) -> dict[str, str]:
    return {file.name: sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def test_a_full_disk_leaves_the_old_bundle_whole(pumps: Path, run: Run, tmp_path: Path):
    """One line, exit code 4, and the bundle forecasts as before."""
    old = tmp_path / "old"
    shutil.copytree(pumps, old)
    before = content(old)
    words = ("train", "lightgbm", "--source", pumps.parent / "pumps.csv", *PUMP_FLAGS, "--end-of-life", "last_row")
    settings = [word for text in SMALL for word in ("--set", text)]
    ran = limited(*words, *settings, "--no-progress", "--out", old, "--force", bytes_=4096)
    assert ran.returncode == 4
    assert "the previous bundle, if there was one, is unchanged" in ran.stderr.splitlines()[-1]
    assert "Traceback" not in ran.stderr
    assert content(old) == before
    assert run("predict", old, pumps.parent / "pumps.csv").code == 0
    assert not list(tmp_path.glob(".old*"))


def test_a_full_disk_leaves_the_old_forecast_whole(pumps: Path, tmp_path: Path):
    """The table of yesterday is still there, and no half of today's."""
    out = tmp_path / "forecast.csv"
    out.write_text("yesterday")
    ran = limited("predict", pumps, pumps.parent / "pumps.csv", "--every", 1, "--out", out, bytes_=2048)
    assert ran.returncode == 2
    assert "forecast.csv: cannot be written: File too large" in ran.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["forecast.csv"]
    assert out.read_text() == "yesterday"


def test_a_manifest_of_another_shape_is_one_line(bundle: Path, run: Run, tmp_path: Path):
    """Checksums that fit, and content that does not."""
    broken = tmp_path / "broken"
    shutil.copytree(bundle, broken)
    manifest = json.loads((broken / "bundle.json").read_text())
    del manifest["output"], manifest["seed"]
    (broken / "bundle.json").write_text(json.dumps(manifest))
    digest = sha256((broken / "bundle.json").read_bytes()).hexdigest()
    sums = [line for line in (broken / "SHA256SUMS").read_text().splitlines() if not line.endswith("bundle.json")]
    (broken / "SHA256SUMS").write_text("\n".join([*sums, f"{digest}  bundle.json"]) + "\n")
    ran = run("predict", broken, "simulated")
    refused(ran, 4, "bundle.json: not a bundle manifest: seed: Field required, and 1 more")
    assert ran.err.count("\n") == 1


# ------------------------------------------------------------------ stops


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)])
def test_a_stopped_training_says_how_to_go_on(
    stop: BaseException, code: int, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Ctrl-C and SIGTERM, which training makes these two of, keep their exit codes and name the way to go on."""
    from wearcast.training import run as training

    def stopped(*_: object, **__: object) -> None:
        raise stop

    (tmp_path / "b.work").mkdir()
    (tmp_path / "b.work" / "last.ckpt").touch()
    monkeypatch.setattr(training, "train", stopped)
    words = ("train", "simulated-lightgbm", "--out", tmp_path / "b", "--resume")
    ran = run(*words)
    assert ran.code == code
    assert ran.err.splitlines()[-2:] == [
        f"stopped; the last checkpoint is in {tmp_path}/b.work: the same command with --resume goes on",
        "error: interrupted" if code == 130 else "error: terminated",
    ]


def test_an_interrupted_run_is_told_apart_from_one_that_has_no_checkpoint(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Without a checkpoint nothing can go on; with one, starting anew is said."""
    from wearcast.training import run as training

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", stop)
    ran = run("train", "simulated-lightgbm", "--out", tmp_path / "b")
    assert ran.code == 130
    assert ran.err.splitlines()[-2:] == [
        "stopped before the first checkpoint; the same command starts anew",
        "error: interrupted",
    ]
    (tmp_path / "b.work").mkdir()
    (tmp_path / "b.work" / "last.ckpt").touch()
    assert "starting anew without --resume" in run("train", "simulated-lightgbm", "--out", tmp_path / "b").err
    assert "starting anew" not in run("train", "simulated-lightgbm", "--out", tmp_path / "b", "--resume").err


# ------------------------------------------------------------------ streams


def test_closed_streams_are_no_error():
    """`>&-` and `2>&-`: who wants no output gets none."""
    code = "import sys\nfrom wearcast.cli import main\nsys.exit(main(['config', 'recipes']))"
    for closed in (">&-", ">&- 2>&-"):
        ran = subprocess.run(
            ["/bin/sh", "-c", f'{sys.executable} -c "{code}" {closed}'], capture_output=True, text=True, check=False
        )
        assert (ran.returncode, ran.stderr) == (0, "")


def test_a_pipe_gets_whole_rows(run: Run, monkeypatch: pytest.MonkeyPatch):
    """Where nobody says how wide the page is, no row of a table is wrapped or cut; COLUMNS says it."""
    monkeypatch.delenv("COLUMNS", raising=False)
    wide = run("config", "recipes").out.splitlines()
    monkeypatch.setenv("COLUMNS", "40")
    narrow = run("config", "recipes").out.splitlines()
    assert max(map(len, narrow)) <= 40 < max(map(len, wide))
    assert len(wide) < len(narrow)


def test_help_of_a_group_keeps_its_lines(run: Run):
    """`wearcast` alone shows the help as `--help` does, not an error."""
    ran = run()
    assert ran.code == 2
    assert ran.err.strip() == run("--help").out.strip()
    assert ran.err.startswith("Usage: ")


def test_pumps_are_written_as_the_flags_say(tmp_path: Path):
    """The factory and its flags belong together."""
    header = write_pumps(tmp_path, units=2).read_text().partition("\n")[0].split(",")
    assert {"pump", "hours", "s0", "s1", "s2", "load"} <= set(header)
