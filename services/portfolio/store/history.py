"""What analytics read: days from the rollup, the rest of a day from its events, marks from samples.

Reads go to the replica where one is configured and fresh, else to the primary; while the primary is away a replica
that lags answers. A replica is as fresh as the log it has applied: one that has applied as much as we have is not old,
however long nothing has happened.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from services.chassis.clock import Clock
from services.chassis.postgres import Connection, Database
from services.domain.errors import DomainError, Reason
from services.portfolio.model.performance import (
    DAY,
    Cell,
    Closings,
    Flow,
    Trading,
    Unrealized,
    moments_between,
)
from services.portfolio.model.rounding import ZERO
from services.portfolio.model.values import SETTLEMENT_ASSET, Environment, OrderReport
from services.portfolio.model.view import Marks
from services.portfolio.ports import Ended, FlowFilter, Past
from services.portfolio.store import rows
from services.portfolio.store.ledger import load_accounts

_ONE: Final = "user_id = $1 AND account_id = ANY($2) AND ($5 = '' OR market = $5) AND ($6 = '' OR venue = $6) AND "
_DAYS: Final = (
    "SELECT venue, market, side, day, sum(realized) AS realized, sum(funding) AS funding, sum(volume) AS volume, "  # noqa: S608
    f"sum(fill_count)::bigint AS fills FROM daily_flows WHERE {_ONE} day >= $3::date AND day < $4::date "
    "GROUP BY venue, market, side, day"
)
_DAY_COSTS: Final = (
    "SELECT venue, market, side, day, kind, sum(amount) AS amount FROM daily_costs "  # noqa: S608
    f"WHERE {_ONE} day >= $3::date AND day < $4::date GROUP BY venue, market, side, day, kind"
)
_DAY_CLOSINGS: Final = (
    "SELECT venue, market, side, day, sum(closed_count)::bigint AS count, sum(win_count)::bigint AS wins, "  # noqa: S608
    "sum(loss_count)::bigint AS losses, sum(won) AS won, sum(lost) AS lost, sum(held_us)::bigint AS held_us "
    f"FROM daily_flows WHERE {_ONE} day >= $3::date AND day < $4::date GROUP BY venue, market, side, day "
    "HAVING sum(closed_count) > 0"
)
_EVENTS: Final = (
    "SELECT venue, market, side, event_time::date AS day, coalesce(sum(realized), 0) AS realized, "  # noqa: S608
    "sum(funding) AS funding, "
    "coalesce(sum(price * abs(size_change)) FILTER (WHERE kind <> 9), 0) AS volume, "  # no adoptions
    "(count(price) FILTER (WHERE kind <> 9))::bigint AS fills FROM position_events "
    f"WHERE {_ONE} event_time >= $3 AND event_time < $4 "
    "GROUP BY venue, market, side, event_time::date"
)
_EVENT_COSTS: Final = (
    "SELECT venue, market, side, event_time::date AS day, cost.kind, sum(cost.amount) AS amount "  # noqa: S608
    "FROM position_events CROSS JOIN LATERAL unnest(cost_kinds, cost_amounts) AS cost (kind, amount) "
    f"WHERE {_ONE} event_time >= $3 AND event_time < $4 GROUP BY venue, market, side, event_time::date, cost.kind"
)
_LONE_PAYMENTS: Final = (
    "SELECT venue, market, 0::smallint AS side, payment_time::date AS day, 0::numeric AS realized, "  # noqa: S608
    "-sum(amount) AS funding, 0::numeric AS volume, 0::bigint AS fills FROM funding_payments "
    f"WHERE {_ONE} payment_time >= $3 AND payment_time < $4 AND position_id IS NULL "
    "GROUP BY venue, market, payment_time::date"
)
_CLOSINGS: Final = (
    "SELECT venue, market, side, close_time::date AS day, count(*) AS count, "  # noqa: S608
    "count(*) FILTER (WHERE net_pnl > 0) AS wins, count(*) FILTER (WHERE net_pnl < 0) AS losses, "
    "coalesce(sum(net_pnl) FILTER (WHERE net_pnl > 0), 0) AS won, "
    "coalesce(sum(net_pnl) FILTER (WHERE net_pnl < 0), 0) AS lost, "
    "(sum(extract(epoch FROM close_time - open_time)) * 1000000)::bigint AS held_us "
    f"FROM positions WHERE {_ONE} close_time >= $3 AND close_time < $4 AND close_time IS NOT NULL AND opened_size > 0 "
    "GROUP BY venue, market, side, close_time::date"
)
_UNREALIZED: Final = """
    WITH held AS (
        SELECT DISTINCT account_id, venue, market FROM daily_flows
        WHERE user_id = $1 AND account_id = ANY($2) AND ($4 = '' OR market = $4) AND ($5 = '' OR venue = $5)
    )
    SELECT m.moment, held.venue, held.market, p.side,
           sum(p.side * (mark.price * abs(e.size_after) - e.cost_after)) AS amount
    FROM unnest($3::timestamptz[]) AS m (moment) CROSS JOIN held
    CROSS JOIN LATERAL (
        SELECT position_id, side, close_time FROM positions
        WHERE account_id = held.account_id AND market = held.market AND open_time < m.moment
        ORDER BY open_time DESC LIMIT 1
    ) AS p
    CROSS JOIN LATERAL (
        SELECT size_after, cost_after FROM position_events
        WHERE position_id = p.position_id AND event_time < m.moment ORDER BY number DESC LIMIT 1
    ) AS e
    CROSS JOIN LATERAL (
        SELECT price FROM mark_samples
        WHERE venue = held.venue AND market = held.market AND sample_time <= m.moment
        ORDER BY sample_time DESC LIMIT 1
    ) AS mark
    WHERE (p.close_time IS NULL OR p.close_time >= m.moment) AND e.size_after <> 0
    GROUP BY m.moment, held.venue, held.market, p.side
