"""A client that watches one market through the edge while the simulated venues misbehave."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import grpc
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb
from perpmesh.marketdata.v1 import market_data_service_pb2_grpc as stubs
from perpmesh.marketdata.v1 import price_pb2, state_pb2

from tests.support.mesh import Mesh
from tests.support.simulator import Simulator

LIVE, STALE, RECOVERING = state_pb2.STATE_LIVE, state_pb2.STATE_STALE, state_pb2.STATE_RECOVERING


def simulator_of(mesh: Mesh, session: aiohttp.ClientSession) -> Simulator:
    """Return the controls of a mesh's simulator."""
    hyperliquid, lighter = mesh.address("simulator.hyperliquid"), mesh.address("simulator.lighter")
    return Simulator(
        hyperliquid_http=f"http://{hyperliquid}",
        hyperliquid_ws=f"ws://{hyperliquid}/ws",
        lighter_http=f"http://{lighter}",
        lighter_ws=f"ws://{lighter}/stream",
        control_http=f"http://{mesh.address('simulator.control')}",
        pid=mesh.pid("simulator"),
        session=session,
    )


class Watcher:
    """Follows the price of one market over gRPC through the edge; remembers what it saw and when."""

    def __init__(self, channel: grpc.aio.Channel, market: str = "BTC-PERP") -> None:
        self.stub: Any = stubs.MarketDataServiceStub(channel)
        self.market = market
        self.prices: list[tuple[float, price_pb2.Price]] = []
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        stream = self.stub.WatchPrices(pb.WatchPricesRequest(markets=[self.market]))
        async for message in stream:
            if message.WhichOneof("event") == "price":
                self.prices.append((time.monotonic(), message.price))
                self._changed.set()

    def venue(self, name: str) -> price_pb2.VenuePrice:
        """Return the newest values of one venue."""
        return next(one for one in self.prices[-1][1].venues if one.venue == name)

    async def until(self, what: Callable[[], bool], timeout_s: float, why: str) -> float:
        """Wait until `what` holds of the newest price; return the seconds it took."""
        start = time.monotonic()
        while not (self.prices and what()):
            if self._task.done():
                self._task.result()
            left = timeout_s - (time.monotonic() - start)
            assert left > 0, f"not within {timeout_s} s: {why}; the last was {self.prices[-1:]}"
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), min(left, 1.0))
            except TimeoutError:
                continue
        return time.monotonic() - start

    async def until_state(self, venue: str, state: int, timeout_s: float) -> float:
        """Wait until a venue is in `state`; return the seconds it took."""
        name = state_pb2.State.Name(state)
        return await self.until(lambda: self.venue(venue).state == state, timeout_s, f"{venue} {name}")

    async def close(self) -> None:
        """Stop following."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
