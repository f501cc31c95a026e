"""A JSON body as checked arrays: read once by orjson, gathered column by column, nothing looped over cell by cell.

What is wrong is looked for only where a cheap test says that something is: then with the place and a way to mend it.
The cheap tests:

- The quotes in the body are as many as the keys and texts that were read. Fewer were read if a key is doubled (the last
  one wins in every fast parser) and more are there if a number is written as text.
- Neither `true` nor `false` is anywhere, and all cells become numbers.
- The largest magnitude is below what float32 holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from wearcast.config import nearest
from wearcast.schema import UnitId
from wearcast.service.cells import LARGEST, NUMBERS, ascending, block, cells, cycles, shown, stamps
from wearcast.service.layout import Accepted, UnitReadings
from wearcast.service.problems import Problem
from wearcast.service.schemas import UNIT_PATTERN

__all__ = [
    "Asked",
    "RequestLimits",
    "check_forecasts",
    "check_unit",
    "once",
    "read_every",
    "read_forecast",
    "read_readings",
    "too_many",
]

LONGEST_TEXT: Final = 256
_UNIT = re.compile(UNIT_PATTERN)


@dataclass(frozen=True)
class RequestLimits:
    """What one request may have."""

    units: int = 2_000
    rows: int = 200_000
    forecasts: int = 10_000


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for."""

    units: list[UnitReadings]
    model: str | None = None
    every: int | None = None


def read_forecast(body: bytes, accepted: Accepted, limits: RequestLimits) -> Asked:
    """The body of `POST /v1/forecast`.

    Raises:
        Problem: it is not JSON, or something in it is wrong.
    """
    data = _Counted(body)
    top = data.mapping(data.root, "body", ("units", "model", "every"), "units")
    listed = top["units"]
    if type(listed) is not list or not listed:
        raise Problem.at("bad-input", "units", f"expected a list of units, got {shown(listed)}", "give at least one")
    if len(listed) > limits.units:
        raise too_many("units", len(listed), limits.units)
    read = _Units(data, accepted, limits)
    units = [read.unit(one, f"units[{i}]") for i, one in enumerate(listed)]
    once([one.unit for one in units], "units[{}].unit")
    model, every = _model(top.get("model"), data), read_every(top.get("every"))
    data.settle(listed, "units[{}].")
    check_forecasts(units, every, limits)
    return Asked(units, model, every)


def read_readings(body: bytes, unit: str, accepted: Accepted, limits: RequestLimits) -> UnitReadings:
    """The body of `POST /v1/units/{unit}/readings`.

    Raises:
        Problem: it is not JSON, or something in it is wrong.
    """
    data = _Counted(body)
    readings = _Units(data, accepted, limits).readings(data.root, "", unit)
    data.settle([data.root], "")
    return readings


class _Counted:
    """A body that was read, and how many quotes what was read of it accounts for."""

    def __init__(self, body: bytes) -> None:
        try:
            self.root: Any = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise _not_json(body, error) from None
        self.body = body
        self.texts = 0

    def mapping(self, value: Any, where: str, known: Sequence[str], *needed: str) -> dict[str, Any]:
        """A mapping with these keys, and no others."""
        if type(value) is not dict:
            raise Problem.at("bad-input", where, f"expected an object, got {shown(value)}", f"with {', '.join(known)}")
        for name in needed:
            if name not in value:
                near = nearest(name, value) if len(value) < 100 else None
                raise Problem.at("bad-input", where, f"{name!r} is missing", near or f"known are {', '.join(known)}")
        if len(value) > len(known) or not value.keys() <= set(known):
            name = next(name for name in value if name not in known)
            hint = nearest(name[:80], known) or f"known are {', '.join(known)}"
            raise Problem.at("bad-input", where, f"unknown key {name[:80]!r}", hint)
        self.texts += len(value)
        return value

    def settle(self, listed: list[Any], place: str) -> None:
        """Look closely if the cheap tests are not passed; see the module's head."""
        body = self.body
        counted = body.count(b'"') == 2 * self.texts and b"\\" not in body
        if counted and b"true" not in body and b"false" not in body:
            return
        for i, one in enumerate(listed):
            for name, values in one["columns"].items():
                cells(values, f"{place.format(i)}columns.{name}")
        _check_doubled(body)


