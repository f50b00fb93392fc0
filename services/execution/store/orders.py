"""The port `Orders` over PostgreSQL. An order's row is the turnstile: whoever changes a leg holds it first.

A worker's write names the fencing number of its lease, and is not kept where another worker has taken the leg since.
What a venue tells is applied whoever holds the leg: changes are functions of the leg as it then stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg

from services.chassis.postgres import Connection, Database
from services.domain.errors import DomainError, Reason
from services.execution.model.canceling import EVERYWHERE, CancelScope, to_cancel
from services.execution.model.leg import Leg, LegState, Trade, fill
from services.execution.model.order import Order, name_taken, with_leg
from services.execution.model.replacing import ReplaceAsked, succeed
from services.execution.ports import Clock, Observed, Scribe, TradingAccount, Work
from services.execution.store import statements as sql
from services.execution.store.following import followed
from services.execution.store.plans import twap_json
from services.execution.store.quick import LATE, SLOWLY, Quick, times_of
from services.execution.store.remedies import hedge_json, remedy_json
from services.execution.store.reports import Reporter, quoted_json
from services.execution.store.rows import ORDER, due_of, legs_json, order_json, order_of, replacement_json
from services.execution.store.shelf import Shelf
from services.execution.store.writer import Write, Writer
from services.venues.actions import Side


@dataclass(frozen=True, slots=True)
class _Counted:
    """A trade that was not known before, and its order as it then stands."""

    order: Order | None


class PostgresOrders:
    """The port `Orders`."""

    def __init__(
        self, database: Database, scribe: Scribe, clock: Clock, *, wake: Callable[[], None], reporter: Reporter,
        front: Database,
    ) -> None:  # fmt: skip
        """Prepare; `wake` is called when the relay has something to number. New orders come in by `front` alone."""
        self._front = front
        self._reporter = reporter
        self._database = database
        self._scribe = scribe
        self._clock = clock
        self._wake = wake
        self._shelf = Shelf()
        self._writer = Writer(database)
        self._quick = Quick(
            database, self._writer, self._shelf, scribe=scribe, clock=clock, reporter=reporter, read=self._read
        )

    async def by_request(self, user_id: UUID, request_id: UUID) -> Order | None:
        """Return the order a request made."""
        async with self._front.acquire() as connection:
            return await _whole(connection, "user_id = $1 AND request_id = $2", user_id, request_id)

    async def get(self, user_id: UUID, order_id: UUID) -> Order | None:
        """Return an order of a user."""
        async with self._database.acquire() as connection:
            return await _whole(connection, "user_id = $1 AND order_id = $2", user_id, order_id)

    async def add(self, order: Order, *, lease_s: float | None = None) -> Order:
        """Make an order durable with its legs and its event; of two twins the loser reads the winner's.

        Raises REQUEST_ID_REUSED where another open order has its client_order_id by now.
        """
        report = self._reporter.denied(order) if order.state.is_final else None
        values = (
            order_json(order),
            legs_json(order, self._clock.now(), lease_s),
            None if order.quoted is None else quoted_json(order.quoted),
            self._scribe.order(order),
            report,
        )
        while True:
            async with self._front.acquire() as connection:
                added = await connection.fetchval(sql.ADD, *values)
                if added is not None:
                    break
                named = await connection.fetchval(sql.NAMED, order.user_id, order.client_order_id)
            twin = await self.by_request(order.user_id, order.request_id)
            if twin is not None:
                return twin
            if named is not None:
                raise name_taken(order.client_order_id, named)
            # The order that had its name has ended since: the name is free.
        self._shelf.put(order)
        self._wake()
        return order

    async def _read(self, order_id: UUID, leg_id: UUID) -> tuple[Order, int]:
        async with self._database.acquire() as connection:
            fence: int = await connection.fetchval("SELECT fence FROM legs WHERE leg_id = $1", leg_id)
            order = await _whole(connection, "order_id = $1", order_id)
        assert order is not None, "orders are never deleted"
        return order, fence

    async def claim(self, count: int, lease_s: float, *, urgent: bool = False) -> Sequence[Work]:
        """Take legs that are due under a lease with a new fencing number."""
        now = self._clock.now()
        works = []
        async with self._database.acquire() as connection:
            for row in await connection.fetch(sql.CLAIM, now + timedelta(seconds=lease_s), now, count, urgent):
                order = self._shelf.get(row["order_id"])
                if order is None or order.version != row["version"]:
                    order = await _whole(connection, "order_id = $1", row["order_id"])
                    assert order is not None, "a leg has an order"
                    self._shelf.put(order)
                leg = next(one for one in order.legs if one.leg_id == row["leg_id"])
                works.append(Work(order=order, leg=leg, fence=row["fence"]))
        return works

    async def waiting(self, most: int) -> tuple[int, int]:
        """Return how many new legs wait, and since when."""
        async with self._database.acquire() as connection:
            row = await connection.fetchrow(sql.WAITING, self._clock.now(), most)
        assert row is not None, "a count has one row"
        return row["legs"], 0 if row["oldest"] is None else round(row["oldest"].timestamp() * 1e9)

    async def fence(self, leg_id: UUID) -> int:
        """Return the newest fencing number of a leg, at least 1."""
        async with self._database.acquire() as connection:
            newest = await connection.fetchval("SELECT fence FROM legs WHERE leg_id = $1", leg_id)
        return max(1, newest or 0)

    async def release(self) -> None:
        """Have every leg that is held looked at now: its holder is gone, or is fenced off by the next claim."""
        async with self._database.acquire() as connection:
            await connection.execute(sql.RELEASE, self._clock.now())

    async def change(self, work: Work, change: Callable[[Leg], Leg], *, due_s: float) -> Work | None:
        """Apply a worker's change to a leg as it now stands, unless the worker was fenced off."""
        done = await self._quick.change(work, change, due_s=due_s)
        if done is not SLOWLY:
            self._wake()
            return done
        now = self._clock.now()
        async with self._database.transaction() as connection:
            order = await _locked(connection, work.order.order_id)
            fence = await connection.fetchval("SELECT fence FROM legs WHERE leg_id = $1", work.leg.leg_id)
            if fence != work.fence:
                return None
            was_held = work.leg.state is LegState.HELD
            order, leg = await self._apply(connection, order, work.leg.leg_id, change, now, ripe=was_held)
            timed = times_of(order, leg, work.leg, now, due_s)
            due, lease = (due_of(leg, now), None) if was_held else (timed.due, timed.lease)
            if was_held and due is not None and leg.take_down_time is not None:
                due = min(due, max(leg.take_down_time, now + LATE))
            await connection.execute(
                "UPDATE legs SET due_time = $2, lease_time = $3 WHERE leg_id = $1", leg.leg_id, due, lease
            )
        self._shelf.put(order)
        self._wake()
        return Work(order=order, leg=leg, fence=work.fence)

    async def told(
        self,
        account: TradingAccount,
        venue_order_id: str,
        client_id: str,
        change: Callable[[Leg], Leg],
        *,
        look_s: float | None = None,
    ) -> bool:
        """Apply to a leg what its venue told of it; one that has not ended by that is looked up in `look_s` seconds."""
        done = await self._quick.told(account, venue_order_id, client_id, change, look_s)
        if done is not SLOWLY:
            self._wake()
            return done
        async with self._database.transaction() as connection:
            found = await connection.fetchrow(sql.FIND_LEG, account.account_id, client_id, venue_order_id)
            if found is None:
                return False
            order = await _locked(connection, found["order_id"])
            now = self._clock.now()
            order, leg = await self._apply(connection, order, found["leg_id"], change, now)
            if look_s is not None and not leg.is_final:
                await connection.execute(sql.LOOK, leg.leg_id, now + timedelta(seconds=look_s))
        self._shelf.put(order)
        self._wake()
        return True

    async def doubt(self, account: TradingAccount, open_ids: Sequence[str], before: datetime) -> int:
        """Have the open legs looked up that are not among the account's open orders; return how many."""
        async with self._database.acquire() as connection:
            done: str = await connection.execute(sql.DOUBT, account.account_id, open_ids, before, self._clock.now())
        return int(done.rpartition(" ")[2])

    async def hasten(self, account: TradingAccount, within_s: float) -> None:
        """Have the open legs of an account looked up within some seconds."""
        async with self._database.acquire() as connection:
            await connection.execute(sql.HASTEN, account.account_id, self._clock.now() + timedelta(seconds=within_s))

    async def record(self, account: TradingAccount, trades: Sequence[Trade]) -> int:
        """Count trades, each once by the venue's own id."""
        new, left = await self._quick.record(account, trades)
        for trade in left:
            async with self._database.transaction() as connection:
                counted = await self._count(connection, account, trade)
            if counted is not None:
                new += 1
                if counted.order is not None:
                    self._shelf.put(counted.order)
        if new:
            self._wake()
        return new

    async def _count(self, connection: Connection, account: TradingAccount, trade: Trade) -> _Counted | None:
        found = await connection.fetchrow(sql.FIND_LEG, account.account_id, trade.client_id, trade.venue_order_id)
        order = await _locked(connection, found["order_id"]) if found is not None else None
        order_id: UUID | None = order.order_id if order is not None else None
        leg_id: UUID | None = found["leg_id"] if found is not None else None
        number = await connection.fetchval(
            sql.ADD_FILL, trade.fill_id, account.user_id, order_id, leg_id, trade.account_id, trade.venue, trade.market,
            trade.side.value, trade.price, trade.size, trade.liquidity, trade.cause, trade.fee, trade.interface_fee,
            trade.realized_pnl, trade.trade_id, trade.venue_order_id, trade.fill_time, trade.receive_time,
        )  # fmt: skip
        if number is None:
            return None
        event = self._scribe.fill(account.user_id, order_id, leg_id, trade, number)
        await self._say(connection, account.user_id, "fill", event)
        if order is not None and leg_id is not None:
            now = self._clock.now()
            order, _ = await self._apply(connection, order, leg_id, lambda leg: fill(leg, trade, now), now)
        return _Counted(order)

    async def observe(self, observed: Observed) -> None:
        """Write to the log what a venue said of an account."""
        event = self._scribe.observed(observed)
        await self._writer.write(Write(said=[(observed.account.user_id, "account", event)]))
        if observed.transfers:  # after they were written: those told again count once
            last_ms = max(one.time_ms for one in observed.transfers)
            async with self._database.acquire() as connection:
                await connection.execute(sql.MOVED, observed.account.account_id, last_ms)
        self._wake()

    async def want_cancel(self, user_id: UUID, order_id: UUID, scope: CancelScope = EVERYWHERE) -> Order | None:
        """Note that what is open of an order in a scope is to be canceled, and have a worker look at once."""
        now = self._clock.now()
        return await self.schedule(user_id, order_id, lambda order: to_cancel(order, scope, now))

    async def slicing(self, count: int) -> Sequence[Order]:
        """Return orders whose next slice is due."""
        return await self._due(sql.SLICING, count)

    async def remedying(self, count: int) -> Sequence[Order]:
        """Return orders on which something is due by their policy, or by the rule of their hedge."""
        return await self._due(sql.REMEDYING, count)

    async def _due(self, question: str, count: int) -> Sequence[Order]:
        async with self._database.acquire() as connection:
            ids = await connection.fetch(question, self._clock.now(), count)
            found = [await _whole(connection, "order_id = $1", row["order_id"]) for row in ids]
        return [order for order in found if order is not None]

    async def schedule(self, user_id: UUID, order_id: UUID, change: Callable[[Order], Order]) -> Order | None:
        """Change the schedule of a user's order, with the legs of a slice and cancels of others; None for no order."""
        now = self._clock.now()
        async with self._database.transaction() as connection:
            order = await _order(connection, "user_id = $1 AND order_id = $2 FOR UPDATE", user_id, order_id)
            if order is None or (changed := change(order)) is order:
                return order
            order = await followed(connection, order, changed, now, hurry=True)
            if changed.quoted is not None:
                await self._reporter.sliced(connection, order, changed.quoted)
            await self._keep_order(connection, order)
        self._shelf.put(order)
        self._wake()
        return order

    async def was_replaced(self, order: Order, asked: ReplaceAsked) -> bool:
        """Whether this request has changed the order before."""
        async with self._database.acquire() as connection:
            return await _was_replaced(connection, order, asked)

    async def replace(self, order: Order, asked: ReplaceAsked, decide: Callable[[Order], Order]) -> Order:
        """Have the live leg of an order canceled, and the order get new terms when it has ended."""
        now = self._clock.now()
        async with self._database.transaction() as connection:
            order = await _locked(connection, order.order_id)
            if await _was_replaced(connection, order, asked):
                return order
            after = decide(order)
            await connection.execute(
                "INSERT INTO replacements (order_id, request_id, digest, create_time) VALUES ($1, $2, $3, $4)",
                order.order_id, asked.request_id, asked.digest, now,
            )  # fmt: skip
            if after is order or after.replacement is None:
                return order
            old = after.replacement.leg_id
            await connection.execute("UPDATE legs SET cancel_wanted = true, due_time = $2 WHERE leg_id = $1", old, now)
            legs = tuple(replace(leg, cancel_wanted=True) if leg.leg_id == old else leg for leg in after.legs)
            order = replace(after, legs=legs, version=order.version + 1, update_time=now)
            await self._keep_order(connection, order)
        self._wake()
        return order

    async def succeed(self, work: Work, consumed: Decimal) -> None:
        """Have a leg that has ended followed by the next one, unless its holder was fenced off or nothing follows."""
        now = self._clock.now()
        async with self._database.transaction() as connection:
            order = await _locked(connection, work.order.order_id)
            fence = await connection.fetchval("SELECT fence FROM legs WHERE leg_id = $1", work.leg.leg_id)
            if fence != work.fence:
                return
            if order.is_replacing(work.leg):
                after, fresh = succeed(order, consumed, now)
                after = replace(after, version=order.version + 1, update_time=now)
                order = await followed(connection, order, after, now)
                if fresh is not None:
                    await self._reporter.replaced(connection, order, work.leg.leg_id, fresh)
                await self._keep_order(connection, order)
            await connection.execute(
                "UPDATE legs SET due_time = NULL, lease_time = NULL WHERE leg_id = $1", work.leg.leg_id
            )
        self._wake()

    async def last_transfer_ms(self, account_id: UUID) -> int:
        """Return when the last transfer of an account that was written happened; 0 where there is none."""
        async with self._database.acquire() as connection:
            return (
                await connection.fetchval("SELECT last_ms FROM transfers_told WHERE account_id = $1", account_id) or 0
            )

    async def last_fill_ms(self, account_id: UUID) -> int:
        """Return when the last counted trade of an account happened; 0 where there is none."""
        async with self._database.acquire() as connection:
            last: datetime | None = await connection.fetchval(
                "SELECT max(fill_time) FROM fills WHERE account_id = $1", account_id
            )
        return 0 if last is None else int(last.timestamp() * 1_000)

    async def _apply(
        self,
        connection: Connection,
        order: Order,
        leg_id: UUID,
        change: Callable[[Leg], Leg],
        now: datetime,
        *,
        ripe: bool = False,
    ) -> tuple[Order, Leg]:
        """Change one leg of an order that is held, and what follows from it; say it where anything changed."""
        before = next(one for one in order.legs if one.leg_id == leg_id)
        leg = change(before)
        if leg.venue_order_id != before.venue_order_id:  # known for the first time, or new after a trigger
            leg = await self._adopted(connection, order, leg, now)
        changed = order if leg == before else with_leg(order, leg, now)
        made = await followed(connection, order, changed, now, ripe=ripe)
        if leg.submit_time is not None and leg.submit_time != before.submit_time:
            await self._reporter.sent(connection, leg)
        if made is not order:
            await self._keep_order(connection, made)
        return made, next(one for one in made.legs if one.leg_id == leg_id)

    async def _adopted(self, connection: Connection, order: Order, leg: Leg, now: datetime) -> Leg:
        """Return a leg with the trades that were told before the venue's id of it was known."""
        rows = await connection.fetch(sql.ADOPT, leg.account_id, leg.venue_order_id, order.order_id, leg.leg_id)
        for row in rows:
            leg = fill(leg, Trade(**{**row, "side": Side(row["side"]), "client_id": leg.client_id}), now)
        return leg

    async def _keep_order(self, connection: Connection, order: Order) -> None:
        await connection.execute(
            "UPDATE orders SET state = $2, version = $3, update_time = $4, cancel_time = $5, finish_time = $6, "
            "twap = $7, slice_time = $8, size = $9, limit_price = $10, replacement = $11, hedge = $12, remedy = $13, "
            "remedy_time = $14 WHERE order_id = $1",
            order.order_id,
            order.state.value,
            order.version,
            order.update_time,
            order.cancel_time,
            order.finish_time,
            twap_json(order.twap),
            order.slice_time,
            order.size,
            order.limit_price,
            replacement_json(order.replacement),
            hedge_json(order.hedge),
            remedy_json(order.remedy),
            order.remedy_time,
        )
        await self._say(connection, order.user_id, "order", self._scribe.order(order))
        if order.state.is_final:
            await self._reporter.end(connection, order)

    async def _say(self, connection: Connection, user_id: UUID, kind: str, event: bytes) -> None:
        await connection.execute("INSERT INTO outbox (user_id, kind, event) VALUES ($1, $2, $3)", user_id, kind, event)


