"""What a venue says of an order, as what it means for a leg."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from services.domain.refusal import Origin, Refusal, RefusalReason
from services.execution.model.leg import ZERO, Evidence, Leg, LegState, Told, Trade, tell
from services.venues.account import Fill, OrderRecord, OrderStatus
from services.venues.trading import Accepted, Outcome, Refused, Standing

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def apply_outcome(leg: Leg, outcome: Outcome, now: datetime, *, evidence: Evidence = Evidence.RESPONSE) -> Leg:
    """Return the leg after the venue's answer to its bytes. Trades are not counted here: they come by their own ids."""
    if isinstance(outcome, Accepted):
        known = replace(
            leg, acknowledge_time=leg.acknowledge_time or now, venue_order_id=leg.venue_order_id or outcome.order_id
        )
        if outcome.standing in (Standing.RESTING, Standing.WAITING):
            return tell(known, Told.ACCEPT, evidence, now)
        return known if known == leg else replace(known, update_time=now)  # queued, or filled: trades tell the rest
    if isinstance(outcome, Refused):
        if outcome.refusal.reason is RefusalReason.NEVER_LANDED:
            return tell(leg, Told.NEVER_LAND, Evidence.EXPIRY, now, refusal=outcome.refusal)
        if leg.state is LegState.REJECTED and leg.refusal is not None and not leg.refusal.passing_value:
            # The stream told of it first, in a word; the answer says what would pass.
            return replace(leg, refusal=outcome.refusal, update_time=now)
        return tell(leg, Told.REFUSE, evidence, now, refusal=outcome.refusal)
    return tell(leg, Told.LOSE, evidence, now)


def apply_record(leg: Leg, record: OrderRecord, now: datetime, evidence: Evidence, *, all_trades: bool = False) -> Leg:
    """Return the leg after the venue's own record of it. An end waits for the trades that the record counts.

    Hyperliquid says filled of an order that took what it could and got less than its size, and does not say how much:
    with `all_trades`, every trade was asked for after the order had ended, and what was traded decides.
    """
    known = replace(
        leg, venue_order_id=record.order_id or leg.venue_order_id, acknowledge_time=leg.acknowledge_time or now
    )
    if record.triggered and leg.trigger_price is not None and leg.trigger_time is None:
        known = replace(known, trigger_time=_EPOCH + timedelta(milliseconds=record.update_time_ms), update_time=now)
    if not record.status.is_final:
        return tell(known, Told.ACCEPT, evidence, now) if known.state is not LegState.PARTIALLY_FILLED else known
    if all_trades and record.filled is None:
        return _ended(known, record, now, evidence)
    if record.filled is not None and record.filled > leg.filled:
        return known  # its trades come first
    if record.status is OrderStatus.FILLED:
        return known if known.filled < known.size and record.filled is None else _ended(known, record, now, evidence)
    return _ended(known, record, now, evidence)


def _ended(leg: Leg, record: OrderRecord, now: datetime, evidence: Evidence) -> Leg:
    told = {
        OrderStatus.FILLED: Told.FILL_ALL if leg.filled >= leg.size else Told.CANCEL,
        OrderStatus.CANCELED: Told.CANCEL,
        OrderStatus.EXPIRED: Told.EXPIRE,
        OrderStatus.REJECTED: Told.REFUSE,
    }[record.status]
    refusal = None
    if record.reason is not None:
        refusal = Refusal(
            reason=record.reason,
            origin=Origin.VENUE,
            message=f"The venue ended it: {record.venue_status}.",
            venue=leg.venue,
            venue_message=record.venue_status,
        )
    return tell(leg, told, evidence, now, refusal=refusal)


def trade_of(account_id: UUID, venue: str, fill: Fill, now: datetime) -> Trade:
    """Return a venue's fill as a trade. Its id is a function of venue, account, market and the venue's trade id."""
    return Trade(
        fill_id=fill_id(venue, account_id, fill.symbol, fill.fill_id),
        trade_id=fill.fill_id,
        venue=venue,
        account_id=account_id,
        market=fill.market,
        side=fill.side,
        price=fill.price,
        size=fill.size,
        liquidity=fill.liquidity.value,
        cause=fill.cause.value,
        fee=fill.fee,
        interface_fee=fill.interface_fee,
        realized_pnl=fill.realized_pnl,
        venue_order_id=fill.order_id,
        client_id=fill.client_id,
        fill_time=_EPOCH + timedelta(milliseconds=fill.time_ms),
        receive_time=now,
    )


def trades_of(account_id: UUID, venue: str, fills: Sequence[Fill], now: datetime) -> list[Trade]:
    """Return fills of listed markets as trades; what the venue trades beside perpetuals is none of ours."""
    return [trade_of(account_id, venue, fill, now) for fill in fills if fill.market]


def fill_id(venue: str, account_id: UUID, symbol: str, trade_id: str) -> UUID:
    """Return the id of a fill."""
    raw = hashlib.sha256(f"{venue}\0{account_id}\0{symbol}\0{trade_id}".encode()).digest()[:16]
    return UUID(bytes=raw, version=5)


def total(values: Sequence[Decimal]) -> Decimal:
    """Return the sum of amounts."""
    return sum(values, ZERO)
