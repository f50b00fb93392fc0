"""One socket to a live venue: it subscribes, hears, and comes back when it was cut or has fallen silent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from random import Random

import aiohttp
import msgspec

from services.chassis.clock import Clock

Json = object
PING_EVERY_S = 20.0
SILENT_S = 30.0
"""A socket that says nothing for this long, pings and their answers included, is opened anew."""
BACKOFF_S = (0.5, 30.0)
FRAME_BYTES_MAX = 16 * 1024 * 1024


class Line:
    """Hears one socket for as long as it runs."""

    def __init__(
        self,
        url: str,
        *,
        first: Iterable[Json],
        ping: Json,
        hear: Callable[[Json], None],
        clock: Clock,
        rng: Random,
        greeted: bool = False,
    ) -> None:
        """`first` are the messages to subscribe with, sent after the venue's greeting where it greets."""
        self.url = url
        self.reason = "not connected yet"
        """Why nothing is heard; empty while connected."""
        self.heard_s: float | None = None
        """When the last frame came, in monotonic seconds."""
        self.connects = 0
        self._first = [msgspec.json.encode(message).decode() for message in first]
        self._ping = msgspec.json.encode(ping).decode()
        self._hear = hear
        self._clock = clock
        self._rng = rng
        self._greeted = greeted
        self._socket: aiohttp.ClientWebSocketResponse | None = None

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Hear until canceled."""
        failures = 0
        while True:
            before = self.heard_s
            try:
                await self._hear_once(session)
                self.reason = "the venue closed the socket"
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                self.reason = f"{type(error).__name__}: {error}"[:200] or "lost"
            finally:
                self._socket = None
            failures = 0 if self.heard_s != before else failures + 1
            least, most = BACKOFF_S
            await self._clock.sleep(min(most, least * 2 ** min(failures, 10)) * (0.5 + self._rng.random()))

    async def say(self, message: Json) -> None:
        """Send a message if there is a socket."""
        if self._socket is not None and not self._socket.closed:
            await self._socket.send_str(msgspec.json.encode(message).decode())

    async def _hear_once(self, session: aiohttp.ClientSession) -> None:
        async with asyncio.timeout(SILENT_S):
            socket = await session.ws_connect(self.url, max_msg_size=FRAME_BYTES_MAX, heartbeat=PING_EVERY_S)
        async with socket:
            if self._greeted:
                await socket.receive_str(timeout=SILENT_S)
            for subscription in self._first:
                await socket.send_str(subscription)
            self._socket, self.reason = socket, ""
            self.connects += 1
            pinging = asyncio.create_task(self._keep_alive(socket))
            try:
                while True:
                    message = await socket.receive(timeout=SILENT_S)
                    if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                        return
                    self.heard_s = self._clock.monotonic()
                    self._take(message.data)
            finally:
                pinging.cancel()

    def _take(self, data: str | bytes) -> None:
        try:
            frame = msgspec.json.decode(data)
        except msgspec.DecodeError:
            frame = None  # counted as odd by who hears it
        self._hear(frame)

    async def _keep_alive(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            await self._clock.sleep(PING_EVERY_S)
            await socket.send_str(self._ping)
