"""Values of a request as arrays: numbers, cycle numbers and times, refused with their place where they are wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wearcast.service.problems import Problem

__all__ = ["LARGEST", "NUMBERS", "ascending", "block", "cells", "checked", "cycles", "shown", "stamps"]

LARGEST: Final = float(np.finfo(np.float32).max)
LARGEST_CYCLE: Final = 2**53
NUMBERS: Final = {int, float}
_HOLED: Final = {int, float, type(None)}


def block(columns: Mapping[str, list[Any]], rows: int, where: str) -> NDArray[np.float32]:
    """All columns, `(n_columns, rows)`."""
    try:
        flat = np.fromiter(chain.from_iterable(columns.values()), np.float64, rows * len(columns))
        found = flat.reshape(len(columns), rows)
    except (TypeError, ValueError, OverflowError):  # a null, or what is no number
        found = np.stack([cells(values, f"{where}.{name}") for name, values in columns.items()])
    return checked(found, lambda i, row: f"{where}.{list(columns)[i]}[{row}]")


def cells(values: list[Any], where: str) -> NDArray[np.float64]:
    """One column, NaN where a reading is null."""
    if not set(map(type, values)) <= _HOLED:
        row = next(row for row, value in enumerate(values) if type(value) not in _HOLED)
        hint = "write null where a reading is missing"
        if type(values[row]) is str:
            hint = "write numbers without quotes, and null where a reading is missing"
        raise Problem.at("bad-input", f"{where}[{row}]", f"expected a number, got {shown(values[row])}", hint)
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError:
        row = next(row for row, value in enumerate(values) if type(value) is int and abs(value) > LARGEST)
        raise Problem.at("bad-input", f"{where}[{row}]", "the number is too large for a reading") from None


def checked(block: NDArray[Any], place: Callable[[int, int], str]) -> NDArray[np.float32]:
    """Columns as float32, `(n_columns, rows)`, none of them infinite or too large; NaN is a missing reading.

    Raises:
        Problem: one is.
    """
    if np.fmax.reduce(np.abs(block), axis=None) > LARGEST:
        i, row = (int(at) for at in np.argwhere(np.abs(block) > LARGEST)[0])
        what = f"{block[i, row]:g} is not a finite number that a reading may be (up to {LARGEST:.1e})"
        raise Problem.at("bad-input", place(i, row), what, "write null where a reading is missing")
    return block.astype(np.float32, copy=False)


def cycles(values: Sequence[Any], where: str) -> NDArray[Any]:
    """Cycle numbers: whole ones as integers."""
    time: NDArray[Any] = np.array(values, dtype=np.float64)
    if not np.abs(time).max() <= LARGEST_CYCLE:
        row = int(np.argmax(~(np.abs(time) <= LARGEST_CYCLE)))
        raise Problem.at(
            "bad-input", f"{where}[{row}]", f"{time[row]:g} is not a cycle number", "at most 2 to the 53rd"
        )
    whole: NDArray[np.int64] = time.astype(np.int64)
    return whole if (whole == time).all() else time


def stamps(values: Sequence[str], where: str) -> NDArray[np.int64]:
    """ISO 8601 text as microseconds since 1970 in UTC; what has no offset is UTC."""
    try:
        times = list(map(datetime.fromisoformat, values))
        zoned = {time.tzinfo is not None for time in times}
        if zoned == {True}:
            times = [time.astimezone(UTC).replace(tzinfo=None) for time in times]
    except (ValueError, OverflowError):
        row = next(row for row, value in enumerate(values) if not _is_stamp(value))
        hint = "write ISO 8601, such as 2026-05-18T10:00:00Z"
        raise Problem.at("bad-input", f"{where}[{row}]", f"{values[row][:80]!r} is not a time", hint) from None
    if len(zoned) > 1:
        hint = "write all of them alike"
        raise Problem.at("bad-input", where, "some times have an offset from UTC, others have none", hint)
    return np.array(times, dtype="datetime64[us]").astype(np.int64)


def _is_stamp(text: str) -> bool:
    try:
        datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return False
    return True


def ascending(time: NDArray[Any], where: str, values: Sequence[Any]) -> NDArray[Any]:
    """The times, each later than the one before.

    Raises:
        Problem: one is not.
    """
    if len(time) > 1 and not (later := time[1:] > time[:-1]).all():
        row = int(np.argmin(later)) + 1
        said, before = shown(values[row]), shown(values[row - 1])
        same = time[row] == time[row - 1]
        what = f"{said} is there twice" if same else f"{said} is earlier than {before}, the one before it"
        raise Problem.at("bad-input", f"{where}[{row}]", what, "sort the readings by time, one reading a time")
    return time


def shown(value: Any) -> str:
    """A value of a request, as it is shown in a complaint."""
    if isinstance(value, list | dict):
        kind = "list" if isinstance(value, list) else "object"
        return f"an empty {kind}" if not value else f"a{'n' if kind == 'object' else ''} {kind}"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}…"
