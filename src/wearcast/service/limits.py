"""How often a client may ask: a count by class of route, in this process or in Redis for all of them.

Windows are fixed and begin with the clock, so that each process and Redis mean the same one; at the seam of two
windows a client can so have twice its rate for a moment. In Redis the count is `limits`' script; in the process it is
a dictionary, because `limits`' own memory store starts a thread every ten milliseconds to expire its keys
(7 to 40 µs a request, and 0.5 ms where requests are sparse; this takes 1 µs).

When Redis does not answer, each process counts for itself, a worker its share of the rate: never without a limit.
"""

from __future__ import annotations

import ipaddress
import logging
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
UNPROVEN = 60
"""Refused tokens that one address may send a minute before it is no longer listened to."""


class Verdict(NamedTuple):
    """Whether a request may pass, and what is left."""

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


class _Window:
    """Counts of the window of now, for one class; the counts of the last window go when the first of the next comes."""

    __slots__ = ("amount", "counts", "number", "seconds")

    def __init__(self, amount: int, seconds: int) -> None:
        self.amount = amount
        self.seconds = seconds
        self.number = 0
        self.counts: dict[str, int] = {}

    def count(self, who: str, now: float) -> int:
        number = int(now // self.seconds)
        if number != self.number:
            self.number = number
            self.counts = {}
        counts = self.counts
        if who not in counts and len(counts) >= _MOST_KEYS:
            who = _OTHERS  # so many names at once are one attacker: they share what one may have
        counts[who] = seen = counts.get(who, 0) + 1
        return seen

    def verdict(self, seen: int, now: float, amount: int) -> Verdict:
        reset_s = self.seconds - int(now % self.seconds)
        return Verdict(seen <= amount, amount, amount - seen if seen < amount else 0, reset_s)


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
            clock: seconds since 1970.
        """
        rates = limits.rates.model_dump()
        self._windows = {name: _Window(*parse_rate(rate)) for name, rate in rates.items()}
        self._unproven = _Window(UNPROVEN, 60)
        self._shares = {name: max(1, window.amount // workers) for name, window in self._windows.items()}
        self._clock = clock
        self._outside = outside
        self._storage: Any = _redis(redis_url) if limits.storage == "redis" and redis_url is not None else None
        self.degraded = False
        """Whether Redis should count and does not answer."""

    @property
    def shared(self) -> bool:
        """Whether Redis counts for all processes."""
        return self._storage is not None

    def hit_here(self, kind: LimitClass, who: str) -> Verdict:
        """Count one request in this process."""
        now = self._clock()
        window = self._windows[kind]
        return window.verdict(window.count(who, now), now, window.amount)

    async def hit(self, kind: LimitClass, who: str) -> Verdict:
        """Count one request, in Redis where it is set up and answers."""
        if self._storage is None:
            return self.hit_here(kind, who)
        now = self._clock()
        window = self._windows[kind]
        seen = await self._ask(f"{kind}:{int(now // window.seconds)}:{who}", window.seconds)
        if seen is None:
            return window.verdict(window.count(who, now), now, self._shares[kind])
        return window.verdict(seen, now, window.amount)

    def unproven(self, address: str) -> None:
        """Count a token from this address that was refused."""
        self._unproven.count(address, self._clock())

    def is_tiring(self, address: str) -> bool:
        """Whether so many refused tokens came from this address that no other is checked for it just now."""
        now = self._clock()
        window = self._unproven
        return window.number == int(now // 60) and window.counts.get(address, 0) >= window.amount

    async def close(self) -> None:
        """Leave Redis."""
        if self._storage is not None:
            await self._storage.bridge.get_connection().aclose()

    async def _ask(self, key: str, seconds: int) -> int | None:
        """The count in Redis after this request; None where there is none to be had."""
        from redis.exceptions import RedisError

        from wearcast.service.outside import OutsideDownError

        try:
            if self._outside is None:
                seen = await self._storage.incr(key, seconds + 1)
            else:
                seen = await self._outside.call(lambda: self._storage.incr(key, seconds + 1))
        except (RedisError, OutsideDownError, OSError) as error:
            if not self.degraded:
                _LOG.warning("limits are counted in this process: Redis does not (%s)", type(error).__name__)
            self.degraded = True
            return None
        if self.degraded:
            _LOG.info("limits are counted in Redis again")
            self.degraded = False
        return int(seen)


def _redis(url: str) -> Any:
    require("redis", extra="redis")
    from limits.aio.storage import RedisStorage

    return RedisStorage(
        f"async+{url}", implementation="redispy", key_prefix=PREFIX, socket_timeout=0.25, socket_connect_timeout=0.25
    )
