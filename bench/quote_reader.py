"""Reads streams of quotes as lean as can be, so that what is measured is the server: `python -m bench.quote_reader`.

HTTP/2 by hand (RFC 9113) over a few connections: one system call takes what has come, frames are counted by their nine
bytes, and no message is decoded. A message's time is that of the call that brought its last byte. Prints `settled`,
`done`, and a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import sys
import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from perpmesh.marketdata.v1 import market_data_service_pb2 as market_pb
from perpmesh.routing.v1 import routing_service_pb2 as pb
from perpmesh.type.v1 import side_pb2

WATCH_QUOTE = b"/perpmesh.routing.v1.RoutingService/WatchQuote"
WATCH_BOOK = b"/perpmesh.marketdata.v1.MarketDataService/WatchOrderBook"
MARKET = "BTC-PERP"
INTERVAL_S = 0.1
CONNECTIONS = 4
SMALL = 200
"""Heartbeats and marks are smaller, quotes larger."""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, WINDOW = 0, 1, 4, 6, 8
ACK = END_STREAM = 1
END_HEADERS = 4
WIDE = 2**31 - 1
RECEIVE_BYTES = 1 << 20


@dataclass(slots=True)
class Stream:
    """One stream: when its messages came, and how much of the present one is to come."""

    times: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    head: bytes = b""
    left: int = 0
    size: int = 0
    ended: bool = False


class Connection:
    """One HTTP/2 connection and its streams."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.streams: dict[int, Stream] = {}
        self._held = b""
        opened = _frame(SETTINGS, 0, 0, b"\x00\x04" + WIDE.to_bytes(4, "big"))
        self.socket.sendall(PREFACE + opened + _frame(WINDOW, 0, 0, (WIDE - 65_535).to_bytes(4, "big")))

    def open(self, path: bytes, request: bytes) -> Stream:
        """Open a stream of a call."""
        number = 2 * len(self.streams) + 1
        stream = self.streams[number] = Stream()
        named = {
            b":method": b"POST", b":scheme": b"http", b":authority": b"edge", b":path": path,
            b"content-type": b"application/grpc", b"te": b"trailers",
        }  # fmt: skip
        head = b"".join(b"\x00" + bytes([len(a)]) + a + bytes([len(b)]) + b for a, b in named.items())
        body = b"\x00" + len(request).to_bytes(4, "big") + request
        self.socket.sendall(_frame(HEADERS, END_HEADERS, number, head) + _frame(DATA, END_STREAM, number, body))
        return stream

    def read(self) -> None:
        """Take what has come."""
        raw = self.socket.recv(RECEIVE_BYTES)
        now = time.perf_counter()
        if not raw:
            raise SystemExit("the edge closed a connection")
        if self._held:
            raw = self._held + raw
        at, end, streams = 0, len(raw), self.streams
        while end - at >= 9:
            length = raw[at] << 16 | raw[at + 1] << 8 | raw[at + 2]
            after = at + 9 + length
            if after > end:
                break
            kind = raw[at + 3]
            if kind == DATA:
                _take(streams[int.from_bytes(raw[at + 5 : at + 9], "big")], raw, at + 9, after, now)
            elif kind == HEADERS and raw[at + 4] & END_STREAM:
                streams[int.from_bytes(raw[at + 5 : at + 9], "big")].ended = True
            elif kind in (SETTINGS, PING) and not raw[at + 4] & ACK:
                self.socket.sendall(_frame(kind, ACK, 0, raw[at + 9 : after] if kind == PING else b""))
            at = after
        self._held = raw[at:]


