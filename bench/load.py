"""Streams that are read as fast as they come, and one that is not: `python -m bench.load ADDRESS` prints `reading`."""

from __future__ import annotations

import argparse
import asyncio
import sys

import grpc
import uvloop

from bench import streams

CHANNELS = 8


async def read(address: str, count: int, request: bytes) -> None:
    """Open `count` streams and one more that stalls after its first message; read until killed."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(CHANNELS)]
    stalled = grpc.aio.insecure_channel(address, options=options).unary_stream(streams.WATCH_PRICES)(request)
    await stalled.read()

    async def one(number: int) -> None:
        call = channels[number % CHANNELS].unary_stream(streams.WATCH_PRICES)(request)
        await call.read()
        opened.append(number)
        if len(opened) == count:
            print("reading", flush=True)
        while await call.read() is not grpc.aio.EOF:
            pass

    opened: list[int] = []
    await asyncio.gather(*(one(number) for number in range(count)))


def main() -> int:
    """Read until killed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("address")
    options.add_argument("--streams", type=int, default=1000)
    options.add_argument("--markets", type=lambda text: text.split(","), default=["BTC-PERP"])
    options.add_argument("--batch", type=int, default=0)
    options.add_argument("--interval-ms", type=int, default=0)
    chosen = options.parse_args()
    request = streams.watch_request(chosen.markets, chosen.batch, interval_ms=chosen.interval_ms)
    uvloop.run(read(chosen.address, chosen.streams, request))
    return 0


if __name__ == "__main__":
    sys.exit(main())
