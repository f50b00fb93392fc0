"""`RoutingService` and `PlannerService`: message to value, one use case, value to message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
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
from services.routing.app.desk import Desk
from services.routing.model.wish import Limits, Wish
from services.routing.ports import Clock, KeptQuote, Quotes, Routes
from services.routing.rpc.inputs import inputs_value
from services.routing.rpc.pace import Turns, next_due_s, phase_s
from services.routing.rpc.quotes import refusals
from services.routing.rpc.record import Scribe, field, serves
from services.routing.rpc.replay import replay
from services.routing.rpc.requests import forecast_of, limits_of, wish_of

INTERVAL_MIN_S: Final = 0.1
"""The contract's fastest cadence of a stream of quotes, and its default."""
HEARTBEAT_S: Final = 15.0
STREAMS_MAX: Final = 2_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ANSWER: Final = pb.QuoteRouteResponse.QUOTE_FIELD_NUMBER
_INPUTS: Final = quote_pb2.Quote.INPUTS_FIELD_NUMBER
_CURSOR: Final = pb.WatchQuoteResponse.CURSOR_FIELD_NUMBER
_QUOTE: Final = pb.WatchQuoteResponse.QUOTE_FIELD_NUMBER


class RoutingRpc(RoutingServiceServicer, PlannerServiceServicer):
    """Serves both contracts."""

    def __init__(self, *, desk: Desk, quotes: Quotes, routes: Routes, clock: Clock) -> None:
        self._desk = desk
        self._quotes = quotes
        self._routes = routes
        self._scribe = Scribe()
        self._clock = clock
        self._streams = 0
        self._opened = 0
        self._turns = Turns()
        self._draining = asyncio.Event()
        self._sleepers: set[asyncio.Future[None]] = set()

    def drain(self) -> None:
        """End every stream, with its reason."""
        self._draining.set()
        for waiter in self._sleepers:
            _wake(waiter)

    async def QuoteRoute(self, request: pb.QuoteRouteRequest, context: Any) -> Any:
        """Make a quote and keep it; the one just made for nobody in particular serves again while its books stand."""
        user, wish = _user(), wish_of(request)
        kept = await self._shared(wish) if user is None and not request.account_ids else None
        if kept is None:
            quoted = await self._desk.quote(user, wish, tuple(request.account_ids))
            kept = self._scribe.write(quoted, user)
            if user is None and quoted.stamp is not None:
                self._routes.remember(wish, quoted.stamp, kept, share=True)
        self._quotes.keep(kept)
        return field(_ANSWER, _quote_of(kept, with_inputs=request.include_inputs))

    async def _shared(self, wish: Wish) -> KeptQuote | None:
        """Return a quote made for nobody in particular, on the books as they stand."""
        if wish.reduce_only:
            return None
        stamp = await self._desk.stamp(wish)
        if stamp is None:
            return None
        return self._routes.known(wish, stamp) or await self._routes.fetch(wish, stamp)

    async def WatchQuote(self, request: pb.WatchQuoteRequest, context: Any) -> AsyncIterator[Any]:
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
            first = await self._next(user, wish, request)  # refused before the stream begins, not within it
            async for message in self._follow(request, user, wish, first):
                yield message
        finally:
            self._streams -= 1

    async def _next(self, user: str | None, wish: Wish, request: pb.WatchQuoteRequest) -> tuple[bytes, int]:
        """Return the quote of a stream's wish, once for all streams of the same wish, and the number of its books."""
        stamp = await self._desk.stamp(wish) if user is None and not wish.reduce_only else None
        kept = self._routes.known(wish, stamp) if stamp is not None else None
        number = stamp.number if stamp is not None else 0
        if kept is None:
            quoted = await self._desk.quote(user, wish, tuple(request.route.account_ids))
            kept, number = self._scribe.write(quoted, user), quoted.number
            if user is None and quoted.stamp is not None:
                self._routes.remember(wish, quoted.stamp, kept, share=False)
        self._routes.note_frame(kept)
        return _quote_of(kept, with_inputs=request.route.include_inputs), number

    async def _follow(
        self, request: pb.WatchQuoteRequest, user: str | None, wish: Wish, first: tuple[bytes, int]
    ) -> AsyncIterator[Any]:
        interval_s = max(INTERVAL_MIN_S, request.min_interval.seconds + request.min_interval.nanos / 1e9)
        count, (quote, number) = 1, first
        yield _frame(count, quote)
        live = pb.WatchQuoteResponse(cursor=f"q{count}")
        live.live.send_time.FromNanoseconds(self._clock.time_ns())
        yield live
        loop = asyncio.get_running_loop()
        self._opened += 1
        due_s = loop.time() + interval_s + phase_s(self._opened, INTERVAL_MIN_S)
        while True:
            changed = await self._change(wish.market, number, due_s)
            if self._draining.is_set():
                yield _end(count, Reason.DRAINING, "The server is going away: open the stream again.", resumable=True)
                return
            if not changed:
                beat = pb.WatchQuoteResponse(cursor=f"q{count}")
                beat.heartbeat.send_time.FromNanoseconds(self._clock.time_ns())
                yield beat
                continue
            due_s = next_due_s(due_s, interval_s, loop.time())
            await self._turns.take()
            try:
                quote, number = await self._next(user, wish, request)
            except DomainError as error:
                if error.reason is Reason.NO_LIVE_VENUE:
                    number = await self._desk.number(wish.market)
                    continue  # nothing to quote from: a heartbeat says that the stream lives, and no old price is sent
                yield _end(count, error.reason, error.message, resumable=False)
                return
            count += 1
            yield _frame(count, quote)

    async def _change(self, market: str, number: int, due_s: float) -> bool:
        """Wait until the next quote is due and the books are others than `number`; False for a heartbeat or the end.

        What changes before the next quote is due wakes nobody: of a busy market's changes most come in between.
        """
        await self._sleep_until(due_s)
        if self._draining.is_set():
            return False
        if await self._desk.number(market) != number:
            return True
        changed = asyncio.ensure_future(_awaited(self._desk.changed(market)))
        draining = asyncio.ensure_future(self._draining.wait())
        try:
            await asyncio.wait({changed, draining}, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
            return changed.done() and not draining.done()
        finally:
            changed.cancel()
            draining.cancel()

    async def _sleep_until(self, due_s: float) -> None:
        """Wait for a time of the loop, or until the room drains; one timer and no task, since streams are many."""
        loop = asyncio.get_running_loop()
        if due_s <= loop.time() or self._draining.is_set():
            return
        waiter: asyncio.Future[None] = loop.create_future()
        timer = loop.call_at(due_s, _wake, waiter)
        self._sleepers.add(waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._sleepers.discard(waiter)

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
        user = request.user_id or None
        limits = limits_of(request.account_limits)
        if request.HasField("quote_id"):
            cited = await self._cited(UUID(request.quote_id))
            if cited is not None and await self._serves(cited, request, limits):
                return await self._planned(replace(cited, order_id=UUID(request.order_id)), request)
        quoted = await self._desk.plan(wish_of(request.route, "route."), tuple(request.account_ids), limits)
        kept = replace(self._scribe.write(quoted, user), order_id=UUID(request.order_id))
        answer = await self._planned(kept, request)
        answer.quote_replaced = request.HasField("quote_id")
        return answer

    async def _planned(
        self, kept: KeptQuote, request: planner_service_pb2.PlanRouteRequest
    ) -> planner_service_pb2.PlanRouteResponse:
        """Keep a quote for the order it is for, unless that is only looked at, and answer with it."""
        if not request.preview:
            await self._quotes.keep_now(kept)
        message = quote_pb2.Quote.FromString(kept.quote)
        if request.route.include_inputs:
            message.inputs.ParseFromString(kept.inputs)
        return planner_service_pb2.PlanRouteResponse(quote=message)

    async def _cited(self, quote_id: UUID) -> KeptQuote | None:
        return self._routes.frame(quote_id) or await self._quotes.get(quote_id)

    async def _serves(self, cited: KeptQuote, request: planner_service_pb2.PlanRouteRequest, limits: Limits) -> bool:
        """Return whether a quote has time left, serves this order, and its books have not moved."""
        now = _EPOCH + timedelta(microseconds=self._clock.time_ns() // 1_000)
        of_another = cited.user_id is not None and str(cited.user_id) != request.user_id
        if of_another or now >= cited.expire_time:
            return False
        inputs = inputs_value(quote_inputs_pb2.QuoteInputs.FromString(cited.inputs))
        wish, quote = wish_of(request.route, "route."), quote_pb2.Quote.FromString(cited.quote)
        return serves(inputs, quote, wish, request.account_ids, limits) and await self._desk.stands(inputs)

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


def _quote_of(kept: KeptQuote, *, with_inputs: bool) -> bytes:
    """Return a quote as it was made, with what it was made from where that is asked for."""
    return kept.quote + field(_INPUTS, kept.inputs) if with_inputs else kept.quote


def _frame(count: int, quote: bytes) -> bytes:
    return field(_CURSOR, b"q%d" % count) + field(_QUOTE, quote)


def _end(count: int, reason: Reason, message: str, *, resumable: bool) -> pb.WatchQuoteResponse:
    frame = pb.WatchQuoteResponse(cursor=f"q{count}")
    frame.end.reason, frame.end.message, frame.end.resumable = reason.value, message, resumable
    return frame


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


async def _awaited(change: Any) -> None:
    await change
