"""Streams of one order book: a snapshot, then deltas, computed once for all readers of a market and depth.

A channel keeps its last `DELTAS_MAX` deltas. A reader that falls behind them gets a snapshot instead; one that asked
for slower messages gets the deltas between two of them merged into one, which is exact because sizes are absolute.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from perpmesh.marketdata.v1 import book_pb2, market_data_service_pb2

from services.chassis.clock import Clock
from services.chassis.watch import Framing, Hub, Subscription, WatchRequest
from services.market_data.model.market import Market
from services.market_data.model.merged_book import BookDifference, MergedBook, difference, merge
from services.market_data.rpc import encode

DELTAS_MAX: Final = 256
"""How many deltas a channel keeps for readers that lag or resume."""
LINGER_S: Final = 30.0
"""How long a channel is kept after its last reader, so that a short cut of the line can be resumed."""


@dataclass(frozen=True, slots=True)
class _Delta:
    sequence: int
    change: BookDifference
    message: bytes


class BookChannel(Hub):
    """One market at one depth."""

    def __init__(self, market: Market, depth: int, *, epoch: int, framing: Framing, clock: Clock) -> None:
        super().__init__(kind="b", epoch=epoch, framing=framing, clock=clock)
        self.market = market
        self.depth = depth
        self.book = merge(market, depth, clock.time_ns())
        self.position = 1
        self._deltas: deque[_Delta] = deque(maxlen=DELTAS_MAX)
        self.idle_since_s = clock.monotonic()

    def earliest_position(self) -> int:
        """Return the earliest state from which the kept deltas lead on."""
        return self._deltas[0].sequence - 1 if self._deltas else self.position

    def update(self, now_ns: int) -> None:
        """Compare the book with what was last sent, and send what differs."""
        book = merge(self.market, self.depth, now_ns)
        change = difference(self.book, book)
        if change is None and _states(book) == _states(self.book):
            return
        change = change or BookDifference({}, {})
        self.book = book
        self.position = sequence = self.position + 1
        self._deltas.append(_Delta(sequence, change, self._delta_message(change, sequence - 1, now_ns)))
        for subscription in self._all:
            waiter = subscription.waiter
            if waiter is not None:
                subscription.waiter = None
                if not waiter.done():
                    waiter.set_result(None)

    def snapshot(self, now_ns: int) -> book_pb2.OrderBook:
        """Return the book as it was last sent."""
        return encode.order_book(self.market, self.book, self.position, now_ns)

    async def stream(self, request: WatchRequest) -> AsyncIterator[bytes]:
        """Yield the messages of one reader. Raises `DomainError` before the first one, never after."""
        start = self.parse_cursor(request.cursor) if request.cursor else None
        if start is not None and start < self.earliest_position():
            raise self.expired(f"only the last {len(self._deltas)} changes are kept")
        subscription = self.attach(None, tell_gaps=False)
        clock = self.clock
        try:
            at = start or 0
            if start is None:
                at = self.position
                yield self._snapshot_message(clock.time_ns())
            yield self.framing.live(self.cursor(at), clock.time_ns())
            subscription.last_sent_s = clock.monotonic()
            held_until_s = subscription.last_sent_s + request.min_interval_s
            while self.end is None:
                await self._wait(subscription, at, held_until_s)
                if at < self.position and held_until_s <= clock.monotonic():
                    for message, reached in self._due(at, merge_all=request.min_interval_s > 0):
                        yield message
                        at = reached
                    subscription.last_sent_s = clock.monotonic()
                    held_until_s = subscription.last_sent_s + request.min_interval_s
                elif self.end is None and self.heartbeat_due(subscription):
                    yield self.framing.heartbeat(self.cursor(at), clock.time_ns())
                    subscription.last_sent_s = clock.monotonic()
            yield self.end_message(at)
        finally:
            self.detach(subscription)
            self.idle_since_s = clock.monotonic()

    async def _wait(self, subscription: Subscription, at: int, held_until_s: float) -> None:
        held_s = held_until_s - self.clock.monotonic()
        if held_s > 0:
            await subscription.hold(self.clock, held_s)
        elif at >= self.position:
            await subscription.wait()

    def _due(self, at: int, *, merge_all: bool) -> list[tuple[bytes, int]]:
        """Return what leads a reader from state `at` to the present."""
        now_ns = self.clock.time_ns()
        if at < self.earliest_position():
            return [(self._snapshot_message(now_ns), self.position)]
        due = [delta for delta in self._deltas if delta.sequence > at]
        if not merge_all or len(due) == 1:
            return [(delta.message, delta.sequence) for delta in due]
        merged = BookDifference({}, {})
        for delta in due:
            merged.bids.update(delta.change.bids)
            merged.asks.update(delta.change.asks)
        return [(self._delta_message(merged, at, now_ns), self.position)]

    def _snapshot_message(self, now_ns: int) -> bytes:
        return self.framing.value(self.cursor(self.position), self.snapshot(now_ns).SerializeToString())

    def _delta_message(self, change: BookDifference, previous: int, now_ns: int) -> bytes:
        delta = encode.book_delta(
            self.market, change, self.book, previous_sequence=previous, sequence=self.position, now_ns=now_ns
        )
        return market_data_service_pb2.WatchOrderBookResponse(
            cursor=self.cursor(self.position), delta=delta
        ).SerializeToString()


class BookChannels:
    """The channels that are read, or were a moment ago."""

    def __init__(self, *, epoch: int, framing: Framing, clock: Clock) -> None:
        self._epoch = epoch
        self._framing = framing
        self._clock = clock
        self._channels: dict[str, dict[int, BookChannel]] = {}
        self._made = 0

    def get(self, market: Market, depth: int) -> BookChannel:
        """Return the channel of a market and depth, made where there is none. Each has an epoch of its own."""
        channels = self._channels.setdefault(market.name, {})
        channel = channels.get(depth)
        if channel is None:
            self._made += 1
            channel = BookChannel(
                market,
                depth,
                epoch=(self._epoch + self._made) & 0xFFFFFFFFFFFF,
                framing=self._framing,
                clock=self._clock,
            )
            channels[depth] = channel
        return channel

    def update(self, market: Market, now_ns: int) -> None:
        """Send what has changed to the readers of `market`."""
        for channel in self._channels.get(market.name, {}).values():
            channel.update(now_ns)

    def all(self) -> list[BookChannel]:
        """Return every channel."""
        return [channel for channels in self._channels.values() for channel in channels.values()]

    def expire(self) -> None:
        """Drop the channels that nobody has read for a while."""
        before_s = self._clock.monotonic() - LINGER_S
        for name, channels in list(self._channels.items()):
            for depth, channel in list(channels.items()):
                if channel.stream_count == 0 and channel.idle_since_s < before_s:
                    del channels[depth]
            if not channels:
                del self._channels[name]


def _states(book: MergedBook) -> tuple[object, ...]:
    return tuple((one.venue, one.trust.state) for one in book.versions)
