"""One order book over the venues, with the venues of every level, and the difference between two states of it."""

from __future__ import annotations

from dataclasses import dataclass

from services.domain.book import Level
from services.domain.feed import FeedState
from services.market_data.model.market import Market
from services.market_data.model.venue_market import Trust

Parts = tuple[tuple[str, int], ...]
"""(venue, size) of one price, ordered by venue, in the market's units."""


@dataclass(frozen=True, slots=True)
class VenueVersion:
    """Where one venue's book stood when the merged book was made."""

    venue: str
    version: int
    trust: Trust
    book_time_ns: int
    depth: int
    near_depth: int
    tail_time_ns: int


@dataclass(frozen=True, slots=True)
class MergedBook:
    """The best levels over the venues: price to parts, best price first, in the market's units."""

    bids: dict[int, Parts]
    asks: dict[int, Parts]
    versions: tuple[VenueVersion, ...]
    crossed: bool


@dataclass(frozen=True, slots=True)
class BookDifference:
    """The prices whose parts differ; empty parts mean that the price is gone."""

    bids: dict[int, Parts]
    asks: dict[int, Parts]


def merge(market: Market, depth: int, now_ns: int, *, include_stale: bool = False) -> MergedBook:
    """Return the best `depth` levels per side over the venues whose books are LIVE, or over all that have one."""
    bids: dict[int, list[tuple[str, int]]] = {}
    asks: dict[int, list[tuple[str, int]]] = {}
    versions = []
    for name, venue in market.venues.items():
        trust = venue.judge_book(now_ns)
        layers = venue.layers
        versions.append(
            VenueVersion(
                venue=name,
                version=venue.version,
                trust=trust,
                book_time_ns=venue.book_time_ns,
                depth=layers.depth if layers is not None else 0,
                near_depth=layers.near.depth if layers is not None and layers.near is not None else 0,
                tail_time_ns=layers.far.receive_time_ns if layers is not None and layers.far is not None else 0,
            )
        )
        if trust.state is FeedState.LIVE or (include_stale and venue.has_book()):
            _add(bids, name, venue.bids(depth), market)
            _add(asks, name, venue.asks(depth), market)
    best_bids = {price: tuple(bids[price]) for price in sorted(bids, reverse=True)[:depth]}
    best_asks = {price: tuple(asks[price]) for price in sorted(asks)[:depth]}
    crossed = bool(best_bids and best_asks) and next(iter(best_bids)) >= next(iter(best_asks))
    return MergedBook(best_bids, best_asks, tuple(versions), crossed)


def _add(side: dict[int, list[tuple[str, int]]], venue: str, levels: list[Level], market: Market) -> None:
    price_factor, size_factor = market.price_factors[venue], market.size_factors[venue]
    for price, size in levels:
        side.setdefault(price * price_factor, []).append((venue, size * size_factor))


def difference(before: MergedBook, after: MergedBook) -> BookDifference | None:
    """Return what turns `before` into `after`, or None when the levels are equal."""
    bids = _side_difference(before.bids, after.bids)
    asks = _side_difference(before.asks, after.asks)
    return BookDifference(bids, asks) if bids or asks else None


def _side_difference(before: dict[int, Parts], after: dict[int, Parts]) -> dict[int, Parts]:
    changed = {price: parts for price, parts in after.items() if before.get(price) != parts}
    for price in before:
        if price not in after:
            changed[price] = ()
    return changed
