"""One client's socket behind the door's port.

A server's frame is not masked (RFC 6455, 5.1) and nothing is compressed, so the bytes of a message are the same for
every socket: they are made once and written to each transport as they are. Compression is off on purpose: a deflate
window costs each socket up to 64 KiB and every message its own compression per socket, which is what sharing avoids.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Sequence
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from services.stream.model.frame import Frame

CLOSE_TIMEOUT_S = 5.0
"""How long a client may take to answer a close before it is cut off."""

_FINAL_TEXT = 0x81  # FIN and opcode 1 (RFC 6455, 5.2)


def wire(frame: Frame) -> bytes:
    """Return a frame as one unmasked, final text frame of RFC 6455; made once."""
    made = frame.wire
    if made is None:
        payload = frame.payload
        size = len(payload)
        if size < 126:
            head = struct.pack("!BB", _FINAL_TEXT, size)
        elif size < 65_536:
            head = struct.pack("!BBH", _FINAL_TEXT, 126, size)
        else:
            head = struct.pack("!BBQ", _FINAL_TEXT, 127, size)
        made = frame.wire = head + payload
    return made


class ClientConnection(ServerConnection):
    """A server connection that says when its socket takes bytes again."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.on_drained: Callable[[], None] | None = None

    def resume_writing(self) -> None:
        """Called by the transport when its buffer has emptied."""
        super().resume_writing()
        if self.on_drained is not None and self.state is State.OPEN:
            self.on_drained()


class ClientSocket:
    """`services.stream.ports.Socket` on a WebSocket connection."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._closing: asyncio.Task[None] | None = None

    @property
    def congested(self) -> bool:
        """Say whether the transport's buffer is above its mark."""
        return self._connection.paused

    def write(self, frames: Sequence[Frame]) -> int:
        """Hand frames to the transport in one piece and return their bytes; after the close, nothing is written."""
        if self._connection.state is not State.OPEN or self._connection.transport.is_closing():
            return 0
        data = b"".join([wire(frame) for frame in frames])
        self._connection.transport.write(data)
        return len(data)

    def close(self, code: int, reason: str) -> None:
        """Begin to close; a client that does not answer in `CLOSE_TIMEOUT_S` is cut off."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(code, reason))

    async def closed(self) -> None:
        """Wait until a close that was begun has ended."""
        if self._closing is not None:
            await asyncio.gather(self._closing, return_exceptions=True)

    async def _close(self, code: int, reason: str) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._connection.close(code, reason)
        except (TimeoutError, ConnectionClosed, OSError):
            self._connection.transport.abort()
