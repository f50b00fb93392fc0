"""What replicas of the room say to each other: one feeds sockets and tells, the others are fed by what it tells.

What is told goes in lines: one for each venue, and one for the trades of all, since those are numbered over all
venues. A replica that begins to listen, or has missed something, asks for the whole of a line and takes nothing of it
until that has come: what everything shows, then the changes upon it, without a hole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from services.domain.feed import (
    BookSnapshot,
    Event,
    FeedState,
    ListingsChanged,
    MarketDown,
    Trade,
)
from services.market_data.model.market import Market
from services.market_data.model.trade_log import NumberedTrade, TradeLog
from services.market_data.model.venue_market import VenueMarket
from services.venues.port import FeedLevel, VenueStatus

TRADES: str = "trades"
"""The line of all venues' trades."""
TRADES_TOLD: int = 100
"""How many recent trades of a market are part of the whole."""
WHOLE_MARKETS: int = 40
"""How many markets one message of the whole carries."""


class Part(IntEnum):
    """Where a message stands in the telling of the whole."""

    CHANGE = 0
    WHOLE_BEGIN = 1
    WHOLE = 2
    WHOLE_END = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the replica that feeds says in one line."""

    teller: str
    line: str
    part: Part = Part.CHANGE
    events: list[Event]
    status: VenueStatus | None = None
    """How the feed stands; told several times a second."""
    fed: dict[str, int] | None = None
    """How much of each market is subscribed, where that is more than its context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a replica that is fed wants; said once a second, so that its silence means that it is gone."""

    asker: str
    levels: dict[str, int]
    """What its callers watch, by `FeedLevel`."""
    whole: list[str]
    """The lines of which it needs the whole."""
    books: list[str]
    """The markets of whose books it needs the whole."""


def whole(line: str, markets: Iterable[Market], logs: dict[str, TradeLog], now_ns: int) -> Iterator[list[Event]]:
    """Yield what a line shows now, as the events that make it so, in messages of bounded size."""
    if line == TRADES:
        for log in logs.values():
            yield [numbered_trade(one) for one in reversed(log.newest(TRADES_TOLD))]
        return
    mine = [market for market in markets if line in market.venues]
    listings = tuple(market.venues[line].listing for market in mine)
    yield [ListingsChanged(venue=line, listings=listings, receive_time_ns=now_ns)]
    for start in range(0, len(mine), WHOLE_MARKETS):
        yield [event for market in mine[start : start + WHOLE_MARKETS] for event in shown(market.venues[line], now_ns)]


def shown(market: VenueMarket, now_ns: int) -> list[Event]:
    """Return the events that make another replica's part of a market show the same."""
    events: list[Event] = []
    if market.top is not None:
        events.append(market.top)
    events += books(market)
    if market.context is not None:
        events.append(market.context)
    down = market.price_down or market.book_down
    if down is not None and down.state is not FeedState.LIVE:
        name = frozenset({market.listing.market})
        events.append(
            MarketDown(
                venue=market.listing.venue, markets=name, state=down.state, reason=down.reason, receive_time_ns=now_ns
            )
        )
    return events


def books(market: VenueMarket) -> list[BookSnapshot]:
    """Return the book of a market at a venue as snapshots: one where it is full, one for each layer it has."""
    if market.book_down is not None:
        return []
    if market.full is not None:
        count = max(len(market.full.bids), len(market.full.asks))
        return [
            BookSnapshot(
                venue=market.listing.venue,
                market=market.listing.market,
                bids=market.full.bids.top(count),
                asks=market.full.asks.top(count),
                version=market.version,
                depth=0,
                venue_time_ns=market.full_time_ns,
                receive_time_ns=market.book_time_ns,
            )
        ]
    layers = market.layers
    return [] if layers is None else [layer for layer in (layers.far, layers.near) if layer is not None]


def numbered_trade(numbered: NumberedTrade) -> Trade:
    """Return a trade that carries its number."""
    one = numbered.trade
    return Trade(
        venue=one.venue,
        market=one.market,
        trade_id=one.trade_id,
        price=one.price,
        size=one.size,
        buy=one.buy,
        liquidation=one.liquidation,
        venue_time_ns=one.venue_time_ns,
        receive_time_ns=one.receive_time_ns,
        sequence=numbered.sequence,
    )


def levels_of(told: dict[str, int]) -> dict[str, FeedLevel]:
    """Return levels as a venue is told them, leaving out numbers that are none."""
    known = {int(level): level for level in FeedLevel}
    return {market: known[number] for market, number in told.items() if number in known}
