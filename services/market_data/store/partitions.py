"""Partitions by day or month: made before they are needed, dropped whole when they are too old.

Native range partitions are ours to make. Where the database has TimescaleDB the tables are hypertables, whose chunks
make themselves; dropping then goes through `drop_chunks` (`make timescale`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from services.market_data.store.tables import TABLES, Table

AHEAD_DAYS: Final = 2
"""How many days ahead a partition exists before its first row comes."""
LOCK_TIMEOUT_MS: Final = 1_000
"""Making and dropping need the table for a moment; readers wait no longer than this for it."""


class Connection(Protocol):
    """What is needed of a database connection."""

    async def execute(self, query: str, *args: object) -> str: ...

    async def fetchval(self, query: str, *args: object) -> Any: ...

    async def fetch(self, query: str, *args: object) -> list[Any]: ...

    def transaction(self) -> Any: ...


def begin_of(table: Table, time: datetime) -> datetime:
    """Return when the partition that holds `time` begins."""
    day = datetime(time.year, time.month, time.day, tzinfo=UTC)
    return day.replace(day=1) if table.by_month else day


def end_of(table: Table, begin: datetime) -> datetime:
    """Return when the partition that begins at `begin` ends."""
    if not table.by_month:
        return begin + timedelta(days=1)
    return begin.replace(year=begin.year + begin.month // 12, month=begin.month % 12 + 1)


def name_of(table: Table, begin: datetime) -> str:
    """Return the name of a partition, such as `trades_20261122` or `candles_202611`."""
    return f"{table.name}_{begin:%Y%m}" if table.by_month else f"{table.name}_{begin:%Y%m%d}"


class Partitions:
    """Which partitions exist, as far as this process knows."""

    def __init__(self, retention_days: Mapping[str, int]) -> None:
        self._retention_days = dict(retention_days)
        self._known: set[str] = set()
        self._timescale: bool | None = None

    def forget(self) -> None:
        """Ask the database anew: it may be another one after a restart."""
        self._known.clear()
        self._timescale = None

    def oldest(self, table: Table, now: datetime) -> datetime:
        """Return the oldest time that is kept; rows before it are not worth writing."""
        return begin_of(table, now - timedelta(days=self._retention_days[table.name]))

    async def cover(self, connection: Connection, table: Table, times: Iterable[datetime]) -> None:
        """Make the partitions that hold `times`."""
        if await self._has_timescale(connection):
            return
        for begin in {begin_of(table, time) for time in times}:
            name = name_of(table, begin)
            if name in self._known:
                continue
            await _locked(
                connection,
                f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF {table.name} "
                f"FOR VALUES FROM ('{begin.isoformat()}') TO ('{end_of(table, begin).isoformat()}')",
            )
            self._known.add(name)

    async def tend(self, connection: Connection, now: datetime) -> list[str]:
        """Make what will be needed soon and drop what is too old; return the names of what was dropped."""
        dropped: list[str] = []
        for table in TABLES:
            await self.cover(connection, table, (now + timedelta(days=ahead) for ahead in range(AHEAD_DAYS + 1)))
            dropped += await self._drop_old(connection, table, self.oldest(table, now))
        return dropped

    async def _drop_old(self, connection: Connection, table: Table, oldest: datetime) -> list[str]:
        if await self._has_timescale(connection):
            home = await connection.fetchval(
                "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
                "WHERE e.extname = 'timescaledb'"
            )
            rows = await connection.fetch(
                f'SELECT "{home}".drop_chunks($1::regclass, $2::timestamptz)', table.name, oldest
            )
            return [str(row[0]) for row in rows]
        keep = name_of(table, oldest)
        rows = await connection.fetch(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
            "WHERE i.inhparent = $1::regclass",
            table.name,
        )
        old = sorted(row["relname"] for row in rows if row["relname"] < keep)
        for name in old:
            await _locked(connection, f'DROP TABLE "{name}"')
            self._known.discard(name)
        return old

    async def _has_timescale(self, connection: Connection) -> bool:
        if self._timescale is None:
            found = await connection.fetchval("SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'")
            self._timescale = bool(found)
        return self._timescale


async def _locked(connection: Connection, statement: str) -> None:
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
        await connection.execute(statement)
