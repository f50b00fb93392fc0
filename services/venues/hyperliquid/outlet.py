"""The way out to the room: gives events on, and makes good what the room had no space for.

The venue sends whole books and whole tops, so what the room refused is repaired by giving the newest again, without
asking the venue. A refused print is told as lost trades. Memory: the newest top and two books of each market, and one
refused notice per market.
"""

from __future__ import annotations

from services.domain.feed import (
    Alive,
    BookSnapshot,
    Context,
    FeedState,
    ListingsChanged,
    MarketDown,
    TopOfBook,
    Trade,
)
from services.domain.market import HYPERLIQUID
from services.venues.hyperliquid.wire.events import FAST_DEPTH
from services.venues.port import Emit

BEHIND_REASON = "trades were dropped because they came faster than they were taken"


class Outlet:
    """Gives events to `emit`, remembering what must still be given."""

    __slots__ = ("_downs", "_emit", "_fast", "_full", "_listings", "_owed", "_prints_lost", "_tops")

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._tops: dict[str, TopOfBook] = {}
        self._fast: dict[str, BookSnapshot] = {}
        self._full: dict[str, BookSnapshot] = {}
        self._owed: set[str] = set()
        self._prints_lost: dict[str, int] = {}
        self._downs: dict[str, MarketDown] = {}
        self._listings: ListingsChanged | None = None

    def open(self, emit: Emit) -> None:
        """Give everything to `emit` from now on."""
        self._emit = emit

    def listings(self, event: ListingsChanged) -> None:
        """Give the listings; they come before all that speaks of them."""
        self._listings = None if self._emit(event) else event

    def top(self, event: TopOfBook) -> None:
        """Give the best bid and ask."""
        self._tops[event.market] = event
        if not self._emit(event):
            self._owed.add(event.market)

    def book(self, event: BookSnapshot) -> None:
        """Give a whole book."""
        held = self._fast if event.depth == FAST_DEPTH else self._full
        held[event.market] = event
        if not self._emit(event):
            self._owed.add(event.market)

    def trade(self, event: Trade) -> None:
        """Give a print."""
        if not self._emit(event):
            self._prints_lost[event.market] = event.receive_time_ns

    def context(self, event: Context) -> None:
        """Give a context; a refused one is made good by the next."""
        self._emit(event)

    def alive(self, event: Alive) -> None:
        """Say that prices are current; not while any of them is still owed, for then they are not."""
        if not (self._owed or self._downs):
            self._emit(event)

    def down(self, event: MarketDown) -> None:
        """Say that markets are no longer current."""
        for market in event.markets:
            self._downs.pop(market, None)
        if not self._emit(event):
            self._downs.update(dict.fromkeys(event.markets, event))

    def trades_lost(self, market: str, reason: str, time_ns: int) -> None:
        """Say that trades were missed, and at once that the market's prices are nevertheless as they were."""
        lost = MarketDown(
            venue=HYPERLIQUID,
            markets=frozenset((market,)),
            state=FeedState.RECOVERING,
            reason=reason,
            receive_time_ns=time_ns,
            trades_lost=True,
        )
        if self._emit(lost):
            self._prints_lost.pop(market, None)
            self.again(market)
        else:
            self._prints_lost[market] = time_ns

    def again(self, market: str) -> None:
        """Give the newest top and books of a market again."""
        self._owed.discard(market)
        for held in (self._full.get(market), self._fast.get(market), self._tops.get(market)):
            if held is not None and not self._emit(held):
                self._owed.add(market)
                return

    def forget_price(self, market: str) -> None:
        """The best bid and ask of a market is no longer known."""
        self._tops.pop(market, None)
        self._owed.discard(market)

    def forget_books(self, market: str, *, fast: bool = True, full: bool = True) -> None:
        """The books of a market are no longer known."""
        if fast:
            self._fast.pop(market, None)
        if full:
            self._full.pop(market, None)

    def settle(self) -> None:
        """Give what is still owed, in an order that ends in the truth; call a few times a second."""
        if self._listings is not None:
            self.listings(self._listings)
            if self._listings is not None:
                return
        for down in {id(event): event for event in self._downs.values()}.values():
            markets = frozenset(market for market in down.markets if self._downs.get(market) is down)
            if not self._emit(
                MarketDown(
                    venue=down.venue,
                    markets=markets,
                    state=down.state,
                    reason=down.reason,
                    receive_time_ns=down.receive_time_ns,
                    trades_lost=down.trades_lost,
                )
            ):
                return
            for market in markets:
                del self._downs[market]
                self._owed.add(market)  # what came after the notice must come after it again
        for market, time_ns in list(self._prints_lost.items()):
            self.trades_lost(market, BEHIND_REASON, time_ns)
        for market in list(self._owed):
            self.again(market)

    @property
    def owes(self) -> bool:
        """Whether the room still lacks something."""
        return bool(self._owed or self._downs or self._prints_lost or self._listings is not None)
