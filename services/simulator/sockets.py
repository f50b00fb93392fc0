"""Accepting WebSockets, the same way for both venues."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Protocol

from aiohttp import WSMsgType, web

from services.simulator.connection import Connection, Rim
from services.simulator.limits import Window

MESSAGE_BYTES_MAX = 128 * 1024
"""The longest message taken from a client; a longer one ends the connection with code 1009."""


class Speaker(Protocol):
    """A dialect's side of a conversation. None of these may wait."""

    def opened(self, connection: Connection) -> None:
        """Greet a client."""

    def said(self, connection: Connection, text: str) -> None:
        """Hear a client."""

    def closed(self, connection: Connection) -> None:
        """Forget a client."""


class Sockets:
    """The WebSockets of one venue."""

    def __init__(self, rim: Rim, speaker: Speaker, *, per_address_max: int, per_minute_max: int, deflate: bool) -> None:
        """Take what every connection shares, and who talks."""
        self._rim = rim
        self._speaker = speaker
        self._per_address_max = per_address_max
        self._new = Window(per_minute_max)
        self._deflate = deflate
        self._opened = 0
        self.connections: dict[int, Connection] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one WebSocket to its end."""
        held = sum(1 for item in self.connections.values() if item.remote == request.remote)
        fresh = self._new.take(request.remote or "", 1, self._rim.clock.monotonic())
        if not fresh or (self._per_address_max and held >= self._per_address_max):
            return web.Response(status=429, text="null", content_type="application/json")
        socket = web.WebSocketResponse(
            compress=self._deflate, autoping=False, max_msg_size=MESSAGE_BYTES_MAX, heartbeat=None
        )
        if not socket.can_prepare(request).ok:
            return web.Response(status=400, text="a WebSocket upgrade would pass")
        await socket.prepare(request)
        self._opened += 1
        connection = Connection(self._opened, self._rim, socket, request)
        self.connections[connection.number] = connection
        writer = asyncio.ensure_future(connection.run_writer())
        try:
            self._speaker.opened(connection)
            await self._listen(connection, socket)
        finally:
            self.connections.pop(connection.number, None)
            self._speaker.closed(connection)
            connection.finish()
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer
        return socket

    async def _listen(self, connection: Connection, socket: web.WebSocketResponse) -> None:
        async for message in socket:
            if message.type is WSMsgType.PING:
                if not self._rim.faults.muted(self._rim.venue, self._rim.clock.monotonic()):
                    with contextlib.suppress(ConnectionError):
                        await socket.pong(message.data)
            elif message.type is WSMsgType.TEXT:
                self._speaker.said(connection, message.data)
            elif message.type is WSMsgType.BINARY:
                self._speaker.said(connection, message.data.decode(errors="replace"))
            elif message.type is WSMsgType.ERROR:
                return

    def cut_all(self, reason: str, limit: int | None = None) -> int:
        """Cut connections, at most `limit`; return how many."""
        chosen = list(self.connections.values())[:limit]
        for connection in chosen:
            connection.cut(reason)
        return len(chosen)
