"""The quick way of a change: decided on the newest version known here, and written in one statement with others.

It is for orders that have neither exits nor slices nor new terms to come, which is most of them; `SLOWLY` says that the
change must hold the order's row while it is decided (`orders.py`). The two ways may meet on one order: whoever comes
second finds another version, and decides anew.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Final
from uuid import UUID

from services.chassis.postgres import Database
from services.execution.model.leg import ZERO, Leg, LegState, Trade, fill
from services.execution.model.order import Order, concluded, with_leg
from services.execution.ports import Clock, Scribe, TradingAccount, Work
from services.execution.store.reports import Reporter
from services.execution.store.shelf import Shelf
from services.execution.store.writer import Timed, Write, Writer

TRIES: Final = 3
HOLD_S: Final = 30.0
"""A look exactly this far ahead keeps the lease: the worker goes on with the leg. Any other time gives it back."""
FOLLOW_S: Final = 0.3
"""How soon a leg that has ended is looked at where another is to follow it."""
LATE: Final = timedelta(seconds=1)
"""How soon a leg is looked at again whose time ran out and that could not be taken down yet."""
_NUMBERS: Final = "SELECT nextval(pg_get_serial_sequence('fills', 'number')) FROM generate_series(1, $1)"


class Way(Enum):
    """What a quick way may come to beside its result."""

    SLOWLY = 0


SLOWLY: Final = Way.SLOWLY
Read = Callable[[UUID, UUID], Awaitable[tuple[Order, int]]]
"""Reads an order, and the fencing number of one of its legs."""


def is_plain(order: Order) -> bool:
    """Whether a change of one leg brings about nothing for others."""
    return order.take_profit is None and order.stop_loss is None and order.twap is None and order.replacement is None


def times_of(order: Order, leg: Leg, before: Leg, now: datetime, due_s: float) -> Timed:
    """Return when a leg is looked at that its worker has changed; `before` is the leg as the worker took it up."""
    is_held = due_s == HOLD_S
    wait_s = 0.0 if leg.cancel_wanted > before.cancel_wanted and not is_held else due_s
    follows = leg.is_final and order.is_replacing(leg)
    if follows and not is_held:
        wait_s = min(wait_s, FOLLOW_S)
    ended = leg.is_final and leg.is_settled and not follows
    due = None if ended else now + timedelta(seconds=wait_s)
    if due is not None and leg.take_down_time is not None and not is_held:
        due = min(due, max(leg.take_down_time, now + LATE))
    return Timed(leg_id=leg.leg_id, due=due, lease=due if is_held else None)


class Quick:
    """Changes orders by what is on the shelf."""

    def __init__(
        self, database: Database, writer: Writer, shelf: Shelf, *, scribe: Scribe, clock: Clock, reporter: Reporter,
        read: Read,
    ) -> None:  # fmt: skip
        self._database = database
        self._writer = writer
        self._shelf = shelf
        self._scribe = scribe
        self._clock = clock
        self._reporter = reporter
        self._read = read

    async def change(self, work: Work, change: Callable[[Leg], Leg], *, due_s: float) -> Work | Way | None:
        """Apply a worker's change to a leg; None where the worker was fenced off."""
        if work.leg.state is LegState.HELD:
            return SLOWLY
        order_id, leg_id = work.order.order_id, work.leg.leg_id
        async with self._shelf.turn(order_id):
            base = self._shelf.get(order_id)
            if base is None or base.version < work.order.version:
                base = work.order
            for _ in range(TRIES):
                if not is_plain(base):
                    return SLOWLY
                now = self._clock.now()
                before = _leg_of(base, leg_id)
                leg = change(before)
                write = Write(order=base, version=base.version, leg_id=leg_id, fence=work.fence)
                after = await self._decide(write, base, {leg_id: leg}, now)
                write.times.append(times_of(after, leg, work.leg, now, due_s))
                if await self._writer.write(write):
                    self._kept(after, write)
                    return Work(order=after, leg=leg, fence=work.fence)
                version = base.version
                base, fence = await self._read(order_id, leg_id)
                self._shelf.put(base)
                if fence != work.fence:
                    return None
                if base.version == version:  # what a trade told first is to be taken along
                    return SLOWLY
        return SLOWLY

    async def told(
        self, account: TradingAccount, venue_order_id: str, client_id: str, change: Callable[[Leg], Leg],
        look_s: float | None,
    ) -> bool | Way:  # fmt: skip
        """Apply to a leg what its venue told of it."""
        found = self._shelf.find(account.account_id, client_id, venue_order_id)
        if found is None:
            return SLOWLY
        order_id, leg_id = found
        async with self._shelf.turn(order_id):
            base = self._shelf.get(order_id)
            if base is None or not is_plain(base):
                return SLOWLY
            now = self._clock.now()
            leg = change(_leg_of(base, leg_id))
            write = Write(order=base, version=base.version)  # where nothing changes, that the version stands is told
            after = await self._decide(write, base, {leg_id: leg}, now)
            if look_s is not None and not leg.is_final:
                write.times.append(Timed(leg_id=leg_id, due=now + timedelta(seconds=look_s), soon=True))
            if not await self._writer.write(write):
                return SLOWLY
            self._kept(after, write)
        return True

    async def record(self, account: TradingAccount, trades: Sequence[Trade]) -> tuple[int, Sequence[Trade]]:
        """Count trades of orders that are here; return how many were new, and those that are left to the slow way."""
        groups: dict[UUID, list[tuple[UUID, Trade]]] = {}
        left: list[Trade] = []
        for trade in trades:
            found = self._shelf.find(account.account_id, trade.client_id, trade.venue_order_id)
            if found is None:
                left.append(trade)
            else:
                groups.setdefault(found[0], []).append((found[1], trade))
        new = 0
        for order_id, group in groups.items():
            counted = await self._count(order_id, group)
            if counted is None:
                left += [trade for _, trade in group]
            else:
                new += counted
        return new, left

    async def _count(self, order_id: UUID, group: Sequence[tuple[UUID, Trade]]) -> int | None:
        """Count trades of one order; None where they are left to the slow way."""
        async with self._shelf.turn(order_id):
            base = self._shelf.get(order_id)
            if base is None or not is_plain(base):
                return None
            fresh = [one for one in group if not self._shelf.is_counted(order_id, one[1].fill_id)]
            if not fresh:
                return 0
            if len({trade.fill_id for _, trade in fresh}) < len(fresh):
                return None
            now = self._clock.now()
            write = Write(order=base, version=base.version)
            async with self._database.acquire() as connection:
                numbers = sorted(row[0] for row in await connection.fetch(_NUMBERS, len(fresh)))
            legs: dict[UUID, Leg] = {}
            for (leg_id, trade), number in zip(fresh, numbers, strict=True):
                legs[leg_id] = fill(legs.get(leg_id) or _leg_of(base, leg_id), trade, now)
                write.trades.append((leg_id, trade, number))
                event = self._scribe.fill(base.user_id, order_id, leg_id, trade, number)
                write.said.append((base.user_id, "fill", event))
            after = await self._decide(write, base, legs, now)
            if not await self._writer.write(write):
                return None
            self._kept(after, write)
            return len(fresh)

    def _kept(self, order: Order, write: Write) -> None:
        self._shelf.put(order)
        self._shelf.count(order.order_id, [trade.fill_id for _, trade, _ in write.trades])
        if write.report is not None:
            self._shelf.report(order.order_id, write.report[0])

    async def _decide(self, write: Write, base: Order, legs: dict[UUID, Leg], now: datetime) -> Order:
        """Return the order with legs as they are to stand, and put into `write` all that follows."""
        after = base
        for leg in legs.values():
            before = _leg_of(base, leg.leg_id)
            if leg == before:
                continue
            after = with_leg(after, leg, now)
            write.legs.append(leg)
            if leg.venue_order_id and leg.venue_order_id != before.venue_order_id:
                write.adopts = leg.account_id, leg.venue_order_id
            if leg.submit_time is not None and leg.submit_time != before.submit_time:
                write.books.append((leg.leg_id, self._reporter.sent_json(leg)))
        if after is base:
            return base
        after = concluded(replace(after, version=base.version + 1), now)
        write.order = after
        write.said.append((after.user_id, "order", self._scribe.order(after)))
        if after.state.is_final and not self._shelf.is_reported(after.order_id, _filled(after)):
            async with self._database.acquire() as connection:
                write.report = await self._reporter.ended(
                    connection, after, [(leg_id, trade) for leg_id, trade, _ in write.trades]
                )
            if write.report is not None:
                write.said.append((after.user_id, "report", write.report[1]))
        return after


def _leg_of(order: Order, leg_id: UUID) -> Leg:
    return next(leg for leg in order.legs if leg.leg_id == leg_id)


def _filled(order: Order) -> Decimal:
    return sum((leg.filled for leg in order.legs), ZERO)
