"""What calls read. Every query that names a user walks an index of that user (an EXPLAIN test holds it)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from services.portfolio.model.account import Account
from services.portfolio.model.life import LifeEvent
from services.portfolio.model.values import Environment, OpenLeg, Payment, Transfer
from services.portfolio.ports import FlowFilter, Held, LifeFilter
from services.portfolio.store import rows
from services.portfolio.store.ledger import PostgresLedger, load_accounts

CLOSED_SINCE = (
    f"SELECT {rows.POSITION} FROM positions WHERE user_id = $1 AND log_sequence > $2 "  # noqa: S608
    "AND close_time IS NOT NULL ORDER BY log_sequence LIMIT $3"
)


class Conditions:
    """A WHERE clause in the making: only what was asked for is in it, so that the planner sees an index's prefix."""

    def __init__(self, user_id: UUID, prefix: str = "") -> None:
        self.arguments: list[object] = [user_id]
        self._prefix = prefix
        self._parts = [f"{prefix}user_id = $1"]

    def equal(self, name: str, value: object) -> None:
        """Ask for a value, unless it is empty."""
        if value:
            self.add(f"{self._prefix}{name} = {{}}", value)

    def among(self, name: str, values: Collection[object]) -> None:
        """Ask for one of some values, unless there are none."""
        if values:
            self.add(f"{self._prefix}{name} = ANY({{}})", list(values))

    def between(self, name: str, start: datetime | None, end: datetime | None) -> None:
        """Ask for a time, the start inclusive and the end exclusive."""
        if start is not None:
            self.add(f"{self._prefix}{name} >= {{}}", start)
        if end is not None:
            self.add(f"{self._prefix}{name} < {{}}", end)

    def before(self, time: str, key: str, after: tuple[datetime, UUID] | None) -> None:
        """Ask for what follows a row, the newest first and then by key."""
        if after is None:
            return
        time, key = self._prefix + time, self._prefix + key
        self.add(f"{time} <= {{}}", after[0])
        first = len(self.arguments)
        self.add(f"({time} < ${first} OR {key} > {{}})", after[1])

    def add(self, part: str, *values: object) -> None:
        """Add a condition; each {} in it takes a value."""
        places = []
        for value in values:
            self.arguments.append(value)
            places.append(f"${len(self.arguments)}")
        self._parts.append(part.format(*places))

    def place(self, value: object) -> str:
        """Take a value and return its place, for a LIMIT."""
        self.arguments.append(value)
        return f"${len(self.arguments)}"

    def __str__(self) -> str:
        """Return the clause."""
        return " AND ".join(self._parts)


