"""The Watch calls of market_data as the door's port."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any, cast

from perpmesh.marketdata.v1 import candle_pb2
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb
from perpmesh.marketdata.v1.market_data_service_pb2_grpc import MarketDataServiceStub

from services.chassis.client import Peer
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


class MarketDataPeer:
    """market_data, reached through one channel."""

    def __init__(self, peer: Peer, *, silence_max_s: float = SILENCE_MAX_S) -> None:
        self._stub: Any = cast(Any, MarketDataServiceStub)(peer)  # a peer has the channel's methods that stubs use
        self._silence_max_s = silence_max_s

    async def markets(self) -> frozenset[str]:
        """Return the canonical names of all markets, or raise a `DomainError`."""
        names: set[str] = set()
        token = ""
        for _ in range(PAGES_MAX):
            wanted = pb.ListMarketsRequest(page_size=PAGE_SIZE, page_token=token)
            page = await self._stub.ListMarkets(wanted, timeout=LIST_TIMEOUT_S)
            names.update(market.market for market in page.markets)
            token = page.next_page_token
            if not token:
                break
        return frozenset(names)

    async def follow(
        self, subjects: Sequence[Subject], *, cursor: str, replay: int, hear: Callable[[Said], None]
    ) -> None:
        """Call `hear` with all that one Watch stream says about `subjects`; see `services.stream.ports`."""
        loop = asyncio.get_running_loop()
        try:
            async with (
                asyncio.timeout(self._silence_max_s) as silence,
                aclosing(self._open(subjects, cursor, replay)) as messages,
            ):
                async for message in messages:
                    hear(said(message))
                    silence.reschedule(loop.time() + self._silence_max_s)
        except TimeoutError:
            raise DomainError(
                Reason.PEER_UNAVAILABLE, f"The topic's source said nothing for {self._silence_max_s:g} s."
            ) from None

    def _open(self, subjects: Sequence[Subject], cursor: str, replay: int) -> Any:  # an async generator of messages
        first = subjects[0]
        markets = [subject.market for subject in subjects]
        if first.kind is Kind.BOOK:
            book = pb.WatchOrderBookRequest(market=first.market, depth=first.depth, cursor=cursor)
            return self._stub.WatchOrderBook(book)
        if first.kind is Kind.CANDLES:
            interval = candle_pb2.CandleInterval.Value(f"CANDLE_INTERVAL_{first.interval.upper()}")
            return self._stub.WatchCandles(pb.WatchCandlesRequest(markets=markets, interval=interval, cursor=cursor))
        if first.kind is Kind.PRICES:
            return self._stub.WatchPrices(pb.WatchPricesRequest(markets=markets, cursor=cursor, batch_size=BATCH_SIZE))
        if first.kind is Kind.TRADES:
            return self._stub.WatchTrades(pb.WatchTradesRequest(markets=markets, cursor=cursor, replay_count=replay))
        return self._stub.WatchFundingRates(pb.WatchFundingRatesRequest(markets=markets, cursor=cursor))
