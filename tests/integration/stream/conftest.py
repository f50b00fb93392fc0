"""A door on a real port, a market_data on another, and a client that reads frames."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest_asyncio
from google.protobuf import json_format
from perpmesh.stream.v1 import frame_pb2
from websockets.asyncio.client import ClientConnection, connect

from services.chassis.client import Peer
from services.chassis.clock import SYSTEM
from services.chassis.ids import new_id
from services.chassis.metrics import Metrics
from services.chassis.verifier import TokenVerifier
from services.stream.app.door import Door, DoorBounds
from services.stream.peers.callers import VerifiedCallers
from services.stream.peers.market_data import MarketDataPeer
from services.stream.ports import Presence, PrivateRooms
from services.stream.ws.measures import DoorMeasures
from services.stream.ws.server import DoorServer, Entrance
from services.stream.ws.site import Site
from tests.integration.stream.upstream import Upstream, UpstreamServer
from tests.support.own_rooms import NoRooms
from tests.support.presence import NobodyHere

READ_TIMEOUT_S = 10.0


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something is so that nobody announces, at most 20 s."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)


class Reader:
    """A client of the door that checks every frame against the contract."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.seen: list[dict[str, Any]] = []

    async def send(self, **frame: Any) -> None:
        """Send a client frame."""
        await self.socket.send(json.dumps(frame))

    async def subscribe(self, *topics: str, **settings: Any) -> None:
        """Send a subscription."""
        await self.send(subscribe={"topics": list(topics), **settings})

    async def next(self) -> dict[str, Any]:
        """Return the next frame."""
        text = await asyncio.wait_for(self.socket.recv(), READ_TIMEOUT_S)
        assert isinstance(text, str)
        json_format.Parse(text, frame_pb2.ServerFrame())
        frame: dict[str, Any] = json.loads(text)
        self.seen.append(frame)
        return frame

    async def until(self, event: str, topic: str | None = None) -> dict[str, Any]:
        """Read on until a frame carries `event` (of `topic`), and return it."""
        while True:
            frame = await self.next()
            if event in frame and (topic is None or frame["topic"] == topic):
                return frame

    async def status(self, state: str, topic: str | None = None) -> dict[str, Any]:
        """Read on until a topic stands so, and return the frame."""
        while True:
            frame = await self.until("status", topic)
            if frame["status"]["state"] == f"STATE_{state}":
                return frame

    async def rest(self) -> list[dict[str, Any]]:
        """Read to the close and return the frames."""
        frames = []
        with contextlib.suppress(Exception):
            while True:
                frames.append(await self.next())
        return frames


@dataclass
class Mesh:
    """A door, its market_data, and clients."""

    door: Door
    server: DoorServer
    service: Upstream
    upstream: UpstreamServer
    metrics: Metrics
    clients: list[ClientConnection] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Return the address of the WebSocket."""
        return f"ws://127.0.0.1:{self.server.port}/v1/ws"

    async def client(self, **settings: Any) -> Reader:
        """Return a client that has been welcomed."""
        socket = await connect(self.url, **{"max_size": None, "compression": None, **settings})
        self.clients.append(socket)
        reader = Reader(socket)
        assert "welcome" in await reader.next()
        return reader


MakeMesh = Callable[..., Any]


@pytest_asyncio.fixture
async def make_mesh(tmp_path: Path) -> AsyncIterator[MakeMesh]:
    """Give a function that starts a mesh with bounds of the test's own; all are ended afterwards."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(
            bounds: DoorBounds | None = None,
            *,
            entrance: Entrance | None = None,
            root: Path | None = None,
            silence_max_s: float = 40.0,
            verifier: TokenVerifier | None = None,
            presence: Presence | None = None,
            rooms: PrivateRooms | None = None,
            started: bool = True,
        ) -> Mesh:
            bounds = bounds or DoorBounds()
            service = Upstream()
            upstream = UpstreamServer(service)
            await upstream.start()
            stack.push_async_callback(upstream.stop)
            if not started:
                await upstream.stop()
            channel = Peer(upstream.address)
            stack.push_async_callback(channel.close)
            metrics = Metrics()
            door = Door(
                callers=VerifiedCallers(verifier),
                presence=presence or NobodyHere(),
                rooms=rooms or NoRooms(),
                market_data=MarketDataPeer(channel, silence_max_s=silence_max_s),
                clock=SYSTEM,
                new_id=new_id,
                chance=random.Random(1),
                measures=DoorMeasures(metrics),
                bounds=bounds,
            )
            running = asyncio.create_task(door.run())

            async def end() -> None:
                running.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await running

            stack.push_async_callback(end)
            server = DoorServer(
                door,
                Site(root or tmp_path / "none"),
                limits=bounds.limits,
                entrance=entrance or Entrance(),
                new_id=new_id,
            )
            await server.start("127.0.0.1", 0)
            stack.push_async_callback(server.stop)
            mesh = Mesh(door, server, service, upstream, metrics)

            async def hang_up() -> None:
                for socket in mesh.clients:
                    socket.transport.abort()

            stack.push_async_callback(hang_up)
            return mesh

        yield make


@pytest_asyncio.fixture
async def mesh(make_mesh: MakeMesh) -> Any:
    """Give a mesh with the usual bounds."""
    return await make_mesh()
