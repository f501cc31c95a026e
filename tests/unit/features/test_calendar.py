"""Calendar marks against the standard library's calendar."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from wearcast.features import CalendarMark, SequenceFeatures, calendar_marks

MARKS: tuple[CalendarMark, ...] = get_args(CalendarMark)
EPOCH = datetime(1970, 1, 1)


@given(st.lists(st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_marks_are_those_of_the_calendar(times: list[datetime]) -> None:
    """The formulas of the Informer's reference code, on the standard library's fields."""
    found = calendar_marks(np.array([(t - EPOCH) // timedelta(microseconds=1) for t in times]), MARKS)
    expected = [
        (
            t.minute / 59,
            t.hour / 23,
            t.weekday() / 6,
            (t.day - 1) / 30,
            (t.timetuple().tm_yday - 1) / 365,
            (t.month - 1) / 11,
        )
        for t in times
    ]
    np.testing.assert_allclose(found, np.array(expected) - 0.5, atol=1e-6)


def test_shape_is_kept_and_marks_come_last() -> None:
    assert calendar_marks(np.zeros((4, 3), dtype=np.int64), ["month", "hour"]).shape == (4, 3, 2)


def test_a_mark_that_is_named_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match="name each mark once"):
        SequenceFeatures(calendar=("hour", "hour"))
