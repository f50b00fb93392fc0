"""What was really sent: totals by venue and channel, and the newest frames one by one."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from services.simulator.faults import Delivery, Frame

ENTRIES_KEPT = 5_000


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
