"""Quotes: the cheapest split of a trade over the venues, with a proof that anyone can check.

    async with Quotes("127.0.0.1:8080") as quotes:
        quote = await quotes.quote("BTC-PERP", "buy", "1.5")
        assert check_quote(quote) == []

What comes back are the contract's own messages (`perpmesh.routing.v1`), with their inputs, so that every quote can be
checked (`perpmesh_client.certificate`). Needs no login. Every call raises `PerpmeshError`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from grpc import aio
from perpmesh.routing.v1 import quote_pb2
from perpmesh.routing.v1 import routing_service_pb2 as pb
from perpmesh.routing.v1.routing_service_pb2_grpc import RoutingServiceStub
from perpmesh.type.v1 import side_pb2, size_unit_pb2

from perpmesh_client.certificate import check_quote
from perpmesh_client.errors import PerpmeshError, from_rpc
from perpmesh_client.transport import Endpoint, open_channel

if TYPE_CHECKING:
    from perpmesh.routing.v1.routing_service_pb2_grpc import RoutingServiceAsyncStub

CALL_TIMEOUT_S = 10.0
RECONNECT_S = 0.5
SIDES = {"buy": side_pb2.SIDE_BUY, "sell": side_pb2.SIDE_SELL}

Answer = TypeVar("Answer")

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


class Quotes:
    """Asks routing."""

    def __init__(self, address: str, *, root_certificates: bytes | None = None) -> None:
        """Prepare; the first call connects."""
        self.address = address
        self._root_certificates = root_certificates
        self._channel: aio.Channel | None = None

    async def __aenter__(self) -> Quotes:
        """Return itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def quote(self, market: str, side: str, size: Decimal | str) -> quote_pb2.Quote:
        """Return the cheapest plan for a size; `ask` takes every other wish."""
        return await self.ask(route(market, side, size))

    async def ask(self, request: pb.QuoteRouteRequest) -> quote_pb2.Quote:
        """Return a quote. That the wish cannot be met is an answer too, with reasons and the nearest sizes."""
        return (await self._call(lambda stub: stub.QuoteRoute(request, timeout=CALL_TIMEOUT_S))).quote

    async def get(self, quote_id: str) -> quote_pb2.Quote:
        """Return a quote as it was made."""
        request = pb.GetQuoteRequest(quote_id=quote_id, include_inputs=True)
        return (await self._call(lambda stub: stub.GetQuote(request, timeout=CALL_TIMEOUT_S))).quote

    async def replay(self, quote_id: str) -> pb.ReplayQuoteResponse:
        """Have a quote made again from its stored inputs, and return what differs."""
        request = pb.ReplayQuoteRequest(quote_id=quote_id)
        return await self._call(lambda stub: stub.ReplayQuote(request, timeout=CALL_TIMEOUT_S))

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
        return await self._call(lambda stub: stub.ForecastCost(request, timeout=CALL_TIMEOUT_S))

    async def watch(
        self, request: pb.QuoteRouteRequest, *, interval: timedelta = timedelta(milliseconds=100)
    ) -> AsyncGenerator[quote_pb2.Quote, None]:
        """Yield quotes as the books move; begins anew when the connection breaks, raises what that cannot mend."""
        wanted = pb.WatchQuoteRequest(route=request)
        wanted.min_interval.FromTimedelta(interval)
        while True:
            try:
                async for message in self._stub().WatchQuote(wanted):
                    if message.HasField("quote"):
                        yield message.quote
                    elif message.HasField("end") and not message.end.resumable:
                        raise PerpmeshError(message.end.message, code="ABORTED", reason=message.end.reason)
            except aio.AioRpcError as failure:
                error = from_rpc(failure, self.address)
                if error.code != "UNAVAILABLE" and not error.from_transport:
                    raise error from None
            await asyncio.sleep(RECONNECT_S)

    async def _call(self, send: Callable[[RoutingServiceAsyncStub], Awaitable[Answer]]) -> Answer:
        try:
            return await send(self._stub())
        except aio.AioRpcError as failure:
            raise from_rpc(failure, self.address) from None

    def _stub(self) -> RoutingServiceAsyncStub:
        if self._channel is None:
            self._channel = open_channel(Endpoint.parse(self.address), self._root_certificates)
        stub: RoutingServiceAsyncStub = RoutingServiceStub(self._channel)  # type: ignore[assignment, unused-ignore]
        return stub


def _text(number: Decimal | str) -> str:
    return format(number, "f") if isinstance(number, Decimal) else number
