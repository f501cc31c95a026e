"""MetroPT-2 and MetroPT-3 on generated files of the real layout, on the real excerpt, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError
from tests.fixtures.metropt_files import write_large_metropt2, write_metropt

from wearcast.datasets.metropt import ANALOGUE, CARD, DIGITAL, FAILURES, GPS, RELEASES, MetroptDataset, Window
from wearcast.errors import DataError, FleetError, FormatError, SourceNotFoundError

REAL = os.environ.get("WEARCAST_DATA_DIR")
real = pytest.mark.skipif(
    not REAL or not (Path(REAL) / "metropt").is_dir(), reason="WEARCAST_DATA_DIR does not hold metropt/"
)
large = pytest.mark.skipif(
    os.environ.get("WEARCAST_LARGE_TESTS") != "1", reason="takes a minute and 1 GB of disk: WEARCAST_LARGE_TESTS=1"
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty data folder."""
    monkeypatch.setenv("WEARCAST_DATA_DIR", str(tmp_path))
    (tmp_path / "metropt").mkdir()
    return tmp_path / "metropt"


def test_metropt3_is_five_lives_of_which_four_end_in_the_reported_leaks(home):
    write_metropt(home / "MetroPT3(AirCompressor).csv")
    fleet = MetroptDataset().load("all")
    assert fleet.units == ("apu#1", "apu#2", "apu#3", "apu#4", "apu#5")
    assert fleet.events["time"].to_list() == [window.start for window in FAILURES["3"]]
    assert fleet.events["mode"].unique().to_list() == ["air leak"]
    assert np.isfinite(fleet.end_of_life_age).tolist() == [True, True, True, True, False]
    assert fleet.schema.sensors == (*(c for c in ANALOGUE if c != "Flowmeter"), *DIGITAL)


def test_no_reading_inside_a_failure_is_in_a_life_and_all_are_counted(home):
    write_metropt(home / "three.csv", rows=5_000)
    fleet = MetroptDataset().load("all")
    inside = [fleet.frame.filter(pl.col("time").is_between(w.start, w.end)).height for w in FAILURES["3"]]
    notes = {note.kind: note.count for note in fleet.notes}
    assert inside == [0, 0, 0, 0]
    assert fleet.n_rows + notes["failure_rows"] == 5_000
    assert notes["excerpt"] == 5_000


@pytest.mark.parametrize(("version", "train"), [("2", ("apu#1",)), ("3", ("apu#1", "apu#2"))])
def test_by_default_both_sides_of_the_split_have_failures_and_share_no_life(home, version, train):
    write_metropt(home / "any.csv", version)
    sides = {split: MetroptDataset(version=version).load(split) for split in ("train", "test")}
    assert sides["train"].units == train
    assert all(np.isfinite(side.end_of_life_age).any() for side in sides.values())
    assert max(sides["train"].frame["time"].to_list()) < min(sides["test"].frame["time"].to_list())
    assert not set(sides["train"].units) & set(sides["test"].units)
    both = sides["train"].n_rows + sides["test"].n_rows
    assert both == MetroptDataset(version=version).load("all").n_rows


@pytest.fixture
def both_releases(home):
    """Generated files of both, MetroPT-3's under the name that it was published with."""
    write_metropt(home / "MetroPT2.csv", "2")
    write_metropt(home / "MetroPT3(AirCompressor).csv", "3")


def test_one_release_also_learns_from_the_lives_of_the_other_with_the_columns_of_both(both_releases):
    dataset = MetroptDataset(version="2", resample="1h", also_learn_from="3")
    train, test = dataset.load("train"), dataset.load("test")
    assert train.units == ("apu#1", *(f"apu-3#{i}" for i in range(1, 6)))
    assert test.units == ("apu#2", "apu#3")
    assert train.schema == test.schema, "what is learnt can be tested"
    assert train.schema.sensors == (*(c for c in ANALOGUE if c != "Flowmeter"), *DIGITAL)
    alone = MetroptDataset(version="2", resample="1h").load("train")
    pressures = train.select(["apu#1"]).values(["TP2"])
    np.testing.assert_array_equal(pressures, alone.values(["TP2"]), "the same readings as without the other release")
    turned = MetroptDataset(version="3", resample="1h", also_learn_from="2").load("train")
    assert turned.units == ("apu#1", "apu#2", "apu-2#1", "apu-2#2", "apu-2#3")


