"""The synthetic market as an exchange sees it: levels to take from, marks, and where trades become public."""

from __future__ import annotations

from collections.abc import Iterable

from services.simulator.book import Execution
from services.simulator.catalog import Catalog, HyperliquidListing, LighterListing
from services.simulator.chance import seeded
from services.simulator.exchange.core import Exchange
from services.simulator.exchange.terms import (
    Fraction,
    HyperliquidRules,
    LighterRules,
    Setting,
    Terms,
    fraction_tier,
    leverage_tiers,
)
from services.simulator.exchange.values import MICRO, Trade
from services.simulator.instrument import Instrument, VenueName
from services.simulator.market import MS, Market
from services.simulator.rules import parse

DEFAULT_LEVERAGE = 20
_MARKET_NOTIONALS = ((25, 30_000_000), (20, 5_000_000), (10, 2_000_000), (0, 500_000))


class MarketStreet:
    """One venue's contracts of the synthetic market."""

    def __init__(self, market: Market, venue: VenueName) -> None:
        """Take the market to trade with."""
        self._market = market
        self._venue: VenueName = venue
        self._instruments = market.venues[venue]
        self._ids = seeded(f"{market.seed}:{venue}:trades")

    def best(self, market: str, buy: bool) -> tuple[int, int] | None:
        """Return (price, size) of the crowd's best level that a taker would meet."""
        book = self._instruments[market].book
        side = book.asks if buy else book.bids
        if not side.prices:
            return None
        price = side.prices[0 if buy else -1]
        return price, side.sizes[price]

    def take(self, market: str, buy: bool, price: int, size: int) -> None:
        """Consume part of a level of the crowd."""
        book = self._instruments[market].book
        side = book.asks if buy else book.bids
        side.set(price, side.sizes[price] - size)

    def show(self, market: str, buy: bool, price: int, size: int) -> None:
        """Show what users rest at a price."""
        book = self._instruments[market].book
        (book.bids if buy else book.asks).show(price, size)

    def mark(self, market: str) -> int:
        """Return the mark price."""
        return self._instruments[market].mark

    def index(self, market: str) -> int:
        """Return the index price."""
        return self._instruments[market].index

    def trade_id(self, market: str) -> int:
        """Return a new trade's id: 50 random bits on Hyperliquid, the venue's count on Lighter."""
        if self._venue == "hyperliquid":
            return self._ids.getrandbits(50)
        return self._market.user_trade_id()

    def printed(self, trade: Trade) -> None:
        """Publish a trade with the next block or batch."""
        instrument = self._instruments[trade.market]
        instrument.pending.append(Execution(trade.price, trade.size, trade.buy, trade.id, trade))


def open_exchange(market: Market, venue: VenueName) -> Exchange:
    """Return a venue's exchange over the synthetic market, with its users met by the crowd after every step."""
    rules = HyperliquidRules() if venue == "hyperliquid" else LighterRules()
    instruments = market.venues[venue].values()
    if venue == "hyperliquid":
        rows = [_hyperliquid(item, instruments, market.catalog) for item in instruments]
    else:
        rows = [_lighter(item) for item in instruments]
    exchange = Exchange(rules, MarketStreet(market, venue), rows, seed=market.seed)

    def meet(instrument: Instrument, executions: list[Execution], at_ns: int) -> None:
        exchange.moved(instrument.key, at_ns // 1000, [(item.price, item.size, item.buy) for item in executions])

    market.meetings[venue] = meet
    return exchange


def now_us(market: Market) -> int:
    """Return the market's time in microseconds."""
    return market.now_ns * 1000 // MS


def asset_number(listing: HyperliquidListing, position: int, catalog: Catalog) -> int:
    """Return Hyperliquid's asset id: the place in the universe, 10000 + index for spot, 100000 + 10000 dex + place."""
    if listing.spot_index is not None:
        return 10_000 + listing.spot_index
    if not listing.dex:
        return position
    dex = 1 + next(place for place, item in enumerate(catalog.dexes) if item.name == listing.dex)
    return 100_000 + dex * 10_000 + position


def _hyperliquid(item: Instrument, instruments: Iterable[Instrument], catalog: Catalog) -> Terms:
    listing = item.listing
    if not isinstance(listing, HyperliquidListing):
        raise TypeError(f"{item.name} is no Hyperliquid contract")
    peers = [
        other.listing for other in instruments
        if isinstance(other.listing, HyperliquidListing) and other.listing.dex == listing.dex
        and other.listing.spot_index is None
    ]  # fmt: skip
    position = peers.index(listing) if listing.spot_index is None else 0
    _, tiers = catalog.margin_tables.get(listing.margin_table, ("", (("0.0", listing.max_leverage),)))
    largest = next(amount for least, amount in _MARKET_NOTIONALS if listing.max_leverage >= least)
    isolated = listing.margin_mode is not None
    default = Setting(isolated, Fraction(1, min(DEFAULT_LEVERAGE, listing.max_leverage)))
    return Terms(
        market=item.key, asset=asset_number(listing, position, catalog), pool=listing.dex,
        price_decimals=item.price_decimals, size_decimals=item.size_decimals, tick=item.tick,
        tiers=leverage_tiers(tuple((int(float(low)), most) for low, most in tiers)), default=default, live=item.live,
        isolated_only=isolated, no_removal=listing.margin_mode == "strictIsolated", max_market_quote=largest * MICRO,
        fee_scale=Fraction(2, 1) if listing.dex else Fraction(1, 1), max_leverage=listing.max_leverage,
        spot=listing.spot_index is not None,
    )  # fmt: skip


def _lighter(item: Instrument) -> Terms:
    listing = item.listing
    if not isinstance(listing, LighterListing):
        raise TypeError(f"{item.name} is no Lighter market")
    default, least, maintenance, closeout = listing.margin
    return Terms(
        market=item.key, asset=listing.market_id, pool="", price_decimals=item.price_decimals,
        size_decimals=item.size_decimals, tick=item.tick, tiers=fraction_tier(least, maintenance, closeout),
        default=Setting(False, Fraction(default, 10_000)), live=item.live,
        min_size=parse(listing.min_base, item.size_decimals), max_market_quote=parse(listing.quote_limit, 6),
        spot=listing.spot,
    )  # fmt: skip