def _take(stream: Stream, raw: bytes, at: int, end: int, now: float) -> None:
    """Count the messages in a piece of a stream."""
    if stream.left == 0 and not stream.head and end - at >= 5:  # nearly always: one whole message in one frame
        size = int.from_bytes(raw[at + 1 : at + 5], "big")
        if end - at == 5 + size:
            stream.times.append(now)
            stream.sizes.append(size)
            return
    while at < end:
        if stream.left == 0:
            used = min(5 - len(stream.head), end - at)
            stream.head += raw[at : at + used]
            at += used
            if len(stream.head) < 5:
                return
            stream.left = stream.size = int.from_bytes(stream.head[1:], "big")
            stream.head = b""
        used = min(stream.left, end - at)
        stream.left, at = stream.left - used, at + used
        if stream.left == 0:
            stream.times.append(now)
            stream.sizes.append(stream.size)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def wish(number: int, *, same: bool) -> bytes:
    """Return the request of the n-th stream."""
    size = "1.5" if same else f"{0.05 + number * 0.01:.2f}"
    route = pb.QuoteRouteRequest(market=MARKET, side=side_pb2.SIDE_BUY, size=size)
    return pb.WatchQuoteRequest(route=route).SerializeToString()


def pump(connections: dict[int, Connection], until: float) -> None:
    """Read until a time."""
    waiting = select.epoll()
    for number in connections:
        waiting.register(number, select.EPOLLIN)
    while (left := until - time.perf_counter()) > 0:
        for number, _ in waiting.poll(left):
            connections[number].read()
    waiting.close()


def since(stream: Stream, begun: float, smallest: int = 0) -> list[float]:
    """Return when messages of at least a size came since a time."""
    return [at for at, size in zip(stream.times, stream.sizes, strict=True) if at >= begun and size >= smallest]


def lateness(frames: Sequence[float], changes: Sequence[float]) -> Iterator[float]:
    """Yield how late each frame is, in seconds: after an interval, or after the first change of the book since."""
    for before, after in pairwise(frames):
        at = bisect_right(changes, before)
        moved = changes[at] if at < len(changes) else before
        yield after - max(before + INTERVAL_S, moved)


def percentiles(values: Iterable[float], *shares: float) -> list[float]:
    """Return percentiles in ms."""
    ordered = sorted(values) or [0.0]
    return [round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1e3, 2) for share in shares]


def main() -> None:
    """Read for a time, and print what came when."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("address")
    options.add_argument("--streams", type=int, default=200)
    options.add_argument("--settle", type=float, default=4.0)
    options.add_argument("--seconds", type=float, default=15.0)
    options.add_argument("--same", action="store_true", help="one wish for all, in place of one each")
    chosen = options.parse_args()
    host, _, port = chosen.address.rpartition(":")
    made = [Connection(host, int(port)) for _ in range(CONNECTIONS + 1)]
    connections = {one.socket.fileno(): one for one in made}
    book = made[-1].open(WATCH_BOOK, market_pb.WatchOrderBookRequest(market=MARKET, depth=500).SerializeToString())
    streams = []
    for number in range(chosen.streams):  # as clients come: not all at one moment
        streams.append(made[number % CONNECTIONS].open(WATCH_QUOTE, wish(number, same=chosen.same)))
        pump(connections, time.perf_counter() + INTERVAL_S * 0.618)
    pump(connections, time.perf_counter() + chosen.settle)
    print("settled", flush=True)
    begun, used = time.perf_counter(), time.process_time()
    pump(connections, begun + chosen.seconds)
    spent, used = time.perf_counter() - begun, time.process_time() - used
    print("done", flush=True)
    changes = since(book, begun - 1)
    frames = [since(one, begun, SMALL) for one in streams]
    sizes = [size for one in streams for size in one.sizes if size >= SMALL]
    told = {
        "frames_per_s": sum(map(len, frames)) / spent,
        "late_ms": percentiles((late for one in frames for late in lateness(one, changes)), 0.5, 0.9, 0.99, 0.999),
        "gap_ms": percentiles((b - a for one in frames for a, b in pairwise(one)), 0.5, 0.99),
        "book_gap_ms": percentiles((b - a for a, b in pairwise(changes)), 0.5, 0.99),
        "least": min(map(len, frames)),
        "ended": sum(one.ended for one in streams),
        "silent": sum(len(one) < 2 for one in frames),
        "bytes": sum(sizes) / max(1, len(sizes)),
        "cpu": used / spent,
    }
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    sys.exit(main())
