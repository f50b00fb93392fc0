"""Questions to history. Every one is bounded by its page, and is one index range per venue.

Reads go to the replica where one is configured and fresh, else to the primary; while the primary is away, a replica
that lags answers. `Answer.age_s` says how old an answer may be: 0 from the primary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from services.chassis.clock import Clock
from services.chassis.metrics import METRICS, Metrics
from services.chassis.postgres import Connection, Database, UndoneError
from services.chassis.telemetry import log
from services.domain.errors import DomainError, Reason
from services.market_data.model.candle import LADDER, SECOND, SECOND_NS, Candle
from services.market_data.model.history import FundingPoint, PriceSample, RecordedTrade
from services.market_data.ports import Answer
from services.market_data.store.tables import candle_of, funding_of, price_of, to_ns, to_time, trade_of

LAG_CHECK_S: Final = 1.0
"""How long what the replica said of its lag is believed."""

SECONDS_REACH_NS: Final = 3_600 * SECOND_NS
"""How far back from its end one question for candles of one second looks at least, where there are few."""

_LAG = """
    SELECT CASE WHEN NOT pg_is_in_recovery() THEN 0
           ELSE coalesce(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()), 1e9) END::float8
"""
_CANDLES = """
    SELECT * FROM candles
    WHERE market = $1 AND interval_s = $2 AND open_time >= $3 AND open_time < $4 AND venue = ANY($5)
    ORDER BY open_time DESC, venue LIMIT $6
"""
_SECONDS = """
    WITH part AS (
        SELECT * FROM trades WHERE market = $1 AND trade_time >= $2 AND trade_time < $3 AND venue = ANY($4)
    )
    SELECT date_trunc('second', trade_time) AS open_time, 1 AS interval_s, market, venue,
           (array_agg(price ORDER BY trade_time))[1] AS open, max(price) AS high, min(price) AS low,
           (array_agg(price ORDER BY trade_time DESC))[1] AS close, sum(size) AS volume,
           sum(price * size) AS quote_volume, count(*) AS trade_count, min(trade_time) AS first_time,
           max(trade_time) AS last_time, false AS repaired
    FROM part GROUP BY 1, market, venue ORDER BY 1 DESC, venue LIMIT $5
"""
_PRICES = """
    SELECT found.* FROM unnest($2::text[]) AS wanted (venue), LATERAL (
        SELECT * FROM price_history AS p
        WHERE p.market = $1 AND p.venue = wanted.venue AND p.sample_time >= $3
          AND p.sample_time < CASE WHEN wanted.venue > $5 THEN $4::timestamptz + interval '1 microsecond'
                                   ELSE $4::timestamptz END
        ORDER BY p.sample_time DESC LIMIT $6
    ) AS found
    ORDER BY found.sample_time DESC, found.venue LIMIT $6
"""
_TRADES = """
    SELECT * FROM trades
    WHERE market = $1 AND (trade_time, venue, trade_id) < ($2, $3, $4) AND venue = ANY($5)
    ORDER BY trade_time DESC, venue DESC, trade_id DESC LIMIT $6
"""
_FUNDINGS = """
    SELECT * FROM funding_history
    WHERE market = $1 AND settle_time >= $2 AND venue = ANY($5)
      AND (settle_time < $3 OR (settle_time = $3 AND venue > $4))
    ORDER BY settle_time DESC, venue LIMIT $6
"""
_SPANS = """
    SELECT wanted.length,
           (SELECT open_time FROM candles WHERE market = $1 AND interval_s = wanted.length AND venue = $2
            ORDER BY open_time LIMIT 1) AS first,
           (SELECT open_time FROM candles WHERE market = $1 AND interval_s = wanted.length AND venue = $2
            ORDER BY open_time DESC LIMIT 1) AS last
    FROM unnest($3::int[]) AS wanted (length)
