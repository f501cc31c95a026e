"""Calls to services outside the process: a budget of time, further attempts with jitter, and a circuit breaker.

One breaker a service, for callers on the event loop and in threads alike, so that what is down for the one is down for
the other. stamina spaces the attempts. No caller waits longer than the budget, whatever the service does.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import stamina

from wearcast.errors import RegistryUnavailableError, WearcastError
from wearcast.service.breaker import Breaker, BreakerState, Passage

__all__ = ["PATIENCE", "BreakerState", "Outside", "OutsideDownError", "Patience", "is_transient", "outside_services"]

T = TypeVar("T")
OnChange = Callable[[str, BreakerState, str | None], None]

# Base classes of errors that may be gone a moment later, by name: none of these packages is imported for it.
_TRANSIENT = frozenset(
    {
        "httpx.TransportError",
        "redis.exceptions.ConnectionError",
        "redis.exceptions.TimeoutError",
        "redis.exceptions.BusyLoadingError",
        "sqlalchemy.exc.OperationalError",
        "sqlalchemy.exc.TimeoutError",
        "botocore.exceptions.HTTPClientError",
        "botocore.exceptions.ConnectionError",
    }
)
_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_THREADS = 8  # calls of one service that may hang in threads at the same time


class OutsideDownError(WearcastError):
    """A service outside does not answer, or was not asked because it has not answered before."""

    def __init__(self, service: str, what: str, *, retry_after_s: float) -> None:
        self.service = service
        self.retry_after_s = retry_after_s
        super().__init__(what, where=service, hint=f"try again in {max(1, round(retry_after_s))} s")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a service is waited for and how soon it is given up.

    `budget_s` bounds a whole call with all its attempts and pauses, `attempt_s` one attempt. After `failures` calls in
    a row that failed the breaker opens for `rest_s`; then a single call tries again.
    """

    budget_s: float = 5.0
    attempt_s: float = 2.0
    attempts: int = 3
    failures: int = 3
    rest_s: float = 10.0
    pause_s: float = 0.05
    longest_pause_s: float = 1.0


# Redis is asked on the way of a request: it gets one short try, then the service goes on without it.
PATIENCE: Mapping[str, Patience] = {
    "registry": Patience(budget_s=20.0, attempt_s=8.0, attempts=3, failures=3, rest_s=15.0),
    "redis": Patience(budget_s=0.1, attempt_s=0.1, attempts=1, failures=3, rest_s=2.0),
    "oidc": Patience(budget_s=5.0, attempt_s=2.0, attempts=3, failures=3, rest_s=10.0),
    "vault": Patience(budget_s=10.0, attempt_s=3.0, attempts=3, failures=3, rest_s=10.0),
    "database": Patience(budget_s=5.0, attempt_s=4.0, attempts=2, failures=5, rest_s=2.0),
}


def outside_services(on_change: OnChange | None = None) -> dict[str, Outside]:
    """A guard for each service that Wearcast may ask, by name."""
    return {name: Outside(name, patience, on_change=on_change) for name, patience in PATIENCE.items()}


def is_transient(error: BaseException) -> bool:
    """Whether the same call may work a moment later: no connection, no answer in time, or the server says so."""
    if isinstance(error, ConnectionError | TimeoutError | RegistryUnavailableError):
        return True
    response = getattr(error, "response", None)
    if response is not None and getattr(response, "status_code", None) in _TRANSIENT_STATUS:
        return True
    return any(f"{kind.__module__}.{kind.__qualname__}" in _TRANSIENT for kind in type(error).__mro__)


