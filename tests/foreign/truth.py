"""What the mesh says over gRPC, kept by sequence number, to hold a foreign client's state against.

A client shows the state of some moment; asking afterwards gives a later one. So every state is remembered under its
number while the client is looked at, until one is found that both have.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from perpmesh.marketdata.v1 import book_pb2, market_pb2, price_pb2, trade_pb2
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb

State = TypeVar("State")
Seen = TypeVar("Seen")

PERIOD_S = 0.004
"""How often the mesh is asked; states of one market follow each other more slowly."""
ASKED_BETWEEN_LOOKS = 10


class Truth:
    """Questions to the mesh."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub

    async def price(self, market: str) -> price_pb2.Price:
        """Return a price."""
        return (await self._stub.GetPrice(pb.GetPriceRequest(market=market))).price  # type: ignore[no-any-return]

    async def book(self, market: str) -> book_pb2.OrderBook:
        """Return an order book of the usual depth."""
        return (await self._stub.GetOrderBook(pb.GetOrderBookRequest(market=market))).book  # type: ignore[no-any-return]

    async def trades(self, market: str, count: int) -> dict[int, trade_pb2.Trade]:
        """Return the recent trades by their number."""
        answer = await self._stub.ListTrades(pb.ListTradesRequest(market=market, page_size=count))
        return {trade.sequence: trade for trade in answer.trades}

    async def markets(self) -> list[market_pb2.Market]:
        """Return all markets."""
        answer = await self._stub.ListMarkets(pb.ListMarketsRequest(page_size=1000))
        assert answer.next_page_token == ""
        return list(answer.markets)

    async def until_live(self, market: str, timeout_s: float = 20.0) -> None:
        """Wait until every venue of a market is LIVE."""
        deadline = time.monotonic() + timeout_s
        states: set[str] = set()
        while time.monotonic() < deadline:
            price = await self.price(market)
            states = {f"{one.venue} {one.state} {one.state_reason}" for one in price.venues}
            if {one.state for one in price.venues} == {1}:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"{market} is not live after {timeout_s} s: {states}")


async def same_moment(
    ask: Callable[[], Awaitable[State]],
    look: Callable[[], Awaitable[tuple[int, Seen]]],
    timeout_s: float = 60.0,
) -> tuple[State, Seen]:
    """Return the mesh's state and the client's, of one sequence number.

    `ask` returns a message with a `sequence`; `look` returns the client's number (0 for none yet) and its state.
    """
    states: dict[int, State] = {}
    deadline = time.monotonic() + timeout_s
    number = 0
    while time.monotonic() < deadline:
        for _ in range(ASKED_BETWEEN_LOOKS):
            state = await ask()
            states[state.sequence] = state  # type: ignore[attr-defined]
            await asyncio.sleep(PERIOD_S)
        number, seen = await look()
        if number in states:
            return states[number], seen
    raise AssertionError(f"the client is at {number} and the mesh was at {sorted(states)[-20:]}")
