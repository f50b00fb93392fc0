"""What is known of one market's stream: where its chain stands, and which trades were already told. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from services.domain.feed import BookDelta, BookSnapshot, Trade
from services.venues.lighter.wire.frames import NO_CHAIN
from services.venues.port import FeedLevel

TRADES_REMEMBERED: Final = 512
"""Per market; a snapshot replays at most 50 trades and 50 liquidations."""
BEHIND_AFTER_NS: Final = 1_500_000_000
"""How long the ticker may be ahead of the book; updates are batched over 50 ms."""


OVERLAPS_MAX: Final = 16
"""Updates after a snapshot that may be older than it; mainnet repeated one in December 2025. More are a restart."""


RENEWALS_AT_ONCE: Final = 3
"""How many times within `RENEWALS_SPAN_NS` a book is asked for anew without waiting."""
RENEWALS_SPAN_NS: Final = 10_000_000_000
RENEWAL_EVERY_NS: Final = 1_200_000_000
"""How far apart further ones are: a bad line must not use up the messages that other books need to come back."""


class Step(Enum):
    """What an update means for the chain."""

    NEXT = auto()
    AGAIN = auto()
    """The same update once more, or one that the snapshot has in it."""
    EARLY = auto()
    """No snapshot yet: the update is of the subscription before."""
    GAP = auto()


class TradeMemory:
    """Which trades were told already, by the venue's growing trade ids."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._order: deque[int] = deque()
        self._floor = -1
        self._newest = -1

    def fresh(self, trades: list[Trade], *, snapshot: bool) -> tuple[list[Trade], bool]:
        """Return the trades not told before, oldest first, and whether some between were surely missed.

        A snapshot after a cut replays the latest; when none of its ordinary trades is known, others came before them.
        """
        new, met, ordinary = [], False, 0
        for trade in trades:
            number = int(trade.trade_id)
            if not trade.liquidation:
                ordinary += 1
                met = met or number in self._seen or number <= self._floor
            if number > self._floor and number not in self._seen:
                new.append(trade)
        missed = snapshot and self._newest >= 0 and ordinary > 0 and not met
        for trade in new:
            self._remember(int(trade.trade_id))
        return new, missed

    def _remember(self, number: int) -> None:
        self._seen.add(number)
        self._order.append(number)
        self._newest = max(self._newest, number)
        if len(self._order) > TRADES_REMEMBERED:
            forgotten = self._order.popleft()
            self._seen.discard(forgotten)
            self._floor = max(self._floor, forgotten)


@dataclass(slots=True)
class Progress:
    """How far one channel has come, beside what others say has happened: a dead channel is one that stays behind.

    Every change has one number over all channels of the venue, so a trade or a ticker proves what a book must reach.
    """

    reached: int = NO_CHAIN
    evidence: int = NO_CHAIN
    since_ns: int = 0
    """When the evidence first went beyond what was reached; 0 while it has not."""

    def reach(self, number: int) -> None:
        """The channel told of the change `number`."""
        self.reached = max(self.reached, number)
        if self.reached >= self.evidence:
            self.since_ns = 0

    def told(self, number: int, now_ns: int) -> None:
        """Another channel told of the change `number`."""
        self.evidence = max(self.evidence, number)
        if self.evidence > self.reached and not self.since_ns:
            self.since_ns = now_ns

    def reset(self) -> None:
        """The channel starts anew."""
        self.reached = self.evidence = NO_CHAIN
        self.since_ns = 0

    def is_behind(self, now_ns: int) -> bool:
        """Whether the channel has been behind for too long."""
        return self.since_ns != 0 and now_ns - self.since_ns > BEHIND_AFTER_NS


@dataclass(slots=True)
class Track:
    """One market as it is fed."""

    market: str
    market_id: int
    link: int
    level: FeedLevel
    asked: bool = True
    """Whether somebody asked for this market, or it is fed because there is room."""
    synced: bool = False
    """Whether the book's chain is whole since its last snapshot."""
    priced: bool = False
    """Whether the ticker has come since it was last asked for."""
    version: int = NO_CHAIN
    previous: int = NO_CHAIN
    overlaps: int = 0
    book: Progress = field(default_factory=Progress)
    ticker: Progress = field(default_factory=Progress)
    trades: TradeMemory = field(default_factory=TradeMemory)
    renewals: deque[int] = field(default_factory=lambda: deque(maxlen=RENEWALS_AT_ONCE))
    """When the book was last asked for anew."""
    renewal_due: bool = False
    """Whether it is to be asked for anew as soon as it may be."""

    @property
    def book_key(self) -> str:
        """The key of the book's subscription."""
        return f"order_book/{self.market_id}"

    @property
    def ticker_key(self) -> str:
        """The key of the ticker's subscription."""
        return f"ticker/{self.market_id}"

    @property
    def trade_key(self) -> str:
        """The key of the trades' subscription."""
        return f"trade/{self.market_id}"

    def may_renew(self, now_ns: int) -> bool:
        """Whether the book may be asked for anew now; a yes is noted."""
        times = self.renewals
        often = len(times) == RENEWALS_AT_ONCE and now_ns - times[0] < RENEWALS_SPAN_NS
        if often and now_ns - times[-1] < RENEWAL_EVERY_NS:
            return False
        times.append(now_ns)
        return True

    @property
    def current(self) -> bool:
        """Whether what was told of the best prices holds as long as the socket lives."""
        return self.synced or self.priced

    def step(self, delta: BookDelta) -> Step:
        """Say what the update means, and follow it where it is the next."""
        if not self.synced:
            return Step.EARLY
        if delta.previous_version == self.version and delta.version > self.version:
            self.previous, self.version = self.version, delta.version
            if self.book.since_ns:
                self.book.reach(delta.version)
            return Step.NEXT
        if self.previous == NO_CHAIN and delta.version <= self.version and self.overlaps < OVERLAPS_MAX:
            self.overlaps += 1
            return Step.AGAIN
        if delta.version == self.version and delta.previous_version == self.previous != NO_CHAIN:
            return Step.AGAIN
        return Step.GAP

    def gap_sentence(self, delta: BookDelta) -> str:
        """Say what is wrong with the update that broke the chain."""
        if delta.previous_version == NO_CHAIN:
            return "an update of the book does not say which one it follows"
        return f"an update of the book follows {delta.previous_version}, the book is at {self.version}"

    def start(self, snapshot: BookSnapshot) -> None:
        """Begin a chain."""
        self.synced = True
        self.version, self.previous, self.overlaps = snapshot.version, NO_CHAIN, 0
        self.book.reset()

    def break_chain(self) -> None:
        """Wait for a snapshot."""
        self.synced = False
        self.version = self.previous = NO_CHAIN
        self.book.reset()

    def lose_price(self) -> None:
        """Wait for a ticker."""
        self.priced = False
        self.ticker.reset()

    def seen(self, number: int, now_ns: int, *, trade: bool) -> None:
        """A ticker or trade told of the change `number`: the book must reach it, and after a trade the ticker too."""
        if self.synced and number > self.version:
            self.book.reached = self.version
            self.book.told(number, now_ns)
        if trade and self.priced:
            self.ticker.told(number, now_ns)