class Outside:
    """The way to one service outside. Safe to use from the event loop and from threads at the same time."""

    def __init__(self, name: str, patience: Patience | None = None, *, on_change: OnChange | None = None) -> None:
        self.name = name
        self.patience = patience or Patience()
        self.last_error: str | None = None  # its class only: a message may hold an address or a secret
        self.latency_ms: float | None = None
        self._on_change = on_change
        # stamina would log the cause of each further attempt, which may hold an address or a secret, and take a while
        # to find out how, at the worst moment.
        stamina.instrumentation.set_on_retry_hooks(())
        self._told: BreakerState = "closed"
        self._breaker = Breaker(self.patience.failures, self.patience.rest_s)
        self._threads = threading.BoundedSemaphore(_THREADS)

    @property
    def state(self) -> BreakerState:
        """Whether calls go out (`closed`), are answered at once with an error (`open`), or the next one decides."""
        return self._breaker.state

    async def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """What `function()` answers.

        Raises:
            OutsideDownError: no answer within the budget, or the breaker is open. Errors that are not transient, such
                as one that the service itself answers, pass through.
        """
        with _Call(self):
            try:
                async with asyncio.timeout(self.patience.budget_s):
                    return await self._attempts(function)
            except TimeoutError as error:
                raise _Failed(error) from error

    def call_sync(self, function: Callable[[], T]) -> T:
        """What `function()` answers, for callers in a thread; the call itself runs in another one.

        A thread cannot be stopped from outside. One that outlasts the budget is left to end by itself, its answer is
        dropped, and at most a few may hang so at a time.

        Raises:
            OutsideDownError: as for `call`.
        """
        with _Call(self):
            end = time.monotonic() + self.patience.budget_s
            tried = self._try_sync(function, end)
            if not isinstance(tried, _Failed):
                return tried
            for attempt in self._further(end):
                with attempt:
                    tried = tried if attempt.num == 1 else self._try_sync(function, end)
                    if not isinstance(tried, _Failed):
                        return tried
                    raise tried
            raise tried  # pragma: no cover - stamina raises the last failure itself

    async def _attempts(self, function: Callable[[], Awaitable[T]]) -> T:
        end = time.monotonic() + self.patience.budget_s
        tried = await self._try(function)
        if not isinstance(tried, _Failed):  # the usual way does without stamina
            return tried
        async for attempt in self._further(end):
            with attempt:
                tried = tried if attempt.num == 1 else await self._try(function)
                if not isinstance(tried, _Failed):
                    return tried
                raise tried
        raise tried  # pragma: no cover - stamina raises the last failure itself

    async def _try(self, function: Callable[[], Awaitable[T]]) -> T | _Failed:
        try:
            if self.patience.attempts == 1:  # the budget is its limit
                return await function()
            async with asyncio.timeout(self.patience.attempt_s):
                return await function()
        except Exception as error:
            if is_transient(error):
                return _Failed(error)
            raise

    def _try_sync(self, function: Callable[[], T], end: float) -> T | _Failed:
        try:
            return self._in_thread(function, min(self.patience.attempt_s, end - time.monotonic()))
        except Exception as error:
            if is_transient(error):
                return _Failed(error)
            raise

    def _in_thread(self, function: Callable[[], T], timeout_s: float) -> T:
        began = time.monotonic()
        if not self._threads.acquire(timeout=max(0.0, timeout_s)):
            raise TimeoutError("all threads of this service hang")
        answer: list[T] = []
        problem: list[BaseException] = []
        done = threading.Event()

        def run() -> None:
            try:
                answer.append(function())
            except BaseException as error:
                problem.append(error)
            finally:
                self._threads.release()
                done.set()

        threading.Thread(target=run, name=f"outside-{self.name}", daemon=True).start()
        if not done.wait(max(0.0, timeout_s - (time.monotonic() - began))):
            raise TimeoutError
        if problem:
            raise problem[0]
        return answer[0]

    def _further(self, end: float) -> Any:
        """Attempts after the first, spaced with jitter; stamina counts the first one, so it is replayed to it."""
        # No pause that would end after the budget: a caller in a thread cannot be taken out of one.
        longest = max(0.0, min(self.patience.longest_pause_s, (end - time.monotonic()) / 2))
        return stamina.retry_context(
            on=lambda error: isinstance(error, _Failed) and time.monotonic() + longest < end,
            attempts=self.patience.attempts,
            timeout=None,
            wait_initial=self.patience.pause_s,
            wait_max=longest,
            wait_jitter=self.patience.pause_s,
        )

    def _enter(self) -> Passage:
        passage = self._breaker.enter()
        if passage is None:
            rest = self._breaker.rest_left_s or self.patience.attempt_s
            raise OutsideDownError(self.name, "it has not answered lately and is left alone", retry_after_s=rest)
        return passage

    def _tell(self) -> None:
        """Say a change of state once; two calls that end together may say it in either order."""
        state = self._breaker.state
        if state != self._told:
            self._told = state
            if self._on_change is not None:
                self._on_change(self.name, state, self.last_error)


class _Failed(Exception):  # noqa: N818 - carries a failure through stamina and the breaker, never leaves this file
    def __init__(self, cause: BaseException) -> None:
        self.cause = cause
        super().__init__(type(cause).__name__)


class _Call:
    """One call's way through the breaker, which learns how it ended."""

    __slots__ = ("_began", "_outside", "_passage")

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    def __enter__(self) -> None:
        self._passage = self._outside._enter()
        self._began = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        outside, breaker = self._outside, self._outside._breaker
        if error is not None and not isinstance(error, Exception):  # cancelled
            breaker.withdrawn(self._passage)
            return
        outside.latency_ms = (time.perf_counter() - self._began) * 1e3
        if not isinstance(error, _Failed):  # it answered, if only with an error of its own
            outside.last_error = None
            breaker.succeeded(self._passage)
            outside._tell()
            return
        outside.last_error = type(error.cause).__name__
        breaker.failed(self._passage)
        outside._tell()
        rest = breaker.rest_left_s or outside.patience.pause_s
        raise OutsideDownError(outside.name, _story(error.cause), retry_after_s=rest) from error.cause


def _story(error: BaseException) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else f"no answer ({type(error).__name__})"
