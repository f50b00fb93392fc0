"""PostgreSQL: one bounded pool per room, with every wait bounded too.

    database = await Database.open("market_data", config.postgres)
    async with database.transaction() as connection:
        await connection.execute("INSERT ...")

Bounds: connections (`pool_max`), the wait for one (`acquire_timeout_s`, then LIMIT_REACHED and not a hang), each
statement (`statement_timeout_s`), a transaction left idle. A server that is away is PEER_UNAVAILABLE, surely before
anything was done; so is a connection that breaks while it is used, in words of its own, since what became of the
transaction is then not known. What the server itself undid, for its time or in favor of another, is `UndoneError`.
Amounts are `numeric`, which asyncpg gives as `Decimal`; times are aware, in UTC.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from services.chassis.clock import SYSTEM, Clock
from services.chassis.config import ConfigError, setting
from services.chassis.metrics import METRICS, Metrics
from services.chassis.telemetry import log
from services.chassis.tracing import TRACING
from services.domain.errors import DomainError, Reason

Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"
"""A connection taken from the pool."""

CONNECT_TIMEOUT_S = 5.0
IDLE_IN_TRANSACTION_S = 10.0
"""How long a process that stands still in the middle of a transaction keeps its rows from everyone else."""
IDLE_CONNECTION_S = 300.0
QUERIES_MAX = 1_000_000
"""Statements after which a connection is replaced, with what the server prepared for it."""

_Broken = (ConnectionError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.OperatorInterventionError)
"""What is raised in the middle of work when the server or the line to it ends; other faults of these kinds too."""

logging.getLogger("asyncpg").setLevel(logging.ERROR)
"""It warns with a whole trace at every attempt while the server is away; we say so once, in one line."""

_InTheWay = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
_Undone = (asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError, *_InTheWay)
"""What ends a statement and its transaction without a trace: its time was up, or another one was in its way."""

_Away = (OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError, asyncpg.InterfaceError)


@dataclass(frozen=True, kw_only=True)
class PostgresConfig:
    """Where the room's database is and what bounds its use."""

    url: str = setting(
        "PERPMESH_POSTGRES_URL",
        "PostgreSQL, such as postgresql://user:password@host:5432/database; add ?sslmode=verify-full for TLS.",
        secret=True,
    )
    pool_max: int = setting(
        "PERPMESH_POSTGRES_POOL_MAX",
        "How many connections the room opens at most.",
        default=10,
        minimum=1,
        maximum=200,
    )
    acquire_timeout_s: float = setting(
        "PERPMESH_POSTGRES_ACQUIRE_TIMEOUT_S",
        "How long a call waits for a free connection, in seconds, before it is refused.",
        default=1.0,
        minimum=0.01,
        maximum=60,
    )
    statement_timeout_s: float = setting(
        "PERPMESH_POSTGRES_STATEMENT_TIMEOUT_S",
        "How long one statement may take, in seconds.",
        default=5.0,
        minimum=0.1,
        maximum=600,
    )
    start_timeout_s: float = setting(
        "PERPMESH_POSTGRES_START_TIMEOUT_S",
        "How long a starting room waits for the database to come up, in seconds.",
        default=30.0,
        minimum=0,
        maximum=600,
    )


class _Session(asyncpg.Connection):
    """A connection that is given back without a word to the server.

    What a pool would reset (settings, advisory locks, cursors, notices) no room leaves behind: settings and locks are a
    transaction's, save the log's own lock, which is taken and given back in one block. An open transaction is rolled
    back as ever.
    """

    def get_reset_query(self) -> str:
        """Return nothing to say."""
        return ""


class UndoneError(DomainError):
    """A statement took too long, or stood in another's way, and the database undid it: asking again is safe."""

    def __init__(self, error: asyncpg.PostgresError) -> None:
        self.was_in_the_way = isinstance(error, _InTheWay)
        why = "two changes stood in each other's way" if self.was_in_the_way else "it took longer than it may"
        super().__init__(
            Reason.PEER_UNAVAILABLE,
            f"The database undid this, since {why}: nothing of it was done, try again in a moment.",
            metadata={"peer": "postgres"},
            retry_after_s=0.5,
        )


class UnreachableError(ConfigError):
    """The database does not answer, which may pass; any other `ConfigError` of `Database.open` does not."""


