"""The socket says who calls in a frame, never in its address; and ends with the token that said so."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from services.chassis.access_token import read_keys
from services.chassis.bus import BusConfig
from services.chassis.clock import SYSTEM
from services.chassis.config import load
from services.chassis.metrics import Metrics
from services.chassis.valkey import Connector, Line
from services.chassis.verifier import TokenVerifier
from services.stream.store import ValkeyPresence, key_of
from tests.support.tokens import Issuer
from tests.support.valkey import valkey


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def verifier(issuer: Issuer) -> TokenVerifier:
    made = TokenVerifier(issuer="perpmesh", audience="perpmesh", metrics=Metrics())
    made.set_keys(read_keys(issuer.jwks))
    return made


async def send(client: Any, frame: dict[str, object]) -> None:
    await client.socket.send(json.dumps(frame))


async def authenticate(client: Any, token: str) -> dict[str, Any]:
    await send(client, {"id": "a", "authenticate": {"access_token": token}})
    frame: dict[str, Any] = await client.next()
    return frame


async def closed_with(client: Any) -> int:
    try:
        while True:
            await client.next()
    except ConnectionClosed as closed:
        return int(closed.rcvd.code) if closed.rcvd is not None else 0


async def test_a_frame_says_who_calls_and_a_fresh_token_of_the_same_user_goes_on(
    make_mesh: Any, issuer: Issuer, verifier: TokenVerifier
) -> None:
    mesh = await make_mesh(verifier=verifier)
    client = await mesh.client()
    user = "01a20366-5099-7093-a42f-fcdfcc83ec35"
    await send(client, {"id": "s", "subscribe": {"topics": ["orders"]}})
    assert (await client.status("REFUSED"))["status"]["reason"] == "TOKEN_MISSING"
    frame = await authenticate(client, issuer.token(time.time(), sub=user))
    assert (frame["id"], frame["authenticated"]["user_id"]) == ("a", user)
    assert "authenticated" in await authenticate(client, issuer.token(time.time(), sub=user))
    await send(client, {"id": "s", "subscribe": {"topics": ["orders"]}})
    assert (await client.status("REFUSED"))["status"]["reason"] == "CALL_NOT_SERVED"
    frame = await authenticate(client, issuer.token(time.time()))
    assert frame["error"]["reason"] == "PERMISSION_DENIED"
    assert await closed_with(client) == 1008


@pytest.mark.parametrize("token", ["", "garbage", "expired"])
async def test_a_token_that_does_not_count_ends_the_connection(
    make_mesh: Any, issuer: Issuer, verifier: TokenVerifier, token: str
) -> None:
    client = await (await make_mesh(verifier=verifier)).client()
    if token == "expired":
        token = issuer.token(time.time() - 1_000)
    frame = await authenticate(client, token)
    assert frame["error"]["reason"] == ("TOKEN_INVALID" if token else "FIELD_INVALID")
    if token:
        assert await closed_with(client) == 1008


async def test_revocation_closes_the_socket_within_a_second(
    make_mesh: Any, issuer: Issuer, verifier: TokenVerifier
) -> None:
    mesh = await make_mesh(verifier=verifier)
    ended, stays = await mesh.client(), await mesh.client()
    sid = "01a20366-5099-7093-a42f-fcdfcc83ec36"
    await authenticate(ended, issuer.token(time.time(), sid=sid))
    await authenticate(stays, issuer.token(time.time()))
    began = time.monotonic()
    verifier.set_ended([sid], whole=False)
    frame = await ended.until("end")
    assert frame["end"]["reason"] == "TOKEN_INVALID"
    assert await closed_with(ended) == 1008
    assert time.monotonic() - began < 1.0
    await send(stays, {"ping": {}})
    assert "pong" in await stays.next()


async def test_a_socket_ends_with_its_token(make_mesh: Any, issuer: Issuer, verifier: TokenVerifier) -> None:
    client = await (await make_mesh(verifier=verifier)).client()
    now = int(time.time())
    frame = await authenticate(client, issuer.token(now, iat=now - 10, nbf=now - 10, exp=now - 4))
    assert "authenticated" in frame
    async with asyncio.timeout(3):
        assert (await client.until("end"))["end"]["reason"] == "TOKEN_INVALID"


async def test_a_users_sockets_are_known_to_all_doors_and_lapse(
    make_mesh: Any, issuer: Issuer, verifier: TokenVerifier, tmp_path: Path
) -> None:
    with valkey(tmp_path) as server:
        config = load(BusConfig, {"PERPMESH_VALKEY_URL": server.url})
        presence = ValkeyPresence(config, SYSTEM)
        running = asyncio.create_task(presence.run())
        line = Line(Connector(server.url, timeout_s=1), timeout_s=1)
        user = "01a20366-5099-7093-a42f-fcdfcc83ec37"

        async def known(count: int) -> None:
            async with asyncio.timeout(5):  # what is awaited is another process's
                while (await line.exchange([("ZCARD", key_of(user))]))[0] != count:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)

        mesh = await make_mesh(verifier=verifier, presence=presence)
        clients = [await mesh.client() for _ in range(2)]
        for client in clients:
            await authenticate(client, issuer.token(time.time(), sub=user))
        await known(2)
        left_ms = (await line.exchange([("PTTL", key_of(user))]))[0]
        assert 0 < left_ms <= 60_000
        await clients[0].socket.close()
        await known(1)
        await line.close()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
