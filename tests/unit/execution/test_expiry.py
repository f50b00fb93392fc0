"""When an order may end by itself, and that its end by time is told as that and as nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from services.domain.refusal import RefusalReason
from services.execution.app.placing import place_of
from services.execution.model import expiry
from services.execution.model.evidence import apply_record
from services.execution.model.leg import Evidence, LegState, Told, tell
from services.venues.account import OrderRecord, OrderStatus
from services.venues.actions import Side
from tests.unit.execution.test_leg import NOW, leg

D = Decimal


def record(
    status: OrderStatus, word: str, *, filled: str | None = "0", reason: RefusalReason | None = None
) -> OrderRecord:
    return OrderRecord(
        market="BTC-PERP", symbol="BTC", order_id="9", client_id="1", side=Side.BUY, type=None, time_in_force=None,
        limit_price=D(100), trigger_price=None, size=D(3), remaining=D(0),  # type: ignore[arg-type]
        filled=None if filled is None else D(filled), reduce_only=False,  # type: ignore[arg-type]
        status=status, venue_status=word, reason=reason,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("venue", "ahead", "passes"),
    [
        ("lighter", timedelta(minutes=4, seconds=59), False),
        ("lighter", timedelta(minutes=5), True),
        ("lighter", timedelta(days=30), True),
        ("lighter", timedelta(days=30, seconds=1), False),
        ("hyperliquid", timedelta(seconds=1), True),
        ("hyperliquid", timedelta(days=400), True),
        ("hyperliquid", timedelta(0), False),
        ("lighter", timedelta(days=-1), False),
    ],
)
def test_each_venues_range_and_what_is_said_to_pass_does(venue: str, ahead: timedelta, passes: bool) -> None:
    refusal = expiry.judge(NOW + ahead, venue, NOW)
    assert (refusal is None) == passes
    if refusal is not None:
        assert refusal.field == "expire_time"
        near = NOW.fromisoformat(refusal.passing_value)
        assert expiry.judge(near, venue, NOW) is None


def test_lighter_is_told_the_time_and_hyperliquid_which_has_none_is_not() -> None:
    until = NOW + timedelta(hours=1)
    (native,) = place_of(leg(venue="lighter", expire_time=until)).orders
    (ours,) = place_of(leg(venue="hyperliquid", expire_time=until)).orders
    (short,) = place_of(leg(venue="lighter", expire_time=NOW + timedelta(minutes=5, seconds=10))).orders
    assert native.expire_time_ms == int(until.timestamp() * 1_000)
    assert ours.expire_time_ms is None
    assert short.expire_time_ms is None, "signed a little later, the venue would refuse it"


def test_a_leg_is_taken_down_at_its_time_and_where_the_venue_does_it_a_little_later() -> None:
    until = NOW + timedelta(hours=1)
    assert leg(venue="hyperliquid", expire_time=until).take_down_time == until
    assert leg(venue="lighter", expire_time=until).take_down_time == until + timedelta(seconds=5)
    assert leg(expire_time=until, cancel_wanted=True).take_down_time is None
    assert leg(expire_time=until, expiring=True).take_down_time is None
    assert leg(expire_time=until, state=LegState.FILLED).take_down_time is None


def test_our_cancel_for_its_time_is_its_expiry_and_the_venues_own_reason_stands() -> None:
    over = leg(state=LegState.OPEN, expiring=True)
    assert tell(over, Told.CANCEL, Evidence.STREAM, NOW).state is LegState.EXPIRED
    assert tell(leg(state=LegState.OPEN), Told.CANCEL, Evidence.STREAM, NOW).state is LegState.CANCELED
    margin = record(OrderStatus.CANCELED, "marginCanceled", reason=RefusalReason.INSUFFICIENT_MARGIN)
    assert apply_record(over, margin, NOW, Evidence.STREAM).state is LegState.CANCELED
    native = record(OrderStatus.EXPIRED, "canceled-expired", reason=RefusalReason.EXPIRED)
    assert apply_record(leg(state=LegState.OPEN), native, NOW, Evidence.STREAM).state is LegState.EXPIRED


def test_an_order_that_took_less_than_its_size_ends_once_all_its_trades_were_asked_for() -> None:
    """Hyperliquid says `filled` of it, and not how much."""
    part = leg(state=LegState.PARTIALLY_FILLED, filled=D(1))
    said = record(OrderStatus.FILLED, "filled", filled=None)
    assert apply_record(part, said, NOW, Evidence.LOOKUP).state is LegState.PARTIALLY_FILLED
    ended = apply_record(part, said, NOW, Evidence.LOOKUP, all_trades=True)
    assert (ended.state, ended.filled) == (LegState.CANCELED, 1)
    exact = replace(said, filled=D(3))
    assert apply_record(part, exact, NOW, Evidence.LOOKUP, all_trades=True).state is LegState.PARTIALLY_FILLED
