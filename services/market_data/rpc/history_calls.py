"""The calls that ask for the past: candles, recorded prices, settled funding, older trades.

Page tokens name the last row of the page before, so that rows that come meanwhile move nothing; they outlive a restart
where the room is given its secret. `x-data-age-ms` in the headers says how old an answer may be: 0 from the database
that is written to, more from a replica.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final, TypeAlias

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb

from services.chassis.clock import Clock
from services.chassis.watch import WatchRequest
from services.domain.pages import Pager, page_size, split_position
from services.market_data.app.archive import FIRST, Archive
from services.market_data.app.recorder import Recorder
from services.market_data.app.view import View
from services.market_data.rpc import encode_history
from services.market_data.rpc.candle_stream import CandleHubs
from services.market_data.rpc.encode_history import INTERVALS_S

_LAST_S: Final = 4_102_444_800
AGE_KEY: Final = "x-data-age-ms"

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class HistoryCalls:
    """Messages to values, the question to the archive, values to messages."""

    def __init__(
        self, *, archive: Archive, recorder: Recorder, hubs: CandleHubs, view: View, pager: Pager, clock: Clock
    ) -> None:
        self._archive = archive
        self._recorder = recorder
        self._hubs = hubs
        self._view = view
        self._pager = pager
        self._clock = clock

    async def list_candles(self, request: pb.ListCandlesRequest, context: Context) -> pb.ListCandlesResponse:
        """List candles, newest first."""
        market = await self._view.market(request.market)
        self._check_venue(request.venue)
        interval_s = INTERVALS_S[request.interval]
        size = page_size(request.page_size, default=500, largest=5000)
        start_ns, end_ns = self._span(request)
        arguments = f"{market.name} {interval_s} {request.venue} {_bounds(request)}"
        if request.page_token:
            (position,) = split_position(self._pager.position("ListCandles", arguments, request.page_token), 1)
            end_ns = min(end_ns, int(position))
        page = await self._archive.candles(
            market, interval_s, request.venue, start_ns=start_ns, end_ns=end_ns, size=size
        )
        response = pb.ListCandlesResponse(candles=[encode_history.candle(one) for one in page.rows])
        if not page.is_last and page.rows:
            response.next_page_token = self._pager.token("ListCandles", arguments, str(page.rows[-1].open_ns))
        await _tell_age(context, page.age_s)
        return response

    def watch_candles(self, request: pb.WatchCandlesRequest, markets: list[str]) -> AsyncIterator[bytes]:
        """Return the stream of the candles of `markets`, which exist."""
        self._check_venue(request.venue)
        interval_s = INTERVALS_S[request.interval]
        hub = self._hubs.get(interval_s, request.venue, markets)
        for market in markets:
            present = self._recorder.present(market, interval_s, request.venue)
            if present is not None:
                hub.put(present)
        return hub.stream(WatchRequest(keys=frozenset(markets), cursor=request.cursor))

    async def list_prices(self, request: pb.ListPriceHistoryRequest, context: Context) -> pb.ListPriceHistoryResponse:
        """List recorded prices, newest first, then by venue."""
        market = await self._view.market(request.market)
        self._check_venue(request.venue)
        size = page_size(request.page_size, default=500, largest=5000)
        start_ns, end_ns = self._span(request)
        arguments = f"{market.name} {request.venue} {_bounds(request)}"
        before = (end_ns, FIRST)
        if request.page_token:
            position = self._pager.position("ListPriceHistory", arguments, request.page_token)
            time_text, venue = split_position(position, 2)
            before = int(time_text), venue
        page = await self._archive.prices(market, request.venue, start_ns=start_ns, before=before, size=size)
        response = pb.ListPriceHistoryResponse(points=[encode_history.price_point(one) for one in page.rows])
        if not page.is_last:
            last = page.rows[-1]
            token = self._pager.token("ListPriceHistory", arguments, f"{last.sample_ns} {last.venue}")
            response.next_page_token = token
        await _tell_age(context, page.age_s)
        return response

    async def list_fundings(
        self, request: pb.ListFundingHistoryRequest, context: Context
    ) -> pb.ListFundingHistoryResponse:
        """List settled funding, newest first, then by venue."""
        market = await self._view.market(request.market)
        venues = self._view.check_venues(request.venues, "venues")
        size = page_size(request.page_size, default=100, largest=1000)
        start_ns, end_ns = self._span(request)
        arguments = f"{market.name} {','.join(sorted(venues))} {_bounds(request)}"
        before = (end_ns, FIRST)
        if request.page_token:
            position = self._pager.position("ListFundingHistory", arguments, request.page_token)
            time_text, venue = split_position(position, 2)
            before = int(time_text), venue
        page = await self._archive.fundings(market, venues, start_ns=start_ns, before=before, size=size)
        response = pb.ListFundingHistoryResponse(points=[encode_history.funding_point(one) for one in page.rows])
        if not page.is_last:
            last = page.rows[-1]
            token = self._pager.token("ListFundingHistory", arguments, f"{last.settle_ns} {last.venue}")
            response.next_page_token = token
        await _tell_age(context, page.age_s)
        return response

    async def list_trades(self, request: pb.ListTradesRequest, context: Context) -> pb.ListTradesResponse:
        """List trades by the venue's time, newest first, as far back as they are kept."""
        market = await self._view.market(request.market)
        venues = self._view.check_venues(request.venues, "venues")
        size = page_size(request.page_size, default=100, largest=1000)
        arguments = f"{market.name} {','.join(sorted(venues))}"
        before = None
        if request.page_token:
            position = self._pager.position("ListTrades", arguments, request.page_token)
            time_text, venue, trade_id = split_position(position, 3)
            before = int(time_text), venue, trade_id
        page = await self._archive.trades(market, venues, before, size)
        response = pb.ListTradesResponse(
            trades=[encode_history.trade(one) for one in page.rows],
            earliest_sequence=self._view.trade_log(market).earliest_sequence,
        )
        if not page.is_last and page.rows:
            at_us, venue, trade_id = page.rows[-1].key
            response.next_page_token = self._pager.token("ListTrades", arguments, f"{at_us} {venue} {trade_id}")
        await _tell_age(context, page.age_s)
        return response

    def _check_venue(self, venue: str) -> None:
        if venue:
            self._view.check_venues([venue], "venue")

    def _span(self, request: Any) -> tuple[int, int]:
        """Return [start, end) in nanoseconds; what is absent reaches as far as there is anything."""
        start_ns = _ns(request.start_time) if request.HasField("start_time") else 0
        end_ns = _ns(request.end_time) if request.HasField("end_time") else self._clock.time_ns()
        return start_ns, end_ns


def _bounds(request: Any) -> str:
    """Return the bounds as they were given: a token is good for these alone."""
    start = str(_ns(request.start_time)) if request.HasField("start_time") else ""
    end = str(_ns(request.end_time)) if request.HasField("end_time") else ""
    return f"{start} {end}"


def _ns(time: Timestamp) -> int:
    """Return a time within 1970 and 2100; what lies outside has no rows and is the same as the nearest."""
    return min(max(time.seconds, 0), _LAST_S) * 1_000_000_000 + time.nanos


async def _tell_age(context: Context, age_s: float) -> None:
    await context.send_initial_metadata(((AGE_KEY, str(round(age_s * 1000))),))
