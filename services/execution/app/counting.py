"""How much a leg that has ended has traded, by its venue's own word, before anything is decided by it."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Final

from services.execution.app.canceling import reference_of
from services.execution.model.evidence import trades_of
from services.execution.model.leg import ZERO, Leg, LegState
from services.execution.ports import Clock, Orders, TradingAccount
from services.venues.account import OrderRecord, OrderStatus
from services.venues.trading import TradingVenue

SETTLE_S: Final = 5.0
"""How long the venue's trades of an order that has ended may lag behind its own word of how much was traded; after that
its word counts."""


async def traded(
    leg: Leg, account: TradingAccount, venue: TradingVenue, orders: Orders, clock: Clock
) -> Decimal | None:
    """Return how much a leg that has ended has traded; None where trades of it are still to be told, or just were."""
    if not leg.send_count or leg.state in (LegState.FILLED, LegState.REJECTED, LegState.FAILED):
        return leg.filled
    record = await venue.order(account.ref, reference_of(leg))
    consumed = max(leg.filled, _by_its_word(record, leg))
    ended_s = (clock.now() - leg.update_time).total_seconds()
    if (consumed > leg.filled or record is None) and ended_s < SETTLE_S:
        since = (leg.submit_time or leg.create_time) - timedelta(seconds=5)
        fills = await venue.fills(account.ref, since_ms=int(since.timestamp() * 1_000))
        await orders.record(account, trades_of(account.account_id, account.venue, fills, clock.now()))
        return None
    return consumed


def _by_its_word(record: OrderRecord | None, leg: Leg) -> Decimal:
    """Return how much of an order that has ended was traded by its venue's own word."""
    if record is None:
        return ZERO
    if record.filled is not None:
        return Decimal(record.filled)
    if record.status is OrderStatus.FILLED and not leg.may_rest:
        return leg.filled  # Hyperliquid says so of an immediate order that got less than its size; its trades decide
    return min(leg.size, max(ZERO, Decimal(record.size) - Decimal(record.remaining)))
