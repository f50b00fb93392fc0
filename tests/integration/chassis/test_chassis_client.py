"""Calls between rooms, over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.chassis.call import CURRENT, Call
from services.chassis.client import DEADLINE_MARGIN_S, Peer, PeerPolicy
from services.chassis.clock import SYSTEM
from services.chassis.metrics import Metrics
from services.chassis.server import Server, ServerConfig
from services.chassis.telemetry import Level, Log
from services.domain.errors import DomainError, Reason
from tests.support.echo import SERVICE, Echo, SayRequest, SayResponse


@contextlib.asynccontextmanager
async def pair(policy: PeerPolicy | None = None) -> AsyncIterator[tuple[Echo, Peer, Server]]:
    servicer = Echo()
    server = Server("echo", ServerConfig(drain_grace_s=0.1), metrics=Metrics(), logger=Log(level=Level.ERROR))
    servicer.draining = server.draining
    server.add(SERVICE, servicer)
    port = await server.start()
    peer = Peer(f"127.0.0.1:{port}", policy or PeerPolicy(base_s=0.01, max_s=0.02), rng=random.Random(1))
    try:
        yield servicer, peer, server
    finally:
        await peer.close()
        await server.stop()


def unary(peer: Peer, name: str = "Say") -> Any:
    return peer.unary_unary(f"/{SERVICE}/{name}", SayRequest.SerializeToString, SayResponse.FromString)


def stream(peer: Peer) -> Any:
    return peer.unary_stream(f"/{SERVICE}/WatchEcho", SayRequest.SerializeToString, SayResponse.FromString)


async def fails(awaitable: Any) -> DomainError:
    with pytest.raises(DomainError) as caught:
        await awaitable
    return caught.value


TICK_S = 0.01
"""What grpcio may round a time-out up by."""


async def test_request_id_and_deadline_go_along_less_a_margin() -> None:
    async with pair() as (servicer, peer, _):
        now = SYSTEM.monotonic()
        mark = CURRENT.set(Call(request_id="outer-1", method="x/Y", deadline=now + 2))
        await unary(peer)(SayRequest(text="a"))
        spent = SYSTEM.monotonic() - now  # a time-out travels as what is left, so the way to the server adds to it
        CURRENT.reset(mark)
        seen = servicer.seen[-1]
        assert seen.request_id == "outer-1"
        assert seen.deadline is not None
        assert now + 1 < seen.deadline < now + 2 - DEADLINE_MARGIN_S + spent + TICK_S
        await unary(peer)(SayRequest(text="a"))
        assert servicer.seen[-1].request_id != "outer-1"


async def test_a_caller_without_time_left_is_told_before_anything_is_sent() -> None:
    async with pair() as (servicer, peer, _):
        mark = CURRENT.set(Call(request_id="r", method="x/Y", deadline=SYSTEM.monotonic() + DEADLINE_MARGIN_S / 2))
        error = await fails(unary(peer)(SayRequest()))
        CURRENT.reset(mark)
        assert error.reason is Reason.DEADLINE_EXCEEDED
        assert servicer.calls == 0


async def test_a_refusal_comes_as_the_domain_error_it_was() -> None:
    async with pair() as (_, peer, _server):
        error = await fails(unary(peer)(SayRequest(text="refuse")))
        assert (error.reason, error.metadata["market"]) == (Reason.MARKET_UNKNOWN, "X")
        late = await fails(unary(peer)(SayRequest(text="wait"), timeout=0.1))
        assert late.reason is Reason.DEADLINE_EXCEEDED


async def test_unavailable_is_retried_for_repeatable_calls_only() -> None:
    async with pair() as (servicer, peer, _):
        servicer.failures = 2
        assert (await unary(peer)(SayRequest(text="flaky"))).text == "flaky"
        assert servicer.calls == 3
        servicer.failures, servicer.calls = 3, 0
        assert (await fails(unary(peer)(SayRequest(text="flaky")))).reason is Reason.DRAINING
        assert servicer.calls == 3
        servicer.failures, servicer.calls = 1, 0
        assert (await fails(unary(peer, "Change")(SayRequest(text="flaky")))).reason is Reason.DRAINING
        assert servicer.calls == 1
        servicer.calls = 0
        await fails(unary(peer)(SayRequest(text="refuse")))
        assert servicer.calls == 1


async def test_a_room_that_is_not_there_is_a_peer_unavailable() -> None:
    async with pair() as (_, peer, server):
        await unary(peer)(SayRequest())
        await server.stop()
        assert (await fails(unary(peer)(SayRequest()))).reason is Reason.PEER_UNAVAILABLE
        with pytest.raises(DomainError):
            await anext(stream(peer)(SayRequest(count=1)))


@pytest.mark.parametrize("name", ["Say", "Change"])
async def test_with_patience_a_call_waits_for_a_room_that_is_restarted_and_is_made_once(name: str) -> None:
    async with pair(PeerPolicy(patience_s=20, deadline_s=30)) as (servicer, peer, server):
        await unary(peer, name)(SayRequest())
        await server.stop()
        waiting = asyncio.create_task(unary(peer, name)(SayRequest(text="again")))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        config = ServerConfig(listen=f"127.0.0.1:{server.port}", drain_grace_s=0.1)
        later = Server("echo", config, metrics=Metrics(), logger=Log(level=Level.ERROR))
        later.add(SERVICE, servicer)
        await later.start()
        servicer.calls = 0
        assert (await waiting).text == "again"
        assert servicer.calls == 1
        await later.stop()


@pytest.mark.parametrize(("attempts", "patience_s", "deadline_s"), [(1, 0.05, 5.0), (3, 0.05, 5.0), (3, 20.0, 0.3)])
async def test_patience_ends_and_says_that_the_room_is_away(
    attempts: int, patience_s: float, deadline_s: float
) -> None:
    policy = PeerPolicy(patience_s=patience_s, attempts=attempts, deadline_s=deadline_s)
    async with pair(policy) as (_, peer, server):
        await server.stop()
        refusal = await fails(unary(peer)(SayRequest()))
        assert (refusal.reason, refusal.message) == (
            Reason.PEER_UNAVAILABLE, f"The room {peer.name} does not answer: call again in a moment.",
        )  # fmt: skip


async def test_a_stream_gives_its_messages_and_its_failure_and_ends_when_left() -> None:
    async with pair() as (servicer, peer, _):
        got = []

        async def read() -> None:
            async for message in stream(peer)(SayRequest(text="refuse", count=3)):
                got.append(message.number)

        assert (await fails(read())).reason is Reason.SLOW_CONSUMER
        assert got == [0, 1, 2]
        servicer.ended.clear()
        messages = stream(peer)(SayRequest(text="wait", count=1))
        assert (await anext(messages)).number == 0
        await messages.aclose()
        await servicer.ended.wait()


async def test_canceling_a_reader_cancels_the_call_and_stays_a_cancellation() -> None:
    async with pair() as (servicer, peer, _):

        async def read() -> None:
            async for _message in stream(peer)(SayRequest(text="wait", count=1)):
                pass

        task = asyncio.create_task(read())
        await servicer.started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await servicer.ended.wait()


async def test_generated_stubs_bind_to_a_peer() -> None:
    grpc_module = pytest.importorskip("perpmesh.marketdata.v1.market_data_service_pb2_grpc")
    async with pair() as (_, peer, _server):
        stub = grpc_module.MarketDataServiceStub(peer)
        module = pytest.importorskip("perpmesh.marketdata.v1.market_data_service_pb2")
        error = await fails(stub.ListVenues(module.ListVenuesRequest()))
        assert error.reason is Reason.CALL_NOT_SERVED
