"""`perpmesh.marketdata.v1.MarketDataService`: messages to values, the question, values to messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractContextManager, aclosing, nullcontext
from typing import Any, Final, TypeAlias

import grpc
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb
from perpmesh.marketdata.v1 import market_pb2, price_pb2

from services.chassis.clock import Clock
from services.chassis.watch import Latest, WatchRequest
from services.domain.market import Source
from services.domain.pages import Pager, page_size
from services.market_data.app.demand import Demand
from services.market_data.app.view import View
from services.market_data.model.market import Market
from services.market_data.rpc import encode, encode_static
from services.market_data.rpc.history_calls import HistoryCalls
from services.market_data.rpc.publisher import StreamPublisher
from services.venues.port import FeedLevel

BOOK_DEPTH_DEFAULT: Final = 20
WATCHED_BY_NAME_MAX: Final = 100

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class MarketDataService:
    """The calls that are built; what is missing here is not served."""

    def __init__(
        self,
        *,
        view: View,
        demand: Demand,
        publisher: StreamPublisher,
        sources: dict[str, Source],
        pager: Pager,
        clock: Clock,
        history: HistoryCalls,
    ) -> None:
        self._view = view
        self._demand = demand
        self._publisher = publisher
        self._sources = sources
        self._pager = pager
        self._clock = clock
        self._history = history

    # Venues.

    async def ListVenues(self, request: pb.ListVenuesRequest, context: Context) -> pb.ListVenuesResponse:
        """List the venues, ordered by name."""
        view, now_ns = self._view, self._clock.time_ns()
        return pb.ListVenuesResponse(
            venues=[
                encode_static.venue_message(
                    venue.status(),
                    market_count=view.market_count(venue.name),
                    counts=view.feed_counts(venue.name),
                    now_ns=now_ns,
                )
                for venue in view.venues()
            ]
        )

    async def WatchVenues(self, request: pb.WatchVenuesRequest, context: Context) -> None:
        """Stream the venues."""
        await _send(context, self._publisher.venue_hub.stream(WatchRequest(keys=None, cursor=request.cursor)))

    # Markets.

    async def ListMarkets(self, request: pb.ListMarketsRequest, context: Context) -> pb.ListMarketsResponse:
        """List the markets, ordered by name."""
        venues = self._view.check_venues(request.venues, "venues")
        await self._view.choose(())
        arguments = ",".join(sorted(venues))
        size = page_size(request.page_size, default=100, largest=1000)
        after = ""
        if request.page_token:
            after = self._pager.position("ListMarkets", arguments, request.page_token)
        found = [market for market in self._view.markets(venues) if market.name > after]
        response = pb.ListMarketsResponse(markets=[self._market_message(market) for market in found[:size]])
        if len(found) > size:
            response.next_page_token = self._pager.token("ListMarkets", arguments, found[size - 1].name)
        return response

    async def GetMarket(self, request: pb.GetMarketRequest, context: Context) -> pb.GetMarketResponse:
        """Return one market."""
        return pb.GetMarketResponse(market=self._market_message(await self._view.market(request.market)))

    def _market_message(self, market: Market) -> market_pb2.Market:
        feeds = {name: self._view.feed_level(market, name) for name in market.venues}
        return encode_static.market_message(market, feeds, self._sources)

    # Prices.

    async def GetPrice(self, request: pb.GetPriceRequest, context: Context) -> pb.GetPriceResponse:
        """Return the price of one market."""
        market = await self._view.fresh_price(await self._view.market(request.market))
        self._view.require_live(market)
        return pb.GetPriceResponse(price=self._price_message(market))

    async def BatchGetPrices(self, request: pb.BatchGetPricesRequest, context: Context) -> pb.BatchGetPricesResponse:
        """Return several prices, or all."""
        markets = await self._view.choose(request.markets)
        response = pb.BatchGetPricesResponse()
        for market in markets:
            response.prices.add().CopyFrom(self._price_message(market))
        return response

    async def WatchPrices(self, request: pb.WatchPricesRequest, context: Context) -> None:
        """Stream prices."""
        markets = await self._view.choose(request.markets)
        watch = WatchRequest(
            keys=frozenset(market.name for market in markets) if request.markets else None,
            cursor=request.cursor,
            min_interval_s=_seconds(request.min_interval),
            batch_size=request.batch_size,
        )
        with self._watching(request.markets, FeedLevel.PRICE):
            await _send(context, self._publisher.price_hub.stream(watch))

    def _price_message(self, market: Market) -> price_pb2.Price:
        return self._publisher.encoder.message(market, self._clock.time_ns())

    # Books.

    async def GetOrderBook(self, request: pb.GetOrderBookRequest, context: Context) -> pb.GetOrderBookResponse:
        """Return one order book."""
        market = await self._view.market(request.market)
        depth = request.depth or BOOK_DEPTH_DEFAULT
        book = await self._view.fresh_book(market, depth, include_stale=request.include_stale)
        now_ns = self._clock.time_ns()
        if request.include_stale:
            return pb.GetOrderBookResponse(book=encode.order_book(market, book, 0, now_ns))
        channel = self._publisher.books.get(market, depth)
        channel.update(now_ns)
        return pb.GetOrderBookResponse(book=channel.snapshot(now_ns))

    async def WatchOrderBook(self, request: pb.WatchOrderBookRequest, context: Context) -> None:
        """Stream one order book."""
        market = await self._view.market(request.market)
        depth = request.depth or BOOK_DEPTH_DEFAULT
        watch = WatchRequest(keys=None, cursor=request.cursor, min_interval_s=_seconds(request.min_interval))
        with self._watching([market.name], FeedLevel.BOOK):
            if not request.cursor:
                await self._view.fresh_book(market, depth, include_stale=False)
            channel = self._publisher.books.get(market, depth)
            channel.update(self._clock.time_ns())
            await _send(context, channel.stream(watch))

    # Trades.

    async def ListTrades(self, request: pb.ListTradesRequest, context: Context) -> pb.ListTradesResponse:
        """List trades, newest first; by their numbers where those are given, which only recent ones have."""
        if not request.first_sequence and not request.last_sequence:
            self._demand.touch((await self._view.market(request.market)).name, FeedLevel.PRICE)
            return await self._history.list_trades(request, context)
        market = await self._view.market(request.market)
        venues = self._view.check_venues(request.venues, "venues")
        self._demand.touch(market.name, FeedLevel.PRICE)
        arguments = f"{market.name} {','.join(sorted(venues))} {request.first_sequence} {request.last_sequence}"
        size = page_size(request.page_size, default=100, largest=1000)
        last = request.last_sequence
        if request.page_token:
            last = int(self._pager.position("ListTrades", arguments, request.page_token))
        found = self._view.trades(market, size + 1, first=request.first_sequence, last=last, venues=venues)
        response = pb.ListTradesResponse(
            trades=[encode.trade(market, numbered) for numbered in found[:size]],
            earliest_sequence=self._view.trade_log(market).earliest_sequence,
        )
        if len(found) > size:
            response.next_page_token = self._pager.token("ListTrades", arguments, str(found[size].sequence))
        return response

    async def WatchTrades(self, request: pb.WatchTradesRequest, context: Context) -> None:
        """Stream trades."""
        markets = await self._view.choose(request.markets)
        keys = frozenset(market.name for market in markets) if request.markets else None
        hub = self._publisher.trade_hub
        replay = hub.recent(keys, request.replay_count) if request.replay_count and not request.cursor else ()
        with self._watching(request.markets, FeedLevel.PRICE):
            await _send(context, hub.stream(WatchRequest(keys=keys, cursor=request.cursor), replay=replay))

    # Funding.

    async def ListFundingRates(
        self, request: pb.ListFundingRatesRequest, context: Context
    ) -> pb.ListFundingRatesResponse:
        """List what funding pays now, ordered by market."""
        markets = await self._view.choose(request.markets)
        now_ns = self._clock.time_ns()
        return pb.ListFundingRatesResponse(
            funding_rates=[
                encode.funding_rate(
                    market,
                    self._view.funding(market),
                    self._sources,
                    self._publisher.funding_sequence(market.name),
                    now_ns,
                )
                for market in sorted(markets, key=lambda one: one.name)
            ]
        )

    async def WatchFundingRates(self, request: pb.WatchFundingRatesRequest, context: Context) -> None:
        """Stream what funding pays now."""
        markets = await self._view.choose(request.markets)
        hub: Latest = self._publisher.funding_hub
        watch = WatchRequest(
            keys=frozenset(market.name for market in markets) if request.markets else None,
            cursor=request.cursor,
            min_interval_s=_seconds(request.min_interval),
        )
        await _send(context, hub.stream(watch))

    # The past, and candles.

    async def ListFundingHistory(
        self, request: pb.ListFundingHistoryRequest, context: Context
    ) -> pb.ListFundingHistoryResponse:
        """List settled funding, newest first."""
        return await self._history.list_fundings(request, context)

    async def ListPriceHistory(
        self, request: pb.ListPriceHistoryRequest, context: Context
    ) -> pb.ListPriceHistoryResponse:
        """List recorded prices, newest first."""
        return await self._history.list_prices(request, context)

    async def ListCandles(self, request: pb.ListCandlesRequest, context: Context) -> pb.ListCandlesResponse:
        """List candles, newest first."""
        return await self._history.list_candles(request, context)

    async def WatchCandles(self, request: pb.WatchCandlesRequest, context: Context) -> None:
        """Stream candles as they form and close."""
        markets = [market.name for market in await self._view.choose(request.markets)]
        with self._watching(markets, FeedLevel.PRICE):
            await _send(context, self._history.watch_candles(request, markets))

    def _watching(self, markets: Iterable[str], level: FeedLevel) -> AbstractContextManager[None]:
        names = list(markets)
        return self._demand.watching(names, level) if names else nullcontext()


async def _send(context: Context, messages: AsyncIterator[bytes]) -> None:
    """Write every message of a stream; close it at once when the caller goes."""
    write = context.write
    async with aclosing(messages) as stream:  # type: ignore[type-var]
        async for message in stream:
            await write(message)


def _seconds(span: Any) -> float:
    """Return a `google.protobuf.Duration` in seconds."""
    return float(span.seconds + span.nanos / 1e9)
