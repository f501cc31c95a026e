"""The circuit breaker: opens after failures in a row, rests, and lets one call decide."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from wearcast.service.breaker import Breaker, Passage


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make_breaker(failures: int = 3, rest_s: float = 10.0) -> tuple[Breaker, Clock]:
    clock = Clock()
    return Breaker(failures, rest_s, clock=clock), clock


def said(breaker: Breaker) -> str:
    return breaker.state


def entered(breaker: Breaker) -> Passage:
    passage = breaker.enter()
    assert passage is not None
    return passage


def broken() -> tuple[Breaker, Clock]:
    breaker, clock = make_breaker()
    for _ in range(3):
        breaker.failed(entered(breaker))
    return breaker, clock


def test_failures_in_a_row_open_it_and_a_success_between_them_does_not() -> None:
    breaker, _ = make_breaker()
    for outcome in (breaker.failed, breaker.failed, breaker.succeeded, breaker.failed, breaker.failed):
        outcome(entered(breaker))
    assert said(breaker) == "closed"
    breaker.failed(entered(breaker))
    assert said(breaker) == "open"
    assert breaker.enter() is None


def test_it_rests_and_then_lets_one_call_through_at_a_time() -> None:
    breaker, clock = broken()
    clock.now += 9.9
    assert breaker.enter() is None
    assert 0 < breaker.rest_left_s < 0.2
    clock.now += 0.2
    assert said(breaker) == "half-open"
    assert entered(breaker).probe
    assert breaker.enter() is None


def test_the_probe_decides() -> None:
    breaker, clock = broken()
    clock.now += 10
    breaker.failed(entered(breaker))
    assert said(breaker) == "open"
    assert breaker.enter() is None
    clock.now += 10
    breaker.succeeded(entered(breaker))
    assert said(breaker) == "closed"
    assert not entered(breaker).probe


def test_a_probe_whose_caller_went_away_makes_room_for_the_next() -> None:
    breaker, clock = broken()
    clock.now += 10
    breaker.withdrawn(entered(breaker))
    assert said(breaker) == "half-open"
    assert entered(breaker).probe


def test_what_an_earlier_era_has_to_tell_is_not_heard() -> None:
    breaker, clock = make_breaker()
    old = [entered(breaker) for _ in range(5)]
    for passage in old[:3]:
        breaker.failed(passage)
    breaker.succeeded(old[3])
    assert said(breaker) == "open"
    clock.now += 10
    probe = entered(breaker)
    breaker.succeeded(old[4])
    assert breaker.enter() is None, "the probe is still under way"
    breaker.succeeded(probe)
    breaker.failed(old[0])
    assert said(breaker) == "closed"


def test_of_many_threads_one_is_the_probe() -> None:
    breaker, clock = broken()
    clock.now += 10
    start = threading.Barrier(16)
    passed: list[Passage] = []

    def ask() -> None:
        start.wait()
        passage = breaker.enter()
        if passage is not None:
            passed.append(passage)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [passage.probe for passage in passed] == [True]


Act = st.sampled_from(["enter", "succeed", "fail", "withdraw", "wait"])


@given(st.lists(st.tuples(Act, st.integers(0, 5)), max_size=60))
def test_whatever_happens_there_is_never_a_second_probe_and_never_a_call_while_it_rests(
    acts: list[tuple[str, int]],
) -> None:
    breaker, clock = make_breaker(failures=2)
    under_way: list[Passage] = []
    for act, which in acts:
        if act == "wait":
            clock.now += 4
        elif act == "enter":
            resting = breaker.state == "open"
            passage = breaker.enter()
            assert not (resting and passage is not None)
            if passage is not None:
                under_way.append(passage)
        elif under_way:
            passage = under_way.pop(which % len(under_way))
            {"succeed": breaker.succeeded, "fail": breaker.failed, "withdraw": breaker.withdrawn}[act](passage)
        eras = [passage.era for passage in under_way if passage.probe]
        assert len(eras) == len(set(eras))
