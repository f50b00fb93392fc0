"""What reports are made from, and the reports of ended orders; each written in the transaction it belongs to."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from services.chassis.postgres import Connection, Database
from services.chassis.telemetry import log
from services.domain.decimals import plain_text
from services.execution.model.leg import ZERO, Leg, Trade
from services.execution.model.order import Order
from services.execution.model.quoted import Levels, Quoted, QuotedLeg, Rates, enough, joined, replaced
from services.execution.model.report import report
from services.execution.model.reported import Filled, Report, Seen
from services.execution.ports import Clock, Scribe
from services.execution.ports.looking import Books

_CHANGE_QUOTED: Final = "UPDATE order_quotes SET quoted = $2 WHERE order_id = $1"
_KEEP_SENT: Final = """
    INSERT INTO leg_books (leg_id, levels) VALUES ($1, $2)
    ON CONFLICT (leg_id) DO UPDATE SET levels = excluded.levels"""
_KEEP_REPORT: Final = """
    INSERT INTO reports (order_id, filled, event) VALUES ($1, $2, $3)
    ON CONFLICT (order_id) DO UPDATE SET filled = excluded.filled, event = excluded.event"""
_FILLS: Final = "SELECT leg_id, price, size, liquidity, fee, interface_fee, receive_time FROM fills WHERE order_id = $1"
_ENDED: Final = """
    SELECT (SELECT filled FROM reports WHERE order_id = $1) AS reported,
        (SELECT quoted FROM order_quotes WHERE order_id = $1) AS quoted"""
_SENT: Final = "SELECT leg_id, levels FROM leg_books WHERE leg_id = ANY($1)"
_SAY: Final = "INSERT INTO outbox (user_id, kind, event) VALUES ($1, 'report', $2)"


class Reporter:
    """Keeps what reports need while an order lives, and writes its report when it ends."""

    def __init__(self, books: Books, scribe: Scribe, clock: Clock) -> None:
        self._books = books
        self._scribe = scribe
        self._clock = clock

    def denied(self, order: Order) -> bytes | None:
        """Return the report of an order that has ended as it came, without a leg; None where none can be made."""
        try:
            return self._scribe.report(report(order, order.quoted, {}, {}, self._clock.now()))
        except (ArithmeticError, AssertionError, LookupError, ValueError) as error:
            log.error("report.failed", order_id=str(order.order_id), error=error)
            return None

    async def sent(self, connection: Connection, leg: Leg) -> None:
        """Keep the book that a leg is sent into."""
        await connection.execute(_KEEP_SENT, leg.leg_id, self.sent_json(leg))

    def sent_json(self, leg: Leg) -> str:
        """Return the book that a leg is sent into; what waits for a trigger is sent into none."""
        levels = self._books.now(leg.market, leg.venue, leg.side) if leg.trigger_price is None else None
        return json.dumps(None if levels is None else _levels_json(enough(levels, leg.size)))

    async def end(self, connection: Connection, order: Order) -> None:
        """Write the report of an order that has ended, and say it, unless that was done for all that is filled."""
        made = await self.ended(connection, order, ())
        if made is not None:
            await connection.execute(_KEEP_REPORT, order.order_id, *made)
            await connection.execute(_SAY, order.user_id, made[1])

    async def ended(
        self, connection: Connection, order: Order, trades: Sequence[tuple[UUID, Trade]]
    ) -> tuple[Decimal, bytes] | None:
        """Return what an order that has ended has filled and its report; None where that was said before.

        `trades` are those, by leg, that are not in the record yet.
        """
        row = await connection.fetchrow(_ENDED, order.order_id)
        assert row is not None, "a question without a table has one row"
        filled = sum((leg.filled for leg in order.legs), ZERO)  # its exits too
        if row["reported"] is not None and row["reported"] == filled:
            return None
        try:
            return filled, self._scribe.report(await self._made(connection, order, row["quoted"], trades))
        except (ArithmeticError, AssertionError, LookupError, ValueError) as error:
            # A fault of the report's own must not keep what happened to an order from being written.
            log.error("report.failed", order_id=str(order.order_id), error=error)
            return None

    async def replaced(self, connection: Connection, order: Order, old_id: UUID, fresh: Leg) -> None:
        """Expect of an order whose owner gave it new terms what its next leg would do now."""
        kept = await connection.fetchval("SELECT quoted FROM order_quotes WHERE order_id = $1", order.order_id)
        if kept is None:
            return
        old = next(leg for leg in order.legs if leg.leg_id == old_id)
        levels = self._books.now(fresh.market, fresh.venue, fresh.side)
        quoted = replaced(quoted_of(kept), old, fresh, levels)
        await connection.execute(_CHANGE_QUOTED, order.order_id, quoted_json(quoted))

    async def sliced(self, connection: Connection, order: Order, part: Quoted) -> None:
        """Expect of an order in slices what the plan of its next one says."""
        kept = await connection.fetchval("SELECT quoted FROM order_quotes WHERE order_id = $1", order.order_id)
        if kept is not None:
            await connection.execute(_CHANGE_QUOTED, order.order_id, quoted_json(joined(quoted_of(kept), part)))

    async def make(self, connection: Connection, order: Order) -> Report:
        """Return what an order came to so far."""
        kept = await connection.fetchval("SELECT quoted FROM order_quotes WHERE order_id = $1", order.order_id)
        return await self._made(connection, order, kept, ())

    async def _made(
        self, connection: Connection, order: Order, kept: str | None, trades: Sequence[tuple[UUID, Trade]]
    ) -> Report:
        fills: defaultdict[UUID, list[Filled]] = defaultdict(list)
        for row in await connection.fetch(_FILLS, order.order_id):
            if row["leg_id"] is not None:
                fills[row["leg_id"]].append(_filled(row))
        for leg_id, trade in trades:
            fills[leg_id].append(_traded(trade))
        rows = await connection.fetch(_SENT, [leg.leg_id for leg in order.legs])
        sent = {row["leg_id"]: json.loads(row["levels"]) for row in rows}
        seen = {leg.leg_id: self._seen(leg, sent.get(leg.leg_id)) for leg in order.legs}
        return report(order, None if kept is None else quoted_of(kept), fills, seen, self._clock.now())

    def _seen(self, leg: Leg, sent: Sequence[Any] | None) -> Seen:
        levels = None if sent is None else _levels_of(sent)
        if leg.submit_time is None:
            return Seen(sent=levels)
        after, is_whole = self._books.since(leg.market, leg.venue, leg.side, leg.submit_time)
        return Seen(sent=levels, after=after, is_whole=is_whole and levels is not None)


class PostgresReports:
    """The port `Reports`."""

    def __init__(self, database: Database, reporter: Reporter, scribe: Scribe, order_of: Any) -> None:
        """Prepare; `order_of` reads a user's order."""
        self._database = database
        self._reporter = reporter
        self._scribe = scribe
        self._order_of = order_of

    async def report(self, user_id: UUID, order_id: UUID) -> bytes | None:
        """Return the log event of an order's report: as it was written at its end, or of what it is so far."""
        order: Order | None = await self._order_of(user_id, order_id)
        if order is None:
            return None
        async with self._database.acquire() as connection:
            event: bytes | None = await connection.fetchval("SELECT event FROM reports WHERE order_id = $1", order_id)
            if event is not None:
                return event
            return self._scribe.report(await self._reporter.make(connection, order))


