"""What is recorded, and the candles that form: beside the rounds of the engine, never in their way.

Trades come from the engine as they are numbered. Every `TICK_S` the ladders are told how the feeds stand, and
what they close goes to the database and to who watches. Prices are sampled on whole multiples of the interval, each
venue's where something it shows has changed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Final

from services.domain.decimals import from_units
from services.domain.feed import FeedState
from services.market_data.app.engine import Engine
from services.market_data.model.candle import INTERVALS, MINUTE, SECOND, Candle, Scale, merge_venues
from services.market_data.model.history import PriceSample, RecordedTrade
from services.market_data.model.ladder import Ladder
from services.market_data.model.market import Market
from services.market_data.model.trade_log import NumberedTrade
from services.market_data.model.venue_market import VenueMarket
from services.market_data.ports import CandlePublisher, Clock, HistorySink
from services.venues.port import FeedLevel

TICK_S: Final = 0.25
"""How often candles are closed and forming ones published."""
KEPT: Final = 16
"""How many closed candles of each length are kept in memory: those the database may not have yet, and some more."""
AWAY_NS: Final = 10 * 1_000_000_000
"""How long a candle of one second waits for a venue that gives no sign of life."""
OPEN_MAX: Final = 64
"""How many candles of a market may wait for their last venue to close, for who watches them."""

Sample = tuple[object, ...]


class Recorder:
    """The candles of every fed market, and what goes to the database (`services.market_data.ports.Tap`)."""

    def __init__(
        self,
        engine: Engine,
        sink: HistorySink,
        publisher: CandlePublisher,
        clock: Clock,
        *,
        markets: Iterable[str],
        sample_interval_s: float,
    ) -> None:
        self._engine = engine
        self._sink = sink
        self._publisher = publisher
        self._clock = clock
        self._names = frozenset(markets)
        self._sample_ns = round(sample_interval_s * 1e9)
        self._sampled: dict[tuple[str, str], Sample] = {}
        self._last_sample_ns = 0
        self._recent: dict[tuple[str, str, int], deque[Candle]] = {}
        self._watched: frozenset[str] = frozenset()
        self._unsettled: dict[str, dict[tuple[int, int], None]] = {}
        self.ladders: dict[tuple[str, str], Ladder] = {}

    def records(self, market: str) -> bool:
        """Return whether a market's history is kept."""
        return market in self._names or "*" in self._names

    def _follows(self, market: str) -> bool:
        """Return whether candles are made of a market: it is recorded, or somebody watches them."""
        return self.records(market) or market in self._watched

    async def run(self) -> None:
        """Tick and sample until canceled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tick_forever())
            tasks.create_task(self._sample_forever())

    # What the engine tells.

    def trades(self, market: Market, trades: Sequence[NumberedTrade]) -> None:
        """Count and record prints."""
        if not self._follows(market.name):
            return
        for numbered in trades:
            one = numbered.trade
            self._ladder(market.venues[one.venue]).trade(one.price, one.size, one.venue_time_ns)
        if self.records(market.name):
            self._sink.trades([recorded(market, numbered) for numbered in trades])

    def again(self, since_ns: int) -> None:
        """Record once more the prints received since then: they may have died with whoever recorded them."""
        for name, log in self._engine.trade_logs.items():
            if self.records(name):
                found = [one for one in log.newest(len(log)) if one.trade.receive_time_ns >= since_ns]
                self._sink.trades([recorded(self._engine.markets[name], one) for one in reversed(found)])

    def trades_lost(self, market: str, venue: str) -> None:
        """Have the candles around missed trades repaired."""
        ladder = self.ladders.get((market, venue))
        if ladder is not None:
            ladder.lose()

    # Candles.

    def tick(self) -> None:
        """Tell every ladder how its feed stands; record and publish what closes, and what forms for who watches."""
        now_ns = self._clock.time_ns()
        engine = self._engine
        self._watched = frozenset(market for market, _, _ in self._publisher.wanted())
        for name, market in engine.markets.items():
            if not self._follows(name):
                continue
            for venue, venue_market in market.venues.items():
                is_fed = engine.venues[venue].fed(name) >= FeedLevel.PRICE
                if is_fed:
                    self._ladder(venue_market)
                ladder = self.ladders.get((name, venue))
                if ladder is None:
                    continue
                alive = is_fed and venue_market.price_trust.state is FeedState.LIVE
                evidence_ns = max(venue_market.top_time_ns, venue_market.alive_time_ns)
                self.close(ladder.advance(now_ns, evidence_ns, alive=alive))
        self._publish_forming()
        for ladder in self.ladders.values():
            ladder.changed = False
        self._forget_unwatched()

    def close(self, candles: Sequence[Candle]) -> None:
        """Take candles that will not change any more."""
        if not candles:
            return
        watched = self._publisher.wanted()
        for candle in candles:
            key = (candle.market, candle.venue, candle.interval_s)
            self._recent.setdefault(key, deque(maxlen=KEPT)).append(candle)
            if (candle.market, candle.interval_s, candle.venue) in watched:
                self._publisher.candle(candle)
            if (candle.market, candle.interval_s, "") in watched:
                waiting = self._unsettled.setdefault(candle.market, {})
                waiting[candle.interval_s, candle.open_ns] = None
                while len(waiting) > OPEN_MAX:
                    del waiting[next(iter(waiting))]
        if self.records(candles[0].market):
            self._sink.candles([one for one in candles if one.interval_s >= MINUTE])

    def kept(self, market: str, venue: str, interval_s: int) -> list[Candle]:
        """Return the candles of one venue that memory has: recent closed ones and the forming one, oldest first."""
        found = list(self._recent.get((market, venue, interval_s), ()))
        ladder = self.ladders.get((market, venue))
        forming = ladder.forming(interval_s) if ladder is not None else None
        if forming is not None and all(one.open_ns != forming.open_ns for one in found):
            found.append(forming)
        return found

    def at(self, market: str, interval_s: int, open_ns: int, venue: str) -> Candle | None:
        """Return one candle as it stands in memory; of all venues together where `venue` is empty."""
        ladders = [ladder for (name, at), ladder in self.ladders.items() if name == market and venue in ("", at)]
        found = [
            one
            for ladder in ladders
            for one in self.kept(market, ladder.scale.venue, interval_s)
            if one.open_ns == open_ns
        ]
        if not found:
            return None
        if venue:
            return found[0]
        return self.joined(market, found)

    def joined(self, market: str, candles: Sequence[Candle]) -> Candle:
        """Return the candle of all venues: closed only when no venue can add to it."""
        merged = merge_venues(candles)
        if merged.closed and not self.is_settled(market, merged.interval_s, merged.open_ns):
            return replace(merged, closed=False)
        return merged

    def is_settled(self, market: str, interval_s: int, open_ns: int) -> bool:
        """Return whether no venue can add to the candles that open then.

        Minutes of a venue that is away are repaired by REST. Seconds cannot be: they do not wait for it.
        """
        away_ns = self._clock.time_ns() - AWAY_NS
        return all(
            ladder.is_settled(interval_s, open_ns) or (interval_s == SECOND and ladder.evidence_ns < away_ns)
            for (name, _), ladder in self.ladders.items()
            if name == market
        )

    def present(self, market: str, interval_s: int, venue: str) -> Candle | None:
        """Return the newest candle there is, as it stands."""
        opens = [
            one.open_ns
            for (name, at) in self.ladders
            if name == market and venue in ("", at)
            for one in self.kept(market, at, interval_s)
        ]
        return self.at(market, interval_s, max(opens), venue) if opens else None

    def late(self, venue: str) -> int:
        """Return how many trades of `venue` came after their candle was closed."""
        return sum(ladder.late for (_, at), ladder in self.ladders.items() if at == venue)

    def waiting(self, venue: str) -> int:
        """Return how many markets of `venue` have minutes that only REST can say."""
        now_ns = self._clock.time_ns()
        return sum(
            ladder.held or ladder.gap(now_ns) is not None for (_, at), ladder in self.ladders.items() if at == venue
        )

    def _publish_forming(self) -> None:
        for market, waiting in list(self._unsettled.items()):
            for interval_s, open_ns in list(waiting):
                candle = self.at(market, interval_s, open_ns, "")
                if candle is None or candle.closed:
                    del waiting[interval_s, open_ns]
                if candle is not None and candle.closed:
                    self._publisher.candle(candle)
            if not waiting:
                del self._unsettled[market]
        changed = {name for (name, _), ladder in self.ladders.items() if ladder.changed}
        for market, interval_s, venue in self._publisher.wanted():
            if market in changed:
                candle = self.present(market, interval_s, venue)
                if candle is not None and not candle.closed:
                    self._publisher.candle(candle)

    def _ladder(self, venue_market: VenueMarket) -> Ladder:
        listing = venue_market.listing
        key = (listing.market, listing.venue)
        ladder = self.ladders.get(key)
        scale = Scale(listing.market, listing.venue, listing.price_decimals, listing.size_decimals)
        if ladder is None or ladder.scale != scale:
            ladder = self.ladders[key] = Ladder(scale)
        return ladder

    def _forget_unwatched(self) -> None:
        """Drop the candles that nobody watches any more, at once: from now on their trades are not counted."""
        for key in [key for key in self.ladders if not self._follows(key[0])]:
            del self.ladders[key]
            for interval_s in INTERVALS:
                self._recent.pop((*key, interval_s), None)

    async def _tick_forever(self) -> None:
        while True:
            await self._clock.sleep(TICK_S)
            self.tick()

    # Prices.

    def sample(self, now_ns: int) -> int:
        """Record what has changed since the last sample, under the moment `now_ns` cut to the interval."""
        sample_ns = now_ns - now_ns % self._sample_ns
        if sample_ns <= self._last_sample_ns:
            return 0
        self._last_sample_ns = sample_ns
        samples: list[PriceSample] = []
        for name, market in self._engine.markets.items():
            if not self.records(name):
                continue
            for venue, shown in market.venues.items():
                values: Sample = (
                    shown.bid[0] if shown.bid is not None else None,
                    shown.ask[0] if shown.ask is not None else None,
                    shown.last(),
                    shown.context.mark_price if shown.context is not None else None,
                    shown.context.index_price if shown.context is not None else None,
                )
                if values != self._sampled.get((name, venue)) and any(value is not None for value in values):
                    self._sampled[name, venue] = values
                    decimals = shown.listing.price_decimals
                    samples.append(PriceSample(name, venue, sample_ns, *(_price(value, decimals) for value in values)))
        self._sink.prices(samples)
        return len(samples)

    async def _sample_forever(self) -> None:
        while True:
            left_ns = self._sample_ns - self._clock.time_ns() % self._sample_ns
            await self._clock.sleep(left_ns / 1e9)
            self.sample(self._clock.time_ns())


def recorded(market: Market, numbered: NumberedTrade) -> RecordedTrade:
    """Return a print as it is kept."""
    one = numbered.trade
    listing = market.venues[one.venue].listing
    return RecordedTrade(
        one.market,
        one.venue,
        one.trade_id,
        from_units(one.price, listing.price_decimals),
        from_units(one.size, listing.size_decimals),
        one.buy,
        one.liquidation,
        one.venue_time_ns,
        one.receive_time_ns,
        numbered.sequence,
    )


def _price(value: object, decimals: int) -> Decimal | None:
    if isinstance(value, int):
        return from_units(value, decimals)
    return value if isinstance(value, Decimal) else None
