"""What Lighter says of an account, over REST and on its private channels: orders, trades, positions, balances. Pure.

Orders, positions and trades have the same shapes on both faces. `transaction_time`, microseconds, is the only key that
orders changes. A trade's fee is an integer of 10^-6 of its worth, absent when zero; it says of both sides what they
paid, so whose side is ours decides. A position's size is unsigned beside a sign; its margin fraction is in percent.
Source: the venue's page; captured answers of 2025 and 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from services.domain.decimals import DecimalError, Price, Rate, Size, Usd, parse_decimal, rounding
from services.domain.market import Listing
from services.venues.account import (
    AccountState,
    Balance,
    Fees,
    Fill,
    FillCause,
    Liquidity,
    Margin,
    OrderRecord,
    Position,
    Setting,
)
from services.venues.actions import MarginMode, OrderType, Side, TimeInForce
from services.venues.lighter.wire.frames import explain
from services.venues.lighter.wire.numbers import WireError
from services.venues.lighter.wire.refusals import status_of
from services.venues.lighter.wire.shapes import Count, Milliseconds

FEE_UNIT: Final = Decimal("0.000001")
ZERO: Final = Decimal(0)
Markets = Mapping[int, Listing]
"""By market id; spot markets are not among them."""


class RawOrder(Struct, gc=False):
    """An order."""

    order_index: int
    market_index: int
    initial_base_amount: str
    remaining_base_amount: str
    price: str
    is_ask: bool
    status: str
    client_order_index: int = 0
    filled_base_amount: str = "0"
    type: str = ""
    time_in_force: str = ""
    reduce_only: bool = False
    trigger_price: str = "0"
    parent_order_index: int = 0
    created_at: int = 0
    timestamp: int = 0
    transaction_time: int = 0


class RawTrade(Struct, gc=False):
    """A trade, with both its sides."""

    trade_id: Count
    market_id: int
    size: str
    price: str
    usd_amount: str
    ask_id: int
    bid_id: int
    ask_account_id: int
    bid_account_id: int
    is_maker_ask: bool
    timestamp: Milliseconds
    type: str = "trade"
    tx_hash: str = ""
    ask_client_id: int = 0
    bid_client_id: int = 0
    taker_fee: int | None = None
    maker_fee: int | None = None
    integrator_taker_fee: int | None = None
    integrator_maker_fee: int | None = None
    taker_position_size_before: str = ""
    maker_position_size_before: str = ""
    ask_account_pnl: str | None = None
    bid_account_pnl: str | None = None


class RawPosition(Struct, gc=False):
    """A position, open or flat."""

    market_id: int
    symbol: str
    sign: int
    position: str
    avg_entry_price: str
    position_value: str
    unrealized_pnl: str
    initial_margin_fraction: str
    realized_pnl: str = "0"
    liquidation_price: str = ""
    total_funding_paid_out: str | None = None
    margin_mode: int = 0
    allocated_margin: str = "0"


class RawAsset(Struct, gc=False):
    """A balance."""

    symbol: str
    balance: str
    locked_balance: str = "0"


class RawAccount(Struct, gc=False):
    """An account as `account` answers it."""

    index: int
    collateral: str
    available_balance: str
    l1_address: str = ""
    positions: list[RawPosition] | None = None
    assets: list[RawAsset] | None = None
    total_asset_value: str = ""
    cross_initial_margin_requirement: str | None = None
    cross_maintenance_margin_requirement: str | None = None
    cancel_all_time: int = 0
    account_trading_mode: int | None = None


class RawStats(Struct, gc=False):
    """What `user_stats` says."""

    collateral: str
    portfolio_value: str
    available_balance: str


class RawLimits(Struct, gc=False):
    """What the account pays."""

    current_maker_fee_tick: int
    current_taker_fee_tick: int
    user_tier: str = ""


class RawTx(Struct, gc=False):
    """A transaction the venue took in. `status`: 0 failed, 1 waits, 2 executed, 3 executed and not yet final."""

    hash: str
    type: int
    status: int
    nonce: int = 0
    event_info: str = ""


T = TypeVar("T")

TYPES: Final = {
    "limit": OrderType.LIMIT,
    "market": OrderType.MARKET,
    "stop-loss": OrderType.STOP_MARKET,
    "stop-loss-limit": OrderType.STOP_LIMIT,
    "take-profit": OrderType.TAKE_PROFIT_MARKET,
    "take-profit-limit": OrderType.TAKE_PROFIT_LIMIT,
}
_TRIGGERED: Final = frozenset(name for name, kind in TYPES.items() if kind.has_trigger)
_TIF: Final = {
    "immediate-or-cancel": TimeInForce.IMMEDIATE_OR_CANCEL,
    "good-till-time": TimeInForce.GOOD_TILL_CANCELED,
    "post-only": TimeInForce.POST_ONLY,
}
_CAUSES: Final = {
    "liquidation": FillCause.LIQUIDATION,
    "deleverage": FillCause.DELEVERAGING,
    "market-settlement": FillCause.SETTLEMENT,
}
_MAKER_ORDERED: Final = frozenset(("trade", "liquidation"))
"""Trades that met an order of the maker's; nobody ordered the others, whichever side is called the maker."""
_MODES: Final = {0: "simple", 1: "unified"}


