"""The pool and the migrations, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from services.chassis import migrate
from services.chassis.config import ConfigError
from services.chassis.metrics import Metrics
from services.chassis.migrate import Migration
from services.chassis.postgres import Database, PostgresConfig, UndoneError
from services.domain.errors import DomainError, Reason
from tests.support.postgres import Postgres, postgres

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


@pytest.fixture
async def connection(server: Postgres) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(server.url())
    await opened.execute("DROP SCHEMA IF EXISTS echo CASCADE")
    yield opened
    await opened.close()


async def opened(server: Postgres, **settings: Any) -> Database:
    return await Database.open("echo", PostgresConfig(**{"url": server.url(), **settings}), metrics=Metrics())


async def test_amounts_are_exact_and_the_session_is_the_rooms(server: Postgres, connection: Any) -> None:
    await connection.execute("CREATE SCHEMA echo")
    database = await opened(server)
    async with database.transaction() as taken:
        await taken.execute("CREATE TABLE amounts (value numeric NOT NULL)")
        await taken.execute("INSERT INTO amounts VALUES ($1)", Decimal("0.100000000000000000000000000001"))
    async with database.acquire() as taken:
        assert await taken.fetchval("SELECT value FROM echo.amounts") == Decimal("0.100000000000000000000000000001")
        assert await taken.fetchval("SHOW timezone") == "UTC"
        assert await taken.fetchval("SHOW application_name") == "perpmesh-echo"
    await database.check()
    await database.close()


async def test_a_transaction_that_fails_leaves_nothing(server: Postgres, connection: Any) -> None:
    await connection.execute("CREATE SCHEMA echo; CREATE TABLE echo.things (id int)")
    database = await opened(server)

    async def work() -> None:
        async with database.transaction() as taken:
            await taken.execute("INSERT INTO things VALUES (1)")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await work()
    assert await connection.fetchval("SELECT count(*) FROM echo.things") == 0
    await database.close()


async def test_when_all_connections_are_in_use_a_call_is_refused_and_does_not_hang(server: Postgres) -> None:
    database = await opened(server, pool_max=1, acquire_timeout_s=0.1)
    async with database.acquire():
        with pytest.raises(DomainError) as caught:
            await database.check()
    assert caught.value.reason is Reason.LIMIT_REACHED
    assert "All 1 connections" in caught.value.message
    await database.check()
    await database.close()


async def test_a_statement_may_not_take_for_ever(server: Postgres) -> None:
    database = await opened(server, statement_timeout_s=0.1)

    async def slow() -> None:
        async with database.acquire() as taken:
            await taken.execute("SELECT pg_sleep(10)")

    with pytest.raises(UndoneError, match="longer than it may: nothing of it was done") as caught:
        await slow()
    assert (caught.value.reason, caught.value.was_in_the_way) == (Reason.PEER_UNAVAILABLE, False)
    await database.close()


async def test_of_two_that_wait_for_each_other_one_is_undone_and_may_ask_again(server: Postgres) -> None:
    database = await opened(server)
    async with database.acquire() as connection:
        await connection.execute("CREATE TABLE echo.pair (id int PRIMARY KEY, value int)")
        await connection.execute("INSERT INTO echo.pair VALUES (1, 0), (2, 0)")
    met = asyncio.Barrier(2)

    async def both(first: int, second: int) -> None:
        async with database.transaction() as taken:
            await taken.execute("UPDATE echo.pair SET value = value + 1 WHERE id = $1", first)
            await met.wait()
            await taken.execute("UPDATE echo.pair SET value = value + 1 WHERE id = $1", second)

    (lost,) = [one for one in await asyncio.gather(both(1, 2), both(2, 1), return_exceptions=True) if one is not None]
    assert isinstance(lost, UndoneError)
    assert lost.was_in_the_way
    async with database.acquire() as connection:
        assert [row[0] for row in await connection.fetch("SELECT value FROM echo.pair")] == [1, 1]
    await database.close()


async def test_a_canceled_query_never_hands_its_rows_to_the_next_caller(server: Postgres) -> None:
    database = await opened(server, pool_max=1, acquire_timeout_s=10)

    async def ask(tag: str) -> str:
        async with database.acquire() as taken:
            return str(await taken.fetchval("SELECT $1::text || pg_sleep(0.001)::text", tag))

    for turn in range(200):
        victim = asyncio.create_task(ask(f"a{turn}"))
        honest = asyncio.create_task(ask(f"b{turn}"))
        await asyncio.sleep(0.0004 * (turn % 8))
        victim.cancel()
        got, _ = await asyncio.gather(honest, victim, return_exceptions=True)
        assert got == f"b{turn}"
    await database.close()


async def test_a_database_that_dies_is_a_peer_unavailable_and_comes_back() -> None:
    with postgres() as own:
        database = await opened(own, acquire_timeout_s=2)
        own.stop()
        with pytest.raises(DomainError) as caught:
            await database.check()
        assert caught.value.reason is Reason.PEER_UNAVAILABLE
        own.start()
        await database.check()

        async def cut() -> None:
            async with database.transaction() as connection:
                waiting = asyncio.ensure_future(connection.execute("SELECT pg_sleep(30)"))
                await asyncio.sleep(0)
                await asyncio.to_thread(own.stop)
                await waiting

        with pytest.raises(DomainError, match="whether this was done is not known") as caught:
            await cut()
        assert (caught.value.reason, caught.value.metadata["peer"]) == (Reason.PEER_UNAVAILABLE, "postgres")
        own.start()
        await database.check()

        async def misused() -> None:
            async with database.acquire() as connection:
                await asyncio.gather(connection.fetchval("SELECT 1"), connection.fetchval("SELECT 2"))

        with pytest.raises(asyncpg.InterfaceError):  # a mistake of ours is no outage
            await misused()
        await database.close()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"password": "wrong"}, "refuses the room"),
        ({"user": "nobody_known"}, "refuses the room"),
        ({"database": "none"}, "does not exist"),
    ],
)
async def test_a_wrong_address_is_one_sentence(server: Postgres, change: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        await Database.open("echo", PostgresConfig(url=server.url(**change)), metrics=Metrics())
    assert says in str(caught.value)
    assert "PERPMESH_POSTGRES_URL" in str(caught.value)
    assert "only-for-tests" not in str(caught.value)


async def test_a_database_that_never_comes_up_is_one_sentence() -> None:
    config = PostgresConfig(url="postgresql://a:b@127.0.0.1:1/x", start_timeout_s=0.2)
    with pytest.raises(ConfigError, match="does not answer"):
        await Database.open("echo", config, metrics=Metrics())


FIRST = Migration(
    number=1, name="0001_create_things.sql", sql="CREATE TABLE things (id int); INSERT INTO things VALUES (1)"
)
SECOND = Migration(number=2, name="0002_add_name.sql", sql="ALTER TABLE things ADD COLUMN name text")


async def test_migrations_run_once_in_order_in_the_rooms_schema(connection: Any) -> None:
    assert await migrate.pending(connection, "echo", [FIRST, SECOND]) == (FIRST, SECOND)
    assert await migrate.migrate(connection, "echo", [FIRST]) == (FIRST,)
    assert await migrate.migrate(connection, "echo", [FIRST, SECOND]) == (SECOND,)
    assert await migrate.migrate(connection, "echo", [FIRST, SECOND]) == ()
    assert await migrate.migrate(connection, "echo", [FIRST]) == ()  # a database ahead of the code
    assert await connection.fetchval("SELECT count(*) FROM echo.things") == 1
    rows = await connection.fetch("SELECT number, name FROM echo.schema_migrations ORDER BY number")
    assert [tuple(row) for row in rows] == [(1, FIRST.name), (2, SECOND.name)]


async def test_a_file_that_changed_after_it_ran_is_refused(connection: Any) -> None:
    await migrate.migrate(connection, "echo", [FIRST])
    changed = Migration(number=1, name=FIRST.name, sql="CREATE TABLE other (id int)")
    with pytest.raises(ConfigError, match="was changed after it ran"):
        await migrate.migrate(connection, "echo", [changed])


async def test_a_migration_that_fails_leaves_nothing_and_the_ones_before_stay(connection: Any) -> None:
    broken = Migration(number=2, name="0002_break_it.sql", sql="CREATE TABLE half (id int); SELECT 1/0")
    with pytest.raises(ConfigError, match=r"0002_break_it.sql failed and left nothing behind \(division by zero"):
        await migrate.migrate(connection, "echo", [FIRST, broken])
    assert await connection.fetchval("SELECT to_regclass('echo.half')") is None
    assert await migrate.migrate(connection, "echo", [FIRST, SECOND]) == (SECOND,)


async def test_of_many_that_migrate_at_once_each_file_runs_once(server: Postgres, connection: Any) -> None:
    async def one() -> int:
        own: Any = await asyncpg.connect(server.url())
        try:
            return len(await migrate.migrate(own, "echo", [FIRST, SECOND]))
        finally:
            await own.close()

    assert sum(await asyncio.gather(*(one() for _ in range(6)))) == 2
    assert await connection.fetchval("SELECT count(*) FROM echo.things") == 1


async def test_a_migration_does_not_wait_behind_a_busy_table_for_long(
    server: Postgres, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT_MS", 100)
    await migrate.migrate(connection, "echo", [FIRST])
    busy: Any = await asyncpg.connect(server.url())
    async with busy.transaction():
        await busy.execute("SELECT * FROM echo.things")
        with pytest.raises(ConfigError, match="lock timeout"):
            await migrate.migrate(connection, "echo", [FIRST, SECOND])
    await busy.close()
    assert await migrate.migrate(connection, "echo", [FIRST, SECOND]) == (SECOND,)


def test_files_are_named_numbered_and_free_of_transactions(tmp_path: Path) -> None:
    (tmp_path / "0001_create_things.sql").write_text("CREATE TABLE things (id int);")
    (tmp_path / "0002_add_name.sql").write_text("ALTER TABLE things ADD COLUMN name text;")
    assert [item.number for item in migrate.read_migrations(tmp_path)] == [1, 2]
    (tmp_path / "0004_skip_one.sql").write_text("SELECT 1")
    with pytest.raises(ConfigError, match="must have the number 0003"):
        migrate.read_migrations(tmp_path)
    (tmp_path / "0004_skip_one.sql").rename(tmp_path / "0003_end_it.sql")
    (tmp_path / "0003_end_it.sql").write_text("SELECT 1;\nCOMMIT;")
    with pytest.raises(ConfigError, match="must not begin or end transactions"):
        migrate.read_migrations(tmp_path)
    (tmp_path / "0003_end_it.sql").rename(tmp_path / "third.sql")
    with pytest.raises(ConfigError, match=r"must be named like 0001_create_prices.sql"):
        migrate.read_migrations(tmp_path)


async def test_a_room_behind_its_code_is_told_what_to_run(
    connection: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "echo" / "migrations"
    folder.mkdir(parents=True)
    (folder / FIRST.name).write_text(FIRST.sql)
    monkeypatch.setattr(migrate, "SERVICES", tmp_path)
    with pytest.raises(ConfigError, match=r"run `python -m services\.chassis\.migrate echo`"):
        await migrate.require_current(connection, "echo")
    await migrate.migrate(connection, "echo", migrate.read_migrations(folder))
    await migrate.require_current(connection, "echo")


async def test_the_command_line_says_what_is_wrong(server: Postgres) -> None:
    async def run(*arguments: str, **environ: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "services.chassis.migrate", *arguments),
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}", **environ},
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()
        return process.returncode, said.decode()

    assert await run("echo") == (
        2,
        "migrate: Set PERPMESH_POSTGRES_URL or PERPMESH_POSTGRES_URL_FILE to the database to migrate.\n",
    )
    code, said = await run("no_such_room", PERPMESH_POSTGRES_URL=server.url())
    assert code == 2
    assert "holds no files" in said
