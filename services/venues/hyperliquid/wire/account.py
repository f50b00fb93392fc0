"""What Hyperliquid says of an account, on both its faces: orders, fills, positions, balances, funding. Pure.

The same shapes come from `/info` and from the private channels. Shapes of 2023 lack fields of 2026; what is absent is
None, never guessed. Coins that are no listed perpetual market keep their symbol and have no market name. A fill's
`fee` includes what a builder got; here the two are apart. Source: the venue's page; captured answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from services.domain.decimals import Price, Rate, Size, Usd
from services.venues.account import (
    AccountState,
    Balance,
    Fees,
    Fill,
    FillCause,
    FundingPaid,
    Liquidity,
    Margin,
    OrderRecord,
    OrderStatus,
    Position,
    Setting,
)
from services.venues.actions import MarginMode, OrderType, Side, TimeInForce
from services.venues.hyperliquid.wire.frames import TimeMs
from services.venues.hyperliquid.wire.refusals import status_of
from services.venues.hyperliquid.wire.universe import Universe
from services.venues.hyperliquid.wire.values import DECODE_ERRORS, WireError, decimal_of, undecodable

ZERO: Final = Decimal(0)
CLASSIC_MODES: Final = frozenset(("disabled", "default"))
"""Modes in which the perpetual account holds its own collateral; in all others the spot balances do."""


class RawOrder(Struct, gc=False):
    """An order, as every face writes it; the frontend's fields are absent elsewhere."""

    coin: str
    side: str
    limitPx: str  # noqa: N815 (the venue's names, here and below)
    sz: str
    oid: int
    timestamp: TimeMs
    origSz: str | None = None  # noqa: N815
    cloid: str | None = None
    reduceOnly: bool | None = None  # noqa: N815
    orderType: str | None = None  # noqa: N815
    tif: str | None = None
    triggerPx: str | None = None  # noqa: N815
    isTrigger: bool | None = None  # noqa: N815
    isPositionTpsl: bool | None = None  # noqa: N815
    children: list[RawOrder] | None = None


class RawUpdate(Struct, gc=False):
    """An order with its status."""

    order: RawOrder
    status: str
    statusTimestamp: TimeMs  # noqa: N815


class RawStatus(Struct, gc=False):
    """The answer to `orderStatus`."""

    status: str
    order: RawUpdate | None = None


class RawLiquidation(Struct, gc=False):
    """Who was liquidated by a trade; it stands on the maker's fill too."""

    liquidatedUser: str | None = None  # noqa: N815
    method: str | None = None


class RawFill(Struct, gc=False):
    """One trade of the account."""

    coin: str
    px: str
    sz: str
    side: str
    time: TimeMs
    oid: int
    fee: str
    crossed: bool = True
    startPosition: str | None = None  # noqa: N815
    dir: str = ""
    closedPnl: str | None = None  # noqa: N815
    hash: str = ""
    tid: int | None = None
    cloid: str | None = None
    feeToken: str | None = None  # noqa: N815
    builderFee: str | None = None  # noqa: N815
    liquidation: RawLiquidation | None = None


class RawLeverage(Struct, gc=False):
    """A position's leverage; `rawUsd` where it is isolated."""

    type: str
    value: Decimal
    rawUsd: str | None = None  # noqa: N815


class RawFundingSum(Struct, gc=False):
    """What a position has paid."""

    sinceOpen: str = "0"  # noqa: N815


class RawPosition(Struct, gc=False):
    """An open position."""

    coin: str
    szi: str
    leverage: RawLeverage
    positionValue: str  # noqa: N815
    unrealizedPnl: str  # noqa: N815
    marginUsed: str  # noqa: N815
    entryPx: str | None = None  # noqa: N815
    liquidationPx: str | None = None  # noqa: N815
    cumFunding: RawFundingSum | None = None  # noqa: N815


class RawHeld(Struct, gc=False):
    """A position in its wrapper."""

    position: RawPosition


