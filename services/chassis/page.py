"""A small HTTP server for a private port: a few read-only pages, one bounded request a connection.

What uses it: a room's probes (`probes.py`), and the page that tells verifiers about keys and revocations.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

REQUEST_BYTES_MAX = 8_192
REQUEST_TIMEOUT_S = 5.0
CONNECTIONS_MAX = 64
"""Further ones are closed at once."""

TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a page answers."""

    body: bytes
    status: str = "200 OK"
    kind: str = TEXT


Handler = Callable[[str], Answer]
"""Takes the query string, and answers at once."""


class Page:
    """The server; `start` binds it, `close` ends it."""

    def __init__(self, paths: Mapping[str, Handler]) -> None:
        self._paths = {path.encode(): handler for path, handler in paths.items()}
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
        path, _, query = rest.partition(b" ")[0].partition(b"?")
        if method not in (b"GET", b"HEAD"):
            return _response(Answer(status="405 Method Not Allowed", body=b"only GET is served here\n"))
        handler = self._paths.get(path)
        if handler is None:
            served = b" ".join(self._paths)
            return _response(Answer(status="404 Not Found", body=b"served here: " + served + b"\n"))
        return _response(handler(query.decode("ascii", "replace")))


def _response(answer: Answer) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status}\r\ncontent-type: {answer.kind}\r\ncontent-length: {len(answer.body)}\r\n"
        "cache-control: no-store\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + answer.body
