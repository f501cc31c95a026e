"""Limits counted in a real Redis by several processes' worth of limiters, and what happens when it is killed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from tests.fixtures.outside_servers import free_port, no_redis, redis_server
from tests.fixtures.service_security import NOW, Clock

from wearcast.service.limits import Limiter
from wearcast.service.outside import Outside, Patience
from wearcast.service.settings import LimitsSettings

START = NOW - NOW % 60
QUICK = Patience(budget_s=0.5, attempt_s=0.5, attempts=1, failures=3, rest_s=0.05)

pytestmark = pytest.mark.skipif(no_redis() is not None, reason=str(no_redis()))


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    with redis_server() as url:
        yield url


def make_limiter(url: str, clock: Clock, rate: str = "5/minute", workers: int = 2) -> Limiter:
    limits = LimitsSettings.model_validate({"storage": "redis", "rates": {"forecast": rate}})
    return Limiter(limits, redis_url=url, workers=workers, clock=clock, outside=Outside("redis", QUICK))


def test_processes_share_one_count(redis: str) -> None:
    clock = Clock(START)

    async def hits() -> list[Any]:
        limiters = [make_limiter(redis, clock) for _ in range(2)]
        verdicts = [await limiters[i % 2].hit("forecast", "shared") for i in range(7)]
        clock.now += 60
        verdicts.append(await limiters[0].hit("forecast", "shared"))
        for limiter in limiters:
            await limiter.close()
        return verdicts

    verdicts = asyncio.run(hits())
    assert [verdict.allowed for verdict in verdicts] == [True] * 5 + [False] * 2 + [True]
    assert [verdict.remaining for verdict in verdicts] == [4, 3, 2, 1, 0, 0, 0, 4]


def test_counts_do_not_stay_in_redis(redis: str) -> None:
    async def left() -> list[int]:
        limiter = make_limiter(redis, Clock(START))
        await limiter.hit("forecast", "leaves")
        connection = limiter._redis
        keys = [key async for key in connection.scan_iter("wearcast:limits*leaves")]
        lives = [int(await connection.ttl(key)) for key in keys]
        await limiter.close()
        return lives

    (lives,) = asyncio.run(left())
    assert 0 < lives <= 14  # one of five a minute comes in within twelve seconds


def test_when_redis_is_killed_each_process_goes_on_with_its_share_and_comes_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "wearcast.service.limits")
    clock, port = Clock(START), free_port()

    async def story() -> list[tuple[bool, bool]]:
        limiter = make_limiter(f"redis://127.0.0.1:{port}/0", clock, rate="4/minute")
        seen: list[tuple[bool, bool]] = []

        async def hit() -> None:
            seen.append(((await limiter.hit("forecast", "a")).allowed, limiter.degraded))

        with redis_server(port):
            await hit()
        for _ in range(3):
            await hit()
        with redis_server(port):
            for _ in range(200):
                await asyncio.sleep(0.02)
                clock.now += 60
                await hit()
                if not limiter.degraded:
                    break
        await limiter.close()
        return seen

    seen = asyncio.run(story())
    assert seen[:4] == [(True, False), (True, True), (True, True), (False, True)]
    assert seen[-1] == (True, False)
    assert "Redis does not" in caplog.text
    assert "counted in Redis again" in caplog.text
