"""Actions as Hyperliquid takes them: the house's actions to the venue's structs, whose field order is what is signed.

The venue hashes an action's fields in one order only, and numbers as texts without trailing zeros; a struct here cannot
be built in another. Absent fields are absent, never null. `encode` is the only way in, and knows no other actions.
Source: the venue's page on `/exchange`; hyperliquid-python-sdk 0.24.0.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from msgspec import UNSET, Struct, UnsetType, field

from services.domain.decimals import plain_text
from services.venues import actions
from services.venues.actions import ActionError, OrderTerms, OrderType, TimeInForce

FEE_UNIT: Final = Decimal("0.00001")
"""A builder's fee is counted in tenths of a basis point."""
FEE_UNITS_MAX: Final = 100
"""0.1 % is the most a builder may take on perpetuals."""
PRIORITY_UNITS_PER_BPS: Final = 10_000
"""The priority rate is an integer of 10^-8."""
CLOID: Final = re.compile(r"0x[0-9a-f]{32}")
ORDERS_MAX: Final = 200
"""The venue's weight limit of one signed action."""

_TIF: Final = {
    TimeInForce.GOOD_TILL_CANCELED: "Gtc",
    TimeInForce.IMMEDIATE_OR_CANCEL: "Ioc",
    TimeInForce.POST_ONLY: "Alo",
}
_GROUPING: Final = {
    actions.Grouping.NONE: "na",
    actions.Grouping.ENTRY_WITH_EXITS: "normalTpsl",
    actions.Grouping.EXITS: "positionTpsl",
}


class Limit(Struct, frozen=True):
    """How a limit order waits."""

    tif: str


class Trigger(Struct, frozen=True):
    """When a trigger order becomes live."""

    is_market: bool = field(name="isMarket")
    trigger_price: str = field(name="triggerPx")
    tpsl: str


class Type(Struct, frozen=True):
    """One of the two: how a limit order waits, or when a trigger order becomes live."""

    limit: Limit | UnsetType = UNSET
    trigger: Trigger | UnsetType = UNSET


class Order(Struct, frozen=True):
    """One order: asset, is buy, price, size, reduce only, type, client id."""

    a: int
    b: bool
    p: str
    s: str
    r: bool
    t: Type
    c: str | UnsetType = UNSET


class Builder(Struct, frozen=True):
    """Who is paid how many tenths of a basis point."""

    b: str
    f: int


class Priority(Struct, frozen=True):
    """The grouping of orders that pay to be early."""

    p: int


class PlaceOrders(Struct, frozen=True, tag_field="type", tag="order"):
    """Places orders."""

    orders: tuple[Order, ...]
    grouping: str | Priority
    builder: Builder | UnsetType = UNSET


class OrderId(Struct, frozen=True):
    """An order by the venue's id."""

    a: int
    o: int


class CancelOrders(Struct, frozen=True, tag_field="type", tag="cancel"):
    """Cancels orders by the venue's ids."""

    cancels: tuple[OrderId, ...]


class OrderCloid(Struct, frozen=True):
    """An order by our id."""

    asset: int
    cloid: str


class CancelByCloid(Struct, frozen=True, tag_field="type", tag="cancelByCloid"):
    """Cancels orders by our ids."""

    cancels: tuple[OrderCloid, ...]


class Change(Struct, frozen=True):
    """An order, by either id, and what it becomes."""

    oid: int | str
    order: Order


class BatchModify(Struct, frozen=True, tag_field="type", tag="batchModify"):
    """Changes orders; the answer has each new order's status, which that of a single `modify` has not."""

    modifies: tuple[Change, ...]


class ScheduleCancel(Struct, frozen=True, tag_field="type", tag="scheduleCancel"):
    """Arms the dead man's switch; without a time, disarms it."""

    time: int | UnsetType = UNSET


class UpdateLeverage(Struct, frozen=True, tag_field="type", tag="updateLeverage"):
    """Sets a market's leverage."""

    asset: int
    is_cross: bool = field(name="isCross")
    leverage: int


class Noop(Struct, frozen=True, tag_field="type", tag="noop"):
    """Does nothing but use its nonce up: an action in flight with that nonce can then never land."""


WireAction = PlaceOrders | CancelOrders | CancelByCloid | BatchModify | ScheduleCancel | UpdateLeverage | Noop


