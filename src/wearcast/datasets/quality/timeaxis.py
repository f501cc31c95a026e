"""The time axis: its step, its jitter and its gaps. That it runs forward was seen to when it was read."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from wearcast.datasets.quality.findings import Finding, TimeQuality, some
from wearcast.datasets.quality.histories import MOST_UNITS, evenly
from wearcast.datasets.quality.limits import decimal
from wearcast.fleet import Fleet

__all__ = ["time_findings", "time_quality"]

BLOCK = 1 << 20
GAP = 1.5  # typical steps
OFF = 0.1  # of the typical step
MUCH_JITTER = 0.1  # share of steps
OTHER_RATE = 1.5  # times the fleet's step


def time_quality(fleet: Fleet) -> TimeQuality | None:
    """The time axis in numbers; None where no unit has two readings."""
    step = _typical(fleet)
    if step is None:
        return None
    gaps, off, lost, pairs, longest, at = 0, 0, 0, 0, -1.0, 0
    for start in range(1, fleet.n_rows, BLOCK):
        steps, rows = _steps(fleet, start, min(start + BLOCK, fleet.n_rows))
        if not len(steps):
            continue
        wide = steps > GAP * step
        pairs += len(steps)
        gaps += int(np.count_nonzero(wide))
        lost += int(np.maximum(np.round(steps[wide] / step) - 1, 0).sum())
        off += int(np.count_nonzero(np.abs(steps - step) > OFF * step))
        most = int(steps.argmax())
        if steps[most] > longest:
            longest, at = float(steps[most]), int(rows[most])
    scale = 1e-6 if fleet.schema.is_clock else 1.0
    return TimeQuality(
        unit="second" if fleet.schema.is_clock else "cycle",
        step=step * scale,
        jitter_share=off / pairs,
        gaps=gaps,
        longest_gap=longest * scale,
        longest_gap_at=f"unit {fleet.frame['unit'][at]} before {fleet.frame['time'][at]}",
        lost=lost,
    )


def _clock(fleet: Fleet, start: int, stop: int) -> NDArray[np.float64]:
    return fleet.frame["time"].slice(start, stop - start).to_physical().to_numpy().astype(np.float64)


def _steps(fleet: Fleet, start: int, stop: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Steps that end in these rows, and the rows; first readings of units have none."""
    clock = _clock(fleet, start - 1, stop)
    firsts = fleet.offsets[np.searchsorted(fleet.offsets, start) : np.searchsorted(fleet.offsets, stop)]
    inner = np.ones(stop - start, dtype=np.bool_)
    inner[firsts - start] = False
    return np.diff(clock)[inner], np.flatnonzero(inner) + start


def _typical(fleet: Fleet) -> float | None:
    """The median step of evenly chosen units, each as a stretch from its beginning."""
    steps = [_unit_step(fleet, unit) for unit in _chosen(fleet)]
    return float(np.median(np.concatenate(steps))) if steps else None


def _chosen(fleet: Fleet) -> NDArray[np.intp]:
    enough = np.flatnonzero(np.diff(fleet.offsets) > 1)
    return enough[evenly(0, len(enough), MOST_UNITS)]


def _unit_step(fleet: Fleet, unit: int) -> NDArray[np.float64]:
    begin, end = int(fleet.offsets[unit]), int(fleet.offsets[unit + 1])
    return np.diff(_clock(fleet, begin, min(end, begin + BLOCK // 8)))


def time_findings(fleet: Fleet, time: TimeQuality) -> Iterator[Finding]:
    """What a person should know about the time axis."""
    name = fleet.name
    unit = "s" if time.unit == "second" else " cycles"
    if time.gaps:
        what = (
            f"{time.gaps:,} steps between readings are longer than usual ({decimal(time.step)}{unit}); the longest is "
            f"{decimal(time.longest_gap)}{unit}, and {time.lost:,} readings would fit in between"
        )
        hint = "readings may have been lost; nothing is filled in"
        yield Finding("warning", what, name, hint, "gaps", (), time.gaps, (time.longest_gap_at,))
    irregular = time.jitter_share > MUCH_JITTER
    if fleet.schema.is_clock and irregular:
        share = f"{time.jitter_share:.0%} of the steps"
        what = f"the time axis jitters: {share} are off {decimal(time.step)} s by more than a tenth"
        yield Finding("warning", what, name, "windows count readings, not time: resample to an even step", "jitter")
    yield from _rates(fleet, time, irregular=irregular)


def _rates(fleet: Fleet, time: TimeQuality, *, irregular: bool) -> Iterator[Finding]:
    scale = 1e-6 if fleet.schema.is_clock else 1.0
    chosen = _chosen(fleet)
    step = np.array([np.median(_unit_step(fleet, unit)) for unit in chosen]) * scale
    other = chosen[(step > OTHER_RATE * time.step) | (step * OTHER_RATE < time.step)]
    if len(other):
        who = some([fleet.units[i] for i in other])
        what = f"{len(other)} of {len(chosen)} units: sampled at another rate than the rest"
        hint = "resample to one step: a window of ten readings must mean the same everywhere"
        yield Finding("warning", what, f"units {who}", hint, "mixed_rates", (), len(other))
    rate = fleet.schema.sampling_rate_hz
    if fleet.schema.is_clock and rate is not None and not irregular and abs(time.step * rate - 1) > OFF:
        what = f"readings come every {decimal(time.step)} s, but the sampling rate is said to be {decimal(rate)} Hz"
        yield Finding("error", what, fleet.name, "spectra would be wrong: mend the rate", "sampling_rate")
