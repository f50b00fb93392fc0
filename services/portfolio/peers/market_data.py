"""market_data: mark prices, and the venues' margin rules."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, cast

from perpmesh.marketdata.v1 import market_data_service_pb2 as pb
from perpmesh.marketdata.v1 import market_pb2, state_pb2
from perpmesh.marketdata.v1.market_data_service_pb2_grpc import MarketDataServiceStub

from services.chassis.client import Peer
from services.chassis.clock import Clock
from services.chassis.telemetry import log
from services.domain.decimals import parse_decimal, rounding
from services.domain.errors import DomainError
from services.portfolio.model.margin import HYPERLIQUID, MarketRules, Tier, fraction_tier, leverage_tiers
from services.portfolio.model.values import Environment
from services.portfolio.model.view import Mark, Marks

MARKS_MAX: Final = 100
"""Markets asked for in one call, all the contract takes."""
FRESH_S: Final = 0.5
"""How long a mark is not asked for again."""
RULES_FRESH_S: Final = 300.0
RULES_RETRY_S: Final = 2.0
PAGES_MAX: Final = 20
_SOURCES: Final = {
    state_pb2.SOURCE_MAINNET: Environment.MAINNET,
    state_pb2.SOURCE_TESTNET: Environment.TESTNET,
    state_pb2.SOURCE_SIMULATED: Environment.SIMULATED,
}


class MarketDataPeer:
    """The port `Markets`. What it was told last stands while market_data is away: each mark carries its age."""

    def __init__(self, peer: Peer, clock: Clock) -> None:
        self._stub: Any = cast(Any, MarketDataServiceStub)(peer)  # a peer has the channel's methods that stubs use
        self._clock = clock
        self._marks: dict[tuple[str, str], Mark] = {}
        self._asked: dict[str, float] = {}
        self._rules: dict[tuple[str, str], MarketRules] = {}
        self._intervals: dict[tuple[str, str], Decimal] = {}
        self._sources: dict[str, Environment] = {}
        self._listed_until = 0.0
        self._away = False

    async def marks(self, markets: Collection[str]) -> Marks:
        """Return the marks of some markets; those that are not known are left out."""
        await self._list()
        now = self._clock.monotonic()
        stale = sorted(market for market in markets if self._asked.get(market, 0.0) < now - FRESH_S)
        for start in range(0, len(stale), MARKS_MAX):
            await self._ask(stale[start : start + MARKS_MAX])
        wanted = frozenset(markets)
        return Marks({key: mark for key, mark in self._marks.items() if key[1] in wanted})

    async def rules(self) -> dict[tuple[str, str], MarketRules]:
        """Return how the venues count margin, by (venue, market)."""
        await self._list()
        return self._rules

    async def environment(self, venue: str) -> Environment:
        """Return what network a venue's feed comes from."""
        await self._list()
        return self._sources.get(venue, Environment.UNSPECIFIED)

    async def _ask(self, markets: list[str]) -> None:
        known = [market for market in markets if any(key[1] == market for key in self._rules)] or markets
        now = self._clock.monotonic()
        self._asked.update(dict.fromkeys(markets, now))  # also where it fails: calls do not queue up before a dead peer
        try:
            answer = await self._stub.BatchGetPrices(pb.BatchGetPricesRequest(markets=known), timeout=1.0)
        except DomainError as error:
            self._tell(error)
            return
        self._tell(None)
        for price in answer.prices:
            for venue in price.venues:
                self._keep(price.market, venue)

    def _keep(self, market: str, said: Any) -> None:
        if not said.mark_price:
            return
        rate = parse_decimal(said.funding_rate) if said.funding_rate else None
        hours = self._intervals.get((said.venue, market), Decimal(1))
        with rounding():
            hourly = rate / hours if rate is not None else None
        stamp = said.receive_time
        self._marks[said.venue, market] = Mark(
            price=parse_decimal(said.mark_price),
            funding_hourly=hourly,
            received=datetime.fromtimestamp(stamp.seconds, UTC).replace(microsecond=stamp.nanos // 1_000),
        )

    async def _list(self) -> None:
        """Learn the listings again where what is known of them is old."""
        now = self._clock.monotonic()
        if now < self._listed_until:
            return
        self._listed_until = now + RULES_RETRY_S
        token = ""
        try:
            for _ in range(PAGES_MAX):
                wanted = pb.ListMarketsRequest(page_size=1_000, page_token=token)
                page = await self._stub.ListMarkets(wanted, timeout=2.0)
                for market in page.markets:
                    self._learn(market)
                token = page.next_page_token
                if not token:
                    break
        except DomainError as error:
            self._tell(error)
            return
        if self._rules:
            self._listed_until = now + RULES_FRESH_S

    def _learn(self, market: market_pb2.Market) -> None:
        for listing in market.listings:
            key = (listing.venue, market.market)
            self._rules[key] = MarketRules(venue=listing.venue, market=market.market, tiers=tiers_of(listing))
            self._intervals[key] = Decimal(listing.funding_interval.seconds or 3_600) / 3_600
            self._sources[listing.venue] = _SOURCES.get(listing.source, Environment.UNSPECIFIED)

    def _tell(self, error: DomainError | None) -> None:
        """Log when it goes and comes, and not at every call."""
        if (error is not None) != self._away:
            self._away = error is not None
            log.warning("market_data.away" if self._away else "market_data.heard", error=str(error or ""))


def tiers_of(listing: market_pb2.Market.Listing) -> tuple[Tier, ...]:
    """Return a listing's margin tiers; Hyperliquid's rates follow from leverage, which is exact where text is not."""
    leverage = max(1, listing.max_leverage)
    if listing.venue == HYPERLIQUID:
        rows = [(parse_decimal(tier.lower_notional), tier.max_leverage) for tier in listing.leverage_tiers]
        return leverage_tiers(rows or [(Decimal(0), leverage)])
    if listing.leverage_tiers:
        return fraction_tier(parse_decimal(listing.leverage_tiers[0].maintenance_margin), leverage)
    with rounding():
        return fraction_tier(Decimal(1) / (2 * leverage), leverage)
