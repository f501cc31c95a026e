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


def test_a_window_gives_out_its_rate_and_no_more() -> None:
    clock = Clock(START + 15)
    limiter = make_limiter(clock, forecast="3/minute")
    verdicts = [limiter.hit_here("forecast", "a") for _ in range(5)]
    assert [verdict.allowed for verdict in verdicts] == [True, True, True, False, False]
    assert [verdict.remaining for verdict in verdicts] == [2, 1, 0, 0, 0]
    assert {(verdict.limit, verdict.reset_s) for verdict in verdicts} == {(3, 45)}
    clock.now = START + 59.9
    assert not limiter.hit_here("forecast", "a").allowed
    clock.now = START + 60
    assert limiter.hit_here("forecast", "a").allowed


def test_clients_and_classes_do_not_share() -> None:
    limiter = make_limiter(forecast="1/minute", write="1/minute")
    assert limiter.hit_here("forecast", "a").allowed
    assert limiter.hit_here("forecast", "b").allowed
    assert limiter.hit_here("write", "a").allowed
    assert not limiter.hit_here("forecast", "a").allowed


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 30)), max_size=60))
def test_no_window_gives_more_than_its_rate(hits: list[tuple[str, float]]) -> None:
    clock = Clock(START)
    limiter = make_limiter(clock, forecast="4/minute")
    given_out: dict[tuple[str, int], int] = {}
    for who, later in hits:
        clock.now += later
        if limiter.hit_here("forecast", who).allowed:
            key = (who, int(clock.now // 60))
            given_out[key] = given_out.get(key, 0) + 1
    assert all(count <= 4 for count in given_out.values())


def test_many_names_at_once_share_one_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wearcast.service.limits._MOST_KEYS", 2)
    limiter = make_limiter(public="1/minute")
    assert [limiter.hit_here("public", name).allowed for name in "abcde"] == [True, True, True, False, False]
    assert not limiter.hit_here("public", "a").allowed


def test_refused_tokens_tire_an_address_for_the_rest_of_the_minute() -> None:
    clock = Clock(START)
    limiter = make_limiter(clock)
    for _ in range(60):
        assert not limiter.is_tiring("a")
        limiter.unproven("a")
    assert limiter.is_tiring("a")
    assert not limiter.is_tiring("b")
    clock.now += 60
    assert not limiter.is_tiring("a")


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