class _Units:
    """Reads units and counts their rows."""

    def __init__(self, data: _Counted, accepted: Accepted, limits: RequestLimits) -> None:
        self._data = data
        self._accepted = accepted
        self._limits = limits
        self._rows = 0

    def unit(self, value: Any, where: str) -> UnitReadings:
        """One of the units of a forecast request."""
        name = value.get("unit") if type(value) is dict else None
        body = self._data.mapping(value, where, ("unit", "time", "columns", "statics"), "unit", "time", "columns")
        return self._read(body, where, check_unit(name, f"{where}.unit", self._data))

    def readings(self, value: Any, where: str, unit: str) -> UnitReadings:
        """The readings of the unit that the path names."""
        body = self._data.mapping(value, where or "body", ("time", "columns", "statics"), "time", "columns")
        return self._read(body, where, unit)

    def _read(self, body: dict[str, Any], where: str, unit: UnitId) -> UnitReadings:
        dot = f"{where}." if where else ""
        time = self._time(body["time"], f"{dot}time")
        rows = len(time)
        self._rows += rows
        if self._rows > self._limits.rows:
            raise too_many("rows", self._rows, self._limits.rows)
        columns = body["columns"]
        values = self._columns(columns, rows, f"{dot}columns")
        if not (statics := body.get("statics")):
            return UnitReadings(unit, time, tuple(columns), values, {}, (), where or "body")
        numbers, texts = self._statics(statics, f"{dot}statics", columns)
        fixed = np.repeat(np.array(list(numbers.values()), dtype=np.float32)[:, None], rows, axis=1)
        values = np.concatenate([values, fixed])
        names = (*columns, *numbers)
        return UnitReadings(unit, time, names, values, texts, tuple(numbers), where or "body")

    def _time(self, values: Any, where: str) -> NDArray[Any]:
        if type(values) is not list or not values:
            raise Problem.at("bad-input", where, f"expected a list of times, got {shown(values)}")
        kinds = set(map(type, values))
        if kinds == {str} and self._accepted.is_clock:
            self._data.texts += len(values)
            return ascending(stamps(values, where), where, values)
        if not kinds <= NUMBERS or self._accepted.is_clock:
            raise _wrong_time(values, where, clock=self._accepted.is_clock)
        return ascending(cycles(values, where), where, values)

    def _columns(self, columns: Any, rows: int, where: str) -> NDArray[np.float32]:
        if type(columns) is not dict or not columns:
            raise Problem.at("bad-input", where, f"expected a list of numbers a column, got {shown(columns)}")
        if unknown := columns.keys() - self._accepted.columns:
            raise self._accepted.refuse(unknown, where)
        if texts := columns.keys() & self._accepted.texts:
            raise Problem.at("bad-input", f"{where}.{min(texts)}", "it is a text", "what never changes goes to statics")
        values = columns.values()
        if set(map(type, values)) != {list} or set(map(len, values)) != {rows}:
            raise _ragged(columns, rows, where)
        self._data.texts += len(columns)
        return block(columns, rows, where)

    def _statics(
        self, statics: Any, where: str, columns: dict[str, Any]
    ) -> tuple[dict[str, float], dict[str, str | None]]:
        """Numbers and texts among the statics."""
        if type(statics) is not dict:
            raise Problem.at("bad-input", where, f"expected an object, got {shown(statics)}", "a value a column")
        if unknown := statics.keys() - self._accepted.columns:
            raise self._accepted.refuse(unknown, where)
        self._data.texts += len(statics)
        numbers: dict[str, float] = {}
        texts: dict[str, str | None] = {}
        for name, value in statics.items():
            place = f"{where}.{name}"
            if name in columns:
                raise Problem.at("bad-input", place, "it is among columns, too", "give it once")
            if name in self._accepted.texts:
                texts[name] = self._text(value, place)
            else:
                numbers[name] = _number(value, place)
        return numbers, texts

    def _text(self, value: Any, where: str) -> str | None:
        if value is None:
            return None
        if type(value) is not str or len(value) > LONGEST_TEXT:
            raise Problem.at("bad-input", where, f"expected a text, got {shown(value)}")
        self._data.texts += 1
        return value


def _number(value: Any, where: str) -> float:
    if value is None:
        return float("nan")
    if type(value) not in NUMBERS or not abs(value) <= LARGEST:
        raise Problem.at("bad-input", where, f"expected a finite number, got {shown(value)}")
    return float(value)