def quoted_json(quoted: Quoted) -> str:
    """Return a quote as JSON, decimals as text."""
    return json.dumps(
        {
            "quote_id": None if quoted.quote_id is None else str(quoted.quote_id),
            "arrival_mid_price": plain_text(quoted.arrival_mid_price),
            "size": plain_text(quoted.size),
            "accept_us": quoted.accept_us,
            "single_venue_costs": [(venue, plain_text(cost)) for venue, cost in quoted.single_venue_costs],
            "legs": [
                {
                    "leg_id": None if one.leg_id is None else str(one.leg_id),
                    "venue": one.venue,
                    "size": plain_text(one.size),
                    "rates": {name: plain_text(getattr(one.rates, name)) for name in _RATES},
                    "levels": None if one.levels is None else _levels_json(one.levels),
                    "limit": None if one.limit is None else plain_text(one.limit),
                    "rest_at": plain_text(one.rest_at),
                    "rests": one.rests,
                }
                for one in quoted.legs
            ],
        }
    )


_RATES: Final = ("taker", "maker", "interface", "priority")


def quoted_of(text: str) -> Quoted:
    """Return a quote out of its JSON."""
    values = json.loads(text)
    return Quoted(
        quote_id=None if values["quote_id"] is None else UUID(values["quote_id"]),
        arrival_mid_price=Decimal(values["arrival_mid_price"]),
        size=Decimal(values["size"]),
        accept_us=values["accept_us"],
        single_venue_costs=tuple((venue, Decimal(cost)) for venue, cost in values["single_venue_costs"]),
        legs=tuple(_quoted_leg(one) for one in values["legs"]),
    )


def _quoted_leg(one: Any) -> QuotedLeg:
    return QuotedLeg(
        leg_id=None if one["leg_id"] is None else UUID(one["leg_id"]),
        venue=one["venue"],
        size=Decimal(one["size"]),
        rates=Rates(**{name: Decimal(one["rates"][name]) for name in _RATES}),
        levels=None if one["levels"] is None else _levels_of(one["levels"]),
        limit=None if one["limit"] is None else Decimal(one["limit"]),
        rest_at=Decimal(one["rest_at"]),
        rests=one["rests"],
    )


def _levels_json(levels: Levels) -> list[tuple[str, str]]:
    return [(plain_text(price), plain_text(size)) for price, size in levels]


def _levels_of(levels: Sequence[Any]) -> Levels:
    return tuple((Decimal(price), Decimal(size)) for price, size in levels)


def _traded(trade: Trade) -> Filled:
    return Filled(
        price=trade.price,
        size=trade.size,
        is_maker=trade.liquidity == "MAKER",
        fee=trade.fee,
        interface_fee=trade.interface_fee,
        receive_time=trade.receive_time,
    )


def _filled(row: Any) -> Filled:
    return Filled(
        price=row["price"],
        size=row["size"],
        is_maker=row["liquidity"] == "MAKER",
        fee=row["fee"],
        interface_fee=row["interface_fee"],
        receive_time=row["receive_time"],
    )
