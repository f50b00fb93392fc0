"""Limits are judged from the action itself, whoever asks."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.decimals import Price, Rate, Size
from services.domain.refusal import Refusal, RefusalReason
from services.vault.model.account import Account, AccountKind, AccountState, Custody, Environment, Limits
from services.vault.model.limits import Charge, Exposure, Usage, judge, judge_exposure
from services.venues.actions import (
    Cancel,
    CancelAll,
    MarginMode,
    Modify,
    OrderReference,
    OrderTerms,
    OrderType,
    Place,
    ScheduleCancel,
    SetLeverage,
    Side,
    TimeInForce,
)

D = Decimal
NOW = datetime(2026, 11, 27, tzinfo=UTC)
UNUSED = Usage(day=date(2026, 11, 27), day_notional=D(0), minute_orders=0)
MARKS = {"BTC-PERP": D(100)}


def account(limits: Limits | None = None, **changes: Any) -> Account:
    made = Account(
        account_id=uuid.UUID(int=1), user_id=uuid.UUID(int=2), venue="hyperliquid", environment=Environment.SIMULATED,
        kind=AccountKind.MAIN, wallet_address="0x" + "ab" * 20, venue_account="0x" + "ab" * 20, label="one",
        custody=Custody.DELEGATED, is_default=True, limits=limits or Limits(), fee_rate=D(0), freeze_time=None,
        freeze_reason="", create_time=NOW, update_time=NOW, version=0, audit_seq=0, audit_hash=bytes(32), day=None,
        day_notional=D(0),
    )  # fmt: skip
    return replace(made, **changes)


def terms(**changes: Any) -> OrderTerms:
    made = OrderTerms(
        market="BTC-PERP", venue_market_id=0, side=Side.BUY, size=Size(D(2)), limit_price=Price(D(100)),
        type=OrderType.LIMIT, time_in_force=TimeInForce.GOOD_TILL_CANCELED, client_id="1",
    )  # fmt: skip
    return replace(made, **changes)


def place(**changes: Any) -> Place:
    return Place(orders=(terms(**changes),))


def refused(found: Charge | Refusal) -> Refusal:
    assert isinstance(found, Refusal), found
    return found


@pytest.mark.parametrize(
    ("action", "limits", "field", "passing"),
    [
        (place(), Limits(max_order_notional=D(199)), "action.place.orders[0].size", "1.99"),
        (place(limit_price=D(1), side=Side.SELL), Limits(max_order_notional=D(199), price_band_bps=10_000),
         "action.place.orders[0].size", "1.99"),
        (place(), Limits(max_day_notional=D(150)), "limits.max_day_notional", "150"),
        (place(), Limits(markets=("ETH-PERP",)), "action.place.orders[0].market", "ETH-PERP"),
        (place(), Limits(reduce_only=True), "action.place.orders[0].reduce_only", "true"),
        (place(limit_price=D("110.01")), Limits(), "action.place.orders[0].limit_price", "110"),
        (place(limit_price=D("89.99"), side=Side.SELL), Limits(), "action.place.orders[0].limit_price", "90"),
        (place(limit_price=D("101.1")), Limits(price_band_bps=100), "action.place.orders[0].limit_price", "101"),
        (Modify(order=OrderReference(market="BTC-PERP", venue_market_id=0, client_id="1"), terms=terms()),
         Limits(max_order_notional=D(1)), "action.modify.terms.size", "0.01"),
        (SetLeverage(market="BTC-PERP", venue_market_id=0, leverage=11, margin_mode=MarginMode.CROSS),
         Limits(max_leverage=10), "action.leverage.leverage", "10"),
        (SetLeverage(market="BTC-PERP", venue_market_id=0, leverage=1, margin_mode=MarginMode.CROSS),
         Limits(markets=("ETH-PERP",)), "action.leverage.market", "ETH-PERP"),
        (Place(orders=(terms(),), interface_fee_rate=Rate(D("0.0001"))), Limits(),
         "action.place.interface_fee_rate", "0"),
    ],
)  # fmt: skip
def test_what_is_beyond_a_limit_is_refused_and_taught(action: Any, limits: Limits, field: str, passing: str) -> None:
    found = refused(judge(action, account(limits), MARKS, UNUSED))
    assert (found.field, found.passing_value) == (field, passing)
    assert found.message.endswith(".")


def test_a_rate_counts_orders_of_the_last_minute() -> None:
    limits = Limits(max_orders_per_minute=5)
    used = replace(UNUSED, minute_orders=5)
    assert refused(judge(place(), account(limits), MARKS, used)).field == "limits.max_orders_per_minute"
    assert judge(place(), account(limits), MARKS, replace(used, minute_orders=4)) == Charge(D(200), 1)


def test_a_market_without_a_mark_is_not_judged() -> None:
    assert refused(judge(place(), account(), {}, UNUSED)).reason is RefusalReason.VENUE_STALE
    assert judge(place(reduce_only=True), account(), {}, UNUSED) == Charge(D(0), 1)


@pytest.mark.parametrize(
    "action",
    [
        Cancel(orders=(OrderReference(market="BTC-PERP", venue_market_id=0, client_id="1"),)),
        CancelAll(),
        ScheduleCancel(cancel_time_ms=5),
    ],
)
def test_what_only_cancels_is_within_every_limit(action: Any) -> None:
    strict = Limits(max_order_notional=D(1), max_day_notional=D(1), markets=("ETH-PERP",), reduce_only=True)
    assert judge(action, account(strict), {}, UNUSED) == Charge()


SIZES = st.decimals(min_value="0.001", max_value="1000", places=3)
PRICES = st.decimals(min_value="91", max_value="109", places=2)


@given(SIZES, PRICES, st.sampled_from(Side), st.decimals(min_value="1", max_value="100000", places=2))
def test_nothing_above_a_notional_passes_and_the_taught_size_does(
    size: Decimal, price: Decimal, side: Side, most: Decimal
) -> None:
    limits = Limits(max_order_notional=most)
    found = judge(place(size=size, limit_price=price, side=side), account(limits), MARKS, UNUSED)
    worth = size * max(price, D(100))
    if isinstance(found, Charge):
        assert worth <= most
        assert found.notional == worth
        return
    assert worth > most
    taught = D(found.passing_value)
    if taught:
        assert isinstance(
            judge(place(size=taught, limit_price=price, side=side), account(limits), MARKS, UNUSED), Charge
        )


LIMITS = st.builds(
    Limits,
    max_order_notional=st.none() | st.decimals(min_value="1", max_value="9", places=0),
    max_day_notional=st.none() | st.decimals(min_value="1", max_value="9", places=0),
    markets=st.lists(st.sampled_from(["A", "B", "C"]), unique=True).map(tuple),
    max_leverage=st.integers(0, 3),
    max_orders_per_minute=st.integers(0, 3),
    price_band_bps=st.none() | st.sampled_from([0, 999, 1_000, 1_001]),
    reduce_only=st.booleans(),
)


@given(LIMITS, LIMITS)
def test_what_is_not_looser_allows_no_more(now: Limits, before: Limits) -> None:
    assert not before.loosens(before)
    if now.loosens(before):
        return
    for name in ("max_order_notional", "max_day_notional"):
        old, new = getattr(before, name), getattr(now, name)
        assert old is None or (new is not None and new <= old)
    assert not before.markets or (now.markets and set(now.markets) <= set(before.markets))
    assert now.band_bps <= before.band_bps
    assert now.reduce_only or not before.reduce_only


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, AccountState.NEEDS_KEY),
        ({"has_key": True}, AccountState.ACTIVE),
        ({"custody": Custody.CALLER}, AccountState.ACTIVE),
        ({"venue_account": ""}, AccountState.NEEDS_DEPOSIT),
        ({"has_key": True, "freeze_time": NOW}, AccountState.FROZEN),
        ({"venue_account": "", "freeze_time": NOW}, AccountState.FROZEN),
    ],
)
def test_the_state_of_an_account_says_what_to_do(changes: dict[str, Any], state: AccountState) -> None:
    found = account(**changes)
    assert found.state is state
    assert found.explanation.endswith(".")


@pytest.mark.parametrize(
    ("held", "since", "side", "size", "passes"),
    [
        (D(0), D(0), Side.BUY, D(5), True),
        (D(0), D(0), Side.BUY, D("5.01"), False),
        (D(400), D(0), Side.BUY, D(1), True),
        (D(400), D(0), Side.BUY, D("1.01"), False),
        (D(400), D(100), Side.BUY, D("0.01"), False),
        (D(-400), D(0), Side.BUY, D(9), True),
        (D(-400), D(0), Side.BUY, D("9.01"), False),
        (D(-400), D(0), Side.SELL, D("1.01"), False),
        (D(900), D(0), Side.SELL, D(1), True),
        (D(900), D(0), Side.SELL, D(15), False),
    ],
)
def test_a_position_is_not_opened_beyond_its_limit(
    held: Decimal, since: Decimal, side: Side, size: Decimal, passes: bool
) -> None:
    opening = (terms(side=side, size=size),)
    exposure = Exposure({"BTC-PERP": held}, D(1000))
    limits = Limits(max_position_notional=D(500))
    found = judge_exposure(opening, limits, exposure, {"BTC-PERP": since}, D(1000), MARKS)
    assert (found is None) == passes, found
    if found is not None:
        assert found.field == "limits.max_position_notional"


def test_orders_of_one_action_add_up_to_a_position() -> None:
    three = (terms(size=D(2)), terms(size=D(2)), terms(size=D(2)))
    limits, exposure = Limits(max_position_notional=D(500)), Exposure({}, D(1000))
    assert judge_exposure(three[:2], limits, exposure, {}, D(1000), MARKS) is None
    assert judge_exposure(three, limits, exposure, {}, D(1000), MARKS) is not None


@pytest.mark.parametrize(("equity", "passes"), [(D(1100), True), (D(900), True), (D("899.99"), False)])
def test_a_day_that_lost_too_much_opens_nothing(equity: Decimal, passes: bool) -> None:
    limits = Limits(max_day_loss=D(100))
    assert (judge_exposure((terms(),), limits, Exposure({}, equity), {}, D(1000), MARKS) is None) == passes
