"""A real Envoy in front of rooms that answer anything, for tests of the edge alone.

Every call of the contract's served services is answered from the descriptor set: unary calls with a message that
echoes `market` where both sides have it, streams with three heartbeats. What a call received is kept in `received`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from aiohttp import web
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from services.launcher import edge as edges
from services.launcher import embedded
from services.launcher.edge import Edge, Upstream

ROOT = Path(__file__).resolve().parents[2]
DESCRIPTORS = ROOT / "gen" / "perpmesh.binpb"
SERVED = ("perpmesh.marketdata.v1.MarketDataService", "perpmesh.execution.v1.ExecutionService")


@dataclass(slots=True)
class AnyRoom:
    """A gRPC server for `SERVED` that needs no code of ours, and a web server for the page and the WebSocket door."""

    pool: descriptor_pool.DescriptorPool = field(default_factory=descriptor_pool.DescriptorPool)
    received: list[tuple[str, Any, dict[str, Any]]] = field(default_factory=list)
    """Name, request and metadata of each call."""
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    """A stream of the market HOLD-PERP stays open until this is set."""
    messages: int = 3
    scripts: dict[str, Callable[[Any, Any], Any]] = field(default_factory=dict)
    """What calls answer otherwise, by their names: of the request and an empty answer, the answer or, for a stream, an
    asynchronous iterator; what it raises is what the call fails with."""
    services: tuple[str, ...] = SERVED

    def __post_init__(self) -> None:
        """Learn the contract."""
        for file in descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()).file:
            self.pool.Add(file)  # type: ignore[no-untyped-call]

    def message(self, name: str) -> Any:
        """Return a message class of the contract."""
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(name))

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """Return one handler for each served service."""
        services = [self.pool.FindServiceByName(name) for name in self.services]
        return tuple(
            grpc.method_handlers_generic_handler(
                service.full_name, {method.name: self._handler(method) for method in service.methods}
            )
            for service in services
        )

    def _handler(self, method: Any) -> grpc.RpcMethodHandler:
        asks = message_factory.GetMessageClass(method.input_type)
        answers = message_factory.GetMessageClass(method.output_type)

        async def unary(request: Any, context: grpc.aio.ServicerContext) -> Any:
            self.received.append((method.name, request, dict(context.invocation_metadata() or ())))
            answer = answers()
            if method.name in self.scripts:
                return self.scripts[method.name](request, answer)
            if method.name == "GetPrice":
                answer.price.market = request.market
            if method.name == "ListMarkets":
                for number in range(20_000):
                    answer.markets.add().market = f"M{number}-PERP"
            return answer

        async def stream(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            self.received.append((method.name, request, dict(context.invocation_metadata() or ())))
            if method.name in self.scripts:
                async for one in self.scripts[method.name](request, answers):
                    yield one
                return
            for number in range(self.messages):
                answer = answers(cursor=str(number))
                answer.heartbeat.SetInParent()
                yield answer
            if list(getattr(request, "markets", ())) == ["HOLD-PERP"]:
                await self.hold.wait()

        codec = {"request_deserializer": asks.FromString, "response_serializer": answers.SerializeToString}
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(stream, **codec)
        return grpc.unary_unary_rpc_method_handler(unary, **codec)


@dataclass(slots=True, kw_only=True)
class RunningEdge:
    """A running Envoy and the rooms behind it."""

    address: str
    admin: str
    room: AnyRoom
    access_log: Path
    grpc_server: grpc.aio.Server

    @property
    def url(self) -> str:
        """The edge as the beginning of an HTTP address."""
        return f"http://{self.address}"


async def _page(_request: web.Request) -> web.Response:
    return web.Response(text="<!doctype html><title>page</title>", content_type="text/html")


async def _echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(f"echo {message.data}")
    return socket


@contextlib.asynccontextmanager
async def running_edge(
    folder: Path,
    *,
    services: tuple[str, ...] = SERVED,
    page: Path | None = None,
    more: Mapping[str, tuple[Upstream, ...]] | None = None,
    **settings: Any,
) -> AsyncIterator[RunningEdge]:
    """Start Envoy as the launcher would; `settings` are fields of `Edge`, `page` is a folder to serve at `/`.

    `more` are services that others than the room of anything serve.
    """
    room = AnyRoom(services=services)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers(room.handlers())
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    app = web.Application()
    app.router.add_get("/v1/ws", _echo)
    if page is None:
        app.router.add_get("/", _page)
    else:
        whole = page / "index.html"

        async def index(_request: web.Request) -> web.FileResponse:
            return web.FileResponse(whole)

        app.router.add_get("/", index)
        app.router.add_static("/", page)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    web_port = runner.addresses[0][1]
    here = (Upstream(host="127.0.0.1", port=port),)
    edge_port, admin_port = _free_port(), _free_port()
    edge = Edge(
        host="127.0.0.1",
        port=edge_port,
        admin_port=admin_port,
        descriptors=DESCRIPTORS,
        access_log=folder / "access.log",
        services={**dict.fromkeys(services, here), **(more or {})},
        answers_for_all=here,
        web=(Upstream(host="127.0.0.1", port=web_port),),
        **settings,
    )
    (folder / "edge.json").write_text(edges.render((ROOT / "envoy" / "edge.yaml").read_text(), edge))
    flags = (
        "--disable-hot-restart",
        "--concurrency",
        "1",
        "--log-level",
        "warning",
        "--file-flush-interval-msec",
        "50",
    )
    with (folder / "envoy.log").open("wb") as log:
        envoy = await asyncio.create_subprocess_exec(
            embedded.find_programs().envoy, "-c", folder / "edge.json", *flags, stdout=log, stderr=log
        )
    try:
        await _up(envoy, edge_port, folder)
        yield RunningEdge(
            address=f"127.0.0.1:{edge_port}",
            admin=f"127.0.0.1:{admin_port}",
            room=room,
            access_log=edge.access_log,
            grpc_server=server,
        )
    finally:
        room.hold.set()
        envoy.terminate()
        await envoy.wait()
        await runner.cleanup()
        await server.stop(0)


async def _up(envoy: asyncio.subprocess.Process, port: int, folder: Path) -> None:
    for _ in range(1000):
        assert envoy.returncode is None, (folder / "envoy.log").read_text()[-2000:]
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.02)
    raise AssertionError("Envoy did not listen within 20 s")


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def grpc_web_frame(message: bytes) -> bytes:
    """Return a gRPC-web request body of one message."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def grpc_web_answer(body: bytes, headers: Any) -> tuple[list[bytes], dict[str, str]]:
    """Return the messages and the trailers of a gRPC-web answer, whose trailers may stand in the headers."""
    messages, trailers, at = [], {}, 0
    while at < len(body):
        size = int.from_bytes(body[at + 1 : at + 5], "big")
        part = body[at + 5 : at + 5 + size]
        if body[at] & 0x80:
            trailers = dict(line.split(":", 1) for line in part.decode().strip().split("\r\n"))
        else:
            messages.append(part)
        at += 5 + size
    if "grpc-status" in headers:
        trailers = {name: headers[name] for name in headers if name.startswith("grpc-")}
    return messages, {name: value.strip() for name, value in trailers.items()}


def reason_of(body: str) -> tuple[int, str]:
    """Return the code and the reason of an error that came as JSON."""
    error = json.loads(body)
    return error["code"], error["details"][0]["reason"]
