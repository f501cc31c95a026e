"""How far forecasts were from the truth, where it is known by now: errors by unit, to be compared."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wearcast.service.events import ENDS, Event
from wearcast.service.trial import Arms, Mode

if TYPE_CHECKING:
    from wearcast.service.history import History

__all__ = ["FIGURES", "Judged", "Record", "arms_of", "judged", "judged_by_readings"]

FIGURES: Mapping[str, str] = {"rul": "mae_capped", "failure": "brier", "fault": "brier", "sensor": "mae"}
"""What is compared, by the kind of target; less is better for all."""

SHADOW = "shadow"
SAME_S = 1.0


@dataclass(frozen=True)
class Record:
    """A forecast that was given, as the table has it."""

    unit: str
    at: float
    given: float
    version: str
    arm: str
    kind: str
    point: float | None
    low: float | None
    high: float | None
    bound: float | None
    per_unit: float
    detail: str | None


@dataclass(frozen=True)
class Judged:
    """A forecast whose truth is known.

    Attributes:
        record: the forecast.
        error: how far it was off.
        held: whether its interval held the truth; None if it has none.
    """

    record: Record
    error: float
    held: bool | None = None


def judged(records: Iterable[Record], events: Mapping[str, Sequence[Event]]) -> list[Judged]:
    """The forecasts whose truth is known now: the next event of the unit at or after the forecast says it."""
    times = {unit: [event.at for event in found] for unit, found in events.items()}
    known = []
    for record in records:
        at = bisect_left(times.get(record.unit, ()), record.at)
        if at < len(times.get(record.unit, ())):
            found = _judge(record, events[record.unit][at])
            if found is not None:
                known.append(found)
    return known


def _judge(record: Record, event: Event) -> Judged | None:
    """None where the event does not say how far the forecast was off."""
    after = (event.at - record.at) / record.per_unit
    ended = event.kind in ENDS
    if record.kind == "rul":
        return _judge_rul(record, after) if ended else None  # it lasted at least so long: not how far it was off
    if record.kind == "failure":
        return _judge_failure(record, after, ended)
    return _judge_fault(record, event.mode) if record.kind == "fault" and ended else None


def _judge_rul(record: Record, after: float) -> Judged | None:
    if record.point is None:
        return None
    truth = after if record.bound is None else min(after, record.bound)
    held = None if record.low is None or record.high is None else record.low <= after <= record.high
    return Judged(record, abs(record.point - truth), held)


def _judge_failure(record: Record, after: float, ended: bool) -> Judged | None:
    """By the Brier score; of a label without a horizon an event does not tell."""
    if record.point is None or record.bound is None:
        return None
    if after > record.bound:
        return Judged(record, record.point**2)
    return Judged(record, (1 - record.point) ** 2) if ended else None


def _judge_fault(record: Record, mode: str | None) -> Judged | None:
    """By half the Brier score over all classes, from 0 to 1."""
    chances: dict[str, float] = json.loads(record.detail or "{}")
    if mode not in chances:
        return None
    return Judged(record, sum((chance - (name == mode)) ** 2 for name, chance in chances.items()) / 2)


def judged_by_readings(records: Iterable[Record], read: Callable[[str], History | None]) -> list[Judged]:
    """Forecasts of sensors held against what was read since: those whose whole horizon lies in the unit's history."""
    by_unit: dict[str, list[Record]] = {}
    for record in records:
        if record.kind == "sensor" and record.detail is not None:
            by_unit.setdefault(record.unit, []).append(record)
    known = []
    for unit, found in by_unit.items():
        history = read(unit)
        if history is not None:
            known += [one for record in found if (one := _judge_sensor(record, history)) is not None]
    return known


def _judge_sensor(record: Record, history: History) -> Judged | None:
    """By the mean absolute error over columns and steps, in the columns' own units."""
    ahead: dict[str, list[float]] = json.loads(record.detail or "{}")
    at = int(np.searchsorted(history.time, record.at))
    if at >= history.n_rows or history.time[at] != record.at or not ahead.keys() <= set(history.names):
        return None
    said = np.array(list(ahead.values()), dtype=np.float64)
    stop = at + 1 + said.shape[1]
    if stop > history.n_rows:
        return None
    read = history.values[[history.names.index(name) for name in ahead], at + 1 : stop]
    off = np.abs(said - read)
    return Judged(record, float(np.nanmean(off))) if np.isfinite(off).any() else None


def arms_of(known: Sequence[Judged], champion: str, challenger: str) -> Arms:
    """Mean error of each unit, by version.

    If the challenger forecast in the shadow, pairs are formed of forecasts of one unit at one time. Otherwise each unit
    counts for the version that answered it, from the first answer of the challenger on; a unit that was moved from one
    to the other in that time says nothing of either and is left out.
    """
    if any(one.record.version == challenger and one.record.arm == SHADOW for one in known):
        return _pairs(known, champion, challenger)
    began = min((one.record.given for one in known if one.record.version == challenger), default=float("inf"))
    began -= SAME_S  # one request with units of both arms is written one arm after the other
    errors: dict[str, dict[str, list[float]]] = {champion: {}, challenger: {}}
    for one in known:
        if one.record.version in errors and one.record.given >= began:
            errors[one.record.version].setdefault(one.record.unit, []).append(one.error)
    moved = errors[champion].keys() & errors[challenger].keys()
    means = {
        version: np.array([np.mean(found) for unit, found in sorted(units.items()) if unit not in moved])
        for version, units in errors.items()
    }
    return Arms(means[champion], means[challenger], "split")


def _pairs(known: Sequence[Judged], champion: str, challenger: str) -> Arms:
    at: dict[tuple[str, float], dict[str, float]] = {}
    for one in known:
        if one.record.version in (champion, challenger):
            at.setdefault((one.record.unit, one.record.at), {})[one.record.version] = one.error
    both: dict[str, list[tuple[float, float]]] = {}
    for (unit, _), found in at.items():
        if len(found) == 2:
            both.setdefault(unit, []).append((found[champion], found[challenger]))
    means = np.array([np.mean(pairs, axis=0) for _, pairs in sorted(both.items())]).reshape(-1, 2)
    mode: Mode = "paired"
    return Arms(means[:, 0], means[:, 1], mode)
