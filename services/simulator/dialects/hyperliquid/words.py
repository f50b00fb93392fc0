"""The venue's words for what became of an order: errors of a response, statuses of a look-up."""

from __future__ import annotations

from services.simulator.exchange.terms import Terms
from services.simulator.exchange.values import Order, Outcome
from services.simulator.rules import plain

_ERRORS = {
    "tick": "Price must be divisible by tick size.",
    "min_notional": "Order must have minimum value of $10.",
    "margin": "Insufficient margin to place order.",
    "no_match": "Order could not immediately match against any resting orders.",
    "reduce_only": "Reduce only order would increase position.",
    "bad_trigger": "Invalid TP/SL price.",
    "no_liquidity": "No liquidity available for market order.",
    "position_limit": "Order would cause position to exceed margin tier limit at current leverage.",
    "too_many_orders": "Too many open orders.",
    "self_trade": "Order could not immediately match against any resting orders.",
}
_REJECTED = {
    "tick": "tickRejected", "min_notional": "minTradeNtlRejected", "margin": "perpMarginRejected",
    "no_match": "iocCancelRejected", "no_liquidity": "marketOrderNoLiquidityRejected",
    "reduce_only": "reduceOnlyRejected", "post_only": "badAloPxRejected", "bad_trigger": "badTriggerPxRejected",
    "position_limit": "perpMaxPositionRejected", "too_many_orders": "tooManyOpenOrdersRejected",
}  # fmt: skip
_CANCELED = {
    "scheduled": "scheduledCancel", "self_trade": "selfTradeCanceled", "reduce_only": "reduceOnlyCanceled",
    "margin": "marginCanceled", "sibling": "siblingFilledCanceled", "liquidation": "liquidatedCanceled",
    "no_liquidity": "iocCancelRejected",
}  # fmt: skip


def error(outcome: Outcome, terms: Terms) -> str:
    """Return the text of an order's error, with the asset it is about."""
    if outcome.reason == "post_only":
        bid, ask = (plain(int(str(price)), terms.price_decimals) for price in outcome.detail)
        bbo = f"{bid.removesuffix('.0')}@{ask.removesuffix('.0')}"
        return f"Post only order would have immediately matched, bbo was {bbo}. asset={terms.asset}"
    return f"{_ERRORS.get(outcome.reason, 'Order was rejected.')} asset={terms.asset}"


def status(order: Order) -> str:
    """Return an order's status as look-ups and updates name it."""
    if order.status == "rejected":
        return _REJECTED.get(order.reason, "rejected")
    if order.status == "canceled":
        return _CANCELED.get(order.reason, "canceled")
    return order.status if order.status in ("filled", "triggered") else "open"
