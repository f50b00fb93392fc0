"""A ledger of everything that changed a balance, in lines that add up. Pure.

Each line's `amount` is what it changed the settlement balance by: a fill by its realized profit less its fees, funding
by what was paid or received, a transfer by what moved. The sum of all amounts is the change of the balance.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from perpmesh.portfolio.v1 import funding_payment_pb2, position_record_pb2, transfer_pb2
from perpmesh.type.v1 import cost_pb2

ZERO = Decimal(0)


class Line(NamedTuple):
    """One line; amounts in USD, `amount` = realized_pnl - fees - funding_paid + transferred."""

    time: datetime
    account_id: str
    venue: str
    market: str
    kind: str
    size: Decimal
    price: Decimal | None
    realized_pnl: Decimal
    fees: Decimal
    funding_paid: Decimal
    transferred: Decimal
    amount: Decimal
    position_id: str
    reference: str
    """The fill, payment or transfer."""
    note: str


def ledger(
    records: Iterable[position_record_pb2.PositionRecord],
    payments: Iterable[funding_payment_pb2.FundingPayment],
    transfers: Iterable[transfer_pb2.Transfer],
) -> list[Line]:
    """Return the lines by time. What a life holds beyond the events that are listed comes as one line of its own."""
    lines = [line for record in records for line in _life(record)]
    for paid in payments:
        if not paid.position_id:
            amount = Decimal(paid.amount)
            lines.append(_line(
                paid.payment_time.ToDatetime(UTC), paid.account_id, paid.venue, paid.market, "funding",
                funding=-amount, reference=paid.funding_payment_id, note="no position of the log was there for it",
            ))  # fmt: skip
    for moved in transfers:
        kind = transfer_pb2.Transfer.Kind.Name(moved.kind).removeprefix("KIND_").lower()
        lines.append(_line(
            moved.transfer_time.ToDatetime(UTC), moved.account_id, moved.venue, "", kind,
            transferred=Decimal(moved.amount), reference=moved.transfer_id, note=moved.asset,
        ))  # fmt: skip
    return sorted(lines, key=lambda line: (line.time, line.reference))


def totals(lines: Iterable[Line]) -> dict[str, Decimal]:
    """Return the sums of the columns that add up."""
    found = dict.fromkeys(("realized_pnl", "fees", "funding_paid", "transferred", "amount"), ZERO)
    for line in lines:
        for name in found:
            found[name] += getattr(line, name)
    return found


def _life(record: position_record_pb2.PositionRecord) -> Iterable[Line]:
    realized, fees, funding = ZERO, ZERO, ZERO
    for event in record.events:
        kind = position_record_pb2.PositionEvent.Kind.Name(event.kind).removeprefix("KIND_").lower()
        paid = sum((Decimal(c.amount) for c in event.costs if c.kind == cost_pb2.COST_KIND_FUNDING), ZERO)
        fee = sum((Decimal(c.amount) for c in event.costs if c.kind != cost_pb2.COST_KIND_FUNDING), ZERO)
        won = Decimal(event.realized_pnl or "0")
        realized, fees, funding = realized + won, fees + fee, funding + paid
        yield _line(
            event.event_time.ToDatetime(UTC), record.account_id, record.venue, record.market, kind,
            size=Decimal(event.size_change or "0"), price=Decimal(event.price) if event.price else None, realized=won,
            fees=fee, funding=paid, position_id=record.position_id, reference=event.fill_id, note=event.explanation,
        )  # fmt: skip
    left = (
        Decimal(record.realized_pnl) - realized,
        sum((Decimal(cost.amount) for cost in record.costs), ZERO) - fees,
        Decimal(record.funding_paid) - funding,
    )
    if any(left):
        yield _line(
            record.open_time.ToDatetime(UTC), record.account_id, record.venue, record.market, "earlier_events",
            realized=left[0], fees=left[1], funding=left[2], position_id=record.position_id,
            note=f"{record.event_count - len(record.events)} events before those that are listed",
        )  # fmt: skip


def _line(
    time: datetime, account_id: str, venue: str, market: str, kind: str, *, size: Decimal = ZERO,
    price: Decimal | None = None, realized: Decimal = ZERO, fees: Decimal = ZERO, funding: Decimal = ZERO,
    transferred: Decimal = ZERO, position_id: str = "", reference: str = "", note: str = "",
) -> Line:  # fmt: skip
    return Line(
        time, account_id, venue, market, kind, size, price, realized, fees, funding, transferred,
        realized - fees - funding + transferred, position_id, reference, note,
    )  # fmt: skip
