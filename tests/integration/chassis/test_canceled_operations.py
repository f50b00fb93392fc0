"""Callers who are canceled at any moment leave nothing behind for the next: two tagged users, one of everything shared.

A line to Valkey, a small pool of PostgreSQL and a gRPC connection with a verified caller are shared by two users. Each
operation asks for what belongs to its user and is canceled at some random step, or not; whoever is answered must have
been answered with their own, whole. This is the class of CVE-2023-28858, in all three clients.

The suite makes 20,000 operations; `make cancels` makes a million.
"""

from __future__ import annotations

import asyncio
import functools
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.chassis.access_token import read_keys
from services.chassis.client import Peer, PeerPolicy
from services.chassis.config import load
from services.chassis.metrics import Metrics
from services.chassis.postgres import Database, PostgresConfig
from services.chassis.server import Server, ServerConfig
from services.chassis.telemetry import Level, Log
from services.chassis.valkey import Connector, Line
from services.chassis.verifier import TokenVerifier
from tests.support.echo import SERVICE, Echo, SayRequest, SayResponse
from tests.support.postgres import Postgres, postgres
from tests.support.tokens import Issuer
from tests.support.valkey import Valkey, valkey

COUNT = int(os.environ.get("PERPMESH_CANCELS", "20000"))
AT_ONCE = 12
ROWS = 20
SHARES = {"grpc": 0.5, "valkey": 0.4, "postgres": 0.1}
"""Of the operations; a canceled statement of PostgreSQL costs a connection of its own."""
USERS = {name: f"{number:08d}-0000-4000-8000-{'a' if name == 'a' else 'b':0>12}" for number, name in enumerate("ab")}

Operation = Callable[[str], Awaitable[None]]
"""Asks for what is a user's, and raises AssertionError when anything else is answered."""


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Valkey]:
    with valkey(tmp_path) as server:
        yield server


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@asynccontextmanager
async def over_valkey(url: str) -> AsyncIterator[Operation]:
    line = Line(Connector(url, timeout_s=10), timeout_s=10)
    await line.exchange([("SET", f"user:{user}", user.encode() * 64) for user in USERS])

    async def ask(user: str) -> None:
        replies = await line.exchange([("GET", f"user:{user}")] * 3)
        assert replies == [user.encode() * 64] * 3

    yield ask
    await line.close()