class Database:
    """The pool of one room; its role sees its own schema, which is the search path."""

    def __init__(
        self,
        pool: asyncpg.Pool[asyncpg.Record],
        config: PostgresConfig,
        metrics: Metrics,
        turns: asyncio.Semaphore | None = None,
        wait_s: float | None = None,
    ) -> None:
        self._pool = pool
        self._config = config
        self._metrics = metrics
        self._turns = turns
        self._wait_s = config.acquire_timeout_s if wait_s is None else wait_s
        used = metrics.gauge("perpmesh_postgres_connections_used", "Connections taken from the pool.")
        used.set_function(lambda: float(pool.get_size() - pool.get_idle_size()))
        bound = metrics.gauge("perpmesh_postgres_connections_max", "The bound of the pool.")
        bound.set(config.pool_max)
        self._refused = metrics.counter("perpmesh_postgres_refused_total", "Calls refused a connection.", ("why",))

    @classmethod
    async def open(
        cls, room: str, config: PostgresConfig, *, clock: Clock = SYSTEM, metrics: Metrics = METRICS
    ) -> Database:
        """Connect, waiting for a database that is starting; raise ConfigError with one sentence when it cannot be."""
        end = clock.monotonic() + config.start_timeout_s
        while True:
            try:
                pool: asyncpg.Pool[asyncpg.Record] = await asyncpg.create_pool(
                    config.url,
                    min_size=1,
                    max_size=config.pool_max,
                    timeout=CONNECT_TIMEOUT_S,
                    max_inactive_connection_lifetime=IDLE_CONNECTION_S,
                    max_queries=QUERIES_MAX,
                    connection_class=_Session,
                    server_settings=_session(room, config),
                )
                return cls(pool, config, metrics)
            except ssl.SSLError as error:  # no waiting makes a certificate good
                raise _refused(error) from None
            except _Away as error:
                if clock.monotonic() >= end:
                    raise _unreachable(error) from None
            except (asyncpg.PostgresError, ValueError) as error:
                raise _refused(error) from None
            await clock.sleep(0.1)

    def part(self, most: int, *, wait_s: float | None = None) -> Database:
        """Return the same pool for users who take at most so many connections at a time, and leave the others theirs.

        Who finds none of them free waits as for the pool, or for `wait_s`. Closing is the whole pool's matter.
        """
        turns = asyncio.Semaphore(max(1, min(most, self._config.pool_max)))
        return Database(self._pool, self._config, self._metrics, turns, wait_s)

    async def close(self) -> None:
        """Give connections back and close them; those still in use are cut after the acquire time-out."""
        try:
            async with asyncio.timeout(self._config.acquire_timeout_s):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        """Take a connection for the time of a block, or raise LIMIT_REACHED or PEER_UNAVAILABLE.

        LIMIT_REACHED too when the server's disk is full: what the statement would have written is not there.
        PEER_UNAVAILABLE too when the connection breaks: what was asked may have been done; as `UndoneError` it was not.
        """
        if self._turns is not None:
            await self._turn(self._turns)
        try:
            connection = await self._take()
        except BaseException:
            self._give_turn()
            raise
        try:
            with TRACING.statements(connection):
                yield connection
        except asyncpg.DiskFullError as error:
            self._refused.labels("disk").inc()
            log.error("postgres.disk_full", error=_line(str(error)))
            raise DomainError(
                Reason.LIMIT_REACHED,
                "The disk of the database is full: nothing was written. Try again later.",
                metadata={"limit": "postgres_disk"},
                retry_after_s=10.0,
            ) from None
        except _Undone as error:
            self._refused.labels("undone").inc()
            raise UndoneError(error) from error
        except _Broken as error:
            if not _is_gone(connection):
                raise
            self._refused.labels("broken").inc()
            raise DomainError(
                Reason.PEER_UNAVAILABLE,
                "The database broke off, and whether this was done is not known: look, or ask again with the same ids.",
                metadata={"peer": "postgres"},
                retry_after_s=0.5,
            ) from error
        finally:
            self._give_turn()
            await self._pool.release(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Take a connection and open a transaction, committed at the end of the block or rolled back by its error."""
        async with self.acquire() as connection, connection.transaction():
            yield connection

    async def check(self) -> None:
        """Raise LIMIT_REACHED or PEER_UNAVAILABLE unless the database answers now; for readiness."""
        try:
            async with self.acquire() as connection:
                await connection.fetchval("SELECT 1")
        except _Away:
            raise self._away() from None

    async def _turn(self, turns: asyncio.Semaphore) -> None:
        try:
            async with asyncio.timeout(self._wait_s):
                await turns.acquire()
        except TimeoutError:
            raise self._full() from None

    def _give_turn(self) -> None:
        if self._turns is not None:
            self._turns.release()

    def _full(self) -> DomainError:
        self._refused.labels("limit").inc()
        return DomainError(
            Reason.LIMIT_REACHED,
            f"All {self._config.pool_max} connections to the database are in use: try again in a moment.",
            metadata={"limit": "postgres_pool", "pool_max": str(self._config.pool_max)},
            retry_after_s=self._config.acquire_timeout_s,
        )

    async def _take(self) -> Connection:
        taking = self._pool.acquire(timeout=self._config.acquire_timeout_s)
        try:
            return await taking
        except TimeoutError:
            raise self._full() from None
        except (*_Away, asyncpg.PostgresError):
            raise self._away() from None

    def _away(self) -> DomainError:
        self._refused.labels("away").inc()
        return DomainError(
            Reason.PEER_UNAVAILABLE,
            "The database does not answer: nothing was done.",
            metadata={"peer": "postgres"},
            retry_after_s=1.0,
        )


def _is_gone(connection: Connection) -> bool:
    """Whether a connection that was taken is of no more use; the pool has taken back one that broke."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True


def _session(room: str, config: PostgresConfig) -> dict[str, str]:
    return {
        "application_name": f"perpmesh-{room}",
        "search_path": room,
        "timezone": "UTC",
        "statement_timeout": str(round(config.statement_timeout_s * 1_000)),
        "idle_in_transaction_session_timeout": str(round(IDLE_IN_TRANSACTION_S * 1_000)),
    }


def _unreachable(error: BaseException) -> UnreachableError:
    text = str(error) or type(error).__name__
    return UnreachableError(f"PostgreSQL does not answer ({_line(text)}): start it, or correct PERPMESH_POSTGRES_URL.")


def _refused(error: BaseException) -> ConfigError:
    return ConfigError(f"PostgreSQL refuses the room ({_line(str(error))}): correct PERPMESH_POSTGRES_URL.")


def _line(text: str) -> str:
    return " ".join(text.split())[:200]


async def connect(url: str) -> asyncpg.Connection[Any]:
    """Open one connection outside a pool, for a command line; raise ConfigError with one sentence."""
    try:
        return await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S)
    except ssl.SSLError as error:
        raise _refused(error) from None
    except _Away as error:
        raise _unreachable(error) from None
    except (asyncpg.PostgresError, ValueError) as error:
        raise _refused(error) from None
