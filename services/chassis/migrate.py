"""Numbered SQL files, applied once each, forward only.

    python -m services.chassis.migrate market_data            bring the schema `market_data` up to date
    python -m services.chassis.migrate market_data --check    say what is missing; exit code 1 if anything is

Files are `services/<room>/migrations/NNNN_verb_noun.sql`, numbered from 0001 without a hole, and run in the room's own
schema, each in a transaction of its own with the row that records it. An advisory lock lets one process migrate at a
time; a recorded checksum refuses a file that changed after it ran; `lock_timeout` and `statement_timeout` keep a
migration from stopping the room that is running (after warehouse). Every migration must suit the code already running:
add, backfill, switch, then remove. A database ahead of the code is therefore fine; one behind it is not.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from services.chassis.clock import SYSTEM, Clock
from services.chassis.config import ConfigError
from services.chassis.postgres import connect

SERVICES = Path(__file__).resolve().parent.parent
LOCK_TIMEOUT_MS = 4_000
STATEMENT_TIMEOUT_MS = 5_000
TURN_TIMEOUT_S = 60.0
"""How long one process waits for another that migrates."""

_FILE = re.compile(r"(\d{4})_([a-z0-9]+(?:_[a-z0-9]+)+)\.sql")
_ROOM = re.compile(r"[a-z][a-z_]{1,40}")
_QUOTED_BODY = re.compile(r"\$(\w*)\$.*?\$\1\$", re.S)
"""The body of a function or of `DO`, where `BEGIN` is a block and no transaction."""
_TRANSACTION = re.compile(r"^\s*(begin|commit|rollback|start\s+transaction)\b", re.I | re.M)


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One file."""

    number: int
    name: str
    """The file's name."""
    sql: str

    @property
    def checksum(self) -> str:
        """Return the SHA-256 of the text, in hex."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


class Connection(Protocol):
    """What migrating needs of a database connection."""

    async def execute(self, query: str, *args: object) -> str: ...

    async def fetch(self, query: str, *args: object) -> list[Any]: ...

    async def fetchval(self, query: str, *args: object) -> Any: ...

    def transaction(self) -> Any: ...


def folder_of(room: str) -> Path:
    """Return where a room's migrations are."""
    return SERVICES / room / "migrations"


def read_migrations(folder: Path) -> tuple[Migration, ...]:
    """Return the migrations in a folder in order, or raise ConfigError naming what is wrong with the files."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise ConfigError(f"{path.name} must be named like 0001_create_prices.sql: rename it.")
        sql = path.read_text(encoding="utf-8")
        if _TRANSACTION.search(_QUOTED_BODY.sub("", sql)):
            raise ConfigError(f"{path.name} must not begin or end transactions, it runs in one: remove the statement.")
        found.append(Migration(number=int(match[1]), name=path.name, sql=sql))
    for wanted, migration in enumerate(found, start=1):
        if migration.number != wanted:
            raise ConfigError(
                f"{migration.name} must have the number {wanted:04d}: numbers run without hole or double."
            )
    return tuple(found)


async def pending(connection: Connection, schema: str, migrations: Sequence[Migration]) -> tuple[Migration, ...]:
    """Return the migrations that have not run, or raise ConfigError for a file that changed after it ran."""
    table = await connection.fetchval("SELECT to_regclass($1)::text", f"{_quoted(schema)}.schema_migrations")
    if table is None:
        return tuple(migrations)
    rows = await connection.fetch(f"SELECT number, checksum FROM {_quoted(schema)}.schema_migrations")  # noqa: S608
    applied = {row["number"]: row["checksum"] for row in rows}
    for migration in migrations:
        if applied.get(migration.number, migration.checksum) != migration.checksum:
            raise ConfigError(
                f"{migration.name} was changed after it ran on this database: restore the file and add a new one."
            )
    return tuple(migration for migration in migrations if migration.number not in applied)


async def require_current(connection: Connection, room: str) -> None:
    """Raise ConfigError when the room's schema is behind its code; what a room calls before it serves."""
    missing = await pending(connection, room, read_migrations(folder_of(room)))
    if missing:
        raise ConfigError(
            f"The schema {room} lacks {missing[0].name}{f' and {len(missing) - 1} more' if missing[1:] else ''}: "
            f"run `python -m services.chassis.migrate {room}`."
        )


