"""Of which readings a window is taken."""

from __future__ import annotations

import numpy as np
import pytest

from wearcast.features import SequenceFeatures
from wearcast.inference.engine import moments
from wearcast.windows import WindowSpec

OFFSETS = np.array([0, 6, 8, 13])
"""Units of 6, 2 and 5 readings."""


@pytest.mark.parametrize(
    ("every", "whole", "expected"),
    [
        (1, False, list(range(13))),
        (1, True, [3, 4, 5, 7, 11, 12]),
        (2, True, [3, 5, 7, 12]),
        (None, True, [5, 7, 12]),
    ],
)
def test_whole_windows_begin_where_the_context_is_there(every: int | None, whole: bool, expected: list[int]) -> None:
    """Four readings are a context; a unit of two is forecast at its last all the same."""
    window = WindowSpec(context_length=4, whole=whole)
    assert moments(SequenceFeatures(), window, OFFSETS, every).tolist() == expected
