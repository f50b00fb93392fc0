"""What venues say, as what it means for a leg, its trades and its nonce."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from uuid import UUID

import pytest

from services.domain.decimals import Price, Size, Usd
from services.domain.refusal import Origin, Refusal, RefusalReason
from services.execution.model.evidence import apply_outcome, apply_record, fill_id, total, trade_of, trades_of
from services.execution.model.fate import Fate, fate_of
from services.execution.model.leg import Evidence, LegState
from services.venues.account import Fill, FillCause, Liquidity, OrderRecord, OrderStatus
from services.venues.actions import OrderType, Side, TimeInForce
from services.venues.trading import Accepted, NonceFate, Outcome, Refused, Standing, Unknown
from tests.unit.execution.test_leg import NOW, leg

D = Decimal
LATER = NOW + timedelta(seconds=2)
ACCOUNT = UUID(int=8)


def refused(reason: RefusalReason = RefusalReason.POST_ONLY_CROSSED, passing: str = "") -> Refused:
    return Refused(Refusal(reason=reason, origin=Origin.VENUE, message="No.", passing_value=passing))


def record(**changes: object) -> OrderRecord:
    made = OrderRecord(
        market="BTC-PERP", symbol="BTC", order_id="9", client_id="1", side=Side.BUY, type=OrderType.LIMIT,
        time_in_force=TimeInForce.GOOD_TILL_CANCELED, limit_price=Price(D(100)), trigger_price=None, size=Size(D(3)),
        remaining=Size(D(3)), filled=Size(D(0)), reduce_only=False, status=OrderStatus.OPEN, venue_status="open",
        update_time_ms=1_795_737_601_500,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def fill(**changes: object) -> Fill:
    made = Fill(
        fill_id="42", market="BTC-PERP", symbol="BTC", order_id="9", client_id="1", side=Side.SELL,
        price=Price(D(100)), size=Size(D(2)), liquidity=Liquidity.MAKER, cause=FillCause.LIQUIDATION,
        fee=Usd(D("-0.03")), interface_fee=Usd(D("0.01")), fee_asset="USDC", realized_pnl=Usd(D(5)),
        position_before=None, time_ms=1_795_737_601_500,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


SENT = leg(state=LegState.SUBMITTED, resolve_time=NOW + timedelta(seconds=10))


@pytest.mark.parametrize(
    ("outcome", "state", "evidence"),
    [
        (Accepted(standing=Standing.RESTING, order_id="9"), LegState.OPEN, Evidence.RESPONSE),
        (Accepted(standing=Standing.WAITING, order_id="9"), LegState.OPEN, Evidence.RESPONSE),
        (Accepted(standing=Standing.QUEUED), LegState.SUBMITTED, Evidence.UNSPECIFIED),
        (Accepted(standing=Standing.FILLED, order_id="9"), LegState.SUBMITTED, Evidence.UNSPECIFIED),
        (Accepted(standing=Standing.DONE), LegState.SUBMITTED, Evidence.UNSPECIFIED),
        (refused(), LegState.REJECTED, Evidence.RESPONSE),
        (refused(RefusalReason.NEVER_LANDED), LegState.FAILED, Evidence.EXPIRY),
        (Unknown("a 502"), LegState.SUBMIT_UNKNOWN, Evidence.RESPONSE),
    ],
    ids=str,
)
def test_an_answer_means_no_more_than_it_says(outcome: Outcome, state: LegState, evidence: Evidence) -> None:
    after = apply_outcome(SENT, outcome, LATER)
    assert (after.state, after.evidence, after.update_time) == (state, evidence, LATER)
    assert after.filled == 0, "trades come by their own ids"
    if isinstance(outcome, Accepted):
        assert (after.acknowledge_time, after.venue_order_id) == (LATER, outcome.order_id)
        assert apply_outcome(after, outcome, LATER + timedelta(seconds=1)) == after, "the first word stands"
        if outcome.order_id:
            assert apply_outcome(after, replace(outcome, order_id="10"), LATER) == after
    elif isinstance(outcome, Refused):
        assert after.refusal is outcome.refusal
        assert (after.resolve_time, after.acknowledge_time) == (None, None)
    else:
        assert after.resolve_time == SENT.resolve_time, "by then it is proven"
    assert apply_outcome(SENT, Accepted(standing=Standing.RESTING), LATER, evidence=Evidence.LOOKUP).evidence is (
        Evidence.LOOKUP
    )


def test_a_refusal_that_teaches_takes_the_place_of_one_in_a_word_and_not_the_other_way() -> None:
    word, lesson = refused(), refused(passing="99")
    told = apply_outcome(SENT, word, NOW)
    taught = apply_outcome(told, lesson, LATER)
    assert (taught.state, taught.refusal, taught.update_time) == (LegState.REJECTED, lesson.refusal, LATER)
    assert apply_outcome(taught, word, LATER) == taught
    filled = leg(state=LegState.FILLED, filled=D(3))
    assert apply_outcome(filled, lesson, LATER) == filled


@pytest.mark.parametrize(
    ("status", "counted", "says", "state"),
    [
        (OrderStatus.OPEN, "0", "0", LegState.OPEN),
        (OrderStatus.WAITING, "0", None, LegState.OPEN),
        (OrderStatus.CANCELED, "0", "0", LegState.CANCELED),
        (OrderStatus.CANCELED, "1", "2", LegState.PARTIALLY_FILLED),  # its trades come first
        (OrderStatus.CANCELED, "2", "2", LegState.CANCELED),
        (OrderStatus.CANCELED, "1", None, LegState.CANCELED),
        (OrderStatus.EXPIRED, "1", "1", LegState.EXPIRED),
        (OrderStatus.REJECTED, "0", "0", LegState.REJECTED),
        (OrderStatus.FILLED, "1", None, LegState.PARTIALLY_FILLED),  # it does not say how much
        (OrderStatus.FILLED, "1", "3", LegState.PARTIALLY_FILLED),
        (OrderStatus.FILLED, "3", "3", LegState.FILLED),
        (OrderStatus.FILLED, "3", None, LegState.FILLED),
        (OrderStatus.FILLED, "1", "1", LegState.CANCELED),  # an immediate order that got less
        (OrderStatus.FILLED, "4", "4", LegState.FILLED),  # more than its size
        (OrderStatus.FILLED, "4", None, LegState.FILLED),
        (OrderStatus.CANCELED, "2", "1", LegState.CANCELED),  # its record lags behind its trades
    ],
)
def test_a_record_ends_a_leg_once_all_its_trades_are_counted(
    status: OrderStatus, counted: str, says: str | None, state: LegState
) -> None:
    begun = LegState.PARTIALLY_FILLED if D(counted) else LegState.SUBMITTED
    before = leg(state=begun, filled=D(counted))
    said = record(status=status, filled=None if says is None else Size(D(says)))
    after = apply_record(before, said, LATER, Evidence.STREAM)
    assert after.state is state
    assert (after.venue_order_id, after.acknowledge_time) == ("9", LATER)
    if state is not begun:
        assert (after.evidence, after.update_time) == (Evidence.STREAM, LATER)


def test_what_was_traded_decides_once_every_trade_was_asked_for() -> None:
    part = leg(state=LegState.PARTIALLY_FILLED, filled=D(1))
    said = record(status=OrderStatus.FILLED, filled=None)
    assert apply_record(part, said, LATER, Evidence.LOOKUP, all_trades=True).state is LegState.CANCELED
    whole = leg(state=LegState.PARTIALLY_FILLED, filled=D(3))
    assert apply_record(whole, said, LATER, Evidence.LOOKUP, all_trades=True).state is LegState.FILLED
    counts = record(status=OrderStatus.FILLED, filled=Size(D(2)))
    assert apply_record(part, counts, LATER, Evidence.LOOKUP, all_trades=True).state is LegState.PARTIALLY_FILLED


def test_a_record_keeps_what_is_known_and_tells_of_a_trigger_once() -> None:
    known = leg(state=LegState.OPEN, venue_order_id="7", acknowledge_time=NOW, trigger_price=D(90))
    assert apply_record(known, record(order_id=""), LATER, Evidence.STREAM).venue_order_id == "7"
    assert apply_record(known, record(), LATER, Evidence.STREAM).venue_order_id == "9", "a new one after its trigger"
    assert apply_record(known, record(), LATER, Evidence.STREAM).acknowledge_time == NOW
    fired = apply_record(known, record(triggered=True), LATER, Evidence.STREAM)
    assert fired.trigger_time == datetime(2026, 11, 27, 0, 0, 1, 500_000, UTC)
    assert fired.update_time == LATER
    later = apply_record(fired, record(triggered=True, update_time_ms=1_795_737_700_000), LATER, Evidence.STREAM)
    assert later.trigger_time == fired.trigger_time
    plain = leg(state=LegState.OPEN)
    assert apply_record(plain, record(triggered=True), LATER, Evidence.STREAM).trigger_time is None


def test_the_venues_reason_is_kept_in_its_own_word() -> None:
    said = record(status=OrderStatus.CANCELED, reason=RefusalReason.POST_ONLY_CROSSED, venue_status="badAloPxRejected")
    ended = apply_record(leg(state=LegState.OPEN), said, LATER, Evidence.LOOKUP)
    assert ended.refusal is not None
    assert (ended.refusal.reason, ended.refusal.origin) == (RefusalReason.POST_ONLY_CROSSED, Origin.VENUE)
    assert (ended.refusal.venue, ended.refusal.venue_message) == ("lighter", "badAloPxRejected")
    assert "badAloPxRejected" in ended.refusal.message
    assert apply_record(leg(state=LegState.OPEN), replace(said, reason=None), LATER, Evidence.LOOKUP).refusal is None


def test_a_trade_is_taken_over_to_the_last_digit() -> None:
    made = trade_of(ACCOUNT, "lighter", fill(), LATER)
    assert (made.price, made.size, made.side) == (D(100), D(2), Side.SELL)
    assert (made.fee, made.interface_fee, made.realized_pnl) == (D("-0.03"), D("0.01"), D(5)), "a rebate is negative"
    assert (made.liquidity, made.cause) == ("MAKER", "LIQUIDATION")
    assert (made.trade_id, made.venue_order_id, made.client_id, made.market) == ("42", "9", "1", "BTC-PERP")
    assert made.fill_time == datetime(2026, 11, 27, 0, 0, 1, 500_000, UTC)
    assert (made.receive_time, made.account_id, made.venue) == (LATER, ACCOUNT, "lighter")
    assert trades_of(ACCOUNT, "lighter", [fill(), fill(market="")], LATER) == [made], "spot is none of ours"
    assert total([D(1), D("0.5")]) == D("1.5")
    assert total([]) == 0


def test_a_trades_id_is_the_same_by_whatever_way_it_comes_and_another_for_each_other_trade() -> None:
    first = fill_id("lighter", ACCOUNT, "BTC", "42")
    assert first == fill_id("lighter", ACCOUNT, "BTC", "42") == trade_of(ACCOUNT, "lighter", fill(), NOW).fill_id
    others = {
        fill_id("hyperliquid", ACCOUNT, "BTC", "42"), fill_id("lighter", UUID(int=9), "BTC", "42"),
        fill_id("lighter", ACCOUNT, "ETH", "42"), fill_id("lighter", ACCOUNT, "BTC", "43"),
        fill_id("lighter", ACCOUNT, "BTC4", "2"),
    }  # fmt: skip
    assert len(others | {first}) == 6
    assert str(first) == "25b06fd1-1cda-5fb4-b5c9-cf4903fd518f", "the ids that are kept already"


FATES = {
    NonceFate.FREE: Fate.REFUSED_NONCE_FREE, NonceFate.REFUSED: Fate.REFUSED_NONCE,
    NonceFate.KEY_UNKNOWN: Fate.KEY_UNKNOWN, NonceFate.NOT_SENT: Fate.NOT_SENT, NonceFate.UNKNOWN: None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("nonce", "outcome"),
    list(product(NonceFate, (Accepted(standing=Standing.RESTING), refused(), Unknown("silence")))),
    ids=str,
)
def test_the_vault_hears_what_became_of_a_nonce_and_nothing_before_it_is_known(
    nonce: NonceFate, outcome: Outcome
) -> None:
    used = Fate.ACCEPTED if isinstance(outcome, Accepted) else Fate.REFUSED_NONCE_USED
    assert fate_of(nonce, outcome) is FATES.get(nonce, used)
