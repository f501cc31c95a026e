"""C-MAPSS from a zip, a zip in a zip and a folder; what is refused; and the published files where they are here."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.fixtures.cmapss_files import ALL, make_members, write_folder, write_zip, zip_bytes

from wearcast.datasets.archive import open_archive
from wearcast.datasets.cmapss import CARD, SETTINGS, SUBSETS, CmapssDataset, sensors
from wearcast.datasets.textfile import read_numbers
from wearcast.errors import FleetError, FormatError, SourceNotFoundError

REAL = os.environ.get("WEARCAST_DATA_DIR")
real = pytest.mark.skipif(
    not REAL or not (Path(REAL) / "cmapss").is_dir(), reason="WEARCAST_DATA_DIR does not hold cmapss/"
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty data folder."""
    monkeypatch.setenv("WEARCAST_DATA_DIR", str(tmp_path))
    return tmp_path / "cmapss"


def _lay_zip(home: Path) -> None:
    write_zip(home / "CMAPSSData.zip", make_members())


def _lay_nested(home: Path) -> None:
    name = "6. Turbofan Engine Degradation Simulation Data Set"
    write_zip(home / f"{name}.zip", {f"{name}/CMAPSSData.zip": zip_bytes(make_members())})


def _lay_folder(home: Path) -> None:
    write_folder(home, make_members())


def _lay_subfolder(home: Path) -> None:
    write_folder(home / "CMAPSSData", make_members())


@pytest.mark.parametrize("lay", [_lay_zip, _lay_nested, _lay_folder, _lay_subfolder])
def test_every_published_shape_gives_the_same_fleet(home, lay):
    lay(home)
    fleet = CmapssDataset(subset="FD001").load("train")
    assert (fleet.n_units, fleet.n_rows) == (100, 20_631)
    assert fleet.schema.sensors == sensors()
    assert fleet.schema.settings == SETTINGS
    assert float(fleet.frame["T2"][0]) == pytest.approx(3.1)  # the fourth value column, cycle 1


def test_training_engines_have_rul_0_at_their_last_reading(home):
    _lay_folder(home)
    fleet = CmapssDataset().load("train")
    rul, known = fleet.rul()
    assert known.all()
    assert (rul[fleet.offsets[1:] - 1] == 0).all()


def test_test_engines_end_after_their_last_reading_by_the_true_rul(home):
    _lay_folder(home)
    fleet = CmapssDataset().load("test")
    rul, known = fleet.rul()
    assert known.all()
    np.testing.assert_array_equal(rul[fleet.offsets[1:] - 1], np.arange(1, 101))


def test_without_the_truth_test_engines_are_censored_and_a_note_says_so(home):
    write_folder(home, make_members(truth=False))
    fleet = CmapssDataset().load("test")
    assert not fleet.rul()[1].any()
    assert [(note.kind, note.count) for note in fleet.notes] == [("truth_missing", 100)]


def test_all_numbers_the_test_engines_on(home):
    _lay_folder(home)
    fleet = CmapssDataset().load("all")
    assert fleet.units == tuple(range(1, 201))
    assert fleet.end_of_life_age[100] == fleet.age[fleet.offsets[101] - 1] + 1


def test_training_engines_of_several_subsets_are_one_fleet_whichever_is_the_first(home):
    write_folder(home, make_members(("FD001", "FD003")))
    one, other = CmapssDataset(subset="FD003", also=("FD001",)), CmapssDataset(subset="FD001", also=("FD003",))
    fleet = one.load("train")
    assert (fleet.name, fleet.n_units, fleet.n_rows) == ("cmapss/FD001+FD003 train", 200, 45_351)
    assert fleet.fingerprint == other.load("train").fingerprint
    assert np.isfinite(fleet.end_of_life_age).all()
    assert one.load("test").fingerprint == CmapssDataset(subset="FD003").load("test").fingerprint
    both = one.load("all")
    assert (both.name, both.n_units) == ("cmapss/FD001+FD003", 300)


@pytest.mark.parametrize("also", [("FD001",), ("FD003", "FD003")])
def test_further_subsets_are_others_and_named_once(also):
    with pytest.raises(ValidationError, match="must name other subsets than FD001, each once"):
        CmapssDataset(subset="FD001", also=also)


def test_every_column_declares_its_unit_of_measure_and_meaning(home):
    _lay_folder(home)
    fleet = CmapssDataset().load("test")
    assert set(CARD.units_of_measure) == set(CARD.descriptions) == set(fleet.schema.numeric)
    assert len(sensors()) == 21
    assert fleet.schema.units_of_measure["T50"] == "°R"
    assert "Saxena" in CARD.citation


def test_an_absent_set_says_how_to_get_it(home):
    with pytest.raises(SourceNotFoundError, match="wearcast datasets fetch cmapss"):
        CmapssDataset().load()


def test_a_folder_without_the_subset_says_what_it_looked_into(home):
    _lay_zip(home)
    with pytest.raises(SourceNotFoundError, match=r"no train_FD002.txt \(looked into CMAPSSData.zip\)"):
        CmapssDataset(subset="FD002").load()


