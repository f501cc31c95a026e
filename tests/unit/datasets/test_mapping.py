"""Mappings of columns: read, written, refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from wearcast.datasets.mapping import ColumnMapping, FailureTable, assign, guess
from wearcast.errors import ConfigError, FleetError

FULL = ColumnMapping(
    unit="pump", time="ts", time_unit="day", time_format="%d.%m.%Y", sensors=("temp", "vib_*"), settings=("load",),
    statics=("site",), known_future=("plan",), end_of_life=FailureTable(failures="f.csv", mode="cause"),
    separator=";", decimal=",",
)  # fmt: skip


@pytest.mark.parametrize("mapping", [FULL, ColumnMapping(unit="u", cycle="c", end_of_life="last_row")])
def test_a_mapping_survives_yaml(tmp_path, mapping):
    mapping.to_yaml(tmp_path / "m.yaml")
    back = ColumnMapping.from_yaml(tmp_path / "m.yaml")
    if isinstance(mapping.end_of_life, FailureTable):
        assert isinstance(back.end_of_life, FailureTable)
        assert back.end_of_life.failures == str(tmp_path / "f.csv")
        back = back.model_copy(update={"end_of_life": mapping.end_of_life})
    assert back == mapping


def test_an_absolute_table_of_failures_stays_where_it_is(tmp_path):
    (tmp_path / "m.yaml").write_text("unit: u\ncycle: c\nend_of_life:\n  failures: /data/f.csv\n")
    table = ColumnMapping.from_yaml(tmp_path / "m.yaml").end_of_life
    assert isinstance(table, FailureTable)
    assert table.failures == "/data/f.csv"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("unit: u\ncycle: c\nsensor: [a]\n", r"m.yaml:3: unknown key sensor \(did you mean 'sensors'"),
        ("unit: u\n", "give either cycle or time"),
        ("unit: u\ncycle: c\ntime: t\n", "give either cycle or time"),
        ("unit: u\ncycle: c\ntime_unit: day\n", "belong to time"),
        ("unit: u\ntime: t\ntime_unit: cycle\n", "must be second"),
        ("unit: u\ntime: t\ntime_unit: dya\n", "did you mean 'day'"),
        ("unit: u\ncycle: c\nend_of_life: lastrow\n", "end_of_life"),
        ("unit: u\ncycle: c\nend_of_life:\n  failurs: f.csv\n", "did you mean 'failures'"),
        ("unit: u\ncycle: c\nsensors: []\n", "sensors is empty"),
        ("cycle: c\n", "the key unit is missing"),
        ("unit: [\n", "not YAML"),
    ],
)
def test_a_wrong_mapping_file_is_answered_with_line_and_spelling(tmp_path, text, message):
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        ColumnMapping.from_yaml(tmp_path / "m.yaml")


def test_a_mapping_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        ColumnMapping.from_yaml(tmp_path / "none.yaml")


def test_no_sensors_means_the_rest():
    mapping = ColumnMapping.model_validate({"unit": "u", "cycle": "c", "sensors": None})
    roles = assign(mapping, {"u": "number", "c": "number", "a": "number", "b": "mostly_number", "t": "text"}, "x")
    assert roles.sensors == ("a", "b")


def test_a_mapping_in_code_is_checked_too():
    with pytest.raises(ValidationError, match="either cycle or time"):
        ColumnMapping(unit="u")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sensors": ("tmp",)}, "column 'tmp' is missing; there are .* \\(did you mean 'temp'"),
        ({"sensors": ("z*",)}, r"no column matches 'z\*'"),
        ({"sensors": ("temp",), "settings": ("temp",)}, "'temp' has two roles"),
        ({"settings": ("temp",)}, "no numeric column left"),
        ({"cycle": "u"}, "'u' has two roles"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused(options, message):
    mapping = ColumnMapping.model_validate({"unit": "u", "cycle": "c", **options})
    with pytest.raises(FleetError, match=message):
        assign(mapping, {"u": "text", "c": "number", "temp": "number"}, "x")


def test_a_guess_never_takes_two_candidates():
    mapping, note = guess({"engine_id": "number", "cycle": "number", "s1": "number"}, "x")
    assert (mapping.unit, mapping.cycle, mapping.end_of_life) == ("engine_id", "cycle", "censored")
    assert "every unit as still running" in note.message
