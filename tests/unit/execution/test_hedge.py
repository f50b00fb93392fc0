"""Hedged orders: when one side stands alone, what follows, and how they end."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.execution.model import hedge, remedy
from services.execution.model.hedge import Action, Hedge, HedgeAsked, HedgeLegAsked, HedgeSide, Rollback
from services.execution.model.leg import Evidence, Leg, LegState, Role, Told, tell
from services.execution.model.order import Order, OrderState, with_leg
from services.execution.model.remedy import Act
from services.execution.store.remedies import hedge_json, hedge_of
from services.venues.actions import Side, TimeInForce
from tests.unit.execution.test_leg import NOW, leg
from tests.unit.execution.test_replacing import order as some_order

D = Decimal
S = LegState
IOC, GTC = TimeInForce.IMMEDIATE_OR_CANCEL, TimeInForce.GOOD_TILL_CANCELED
LATER = NOW + timedelta(minutes=1)


def side(number: int, state: LegState, filled: object = 0, **changes: object) -> Leg:
    given = {"time_in_force": IOC, "venue": f"venue{number}", "size": D(10)} | changes
    return leg(
        leg_id=UUID(int=number), number=number, state=state, filled=D(str(filled)), role=Role.HEDGE, part=number,
        notional=D(str(filled)) * 100, side=Side.BUY if number == 1 else Side.SELL, **given,
    )  # fmt: skip


def resting(number: int, filled: object) -> Leg:
    return side(number, S.PARTIALLY_FILLED, filled, time_in_force=GTC)


def pair(lead: int = 0, *, sizes: tuple[int, int] = (10, 10), least: object = 1, **rule: Any) -> Hedge:
    sides = [HedgeSide(size=D(size), lot=D(1), least=D(str(least))) for size in sizes]
    return Hedge(rollback=Rollback(**rule), sides=(sides[0], sides[1]), lead=lead)


def hedged(one: Leg, two: Leg, of: Hedge | None = None, **changes: object) -> Order:
    made = some_order(one, two, hedge=of or pair(), size=D(10), **changes)
    return remedy.follow(made, NOW)


def act(order: Order) -> Act | None:
    due = remedy.due(order)
    return None if due is None else due.act


TOGETHER = (
    # both are sent at once: what the first came to, the second; what is due, the order's state
    (side(1, S.FILLED, 10), side(2, S.FILLED, 10), None, OrderState.DONE),
    (side(1, S.CANCELED, 6), side(2, S.CANCELED, 6), None, OrderState.PARTIALLY_DONE),
    (side(1, S.CANCELED), side(2, S.CANCELED), None, OrderState.CANCELED),
    (side(1, S.REJECTED), side(2, S.REJECTED), None, OrderState.REJECTED),
    (side(1, S.DENIED), side(2, S.DENIED), None, OrderState.DENIED),
    (side(1, S.FILLED, 10), side(2, S.REJECTED), Act.TRADE_BACK, OrderState.RUNNING),
    (side(1, S.DENIED), side(2, S.FILLED, 10), Act.TRADE_BACK, OrderState.RUNNING),
    (side(1, S.FILLED, 10), side(2, S.CANCELED, 4), Act.TRADE_BACK, OrderState.RUNNING),
    # the other is still out, or unknown: it is canceled, and nothing is traded back before its end
    (side(1, S.PREPARED), side(2, S.REJECTED), Act.CANCEL_REST, OrderState.RUNNING),
    (side(1, S.OPEN, time_in_force=GTC), side(2, S.REJECTED, time_in_force=GTC), Act.CANCEL_REST, OrderState.RUNNING),
    (side(1, S.SUBMITTED), side(2, S.REJECTED), None, OrderState.RUNNING),
    (side(1, S.SUBMIT_UNKNOWN), side(2, S.REJECTED), None, OrderState.SUBMIT_UNKNOWN),
    (side(1, S.FILLED, 10), side(2, S.SUBMIT_UNKNOWN), None, OrderState.SUBMIT_UNKNOWN),
    # both are out
    (side(1, S.PREPARED), side(2, S.PREPARED), None, OrderState.PLANNED),
    (side(1, S.SUBMITTED), side(2, S.SUBMITTED), None, OrderState.RUNNING),
)


@pytest.mark.parametrize(("one", "two", "due", "state"), TOGETHER)
def test_what_is_due_on_two_that_were_sent_at_once(one: Leg, two: Leg, due: Act | None, state: OrderState) -> None:
    order = hedged(one, two)
    assert (act(order), order.state) == (due, state)
    if due is Act.TRADE_BACK:
        kept = hedged(one, two, pair(action=Action.KEEP))
        assert act(kept) is Act.KEEP
        said = replace(kept, remedy=replace(remedy.begun(kept, NOW), is_over=True))
        assert (act(said), said.state) == (None, OrderState.PARTIALLY_DONE)


def test_a_difference_of_sides_that_are_out_is_borne_for_as_long_as_the_rule_has_patience() -> None:
    order = hedged(resting(1, 6), resting(2, 2))
    due = remedy.due(order)
    assert due is not None
    assert (due.act, due.time) == (Act.CANCEL_REST, NOW + hedge.PATIENCE)
    closer = remedy.follow(with_leg(order, replace(order.legs[1], filled=D(3)), LATER), LATER)
    assert closer.remedy_time == due.time, "they have differed since"
    level = remedy.follow(with_leg(order, replace(order.legs[1], filled=D(6)), LATER), LATER)
    assert (act(level), level.hedge and level.hedge.differ_time) == (None, None)
    kept = hedged(resting(1, 6), resting(2, 2), pair(action=Action.KEEP))
    assert act(kept) is None


def test_a_rollback_first_cancels_what_is_out_and_then_trades_back_what_stands_alone() -> None:
    order = remedy.rest_canceled(hedged(resting(1, 6), resting(2, 0)), LATER)
    assert [one.cancel_wanted for one in order.legs] == [True, True]
    assert order.remedy is not None
    assert (order.remedy.leg_id, order.remedy.missing) == (UUID(int=2), 6)
    assert act(order) is None, "what is out ends first"
    for at in (0, 1):
        order = with_leg(order, tell(order.legs[at], Told.CANCEL, Evidence.STREAM, LATER), LATER)
    assert act(order) is Act.TRADE_BACK
    assert [(one.number, size) for one, size in remedy.to_trade_back(order)] == [(1, 6)]
    back = leg(
        leg_id=UUID(int=3), number=3, state=S.FILLED, role=Role.UNWIND, part=1, entry=1, size=D(6), filled=D(6),
        notional=D(594), side=Side.SELL,
    )  # fmt: skip
    over = replace(order, legs=(*order.legs, back))
    assert (act(over), over.state, over.filled, over.gross) == (None, OrderState.ABORTED, 0, 6)
    assert remedy.unwind_cost(over) == 6


def test_what_is_tolerated_may_stand_alone_and_less_than_a_lot_is_unavoidable() -> None:
    one, two = side(1, S.FILLED, 10), side(2, S.CANCELED, 7)
    assert act(hedged(one, two, pair(tolerated=D(3)))) is None
    assert act(hedged(one, two, pair(tolerated=D("2.9")))) is Act.TRADE_BACK
    assert act(hedged(one, side(2, S.CANCELED, "9.5"))) is None


def test_sides_of_different_sizes_are_compared_by_their_shares() -> None:
    unequal = pair(sizes=(2, 30))
    one, two = side(1, S.FILLED, 2, size=D(2)), side(2, S.CANCELED, 15, size=D(30))
    assert hedge.alone(unequal, (one, two)) == (1, 1)
    assert hedge.alone(unequal, (replace(one, filled=D(1)), replace(two, filled=D(30)))) == (2, 15)
    assert hedge.alone(unequal, (one, replace(two, filled=D(30)))) == (0, 0)


@given(st.integers(0, 40), st.integers(0, 60), st.integers(1, 40), st.integers(1, 60), st.integers(1, 7))
def test_a_trade_back_of_what_stands_alone_leaves_less_than_a_lot(
    one: int, two: int, first: int, second: int, lot: int
) -> None:
    sides = HedgeSide(size=D(first), lot=D(lot), least=D(1)), HedgeSide(size=D(second), lot=D(lot), least=D(1))
    of = Hedge(rollback=Rollback(), sides=sides)
    legs = (side(1, S.CANCELED, min(one, first)), side(2, S.CANCELED, min(two, second)))
    which, size = hedge.alone(of, legs)
    assert size % lot == 0
    assert size <= (0 if not which else legs[which - 1].filled)
    back = leg(leg_id=UUID(int=3), number=3, state=S.FILLED, role=Role.UNWIND, part=which, size=size, filled=size)
    assert hedge.alone(of, (*legs, back)) == (0, 0), "and never makes the other side stand alone"


def led(filled: object = 0, state: LegState = S.OPEN, **rule: Any) -> Order:
    """Return an order whose first side rests, and whose second follows."""
    return hedged(side(1, state, filled, time_in_force=GTC), side(2, S.HELD), pair(1, least=2, **rule))


def grown(order: Order, filled: object, state: LegState = S.PARTIALLY_FILLED, now: datetime = NOW) -> Order:
    """Return the order after its lead filled more."""
    return remedy.follow(with_leg(order, replace(order.legs[0], filled=D(str(filled)), state=state), now), now)


def last(order: Order, state: LegState, filled: object, now: datetime = NOW) -> Order:
    """Return the order after its last leg came to something."""
    changed = replace(order.legs[-1], state=state, filled=D(str(filled)), update_time=now)
    return remedy.follow(with_leg(order, changed, now), now)


def test_a_side_that_follows_is_released_for_the_share_that_its_lead_filled() -> None:
    order = led()
    assert order.legs[1].state is S.HELD
    assert grown(order, 1).legs[1].state is S.HELD, "that is no order that its venue takes"
    order = grown(order, 3)
    assert (order.legs[1].state, order.legs[1].size) == (S.PREPARED, 3)
    order = grown(order, 7)
    assert len(order.legs) == 2, "one follows at a time"
    order = last(order, S.FILLED, 3)
    assert [(one.part, one.size) for one in order.legs[1:]] == [(2, 3), (2, 4)]
    order = last(grown(order, 10, S.FILLED), S.FILLED, 4)
    order = last(order, S.FILLED, 3)
    assert [one.size for one in order.legs[1:]] == [3, 4, 3]
    assert (order.state, act(order)) == (OrderState.DONE, None)
    assert len({one.leg_id for one in order.legs}) == 4


def test_one_that_fell_short_is_followed_by_another_after_a_second_until_patience_ends() -> None:
    order = last(grown(led(), 6), S.CANCELED, 2)
    due = remedy.due(order)
    assert due is not None
    assert (due.act, due.time) == (Act.FOLLOW, NOW + hedge.AGAIN)
    again = remedy.followed_on(order, LATER)
    assert [one.size for one in again.legs[1:]] == [6, 4]
    assert act(again) is Act.CANCEL_REST, "when its patience ends"
    assert again.remedy_time == NOW + hedge.PATIENCE
    assert remedy.followed_on(again, LATER) is again


@pytest.mark.parametrize("state", [S.REJECTED, S.DENIED])
def test_one_that_was_refused_ends_the_lead_at_once(state: LegState) -> None:
    order = last(grown(led(), 6), state, 0)
    due = remedy.due(order)
    assert due is not None
    assert (due.act, due.time) == (Act.CANCEL_REST, order.update_time)
    order = remedy.rest_canceled(order, LATER)
    assert [one.cancel_wanted for one in order.legs] == [True, False]
    order = grown(order, 8, S.CANCELED)
    assert [(one.number, size) for one, size in remedy.to_trade_back(order)] == [(1, 8)]
    assert len(order.legs) == 2, "nothing follows a rollback"


def test_a_lead_that_ends_without_a_fill_ends_what_would_follow() -> None:
    for state in (S.CANCELED, S.REJECTED, S.EXPIRED):
        order = grown(led(), 0, state)
        assert order.legs[1].state is S.CANCELED
        assert order.state.is_final


def test_its_owners_cancel_lets_nothing_follow_and_what_stands_alone_is_traded_back() -> None:
    canceled = replace(led(3, S.PARTIALLY_FILLED), cancel_time=NOW)
    order = last(canceled, S.CANCELED, 0)
    order = grown(order, 4, S.CANCELED)
    assert act(order) is Act.TRADE_BACK


FIRST = HedgeLegAsked(
    market="BTC-PERP", side=Side.BUY, size=D(1), venue="hyperliquid", account_id=None, limit_price=None,
    time_in_force=IOC, reduce_only=False,
)  # fmt: skip
ASKED = HedgeAsked(
    request_id=UUID(int=1), legs=(FIRST, replace(FIRST, side=Side.SELL, venue="lighter")),
    rollback=Rollback(), max_slippage_bps=None, expire_time=None, client_order_id="",
)  # fmt: skip
OF_A_LEG: dict[str, Any] = {
    "market": "ETH-PERP", "side": Side.SELL, "size": D(2), "venue": "elsewhere", "account_id": UUID(int=9),
    "limit_price": D(5), "time_in_force": GTC, "reduce_only": True,
}  # fmt: skip
OF_A_RULE: dict[str, Any] = {
    "action": Action.KEEP, "tolerated": D(1), "patience": timedelta(seconds=1), "max_slippage_bps": 5,
}  # fmt: skip


def test_other_content_under_a_request_id_is_seen() -> None:
    assert set(OF_A_LEG) == {one.name for one in fields(HedgeLegAsked)}
    assert set(OF_A_RULE) == {one.name for one in fields(Rollback)}
    first, second = ASKED.legs
    others = [
        *(replace(ASKED, legs=(replace(first, **{name: value}), second)) for name, value in OF_A_LEG.items()),
        *(replace(ASKED, rollback=replace(ASKED.rollback, **{name: value})) for name, value in OF_A_RULE.items()),
        replace(ASKED, legs=(second, first)), replace(ASKED, max_slippage_bps=5), replace(ASKED, expire_time=NOW),
        replace(ASKED, client_order_id="mine"),
    ]  # fmt: skip
    assert len({one.digest for one in (ASKED, *others)}) == len(others) + 1
    assert replace(ASKED, request_id=UUID(int=2)).digest == ASKED.digest


def test_a_hedge_is_kept() -> None:
    for one in (pair(), replace(pair(2, tolerated=D("0.5")), differ_time=NOW)):
        assert hedge_of(hedge_json(one)) == one
    assert hedge_of(hedge_json(None)) is None
