"""Change along time: drift where nothing should change, wear where everything does."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from wearcast.datasets.quality.findings import Finding, Unassessed
from wearcast.datasets.quality.histories import Histories, ks_distance, ks_limit

__all__ = ["along_time", "drift_findings", "drift_unassessed"]

Values = NDArray[np.float32]

DRIFTS = 0.3  # Kolmogorov-Smirnov distance
LEAST_STARTS = 8  # units on either side


def along_time(histories: Histories, values: Values) -> tuple[float | None, int]:
    """Distance of the first from the last third of all histories together, and how many units drift on their own."""
    thirds = histories.thirds
    if not thirds:
        return None, 0
    first = values[np.concatenate([rows for rows, _ in thirds])]
    last = values[np.concatenate([rows for _, rows in thirds])]
    limit = max(DRIFTS, ks_limit(len(thirds[0][0]), len(thirds[0][0])))
    alone = [ks_distance(values[a], values[b]) for a, b in thirds] if len(thirds) > 1 else []
    return ks_distance(first, last), sum(distance is not None and distance > limit for distance in alone)


def early_late(histories: Histories, values: Values) -> tuple[float, float] | None:
    """Distance of the healthy starts of early units from those of late ones, and the one that chance explains.

    A unit counts once, by the median of its first readings: readings of one unit are no independent witnesses.
    """
    starts = histories.starts
    third = len(starts) // 3
    if third < LEAST_STARTS:
        return None
    middle = [_median(values[rows]) for rows in (*starts[:third], *starts[-third:])]
    distance = ks_distance(np.array(middle[:third]), np.array(middle[third:]))
    return None if distance is None else (distance, max(DRIFTS, ks_limit(third, third)))


def _median(values: Values) -> float:
    there = values[~np.isnan(values)]
    return float(np.median(there)) if len(there) else float("nan")


def drift_findings(
    histories: Histories, name: str, values: Values, drift: tuple[float | None, int], *, worn: bool
) -> Iterator[Finding]:
    """What a person should know about the change of a column.

    Args:
        histories: of the fleet.
        name: of the column.
        values: of the column.
        drift: what `along_time` gave.
        worn: whether units run to failure, so that change along a life is wear, and expected.
    """
    where = f"column {name!r}"
    if worn:
        compared = early_late(histories, values)
        if compared is not None and compared[0] > compared[1]:
            what = (
                f"new units of late are not what new units were: their healthy starts differ "
                f"(KS distance {compared[0]:.2f}, chance explains {compared[1]:.2f})"
            )
            hint = "was the sensor exchanged or recalibrated, or the product changed? validate on the latest units"
            yield Finding("warning", what, where, hint, "drift", (name,))
        return
    distance, units = drift
    if distance is None or distance <= DRIFTS:
        if units > max(1, 0.2 * len(histories.thirds)):
            what = f"the value drifts in {units} of {len(histories.thirds)} units, not over the fleet as a whole"
            hint = "season, load or set-up of each? give them as settings"
            yield Finding("info", what, where, hint, "drift", (name,), units)
        return
    of = "the table" if histories.single else "the histories"
    what = f"the value drifts: the first and the last third of {of} differ (KS distance {distance:.2f})"
    if len(histories.thirds) > 1:
        what += f"; in {units} of {len(histories.thirds)} units on their own"
    hint = "split by time to see what it costs; wear, season or a sensor that ages?"
    yield Finding("warning", what, where, hint, "drift", (name,), units or None)


def drift_unassessed(histories: Histories, *, worn: bool) -> Iterator[Unassessed]:
    """Why drift was not looked at, if it was not."""
    if worn and len(histories.starts) // 3 < LEAST_STARTS:
        why = (
            f"it compares early with late units, {LEAST_STARTS} or more on each side; there are {len(histories.starts)}"
        )
        yield Unassessed("drift between early and late units", why)
    if not worn and not histories.thirds:
        yield Unassessed("drift along time", "no history is 60 readings long")
