"""One client's WebSocket: a bounded queue, one writer, and the faults in between.

A venue does not wait for a client that stops reading. When the queue holds more than `QUEUE_BYTES_MAX` or
`QUEUE_FRAMES_MAX` the line is cut without a close frame, as a venue would.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from aiohttp import WSMsgType, web

from services.chassis.clock import Clock
from services.simulator.faults import Delivery, Faults, Frame, Line
from services.simulator.ledger import Ledger

QUEUE_FRAMES_MAX = 20_000
QUEUE_BYTES_MAX = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Rim:
    """What every connection of a venue shares."""

    venue: str
    clock: Clock
    faults: Faults
    ledger: Ledger


class Connection:
    """A client, as the dialects see it: `send` never waits and never fails."""

    def __init__(self, number: int, rim: Rim, socket: web.WebSocketResponse, request: web.Request) -> None:
        """Take the prepared socket; `run_writer` must be started by whoever owns the connection."""
        self.number = number
        self.remote = request.remote or ""
        self.opened_at = rim.clock.monotonic()
        self.last_sent_at = self.opened_at
        self.cut_reason: str | None = None
        self._rim = rim
        self._socket = socket
        self._request = request
        self._line = Line(number)
        self._queue: deque[tuple[float, Delivery, Frame]] = deque()
        self._queued_bytes = 0
        self._wake = asyncio.Event()

    def send(self, frame: Frame) -> None:
        """Queue a frame for the client, after the faults had their say."""
        if self.cut_reason is not None:
            return
        now = self._rim.clock.monotonic()
        for delivery in self._rim.faults.deliver(frame, self._line, self._rim.venue, now):
            if delivery.close:
                self.cut("fault: close")
                return
            self._queue.append((now + delivery.delay_s, delivery, frame))
            self._queued_bytes += len(delivery.payload)
        if len(self._queue) > QUEUE_FRAMES_MAX or self._queued_bytes > QUEUE_BYTES_MAX:
            self.cut("the client does not read")
            return
        self._wake.set()

    def backlog(self) -> int:
        """Return how many frames wait."""
        return len(self._queue)

    def cut(self, reason: str) -> None:
        """End the connection without a close frame; the client sees code 1006."""
        if self.cut_reason is not None:
            return
        self.cut_reason = reason
        self._queue.clear()
        self._wake.set()
        transport = self._request.transport
        if transport is not None:
            transport.abort()

    def finish(self) -> None:
        """Stop sending because the client left by itself; what it was promised of the close handshake goes out."""
        self.cut_reason = self.cut_reason or "the client left"
        self._queue.clear()
        self._wake.set()

    async def run_writer(self) -> None:
        """Send what is queued until the connection ends."""
        while self.cut_reason is None:
            while self._queue and self.cut_reason is None:
                due, delivery, frame = self._queue[0]
                wait = due - self._rim.clock.monotonic()
                if wait > 0:
                    await self._rim.clock.sleep(wait)
                    continue
                self._queue.popleft()
                self._queued_bytes -= len(delivery.payload)
                try:
                    await self._socket.send_frame(delivery.payload, _opcode(frame, delivery))
                except (ConnectionError, RuntimeError):
                    self.cut("the client went away")
                    return
                self.last_sent_at = self._rim.clock.monotonic()
                self._rim.ledger.note(self._rim.venue, self.number, frame, delivery, self.last_sent_at)
            self._wake.clear()
            if not self._queue:
                await self._wake.wait()


def _opcode(frame: Frame, delivery: Delivery) -> WSMsgType:
    if frame.kind == "ping":
        return WSMsgType.PING
    return WSMsgType.BINARY if delivery.binary else WSMsgType.TEXT
