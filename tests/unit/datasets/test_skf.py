"""The Case Western recordings: who is who by number, channels, speeds, rates, splits; made here and the real ones."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError
from tests.fixtures.mat_files import mat_bytes, write_recording

from wearcast.datasets.skf import CARD, SkfDataset, decimate_by_4
from wearcast.datasets.skf_recordings import ALIASES, RECORDINGS
from wearcast.errors import FleetError, FormatError, SourceNotFoundError

REAL = os.environ.get("WEARCAST_DATA_DIR")
real = pytest.mark.skipif(not REAL or not (Path(REAL) / "skf").is_dir(), reason="WEARCAST_DATA_DIR does not hold skf/")

DRIVE_END = {105: "IR007_0", 107: "IR007_2", 169: "IR014_0", 171: "IR014_2", 209: "IR021_0", 224: "B021_2"}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty data folder."""
    monkeypatch.setenv("WEARCAST_DATA_DIR", str(tmp_path))
    return tmp_path / "skf"


def _write(home, numbers=tuple(DRIVE_END), **options):
    for number in numbers:
        write_recording(home / f"{number}.mat", number, **options)


def test_a_recording_is_a_unit_and_a_sample_a_row(home):
    _write(home)
    fleet = SkfDataset(channels=("DE", "BA")).load("all")
    assert fleet.units == tuple(DRIVE_END.values())
    assert fleet.n_rows == 6 * 2400
    assert fleet.schema.sensors == ("DE", "BA")
    assert fleet.schema.statics == ("rpm", "load_hp")
    assert fleet.schema.labels == ("fault", "fault_size", "position")
    assert fleet.schema.sampling_rate_hz == 12_000
    row = fleet.unit_frame("B021_2").row(5, named=True)
    assert (row["time"], row["rpm"], row["load_hp"], row["fault"], row["position"]) == (5, 1797, 2, "ball", "none")
    assert row["fault_size"] == pytest.approx(0.021)
    assert fleet.events.height == 0


def test_the_number_in_the_variables_counts_and_not_the_name_of_the_file(home):
    write_recording(home / "any name.mat", 118)
    write_recording(home / "sub" / "12k_Drive_End_IR007_0_105.mat", 105)
    write_recording(home / "B007_2.mat", 107)
    fleet = SkfDataset().load("all")
    assert set(fleet.units) == {"IR007_0", "B007_0", "IR007_2"}
    notes = {note.kind: note.message for note in fleet.notes}
    assert list(notes) == ["misnamed"]
    assert "IR007_2 in B007_2.mat" in notes["misnamed"]


def test_recordings_may_lie_in_a_zip(home, tmp_path):
    home.mkdir()
    with zipfile.ZipFile(home / "cwru.zip", "w") as packed:
        for number in (105, 209):
            packed.write(write_recording(tmp_path / f"{number}.mat", number), f"12k/{number}.mat")
    assert SkfDataset().load("all").units == ("IR007_0", "IR021_0")
    with zipfile.ZipFile(home / "cwru.zip", "w") as packed:
        packed.write(write_recording(tmp_path / "105.mat", 105, channels=("DE",)), "12k/105.mat")
    with pytest.raises(FormatError, match=r"cwru\.zip: 12k/105\.mat: recording 105 has no channel FE"):
        SkfDataset(channels=("FE",)).load("all")


def test_a_file_with_two_recordings_is_the_one_that_it_is_named_after(home):
    """The published 99.mat also holds the variables of 98."""
    other = {"X098_DE_time": np.zeros((500, 1)), "ans": np.ones((1, 1))}
    write_recording(home / "99.mat", 99, channels=("DE", "FE"), rpm=None, extra=other)
    normal = SkfDataset(elements=("normal",), sampling_rate_hz=48_000, test_loads=(3,))
    assert normal.load("train").units == ("Normal_2",)
    (home / "99.mat").rename(home / "normal.mat")
    with pytest.raises(FormatError, match="several recordings in it: 98, 99"):
        normal.load("train")


def test_the_published_speed_is_taken_with_a_note_or_refused(home):
    write_recording(home / "171.mat", 171, rpm=None)
    write_recording(home / "209.mat", 209, rpm=1790)
    fleet = SkfDataset().load("all")
    assert fleet.frame["rpm"].unique().sort().to_list() == [1750, 1790]
    assert [(note.kind, note.count) for note in fleet.notes] == [("rpm_from_table", 1)]
    with pytest.raises(FormatError, match=r"171\.mat: recording 171 has no speed \(X171RPM\)"):
        SkfDataset(rpm_from_table=False).load("all")


