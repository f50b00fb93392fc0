"""Replacing an order: two legs are never live together, and never is more filled than the new size."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.errors import DomainError, Reason
from services.domain.refusal import RefusalReason
from services.execution.model.leg import Evidence, Leg, LegState, Told, fill, tell
from services.execution.model.order import Order, OrderState, Replacement, mesh_says_no, with_leg
from services.execution.model.replacing import ReplaceAsked, succeed, to_replace
from services.execution.store.rows import replacement_json, replacement_of
from services.venues.actions import OrderType, Side, TimeInForce
from tests.unit.execution.test_leg import leg as some_leg
from tests.unit.execution.test_leg import trade

NOW = datetime(2026, 11, 28, tzinfo=UTC)
D = Decimal


def order(*legs: Leg, **changes: object) -> Order:
    made = Order(
        order_id=UUID(int=1), user_id=UUID(int=2), request_id=UUID(int=3), digest=b"", market="BTC-PERP",
        side=Side.BUY, size=D(3), type=OrderType.LIMIT, limit_price=D(100),
        time_in_force=TimeInForce.GOOD_TILL_CANCELED, reduce_only=False, client_order_id="", quote_id=None,
        max_slippage_bps=None, legs=legs or (some_leg(state=LegState.OPEN),), create_time=NOW, update_time=NOW,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def terms(size: object = 5, price: object = 90) -> Replacement:
    return Replacement(
        request_id=UUID(int=4), leg_id=UUID(int=7), new_leg_id=UUID(int=70), size=D(str(size)),
        limit_price=D(str(price)),
    )  # fmt: skip


def asked(**changes: object) -> ReplaceAsked:
    given = {"order_id": UUID(int=1), "request_id": UUID(int=4), "size": D(5), "limit_price": D(90)}
    return ReplaceAsked(**({"expected_version": 0} | given | changes))  # type: ignore[arg-type]


@given(
    st.integers(1, 9),
    st.lists(st.integers(1, 3), max_size=3),
    st.lists(st.integers(1, 9), max_size=9),
    st.integers(0, 3),
)
def test_whatever_trades_when_no_more_than_the_new_size_is_filled(
    size: int, before: list[int], after: list[int], unseen: int
) -> None:
    old = some_leg(state=LegState.OPEN)
    number = 0
    for part in before:  # the venue trades no more than the old leg holds
        if old.filled + part <= old.size:
            number += 1
            old = fill(old, trade(str(part), number), NOW)
    traded = min(old.size, old.filled + unseen)
    asking = to_replace(order(old), asked(size=D(size)), terms(size)) if not old.is_final else order(old)
    if asking.replacement is None:
        return  # filled before it was asked for, or the same terms
    assert asking.state in (OrderState.RUNNING, OrderState.SUBMIT_UNKNOWN)
    ended = tell(old, Told.CANCEL, Evidence.LOOKUP, NOW)
    asking = with_leg(asking, ended, NOW)
    assert not asking.state.is_final, "it goes on while another leg is to follow"
    assert asking.finish_time is None
    done, fresh = succeed(asking, traded, NOW)
    assert (done.size, done.limit_price, done.replacement) == (D(size), D(90), None)
    assert sum(not one.is_final for one in done.legs) == (0 if fresh is None else 1)
    if fresh is None:
        assert traded >= size
        assert done.state.is_final or traded > ended.filled
        return
    assert (fresh.number, fresh.limit_price, fresh.leg_id) == (2, D(90), UUID(int=70))
    for part in after:
        if fresh.filled + part <= fresh.size:
            number += 1
            fresh = fill(fresh, trade(str(part), number), NOW)
    assert traded + fresh.filled <= size


@pytest.mark.parametrize("state", [LegState.REJECTED, LegState.FAILED, LegState.EXPIRED, LegState.DENIED])
def test_a_leg_that_ended_otherwise_is_followed_by_none(state: LegState) -> None:
    done, fresh = succeed(order(some_leg(state=state), replacement=terms()), D(0), NOW)
    assert fresh is None
    assert (done.size, done.replacement) == (D(3), None)
    assert done.state.is_final


def test_a_leg_that_the_venue_threw_out_is_followed_by_none() -> None:
    thrown = some_leg(state=LegState.CANCELED, refusal=mesh_says_no(RefusalReason.CANCELED_BY_VENUE, "No margin."))
    assert succeed(order(thrown, replacement=terms()), D(0), NOW)[1] is None


def test_one_that_filled_before_its_cancel_goes_on_for_what_is_wished_beyond() -> None:
    filled = fill(some_leg(state=LegState.OPEN), trade("3"), NOW)
    done, fresh = succeed(order(filled, replacement=terms(5)), D(3), NOW)
    assert fresh is not None
    assert (fresh.size, done.state) == (D(2), OrderState.RUNNING)
    done, fresh = succeed(order(filled, replacement=terms(2)), D(3), NOW)
    assert (fresh, done.state) == (None, OrderState.DONE)


def test_what_cannot_be_replaced_is_said() -> None:
    ended = order(some_leg(state=LegState.CANCELED))
    canceling = order(cancel_time=NOW)
    market = order(some_leg(state=LegState.OPEN, time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL))
    two = order(some_leg(state=LegState.OPEN), some_leg(state=LegState.OPEN, leg_id=UUID(int=9)))
    for one in (ended, canceling, market, two):
        with pytest.raises(DomainError) as caught:
            to_replace(one, asked(), terms())
        assert caught.value.reason is Reason.STATE_FORBIDS
    with pytest.raises(DomainError) as caught:
        to_replace(order(version=4), asked(expected_version=3), terms())
    assert (caught.value.reason, caught.value.metadata["version"]) == (Reason.VERSION_MOVED, "4")
    same = order()
    assert to_replace(same, asked(), terms(3, 100)) is same, "the terms that it has cost no cancel"
    assert to_replace(order(replacement=terms(4)), asked(), terms()).replacement == terms(), "the newest wish counts"


def test_terms_are_kept_exactly() -> None:
    assert replacement_of(replacement_json(terms("0.00001", "63421.5"))) == terms("0.00001", "63421.5")
    assert replacement_of(replacement_json(None)) is None
