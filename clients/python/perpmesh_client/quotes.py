"""Quotes: the cheapest split of a trade over the venues, with a proof that anyone can check.

    async with Quotes("127.0.0.1:8080") as quotes:
        quote = await quotes.quote("BTC-PERP", "buy", "1.5")
        assert check_quote(quote) == []

What comes back are the contract's own messages (`perpmesh.routing.v1`), with their inputs, so that every quote can be
checked (`perpmesh_client.certificate`). Needs no login; with one (`token=login`) quotes count with the caller's own
accounts, and what was quoted so only the caller may read. Every call raises `PerpmeshError`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from perpmesh.routing.v1 import quote_pb2
from perpmesh.routing.v1 import routing_service_pb2 as pb
from perpmesh.routing.v1.routing_service_pb2_grpc import RoutingServiceStub
from perpmesh.type.v1 import side_pb2, size_unit_pb2

from perpmesh_client.certificate import check_quote
from perpmesh_client.part import Part

if TYPE_CHECKING:
    from perpmesh.routing.v1.routing_service_pb2_grpc import RoutingServiceAsyncStub

SIDES = {"buy": side_pb2.SIDE_BUY, "sell": side_pb2.SIDE_SELL}

__all__ = ["Quotes", "check_quote", "route"]


def route(
    market: str,
    side: str,
    size: Decimal | str,
    *,
    in_usd: bool = False,
    limit_price: Decimal | str | None = None,
    max_slippage_bps: int | None = None,
    venues: Sequence[str] = (),
    excluded: Sequence[str] = (),
    holding_time: timedelta | None = None,
    priority_fee_bps: int = 0,
    charge_latency: bool = False,
) -> pb.QuoteRouteRequest:
    """Return a wish. `side` is `buy` or `sell`; `size` is in units of the base asset, or in USD where `in_usd`."""
    if side not in SIDES:
        raise ValueError(f"side must be buy or sell, not {side!r}")
    request = pb.QuoteRouteRequest(
        market=market,
        side=SIDES[side],
        size=_text(size),
        size_unit=size_unit_pb2.SIZE_UNIT_USD if in_usd else size_unit_pb2.SIZE_UNIT_BASE,
        venues=venues,
        excluded_venues=excluded,
        priority_fee_bps=priority_fee_bps,
        charge_latency=charge_latency,
        include_inputs=True,
    )
    if limit_price is not None:
        request.limit_price = _text(limit_price)
    if max_slippage_bps is not None:
        request.max_slippage_bps = max_slippage_bps
    if holding_time is not None:
        request.holding_time.FromTimedelta(holding_time)
    return request


class Quotes(Part):
    """Asks routing."""

    async def quote(self, market: str, side: str, size: Decimal | str) -> quote_pb2.Quote:
        """Return the cheapest plan for a size; `ask` takes every other wish."""
        return await self.ask(route(market, side, size))

    async def ask(self, request: pb.QuoteRouteRequest) -> quote_pb2.Quote:
        """Return a quote. That the wish cannot be met is an answer too, with reasons and the nearest sizes."""
        return (await self._ask(self._stub().QuoteRoute, request)).quote

    async def get(self, quote_id: str) -> quote_pb2.Quote:
        """Return a quote as it was made."""
        request = pb.GetQuoteRequest(quote_id=quote_id, include_inputs=True)
        return (await self._ask(self._stub().GetQuote, request)).quote

    async def replay(self, quote_id: str) -> pb.ReplayQuoteResponse:
        """Have a quote made again from its stored inputs, and return what differs."""
        request = pb.ReplayQuoteRequest(quote_id=quote_id)
        return await self._ask(self._stub().ReplayQuote, request)

    async def forecast(
        self,
        market: str,
        side: str,
        sizes: Sequence[Decimal | str] = (),
        *,
        points: int = 20,
        venues: Sequence[str] = (),
    ) -> pb.ForecastCostResponse:
        """Return what sizes cost; without any, `points` of them evenly up to what the books carry."""
        if side not in SIDES:
            raise ValueError(f"side must be buy or sell, not {side!r}")
        request = pb.ForecastCostRequest(
            market=market, side=SIDES[side], sizes=[_text(size) for size in sizes], point_count=points, venues=venues
        )
        return await self._ask(self._stub().ForecastCost, request)

    async def watch(
        self, request: pb.QuoteRouteRequest, *, interval: timedelta = timedelta(milliseconds=100)
    ) -> AsyncGenerator[quote_pb2.Quote, None]:
        """Yield quotes as the books move; begins anew when the connection breaks, raises what that cannot mend."""
        wanted = pb.WatchQuoteRequest(route=request)
        wanted.min_interval.FromTimedelta(interval)
        told = self._stream(self._stub().WatchQuote, lambda _: wanted, collapses=True)
        async with aclosing(told):
            async for message in told:
                if message.HasField("quote"):
                    yield message.quote

    def _stub(self) -> RoutingServiceAsyncStub:
        stub: RoutingServiceAsyncStub = RoutingServiceStub(self._open())  # type: ignore[assignment, unused-ignore]
        return stub


def _text(number: Decimal | str) -> str:
    return format(number, "f") if isinstance(number, Decimal) else number
