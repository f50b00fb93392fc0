"""One contract on one venue, as it stands now: book, trades, bars and the figures of its context."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from services.simulator.book import Book, Execution, Flow
from services.simulator.catalog import Asset, HyperliquidListing, LighterListing
from services.simulator.chance import seeded
from services.simulator.history import HOUR_MS, Bars, Past
from services.simulator.rules import TickRule, five_figures, one_tick

VenueName = Literal["hyperliquid", "lighter"]

TRADES_KEPT = 200
FUNDINGS_KEPT = 500
RATE_SCALE = 10**10
"""Funding rates and premiums are integers of 1e-10 per hour."""

_LEVELS: dict[tuple[str, str], int] = {
    ("hyperliquid", "major"): 250, ("hyperliquid", "mid"): 120, ("hyperliquid", "slow"): 60,
    ("lighter", "major"): 1500, ("lighter", "mid"): 500, ("lighter", "slow"): 200,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trade:
    """A public trade: time in microseconds, scaled price and size, whether the aggressor bought, the venue's id.

    `tag` is the exchange's trade when a user took part.
    """

    time_us: int
    price: int
    size: int
    buy: bool
    id: int
    tag: object = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """An hour's funding: when, the rate and the premium it came from, both in 1e-10."""

    time_ms: int
    rate: int
    premium: int


class DayVolume:
    """Volume, trades, high and low of the last 24 hours in hourly buckets."""

    __slots__ = ("_buckets", "_high_low", "base", "quote", "trades")

    def __init__(self, hours: list[tuple[int, int, int, int, int]]) -> None:
        """Take 24 (base, quote, trades, high, low) rows, oldest first."""
        self._buckets = deque((list(row) for row in hours), maxlen=24)
        self.base = sum(row[0] for row in hours)
        self.quote = sum(row[1] for row in hours)
        self.trades = sum(row[2] for row in hours)

    def add(self, price: int, size: int) -> None:
        """Count a trade."""
        bucket = self._buckets[-1]
        bucket[0] += size
        bucket[1] += price * size
        bucket[2] += 1
        bucket[3] = max(bucket[3], price)
        bucket[4] = min(bucket[4], price)
        self.base += size
        self.quote += price * size
        self.trades += 1

    def roll(self, price: int) -> None:
        """Begin a new hour, forgetting the oldest."""
        old = self._buckets[0]
        self.base -= old[0]
        self.quote -= old[1]
        self.trades -= old[2]
        self._buckets.append([0, 0, 0, price, price])

    def high(self) -> int:
        """Return the highest price of the day."""
        return max(bucket[3] for bucket in self._buckets)

    def low(self) -> int:
        """Return the lowest price of the day."""
        return min(bucket[4] for bucket in self._buckets)


