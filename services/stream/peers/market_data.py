"""The Watch calls of market_data as the door's port."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import grpc
from google.protobuf.message import Message
from perpmesh.marketdata.v1 import candle_pb2
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb
from perpmesh.marketdata.v1.market_data_service_pb2_grpc import MarketDataServiceStub

from services.chassis.errors import from_rpc_error
from services.domain.errors import DomainError, Reason
from services.stream.model.said import Said
from services.stream.model.topic import Kind, Subject
from services.stream.peers.wording import said

LIST_TIMEOUT_S = 2.0
PAGE_SIZE = 1_000
PAGES_MAX = 20
BATCH_SIZE = 100
"""Prices that one message may carry: what has gathered while we were busy comes at once."""

SILENCE_MAX_S = 40.0
"""A Watch stream says something every 15 s; one that is silent for longer than two of those is dead."""


_CHANNEL = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
)
"""Soon connected again after a restart; a dead line is noticed by the pings that the chassis' server allows."""


def connect(address: str) -> grpc.aio.Channel:
    """Return a channel to market_data at host:port; it connects when it is first used."""
    return grpc.aio.insecure_channel(address, options=_CHANNEL)


class MarketDataPeer:
    """market_data, reached through one channel."""

    def __init__(self, channel: grpc.aio.Channel, *, silence_max_s: float = SILENCE_MAX_S) -> None:
        self._stub: Any = MarketDataServiceStub(channel)
        self._silence_max_s = silence_max_s

    async def markets(self) -> frozenset[str]:
        """Return the canonical names of all markets, or raise a `DomainError`."""
        names: set[str] = set()
        token = ""
        try:
            for _ in range(PAGES_MAX):
                wanted = pb.ListMarketsRequest(page_size=PAGE_SIZE, page_token=token)
                page = await self._stub.ListMarkets(wanted, timeout=LIST_TIMEOUT_S)
                names.update(market.market for market in page.markets)
                token = page.next_page_token
                if not token:
                    break
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        return frozenset(names)

    async def follow(
        self, subjects: Sequence[Subject], *, cursor: str, replay: int, hear: Callable[[Said], None]
    ) -> None:
        """Call `hear` with all that one Watch stream says about `subjects`; see `services.stream.ports`."""
        call = self._open(subjects, cursor, replay)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._silence_max_s) as silence:
                async for message in call:
                    hear(said(message))
                    silence.reschedule(loop.time() + self._silence_max_s)
        except TimeoutError:
            raise DomainError(
                Reason.PEER_UNAVAILABLE, f"The topic's source said nothing for {self._silence_max_s:g} s."
            ) from None
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        finally:
            call.cancel()

    def _open(self, subjects: Sequence[Subject], cursor: str, replay: int) -> Any:
        first = subjects[0]
        markets = [subject.market for subject in subjects]
        if first.kind is Kind.BOOK:
            book = pb.WatchOrderBookRequest(market=first.market, depth=first.depth, cursor=cursor)
            return self._stub.WatchOrderBook(book)
        if first.kind is Kind.CANDLES:
            interval = candle_pb2.CandleInterval.Value(f"CANDLE_INTERVAL_{first.interval.upper()}")
            return self._stub.WatchCandles(pb.WatchCandlesRequest(markets=markets, interval=interval, cursor=cursor))
        request: Message
        if first.kind is Kind.PRICES:
            request = pb.WatchPricesRequest(markets=markets, cursor=cursor, batch_size=BATCH_SIZE)
            return self._stub.WatchPrices(request)
        if first.kind is Kind.TRADES:
            request = pb.WatchTradesRequest(markets=markets, cursor=cursor, replay_count=replay)
            return self._stub.WatchTrades(request)
        return self._stub.WatchFundingRates(pb.WatchFundingRatesRequest(markets=markets, cursor=cursor))
