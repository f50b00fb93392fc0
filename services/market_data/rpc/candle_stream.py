"""Streams of candles: collapsing within a candle, never over one, so that the last state of each is always sent.

One hub serves one length of one venue (or of all together), and keeps the last `KEPT` candles of every market on it:
what a reader can resume within. A reader that falls behind by more than `QUEUED_MAX` candles of a market loses the
oldest, and is told which.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from typing import Final

from services.chassis.clock import Clock
from services.chassis.watch import Entry, Framing, Hub, Subscription, WatchRequest
from services.market_data.model.candle import Candle
from services.market_data.rpc import encode_history

KEPT: Final = 120
"""How many candles of a market a hub keeps for readers that resume."""
QUEUED_MAX: Final = 64
"""How many unsent candles of a market a reader may have."""
LINGER_S: Final = 60.0
"""How long a hub follows its markets after its last reader, so that a short cut of the line can be resumed."""


class CandleHub(Hub):
    """The candles of one length, of one venue or of all together."""

    def __init__(self, *, epoch: int, framing: Framing, clock: Clock, streams_max: int) -> None:
        super().__init__(kind="c", epoch=epoch, framing=framing, clock=clock, streams_max=streams_max)
        self._kept: dict[str, OrderedDict[int, Entry]] = {}
        self._lost_position = 0
        self._queues: dict[Subscription, dict[str, OrderedDict[int, Entry]]] = {}
        self.idle_since_s = clock.monotonic()

    @property
    def markets(self) -> Iterable[str]:
        """The markets that somebody reads, or did a moment ago."""
        return self._kept

    def follow(self, market: str) -> None:
        """Keep the candles of `market` from now on."""
        self._kept.setdefault(market, OrderedDict())

    def put(self, candle: Candle) -> None:
        """Publish how a candle stands. Older candles than those kept, and states that were sent, change nothing."""
        kept = self._kept.get(candle.market)
        if kept is None:
            return
        payload = encode_history.candle(candle).SerializeToString()
        known = kept.get(candle.open_ns)
        if known is not None and known.payload == payload:
            return
        self.position += 1
        message = self.framing.value(self.cursor(self.position), payload)
        entry = Entry(self.position, candle.market, candle.open_ns, payload, message)
        kept[candle.open_ns] = entry
        if len(kept) > KEPT:
            _, gone = kept.popitem(last=False)
            self._lost_position = max(self._lost_position, gone.position)
        for subscription in self._by_key.get(candle.market, ()):
            queue = self._queues[subscription].setdefault(candle.market, OrderedDict())
            queue.pop(candle.open_ns, None)
            queue[candle.open_ns] = entry
            subscription.wake()

    def earliest_position(self) -> int:
        """Return the earliest position from which nothing is missing."""
        return self._lost_position

    async def stream(self, request: WatchRequest) -> AsyncIterator[bytes]:
        """Yield the messages of one reader: the newest candle of each market, or what it missed, then what changes."""
        start = self.parse_cursor(request.cursor) if request.cursor else None
        if start is not None and start < self._lost_position:
            raise self.expired(f"only the last {KEPT} candles of a market are kept")
        assert request.keys is not None
        subscription = self.attach(request.keys, tell_gaps=False)
        queue = self._queues[subscription] = {}
        framing, clock = self.framing, self.clock
        try:
            at = self.position if start is None else start
            present = self.position
            for entry in self._present(request.keys, start):
                yield entry.message
            at = max(at, present)
            yield framing.live(self.cursor(at), clock.time_ns())
            subscription.last_sent_s = clock.monotonic()
            while self.end is None:
                if not queue:
                    await subscription.wait()
                if queue:
                    due = {market: list(entries.values()) for market, entries in queue.items()}
                    queue.clear()
                    for market, entries in due.items():
                        if len(entries) > QUEUED_MAX:
                            yield framing.gap(self.cursor(at), market, 0, 0)
                    newest = [entry for entries in due.values() for entry in entries[-QUEUED_MAX:]]
                    for entry in sorted(newest, key=lambda one: one.position):
                        yield entry.message
                        at = entry.position
                    subscription.last_sent_s = clock.monotonic()
                elif self.end is None and self.heartbeat_due(subscription):
                    yield framing.heartbeat(self.cursor(at), clock.time_ns())
                    subscription.last_sent_s = clock.monotonic()
            yield self.end_message(at)
        finally:
            self.detach(subscription)
            del self._queues[subscription]
            self.idle_since_s = clock.monotonic()

    def _present(self, markets: frozenset[str], start: int | None) -> list[Entry]:
        found: list[Entry] = []
        for market in markets:
            kept = self._kept.get(market)
            if kept:
                newest = kept[max(kept)]
                found += [newest] if start is None else [one for one in kept.values() if one.position > start]
        return sorted(found, key=lambda one: one.position)


class CandleHubs:
    """Every length and venue that is read (`services.market_data.ports.CandlePublisher`)."""

    def __init__(self, *, epoch: int, framing: Framing, clock: Clock, streams_max: int) -> None:
        self._epoch = epoch
        self._framing = framing
        self._clock = clock
        self._streams_max = streams_max
        self._hubs: dict[tuple[int, str], CandleHub] = {}
        self._made = 0
        self._wanted: frozenset[tuple[str, int, str]] = frozenset()

    def get(self, interval_s: int, venue: str, markets: Iterable[str]) -> CandleHub:
        """Return the hub of a length and venue (empty for all together), which follows `markets` from now on.

        Each has an epoch of its own, so that a cursor of another is recognized.
        """
        hub = self._hubs.get((interval_s, venue))
        if hub is None:
            self._made += 1
            hub = CandleHub(
                epoch=(self._epoch + self._made) & 0xFFFFFFFFFFFF,
                framing=self._framing,
                clock=self._clock,
                streams_max=self._streams_max,
            )
            self._hubs[interval_s, venue] = hub
        for market in markets:
            hub.follow(market)
        self._list_wanted()
        return hub

    def wanted(self) -> frozenset[tuple[str, int, str]]:
        """Return (market, interval, venue or empty) of what somebody reads."""
        return self._wanted

    def candle(self, candle: Candle) -> None:
        """Publish how a candle stands."""
        hub = self._hubs.get((candle.interval_s, candle.venue))
        if hub is not None:
            hub.put(candle)

    def all(self) -> list[CandleHub]:
        """Return every hub."""
        return list(self._hubs.values())

    def expire(self) -> None:
        """Drop the hubs that nobody has read for a while; their cursors are refused from then on."""
        before_s = self._clock.monotonic() - LINGER_S
        for key, hub in list(self._hubs.items()):
            if hub.stream_count == 0 and hub.idle_since_s < before_s:
                del self._hubs[key]
        self._list_wanted()

    def _list_wanted(self) -> None:
        self._wanted = frozenset(
            (market, interval_s, venue) for (interval_s, venue), hub in self._hubs.items() for market in hub.markets
        )