class RawSummary(Struct, gc=False):
    """The account's sums."""

    accountValue: str  # noqa: N815
    totalMarginUsed: str  # noqa: N815
    totalNtlPos: str = "0"  # noqa: N815
    totalRawUsd: str = "0"  # noqa: N815


class RawState(Struct, gc=False):
    """The perpetual account."""

    marginSummary: RawSummary  # noqa: N815
    assetPositions: list[RawHeld]  # noqa: N815
    crossMarginSummary: RawSummary | None = None  # noqa: N815
    crossMaintenanceMarginUsed: str | None = None  # noqa: N815
    withdrawable: str | None = None
    time: TimeMs = 0


class RawBalance(Struct, gc=False):
    """A spot balance."""

    coin: str
    total: str
    hold: str = "0"


class RawSpot(Struct, gc=False):
    """The spot account."""

    balances: list[RawBalance]


class RawFundingDelta(Struct, gc=False):
    """One funding payment; negative was paid."""

    coin: str
    usdc: str
    szi: str
    fundingRate: str  # noqa: N815


class RawRateLimit(Struct, gc=False):
    """How many requests an address has."""

    nRequestsUsed: int  # noqa: N815
    nRequestsCap: int  # noqa: N815
    nRequestsSurplus: int = 0  # noqa: N815


class RawAssetData(Struct, gc=False):
    """What the account may trade of a coin: [to buy, to sell]."""

    leverage: RawLeverage
    maxTradeSzs: tuple[str, str]  # noqa: N815
    markPx: str | None = None  # noqa: N815


class RawFees(Struct, gc=False):
    """What the account pays."""

    userCrossRate: str  # noqa: N815
    userAddRate: str  # noqa: N815
    activeReferralDiscount: str = "0"  # noqa: N815


T = TypeVar("T")


def decode(data: bytes, kind: type[T]) -> T:
    """Return an answer as one of the shapes above. Raises `WireError`."""
    try:
        return msgspec.json.decode(data, type=kind)
    except DECODE_ERRORS as error:
        undecodable(error)


def convert(value: Any, kind: type[T]) -> T:
    """Return a part of a decoded frame as one of the shapes above. Raises `WireError`."""
    try:
        return msgspec.convert(value, type=kind)
    except DECODE_ERRORS as error:
        undecodable(error)


_TYPES: Final = {
    "Limit": OrderType.LIMIT,
    "Market": OrderType.MARKET,
    "Stop Market": OrderType.STOP_MARKET,
    "Stop Limit": OrderType.STOP_LIMIT,
    "Take Profit Market": OrderType.TAKE_PROFIT_MARKET,
    "Take Profit Limit": OrderType.TAKE_PROFIT_LIMIT,
}
_TIF: Final = {
    "Gtc": TimeInForce.GOOD_TILL_CANCELED,
    "Ioc": TimeInForce.IMMEDIATE_OR_CANCEL,
    "FrontendMarket": TimeInForce.IMMEDIATE_OR_CANCEL,
    "LiquidationMarket": TimeInForce.IMMEDIATE_OR_CANCEL,
    "Alo": TimeInForce.POST_ONLY,
}
_RANK: Final = {OrderStatus.WAITING: 0, OrderStatus.OPEN: 1}


def market_of(universe: Universe, coin: str) -> str:
    """Return the canonical name of a coin, empty where it is no listed perpetual market."""
    found = universe.coins.get(coin)
    return found.market if found is not None else ""


