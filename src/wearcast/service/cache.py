"""Forecasts that were made before, by the content of the readings and the model: in memory, or in Redis for several.

A key is a hash of everything that a forecast depends on, so nothing ever has to be invalidated: another model, another
reading or another order of rows is another key.
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, cast

from wearcast.service.layout import UnitReadings

if TYPE_CHECKING:
    from wearcast.service.outside import Outside
    from wearcast.service.served import Served
    from wearcast.service.settings import CacheSettings

__all__ = ["MemoryCache", "NoCache", "PredictionCache", "RedisCache", "content_key", "open_cache"]

_LOG = logging.getLogger("wearcast.service.cache")
_PREFIX = b"wearcast:forecast:"


def content_key(served: Served, readings: UnitReadings, every: int | None) -> bytes:
    """What a forecast depends on, in 16 bytes: model, unit, times and all columns."""
    digest = hashlib.blake2b(
        repr(
            (served.key, served.reference, served.arm, every, readings.unit, readings.time.dtype.char, readings.names)
            + ((sorted(readings.texts.items()),) if readings.texts else ())
        ).encode(),
        digest_size=16,
    )
    digest.update(readings.time.tobytes())
    digest.update(readings.values.tobytes())
    return digest.digest()


class PredictionCache(Protocol):
    """Where forecasts are kept, as the JSON of a unit's rows."""

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """What is known of each key."""

    async def put(self, found: Mapping[bytes, bytes]) -> None:
        """Keep these."""

    async def close(self) -> None:
        """Let go of connections."""


class NoCache:
    """Knows nothing."""

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Nothing."""
        return [None] * len(keys)

    async def put(self, found: Mapping[bytes, bytes]) -> None:
        """Forget."""

    async def close(self) -> None:
        """Nothing to let go."""


class MemoryCache:
    """The forecasts that were asked for last, in this process; used by the event loop only."""

    def __init__(self, entries: int, ttl_s: float) -> None:
        self._entries = entries
        self._ttl_s = ttl_s
        self._found: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._found)

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """What is known of each key, if it is not too old."""
        now = monotonic()
        found: list[bytes | None] = []
        for key in keys:
            entry = self._found.get(key)
            if entry is None:
                found.append(None)
            elif entry[0] < now:
                del self._found[key]
                found.append(None)
            else:
                self._found.move_to_end(key)
                found.append(entry[1])
        return found

    async def put(self, found: Mapping[bytes, bytes]) -> None:
        """Keep these, and as many of the others as there is room for."""
        until = monotonic() + self._ttl_s
        for key, value in found.items():
            self._found[key] = (until, value)
            self._found.move_to_end(key)
        while len(self._found) > self._entries:
            self._found.popitem(last=False)

    async def close(self) -> None:
        """Forget everything."""
        self._found.clear()


class RedisCache:
    """Forecasts that several processes share. While Redis is away nothing is known, and forecasts are made anew."""

    def __init__(self, client: Any, outside: Outside, ttl_s: float) -> None:
        self._client = client
        self._outside = outside
        self._ttl_ms = max(1, int(ttl_s * 1e3))

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """What is known of each key; nothing if Redis does not answer."""
        from wearcast.service.outside import OutsideDownError

        try:
            asked = lambda: cast("Awaitable[list[bytes | None]]", self._client.mget([_PREFIX + key for key in keys]))  # noqa: E731
            return await self._outside.call(asked)
        except OutsideDownError:
            return [None] * len(keys)

    async def put(self, found: Mapping[bytes, bytes]) -> None:
        """Keep these, if Redis answers."""
        from wearcast.service.outside import OutsideDownError

        try:
            await self._outside.call(lambda: self._write(found))
        except OutsideDownError:
            _LOG.debug("%d forecasts were not kept: Redis is away", len(found))

    async def _write(self, found: Mapping[bytes, bytes]) -> None:
        async with self._client.pipeline(transaction=False) as pipe:
            for key, value in found.items():
                pipe.set(_PREFIX + key, value, px=self._ttl_ms)
            await pipe.execute()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def open_cache(settings: CacheSettings, redis_url: str | None, outside: Outside) -> PredictionCache:
    """The cache that the settings ask for. Nothing is connected yet.

    Raises:
        ConfigError: it is Redis, and its URL is not set.
        MissingExtraError: it is Redis, and its client is not installed.
    """
    if settings.kind == "none":
        return NoCache()
    if settings.kind == "memory":
        return MemoryCache(settings.entries, settings.ttl_s)
    from wearcast.errors import ConfigError, require

    if redis_url is None:
        raise ConfigError("the cache is in Redis, and its URL is not set", where="cache.kind", hint="set redis_url")
    require("redis", extra="redis")
    import redis.asyncio as redis

    client = redis.Redis.from_url(redis_url, socket_timeout=0.5, socket_connect_timeout=0.5)
    return RedisCache(client, outside, settings.ttl_s)
