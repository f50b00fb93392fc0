"""PostgreSQL and Valkey as in production: certificates that are checked, users with their own keys, a full disk.

The PostgreSQL at hand is built without TLS, so a small front takes the handshake in its place, as a pooler would.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis

from services.chassis.config import ConfigError
from services.chassis.metrics import Metrics
from services.chassis.postgres import Database, PostgresConfig
from services.domain.errors import DomainError, Reason
from services.launcher import certificates, embedded
from services.launcher.plan import ROOMS
from tests.support.postgres import Postgres, postgres
from tests.support.valkey import _binary, free_port

DATABASE = "db"
ROOM = "public"


@pytest.fixture(scope="module")
def authority() -> Iterator[Path]:
    """An authority that signed the database's certificate, for the name `db.perpmesh`."""
    with tempfile.TemporaryDirectory() as folder:
        certificates.make(Path(folder) / "ours", [DATABASE])
        certificates.make(Path(folder) / "theirs", [DATABASE])
        yield Path(folder)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


class Front:
    """Takes TLS for a PostgreSQL that cannot, and counts the handshakes that came to an end."""

    def __init__(self, server: Postgres, folder: Path) -> None:
        self._target = server.port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificates.cert_of(folder, DATABASE), certificates.key_of(folder, DATABASE))
        self.handshakes = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the request for TLS (PostgreSQL's protocol, SSLRequest), then pass everything on."""
        assert await reader.readexactly(8) == b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
        writer.write(b"S")
        with contextlib.suppress(OSError):
            await writer.start_tls(self._context)
            self.handshakes += 1
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._target)
            await asyncio.gather(_pass(reader, inner_writer), _pass(inner_reader, writer))
        writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
    writer.close()


@contextlib.asynccontextmanager
async def front(server: Postgres, authority: Path) -> AsyncIterator[Front]:
    found = Front(server, authority / "ours")
    listening = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = listening.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        listening.close()


def secured(server: Postgres, port: int, mode: str, folder: Path) -> PostgresConfig:
    url = server.url().replace(f":{server.port}/", f":{port}/")
    root = folder / certificates.AUTHORITY
    return PostgresConfig(url=f"{url}?sslmode={mode}&sslrootcert={root}", start_timeout_s=5, pool_max=1)


async def test_a_certificate_of_our_authority_is_taken_and_the_line_is_encrypted(
    server: Postgres, authority: Path
) -> None:
    async with front(server, authority) as tls:
        config = secured(server, tls.port, "verify-ca", authority / "ours")
        database = await Database.open(ROOM, config, metrics=Metrics())
        async with database.acquire() as connection:
            assert await connection.fetchval("SELECT 1") == 1
        await database.close()
        assert tls.handshakes == 1


@pytest.mark.parametrize(
    ("mode", "whose"), [("verify-ca", "theirs"), ("verify-full", "theirs"), ("verify-full", "ours")]
)
async def test_a_strangers_certificate_or_another_name_is_refused_at_once_with_one_sentence(
    server: Postgres, authority: Path, mode: str, whose: str
) -> None:
    """With verify-full the name must be right as well: the certificate is for db.perpmesh, not for an address."""
    began = time.monotonic()
    async with front(server, authority) as tls:
        config = secured(server, tls.port, mode, authority / whose)
        with pytest.raises(ConfigError, match="PostgreSQL refuses the room") as refused:
            await Database.open(ROOM, config, metrics=Metrics())
    assert time.monotonic() - began < 4
    assert "certificate" in str(refused.value).lower()
    assert "\n" not in str(refused.value)
    assert "only-for-tests" not in str(refused.value)


@contextlib.contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """A disk of its own, where the machine lets us make one."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "tmpfs", folder]
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
            pytest.skip("no disk can be mounted here, so that a full one was not tried")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


async def test_a_full_disk_is_one_clear_refusal_and_the_room_goes_on_when_there_is_space_again() -> None:
    with small_disk(300) as disk, postgres(disk, fsync="off", max_wal_size="64MB", min_wal_size="32MB") as running:
        metrics = Metrics()
        database = await Database.open(ROOM, PostgresConfig(url=running.url()), metrics=metrics)
        async with database.acquire() as connection:
            await connection.execute("CREATE TABLE public.rows (text text)")
        filler = disk / "filler"
        with filler.open("wb") as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 65_536)
        with pytest.raises(DomainError) as refused:
            async with database.transaction() as connection:
                await connection.execute(
                    "INSERT INTO public.rows SELECT repeat(md5(n::text), 20) FROM generate_series(1, 5000) n"
                )
        assert refused.value.reason is Reason.LIMIT_REACHED
        assert "disk of the database is full" in refused.value.message
        assert b'perpmesh_postgres_refused_total{why="disk"} 1.0' in metrics.render()
        filler.unlink()
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO public.rows VALUES ('there is space again')")
            assert await connection.fetchval("SELECT count(*) FROM public.rows") == 1
        await database.close()


@pytest.fixture(scope="module")
def valkey_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A Valkey with the users that `make up` gives it."""
    folder, port = tmp_path_factory.mktemp("valkey"), free_port()
    names = ["valkey", *(f"valkey.{room.name}" for room in ROOMS)]
    ground = SimpleNamespace(rooms=ROOMS, secrets={name: f"{name}-password" for name in names})
    lines = [f"port {port}\n", "bind 127.0.0.1\n", *embedded.valkey_users(ground)]  # type: ignore[arg-type]
    (folder / "valkey.conf").write_text("".join(lines))
    process = subprocess.Popen([str(_binary()), str(folder / "valkey.conf")], cwd=folder, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 10
        while True:
            with contextlib.suppress(redis.ConnectionError):
                user(port, "perpmesh", "valkey-password").ping()
                break
            assert time.monotonic() < end
            time.sleep(0.01)
        yield port
    finally:
        process.terminate()
        process.wait()


def user(port: int, name: str, password: str) -> redis.Redis:
    return redis.Redis(port=port, username=name, password=password, protocol=2)


def test_every_room_touches_its_own_keys_with_its_own_password_and_nothing_else(valkey_port: int) -> None:
    own = {"market_data": "prices:BTC-PERP", "auth": "auth:challenge:x", "stream": "connections:{u}"}
    for name, key in own.items():
        mine = user(valkey_port, name, f"valkey.{name}-password")
        assert mine.set(key, "1")
        mine.publish("market_data:told:lighter" if name == "market_data" else "auth:ended", "x")
        for other, theirs in own.items():
            if other != name:
                with pytest.raises(redis.exceptions.NoPermissionError):
                    mine.set(theirs, "2")
        for command in (("FLUSHALL",), ("KEYS", "*"), ("CONFIG", "GET", "*"), ("ACL", "LIST")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                mine.execute_command(*command)
        with pytest.raises(redis.exceptions.AuthenticationError):
            user(valkey_port, name, "valkey-password").ping()
    with pytest.raises(redis.exceptions.AuthenticationError):
        redis.Redis(port=valkey_port, protocol=2).ping()


async def test_a_wrong_url_is_told_apart_from_a_database_that_is_away(server: Postgres) -> None:
    with pytest.raises(ConfigError, match="refuses"):
        await Database.open(
            ROOM, PostgresConfig(url=server.url(password="wrong"), start_timeout_s=5), metrics=Metrics()
        )
