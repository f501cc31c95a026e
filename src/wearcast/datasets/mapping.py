"""Which column of a user's table plays which role: given by flags or YAML, or guessed where it is plain."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from wearcast.config import Strict, nearest
from wearcast.datasets.endings import Ending, FailureMark, FailureTable
from wearcast.datasets.longlayout import LongLayout
from wearcast.datasets.missing import MissingPolicy
from wearcast.datasets.plausible import OutOfRange
from wearcast.datasets.resampling import Duration, Resampling
from wearcast.datasets.timezone import Ambiguous, check_zone
from wearcast.errors import FleetError, UsageError
from wearcast.schema import Note, TimeUnit

__all__ = ["FILE_UNIT", "ColumnKind", "ColumnMapping", "FailureTable", "Roles", "assign", "guess"]

FILE_UNIT = "@file"
"""As `unit`: each file is one unit, named by the file's name without its ending."""

Range = tuple[float | None, float | None]
StuckAfter = Annotated[int, Field(ge=2)]
ColumnKind = Literal["number", "mostly_number", "time", "text"]

_UNIT_NAMES = (
    "unit", "unitid", "unitnr", "unitno", "unitnumber", "asset", "assetid", "machine", "machineid", "engine",
    "engineid", "engineno", "equipment", "equipmentid", "device", "deviceid", "pump", "pumpid", "turbine", "turbineid",
    "motor", "motorid", "bearing", "bearingid", "battery", "batteryid", "serial", "serialnumber", "id",
)  # fmt: skip
_CYCLE_NAMES = ("cycle", "cycles", "timecycles", "timeincycles", "timecycle", "cycleno", "cyclenumber", "cycleindex")
_TIME_NAMES = ("time", "timestamp", "datetime", "date", "ts", "dateandtime", "zeit", "zeitstempel")
# What is never a sensor unless it is named as one: it is the answer, or the number of the row.
_ANSWERS = re.compile(r"rul|ttf|label|target|.*failure.*|failed|remaining.*life|unit|time|index|unnamed\d*|column\d+")
_EXAMPLE = "--unit pump_id --cycle cycle --sensors 'temp,vib_*' --end-of-life last_row"