def order_record(
    raw: RawOrder, universe: Universe, *, status: str = "open", status_time_ms: int = 0, parent_id: str = ""
) -> OrderRecord:
    """Return an order with the venue's word for where it stands."""
    standing, reason = status_of(status)
    trigger = _optional(raw.triggerPx, "triggerPx")
    waits = raw.isTrigger is True and status == "open"
    if parent_id and not raw.oid:
        waits = True
    if waits and standing is OrderStatus.OPEN:
        standing = OrderStatus.WAITING
    remaining = decimal_of(raw.sz, "sz", coin=raw.coin)
    size = decimal_of(raw.origSz or raw.sz, "origSz", coin=raw.coin)
    time_ms = status_time_ms or raw.timestamp
    return OrderRecord(
        market=market_of(universe, raw.coin),
        symbol=raw.coin,
        order_id=str(raw.oid),
        client_id=raw.cloid or "",
        side=_side(raw.side, raw.coin),
        type=_TYPES.get(raw.orderType) if raw.orderType is not None else None,
        time_in_force=_TIF.get(raw.tif) if raw.tif is not None else None,
        limit_price=Price(decimal_of(raw.limitPx, "limitPx", coin=raw.coin)),
        trigger_price=Price(trigger) if trigger else None,
        size=Size(size),
        remaining=Size(remaining),
        filled=None,  # a filled order may have got less than its size, and the venue does not say how much
        reduce_only=bool(raw.reduceOnly),
        status=standing,
        venue_status=status,
        reason=reason,
        parent_id=parent_id,
        triggered=status == "triggered",
        create_time_ms=raw.timestamp,
        update_time_ms=time_ms,
        version=time_ms * 10 + _RANK.get(standing, 2),
    )


def update_record(raw: RawUpdate, universe: Universe) -> OrderRecord:
    """Return an order out of a row of `orderUpdates`, `historicalOrders` or `orderStatus`."""
    return order_record(raw.order, universe, status=raw.status, status_time_ms=raw.statusTimestamp)


def open_records(raw: Iterable[RawOrder], universe: Universe) -> tuple[OrderRecord, ...]:
    """Return open orders; children that wait for their parent follow it."""
    found: list[OrderRecord] = []
    for order in raw:
        found.append(order_record(order, universe))
        found += [order_record(child, universe, parent_id=str(order.oid)) for child in order.children or ()]
    return tuple(found)


def fill(raw: RawFill, universe: Universe, *, user: str) -> Fill:
    """Return one trade of `user`, an address in lower case."""
    interface = _optional(raw.builderFee, "builderFee") or ZERO
    cause = FillCause.ORDER
    if raw.liquidation is not None and (raw.liquidation.liquidatedUser or "").lower() == user:
        cause = FillCause.LIQUIDATION  # also where it was closed against somebody else's position
    elif raw.dir == "Auto-Deleveraging":
        cause = FillCause.DELEVERAGING
    elif raw.dir == "Settlement":
        cause = FillCause.SETTLEMENT
    pnl, before = _optional(raw.closedPnl, "closedPnl"), _optional(raw.startPosition, "startPosition")
    return Fill(
        fill_id=f"{raw.time}-{raw.oid}-{raw.tid or f'{raw.startPosition}-{raw.px}-{raw.sz}-{raw.hash}'}",
        market=market_of(universe, raw.coin),
        symbol=raw.coin,
        order_id=str(raw.oid),
        client_id=raw.cloid or "",
        side=_side(raw.side, raw.coin),
        price=Price(decimal_of(raw.px, "px", coin=raw.coin)),
        size=Size(decimal_of(raw.sz, "sz", coin=raw.coin)),
        liquidity=Liquidity.TAKER if raw.crossed else Liquidity.MAKER,
        cause=cause,
        fee=Usd(decimal_of(raw.fee, "fee", coin=raw.coin) - interface),
        interface_fee=Usd(interface),
        fee_asset=raw.feeToken or "USDC",
        realized_pnl=None if pnl is None else Usd(pnl),
        position_before=None if before is None else Size(before),
        time_ms=raw.time,
        transaction=raw.hash,
    )