async def migrate(
    connection: Connection, schema: str, migrations: Sequence[Migration], *, clock: Clock = SYSTEM
) -> tuple[Migration, ...]:
    """Apply what has not run and return it; waits for another process that migrates the same schema."""
    key = int.from_bytes(hashlib.sha256(f"perpmesh-migrate:{schema}".encode()).digest()[:8], "big", signed=True)
    await _take_turn(connection, key, schema, clock)
    try:
        await _prepare(connection, schema)
        done = []
        for migration in await pending(connection, schema, migrations):
            await _apply(connection, schema, migration)
            done.append(migration)
        return tuple(done)
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", key)


async def _take_turn(connection: Connection, key: int, schema: str, clock: Clock) -> None:
    end = clock.monotonic() + TURN_TIMEOUT_S
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", key):
        if clock.monotonic() >= end:
            raise ConfigError(f"Another process has been migrating {schema} for {TURN_TIMEOUT_S:g} s: let it finish.")
        await clock.sleep(0.1)


async def _prepare(connection: Connection, schema: str) -> None:
    if not await connection.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname = $1", schema):
        await connection.execute(f"CREATE SCHEMA {_quoted(schema)}")
    await connection.execute(
        f"CREATE TABLE IF NOT EXISTS {_quoted(schema)}.schema_migrations ("
        "number integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, "
        "apply_time timestamptz NOT NULL DEFAULT now())"
    )


async def _apply(connection: Connection, schema: str, migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
        await connection.execute(f"SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_MS}")
        await connection.execute(f"SET LOCAL search_path = {_quoted(schema)}")
        try:
            await connection.execute(migration.sql)
        except Exception as error:
            raise ConfigError(
                f"{migration.name} failed and left nothing behind ({' '.join(str(error).split())[:300]}): "
                "correct it and run again."
            ) from error
        await connection.execute(
            f"INSERT INTO {_quoted(schema)}.schema_migrations (number, name, checksum) VALUES ($1, $2, $3)",  # noqa: S608
            migration.number,
            migration.name,
            migration.checksum,
        )


def _quoted(schema: str) -> str:
    if not _ROOM.fullmatch(schema):
        raise ConfigError(f"{schema!r} is not the name of a room: use lower-case letters and underscores.")
    return f'"{schema}"'


async def _run(room: str, url: str, *, check: bool) -> int:
    _quoted(room)
    migrations = read_migrations(folder_of(room))
    if not migrations:
        raise ConfigError(f"services/{room}/migrations holds no files: name a room that keeps state.")
    connection: Any = await connect(url)
    try:
        if check:
            missing = await pending(connection, room, migrations)
            for migration in missing:
                sys.stdout.write(f"missing {migration.name}\n")
            return 1 if missing else 0
        for migration in await migrate(connection, room, migrations):
            sys.stdout.write(f"applied {migration.name}\n")
        sys.stdout.write(f"the schema {room} is up to date\n")
        return 0
    finally:
        await connection.close()


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m services.chassis.migrate", description="Bring a schema up to date."
    )
    parser.add_argument("room", help="the room whose migrations to run, such as market_data")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when something is missing")
    options = parser.parse_args(arguments)
    try:
        return asyncio.run(_run(options.room, _url(environ), check=options.check))
    except ConfigError as error:
        sys.stderr.write(f"migrate: {error}\n")
        return 2


def _url(environ: Mapping[str, str]) -> str:
    file = environ.get("PERPMESH_POSTGRES_URL_FILE")
    url = Path(file).read_text(encoding="utf-8").strip() if file else environ.get("PERPMESH_POSTGRES_URL", "")
    if not url:
        raise ConfigError("Set PERPMESH_POSTGRES_URL or PERPMESH_POSTGRES_URL_FILE to the database to migrate.")
    return url


if __name__ == "__main__":
    raise SystemExit(main())
