"""Units are shared out evenly, and each stays where it is."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wearcast.service.split import MemorySplits, Split, position, salt_of

SALT = salt_of("pumps", "3")
UNITS = [f"pump-{i}" for i in range(4_000)]


def test_a_unit_stays_where_it_is() -> None:
    assert position(SALT, "pump-7") == position(SALT, "pump-7")
    assert position(SALT, 7) == position(SALT, "7"), "a number in JSON and in a path are one unit"


def test_units_are_spread_evenly() -> None:
    """Kolmogorov–Smirnov at 1 %: the largest gap to the even distribution."""
    found = np.sort([position(SALT, unit) for unit in UNITS])
    even = np.arange(1, len(found) + 1) / len(found)
    assert np.abs(found - even).max() < 1.63 / np.sqrt(len(found))


def test_another_challenger_is_tried_on_other_units() -> None:
    other = salt_of("pumps", "4")
    both = np.array([[position(SALT, unit) < 0.3, position(other, unit) < 0.3] for unit in UNITS])
    together = both.all(axis=1).mean()
    assert abs(together - 0.09) < 0.02, "chance, no more"


@given(
    unit=st.one_of(st.integers(), st.text(max_size=128)),
    low=st.floats(0, 1),
    high=st.floats(0, 1),
)
def test_a_larger_share_only_adds_units(unit: int | str, low: float, high: float) -> None:
    low, high = min(low, high), max(low, high)
    where = position(SALT, unit)
    assert 0 <= where < 1
    assert not (where < low and not where < high)


def test_a_decision_goes_with_its_version() -> None:
    splits = MemorySplits()
    splits.write("pumps", "3", Split(0.2))
    assert splits.read("pumps", "3") == Split(0.2)
    assert splits.read("pumps", "4") is None
