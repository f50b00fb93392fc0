"""The house's actions, and setting up a key, as Lighter's transactions. Pure.

Prices and sizes are integers in the market's own decimals and must fit them exactly. `encode` is the only way from an
action to a transaction and knows only what may be signed for trading; set-up transactions have functions of their own.
Source: lighter-go's validation, the venue's page on transactions.
"""

from __future__ import annotations

import base64
from decimal import Decimal
from typing import Final

from services.venues import actions
from services.venues.actions import ActionError, OrderReference, OrderTerms, OrderType, TimeInForce
from services.venues.lighter.wire.transactions import ApiKey, Attribute, Scale, Scales, Transaction, TxType, Value

CLIENT_ID_MAX: Final = 2**48 - 1
ORDER_ID_MAX: Final = 2**60 - 1
SIZE_MAX: Final = 2**48 - 1
PRICE_MAX: Final = 2**32 - 1
FEE_UNIT: Final = Decimal("0.000001")
MARGIN_UNIT: Final = 10_000
ORDER_LIFE_MS: Final = 28 * 86_400_000
"""How long an order without an expiry of its own lives; the venue takes 5 minutes to 30 days."""
ORDER_LIFE_MIN_MS: Final = 5 * 60_000
ORDER_LIFE_MAX_MS: Final = 30 * 86_400_000
SCHEDULE_MIN_MS: Final = 5 * 60_000
SCHEDULE_MAX_MS: Final = 15 * 86_400_000
"""How far ahead the dead man's switch may be set."""

_TYPES: Final = {
    OrderType.LIMIT: 0,
    OrderType.MARKET: 1,
    OrderType.STOP_MARKET: 2,
    OrderType.STOP_LIMIT: 3,
    OrderType.TAKE_PROFIT_MARKET: 4,
    OrderType.TAKE_PROFIT_LIMIT: 5,
}
_TIF: Final = {
    TimeInForce.IMMEDIATE_OR_CANCEL: 0,
    TimeInForce.GOOD_TILL_CANCELED: 1,
    TimeInForce.POST_ONLY: 2,
}
_ONE_TRIGGERS, _ONE_CANCELS, _ONE_TRIGGERS_BOTH = 1, 2, 3


def encode(action: actions.Action, *, key: ApiKey, scales: Scales, now_ms: int) -> Transaction:
    """Return `action` as the venue takes it. Raises `ActionError` for what it has no way to do."""
    if isinstance(action, actions.Place):
        return _place(action, key, scales, now_ms)
    if isinstance(action, actions.Cancel):
        if len(action.orders) != 1:
            raise ActionError("orders", f"{len(action.orders)} of them; Lighter cancels one order a transaction")
        reference = action.orders[0]
        body = {"MarketIndex": reference.venue_market_id, "Index": _index(reference)}
        return Transaction(TxType.CANCEL_ORDER, key.head | body)
    if isinstance(action, actions.Modify):
        return _modify(action, key, scales)
    if isinstance(action, actions.CancelAll):
        attributes = (
            {} if action.venue_market_id is None else {int(Attribute.CANCEL_ALL_MARKET): action.venue_market_id}
        )
        return Transaction(TxType.CANCEL_ALL_ORDERS, key.head | {"TimeInForce": 0, "Time": 0}, attributes)
    if isinstance(action, actions.ScheduleCancel):
        return _schedule(action, key, now_ms)
    body = {
        "MarketIndex": action.venue_market_id,
        "InitialMarginFraction": MARGIN_UNIT // action.leverage,
        "MarginMode": 0 if action.margin_mode is actions.MarginMode.CROSS else 1,
    }
    return Transaction(TxType.UPDATE_LEVERAGE, key.head | body)


def _place(action: actions.Place, key: ApiKey, scales: Scales, now_ms: int) -> Transaction:
    if action.priority_fee_bps:
        raise ActionError("priority_fee_bps", "Lighter sells no priority; 0 would pass")
    attributes = _fee(action, key)
    child = action.grouping is actions.Grouping.ENTRY_WITH_EXITS
    orders = [_order(terms, scales, now_ms, child=child and index > 0) for index, terms in enumerate(action.orders)]
    if action.grouping is actions.Grouping.NONE:
        if len(orders) != 1:
            raise ActionError("orders", f"{len(orders)} that hang together in no way; Lighter places one a transaction")
        return Transaction(TxType.CREATE_ORDER, key.head | orders[0], attributes)
    if action.grouping is actions.Grouping.EXITS:
        if len(orders) != 2:
            raise ActionError("orders", f"{len(orders)} exits; one order that cancels one other would pass")
        kind = _ONE_CANCELS
    else:
        if len(orders) not in (2, 3):
            raise ActionError("orders", f"{len(orders)} orders; an entry with one or two exits would pass")
        kind = _ONE_TRIGGERS if len(orders) == 2 else _ONE_TRIGGERS_BOTH
    body: dict[str, Value] = {"GroupingType": kind, "Orders": orders}
    return Transaction(TxType.CREATE_GROUPED_ORDERS, key.head | body, attributes)


