"""From the engine's rounds to every open stream: each change is serialized once, here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from services.chassis.clock import Clock
from services.chassis.watch import Feed, Hub, Latest
from services.domain.errors import Reason
from services.domain.feed import FeedState
from services.domain.market import Source
from services.market_data.model.funding import funding_of
from services.market_data.model.market import Market
from services.market_data.model.trade_log import NumberedTrade
from services.market_data.rpc import encode
from services.market_data.rpc.book_stream import BookChannels
from services.market_data.rpc.candle_stream import CandleHubs
from services.market_data.rpc.encode_static import venue_message
from services.market_data.rpc.framing import WatchFraming
from services.venues.port import VenueStatus

TRADE_ENTRIES_MAX = 50_000
"""Trades kept for streams that lag or resume, over all markets; up to twice as many between two trimmings."""
EXPIRE_S = 5.0
"""How often idle book channels are looked for."""

KeepPrice = Callable[[str, bytes, bool], None]
"""Takes (market, serialized price, whether a venue is LIVE): the cache that other rooms read."""


class StreamPublisher:
    """The streams' side of the room (`services.market_data.ports.Publisher`)."""

    def __init__(
        self, *, sources: dict[str, Source], epoch: int, clock: Clock, keep_price: KeepPrice, streams_max: int
    ) -> None:
        framing = WatchFraming()
        self._framing = framing
        self._sources = sources
        self._clock = clock
        self._keep_price = keep_price
        self._funding_sequences: dict[str, int] = {}
        self._venue_sequences: dict[str, int] = {}
        self._market_counts: dict[str, int] = {}
        self.encoder = encode.PriceEncoder(sources)
        self.price_hub = Latest(kind="p", epoch=epoch, framing=framing, clock=clock, streams_max=streams_max)
        self.funding_hub = Latest(kind="f", epoch=epoch, framing=framing, clock=clock, streams_max=streams_max)
        self.venue_hub = Latest(kind="v", epoch=epoch, framing=framing, clock=clock, streams_max=streams_max)
        self.trade_hub = Feed(
            kind="t",
            epoch=epoch,
            framing=framing,
            clock=clock,
            entries_max=TRADE_ENTRIES_MAX,
            streams_max=streams_max,
        )
        self.books = BookChannels(epoch=epoch, framing=framing, clock=clock)
        self.candles = CandleHubs(epoch=epoch, framing=framing, clock=clock, streams_max=streams_max)

    async def run(self) -> None:
        """Keep heartbeats and idle channels in order, until canceled."""
        async with asyncio.TaskGroup() as tasks:
            for hub in (self.price_hub, self.funding_hub, self.venue_hub, self.trade_hub):
                tasks.create_task(hub.tick_forever())
            tasks.create_task(self._tend_books())

    def close(self, reason: Reason, message: str) -> None:
        """End every stream with a last message."""
        hubs: list[Hub] = [self.price_hub, self.funding_hub, self.venue_hub, self.trade_hub]
        hubs += [*self.books.all(), *self.candles.all()]
        for hub in hubs:
            hub.close(reason, message)

    def stream_counts(self) -> dict[str, int]:
        """Return how many streams are open, by kind."""
        return {
            "prices": self.price_hub.stream_count,
            "fundings": self.funding_hub.stream_count,
            "venues": self.venue_hub.stream_count,
            "trades": self.trade_hub.stream_count,
            "candles": sum(hub.stream_count for hub in self.candles.all()),
            "books": sum(channel.stream_count for channel in self.books.all()),
        }

    def lag_s(self, kind: str) -> float:
        """Return how long the slowest stream of a kind has had something to send and sent nothing."""
        return max((hub.lag_s() for hub in self._hubs(kind)), default=0.0)

    def collapsed(self) -> dict[str, int]:
        """Return how many values gave way to newer ones, by kind."""
        return {kind: sum(hub.collapsed for hub in self._hubs(kind)) for kind in ("prices", "fundings", "venues")}

    def _hubs(self, kind: str) -> list[Hub]:
        one = {
            "prices": self.price_hub,
            "fundings": self.funding_hub,
            "venues": self.venue_hub,
            "trades": self.trade_hub,
        }.get(kind)
        if one is not None:
            return [one]
        return [*self.books.all()] if kind == "books" else [*self.candles.all()]

    def prices(self, markets: Sequence[Market], now_ns: int) -> None:
        """These markets show something new."""
        for market in markets:
            payload = self.encoder.message(market, now_ns).SerializeToString()
            self.price_hub.put(market.name, market.sequence, payload)
            self._keep_price(
                market.name,
                payload,
                any(venue.price_trust.state is FeedState.LIVE for venue in market.venues.values()),
            )

    def book_changes(self, markets: Sequence[Market], now_ns: int) -> None:
        """The books of these markets may have changed."""
        for market in markets:
            self.books.update(market, now_ns)

    def trades(self, market: Market, trades: Sequence[NumberedTrade]) -> None:
        """These trades were printed."""
        for numbered in trades:
            payload = encode.trade(market, numbered).SerializeToString()
            self.trade_hub.put(market.name, numbered.sequence, payload)

    def trades_lost(self, market: Market, venue: str, reason: str) -> None:
        """Trades of `market` at `venue` may have been missed."""
        self.trade_hub.tell(market.name, lambda cursor: self._framing.venue_gap(cursor, market.name, venue, reason))

    def fundings(self, markets: Sequence[Market], now_ns: int) -> None:
        """The funding of these markets may have changed."""
        for market in markets:
            sequence = self._funding_sequences.get(market.name, 0) + 1
            self._funding_sequences[market.name] = sequence
            message = encode.funding_rate(market, funding_of(market, now_ns), self._sources, sequence, now_ns)
            self.funding_hub.put(market.name, sequence, message.SerializeToString())

    def funding_sequence(self, market: str) -> int:
        """Return the number of the last funding published for `market`."""
        return self._funding_sequences.get(market, 0)

    def venue(self, status: VenueStatus, *, market_count: int, counts: tuple[int, int, int]) -> None:
        """A venue's feed stands differently."""
        sequence = self._venue_sequences.get(status.venue, 0) + 1
        self._venue_sequences[status.venue] = sequence
        message = venue_message(status, market_count=market_count, counts=counts, now_ns=self._clock.time_ns())
        self.venue_hub.put(status.venue, sequence, message.SerializeToString())

    async def _tend_books(self) -> None:
        while True:
            await self._clock.sleep(EXPIRE_S)
            self.books.expire()
            self.candles.expire()
            for channel in (*self.books.all(), *self.candles.all()):
                channel.wake_silent()
