"""Calls to services outside: within a budget, tried again where that may help, left alone where it does not."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wearcast.errors import RegistryError, RegistryUnavailableError
from wearcast.service.outside import PATIENCE, Outside, OutsideDownError, Patience, is_transient, outside_services

QUICK = Patience(budget_s=0.3, attempt_s=0.1, attempts=3, failures=2, rest_s=0.05, pause_s=0.001, longest_pause_s=0.02)


class Flaky:
    """A service that answers as its script says, then well."""

    def __init__(self, *script: BaseException | float) -> None:
        self.script = list(script)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        step = self.script.pop(0) if self.script else 0.0
        if isinstance(step, BaseException):
            raise step
        await asyncio.sleep(step)
        return "answer"

    def sync(self) -> str:
        self.calls += 1
        step = self.script.pop(0) if self.script else 0.0
        if isinstance(step, BaseException):
            raise step
        time.sleep(step)
        return "answer"


def ask(outside: Outside, service: Flaky, *, sync: bool) -> str:
    if sync:
        return outside.call_sync(service.sync)
    return asyncio.run(outside.call(service))


both = pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])


@both
def test_a_transient_error_is_tried_again_and_nobody_hears_of_it(sync: bool) -> None:
    patient = replace(QUICK, budget_s=10.0, attempt_s=0.5)  # a busy machine lets a thread wait
    service, outside = Flaky(ConnectionResetError(), 5.0), Outside("registry", patient)
    assert ask(outside, service, sync=sync) == "answer"
    assert service.calls == 3
    assert outside.state == "closed"
    assert outside.last_error is None
    assert outside.latency_ms is not None


@both
def test_an_error_that_the_service_itself_answers_passes_through_and_is_no_failure(sync: bool) -> None:
    outside = Outside("registry", QUICK)
    for _ in range(5):
        service = Flaky(RegistryError("no such model"))
        with pytest.raises(RegistryError, match="no such model"):
            ask(outside, service, sync=sync)
        assert service.calls == 1
    assert outside.state == "closed"


@both
def test_a_service_that_is_down_is_left_alone_tried_by_one_and_taken_back(sync: bool) -> None:
    told: list[tuple[str, str, str | None]] = []
    outside = Outside("redis", QUICK, on_change=lambda *change: told.append(change))
    for _ in range(2):
        with pytest.raises(OutsideDownError, match="no answer"):
            ask(outside, Flaky(*[ConnectionRefusedError("secret://user:pw@host")] * 3), sync=sync)
    assert outside.state == "open"
    assert outside.last_error == "ConnectionRefusedError"
    service = Flaky()
    with pytest.raises(OutsideDownError, match="left alone") as caught:
        ask(outside, service, sync=sync)
    assert service.calls == 0
    assert 0 < caught.value.retry_after_s <= QUICK.rest_s
    assert "pw" not in str(caught.value)
    time.sleep(QUICK.rest_s)
    assert ask(outside, service, sync=sync) == "answer"
    assert told == [("redis", "open", "ConnectionRefusedError"), ("redis", "closed", None)]


def test_while_one_call_tries_a_service_again_the_others_are_answered_at_once() -> None:
    async def story() -> list[object]:
        outside = Outside("redis", QUICK)
        for _ in range(2):
            with pytest.raises(OutsideDownError):
                await outside.call(Flaky(*[ConnectionError()] * 3))
        await asyncio.sleep(QUICK.rest_s)
        service = Flaky(0.03)
        return await asyncio.gather(*(outside.call(service) for _ in range(8)), return_exceptions=True)

    answers = asyncio.run(story())
    assert answers.count("answer") == 1
    assert sum(isinstance(answer, OutsideDownError) for answer in answers) == 7


def test_a_caller_that_goes_away_teaches_nothing() -> None:
    async def story() -> Outside:
        outside = Outside("redis", QUICK)
        for _ in range(5):
            task = asyncio.create_task(outside.call(Flaky(5.0)))
            await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        return outside

    assert asyncio.run(story()).state == "closed"


Step = st.one_of(st.floats(0, 0.08), st.sampled_from([ConnectionError("down"), TimeoutError(), OSError(5, "io")]))


@given(st.lists(Step, max_size=6), st.booleans())
@settings(max_examples=25)
def test_nobody_waits_longer_than_the_budget(script: list[BaseException | float], sync: bool) -> None:
    patience = Patience(budget_s=0.06, attempt_s=0.03, attempts=4, failures=9, pause_s=0.5, longest_pause_s=2.0)
    outside = Outside("vault", patience)
    began = time.monotonic()
    with contextlib.suppress(OutsideDownError, OSError):
        assert ask(outside, Flaky(*script), sync=sync) == "answer"
    # The rest is the event loop's and the threads' own start on a machine that has other work.
    assert time.monotonic() - began < patience.budget_s + 0.35


def test_calls_that_hang_in_threads_are_few_and_the_next_one_is_told() -> None:
    outside = Outside("vault", Patience(budget_s=0.02, attempt_s=0.02, attempts=1, failures=100))
    release = threading.Event()
    for _ in range(12):
        with pytest.raises(OutsideDownError):
            outside.call_sync(lambda: release.wait(10))
    hanging = [thread for thread in threading.enumerate() if thread.name == "outside-vault"]
    release.set()
    for thread in hanging:
        thread.join(10)
    assert len(hanging) == 8
    assert outside.call_sync(lambda: "answer") == "answer"


def test_what_may_be_gone_a_moment_later_and_what_may_not() -> None:
    request = httpx.Request("GET", "http://host")

    def status(code: int) -> httpx.HTTPStatusError:
        return httpx.HTTPStatusError("", request=request, response=httpx.Response(code, request=request))

    transient = [ConnectionError(), TimeoutError(), httpx.ConnectError(""), httpx.ReadTimeout(""), status(503)]
    assert all(is_transient(error) for error in [*transient, status(429), RegistryUnavailableError("")])
    lasting = [ValueError(), FileNotFoundError(), status(404), status(401), RegistryError("")]
    assert not any(is_transient(error) for error in lasting)


def test_drivers_errors_are_known_by_their_names_without_importing_them() -> None:
    import redis
    import sqlalchemy as sa

    assert is_transient(redis.exceptions.ConnectionError())
    assert is_transient(sa.exc.OperationalError("SELECT 1", {}, Exception()))
    assert not is_transient(redis.exceptions.ResponseError())


def test_there_is_a_guard_for_each_service_and_redis_is_never_waited_for_long() -> None:
    services = outside_services()
    assert set(services) == {"registry", "redis", "oidc", "vault", "database"} == set(PATIENCE)
    assert services["redis"].patience.budget_s <= 0.1
    assert all(guard.state == "closed" and guard.latency_ms is None for guard in services.values())


@pytest.mark.parametrize("function", [Flaky(OSError(28, "no space"))])
def test_an_error_of_this_machine_is_no_failure_of_the_service(function: Callable[[], Awaitable[str]]) -> None:
    outside = Outside("registry", QUICK)
    with pytest.raises(OSError, match="no space"):
        asyncio.run(outside.call(function))
    assert outside.state == "closed"
