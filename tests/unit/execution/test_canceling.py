"""What of an order is canceled where only a venue or an account is meant."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from services.execution.model.canceling import EVERYWHERE, CancelScope, is_canceling, to_cancel
from services.execution.model.leg import Leg, LegState, Role
from services.execution.model.order import Order
from services.execution.model.twap import Terms, Twap
from tests.unit.execution.test_leg import NOW, leg
from tests.unit.execution.test_replacing import order, terms

HERE, THERE = UUID(int=20), UUID(int=21)
LIGHTER = CancelScope(venue="lighter")


def at(number: int, venue: str, account: UUID, state: LegState = LegState.OPEN, **changes: object) -> Leg:
    return leg(leg_id=UUID(int=number), number=number, venue=venue, account_id=account, state=state, **changes)


def both(first: LegState = LegState.OPEN, second: LegState = LegState.OPEN) -> Order:
    return order(at(1, "hyperliquid", HERE, first), at(2, "lighter", THERE, second))


def wanted(one: Order) -> list[int]:
    """Return the numbers of the legs that are to be canceled."""
    return [each.number for each in one.legs if each.cancel_wanted]


CASES = (
    # scope, legs' states, legs canceled, whether the whole order is
    (EVERYWHERE, both(), [1, 2], True),
    (EVERYWHERE, both(first=LegState.FILLED), [2], True),
    (LIGHTER, both(), [2], False),
    (CancelScope(account_ids=(HERE,)), both(), [1], False),
    (CancelScope(account_ids=(HERE, THERE)), both(), [1, 2], True),
    (CancelScope(venue="lighter", account_ids=(HERE,)), both(), [], False),
    (LIGHTER, both(first=LegState.FILLED), [2], True),
    (LIGHTER, both(second=LegState.FILLED), [], False),
    (LIGHTER, both(second=LegState.HELD), [], False),
)


@pytest.mark.parametrize(("scope", "before", "legs", "whole"), CASES)
def test_only_what_is_open_in_the_scope_is_canceled(
    scope: CancelScope, before: Order, legs: list[int], whole: bool
) -> None:
    after = to_cancel(before, scope, NOW)
    assert (wanted(after), after.cancel_time is not None) == (legs, whole)
    assert is_canceling(after, scope) == bool(legs)
    assert (after is before) == (not legs)
    again = to_cancel(after, scope, NOW)
    assert again is after, "the same wish changes nothing"


def test_what_was_canceled_at_one_venue_can_be_canceled_whole_later() -> None:
    after = to_cancel(to_cancel(both(), LIGHTER, NOW), EVERYWHERE, NOW)
    assert (wanted(after), after.cancel_time) == ([1, 2], NOW)


def test_slices_to_come_elsewhere_go_on() -> None:
    schedule = Twap(
        terms=Terms(duration=timedelta(minutes=9), interval=timedelta(seconds=30)), seed=1,
        account_ids=(HERE, THERE), start_time=NOW, next_slice=2, sent=1,
    )  # fmt: skip
    slices = order(at(2, "lighter", THERE, role=Role.SLICE, part=1), twap=schedule)
    after = to_cancel(replace(slices, legs=(replace(slices.legs[0], number=1),)), LIGHTER, NOW)
    assert (wanted(after), after.cancel_time) == ([1], None)
    assert after.is_slicing
    alone = replace(slices, twap=replace(schedule, account_ids=(THERE,)))
    assert to_cancel(alone, LIGHTER, NOW).cancel_time == NOW


def test_a_whole_cancel_ends_a_replacement_and_one_elsewhere_leaves_it() -> None:
    resting = order(at(7, "hyperliquid", HERE), replacement=terms())
    assert to_cancel(resting, CancelScope(venue="hyperliquid"), NOW).replacement is None
    assert to_cancel(resting, LIGHTER, NOW) is resting


def test_orders_that_only_reduce_are_left_where_that_is_asked() -> None:
    reduces = order(at(1, "lighter", HERE, reduce_only=True, size=Decimal(3)))
    assert to_cancel(reduces, CancelScope(keep_reduce_only=True), NOW) is reduces
    assert to_cancel(reduces, EVERYWHERE, NOW).cancel_time == NOW