def test_a_missing_channel_is_named(home):
    write_recording(home / "3001.mat", 56, channels=("DE",), rpm=None)
    assert SkfDataset().load("train").units == ("IR028_0",)
    with pytest.raises(FormatError, match=r"3001\.mat: recording 3001 has no channel BA; it has DE"):
        SkfDataset(channels=("DE", "BA")).load("all")


def test_by_default_one_fault_size_is_held_back(home):
    _write(home)
    train, test = (SkfDataset().load(split) for split in ("train", "test"))
    assert train.units == ("IR007_0", "IR007_2", "IR014_0", "IR014_2")
    assert test.units == ("IR021_0", "B021_2")


@pytest.mark.parametrize("size", [0.007, 0.014, 0.021])
@pytest.mark.parametrize("loads", [(), (2,), (0,)])
def test_no_recording_size_or_load_is_on_both_sides(home, size, loads):
    _write(home, (105, 107, 169, 171, 209, 211))
    dataset = SkfDataset(test_sizes=(size,), test_loads=loads)
    train, test = dataset.load("train"), dataset.load("test")
    assert not set(train.units) & set(test.units)
    for column in ("fault_size", "load_hp") if loads else ("fault_size",):
        assert not set(train.frame[column].unique()) & set(test.frame[column].unique())
    left_out = sum(note.count for note in train.notes if note.kind == "left_out")
    assert train.n_units + test.n_units + left_out == 6


def test_recordings_are_chosen_by_element_size_load_position_bearing_and_rate(home):
    _write(home, (105, 118, 130, 144, 171, 109, 278))
    load: list[tuple[dict[str, Any], set[str]]] = [
        ({}, {"IR007_0", "B007_0", "OR007@6_0", "OR007@3_0", "IR014_2"}),
        ({"elements": ("outer",)}, {"OR007@6_0", "OR007@3_0"}),
        ({"positions": ("6",), "elements": ("outer", "ball")}, {"OR007@6_0", "B007_0"}),
        ({"sizes": (0.014,)}, {"IR014_2"}),
        ({"loads": (2,)}, {"IR014_2"}),
        ({"bearing": "fan_end"}, {"IR007_0"}),
        ({"sampling_rate_hz": 48_000}, {"IR007_0"}),
    ]
    for options, units in load:
        assert set(SkfDataset(**options).load("all").units) == units, options


def test_rates_are_never_mixed_unless_brought_together_explicitly(home):
    write_recording(home / "97.mat", 97, samples=9600, channels=("DE", "FE"))
    write_recording(home / "107.mat", 107)
    with pytest.raises(ValidationError, match="normal recordings are 48 kHz in origin"):
        SkfDataset(elements=("normal", "inner"), test_loads=(2,))
    both = SkfDataset(elements=("normal", "inner"), test_loads=(2,), decimate_normal=True).load("all")
    assert np.diff(both.offsets).tolist() == [2400, 2400]
    assert {note.kind for note in both.notes} == {"decimated"}
    with pytest.raises(FleetError, match=r"none of the 2 recordings here is chosen; there are .*IR007_2 \(12 kHz\)"):
        SkfDataset(sampling_rate_hz=48_000).load("all")


def test_decimation_keeps_what_is_below_and_removes_what_is_above_the_new_nyquist_frequency():
    time = np.arange(48_000) / 48_000
    for hertz, amplitude in ((100, 1), (4_700, 1), (6_100, 0), (15_000, 0)):
        low = decimate_by_4(np.sin(2 * np.pi * hertz * time))
        assert low.shape == (12_000,)
        assert np.abs(low[200:-200]).max() == pytest.approx(amplitude, abs=0.01)
    slow = decimate_by_4(np.sin(2 * np.pi * 100 * time))
    np.testing.assert_allclose(slow[200:-200], np.sin(2 * np.pi * 100 * time)[::4][200:-200], atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_sizes": (0.02,)}, r"there is no fault of 0\.02 in"),
        ({"test_sizes": ()}, "nothing is held back"),
        ({"elements": ("normal",), "sampling_rate_hz": 48_000}, "normal recordings have no fault size"),
        ({"channels": ("DE", "DE")}, "one of the channels is there twice"),
        ({"bearing": "fan_end", "sampling_rate_hz": 48_000}, "at 12 kHz only"),
        ({"channels": ("XX",)}, "Input should be 'DE', 'FE' or 'BA'"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        SkfDataset(**options)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"acceleration": [[1.0]]}, "no channel in it; its variables are acceleration"),
        ({"X500_DE_time": np.zeros((9, 1))}, "recording 500 is not one of the 161 published ones"),
        ({"X105_DE_time": np.zeros((9, 2))}, "channel DE of recording 105 is 9 × 2"),
        ({"X105_DE_time": np.zeros((0, 0))}, "channel DE of recording 105 is 0 × 0"),
        ({"X105_DE_time": [[0.0], [np.nan]]}, "not a finite number at sample 1"),
        ({"X105_DE_time": np.zeros((9, 1)), "X105_FE_time": np.zeros((8, 1))}, "differ in length: DE 9, FE 8"),
        ({"X105_DE_time": np.zeros((9, 1)), "X105RPM": [[0.0]]}, "X105RPM is not a speed"),
    ],
)
def test_files_that_are_no_recording_are_refused_by_name(home, arrays, message):
    home.mkdir()
    (home / "105.mat").write_bytes(mat_bytes(arrays))
    with pytest.raises(FormatError, match=rf"105\.mat: .*{message}"):
        SkfDataset().load("all")


