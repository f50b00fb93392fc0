"""One market at one venue: its book, its top, its context, and how far they can be trusted.

Two kinds of book exist. A *full* book (Lighter) is a snapshot and a chain of deltas. A *layered* book (Hyperliquid) is
whole snapshots of a near and a far depth, resent at different cadences, with a faster best bid and ask over both. In
either case the newest evidence by the venue's own time decides the top.

Trust has two parts, price and book, because a venue's best bid and ask can be current while its book is being rebuilt.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from services.domain.book import Book, BookError, Level
from services.domain.feed import BookDelta, BookSnapshot, Context, FeedState, MarketDown, TopOfBook, Trade
from services.domain.market import Listing, Status
from services.market_data.model.layers import Layers

STALE_AFTER_NS: Final = 2_700_000_000
"""Silence after which values are STALE: under the promised 3 s, so that a client sees it within 3 s."""


@dataclass(frozen=True, slots=True)
class Trust:
    """How far something can be trusted, and why not further."""

    state: FeedState
    reason: str


LIVE: Final = Trust(FeedState.LIVE, "")
_AUDITED_LEVELS_MAX: Final = 250
_WAITING: Final = Trust(FeedState.RECOVERING, "waiting for the first book or best bid and ask of this market")
_NO_BOOK: Final = Trust(FeedState.RECOVERING, "waiting for the first book of this market")
_HALTED: Final = Trust(FeedState.HALTED, "the venue does not trade this market now")


class VenueMarket:
    """The mutable state of one market at one venue. Every method takes the time it needs to know."""

    __slots__ = (
        "alive_time_ns",
        "ask",
        "bid",
        "book_changes",
        "book_down",
        "book_time_ns",
        "changed",
        "context",
        "context_time_ns",
        "full",
        "full_time_ns",
        "last_price",
        "last_trade_time_ns",
        "layers",
        "listing",
        "price_down",
        "price_trust",
        "top",
        "top_time_ns",
        "version",
    )

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self.full: Book | None = None
        self.full_time_ns = 0
        self.layers: Layers | None = None
        self.top: TopOfBook | None = None
        self.version = 0
        self.bid: Level | None = None
        self.ask: Level | None = None
        self.top_time_ns = 0
        self.book_time_ns = 0
        self.alive_time_ns = 0
        self.last_price: int | None = None
        self.last_trade_time_ns = 0
        self.context: Context | None = None
        self.context_time_ns = 0
        self.price_down: Trust | None = None
        self.book_down: Trust | None = None
        self.price_trust = _WAITING
        self.book_changes = 0
        self.changed = True

    # What the feed says.

    def on_snapshot(self, event: BookSnapshot) -> None:
        """Take a whole book or layer. Raises `BookError`; the book is then down until the next snapshot."""
        try:
            if event.depth == 0:
                book = Book()
                book.replace(event.bids, event.asks)
                self.full, self.full_time_ns = book, event.venue_time_ns
            else:
                if self.layers is None:
                    self.layers = Layers()
                if not self.layers.put(event):
                    return
        except BookError as error:
            self._lose_book(f"a snapshot that cannot be true: {error}")
            raise
        self.version = event.version
        self.book_time_ns = event.receive_time_ns
        self.book_down = self.price_down = None
        self.book_changes += 1
        self._set_top(event.receive_time_ns)

    def on_delta(self, event: BookDelta) -> None:
        """Take one change of a full book. Raises `BookError` when it does not chain or the result is impossible."""
        book = self.full
        if book is None or self.book_down is not None:
            return
        try:
            if event.previous_version != self.version:
                raise BookError(f"change upon version {event.previous_version}, the book is at {self.version}")
            book.apply(event.bids, event.asks)
        except BookError as error:
            self._lose_book(f"a change that cannot be true: {error}")
            raise
        self.version = event.version
        self.full_time_ns = event.venue_time_ns
        self.book_time_ns = event.receive_time_ns
        self.book_changes += 1
        top = self.top
        if top is None or event.venue_time_ns >= top.venue_time_ns:
            self.top_time_ns = event.receive_time_ns
            if book.best_bid != self.bid or book.best_ask != self.ask:
                self.bid, self.ask = book.best_bid, book.best_ask
                self.changed = True

    def on_top(self, event: TopOfBook) -> None:
        """Take the venue's best bid and ask. Raises `BookError` when they cross."""
        known = self.top
        if known is not None and event.venue_time_ns < known.venue_time_ns:
            return
        if event.bid is not None and event.ask is not None and event.bid[0] >= event.ask[0]:
            raise BookError(f"best bid {event.bid[0]} is not below best ask {event.ask[0]}")
        self.top = event
        self.price_down = None
        if self.layers is not None:
            self.layers.overlay(event)
            self.book_changes += 1
        self._set_top(event.receive_time_ns)

    def on_trade(self, event: Trade) -> None:
        """Take a print; one older than the last (a backfill) changes nothing here."""
        if event.venue_time_ns < self.last_trade_time_ns:
            return
        self.last_trade_time_ns = event.venue_time_ns
        if event.price != self.last_price:
            self.last_price = event.price
            self.changed = True

    def on_context(self, event: Context) -> None:
        """Take the values beside the book; a value that is None keeps the one before."""
        known = self.context
        if known is not None:
            for name in _CONTEXT_VALUES:
                if getattr(event, name) is None:
                    setattr(event, name, getattr(known, name))
            if any(getattr(event, name) != getattr(known, name) for name in _CONTEXT_VALUES):
                self.changed = True
        else:
            self.changed = True
        self.context = event
        self.context_time_ns = event.receive_time_ns

    def on_alive(self, receive_time_ns: int) -> None:
        """Take proof that nothing is missing up to now: ends a silence, not a recovery."""
        self.alive_time_ns = receive_time_ns
        if self.price_down is not None and self.price_down.state is FeedState.STALE:
            self.price_down = None
        if self.book_down is not None and self.book_down.state is FeedState.STALE:
            self.book_down = None

    def on_down(self, event: MarketDown) -> None:
        """Take the loss of the feed; the values stay, as the last known."""
        trust = Trust(event.state, event.reason)
        self.price_down = trust
        if self.book_down is None or self.book_down.state is not FeedState.RECOVERING:
            self.book_down = trust
        if event.state is FeedState.RECOVERING:
            self.book_down = trust
            self.top = None
        self.book_changes += 1

    def _lose_book(self, reason: str) -> None:
        self.book_down = Trust(FeedState.RECOVERING, reason)
        if self.top is None or self.layers is None:
            self.price_down = self.book_down
        self.book_changes += 1
        self.changed = True

    # What is shown.

    def _set_top(self, receive_time_ns: int) -> None:
        """Set best bid and ask from the newest evidence by the venue's own time."""
        top = self.top
        book_is_good = self.book_down is None
        if self.layers is not None and book_is_good:
            bid, ask = self.layers.best()
        elif self.full is not None and book_is_good and (top is None or self.full_time_ns >= top.venue_time_ns):
            bid, ask = self.full.best_bid, self.full.best_ask
        elif top is not None:
            bid, ask = top.bid, top.ask
        else:
            return
        self.top_time_ns = receive_time_ns
        if bid != self.bid or ask != self.ask:
            self.bid, self.ask = bid, ask
            self.changed = True

    def confirmed_time_ns(self) -> int:
        """Return when best bid and ask were last known to be current."""
        if self.layers is not None and self.layers.has_near:
            return self.top_time_ns
        return max(self.top_time_ns, self.alive_time_ns) if self.top_time_ns else 0

    def judge(self, now_ns: int) -> Trust:
        """Return how far best bid and ask can be trusted now."""
        if self.listing.status is not Status.ACTIVE:
            return _HALTED
        if self.price_down is not None:
            return self.price_down
        confirmed_ns = self.confirmed_time_ns()
        if confirmed_ns == 0:
            return _WAITING
        return LIVE if now_ns - confirmed_ns <= STALE_AFTER_NS else _silent(now_ns - confirmed_ns)

    def judge_book(self, now_ns: int) -> Trust:
        """Return how far the book can be trusted now."""
        if self.listing.status is not Status.ACTIVE:
            return _HALTED
        if self.book_down is not None:
            return self.book_down
        if self.full is None and self.layers is None:
            return _NO_BOOK
        confirmed_ns = self.book_time_ns
        if self.full is not None:
            confirmed_ns = max(confirmed_ns, self.alive_time_ns)
        return LIVE if now_ns - confirmed_ns <= STALE_AFTER_NS else _silent(now_ns - confirmed_ns)

    def refresh(self, now_ns: int) -> None:
        """Judge anew; a changed state counts as a change worth showing."""
        trust = self.judge(now_ns)
        if trust is not self.price_trust:
            if trust.state is not self.price_trust.state:
                self.changed = True
            self.price_trust = trust

    def bids(self, count: int) -> list[Level]:
        """Return at most `count` bids, best first."""
        if self.full is not None:
            return self.full.bids.top(count)
        return self.layers.bids(count) if self.layers is not None else []

    def asks(self, count: int) -> list[Level]:
        """Return at most `count` asks, best first."""
        if self.full is not None:
            return self.full.asks.top(count)
        return self.layers.asks(count) if self.layers is not None else []

    def audited_depth(self) -> int:
        """Return how many levels per side are current enough to be compared with a fresh snapshot."""
        if self.full is not None:
            return _AUDITED_LEVELS_MAX
        return self.layers.near.depth if self.layers is not None and self.layers.near is not None else 0

    def has_book(self) -> bool:
        """Return whether a book was ever received."""
        return self.full is not None or self.layers is not None

    def forget_book(self) -> None:
        """Drop a book that is fed no longer, so that it is never shown as current."""
        if self.has_book():
            self.full = self.layers = None
            self.book_down = None
            self.book_changes += 1
            if self.top is not None:
                self._set_top(self.top.receive_time_ns)

    def last(self) -> Decimal | int | None:
        """Return the last trade's price: in units from a print, else the context's `Decimal`, else None."""
        if self.last_price is not None:
            return self.last_price
        return self.context.last_price if self.context is not None else None


_CONTEXT_VALUES: Final = (
    "mark_price",
    "index_price",
    "last_price",
    "funding_rate",
    "volume_24h_usd",
    "open_interest",
)


def _silent(silence_ns: int) -> Trust:
    return Trust(FeedState.STALE, f"nothing from the venue for this market for {silence_ns / 1e9:.1f} s")
