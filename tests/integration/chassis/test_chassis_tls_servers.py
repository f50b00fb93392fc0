"""TLS as the servers themselves speak it: a Redis by rediss:// and a PostgreSQL by verify-full.

The embedded ones are built without TLS, so these are Debian's (redis-server, postgresql); skipped where they are not
installed. The certificate is for the name `db.perpmesh`, which is made to stand for loopback.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.chassis.bus import BusConfig
from services.chassis.config import ConfigError
from services.chassis.metrics import Metrics
from services.chassis.postgres import Database, PostgresConfig
from services.chassis.valkey import Away, Connector
from services.chassis.valkey_bus import ValkeyBus
from services.launcher import certificates
from tests.support.valkey import free_port

PART, NAME, PASSWORD = "db", "db.perpmesh", "only-for-tests"
REDIS = shutil.which("valkey-server") or shutil.which("redis-server")
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Two authorities; `ours` signed the servers' certificate."""
    with tempfile.TemporaryDirectory() as made:
        os.chmod(made, 0o755)
        for whose in ("ours", "theirs"):
            certificates.make(Path(made) / whose, [PART])
            (Path(made) / whose).chmod(0o755)
            (Path(made) / whose / certificates.AUTHORITY).chmod(0o644)
        yield Path(made)


@pytest.fixture(autouse=True)
def name_of_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the certificate's name stand for 127.0.0.1."""
    ask = socket.getaddrinfo

    def answer(host: Any, *arguments: Any, **more: Any) -> Any:
        return ask("127.0.0.1" if host in (NAME, NAME.encode()) else host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", answer)


def as_server(home: Path) -> dict[str, Any]:
    """Whom a server runs as: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    for path in (home, *home.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert process.poll() is None, log.read_text()[-800:]
        assert time.monotonic() < end, "the server does not listen"
        time.sleep(0.02)


@contextlib.contextmanager
def running(home: Path, command: list[str], port: int) -> Iterator[None]:
    log = home / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, cwd=home, **as_server(home))
    try:
        listening(process, port, log)
        yield
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def redis_port(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A Redis that speaks TLS and nothing else."""
    if REDIS is None:
        pytest.skip("no redis-server or valkey-server with TLS is installed: rediss:// was not tried")
    with tempfile.TemporaryDirectory() as made:
        home, port = Path(made), free_port()
        cert, key = copies(folder, home)
        options = {
            "--port": "0", "--tls-port": str(port), "--bind": "127.0.0.1", "--tls-cert-file": str(cert),
            "--tls-key-file": str(key), "--tls-ca-cert-file": str(folder / "ours" / certificates.AUTHORITY),
            "--tls-auth-clients": "no", "--requirepass": PASSWORD, "--save": "", "--appendonly": "no",
        }  # fmt: skip
        with running(home, [REDIS, *(part for pair in options.items() for part in pair)], port):
            yield port


def copies(folder: Path, home: Path) -> tuple[Path, Path]:
    """The server's certificate and key, in a folder that the server may read."""
    ours, cert, key = folder / "ours", home / "server.pem", home / "server.key"
    shutil.copy(certificates.cert_of(ours, PART), cert)
    shutil.copy(certificates.key_of(ours, PART), key)
    key.chmod(0o600)
    return cert, key


def rediss(port: int, root: Path, name: str = NAME) -> BusConfig:
    url = f"rediss://:{PASSWORD}@{name}:{port}/0?ssl_ca_certs={root / certificates.AUTHORITY}"
    return BusConfig(url=url, timeout_s=5)


async def test_a_bus_over_rediss_works_with_a_server_that_shows_our_certificate(redis_port: int, folder: Path) -> None:
    async with ValkeyBus(rediss(redis_port, folder / "ours")) as bus:
        assert await bus.put_many({"prices:BTC-PERP": b"1"}, ttl_ms=60_000)
        assert await bus.get("prices:BTC-PERP") == b"1"


@pytest.mark.parametrize(("whose", "name"), [("theirs", NAME), ("ours", "127.0.0.1")])
async def test_a_strangers_certificate_or_another_name_is_no_bus(
    redis_port: int, folder: Path, whose: str, name: str
) -> None:
    config = rediss(redis_port, folder / whose, name)
    with pytest.raises(Away) as refused:
        await Connector(config.url, timeout_s=5).connect()
    assert "certificate verify failed" in str(refused.value).lower()
    async with ValkeyBus(config) as bus:
        assert not await bus.put_many({"prices:BTC-PERP": b"1"}, ttl_ms=60_000)


@pytest.fixture(scope="module")
def postgres_port(folder: Path) -> Iterator[int]:
    """A PostgreSQL that takes connections over TLS and no others."""
    if not POSTGRES:
        pytest.skip("no PostgreSQL with TLS is installed: verify-full was tried against a front alone")
    programs = POSTGRES[-1].parent
    with tempfile.TemporaryDirectory() as made:
        os.chmod(made, 0o755)
        home, port = Path(made), free_port()
        (home / "password").write_text(PASSWORD)
        init = [str(programs / "initdb"), "-D", str(home / "data"), "-U", "mesh", "--pwfile", str(home / "password")]
        subprocess.run(
            [*init, "--auth=scram-sha-256", "--no-sync"], check=True, stdout=subprocess.DEVNULL, cwd=home,
            **as_server(home),
        )  # fmt: skip
        cert, key = copies(folder, home)
        (home / "data" / "pg_hba.conf").write_text("hostssl all all all scram-sha-256\n")
        settings = {"ssl": "on", "ssl_cert_file": str(cert), "ssl_key_file": str(key), "fsync": "off"}
        options = [part for pair in settings.items() for part in ("-c", "=".join(pair))]
        where = ["-D", str(home / "data"), "-h", "127.0.0.1", "-p", str(port), "-k", str(home)]
        with running(home, [str(programs / "postgres"), *where, *options], port):
            yield port


def verify_full(port: int, root: Path, name: str = NAME, query: str = "sslmode=verify-full") -> PostgresConfig:
    url = f"postgresql://mesh:{PASSWORD}@{name}:{port}/postgres?{query}&sslrootcert={root / certificates.AUTHORITY}"
    return PostgresConfig(url=url, start_timeout_s=5, pool_max=1)


async def test_verify_full_works_with_a_server_that_shows_our_certificate_for_its_name(
    postgres_port: int, folder: Path
) -> None:
    database = await Database.open("public", verify_full(postgres_port, folder / "ours"), metrics=Metrics())
    async with database.acquire() as connection:
        assert await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    await database.close()


@pytest.mark.parametrize(
    ("whose", "name", "query"),
    [
        ("theirs", NAME, "sslmode=verify-full"),
        ("ours", "127.0.0.1", "sslmode=verify-full"),
        ("ours", NAME, "sslmode=disable"),
    ],
)
async def test_a_strangers_certificate_another_name_or_a_line_without_tls_is_refused_with_one_sentence(
    postgres_port: int, folder: Path, whose: str, name: str, query: str
) -> None:
    config = verify_full(postgres_port, folder / whose, name, query)
    with pytest.raises(ConfigError) as refused:
        await Database.open("public", config, metrics=Metrics())
    assert "\n" not in str(refused.value)
    assert PASSWORD not in str(refused.value)
