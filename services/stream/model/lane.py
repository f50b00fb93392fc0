"""What waits for one socket of one topic, and what gives way when the socket is slower than the market.

Frames of a topic are never reordered. What may collapse, collapses: prices, funding and candles hold one place per
slot, where the newer replaces the older; deltas of a book give way to a fresh snapshot; trades beyond the bound are
lost, and a gap names them. So a lane is bounded whatever the client does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from services.stream.model import frame
from services.stream.model.frame import Frame
from services.stream.model.limits import Limits
from services.stream.model.topic import Kind, Subject


class Lane(Protocol):
    """The frames of one topic that wait for one socket."""

    interval_s: float | None
    """The shortest time between two batches of this lane; None where the connection's batches set the pace."""
    last_s: float
    """When it last gave a batch, on the monotonic clock."""

    @property
    def urgent(self) -> bool:
        """Say whether something waits that does not collapse and so need not wait for a batch."""

    @property
    def pending(self) -> bool:
        """Say whether something waits that may collapse until the next batch."""

    def put(self, item: Frame) -> None:
        """Add a frame that is kept in order and never collapsed: a status, a part of the present, a gap, a mark."""

    def offer(self, item: Frame, sequence: int, slot: str) -> None:
        """Add a change, or let it collapse or get lost by the rules of the kind."""

    def refresh(self) -> None:
        """Forget the changes that wait: a whole present follows."""

    def take(self) -> list[Frame]:
        """Give all that waits, in order."""


def make_lane(
    subject: Subject, limits: Limits, min_interval_s: float | None, snapshot: Callable[[], Frame | None]
) -> Lane:
    """Return an empty lane for a subject; `snapshot` gives a book as it then stands."""
    if subject.kind is Kind.BOOK:
        return BookLane(limits.deltas_queued_max, snapshot)
    if subject.kind is Kind.TRADES:
        return EventLane(subject, limits.trades_queued_max)
    slots_max = limits.candles_queued_max if subject.kind is Kind.CANDLES else 1
    return LatestLane(subject, slots_max, min_interval_s)


class LatestLane:
    """Prices, funding, candles: one place per slot."""

    __slots__ = ("_lost", "_queue", "_slots", "_slots_max", "_subject", "interval_s", "last_s")

    def __init__(self, subject: Subject, slots_max: int, min_interval_s: float | None) -> None:
        self._subject = subject
        self._queue: list[Frame] = []
        self._slots: dict[str, Frame] = {}
        self._slots_max = slots_max
        self._lost = False
        self.interval_s = min_interval_s
        self.last_s = float("-inf")

    @property
    def urgent(self) -> bool:
        """Say whether a status or a part of the present waits."""
        return bool(self._queue)

    @property
    def pending(self) -> bool:
        """Say whether a value waits for the next batch."""
        return bool(self._slots)

    def put(self, item: Frame) -> None:
        """Add a frame after all that waits."""
        self._settle()
        self._queue.append(item)

    def offer(self, item: Frame, sequence: int, slot: str) -> None:
        """Replace what waits in the slot; beyond the bound the oldest slot is lost."""
        self._slots[slot] = item
        if len(self._slots) > self._slots_max:
            del self._slots[next(iter(self._slots))]
            self._lost = True

    def refresh(self) -> None:
        """Forget the values that wait."""
        self._slots.clear()

    def take(self) -> list[Frame]:
        """Give the statuses, then each slot's latest."""
        self._settle()
        taken, self._queue = self._queue, []
        return taken

    def _settle(self) -> None:
        if self._lost:
            self._lost = False
            self._queue.append(
                frame.gap(
                    self._subject.topic,
                    self._subject.market,
                    0,
                    0,
                    "Candles were lost because this connection reads slower than they come; ListCandles has them.",
                )
            )
        if self._slots:
            self._queue.extend(self._slots.values())
            self._slots.clear()


