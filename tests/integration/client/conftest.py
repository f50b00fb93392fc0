"""A scripted mesh and a client whose waits are short."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb
from perpmesh_client import Gap, Perpmesh, Tuning

from tests.integration.client.scripted_mesh import ScriptedMesh, hang, live, messages, steps
from tests.unit.client.client_messages import (
    candle,
    funding,
    funding_point,
    market,
    order_book,
    price,
    price_point,
    trade,
    venue,
)

FAST = Tuning(
    call_timeout_s=2.0, connect_timeout_s=2.0, silence_timeout_s=5.0, backoff_first_s=0.01, backoff_max_s=0.05
)


@pytest.fixture
async def server() -> AsyncIterator[ScriptedMesh]:
    """A mesh that listens, and follows the scripts of the test."""
    scripted = ScriptedMesh()
    await scripted.start()
    yield scripted
    await scripted.close()


@pytest.fixture
def gaps() -> list[Gap]:
    """The gaps that the client reports."""
    return []


@pytest.fixture
async def mesh(server: ScriptedMesh, gaps: list[Gap]) -> AsyncIterator[Perpmesh]:
    """A client of the scripted mesh."""
    async with Perpmesh(server.address, on_gap=gaps.append, tuning=FAST) as client:
        yield client


@pytest.fixture
def filled(server: ScriptedMesh) -> ScriptedMesh:
    """A mesh that answers everything the command line asks."""
    server.answer("GetPrice", pb.GetPriceResponse(price=price()))
    server.answer("BatchGetPrices", pb.BatchGetPricesResponse(prices=[price(), price("ETH-PERP")]))
    server.answer("GetOrderBook", pb.GetOrderBookResponse(book=order_book()))
    server.answer("ListTrades", pb.ListTradesResponse(trades=[trade(2), trade(1)]))
    server.answer("ListFundingRates", pb.ListFundingRatesResponse(funding_rates=[funding()]))
    server.answer("ListVenues", pb.ListVenuesResponse(venues=[venue()]))
    server.answer("ListMarkets", pb.ListMarketsResponse(markets=[market()]))
    server.answer("ListCandles", pb.ListCandlesResponse(candles=[candle(1, closed=False), candle(0)]))
    server.answer("ListFundingHistory", pb.ListFundingHistoryResponse(points=[funding_point(0), funding_point(1)]))
    server.answer("ListPriceHistory", pb.ListPriceHistoryResponse(points=[price_point(0), price_point(1)]))
    forming = messages(pb.WatchCandlesResponse, "candle", [candle(1, closed=False), candle(1)])
    server.stream("WatchCandles", steps(*forming, live(pb.WatchCandlesResponse), hang()))
    server.answer("GetMarket", pb.GetMarketResponse(market=market()))
    numbered = messages(pb.WatchPricesResponse, "price", [price(sequence=number) for number in (1, 2)])
    server.stream("WatchPrices", steps(*numbered, live(pb.WatchPricesResponse), hang()))
    server.stream("WatchOrderBook", steps(pb.WatchOrderBookResponse(snapshot=order_book()), hang()))
    server.stream("WatchTrades", steps(*messages(pb.WatchTradesResponse, "trade", [trade(1), trade(2)]), hang()))
    server.stream("WatchFundingRates", steps(pb.WatchFundingRatesResponse(funding_rate=funding()), hang()))
    server.stream("WatchVenues", steps(pb.WatchVenuesResponse(venue=venue()), hang()))
    return server
