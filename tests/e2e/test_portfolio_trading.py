"""Real orders at both simulated venues become positions here, and the venues report the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import grpc
import pytest
import pytest_asyncio
from perpmesh.portfolio.v1 import portfolio_service_pb2 as portfolio_pb
from perpmesh.portfolio.v1.portfolio_service_pb2_grpc import PortfolioServiceStub
from perpmesh.type.v1 import order_type_pb2, side_pb2

from tests.e2e.test_trading import Trader, edge, mesh, trader

pytestmark = pytest.mark.asyncio(loop_scope="module")
__all__ = ["edge", "mesh", "trader"]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def portfolio(trader: Trader) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(trader.mesh.edge) as channel:
        yield PortfolioServiceStub(channel)


async def test_filled_orders_are_positions_that_the_venues_report_alike(trader: Trader, portfolio: Any) -> None:
    sizes: dict[str, Decimal] = {}
    for venue in ("hyperliquid", "lighter"):
        order = await trader.place(
            side=side_pb2.SIDE_BUY, size="0.01", type=order_type_pb2.ORDER_TYPE_MARKET, venue=venue
        )
        done = await trader.ended(order.order_id)
        sizes[venue] = Decimal(done.filled_size)
    assert all(sizes.values())
    asked = portfolio_pb.ListPositionsRequest()
    async with asyncio.timeout(60):
        while True:
            found = (await portfolio.ListPositions(asked, metadata=trader.metadata)).positions
            held = {one.venue: one for one in found}
            if set(held) == set(sizes) and all(one.HasField("reported") and not one.differences for one in found):
                break
            await asyncio.sleep(0.2)
    assert {venue: Decimal(one.size) for venue, one in held.items()} == sizes
    for one in found:
        assert Decimal(one.reported.size) == Decimal(one.size)
        assert Decimal(one.mark_price) > 0
    balances = await portfolio.ListBalances(portfolio_pb.ListBalancesRequest(), metadata=trader.metadata)
    cash = {one.venue: Decimal(one.total) for one in balances.balances if one.asset == "USDC"}
    assert all(cash[venue] > 0 for venue in sizes), cash
    for account in balances.accounts:
        # Marks move between the venue's report and ours; a whole balance that is missing would be far more.
        assert abs(Decimal(account.equity) - Decimal(account.reported.equity)) < 100, account
