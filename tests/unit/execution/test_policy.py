"""Leg policies: what is due on an order whose legs fell short, and how it ends."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.execution.model import policy, remedy
from services.execution.model.leg import Leg, LegState, Role
from services.execution.model.order import Order, OrderState, concluded
from services.execution.model.policy import LegPolicy, Remedy
from services.execution.model.remedy import Act
from services.execution.store.remedies import remedy_json, remedy_of
from services.venues.actions import Side, TimeInForce
from tests.unit.execution.test_leg import NOW, leg
from tests.unit.execution.test_replacing import order as some_order

D = Decimal
S = LegState
KEEP, REROUTE, UNWIND = LegPolicy
IOC, GTC = TimeInForce.IMMEDIATE_OR_CANCEL, TimeInForce.GOOD_TILL_CANCELED


def part(number: int, state: LegState, filled: object = 0, *, size: object = 2, **changes: object) -> Leg:
    """Return a leg of two; each is at a venue of its own."""
    given = {"time_in_force": IOC, "venue": f"venue{number}", "account_id": UUID(int=100 + number)} | changes
    return leg(
        leg_id=UUID(int=number), number=number, state=state, size=D(str(size)), filled=D(str(filled)),
        notional=D(str(filled)) * 100, **given,
    )  # fmt: skip


def order(which: LegPolicy, *legs: Leg, **changes: object) -> Order:
    return some_order(*legs, **({"leg_policy": which, "size": D(4)} | changes))


FULL = part(2, S.FILLED, 2)
DUE = (
    # what the first leg came to, the second, changes of the order; due by REROUTE, due by UNWIND
    (part(1, S.REJECTED), FULL, {}, Act.REROUTE, Act.TRADE_BACK),
    (part(1, S.DENIED), FULL, {}, Act.REROUTE, Act.TRADE_BACK),
    (part(1, S.FAILED), FULL, {}, Act.REROUTE, Act.TRADE_BACK),
    (part(1, S.CANCELED, 1), FULL, {}, Act.REROUTE, Act.TRADE_BACK),
    (part(1, S.EXPIRED), FULL, {}, Act.REROUTE, Act.TRADE_BACK),
    (part(1, S.REJECTED), part(2, S.REJECTED), {}, Act.REROUTE, None),
    (part(1, S.FILLED, 2), FULL, {}, None, None),
    # never while anything is out, or its outcome unknown
    *((part(1, S.REJECTED), part(2, state), {}, None, None) for state in LegState if not state.is_final),
    # nor where that is the owner's doing
    (part(1, S.CANCELED, cancel_wanted=True), FULL, {}, None, None),
    (part(1, S.REJECTED), FULL, {"cancel_time": NOW}, None, None),
    # what rested and was ended at its venue is not placed anew; what rested to its time fell short
    (part(1, S.CANCELED, 1, time_in_force=GTC), FULL, {}, None, None),
    (part(1, S.REJECTED, time_in_force=GTC), FULL, {}, Act.REROUTE, Act.TRADE_BACK),
    (part(1, S.EXPIRED, 1, time_in_force=GTC), part(2, S.FILLED, 2, time_in_force=GTC), {}, None, Act.TRADE_BACK),
    # what has ended has ended
    (part(1, S.REJECTED), FULL, {"finish_time": NOW}, None, None),
)


@pytest.mark.parametrize(("one", "two", "changes", "by_reroute", "by_unwind"), DUE)
def test_a_policy_acts_when_every_leg_has_ended_and_one_fell_short(
    one: Leg, two: Leg, changes: dict[str, object], by_reroute: Act | None, by_unwind: Act | None
) -> None:
    for which, expected in ((KEEP, None), (REROUTE, by_reroute), (UNWIND, by_unwind)):
        wish = order(which, one, two, **changes)
        due = remedy.due(wish)
        assert (due.act if due is not None else None) is expected, which
        assert (wish.remedy_time is not None) == (expected is not None)
        if expected is not None:
            assert wish.state is OrderState.RUNNING, "what is due has not ended"
            assert concluded(wish, NOW).finish_time is None
            given_up = replace(wish, remedy=replace(remedy.begun(wish, NOW), is_over=True))
            assert remedy.due(given_up) is None
            assert given_up.state.is_final


def rerouted(before: Order, size: object, state: LegState, filled: object = 0, **changes: object) -> Order:
    """Return the order with another leg that was made for what was missing."""
    number = len(before.legs) + 1
    fresh = part(number, state, filled, size=size, role=Role.REROUTE, **changes)
    done = remedy.begun(before, NOW)
    return replace(before, legs=(*before.legs, fresh), remedy=replace(done, rounds=done.rounds + 1))


def test_what_is_routed_again_is_what_is_missing_and_no_more() -> None:
    wish = order(REROUTE, part(1, S.CANCELED, "0.5"), FULL)
    assert policy.to_reroute(wish.legs, wish.size) == D("1.5")
    assert remedy.begun(wish, NOW).missing == D("1.5")
    assert remedy.begun(wish, NOW).leg_id == UUID(int=1)
    out = rerouted(wish, "1.5", S.SUBMIT_UNKNOWN)
    assert policy.to_reroute(out.legs, out.size) == 0
    assert (remedy.due(out), out.state) == (None, OrderState.SUBMIT_UNKNOWN)
    assert rerouted(wish, "1.5", S.FILLED, "1.5").state is OrderState.DONE
    short = rerouted(wish, "1.5", S.CANCELED, "0.5")
    assert policy.to_reroute(short.legs, short.size) == 1
    assert [one.venue for one in policy.short_legs(short.legs, REROUTE)] == ["venue1", "venue3"]
    whole = rerouted(short, 1, S.FILLED, 1)
    assert (whole.state, whole.filled) == (OrderState.DONE, 4)


def test_what_its_owner_canceled_is_not_routed_again_beside_what_was_refused() -> None:
    wish = order(REROUTE, part(1, S.REJECTED), part(2, S.CANCELED, 1, cancel_wanted=True))
    assert policy.to_reroute(wish.legs, wish.size) == 2


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=6), st.integers(0, 3))
def test_never_is_more_out_than_was_ordered(fills: list[tuple[int, int]], late: int) -> None:
    wish = order(REROUTE, part(1, S.CANCELED, 0, size=4), part(2, S.CANCELED, 0, size=4), size=D(8))
    for filled, venue in fills:
        missing = policy.to_reroute(wish.legs, wish.size)
        taken = sum(one.filled for one in wish.legs)
        assert missing + taken <= wish.size
        if not missing:
            break
        wish = rerouted(wish, missing, S.CANCELED, min(D(filled), missing), venue=f"again{venue}")
    # a trade that is told late counts, and is not routed again
    first = wish.legs[0]
    room = wish.size - sum(one.filled for one in wish.legs)
    counted = replace(first, filled=first.filled + min(D(late), room))
    wish = replace(wish, legs=(counted, *wish.legs[1:]))
    assert policy.to_reroute(wish.legs, wish.size) + sum(one.filled for one in wish.legs) <= wish.size


def back(before: Order, entry: int, filled: object, state: LegState = S.FILLED, *, price: int = 90) -> Order:
    """Return the order with a leg that traded back."""
    number = len(before.legs) + 1
    size = D(str(filled))
    fresh = replace(
        part(number, state, filled, role=Role.UNWIND, entry=entry, side=Side.SELL, reduce_only=True),
        notional=size * price, fees=D("0.25"),
    )  # fmt: skip
    return replace(before, legs=(*before.legs, fresh))


def test_what_was_filled_is_traded_back_leg_by_leg_until_nothing_of_it_stands() -> None:
    wish = order(UNWIND, part(1, S.CANCELED, "0.5"), FULL)
    assert [(one.number, size) for one, size in remedy.to_trade_back(wish)] == [(1, D("0.5")), (2, 2)]
    half = back(wish, 2, 1, S.CANCELED)
    assert [(one.number, size) for one, size in remedy.to_trade_back(half)] == [(1, D("0.5")), (2, 1)]
    assert (half.gross, half.filled, half.state) == (D("2.5"), D("1.5"), OrderState.RUNNING)
    over = back(back(half, 2, 1), 1, "0.5")
    assert remedy.due(over) is None
    assert (over.state, over.filled, over.gross) == (OrderState.ABORTED, 0, D("2.5"))
    assert remedy.unwind_cost(over) == D("2.5") * 10 + D("0.75"), "bought at 100, sold at 90, and three fees"
    left = replace(half, remedy=replace(remedy.begun(half, NOW), is_over=True))
    assert (left.state, left.filled) == (OrderState.PARTIALLY_DONE, D("1.5"))


def test_a_trade_back_waits_longer_each_time_and_not_for_ever() -> None:
    waits = [policy.pause_after(at) for at in range(policy.UNWIND_MAX)]
    assert waits == sorted(waits)
    assert timedelta(minutes=1) < sum(waits, timedelta(0)) < timedelta(minutes=3)
    wish = order(UNWIND, part(1, S.REJECTED), FULL)
    later = replace(wish, remedy=replace(remedy.begun(wish, NOW), next_time=NOW + waits[0]))
    assert later.remedy_time == NOW + waits[0]


def test_what_a_policy_did_is_kept() -> None:
    done = Remedy(
        policy=REROUTE, leg_id=UUID(int=1), missing=D("0.10"), act_time=NOW, added=(UUID(int=5),), rounds=2,
        next_time=NOW,
    )  # fmt: skip
    assert remedy_of(remedy_json(done)) == done
    assert remedy_of(remedy_json(replace(done, is_over=True, next_time=None))) == replace(
        done, is_over=True, next_time=None
    )
    assert remedy_of(remedy_json(None)) is None