async def _whole(connection: Connection, where: str, *arguments: object) -> Order | None:
    """Read an order with its legs as they stood together, in one statement."""
    rows = await connection.fetch(
        f"SELECT {sql.WHOLE} FROM (SELECT * FROM orders WHERE {where}) o LEFT JOIN legs l USING (order_id) "  # noqa: S608
        "ORDER BY l.number",
        *arguments,
    )
    if not rows:
        return None
    return order_of({name: rows[0][f"o_{name}"] for name in ORDER}, [row for row in rows if row["leg_id"] is not None])


async def _order(connection: Connection, where: str, *arguments: object) -> Order | None:
    """Read an order whose row the statement holds, then its legs."""
    row = await connection.fetchrow(f"SELECT {sql.ORDER_COLUMNS} FROM orders WHERE {where}", *arguments)  # noqa: S608
    if row is None:
        return None
    return order_of(row, await _legs(connection, row["order_id"]))


async def _was_replaced(connection: Connection, order: Order, asked: ReplaceAsked) -> bool:
    known = await connection.fetchval(
        "SELECT digest FROM replacements WHERE order_id = $1 AND request_id = $2", order.order_id, asked.request_id
    )
    if known is not None and known != asked.digest:
        raise DomainError(
            Reason.REQUEST_ID_REUSED,
            f"request_id {asked.request_id} was used for other terms: choose a new UUID for each wish.",
            metadata={"field": "request_id", "order_id": str(order.order_id)},
        )
    return known is not None


async def _locked(connection: Connection, order_id: UUID) -> Order:
    order = await _order(connection, "order_id = $1 FOR UPDATE", order_id)
    assert order is not None, "orders are never deleted"
    return order


async def _legs(connection: Connection, order_id: UUID) -> list[Any]:
    rows: list[asyncpg.Record] = await connection.fetch(
        f"SELECT {sql.LEG_COLUMNS} FROM legs WHERE order_id = $1 ORDER BY number",  # noqa: S608
        order_id,
    )
    return rows
