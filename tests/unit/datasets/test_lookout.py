"""Components and ranges in the layout of Amazon Lookout for Equipment, joined, labelled or cut into lives."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from wearcast.datasets.lookout import LookoutDataset
from wearcast.errors import FleetError, FormatError, SourceNotFoundError, UsageError

START = datetime(2020, 1, 1)


def _at(hour: float) -> str:
    return (START + timedelta(hours=hour)).strftime("%Y-%m-%d %H:%M:%S")


def _write(path: Path, header: str, rows: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows, ""] if header else [*rows, ""]))
    return path


@pytest.fixture
def asset(tmp_path):
    """Two components over 40 hours, of which the second starts an hour later and comes in two files."""
    place = tmp_path / "pump-7"
    _write(place / "bearing/bearing.csv", "Timestamp,temperature,vibration", [f"{_at(i)},{i},1" for i in range(40)])
    _write(place / "motor/a.csv", "Timestamp,temperature,current", [f"{_at(i)},{100 + i},2" for i in range(1, 20)])
    _write(place / "motor/b.csv", "Timestamp,current,temperature", [f"{_at(i)},2,{100 + i}" for i in range(20, 40)])
    return place


def _ranges(asset: Path, *ranges: tuple[float, float], file: str = "labels.csv") -> str:
    _write(asset / file, "", [f"{_at(start)},{_at(end)}" for start, end in ranges])
    return file


def test_components_are_joined_on_time(asset):
    fleet = LookoutDataset(source=str(asset)).load("all")
    assert (fleet.units, fleet.n_rows) == (("pump-7",), 40)
    assert fleet.schema.sensors == ("bearing.temperature", "vibration", "motor.temperature", "current")
    values = fleet.values(["bearing.temperature", "motor.temperature"])
    assert np.isnan(values[0, 1])
    np.testing.assert_array_equal(values[1:, 1] - values[1:, 0], 100)
    counts = {note.kind: note.count for note in fleet.notes}
    assert counts == {"missing": 2, "sensors_prefixed": 1, "components_missing": 1}


def test_one_file_is_an_asset_too(asset):
    fleet = LookoutDataset(source=str(asset / "bearing/bearing.csv")).load("all")
    assert fleet.units == ("bearing",)
    assert fleet.schema.sensors == ("temperature", "vibration")


def test_loose_files_are_components(tmp_path):
    for name in ("fan", "motor"):
        _write(tmp_path / f"{name}.csv", "Timestamp,current", [f"{_at(0)},1", f"{_at(1)},2"])
    assert LookoutDataset(source=str(tmp_path)).load("all").schema.sensors == ("fan.current", "motor.current")


def test_a_name_that_the_prefix_would_double_is_refused(tmp_path):
    for name, sensor in (("fan", "x"), ("motor", "x"), ("pump", "fan.x")):
        _write(tmp_path / f"{name}.csv", f"Timestamp,{sensor}", [f"{_at(0)},1"])
    with pytest.raises(FormatError, match=r"pump: two columns would be named 'fan.x'"):
        LookoutDataset(source=str(tmp_path)).load()


def test_rows_within_a_range_are_labelled(asset):
    labels = _ranges(asset, (5, 7), (20, 20.5))
    fleet = LookoutDataset(source=str(asset), labels=labels).load("all")
    assert fleet.schema.labels == ("anomaly",)
    assert np.flatnonzero(fleet.values(["anomaly"])[:, 0]).tolist() == [5, 6, 7, 20]


def test_maintenance_is_a_label_of_its_own(asset):
    labels, maintenance = _ranges(asset, (5, 7)), _ranges(asset, (7, 9), file="work_orders.csv")
    fleet = LookoutDataset(source=str(asset), labels=labels, maintenance=maintenance).load("all")
    assert fleet.schema.labels == ("anomaly", "maintenance")
    assert np.flatnonzero(fleet.values(["maintenance"])[:, 0]).tolist() == [7, 8, 9]


def test_parts_are_cut_in_time(asset):
    train, test = (LookoutDataset(source=str(asset), test_share=0.25).load(part) for part in ("train", "test"))
    assert (train.n_rows, test.n_rows) == (30, 10)
    assert train.frame["time"][-1] < test.frame["time"][0]
    with pytest.raises(FleetError, match="no reading is in the test part"):
        LookoutDataset(source=str(asset), test_share=0).load("test")


def test_a_history_is_cut_into_lives(asset):
    labels = _ranges(asset, (9, 11), (29, 30))
    dataset = LookoutDataset(source=str(asset), labels=labels, ranges="lives", test_share=0.3)
    fleet = dataset.load("all")
    assert fleet.units == ("pump-7#1", "pump-7#2", "pump-7#3")
    assert fleet.end_of_life_age.tolist()[:2] == [9, 17]
    assert np.isnan(fleet.end_of_life_age[2])
    assert {note.kind: note.count for note in fleet.notes}["failure_rows"] == 5
    assert dataset.load("train").units == ("pump-7#1", "pump-7#2")
    assert dataset.load("test").units == ("pump-7#3",)


def test_lives_need_labels_and_enough_lives(asset):
    with pytest.raises(UsageError, match="labels names no file"):
        LookoutDataset(source=str(asset), ranges="lives").load()
    labels = _ranges(asset, (39, 41))
    with pytest.raises(FleetError, match="there is no life for test: 1 in all"):
        LookoutDataset(source=str(asset), labels=labels, ranges="lives").load("test")


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        (((5, 7), (6, 8)), r"row 2: .* overlaps row 1"),
        (((5, 7), (90, 95)), r"row 2: .* is outside the readings of 'pump-7'"),
        (((7, 5),), r"row 1: a window ends at .* before it starts"),
    ],
)
def test_ranges_that_cannot_be_are_refused_by_row(asset, ranges, message):
    labels = _ranges(asset, *ranges)
    with pytest.raises(FleetError, match=message):
        LookoutDataset(source=str(asset), labels=labels).load()


def test_overlapping_and_stray_ranges_are_taken_on_demand(asset):
    labels = _ranges(asset, (5, 7), (6, 8), (90, 95))
    fleet = LookoutDataset(source=str(asset), labels=labels, overlap="merge", stray="note").load("all")
    assert np.flatnonzero(fleet.values(["anomaly"])[:, 0]).tolist() == [5, 6, 7, 8]
    counts = {note.kind: note.count for note in fleet.notes}
    assert (counts["windows_merged"], counts["windows_outside"]) == (1, 1)


def test_a_header_in_the_file_of_ranges_is_passed_over(asset):
    _write(asset / "labels.csv", "start,end", [f"{_at(5)},{_at(6)}"])
    fleet = LookoutDataset(source=str(asset), labels="labels.csv").load("all")
    assert fleet.values(["anomaly"]).sum() == 2


def test_a_range_with_one_end_is_refused(asset):
    _write(asset / "labels.csv", "", [f"{_at(1)},{_at(2)}", _at(5)])
    with pytest.raises(FormatError, match=r"labels.csv: row 2: there is only one cell"):
        LookoutDataset(source=str(asset), labels="labels.csv").load()


def test_an_empty_file_of_ranges_labels_nothing(asset):
    _write(asset / "labels.csv", "", [])
    assert LookoutDataset(source=str(asset), labels="labels.csv").load("all").values(["anomaly"]).sum() == 0


def test_labels_that_nobody_named_are_refused(asset):
    _ranges(asset, (5, 7))
    with pytest.raises(UsageError, match=r"labels does not name it \(labels: labels.csv"):
        LookoutDataset(source=str(asset)).load()


@pytest.mark.parametrize(
    ("text", "time_format"),
    [
        ("2020/1/1 0:05", None),
        ("2020-01-01T00:05:00Z", None),
        ("2020-01-01-00-05-00", None),
        ("20200101 00:05:00", None),
        ("1577837100", None),
        ("1577837100000", None),
        ("1/1/2020 0:05", "%m/%d/%Y %H:%M"),
    ],
)
def test_timestamps_of_the_service_are_read(tmp_path, text, time_format):
    path = _write(tmp_path / "fan.csv", "Timestamp,current", [f"{text},1"])
    fleet = LookoutDataset(source=str(path), time_format=time_format).load("all")
    assert fleet.frame["time"][0] == datetime(2020, 1, 1, 0, 5)


def test_day_and_month_are_not_guessed(tmp_path):
    path = _write(tmp_path / "fan.csv", "Timestamp,current", ["1/2/2020 0:05,1"])
    with pytest.raises(FleetError, match="may be day/month or month/day"):
        LookoutDataset(source=str(path)).load()


@pytest.mark.parametrize(
    ("header", "rows", "error", "message"),
    [
        ("Timestamp,a", [f"{_at(0)},1", f"{_at(0)},2"], FleetError, "fan has two readings at 2020-01-01"),
        ("Timestamp,a", [f"{_at(0)},warm", f"{_at(1)},2"], FleetError, "'warm' is not a number"),
        ("Timestamp,a", [f"{_at(0)},1", ",2"], FleetError, "row 2, column 'Timestamp'"),
        ("Timestamp,a,a", [f"{_at(0)},1,2"], FormatError, "column 'a' is there twice"),
        ("Timestamp,time", [f"{_at(0)},1"], FormatError, "a sensor is named 'time'"),
        ("Timestamp", [_at(0)], FormatError, "there is no sensor beside the timestamp"),
    ],
)
def test_a_bad_component_is_refused(tmp_path, header, rows, error, message):
    path = _write(tmp_path / "fan.csv", header, rows)
    with pytest.raises(error, match=message):
        LookoutDataset(source=str(path)).load()


def test_files_of_a_component_have_the_same_sensors(asset):
    _write(asset / "motor/c.csv", "Timestamp,current", [f"{_at(50)},2"])
    with pytest.raises(FormatError, match="not all files of motor have column 'temperature'"):
        LookoutDataset(source=str(asset)).load()


def test_time_that_runs_backwards_is_sorted_and_counted(tmp_path):
    path = _write(tmp_path / "fan.csv", "Timestamp,a", [f"{_at(1)},1", f"{_at(0)},0", f"{_at(2)},2"])
    fleet = LookoutDataset(source=str(path)).load("all")
    assert fleet.values(["a"])[:, 0].tolist() == [0, 1, 2]
    assert {note.kind: note.count for note in fleet.notes}["time_backwards"] == 1


def test_a_missing_place_is_named(tmp_path):
    with pytest.raises(SourceNotFoundError, match="there is no such folder or file"):
        LookoutDataset(source=str(tmp_path / "pump")).load()
    with pytest.raises(SourceNotFoundError, match="there is no CSV file of a component"):
        LookoutDataset(source=str(tmp_path)).load()
    _write(tmp_path / "fan.csv", "Timestamp,a", [f"{_at(1)},1"])
    with pytest.raises(SourceNotFoundError, match="there is no such file of ranges"):
        LookoutDataset(source=str(tmp_path), labels="none.csv").load()


def test_a_file_of_ranges_that_is_not_text_is_refused(asset):
    (asset / "labels.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match=r"labels.csv: this is not UTF-8 text"):
        LookoutDataset(source=str(asset), labels="labels.csv").load()
