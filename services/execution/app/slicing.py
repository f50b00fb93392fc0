"""Taking an order in that is sent in slices: its smallest slice must pass by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import ROUND_UP, Decimal
from typing import Final

from services.domain.decimals import plain_text, rounding
from services.domain.refusal import Refusal, RefusalReason
from services.execution.model import twap
from services.execution.model.leg import ZERO
from services.execution.model.order import NewOrder, Order, mesh_says_no
from services.execution.model.quoted import Quoted
from services.execution.ports import Planner, TradingAccount
from services.venues.actions import OrderType, TimeInForce


async def begin(
    order: Order,
    accounts: Sequence[TradingAccount],
    *,
    planner: Planner,
    on_lot: Callable[[str, Sequence[TradingAccount], Decimal], Decimal],
) -> Order | Refusal:
    """Return an order with its schedule, or why it cannot be sliced so: its smallest slice must pass by itself."""
    assert order.twap is not None, "asked of orders in slices"
    terms = order.twap.terms
    if terms.count > twap.SLICES_MAX:
        with rounding():
            seconds = (terms.duration / (twap.SLICES_MAX - 1)).total_seconds()
        passing = f"{int(seconds) + 1}s"
        return mesh_says_no(
            RefusalReason.NOT_SUPPORTED,
            f"That is {terms.count} slices; an order has {twap.SLICES_MAX} at most.",
            f"A slice_interval of {passing} would pass.",
            field="twap.slice_interval",
            given=f"{int(terms.interval.total_seconds())}s",
            passing=passing,
        )
    size = on_lot(order.market, accounts, order.size) or order.size
    with rounding():
        smallest = (size * terms.smallest).quantize(twap.GRAIN)
    first = slice_of(order, on_lot(order.market, accounts, smallest) or smallest)
    route = await planner.plan(first, accounts, order.order_id, preview=True)  # a look: each slice is planned when due
    if route.refusal is not None:
        return (
            _too_small(order, terms, smallest, route.refusal) if route.refusal.reason in _TOO_SMALL else route.refusal
        )
    schedule = replace(order.twap, account_ids=tuple(one.account_id for one in accounts))
    arrival = Quoted(quote_id=None, arrival_mid_price=route.arrival_mid_price, size=ZERO, legs=())
    return replace(order, size=size, twap=schedule, quoted=arrival)


def slice_of(order: Order, size: Decimal) -> NewOrder:
    """Return a slice as an order of its own: immediate, within the order's own limits."""
    return NewOrder(
        request_id=order.request_id, market=order.market, side=order.side, size=size, size_in_usd=False,
        type=OrderType.MARKET, limit_price=order.limit_price, time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL,
        reduce_only=order.reduce_only, venue="", venues=(), excluded=(), account_ids=(), quote_id=None,
        max_slippage_bps=order.max_slippage_bps, client_order_id="", allow_while_unknown=True,
    )  # fmt: skip


_TOO_SMALL: Final = frozenset(
    (RefusalReason.SIZE_TOO_SMALL, RefusalReason.NOTIONAL_TOO_SMALL, RefusalReason.SIZE_OFF_LOT)
)


def _too_small(order: Order, terms: twap.Terms, smallest: Decimal, refusal: Refusal) -> Refusal:
    """Say which size of the whole would make its smallest slice pass."""
    passing = ""
    if refusal.passing_value:
        with rounding():
            whole = Decimal(refusal.passing_value) / terms.smallest
            passing = plain_text(whole.quantize(Decimal(1).scaleb(-5), rounding=ROUND_UP))
    return mesh_says_no(
        refusal.reason,
        f"The smallest of {terms.count} slices would be {plain_text(smallest)}. {refusal.message}",
        "Order more, or in fewer slices: a longer slice_interval or a shorter duration.",
        field="size",
        given=plain_text(order.size),
        passing=passing,
    )
