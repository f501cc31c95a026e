"""How often a client may ask, by class of route: counted in this process, or in Redis for all of them.

Each client has a bucket that holds as many requests as its rate says and fills evenly: whoever was away may send all of
them at once, and then as many as come in. There is no seam of two windows at which twice the rate would pass. What is
kept is one number, the time at which the bucket is full again (the generic cell rate algorithm of ATM Forum TM 4.0); so
it is told exactly when the next request may come, and a refused one costs nothing.

When Redis does not answer, each process counts for itself, a worker its share of the rate: never without a limit.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from wearcast.errors import require
from wearcast.service.access import LimitClass
from wearcast.service.settings import LimitsSettings

if TYPE_CHECKING:
    from wearcast.service.outside import Outside

__all__ = ["Limiter", "Verdict", "address_key", "parse_rate"]

_LOG = logging.getLogger("wearcast.service.limits")
_SECONDS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
_MOST_KEYS = 50_000
_OTHERS = "\0others"
PREFIX = "wearcast:limits"
_LOST_S = 0.01  # what ten thousand sums of seconds since 1970 may be off
UNPROVEN = 60
"""Refused tokens that one address may send a minute before it is no longer listened to."""

# `_Buckets.hit` in one step of Redis: of processes that ask at once, each takes what the one before has left.
_SCRIPT = """
local now, step, span = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local owed = math.min(math.max(tonumber(redis.call('GET', KEYS[1]) or now) - now, 0), span)
if owed + step > span + math.min(step / 2, 0.01) then return {0, tostring(owed)} end
owed = owed + step
redis.call('SET', KEYS[1], string.format('%.6f', now + owed), 'PX', math.ceil(owed * 1000) + 1000)
return {1, tostring(owed)}
"""


class Verdict(NamedTuple):
    """Whether a request may pass, and what is left.

    Attributes:
        allowed: whether it may.
        limit: requests that a full bucket holds.
        remaining: requests that it holds now.
        reset_s: seconds until it is full; of a request that may not pass, until the next one may.
    """

    allowed: bool
    limit: int
    remaining: int
    reset_s: int


def parse_rate(text: str) -> tuple[int, int]:
    """`6000/minute` as how many and in how many seconds."""
    amount, _, unit = text.partition("/")
    return int(amount), _SECONDS[unit]


def address_key(address: str) -> str:
    """Who an address is: an IPv6 customer owns at least a /64, so all of it is one."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, 64), strict=False).network_address)


class _Buckets:
    """The buckets of one class: for each client the time at which its own is full again.

    A time older than a span is over, so two generations are kept, and the older one goes when a new one begins.
    """

    __slots__ = ("amount", "before", "full", "generation", "span", "step")

    def __init__(self, amount: int, span: int) -> None:
        self.amount = amount
        self.span = span
        self.step = span / amount
        self.generation = 0
        self.full: dict[str, float] = {}
        self.before: dict[str, float] = {}

    def owed(self, who: str, now: float) -> float:
        """Seconds until the bucket is full."""
        generation = int(now // self.span)
        if generation != self.generation:
            self.before = self.full if generation == self.generation + 1 else {}
            self.full = {}
            self.generation = generation
        at = self.full.get(who) or self.before.get(who, 0.0)
        return min(at - now, self.span) if at > now else 0.0  # a clock that was put back locks nobody out

    def hit(self, who: str, now: float) -> Verdict:
        """Take one request out, if there is one."""
        owed = self.owed(who, now)
        if not owed and len(self.full) >= _MOST_KEYS and who not in self.full:
            who = _OTHERS  # so many names at once are one attacker: they share what one may have
            owed = self.owed(who, now)
        if allowed := self.has_room(owed):
            owed += self.step
            self.full[who] = now + owed
        return self.verdict(allowed, owed)

    def has_room(self, owed: float) -> bool:
        """Whether one more fits in, give or take what floating point loses."""
        return owed + self.step <= self.span + min(self.step / 2, _LOST_S)

    def verdict(self, allowed: bool, owed: float) -> Verdict:
        """What to tell a client whose bucket is full in so many seconds."""
        if not allowed:
            return Verdict(False, self.amount, 0, max(1, math.ceil(owed + self.step - self.span)))
        return Verdict(True, self.amount, int((self.span - owed) / self.step + 0.5), math.ceil(owed))


class Limiter:
    """Counts requests and says which are too many."""

    def __init__(
        self,
        limits: LimitsSettings,
        *,
        redis_url: str | None = None,
        workers: int = 1,
        outside: Outside | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is asked yet.

        Args:
            limits: the rates, and whether they are counted in Redis.
            redis_url: where Redis is, revealed.
            workers: processes that serve together; without Redis each gives out its share.
            outside: the guard of calls to Redis.
            clock: seconds since 1970, the same for all processes that share a Redis.
        """
        rates = {name: parse_rate(rate) for name, rate in limits.rates.model_dump().items()}
        self._buckets = {name: _Buckets(*rate) for name, rate in rates.items()}
        self._shares = {name: _Buckets(max(1, amount // workers), span) for name, (amount, span) in rates.items()}
        self._unproven = _Buckets(UNPROVEN, 60)
        self._clock = clock
        self._outside = outside
        self._redis: Any = None
        if limits.storage == "redis" and redis_url is not None:
            self._redis = _redis(redis_url)
            self._script = self._redis.register_script(_SCRIPT)
        self.degraded = False
        """Whether Redis should count and does not answer."""

    @property
    def shared(self) -> bool:
        """Whether Redis counts for all processes."""
        return self._redis is not None

    def hit_here(self, kind: LimitClass, who: str) -> Verdict:
        """Count one request in this process."""
        return self._buckets[kind].hit(who, self._clock())

    async def hit(self, kind: LimitClass, who: str) -> Verdict:
        """Count one request, in Redis where it is set up and answers."""
        if self._redis is None:
            return self.hit_here(kind, who)
        now, buckets = self._clock(), self._buckets[kind]
        told = await self._ask(f"{PREFIX}:{kind}:{who}", now, buckets)
        if told is None:
            return self._shares[kind].hit(who, now)
        return buckets.verdict(*told)

    def unproven(self, address: str) -> None:
        """Count a token from this address that was refused."""
        self._unproven.hit(address, self._clock())

    def is_tiring(self, address: str) -> bool:
        """Whether so many refused tokens came from this address that no other is checked for it just now."""
        return not self._unproven.has_room(self._unproven.owed(address, self._clock()))

    async def close(self) -> None:
        """Leave Redis."""
        if self._redis is not None:
            await self._redis.aclose()

    async def _ask(self, key: str, now: float, buckets: _Buckets) -> tuple[bool, float] | None:
        """Whether Redis lets this request pass, and when the bucket is full; None where there is no answer."""
        from redis.exceptions import RedisError

        from wearcast.service.outside import OutsideDownError

        arguments = [repr(now), repr(buckets.step), buckets.span]
        try:
            if self._outside is None:
                allowed, owed = await self._script([key], arguments)
            else:
                allowed, owed = await self._outside.call(lambda: self._script([key], arguments))
        except (RedisError, OutsideDownError, OSError) as error:
            if not self.degraded:
                _LOG.warning("limits are counted in this process: Redis does not (%s)", type(error).__name__)
            self.degraded = True
            return None
        if self.degraded:
            _LOG.info("limits are counted in Redis again")
            self.degraded = False
        return bool(allowed), float(owed)


def _redis(url: str) -> Any:
    require("redis", extra="redis")
    import redis.asyncio as redis

    return redis.Redis.from_url(url, socket_timeout=0.25, socket_connect_timeout=0.25)
