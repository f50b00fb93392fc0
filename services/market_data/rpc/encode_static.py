"""Venues and markets to messages: what changes seldom."""

from __future__ import annotations

from decimal import Decimal

from perpmesh.marketdata.v1 import market_pb2, venue_pb2

from services.domain.decimals import plain_text
from services.domain.feed import FeedState
from services.domain.market import Listing, Source, Status, tick_at
from services.market_data.model.market import Market
from services.market_data.model.venue_market import VenueMarket
from services.market_data.rpc.encode import SOURCES, STATES, decimal_text, set_span, set_time
from services.venues.port import FeedLevel, VenueStatus

_STATUSES = {status: market_pb2.Market.Status.Value(f"STATUS_{status.name}") for status in Status}
_FEEDS = {level: market_pb2.Market.Feed.Value(f"FEED_{level.name}") for level in FeedLevel}
_BREAKER_STATES = {
    "closed": venue_pb2.Venue.Breaker.STATE_CLOSED,
    "open": venue_pb2.Venue.Breaker.STATE_OPEN,
    "half_open": venue_pb2.Venue.Breaker.STATE_HALF_OPEN,
}


def market_message(market: Market, feeds: dict[str, FeedLevel], sources: dict[str, Source]) -> market_pb2.Market:
    """Return a market with the rules of every venue that lists it."""
    return market_pb2.Market(
        market=market.name,
        base=market.name.removesuffix("-PERP"),
        listings=[_listing(venue, feeds[name], sources[name]) for name, venue in market.venues.items()],
    )


def _listing(venue: VenueMarket, feed: FeedLevel, source: Source) -> market_pb2.Market.Listing:
    one = venue.listing
    message = market_pb2.Market.Listing(
        venue=one.venue,
        symbol=one.symbol,
        venue_market_id=one.venue_market_id,
        quote=one.quote,
        tick=plain_text(tick_at(one, _reference_price(venue))),
        price_significant_figures=one.price_significant_figures,
        price_decimals=one.price_decimals,
        lot=plain_text(one.lot),
        min_size=decimal_text(one.min_size),
        min_notional=decimal_text(one.min_notional),
        max_leverage=one.max_leverage,
        leverage_tiers=[_tier(one, index) for index in range(len(one.leverage_tiers))],
        maker_fee=plain_text(one.maker_fee),
        taker_fee=plain_text(one.taker_fee),
        status=_STATUSES[one.status],
        isolated_only=one.isolated_only,
        feed=_FEEDS[feed],
        source=SOURCES[source],
        max_order_notional=decimal_text(one.max_order_notional),
        max_resting_notional=decimal_text(one.max_resting_notional),
    )
    message.funding_interval.seconds = one.funding_interval_s
    return message


def _tier(listing: Listing, index: int) -> market_pb2.Market.LeverageTier:
    tier = listing.leverage_tiers[index]
    return market_pb2.Market.LeverageTier(
        lower_notional=plain_text(tier.lower_notional),
        max_leverage=tier.max_leverage,
        maintenance_margin=plain_text(tier.maintenance_margin),
    )


def _reference_price(venue: VenueMarket) -> Decimal:
    """Return the price at which the tick is stated: the mark, else the best bid, else zero (the finest tick)."""
    if venue.context is not None and venue.context.mark_price is not None:
        return venue.context.mark_price
    return Decimal(venue.bid[0]).scaleb(-venue.listing.price_decimals) if venue.bid is not None else Decimal(0)


def venue_message(
    status: VenueStatus, *, market_count: int, counts: tuple[int, int, int], now_ns: int
) -> venue_pb2.Venue:
    """Return how a venue's feed stands; `counts` are audits, audit differences and dropped events."""
    message = venue_pb2.Venue(
        venue=status.venue,
        state=STATES[status.state],
        state_reason=status.state_reason,
        source=SOURCES[status.source],
        address=status.address,
        market_count=market_count,
        limits=[venue_pb2.Venue.Limit(name=one.name, used=one.used, allowed=one.allowed) for one in status.limits],
        counts=venue_pb2.Venue.FeedCounts(
            frames=status.counts.frames,
            bad_frames=status.counts.bad_frames,
            gaps=status.counts.gaps,
            resyncs=status.counts.resyncs,
            refused_subscriptions=status.counts.refused_subscriptions,
            audits=counts[0],
            audit_differences=counts[1],
            dropped_events=counts[2],
        ),
    )
    set_time(message.state_time, status.state_time_ns)
    for link in status.connections:
        part = message.connections.add(
            name=link.name,
            state=STATES[link.state],
            state_reason="" if link.state is FeedState.LIVE else link.state_reason,
            subscription_count=link.subscription_count,
            reconnect_count=link.reconnect_count,
        )
        if link.last_frame_time_ns:
            set_span(part.frame_age, now_ns - link.last_frame_time_ns)
    for breaker in status.breakers:
        shown = message.breakers.add(
            endpoint=breaker.endpoint,
            state=_BREAKER_STATES[breaker.state],
            failure_count=breaker.failure_count,
            last_failure=breaker.last_failure,
        )
        set_time(shown.change_time, breaker.change_time_ns)
        set_time(shown.retry_time, breaker.retry_time_ns)
    return message
