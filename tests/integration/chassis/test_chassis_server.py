"""The server of a room, over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from services.chassis import errors
from services.chassis.config import ConfigError
from services.chassis.interceptors import Credentials, Verifier
from services.chassis.methods import Access
from services.chassis.metrics import Metrics
from services.chassis.principal import Principal
from services.chassis.server import Server, ServerConfig
from services.chassis.telemetry import Level, Log
from services.domain.errors import DomainError, Reason
from tests.support import echo
from tests.support.clock import settle
from tests.support.echo import SERVICE, Echo, Inner, SayRequest, SayResponse

ROOT = Path(__file__).resolve().parents[3]


class Room:
    """A running server, its servicer, its log and a channel to it."""

    def __init__(self, server: Server, servicer: Echo, channel: grpc.aio.Channel, reading: int, log: Log) -> None:
        self.server = server
        self.echo = servicer
        self.channel = channel
        self.metrics = server._around.metrics
        self._reading = reading
        self._log = log

    def unary(self, name: str) -> Any:
        return self.channel.unary_unary(f"/{SERVICE}/{name}", SayRequest.SerializeToString, SayResponse.FromString)

    def stream(self, name: str = "WatchEcho") -> Any:
        return self.channel.unary_stream(f"/{SERVICE}/{name}", SayRequest.SerializeToString, SayResponse.FromString)

    def lines(self) -> list[dict[str, Any]]:
        assert self._log.flush(5)
        os.set_blocking(self._reading, False)
        try:
            data = os.read(self._reading, 1 << 20)
        except BlockingIOError:
            return []
        return [json.loads(line) for line in data.splitlines()]


@contextlib.asynccontextmanager
async def room(
    *, ready: Callable[[], str | None] = lambda: None, verifier: Verifier | None = None, **settings: Any
) -> AsyncIterator[Room]:
    reading, writing = os.pipe()
    log = Log(descriptor=writing, room="echo")
    servicer = Echo()
    server = Server("echo", ServerConfig(**settings), ready=ready, verifier=verifier, metrics=Metrics(), logger=log)
    servicer.draining = server.draining
    server.add(SERVICE, servicer)
    port = await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Room(server, servicer, channel, reading, log)
    finally:
        await server.stop()
        log.flush()
        os.close(reading)
        os.close(writing)


async def fails(awaitable: Any) -> DomainError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    error = errors.from_rpc_error(caught.value)
    assert caught.value.code() is errors.code_of(error.reason)
    return error


async def collect(call: Any) -> list[Any]:
    got = []
    while (message := await call.read()) is not grpc.aio.EOF:
        got.append(message)
    return got


async def test_a_call_is_answered_with_the_request_id_it_came_with_or_a_new_one() -> None:
    async with room() as r:
        call = r.unary("Say")(SayRequest(text="hi", count=3), metadata=(("x-request-id", "mine-1"),))
        assert (await call).number == 3
        assert dict(await call.trailing_metadata())["x-request-id"] == "mine-1"
        for bad in ("", "no spaces", "x" * 65, 'quo"te'):
            call = r.unary("Say")(SayRequest(), metadata=(("x-request-id", bad),))
            await call
            made = str(dict(await call.trailing_metadata())["x-request-id"])
            assert len(made) >= 18
            assert made != bad


async def test_a_handler_may_answer_with_bytes_that_are_ready() -> None:
    async with room() as r:
        assert (await r.unary("Say")(SayRequest(text="bytes"))).number == 7
        got = await collect(r.stream()(SayRequest(text="a", count=4)))
        assert [message.number for message in got] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("request_message", "field", "says"),
    [
        (SayRequest(markets=["BTC-PERP", "btc"]), "markets[1]", "canonical name"),
        (SayRequest(count=-1), "count", "greater than or equal to 0"),
        (SayRequest(markets=["BTC-PERP"] * 4), "markets", "3"),
        (SayRequest(inner=Inner(id="x", size="1", side=1)), "inner.id", "UUID"),
        (SayRequest(inner=Inner(size="1", side=1)), "inner.id", "is required: must be a UUID"),
        (SayRequest(inner=Inner(id="x", side=1)), "inner.size", "greater than zero"),
        (SayRequest(inner=Inner(id="x", size="1", side=9)), "inner.side", "one of SIDE_BUY, SIDE_SELL"),
        (SayRequest(inner=Inner(id="x", size="1")), "inner.side", "one of SIDE_BUY, SIDE_SELL"),
        (SayRequest(tags={"a": 1}), 'tags["a"]', "the key"),
    ],
)
@pytest.mark.parametrize("streams", [False, True])
async def test_a_wrong_field_is_named_by_its_path_with_what_would_pass(
    request_message: Any, field: str, says: str, streams: bool
) -> None:
    async with room() as r:
        call = r.stream()(request_message) if streams else r.unary("Say")(request_message)
        error = await fails(collect(call) if streams else call)
        assert error.reason is Reason.FIELD_INVALID
        found = {violation.field: violation.description for violation in error.fields}
        assert says in found[field], found
        assert error.metadata["field"] in found
        assert r.echo.calls == 0


async def test_bytes_that_are_no_message_are_unreadable_and_not_a_fault() -> None:
    async with room() as r:
        raw = r.channel.unary_unary(f"/{SERVICE}/Say")
        error = await fails(raw(b"\xff\xff\xff"))
        assert error.reason is Reason.REQUEST_UNREADABLE
        assert "perpmesh.echo.v1.SayRequest" in error.message


async def test_a_refusal_crosses_whole_and_the_request_id_comes_in_details_and_trailers() -> None:
    async with room() as r:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await r.unary("Say")(SayRequest(text="refuse"), metadata=(("x-request-id", "mine-2"),))
        trailers = dict(caught.value.trailing_metadata())
        assert trailers["x-request-id"] == "mine-2"
        status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])  # type: ignore[arg-type]
        infos = [detail for detail in status.details if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)]
        assert len(infos) == 1
        error = errors.from_rpc_error(caught.value)
        assert (error.reason, error.metadata["market"]) == (Reason.MARKET_UNKNOWN, "X")
        assert error.metadata["request_id"] == "mine-2"


@pytest.mark.parametrize("text", ["break", "timeout"])
async def test_a_fault_tells_the_caller_nothing_and_the_log_everything(text: str) -> None:
    async with room() as r:
        error = await fails(r.unary("Say")(SayRequest(text=text)))
        assert error.reason is Reason.INTERNAL
        assert "secret" not in error.message + str(error.metadata)
        (fault,) = [line for line in r.lines() if line["event"] == "rpc.fault"]
        assert fault["request_id"] == error.metadata["request_id"]
        assert fault["error"]["type"] in {"RuntimeError", "TimeoutError"}


async def test_a_stream_that_refuses_before_its_first_message_sends_no_headers() -> None:
    async with room() as r:
        call = r.stream()(SayRequest(text="refuse first"))
        error = await fails(collect(call))
        assert error.reason is Reason.MARKET_UNKNOWN
        assert dict(await call.initial_metadata()).get("x-request-id") is None


async def test_a_stream_sends_its_request_id_with_the_first_message_and_may_fail_later() -> None:
    async with room() as r:
        call = r.stream()(SayRequest(text="refuse", count=2), metadata=(("x-request-id", "s-1"),))
        assert (await call.read()).number == 0
        assert dict(await call.initial_metadata())["x-request-id"] == "s-1"
        error = await fails(collect(call))
        assert error.reason is Reason.SLOW_CONSUMER
        assert (await fails(collect(r.stream()(SayRequest(text="break", count=1))))).reason is Reason.INTERNAL
        assert await collect(r.stream()(SayRequest(count=0))) == []


async def test_a_call_has_a_deadline_even_when_its_caller_sets_none() -> None:
    async with room(call_deadline_s=0.1) as r:
        error = await fails(r.unary("Say")(SayRequest(text="wait")))
        assert error.reason is Reason.DEADLINE_EXCEEDED
        assert "0.1 s" in error.message
        await r.echo.ended.wait()


async def test_a_caller_that_leaves_stops_its_handler_and_is_counted() -> None:
    async with room() as r:
        call = r.unary("Say")(SayRequest(text="wait"))
        await r.echo.started.wait()
        call.cancel()
        await r.echo.ended.wait()
        r.echo.ended.clear()
        r.echo.started.clear()
        stream = r.stream()(SayRequest(text="wait"))
        reading = asyncio.ensure_future(stream.read())
        await r.echo.started.wait()
        stream.cancel()
        await r.echo.ended.wait()
        await asyncio.gather(reading, return_exceptions=True)
        await settle()
        assert b'code="CANCELLED",method="perpmesh.echo.v1.EchoService/WatchEcho"' in r.metrics.render()
        assert b'perpmesh_rpc_in_flight{method="perpmesh.echo.v1.EchoService/Say"} 0.0' in r.metrics.render()


async def test_what_is_not_built_says_so_and_teaches() -> None:
    async with room() as r:
        error = await fails(r.unary("Later")(SayRequest()))
        assert error.reason is Reason.CALL_NOT_SERVED
        assert "not served by this version" in error.message
        other = r.channel.unary_unary("/perpmesh.other.v1.OtherService/Do")
        assert (await fails(other(b""))).reason is Reason.CALL_NOT_SERVED
        foreign = r.channel.unary_unary("/some.Service/Do")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await foreign(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


class OneUser:
    """A verifier that knows one token."""

    def verify(self, access: int, method: str, credentials: Credentials) -> Principal | None:
        if not credentials.authorization:
            return None
        if credentials.authorization != ("Bearer right",):
            raise DomainError(Reason.TOKEN_INVALID, "Unknown token.")
        assert access in {Access.ACCESS_READ, Access.ACCESS_PUBLIC}
        return Principal(user="user-1", scopes=frozenset({"read"}))

    def follow(self, principal: Principal, end: Callable[[DomainError], None]) -> Callable[[], None]:
        self.end = end
        return lambda: None


async def test_without_a_verifier_only_public_calls_are_let_in() -> None:
    async with room() as r:
        error = await fails(r.unary("Own")(SayRequest(), metadata=(("authorization", "Bearer right"),)))
        assert error.reason is Reason.TOKEN_MISSING
        assert error.metadata["category"] == "authentication"


async def test_a_verifier_names_the_caller_and_a_wrong_token_is_refused_even_on_public_calls() -> None:
    async with room(verifier=OneUser()) as r:
        right = (("authorization", "Bearer right"),)
        assert (await r.unary("Own")(SayRequest(), metadata=right)).text == "user-1"
        wrong = (("authorization", "Bearer wrong"),)
        assert (await fails(r.unary("Own")(SayRequest(), metadata=wrong))).reason is Reason.TOKEN_INVALID
        assert (await fails(r.unary("Say")(SayRequest(), metadata=wrong))).reason is Reason.TOKEN_INVALID
        await r.unary("Say")(SayRequest())
        assert r.echo.seen[-1].principal is None


async def test_a_stream_ends_with_the_reason_when_its_token_does() -> None:
    verifier = OneUser()
    async with room(verifier=verifier) as r:
        stream = r.stream()(SayRequest(text="wait", count=1), metadata=(("authorization", "Bearer right"),))
        assert (await stream.read()).number == 0
        await r.echo.started.wait()
        verifier.end(DomainError(Reason.TOKEN_INVALID, "The session was ended."))
        assert (await fails(stream.read())).reason is Reason.TOKEN_INVALID
        await r.echo.ended.wait()


def test_a_contract_without_an_access_rule_stops_the_start() -> None:
    server = Server("bare", ServerConfig(), metrics=Metrics())
    with pytest.raises(ValueError, match="must say who may call"):
        server.add(echo.BARE, Echo())


def test_a_servicer_that_serves_nothing_stops_the_start() -> None:
    with pytest.raises(ValueError, match="defines no method"):
        Server("empty", ServerConfig(), metrics=Metrics()).add(SERVICE, object())


async def test_calls_are_counted_timed_and_logged_once_each() -> None:
    async with room() as r:
        await r.unary("Say")(SayRequest())
        await fails(r.unary("Say")(SayRequest(text="refuse")))
        await collect(r.stream()(SayRequest(count=2)))
        text = r.metrics.render().decode()
        assert 'perpmesh_rpc_total{code="OK",method="perpmesh.echo.v1.EchoService/Say"} 1.0' in text
        assert 'perpmesh_rpc_total{code="NOT_FOUND",method="perpmesh.echo.v1.EchoService/Say"} 1.0' in text
        assert 'perpmesh_rpc_seconds_count{method="perpmesh.echo.v1.EchoService/Say"} 2.0' in text
        lines = [line for line in r.lines() if line["event"].startswith("rpc.")]
        assert [line["event"] for line in lines] == ["rpc.unary", "rpc.unary", "rpc.stream_begin", "rpc.stream_end"]
        assert [line.get("code") for line in lines] == ["OK", "NOT_FOUND", None, "OK"]
        assert all(line["request_id"] for line in lines)


async def test_a_request_that_is_too_large_is_refused() -> None:
    async with room(receive_bytes_max=1024) as r:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await r.unary("Say")(SayRequest(text="x" * 2000))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def health_of(r: Room, call: str) -> Any:
    make = r.channel.unary_unary if call == "Check" else r.channel.unary_stream
    return make(
        f"/grpc.health.v1.Health/{call}",
        health_pb2.HealthCheckRequest.SerializeToString,
        health_pb2.HealthCheckResponse.FromString,
    )


async def test_health_asks_readiness_at_the_moment_and_keeps_liveness_apart() -> None:
    why: list[str | None] = ["No venue is live."]
    async with room(ready=lambda: why[0]) as r:
        check = health_of(r, "Check")
        for name in ("", SERVICE):
            assert (await check(health_pb2.HealthCheckRequest(service=name))).status == 2
        assert (await check(health_pb2.HealthCheckRequest(service="live"))).status == 1
        why[0] = None
        assert (await check(health_pb2.HealthCheckRequest(service=SERVICE))).status == 1
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await check(health_pb2.HealthCheckRequest(service="none"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_stopping_tells_watchers_ends_streams_and_lets_calls_finish() -> None:
    async with room(drain_grace_s=5) as r:
        watch = health_of(r, "Watch")(health_pb2.HealthCheckRequest(service=SERVICE))
        assert (await watch.read()).status == 1
        stream = r.stream()(SayRequest(text="wait", count=1))
        assert (await stream.read()).number == 0
        await r.echo.started.wait()
        r.echo.started.clear()
        unary = asyncio.ensure_future(r.unary("Say")(SayRequest(text="wait")))
        await r.echo.started.wait()
        stopping = asyncio.ensure_future(r.server.stop())
        assert (await watch.read()).status == 2
        assert [message.text for message in await collect(stream)] == ["draining"]
        assert not stopping.done()
        r.echo.release.set()
        assert (await unary).text == "wait"
        async with asyncio.timeout(3):
            await stopping


async def test_a_stream_that_will_not_end_is_cut_after_the_grace_time() -> None:
    async with room(drain_grace_s=0.2) as r:
        r.echo.draining = asyncio.Event()  # a handler that does not listen
        stream = r.stream()(SayRequest(text="wait", count=1))
        await stream.read()
        async with asyncio.timeout(3):
            await r.server.stop()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await collect(stream)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_room_that_drains_takes_no_new_streams() -> None:
    async with room() as r:
        r.server.draining.set()
        error = await fails(collect(r.stream()(SayRequest(count=1))))
        assert error.reason is Reason.DRAINING
        assert (await r.unary("Say")(SayRequest(text="hi"))).text == "hi"


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_what_is_served_and_describes_nothing_else(version: str) -> None:
    async with room() as r:
        ask = r.channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )

        async def one(request: reflection_pb2.ServerReflectionRequest) -> reflection_pb2.ServerReflectionResponse:
            call = ask(iter([request]))
            return await call.read()  # type: ignore[return-value]

        listed = await one(reflection_pb2.ServerReflectionRequest(list_services=""))
        names = {item.name for item in listed.list_services_response.service}
        assert SERVICE in names
        assert not any(name.startswith("perpmesh.") and name != SERVICE for name in names)
        found = await one(reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE))
        assert len(found.file_descriptor_response.file_descriptor_proto) >= 4
        hidden = await one(reflection_pb2.ServerReflectionRequest(file_containing_symbol="perpmesh.errors.v1.Reason"))
        assert hidden.error_response.error_code == 5


async def test_a_room_behind_the_edge_describes_the_whole_mesh_from_a_descriptor_set() -> None:
    whole = descriptor_pb2.FileDescriptorSet.FromString((ROOT / "gen" / "perpmesh.binpb").read_bytes())
    server = Server("edge", ServerConfig(), metrics=Metrics(), logger=Log(level=Level.ERROR))
    server.add(SERVICE, Echo())
    server.describe(("perpmesh.marketdata.v1.MarketDataService",), whole)
    port = await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )
        requests = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(
                file_containing_symbol="perpmesh.marketdata.v1.MarketDataService.GetPrice"
            ),
        ]
        listed, found = [answer async for answer in ask(iter(requests))]
    await server.stop()
    names = {item.name for item in listed.list_services_response.service}
    assert "perpmesh.marketdata.v1.MarketDataService" in names
    assert SERVICE not in names
    assert found.file_descriptor_response.file_descriptor_proto


async def test_reflection_can_be_switched_off() -> None:
    async with room(reflection=False) as r:
        call = r.channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")(iter([b""]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await collect(call)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_the_run_file_appears_whole_when_ready_and_goes_when_stopped(tmp_path: Path) -> None:
    file = tmp_path / "run" / "echo.json"
    async with room(run_file=file) as r:
        facts = json.loads(file.read_text())
        assert facts == {"room": "echo", "pid": os.getpid(), "host": "127.0.0.1", "port": r.server.port}
    assert not file.exists()


async def test_a_port_in_use_is_one_sentence_and_two_rooms_never_share_one() -> None:
    async with room() as r:
        second = Server("second", ServerConfig(listen=f"127.0.0.1:{r.server.port}"), metrics=Metrics())
        second.add(SERVICE, Echo())
        with pytest.raises(ConfigError, match="set PERPMESH_LISTEN to a free host:port"):
            await second.start()
