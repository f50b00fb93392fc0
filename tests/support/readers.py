"""Readers of many price streams, in a process of their own: `python -m tests.support.readers ADDRESS --streams 1000`.

Prints `reading` once every stream has spoken. Most streams are paced and their messages counted, not decoded; a few
take every price, and for each newer one the time since the venue's frame was read (`receive_time`, on this machine's
clock) is kept. On a line of standard input it prints what was seen since the last, as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import dataclass, field

import grpc
import uvloop
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb

WATCH = "/perpmesh.marketdata.v1.MarketDataService/WatchPrices"
MARKETS = ("BTC-PERP", "ETH-PERP", "SOL-PERP", "HYPE-PERP", "XRP-PERP", "DOGE-PERP")
PROBES_MAX = 10
PER_CHANNEL = 100


@dataclass(slots=True)
class Seen:
    """What was read since the last report."""

    messages: int = 0
    broken: int = 0
    """Streams that ended; each is opened again."""
    longest_s: float = 0.0
    """The longest silence of a paced stream."""
    ages_ms: list[float] = field(default_factory=list)


class Readers:
    """Many streams."""

    def __init__(self, address: str, count: int, interval_ms: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channels = [
            grpc.aio.insecure_channel(address, options=options) for _ in range(1 + (count - 1) // PER_CHANNEL)
        ]
        self._count = count
        self._interval_ms = interval_ms
        self._silent = set(range(count))
        self.seen = Seen()

    async def run(self) -> None:
        """Read until canceled."""
        await asyncio.gather(*(self._again(number) for number in range(self._count)))

    async def _again(self, number: int) -> None:
        probes = number < min(PROBES_MAX, max(1, self._count // 20))
        request = pb.WatchPricesRequest(markets=[MARKETS[0] if probes else MARKETS[number % len(MARKETS)]])
        if not probes:
            request.min_interval.FromMilliseconds(self._interval_ms)
        channel = self._channels[number % len(self._channels)]
        while True:
            try:
                call = channel.unary_stream(WATCH)(request.SerializeToString())
                await (self._probe(number, call) if probes else self._read(number, call))
            except grpc.aio.AioRpcError as error:
                print(f"stream {number}: {error.code().name} {error.details()}"[:200], file=sys.stderr, flush=True)
            self.seen.broken += 1
            await asyncio.sleep(0.5)

    def _spoke(self, number: int) -> None:
        if number in self._silent:
            self._silent.discard(number)
            if not self._silent:
                print("reading", flush=True)

    async def _read(self, number: int, call: grpc.aio.UnaryStreamCall) -> None:
        last = time.monotonic()
        async for _ in call:
            now = time.monotonic()
            self.seen.messages += 1
            self.seen.longest_s = max(self.seen.longest_s, now - last)
            last = now
            self._spoke(number)

    async def _probe(self, number: int, call: grpc.aio.UnaryStreamCall) -> None:
        newest = 0
        async for raw in call:
            now_ns = time.time_ns()
            message = pb.WatchPricesResponse.FromString(raw)
            self.seen.messages += 1
            self._spoke(number)
            if message.WhichOneof("event") != "price":
                continue
            received = max(one.receive_time.ToNanoseconds() for one in message.price.venues)
            if received > newest:
                if newest:
                    self.seen.ages_ms.append((now_ns - received) / 1e6)
                newest = received

    def report(self) -> str:
        """Return what was seen since the last report, and begin anew."""
        seen, self.seen = self.seen, Seen()
        return json.dumps(
            {
                "messages": seen.messages,
                "broken": seen.broken,
                "longest_s": seen.longest_s,
                "ages_ms": [round(age, 2) for age in seen.ages_ms],
            }
        )


async def main() -> None:
    """Read until standard input ends."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("address")
    options.add_argument("--streams", type=int, default=1000)
    options.add_argument("--interval-ms", type=int, default=1000)
    chosen = options.parse_args()
    readers = Readers(chosen.address, chosen.streams, chosen.interval_ms)
    task = asyncio.create_task(readers.run())
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while await lines.readline():
        print(readers.report(), flush=True)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


if __name__ == "__main__":
    uvloop.run(main())
