"""So many requests and no more, each client and class for itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.service_security import NOW, Clock

from wearcast.service.limits import Limiter, parse_rate
from wearcast.service.settings import LimitsSettings

START = NOW - NOW % 60
"""A window begins."""


def make_limiter(clock: Clock | None = None, **rates: str) -> Limiter:
    return Limiter(LimitsSettings.model_validate({"rates": rates}), clock=clock or Clock(START))


@pytest.mark.parametrize(
    ("text", "expected"), [("5/second", (5, 1)), ("6000/minute", (6_000, 60)), ("1/hour", (1, 3_600))]
)
def test_rates(text: str, expected: tuple[int, int]) -> None:
    assert parse_rate(text) == expected


def test_a_bucket_gives_out_its_rate_and_then_what_comes_in() -> None:
    clock = Clock(START + 15)
    limiter = make_limiter(clock, forecast="3/minute")
    verdicts = [limiter.hit_here("forecast", "a") for _ in range(5)]
    assert [verdict.allowed for verdict in verdicts] == [True, True, True, False, False]
    assert [verdict.remaining for verdict in verdicts] == [2, 1, 0, 0, 0]
    assert [verdict.reset_s for verdict in verdicts] == [20, 40, 60, 20, 20]
    assert {verdict.limit for verdict in verdicts} == {3}
    clock.now += 19
    assert limiter.hit_here("forecast", "a") == (False, 3, 0, 1)
    clock.now += 1
    assert [limiter.hit_here("forecast", "a").allowed for _ in range(2)] == [True, False]
    clock.now += 60
    assert [limiter.hit_here("forecast", "a").allowed for _ in range(4)] == [True, True, True, False]


def test_a_seam_of_two_windows_lets_no_more_pass() -> None:
    clock = Clock(START + 59)
    limiter = make_limiter(clock, forecast="60/minute")
    first = sum(limiter.hit_here("forecast", "a").allowed for _ in range(100))
    clock.now += 2
    assert (first, sum(limiter.hit_here("forecast", "a").allowed for _ in range(100))) == (60, 2)


def test_a_clock_that_was_put_back_locks_nobody_out() -> None:
    clock = Clock(START)
    limiter = make_limiter(clock, forecast="2/minute")
    assert [limiter.hit_here("forecast", "a").allowed for _ in range(3)] == [True, True, False]
    clock.now -= 3_600
    assert limiter.hit_here("forecast", "a").reset_s <= 30
    clock.now += 30
    assert limiter.hit_here("forecast", "a").allowed


def test_clients_and_classes_do_not_share() -> None:
    limiter = make_limiter(forecast="1/minute", write="1/minute")
    assert limiter.hit_here("forecast", "a").allowed
    assert limiter.hit_here("forecast", "b").allowed
    assert limiter.hit_here("write", "a").allowed
    assert not limiter.hit_here("forecast", "a").allowed


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 30)), max_size=60))
def test_in_any_time_no_more_than_the_bucket_and_what_comes_in(hits: list[tuple[str, float]]) -> None:
    clock = Clock(START)
    limiter = make_limiter(clock, forecast="4/minute")
    passed: dict[str, list[float]] = {}
    for who, later in hits:
        clock.now += later
        if limiter.hit_here("forecast", who).allowed:
            passed.setdefault(who, []).append(clock.now)
    for times in passed.values():
        for i, first in enumerate(times):
            for j, last in enumerate(times[i:], start=1):
                assert j <= 4.5 + (last - first) / 15


@given(st.lists(st.floats(0, 200), max_size=40))
def test_whoever_was_away_for_a_minute_has_all_of_it_again(pauses: list[float]) -> None:
    clock = Clock(START)
    limiter = make_limiter(clock, forecast="2/minute")
    for pause in pauses:
        limiter.hit_here("forecast", "a")
        clock.now += pause
        if pause >= 60:
            assert limiter.hit_here("forecast", "a").remaining == 1


def test_many_names_at_once_share_one_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wearcast.service.limits._MOST_KEYS", 2)
    limiter = make_limiter(public="1/minute")
    assert [limiter.hit_here("public", name).allowed for name in "abcde"] == [True, True, True, False, False]
    assert not limiter.hit_here("public", "a").allowed


def test_refused_tokens_tire_an_address() -> None:
    clock = Clock(START)
    limiter = make_limiter(clock)
    for _ in range(60):
        assert not limiter.is_tiring("a")
        limiter.unproven("a")
    assert limiter.is_tiring("a")
    assert not limiter.is_tiring("b")
    clock.now += 1
    assert not limiter.is_tiring("a")
    limiter.unproven("a")
    assert limiter.is_tiring("a")


# ------------------------------------------------------------------ Redis that is not there


def test_without_redis_each_worker_gives_out_its_share_and_never_all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "wearcast.service.limits")

    async def hits() -> tuple[list[bool], bool]:
        limits = LimitsSettings.model_validate({"storage": "redis", "rates": {"forecast": "6/minute"}})
        limiter = Limiter(limits, redis_url="redis://127.0.0.1:1/0", workers=3, clock=Clock(START))
        allowed = [(await limiter.hit("forecast", "a")).allowed for _ in range(4)]
        await limiter.close()
        return allowed, limiter.degraded

    assert asyncio.run(hits()) == ([True, True, False, False], True)
    assert caplog.text.count("Redis does not") == 1


def test_memory_answers_by_the_same_call() -> None:
    limiter = make_limiter(forecast="1/minute")

    async def hits() -> list[Any]:
        return [(await limiter.hit("forecast", "a")).allowed for _ in range(2)]

    assert asyncio.run(hits()) == [True, False]
    assert not limiter.shared
    assert not limiter.degraded
