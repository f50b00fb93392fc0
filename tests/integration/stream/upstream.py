"""A market_data that says what a test tells it to, over real gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb
from perpmesh.marketdata.v1 import market_pb2
from perpmesh.marketdata.v1.market_data_service_pb2_grpc import (
    MarketDataServiceServicer,
    add_MarketDataServiceServicer_to_server,
)

from services.chassis.errors import abort
from services.domain.errors import DomainError

MARKETS = ("BTC-PERP", "ETH-PERP", "SOL-PERP", "XYZ-TSLA-PERP")


class Stream:
    """One Watch stream as market_data has it open; the test writes what it says."""

    def __init__(self, method: str, request: Any, response: type[Any]) -> None:
        self.method = method
        self.request = request
        self.closed = asyncio.Event()
        """Set when the client is gone."""
        self._response = response
        self._said: asyncio.Queue[Any] = asyncio.Queue()
        self._count = 0

    def say(self, cursor: str | None = None, **event: Any) -> None:
        """Say one message, such as `say(price=Price(...))`; without a cursor, messages are numbered."""
        self._count += 1
        self._said.put_nowait(self._response(cursor=f"c{self._count}" if cursor is None else cursor, **event))

    def live(self) -> None:
        """Say that the present is complete."""
        self.say(live={})

    def fail(self, error: DomainError) -> None:
        """End with a status."""
        self._said.put_nowait(error)

    def finish(self) -> None:
        """End without a word."""
        self._said.put_nowait(None)

    async def messages(self, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        """Give the client what the test says."""
        try:
            while (item := await self._said.get()) is not None:
                if isinstance(item, DomainError):
                    await abort(context, item, "request-1")
                yield item
        finally:
            self.closed.set()


class Upstream(MarketDataServiceServicer):
    """The service; every stream that is opened comes out of `opened`."""

    def __init__(self, markets: tuple[str, ...] = MARKETS) -> None:
        self.known = list(markets)
        self.lists = 0
        self.streams: list[Stream] = []
        self._opened: asyncio.Queue[Stream] = asyncio.Queue()

    async def opened(self) -> Stream:
        """Return the next stream that a client opens."""
        return await asyncio.wait_for(self._opened.get(), 10)

    @property
    def idle(self) -> bool:
        """Say whether no stream waits to be looked at."""
        return self._opened.empty()

    async def ListMarkets(self, request: Any, context: Any) -> Any:
        """List the markets two at a time, so that paging is used."""
        self.lists += 1
        start = int(request.page_token or "0")
        page = self.known[start : start + 2]
        token = str(start + 2) if start + 2 < len(self.known) else ""
        return pb.ListMarketsResponse(markets=[market_pb2.Market(market=name) for name in page], next_page_token=token)

    async def WatchPrices(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Open a stream of prices."""
        async for item in self._open("prices", request, pb.WatchPricesResponse, context):
            yield item

    async def WatchOrderBook(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Open a stream of a book."""
        async for item in self._open("book", request, pb.WatchOrderBookResponse, context):
            yield item

    async def WatchTrades(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Open a stream of trades."""
        async for item in self._open("trades", request, pb.WatchTradesResponse, context):
            yield item

    async def WatchFundingRates(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Open a stream of funding."""
        async for item in self._open("funding", request, pb.WatchFundingRatesResponse, context):
            yield item

    async def WatchCandles(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Open a stream of candles."""
        async for item in self._open("candles", request, pb.WatchCandlesResponse, context):
            yield item

    def _open(self, method: str, request: Any, response: type[Any], context: Any) -> AsyncIterator[Any]:
        stream = Stream(method, request, response)
        self.streams.append(stream)
        self._opened.put_nowait(stream)
        return stream.messages(context)


class UpstreamServer:
    """`Upstream` on a port that stays the same over restarts."""

    def __init__(self, service: Upstream) -> None:
        self.service = service
        self.port = 0
        self._server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        """Return host:port."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen, after a stop on the same port again."""
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        add_MarketDataServiceServicer_to_server(self.service, server)
        self.port = server.add_insecure_port(self.address)
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Stop at once, cutting what is open."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None