def test_lives_for_tests_can_be_named_so_that_either_failure_of_metropt2_is_left_out(home):
    write_metropt(home / "MetroPT2.csv", "2")
    dataset = MetroptDataset(version="2", test_lives=("apu#1",))
    assert dataset.load("test").units == ("apu#1",)
    assert dataset.load("train").units == ("apu#2", "apu#3")
    with pytest.raises(FleetError, match="there is no life 'apu#9'"):
        MetroptDataset(version="2", test_lives=("apu#9",)).load("test")
    with pytest.raises(FleetError, match=r"no life for train: .* all are test_lives"):
        MetroptDataset(version="2", test_lives=("apu#1", "apu#2", "apu#3")).load("train")


@pytest.mark.parametrize(
    ("choices", "match"),
    [
        ({"also_learn_from": "2", "resample": "1m"}, "is the other release"),
        ({"also_learn_from": "3"}, "say resample"),
        ({"also_learn_from": "3", "resample": "1m", "gps": True}, "MetroPT-3 has no GPS"),
        ({"split_at": datetime(2022, 6, 1), "test_lives": ("apu#1",)}, "give one of them"),
    ],
)
def test_choices_that_contradict_each_other_are_refused(choices, match):
    with pytest.raises(ValidationError, match=match):
        MetroptDataset.model_validate({"version": "2", **choices})


def test_metropt2_has_the_flow_and_gps_only_when_asked_for(home):
    write_metropt(home / "MetroPT2.csv", "2")
    plain, placed = (MetroptDataset(version="2", gps=gps).load("train") for gps in (False, True))
    assert plain.schema.sensors == (*ANALOGUE, *DIGITAL)
    assert placed.schema.sensors == (*ANALOGUE, *DIGITAL, *GPS)
    assert plain.schema.units_of_measure["COMP"] == "on/off"
    with pytest.raises(ValidationError, match="MetroPT-3 has no GPS columns"):
        MetroptDataset(gps=True)


def test_both_sets_may_lie_in_one_folder(home):
    write_metropt(home / "b.csv", "2", rows=1_000)
    write_metropt(home / "a.csv", "3", rows=2_000)
    counts = [
        {note.kind: note.count for note in MetroptDataset(version=v).load("all").notes}["excerpt"] for v in ("2", "3")
    ]
    assert counts == [1_000, 2_000]


