"""CSV rows that cannot be read: refused by line, or left out, counted and listed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wearcast import Fleet
from wearcast.datasets.axis import keys_are_sure
from wearcast.datasets.csvfile import open_csv
from wearcast.datasets.mapping import ColumnMapping
from wearcast.datasets.reading import read_fleet
from wearcast.datasets.skipping import Skipped
from wearcast.errors import DataError, FleetError, FormatError

GOOD = [f"1,{n},{n}.5,3" for n in range(1, 8)]


def _read(folder: Path, rows: list[str] | list[bytes], **options: object) -> Fleet:
    path = folder / "pumps.csv"
    lines = [row if isinstance(row, bytes) else row.encode() for row in rows]
    path.write_bytes(b"\n".join([b"pump,n,temp,flow", *lines, b""]))
    mapping = ColumnMapping.model_validate({"unit": "pump", "cycle": "n", "on_error": "skip", **options})
    return read_fleet([path], mapping, name="test")


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("1,9,9", "3 cells, but the header has 4"),
        ("1,9,9,9,9", "5 cells, but the header has 4"),
        ("1,9,warm,9", "'warm' in 'temp' is not a number"),
        ("1,9,inf,9", "in 'temp' is not a number"),
        ("1,nine,9,9", "the unit or the time cannot be read"),
        (" ,9,9,9", "the unit or the time cannot be read"),
        (b"1,9,\xb0,9", "not UTF-8"),
    ],
)
@pytest.mark.parametrize("place", [0, 3, 7])
def test_a_row_that_cannot_be_read_is_left_out_and_listed(tmp_path, bad, why, place):
    rows = [*GOOD[:place], bad, *GOOD[place:]]
    fleet = _read(tmp_path, rows)
    assert fleet.frame["time"].to_list() == list(range(1, 8))
    assert fleet.frame["temp"].to_list() == [n + 0.5 for n in range(1, 8)]
    (note,) = (note for note in fleet.notes if note.kind == "skipped_rows")
    assert note.count == 1
    assert f"lines {place + 2} (line {place + 2}: " in note.message
    assert why in note.message
    with pytest.raises(DataError):
        _read(tmp_path, rows, on_error="fail")


def test_many_rows_are_counted_and_the_first_listed(tmp_path):
    rows = [*GOOD, *("1,x,x" for _ in range(30)), "1,99,oops,3", "", "1,100,4,NA"]
    fleet = _read(tmp_path, rows)
    notes = {note.kind: note for note in fleet.notes}
    assert notes["skipped_rows"].count == 31
    assert "lines 9, 10, 11," in notes["skipped_rows"].message
    assert "and 11 more (line 9: 3 cells" in notes["skipped_rows"].message
    assert (notes["empty_rows"].count, notes["missing"].count) == (1, 1)
    assert fleet.n_rows == 8


def test_a_file_of_which_nothing_can_be_read_is_refused(tmp_path):
    with pytest.raises(FormatError, match="not one row can be read; line 2: 2 cells"):
        _read(tmp_path, ["1,2", "3,4"])


def test_a_file_without_fault_has_no_note(tmp_path):
    assert _read(tmp_path, GOOD).notes == ()


def test_timestamps_that_cannot_be_read_are_left_out(tmp_path):
    rows = ["A,2024-01-01 00:00,1,1", "A,yesterday,2,2", "A,2024-01-01 02:00,3,3"]
    fleet = _read(tmp_path, rows, cycle=None, time="n")
    assert fleet.frame["temp"].to_list() == [1, 3]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("quotes", [False, True])
def test_block_by_block_is_as_row_by_row(tmp_path, monkeypatch, seed, quotes):
    """The same rows and lines as the slow way finds, with blocks that end anywhere."""
    monkeypatch.setattr("wearcast.datasets.csvblocks.BLOCK_BYTES", 120)
    monkeypatch.setattr("wearcast.datasets.csvblocks.PIECE_BYTES", 30)
    rng = np.random.default_rng(seed)
    kinds = [*(b"1,%d,%d.5,", b"1,%d,-%d,7") * 20, b"1,%d,%d", b"1,%d,%d,3,4", b"1,%d,warm%d,5", b"1,x%d,%d,5"]
    kinds += [b"1,%d,\xb0%d,5", b"", b",%d,%d,1", b"1,%d,NA,%d", b"1,%d,inf,%d", "1,%d,%d,ä".encode()]
    if quotes:
        kinds += [b'"1",%d,"%d.5",2', b'"1,\n",%d,%d,2', b'"a\nb,%d,%d,2', b'"1",%d,%d,""', b'1",%d,%d,2']
    chosen = [kinds[i] for i in rng.integers(0, len(kinds), 300)]
    lines = [kind % (n, n % 9) if kind else kind for n, kind in enumerate(chosen)]
    path = tmp_path / "pumps.csv"
    path.write_bytes(b"pump,n,temp,flow\n" + b"\n".join(lines) + b"\n" * (seed % 2))
    mapping = ColumnMapping(unit="pump", cycle="n", on_error="skip")
    fast, slow = (Skipped(lambda rows: keys_are_sure(rows, mapping)) for _ in range(2))
    table = open_csv(path, damaged=True)
    found = table.read(["temp", "flow"], ["pump", "n"], fast)
    expected = replace(table, plain=False).read(["temp", "flow"], ["pump", "n"], slow)
    assert found.equals(expected)
    assert sorted(fast.lines) == sorted(slow.lines)
    assert fast.first.startswith(f"line {min(slow.lines)}: ")


def test_a_decimal_comma_is_read_in_batches_too(tmp_path, monkeypatch):
    monkeypatch.setattr("wearcast.datasets.csvfile.BATCH_ROWS", 2)
    path = tmp_path / "p.csv"
    path.write_text("pump;n;temp\n" + "".join(f"1;{n};{n},5\n" for n in range(5)) + "1;6\n1;7;1,5\n")
    mapping = ColumnMapping(unit="pump", cycle="n", on_error="skip")
    assert read_fleet([path], mapping, name="x").frame["temp"].to_list() == [0.5, 1.5, 2.5, 3.5, 4.5, 1.5]


def test_a_bad_row_is_named_across_batches_and_in_large_files(tmp_path, monkeypatch):
    monkeypatch.setattr("wearcast.datasets.csvfile.BATCH_ROWS", 3)
    monkeypatch.setattr("wearcast.datasets.csvfile.AS_TEXT_BYTES", 1)
    with pytest.raises(FleetError, match=r"row 6, column 'temp': 'warm' is not a number"):
        _read(tmp_path, [*GOOD[:5], "1,9,warm,2", *GOOD[5:]], on_error="fail")
    with pytest.raises(FormatError, match=r"line 7: 3 cells, but the header has 4"):
        _read(tmp_path, [*GOOD[:5], "1,9,2", *GOOD[5:]], on_error="fail")
    assert _read(tmp_path, [*GOOD, "1,8,NA,3"], on_error="fail").n_rows == 8


@pytest.mark.parametrize(("text", "line"), [("1,1,2\n\n1,2,warm\n", 4), ('"1",1,2\n"1\n",2,3\n1,2,warm\n', 5)])
def test_the_line_of_a_bad_cell_is_named_with_the_way_around_it(tmp_path, text, line):
    """A blank line is one, and a row with a line break between quotes takes two."""
    path = tmp_path / "p.csv"
    path.write_text("pump,n,temp\n" + text)
    with pytest.raises(FleetError, match=rf"row 3, column 'temp'.*line {line}; --on-error skip"):
        read_fleet([path], ColumnMapping(unit="pump", cycle="n"), name="x")


@pytest.mark.parametrize("on_error", ["fail", "skip"])
def test_a_quote_that_is_not_closed_is_named(tmp_path, on_error):
    """The csv module speaks of the length of the field."""
    path = tmp_path / "p.csv"
    path.write_text("pump,n,temp\n" + "".join(f"1,{n},2\n" for n in range(2000)) + '"' + "1,9,9\n" * 30_000)
    with pytest.raises(FormatError, match="a double quote there is probably not closed"):
        read_fleet([path], ColumnMapping(unit="pump", cycle="n", on_error=on_error), name="x")