def convert(value: Any, kind: type[T], *, channel: str = "") -> T:
    """Return a part of a decoded message as one of the shapes above. Raises `WireError`."""
    try:
        return msgspec.convert(value, type=kind)
    except (msgspec.ValidationError, RecursionError) as error:
        name, problem = explain(error)
        raise WireError(name, problem, channel=channel) from error


def order_record(raw: RawOrder, markets: Markets) -> OrderRecord:
    """Return an order."""
    status, reason = status_of(raw.status)
    listing = markets.get(raw.market_index)
    trigger = _number(raw.trigger_price, "trigger_price")
    time_ms = raw.transaction_time // 1_000 or _milliseconds(raw.timestamp)
    return OrderRecord(
        market=listing.market if listing is not None else "",
        symbol=listing.symbol if listing is not None else str(raw.market_index),
        order_id=str(raw.order_index),
        client_id=str(raw.client_order_index) if raw.client_order_index else "",
        side=Side.SELL if raw.is_ask else Side.BUY,
        type=TYPES.get(raw.type),
        time_in_force=_TIF.get(raw.time_in_force),
        limit_price=Price(_number(raw.price, "price")),
        trigger_price=Price(trigger) if trigger else None,
        size=Size(_number(raw.initial_base_amount, "initial_base_amount")),
        remaining=Size(_number(raw.remaining_base_amount, "remaining_base_amount")),
        filled=Size(_number(raw.filled_base_amount, "filled_base_amount")),
        reduce_only=raw.reduce_only,
        status=status,
        venue_status=raw.status,
        reason=reason,
        parent_id=str(raw.parent_order_index) if raw.parent_order_index else "",
        triggered=raw.type in _TRIGGERED and raw.status in ("open", "in-progress", "filled"),
        create_time_ms=_milliseconds(raw.created_at),
        update_time_ms=time_ms,
        version=raw.transaction_time or time_ms * 1_000,
    )


def fill(raw: RawTrade, markets: Markets, account_index: int) -> Fill:
    """Return a trade from the side of `account_index`. Raises `WireError` where it is on neither."""
    if account_index not in (raw.ask_account_id, raw.bid_account_id):
        raise WireError("ask_account_id", f"trade {raw.trade_id} is of two other accounts")
    sells = raw.ask_account_id == account_index
    makes = raw.is_maker_ask is sells
    listing = markets.get(raw.market_id)
    worth = _number(raw.usd_amount, "usd_amount")
    units = (raw.maker_fee if makes else raw.taker_fee) or 0
    interface = (raw.integrator_maker_fee if makes else raw.integrator_taker_fee) or 0
    before = raw.maker_position_size_before if makes else raw.taker_position_size_before
    pnl = raw.ask_account_pnl if sells else raw.bid_account_pnl
    client_id = raw.ask_client_id if sells else raw.bid_client_id
    return Fill(
        fill_id=f"{raw.trade_id}",
        market=listing.market if listing is not None else "",
        symbol=listing.symbol if listing is not None else str(raw.market_id),
        order_id=str(raw.ask_id if sells else raw.bid_id),
        client_id=str(client_id) if client_id else "",
        side=Side.SELL if sells else Side.BUY,
        price=Price(_number(raw.price, "price")),
        size=Size(_number(raw.size, "size")),
        liquidity=Liquidity.MAKER if makes else Liquidity.TAKER,
        cause=FillCause.ORDER if makes and raw.type in _MAKER_ORDERED else _CAUSES.get(raw.type, FillCause.ORDER),
        fee=Usd(worth * units * FEE_UNIT),
        interface_fee=Usd(worth * interface * FEE_UNIT),
        fee_asset="USDC",
        realized_pnl=Usd(_number(pnl, "pnl")) if pnl else None,
        position_before=Size(_number(before, "position_size_before")) if before else None,
        time_ms=raw.timestamp,
        transaction=raw.tx_hash,
    )


