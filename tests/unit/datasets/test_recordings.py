"""Folders of CSV recordings: labels from folders, channels, the sampling rate, and splits that part no recording."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from wearcast.datasets.recordings import RecordingsDataset
from wearcast.errors import FleetError, FormatError, SourceNotFoundError

LABELS = ("normal", "inner", "outer")


def _write(path, rows=50, *, seed=0, rate=1000.0, header="t,DE,FE", time=None):
    rng = np.random.default_rng(seed)
    seconds = np.arange(rows) / rate if time is None else time
    lines = [f"{t:.6f},{a:.5f},{b:.5f}" for t, (a, b) in zip(seconds, rng.normal(size=(rows, 2)), strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *lines] if header else lines) + "\n")
    return path


@pytest.fixture
def folder(tmp_path):
    """Three labels with four recordings each."""
    for i, label in enumerate(LABELS):
        for k in range(4):
            _write(tmp_path / "plant" / label / f"rec_{k}.csv", seed=10 * i + k)
    return tmp_path / "plant"


def _dataset(folder, **options):
    return RecordingsDataset(source=str(folder), **{"sampling_rate_hz": 1000, "time_column": "t", **options})


def test_a_file_is_a_unit_and_its_folder_is_the_fault(folder):
    fleet = _dataset(folder, rpm=1500).load("all")
    assert fleet.n_units == 12
    assert fleet.schema.sensors == ("DE", "FE")
    assert fleet.schema.labels == ("fault",)
    assert fleet.schema.statics == ("rpm",)
    assert fleet.schema.sampling_rate_hz == 1000
    assert fleet.unit_frame("inner/rec_2")["fault"].unique().to_list() == ["inner"]
    assert _dataset(folder).name == "recordings/plant"


@pytest.mark.parametrize("share", [0.1, 0.25, 0.7, 0.95])
def test_every_label_is_on_both_sides_and_no_recording_is(folder, share):
    train, test = (_dataset(folder, test_share=share).load(split) for split in ("train", "test"))
    assert not set(train.units) & set(test.units)
    assert train.n_units + test.n_units == 12
    for side in (train, test):
        assert set(side.frame["fault"].unique()) == set(LABELS)


def test_recordings_to_test_on_can_be_named(folder):
    assert _dataset(folder, test_recordings=("*_3.csv",)).load("test").units == (
        "inner/rec_3",
        "normal/rec_3",
        "outer/rec_3",
    )
    with pytest.raises(FleetError, match=r"no recording is like '\*_9\.csv'"):
        _dataset(folder, test_recordings=("*_9.csv",)).load("test")


def test_the_label_is_the_last_or_the_first_folder(tmp_path):
    _write(tmp_path / "fault" / "inner" / "a.csv")
    _write(tmp_path / "normal" / "b.csv")
    for which, labels in (("last", {"inner", "normal"}), ("first", {"fault", "normal"})):
        assert set(_dataset(tmp_path, label_folder=which).load("all").frame["fault"].unique()) == labels


def test_files_without_a_header_are_read_with_the_names_given(tmp_path):
    for k in range(2):
        _write(tmp_path / "normal" / f"{k}.csv", header="", seed=k)
    plain = _dataset(tmp_path, header=False, time_column=None, channels=("t", "DE", "FE")).load("all")
    assert plain.n_rows == 100
    with pytest.raises(FormatError, match="3 columns, but 2 are named"):
        _dataset(tmp_path, header=False, time_column=None, channels=("DE", "FE")).load("all")
    with pytest.raises(ValidationError, match="without a header the names"):
        _dataset(tmp_path, header=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 48_000.0}, r"it was sampled at (479|480)\d\d.* Hz, not 1000 Hz"),
        ({"time": [0.0, 0.001, 0.0005, *np.arange(3, 50) / 1000]}, "row 3: the time goes backwards"),
        ({"header": "t,DE,XX"}, "column 'FE' is missing; there are t, DE, XX"),
        ({"rows": 0}, "there are no samples"),
    ],
)
def test_a_recording_that_is_not_like_the_others_is_refused_by_name(folder, options, message):
    _write(folder / "outer" / "rec_1.csv", **options)
    with pytest.raises(FormatError, match=rf"rec_1\.csv.*{message}"):
        _dataset(folder).load("all")


def test_a_cell_that_is_no_number_is_named(folder):
    path = folder / "inner" / "rec_0.csv"
    lines = path.read_text().splitlines()
    lines[7] = "0.006000,n.v.,1"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(FleetError, match=r"rec_0\.csv: row 7, column 'DE': 'n\.v\.' is not a number"):
        _dataset(folder).load("all")


def test_what_is_missing_or_misplaced_is_said(tmp_path, folder):
    with pytest.raises(SourceNotFoundError, match="there is no such folder"):
        _dataset(tmp_path / "nowhere").load()
    (tmp_path / "bare").mkdir()
    with pytest.raises(SourceNotFoundError, match=r"there is no \.csv"):
        _dataset(tmp_path / "bare").load()
    _write(folder / "loose.csv")
    with pytest.raises(FormatError, match=r"loose\.csv: the recording lies in no labelled folder"):
        _dataset(folder).load()


def test_one_recording_is_for_training_only(tmp_path):
    _write(tmp_path / "normal" / "a.csv")
    assert _dataset(tmp_path).load("train").units == ("normal/a",)
    with pytest.raises(FleetError, match="no recording is left for test of 1"):
        _dataset(tmp_path).load("test")