def _fee(action: actions.Place, key: ApiKey) -> dict[int, int]:
    rate = action.interface_fee_rate
    if not rate:
        return {}
    units = rate / FEE_UNIT
    if not key.integrator_account_index:
        raise ActionError("interface_fee_rate", "no integrator is configured to be paid; 0 would pass")
    if units != int(units) or units < 0:
        raise ActionError("interface_fee_rate", f"{rate} is no multiple of {FEE_UNIT:f}")
    return {
        int(Attribute.INTEGRATOR): key.integrator_account_index,
        int(Attribute.INTEGRATOR_TAKER_FEE): int(units),
        int(Attribute.INTEGRATOR_MAKER_FEE): int(units),
    }


def _order(terms: OrderTerms, scales: Scales, now_ms: int, *, child: bool) -> dict[str, int]:
    scale = _scale(scales, terms.venue_market_id)
    kind = terms.type
    tif = TimeInForce.IMMEDIATE_OR_CANCEL if kind.is_market else terms.time_in_force
    if kind.has_trigger and terms.trigger_price is None:
        raise ActionError("trigger_price", f"a {kind.value} order needs one")
    if not kind.has_trigger and terms.trigger_price is not None:
        raise ActionError("trigger_price", f"a {kind.value} order has none")
    immediate = not kind.has_trigger and tif is TimeInForce.IMMEDIATE_OR_CANCEL
    size = _units(terms.size, scale.size_decimals, "size", SIZE_MAX, zero=kind.has_trigger and terms.reduce_only)
    return {
        "MarketIndex": terms.venue_market_id,
        "ClientOrderIndex": _client_index(terms.client_id) if terms.client_id else 0,
        "BaseAmount": 0 if child else size,
        "Price": _units(terms.limit_price, scale.price_decimals, "limit_price", PRICE_MAX),
        "IsAsk": int(terms.side is actions.Side.SELL),
        "Type": _TYPES[kind],
        "TimeInForce": _TIF[tif],
        "ReduceOnly": int(terms.reduce_only),
        "TriggerPrice": _trigger(terms, scale),
        "OrderExpiry": 0 if immediate else _expiry(terms, now_ms),
    }


def _trigger(terms: OrderTerms, scale: Scale) -> int:
    if terms.trigger_price is None:
        return 0
    return _units(terms.trigger_price, scale.price_decimals, "trigger_price", PRICE_MAX)


def _expiry(terms: OrderTerms, now_ms: int) -> int:
    if terms.expire_time_ms is None:
        return now_ms + ORDER_LIFE_MS
    if not ORDER_LIFE_MIN_MS <= terms.expire_time_ms - now_ms <= ORDER_LIFE_MAX_MS:
        raise ActionError("order_expire_time", "Lighter's orders live from 5 minutes to 30 days")
    return terms.expire_time_ms


def _modify(action: actions.Modify, key: ApiKey, scales: Scales) -> Transaction:
    terms = action.terms
    scale = _scale(scales, action.order.venue_market_id)
    body: dict[str, Value] = {
        "MarketIndex": action.order.venue_market_id,
        "Index": _index(action.order),
        "BaseAmount": _units(terms.size, scale.size_decimals, "size", SIZE_MAX),
        "Price": _units(terms.limit_price, scale.price_decimals, "limit_price", PRICE_MAX),
        "TriggerPrice": _trigger(terms, scale),
    }
    return Transaction(TxType.MODIFY_ORDER, key.head | body)


def _schedule(action: actions.ScheduleCancel, key: ApiKey, now_ms: int) -> Transaction:
    when = action.cancel_time_ms
    if when is None:
        return Transaction(TxType.CANCEL_ALL_ORDERS, key.head | {"TimeInForce": 2, "Time": 0})
    if not SCHEDULE_MIN_MS <= when - now_ms <= SCHEDULE_MAX_MS:
        raise ActionError("cancel_time", "Lighter's switch fires from 5 minutes to 15 days ahead")
    return Transaction(TxType.CANCEL_ALL_ORDERS, key.head | {"TimeInForce": 1, "Time": when})


