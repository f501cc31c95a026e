"""The scoring thread: one batch of what has arrived, nothing for those who are gone, and a bounded queue."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from tests.fixtures.bundles import TrainedByKind

from wearcast.bundle import Bundle
from wearcast.errors import FleetError
from wearcast.readings import Readings
from wearcast.service.layout import Layout, UnitReadings
from wearcast.service.problems import Problem
from wearcast.service.scoring import Scorer
from wearcast.service.served import Served


@dataclass
class Gated:
    """A bundle that forecasts when it is let, and tells what it was asked for."""

    bundle: Bundle
    gate: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    fails_for: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.bundle, name)

    def predict(self, history: Readings, *, every: int | None = None) -> Any:
        self.asked.append(history.units)
        self.threads.append(threading.get_ident())
        assert self.gate.wait(10)
        if self.fails_for is not None and any((values == self.fails_for).any() for values in history.columns.values()):
            raise FleetError("these readings are of no use", where=f"unit {history.units[0]}")
        return self.bundle.predict(history, every=every)


@pytest.fixture
def gated(trained: TrainedByKind) -> Gated:
    return Gated(trained("lightgbm").bundle)


@pytest.fixture
def scorer() -> Iterator[Scorer]:
    made = Scorer(queue=4, batch_max=8)
    yield made
    made.close()


def served(gated: Gated, **changes: Any) -> Served:
    given = {"name": "m", "version": "1", "arm": "fixed", "bundle": gated, "key": "k", **changes}
    return Served(**given)


def readings(unit: int | str, bundle: Bundle, rows: int = 5, value: float = 1.0) -> UnitReadings:
    names = bundle.columns
    values = np.full((len(names), rows), value, dtype=np.float32)
    return UnitReadings(unit, np.arange(1, rows + 1), names, values, {})


async def started(
    scorer: Scorer, model: Served, gated: Gated, unit: int | str, value: float = 1.0
) -> asyncio.Task[Any]:
    """A request that the thread is at: what comes now waits."""
    task = asyncio.create_task(scorer.score(model, [readings(unit, gated.bundle, value=value)], deadline_s=10))
    while not gated.asked:
        await asyncio.sleep(0.001)
    return task


async def queued(scorer: Scorer, count: int) -> None:
    """Wait until so many requests wait."""
    while scorer.waiting < count:
        await asyncio.sleep(0.001)


def run(made: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(made)


def test_what_has_arrived_is_one_batch(gated: Gated, scorer: Scorer) -> None:
    """The first request goes alone; those that come meanwhile go together, each gets its own answer."""
    model = served(gated)

    async def ask() -> list[Any]:
        tasks = [await started(scorer, model, gated, "a", 0.0)]
        tasks += [
            asyncio.create_task(scorer.score(model, [readings(unit, gated.bundle, value=value)], deadline_s=10))
            for unit, value in ((7, 1.0), ("b", 2.0), ("b", 3.0))
        ]
        await queued(scorer, 3)
        gated.gate.set()
        return await asyncio.gather(*tasks)

    found = run(ask())
    assert gated.asked == [("a",), (0, 1, 2)]  # numbers, texts and doubles are told apart by position
    assert [one.columns["unit"] for one in found] == [["a"], [7], ["b"], ["b"]]
    layout = Layout.of(gated.bundle)
    for one, value in zip(found, (0.0, 1.0, 2.0, 3.0), strict=True):
        columns = {name: np.full(5, value, dtype=np.float32) for name in layout.columns}
        alone = gated.bundle.predict(Readings((1,), np.array([0, 5]), np.arange(1, 6), columns)).to_frame()
        assert one.columns["rul"] == pytest.approx(alone["rul"].to_list())
        assert one.columns["version"] == ["m/1"]


def test_models_and_steps_are_kept_apart(gated: Gated, scorer: Scorer) -> None:
    one, other = served(gated), served(gated, version="2")

    async def ask() -> list[Any]:
        tasks = [await started(scorer, one, gated, "first")]
        tasks += [
            asyncio.create_task(scorer.score(model, [readings(unit, gated.bundle)], deadline_s=10, every=every))
            for model, unit, every in ((one, "a", None), (other, "b", None), (one, "c", 2), (one, "d", None))
        ]
        await queued(scorer, 4)
        gated.gate.set()
        return await asyncio.gather(*tasks)

    found = run(ask())
    assert gated.asked == [("first",), ("a", "d"), ("b",), ("c",)]
    assert [one.columns["version"][0] for one in found] == ["m/1", "m/1", "m/2", "m/1", "m/1"]
    assert found[3].columns["time"] == [1, 3, 5]


def test_a_large_request_is_cut(gated: Gated, scorer: Scorer) -> None:
    gated.gate.set()
    units = [readings(i, gated.bundle, rows=i + 1) for i in range(20)]
    found = run(scorer.score(served(gated), units, deadline_s=10))
    assert [len(names) for names in gated.asked] == [8, 8, 4]
    assert found.columns["unit"] == list(range(20))
    assert found.columns["time"] == [i + 1 for i in range(20)]
    assert [row[0]["unit"] for row in found.rows()] == list(range(20))


def test_over_the_limit_it_is_refused_at_once(gated: Gated, scorer: Scorer) -> None:
    async def ask() -> None:
        tasks = [await started(scorer, served(gated), gated, "first")]
        tasks += [
            asyncio.create_task(scorer.score(served(gated), [readings(i, gated.bundle)], deadline_s=10))
            for i in range(4)
        ]
        await queued(scorer, 4)
        with pytest.raises(Problem) as caught:
            await scorer.score(served(gated), [readings(9, gated.bundle)], deadline_s=10)
        assert (caught.value.slug, caught.value.status) == ("overloaded", 503)
        assert caught.value.retry_after_s is not None
        assert caught.value.retry_after_s >= 1
        gated.gate.set()
        await asyncio.gather(*tasks)

    run(ask())


def test_who_would_wait_too_long_is_refused_at_once(gated: Gated, scorer: Scorer) -> None:
    scorer._window_s = 2.0  # as if each window had taken so long

    async def ask() -> None:
        first = await started(scorer, served(gated), gated, 0)
        second = asyncio.create_task(scorer.score(served(gated), [readings(1, gated.bundle)], deadline_s=10))
        await asyncio.sleep(0)
        with pytest.raises(Problem, match=r"about 2\.0 s"):
            await scorer.score(served(gated), [readings(2, gated.bundle)], deadline_s=1)
        gated.gate.set()
        await asyncio.gather(first, second)

    run(ask())


def test_nothing_is_computed_for_those_who_are_gone(gated: Gated, scorer: Scorer) -> None:
    """Neither for a cancelled request nor for one whose time is over; the queue forgets both."""

    async def ask() -> None:
        first = await started(scorer, served(gated), gated, "first")
        gone = asyncio.create_task(scorer.score(served(gated), [readings("gone", gated.bundle)], deadline_s=10))
        late = asyncio.create_task(scorer.score(served(gated), [readings("late", gated.bundle)], deadline_s=0.02))
        last = asyncio.create_task(scorer.score(served(gated), [readings("last", gated.bundle)], deadline_s=10))
        await queued(scorer, 3)
        gone.cancel()
        with pytest.raises(Problem) as caught:
            await late
        assert (caught.value.slug, caught.value.status) == ("timed-out", 504)
        gated.gate.set()
        await asyncio.gather(first, last)
        with pytest.raises(asyncio.CancelledError):
            await gone

    run(ask())
    assert gated.asked == [("first",), ("last",)]
    assert scorer.waiting == 0
    assert scorer.expected_wait_s == 0


def test_one_bad_request_does_not_spoil_the_batch(gated: Gated, scorer: Scorer) -> None:
    gated.fails_for = 13.0

    async def ask() -> list[Any]:
        tasks = [await started(scorer, served(gated), gated, "first")]
        for unit, value in (("a", 1.0), ("bad", 13.0), ("c", 2.0)):
            one = readings(unit, gated.bundle, value=value)
            tasks.append(asyncio.create_task(scorer.score(served(gated), [one], deadline_s=10)))
        await queued(scorer, 3)
        gated.gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    _, a, bad, c = run(ask())
    assert (a.columns["unit"], c.columns["unit"]) == (["a"], ["c"])
    assert isinstance(bad, Problem)
    assert (bad.slug, bad.faults[0].where) == ("unusable", "unit bad")


def test_a_defect_is_told_as_one_and_the_thread_goes_on(
    gated: Gated, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gated.gate.set()
    monkeypatch.setattr(gated, "predict", lambda *_, **__: 1 / 0)
    with pytest.raises(Problem) as caught:
        run(scorer.score(served(gated), [readings("a", gated.bundle)], deadline_s=10))
    assert (caught.value.slug, "division" in caught.value.detail) == ("internal", False)
    monkeypatch.undo()
    assert run(scorer.score(served(gated), [readings("a", gated.bundle)], deadline_s=10)).columns["unit"] == ["a"]


def test_closing_finishes_what_is_queued(gated: Gated) -> None:
    scorer = Scorer()

    async def ask() -> None:
        tasks = [
            asyncio.create_task(scorer.score(served(gated), [readings(i, gated.bundle)], deadline_s=10))
            for i in range(3)
        ]
        while not gated.asked:
            await asyncio.sleep(0.001)
        gated.gate.set()
        await asyncio.to_thread(scorer.close)
        assert len(await asyncio.gather(*tasks)) == 3
        with pytest.raises(Problem, match="shutting down"):
            await scorer.score(served(gated), [readings(9, gated.bundle)], deadline_s=10)

    run(ask())


def test_waiting_for_more_fills_the_batch(gated: Gated) -> None:
    """With `batch_wait_ms` an idle thread waits for company; a full batch goes at once."""
    scorer = Scorer(batch_max=3, batch_wait_ms=100)
    gated.gate.set()

    async def ask() -> None:
        asks = (scorer.score(served(gated), [readings(i, gated.bundle)], deadline_s=10) for i in range(3))
        await asyncio.gather(*asks)

    run(ask())
    scorer.close()
    assert gated.asked == [(0, 1, 2)]


def test_who_observes_is_told(gated: Gated) -> None:
    told: list[tuple[int, float]] = []

    class Observer:
        def batch(self, windows: int, seconds: float) -> None:
            told.append((windows, seconds))

    scorer = Scorer(observer=Observer())
    gated.gate.set()
    run(scorer.score(served(gated), [readings(1, gated.bundle), readings(2, gated.bundle)], deadline_s=10))
    scorer.close()
    ((windows, seconds),) = told
    assert windows == 2
    assert 0 < seconds == scorer.busy_s


# ------------------------------------------------------------------ moments


async def one_and_then_three(scorer: Scorer, model: Served, gated: Gated) -> list[Any]:
    """A first request, by which the scorer learns how long a forecast takes, and three that come together."""

    def ask(unit: str, value: float = 1.0) -> Coroutine[Any, Any, Any]:
        return scorer.score(model, [readings(unit, gated.bundle, value=value)], deadline_s=10)

    gated.gate.set()
    await ask("first")
    while not scorer._resting:
        await asyncio.sleep(0.001)
    return await asyncio.gather(*(ask(unit, 13.0 if unit == "c" else 1.0) for unit in "abc"), return_exceptions=True)


@pytest.mark.parametrize(
    ("moment_s", "batch_wait_ms", "in_the_loop"),
    [(10.0, 0.0, True), (0.0, 0.0, False), (1e-9, 0.0, False), (10.0, 1.0, False)],
    ids=["a moment", "switched off", "longer than a moment", "waits for company"],
)
def test_a_moment_is_scored_by_the_loop_once_it_is_known_to_be_one(
    gated: Gated, moment_s: float, batch_wait_ms: float, in_the_loop: bool
) -> None:
    scorer = Scorer(moment_s=moment_s, batch_wait_ms=batch_wait_ms)
    found = run(one_and_then_three(scorer, served(gated), gated))
    scorer.close()
    assert [one.offsets[-1] for one in found] == [1, 1, 1]
    first, *later = gated.threads
    assert first != threading.get_ident(), "nobody knew how long it would take"
    assert {thread == threading.get_ident() for thread in later} == {in_the_loop}
    if in_the_loop:
        assert gated.asked[1:] == [("a", "b", "c")], "what came together is one batch there, too"


def test_a_bad_request_in_the_loop_is_its_own(gated: Gated) -> None:
    gated.fails_for = 13.0
    scorer = Scorer(moment_s=10.0)
    a, b, c = run(one_and_then_three(scorer, served(gated), gated))
    scorer.close()
    assert (a.offsets[-1], b.offsets[-1]) == (1, 1)
    assert isinstance(c, Problem)
    assert c.slug == "unusable"


def test_while_the_thread_works_the_loop_leaves_it_the_next(gated: Gated) -> None:
    scorer = Scorer(moment_s=10.0)

    async def story() -> None:
        gated.gate.set()
        await scorer.score(served(gated), [readings("known", gated.bundle)], deadline_s=10)
        gated.gate.clear()
        scorer._known = False
        slow = asyncio.create_task(scorer.score(served(gated), [readings("slow", gated.bundle)], deadline_s=10))
        while len(gated.asked) < 2:
            await asyncio.sleep(0.001)
        scorer._known = True
        behind = asyncio.create_task(scorer.score(served(gated), [readings("behind", gated.bundle)], deadline_s=10))
        await queued(scorer, 1)
        gated.gate.set()
        await asyncio.gather(slow, behind)

    run(story())
    scorer.close()
    assert gated.asked == [("known",), ("slow",), ("behind",)]
    assert threading.get_ident() not in gated.threads