@pytest.mark.parametrize("keep", [0, 10, 1000, -1000])
def test_a_truncated_zip_is_refused(home, keep):
    _lay_zip(home)
    path = home / "CMAPSSData.zip"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FormatError, match="not a zip"):
        CmapssDataset().load()


def test_a_zip_with_damaged_bytes_is_refused(home):
    _lay_zip(home)
    path = home / "CMAPSSData.zip"
    data = bytearray(path.read_bytes())
    data[2000:2100] = bytes(100)
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"train_FD001.txt: damaged"):
        CmapssDataset().load()


def test_a_damaged_zip_within_the_zip_is_refused(home):
    write_zip(home / "outer.zip", {"CMAPSSData.zip": zip_bytes(make_members())[:-500]})
    with pytest.raises(FormatError, match=r"outer.zip: CMAPSSData.zip: truncated or not a zip"):
        CmapssDataset().load()


def test_one_zip_with_other_files_does_not_hide_the_next(home):
    write_zip(home / "a.zip", {"notes.txt": b"x"})
    _lay_zip(home)
    assert CmapssDataset().name == "cmapss/FD001"
    assert CmapssDataset().load().n_units == 100
    with (
        pytest.raises(SourceNotFoundError, match="is it the published zip"),
        open_archive(home / "a.zip", "train_FD001.txt"),
    ):
        pass


def test_a_missing_test_file_is_named(home):
    members = make_members()
    del members["test_FD001.txt"]
    write_folder(home, members)
    with pytest.raises(SourceNotFoundError, match="no test_FD001"):
        CmapssDataset().load("test")


def _edited(home: Path, member: str, edit: Callable[[bytes], bytes]) -> None:
    members = make_members()
    members[member] = edit(members[member])
    write_folder(home, members)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda data: data.replace(b"\n3 7 ", b"\n3 7 x ", 1), "line 421: 27 columns, but 26"),
        (lambda data: data.replace(b"\n1 2 0.2 ", b"\n1 2 wet ", 1), r"line 2, column 3 \(altitude\): 'wet' is not a"),
        (lambda data: data.replace(b"\n1 2 ", b"\n1 2.5 ", 1), r"column 2 \(cycle\): '2.5' is not a whole"),
        (lambda data: data[: data.rindex(b" 20")], "the file is cut off here"),
        (lambda data: data[: data.rindex(b"\n", 0, -1) + 1], "20630 rows, but 20631 were published"),
        (lambda data: b"", "the file is empty"),
        (lambda data: data.replace(b"\n100 ", b"\n99 "), "99 engines, but 100"),
        (lambda data: data.replace(b"\n1 2 ", b"\n1 1 ", 1), "two readings at time 1"),
    ],
)
def test_a_damaged_file_is_refused_with_its_place(home, edit, message):
    _edited(home, "train_FD001.txt", edit)
    with pytest.raises((FormatError, FleetError), match=message):
        CmapssDataset().load()


def test_other_line_ends_and_blanks_give_the_same_fleet(home):
    _lay_folder(home)
    plain = CmapssDataset().load()
    _edited(home, "train_FD001.txt", lambda data: data.replace(b"  \n", b"\r\n").replace(b" ", b"   "))
    assert CmapssDataset().load().fingerprint == plain.fingerprint


@pytest.mark.parametrize(
    ("truth", "message"), [(b"1\n2\n", "2 true RULs for 100 test engines"), (b"-1\n" * 100, "below 0")]
)
def test_a_wrong_truth_is_refused(home, truth, message):
    _edited(home, "RUL_FD001.txt", lambda _: truth)
    with pytest.raises(FormatError, match=message):
        CmapssDataset().load("test")


@given(
    st.lists(st.tuples(st.integers(0, 999), st.floats(-1e6, 1e6, width=32)), min_size=1, max_size=20),
    st.sampled_from([" ", "  ", "\t"]),
    st.sampled_from(["", " ", "  "]),
)
def test_numbers_are_read_back_whatever_the_blanks(rows, between, end):
    """The fast and the careful way agree with what was written."""
    text = "".join(f"{whole}{between}{value!r}{end}\n" for whole, value in rows)
    table = read_numbers(text.encode(), ("n", "v"), whole=("n",), where="text")
    assert table["n"].to_list() == [whole for whole, _ in rows]
    assert table["v"].to_list() == pytest.approx([value for _, value in rows], rel=1e-6)


@real
@pytest.mark.parametrize("subset", ALL)
def test_the_published_files_load_fast_and_whole(subset):
    started = time.perf_counter()
    train, test = (CmapssDataset(subset=subset).load(split) for split in ("train", "test"))
    seconds = time.perf_counter() - started
    counts = SUBSETS[subset]
    assert (train.n_units, train.n_rows) == (counts.train_units, counts.train_rows)
    assert (test.n_units, test.n_rows) == (counts.test_units, counts.test_rows)
    assert test.frame["T50"].is_between(1000, 1500).all()
    assert train.frame.select(pl.all().is_null().any()).row(0) == (False,) * 26
    assert seconds < 3


@real
def test_the_published_truth_of_fd001_is_read():
    fleet = CmapssDataset(subset="FD001").load("test")
    last = fleet.rul()[0][fleet.offsets[1:] - 1]
    assert last[:3].tolist() == [112, 98, 69]