def _wrong_time(values: list[Any], where: str, *, clock: bool) -> Problem:
    wanted, right = ("a time as ISO 8601 text", {str}) if clock else ("a cycle number", NUMBERS)
    row = next((row for row, value in enumerate(values) if type(value) not in right), 0)
    counts = "by the clock" if clock else "in cycles"
    what = f"expected {wanted}, got {shown(values[row])}"
    return Problem.at("bad-input", f"{where}[{row}]", what, f"the model counts {counts}")


def _ragged(columns: dict[str, Any], rows: int, where: str) -> Problem:
    for name, values in columns.items():
        if type(values) is not list:
            what = f"expected a list, got {shown(values)}"
            return Problem.at("bad-input", f"{where}.{name}", what, "what never changes within a unit goes to statics")
        if len(values) != rows:
            what = f"{len(values)} readings, but there are {rows} times"
            hint = "give one reading a time, null where it is missing"
            return Problem.at("bad-input", f"{where}.{name}", what, hint)
    return Problem.at("bad-input", where, "columns differ in length")


def check_unit(value: Any, where: str, data: _Counted | None = None) -> UnitId:
    """A unit's id: a whole number, or text of a safe alphabet.

    Raises:
        Problem: it is neither.
    """
    if type(value) is str and _UNIT.fullmatch(value):
        if data is not None:
            data.texts += 1
        return value
    if type(value) is int and abs(value) < 2**63:
        return value
    hint = "letters, digits and . _ : - (128 at most, the first a letter or digit), or a whole number"
    raise Problem.at("bad-input", where, f"{shown(value)} is not an id of a unit", hint)


def once(units: Sequence[UnitId], where: str) -> None:
    """Make sure that each unit is there once; 7 and "7" are one unit.

    Raises:
        Problem: one is there twice.
    """
    names = [str(unit) for unit in units]
    if len(set(names)) < len(names):
        seen: set[str] = set()
        at = next(i for i, name in enumerate(names) if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        first = names.index(names[at])
        what = f"unit {names[at]!r} is there twice, first at {first}"
        raise Problem.at("bad-input", where.format(at), what, "put all readings of a unit together")


def check_forecasts(units: Sequence[UnitReadings], every: int | None, limits: RequestLimits) -> None:
    """Make sure that not more forecasts are asked for than one request may have.

    Raises:
        Problem: there are more.
    """
    if every is None:
        return
    count = sum((len(one.time) + every - 1) // every for one in units)
    if count > limits.forecasts:
        raise too_many("forecasts", count, limits.forecasts)


def too_many(what: str, count: int, limit: int) -> Problem:
    """A request that is too large."""
    return Problem.at(
        "too-much", "body", f"{count} {what} are more than the {limit} of one request", "split it, or use /v1/batch"
    )


def _model(value: Any, data: _Counted) -> str | None:
    if value is None:
        return None
    if type(value) is not str or not 0 < len(value) <= LONGEST_TEXT:
        raise Problem.at("bad-input", "model", f"expected a name, got {shown(value)}", "such as pumps@challenger")
    data.texts += 1
    return value


def read_every(value: Any) -> int | None:
    """The step between forecasts.

    Raises:
        Problem: it is no whole number from 1.
    """
    if value is None or (type(value) is int and 1 <= value < 2**31):
        return value
    raise Problem.at("bad-input", "every", f"expected a whole number from 1, got {shown(value)}")


def _not_json(body: bytes, error: orjson.JSONDecodeError) -> Problem:
    if not body.strip():
        return Problem.at("bad-json", "body", "there is none", "send a JSON object")
    place = f"line {error.lineno}, column {error.colno}"
    if "depth" in error.msg or "recursion" in error.msg:
        return Problem.at("bad-json", place, "nested too deeply", "no request has more than six levels")
    hint = None
    if re.search(rb"\b(NaN|-?Infinity)\b", body[max(0, error.pos - 2) : error.pos + 12]):
        hint = "write null where a reading is missing"
    return Problem.at("bad-json", place, f"not JSON: {error.msg[:200]}", hint)


def _check_doubled(body: bytes) -> None:
    """Make sure that no key is there twice; only here is the body read a second time."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            seen: set[str] = set()
            for name, _ in pairs:
                if name in seen:
                    raise Problem.at("bad-input", f"key {name[:80]!r}", "it is there twice", "write each key once")
                seen.add(name)
        return found

    try:
        json.loads(body, object_pairs_hook=unique)
    except (RecursionError, ValueError):
        raise Problem.at("bad-json", "body", "it is nested too deeply") from None