def position(raw: RawPosition, universe: Universe) -> Position:
    """Return an open position."""
    size = decimal_of(raw.szi, "szi", coin=raw.coin)
    entry = _optional(raw.entryPx, "entryPx") or ZERO
    isolated = raw.leverage.type == "isolated"
    collateral = None
    if isolated and raw.leverage.rawUsd is not None:
        collateral = Usd(decimal_of(raw.leverage.rawUsd, "rawUsd", coin=raw.coin) + entry * size)
    liquidation = _optional(raw.liquidationPx, "liquidationPx")
    return Position(
        market=market_of(universe, raw.coin),
        symbol=raw.coin,
        size=Size(size),
        entry_price=Price(entry),
        notional=Usd(decimal_of(raw.positionValue, "positionValue", coin=raw.coin)),
        mark_price=None,
        liquidation_price=None if liquidation is None else Price(liquidation),
        unrealized_pnl=Usd(decimal_of(raw.unrealizedPnl, "unrealizedPnl", coin=raw.coin)),
        realized_pnl=None,
        funding_paid=None
        if raw.cumFunding is None
        else Usd(decimal_of(raw.cumFunding.sinceOpen, "cumFunding.sinceOpen", coin=raw.coin)),
        margin_used=Usd(decimal_of(raw.marginUsed, "marginUsed", coin=raw.coin)),
        margin_mode=MarginMode.ISOLATED if isolated else MarginMode.CROSS,
        leverage=raw.leverage.value,
        isolated_collateral=collateral,
    )


def account_state(raw: RawState, universe: Universe, *, mode: str, spot: RawSpot | None = None) -> AccountState:
    """Return the account. Where spot balances are the collateral, its sums are the perpetual part alone."""
    sums = raw.marginSummary
    cross = raw.crossMarginSummary or sums
    equity, used = decimal_of(sums.accountValue, "accountValue"), decimal_of(sums.totalMarginUsed, "totalMarginUsed")
    free = decimal_of(cross.accountValue, "accountValue") - decimal_of(cross.totalMarginUsed, "totalMarginUsed")
    maintenance = _optional(raw.crossMaintenanceMarginUsed, "crossMaintenanceMarginUsed")
    withdrawable = _optional(raw.withdrawable, "withdrawable")
    balances = tuple(balance(item) for item in spot.balances) if spot is not None else ()
    positions = tuple(position(held.position, universe) for held in raw.assetPositions)
    return AccountState(
        margin=Margin(
            equity=Usd(equity),
            initial=Usd(used),
            maintenance=None if maintenance is None else Usd(maintenance),
            available=Usd(max(ZERO, free)),
            withdrawable=Usd(withdrawable if withdrawable is not None else max(ZERO, equity - used)),
        ),
        balances=balances,
        positions=positions,
        settings=tuple(
            Setting(market=item.market, leverage=item.leverage, margin_mode=item.margin_mode) for item in positions
        ),
        mode=mode,
        time_ms=raw.time,
    )


def balance(raw: RawBalance) -> Balance:
    """Return a spot balance."""
    return Balance(asset=raw.coin, total=decimal_of(raw.total, "total"), held=decimal_of(raw.hold, "hold"))


def fees(raw: RawFees) -> Fees:
    """Return what the account pays; the referral's discount is not yet in the venue's rates, the staking one is."""
    left = 1 - decimal_of(raw.activeReferralDiscount, "activeReferralDiscount")
    maker, taker = decimal_of(raw.userAddRate, "userAddRate"), decimal_of(raw.userCrossRate, "userCrossRate")
    return Fees(maker=Rate(maker * left if maker > 0 else maker), taker=Rate(taker * left), tier="")


def funding(raw: RawFundingDelta, time_ms: int, universe: Universe) -> FundingPaid:
    """Return one funding payment."""
    return FundingPaid(
        market=market_of(universe, raw.coin),
        symbol=raw.coin,
        amount=Usd(decimal_of(raw.usdc, "usdc", coin=raw.coin)),
        rate=Rate(decimal_of(raw.fundingRate, "fundingRate", coin=raw.coin)),
        position_size=Size(decimal_of(raw.szi, "szi", coin=raw.coin)),
        time_ms=time_ms,
    )


def _side(text: str, coin: str) -> Side:
    if text == "B":
        return Side.BUY
    if text == "A":
        return Side.SELL
    raise WireError("side", f"{text!r:.20} is neither A nor B", coin=coin)


def _optional(text: str | None, field: str) -> Decimal | None:
    return None if text is None else decimal_of(text, field)
