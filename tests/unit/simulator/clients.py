"""A client of a face without a socket: what the face sends is kept."""

from __future__ import annotations

from typing import Any

import msgspec

from services.simulator.catalog import load
from services.simulator.config import Config
from services.simulator.connection import Rim
from services.simulator.dialects.hyperliquid.face import HyperliquidFace
from services.simulator.dialects.lighter.face import LighterFace
from services.simulator.faults import Faults, Frame
from services.simulator.ledger import Ledger
from services.simulator.market import Market

START_MS = 1_795_348_802_345


class StillClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def time_ns(self) -> int:
        return START_MS * 1_000_000

    def monotonic(self) -> float:
        return self.seconds


class Ear:
    """Stands in for a connection."""

    def __init__(self, number: int = 1, remote: str = "10.0.0.1") -> None:
        self.number = number
        self.remote = remote
        self.frames: list[Frame] = []
        self.cut_reason: str | None = None
        self.last_sent_at = 1000.0

    def send(self, frame: Frame) -> None:
        self.frames.append(frame)

    def cut(self, reason: str) -> None:
        self.cut_reason = reason

    def backlog(self) -> int:
        return 0

    def heard(self) -> list[Any]:
        """Return and forget the decoded frames so far."""
        frames, self.frames = self.frames, []
        return [msgspec.json.decode(frame.payload) for frame in frames]


class Stage:
    """A market, both faces, and as many clients as a test wants."""

    def __init__(self, seed: int = 3, **settings: Any) -> None:
        self.clock = StillClock()
        self.market = Market(load(), seed=seed, start_ns=START_MS * 1_000_000)
        config = Config(**settings)
        rims = [Rim(venue, self.clock, Faults(seed), Ledger()) for venue in ("hyperliquid", "lighter")]
        self.hyperliquid = HyperliquidFace(self.market, rims[0], config)
        self.lighter = LighterFace(self.market, rims[1], config)

    def run(self, milliseconds: int) -> None:
        """Let time pass for the market and the clocks."""
        for _ in range(0, milliseconds, 10):
            self.clock.seconds += 0.01
            for event in self.market.advance(self.market.now_ns + 10_000_000):
                self.hyperliquid.on_event(event)
                self.lighter.on_event(event)
            self.hyperliquid.tick(self.clock.seconds)
            self.lighter.tick(self.clock.seconds)

    def join(self, venue: str, number: int = 1) -> Ear:
        """Connect a client."""
        ear = Ear(number)
        face = self.hyperliquid if venue == "hyperliquid" else self.lighter
        face.opened(ear)
        return ear

    def tell(self, venue: str, ear: Ear, body: Any) -> list[Any]:
        """Say something and return what is answered at once."""
        ear.heard()
        face = self.hyperliquid if venue == "hyperliquid" else self.lighter
        face.said(ear, body if isinstance(body, str) else msgspec.json.encode(body).decode())
        return ear.heard()

    def watch(self, ear: Ear, **subscription: Any) -> list[Any]:
        """Subscribe on Hyperliquid."""
        return self.tell("hyperliquid", ear, {"method": "subscribe", "subscription": subscription})

    def follow(self, ear: Ear, channel: str) -> list[Any]:
        """Subscribe on Lighter."""
        return self.tell("lighter", ear, {"type": "subscribe", "channel": channel})
