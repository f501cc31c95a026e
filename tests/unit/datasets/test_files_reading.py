"""The user's files, clean and dirty: read the same, repaired with a count, or refused with file, row and column."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wearcast import Fleet
from wearcast.datasets.csvfile import open_csv
from wearcast.datasets.mapping import FILE_UNIT, ColumnMapping, FailureTable
from wearcast.datasets.reading import find_files, read_fleet
from wearcast.errors import DataError, FleetError, FormatError, SourceNotFoundError, UsageError

MAPPING = ColumnMapping(unit="pump", cycle="n")
PLAIN = "pump,n,temp,flow\n1,1,20.5,3\n1,2,21.25,3.5\n2,1,20,4\n"


def _read(path: Path, mapping: ColumnMapping | None = MAPPING, *, strays: bool = False) -> Fleet:
    return read_fleet([path], mapping, name="test", strays=strays)


def _write(folder: Path, text: str | bytes, name: str = "pumps.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.fixture
def plain(tmp_path):
    return _read(_write(tmp_path, PLAIN, "plain.csv"))


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        "\ufeff" + PLAIN,
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace(",", "|"),
        PLAIN.replace(",", ";").replace(".", ","),
        "\ufeff" + PLAIN.replace(",", "\t").replace(".", ",").replace("\n", "\r\n"),
        PLAIN.rstrip("\n"),
        PLAIN.replace(",", " , "),
        PLAIN.replace("20.5", '"20.5"').replace("temp", '"temp"'),
        PLAIN + "\n\n",
    ],
    ids=["crlf", "cr", "bom", "semicolon", "tab", "bar", "decimal-comma", "all-at-once",
         "no-end", "blanks", "quotes", "blank-end"],
)  # fmt: skip
def test_ways_to_write_one_table_give_one_fleet(tmp_path, plain, text):
    assert _read(_write(tmp_path, text)).fingerprint == plain.fingerprint


def test_parquet_gives_the_same_fleet(tmp_path, plain):
    pl.read_csv(io.StringIO(PLAIN)).write_parquet(tmp_path / "pumps.parquet")
    assert _read(tmp_path / "pumps.parquet").fingerprint == plain.fingerprint


def test_a_decimal_comma_is_told(tmp_path):
    fleet = _read(_write(tmp_path, "pump;n;temp\n1;1;20,5\n"))
    assert fleet.frame["temp"].to_list() == [20.5]
    assert [note.kind for note in fleet.notes] == ["decimal_comma"]


@pytest.mark.parametrize("cell", ["1,234", "1,234,567"])
def test_a_comma_that_may_mean_thousands_must_be_settled(tmp_path, cell):
    path = _write(tmp_path, f"pump;n;temp\n1;1;{cell}\n")
    with pytest.raises(FormatError, match="may be a decimal or thousands"):
        _read(path)
    if cell == "1,234":
        settled = MAPPING.model_copy(update={"decimal": ","})
        assert _read(path, settled).frame["temp"][0] == pytest.approx(1.234)


def test_two_decimal_signs_are_refused(tmp_path):
    with pytest.raises(FormatError, match=r"both '1,25' and '3.5' look like numbers"):
        _read(_write(tmp_path, "pump;n;temp;flow\n1;1;1,25;3.5\n"))


def test_a_comma_in_a_name_does_not_separate(tmp_path):
    fleet = _read(_write(tmp_path, "pump;n;Temp, °C\n1;1;20,5\n1;2;21,5\n"))
    assert fleet.schema.sensors == ("Temp, °C",)


def test_a_separator_may_be_named(tmp_path):
    mapping = ColumnMapping(unit="pump", cycle="n", separator="|")
    assert _read(_write(tmp_path, "pump|n|a;b\n1|1|2\n"), mapping).schema.sensors == ("a;b",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "pumps.csv: the file is empty"),
        ("\n \n", "the file is empty"),
        ("pump,n,temp\n", "a header but no rows"),
        ("pump,n,temp\n\n\n", "a header but no rows"),
        ("pump,n,temp,temp\n1,1,2,3\n", "column 'temp' is there twice"),
        ("1,1,20.5\n1,2,21\n", "the first row is numbers, not column names"),
        ("pump,n,temp\n1,1,20\n1,2,21,9\n1,3,22\n", "line 3: 4 cells, but the header has 3"),
        ("pump,n,temp\n1,1,20\n1,2\n1,3,22\n", "line 3: 2 cells, but the header has 3"),
        ("pump,n,temp\n1,1\n1,2,20\n1,3,22\n", "line 2: 2 cells, but the header has 3"),
        ('pump,n,temp\n"1",1,20\n1,2\n1,3,22\n', "line 3: 2 cells, but the header has 3"),
        ("pump,n,temp\n1,1,20\n1,2", "line 3: 2 cells, but the header has 3.*the last row is cut off"),
        (b"pump,n,temp\n1,1,20\n\xb0,2,21\n", "byte 0xb0 is not UTF-8.*save it as UTF-8"),
        (PLAIN.encode("utf-16"), "the text is UTF-16"),
        (b"PK\x03\x04\0\0\0,1\n", "this is not text"),
        ("pump,n,temp\n1,1," + "9" * 200_000 + "\n", "not CSV: field larger"),
    ],
)
def test_a_broken_file_is_refused_with_its_place(tmp_path, text, message):
    with pytest.raises(FormatError, match=message):
        _read(_write(tmp_path, text))


def test_bytes_that_are_not_utf8_far_below_are_found(tmp_path):
    rows = b"".join(b"1,%d,20\n" % i for i in range(3000))
    with pytest.raises(FormatError, match="not UTF-8"):
        _read(_write(tmp_path, b"pump,n,temp\n" + rows + b"\xb0,2,21\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pump,n,temp\n1,1,20\n1,2,warm\n1,3,20\n", r"pumps.csv: row 2, column 'temp': 'warm' is not a number"),
        ("pump,n,temp\n1,1,20\n\n1,2,warm\n1,3,20\n", r"row 3, column 'temp'"),
        ("pump,n,temp\n1,1,20\n1,2,inf\n", r"row 2, column 'temp': inf is not a finite"),
        ("pump,n,temp\n1,1,20\n1,two,20\n", r"row 2, column 'n': 'two' is not a cycle number"),
        ("pump,n,temp\n1,1,20\n1,,20\n", r"row 2, column 'n': the time is empty"),
        ("pump,n,temp\n1,1,20\n ,2,20\n", r"row 2, column 'pump'.*the unit is empty|row 2, column 'pump': the unit"),
        ("pump,n,temp\n1,1,20\n1,1,20\n", "unit 1 has two readings at time 1"),
        ("pump,cyc,temp\n1,1,20\n", "column 'n' is missing; there are pump, cyc, temp"),
        ("Pump,n,temp\n1,1,20\n", r"'pump' is missing.*did you mean 'Pump'"),
        ("pump,n,name\n1,1,one\n", "no numeric column left"),
    ],
)
def test_a_bad_cell_is_named_by_file_row_and_column(tmp_path, text, message):
    with pytest.raises(FleetError, match=message):
        _read(_write(tmp_path, text))


def test_a_text_cell_far_below_the_sample_is_found(tmp_path):
    rows = [f"1,{i},{i / 7}" for i in range(1, 3000)]
    rows[2500] = "1,2501,#DIV/0!"
    with pytest.raises(FleetError, match=r"row 2501, column 'temp': '#DIV/0!'"):
        _read(_write(tmp_path, "pump,n,temp\n" + "\n".join(rows)))


def test_a_bad_cell_in_the_second_file_is_named_there(tmp_path):
    _write(tmp_path, PLAIN, "a.csv")
    _write(tmp_path, "pump,n,temp,flow\n3,1,x,2\n", "b.csv")
    with pytest.raises(FleetError, match=r"b.csv: row 1, column 'temp'"):
        _read(tmp_path)


def test_missing_readings_stay_and_are_counted(tmp_path):
    fleet = _read(_write(tmp_path, "pump,n,a,b\n1,1,,NaN\n1,2,NA,2\n1,3,null,\n"))
    assert fleet.n_rows == 3
    assert [(note.kind, note.count) for note in fleet.notes] == [("missing", 5)]


def test_rows_without_a_single_value_are_left_out_and_counted(tmp_path):
    fleet = _read(_write(tmp_path, "pump,n,temp\n1,1,20\n\n1,2,21\n,,\n"))
    assert fleet.frame["temp"].to_list() == [20, 21]
    assert [(note.kind, note.count) for note in fleet.notes] == [("empty_rows", 2)]


def test_unsorted_cycles_and_gaps_are_counted(tmp_path):
    fleet = _read(_write(tmp_path, "pump,n,temp\n1,2,21\n1,1,20\n1,3,22\n1,9,23\n"))
    assert fleet.frame["time"].to_list() == [1, 2, 3, 9]
    assert {note.kind: note.count for note in fleet.notes} == {"unsorted": 1, "gaps": 1}


def test_text_and_answers_and_row_numbers_are_no_sensors(tmp_path):
    fleet = _read(_write(tmp_path, ",pump,n,temp,site,RUL,Machine failure\n0,1,1,20,west,5,0\n1,1,2,21,west,4,1\n"))
    assert fleet.schema.sensors == ("temp",)
    assert [note.count for note in fleet.notes if note.kind == "left_out"] == [1, 3]


@pytest.mark.parametrize(
    ("units", "expected"),
    [(["1", "2"], (1, 2)), (["01", "2"], ("01", "2")), (["a", "2"], ("a", "2")), (["-1", "0"], (-1, 0))],
)
def test_units_are_whole_numbers_only_where_every_one_is(tmp_path, units, expected):
    fleet = _read(_write(tmp_path, "pump,n,temp\n" + "".join(f"{unit},1,20\n" for unit in units)))
    assert fleet.units == expected


def test_units_of_several_files_become_one_kind(tmp_path):
    _write(tmp_path, PLAIN, "a.csv")
    _write(tmp_path, "flow,n,temp,pump\n4,1,20,P7\n", "b.csv")
    pl.DataFrame({"pump": [9], "n": [1], "temp": [1.0], "flow": [2]}).write_parquet(tmp_path / "c.parquet")
    assert _read(tmp_path).units == ("1", "2", "P7", "9")


def test_statics_of_several_files_become_one_kind(tmp_path):
    _write(tmp_path, "pump,n,temp,size\n1,1,20,5\n", "a.csv")
    _write(tmp_path, "pump,n,temp,size\n2,1,20,big\n", "b.csv")
    mapping = ColumnMapping(unit="pump", cycle="n", statics=("size",))
    assert _read(tmp_path, mapping).frame["size"].to_list() == ["5", "big"]


def test_each_file_may_be_a_unit(tmp_path):
    for name in ("b7", "a3"):
        _write(tmp_path, "n,temp\n1,20\n2,21\n", f"{name}.csv")
    fleet = _read(tmp_path / "*.csv", ColumnMapping(unit=FILE_UNIT, cycle="n", end_of_life="last_row"))
    assert fleet.units == ("a3", "b7")
    assert fleet.rul()[1].all()


def test_a_file_without_a_column_that_others_have_is_named(tmp_path):
    _write(tmp_path, PLAIN, "a.csv")
    _write(tmp_path, "pump,n,temp\n3,1,1\n", "b.csv")
    with pytest.raises(FleetError, match=r"b.csv: column 'flow' is missing, which other files have"):
        _read(tmp_path)


def test_roles_and_patterns_are_followed(tmp_path):
    text = "pump,t,vib_x,vib_y,load,plan,site\nA,2024-01-01,1,2,3,4,west\nA,2024-01-03,1,2,3,4,west\n"
    mapping = ColumnMapping(
        unit="pump", time="t", time_unit="day", sensors=("vib_*",), settings=("load",), statics=("site",),
        known_future=("plan",), end_of_life="last_row",
    )  # fmt: skip
    fleet = _read(_write(tmp_path, text), mapping)
    assert fleet.schema.sensors == ("vib_x", "vib_y")
    assert fleet.frame.columns == ["unit", "time", "load", "vib_x", "vib_y", "plan", "site"]
    assert fleet.rul()[0].tolist() == [2.0, 0.0]


def test_a_time_format_is_followed(tmp_path):
    mapping = ColumnMapping(unit="pump", time="t", time_unit="day", time_format="%m/%d/%Y")
    fleet = _read(_write(tmp_path, "pump,t,temp\n1,03/04/2024,1\n1,03/06/2024,1\n\n"), mapping)
    assert fleet.age.tolist() == [0.0, 2.0]
    with pytest.raises(FleetError, match=r"row 1, column 't': the time is empty"):
        _read(_write(tmp_path, "pump,t,temp\n1,,1\n1,03/06/2024,1\n"), mapping)
    with pytest.raises(FleetError, match=r"row 2, column 't': '2024-03-04' is not a timestamp"):
        _read(_write(tmp_path, "pump,t,temp\n1,03/04/2024,1\n1,2024-03-04,1\n"), mapping)


# ------------------------------------------------------------------ failures


FAILURES = "pump,n,kind,mode\n1,5,failure,seal\n2,1,maintenance,\n\n"


def test_a_table_of_failures_ends_lives(tmp_path):
    table = FailureTable(failures=str(_write(tmp_path, FAILURES, "failures.csv")))
    _write(tmp_path, PLAIN)
    fleet = _read(tmp_path, MAPPING.model_copy(update={"end_of_life": table}))
    assert fleet.rul()[0].tolist() == [4, 3, 0]
    assert fleet.rul()[1].tolist() == [True, True, False]
    assert fleet.events["mode"].to_list() == ["seal", None]


def test_a_table_of_failures_may_have_its_own_names_and_times(tmp_path):
    path = _write(tmp_path, "asset;when\n1;02.01.2024\n", "failed.csv")
    table = FailureTable(failures=str(path), unit="asset", time="when")
    mapping = ColumnMapping(unit="pump", time="t", time_format="%d.%m.%Y", time_unit="day", end_of_life=table)
    fleet = _read(_write(tmp_path, "pump;t;temp\n1;01.01.2024;3\n2;01.01.2024;3\n"), mapping)
    assert fleet.rul()[0].tolist() == [1.0, 0.0]


def test_failures_of_other_units_are_refused_or_counted(tmp_path):
    table = FailureTable(failures=str(_write(tmp_path, FAILURES + "9,5,failure,\n", "f.csv")))
    mapping = MAPPING.model_copy(update={"end_of_life": table})
    path = _write(tmp_path, PLAIN)
    with pytest.raises(FleetError, match="unit '9' has no readings"):
        _read(path, mapping)
    fleet = _read(path, mapping, strays=True)
    assert [(note.kind, note.count) for note in fleet.notes] == [("stray_events", 1)]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (None, SourceNotFoundError, "no such table of failures"),
        ("pump,when\n1,5\n", FleetError, "column 'time' is missing; there are pump, when"),
        ("pump,n,kind\n1,5,exploded\n", FleetError, "unknown kind 'exploded'"),
        ("pump,n\n1,soon\n", FleetError, "'soon' is not a cycle number"),
        ("pump,n\n1,1\n", FleetError, "ended at 1 but has readings until 2"),
    ],
)
def test_a_wrong_table_of_failures_is_refused(tmp_path, text, error, message):
    path = tmp_path / "failures.csv"
    if text is not None:
        _write(tmp_path, text, "failures.csv")
    mapping = MAPPING.model_copy(update={"end_of_life": FailureTable(failures=str(path))})
    with pytest.raises(error, match=message):
        _read(_write(tmp_path, PLAIN), mapping)


def test_a_folder_with_nothing_but_failures_has_no_readings(tmp_path):
    path = _write(tmp_path, FAILURES, "failures.csv")
    mapping = MAPPING.model_copy(update={"end_of_life": FailureTable(failures=str(path))})
    with pytest.raises(SourceNotFoundError, match="only the table of failures"):
        _read(tmp_path, mapping)


# ------------------------------------------------------------------ finding files


def test_files_folders_and_patterns_are_found_once(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / ".hidden").mkdir()
    names = ["b.csv", "a.tsv", "sub/c.parquet", "notes.md", ".hidden/d.csv"]
    for name in names:
        (tmp_path / name).touch()
    found = find_files([tmp_path, tmp_path / "*.csv", tmp_path / "b.csv"])
    assert [str(path.relative_to(tmp_path)) for path in found] == ["a.tsv", "b.csv", "sub/c.parquet"]


def test_a_file_with_brackets_in_its_name_is_a_file(tmp_path, plain):
    assert _read(_write(tmp_path, PLAIN, "pumps [1].csv")).fingerprint == plain.fingerprint
    pl.read_csv(io.StringIO(PLAIN)).write_parquet(tmp_path / "pumps [1].parquet")
    assert _read(tmp_path / "pumps [1].parquet").fingerprint == plain.fingerprint


@pytest.mark.parametrize(
    ("name", "message"),
    [("none.csv", "no such file or folder"), ("*.csv", "no file matches"), ("", "no table in this")],
)
def test_what_is_not_there_is_refused(tmp_path, name, message):
    with pytest.raises(SourceNotFoundError, match=message):
        _read(tmp_path / name)


def test_another_format_is_refused_by_name(tmp_path):
    with pytest.raises(FormatError, match=r"\.xlsx files are not read"):
        _read(_write(tmp_path, "x", "pumps.xlsx"))


# ------------------------------------------------------------------ Parquet


def _parquet(folder: Path, **columns: list[Any]) -> Path:
    path = folder / "p.parquet"
    pl.DataFrame({"pump": [1, 1], "n": [1, 2], **columns}).write_parquet(path)
    return path


@pytest.mark.parametrize("keep", [0, 3, 100, -10])
def test_a_truncated_parquet_file_is_refused(tmp_path, keep):
    path = _parquet(tmp_path, temp=[1.0, 2.0])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FormatError, match=r"empty|truncated or not Parquet"):
        _read(path)


def test_damaged_pages_of_a_parquet_file_are_refused(tmp_path):
    path = _parquet(tmp_path, temp=["1", "2"])
    data = bytearray(path.read_bytes())
    data[4:60] = bytes(56)
    path.write_bytes(data)
    with pytest.raises(DataError):
        _read(path)


def test_parquet_columns_of_any_plain_type_are_read(tmp_path):
    path = _parquet(tmp_path, f=[1.5, None], i=[1, 2], b=[True, None], word=["1", " 2"], cat=["x", "y"])
    fleet = _read(path)
    assert fleet.schema.sensors == ("f", "i", "b", "word")
    assert fleet.frame.dtypes[2:] == [pl.Float32] * 4


def test_a_parquet_file_read_a_column_at_a_time_is_the_same_and_in_one_piece(tmp_path, monkeypatch):
    path = tmp_path / "p.parquet"
    rows = 5000
    columns = {"pump": [1] * rows, "n": range(rows), "a": [float(i) for i in range(rows)], "b": range(rows)}
    pl.DataFrame(columns).write_parquet(path, row_group_size=700)
    whole = _read(path)
    monkeypatch.setattr("wearcast.datasets.parquetfile.BATCH_CELLS", 1)
    apart = _read(path)
    assert apart.fingerprint == whole.fingerprint
    assert set(apart.frame.n_chunks("all")) == {1}


@pytest.mark.parametrize(
    ("cells", "error", "message"),
    [
        (["1", "x"], FleetError, r"p.parquet: row 2, column 'temp': 'x' is not a number"),
        ([1.0, float("inf")], FleetError, r"row 2, column 'temp': inf is not a finite"),
        ([[1.0], [2.0]], FormatError, "is neither a number nor text"),
    ],
)
def test_a_bad_parquet_column_is_named(tmp_path, cells, error, message):
    mapping = ColumnMapping(unit="pump", cycle="n", sensors=("temp",))
    with pytest.raises(error, match=message):
        _read(_parquet(tmp_path, temp=cells), mapping)


def test_files_with_other_kinds_of_time_do_not_fit_together(tmp_path):
    pl.DataFrame({"pump": [1], "n": ["a"], "temp": [1.0]}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="not a cycle number"):
        _read(tmp_path)


# ------------------------------------------------------------------ without a mapping


def test_plain_names_are_guessed_and_told(tmp_path):
    fleet = _read(_write(tmp_path, "id,Machine ID,Time_Cycles,temp\n1,7,1,20\n2,7,2,21\n"), None)
    assert fleet.units == (7,)
    guessed = next(note for note in fleet.notes if note.kind == "guessed")
    assert "'Machine ID' is taken as the unit, 'Time_Cycles' as the cycle" in guessed.message


def test_a_column_time_is_a_clock_if_it_holds_timestamps(tmp_path):
    clock = _read(_write(tmp_path, "unit,time,temp\n1,2024-01-01,1\n1,2024-01-02,2\n"), None)
    counter = _read(_write(tmp_path, "unit,time,temp\n1,1,1\n1,2,2\n"), None)
    assert (clock.schema.time_unit, counter.schema.time_unit) == ("hour", "cycle")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("a,b,c", "0 could be the unit and 0 could be the time; there are a, b, c"),
        ("unit,machine,cycle", "2 could be the unit"),
        ("unit,cycle,timestamp", "2 could be the time"),
    ],
)
def test_names_that_are_not_plain_must_be_mapped(tmp_path, header, message):
    with pytest.raises(UsageError, match=message) as caught:
        _read(_write(tmp_path, f"{header}\n1,1,1\n"), None)
    assert "--unit pump_id --cycle cycle" in str(caught.value)


# ------------------------------------------------------------------ properties


@given(
    st.lists(
        st.tuples(st.one_of(st.none(), st.floats(-1e6, 1e6, width=32)), st.floats(-1e6, 1e6, width=32)),
        min_size=1, max_size=30,
    ),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)  # fmt: skip
def test_what_was_written_is_read(tmp_path_factory, rows, separator, end, bom):
    """Values and holes survive whatever the separator, line end and byte-order mark."""
    lines = [separator.join(("pump", "n", "b", "a"))]
    lines += [separator.join(("7", str(i), repr(b), "" if a is None else repr(a))) for i, (a, b) in enumerate(rows)]
    path = tmp_path_factory.mktemp("csv") / "p.csv"
    path.write_bytes((("\ufeff" if bom else "") + end.join(lines)).encode())
    frame = _read(path).frame
    assert frame["b"].to_list() == pytest.approx([b for _, b in rows], rel=1e-6)
    assert frame["a"].is_nan().to_list() == [a is None for a, _ in rows]


def test_the_sample_tells_kinds_apart(tmp_path):
    path = _write(tmp_path, "a,b,c,d,e\n1,x,2024-01-01 10:00,1,\n2.5e3,y,2024-01-02,oops,\n-.5,z,2024-01-03,2,\n")
    kinds = open_csv(path).kinds
    assert kinds == {"a": "number", "b": "text", "c": "time", "d": "mostly_number", "e": "number"}
