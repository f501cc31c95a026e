"""The user's files as a data set: splits by unit, and the way from a source to a data set."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from tests.fixtures.fleets import make_fleet

from wearcast import Fleet
from wearcast.datasets import (
    CmapssDataset,
    ColumnMapping,
    Dataset,
    FailureTable,
    FilesDataset,
    SimulatedDataset,
    load_dataset,
    resolve_source,
)
from wearcast.datasets.combine import combine
from wearcast.datasets.files import split_units
from wearcast.errors import DataError, FleetError, SourceNotFoundError, UsageError

MAPPING = ColumnMapping(unit="pump", cycle="n", end_of_life="last_row")


def _table(units: Iterable[object], cycles: int = 3) -> pl.DataFrame:
    rows = [(unit, n, float(n)) for unit in units for n in range(1, cycles + 1)]
    return pl.DataFrame(rows, schema=["pump", "n", "temp"], orient="row")


@pytest.fixture
def pumps(tmp_path):
    """Twenty pumps in one file."""
    path = tmp_path / "pumps.csv"
    _table(range(1, 21)).write_csv(path)
    return path


def test_train_and_test_share_no_unit_and_lose_none(pumps):
    dataset = FilesDataset(source=str(pumps), mapping=MAPPING)
    train, test, everything = (set(dataset.load(split).units) for split in ("train", "test", "all"))
    assert not train & test
    assert train | test == everything
    assert len(test) in range(1, 9)
    assert dataset.name == "files/pumps.csv"


def test_a_unit_keeps_its_side_when_others_come(pumps, tmp_path):
    more = tmp_path / "more.csv"
    _table(range(1, 60)).write_csv(more)
    few, many = (set(FilesDataset(source=str(p), mapping=MAPPING).load("test").units) for p in (pumps, more))
    assert few == many & set(range(1, 21))


@given(st.integers(1, 12), st.integers(0, 12), st.floats(0, 0.99), st.integers(0, 50))
def test_a_split_is_whole_and_keeps_a_failed_unit_in_training(units, censored, share, offset):
    """For any fleet and share: disjoint, complete, ordered, a failed unit to learn from, a unit to test on."""
    table = _table(range(offset, offset + units))
    running = min(censored, units)
    events = pl.DataFrame({"unit": list(range(offset, offset + units - running)), "time": [3] * (units - running)})
    fleet = Fleet.from_frame(
        table, unit="pump", cycle="n", sensors=["temp"], events=events.cast({"unit": pl.Int64, "time": pl.Int64})
    )
    train, test = split_units(fleet, share)
    assert sorted([*train, *test]) == list(fleet.units)
    failed = set(events["unit"])
    assert not failed or failed & set(train)
    assert train
    assert bool(test) == (units > 1 and share > 0)


def test_without_a_unit_to_test_on_the_test_is_refused(tmp_path):
    _table([1]).write_csv(tmp_path / "one.csv")
    with pytest.raises(FleetError, match="no unit to test on: 1 units"):
        FilesDataset(source=str(tmp_path / "one.csv"), mapping=MAPPING).load("test")


def test_test_files_of_their_own_are_the_test(pumps, tmp_path):
    _table([31, 32], cycles=2).write_parquet(tmp_path / "later.parquet")
    failures = tmp_path / "failures.csv"
    failures.write_text("pump,n\n31,9\n1,3\n")
    dataset = FilesDataset(
        source=str(pumps), test_source=str(tmp_path / "later.parquet"), mapping=MAPPING,
        test_end_of_life=FailureTable(failures=str(failures)),
    )  # fmt: skip
    assert dataset.load("train").n_units == 20
    test = dataset.load("test")
    assert test.units == (31, 32)
    assert test.rul()[0].tolist() == [8, 7, 1, 0]
    everything = dataset.load("all")
    assert everything.n_units == 22
    assert everything.rul()[1].sum() == 20 * 3 + 2


def test_a_unit_in_both_files_is_refused(pumps):
    dataset = FilesDataset(source=str(pumps), test_source=str(pumps), mapping=MAPPING)
    with pytest.raises(FleetError, match=r"unit 1 is in files/pumps.csv and in"):
        dataset.load("all")


def test_a_mapping_may_be_a_file(pumps, tmp_path):
    MAPPING.to_yaml(tmp_path / "m.yaml")
    from_file = FilesDataset(source=str(pumps), mapping=str(tmp_path / "m.yaml")).load("all")
    assert from_file.fingerprint == FilesDataset(source=str(pumps), mapping=MAPPING).load("all").fingerprint
    assert load_dataset(pumps, "all", tmp_path / "m.yaml").fingerprint == from_file.fingerprint


def test_several_sources_and_folders(pumps, tmp_path):
    (tmp_path / "more").mkdir()
    _table([30]).write_csv(tmp_path / "more" / "a.csv")
    dataset = FilesDataset(source=(str(pumps), str(tmp_path / "more")), mapping=MAPPING)
    assert dataset.load("all").n_units == 21


@pytest.mark.parametrize("options", [{"source": ""}, {"source": ()}, {"source": "a", "test_share": 1.0}])
def test_a_data_set_without_files_or_units_is_refused(options):
    with pytest.raises(ValidationError):
        FilesDataset(**options)


def test_fleets_with_other_columns_or_units_are_not_combined():
    one, other = make_fleet(units=2), make_fleet(units=2, sensors=2)
    with pytest.raises(FleetError, match="other columns"):
        combine(one, other, name="both")


def test_fleets_with_named_units_are_combined():
    tables = [_table(["a", "b"]), _table(["c"])]
    fleets = [
        Fleet.from_frame(t, unit="pump", cycle="n", sensors=["temp"], events="last_row", name=n)
        for t, n in zip(tables, ("x", "y"), strict=True)
    ]
    both = combine(*fleets, name="both")
    assert both.units == ("a", "b", "c")
    assert both.rul()[0].tolist() == [2, 1, 0] * 3
    assert both.select(["c"]).n_rows == 3


# ------------------------------------------------------------------ from a source to a data set


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("simulated", SimulatedDataset()),
        ("cmapss/FD003", CmapssDataset(subset="FD003")),
        ("cmapss/FD003/", CmapssDataset(subset="FD003")),
        ("data/*.csv", FilesDataset(source="data/*.csv")),
    ],
)
def test_a_source_is_resolved(source, expected):
    assert resolve_source(source) == expected


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("cmapss/FD01", SourceNotFoundError, "did you mean 'cmapss/FD001'"),
        ("CMAPSS/fd001", SourceNotFoundError, "did you mean 'cmapss/FD001'"),
        ("cmapss", SourceNotFoundError, "one of cmapss/FD001, cmapss/FD002"),
        ("simulate", SourceNotFoundError, "did you mean 'simulated'"),
        ("nowhere", SourceNotFoundError, "known data sets are simulated"),
        ("nowhere/pumps.csv", SourceNotFoundError, "no such data set, file or folder"),
        ("mysql://host/db", UsageError, "connection URLs of mysql are not read"),
        ("postgresql://me:secret@host/db", UsageError, r"^postgresql://me:\*\*\*@host/db: the password must not"),
    ],
)
def test_a_source_that_is_not_there_is_answered_with_the_nearest(source, error, message):
    with pytest.raises(error, match=message):
        resolve_source(source)


def test_a_misspelt_file_is_answered_with_the_nearest(pumps):
    with pytest.raises(SourceNotFoundError, match=r"did you mean 'pumps.csv'"):
        resolve_source(str(pumps.parent / "pump.csv"))


def test_declared_sets_have_their_own_columns_and_splits_have_names():
    with pytest.raises(UsageError, match="has its own columns"):
        resolve_source("simulated", MAPPING)
    with pytest.raises(UsageError, match="no such split"):
        load_dataset("simulated", "validation")  # type: ignore[arg-type]


def test_every_data_set_survives_json():
    adapter: TypeAdapter[Dataset] = TypeAdapter(Dataset)
    for dataset in (CmapssDataset(), SimulatedDataset(), FilesDataset(source=("a", "b"), mapping=MAPPING)):
        assert adapter.validate_json(adapter.dump_json(dataset), strict=True) == dataset


def test_a_missing_file_is_told_when_it_is_loaded(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        FilesDataset(source=str(tmp_path / "gone.csv"), mapping=MAPPING).load()
