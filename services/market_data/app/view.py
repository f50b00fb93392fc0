"""What callers may ask: one market, many, a book, trades, funding. Reading never changes a market, only demand."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Callable, Iterable
from typing import Final

from services.domain.errors import DomainError, Reason
from services.domain.feed import FeedState
from services.domain.market import Status
from services.market_data.app.engine import Engine
from services.market_data.model.funding import Funding, funding_of
from services.market_data.model.market import Market
from services.market_data.model.merged_book import MergedBook, merge
from services.market_data.model.trade_log import NumberedTrade, TradeLog
from services.market_data.ports import Clock, Venue
from services.venues.port import FeedLevel

FIRST_WAIT_S: Final = 2.0
"""How long the first call for a market that was not fed waits for its venues."""
STARTUP_WAIT_S: Final = 5.0
"""How long a call waits for the venues' listings right after the start."""


class View:
    """The room's questions and their answers."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._started_s = clock.monotonic()

    def venues(self) -> list[Venue]:
        """Return the venues, ordered by name."""
        return [self._engine.venues[name] for name in sorted(self._engine.venues)]

    def feed_counts(self, venue: str) -> tuple[int, int, int]:
        """Return audits, differences they found, and events dropped, of one venue."""
        return self._engine.feed_counts(venue)

    def market_count(self, venue: str) -> int:
        """Return how many markets `venue` lists."""
        return self._engine.market_count(venue)

    def check_venues(self, names: Iterable[str], field: str) -> frozenset[str]:
        """Return the names as a set. Raises VENUE_UNKNOWN for one that is not configured."""
        wanted = frozenset(names)
        for name in wanted - self._engine.venues.keys():
            known = ", ".join(sorted(self._engine.venues))
            raise DomainError(
                Reason.VENUE_UNKNOWN,
                f"{field}: no venue {name!r} is configured; there are {known}",
                metadata={"field": field, "venue": name, "known": known},
            )
        return wanted

    def markets(self, venues: frozenset[str] = frozenset()) -> list[Market]:
        """Return the markets that any of `venues` lists (all where empty), ordered by name."""
        return [
            market for market in self._engine.markets.values() if not venues or not venues.isdisjoint(market.venues)
        ]

    async def market(self, name: str, field: str = "market") -> Market:
        """Return one market. Raises MARKET_UNKNOWN with near names."""
        await self._listed()
        market = self._engine.markets.get(name)
        if market is None:
            self._require_listings(field, name)
            near = difflib.get_close_matches(name, self._engine.markets, n=3, cutoff=0.6)
            hint = f"did you mean {' or '.join(near)}?" if near else "ListMarkets has them all"
            raise DomainError(
                Reason.MARKET_UNKNOWN,
                f"{field}: no venue lists a market {name!r}; {hint}",
                metadata={"field": field, "market": name, "near": ", ".join(near)},
            )
        return market

    async def choose(self, names: Iterable[str], field: str = "markets") -> list[Market]:
        """Return the markets named, in that order; all where none is named."""
        wanted = list(names)
        if not wanted:
            await self._listed()
            return list(self._engine.markets.values())
        return [await self.market(name, f"{field}[{index}]") for index, name in enumerate(wanted)]

    async def fresh_price(self, market: Market) -> Market:
        """Ask for the price of `market` to be fed; wait for its venues where it was not."""
        if self._engine.demand.touch(market.name, FeedLevel.PRICE) or self._just_wanted(market):
            self._engine.send_demand()
            await self._until(lambda: self._price_settled(market))
        return market

    async def fresh_book(self, market: Market, depth: int, *, include_stale: bool) -> MergedBook:
        """Return the merged book, fed from now on; wait for its venues where it was not."""
        if self._engine.demand.touch(market.name, FeedLevel.BOOK) or not self._book_settled(market):
            self._engine.send_demand()
            await self._until(lambda: self._book_settled(market))
        return merge(market, depth, self._clock.time_ns(), include_stale=include_stale)

    def require_live(self, market: Market) -> None:
        """Raise NO_LIVE_VENUE when no venue ever gave a usable value of `market`: there is nothing to show."""
        states = [venue.price_trust for venue in market.venues.values()]
        if any(venue.top_time_ns or venue.context is not None for venue in market.venues.values()):
            return
        reasons = "; ".join(
            f"{name}: {venue.price_trust.state.value}, {venue.price_trust.reason}"
            for name, venue in market.venues.items()
        )
        if states and all(trust.state is FeedState.HALTED for trust in states):
            return
        raise DomainError(
            Reason.NO_LIVE_VENUE,
            f"{market.name}: no venue has said anything of it yet ({reasons})",
            metadata={"market": market.name},
            retry_after_s=1.0,
        )

    def trade_log(self, market: Market) -> TradeLog:
        """Return the trades of `market`."""
        return self._engine.trade_logs[market.name]

    def trades(
        self, market: Market, count: int, *, first: int, last: int, venues: frozenset[str]
    ) -> list[NumberedTrade]:
        """Return recent trades, newest first."""
        return self.trade_log(market).newest(count, first=first, last=last, venues=venues)

    def funding(self, market: Market) -> Funding:
        """Return what `market` pays now."""
        return funding_of(market, self._clock.time_ns())

    def feed_level(self, market: Market, venue: str) -> FeedLevel:
        """Return how much of `market` is fed by `venue` now."""
        return self._engine.venues[venue].fed(market.name)

    def _just_wanted(self, market: Market) -> bool:
        return any(
            one.top_time_ns == 0
            and one.listing.status is Status.ACTIVE
            and one.price_trust.state is not FeedState.HALTED
            for one in market.venues.values()
        )

    def _price_settled(self, market: Market) -> bool:
        return all(one.price_trust.state in (FeedState.LIVE, FeedState.HALTED) for one in market.venues.values())

    def _book_settled(self, market: Market) -> bool:
        now_ns = self._clock.time_ns()
        return all(one.judge_book(now_ns).state in (FeedState.LIVE, FeedState.HALTED) for one in market.venues.values())

    async def _listed(self) -> None:
        """Wait for the first listings of every venue, right after the start only."""
        left_s = self._started_s + STARTUP_WAIT_S - self._clock.monotonic()
        if left_s > 0 and not self._engine.listings_complete:
            await self._until(lambda: self._engine.listings_complete, patience_s=left_s)

    def _require_listings(self, field: str, name: str) -> None:
        """Raise VENUE_UNAVAILABLE where a venue has not said yet what it lists: the market may be there."""
        silent = self._engine.unlisted_venues()
        if silent:
            reasons = "; ".join(f"{venue.name}: {venue.status().state_reason}" for venue in silent)
            raise DomainError(
                Reason.VENUE_UNAVAILABLE,
                f"{field}: {name} is not known yet, since not every venue has said what it lists ({reasons})",
                metadata={"field": field, "market": name, "venues": ", ".join(venue.name for venue in silent)},
                retry_after_s=2.0,
            )

    async def _until(self, settled: Callable[[], bool], *, patience_s: float = FIRST_WAIT_S) -> None:
        deadline_s = self._clock.monotonic() + patience_s
        while not settled():
            left_s = deadline_s - self._clock.monotonic()
            if left_s <= 0:
                return
            try:
                async with asyncio.timeout(left_s):
                    await self._engine.round_done()
            except TimeoutError:
                return