def position(raw: RawPosition, markets: Markets) -> Position:
    """Return a position; a flat one has size zero."""
    listing = markets.get(raw.market_id)
    size = _number(raw.position, "position") * (1 if raw.sign >= 0 else -1)
    liquidation = _number(raw.liquidation_price or "0", "liquidation_price")
    isolated = raw.margin_mode == 1
    allocated = _number(raw.allocated_margin, "allocated_margin")
    funding = raw.total_funding_paid_out
    return Position(
        market=listing.market if listing is not None else "",
        symbol=raw.symbol,
        size=Size(size if size else ZERO),
        entry_price=Price(_number(raw.avg_entry_price, "avg_entry_price")),
        notional=Usd(abs(_number(raw.position_value, "position_value"))),
        mark_price=None,
        liquidation_price=Price(liquidation) if liquidation else None,
        unrealized_pnl=Usd(_number(raw.unrealized_pnl, "unrealized_pnl")),
        realized_pnl=Usd(_number(raw.realized_pnl, "realized_pnl")),
        funding_paid=Usd(_number(funding, "total_funding_paid_out")) if funding else None,
        margin_used=Usd(allocated) if isolated else None,
        margin_mode=MarginMode.ISOLATED if isolated else MarginMode.CROSS,
        leverage=leverage_of(raw.initial_margin_fraction),
        isolated_collateral=Usd(allocated) if isolated else None,
    )


def leverage_of(percent: str) -> Decimal:
    """Return the leverage of an initial margin fraction in percent, to four decimals."""
    fraction = _number(percent, "initial_margin_fraction")
    if fraction <= 0:
        return Decimal(1)
    with rounding():
        return (100 / fraction).quantize(Decimal("0.0001")).normalize()


def account_state(raw: RawAccount, markets: Markets) -> AccountState:
    """Return the account."""
    collateral = _number(raw.collateral, "collateral")
    equity = _number(raw.total_asset_value or raw.collateral, "total_asset_value")
    available = _number(raw.available_balance, "available_balance")
    initial = raw.cross_initial_margin_requirement
    maintenance = raw.cross_maintenance_margin_requirement
    known = [position(item, markets) for item in raw.positions or ()]
    balances = [asset(item) for item in raw.assets or ()]
    if not any(item.asset == "USDC" for item in balances):
        balances.append(Balance(asset="USDC", total=collateral, held=ZERO))
    return AccountState(
        margin=Margin(
            equity=Usd(equity),
            initial=Usd(_number(initial, "cross_initial_margin_requirement") if initial else equity - available),
            maintenance=Usd(_number(maintenance, "cross_maintenance_margin_requirement")) if maintenance else None,
            available=Usd(available),
            withdrawable=Usd(min(available, collateral)),
        ),
        balances=tuple(balances),
        positions=tuple(item for item in known if item.size),
        settings=tuple(
            Setting(market=item.market, leverage=item.leverage, margin_mode=item.margin_mode)
            for item in known
            if item.market
        ),
        mode=_MODES.get(raw.account_trading_mode or 0, str(raw.account_trading_mode)),
        cancel_all_time_ms=raw.cancel_all_time,
    )


def asset(raw: RawAsset) -> Balance:
    """Return a balance."""
    return Balance(
        asset=raw.symbol, total=_number(raw.balance, "balance"), held=_number(raw.locked_balance, "locked_balance")
    )


def fees(raw: RawLimits) -> Fees:
    """Return what the account pays."""
    return Fees(
        maker=Rate(raw.current_maker_fee_tick * FEE_UNIT),
        taker=Rate(raw.current_taker_fee_tick * FEE_UNIT),
        tier=raw.user_tier,
    )


def _number(text: str, field: str) -> Decimal:
    """Return a number; the venue computes some in binary and prints up to 17 digits, which are kept as they are."""
    try:
        return parse_decimal(text)
    except DecimalError as error:
        raise WireError(field, str(error)) from None


def _milliseconds(value: int) -> int:
    """Return a time that captures show in seconds and the documentation in milliseconds."""
    return value * 1_000 if 0 < value < 10**11 else value
