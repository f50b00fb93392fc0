"""Messages delivered, none collapsed, to 1, 100 and 1,000 streams, beside a bare grpcio server writing constant bytes.

The message of both has the same size. With ten markets to a message the prices per second are shown as well.
"""

from __future__ import annotations

import argparse
import asyncio

from bench import streams

MARKETS = [f"M{number}-PERP" for number in range(10)]


def measure(server: list[str], count: int, request: bytes, seconds: float) -> streams.Count:
    """Return what this process reads from one server."""
    with streams.serving(*server) as address:
        return asyncio.run(streams.count_messages(address, count, request, seconds=seconds))


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=3.0)
    options.add_argument("--streams", type=int, nargs="*", default=[1, 100, 1000])
    chosen = options.parse_args()
    one, ten = streams.watch_request(MARKETS[:1]), streams.watch_request(MARKETS, batch_size=10)
    sample = measure(["room"], 1, one, 0.5)
    size = sample.bytes // max(sample.messages, 1)
    print(f"{'streams':>8} {'server':<22} {'messages/s':>12} {'prices/s':>12} {'bytes':>7} {'ratio':>7}")
    for count in chosen.streams:
        bare = measure(["bare", "--size", str(size)], count, one, chosen.seconds)
        ours = measure(["room"], count, one, chosen.seconds)
        batch = measure(["room", "--markets", "10"], count, ten, chosen.seconds)
        for name, result, prices in (("bare grpcio", bare, 1), ("ours", ours, 1), ("ours, 10 markets each", batch, 10)):
            ratio = result.per_second * prices / bare.per_second
            width = result.bytes // max(result.messages, 1)
            print(
                f"{count:>8} {name:<22} {result.per_second:>12,.0f} {result.per_second * prices:>12,.0f}"
                f" {width:>7} {ratio:>7.2f}"
            )


if __name__ == "__main__":
    main()