def test_truncated_and_newer_files_are_named(home):
    _write(home, (105,))
    whole = (home / "105.mat").read_bytes()
    for data, message in (
        (whole[:-100], "cut off"),
        (b"MATLAB 7.3 MAT-file" + whole[19:], "HDF5"),
        (b"x", "not a MATL"),
    ):
        (home / "105.mat").write_bytes(data)
        with pytest.raises(FormatError, match=rf"105\.mat: .*{message}"):
            SkfDataset().load("all")


def test_what_is_not_there_is_said(home):
    with pytest.raises(SourceNotFoundError, match="there is no such data set here"):
        SkfDataset().load()
    home.mkdir()
    with pytest.raises(SourceNotFoundError, match=r"there is no \*\.mat"):
        SkfDataset().load()
    _write(home, (105,))
    with pytest.raises(FleetError, match=r"no recording is left for test; there are IR007_0 \(12 kHz\)"):
        SkfDataset().load("test")
    write_recording(home / "IR007_0.mat", 105)
    with pytest.raises(FleetError, match=r"IR007_0\.mat: recording 105 \(IR007_0\) is also in 105\.mat"):
        SkfDataset().load("all")


def test_the_table_of_recordings_is_the_published_one():
    by_rate = pl.DataFrame([vars(recording) for recording in RECORDINGS.values()])
    counts = by_rate.group_by("bearing", "sampling_rate_hz").len().sort("bearing", "sampling_rate_hz")
    assert counts.rows() == [
        (None, 48_000, 4),
        ("drive_end", 12_000, 60),
        ("drive_end", 48_000, 52),
        ("fan_end", 12_000, 45),
    ]
    assert RECORDINGS[118].label == "B007_0"
    assert RECORDINGS[217].label == "IR021_3"
    assert RECORDINGS[318].label == "OR021@3_3"
    assert (RECORDINGS[310].load, RECORDINGS[309].load) == (0, 1)
    assert set(ALIASES.values()) <= set(RECORDINGS)
    labels = [(r.bearing, r.sampling_rate_hz, r.label) for r in RECORDINGS.values()]
    assert len(set(labels)) == len(labels)


def test_the_card_describes_every_column(home):
    _write(home, (105,))
    fleet = SkfDataset(channels=("DE", "FE", "BA")).load("train")
    assert set(CARD.descriptions) == set(fleet.frame.columns) - {"unit", "time"}
    assert SkfDataset().name == "skf"


@real
def test_the_real_recordings_are_what_their_names_say(monkeypatch):
    monkeypatch.setenv("WEARCAST_DATA_DIR", str(REAL))
    fleet = SkfDataset().load("all")
    names = {path.stem for path in (Path(str(REAL)) / "skf").glob("*.mat")}
    assert set(fleet.units) == {name for name in names if not name.startswith("Normal")}
    assert not fleet.notes
    ball = fleet.unit_frame("B007_0")
    assert ball.height == 122_571
    assert ball["rpm"][0] == 1796
    assert ball["DE"].to_numpy().std() == pytest.approx(0.139, abs=0.002)


@real
def test_the_real_normal_recording_is_decimated(monkeypatch):
    monkeypatch.setenv("WEARCAST_DATA_DIR", str(REAL))
    fleet = SkfDataset(elements=("normal",), test_loads=(3,), decimate_normal=True).load("train")
    assert fleet.unit_frame("Normal_0").height == -(-243_938 // 4)
