"""Databases for history: the room's role and schema made by the very files that production uses."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg

from services.chassis import migrate
from services.chassis.clock import SYSTEM
from services.chassis.postgres import PostgresConfig
from services.market_data.store.history import History
from tests.support.postgres import Postgres

ROOT = Path(__file__).resolve().parents[2]
ROOM_SQL = ROOT / "deploy" / "postgres" / "room.sql"
ROOM_PASSWORD = "the room's own"
_numbers: Iterator[int] = itertools.count(1)


def make_room(server: Postgres, database: str, *, password: str = ROOM_PASSWORD) -> None:
    """Run deploy/postgres/room.sql by psql, as an administrator does."""
    done = subprocess.run(
        [server.program("psql"), "-X", "-q", "-v", "room=market_data", "-f", ROOM_SQL, server.url(database=database)],
        env={"PATH": "/usr/bin:/bin", "PERPMESH_ROOM_PASSWORD": password, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


async def new_database(server: Postgres, *, migrated: bool = True) -> str:
    """Make a database with the room's role and schema; return its address for the role."""
    name = f"history_{next(_numbers)}"
    admin = await asyncpg.connect(server.url())
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    make_room(server, name)
    url = room_url(server, name)
    if migrated:
        connection = await asyncpg.connect(url)
        files = migrate.read_migrations(migrate.folder_of("market_data"))
        await migrate.migrate(connection, "market_data", files)  # type: ignore[arg-type]
        await connection.close()
    return url


def room_url(server: Postgres, database: str, password: str = ROOM_PASSWORD) -> str:
    """Return a database's address for the room's role."""
    return server.url("market_data", password.replace(" ", "%20").replace("'", "%27"), database)


def new_history(url: str, *, buffer_rows_max: int = 10_000, replica_url: str = "", **settings: Any) -> History:
    """Return a room's database that flushes every 50 ms, not yet connected."""
    lag_max_s = settings.pop("replica_lag_max_s", 10.0)
    return History(
        PostgresConfig(url=url, start_timeout_s=settings.pop("start_timeout_s", 0.2), **settings),
        SYSTEM,
        retention_days={"price_history": 7, "trades": 7, "candles": 400, "funding_history": 400},
        buffer_rows_max=buffer_rows_max,
        flush_s=0.05,
        replica_url=replica_url,
        replica_lag_max_s=lag_max_s,
    )
