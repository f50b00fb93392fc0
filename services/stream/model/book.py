"""A mirror of one book, kept so that a snapshot can be given at any moment without asking upstream.

A delta must apply to the very state the mirror holds and leave as many levels as it says; otherwise something was
lost, and the book must be asked for again.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from services.stream.model.said import BookDelta, BookSnapshot, Level


class BookBrokenError(Exception):
    """The book cannot be continued from what was said: a delta is missing, doubled or wrong."""


class BookMirror:
    """One book as last known."""

    __slots__ = ("_asks", "_bids", "_body", "_head", "sequence")

    def __init__(self) -> None:
        self._bids: dict[Decimal, bytes] = {}
        self._asks: dict[Decimal, bytes] = {}
        self._head: BookSnapshot | BookDelta | None = None
        self._body: bytes | None = None
        self.sequence = 0

    @property
    def known(self) -> bool:
        """Say whether there is a book."""
        return self._head is not None

    def replace(self, book: BookSnapshot) -> None:
        """Take a whole book."""
        self._bids = _levels(book.bids)
        self._asks = _levels(book.asks)
        self._stand(book)

    def apply(self, delta: BookDelta) -> None:
        """Apply a change, or raise `BookBrokenError` and forget the book."""
        if self._head is None or delta.previous_sequence != self.sequence:
            raise self._broken(f"a delta after {delta.previous_sequence} came to a book at {self.sequence}")
        _change(self._bids, delta.bids)
        _change(self._asks, delta.asks)
        if len(self._bids) != delta.bid_level_count or len(self._asks) != delta.ask_level_count:
            raise self._broken(
                f"after delta {delta.sequence} the book has {len(self._bids)} bids and {len(self._asks)} asks, "
                f"not {delta.bid_level_count} and {delta.ask_level_count}"
            )
        self._stand(delta)

    def snapshot(self) -> bytes | None:
        """Return the book as the JSON of an OrderBook, or None where there is none. Made once for each state."""
        head = self._head
        if head is None:
            return None
        if self._body is None:
            bids = b",".join([self._bids[price] for price in sorted(self._bids, reverse=True)])
            asks = b",".join([self._asks[price] for price in sorted(self._asks)])
            time = f',"update_time":"{head.update_time}"' if head.update_time else ""
            self._body = b'{"market":"%b","bids":[%b],"asks":[%b],"versions":%b,"crossed":%b,"sequence":"%d"%b}' % (
                head.market.encode(),
                bids,
                asks,
                head.versions,
                b"true" if head.crossed else b"false",
                self.sequence,
                time.encode(),
            )
        return self._body

    def _stand(self, head: BookSnapshot | BookDelta) -> None:
        self._head = head
        self._body = None
        self.sequence = head.sequence

    def _broken(self, why: str) -> BookBrokenError:
        market = self._head.market if self._head is not None else "unknown"
        self._head = self._body = None
        return BookBrokenError(f"The book of {market} cannot be continued: {why}.")


def _price(text: str) -> Decimal:
    try:
        price = Decimal(text)
    except InvalidOperation:
        raise BookBrokenError(f"A level has the price {text!r:.40}, which is no decimal.") from None
    if not price.is_finite():
        raise BookBrokenError(f"A level has the price {text!r:.40}, which is not finite.")
    return price


def _levels(levels: tuple[Level, ...]) -> dict[Decimal, bytes]:
    return {_price(level.price): level.body for level in levels}


def _change(side: dict[Decimal, bytes], levels: tuple[Level, ...]) -> None:
    for level in levels:
        if level.gone:
            side.pop(_price(level.price), None)
        else:
            side[_price(level.price)] = level.body
