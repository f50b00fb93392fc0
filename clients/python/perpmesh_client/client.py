"""The mesh as an object: ask once, or watch for as long as you like."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TypeVar, cast, overload

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb

from perpmesh_client.book_watch import follow_book
from perpmesh_client.errors import GapError, PerpmeshError
from perpmesh_client.stream import Follow, Live, Response, Restarted, Spec, Watch
from perpmesh_client.trades import TradeFiller
from perpmesh_client.trading import Trading
from perpmesh_client.transport import Request, Token, Transport, UnaryMethod
from perpmesh_client.tuning import Tuning, backoff_s
from perpmesh_client.values.book import LocalBook, OrderBook
from perpmesh_client.values.funding import FundingRate
from perpmesh_client.values.history import Candle, FundingPoint, Interval, PricePoint
from perpmesh_client.values.market import Market
from perpmesh_client.values.price import Price
from perpmesh_client.values.trade import Gap, Trade
from perpmesh_client.values.venue import Venue

if TYPE_CHECKING:
    from perpmesh.marketdata.v1 import candle_pb2
    from perpmesh.marketdata.v1.market_data_service_pb2_grpc import MarketDataServiceAsyncStub

DEFAULT_ADDRESS = "127.0.0.1:8080"
PAGE_MAX = 1_000
"""The most that one page of a list carries."""
BATCH_MAX = 100
"""The most prices that one message of a stream carries."""

Answer = TypeVar("Answer")
Item = TypeVar("Item")
Listing = TypeVar("Listing", pb.ListCandlesRequest, pb.ListFundingHistoryRequest, pb.ListPriceHistoryRequest)
Paged = TypeVar("Paged", pb.ListCandlesResponse, pb.ListFundingHistoryResponse, pb.ListPriceHistoryResponse)
Seconds = float | timedelta
"""A span: a number of seconds, or a timedelta."""

_log = logging.getLogger("perpmesh_client")


class Perpmesh(Trading):
    """Prices, books, trades and funding of perpetual futures over every venue.

        async with Perpmesh("127.0.0.1:8080") as mesh:
            async for price in mesh.watch_prices("BTC-PERP"):
                print(price.best_bid, price.best_ask)

    Prices are in USD, sizes in units of the base asset, rates are fractions; all are `Decimal`. Every time is an aware
    datetime. Every call raises `PerpmeshError`. A `watch_...` stream reconnects and resumes by itself and ends only
    when it cannot: a wrong argument, a missing right, or a mesh that never answered (`Tuning.connect_timeout_s`).
    For those who trade there are `quotes`, `vault`, `orders` and `portfolio`.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        token: Token | None = None,
        metadata: Mapping[str, str] | None = None,
        root_certificates: bytes | None = None,
        on_gap: Callable[[Gap], None] | None = None,
        tuning: Tuning | None = None,
    ) -> None:
        """Prepare; the first call connects.

        `address`: `host:port` or `http://host:port` in clear text, `https://host` with TLS (port 443 unless given).
        `token`: an access token, a `Login`, or an async function that fetches one; sent as `authorization: Bearer ...`.
        `metadata`: further headers of every call. `root_certificates`: PEM of the authorities to trust instead of the
        system's. `on_gap`: called with every gap that a stream has and cannot fill; the log gets them otherwise.
        """
        super().__init__(address, token=token, metadata=metadata, root_certificates=root_certificates)
        self._tuning = tuning or Tuning()
        self._on_gap = on_gap or _log_gap
        self._dice = random.Random()  # noqa: S311 - it spreads retries and guards nothing
        self._transport = Transport(
            address,
            token=token,
            metadata=metadata or {},
            root_certificates=root_certificates,
            silence_timeout_s=self._tuning.silence_timeout_s,
        )

    async def __aenter__(self) -> Perpmesh:
        """Return itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection; streams still being read end."""
        await super().aclose()
        await self._transport.close()

    async def price(self, market: str) -> Price:
        """Return the price of one market over all venues."""
        return Price.from_proto((await self._call(lambda stub: stub.GetPrice, pb.GetPriceRequest(market=market))).price)

    async def prices(self, *markets: str) -> list[Price]:
        """Return the prices of up to 100 markets in the order given, or of all; each the latest of its market."""
        answer = await self._call(lambda stub: stub.BatchGetPrices, pb.BatchGetPricesRequest(markets=markets))
        return [Price.from_proto(price) for price in answer.prices]

    def watch_prices(
        self, *markets: str, min_interval: Seconds = 0, batch_size: int | None = None, cursor: str = ""
    ) -> Watch[Price]:
        """Watch the prices of up to 100 markets, or of all: first as they stand, then every change.

        `min_interval`: the shortest time between two prices of one market, up to 60 seconds. `batch_size`: how many
        prices travel in one message, up to 100; by default as many as markets are watched, which costs both sides
        least. A reader too slow gets fewer prices, each the latest, and `on_gap` is told.
        """
        batch = min(len(markets) or BATCH_MAX, BATCH_MAX) if batch_size is None else batch_size
        interval = _duration(min_interval)
        spec: Spec[pb.WatchPricesRequest, pb.WatchPricesResponse] = Spec(
            call="WatchPrices",
            pick=lambda stub: stub.WatchPrices,
            request=lambda at: pb.WatchPricesRequest(
                markets=markets, min_interval=interval, batch_size=batch if batch > 1 else 0, cursor=at
            ),
        )
        follow = self._follow(spec, cursor)
        return Watch(self._latest(follow, _prices_of), follow)

    async def book(self, market: str, *, depth: int = 20, include_stale: bool = False) -> OrderBook:
        """Return the book of one market over all venues. `depth`: levels per side, 5, 20, 100 or 500.

        `include_stale` includes the levels of venues that are not LIVE; `versions` tells which those are.
        """
        request = pb.GetOrderBookRequest(market=market, depth=depth, include_stale=include_stale)
        return OrderBook.from_proto((await self._call(lambda stub: stub.GetOrderBook, request)).book)

    def watch_book(
        self, market: str, *, depth: int = 20, min_interval: Seconds = 0, cursor: str = ""
    ) -> Watch[LocalBook]:
        """Watch the book of one market: yields the same `LocalBook` after every change.

        Take `book.snapshot()` to keep a state. Every delta is checked against the book here; one that does not fit
        has the book fetched again, and `on_gap` is told.
        """
        interval = _duration(min_interval)
        spec: Spec[pb.WatchOrderBookRequest, pb.WatchOrderBookResponse] = Spec(
            call="WatchOrderBook",
            pick=lambda stub: stub.WatchOrderBook,
            request=lambda at: pb.WatchOrderBookRequest(market=market, depth=depth, min_interval=interval, cursor=at),
        )
        follow = self._follow(spec, cursor)
        return Watch(self._without_gaps(follow_book(follow, market), raises=False), follow)

    async def trades(
        self,
        market: str,
        *,
        limit: int = 100,
        venues: Iterable[str] = (),
        first_sequence: int = 0,
        last_sequence: int = 0,
    ) -> list[Trade]:
        """Return the recent trades of one market over all venues, newest first, at most `limit`.

        `first_sequence` and `last_sequence` bound the sequence numbers, inclusive; zero is no bound.
        """
        request = pb.ListTradesRequest(
            market=market, venues=venues, first_sequence=first_sequence, last_sequence=last_sequence
        )
        return (await self._list_trades(request, limit))[0]

    @overload
    def watch_trades(
        self, *markets: str, replay: int = 0, unfilled: Literal["report", "raise"] = "report", cursor: str = ""
    ) -> Watch[Trade]: ...
    @overload
    def watch_trades(
        self, *markets: str, replay: int = 0, unfilled: Literal["yield"], cursor: str = ""
    ) -> Watch[Trade | Gap]: ...
    def watch_trades(
        self, *markets: str, replay: int = 0, unfilled: Literal["report", "raise", "yield"] = "report", cursor: str = ""
    ) -> Watch[Trade] | Watch[Trade | Gap]:
        """Watch the trades of up to 100 markets, or of all: each exactly once, in the order of its market.

        `replay`: how many recent trades of each market come first, up to 1,000. What the stream loses is fetched.
        `unfilled` says what happens to a gap for which that fails: "report" tells `on_gap`, "yield" yields the `Gap`
        among the trades, "raise" ends the stream with a `GapError`.
        """
        spec: Spec[pb.WatchTradesRequest, pb.WatchTradesResponse] = Spec(
            call="WatchTrades",
            pick=lambda stub: stub.WatchTrades,
            request=lambda at: pb.WatchTradesRequest(markets=markets, replay_count=replay, cursor=at),
        )
        follow = self._follow(spec, cursor)
        items = TradeFiller(follow, self._fetch_trades, markets).items()
        if unfilled == "yield":
            return Watch(items, follow)
        return Watch(self._without_gaps(items, raises=unfilled == "raise"), follow)

    async def funding_rates(self, *markets: str) -> list[FundingRate]:
        """Return what funding pays now, for up to 100 markets or for all, ordered by market."""
        answer = await self._call(lambda stub: stub.ListFundingRates, pb.ListFundingRatesRequest(markets=markets))
        return [FundingRate.from_proto(rate) for rate in answer.funding_rates]

    def watch_funding_rates(self, *markets: str, min_interval: Seconds = 0, cursor: str = "") -> Watch[FundingRate]:
        """Watch what funding pays, for up to 100 markets or for all: first as it stands, then every change."""
        interval = _duration(min_interval)
        spec: Spec[pb.WatchFundingRatesRequest, pb.WatchFundingRatesResponse] = Spec(
            call="WatchFundingRates",
            pick=lambda stub: stub.WatchFundingRates,
            request=lambda at: pb.WatchFundingRatesRequest(markets=markets, min_interval=interval, cursor=at),
        )
        follow = self._follow(spec, cursor)
        return Watch(self._latest(follow, lambda message: (FundingRate.from_proto(message.funding_rate),)), follow)

    async def candles(
        self,
        market: str,
        interval: str = "1m",
        *,
        venue: str = "",
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int = 500,
    ) -> list[Candle]:
        """Return candles of one market, newest first, at most `limit`: of one venue, or of all together.

        `interval` is 1s, 1m, 5m, 15m, 1h, 4h or 1d. `start` is inclusive, `end` exclusive. The newest may be forming.
        """
        request = pb.ListCandlesRequest(
            market=market, interval=_interval(interval), venue=venue, start_time=_stamp(start), end_time=_stamp(end)
        )
        return await self._pages(
            lambda stub: stub.ListCandles, request, lambda answer: map(Candle.from_proto, answer.candles), limit
        )

    def watch_candles(self, *markets: str, interval: str = "1m", venue: str = "", cursor: str = "") -> Watch[Candle]:
        """Watch the candles of up to 20 markets as they form and close; the last state of each always comes."""
        number = _interval(interval)
        spec: Spec[pb.WatchCandlesRequest, pb.WatchCandlesResponse] = Spec(
            call="WatchCandles",
            pick=lambda stub: stub.WatchCandles,
            request=lambda at: pb.WatchCandlesRequest(markets=markets, interval=number, venue=venue, cursor=at),
        )
        follow = self._follow(spec, cursor)
        return Watch(self._latest(follow, lambda message: (Candle.from_proto(message.candle),)), follow)

    async def funding_history(
        self,
        market: str,
        *,
        venues: Iterable[str] = (),
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int = 100,
    ) -> list[FundingPoint]:
        """Return the settled funding of one market, newest first, at most `limit` rates."""
        request = pb.ListFundingHistoryRequest(
            market=market, venues=venues, start_time=_stamp(start), end_time=_stamp(end)
        )
        return await self._pages(
            lambda stub: stub.ListFundingHistory,
            request,
            lambda answer: map(FundingPoint.from_proto, answer.points),
            limit,
        )

    async def price_history(
        self,
        market: str,
        *,
        venue: str = "",
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int = 500,
    ) -> list[PricePoint]:
        """Return the recorded prices of one market, newest first, at most `limit`."""
        request = pb.ListPriceHistoryRequest(market=market, venue=venue, start_time=_stamp(start), end_time=_stamp(end))
        return await self._pages(
            lambda stub: stub.ListPriceHistory,
            request,
            lambda answer: map(PricePoint.from_proto, answer.points),
            limit,
        )

    async def markets(self, *, venues: Iterable[str] = ()) -> list[Market]:
        """Return all markets, or those that any of `venues` lists, ordered by name."""
        found: list[Market] = []
        request = pb.ListMarketsRequest(page_size=PAGE_MAX, venues=venues)
        while True:
            answer = await self._call(lambda stub: stub.ListMarkets, request)
            found += [Market.from_proto(market) for market in answer.markets]
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token

    async def market(self, market: str) -> Market:
        """Return one market with the rules of every venue that lists it."""
        answer = await self._call(lambda stub: stub.GetMarket, pb.GetMarketRequest(market=market))
        return Market.from_proto(answer.market)

    async def venues(self) -> list[Venue]:
        """Return the venues with the state of their feeds, breakers and limits, ordered by name."""
        answer = await self._call(lambda stub: stub.ListVenues, pb.ListVenuesRequest())
        return [Venue.from_proto(venue) for venue in answer.venues]

    def watch_venues(self, *, cursor: str = "") -> Watch[Venue]:
        """Watch the venues: first as they stand, then every change, each venue whole."""
        spec: Spec[pb.WatchVenuesRequest, pb.WatchVenuesResponse] = Spec(
            call="WatchVenues",
            pick=lambda stub: stub.WatchVenues,
            request=lambda at: pb.WatchVenuesRequest(cursor=at),
        )
        follow = self._follow(spec, cursor)
        return Watch(self._latest(follow, lambda message: (Venue.from_proto(message.venue),)), follow)

    def _follow(self, spec: Spec[Request, Response], cursor: str) -> Follow[Request, Response]:
        return Follow(self._transport, spec, self._tuning, self._dice, cursor=cursor)

    async def _call(
        self,
        pick: Callable[[MarketDataServiceAsyncStub], UnaryMethod[Request, Answer]],
        request: Request,
    ) -> Answer:
        """Send a call, again while the mesh is UNAVAILABLE, within one deadline."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._tuning.call_timeout_s
        failures, renewed = 0, False
        while True:
            try:
                return await self._transport.call(pick, request, max(0.001, deadline - loop.time()))
            except PerpmeshError as error:
                if error.reason == "TOKEN_INVALID" and not renewed and self._transport.token_refused():
                    renewed = True
                    continue
                failures += 1
                asked_s = error.retry_after.total_seconds() if error.retry_after is not None else 0.0
                wait_s = backoff_s(self._tuning, failures, self._dice, retry_after_s=asked_s)
                given_up = failures >= self._tuning.call_attempts_max or loop.time() + wait_s >= deadline
                if error.code != "UNAVAILABLE" or given_up:
                    raise
                await asyncio.sleep(wait_s)

    async def _latest(
        self, follow: Follow[Request, Response], items_of: Callable[[Response], Sequence[Item]]
    ) -> AsyncGenerator[Item, None]:
        """Yield the items of a stream whose messages each carry something whole."""
        async with aclosing(follow.messages()) as messages:
            async for message in messages:
                if isinstance(message, Gap):
                    self._on_gap(message)
                elif isinstance(message, Restarted):
                    self._on_gap(message.gap)
                elif not isinstance(message, Live):
                    for item in items_of(message):
                        yield item

    async def _without_gaps(
        self, items: AsyncGenerator[Item | Gap, None], *, raises: bool
    ) -> AsyncGenerator[Item, None]:
        async with aclosing(items):
            async for item in items:
                if not isinstance(item, Gap):
                    yield item
                elif raises:
                    raise GapError(item)
                else:
                    self._on_gap(item)

    async def _pages(
        self,
        pick: Callable[[MarketDataServiceAsyncStub], UnaryMethod[Listing, Paged]],
        request: Listing,
        items_of: Callable[[Paged], Iterable[Item]],
        limit: int,
    ) -> list[Item]:
        """Return at most `limit` items of a list that comes in pages."""
        found: list[Item] = []
        while len(found) < limit:
            request.page_size = min(PAGE_MAX, limit - len(found))
            answer = await self._call(pick, request)
            found += items_of(answer)
            if not answer.next_page_token:
                break
            request.page_token = answer.next_page_token
        return found[:limit]

    async def _fetch_trades(self, market: str, first: int, last: int) -> tuple[list[Trade], int]:
        request = pb.ListTradesRequest(market=market, first_sequence=first, last_sequence=last)
        return await self._list_trades(request, self._tuning.fill_trades_max)

    async def _list_trades(self, request: pb.ListTradesRequest, limit: int) -> tuple[list[Trade], int]:
        found: list[Trade] = []
        while True:
            request.page_size = min(PAGE_MAX, limit - len(found))
            answer = await self._call(lambda stub: stub.ListTrades, request)
            found += [Trade.from_proto(trade) for trade in answer.trades]
            if not answer.next_page_token or len(found) >= limit:
                return found[:limit], answer.earliest_sequence
            request.page_token = answer.next_page_token


def _stamp(moment: datetime | None) -> Timestamp | None:
    """Return a time for a request. Raises `ValueError` for one that is not aware, since it could be any."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone; an aware datetime would pass")
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def _interval(text: str) -> candle_pb2.CandleInterval.ValueType:
    """Return the number of an interval. Raises `ValueError` for a text that is none."""
    return cast("candle_pb2.CandleInterval.ValueType", Interval.of(text).number)


def _prices_of(message: pb.WatchPricesResponse) -> Sequence[Price]:
    if message.WhichOneof("event") == "price":
        return (Price.from_proto(message.price),)
    return [Price.from_proto(price) for price in message.prices.prices]


def _duration(span: Seconds) -> Duration | None:
    length = span if isinstance(span, timedelta) else timedelta(seconds=span)
    if not length:
        return None
    duration = Duration()
    duration.FromTimedelta(length)
    return duration


def _log_gap(gap: Gap) -> None:
    """Log a gap: loudly where every message counts, quietly where the next one mends it."""
    _log.log(logging.WARNING if gap.call == "WatchTrades" else logging.INFO, "%s", gap)
