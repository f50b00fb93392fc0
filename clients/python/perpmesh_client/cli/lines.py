"""Each value as one line of plain text, for a pipe or a file."""

from __future__ import annotations

from perpmesh_client.cli import formats
from perpmesh_client.values.book import BookLevel, OrderBook
from perpmesh_client.values.funding import FundingRate
from perpmesh_client.values.history import Candle
from perpmesh_client.values.price import BestLevel, Price
from perpmesh_client.values.trade import Gap, Trade
from perpmesh_client.values.venue import Venue


def price_line(price: Price) -> str:
    """Return a price: time, market, both sides with their venue, spread, crossed or not, every venue's state."""
    apart = formats.DASH
    if price.best_bid is not None and price.best_ask is not None:
        apart = formats.spread(price.best_bid.price, price.best_ask.price)
    states = " ".join(
        f"{formats.venue(venue.venue, venue.source)}={formats.state(venue.state)}/{formats.age(venue.age)}"
        for venue in price.venues
    )
    crossed = " CROSSED" if price.crossed else ""
    return (
        f"{formats.clock(price.update_time)} {price.market} bid {_best(price.best_bid)} ask {_best(price.best_ask)} "
        f"spread {apart}{crossed} {states}"
    )


def book_line(book: OrderBook) -> str:
    """Return the top of a book, and how deep it is."""
    crossed = " CROSSED" if book.crossed else ""
    states = " ".join(f"{item.venue}={formats.state(item.state)}/{formats.age(item.age)}" for item in book.versions)
    return (
        f"{formats.clock(book.update_time)} {book.market} #{book.sequence} bid {_top(book.bids)} ask {_top(book.asks)} "
        f"levels {len(book.bids)}/{len(book.asks)}{crossed} {states}"
    )


def trade_line(trade: Trade) -> str:
    """Return a trade."""
    liquidation = " liquidation" if trade.liquidation else ""
    return (
        f"{formats.clock(trade.trade_time)} {trade.market} {trade.side.name.lower():<4} "
        f"{formats.number(trade.size)} @ {formats.number(trade.price)} {trade.venue} #{trade.sequence}{liquidation}"
    )


def gap_line(gap: Gap) -> str:
    """Return a hole in what was shown."""
    return f"GAP: {gap}"


def funding_line(rate: FundingRate) -> str:
    """Return the funding of a market: each venue's hourly and yearly rate and next payment, and the spread."""
    venues = " ".join(
        f"{formats.venue(item.venue, item.source)}={formats.percent(item.hourly_rate, 5)}/h"
        f",{formats.percent(item.yearly_rate, 2)}/y,next {formats.minute(item.next_time)}"
        for item in rate.venues
    )
    return f"{formats.clock(rate.update_time)} {rate.market} {venues} spread {formats.percent(rate.hourly_spread, 5)}/h"


def candle_line(candle: Candle) -> str:
    """Return a candle as it stands."""
    state = "closed" if candle.closed else "forming"
    prices = " ".join(formats.number(value) for value in (candle.open, candle.high, candle.low, candle.close))
    of = f"{candle.market} {candle.interval.short} {candle.venue or 'all'}"
    return (
        f"{candle.open_time:%Y-%m-%d %H:%M:%S} {of} {prices} "
        f"volume {formats.number(candle.volume)} trades {candle.trade_count} {state}"
    )


def venue_line(venue: Venue) -> str:
    """Return a venue: its state and why, its connections, breakers and limits."""
    why = f" ({venue.state_reason})" if venue.state_reason else ""
    breakers = " ".join(f"{item.endpoint}={formats.state(item.state)}" for item in venue.breakers)
    limits = " ".join(f"{item.name}={item.used}/{item.allowed}" for item in venue.limits)
    connections = " ".join(
        f"{item.name}={formats.state(item.state)}/{formats.age(item.frame_age)}" for item in venue.connections
    )
    name = formats.venue(venue.venue, venue.source)
    return (
        f"{formats.clock(venue.state_time)} {name} {formats.state(venue.state)}{why} "
        f"markets {venue.market_count} connections {connections or formats.DASH} breakers {breakers or formats.DASH} "
        f"limits {limits or formats.DASH}"
    )


def _best(level: BestLevel | None) -> str:
    return (
        formats.DASH if level is None else f"{formats.number(level.price)} x {formats.number(level.size)} {level.venue}"
    )


def _top(levels: tuple[BookLevel, ...]) -> str:
    if not levels:
        return formats.DASH
    venues = "+".join(item.venue for item in levels[0].venues)
    return f"{formats.number(levels[0].price)} x {formats.number(levels[0].size)} {venues}"
