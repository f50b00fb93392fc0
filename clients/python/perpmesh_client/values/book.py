"""One order book over all venues. Prices are in USD, sizes in units of the base asset."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from perpmesh_client.values.convert import decimal, span, time, word
from perpmesh_client.values.states import STATES, State
from perpmesh_client.values.to_json import WIDE

if TYPE_CHECKING:
    from perpmesh.marketdata.v1 import book_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueSize:
    """What one venue has at one price."""

    venue: str
    size: Decimal
    """In units of the base asset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BookLevel:
    """One price of the book."""

    price: Decimal
    """In USD."""
    size: Decimal
    """Over all venues, in units of the base asset."""
    venues: tuple[VenueSize, ...]
    """What each venue has at this price, ordered by name."""

    @classmethod
    def from_proto(cls, message: book_pb2.BookLevel) -> BookLevel:
        """Return the value a message holds."""
        return cls(
            price=decimal(message.price),
            size=decimal(message.size),
            venues=tuple(VenueSize(venue=item.venue, size=decimal(item.size)) for item in message.venues),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BookVersion:
    """Where one venue's book stands."""

    venue: str
    version: int = field(metadata=WIDE)
    """The number of the venue's book, growing: Lighter's nonce, Hyperliquid's block time in milliseconds."""
    state: State
    """How far the book can be trusted; only LIVE ones are in the levels, unless the call asked for more."""
    age: timedelta | None
    """How long before `update_time` the venue last confirmed the book."""
    depth: int
    """How many levels per side the venue gives; zero means all."""
    tail_age: timedelta | None
    """The age of the levels behind the first `near_depth`, where the venue refreshes those more slowly."""
    near_depth: int
    """How many levels per side are refreshed at the venue's fast cadence; zero where there is no difference."""

    @classmethod
    def from_proto(cls, message: book_pb2.BookVersion) -> BookVersion:
        """Return the value a message holds."""
        return cls(
            venue=message.venue,
            version=message.version,
            state=word(STATES, message.state),
            age=span(message.age) if message.HasField("age") else None,
            depth=message.depth,
            tail_age=span(message.tail_age) if message.HasField("tail_age") else None,
            near_depth=message.near_depth,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderBook:
    """One order book over all venues, as it stood at one moment."""

    market: str
    """The canonical name, such as `BTC-PERP`."""
    bids: tuple[BookLevel, ...]
    """Highest price first."""
    asks: tuple[BookLevel, ...]
    """Lowest price first."""
    versions: tuple[BookVersion, ...]
    """The book of each venue, ordered by name."""
    crossed: bool
    """Whether the best bid is at or above the best ask; that happens between venues and is no fault."""
    sequence: int = field(metadata=WIDE)
    """One more with every change within market and depth."""
    update_time: datetime | None
    """When this state was made."""

    @classmethod
    def from_proto(cls, message: book_pb2.OrderBook) -> OrderBook:
        """Return the value a message holds."""
        return cls(
            market=message.market,
            bids=tuple(BookLevel.from_proto(level) for level in message.bids),
            asks=tuple(BookLevel.from_proto(level) for level in message.asks),
            versions=tuple(BookVersion.from_proto(version) for version in message.versions),
            crossed=message.crossed,
            sequence=message.sequence,
            update_time=time(message.update_time) if message.HasField("update_time") else None,
        )


class BookDivergence(Exception):  # noqa: N818 - it names what happened, and the stream mends it
    """A delta does not fit the local book: a change was lost, and only a fresh snapshot helps."""


class LocalBook:
    """A book kept up to date from a snapshot and deltas, and checked with each of them.

    Every delta names the state it applies to and how many levels each side has afterwards; either differing from what
    is here raises `BookDivergence`. The levels are read through `bids` and `asks`, sorted once per change.
    """

    def __init__(self, market: str) -> None:
        """Make an empty book; it stands for nothing before the first `reset`."""
        self.market = market
        self.sequence = 0
        self.crossed = False
        self.update_time: datetime | None = None
        self.versions: tuple[BookVersion, ...] = ()
        self._bids: dict[Decimal, BookLevel] = {}
        self._asks: dict[Decimal, BookLevel] = {}
        self._sorted_bids: tuple[BookLevel, ...] | None = None
        self._sorted_asks: tuple[BookLevel, ...] | None = None

    @property
    def bids(self) -> tuple[BookLevel, ...]:
        """The bids, highest price first."""
        if self._sorted_bids is None:
            self._sorted_bids = tuple(self._bids[price] for price in sorted(self._bids, reverse=True))
        return self._sorted_bids

    @property
    def asks(self) -> tuple[BookLevel, ...]:
        """The asks, lowest price first."""
        if self._sorted_asks is None:
            self._sorted_asks = tuple(self._asks[price] for price in sorted(self._asks))
        return self._sorted_asks

    def snapshot(self) -> OrderBook:
        """Return the book as it stands now, as a value that does not change."""
        return OrderBook(
            market=self.market,
            bids=self.bids,
            asks=self.asks,
            versions=self.versions,
            crossed=self.crossed,
            sequence=self.sequence,
            update_time=self.update_time,
        )

    def reset(self, message: book_pb2.OrderBook) -> None:
        """Take a snapshot in place of everything known."""
        self._bids = _by_price(message.bids)
        self._asks = _by_price(message.asks)
        self._settle(message)

    def apply(self, delta: book_pb2.BookDelta) -> None:
        """Apply one delta, or raise `BookDivergence`; after that the book must be reset."""
        if delta.previous_sequence != self.sequence:
            raise BookDivergence(
                f"a delta of {self.market} applies to state {delta.previous_sequence}, and the book here is at "
                f"{self.sequence}"
            )
        _change(self._bids, delta.bids)
        _change(self._asks, delta.asks)
        self._settle(delta)
        if (len(self._bids), len(self._asks)) != (delta.bid_level_count, delta.ask_level_count):
            raise BookDivergence(
                f"after delta {delta.sequence} the book of {self.market} should have {delta.bid_level_count} bids and "
                f"{delta.ask_level_count} asks, and here has {len(self._bids)} and {len(self._asks)}"
            )

    def _settle(self, message: book_pb2.OrderBook | book_pb2.BookDelta) -> None:
        self._sorted_bids = self._sorted_asks = None
        self.sequence = message.sequence
        self.crossed = message.crossed
        self.update_time = time(message.update_time) if message.HasField("update_time") else None
        self.versions = tuple(BookVersion.from_proto(version) for version in message.versions)


def _by_price(levels: Iterable[book_pb2.BookLevel]) -> dict[Decimal, BookLevel]:
    return {level.price: level for level in map(BookLevel.from_proto, levels)}


def _change(side: dict[Decimal, BookLevel], levels: Iterable[book_pb2.BookLevel]) -> None:
    for level in map(BookLevel.from_proto, levels):
        if level.size:
            side[level.price] = level
        else:
            side.pop(level.price, None)
