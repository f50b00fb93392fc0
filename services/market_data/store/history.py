"""History as the room holds it: a writer that takes rows from the first moment, a reader once the database answers."""

from __future__ import annotations

import dataclasses

import asyncpg

from services.chassis import migrate
from services.chassis.clock import Clock
from services.chassis.config import ConfigError
from services.chassis.metrics import Metrics
from services.chassis.postgres import Database, PostgresConfig, UnreachableError
from services.chassis.tasks import ONCE, Supervisor
from services.chassis.telemetry import log
from services.market_data.store.partitions import Partitions
from services.market_data.store.reader import HistoryReader
from services.market_data.store.writer import HistoryWriter

ROOM = "market_data"
AGAIN_S = 1.0


class History:
    """The room's database, whether it is there or not.

    A database that does not answer is waited for while the room serves prices. One that refuses the room (a wrong
    password) or whose schema is behind ends it with one sentence.
    """

    def __init__(
        self,
        config: PostgresConfig,
        clock: Clock,
        *,
        retention_days: dict[str, int],
        buffer_rows_max: int,
        flush_s: float,
        replica_url: str,
        replica_lag_max_s: float,
    ) -> None:
        self._config = config
        self._clock = clock
        self._replica_url = replica_url
        self._lag_max_s = replica_lag_max_s
        self._databases: list[Database] = []
        self.writer = HistoryWriter(Partitions(retention_days), clock, buffer_rows_max=buffer_rows_max, flush_s=flush_s)
        self.reader: HistoryReader | None = None

    def store(self) -> HistoryReader | None:
        """Return what answers questions, None while the database has not answered yet."""
        return self.reader

    def start(self, tasks: Supervisor) -> None:
        """Connect in the background, then write and answer; a refusal ends the supervisor."""

        async def connect() -> None:
            database = await self._open(self._config)
            async with database.acquire() as connection:
                try:
                    await migrate.require_current(connection, ROOM)
                except asyncpg.PostgresError as error:
                    raise ConfigError(
                        f"PostgreSQL does not let the room see its schema {ROOM} ({error}): grant it, or correct "
                        "PERPMESH_POSTGRES_URL."
                    ) from None
            self.reader = HistoryReader(database, self._clock, lag_max_s=self._lag_max_s)
            tasks.start("history.write", lambda: self.writer.run(database))

        async def connect_replica() -> None:
            config = dataclasses.replace(self._config, url=self._replica_url)
            replica = await self._open(config, metrics=Metrics())
            while self.reader is None:
                await self._clock.sleep(AGAIN_S)
            self.reader.use_replica(replica)

        tasks.start("history.connect", connect, ONCE)
        if self._replica_url:
            tasks.start("history.replica", connect_replica, ONCE)

    async def close(self) -> None:
        """Close every connection."""
        for database in self._databases:
            await database.close()

    async def _open(self, config: PostgresConfig, *, metrics: Metrics | None = None) -> Database:
        while True:
            try:
                options = {} if metrics is None else {"metrics": metrics}
                database = await Database.open(ROOM, config, clock=self._clock, **options)
            except UnreachableError as error:
                log.warning("history.unreachable", error=str(error))
                await self._clock.sleep(AGAIN_S)
            else:
                self._databases.append(database)
                return database