"""
_TRANSFERS: Final = (
    "SELECT transfer_time, venue, amount FROM transfers WHERE user_id = $1 AND account_id = ANY($2) "
    "AND transfer_time >= $3 AND asset = $4 AND ($5 = '' OR venue = $5) ORDER BY transfer_time LIMIT 100000"
)
_ADOPTIONS: Final = (
    "SELECT event_time, venue, market, side, came FROM position_events "  # noqa: S608
    f"WHERE {_ONE} event_time >= $3 AND event_time < $4 AND kind = 9 ORDER BY event_time"
)
_FIRST: Final = """
    SELECT least(
        (SELECT min(day)::timestamptz FROM daily_flows WHERE user_id = $1 AND account_id = ANY($2)),
        (SELECT min(transfer_time) FROM transfers WHERE user_id = $1 AND account_id = ANY($2))
    )
"""
_ENDED: Final = (
    "FROM order_reports WHERE user_id = $1 AND place_time >= $2 AND place_time < $3 "
    "AND ($4 = '' OR market = $4) AND (cardinality($5::uuid[]) = 0 OR account_id = ANY($5)) "
    "AND ($6 = 0 OR environment = $6) AND account_id IS NOT NULL"
)
_REPORTS: Final = f"SELECT {rows.ORDER_REPORT} {_ENDED} AND routed ORDER BY place_time LIMIT $7"
_UNROUTED: Final = f"SELECT count(*) {_ENDED} AND NOT routed"


class PostgresHistory:
    """The port `History`."""

    def __init__(self, primary: Database, clock: Clock, *, lag_max_s: float, applied: Callable[[], int]) -> None:
        """Prepare; `applied` returns the number of the last log event that the room has applied."""
        self._primary = primary
        self._replica: Database | None = None
        self._clock = clock
        self._lag_max_s = lag_max_s
        self._applied = applied
        self.answered_by = ""
        """Who gave the last answer: primary, replica or late replica."""

    def use_replica(self, replica: Database) -> None:
        """Ask `replica` first from now on, while it is fresh."""
        self._replica = replica

    async def trading(
        self, user_id: UUID, account_ids: Sequence[UUID], wanted: FlowFilter, *, now: datetime, points_max: int
    ) -> Past:
        """Return what a performance is computed from."""
        async with self._reading() as (connection, sequence, age_s):
            start = wanted.start
            if start is None:
                start = await connection.fetchval(_FIRST, user_id, list(account_ids)) or now
            end = min(wanted.end or now, max(now, start))
            end = max(end, start)
            asked = _Asked(connection, user_id, list(account_ids), wanted)
            flows = await asked.flows(start, end)
            after = await asked.flows(end, now + DAY) if end < now else []
            moments = moments_between(start, end, points_max=points_max) if end > start else [start]
            transfers = await connection.fetch(
                _TRANSFERS, user_id, list(account_ids), start, SETTLEMENT_ASSET, wanted.venue
            )
            trading = Trading(
                start=start,
                end=end,
                flows=flows,
                closings=await asked.closings(start, end),
                moments=moments,
                unrealized=await asked.unrealized(moments),
                transfers=[tuple(row) for row in transfers if row["transfer_time"] < end],
                adoptions=await asked.adoptions(start, end),
            )
            accounts = await load_accounts(connection, account_ids)
        later = sum((row["amount"] for row in transfers if row["transfer_time"] >= end), ZERO)
        return Past(
            trading=trading,
            accounts=[accounts[one] for one in account_ids if one in accounts],
            cash_flow_after=_cash(after) + later,
            sequence=sequence,
            age_s=age_s,
        )

    async def order_reports(self, user_id: UUID, wanted: FlowFilter, environment: Environment, *, limit: int) -> Ended:
        """Return reports of ended orders by time."""
        start = wanted.start or datetime(1970, 1, 1, tzinfo=UTC)
        end = wanted.end or datetime(9999, 1, 1, tzinfo=UTC)
        async with self._reading() as (connection, sequence, age_s):
            asked = (user_id, start, end, wanted.market, list(wanted.account_ids), int(environment))
            found = await connection.fetch(_REPORTS, *asked, limit)
            unrouted = await connection.fetchval(_UNROUTED, *asked)
        return Ended(reports=[_report_of(row) for row in found], unrouted=unrouted, sequence=sequence, age_s=age_s)

    async def sample(self, marks: Marks, now: datetime) -> None:
        """Remember mark prices."""
        if not marks.by_key:
            return
        async with self._primary.acquire() as connection:
            await connection.executemany(
                "INSERT INTO mark_samples (venue, market, sample_time, price) VALUES ($1, $2, $3, $4) "
                "ON CONFLICT DO NOTHING",
                [(venue, market, now, mark.price) for (venue, market), mark in marks.by_key.items()],
            )

    async def held_markets(self) -> set[str]:
        """Return the markets in which somebody has a position."""
        async with self._primary.acquire() as connection:
            found = await connection.fetch("SELECT DISTINCT market FROM positions WHERE close_time IS NULL")
        return {row["market"] for row in found}

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[tuple[Connection, int, float]]:
        """Open a snapshot to read from; with the log event it agrees with, and its age in seconds."""
        fresh = False
        if self._replica is not None:
            fresh = await self._is_fresh(self._replica)
            if fresh:
                async with self._snapshot(self._replica) as (connection, sequence, age_s):
                    self.answered_by = "replica"
                    yield connection, sequence, age_s
                return
        if self._replica is not None and not await self._answers(self._primary):
            async with self._snapshot(self._replica) as (connection, sequence, age_s):
                self.answered_by = "late replica"
                yield connection, sequence, age_s
            return
        async with self._snapshot(self._primary) as (connection, sequence, _):
            self.answered_by = "primary"
            yield connection, sequence, 0.0

    @asynccontextmanager
    async def _snapshot(self, database: Database) -> AsyncIterator[tuple[Connection, int, float]]:
        async with (
            database.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            sequence, age_s = await self._age(connection)
            yield connection, sequence, age_s

    async def _age(self, connection: Connection) -> tuple[int, float]:
        row = await connection.fetchrow("SELECT sequence, write_time FROM log_cursor")
        assert row is not None
        behind = self._applied() > row["sequence"]
        written = row["write_time"] or datetime.fromtimestamp(0, UTC)
        age = max(0.0, (self._clock.now() - written).total_seconds()) if behind else 0.0
        return row["sequence"], age

    async def _is_fresh(self, replica: Database) -> bool:
        try:
            async with replica.acquire() as connection:
                return (await self._age(connection))[1] <= self._lag_max_s
        except (DomainError, OSError):
            return False

    async def _answers(self, database: Database) -> bool:
        try:
            await database.check()
        except DomainError as error:
            if error.reason is not Reason.PEER_UNAVAILABLE:
                raise
            return False
        return True


class _Asked:
    """One question's connection and bounds."""

    def __init__(self, connection: Connection, user_id: UUID, account_ids: list[UUID], wanted: FlowFilter) -> None:
        self._connection = connection
        self._who = (user_id, account_ids)
        self._what = (wanted.market, wanted.venue)

    async def flows(self, start: datetime, end: datetime) -> list[Flow]:
        """Return what each cell came to: whole days from the rollup, the edges from their events."""
        found: list[Flow] = []
        for begin, close, whole in _parts(start, end):
            found += await self._days(begin, close) if whole else await self._cells(begin, close)
        return found

    async def _days(self, start: datetime, end: datetime) -> list[Flow]:
        bounds = (start.date(), end.date())
        return _flows(await self._fetch(_DAYS, *bounds), await self._fetch(_DAY_COSTS, *bounds))

    async def _cells(self, start: datetime, end: datetime) -> list[Flow]:
        found = await self._fetch(_EVENTS, start, end)
        found += await self._fetch(_LONE_PAYMENTS, start, end)
        return _flows(found, await self._fetch(_EVENT_COSTS, start, end))

    async def closings(self, start: datetime, end: datetime) -> list[Closings]:
        """Return what closed positions of each cell came to, from the same parts."""
        found: list[Any] = []
        for begin, close, whole in _parts(start, end):
            if whole:
                found += await self._fetch(_DAY_CLOSINGS, begin.date(), close.date())
            else:
                found += await self._fetch(_CLOSINGS, begin, close)
        return [
            Closings(
                cell=_cell(row),
                count=row["count"],
                wins=row["wins"],
                losses=row["losses"],
                won=row["won"],
                lost=row["lost"],
                held_us=row["held_us"],
            )
            for row in found
        ]

    async def unrealized(self, moments: Sequence[datetime]) -> list[Unrealized]:
        """Return the unrealized profit at moments, at the last mark sampled before each."""
        found = await self._connection.fetch(_UNREALIZED, *self._who, list(moments), *self._what)
        return [
            Unrealized(
                moment=row["moment"], venue=row["venue"], market=row["market"], side=row["side"], amount=row["amount"]
            )
            for row in found
        ]

    async def adoptions(self, start: datetime, end: datetime) -> list[Unrealized]:
        """Return the unrealized profit that came with adopted positions."""
        return [
            Unrealized(moment=row[0], venue=row[1], market=row[2], side=row[3], amount=row[4])
            for row in await self._fetch(_ADOPTIONS, start, end)
        ]

    async def _fetch(self, query: str, start: object, end: object) -> list[Any]:
        return list(await self._connection.fetch(query, *self._who, start, end, *self._what))


