"""Calendar time of a reading as numbers from -0.5 to 0.5, as in H. Zhou et al., "Informer", AAAI 2021.

A mark is its place in the longest cycle: hour 0 is -0.5 and hour 23 is 0.5. The calendar is that of the stored time
axis: local time where timestamps are local, and UTC where a time zone was given on the way in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["CalendarMark", "calendar_marks"]

CalendarMark = Literal["minute", "hour", "weekday", "day", "yearday", "month"]

_LAST: dict[CalendarMark, int] = {"minute": 59, "hour": 23, "weekday": 6, "day": 30, "yearday": 365, "month": 11}
"""Greatest number of each mark, counted from 0."""

_MONDAY = 3
"""Weekday of 1970-01-01, a Thursday, counted from Monday."""


def calendar_marks(time_us: NDArray[np.int64], marks: Sequence[CalendarMark]) -> NDArray[np.float32]:
    """Marks of points in time, `(*time.shape, n_marks)`.

    Args:
        time_us: microseconds since 1970, of any shape.
        marks: minute of the hour, hour of the day, day of the week (Monday first), of the month and of the year, month.

    Example:
        >>> noon = np.array([np.datetime64("2024-01-01T12:00", "us").astype(np.int64)])  # a Monday
        >>> calendar_marks(noon, ["hour", "weekday"]).round(3).tolist()
        [[0.022, -0.5]]
    """
    out = np.empty((*time_us.shape, len(marks)), dtype=np.float32)
    for i, mark in enumerate(marks):
        out[..., i] = _number(time_us.astype("datetime64[us]"), mark) / _LAST[mark] - 0.5
    return out


def _number(time: NDArray[np.datetime64], mark: CalendarMark) -> NDArray[np.int64]:
    """The mark counted from 0."""
    if mark == "month":
        return time.astype("datetime64[M]").astype(np.int64) % 12
    day = time.astype("datetime64[D]")
    if mark == "weekday":
        return (day.astype(np.int64) + _MONDAY) % 7
    finer, coarser = {
        "minute": (time.astype("datetime64[m]"), time.astype("datetime64[h]")),
        "hour": (time.astype("datetime64[h]"), day),
        "day": (day, time.astype("datetime64[M]")),
        "yearday": (day, time.astype("datetime64[Y]")),
    }[mark]
    number: NDArray[np.int64] = (finer - coarser).astype(np.int64)
    return number
