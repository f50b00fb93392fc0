"""What was really sent: totals by venue and channel, and the newest frames one by one; and what limits counted."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from services.simulator.faults import Delivery, Frame

ENTRIES_KEPT = 5_000


@dataclass(slots=True)
class Tally:
    """What one limit has counted since the start: units let through, and requests it refused."""

    used: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A frame that went out."""

    seq: int
    at: float
    venue: str
    connection: int
    channel: str
    market: str
    kind: str
    size: int
    fault: str


class Ledger:
    """Totals since the start, and the newest `ENTRIES_KEPT` frames."""

    def __init__(self) -> None:
        self._seq = 0
        self.entries: deque[Entry] = deque(maxlen=ENTRIES_KEPT)
        self.totals: dict[str, dict[str, list[int]]] = {}
        self.limits: dict[str, dict[str, Tally]] = {}

    def counted(self, venue: str, limit: str, units: int, *, refused: bool = False) -> None:
        """Count what a limit let through or refused, whether or not it is enforced."""
        tally = self.limits.setdefault(venue, {}).setdefault(limit, Tally())
        if refused:
            tally.refused += 1
        else:
            tally.used += units

    def note(self, venue: str, connection: int, frame: Frame, delivery: Delivery, at: float) -> None:
        """Count a frame that went out."""
        self._seq += 1
        size = len(delivery.payload)
        self.entries.append(
            Entry(
                self._seq,
                at,
                venue,
                connection,
                frame.channel,
                frame.market,
                frame.kind,
                size,
                delivery.fault,
            )
        )
        total = self.totals.setdefault(venue, {}).setdefault(frame.channel, [0, 0])
        total[0] += 1
        total[1] += size
