"""Columns, rows and units that repeat one another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from wearcast.datasets.quality.findings import Finding, some
from wearcast.datasets.quality.histories import Histories

__all__ = ["Repeats", "correlated"]

Values = NDArray[np.float32]

BLOCK = 1 << 20
MUCH_REPEATED = 0.05  # share of readings
CORRELATED = 0.99
LEAST_PAIRS = 30  # readings that a correlation needs
MOST_SETTINGS = 5


class Repeats:
    """Looks at one column after the other, and knows at the end what is repeated."""

    def __init__(self, histories: Histories) -> None:
        n_rows = histories.fleet.n_rows
        self._histories = histories
        self._same = np.ones(n_rows, dtype=np.bool_)  # as the row before, in all columns so far
        self._same[histories.fleet.offsets[:-1]] = False
        self._sums = np.zeros(histories.fleet.n_units, dtype=np.uint64)
        self._seen: dict[bytes, str] = {}
        self._varying = 0

    def add(self, name: str, values: Values, *, varies: bool) -> str | None:
        """Take in a column; returns the name of an earlier one that it repeats reading by reading."""
        if not varies:
            return None
        twin = self._seen.setdefault(hashlib.sha256(np.ascontiguousarray(values).data).digest(), name)
        if twin != name:
            return twin
        self._varying += 1
        for at in range(1, len(values), BLOCK):
            stop = min(at + BLOCK, len(values))
            now, before = values[at:stop], values[at - 1 : stop - 1]
            self._same[at:stop] &= (now == before) | (np.isnan(now) & np.isnan(before))
        self._sums = self._sums * np.uint64(0x9E3779B97F4A7C15) + _checksums(values, self._histories.fleet.offsets)
        return None

    @property
    def rows(self) -> int:
        """Readings in which no column changes from the reading before."""
        return int(np.count_nonzero(self._same)) if self._varying else 0

    def findings(self) -> Iterator[Finding]:
        """Repeated rows, and units with the same history."""
        fleet = self._histories.fleet
        share = self.rows / max(fleet.n_rows, 1)
        if share > MUCH_REPEATED:
            what = f"{self.rows:,} readings ({share:.0%}) repeat the reading before them in every column"
            hint = "is it logged faster than it is measured? keep the readings that are new"
            yield Finding("warning", what, fleet.name, hint, "repeated_rows", (), self.rows)
        if not self._varying:
            return
        keys = np.stack([self._sums, self._histories.sizes.astype(np.uint64)], axis=1)
        _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        again = np.flatnonzero(first[inverse.ravel()] != np.arange(len(keys)))
        if not len(again):
            return
        if self._histories.single:
            what = f"{len(again):,} cases have the very readings of an earlier one"
            hint = "keep them on one side of a split"
            yield Finding("info", what, fleet.name, hint, "repeated_units", (), len(again))
            return
        pairs = [f"{fleet.units[i]} as {fleet.units[first[inverse.ravel()[i]]]}" for i in again[:5]]
        what = f"{len(again)} units have the very history of another one"
        hint = "leave the copies out: on two sides of a split they would make a model look better than it is"
        yield Finding("warning", what, f"units {some(pairs)}", hint, "repeated_units", (), len(again))


def _checksums(values: Values, offsets: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A number for each unit that depends on every reading and its place (Fletcher 1982, with an odd multiplier)."""
    sums = np.zeros(len(offsets) - 1, dtype=np.uint64)
    for at in range(0, len(values), BLOCK):
        stop = min(at + BLOCK, len(values))
        first = int(np.searchsorted(offsets, at, side="right")) - 1
        last = int(np.searchsorted(offsets, stop))
        edges = np.maximum(offsets[first:last], at)
        within = np.arange(at, stop, dtype=np.uint64)
        within -= np.repeat(offsets[first:last].astype(np.uint64), np.diff(np.append(edges, stop)))
        bits = values[at:stop].view(np.uint32).astype(np.uint64) + np.uint64(1)
        weighted = bits * (within * np.uint64(0xD1B54A32D192ED03) + np.uint64(0x2545F4914F6CDD1D))
        sums[first:last] += np.add.reduceat(weighted, edges - at)
    return sums


def correlated(histories: Histories, names: Sequence[str]) -> Iterator[Finding]:
    """Groups of sensors that say the same, beyond what the operating settings explain.

    Two sensors that both follow the load are no copies of each other, so each sensor's regression on the settings and
    their squares and products is taken off first. A constant residue correlates with nothing.
    """
    if len(names) < 2 or len(histories.sample) < LEAST_PAIRS:
        return
    rows = histories.sample[:: max(1, len(histories.sample) // 50_000)]
    table = np.stack([_filled(histories, name, rows) for name in names], axis=1)
    scale = table.std(axis=0)
    settings = [_filled(histories, name, rows) for name in histories.fleet.schema.settings[:MOST_SETTINGS]]
    if settings:
        design = _design(settings)
        table -= design @ np.linalg.lstsq(design, table, rcond=None)[0]
    table -= table.mean(axis=0)
    norm = np.sqrt((table**2).sum(axis=0))
    left = norm > 1e-4 * np.sqrt(len(rows)) * scale  # what single precision leaves is no residue
    table = np.where(left, table / np.where(norm > 0, norm, 1), 0.0)
    r = table.T @ table
    for group in _groups(np.abs(r) > CORRELATED):
        least = min(abs(r[i, j]) for i in group for j in group if abs(r[i, j]) > CORRELATED)
        members = [names[i] for i in group]
        what = f"{some(members, 12)} say the same: |r| is {least:.4f} or more from one to the next"
        what += ", with the effect of the settings taken off" if settings else ""
        hint = "one of them does; the importance of each is shared among them"
        where = f"columns {some([repr(name) for name in members])}"
        yield Finding("info", what, where, hint, "correlated", tuple(members), len(members))


def _filled(histories: Histories, name: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """A column's sample with its mean for missing readings."""
    values = histories.fleet.frame[name].to_numpy()[rows].astype(np.float64)
    missing = np.isnan(values)
    return np.where(missing, values[~missing].mean() if not missing.all() else 0.0, values)


def _design(settings: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    scaled = [(s - s.mean()) / (s.std() or 1.0) for s in settings]
    products = [a * b for i, a in enumerate(scaled) for b in scaled[i:]]
    return np.stack([np.ones(len(scaled[0])), *scaled, *products], axis=1)


def _groups(linked: NDArray[np.bool_]) -> Iterator[list[int]]:
    """Groups of columns that are linked, directly or through others; lone ones are left out."""
    left = set(range(len(linked)))
    while left:
        group, edge = set[int](), {min(left)}
        while edge:
            group |= edge
            edge = {int(j) for i in edge for j in np.flatnonzero(linked[i])} - group
        left -= group
        if len(group) > 1:
            yield sorted(group)
