"""Forecasts that were given, what became of the units, and which version was nearer to it.

answer ──► given ──► table of forecasts ─┐
   └─► shadow ──► (challenger) ──► given ┤► errors by unit ──► intervals ──► stop a challenger that is worse
POST /v1/outcomes ──► table of outcomes ─┘
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from wearcast.service.database import reading
from wearcast.service.events import Event, Events, outcomes
from wearcast.service.given import Given, Keeping, forecasts
from wearcast.service.logs import get_logger
from wearcast.service.problems import Fault, Problem
from wearcast.service.shadow import Shadow
from wearcast.service.trial import Arms, Trial, judge, mean_interval
from wearcast.service.truth import FIGURES, Judged, Record, arms_of, judged, judged_by_readings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from wearcast.service.answers import Scored
    from wearcast.service.audit import Audit
    from wearcast.service.deployment import Deployment
    from wearcast.service.history import History
    from wearcast.service.layout import Layouts, UnitReadings
    from wearcast.service.served import Served

__all__ = ["Comparison", "Outcomes", "Standpoint"]

log = get_logger("wearcast.service.outcomes")

REVIEW_S = 60.0
"""How often a challenger is looked at at least, if it may be stopped."""
MOST_RECORDS = 500_000
"""Forecasts that one comparison reads, the latest."""


@dataclass(frozen=True)
class Standpoint:
    """What is known of one version.

    Attributes:
        version: which.
        forecasts: how many were given and kept.
        known: of how many of them the truth is known.
        units: of how many units these are.
        error: mean over units of their mean error; None where nothing is known.
        interval: bootstrap interval of it.
        coverage: share of the intervals that held the truth; None without intervals.
    """

    version: str
    forecasts: int
    known: int
    units: int
    error: float | None
    interval: tuple[float, float] | None
    coverage: float | None


@dataclass(frozen=True)
class Comparison:
    """Champion and challenger, by what became of the units.

    Attributes:
        name: of the model.
        figure: what is compared: see `FIGURES`; less is better. None before the first forecast.
        champion, challenger: of each.
        trial: their difference.
        words: the verdict as a sentence.
    """

    name: str
    figure: str | None
    champion: Standpoint
    challenger: Standpoint
    trial: Trial
    words: str


class Outcomes:
    """The record of forecasts and events, and what follows from it.

    Args:
        engine: of the database.
        deployment: which models answer.
        layouts: of the models.
        audit: where a stop is written down.
        stop_losing: whether a challenger that is worse is to be stopped.
        read: the readings that are kept of a unit (`UnitHistories.read`): forecasts of sensors are held against them,
            and a unit that has some is known though it was never forecast.
        keeping: how many forecasts are kept, and how long.

    Attributes:
        stopped: challengers that were stopped by this process.
    """

    def __init__(
        self,
        engine: Engine,
        deployment: Deployment,
        layouts: Layouts,
        *,
        audit: Audit | None = None,
        stop_losing: bool = False,
        read: Callable[[str], History | None] | None = None,
        keeping: Keeping | None = None,
    ) -> None:
        self._engine = engine
        self._deployment = deployment
        self._events = Events(engine)
        self._given = Given(engine, keeping or Keeping())
        self._shadow = Shadow(self._given, layouts)
        self._audit = audit
        self._stop_losing = stop_losing
        self._read = read
        self._reviewing: asyncio.Task[None] | None = None
        self._look = asyncio.Event()
        self.stopped = 0

    async def start(self) -> None:
        """Start the threads, and the review if a challenger may be stopped."""
        self._given.start()
        self._shadow.start()
        if self._stop_losing:
            self._reviewing = asyncio.create_task(self._review())

    async def stop(self) -> None:
        """End; what was given is written."""
        if self._reviewing is not None:
            self._reviewing.cancel()
            await asyncio.gather(self._reviewing, return_exceptions=True)
        await asyncio.to_thread(self._shadow.close)
        await asyncio.to_thread(self._given.close)

    def counts(self) -> dict[str, int]:
        """What metrics show: kept and dropped forecasts, the same of the shadow, stopped challengers."""
        return {
            "written": self._given.written,
            "dropped": self._given.dropped,
            "shadow_done": self._shadow.done,
            "shadow_dropped": self._shadow.dropped,
            "shadow_failed": self._shadow.failed,
            "stopped": self.stopped,
        }

    # ------------------------------------------------------------------ on the way of a request

    def given(self, served: Served, units: Sequence[UnitReadings], scored: Scored) -> None:
        """Note forecasts that are being answered, and let the shadow forecast them, too; at once, whatever happens."""
        kept = self._given.add(served, units, scored)
        if not kept or served.arm != "champion":
            return
        shadow = self._deployment.shadow()
        if shadow is not None:
            self._shadow.offer(shadow, units)

    # ------------------------------------------------------------------ outcomes

    async def add(self, events: Sequence[Event], client: str) -> tuple[int, int]:
        """Record what became of units.

        Returns:
            How many are new, and how many were told before in the same words.

        Raises:
            Problem: `unknown-unit`, `conflict`.
        """
        counts = await asyncio.to_thread(self._add, events, client)
        if counts[0]:
            self._look.set()
        return counts

    def _add(self, events: Sequence[Event], client: str) -> tuple[int, int]:
        units = {event.unit: event.place for event in reversed(events)}
        self._given.flush()
        known = self._given.knows(list(units))
        for unit, place in units.items():
            if unit not in known and (self._read is None or self._read(unit) is None):
                what = f"no unit {unit!r} was ever forecast here"
                raise Problem("unknown-unit", what, (Fault(f"{place}.unit", what),))
        return self._events.add(events, client)

    # ------------------------------------------------------------------ comparison

    async def compare(
        self, name: str | None = None, champion: str | None = None, challenger: str | None = None
    ) -> Comparison:
        """Compare two versions; those that are loaded unless they are named.

        Raises:
            Problem: nothing says which.
        """
        arms = self._deployment.arms()
        name = name or (arms[0].name if arms else None)
        champion = champion or (arms[0].version if arms and arms[0].name == name else None)
        challenger = challenger or (arms[1].version if len(arms) > 1 and arms[1].name == name else None)
        if name is None or champion is None or challenger is None:
            what = "there is no challenger to compare the champion with"
            raise Problem.at("bad-input", "challenger", what, "name the versions: ?champion=3&challenger=4")
        if champion == challenger:
            raise Problem.at("bad-input", "challenger", "it is the champion's version", "name two versions")
        return await asyncio.to_thread(self._compare, name, champion, challenger)

    def _compare(self, name: str, champion: str, challenger: str) -> Comparison:
        self._given.flush()
        records = self._records(name, (champion, challenger))
        events = self._events.all()
        known = judged(records, events)
        if self._read is not None:
            known += judged_by_readings(records, self._read)
        arms = arms_of(known, champion, challenger)
        trial = judge(arms)
        kinds = {record.kind for record in records}
        figure = FIGURES[kinds.pop()] if len(kinds) == 1 else None
        one, other = (
            _standpoint(version, self._count(name, version), known, arms, rival)
            for version, rival in ((champion, False), (challenger, True))
        )
        return Comparison(name, figure, one, other, trial, _words(champion, challenger, trial))

    def _records(self, name: str, versions: Sequence[str]) -> list[Record]:
        """Forecasts of units of which something is known."""
        told = sa.select(outcomes.c.unit).distinct()
        columns = [forecasts.c[field] for field in Record.__dataclass_fields__]
        query = (
            sa.select(*columns)
            .where(forecasts.c.name == name, forecasts.c.version.in_(versions))
            .where(sa.or_(forecasts.c.unit.in_(told), forecasts.c.kind == "sensor"))
            .order_by(forecasts.c.id.desc())
            .limit(MOST_RECORDS)
        )
        with reading(self._engine) as connection:
            return [Record(*row) for row in connection.execute(query)]

    def _count(self, name: str, version: str) -> int:
        query = sa.select(sa.func.count()).where(forecasts.c.name == name, forecasts.c.version == version)
        with reading(self._engine) as connection:
            return int(connection.scalar(query) or 0)

    # ------------------------------------------------------------------ stopping

    async def _review(self) -> None:
        while True:
            try:
                async with asyncio.timeout(REVIEW_S):
                    await self._look.wait()
            except TimeoutError:
                pass
            self._look.clear()
            try:
                await self.review()
            except Exception:
                log.exception("the challenger could not be reviewed")

    async def review(self) -> bool:
        """Look at the challenger, and stop it if it is worse, by the interval that holds at all looks at once.

        Returns:
            Whether it was stopped.
        """
        status = self._deployment.status()
        challenger = status.challenger
        if challenger is None or status.split.share <= 0:
            return False
        found = await self.compare()
        if not found.trial.losing or found.challenger.version != challenger.version:
            return False
        trial = found.trial
        reason = (
            f"{found.figure} of version {challenger.version} is higher by {trial.difference:.4g} "
            f"({trial.anytime_low:.4g} to {trial.anytime_high:.4g} at all looks, {trial.units} units)"
        )
        await self._deployment.set_split(replace(status.split, share=0.0, stopped=reason), version=challenger.version)
        log.warning("the challenger was stopped: it is worse", model=challenger.reference, reason=reason)
        if self._audit is not None:
            await asyncio.to_thread(
                self._audit.record, "wearcast", "deployment.stop", challenger.reference,
                origin="service", result="done", reason=reason,
            )  # fmt: skip
        self.stopped += 1
        return True


def _standpoint(version: str, count: int, known: Sequence[Judged], arms: Arms, rival: bool) -> Standpoint:
    ours = [one for one in known if one.record.version == version]
    errors = arms.challenger if rival else arms.champion
    held = [one.held for one in ours if one.held is not None]
    return Standpoint(
        version=version,
        forecasts=count,
        known=len(ours),
        units=len(errors),
        error=float(errors.mean()) if len(errors) else None,
        interval=mean_interval(errors),
        coverage=float(np.mean(held)) if held else None,
    )


def _words(champion: str, challenger: str, trial: Trial) -> str:
    if trial.verdict == "unknown":
        return "too little is known yet: it takes outcomes of at least two units of each version"
    if trial.verdict == "no real difference":
        return f"no real difference between version {champion} and version {challenger}"
    better, worse = (challenger, champion) if trial.verdict == "better" else (champion, challenger)
    return f"version {better} is better than version {worse}"


def as_json(found: Comparison) -> dict[str, Any]:
    """As `GET /v1/outcomes/comparison` answers."""
    trial = found.trial

    def finite(value: float) -> float | None:
        return value if np.isfinite(value) else None

    return {
        "name": found.name,
        "figure": found.figure,
        "champion": vars(found.champion),
        "challenger": vars(found.challenger),
        "mode": trial.mode,
        "difference": finite(trial.difference),
        "interval": None if not np.isfinite(trial.low) else [trial.low, trial.high],
        "interval_at_all_looks": None
        if not np.isfinite(trial.anytime_low)
        else [trial.anytime_low, trial.anytime_high],
        "level": trial.level,
        "units": trial.units,
        "verdict": trial.verdict,
        "words": found.words,
        "reservation": trial.reservation,
        "losing": trial.losing,
        "compared_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }
