"""Who may make which call: every call of the contract, by every kind of caller, through every door of a real mesh.

Generated from the descriptors: a call that is added later is covered without a line here.
"""

from __future__ import annotations

import asyncio
import json
import stat
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
from perpmesh.auth.v1 import auth_service_pb2 as pb
from perpmesh.auth.v1 import session_pb2
from perpmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from perpmesh.marketdata.v1 import market_data_service_pb2 as market_pb
from perpmesh.type.v1 import access_pb2
from websockets.asyncio.client import connect

from services.auth.__main__ import _Chance
from services.auth.store.keys import PostgresKeys, read_sealing_secret
from services.chassis.config import load
from services.chassis.postgres import Database, PostgresConfig
from services.launcher import plan
from tests.support.auth import bearer, sign_in
from tests.support.matrix import OK, Rpc, altered, asked, over_grpc, over_grpc_web, over_rest, reads, rpcs, without
from tests.support.mesh import Mesh, running_mesh
from tests.support.owned import Owner, Step, left_out, own_of
from tests.support.wallet import Wallet

ROOM_OF = {service: room.name for room in plan.ROOMS for service in room.services}
CALLERS = ("owner", "other", "anonymous", "expired", "revoked", "wrong audience", "read-only", "garbage")
BAD = ("expired", "revoked", "wrong audience", "garbage")
NEEDS_TOKEN = (access_pb2.ACCESS_READ, access_pb2.ACCESS_TRADE)
NOT_BUILT = "CALL_NOT_SERVED"
OWN_TOPICS = {"orders", "fills", "positions"}
REFUSALS = {"TOKEN_MISSING", "TOKEN_INVALID", "PERMISSION_DENIED"}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(slots=True, kw_only=True)
class World:
    """A mesh and its doors."""

    mesh: Mesh
    edge: grpc.aio.Channel
    direct: dict[str, grpc.aio.Channel]
    http: aiohttp.ClientSession
    forged: dict[str, str]
    revoked: str
    read_only: str

    @property
    def auth(self) -> Any:
        """Auth, past the edge."""
        return AuthServiceStub(self.direct["auth"])

    async def token(self, caller: str) -> str | None:
        """Return a token for one call; an owner's is of a session of its own, since a call may end it."""
        if caller == "anonymous":
            return None
        if caller == "read-only":
            return self.read_only
        if caller == "revoked":
            return self.revoked
        if caller in self.forged:
            return self.forged[caller]
        return (await self.somebody()).token

    async def somebody(self) -> Owner:
        """Sign somebody new in."""
        wallet = Wallet()
        signed = await sign_in(self.auth, wallet)
        return Owner(
            wallet=wallet,
            channel=self.edge,
            token=signed.access_token,
            session_id=signed.session.session_id,
            mesh=self.mesh,
        )


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world() -> AsyncIterator[World]:
    settings = {"ip_requests_per_s": 1_000_000, "sign_ins_per_minute": 1_000_000, "user_requests_per_s": 1_000_000}
    async with running_mesh(**settings) as mesh, aiohttp.ClientSession() as http:
        edge = grpc.aio.insecure_channel(mesh.edge)
        direct = {room: mesh.channel(room) for room in set(ROOM_OF.values())}
        stub = AuthServiceStub(direct["auth"])
        gone = await sign_in(stub, Wallet())
        await stub.RevokeAllSessions(pb.RevokeAllSessionsRequest(), metadata=bearer(gone.access_token))
        maker = await sign_in(stub, Wallet())
        request = pb.CreateApiTokenRequest(request_id=str(uuid.uuid4()), name="reader", scopes=[session_pb2.SCOPE_READ])
        made = await stub.CreateApiToken(request, metadata=bearer(maker.access_token))
        exchanged = await stub.ExchangeApiToken(pb.ExchangeApiTokenRequest(secret=made.secret))
        world = World(
            mesh=mesh,
            edge=edge,
            direct=direct,
            http=http,
            forged=await forge(mesh),
            revoked=gone.access_token,
            read_only=exchanged.access_token,
        )
        await heard(world)
        yield world
        for channel in (edge, *direct.values()):
            await channel.close()


async def forge(mesh: Mesh) -> dict[str, str]:
    """Sign with auth's own key what auth would not."""
    about = mesh.about
    secrets = json.loads((mesh.state / "secrets.json").read_text())
    database = await Database.open("auth", load(PostgresConfig, {"PERPMESH_POSTGRES_URL": about["postgres_url"]}))
    try:
        keys = PostgresKeys(
            database, secret=read_sealing_secret(secrets["auth_keys"]), algorithm="EdDSA", chance=_Chance()
        )
        now = int(time.time())
        kid = min(await keys.load(), key=lambda key: key.sign_time).kid
        claims = {
            "iss": "perpmesh", "aud": "perpmesh", "sub": str(uuid.uuid4()), "wallet": Wallet().address,
            "sid": str(uuid.uuid4()), "scope": "read trade", "via": "session", "iat": now, "nbf": now,
            "exp": now + 900, "jti": "1",
        }  # fmt: skip
        past = {**claims, "iat": now - 1_000, "nbf": now - 1_000, "exp": now - 100}
        return {
            "expired": keys.sign(kid, past),
            "wrong audience": keys.sign(kid, {**claims, "aud": "other"}),
            "garbage": "eyJhbGciOiJub25lIn0.e30.",
        }
    finally:
        await database.close()


async def heard(world: World) -> None:
    """Wait until every room and the edge know the keys, and of the revocation."""
    user = Rpc(service="perpmesh.auth.v1.AuthService", name="GetUser", access=2, streams=False, verb="", route="")
    price = Rpc(
        service="perpmesh.marketdata.v1.MarketDataService",
        name="ListVenues",
        access=1,
        streams=False,
        verb="",
        route="",
    )
    token = (await sign_in(world.auth, Wallet())).access_token
    async with asyncio.timeout(10):
        for channel, rpc in ((world.edge, user), (world.direct["market_data"], price), (world.edge, price)):
            while await over_grpc(channel, rpc, b"", token) != OK:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


def expected(rpc: Rpc, caller: str, told: str) -> bool:
    """Say whether a caller of a served call may be told so."""
    public = rpc.access == access_pb2.ACCESS_PUBLIC
    if told == NOT_BUILT:  # a room may serve a part of its contract; what it does not serve it does for nobody
        return True
    if caller == "anonymous":
        return told not in REFUSALS if public else told == "TOKEN_MISSING"
    if caller in BAD:
        return told == "TOKEN_INVALID"
    if caller == "read-only" and rpc.access == access_pb2.ACCESS_TRADE:
        return told == "PERMISSION_DENIED"
    if caller == "read-only" and rpc.service.endswith("AuthService"):
        return told not in {"TOKEN_MISSING", "TOKEN_INVALID"}  # a token from an API token manages no sessions
    if told == "TOKEN_INVALID" and rpc.name in ("RefreshSession", "ExchangeApiToken"):
        return True
    return told not in REFUSALS


async def test_every_call_by_every_caller_through_every_door(world: World) -> None:
    leaks, count = [], 0
    served = [rpc for rpc in rpcs() if rpc.service in ROOM_OF]
    assert len(served) > 25
    for rpc in served:
        for caller in CALLERS:
            answers = {
                "room": await over_grpc(world.direct[ROOM_OF[rpc.service]], rpc, b"", await world.token(caller)),
                "gRPC": await over_grpc(world.edge, rpc, b"", await world.token(caller)),
                "gRPC-web": await over_grpc_web(world.http, world.mesh.url, rpc, b"", await world.token(caller)),
                "REST": await over_rest(world.http, world.mesh.url, rpc, await world.token(caller)),
            }
            count += len(answers)
            leaks += [
                f"{rpc.name} by {caller} over {door}: {told}"
                for door, told in answers.items()
                if not expected(rpc, caller, told)
            ]
    print(f"{count} calls")
    assert leaks == []


async def test_what_is_not_served_or_internal_lets_nobody_in(world: World) -> None:
    wrong = []
    token = await world.token("owner")
    for rpc in rpcs():
        if rpc.service in ROOM_OF:
            continue
        nobody = await over_grpc(world.edge, rpc, b"", None)
        somebody = await over_grpc(world.edge, rpc, b"", token)
        public = rpc.access == access_pb2.ACCESS_PUBLIC
        if nobody not in ({"CALL_NOT_SERVED"} if public else {"TOKEN_MISSING"}):
            wrong.append(f"{rpc.path} by nobody: {nobody}")
        if somebody not in {"CALL_NOT_SERVED", "CALL_UNKNOWN"}:
            wrong.append(f"{rpc.path} by somebody: {somebody}")
    assert wrong == []


OWNED = sorted({ROOM_OF[rpc.service] for rpc in rpcs() if rpc.service in ROOM_OF and rpc.access in NEEDS_TOKEN})


@pytest.mark.parametrize("room", OWNED)
async def test_the_owner_succeeds_with_data_and_the_other_sees_none_of_it(world: World, room: str) -> None:
    make = own_of(room)
    assert make is not None, f"say how an owner's data is made in tests/support/owned/{room}.py; its package says how"
    served = {rpc.name: rpc for rpc in rpcs() if ROOM_OF.get(rpc.service) == room and rpc.access in NEEDS_TOKEN}
    owner = await world.somebody()
    steps = await make(owner)
    missing = set(served) - {step.call for step in steps} - set(left_out(room))
    assert missing == set(), f"tests/support/owned/{room}.py makes no {', '.join(sorted(missing))}"
    assert any(step.shows for step in steps)
    marks = {mark for step in steps for mark in step.shows}
    wrong: list[str] = []
    looked: list[Step] = []
    for step in steps:
        rpc = served[step.call]
        if await over_grpc(world.direct[room], rpc, step.request.SerializeToString(), None) == NOT_BUILT:
            print(f"{rpc.name} is not built")
            continue
        if step.others:
            other = (await world.somebody()).token
            told, answer = await asked(world.edge, rpc, step.request, other, until=())
            # What the other said itself may be repeated to it.
            said = str(step.request)
            if found := [mark for mark in marks if mark in answer and mark not in said]:
                wrong.append(f"{rpc.name} shows another {found}")
            if step.hides:
                fresh = altered(step.request, step.hides)
                unknown, words = await asked(world.edge, rpc, fresh, other, until=())
                if (told, without(answer, step.request)) != (unknown, without(words, fresh)):
                    wrong.append(f"{rpc.name} tells a foreign id ({told}: {answer}) from an unknown one ({unknown})")
            if told == OK and step.hides:  # that there is nothing to do is no error; then nothing was done
                look = next(one for one in reversed(looked) if set(one.shows) & set(step.hides))
                _, left = await asked(world.edge, served[look.call], look.request, owner.token, until=look.shows)
                wrong += [f"{rpc.name} lets another take {mark}" for mark in look.shows if mark not in left]
        told, answer = await asked(world.edge, rpc, step.request, owner.token, until=step.shows)
        if told != OK:
            wrong.append(f"{rpc.name} refuses its owner: {told}: {answer}")
        elif lacking := [mark for mark in step.shows if mark not in answer]:
            wrong.append(f"{rpc.name} shows its owner no {lacking}")
        elif reads(rpc):
            looked.append(step)
    assert wrong == []


async def test_the_other_gets_a_token_of_its_own_with_the_owners_request_id(world: World) -> None:
    stub = AuthServiceStub(world.edge)
    owner, other = await world.somebody(), await world.somebody()
    request = pb.CreateApiTokenRequest(request_id=str(uuid.uuid4()), name="mine", scopes=[session_pb2.SCOPE_READ])
    mine = (await stub.CreateApiToken(request, metadata=owner.metadata)).api_token
    again = (await stub.CreateApiToken(request, metadata=owner.metadata)).api_token
    twin = (await stub.CreateApiToken(request, metadata=other.metadata)).api_token
    assert mine.api_token_id == again.api_token_id != twin.api_token_id


async def test_what_is_internal_is_closed_to_the_edge_and_to_people_past_it(world: World) -> None:
    wrong = []
    token = await world.token("owner")
    packages = {service.rpartition(".")[0]: room for service, room in ROOM_OF.items()}
    for rpc in rpcs():
        room = packages.get(rpc.service.rpartition(".")[0])
        if room is None or rpc.access != access_pb2.ACCESS_INTERNAL:
            continue
        for caller in (token, None):
            told = await over_grpc(world.direct[room], rpc, b"", caller)
            if told not in {"PERMISSION_DENIED", NOT_BUILT, "CALL_UNKNOWN"}:
                wrong.append(f"{rpc.path} past the edge: {told}")
    assert wrong == []


@pytest.mark.parametrize("caller", CALLERS)
async def test_the_socket_takes_the_same_tokens_as_the_calls(world: World, caller: str) -> None:
    token = await world.token(caller)
    if token is None:
        return
    async with connect(f"ws://{world.mesh.edge}/v1/ws") as socket:
        assert "welcome" in json.loads(await socket.recv())
        own = json.dumps({"subscribe": {"topics": list(OWN_TOPICS)}})
        await socket.send(own)
        for _ in OWN_TOPICS:
            assert json.loads(await socket.recv())["status"]["reason"] == "TOKEN_MISSING"
        await socket.send(json.dumps({"authenticate": {"access_token": token}}))
        frame = json.loads(await socket.recv())
        if caller in BAD:
            assert frame["error"]["reason"] == "TOKEN_INVALID"
            return
        assert frame["authenticated"]["user_id"]
        await socket.send(own)
        live = set()
        async with asyncio.timeout(30):
            while live != OWN_TOPICS:
                frame = json.loads(await socket.recv())
                assert frame.get("status", {}).get("state") != "STATE_REFUSED", frame
                live |= {frame["topic"]} if "live" in frame else set()


async def test_revocation_is_felt_within_a_second_by_calls_streams_and_sockets(world: World) -> None:
    stub = AuthServiceStub(world.edge)
    wallet = Wallet()
    victim, keeper = await sign_in(stub, wallet), await sign_in(stub, wallet)
    token = victim.access_token
    path = "/perpmesh.marketdata.v1.MarketDataService/WatchPrices"
    raw = market_pb.WatchPricesRequest(markets=["BTC-PERP"]).SerializeToString()
    streams = [
        channel.unary_stream(path)(raw, metadata=bearer(token)) for channel in (world.edge, world.direct["market_data"])
    ]
    for stream in streams:
        await stream.read()
    async with connect(f"ws://{world.mesh.edge}/v1/ws") as socket:
        await socket.recv()
        await socket.send(json.dumps({"authenticate": {"access_token": token}}))
        assert "authenticated" in json.loads(await socket.recv())

        async def stream_end(stream: Any) -> float:
            try:
                while await stream.read() is not grpc.aio.EOF:
                    pass
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                    raise
            return time.monotonic()

        async def socket_end() -> float:
            while "end" not in (frame := json.loads(await socket.recv())):
                pass
            assert frame["end"]["reason"] == "TOKEN_INVALID"
            return time.monotonic()

        ends = [asyncio.create_task(stream_end(stream)) for stream in streams] + [asyncio.create_task(socket_end())]
        await asyncio.sleep(0.2)
        began = time.monotonic()
        request = pb.RevokeSessionRequest(session_id=victim.session.session_id)
        await stub.RevokeSession(request, metadata=bearer(keeper.access_token))
        async with asyncio.timeout(5):
            felt = [await end - began for end in ends]
    print("felt after", [round(one, 3) for one in felt])
    assert max(felt) < 1.0
    told = await over_grpc(
        world.direct["market_data"],
        Rpc(service=path.split("/")[1], name="ListVenues", access=1, streams=False, verb="", route=""),
        b"",
        token,
    )
    assert told == "TOKEN_INVALID"


async def test_a_process_of_this_machine_without_a_certificate_reaches_no_room(world: World) -> None:
    price = Rpc(
        service="perpmesh.marketdata.v1.MarketDataService",
        name="ListVenues",
        access=1,
        streams=False,
        verb="",
        route="",
    )
    for room in world.direct:
        async with grpc.aio.insecure_channel(world.mesh.address(room)) as plain:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await plain.unary_unary(price.path)(b"", timeout=3)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        authority = (Path(str(world.mesh.about["certificates"])) / "authority.pem").read_bytes()
        nameless = grpc.ssl_channel_credentials(authority)
        options = [("grpc.ssl_target_name_override", f"{room}.perpmesh")]
        async with grpc.aio.secure_channel(world.mesh.address(room), nameless, options=options) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(price.path)(b"", timeout=3)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    async with world.mesh.channel("market_data", part="stream") as friend:
        assert await over_grpc(friend, price, b"", None) == OK
    async with world.mesh.channel("market_data", part="auth") as stranger:
        assert await over_grpc(stranger, price, b"", None) == "PERMISSION_DENIED"
    async with world.mesh.channel("auth", part="stream") as stranger:
        assert await over_grpc(stranger, price, b"", None) in {"PERMISSION_DENIED", "CALL_NOT_SERVED"}
    with pytest.raises((aiohttp.ClientError, OSError)):
        async with world.http.get(f"http://{world.mesh.address('stream')}/healthz"):
            pass


async def test_keys_and_certificates_are_their_owners_alone(world: World) -> None:
    folder = Path(str(world.mesh.about["certificates"]))
    files = list(folder.iterdir())  # noqa: ASYNC240
    assert len(files) >= 9
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700  # noqa: ASYNC240
    assert not [file for file in files if "authority" in file.name and file.suffix == ".key"]
    assert stat.S_IMODE((world.mesh.state / "secrets.json").stat().st_mode) == 0o600


async def test_auth_may_be_killed_and_the_edge_restarted_without_a_session_lost(world: World) -> None:
    stub = AuthServiceStub(world.edge)
    signed = await sign_in(stub, Wallet())
    price = Rpc(
        service="perpmesh.marketdata.v1.MarketDataService",
        name="ListVenues",
        access=1,
        streams=False,
        verb="",
        route="",
    )
    before = world.mesh.kill("auth")
    for _ in range(50):
        assert await over_grpc(world.edge, price, b"", signed.access_token) == OK
    await world.mesh.restarted("auth", than=before)
    before = world.mesh.kill("envoy")
    await world.mesh.restarted("envoy", than=before)
    async with asyncio.timeout(10):
        while (told := await over_grpc(world.edge, price, b"", signed.access_token)) != OK:
            assert told not in REFUSALS
            await asyncio.sleep(0.05)
    renewed = await stub.RefreshSession(pb.RefreshSessionRequest(refresh_token=signed.refresh_token))
    assert renewed.session.session_id == signed.session.session_id
