"""`RoutingService` and `PlannerService`: message to value, one use case, value to message."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from perpmesh.routing.v1 import planner_service_pb2, quote_inputs_pb2, quote_pb2
from perpmesh.routing.v1 import routing_service_pb2 as pb
from perpmesh.routing.v1.planner_service_pb2_grpc import PlannerServiceServicer
from perpmesh.routing.v1.routing_service_pb2_grpc import RoutingServiceServicer

from services.chassis import call
from services.domain.decimals import parse_decimal, plain_text
from services.domain.errors import DomainError, Reason
from services.routing.app.desk import Desk, Quoted
from services.routing.model.wish import Wish
from services.routing.ports import Clock, KeptQuote, Quotes
from services.routing.rpc.inputs import inputs_message, inputs_value
from services.routing.rpc.quotes import digest_of, quote_message, refusals
from services.routing.rpc.replay import replay
from services.routing.rpc.requests import forecast_of, wish_of

INTERVAL_MIN_S: Final = 0.1
"""The contract's fastest cadence of a stream of quotes, and its default."""
HEARTBEAT_S: Final = 15.0
STREAMS_MAX: Final = 2_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class RoutingRpc(RoutingServiceServicer, PlannerServiceServicer):
    """Serves both contracts."""

    def __init__(self, *, desk: Desk, quotes: Quotes, clock: Clock) -> None:
        self._desk = desk
        self._quotes = quotes
        self._clock = clock
        self._streams = 0
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """End every stream, with its reason."""
        self._draining.set()

    async def QuoteRoute(self, request: pb.QuoteRouteRequest, context: Any) -> pb.QuoteRouteResponse:
        """Make a quote and keep it."""
        user = _user()
        quoted = await self._desk.quote(user, wish_of(request), tuple(request.account_ids))
        message, kept = _written(quoted, user)
        self._quotes.keep(kept)
        if request.include_inputs:
            message.inputs.ParseFromString(kept.inputs)
        return pb.QuoteRouteResponse(quote=message)

    async def WatchQuote(self, request: pb.WatchQuoteRequest, context: Any) -> AsyncIterator[pb.WatchQuoteResponse]:
        """Quote again and again as the books move."""
        user, wish = _user(), wish_of(request.route, "route.")
        if self._streams >= STREAMS_MAX:
            raise DomainError(
                Reason.LIMIT_REACHED,
                f"{STREAMS_MAX} streams of quotes are open: try again later.",
                metadata={"limit": "quote_streams", "streams_max": str(STREAMS_MAX)},
                retry_after_s=5.0,
            )
        self._streams += 1
        try:
            accounts = tuple(request.route.account_ids)
            quoted = await self._desk.quote(user, wish, accounts)  # refused before the stream begins, not within it
            async for message in self._follow(request, user, wish, quoted):
                yield message
        finally:
            self._streams -= 1

    async def _follow(
        self, request: pb.WatchQuoteRequest, user: str | None, wish: Wish, first: Quoted
    ) -> AsyncIterator[pb.WatchQuoteResponse]:
        interval_s = max(INTERVAL_MIN_S, request.min_interval.seconds + request.min_interval.nanos / 1e9)
        route, count = request.route, 1
        yield _frame(count, quote=_shown(first, with_inputs=route.include_inputs))
        live = pb.WatchQuoteResponse(cursor=f"q{count}")
        live.live.send_time.FromNanoseconds(self._clock.time_ns())
        yield live
        loop = asyncio.get_running_loop()
        due_s = loop.time() + interval_s
        while True:
            changed = await self._change(wish.market, due_s)
            if self._draining.is_set():
                yield _end(count, Reason.DRAINING, "The server is going away: open the stream again.", resumable=True)
                return
            if not changed:
                beat = pb.WatchQuoteResponse(cursor=f"q{count}")
                beat.heartbeat.send_time.FromNanoseconds(self._clock.time_ns())
                yield beat
                continue
            try:
                quoted = await self._desk.quote(user, wish, tuple(route.account_ids))
            except DomainError as error:
                if error.reason is Reason.NO_LIVE_VENUE:
                    due_s = loop.time() + interval_s
                    continue  # nothing to quote from: a heartbeat says that the stream lives, and no old price is sent
                yield _end(count, error.reason, error.message, resumable=False)
                return
            count += 1
            due_s = max(due_s + interval_s, loop.time())
            yield _frame(count, quote=_shown(quoted, with_inputs=route.include_inputs))

    async def _change(self, market: str, due_s: float) -> bool:
        """Wait until the next quote is due and the books have changed; False when only a heartbeat is due."""
        loop = asyncio.get_running_loop()
        changed = asyncio.ensure_future(_awaited(self._desk.changed(market)))
        draining = asyncio.ensure_future(self._draining.wait())
        try:
            await asyncio.wait({changed, draining}, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
            if not changed.done() or draining.done():
                return False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due_s):
                    if loop.time() < due_s:
                        await draining
            return True
        finally:
            changed.cancel()
            draining.cancel()

    async def GetQuote(self, request: pb.GetQuoteRequest, context: Any) -> pb.GetQuoteResponse:
        """Return a quote as it was made."""
        kept = await self._kept(request.quote_id)
        message = quote_pb2.Quote.FromString(kept.quote)
        if request.include_inputs:
            message.inputs.ParseFromString(kept.inputs)
        return pb.GetQuoteResponse(quote=message)

    async def ReplayQuote(self, request: pb.ReplayQuoteRequest, context: Any) -> pb.ReplayQuoteResponse:
        """Make a stored quote again and compare."""
        return replay(await self._kept(request.quote_id))

    async def ForecastCost(self, request: pb.ForecastCostRequest, context: Any) -> pb.ForecastCostResponse:
        """Return the cost against the size."""
        sizes = tuple(parse_decimal(size) for size in request.sizes)
        found, inputs, left_out = await self._desk.forecast(forecast_of(request), sizes, request.point_count)
        answer = pb.ForecastCostResponse(
            capacity=plain_text(found.capacity),
            arrival_mid_price=plain_text(inputs.arrival_mid_price),
            left_out=refusals(left_out),
        )
        for point in found.points:
            told = answer.points.add(size=plain_text(point.size), feasible=bool(point.parts))
            if point.parts:
                told.total_cost = plain_text(point.total_cost)
                told.total_cost_bps = plain_text(point.total_cost_bps)
                told.average_price = plain_text(point.average_price)
                for venue, size in point.parts:
                    told.venues.add(venue=venue, size=plain_text(size))
        for venue, size in found.venues:
            answer.venue_capacities.add(venue=venue, size=plain_text(size))
        for one in inputs.venues:
            version = answer.book_versions.add(venue=one.venue, version=one.book_version, level_count=len(one.levels))
            version.age.FromNanoseconds(int(one.book_age_s.scaleb(9)))
        answer.create_time.FromNanoseconds(inputs.time_ns)
        return answer

    async def PlanRoute(
        self, request: planner_service_pb2.PlanRouteRequest, context: Any
    ) -> planner_service_pb2.PlanRouteResponse:
        """Plan for an order, by the quote it cites where that still stands."""
        replaced = False
        if request.HasField("quote_id"):
            cited = await self._quotes.get(UUID(request.quote_id))
            if cited is not None and await self._still_stands(cited, request.route):
                message = quote_pb2.Quote.FromString(cited.quote)
                if request.route.include_inputs:
                    message.inputs.ParseFromString(cited.inputs)
                return planner_service_pb2.PlanRouteResponse(quote=message)
            replaced = True
        quoted = await self._desk.plan(wish_of(request.route, "route."), tuple(request.account_ids))
        message, kept = _written(quoted, None, order_id=UUID(request.order_id))
        if not request.preview:
            await self._quotes.keep_now(kept)
        if request.route.include_inputs:
            message.inputs.ParseFromString(kept.inputs)
        return planner_service_pb2.PlanRouteResponse(quote=message, quote_replaced=replaced)

    async def _still_stands(self, cited: KeptQuote, route: pb.QuoteRouteRequest) -> bool:
        """Return whether a quote is for this wish, has time left, and its books have not moved."""
        inputs = inputs_value(quote_inputs_pb2.QuoteInputs.FromString(cited.inputs))
        wish = wish_of(route, "route.")
        same = (inputs.market, inputs.side, inputs.size, inputs.size_in_usd)
        if same != (wish.market, wish.side, wish.size, wish.size_in_usd):
            return False
        now = _EPOCH + timedelta(microseconds=self._clock.time_ns() // 1_000)
        return now < cited.expire_time and await self._desk.stands(inputs)

    async def _kept(self, quote_id: str) -> KeptQuote:
        """Return a quote that the caller may read; any other is not found."""
        kept = await self._quotes.get(UUID(quote_id))
        user = _user()
        if kept is None or (kept.user_id is not None and str(kept.user_id) != user):
            raise DomainError(
                Reason.RESOURCE_UNKNOWN,
                "There is no such quote, or it is not yours; those of a stream are kept only when an order cites them.",
                metadata={"field": "quote_id", "quote_id": quote_id},
            )
        return kept


def _user() -> str | None:
    serving = call.CURRENT.get()
    principal = serving.principal if serving is not None else None
    return principal.user if principal is not None and principal.user else None


def _written(quoted: Quoted, user: str | None, *, order_id: UUID | None = None) -> tuple[quote_pb2.Quote, KeptQuote]:
    """Return a quote as a message and as what is kept of it."""
    inputs = inputs_message(quoted.inputs)
    digest = digest_of(inputs)
    message = quote_message(quoted, digest)
    return message, KeptQuote(
        quote_id=quoted.quote_id,
        user_id=UUID(user) if user is not None else None,
        market=quoted.inputs.market,
        create_time=_EPOCH + timedelta(microseconds=quoted.inputs.time_ns // 1_000),
        expire_time=_EPOCH + timedelta(microseconds=quoted.expire_ns // 1_000),
        digest=digest,
        inputs=inputs.SerializeToString(deterministic=True),
        quote=message.SerializeToString(),
        order_id=order_id,
    )


def _shown(quoted: Quoted, *, with_inputs: bool) -> quote_pb2.Quote:
    inputs = inputs_message(quoted.inputs)
    message = quote_message(quoted, digest_of(inputs))
    if with_inputs:
        message.inputs.CopyFrom(inputs)
    return message


def _frame(count: int, *, quote: quote_pb2.Quote) -> pb.WatchQuoteResponse:
    return pb.WatchQuoteResponse(cursor=f"q{count}", quote=quote)


def _end(count: int, reason: Reason, message: str, *, resumable: bool) -> pb.WatchQuoteResponse:
    frame = pb.WatchQuoteResponse(cursor=f"q{count}")
    frame.end.reason, frame.end.message, frame.end.resumable = reason.value, message, resumable
    return frame


async def _awaited(change: Any) -> None:
    await change
