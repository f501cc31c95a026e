"""The prediction cache: another content is another key, what is old goes, and without Redis nothing fails."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from wearcast.errors import ConfigError
from wearcast.service.cache import MemoryCache, NoCache, RedisCache, content_key, open_cache
from wearcast.service.layout import UnitReadings
from wearcast.service.outside import Outside, Patience
from wearcast.service.served import Served
from wearcast.service.settings import CacheSettings

MODEL = Served("m", "1", "champion", cast(Any, None), "key")  # the bundle is not looked at
ONE = UnitReadings("a", np.arange(3), ("x", "y"), np.arange(6, dtype=np.float32).reshape(2, 3), {"site": "n"})


def test_all_that_matters_is_in_the_key() -> None:
    other = ONE.values.copy()
    other[1, 2] = np.nan
    variants = [
        (MODEL, ONE, None),
        (MODEL, ONE, 1),
        (replace(MODEL, key="other"), ONE, None),
        (replace(MODEL, version="2"), ONE, None),
        (replace(MODEL, arm="challenger"), ONE, None),
        (MODEL, replace(ONE, unit="b"), None),
        (MODEL, replace(ONE, unit=7), None),
        (MODEL, replace(ONE, unit="7"), None),
        (MODEL, replace(ONE, time=np.arange(1, 4)), None),
        (MODEL, replace(ONE, time=np.arange(3, dtype=np.float64)), None),
        (MODEL, replace(ONE, values=other), None),
        (MODEL, replace(ONE, names=("y", "x")), None),
        (MODEL, replace(ONE, texts={"site": "s"}), None),
        (MODEL, replace(ONE, texts={}), None),
    ]
    keys = [content_key(*variant) for variant in variants]
    assert len(set(keys)) == len(keys)
    assert content_key(MODEL, replace(ONE, values=ONE.values.copy(), place="elsewhere"), None) == keys[0]
    wide = np.arange(12, dtype=np.float32).reshape(2, 6)  # a view of a larger table has the content that it shows
    assert content_key(MODEL, replace(ONE, values=wide[:, 1:4]), None) == content_key(
        MODEL, replace(ONE, values=wide[:, 1:4].copy()), None
    )


def test_the_oldest_goes_first_and_nothing_stays_for_ever() -> None:
    async def use() -> None:
        cache = MemoryCache(entries=2, ttl_s=0.05)
        await cache.put({b"a": b"1", b"b": b"2"})
        assert await cache.get([b"a", b"x"]) == [b"1", None]  # a is used, so b is the oldest
        await cache.put({b"c": b"3"})
        assert await cache.get([b"a", b"b", b"c"]) == [b"1", None, b"3"]
        await asyncio.sleep(0.06)
        assert await cache.get([b"a", b"c"]) == [None, None]
        assert len(cache) == 0

    asyncio.run(use())


def test_settings_choose() -> None:
    outside = Outside("redis")
    assert isinstance(open_cache(CacheSettings(kind="none"), None, outside), NoCache)
    assert isinstance(open_cache(CacheSettings(), None, outside), MemoryCache)
    with pytest.raises(ConfigError, match="redis_url"):
        open_cache(CacheSettings(kind="redis"), None, outside)
    assert asyncio.run(NoCache().get([b"a", b"b"])) == [None, None]


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A Redis server of our own."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("redis-server is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    for _ in range(500):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.01)
    yield f"redis://127.0.0.1:{port}/0", server
    server.terminate()
    server.wait(10)


def test_redis_shares_and_its_death_is_a_miss(redis_url: tuple[str, subprocess.Popen[bytes]]) -> None:
    url, server = redis_url
    patience = Patience(budget_s=2.0, attempt_s=1.0, attempts=1, failures=2, rest_s=60.0)
    outside = Outside("redis", patience)

    async def use() -> None:
        one, other = (open_cache(CacheSettings(kind="redis", ttl_s=30), url, outside) for _ in range(2))
        assert isinstance(one, RedisCache)
        await one.put({b"a": b"1", b"\x00\xff": b"2"})
        assert await other.get([b"a", b"\x00\xff", b"c"]) == [b"1", b"2", None]
        server.terminate()
        server.wait(10)
        for _ in range(4):
            assert await one.get([b"a", b"c"]) == [None, None]
            await one.put({b"a": b"1"})
        assert outside.state == "open"  # and nobody waits for it any more
        began = time.perf_counter()
        assert await one.get([b"a"]) == [None]
        assert time.perf_counter() - began < 0.5
        await one.close()
        await other.close()

    asyncio.run(use())


def test_redis_forgets(redis_url: tuple[str, Any]) -> None:
    async def use() -> None:
        cache = open_cache(
            CacheSettings(kind="redis", ttl_s=0.05), redis_url[0], Outside("redis", Patience(budget_s=2.0))
        )
        await cache.put({b"a": b"1"})
        assert await cache.get([b"a"]) == [b"1"]
        await asyncio.sleep(0.1)
        assert await cache.get([b"a"]) == [None]
        await cache.close()

    asyncio.run(use())
