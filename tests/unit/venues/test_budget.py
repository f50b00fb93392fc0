"""The budget: no window of its length ever holds more than its units, and what it says of waiting is true."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.venues.budget import Allowance, Budget

SECOND = 1_000_000_000


@given(st.lists(st.tuples(st.integers(0, 30 * SECOND), st.integers(1, 7), st.booleans()), max_size=60))
def test_no_window_ever_holds_more_than_its_units(asks: list[tuple[int, int, bool]]) -> None:
    budget = Budget(Allowance(units=20, seconds=60, reserve=5), Allowance(units=8, seconds=1, reserve=1))
    now = 0
    spent: list[tuple[int, int, bool]] = []
    for step, units, urgent in asks:
        now += step
        free_ns = budget.free_at_ns(now, units, urgent=urgent)
        taken = budget.take(now, units, urgent=urgent)
        assert taken == (free_ns <= now)
        if taken:
            spent.append((now, units, urgent))
    for limit, seconds in ((20, 60), (8, 1)):
        for at, _, _ in spent:
            assert sum(units for when, units, _ in spent if at - seconds * SECOND < when <= at) <= limit


@given(st.integers(1, 8), st.lists(st.integers(0, 20 * SECOND), min_size=1, max_size=40))
def test_waiting_until_it_says_is_enough_and_not_too_long(units: int, steps: list[int]) -> None:
    budget = Budget(Allowance(units=8, seconds=60))
    now = 0
    for step in steps:
        now += step
        free_ns = budget.free_at_ns(now, units)
        if free_ns > now:
            assert not budget.take(free_ns - 1, units)
            now = free_ns
        assert budget.take(now, units)


def test_only_urgent_use_draws_on_the_reserve() -> None:
    budget = Budget(Allowance(units=3, seconds=60, reserve=1))
    assert [budget.take(0) for _ in range(3)] == [True, True, False]
    assert budget.take(0, urgent=True)
    assert not budget.take(0, urgent=True)
    assert budget.used(0) == (3, 3)
    assert budget.used(60 * SECOND) == (0, 3)


def test_what_is_heavier_than_the_window_waits_for_an_empty_one() -> None:
    budget = Budget(Allowance(units=3, seconds=60))
    assert budget.take(0, 1)
    assert budget.free_at_ns(1, 9) == 60 * SECOND
    assert budget.take(60 * SECOND, 9)


@pytest.mark.parametrize("allowance", [Allowance(units=0, seconds=1), Allowance(units=1, seconds=0)])
def test_a_budget_of_nothing_is_refused(allowance: Allowance) -> None:
    with pytest.raises(ValueError, match="at least one unit"):
        Budget(allowance)
