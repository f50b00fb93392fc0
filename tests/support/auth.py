"""The auth room in this process, over a real PostgreSQL and a real Valkey, and what a client does with it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from perpmesh.auth.v1 import auth_service_pb2 as pb
from perpmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub

from services.auth.__main__ import main
from services.auth.config import Config
from services.chassis import errors
from services.chassis.config import load
from services.chassis.migrate import folder_of, migrate, read_migrations
from services.chassis.postgres import connect
from services.domain.errors import DomainError
from tests.support.wallet import Wallet

ORIGIN = "http://127.0.0.1:8080"
READY_S = 20.0


@dataclass(slots=True, kw_only=True)
class AuthRoom:
    """A running room."""

    port: int
    page_port: int
    channel: grpc.aio.Channel
    task: asyncio.Task[None]
    stop: asyncio.Event

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def stub(self) -> Any:
        """The calls."""
        return AuthServiceStub(self.channel)


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata that carries a token."""
    return (("authorization", f"Bearer {token}"),)


async def prepare(url: str) -> None:
    """Bring the schema up to date."""
    connection = await connect(url)
    try:
        await migrate(connection, "auth", read_migrations(folder_of("auth")))  # type: ignore[arg-type]
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def running_auth(
    folder: Path, *, postgres_url: str, valkey_url: str, **settings: object
) -> AsyncIterator[AuthRoom]:
    """Run the room; `settings` are settings in lower case without their prefix."""
    run_file = folder / f"auth-{secrets.token_hex(4)}.json"
    given = {
        "postgres_url": postgres_url,
        "valkey_url": valkey_url,
        "auth_key_secret": "00112233445566778899aabbccddeeff102132435465768798a9babbcbdbebfb",
        "auth_origins": ORIGIN,
        "listen": "127.0.0.1:0",
        "run_file": run_file,
        "metrics_port": -1,
        "drain_grace_s": 1,
        **settings,
    }
    config = load(Config, {f"PERPMESH_{name.upper()}": str(value) for name, value in given.items()})
    await prepare(postgres_url)
    stop = asyncio.Event()
    task = asyncio.create_task(main(config, stop))
    try:
        async with asyncio.timeout(READY_S):
            while not run_file.exists():
                if task.done():
                    task.result()
                await asyncio.sleep(0.01)
        facts = json.loads(run_file.read_text())
        async with grpc.aio.insecure_channel(f"127.0.0.1:{facts['port']}") as channel:
            yield AuthRoom(port=facts["port"], page_port=facts["page_port"], channel=channel, task=task, stop=stop)
    finally:
        stop.set()
        await asyncio.gather(task, return_exceptions=True)


async def challenge(stub: Any, wallet: Wallet, *, token: str = "", **fields: Any) -> Any:
    """Ask for a challenge."""
    request = pb.CreateChallengeRequest(address=wallet.address, chain_id=fields.pop("chain_id", 1), **fields)
    return await stub.CreateChallenge(request, metadata=bearer(token) if token else ())


async def sign_in(stub: Any, wallet: Wallet, **options: Any) -> Any:
    """Sign in and return the answer."""
    issued = await challenge(stub, wallet)
    request = pb.CreateSessionRequest(message=issued.message, signature=wallet.sign(issued.message))
    return await stub.CreateSession(request, **options)


async def refusal(awaitable: Any) -> DomainError:
    """Return the error that a call fails with."""
    try:
        await awaitable
    except grpc.aio.AioRpcError as error:
        return errors.from_rpc_error(error)
    raise AssertionError("the call was answered")