def test_resampling_agrees_with_a_plain_loop_and_never_looks_ahead(home):
    start = datetime(2020, 4, 17, 23, 0)
    write_metropt(home / "a.csv", rows=700, span=(start, start + timedelta(hours=2)))
    raw, fleet = MetroptDataset().load("all"), MetroptDataset(resample="5m", digital="max").load("all")
    assert fleet.n_rows == 12  # the hour before the failure; the hour in it is set apart
    for row in fleet.frame.iter_rows(named=True):
        step = row["time"].replace(minute=row["time"].minute // 5 * 5, second=0)
        part = raw.frame.filter(pl.col("time").is_between(step, step + timedelta(minutes=5), closed="left"))
        assert part["time"].max() == row["time"]
        assert row["readings"] == part.height
        assert row["Reservoirs"] == pytest.approx(part["Reservoirs"].mean(), rel=1e-5)
        assert row["COMP"] == part["COMP"].max()


def test_digital_signals_become_shares_of_time_by_default(home):
    write_metropt(home / "a.csv", rows=2_000, span=(datetime(2020, 3, 1), datetime(2020, 3, 1, 5)))
    share = MetroptDataset(resample="1h").load("all").frame["DV_eletric"]
    assert share.to_list() == pytest.approx([0.25] * 5, abs=0.03)


def test_the_generated_leak_shows_before_the_failure(home):
    write_metropt(home / "a.csv", rows=20_000, span=(datetime(2020, 4, 16), datetime(2020, 4, 18, 12)))
    frame = MetroptDataset(resample="1h").load("all").frame
    healthy, leaking = frame.head(24), frame.tail(4)
    assert leaking["Reservoirs"].to_numpy().mean() < healthy["Reservoirs"].to_numpy().mean() - 0.5
    assert leaking["Motor_current"].to_numpy().mean() > 1.3 * healthy["Motor_current"].to_numpy().mean()


def test_maintenance_is_set_apart_and_counted(home):
    write_metropt(home / "a.csv")
    window = Window(start=datetime(2020, 3, 1), end=datetime(2020, 3, 2), mode="overhaul")
    fleet = MetroptDataset(maintenance=(window,)).load("train")
    assert {note.kind for note in fleet.notes} >= {"failure_rows", "maintenance_rows"}
    assert fleet.frame.filter(pl.col("time").is_between(window.start, window.end)).height == 0
    assert fleet.events.filter(pl.col("kind") == "maintenance")["mode"].to_list() == ["overhaul"]
    with pytest.raises(ValidationError, match="before it starts"):
        Window(start=datetime(2020, 3, 2), end=datetime(2020, 3, 1))


def test_a_zip_is_unpacked_for_as_long_as_it_is_read(home, tmp_path):
    path = write_metropt(tmp_path / "x.csv")
    with zipfile.ZipFile(home / "metropt+3+dataset.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("Data Description_Metro.pdf", b"")
        packed.write(path, "MetroPT3(AirCompressor).csv")
    assert MetroptDataset().load("all").n_units == 5
    assert sorted(p.name for p in tmp_path.rglob("*.csv")) == ["x.csv"]


def test_the_set_may_be_a_second_zip_beside_other_files(home, tmp_path):
    write_metropt(home / "a.csv", "2", rows=300)
    for name, inside in (("a.zip", "notes.csv"), ("b.zip", "MetroPT3.csv")):
        with zipfile.ZipFile(home / name, "w") as packed:
            packed.write(write_metropt(tmp_path / "x.csv", "3" if inside != "notes.csv" else "2"), inside)
    assert MetroptDataset().load("all").n_units == 5


def test_hostile_and_damaged_zips_are_refused(home, tmp_path):
    path = write_metropt(tmp_path / "x.csv", rows=500)
    with zipfile.ZipFile(home / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(path, "../../x.csv")
    with pytest.raises(FormatError, match="leads out of the zip"):
        MetroptDataset().load()
    with zipfile.ZipFile(home / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(path, "x.csv")
    whole = (home / "a.zip").read_bytes()
    (home / "a.zip").write_bytes(whole[:2000])
    with pytest.raises(FormatError, match="truncated or not a zip"):
        MetroptDataset().load()
    (home / "a.zip").write_bytes(whole[:5000] + b"damage" + whole[5006:])
    with pytest.raises(FormatError, match="damaged"):
        MetroptDataset().load()


def test_without_room_nothing_is_unpacked(home, tmp_path, monkeypatch):
    with zipfile.ZipFile(home / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(write_metropt(tmp_path / "x.csv", rows=500), "x.csv")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(DataError, match="are needed to unpack it, 0 are free"):
        MetroptDataset().load()


@pytest.mark.parametrize("split_at", [datetime(2019, 1, 1), datetime(2021, 1, 1)])
def test_a_side_without_lives_is_refused(home, split_at):
    write_metropt(home / "a.csv")
    with pytest.raises(FleetError, match=r"there is no life for (train|test): the lives end 2020-04-18"):
        [MetroptDataset(split_at=split_at).load(split) for split in ("train", "test")]


def test_a_cell_that_is_no_number_or_time_is_named_by_row_and_column(home):
    path = write_metropt(home / "a.csv", rows=300)
    lines = path.read_text().splitlines()
    cells = lines[200].split(",")
    for column, cell in ((1, "yesterday"), (5, "9,1".replace(",", ";"))):
        broken = [*cells[:column], cell, *cells[column + 1 :]]
        path.write_text("\n".join([*lines[:200], ",".join(broken), *lines[201:]]) + "\n")
        what = "timestamp" if column == 1 else "number"
        with pytest.raises(
            FormatError, match=rf"row 200, column '{lines[0].split(',')[column]}': '{cell}' is not a {what}"
        ):
            MetroptDataset().load("all")


def test_times_may_have_fractions_and_a_byte_order_mark_goes_before_them(home):
    path = write_metropt(home / "a.csv", rows=300)
    lines = path.read_text().splitlines()
    lines[3] = lines[3].replace(lines[3].split(",")[1], lines[3].split(",")[1] + ".250275")
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode() + b"\r\n")
    fleet = MetroptDataset().load("all")
    assert fleet.frame["time"].dt.microsecond().to_list()[:4] == [0, 0, 250_275, 0]
    assert fleet.frame["Caudal_impulses"].max() == 1


def test_a_time_with_a_zone_in_the_options_is_refused():
    with pytest.raises(ValidationError, match="should not have timezone info"):
        MetroptDataset.model_validate({"split_at": "2020-06-01T00:00:00Z"})


def test_empty_cells_are_missing_readings(home):
    path = write_metropt(home / "a.csv", rows=300)
    lines = path.read_text().splitlines()
    cells = lines[7].split(",")
    lines[7] = ",".join([*cells[:3], "", *cells[4:]])
    path.write_text("\n".join(lines) + "\n")
    fleet = MetroptDataset().load("all")
    assert np.isnan(fleet.frame["TP3"][6])
    assert {note.kind: note.count for note in fleet.notes}["missing"] == 1


def test_a_file_that_is_cut_off_is_refused(home):
    path = write_metropt(home / "a.csv", rows=300)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(FormatError, match=r"the last row has .* cells, but the header has 17"):
        MetroptDataset().load()


def test_what_is_missing_is_said(home):
    with pytest.raises(SourceNotFoundError, match=r"there is no \*\.csv or"):
        MetroptDataset().load()
    write_metropt(home / "other.csv", "2", rows=300)
    with pytest.raises(SourceNotFoundError, match="there is no CSV of this data set"):
        MetroptDataset().load()
    path = write_metropt(home / "a.csv", rows=300)
    path.write_text(path.read_text().replace("DV_eletric", "DV_electric", 1))
    with pytest.raises(
        SourceNotFoundError, match=r"column 'DV_eletric' is missing in a\.csv, did you mean 'DV_electric'"
    ):
        MetroptDataset().load()
    write_metropt(path, rows=300)
    write_metropt(home / "b.csv", rows=300)
    with pytest.raises(FormatError, match=r"a\.csv and b\.csv both hold this data set"):
        MetroptDataset().load()


def test_the_card_describes_every_column():
    assert set(CARD.units_of_measure) == {*ANALOGUE, *DIGITAL, *GPS, "readings"}
    assert set(CARD.descriptions) == {*CARD.units_of_measure, "timestamp"}
    assert MetroptDataset(version="2").name == "metropt/2"


@real
def test_the_real_excerpt_has_the_published_format_and_statistics(monkeypatch):
    monkeypatch.setenv("WEARCAST_DATA_DIR", str(REAL))
    fleet = MetroptDataset().load("all")
    if fleet.n_rows > 1000:
        pytest.skip("the whole set is here, not the excerpt")
    frame = fleet.frame
    assert fleet.units == ("apu#1",)
    assert frame["time"][0] == datetime(2020, 2, 1)
    assert frame["time"].diff().drop_nulls().dt.total_seconds().unique().sort().to_list() == [9, 10]
    assert frame["TP2"].mean() == pytest.approx(0.44767, abs=1e-4)
    assert frame["Motor_current"].max() == pytest.approx(6.3125, abs=1e-3)
    assert set(frame.select(DIGITAL).unpivot()["value"].unique()) == {0.0, 1.0}
    assert {note.kind for note in fleet.notes} == {"windows_outside", "excerpt"}


@large
def test_all_rows_of_metropt2_fit_into_one_gibibyte(home):
    """A generated file of the published size, loaded whole in a process of its own."""
    write_large_metropt2(home / "MetroPT2.csv")
    code = (
        "import resource; from wearcast.datasets.metropt import MetroptDataset\n"
        "fleet = MetroptDataset(version='2').load('all')\n"
        "print(fleet.n_rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    rows, kilobytes = map(int, done.stdout.split())
    assert rows > 6_800_000
    assert rows < RELEASES["2"].rows
    assert kilobytes < 1 << 20