@asynccontextmanager
async def over_postgres(url: str) -> AsyncIterator[Operation]:
    # Nobody waits for a connection: how long that may take is no matter of this test.
    given = {"PERPMESH_POSTGRES_URL": url, "PERPMESH_POSTGRES_POOL_MAX": str(AT_ONCE // 2)}
    given["PERPMESH_POSTGRES_ACQUIRE_TIMEOUT_S"] = "30"
    pool = await Database.open("public", load(PostgresConfig, given), metrics=Metrics())
    async with pool.transaction() as connection:
        await connection.execute("CREATE TABLE owned (owner text, line int, secret text)")
        await connection.executemany(
            "INSERT INTO owned VALUES ($1, $2, $3)", [(user, n, user * 64) for user in USERS for n in range(ROWS)]
        )

    async def ask(user: str) -> None:
        async with pool.transaction() as connection:
            await connection.execute("SELECT set_config('perpmesh.user', $1, true)", user)
            rows = await connection.fetch("SELECT owner, secret FROM owned WHERE owner = $1", user)
            spoken = await connection.fetchval("SELECT current_setting('perpmesh.user')")
        assert [tuple(row) for row in rows] == [(user, user * 64)] * ROWS
        assert spoken == user

    yield ask
    async with pool.transaction() as connection:
        assert await connection.fetchval("SELECT current_setting('perpmesh.user', true)") in (None, "")
        await connection.execute("DROP TABLE owned")
    await pool.close()


@asynccontextmanager
async def over_grpc() -> AsyncIterator[Operation]:
    issuer = Issuer()
    verifier = TokenVerifier(issuer="perpmesh", audience="perpmesh", metrics=Metrics())
    verifier.set_keys(read_keys(issuer.jwks))
    server = Server("echo", ServerConfig(), verifier=verifier, metrics=Metrics(), logger=Log(level=Level.ERROR))
    server.add(SERVICE, Echo())
    port = await server.start()
    peer = Peer(f"127.0.0.1:{port}", PeerPolicy(deadline_s=30))
    own = peer.unary_unary(f"/{SERVICE}/Own", SayRequest.SerializeToString, SayResponse.FromString)
    watch = peer.unary_stream(f"/{SERVICE}/WatchEcho", SayRequest.SerializeToString, SayResponse.FromString)

    @functools.cache
    def metadata(user: str, minute: int) -> tuple[tuple[str, str], ...]:
        """Return a user's token of a minute: a million operations may take longer than one token lives."""
        return (("authorization", f"Bearer {issuer.token(minute * 60, sub=USERS[user])}"),)

    async def ask(user: str) -> None:
        known = metadata(user, int(time.time() // 60))
        answer = await own(SayRequest(), metadata=known)
        assert answer.text == USERS[user]
        said = [one.text async for one in watch(SayRequest(text=user * 64, count=2), metadata=known)]
        assert said == [user * 64] * 2

    yield ask
    await peer.close()
    await server.stop()


async def storm(operation: Operation, count: int, rng: random.Random) -> Counter[str]:
    """Make so many operations, `AT_ONCE` at a time; return how they ended."""
    ends: Counter[str] = Counter()
    left = iter(range(count))

    async def one() -> None:
        for _ in left:
            user = rng.choice(tuple(USERS))
            task = asyncio.create_task(operation(user))  # type: ignore[arg-type]
            if rng.random() < 0.7:
                for _turn in range(rng.randint(0, 6)):
                    await asyncio.sleep(0)
                if rng.random() < 0.4:
                    await asyncio.sleep(rng.random() * 0.002)
                task.cancel()
            try:
                await task
                ends["answered"] += 1
            except asyncio.CancelledError:
                if (own := asyncio.current_task()) is not None and own.cancelling():
                    raise
                ends["canceled"] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(one())
    return ends


@pytest.mark.timeout(60 + COUNT // 100)
@pytest.mark.parametrize("carrier", SHARES)
async def test_whoever_is_answered_is_answered_with_their_own(carrier: str, cache: Valkey, database: Postgres) -> None:
    seed = random.Random().getrandbits(32)
    print("seed", seed)
    carriers = {"grpc": over_grpc(), "valkey": over_valkey(cache.url), "postgres": over_postgres(database.url())}
    count, began = round(COUNT * SHARES[carrier]), time.monotonic()
    async with carriers[carrier] as operation:
        ends = await storm(operation, count, random.Random(seed))
        for user in USERS:  # and the last of all find everything in order
            await operation(user)
    print(f"{carrier}: {dict(ends)} in {time.monotonic() - began:.1f} s")
    assert ends["answered"] > count * 0.2
    assert ends["canceled"] > count * 0.2


async def test_the_storm_finds_a_client_that_keeps_a_line_it_owes_a_reply_to(cache: Valkey) -> None:
    class Careless(Line):
        """Keeps its connection through a cancellation, as the clients of that class did."""

        async def exchange(self, commands):  # type: ignore[no-untyped-def]
            async with self._turn:
                if self._connection is None:
                    self._connection = await self._connector.connect()
                await self._connection.send_packed_command(self._connection.pack_commands(commands), check_health=False)
                for _turn in range(3):  # a reply is owed for a few turns, however fast the server is
                    await asyncio.sleep(0)
                return [
                    await self._connection.read_response(disable_decoding=True, disconnect_on_error=False)
                    for _ in commands
                ]

    line = Careless(Connector(cache.url, timeout_s=10), timeout_s=10)
    await line.exchange([("SET", f"user:{user}", user.encode() * 64) for user in USERS])

    async def ask(user: str) -> None:
        replies = await line.exchange([("GET", f"user:{user}")])
        assert replies == [user.encode() * 64]

    with pytest.raises(ExceptionGroup) as found:
        await storm(ask, 100_000, random.Random(1))  # one is enough, and comes within the first hundreds
    assert found.group_contains(AssertionError)
    await line.close()
