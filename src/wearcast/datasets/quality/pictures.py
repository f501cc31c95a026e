"""Small pictures of columns as SVG, drawn by hand: the span of the readings, their mean, where they are missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wearcast.datasets.quality.columns import FEW_VALUES, MUCH_FAR
from wearcast.datasets.quality.findings import ColumnQuality
from wearcast.datasets.quality.histories import Histories, evenly
from wearcast.datasets.quality.limits import outlier_limits

__all__ = ["Profile", "bars", "profile", "sparkline"]

Line = NDArray[np.float64]

BINS = 96
MOST_UNITS = 2000
WIDTH, HEIGHT, FLOOR = 320.0, 92.0, 80.0  # of a picture; readings are drawn above the floor, what is missing below
PAD = 5.0


@dataclass(frozen=True)
class Profile:
    """A column along its histories, in equal parts from their start to their end, all units laid over one another.

    Attributes:
        low, mean, high: of the readings in each part, `(BINS,)`; NaN where there are none; the mean of those in view.
        missing: share of readings in each part that are missing.
        view: lowest and highest value that is drawn; what lies outside is marked at the edge.
    """

    low: Line
    mean: Line
    high: Line
    missing: Line
    view: tuple[float, float]


def profile(histories: Histories, column: ColumnQuality) -> Profile | None:
    """The profile of a column; None without a reading. Of a large fleet, 2000 evenly chosen units."""
    if column.minimum is None or column.maximum is None:
        return None
    values = histories.fleet.frame[column.name].to_numpy()
    low, high = np.full(BINS, np.inf), np.full(BINS, -np.inf)
    total, drawn, there, rows = np.zeros((4, BINS))
    view = _view(histories, column)
    borders = histories.borders
    for unit in evenly(0, len(borders) - 1, MOST_UNITS):
        begin, size = int(borders[unit]), int(borders[unit + 1] - borders[unit])
        edges = (np.arange(BINS) * size) // BINS  # short histories have parts that share a reading
        block = values[begin : begin + size]
        known = ~np.isnan(block)
        shown = (block >= view[0]) & (block <= view[1])
        low = np.fmin(low, np.fmin.reduceat(block, edges))
        high = np.fmax(high, np.fmax.reduceat(block, edges))
        total += np.add.reduceat(np.where(shown, block, np.float32(0)), edges, dtype=np.float64)
        drawn += np.add.reduceat(shown, edges, dtype=np.float64)
        there += np.add.reduceat(known, edges, dtype=np.float64)
        rows += np.maximum(np.diff(np.append(edges, size)), 1)
    empty = there == 0
    low, high = (np.where(empty | ~np.isfinite(end), np.nan, end) for end in (low, high))
    mean = np.where(drawn == 0, np.nan, total / np.maximum(drawn, 1))
    return Profile(low, mean, high, 1 - there / rows, view)


def _view(histories: Histories, column: ColumnQuality) -> tuple[float, float]:
    """From the least to the greatest reading, without outliers."""
    least, most = float(column.minimum or 0.0), float(column.maximum or 0.0)
    sample = histories.fleet.frame[column.name].to_numpy()[histories.sample]
    usual = outlier_limits(sample[~np.isnan(sample)])
    if usual is None or column.distinct < FEW_VALUES or column.outliers > MUCH_FAR * histories.fleet.n_rows:
        return least, most
    return max(least, usual[0]), min(most, usual[1])


def sparkline(drawn: Profile, column: ColumnQuality) -> str:
    """The picture of a column; its colours are those of the page."""
    low, high = drawn.view
    span = (high - low) or 1.0

    def y(values: Line) -> Line:
        flat = 0.5 if high == low else 0.0
        return FLOOR - PAD - (np.clip((values - low) / span, 0, 1) + flat) * (FLOOR - 2 * PAD)

    x = (np.arange(BINS) + 0.5) * WIDTH / BINS
    bottom, middle, top = y(drawn.low), y(drawn.mean), y(drawn.high)
    parts = []
    for run in _runs(~np.isnan(drawn.mean) & ~np.isnan(drawn.low)):
        upper = _points(x[run], top[run])
        lower = _points(x[run][::-1], np.maximum(bottom[run][::-1], top[run][::-1] + 0.8))
        parts.append(f'<polygon class="span" points="{upper} {lower}"/>')
        if column.distinct >= FEW_VALUES or column.distinct == 1:
            parts.append(f'<polyline class="mean" points="{_points(x[run], middle[run])}"/>')
    parts += [
        f'<line class="limit" x1="0" x2="{WIDTH:g}" y1="{at:.1f}" y2="{at:.1f}"/>'
        for end in (column.lowest, column.highest)
        if end is not None and low < end < high
        for at in y(np.array([end]))
    ]
    for beyond, edge in ((drawn.high > high, 0.0), (drawn.low < low, FLOOR - 4)):
        parts += [_box("far", x[i], edge, 4.0) for i in np.flatnonzero(beyond)]
    tall = np.maximum(1.0, drawn.missing * (HEIGHT - FLOOR - 1))
    parts += [_box("missing", x[i], HEIGHT - tall[i], tall[i]) for i in np.flatnonzero(drawn.missing > 0)]
    return _svg(f"{column.name} along the histories", parts)


def _box(kind: str, middle: float, top: float, tall: float) -> str:
    wide = WIDTH / BINS
    left = middle - wide / 2
    return f'<rect class="{kind}" x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{tall:.1f}"/>'


def bars(counts: NDArray[np.int64], label: str) -> str:
    """A histogram."""
    wide = WIDTH / len(counts)
    tall = counts / max(int(counts.max()), 1) * (HEIGHT - 2)
    tall = np.where((counts > 0) & (tall < 1.5), 1.5, tall)
    parts = [
        f'<rect class="bin" x="{i * wide + 0.5:.1f}" y="{HEIGHT - h:.1f}" width="{wide - 1:.1f}" height="{h:.1f}"/>'
        for i, h in enumerate(tall)
        if h > 0
    ]
    return _svg(label, parts)


def _svg(label: str, parts: list[str]) -> str:
    from xml.sax.saxutils import quoteattr

    head = (
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" preserveAspectRatio="none" role="img" aria-label={quoteattr(label)}>'
    )
    return head + "".join(parts) + "</svg>"


def _points(x: Line, y: Line) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


def _runs(there: NDArray[np.bool_]) -> Iterator[slice]:
    """Stretches of parts that have readings."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], there.view(np.int8), [0]])))
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        yield slice(int(start), int(stop))
