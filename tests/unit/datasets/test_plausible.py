"""Units of measure and ranges of a mapping: what cannot be is counted, marked or taken as missing, never deleted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from wearcast.datasets.files import FilesDataset
from wearcast.datasets.mapping import ColumnMapping
from wearcast.datasets.plausible import treat_out_of_range
from wearcast.datasets.quality import check
from wearcast.errors import FleetError
from wearcast.fleet import Fleet
from wearcast.schema import FleetSchema

FLOW = [10.0, 11.0, 999.0, 12.0, -5.0, 11.0]
TEMPERATURE = [20.0, 21.0, -300.0, 22.0, 23.0, None]


def write(folder: Path) -> str:
    cells = (
        f"A,{i},{flow},{'' if t is None else t}" for i, (flow, t) in enumerate(zip(FLOW, TEMPERATURE, strict=True))
    )
    (folder / "pumps.csv").write_text("\n".join(["unit,cycle,flow,oil_temp", *cells, ""]))
    return str(folder / "pumps.csv")


def read(folder: Path, **said: object) -> Fleet:
    mapping = ColumnMapping.model_validate(
        {"unit": "unit", "cycle": "cycle", "units_of_measure": {"flow": "m³/h", "*_temp": "°C"}, **said}
    )
    return FilesDataset(source=write(folder), mapping=mapping).load("all")


def test_ranges_and_units_of_measure_are_of_the_schema_and_judge_the_readings(tmp_path: Path):
    fleet = read(tmp_path, ranges={"fl*": (0, 120)})
    assert fleet.schema.units_of_measure == {"flow": "m³/h", "oil_temp": "°C"}
    assert fleet.schema.ranges == {"flow": (0, 120)}
    flow, temperature = check(fleet).columns
    assert (flow.out_of_range, flow.unit_of_measure) == (2, "m³/h")
    assert temperature.out_of_range == 1, "nothing is colder than absolute zero: the unit says it"
    np.testing.assert_array_equal(fleet.values(["flow"])[:, 0], np.array(FLOW, np.float32), "kept as they are")


def test_what_cannot_be_is_taken_as_missing_where_the_mapping_says_so(tmp_path: Path):
    fleet = read(tmp_path, ranges={"flow": (0, None)}, out_of_range="missing", missing={"flow": "mask"})
    nan = np.nan
    np.testing.assert_array_equal(fleet.values(["flow"])[:, 0], np.array([10, 11, 999, 12, nan, 11]))
    np.testing.assert_array_equal(fleet.values(["oil_temp"])[:, 0], np.array([20, 21, nan, 22, 23, nan]))
    assert fleet.n_rows == len(FLOW), "no row is deleted"
    note = next(note for note in fleet.notes if note.kind == "out_of_range")
    assert (note.count, "taken as missing: flow (1), oil_temp (1)" in note.message) == (2, True)
    assert fleet.schema.masked == ("flow",), "and the models can be told"


def test_a_mark_is_a_sensor_of_its_own_and_the_reading_stays(tmp_path: Path):
    said = {"ranges": {"flow": (0, 120)}, "out_of_range": "mark"}
    fleet = read(tmp_path, **said, stuck_after=2)
    assert fleet.schema.sensors == ("flow", "oil_temp", "flow_out_of_range", "oil_temp_out_of_range")
    np.testing.assert_array_equal(fleet.values(["flow_out_of_range"])[:, 0], [0, 0, 1, 0, 1, 0])
    np.testing.assert_array_equal(fleet.values(["flow"])[:, 0], np.array(FLOW, np.float32))
    assert not np.isnan(fleet.values(["oil_temp_out_of_range"])).any(), "a missing reading is not beyond anything"
    shares = read(tmp_path, **said, resample={"every": 3, "aggregate": {"default": "mean"}}).values(
        ["flow_out_of_range"]
    )
    np.testing.assert_allclose(shares[:, 0], [1 / 3, 1 / 3], rtol=1e-6)


def test_a_mapping_with_ranges_and_units_survives_its_yaml(tmp_path: Path):
    mapping = ColumnMapping.model_validate(
        {
            "unit": "u",
            "cycle": "c",
            "ranges": {"a": (None, 5.0)},
            "units_of_measure": {"a": "bar"},
            "out_of_range": "mark",
        }
    )
    mapping.to_yaml(tmp_path / "m.yaml")
    assert ColumnMapping.from_yaml(tmp_path / "m.yaml") == mapping


@pytest.mark.parametrize("span", [(None, None), (5, 1)])
def test_a_range_without_sense_is_refused(span: tuple[float | None, float | None]):
    with pytest.raises(ValidationError, match="range of 'flow'"):
        ColumnMapping.model_validate({"unit": "u", "cycle": "c", "ranges": {"flow": span}})


def test_a_column_that_is_not_there_has_neither_range_nor_unit(tmp_path: Path):
    with pytest.raises(FleetError, match="ranges names 'flwo'"):
        read(tmp_path, ranges={"flwo": (0, 1)})
    with pytest.raises(FleetError, match="units_of_measure names 'pressure'"):
        read(tmp_path, units_of_measure={"pressure": "bar"})


@given(
    values=st.lists(st.none() | st.floats(-10, 10, width=32) | st.just(float("nan")), min_size=1, max_size=20),
    low=st.none() | st.floats(-5, 0, width=32), high=st.none() | st.floats(0, 5, width=32),
)  # fmt: skip
def test_marks_are_those_of_a_plain_loop(values: list[float | None], low: float | None, high: float | None):
    import polars as pl

    schema = FleetSchema(time_unit="cycle", sensors=("x",), ranges={"x": (low, high)})
    frame = pl.DataFrame({"x": pl.Series(values, dtype=pl.Float32)})
    marked, _ = treat_out_of_range(frame, "mark", schema)
    expected = [
        float(v is not None and ((low is not None and v < low) or (high is not None and v > high))) for v in values
    ]
    assert marked["x_out_of_range"].to_list() == expected
