"""The other replicas over Valkey (`services.market_data.ports.Replicas`): a lease, a channel a line, one for asking.

Messages are MessagePack of the house's own values, decoded by type, so that nothing but those can come out of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from services.chassis.bus import BusConfig, Channels, tagged
from services.chassis.metrics import METRICS, Metrics
from services.chassis.telemetry import log
from services.chassis.valkey import Away, Connector, Line
from services.domain.feed import (
    Alive,
    BookDelta,
    BookSnapshot,
    Context,
    Event,
    ListingsChanged,
    MarketDown,
    TopOfBook,
    Trade,
    TradesMissed,
)
from services.market_data.model.relay import TRADES, Ask, Part, Told
from services.market_data.ports import Lease
from services.venues.port import VenueStatus

LEASE_KEY: Final = tagged("market_data", "feeder")
LEASE_MS: Final = 1_200
"""Longer than a busy machine keeps the feeder waiting, and short enough that prices are back within two seconds."""
GONE_MS: Final = 300
"""A feeder that has not kept its lease for so long, and whose line to the bus is closed, is dead and not waited for."""
HERE: Final = "market_data:here:"
"""Every replica listens to a channel of its own name. Where nobody listens to it, the kernel has closed its line."""
ASKS: Final = "market_data:asks"
BUFFER_MAX: Final = 10_000
"""Messages that may wait to be taken; beyond it the oldest are dropped, which shows as missed."""

FED_KEY: Final = tagged("market_data", "feeder") + ":fed"
"""There while somebody has fed within the last `FED_MS`."""
FED_MS: Final = 10_000
_KEEP: Final = (
    "local holder = redis.call('GET', KEYS[1]) "
    "if holder and holder ~= ARGV[1] then "
    "if redis.call('PTTL', KEYS[1]) > ARGV[2] - ARGV[5] then return 0 end "
    "if redis.call('PUBSUB', 'NUMSUB', ARGV[6] .. holder)[2] > 0 then return 0 end "
    "holder = false end "
    "if not holder and ARGV[3] == '0' and redis.call('EXISTS', KEYS[2]) == 1 then return 2 end "
    "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) "
    "redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[4]) return 1"
)
"""Takes the lease where nobody lives who has it, keeps it where it is ours; 1 when it is ours, 2 when it is left to
others. It lapses by itself where the feeder hangs, or its machine is gone; where its process died, others see it."""
_GIVE: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"

_LEASES: Final = {0: Lease.THEIRS, 1: Lease.OURS, 2: Lease.NOBODYS}

_EVENTS: Final[tuple[type[Any], ...]] = (
    BookSnapshot,
    BookDelta,
    TopOfBook,
    Trade,
    Context,
    Alive,
    MarketDown,
    ListingsChanged,
    TradesMissed,
)
"""The number of a kind of event is its place here."""
_NUMBERS: Final = {kind: number for number, kind in enumerate(_EVENTS)}


def channel_of(line: str) -> str:
    """Return the channel of a line."""
    return f"market_data:told:{line}"


class Codec:
    """Values to bytes and back. Raises `msgspec.MsgspecError` for bytes that are none of ours."""

    def __init__(self) -> None:
        self._encode = msgspec.msgpack.Encoder().encode
        self._events = [msgspec.msgpack.Decoder(kind).decode for kind in _EVENTS]
        self._status = msgspec.msgpack.Decoder(VenueStatus | None).decode
        self._ask = msgspec.msgpack.Decoder(Ask).decode
        self._told = msgspec.msgpack.Decoder(
            tuple[str, str, int, msgspec.Raw, dict[str, int] | None, list[tuple[int, msgspec.Raw]]]
        ).decode

    def told(self, told: Told) -> bytes:
        """Return what is told as bytes."""
        events = [(_NUMBERS[type(event)], event) for event in told.events]
        return self._encode((told.teller, told.line, int(told.part), told.status, told.fed, events))

    def read_told(self, payload: bytes) -> Told:
        """Return what was told."""
        teller, line, part, status, fed, events = self._told(payload)
        kinds = self._events
        read: list[Event] = [kinds[number](raw) for number, raw in events if 0 <= number < len(kinds)]
        return Told(teller=teller, line=line, part=Part(part), events=read, status=self._status(status), fed=fed)

    def ask(self, ask: Ask) -> bytes:
        """Return what is asked as bytes."""
        return self._encode(ask)

    def read_ask(self, payload: bytes) -> Ask:
        """Return what was asked."""
        return self._ask(payload)


class ValkeyReplicas:
    """The replicas that share a Valkey."""

    def __init__(
        self, me: str, bus: Channels, config: BusConfig, venues: Iterable[str], *, metrics: Metrics = METRICS
    ) -> None:
        self._me = me
        self._bus = bus
        self._line = Line(Connector(config.url, timeout_s=config.timeout_s), timeout_s=config.timeout_s)
        self._channels = [channel_of(line) for line in (*venues, TRADES)]
        self._codec = Codec()
        self._bytes = metrics.counter(
            "perpmesh_relay_bytes_total", "Bytes told to, or heard from, other replicas.", ("way",)
        )
        self._missed = metrics.counter("perpmesh_relay_missed_total", "Messages of the feeder that never came.")
        self._told, self._heard = self._bytes.labels("told"), self._bytes.labels("heard")

    async def lease(self, *, knows: bool) -> Lease:
        """Take the lease, or keep it."""
        arguments = (LEASE_KEY, FED_KEY, self._me, LEASE_MS, int(knows), FED_MS, GONE_MS, HERE)
        try:
            (reply,) = await self._line.exchange([("EVAL", _KEEP, 2, *arguments)])
        except Away:
            return Lease.UNKNOWN
        return _LEASES.get(reply, Lease.UNKNOWN) if isinstance(reply, int) else Lease.UNKNOWN

    async def release(self) -> None:
        """Give the lease back."""
        try:
            await self._line.exchange([("EVAL", _GIVE, 1, LEASE_KEY, self._me)])
        except Away:
            return  # it lapses by itself

    async def close(self) -> None:
        """Close the connection that the lease is kept over."""
        await self._line.close()

    def tell(self, told: Told) -> None:
        """Publish what a venue said."""
        payload = self._codec.told(told)
        self._told.inc(len(payload))
        self._bus.publish(channel_of(told.line), payload)

    def ask(self, ask: Ask) -> None:
        """Publish what is wanted."""
        self._bus.publish(ASKS, self._codec.ask(ask))

    async def listen(
        self, told: Callable[[Told, bool], None], ask: Callable[[Ask], None], *, deaf: Callable[[], bool]
    ) -> None:
        """Hear the others until canceled."""
        channels = [*self._channels, ASKS, HERE + self._me]
        async with self._bus.subscribe(channels, buffer_max=BUFFER_MAX) as subscription:
            async for delivery in subscription:
                try:
                    if delivery.channel == ASKS:
                        ask(self._codec.read_ask(delivery.payload))
                        continue
                    if deaf():
                        continue  # who feeds hears its own words too, and need not read them
                    self._heard.inc(len(delivery.payload))
                    if delivery.missed:
                        self._missed.inc(delivery.missed)
                    told(self._codec.read_told(delivery.payload), delivery.missed > 0)
                except (msgspec.MsgspecError, ValueError) as error:
                    log.warning("relay.unreadable", channel=delivery.channel, error=error)
