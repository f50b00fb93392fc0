"""What the door remembers of a subject so that a newcomer gets its present at once, and what a break lost.

Messages of market_data are numbered within a market. After a break that could not be resumed the first number heard
tells what is missing: nothing, a range, or, when the numbers began anew, an unknown amount.
"""

from __future__ import annotations

from collections import deque

from services.stream.model import frame
from services.stream.model.book import BookMirror
from services.stream.model.frame import Frame
from services.stream.model.said import BookDelta, BookSnapshot, Value
from services.stream.model.topic import Kind, Subject

CANDLES_KEPT = 2
"""The forming candle and the one before."""

_EVENT = {
    Kind.PRICES: "price",
    Kind.TRADES: "trade",
    Kind.FUNDING: "funding_rate",
    Kind.CANDLES: "candle",
}


class Present:
    """The present of one subject."""

    __slots__ = ("_book", "_kept", "_snapshot", "_snapshot_of", "_subject", "_torn", "heard", "last_sequence")

    def __init__(self, subject: Subject, trades_kept: int) -> None:
        kept = {Kind.TRADES: trades_kept, Kind.CANDLES: CANDLES_KEPT}.get(subject.kind, 1)
        self._subject = subject
        self._kept: deque[tuple[str, Frame]] = deque(maxlen=kept)
        self._book = BookMirror()
        self._snapshot: Frame | None = None
        self._snapshot_of: bytes | None = None
        self._torn = False
        self.heard = False
        """Whether anything was ever heard of the subject."""
        self.last_sequence = 0

    @property
    def is_book(self) -> bool:
        """Say whether the present is a book, which is asked for by `snapshot` and not by `frames`."""
        return self._subject.kind is Kind.BOOK

    def frames(self) -> list[Frame]:
        """Return the present of anything but a book, oldest first."""
        return [item for _, item in self._kept]

    def snapshot(self) -> Frame | None:
        """Return the book as it stands, or None where there is none."""
        body = self._book.snapshot()
        if body is None:
            return None
        if body is not self._snapshot_of:
            self._snapshot, self._snapshot_of = frame.data(self._subject.topic, "book", body), body
        return self._snapshot

    def hear(self, value: Value) -> Frame:
        """Remember a value and return its frame."""
        made = frame.data(self._subject.topic, _EVENT[self._subject.kind], value.body)
        if self._subject.kind is Kind.CANDLES:
            self._keep_candle(value.slot, made)
        else:
            self._kept.append((value.slot, made))
        self._note(value.sequence)
        return made

    def replace(self, book: BookSnapshot) -> None:
        """Remember a whole book."""
        self._book.replace(book)
        self._note(book.sequence)

    def apply(self, delta: BookDelta) -> Frame:
        """Remember a change of the book and return its frame, or raise `BookBrokenError`."""
        self._book.apply(delta)
        self._note(delta.sequence)
        return frame.data(self._subject.topic, "book_delta", delta.body)

    def tear(self) -> None:
        """Take note that the stream could not be resumed: what comes next may leave a gap."""
        self._torn = True

    def mend(self, sequence: int | None) -> Frame | None:
        """Return the gap before the message `sequence` (None where it has no number), if a tear may have lost any."""
        torn, self._torn = self._torn, False
        if not torn or not self.heard:
            return None
        first = final = 0
        if sequence is not None and self.last_sequence:
            if sequence in (self.last_sequence, self.last_sequence + 1):
                return None
            if sequence > self.last_sequence:
                first, final = self.last_sequence + 1, sequence - 1
            else:
                self._kept.clear()  # the numbers began anew: what is kept belongs to the old count
        return frame.gap(
            self._subject.topic, self._subject.market, first, final, f"The source was cut off. {self._remedy(first)}"
        )

    def _remedy(self, first: int) -> str:
        if self._subject.kind is Kind.TRADES:
            how = "by first_sequence and last_sequence" if first else "that are still kept"
            return f"ListTrades has the missing trades {how}."
        if self._subject.kind is Kind.CANDLES:
            return "ListCandles has the missing candles."
        return "What follows is whole as it now stands."

    def _note(self, sequence: int) -> None:
        self.heard = True
        self.last_sequence = sequence

    def _keep_candle(self, slot: str, made: Frame) -> None:
        if self._kept and self._kept[-1][0] == slot:
            self._kept.pop()
        self._kept.append((slot, made))