def encode(action: actions.Action, *, builder: str | None = None) -> WireAction:
    """Return `action` as the venue takes it. Raises `ActionError` for what the venue has no way to do."""
    if isinstance(action, actions.Place):
        return _place(action, builder)
    if isinstance(action, actions.Cancel):
        return _cancel(action)
    if isinstance(action, actions.Modify):
        reference = action.order
        oid: int | str = int(reference.order_id) if reference.order_id else _cloid(reference.client_id)
        return BatchModify((Change(oid, _order(action.terms)),))
    if isinstance(action, actions.SetLeverage):
        cross = action.margin_mode is actions.MarginMode.CROSS
        return UpdateLeverage(action.venue_market_id, cross, action.leverage)
    if isinstance(action, actions.ScheduleCancel):
        return ScheduleCancel(UNSET if action.cancel_time_ms is None else action.cancel_time_ms)
    raise ActionError("cancel_all", "Hyperliquid cancels orders by name only; list the open ones and cancel those")


def _place(action: actions.Place, builder: str | None) -> PlaceOrders:
    if not 1 <= len(action.orders) <= ORDERS_MAX:
        raise ActionError("orders", f"{len(action.orders)} of them; 1 to {ORDERS_MAX} would pass")
    grouping: str | Priority = _GROUPING[action.grouping]
    if action.priority_fee_bps:
        if grouping != "na":
            raise ActionError("priority_fee_bps", "a priority fee and grouped orders exclude each other; 0 would pass")
        grouping = Priority(action.priority_fee_bps * PRIORITY_UNITS_PER_BPS)
    fee: Builder | UnsetType = UNSET
    if action.interface_fee_rate:
        if builder is None:
            raise ActionError("interface_fee_rate", "no builder is configured to be paid; 0 would pass")
        fee = Builder(builder.lower(), _fee_units(action.interface_fee_rate))
    return PlaceOrders(tuple(_order(terms) for terms in action.orders), grouping, fee)


def _fee_units(rate: Decimal) -> int:
    units = rate / FEE_UNIT
    if units != int(units) or not 0 < units <= FEE_UNITS_MAX:
        problem = f"{rate} is no multiple of {FEE_UNIT:f} up to {FEE_UNITS_MAX * FEE_UNIT:f}"
        raise ActionError("interface_fee_rate", problem)
    return int(units)


def _cancel(action: actions.Cancel) -> CancelOrders | CancelByCloid:
    orders = action.orders
    if not 1 <= len(orders) <= ORDERS_MAX:
        raise ActionError("orders", f"{len(orders)} of them; 1 to {ORDERS_MAX} would pass")
    if all(order.order_id for order in orders):
        return CancelOrders(tuple(OrderId(order.venue_market_id, int(order.order_id)) for order in orders))
    if all(order.client_id for order in orders):
        return CancelByCloid(tuple(OrderCloid(order.venue_market_id, _cloid(order.client_id)) for order in orders))
    raise ActionError("orders", "one cancel names all its orders by our ids, or all by the venue's")


def _order(terms: OrderTerms) -> Order:
    return Order(
        a=terms.venue_market_id,
        b=terms.side is actions.Side.BUY,
        p=_number(terms.limit_price, "limit_price"),
        s=_number(terms.size, "size", zero=terms.type.has_trigger),
        r=terms.reduce_only,
        t=_type(terms),
        c=_cloid(terms.client_id) if terms.client_id else UNSET,
    )


def _type(terms: OrderTerms) -> Type:
    if terms.expire_time_ms is not None:
        raise ActionError("order_expire_time", "Hyperliquid's orders have no expiry of their own; none would pass")
    if not terms.type.has_trigger:
        if terms.trigger_price is not None:
            raise ActionError("trigger_price", f"a {terms.type.value} order has none")
        tif = TimeInForce.IMMEDIATE_OR_CANCEL if terms.type is OrderType.MARKET else terms.time_in_force
        return Type(limit=Limit(_TIF[tif]))
    if terms.trigger_price is None:
        raise ActionError("trigger_price", f"a {terms.type.value} order needs one")
    tpsl = "sl" if terms.type.is_stop else "tp"
    return Type(trigger=Trigger(terms.type.is_market, _number(terms.trigger_price, "trigger_price"), tpsl))


def _number(value: Decimal, name: str, *, zero: bool = False) -> str:
    """Return a number as it is signed: at most 8 decimals, no trailing zeros, no exponent."""
    if not value.is_finite() or value < 0 or (value == 0 and not zero):
        raise ActionError(name, f"{value} is not above zero")
    text = plain_text(value)
    if len(text.partition(".")[2]) > 8:
        raise ActionError(name, f"{text} has more than 8 decimals")
    return text


def _cloid(text: str) -> str:
    if not CLOID.fullmatch(text):
        raise ActionError("venue_client_id", f"{text!r:.60} is no cloid: 0x and 32 hex digits in lower case")
    return text
