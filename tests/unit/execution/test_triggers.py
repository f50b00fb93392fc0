"""What a venue's words mean for a leg that waits for the mark price."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from services.domain.refusal import Origin, Refusal, RefusalReason
from services.execution.app.intake import resting_price
from services.execution.app.placing import place_of
from services.execution.model.evidence import apply_outcome, apply_record
from services.execution.model.leg import Evidence, LegState, fill
from services.venues.account import OrderStatus
from services.venues.actions import OrderType, Side
from services.venues.trading import Accepted, Refused, Standing
from tests.unit.execution.test_expiry import record
from tests.unit.execution.test_leg import NOW, leg, trade
from tests.unit.execution.test_order import wish

D = Decimal
STOP = leg(type=OrderType.STOP_MARKET, side=Side.SELL, trigger_price=D(95), reduce_only=True, state=LegState.SUBMITTED)


def test_waiting_is_open_and_triggered_is_noted_once() -> None:
    waits = apply_outcome(STOP, Accepted(standing=Standing.WAITING, order_id="7"), NOW)
    assert (waits.state, waits.trigger_time) == (LegState.OPEN, None)
    said = replace(record(OrderStatus.OPEN, "triggered"), order_id="8", triggered=True, update_time_ms=1_000)
    fired = apply_record(waits, said, NOW, Evidence.STREAM)
    assert fired.trigger_time is not None
    assert fired.state is LegState.OPEN
    assert fired.venue_order_id == "8", "a venue may number what was triggered anew"
    again = apply_record(fired, replace(said, update_time_ms=9_000), NOW + timedelta(seconds=8), Evidence.STREAM)
    assert again.trigger_time == fired.trigger_time


def test_a_trade_shows_that_the_trigger_was_reached() -> None:
    one = fill(replace(STOP, state=LegState.OPEN), trade("1"), NOW)
    assert one.trigger_time == NOW
    assert fill(leg(state=LegState.OPEN), trade("1"), NOW).trigger_time is None


def test_the_venue_gets_the_trigger() -> None:
    (terms,) = place_of(STOP).orders
    assert (terms.trigger_price, terms.type, terms.reduce_only) == (95, OrderType.STOP_MARKET, True)


@pytest.mark.parametrize("told_first", [True, False])
def test_a_refusal_says_what_would_pass_whichever_word_came_first(told_first: bool) -> None:
    taught = Refused(
        Refusal(
            reason=RefusalReason.TRIGGER_WRONG_SIDE, origin=Origin.VENUE, message="", field="trigger_price",
            passing_value="94",
        )
    )  # fmt: skip
    said = record(OrderStatus.REJECTED, "badTriggerPxRejected", reason=RefusalReason.TRIGGER_WRONG_SIDE)
    one = STOP
    for by_stream in (told_first, not told_first):
        one = apply_record(one, said, NOW, Evidence.STREAM) if by_stream else apply_outcome(one, taught, NOW)
    assert one.state is LegState.REJECTED
    assert one.refusal is not None
    assert one.refusal.passing_value == "94"


@pytest.mark.parametrize(("side", "wanted"), [(Side.SELL, "90"), (Side.BUY, "110")])
def test_a_market_order_after_its_trigger_is_bounded_as_far_as_it_must_trade(side: Side, wanted: str) -> None:
    asked = wish(type=OrderType.STOP_MARKET, side=side, trigger_price=D(100), limit_price=None)
    assert resting_price(asked) == D(wanted)
    assert resting_price(replace(asked, max_slippage_bps=100)) == 100 + side.sign
    assert resting_price(replace(asked, limit_price=D(97))) == 97
