"""The vault as a process of its own, with a real database, bus and simulated venues, and an issuer of tokens for tests.

`Grounds` is what a vault stands on; `grounds.environ(...)` is the environment of one, `Client` talks to it: as a user
over its public listener, as execution over the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import grpc
import jwt
from perpmesh.vault.v1.signer_service_pb2_grpc import SignerServiceStub
from perpmesh.vault.v1.vault_service_pb2_grpc import VaultServiceStub

from services.chassis.auth_feed import PATH
from services.chassis.migrate import folder_of, migrate, read_migrations
from services.chassis.page import Answer, Page
from services.chassis.postgres import connect
from services.launcher import certificates
from tests.support.postgres import Postgres, postgres
from tests.support.simulator import Simulator, running_simulator
from tests.support.tokens import Issuer
from tests.support.valkey import Valkey, valkey
from tests.support.vault import Owner, own
from tests.support.wallet import Wallet

READY_S = 30.0
UNLIMITED: dict[str, object] = {
    "lighter_requests_max": 0,
    "lighter_sends_max": 0,
    "hyperliquid_weight_max": 0,
    "hyperliquid_requests_max": 0,
}
"""A simulator that counts no requests."""
PARTS = ("edge", "vault", "execution", "market_data")


@dataclass(slots=True, kw_only=True)
class Grounds:
    """A database, a bus, both venues, certificates, and who issues tokens."""

    folder: Path
    postgres: Postgres
    valkey: Valkey
    simulator: Simulator
    issuer: Issuer = field(default_factory=Issuer)
    auth_url: str = ""
    http: aiohttp.ClientSession

    @property
    def tls(self) -> Path:
        """The folder of certificates."""
        return self.folder / "tls"

    def environ(self, run_file: Path, **settings: object) -> dict[str, str]:
        """Return the environment of a vault; `settings` are settings in lower case without their prefix."""
        given: dict[str, object] = {
            "listen": "127.0.0.1:0", "signer_listen": "127.0.0.1:0", "callers": "edge", "run_file": run_file,
            "tls_cert": certificates.cert_of(self.tls, "vault"), "tls_key": certificates.key_of(self.tls, "vault"),
            "tls_ca": self.tls / certificates.AUTHORITY, "postgres_url": self.postgres.url(),
            "valkey_url": self.valkey.url, "auth_url": self.auth_url, "metrics_port": -1, "event_loop": "asyncio",
            "hyperliquid_url": self.simulator.hyperliquid_http, "lighter_url": self.simulator.lighter_http,
            "simulator_control_url": self.simulator.control_http, "drain_grace_s": 1, "vault_marks_s": 5,
            "vault_master_key_store": self.folder / "master-keys", **settings,
        }  # fmt: skip
        return {f"PERPMESH_{name.upper()}": str(value) for name, value in given.items()}

    def token(self, wallet: Wallet, **claims: object) -> str:
        """Return an access token of a wallet."""
        said = self.issuer.claims(time.time(), wallet=wallet.address, **claims)
        return self.issuer.sign(self.issuer.header(), said)

    def channel(self, port: int, *, part: str) -> grpc.aio.Channel:
        """Return a channel to a vault with the certificate of a part."""
        credentials = grpc.ssl_channel_credentials(
            (self.tls / certificates.AUTHORITY).read_bytes(),
            certificates.key_of(self.tls, part).read_bytes(),
            certificates.cert_of(self.tls, part).read_bytes(),
        )
        options = [("grpc.ssl_target_name_override", "vault.perpmesh"), ("grpc.use_local_subchannel_pool", 1)]
        return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options)

    async def connection(self) -> Any:
        """Return a connection to the database in the vault's schema."""
        found = await asyncpg.connect(self.postgres.url())
        await found.execute("SET search_path = vault, public")
        return found

    def face(self, venue: str) -> str:
        """Return the address of a venue's face."""
        return self.simulator.hyperliquid_http if venue == "hyperliquid" else self.simulator.lighter_http


@dataclass(slots=True, kw_only=True)
class Client:
    """Calls to one vault."""

    grounds: Grounds
    public: grpc.aio.Channel
    inner: grpc.aio.Channel

    @property
    def vault(self) -> Any:
        """The users' calls."""
        return VaultServiceStub(self.public)

    @property
    def signer(self) -> Any:
        """Execution's calls."""
        return SignerServiceStub(self.inner)

    async def owner(self, venue: str, *, user: str = "", **fields: Any) -> Owner:
        """Return a new user with a new account at a venue."""
        wallet = Wallet()
        token = self.grounds.token(wallet, sub=user or str(uuid.uuid4()))
        return await own(self.vault, wallet, token, venue, **fields)

    def renew(self, owner: Owner) -> None:
        """Give an owner a new token, as a session that lasts longer than one does."""
        said = jwt.decode(owner.token, options={"verify_signature": False})
        owner.token = self.grounds.token(owner.wallet, sub=said["sub"])


@contextlib.asynccontextmanager
async def client(grounds: Grounds, run_file: Path) -> AsyncIterator[Client]:
    """Wait for a vault's run file, and talk to it."""
    told = await facts(run_file)
    async with (
        grounds.channel(told["port"], part="edge") as public,
        grounds.channel(told["signer_port"], part="execution") as inner,
    ):
        yield Client(grounds=grounds, public=public, inner=inner)


async def facts(run_file: Path, timeout_s: float = READY_S) -> Any:
    """Wait for a run file and return what it says."""
    end = time.monotonic() + timeout_s
    while (told := _told(run_file)) is None:
        assert time.monotonic() < end, f"the vault was not ready within {timeout_s} s"
        await asyncio.sleep(0.01)
    return told


def _told(run_file: Path) -> Any:
    return json.loads(run_file.read_text()) if run_file.exists() else None


@contextlib.contextmanager
def servers(folder: Path, settings: Mapping[str, str]) -> Iterator[tuple[Postgres, Valkey]]:
    """Have a database and a bus."""
    with postgres(**settings) as database, valkey(folder) as bus:
        yield database, bus


@contextlib.asynccontextmanager
async def grounds(
    folder: Path, *, postgres_settings: Mapping[str, str] | None = None, **options: object
) -> AsyncIterator[Grounds]:
    """Have everything that a vault stands on; `options` are the simulator's."""
    given: dict[str, object] = {"seed": 3, **UNLIMITED, **options}
    (folder / "valkey").mkdir(exist_ok=True)
    certificates.make(folder / "tls", PARTS)
    with servers(folder / "valkey", postgres_settings or {}) as (database, bus):
        connection = await connect(database.url())
        await connection.execute("CREATE SCHEMA IF NOT EXISTS vault")
        await connection.execute("SET search_path = vault")
        await migrate(connection, "vault", read_migrations(folder_of("vault")))  # type: ignore[arg-type]
        await connection.close()
        async with running_simulator(**given) as simulator, aiohttp.ClientSession() as http:
            made = Grounds(folder=folder, postgres=database, valkey=bus, simulator=simulator, http=http)
            page = Page({PATH: lambda _: _said(made.issuer)})
            made.auth_url = f"http://127.0.0.1:{await page.start(0)}"
            try:
                yield made
            finally:
                await page.close()


def _said(issuer: Issuer) -> Answer:
    said = {"epoch": "e", "last": 0, "whole": True, "ended": [], "keys_digest": "d", "keys": json.loads(issuer.jwks)}
    return Answer(body=json.dumps(said).encode(), kind="application/json")