class PostgresReader(PostgresLedger):
    """The whole port `Ledger`."""

    async def positions(
        self, user_id: UUID, wanted: LifeFilter, *, after: tuple[str, str, UUID] | None, limit: int
    ) -> tuple[Sequence[Held], int]:
        """Return open positions by market, venue and account, and the cursor they agree with."""
        query, arguments = open_positions_query(user_id, wanted, after=after, limit=limit)
        async with self._database.acquire() as connection, connection.transaction(isolation="repeatable_read"):
            found = await connection.fetch(query, *arguments)
            sequence = int(await connection.fetchval("SELECT sequence FROM log_cursor"))
            accounts = await load_accounts(connection, {row["account_id"] for row in found})
        held = [
            Held(account=accounts[row["account_id"]], life=accounts[row["account_id"]].lives[row["market"]])
            for row in found
        ]
        return held, sequence

    async def accounts(self, user_id: UUID, account_ids: Collection[UUID], environment: Environment) -> list[Account]:
        """Return the user's accounts whole, by venue and id; all of them when none is named."""
        where = Conditions(user_id)
        where.among("account_id", account_ids)
        where.equal("environment", int(environment))
        async with self._database.acquire() as connection, connection.transaction(isolation="repeatable_read"):
            found = await connection.fetch(
                f"SELECT account_id FROM accounts WHERE {where} ORDER BY venue, account_id LIMIT 1000",  # noqa: S608
                *where.arguments,
            )
            loaded = await load_accounts(connection, [row["account_id"] for row in found])
        return [loaded[row["account_id"]] for row in found]

    async def lives(
        self, user_id: UUID, wanted: LifeFilter, *, after: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[Held]:
        """Return lives, the last opened first."""
        query, arguments = lives_query(user_id, wanted, after=after, limit=limit)
        async with self._database.acquire() as connection:
            found = await connection.fetch(query, *arguments)
            accounts = {
                row["account_id"]: rows.account_of(row)
                for row in await connection.fetch(
                    f"SELECT {rows.ACCOUNT} FROM accounts WHERE account_id = ANY($1)",  # noqa: S608
                    list({row["account_id"] for row in found}),
                )
            }
        return [Held(account=accounts[row["account_id"]], life=rows.life_of(row)) for row in found]

    async def closed_since(self, user_id: UUID, sequence: int, *, limit: int) -> Sequence[Held]:
        """Return the lives that ended by log events after `sequence`, each with its account."""
        async with self._database.acquire() as connection, connection.transaction(isolation="repeatable_read"):
            found = await connection.fetch(CLOSED_SINCE, user_id, sequence, limit)
            accounts = await load_accounts(connection, {row["account_id"] for row in found})
        return [Held(account=accounts[row["account_id"]], life=rows.life_of(row)) for row in found]

    async def events(self, position_ids: Collection[UUID], *, each_max: int) -> Mapping[UUID, Sequence[LifeEvent]]:
        """Return the newest events of lives, the newest first."""
        async with self._database.acquire() as connection:
            found = await connection.fetch(
                f"SELECT {', '.join('e.' + name for name in rows.columns(rows.EVENT))} "  # noqa: S608
                "FROM unnest($1::uuid[]) AS wanted (id) CROSS JOIN LATERAL "
                "(SELECT * FROM position_events WHERE position_id = wanted.id ORDER BY number DESC LIMIT $2) AS e",
                list(position_ids),
                each_max,
            )
        events: dict[UUID, list[LifeEvent]] = {position_id: [] for position_id in position_ids}
        for row in found:
            events[row["position_id"]].append(rows.event_of(row))
        return events

    async def payments(
        self, user_id: UUID, wanted: FlowFilter, *, after: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[tuple[Payment, UUID | None, UUID, str]]:
        """Return payments with position, account and venue, the newest first."""
        query, arguments = payments_query(user_id, wanted, after=after, limit=limit)
        found = await self._fetch(query, arguments)
        return [(rows.payment_of(row), row["position_id"], row["account_id"], row["venue"]) for row in found]

    async def transfers(
        self, user_id: UUID, wanted: FlowFilter, *, after: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[tuple[Transfer, UUID, str, datetime]]:
        """Return transfers with account, venue and the time of receipt, the newest first."""
        query, arguments = transfers_query(user_id, wanted, after=after, limit=limit)
        found = await self._fetch(query, arguments)
        return [(rows.transfer_of(row), row["account_id"], row["venue"], row["receive_time"]) for row in found]

    async def open_legs(self, account_id: UUID, market: str) -> Sequence[OpenLeg]:
        """Return the orders of an account that rest in a market."""
        found = await self._fetch(
            f"SELECT {rows.LEG} FROM open_legs WHERE account_id = $1 AND market = $2 ORDER BY leg_id LIMIT 1000",  # noqa: S608
            [account_id, market],
        )
        return [rows.leg_of(row) for row in found]

    async def revision(self, user_id: UUID) -> int:
        """Return the log event of the user's last fill, payment, transfer or report; 0 for none."""
        async with self._database.acquire() as connection:
            found = await connection.fetchval("SELECT log_sequence FROM user_revisions WHERE user_id = $1", user_id)
        return int(found or 0)

    async def _fetch(self, query: str, arguments: Sequence[object]) -> list[Any]:
        async with self._database.acquire() as connection:
            return await connection.fetch(query, *arguments)


Query = tuple[str, list[object]]


def open_positions_query(
    user_id: UUID, wanted: LifeFilter, *, after: tuple[str, str, UUID] | None, limit: int
) -> Query:
    """Return the query of ListPositions: its order is the index's."""
    where = Conditions(user_id, "p.")
    where.add("p.close_time IS NULL")
    where.equal("market", wanted.market)
    where.equal("venue", wanted.venue)
    where.among("account_id", wanted.account_ids)
    if after is not None:
        where.add("(p.market, p.venue, p.account_id) > ({}, {}, {})", *after)
    source = "positions p"
    if wanted.environment:
        source += " JOIN accounts a ON a.account_id = p.account_id"
        where.add("a.environment = {}", int(wanted.environment))
    return (
        f"SELECT p.account_id, p.market FROM {source} WHERE {where} "  # noqa: S608
        f"ORDER BY p.market, p.venue, p.account_id LIMIT {where.place(limit)}",
        where.arguments,
    )


def lives_query(user_id: UUID, wanted: LifeFilter, *, after: tuple[datetime, UUID] | None, limit: int) -> Query:
    """Return the query of ListPositionHistory."""
    where = Conditions(user_id)
    where.equal("market", wanted.market)
    where.equal("venue", wanted.venue)
    where.equal("side", wanted.side)
    where.equal("position_id", wanted.position_id)
    where.among("account_id", wanted.account_ids)
    where.between("open_time", wanted.start, wanted.end)
    if wanted.open is not None:
        where.add("close_time IS NULL" if wanted.open else "close_time IS NOT NULL")
    where.before("open_time", "position_id", after)
    return (
        f"SELECT {rows.POSITION} FROM positions WHERE {where} "  # noqa: S608
        f"ORDER BY open_time DESC, position_id LIMIT {where.place(limit)}",
        where.arguments,
    )


def payments_query(user_id: UUID, wanted: FlowFilter, *, after: tuple[datetime, UUID] | None, limit: int) -> Query:
    """Return the query of ListFundingPayments."""
    where = Conditions(user_id)
    where.equal("market", wanted.market)
    where.equal("venue", wanted.venue)
    where.equal("position_id", wanted.position_id)
    where.among("account_id", wanted.account_ids)
    where.between("payment_time", wanted.start, wanted.end)
    where.before("payment_time", "funding_payment_id", after)
    return (
        f"SELECT {rows.PAYMENT} FROM funding_payments WHERE {where} "  # noqa: S608
        f"ORDER BY payment_time DESC, funding_payment_id LIMIT {where.place(limit)}",
        where.arguments,
    )


def transfers_query(user_id: UUID, wanted: FlowFilter, *, after: tuple[datetime, UUID] | None, limit: int) -> Query:
    """Return the query of ListTransfers."""
    where = Conditions(user_id)
    where.equal("venue", wanted.venue)
    where.equal("kind", wanted.kind)
    where.among("account_id", wanted.account_ids)
    where.between("transfer_time", wanted.start, wanted.end)
    where.before("transfer_time", "transfer_id", after)
    return (
        f"SELECT {rows.TRANSFER} FROM transfers WHERE {where} "  # noqa: S608
        f"ORDER BY transfer_time DESC, transfer_id LIMIT {where.place(limit)}",
        where.arguments,
    )