def _scale(scales: Scales, market_id: int) -> Scale:
    found = scales.get(market_id)
    if found is None:
        raise ActionError("venue_market_id", f"{market_id} is no market of Lighter's that is listed here")
    return found


def _units(value: Decimal, decimals: int, name: str, most: int, *, zero: bool = False) -> int:
    units = value.scaleb(decimals)
    whole = int(units)
    if units != whole:
        raise ActionError(name, f"{value} has more than {decimals} decimals")
    if not (0 if zero else 1) <= whole <= most:
        raise ActionError(name, f"{value} is outside of what Lighter's order format holds")
    return whole


def _client_index(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= CLIENT_ID_MAX):
        raise ActionError("venue_client_id", f"{text!r:.60} is no client order index: 1 to {CLIENT_ID_MAX}")
    return int(text)


def _index(reference: OrderReference) -> int:
    """Return the number an order is named by: the venue's, else ours; the two ranges never overlap."""
    if not reference.order_id:
        return _client_index(reference.client_id)
    text = reference.order_id
    if not (text.isascii() and text.isdecimal() and CLIENT_ID_MAX < int(text) <= ORDER_ID_MAX):
        raise ActionError("venue_order_id", f"{text!r:.60} is no order index of Lighter's")
    return int(text)


# --- set-up -----------------------------------------------------------------------------------------------------------


def change_public_key(key: ApiKey, public_key: str) -> Transaction:
    """Return the registration of an API key, 80 hex digits; all zeros revoke the slot. Signed by the new key itself."""
    raw = bytes.fromhex(public_key.removeprefix("0x"))
    if len(raw) != 40:
        raise ActionError("public_key", f"{len(raw)} bytes; 40 would pass")
    return Transaction(TxType.CHANGE_PUB_KEY, key.head | {"PubKey": base64.b64encode(raw).decode()})


def approve_integrator(
    key: ApiKey, *, integrator: int, taker_units: int, maker_units: int, expiry_ms: int
) -> Transaction:
    """Return the approval of an integrator's perpetual fees, in 10^-6 of the notional; all zeros take it back."""
    body: dict[str, Value] = {
        "IntegratorAccountIndex": integrator,
        "MaxPerpsTakerFee": taker_units,
        "MaxPerpsMakerFee": maker_units,
        "MaxSpotTakerFee": 0,
        "MaxSpotMakerFee": 0,
        "ApprovalExpiry": expiry_ms,
    }
    return Transaction(TxType.APPROVE_INTEGRATOR, key.head | body)


def wallet_text(transaction: Transaction, *, nonce: int, chain_id: int) -> str:
    """Return what the wallet signs (EIP-191) for a set-up transaction. Integers are 0x and 16 hex digits."""

    def number(name: str) -> str:
        value = transaction.body[name]
        assert isinstance(value, int)
        return f"0x{value:016x}"

    if transaction.type is TxType.CHANGE_PUB_KEY:
        key = base64.b64decode(str(transaction.body["PubKey"])).hex()
        return (
            f"Register Lighter Account\n\npubkey: 0x{key}\nnonce: 0x{nonce:016x}\naccount index: "
            f"{number('AccountIndex')}\napi key index: {number('ApiKeyIndex')}\n"
            "Only sign this message for a trusted client!"
        )
    if transaction.type is TxType.APPROVE_INTEGRATOR:
        return (
            f"Approve Integrator\n\nnonce: 0x{nonce:016x}\naccount index: {number('AccountIndex')}\napi key index: "
            f"{number('ApiKeyIndex')}\nintegrator account index: {number('IntegratorAccountIndex')}\n"
            f"max perps taker fee: {number('MaxPerpsTakerFee')}\nmax perps maker fee: {number('MaxPerpsMakerFee')}\n"
            f"max spot taker fee: {number('MaxSpotTakerFee')}\nmax spot maker fee: {number('MaxSpotMakerFee')}\n"
            f"approval expiry: {number('ApprovalExpiry')}\nchainId: 0x{chain_id:016x}\n"
            "Only sign this message for a trusted client!"
        )
    raise ActionError("type", f"{transaction.type.name} needs no wallet")
