"""The rounds: take what has arrived, let the model decide, publish what changed.

A round is synchronous, so between two rounds the room's state is whole. Rounds are driven by arrivals; a tick of
`TICK_S` judges silence, sends new demand to the venues and publishes how they stand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from services.domain.book import BookError
from services.domain.feed import (
    Alive,
    BookDelta,
    BookSnapshot,
    Context,
    FeedState,
    ListingsChanged,
    MarketDown,
    TopOfBook,
    Trade,
    TradesMissed,
)
from services.market_data.app.demand import Demand
from services.market_data.app.intake import Intake
from services.market_data.model.market import Market
from services.market_data.model.trade_log import NumberedTrade, TradeLog
from services.market_data.model.venue_market import LIVE, VenueMarket
from services.market_data.ports import Clock, Publisher, Tap, Venue
from services.venues.port import FeedLevel

TICK_S: Final = 0.1
"""How often silence is judged: a part of the 3 s in which it must be seen."""


class Engine:
    """The state of every market, and the only code that changes it."""

    def __init__(self, *, venues: Sequence[Venue], publisher: Publisher, demand: Demand, clock: Clock) -> None:
        self.venues = {venue.name: venue for venue in venues}
        self.markets: dict[str, Market] = {}
        self.trade_logs: dict[str, TradeLog] = {}
        self.demand = demand
        self.intake = Intake()
        self.audits = dict.fromkeys(self.venues, 0)
        self.audit_differences = dict.fromkeys(self.venues, 0)
        self._publisher = publisher
        self._taps: tuple[Tap, ...] = ()
        self._clock = clock
        self._demand_sent = -1
        self._book_watched: frozenset[str] = frozenset()
        self._book_wanted = {name for name, level in demand.levels().items() if level >= FeedLevel.BOOK}
        self._listed_venues: set[str] = set()
        self._venue_versions: dict[str, int] = {}
        self._after_round: asyncio.Future[None] | None = None
        self._touched: dict[str, Market] = {}
        self._book_touched: dict[str, Market] = {}
        self._funding_touched: dict[str, Market] = {}
        self._printed: dict[str, list[NumberedTrade]] = {}
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            BookDelta: self._on_delta,
            TopOfBook: self._on_top,
            BookSnapshot: self._on_snapshot,
            Trade: self._on_trade,
            Context: self._on_context,
            Alive: self._on_alive,
            MarketDown: self._on_down,
            TradesMissed: self._on_missed,
            ListingsChanged: self._on_listings,
        }
        for name in self.venues:
            self.intake.open(name)

    def follow(self, tap: Tap) -> None:
        """Have `tap` told of every trade from now on."""
        self._taps = (*self._taps, tap)

    @property
    def listings_complete(self) -> bool:
        """Whether every venue has said what it lists."""
        return len(self._listed_venues) == len(self.venues)

    def unlisted_venues(self) -> list[Venue]:
        """Return the venues that have not said yet what they list."""
        return [venue for name, venue in self.venues.items() if name not in self._listed_venues]

    def market_count(self, venue: str) -> int:
        """Return how many markets `venue` lists."""
        return sum(venue in market.venues for market in self.markets.values())

    def feed_counts(self, venue: str) -> tuple[int, int, int]:
        """Return audits, differences they found, and events dropped, of one venue."""
        return self.audits[venue], self.audit_differences[venue], self.intake.dropped[venue]

    async def run(self) -> None:
        """Run the rounds and the ticks until canceled. The venues are run beside it, each under its supervisor."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._rounds())
            tasks.create_task(self._ticks())

    async def round_done(self) -> None:
        """Wait for the end of the next round or tick."""
        if self._after_round is None:
            self._after_round = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._after_round)

    async def _rounds(self) -> None:
        while True:
            await self.intake.arrived()
            self.round()
            await asyncio.sleep(0)  # noqa: TID251 - gives way, waits for nothing

    async def _ticks(self) -> None:
        while True:
            await self._clock.sleep(TICK_S)
            self.tick()

    def round(self) -> None:
        """Take what has arrived and publish what it changed."""
        handlers = self._handlers
        for event in self.intake.take():
            handlers[type(event)](event)
        if self._touched or self._book_touched or self._printed or self._funding_touched or self._after_round:
            self._publish(self._clock.time_ns())

    def tick(self) -> None:
        """Judge silence everywhere, pass on demand, publish how venues stand."""
        now_ns = self._clock.time_ns()
        self.demand.expire()
        self.send_demand()
        self._touched = dict(self.markets)
        self._book_touched = {name: self.markets[name] for name in self._book_watched if name in self.markets}
        self._publish(now_ns)
        for name, venue in self.venues.items():
            status = venue.status()
            if self._venue_versions.get(name) != status.version:
                self._venue_versions[name] = status.version
                self._publisher.venue(status, market_count=self.market_count(name), counts=self.feed_counts(name))

    def send_demand(self) -> None:
        """Tell the venues what is wanted, if that has changed."""
        if self._demand_sent == self.demand.version:
            return
        self._demand_sent = self.demand.version
        levels = self.demand.levels()
        self._book_watched = self.demand.book_watched()
        self._book_wanted = {name for name, level in levels.items() if level >= FeedLevel.BOOK}
        for venue in self.venues.values():
            venue.want(levels)
        for name, market in self.markets.items():
            if name not in self._book_wanted:
                for venue_market in market.venues.values():
                    venue_market.forget_book()

    def _publish(self, now_ns: int) -> None:
        publisher = self._publisher
        if self._touched:
            touched, self._touched = self._touched, {}
            changed = [market for market in touched.values() if market.refresh(now_ns)]
            if changed:
                publisher.prices(changed, now_ns)
        if self._book_touched:
            books, self._book_touched = self._book_touched, {}
            publisher.book_changes(list(books.values()), now_ns)
        if self._printed:
            printed, self._printed = self._printed, {}
            for name, trades in printed.items():
                publisher.trades(self.markets[name], trades)
                for tap in self._taps:
                    tap.trades(self.markets[name], trades)
        if self._funding_touched:
            fundings, self._funding_touched = self._funding_touched, {}
            publisher.fundings(list(fundings.values()), now_ns)
        if self._after_round is not None:
            done, self._after_round = self._after_round, None
            done.set_result(None)

    def _find(self, venue: str, market: str) -> tuple[Market, VenueMarket] | None:
        """Return the market and the venue's part, or None for one that is not listed (any more)."""
        found = self.markets.get(market)
        if found is None:
            return None
        venue_market = found.venues.get(venue)
        return None if venue_market is None else (found, venue_market)

    def _on_delta(self, event: BookDelta) -> None:
        # The one handler written out in full: it runs for nine frames of ten.
        market = self.markets.get(event.market)
        venue_market = market.venues.get(event.venue) if market is not None else None
        if market is None or venue_market is None:
            return
        try:
            venue_market.on_delta(event)
        except BookError as error:
            self.venues[event.venue].resync(event.market, str(error))
        if venue_market.changed or venue_market.price_trust is not LIVE:
            self._touched[event.market] = market
        if event.market in self._book_watched:
            self._book_touched[event.market] = market

    def _on_snapshot(self, event: BookSnapshot) -> None:
        found = self._find(event.venue, event.market)
        if found is not None and event.market in self._book_wanted:  # else it is fed no longer and would grow stale
            market, venue_market = found
            try:
                venue_market.on_snapshot(event)
            except BookError as error:
                self.venues[event.venue].resync(event.market, str(error))
            self._touch_book(market, venue_market)

    def _on_top(self, event: TopOfBook) -> None:
        found = self._find(event.venue, event.market)
        if found is not None:
            market, venue_market = found
            try:
                venue_market.on_top(event)
            except BookError as error:
                self.venues[event.venue].resync(event.market, str(error))
            self._touch_book(market, venue_market)

    def _touch_book(self, market: Market, venue_market: VenueMarket) -> None:
        """Note what to publish: the price where its top or its trust may differ, the book in any case."""
        if venue_market.changed or venue_market.price_trust is not LIVE:
            self._touched[market.name] = market
        if market.name in self._book_watched:
            self._book_touched[market.name] = market

    def _on_trade(self, event: Trade) -> None:
        found = self._find(event.venue, event.market)
        if found is None:
            return
        market, venue_market = found
        numbered = self.trade_logs[event.market].add(event)
        if numbered is not None:
            venue_market.on_trade(event)
            self._touched[event.market] = market
            self._printed.setdefault(event.market, []).append(numbered)

    def _on_context(self, event: Context) -> None:
        found = self._find(event.venue, event.market)
        if found is None:
            return
        market, venue_market = found
        before = venue_market.context.funding_rate if venue_market.context is not None else None
        venue_market.on_context(event)
        self._touched[event.market] = market
        if event.funding_rate != before:
            self._funding_touched[event.market] = market

    def _on_alive(self, event: Alive) -> None:
        for name in event.markets:
            found = self._find(event.venue, name)
            if found is not None:
                was_down = found[1].price_down is not None
                found[1].on_alive(event.receive_time_ns)
                if was_down or found[1].price_trust.state is not FeedState.LIVE:
                    self._touched[name] = found[0]

    def _on_down(self, event: MarketDown) -> None:
        for name in event.markets:
            found = self._find(event.venue, name)
            if found is None:
                continue
            market, venue_market = found
            venue_market.on_down(event)
            self._touched[name] = market
            if venue_market.has_book():
                self._book_touched[name] = market
            if event.trades_lost:
                self._tell_lost(market, event.venue, event.reason)

    def _on_missed(self, event: TradesMissed) -> None:
        for name in event.markets:
            found = self._find(event.venue, name)
            if found is not None:
                self._tell_lost(found[0], event.venue, event.reason)

    def _tell_lost(self, market: Market, venue: str, reason: str) -> None:
        self._publisher.trades_lost(market, venue, reason)
        for tap in self._taps:
            tap.trades_lost(market.name, venue)

    def _on_listings(self, event: ListingsChanged) -> None:
        self._listed_venues.add(event.venue)
        listed = {listing.market: listing for listing in event.listings}
        for name, listing in listed.items():
            market = self.markets.get(name)
            if market is None:
                market = self.markets[name] = Market(name)
                self.trade_logs[name] = TradeLog()
            market.put_listing(listing)
            self._touched[name] = market
        for name, market in self.markets.items():
            if event.venue in market.venues and name not in listed:
                market.drop_listing(event.venue)
                self._touched[name] = market
        self.markets = dict(sorted(self.markets.items()))