"""
_SLOW = (UndoneError, TimeoutError)
_AWAY = (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.OperatorInterventionError)


@dataclass(slots=True)
class _Lag:
    seconds: float
    checked_s: float


class HistoryReader:
    """The room's questions to its database (`services.market_data.ports.HistoryStore`)."""

    def __init__(
        self,
        primary: Database,
        clock: Clock,
        *,
        lag_max_s: float,
        metrics: Metrics = METRICS,
    ) -> None:
        self._primary = primary
        self._replica: Database | None = None
        self._clock = clock
        self._lag_max_s = lag_max_s
        self._lag: _Lag | None = None
        self.answered_by = ""
        """Who gave the last answer: primary, replica or late replica."""
        self._lag_shown = metrics.gauge("perpmesh_replica_lag_seconds", "How far the read replica is behind; -1 away.")
        self._reads = metrics.counter("perpmesh_history_reads_total", "Questions to history, by who answered.", ("by",))

    def use_replica(self, replica: Database) -> None:
        """Ask `replica` first from now on, while it is fresh."""
        self._replica = replica

    async def candles(
        self, market: str, interval_s: int, venues: Sequence[str], start_ns: int, end_ns: int, limit: int
    ) -> Answer[Candle]:
        """Return at most `limit` closed candles that open in [start, end), newest first, then by venue."""
        if interval_s == SECOND:
            return await self._seconds(market, venues, start_ns, end_ns, limit)
        wanted = (market, interval_s, to_time(start_ns), to_time(end_ns), list(venues), limit)
        return await self._ask(_CANDLES, wanted, candle_of)

    async def _seconds(
        self, market: str, venues: Sequence[str], start_ns: int, end_ns: int, limit: int
    ) -> Answer[Candle]:
        """Make candles from trades, looking back ever further until there are enough."""
        width_ns, age_s = 2 * limit * SECOND_NS, 0.0
        while True:
            since_ns = max(start_ns, end_ns - width_ns)
            arguments = (market, to_time(since_ns), to_time(end_ns), list(venues), limit)
            answer = await self._ask(_SECONDS, arguments, candle_of)
            age_s = max(age_s, answer.age_s)
            if len(answer.rows) >= limit or since_ns <= start_ns or width_ns > SECONDS_REACH_NS:
                return Answer(answer.rows, age_s)
            width_ns *= 16

    async def prices(
        self, market: str, venues: Sequence[str], start_ns: int, before: tuple[int, str], limit: int
    ) -> Answer[PriceSample]:
        """Return at most `limit` samples since `start_ns` after `before` (time, venue), newest first."""
        arguments = (market, list(venues), to_time(start_ns), to_time(before[0]), before[1], limit)
        return await self._ask(_PRICES, arguments, price_of)

    async def trades(
        self, market: str, venues: Sequence[str], before: tuple[int, str, str], limit: int
    ) -> Answer[RecordedTrade]:
        """Return at most `limit` trades before (microseconds, venue, id), newest first."""
        at_us, venue, trade_id = before
        arguments = (market, to_time(at_us * 1_000), venue, trade_id, list(venues), limit)
        return await self._ask(_TRADES, arguments, trade_of)

    async def fundings(
        self, market: str, venues: Sequence[str], start_ns: int, before: tuple[int, str], limit: int
    ) -> Answer[FundingPoint]:
        """Return at most `limit` rates since `start_ns` after `before` (time, venue), newest first."""
        arguments = (market, to_time(start_ns), to_time(before[0]), before[1], list(venues), limit)
        return await self._ask(_FUNDINGS, arguments, funding_of)

    async def span_of_candles(self, market: str, venue: str) -> dict[int, tuple[int, int]]:
        """Return when the oldest and newest candle of each length opened, in nanoseconds; from the primary."""
        rows = await self._on(self._primary, _SPANS, (market, venue, list(LADDER)))
        return {row["length"]: (to_ns(row["first"]), to_ns(row["last"])) for row in rows if row["first"] is not None}

    async def last_funding(self, market: str, venue: str) -> int:
        """Return when the newest rate was settled, in nanoseconds; 0 when there is none; from the primary."""
        rows = await self._on(
            self._primary,
            "SELECT max(settle_time) AS last FROM funding_history WHERE market = $1 AND venue = $2",
            (market, venue),
        )
        return to_ns(rows[0]["last"]) if rows[0]["last"] is not None else 0

    async def _ask(
        self, query: str, arguments: tuple[Any, ...], make: Callable[[Mapping[str, Any]], Any]
    ) -> Answer[Any]:
        replica, lag_s = self._replica, await self._replica_lag()
        if replica is not None and lag_s is not None and lag_s <= self._lag_max_s:
            try:
                return await self._answer("replica", replica, query, arguments, make, lag_s)
            except DomainError as error:
                if error.reason is not Reason.PEER_UNAVAILABLE:
                    raise
                self._lag = None
        try:
            return await self._answer("primary", self._primary, query, arguments, make, 0.0)
        except DomainError as error:
            if error.reason is not Reason.PEER_UNAVAILABLE or replica is None or lag_s is None:
                raise
        return await self._answer("late replica", replica, query, arguments, make, lag_s)

    async def _answer(
        self,
        by: str,
        database: Database,
        query: str,
        arguments: tuple[Any, ...],
        make: Callable[[Mapping[str, Any]], Any],
        age_s: float,
    ) -> Answer[Any]:
        rows = await self._on(database, query, arguments)
        self._reads.labels(by).inc()
        self.answered_by = by
        return Answer([make(row) for row in rows], age_s)

    async def _on(self, database: Database, query: str, arguments: tuple[Any, ...]) -> list[Any]:
        try:
            async with database.acquire() as connection:
                return await self._fetch(connection, query, arguments)
        except _SLOW as error:
            raise DomainError(
                Reason.DEADLINE_EXCEEDED,
                "history took longer to answer than a statement may take; ask for less, or again later",
                metadata={"peer": "postgres"},
                retry_after_s=1.0,
            ) from error
        except _AWAY as error:
            raise DomainError(
                Reason.PEER_UNAVAILABLE,
                "history cannot be read now, since its database does not answer; prices and streams go on",
                metadata={"peer": "postgres"},
                retry_after_s=1.0,
            ) from error

    @staticmethod
    async def _fetch(connection: Connection, query: str, arguments: tuple[Any, ...]) -> list[Any]:
        return await connection.fetch(query, *arguments)

    async def _replica_lag(self) -> float | None:
        """Return how far the replica is behind, in seconds; None where there is none or it does not answer."""
        if self._replica is None:
            return None
        now_s = self._clock.monotonic()
        if self._lag is None or now_s - self._lag.checked_s >= LAG_CHECK_S:
            try:
                rows = await self._on(self._replica, _LAG, ())
                seconds = float(rows[0][0])
            except DomainError as error:
                seconds = -1.0
                if self._lag is None or self._lag.seconds >= 0:
                    log.warning("history.replica_away", error=error.message)
            self._lag = _Lag(seconds, now_s)
            self._lag_shown.set(seconds)
        return self._lag.seconds if self._lag.seconds >= 0 else None