class ColumnMapping(Strict):
    """The role of each column of a user's files, and how each history ends."""

    unit: str = Field(min_length=1, description=f"Column that names the unit, or {FILE_UNIT}: each file is one unit.")
    cycle: str | None = Field(None, description="Column that counts cycles; this or time.")
    time: str | None = Field(None, description="Column of timestamps; this or cycle.")
    time_unit: TimeUnit | None = Field(None, description="Unit of RUL for timestamps; hour unless given.")
    time_format: str | None = Field(None, description="How timestamps are written, such as '%d.%m.%Y %H:%M'.")
    sensors: tuple[str, ...] | Literal["rest"] | None = Field(
        "rest", description="Measured columns, * allowed; rest (or nothing): every numeric column without another role."
    )
    settings: tuple[str, ...] = Field((), description="Operating settings, * allowed.")
    statics: tuple[str, ...] = Field((), description="Columns that never change within a unit, * allowed.")
    known_future: tuple[str, ...] = Field((), description="Columns that are known ahead, * allowed.")
    labels: tuple[str, ...] = Field((), description="Columns that hold an answer, * allowed: never a feature.")
    end_of_life: Ending = Field(
        "censored",
        description="How histories end: last_row, censored (still running), a table of failures (failures: FILE), a "
        "mark in the readings (column, value), or a column of the life left (remaining).",
    )
    layout: LongLayout | None = Field(
        None, description="Of a long table, one row a value: the columns tag and value; each tag becomes a column."
    )
    time_zone: str | None = Field(
        None, description="Where timestamps without an offset were written, such as Europe/Berlin; they become UTC."
    )
    ambiguous_hour: Ambiguous = Field(
        "refuse", description="Which is meant of the hour that a change back to winter time gives twice."
    )
    units_of_measure: dict[str, str] = Field(
        default_factory=dict, description="Unit of measure of columns, by name or pattern, such as bar or °C."
    )
    ranges: dict[str, Range] = Field(
        default_factory=dict,
        description="Lowest and highest possible reading, by name or pattern; null where there is no bound.",
    )
    out_of_range: OutOfRange = Field(
        "keep",
        description="Readings beyond what is possible, by ranges or by the unit of measure: keep (and count in the "
        "quality report), mark (a sensor NAME_out_of_range of 0 and 1 is added) or missing.",
    )
    resample: Resampling | None = Field(None, description="An even step, and how each column is aggregated within it.")
    stuck_after: StuckAfter | dict[str, StuckAfter] | None = Field(
        None, description="Equal readings in a row of a sensor that are believed; by name, pattern and default."
    )
    missing: dict[str, MissingPolicy] = Field(
        default_factory=dict,
        description="Missing readings, by name, pattern and default: hold, interpolate (with max_gap), mask or fail.",
    )
    max_gap: Duration | None = Field(None, description="The longest gap that is interpolated, such as 30s.")
    table: str | None = Field(None, min_length=1, description="Of a database: the table of the readings.")
    query: str | None = Field(None, min_length=1, description="Of a database: a SELECT instead of a table.")
    separator: Literal[",", ";", "\t", "|"] | None = Field(None, description="Of CSV columns; found out by default.")
    on_error: Literal["fail", "skip"] = Field(
        "fail", description="CSV rows that cannot be read are refused, or left out, counted and listed."
    )
    decimal: Literal[".", ","] | None = Field(None, description="Decimal sign in CSV; found out where it is plain.")

    @model_validator(mode="after")
    def _one_axis(self) -> ColumnMapping:
        if (self.cycle is None) == (self.time is None):
            raise ValueError("the time axis needs one column: give either cycle or time")
        if self.cycle is not None and (self.time_unit not in (None, "cycle") or self.time_format):
            raise ValueError("time_unit and time_format belong to time, not to cycle")
        if self.time is not None and self.time_unit == "cycle":
            raise ValueError("the time_unit of timestamps must be second, minute, hour or day")
        if self.sensors == ():
            raise ValueError("sensors is empty: name at least one column, or leave it out for all that remain")
        if self.cycle is not None and (self.time_zone is not None or self.ambiguous_hour != "refuse"):
            raise ValueError("time_zone and ambiguous_hour belong to time, not to cycle")
        if self.time_zone is None and self.ambiguous_hour != "refuse":
            raise ValueError("ambiguous_hour belongs to a time_zone")
        if ("interpolate" in self.missing.values()) != (self.max_gap is not None):
            raise ValueError("interpolate and max_gap go together: say how long a gap may be interpolated")
        if self.table is not None and self.query is not None:
            raise ValueError("give a table or a query, not both")
        return self

    @field_validator("ranges")
    @classmethod
    def _spans(cls, value: dict[str, Range]) -> dict[str, Range]:
        for column, (low, high) in value.items():
            if low is None and high is None:
                raise ValueError(f"the range of {column!r} has no bound")
            if low is not None and high is not None and low > high:
                raise ValueError(f"the range of {column!r} ends at {high:g}, below its start at {low:g}")
        return value

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, value: str | None) -> str | None:
        return None if value is None else check_zone(value)

    @property
    def axis(self) -> str:
        """The column of the time axis."""
        return self.cycle or self.time or ""

    @property
    def told_in(self) -> str | None:
        """The column of the readings that says how histories end, if there is one."""
        ends = self.end_of_life
        return ends.column if isinstance(ends, FailureMark) else getattr(ends, "remaining", None)

    @property
    def cuts_lives(self) -> bool:
        """Whether a unit's history is cut into several lives."""
        ends = self.end_of_life
        return ends.after == "new_life" if isinstance(ends, FailureMark) else bool(getattr(ends, "lives", False))

    def without_truth(self) -> ColumnMapping:
        """The same for readings whose future nobody knows yet: no labels, and no end but where lives are cut."""
        ends = self.end_of_life if self.cuts_lives else "censored"
        return self.model_copy(update={"labels": (), "end_of_life": ends})

    @classmethod
    def from_yaml(cls, path: str | Path) -> ColumnMapping:
        """Read a mapping file; the path of a failure table is taken relative to it.

        Raises:
            ConfigError: no such file, or a wrong key or value; the message has the line and the nearest spelling.
        """
        from wearcast.config.checking import parse
        from wearcast.config.document import read

        path = Path(path).expanduser()
        mapping = parse(cls, read(path))
        if not isinstance(mapping.end_of_life, FailureTable):
            return mapping
        table = mapping.end_of_life
        failures = path.parent / Path(table.failures).expanduser()
        return mapping.model_copy(update={"end_of_life": table.model_copy(update={"failures": str(failures)})})

    def to_yaml(self, path: str | Path | None = None) -> str:
        """The mapping as YAML without what is at its default; also written to `path` if given."""
        from wearcast.config.writing import to_yaml

        text = to_yaml(self.model_dump(mode="json", exclude_defaults=True))
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text


@dataclass(frozen=True)
class Roles:
    """A mapping applied to the columns of a table: every name is a column that is there."""

    sensors: tuple[str, ...]
    settings: tuple[str, ...]
    statics: tuple[str, ...]
    known_future: tuple[str, ...]
    labels: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()

    @property
    def numeric(self) -> tuple[str, ...]:
        """The columns that must be numbers."""
        return (*self.settings, *self.sensors, *self.known_future)


