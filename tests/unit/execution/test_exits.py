"""Exits of an order: never more than is filled, never fewer once it has ended, and one cancels the other."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import count
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.refusal import Refusal
from services.execution.app.bracketing import judge
from services.execution.model import exits
from services.execution.model.leg import Evidence, Leg, LegState, Role, Told, fill, tell
from services.execution.model.order import Exit, Order, OrderState, with_leg
from services.venues.actions import OrderType, Side, TimeInForce
from tests.unit.execution.test_leg import NOW, leg, trade
from tests.unit.execution.test_order import wish

D = Decimal
EXITS = (Role.TAKE_PROFIT, Role.STOP_LOSS)


def bracket(roles: tuple[Role, ...] = EXITS, *, size: int = 40) -> Order:
    """Return an order to buy with exits that wait."""
    entry = leg(leg_id=UUID(int=1), size=D(size), state=LegState.OPEN)
    made: list[Leg] = [entry]
    for role in roles:
        number = len(made) + 1
        made.append(
            leg(
                leg_id=exits.exit_id(UUID(int=5), number), number=number, side=Side.SELL, size=D(0), role=role, entry=1,
                part=1, state=LegState.HELD, type=OrderType.STOP_MARKET, trigger_price=D(90), reduce_only=True,
            )
        )  # fmt: skip
    return Order(
        order_id=UUID(int=5), user_id=UUID(int=6), request_id=UUID(int=7), digest=b"", market="BTC-PERP",
        side=Side.BUY, size=D(size), type=OrderType.LIMIT, limit_price=D(100),
        time_in_force=TimeInForce.GOOD_TILL_CANCELED, reduce_only=False, client_order_id="", quote_id=None,
        max_slippage_bps=None, legs=tuple(made), create_time=NOW, update_time=NOW,
        take_profit=Exit(trigger_price=D(110)) if Role.TAKE_PROFIT in roles else None,
        stop_loss=Exit(trigger_price=D(90)) if Role.STOP_LOSS in roles else None,
    )  # fmt: skip


def after(order: Order, one: Leg, *, ripe: bool = False) -> Order:
    """Return the order after a change of one leg and what follows."""
    return exits.follow(with_leg(order, one, NOW), NOW, ripe=ripe)


def of(order: Order, role: Role) -> list[Leg]:
    return [one for one in order.legs if one.role is role]


def test_exits_wait_for_the_entry_and_get_its_size_when_it_has_filled() -> None:
    order = bracket()
    order = after(order, fill(order.legs[0], trade("40"), NOW))
    assert [(one.state, one.size) for one in order.legs[1:]] == [(LegState.PREPARED, 40)] * 2
    assert order.state is OrderState.RUNNING
    assert order.filled == 40, "what exits trade is not the order's"


def test_a_part_that_rests_gets_its_pair_and_the_rest_another() -> None:
    order = bracket()
    order = after(order, fill(order.legs[0], trade("3", 1), NOW))
    assert all(one.state is LegState.HELD for one in order.legs[1:]), "it may grow for a moment"
    order = exits.follow(order, NOW, ripe=True)
    assert [one.size for one in of(order, Role.STOP_LOSS)] == [3, 0]
    order = after(order, fill(order.legs[0], trade("5", 2), NOW), ripe=True)
    assert [one.size for one in of(order, Role.STOP_LOSS)] == [3, 0], "less than a quarter waits"
    order = after(order, fill(order.legs[0], trade("5", 3), NOW), ripe=True)
    assert [one.size for one in of(order, Role.STOP_LOSS)] == [3, 10, 0]
    order = after(order, tell(order.legs[0], Told.CANCEL, Evidence.STREAM, NOW))
    assert [(one.size, one.state) for one in of(order, Role.TAKE_PROFIT)][-1] == (0, LegState.CANCELED)
    order = after(order, fill(order.legs[0], trade("2", 4), NOW))
    assert [one.size for one in of(order, Role.STOP_LOSS)] == [3, 10, 0, 2], "a trade told late is covered too"


def test_an_entry_that_brings_nothing_needs_no_exits() -> None:
    order = bracket()
    order = after(order, tell(order.legs[0], Told.REFUSE, Evidence.RESPONSE, NOW))
    assert {one.state for one in order.legs[1:]} == {LegState.CANCELED}
    assert {one.evidence for one in order.legs[1:]} == {Evidence.NOT_SENT}
    assert order.state is OrderState.CANCELED, "the entry had been open"


@pytest.mark.parametrize("role", EXITS)
def test_one_cancels_the_other(role: Role) -> None:
    order = bracket()
    order = after(order, fill(order.legs[0], trade("40"), NOW))
    opened = [replace(one, state=LegState.OPEN) if one.role in EXITS else one for one in order.legs]
    order = replace(order, legs=tuple(opened))
    (one,) = of(order, role)
    half = after(order, fill(one, trade("10", 2), NOW))
    assert not any(kept.cancel_wanted for kept in half.legs), "a half-filled one that rests keeps the other"
    whole = after(half, fill(of(half, role)[0], trade("30", 3), NOW))
    (other,) = (kept for kept in whole.legs if kept.role in EXITS and kept.role is not role)
    assert other.cancel_wanted
    ended = after(half, tell(of(half, role)[0], Told.CANCEL, Evidence.STREAM, NOW))
    assert [kept.cancel_wanted for kept in ended.legs if kept.role in EXITS and kept.role is not role] == [True]
    bare = after(order, tell(one, Told.CANCEL, Evidence.STREAM, NOW))
    assert not any(kept.cancel_wanted for kept in bare.legs), "one that ended with nothing leaves the other standing"


def test_an_exit_that_never_came_to_be_is_placed_again_and_one_that_was_refused_is_not() -> None:
    order = bracket((Role.STOP_LOSS,))
    order = after(order, fill(order.legs[0], trade("40"), NOW))
    for number in range(2, 2 + exits.AGAIN_MAX - 1):
        order = after(order, tell(order.legs[-1], Told.EXPIRE, Evidence.NOT_SENT, NOW))
        assert (order.legs[-1].number, order.legs[-1].state, order.legs[-1].size) == (number + 1, LegState.PREPARED, 40)
    assert len({one.leg_id for one in order.legs}) == len(order.legs)
    last = after(order, tell(order.legs[-1], Told.EXPIRE, Evidence.NOT_SENT, NOW))
    assert len(last.legs) == len(order.legs), "not for ever"
    sent = replace(order.legs[-1], state=LegState.SUBMITTED)
    refused = after(order, tell(sent, Told.REFUSE, Evidence.RESPONSE, NOW))
    assert len(refused.legs) == len(order.legs)


def test_a_canceled_order_gets_no_exits() -> None:
    order = replace(bracket(), cancel_time=NOW)
    order = after(order, fill(order.legs[0], trade("40"), NOW))
    assert {one.state for one in order.legs[1:]} == {LegState.CANCELED}


STEP = st.tuples(st.integers(0, 30), st.sampled_from(["fill", "end", "lose", "open", "ripe"]), st.integers(1, 9))


@given(st.sampled_from([EXITS, EXITS[:1], EXITS[1:]]), st.lists(STEP, max_size=40))
def test_whatever_happens_exits_cover_what_is_filled_and_no_more(
    roles: tuple[Role, ...], history: list[tuple[int, str, int]]
) -> None:
    order, numbers = bracket(roles), count(1)
    for at, what, amount in history:
        one = order.legs[at % len(order.legs)]
        if what == "fill" and one.state is not LegState.HELD and one.filled < one.size:
            size = min(D(amount), one.size - one.filled)
            one = fill(
                replace(one, state=LegState.OPEN) if not one.is_final else one, trade(str(size), next(numbers)), NOW
            )
        elif what == "end" and one.state is not LegState.HELD:
            one = tell(one, Told.CANCEL, Evidence.STREAM, NOW)
        elif what == "lose" and one.role in EXITS:
            one = tell(one, Told.EXPIRE, Evidence.NOT_SENT, NOW)
        elif what == "open" and one.state is LegState.PREPARED:
            one = replace(one, state=LegState.OPEN)
        order = after(order, one, ripe=what == "ripe")
        assert exits.follow(order, NOW, ripe=False) == order, "once is enough"
        entry = order.legs[0]
        assert [other.number for other in order.legs] == list(range(1, len(order.legs) + 1))
        for role in roles:
            sizes = {other.part: other.size for other in of(order, role) if other.size}
            assert sum(sizes.values(), D(0)) <= entry.filled
            assert len(sizes) <= 5
            if entry.is_final:
                assert sum(sizes.values(), D(0)) == entry.filled
                assert not any(other.state is LegState.HELD for other in order.legs)
        for part in {other.part for other in order.legs if other.entry and other.size}:
            pair = [other for other in order.legs if other.entry and other.part == part and other.size]
            assert len({other.size for other in pair}) == 1
            done = next((other for other in pair if other.filled and other.is_final), None)
            if done is not None:
                assert all(other.is_final or other.cancel_wanted for other in pair if other.role is not done.role)


@pytest.mark.parametrize(
    ("side", "profit", "stop", "limit", "passes"),
    [
        (Side.BUY, "110", "90", "100", True),
        (Side.BUY, "90", "110", None, False),
        (Side.BUY, "99", None, "100", False),
        (Side.BUY, None, "101", "100", False),
        (Side.SELL, "90", "110", "100", True),
        (Side.SELL, "110", "90", None, False),
        (Side.SELL, "110", None, None, True),
    ],
)
def test_exits_lie_on_the_two_sides_of_their_order(
    side: Side, profit: str | None, stop: str | None, limit: str | None, passes: bool
) -> None:
    asked = wish(
        side=side, limit_price=None if limit is None else D(limit),
        take_profit=None if profit is None else Exit(trigger_price=D(profit)),
        stop_loss=None if stop is None else Exit(trigger_price=D(stop)),
    )  # fmt: skip
    refusal = judge(asked)
    assert (refusal is None) == passes
    if isinstance(refusal, Refusal):
        assert refusal.field.endswith(".trigger_price")
