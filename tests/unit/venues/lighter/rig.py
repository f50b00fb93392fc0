"""A `Feed` on real links and sessions, without sockets; and a room that keeps books as the real one must."""

from __future__ import annotations

import random

from services.domain.book import Book, BookError
from services.domain.feed import (
    Alive,
    BookDelta,
    BookSnapshot,
    Context,
    Event,
    FeedState,
    MarketDown,
    TopOfBook,
    Trade,
)
from services.domain.market import Listing
from services.venues.budget import Allowance, Budget
from services.venues.circuit import SOCKET, Circuit
from services.venues.lifecycle import SessionConfig, State
from services.venues.lighter import plan
from services.venues.lighter.feed import Feed
from services.venues.lighter.wire.frames import Decoder, wire_market
from services.venues.link import Link
from services.venues.port import FeedLevel
from services.venues.session import Session
from tests.support.clock import ManualClock
from tests.unit.venues.lighter.samples import LISTINGS

GREETING = b'{"session_id":"x","type":"connected"}'


class Room:
    """Keeps what events say, the plain way. `live` is the set of markets whose book may be shown as current."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.books: dict[str, Book] = {}
        self.versions: dict[str, int] = {}
        self.live: set[str] = set()
        self.tops: dict[str, TopOfBook] = {}
        self.trades: list[Trade] = []
        self.contexts: dict[str, Context] = {}
        self.downs: list[MarketDown] = []
        self.alive: list[Alive] = []
        self.wrong: list[tuple[str, str]] = []
        self.is_full = False

    def emit(self, event: Event) -> bool:
        if self.is_full:
            return False
        self.events.append(event)
        if isinstance(event, BookSnapshot):
            self._snapshot(event)
        elif isinstance(event, BookDelta):
            self._delta(event)
        elif isinstance(event, MarketDown):
            self.downs.append(event)
            if event.state is FeedState.RECOVERING:
                self.live -= event.markets
        elif isinstance(event, TopOfBook):
            self.tops[event.market] = event
        elif isinstance(event, Trade):
            self.trades.append(event)
        elif isinstance(event, Context):
            self.contexts[event.market] = event
        elif isinstance(event, Alive):
            self.alive.append(event)
        return True

    def _snapshot(self, event: BookSnapshot) -> None:
        book = Book()
        book.replace(event.bids, event.asks)
        self.books[event.market] = book
        self.versions[event.market] = event.version
        self.live.add(event.market)

    def _delta(self, event: BookDelta) -> None:
        if event.market not in self.live:
            return
        assert event.previous_version == self.versions[event.market], "a broken chain was told"
        try:
            self.books[event.market].apply(event.bids, event.asks)
        except BookError as error:
            self.live.discard(event.market)
            self.wrong.append((event.market, str(error)))
        self.versions[event.market] = event.version


class Rig:
    """One feed over one link whose socket is the test itself: `said` is what was sent to the venue."""

    def __init__(
        self,
        levels: dict[str, FeedLevel],
        *,
        chain: str = "nonce",
        listings: tuple[Listing, ...] = LISTINGS,
    ) -> None:
        self.clock = ManualClock()
        self.room = Room()
        self.listed_again = 0
        self.feed = Feed(Decoder(listings, chain=chain), chain=chain, list_again=self._list_again)
        self.session = Session(
            SessionConfig(ping="ping", expects_greeting=True, subscriptions_max=100),
            messages=Budget(Allowance(units=1_000_000, seconds=60, reserve=10)),
            connects=Budget(Allowance(units=1_000_000, seconds=60)),
            rng=random.Random(5),
        )
        self.link = Link(
            name="lighter-1",
            url="ws://127.0.0.1:1/stream",
            session=self.session,
            listener=self.feed,
            breaker=Circuit("lighter", SOCKET, clock=self.clock),
            clock=self.clock,
        )
        self.levels = levels
        self.markets = {listing.market: wire_market(listing) for listing in listings}
        self.feed.start(self.room.emit, [self.link])
        self.feed.relist(listings, frozenset())
        self.want(levels)
        self.link._perform(self.session.start(self.now))
        self.connect()

    def _list_again(self) -> None:
        self.listed_again += 1

    @property
    def now(self) -> int:
        return self.clock.monotonic_ns()

    def want(self, levels: dict[str, FeedLevel]) -> None:
        placed = dict.fromkeys(levels, 0)
        self.feed.follow(levels, placed, self.markets)
        self.link.want(plan.subscriptions(0, levels, placed, self.markets))

    def connect(self) -> None:
        self.wait(0.2)
        assert self.session.state is State.CONNECTING
        self.link._perform(self.session.opened(self.now))
        self.give(GREETING)

    def cut(self) -> None:
        self.link._perform(self.session.closed("cut", self.now))

    def give(self, *frames: bytes) -> None:
        for frame in frames:
            self.link._perform(self.session.frame(self.now))
            self.feed.frame(self.link, frame, self.clock.time_ns())

    def wait(self, seconds: float) -> None:
        """Let time pass in steps; the venue stays silent."""
        steps = max(1, round(seconds / 0.05))
        for _ in range(steps):
            self.clock._move_to(self.now + round(seconds / steps * 1e9))
            self.link._perform(self.session.tick(self.now))
            self.feed.beat(self.clock.time_ns())

    @property
    def said(self) -> list[str]:
        """What was sent since last asked, pings left out."""
        sent = [text for text in self.link._outbox if text != "ping"]
        self.link._outbox.clear()
        return sent