def _parts(start: datetime, end: datetime) -> list[tuple[datetime, datetime, bool]]:
    """Return a time in parts: the rest of its first day, whole days, the beginning of its last."""
    first = _midnight(start) if start == _midnight(start) else _midnight(start) + DAY
    last = _midnight(end)
    if first > last:
        return [(start, end, False)] if start < end else []
    parts = [(start, first, False), (first, last, True), (last, end, False)]
    return [part for part in parts if part[0] < part[1]]


def _midnight(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _cell(row: Any) -> Cell:
    return Cell(row["venue"], row["market"], row["side"], row["day"])


def _flows(found: Sequence[Any], costs: Sequence[Any]) -> list[Flow]:
    by_cell: dict[Cell, list[tuple[int, Decimal]]] = {}
    for row in costs:
        by_cell.setdefault(_cell(row), []).append((row["kind"], row["amount"]))
    return [
        Flow(
            cell=_cell(row),
            realized=row["realized"],
            funding=row["funding"],
            volume=row["volume"],
            fills=row["fills"],
            costs=tuple(by_cell.pop(_cell(row), ())),
        )
        for row in found
    ]


def _cash(flows: Sequence[Flow]) -> Decimal:
    return sum((flow.realized - flow.funding - sum((amount for _, amount in flow.costs), ZERO) for flow in flows), ZERO)


def _report_of(row: Any) -> OrderReport:
    return OrderReport(
        order_id=row["order_id"],
        market=row["market"],
        side=row["side"],
        venue=row["venue"],
        account_id=row["account_id"],
        environment=Environment(row["environment"]),
        size=row["size"],
        filled_size=row["filled_size"],
        quoted_size=row["quoted_size"],
        notional=row["notional"],
        arrival_notional=row["arrival_notional"],
        quoted_cost=row["quoted_cost"],
        achieved_cost=row["achieved_cost"],
        slippage=row["slippage"],
        single_venue_costs=tuple(zip(row["single_venues"], row["single_costs"], strict=True)),
        placed=row["place_time"],
        time_to_fill_us=row["time_to_fill_us"],
        routed=row["routed"],
    )