def assign(mapping: ColumnMapping, columns: Mapping[str, ColumnKind], where: str) -> Roles:
    """Find the columns that a mapping means.

    Args:
        mapping: what the user said.
        columns: what is there, and what the cells look like.
        where: how errors call the table.

    Raises:
        FleetError: a column is not there, has two roles, or there is no sensor.
    """
    keys = [mapping.axis] if mapping.unit == FILE_UNIT else [mapping.unit, mapping.axis]
    for key in keys:
        _check_there(key, columns, where)
    if mapping.told_in is not None:
        _check_there(mapping.told_in, columns, where)
        if mapping.told_in not in mapping.labels:
            keys.append(mapping.told_in)
    settings, statics, known, labels = (
        _expand(names, columns, where, keys)
        for names in (mapping.settings, mapping.statics, mapping.known_future, mapping.labels)
    )
    taken = {*keys, *settings, *statics, *known, *labels}
    notes: tuple[Note, ...] = ()
    if mapping.sensors is None or mapping.sensors == "rest":
        sensors, notes = _rest(columns, taken)
    else:
        sensors = _expand(mapping.sensors, columns, where, taken)
    if not sensors:
        worded = [column for column in columns if column not in taken and columns[column] == "text"]
        texts = f"; cells of {', '.join(worded[:10])} are text, not numbers" if worded else ""
        raise FleetError(f"there is no numeric column left for the sensors{texts}", where=where, hint=_there(columns))
    _check_once([*keys, *settings, *statics, *known, *labels, *sensors], where)
    return Roles(sensors, settings, statics, known, labels, notes)


def _expand(
    names: Sequence[str], columns: Mapping[str, ColumnKind], where: str, taken: Iterable[str]
) -> tuple[str, ...]:
    found: list[str] = []
    for name in names:
        if name in columns or not re.search(r"[*?]", name):
            _check_there(name, columns, where)
            found.append(name)
            continue
        free = [column for column in columns if column not in taken and fnmatch.fnmatchcase(column, name)]
        if not free:
            raise FleetError(f"no column matches {name!r}", where=where, hint=_there(columns))
        found += [column for column in free if column not in found]
    return tuple(found)


def _check_there(name: str, columns: Mapping[str, ColumnKind], where: str) -> None:
    if name not in columns:
        raise FleetError(f"column {name!r} is missing; {_there(columns)}", where=where, hint=nearest(name, columns))


def _check_once(names: Sequence[str], where: str) -> None:
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise FleetError(f"column {doubled!r} has two roles", where=where, hint="name it once")


def _there(columns: Iterable[str]) -> str:
    names = [f'"{name}"' if "," in name else name for name in columns]  # as --sensors takes it
    more = f" and {len(names) - 40} more" if len(names) > 40 else ""
    return f"there are {', '.join(names[:40])}{more}"


def _rest(columns: Mapping[str, ColumnKind], taken: set[str]) -> tuple[tuple[str, ...], tuple[Note, ...]]:
    free = [column for column in columns if column not in taken]
    answers = [column for column in free if _ANSWERS.fullmatch(_plain(column))]
    texts = [column for column in free if columns[column] in ("text", "time") and column not in answers]
    sensors = tuple(column for column in free if column not in answers and column not in texts)
    notes = []
    if texts:
        notes.append(Note("left_out", len(texts), f"columns that are not numbers are left out: {', '.join(texts)}"))
    if answers:
        text = f"columns that look like the answer or a row number are left out: {', '.join(answers)}"
        notes.append(Note("left_out", len(answers), f"{text}; name them as sensors to keep them"))
    return sensors, tuple(notes)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def guess(columns: Mapping[str, ColumnKind], where: str) -> tuple[ColumnMapping, Note]:
    """A mapping for columns with obvious names, and a note that says what was taken for what.

    Raises:
        UsageError: none or several columns could be the unit or the time.
    """
    units = [column for column in columns if _plain(column) in _UNIT_NAMES]
    if len(units) > 1:  # `id` beside `unit_id` is most likely the number of the row
        units = [column for column in units if _plain(column) != "id"]
    axes = [column for column in columns if _plain(column) in (*_CYCLE_NAMES, *_TIME_NAMES)]
    if len(units) != 1 or len(axes) != 1:
        found = [
            f"{len(found)} could be the {what}" for what, found in (("unit", units), ("time", axes)) if len(found) != 1
        ]
        raise UsageError(
            f"which columns are the unit and the time? {' and '.join(found)}; {_there(columns)}",
            where=where,
            hint=f"say it with flags, such as {_EXAMPLE}, or with --mapping FILE.yaml",
        )
    unit, axis = units[0], axes[0]
    if _plain(axis) in _CYCLE_NAMES or columns[axis] == "number":
        mapping = ColumnMapping(unit=unit, cycle=axis)
    else:
        mapping = ColumnMapping(unit=unit, time=axis)
    roles = assign(mapping, columns, where)
    text = (
        f"no mapping was given: {unit!r} is taken as the unit, {axis!r} as the "
        f"{'cycle' if mapping.cycle else 'time'}, {len(roles.sensors)} other numeric columns as sensors, "
        "and every unit as still running"
    )
    return mapping, Note("guessed", len(roles.sensors) + 2, text)
