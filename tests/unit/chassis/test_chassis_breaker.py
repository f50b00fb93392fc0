"""The circuit breaker."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.breaker import TRANSITIONS_MAX, Breaker, BreakerPolicy, State, Transition, guard
from services.domain.errors import DomainError, Reason
from tests.support.clock import ManualClock

POLICY = BreakerPolicy(failures_max=3, window_s=10, open_s=5, probes=2, probe_timeout_s=20)


def opened() -> Breaker:
    breaker = Breaker("lighter http", POLICY)
    for _ in range(3):
        assert breaker.allow(100)
        breaker.failure(100, "503")
    return breaker


def test_it_opens_at_the_threshold_within_the_window_and_not_before() -> None:
    breaker = Breaker("x", POLICY)
    breaker.failure(0)
    breaker.failure(1)
    breaker.success(2)
    assert breaker.state(2) is State.CLOSED
    breaker.failure(12)  # the first two have left the window
    assert breaker.state(12) is State.CLOSED
    breaker.failure(13)
    breaker.failure(14)
    assert breaker.state(14) is State.OPEN


def test_open_refuses_and_says_how_long() -> None:
    breaker = opened()
    assert not breaker.allow(102)
    assert breaker.retry_after(102) == 3
    assert breaker.retry_after(105) == 0


def test_half_open_lets_only_the_probes_through_and_closes_when_all_succeed() -> None:
    breaker = opened()
    assert [breaker.allow(105) for _ in range(4)] == [True, True, False, False]
    breaker.success(106)
    assert breaker.state(106) is State.HALF_OPEN
    assert not breaker.allow(106)
    breaker.success(106)
    assert breaker.state(106) is State.CLOSED
    assert [(step.before, step.after) for step in breaker.transitions] == [
        (State.CLOSED, State.OPEN),
        (State.OPEN, State.HALF_OPEN),
        (State.HALF_OPEN, State.CLOSED),
    ]
    assert "3 failures within 10 s: 503" in breaker.transitions[0].why


def test_one_failed_probe_opens_it_again_for_the_whole_time() -> None:
    breaker = opened()
    assert breaker.allow(105)
    breaker.failure(106)
    assert breaker.state(110.9) is State.OPEN
    assert breaker.state(111) is State.HALF_OPEN


def test_a_probe_that_never_reports_counts_as_failed_and_a_canceled_one_gives_its_place_back() -> None:
    breaker = opened()
    assert breaker.allow(105)
    assert breaker.allow(105)
    breaker.forget(106)
    assert breaker.allow(106)
    assert breaker.state(124.9) is State.HALF_OPEN
    assert breaker.state(125) is State.OPEN


def test_transitions_are_told_and_the_memory_of_them_is_bounded() -> None:
    told: list[Transition] = []
    breaker = Breaker("x", BreakerPolicy(failures_max=1, open_s=1), on_transition=lambda _, step: told.append(step))
    for turn in range(100):
        now = turn * 10.0
        assert breaker.allow(now)
        breaker.failure(now)
        assert breaker.state(now + 1) is State.HALF_OPEN
        assert breaker.allow(now + 1)
        breaker.success(now + 1)
    assert len(told) == 300
    assert len(breaker.transitions) == TRANSITIONS_MAX


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["allow", "success", "failure", "forget"]), st.floats(0, 8)), max_size=80))
def test_whatever_happens_it_never_lets_more_probes_out_than_the_policy_and_always_recovers(
    steps: list[tuple[str, float]],
) -> None:
    breaker, now = Breaker("x", POLICY), 0.0
    for action, pause in steps:
        now += pause
        if action == "allow":
            breaker.allow(now)
        else:
            getattr(breaker, action)(now)
        if breaker.state(now) is State.HALF_OPEN:
            assert len(breaker._probes_out) + breaker._probes_good <= POLICY.probes
    for _ in range(2):  # left alone long enough, it lets someone try, and good answers close it
        now += POLICY.probe_timeout_s + POLICY.open_s
        breaker.state(now)
    for _ in range(POLICY.probes):
        assert breaker.allow(now)
        breaker.success(now)
    assert breaker.state(now) is State.CLOSED


async def test_the_guard_reports_failures_answers_and_cancellations() -> None:
    clock = ManualClock()
    breaker = Breaker("x", BreakerPolicy(failures_max=1, open_s=5))
    with pytest.raises(ValueError, match="bad request"):
        async with guard(breaker, clock, speaks_of_endpoint=lambda error: not isinstance(error, ValueError)):
            raise ValueError("bad request")
    assert breaker.state(clock.monotonic()) is State.CLOSED
    with pytest.raises(OSError, match="down"):
        async with guard(breaker, clock):
            raise OSError("down")
    with pytest.raises(DomainError) as caught:
        async with guard(breaker, clock, reason=Reason.VENUE_UNAVAILABLE):
            raise AssertionError("must not run")
    assert caught.value.reason is Reason.VENUE_UNAVAILABLE
    assert caught.value.retry_after_s == pytest.approx(5)
    await clock.advance(5)
    with pytest.raises(asyncio.CancelledError):
        async with guard(breaker, clock):
            raise asyncio.CancelledError
    async with guard(breaker, clock):
        pass
    assert breaker.state(clock.monotonic()) is State.CLOSED


def test_a_policy_that_could_never_work_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        BreakerPolicy(failures_max=0)
