"""A perpetual future over all venues that list it, with the rules of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from perpmesh_client.values.convert import decimal, maybe_decimal, span, word
from perpmesh_client.values.states import FEEDS, SOURCES, STATUSES, Feed, ListingStatus, Source
from perpmesh_client.values.to_json import WIDE

if TYPE_CHECKING:
    from perpmesh.marketdata.v1 import market_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class LeverageTier:
    """One step of a venue's margin table."""

    lower_notional: Decimal
    """The notional from which the tier holds, in the quote asset."""
    max_leverage: int
    maintenance_margin: Decimal | None
    """A fraction of the notional."""

    @classmethod
    def from_proto(cls, message: market_pb2.Market.LeverageTier) -> LeverageTier:
        """Return the value a message holds."""
        return cls(
            lower_notional=decimal(message.lower_notional),
            max_leverage=message.max_leverage,
            maintenance_margin=maybe_decimal(message.maintenance_margin),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A market's contract at one venue; None where the venue sets or gives nothing."""

    venue: str
    symbol: str
    """The venue's own symbol, such as `kPEPE` or `xyz:TSLA`."""
    venue_market_id: int = field(metadata=WIDE)
    """The venue's own number of the market."""
    quote: str
    """The asset that quotes and collateralizes the contract, such as `USDC`."""
    tick: Decimal | None
    """The smallest price step at the current price, in the quote asset."""
    price_significant_figures: int
    """How many significant figures a price may have; zero where the venue sets no such limit."""
    price_decimals: int
    """How many decimals a price may have at most."""
    lot: Decimal | None
    """The smallest size step, in units of the base asset."""
    min_size: Decimal | None
    """The smallest size of an order, in units of the base asset."""
    min_notional: Decimal | None
    """The smallest notional of an order, in the quote asset."""
    max_leverage: int
    """At the smallest position."""
    leverage_tiers: tuple[LeverageTier, ...]
    """How the leverage falls as a position grows, ordered by `lower_notional`."""
    maker_fee: Decimal | None
    """The base maker fee, a fraction of the notional; a rebate is negative."""
    taker_fee: Decimal | None
    """The base taker fee, a fraction of the notional."""
    funding_interval: timedelta | None
    """How often funding is paid."""
    status: ListingStatus
    """Whether the venue trades it."""
    isolated_only: bool
    """Whether only isolated margin is allowed."""
    feed: Feed
    """What of this market is fed now."""
    source: Source
    """Where the values come from."""
    max_order_notional: Decimal | None
    """The largest notional of an order that trades at once, in the quote asset."""
    max_resting_notional: Decimal | None
    """The largest notional of an order that waits for its price, in the quote asset."""

    @classmethod
    def from_proto(cls, message: market_pb2.Market.Listing) -> Listing:
        """Return the value a message holds."""
        return cls(
            venue=message.venue,
            symbol=message.symbol,
            venue_market_id=message.venue_market_id,
            quote=message.quote,
            tick=maybe_decimal(message.tick),
            price_significant_figures=message.price_significant_figures,
            price_decimals=message.price_decimals,
            lot=maybe_decimal(message.lot),
            min_size=maybe_decimal(message.min_size),
            min_notional=maybe_decimal(message.min_notional),
            max_leverage=message.max_leverage,
            leverage_tiers=tuple(LeverageTier.from_proto(tier) for tier in message.leverage_tiers),
            maker_fee=maybe_decimal(message.maker_fee),
            taker_fee=maybe_decimal(message.taker_fee),
            funding_interval=span(message.funding_interval) if message.HasField("funding_interval") else None,
            status=word(STATUSES, message.status),
            isolated_only=message.isolated_only,
            feed=word(FEEDS, message.feed),
            source=word(SOURCES, message.source),
            max_order_notional=maybe_decimal(message.max_order_notional),
            max_resting_notional=maybe_decimal(message.max_resting_notional),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """A perpetual future, as one market over all venues that list the same contract."""

    market: str
    """The canonical name, such as `BTC-PERP`."""
    base: str
    """The base asset with its multiplier, such as `BTC` or `1000PEPE`; sizes are in units of it."""
    listings: tuple[Listing, ...]
    """The contract at each venue, ordered by venue name."""

    @classmethod
    def from_proto(cls, message: market_pb2.Market) -> Market:
        """Return the value a message holds."""
        return cls(
            market=message.market,
            base=message.base,
            listings=tuple(Listing.from_proto(listing) for listing in message.listings),
        )

    def listing(self, venue: str) -> Listing | None:
        """Return the contract at one venue, or None if it does not list the market."""
        return next((listing for listing in self.listings if listing.venue == venue), None)
