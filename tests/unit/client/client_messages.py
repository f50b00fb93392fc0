"""Messages of the contract, filled as a mesh with two simulated venues would fill them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from perpmesh.marketdata.v1 import (
    book_pb2,
    candle_pb2,
    funding_pb2,
    history_pb2,
    market_pb2,
    price_pb2,
    state_pb2,
    trade_pb2,
    venue_pb2,
)
from perpmesh.type.v1 import side_pb2

NOON = datetime(2026, 1, 2, 12, 0, 0, 250_000, tzinfo=UTC)


def venue_price(venue: str, bid: str, ask: str, *, state: int = state_pb2.STATE_LIVE) -> price_pb2.VenuePrice:
    """Return what one venue shows."""
    message = price_pb2.VenuePrice(
        venue=venue,
        state=state,  # type: ignore[arg-type]
        bid=bid,
        bid_size="1.5",
        ask=ask,
        ask_size="0.25",
        mark_price="100001.5",
        funding_rate="0.0000125",
        volume_24h="1234567.89",
        source=state_pb2.SOURCE_SIMULATED,
    )
    message.receive_time.FromDatetime(NOON)
    message.age.FromTimedelta(timedelta(milliseconds=120))
    if state != state_pb2.STATE_LIVE:
        message.state_reason = "Silent for 4.2 seconds."
    return message


def price(market: str = "BTC-PERP", sequence: int = 1, *, bid: str = "100000", ask: str = "100001") -> price_pb2.Price:
    """Return a price with `bid` at hyperliquid and `ask` at lighter."""
    message = price_pb2.Price(
        market=market,
        best_bid=price_pb2.BestLevel(price=bid, size="1.5", venue="hyperliquid"),
        best_ask=price_pb2.BestLevel(price=ask, size="0.25", venue="lighter"),
        crossed=Decimal(bid) >= Decimal(ask),
        venues=[
            venue_price("hyperliquid", bid, str(Decimal(ask) + 1)),
            venue_price("lighter", str(Decimal(bid) - 1), ask),
        ],
        sequence=sequence,
    )
    message.update_time.FromDatetime(NOON)
    return message


def level(price_text: str, **sizes: str) -> book_pb2.BookLevel:
    """Return a level from the size of each venue; without any it says that the level is gone."""
    total = sum((Decimal(size) for size in sizes.values()), Decimal(0))
    venues = [book_pb2.VenueSize(venue=venue, size=size) for venue, size in sorted(sizes.items())]
    return book_pb2.BookLevel(price=price_text, size=format(total, "f"), venues=venues)


def order_book(
    sequence: int = 1,
    *,
    bids: Iterable[book_pb2.BookLevel] | None = None,
    asks: Iterable[book_pb2.BookLevel] | None = None,
) -> book_pb2.OrderBook:
    """Return a book of BTC-PERP."""
    message = book_pb2.OrderBook(
        market="BTC-PERP",
        bids=[level("100000", hyperliquid="1", lighter="0.5"), level("99999", lighter="2")] if bids is None else bids,
        asks=[level("100001", lighter="0.25"), level("100002.5", hyperliquid="3")] if asks is None else asks,
        versions=[
            book_pb2.BookVersion(venue="hyperliquid", version=1_767_355_200_250, state=state_pb2.STATE_LIVE, depth=20),
            book_pb2.BookVersion(venue="lighter", version=77, state=state_pb2.STATE_LIVE),
        ],
        sequence=sequence,
    )
    message.update_time.FromDatetime(NOON)
    return message


def delta(
    sequence: int,
    counts: tuple[int, int],
    *,
    previous: int | None = None,
    bids: Iterable[book_pb2.BookLevel] = (),
    asks: Iterable[book_pb2.BookLevel] = (),
) -> book_pb2.BookDelta:
    """Return a delta to state `sequence`, after which there are `counts` bids and asks."""
    return book_pb2.BookDelta(
        market="BTC-PERP",
        bids=bids,
        asks=asks,
        sequence=sequence,
        previous_sequence=sequence - 1 if previous is None else previous,
        bid_level_count=counts[0],
        ask_level_count=counts[1],
    )


def trade(sequence: int, *, market: str = "BTC-PERP", trade_id: str | None = None, second: int = 0) -> trade_pb2.Trade:
    """Return the trade of a sequence number; its id is made of the number unless given."""
    message = trade_pb2.Trade(
        market=market,
        venue="lighter" if sequence % 2 else "hyperliquid",
        trade_id=trade_id or f"t{sequence}",
        price="100000.5",
        size="0.01",
        side=side_pb2.SIDE_BUY if sequence % 3 else side_pb2.SIDE_SELL,
        sequence=sequence,
    )
    message.trade_time.FromDatetime(NOON + timedelta(seconds=second))
    return message


def funding(market: str = "BTC-PERP", rates: Mapping[str, str] | None = None) -> funding_pb2.FundingRate:
    """Return the funding of a market with an hourly rate per venue."""
    rates = rates or {"hyperliquid": "0.0000125", "lighter": "-0.000004"}
    message = funding_pb2.FundingRate(market=market, sequence=3)
    for venue, rate in rates.items():
        item = message.venues.add(
            venue=venue,
            rate=rate,
            hourly_rate=rate,
            yearly_rate=format(Decimal(rate) * 24 * 365, "f"),
            state=state_pb2.STATE_LIVE,
            source=state_pb2.SOURCE_TESTNET,
        )
        item.interval.FromTimedelta(timedelta(hours=1))
        item.next_time.FromDatetime(NOON + timedelta(minutes=30))
        item.age.FromTimedelta(timedelta(seconds=1, milliseconds=500))
    values = {venue: Decimal(rate) for venue, rate in rates.items()}
    message.hourly_spread = format(max(values.values()) - min(values.values()), "f")
    message.highest_venue = max(values, key=lambda venue: values[venue])
    message.lowest_venue = min(values, key=lambda venue: values[venue])
    message.update_time.FromDatetime(NOON)
    return message


def market(name: str = "BTC-PERP") -> market_pb2.Market:
    """Return a market that both venues list."""
    base = name.removesuffix("-PERP")
    message = market_pb2.Market(market=name, base=base)
    for venue, number in (("hyperliquid", 0), ("lighter", 1)):
        listing = message.listings.add(
            venue=venue,
            symbol=base,
            venue_market_id=number,
            quote="USDC",
            tick="0.1",
            price_decimals=1,
            lot="0.00001",
            min_notional="10",
            max_leverage=40,
            leverage_tiers=[
                market_pb2.Market.LeverageTier(lower_notional="0", max_leverage=40, maintenance_margin="0.0125")
            ],
            maker_fee="0.00015",
            taker_fee="0.00045",
            status=market_pb2.Market.STATUS_ACTIVE,
            feed=market_pb2.Market.FEED_BOOK,
            source=state_pb2.SOURCE_MAINNET,
        )
        listing.funding_interval.FromTimedelta(timedelta(hours=1))
    return message


def venue(name: str = "lighter") -> venue_pb2.Venue:
    """Return a venue with everything filled."""
    message = venue_pb2.Venue(
        venue=name,
        state=state_pb2.STATE_RECOVERING,
        state_reason="The connection was cut; the next attempt is in 2 seconds.",
        source=state_pb2.SOURCE_SIMULATED,
        address="http://127.0.0.1:9100",
        market_count=42,
        counts=venue_pb2.Venue.FeedCounts(frames=9_007_199_254_740_993, bad_frames=2, gaps=1, resyncs=3),
    )
    message.state_time.FromDatetime(NOON)
    connection = message.connections.add(
        name="ws-0", state=state_pb2.STATE_RECOVERING, subscription_count=12, reconnect_count=4
    )
    connection.frame_age.FromTimedelta(timedelta(seconds=3, milliseconds=50))
    message.breakers.add(
        endpoint="ws",
        state=venue_pb2.Venue.Breaker.STATE_HALF_OPEN,
        failure_count=5,
        last_failure="The connection was refused.",
    )
    message.limits.add(name="subscriptions", used=812, allowed=1_000)
    return message


def candle(minute: int = 0, *, closed: bool = True, venue: str = "") -> candle_pb2.Candle:
    """Return a candle of one minute: it rises from 100 to 101 by way of 99 and 102."""
    message = candle_pb2.Candle(
        market="BTC-PERP",
        venue=venue,
        interval=candle_pb2.CANDLE_INTERVAL_1M,
        open="100",
        high="102.5",
        low="99",
        close=str(101 + minute % 3),
        volume="1.25",
        quote_volume="125.75" if closed else "",
        trade_count=2**53 + 1,
        closed=closed,
    )
    message.open_time.FromSeconds(1_795_352_400 + 60 * minute)
    message.close_time.FromSeconds(1_795_352_460 + 60 * minute)
    return message


def funding_point(hour: int = 0, venue: str = "lighter") -> funding_pb2.FundingPoint:
    """Return a settled rate."""
    message = funding_pb2.FundingPoint(
        market="BTC-PERP", venue=venue, rate="0.0000125", hourly_rate="0.0000125", yearly_rate="0.1095"
    )
    message.settle_time.FromSeconds(1_795_352_400 - 3_600 * hour)
    return message


def price_point(second: int = 0) -> history_pb2.PricePoint:
    """Return a recorded price."""
    message = history_pb2.PricePoint(market="BTC-PERP", venue="lighter", bid="100", ask="100.5", mark_price="100.2")
    message.sample_time.FromSeconds(1_795_352_400 - second)
    return message