class Instrument:
    """The state of one contract; `market.Market` moves it, the dialects print it."""

    def __init__(
        self,
        venue: VenueName,
        asset: Asset,
        listing: HyperliquidListing | LighterListing,
        seed: str,
        start_ms: int,
        *,
        invented: bool = True,
    ) -> None:
        """Build the contract with a past and a first set of figures, or with neither when nothing is `invented`."""
        self.invented = invented
        self.venue: VenueName = venue
        self.asset = asset
        self.listing = listing
        hyperliquid = isinstance(listing, HyperliquidListing)
        self.key = listing.coin if isinstance(listing, HyperliquidListing) else str(listing.market_id)
        self.name = listing.coin if isinstance(listing, HyperliquidListing) else listing.symbol
        self.live = not listing.delisted if isinstance(listing, HyperliquidListing) else listing.active
        self.price_decimals = listing.price_decimals
        self.size_decimals = listing.size_decimals
        self.tick: TickRule = five_figures(self.price_decimals) if hyperliquid else one_tick
        self.rng = seeded(f"{seed}:{venue}:{self.key}")
        self.scripted = False
        self.version = 0
        self.book = Book()
        self.trades: deque[Trade] = deque(maxlen=TRADES_KEPT)
        self.pending: list[Execution] = []
        self.fundings: deque[Settlement] = deque(maxlen=FUNDINGS_KEPT)
        self.nonce = 0
        self.offset = 1
        self.updated_us = 0
        self.touch: tuple[tuple[int, int] | None, tuple[int, int] | None] = (None, None)
        self._seed = f"{seed}:{venue}:{self.key}"
        self._start_values(seed, start_ms)

    def _start_values(self, seed: str, start_ms: int) -> None:
        scale = 10**self.price_decimals
        price = max(1, int(self.asset.price * scale))
        self.index = self.mark = self.last = price - price % self.tick(price)
        self.mark_offset = 0.0
        share = 1.0 if self.venue == "hyperliquid" else 0.55
        dollars = int(self.asset.daily_volume_usd * share)
        units = 10**self.size_decimals
        daily_base = max(24, int(dollars / self.asset.price * units)) if self.live and self.invented else 0
        self.open_interest = int(daily_base * 0.7)
        typical = max(1, int(min(80_000.0, max(300.0, dollars * 1.2e-5)) / self.asset.price * units))
        levels = _LEVELS[self.venue, self.asset.pace]
        self.flow = Flow(self.book, self.rng, self.tick, price=price, levels=levels, typical_size=typical, min_size=1)
        self.past = Past(f"{seed}:{self.asset.name}", self.asset.price, self.asset.daily_volatility, start_ms)
        self.bars = Bars(
            self.past, self._seed, start_ms=start_ms, price_scale=scale, tick=self.tick(price),
            hourly_base=daily_base // 24, listed=self.live and self.invented,
        )  # fmt: skip
        hour = start_ms // HOUR_MS
        rows = []
        for back in range(23, -1, -1):
            at, base = max(1, int(self.past.at_hour(hour - back) * scale)), daily_base // 24
            high, low = int(at * 1.003), max(1, int(at * 0.997))
            rows.append((base, base * at, base and max(1, base // max(1, typical)), high, low))
        self.day = DayVolume(rows)
        self.day_open = max(1, int(self.past.at_hour(hour - 24) * scale)) if self.live else price
        self.day_open -= self.day_open % self.tick(self.day_open)
        first = self.past_funding(hour)
        self.rate, self.premium = (first.rate, first.premium) if self.live and self.invented else (0, 0)
        self.settled = self.past_funding(hour - 1) if self.invented else Settlement(hour * HOUR_MS, 0, 0)
        if not self.invented:
            self.day = DayVolume([(0, 0, 0, price, price)] * 24)
            self.day_open = self.last
        self.samples = [self.premium]

    def mid(self) -> int | None:
        """Return the middle of the touch in half price units, or None when a side is empty."""
        bid, ask = self.book.best_bid(), self.book.best_ask()
        return bid[0] + ask[0] if bid and ask else None

    def past_funding(self, hour: int) -> Settlement:
        """Return what settled at the beginning of an hour since 1970 before the start."""
        rng = seeded(f"{self._seed}:funding:{hour}")
        premium = int(rng.gauss(-2.0e-4, 3.0e-4) * RATE_SCALE)
        return Settlement(hour * HOUR_MS + 1 + rng.randrange(118), hourly_rate(premium), premium)

    def fundings_between(self, start_ms: int, end_ms: int, limit: int, born_ms: int) -> list[Settlement]:
        """Return settlements in [start_ms, end_ms], oldest first, at most `limit`; past ones are made on demand."""
        if not self.live:
            return []
        rows: list[Settlement] = []
        hour = max(-(-start_ms // HOUR_MS), born_ms // HOUR_MS - 24 * 365)
        while self.invented and hour * HOUR_MS <= min(end_ms, born_ms) and len(rows) < limit:
            rows.append(self.past_funding(hour))
            hour += 1
        rows += [row for row in self.fundings if start_ms <= row.time_ms <= end_ms]
        return [row for row in rows if start_ms <= row.time_ms <= end_ms][:limit]

    def impact(self, dollars: int) -> tuple[int, int] | None:
        """Return the average prices at which `dollars` could be sold and bought, None when the book is too thin."""
        bid = self._walk(self.book.bid_levels(60), dollars)
        ask = self._walk(self.book.ask_levels(60), dollars)
        return None if bid is None or ask is None else (bid, ask)

    def _walk(self, levels: list[tuple[int, int]], dollars: int) -> int | None:
        left = dollars * 10 ** (self.price_decimals + self.size_decimals)
        quote = base = 0
        for price, size in levels:
            take = min(size, max(1, left // price))
            quote += take * price
            base += take
            left -= take * price
            if left <= 0:
                break
        return quote // base if base else None


def hourly_rate(premium: int) -> int:
    """Return Hyperliquid's hourly funding rate for an average premium, both in 1e-10 (venue docs, "Funding").

    The eight-hour rate is the premium plus the interest of 0.01 % less the premium, clamped to 0.05 %; an hour pays
    an eighth. Lighter's formula is the same with its own clamps, which default to the same figures.
    """
    interest, clamp = RATE_SCALE // 10_000, RATE_SCALE // 2000
    eight = premium + max(-clamp, min(clamp, interest - premium))
    limit = RATE_SCALE * 4 // 100
    hourly = eight // 8 if eight >= 0 else -(-eight // 8)
    return max(-limit, min(limit, hourly))
