"""One thread that forecasts: whatever has arrived is one batch, and what cannot be done in time is refused at once.

What takes a moment is done by the event loop itself, after all requests that it has in hand have come in: the way to a
thread and back costs as much as a forecast. What takes longer, or comes while the thread is at work, is the thread's.

The queue is bounded twice: by requests, and by time. Each batch tells how long a window takes; a request that would
wait longer than it may is refused when it comes, with the time after which to try again. Nothing is computed for a
request that is cancelled or too late.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from wearcast.errors import WearcastError
from wearcast.forecast import Forecast
from wearcast.readings import Readings
from wearcast.service.answers import Scored, joined, tabulated
from wearcast.service.layout import Layout, Layouts, UnitReadings
from wearcast.service.problems import Problem, from_error

if TYPE_CHECKING:
    from wearcast.service.served import Served

__all__ = ["Scorer", "forecast"]

_LOG = logging.getLogger("wearcast.service.scoring")
_MEMORY: Final = 0.1
"""How much the latest batch counts in the estimate of a window's time."""


class Observer(Protocol):
    """Who is told of each batch."""

    def batch(self, windows: int, seconds: float) -> None:
        """One batch that was scored."""


@dataclass(slots=True, eq=False)
class _Job:
    """Units of one request that one model is asked for."""

    served: Served
    units: Sequence[UnitReadings]
    every: int | None
    windows: int
    deadline: float
    future: asyncio.Future[Scored]
    loop: asyncio.AbstractEventLoop
    kind: tuple[Any, ...] = field(default=())

    @property
    def over(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.future.done() or monotonic() > self.deadline


class Scorer:
    """Forecasts for requests, in batches.

    Attributes:
        busy_s: seconds that were spent on forecasts.
    """

    def __init__(
        self,
        *,
        queue: int = 512,
        batch_max: int = 256,
        batch_wait_ms: float = 0.0,
        moment_s: float = 0.0,
        layouts: Layouts | None = None,
        observer: Observer | None = None,
    ) -> None:
        """Start the thread.

        Args:
            queue: requests that may wait.
            batch_max: windows of one batch, and of one piece of a larger request.
            batch_wait_ms: how long to wait for more when there are fewer; 0 takes what is there.
            moment_s: so long the event loop may be held up by a forecast; 0 leaves all to the thread.
            layouts: of the models.
            observer: is told of each batch.
        """
        self.layouts = layouts or Layouts()
        self.busy_s = 0.0
        self._most_jobs = queue
        self._batch_max = batch_max
        self._wait_s = batch_wait_ms / 1e3
        self._observer = observer
        self._jobs: deque[_Job] = deque()
        self._windows = 0
        self._window_s = 1e-3
        self._known = False  # how long a window takes
        self._moment_s = moment_s
        self._resting = True  # the thread has nothing to do
        self._called = False  # the loop has been asked to score
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="wearcast-scoring", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._jobs)

    @property
    def expected_wait_s(self) -> float:
        """How long a request that comes now would wait."""
        return self._windows * self._window_s

    async def score(
        self, served: Served, units: Sequence[UnitReadings], *, deadline_s: float, every: int | None = None
    ) -> Scored:
        """Forecast units with one model.

        Args:
            served: the model; it is kept to the end, whatever is deployed meanwhile.
            units: their readings, with all columns that the model reads (see `Layout.check`).
            deadline_s: how long the answer may take.
            every: step between forecasts; None for the last reading only.

        Raises:
            Problem: overloaded, too late, closed, or the model cannot forecast from these readings.
        """
        size = self._batch_max
        pieces = [units[at : at + size] for at in range(0, len(units), size)]
        jobs = [self._enter(served, piece, every, deadline_s) for piece in pieces]
        loop = asyncio.get_running_loop()
        timer = loop.call_later(deadline_s, _too_late, jobs)
        try:
            if len(jobs) == 1:
                return await jobs[0].future
            return joined(await asyncio.gather(*(job.future for job in jobs)))
        finally:
            timer.cancel()
            for job in jobs:  # of a request that failed in part
                job.future.cancel()

    def _enter(self, served: Served, units: Sequence[UnitReadings], every: int | None, deadline_s: float) -> _Job:
        loop = asyncio.get_running_loop()
        windows = len(units) if every is None else sum(-(-len(one.time) // every) for one in units)
        kind = (served.key, served.arm, served.version, every, {one.time.dtype.char for one in units} == {"l"})
        job = _Job(served, units, every, windows, monotonic() + deadline_s, loop.create_future(), loop, kind)
        with self._changed:
            if self._closed:
                raise Problem("unavailable", "the service is shutting down", retry_after_s=1)
            wait_s = self.expected_wait_s
            if len(self._jobs) >= self._most_jobs or wait_s > deadline_s:
                detail = f"{len(self._jobs)} requests wait, about {wait_s:.1f} s"
                raise Problem("overloaded", detail, retry_after_s=max(1.0, wait_s / 2))
            self._jobs.append(job)
            self._windows += windows
            if not self._is_a_moment:
                self._changed.notify()
            elif not self._called:
                self._called = True
                loop.call_soon(self._score_here)
        return job

    @property
    def _is_a_moment(self) -> bool:
        """Whether what waits is the loop's to do."""
        return self._known and self._resting and not self._wait_s and self.expected_wait_s <= self._moment_s

    def _score_here(self) -> None:
        """Score what has come, in the event loop."""
        with self._changed:
            self._called = False
            batch = self._next() if self._is_a_moment else []
        if batch:
            self._do(batch)
        with self._changed:
            if self._jobs:
                self._changed.notify()

    def close(self) -> None:
        """Finish what is queued, take nothing more, end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        while (batch := self._take()) is not None:
            if batch:
                self._do(batch)

    def _take(self) -> list[_Job] | None:
        """The next batch: the oldest job and what goes with it; None at the end."""
        with self._changed:
            self._resting = True
            while not self._jobs:
                if self._closed:
                    return None
                self._changed.wait()
            self._resting = False
            if self._wait_s:
                full = lambda: self._closed or self._windows >= self._batch_max  # noqa: E731
                self._changed.wait_for(full, self._wait_s)
            return self._next()

    def _next(self) -> list[_Job]:
        """Take the oldest job and what goes with it out of the queue."""
        batch: list[_Job] = []
        windows, left = 0, deque[_Job]()
        for job in self._jobs:
            if job.over:
                self._windows -= job.windows
            elif batch and (job.kind != batch[0].kind or windows + job.windows > self._batch_max):
                left.append(job)
            else:
                batch.append(job)
                windows += job.windows
                self._windows -= job.windows
        self._jobs = left
        return batch

    def _do(self, batch: list[_Job]) -> None:
        began = perf_counter()
        done = self._scored(batch)
        seconds = perf_counter() - began
        windows = sum(job.windows for job in batch)
        self.busy_s += seconds
        self._window_s += _MEMORY * (seconds / max(windows, 1) - self._window_s)
        self._known = True
        if self._observer is not None:
            self._observer.batch(windows, seconds)
        here = None if threading.current_thread() is self._thread else asyncio.get_running_loop()
        for loop in {job.loop for job in batch}:
            results = [(job, result) for job, result in done if job.loop is loop]
            if loop is here:
                _deliver(results)
                continue
            try:
                loop.call_soon_threadsafe(_deliver, results)
            except RuntimeError:  # that loop is closed: nobody waits
                _LOG.debug("a loop was closed while its requests were scored")

    def _scored(self, batch: list[_Job]) -> list[tuple[_Job, Scored | Exception]]:
        """What came of each job; where a batch fails, each job alone, so that one cannot spoil another."""
        served, every = batch[0].served, batch[0].every
        units = batch[0].units if len(batch) == 1 else [one for job in batch for one in job.units]
        try:
            scored = forecast(served, units, self.layouts.of(served), every)
        except WearcastError as error:
            if len(batch) > 1:
                return [pair for job in batch for pair in self._scored([job])]
            return [(batch[0], from_error(error))]
        except Exception:
            _LOG.exception("the model %s failed", served.reference)
            return [(job, Problem("internal", "the model failed; the log says why")) for job in batch]
        if len(batch) == 1:
            return [(batch[0], scored)]
        ends = np.cumsum([0, *(len(job.units) for job in batch)]).tolist()
        return [(job, scored.part(ends[i], ends[i + 1])) for i, job in enumerate(batch)]


def forecast(served: Served, units: Sequence[UnitReadings], layout: Layout, every: int | None = None) -> Scored:
    """Forecast units with one model, all in one run of its graph.

    Raises:
        WearcastError: the model cannot forecast from these readings.
    """
    names = _names(units)
    made: Forecast = served.bundle.predict(_readings(units, names, layout), every=every)
    return tabulated(made, served, units, {name: i for i, name in enumerate(names)})


def _names(units: Sequence[UnitReadings]) -> tuple[Any, ...]:
    """Names that tell the units apart: their own, unless requests share a unit or numbers and texts are mixed."""
    names = tuple([one.unit for one in units])
    if len(names) == 1 or (len(set(names)) == len(names) and len(set(map(type, names))) == 1):
        return names
    return tuple(range(len(names)))


def _readings(units: Sequence[UnitReadings], names: tuple[Any, ...], layout: Layout) -> Readings:
    first = units[0]
    if len(units) == 1:
        offsets, time = np.array([0, len(first.time)]), first.time
        found: dict[str, NDArray[Any]] = dict(zip(first.names, first.values, strict=True))
    else:
        offsets = np.zeros(len(units) + 1, dtype=np.int64)
        np.cumsum([len(one.time) for one in units], out=offsets[1:])
        time = np.concatenate([one.time for one in units])
        if all(one.names == first.names for one in units):
            found = dict(zip(first.names, np.concatenate([one.values for one in units], axis=1), strict=True))
        else:
            found = {name: _column(units, name) for name in layout.columns if name not in layout.texts}
    for name in layout.texts:
        found[name] = np.repeat(np.array([one.texts[name] for one in units], dtype=object), np.diff(offsets))
    columns = {name: found[name] for name in layout.columns}
    return Readings(names, offsets, time, columns, layout.time_unit, layout.sampling_rate_hz, "request")


def _column(units: Sequence[UnitReadings], name: str) -> NDArray[Any]:
    return np.concatenate([one.values[one.names.index(name)] for one in units])


# ------------------------------------------------------------------ in the loop


def _deliver(done: list[tuple[_Job, Scored | Exception]]) -> None:
    for job, result in done:
        if job.future.done():
            continue
        if isinstance(result, Exception):
            job.future.set_exception(result)
        else:
            job.future.set_result(result)


def _too_late(jobs: list[_Job]) -> None:
    for job in jobs:
        if not job.future.done():
            job.future.set_exception(
                Problem("timed-out", "the forecast was not ready in time; try again, or ask for fewer units at once")
            )