class EventLane:
    """Trades: every one, or a gap that names the missing.

    Once full, everything is lost until the lane is empty again, so that one gap names one whole range.
    """

    __slots__ = (
        "_changes",
        "_first_lost",
        "_last_lost",
        "_losing",
        "_queue",
        "_queued_max",
        "_subject",
        "interval_s",
        "last_s",
    )

    def __init__(self, subject: Subject, queued_max: int) -> None:
        self._subject = subject
        self._queue: deque[Frame] = deque()
        self._changes = 0
        self._queued_max = queued_max
        self._losing = False
        self._first_lost = self._last_lost = 0
        self.interval_s: float | None = None
        self.last_s = float("-inf")

    @property
    def urgent(self) -> bool:
        """Say whether anything waits."""
        return bool(self._queue)

    @property
    def pending(self) -> bool:
        """Trades never wait for a batch."""
        return False

    def put(self, item: Frame) -> None:
        """Add a frame after all that waits."""
        self._settle()
        self._queue.append(item)

    def offer(self, item: Frame, sequence: int, slot: str) -> None:
        """Add a trade; when the lane is full, count it as lost."""
        if self._losing or self._changes >= self._queued_max:
            if not self._losing:
                self._losing, self._first_lost = True, sequence
            self._last_lost = sequence
            return
        self._queue.append(item)
        self._changes += 1

    def refresh(self) -> None:
        """Trades that wait are still true: nothing is forgotten."""

    def take(self) -> list[Frame]:
        """Give all that waits, and the gap after it."""
        self._settle()
        taken = list(self._queue)
        self._queue.clear()
        self._changes = 0
        return taken

    def _settle(self) -> None:
        if not self._losing:
            return
        self._losing = False
        self._changes = self._queued_max  # stays full until taken, so that what waits is bounded
        self._queue.append(
            frame.gap(
                self._subject.topic,
                self._subject.market,
                self._first_lost,
                self._last_lost,
                "This connection reads slower than trades are printed; ListTrades with first_sequence and "
                "last_sequence has the missing ones.",
            )
        )


class BookLane:
    """A book: a snapshot that is made when it is sent, then deltas; too many deltas give way to a snapshot."""

    __slots__ = ("_deltas", "_deltas_max", "_fresh", "_queue", "_snapshot", "interval_s", "last_s")

    def __init__(self, deltas_max: int, snapshot: Callable[[], Frame | None]) -> None:
        self._queue: list[Frame | None] = []  # None stands for the snapshot, whole as it stands when taken
        self._deltas: list[Frame] = []
        self._deltas_max = deltas_max
        self._snapshot = snapshot
        self._fresh = False
        self.interval_s: float | None = None
        self.last_s = float("-inf")

    @property
    def urgent(self) -> bool:
        """Say whether anything waits."""
        return bool(self._queue or self._deltas)

    @property
    def pending(self) -> bool:
        """Deltas never wait for a batch: market_data has collapsed what it could."""
        return False

    def put(self, item: Frame) -> None:
        """Add a frame after all that waits."""
        self._queue.extend(self._deltas)
        self._deltas.clear()
        self._queue.append(item)

    def offer(self, item: Frame, sequence: int, slot: str) -> None:
        """Add a delta; beyond the bound all deltas give way to a snapshot."""
        if self._fresh:
            return  # the snapshot that is still to be made will hold it
        self._deltas.append(item)
        if len(self._deltas) > self._deltas_max:
            self.refresh()

    def refresh(self) -> None:
        """Let a snapshot stand for the deltas that wait, and for all that come before it is taken."""
        self._deltas.clear()
        if not self._fresh:
            self._fresh = True
            self._queue.append(None)

    def take(self) -> list[Frame]:
        """Give all that waits; a snapshot is made now."""
        taken: list[Frame] = []
        for item in self._queue:
            made = self._snapshot() if item is None else item
            if made is not None:
                taken.append(made)
        taken.extend(self._deltas)
        self._queue.clear()
        self._deltas.clear()
        self._fresh = False
        return taken
