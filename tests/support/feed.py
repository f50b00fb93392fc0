"""Builders of feed events and listings, for tests that speak of markets."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from services.domain.book import Level
from services.domain.decimals import Rate, Size, Usd
from services.domain.feed import BookDelta, BookSnapshot, Context, TopOfBook, Trade
from services.domain.market import Listing, Status

SECOND_NS = 1_000_000_000

LIGHTER_BTC = Listing(
    market="BTC-PERP",
    venue="lighter",
    symbol="BTC",
    venue_market_id=1,
    quote="USDC",
    price_decimals=1,
    price_significant_figures=0,
    size_decimals=5,
    min_size=Size(Decimal("0.0002")),
    min_notional=Usd(Decimal(10)),
    max_leverage=50,
    leverage_tiers=(),
    maker_fee=Rate(Decimal(0)),
    taker_fee=Rate(Decimal(0)),
    funding_interval_s=3600,
    status=Status.ACTIVE,
)
HYPERLIQUID_BTC = replace(
    LIGHTER_BTC, venue="hyperliquid", venue_market_id=0, price_significant_figures=5, max_leverage=40, min_size=None
)


def snapshot(
    venue: str,
    bids: list[Level],
    asks: list[Level],
    *,
    version: int = 1,
    depth: int = 0,
    at_ns: int = SECOND_NS,
    market: str = "BTC-PERP",
) -> BookSnapshot:
    """Return a book whose venue time and receive time are `at_ns`."""
    return BookSnapshot(
        venue=venue,
        market=market,
        bids=bids,
        asks=asks,
        version=version,
        depth=depth,
        venue_time_ns=at_ns,
        receive_time_ns=at_ns,
    )


def delta(
    venue: str,
    bids: list[Level],
    asks: list[Level],
    *,
    previous: int,
    version: int,
    at_ns: int = SECOND_NS,
    market: str = "BTC-PERP",
) -> BookDelta:
    """Return a change whose venue time and receive time are `at_ns`."""
    return BookDelta(
        venue=venue,
        market=market,
        bids=bids,
        asks=asks,
        version=version,
        previous_version=previous,
        venue_time_ns=at_ns,
        receive_time_ns=at_ns,
    )


def top(
    venue: str, bid: Level | None, ask: Level | None, *, at_ns: int = SECOND_NS, market: str = "BTC-PERP"
) -> TopOfBook:
    """Return a best bid and ask whose venue time and receive time are `at_ns`."""
    return TopOfBook(venue=venue, market=market, bid=bid, ask=ask, venue_time_ns=at_ns, receive_time_ns=at_ns)


def trade(
    venue: str, trade_id: str, price: int, size: int, *, at_ns: int = SECOND_NS, market: str = "BTC-PERP"
) -> Trade:
    """Return a print whose venue time and receive time are `at_ns`."""
    return Trade(
        venue=venue,
        market=market,
        trade_id=trade_id,
        price=price,
        size=size,
        buy=True,
        liquidation=False,
        venue_time_ns=at_ns,
        receive_time_ns=at_ns,
    )


def context(
    venue: str,
    *,
    mark: str | None = None,
    funding: str | None = None,
    at_ns: int = SECOND_NS,
    market: str = "BTC-PERP",
) -> Context:
    """Return the values beside a book."""
    return Context(
        venue=venue,
        market=market,
        mark_price=None if mark is None else Decimal(mark),
        index_price=None,
        last_price=None,
        funding_rate=None if funding is None else Decimal(funding),
        next_funding_time_ns=0,
        volume_24h_usd=None,
        open_interest=None,
        receive_time_ns=at_ns,
        cadence_s=1.0,
    )
