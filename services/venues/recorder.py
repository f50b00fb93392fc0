"""Writes a venue's raw frames with their times, so that anyone with a network can make a recording.

    python -m services.venues.recorder --venue lighter --markets BTC-PERP,ETH-PERP --seconds 60 --out btc.jsonl

One JSON object a line: `venue`, `connection` (which socket), `receive_time_ns` (since the Unix epoch), and `msg`, the
frame as text, or `msg_base64` where it was no UTF-8. A recording ends by itself after `--seconds` or at
`--megabytes-max`, and says which. Nothing in it is private: only public channels are subscribed.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import sys
from pathlib import Path
from typing import IO, Final

import msgspec

from services.chassis.clock import SYSTEM, Clock
from services.chassis.ids import seeded_random
from services.domain.feed import Event
from services.domain.market import HYPERLIQUID, LIGHTER, Source
from services.venues.circuit import REST, SOCKET, Circuit
from services.venues.hyperliquid import venue as hyperliquid
from services.venues.lighter import venue as lighter
from services.venues.link import Tap
from services.venues.port import FeedLevel, Venue

SECONDS_MAX: Final = 86_400.0
MEGABYTES_MAX: Final = 10_000
_STEP_S: Final = 0.25


class Recorder:
    """Appends frames to a file until it is full. What comes after that is counted and dropped."""

    def __init__(self, venue: str, out: IO[bytes], *, bytes_max: int) -> None:
        self.frames = 0
        self.written_bytes = 0
        self.dropped = 0
        self.failure = ""
        self._venue = venue
        self._out = out
        self._bytes_max = bytes_max
        self._encode = msgspec.json.Encoder().encode

    @property
    def is_full(self) -> bool:
        """Whether nothing more is written: the limit is reached, or the file took no more."""
        return self.dropped > 0

    def __call__(self, connection: str, receive_time_ns: int, data: bytes) -> None:
        """Take one frame (a `link.Tap`)."""
        line: dict[str, str | int] = {
            "venue": self._venue,
            "connection": connection,
            "receive_time_ns": receive_time_ns,
        }
        try:
            line["msg"] = data.decode("utf-8")
        except UnicodeDecodeError:
            line["msg_base64"] = base64.b64encode(data).decode("ascii")
        encoded = self._encode(line) + b"\n"
        if self.is_full or self.written_bytes + len(encoded) > self._bytes_max:
            self.dropped += 1
            return
        try:
            self._out.write(encoded)
        except OSError as error:
            self.failure = f"cannot write: {error.strerror or error}"
            self.dropped += 1
            return
        self.frames += 1
        self.written_bytes += len(encoded)


async def record(
    venue: Venue, recorder: Recorder, *, levels: dict[str, FeedLevel], seconds: float, clock: Clock
) -> str:
    """Feed `venue` for `seconds` with `recorder` as its tap, and return why it ended, as a sentence."""
    venue.want(levels)
    feeding = asyncio.create_task(venue.run(_take))
    end = clock.monotonic() + seconds
    why = f"{seconds:g} s are over"
    try:
        while clock.monotonic() < end and not feeding.done():
            await clock.sleep(min(_STEP_S, end - clock.monotonic()))
            if recorder.is_full:
                why = recorder.failure or f"{recorder.written_bytes} bytes are written, which is the limit"
                break
    finally:
        feeding.cancel()
        await asyncio.wait((feeding,))
    if recorder.frames == 0:
        why += f"; the venue sent nothing: {venue.status().state_reason or 'no reason known'}"
    return why


def _take(event: Event) -> bool:
    """Take every event; only the frames are of interest."""
    return True


def make_venue(name: str, environment: str, base_url: str, tap: Tap, clock: Clock) -> Venue:
    """Return the adapter of a venue. Raises `ValueError` for a name or an address that is none."""
    rng = seeded_random()
    source = {"mainnet": Source.MAINNET, "testnet": Source.TESTNET}.get(environment, Source.SIMULATED)
    rest, socket = Circuit(name, REST, clock=clock), Circuit(name, SOCKET, clock=clock)
    if name == LIGHTER:
        url = base_url or (lighter.TESTNET_URL if source is Source.TESTNET else lighter.MAINNET_URL)
        return lighter.LighterVenue(
            lighter.LighterConfig(source=source, base_url=url),
            clock=clock,
            rng=rng,
            rest_breaker=rest,
            socket_breaker=socket,
            tap=tap,
        )
    if name == HYPERLIQUID:
        url = base_url or (hyperliquid.TESTNET_URL if source is Source.TESTNET else hyperliquid.MAINNET_URL)
        return hyperliquid.HyperliquidVenue(
            hyperliquid.HyperliquidConfig(source=source, base_url=url),
            clock=clock,
            rng=rng,
            rest_breaker=rest,
            socket_breaker=socket,
            tap=tap,
        )
    raise ValueError(f"--venue: {name!r:.40} must be {HYPERLIQUID} or {LIGHTER}")


def _number(text: str, largest: float) -> float:
    number = float(text)
    if not 0 < number <= largest:
        raise argparse.ArgumentTypeError(f"{text} must be above 0 and at most {largest:g}")
    return number


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = argparse.ArgumentParser(prog="perpmesh record", description="Record a venue's raw public frames.")
    made.add_argument("--venue", required=True, choices=(HYPERLIQUID, LIGHTER))
    made.add_argument(
        "--markets", required=True, help="canonical names, separated by commas, such as BTC-PERP,ETH-PERP"
    )
    made.add_argument("--seconds", type=lambda text: _number(text, SECONDS_MAX), default=60.0)
    made.add_argument("--out", required=True, type=Path, help="the file to write; it must not exist")
    made.add_argument("--megabytes-max", type=lambda text: _number(text, MEGABYTES_MAX), default=1_000.0)
    made.add_argument("--environment", choices=("mainnet", "testnet", "local"), default="mainnet")
    made.add_argument("--url", default="", help="another REST address of the venue, such as a simulator's")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Record by the command line's arguments; return the exit status."""
    made = parser()
    given = made.parse_args(arguments)
    if given.environment == "local" and not given.url:
        made.error("--url: say where the local venue listens, such as http://127.0.0.1:9000")
    levels = {name: FeedLevel.BOOK for name in given.markets.split(",") if name}
    try:
        with given.out.open("xb") as out:
            recorder = Recorder(given.venue, out, bytes_max=round(given.megabytes_max * 1_000_000))
            venue = make_venue(given.venue, given.environment, given.url, recorder, SYSTEM)
            why = asyncio.run(record(venue, recorder, levels=levels, seconds=given.seconds, clock=SYSTEM))
    except FileExistsError:
        made.error(f"--out: {given.out} exists; choose another name")
    except (OSError, ValueError) as error:
        made.error(str(error))
    sys.stderr.write(f"{recorder.frames} frames, {recorder.written_bytes} bytes in {given.out}: {why}.\n")
    return 0 if recorder.frames else 1


if __name__ == "__main__":
    sys.exit(main())
