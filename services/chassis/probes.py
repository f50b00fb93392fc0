"""A small HTTP page on loopback: `/metrics`, `/livez` and `/readyz`.

Liveness says that the event loop turns; readiness says whether the room can do its work now, by a function the room
gives. They are separate, so that an orchestrator stops sending work without killing the process. The page reads one
bounded request, answers it and closes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from services.chassis.metrics import METRICS, Metrics

REQUEST_BYTES_MAX = 8_192
REQUEST_TIMEOUT_S = 5.0
CONNECTIONS_MAX = 32

Readiness = Callable[[], str | None]
"""Returns why the room is not ready, as one sentence, or None when it is."""


class Probes:
    """The page; `start` binds it, `close` ends it."""

    def __init__(self, ready: Readiness, *, metrics: Metrics = METRICS) -> None:
        self._ready = ready
        self._metrics = metrics
        self._server: asyncio.Server | None = None
        self._open = 0
        self.port = 0

    async def start(self, port: int, host: str = "127.0.0.1") -> int:
        """Listen on `port` (0: the system chooses) and return the port."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=REQUEST_BYTES_MAX)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self.port

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open > CONNECTIONS_MAX:
                return
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head.split(b"\r\n", 1)[0]))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return
        finally:
            self._open -= 1
            writer.close()

    def _answer(self, line: bytes) -> bytes:
        method, _, rest = line.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            return _response("405 Method Not Allowed", b"only GET is served here\n")
        if path == b"/metrics":
            return _response("200 OK", self._metrics.render(), "text/plain; version=0.0.4; charset=utf-8")
        if path == b"/livez":
            return _response("200 OK", b"ok\n")
        if path == b"/readyz":
            why = self._ready()
            if why is None:
                return _response("200 OK", b"ok\n")
            return _response("503 Service Unavailable", why.encode() + b"\n")
        return _response("404 Not Found", b"served here: /metrics /livez /readyz\n")


def _response(status: str, body: bytes, kind: str = "text/plain; charset=utf-8") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n"
        "cache-control: no-store\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
