"""The bus over a real server, Valkey or Redis: see `bus.py` for what it promises."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping
from types import TracebackType
from typing import Any

from services.chassis.breaker import Breaker, BreakerPolicy, State
from services.chassis.bus import BusConfig, Delivery, Follower, Framer
from services.chassis.clock import SYSTEM, Clock
from services.chassis.ids import seeded_random
from services.chassis.metrics import METRICS, Metrics
from services.chassis.tasks import Backoff, BoundedQueue, Overflow, QueueClosedError
from services.chassis.telemetry import Log, log
from services.chassis.valkey import Away, Command, Connector, Line, drop

PIPELINE_MAX = 1_000
"""Messages published in one write at most."""

SILENCE_S = 2.0
"""A subscription silent for so long asks the server whether it is there, and reconnects when no answer comes."""


class ValkeyBus:
    """The bus over a real server. Use it as a context; `LatestValues` and `Channels` in one."""

    def __init__(
        self, config: BusConfig, *, clock: Clock = SYSTEM, metrics: Metrics = METRICS, logger: Log = log
    ) -> None:
        self._config = config
        self._clock = clock
        self._log = logger
        self._connector = Connector(config.url, timeout_s=config.timeout_s)
        self._lines = [Line(self._connector, timeout_s=config.timeout_s) for _ in range(3)]
        self._next_reader = 0
        self._framer = Framer()
        self._outgoing: BoundedQueue[tuple[str, bytes]] = BoundedQueue(
            "bus_publish", config.publish_queue_max, Overflow.DROP_OLDEST
        )
        self._publisher: asyncio.Task[None] | None = None
        # One failure is enough: a cache that does not answer at once is no help.
        self._breaker = Breaker(
            "valkey", BreakerPolicy(failures_max=1, open_s=config.retry_s), on_transition=self._tell
        )
        self._lost = metrics.counter("perpmesh_bus_lost_total", "What the bus could not do, by kind.", ("kind",))

    @property
    def connected(self) -> bool:
        """Say whether the server answered last time."""
        return self._breaker.state(self._clock.monotonic()) is State.CLOSED

    async def __aenter__(self) -> ValkeyBus:
        """Start publishing; connections are made when needed."""
        self._publisher = asyncio.create_task(self._publish_forever(), name="bus-publisher")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop publishing and close the connections."""
        self._outgoing.close()
        if self._publisher is not None:
            self._publisher.cancel()
            await asyncio.gather(self._publisher, return_exceptions=True)
        for line in self._lines:
            await line.close()

    async def put_many(self, values: Mapping[str, bytes], *, ttl_ms: int) -> bool:
        """Set every key, each to lapse after `ttl_ms`; False when that could not be made sure."""
        commands: list[Command] = [("SET", key, value, "PX", ttl_ms) for key, value in values.items()]
        replies = await self._ask(self._lines[0], commands, "write")
        return replies is not None and all(reply == b"OK" for reply in replies)

    async def get(self, key: str) -> bytes | None:
        """Return a value, or None for a miss."""
        return (await self.get_many([key])).get(key)

    async def get_many(self, keys: Collection[str]) -> dict[str, bytes]:
        """Return the values of those keys that have one."""
        self._next_reader ^= 1
        replies = await self._ask(self._lines[1 + self._next_reader], [("GET", key) for key in keys], "read")
        return {
            key: reply
            for key, reply in zip(keys, replies or [None] * len(keys), strict=True)
            if isinstance(reply, bytes)
        }

    def publish(self, channel: str, payload: bytes) -> bool:
        """Hand a message over without waiting; False when something was dropped for it."""
        frame = self._framer.frame(channel, payload)
        if frame is None or not self._outgoing.put((channel, frame)):
            self._lost.labels("publish").inc()
            return False
        return True

    def subscribe(self, channels: Collection[str], *, buffer_max: int) -> ValkeySubscription:
        """Listen to channels."""
        return ValkeySubscription(self._connector, channels, buffer_max, self._config, self._clock, self._log)

    async def _publish_forever(self) -> None:
        while True:
            batch = await self._outgoing.get_all(PIPELINE_MAX)
            await self._ask(self._lines[0], [("PUBLISH", channel, frame) for channel, frame in batch], "publish")

    async def _ask(self, line: Line, commands: list[Command], kind: str) -> list[Any] | None:
        """Return the replies, or None at once when the server is or turns out to be away."""
        if not commands:
            return []
        if not self._breaker.allow(self._clock.monotonic()):
            self._lost.labels(kind).inc(len(commands))
            return None
        try:
            replies = await line.exchange(commands)
        except Away as error:
            self._breaker.failure(self._clock.monotonic(), repr(error)[:120])
            self._lost.labels(kind).inc(len(commands))
            return None
        except BaseException:
            self._breaker.forget(self._clock.monotonic())
            raise
        self._breaker.success(self._clock.monotonic())
        refused = [reply for reply in replies if isinstance(reply, Exception)]
        if refused:
            self._lost.labels(kind).inc(len(refused))
            self._log.warning("bus.refused", kind=kind, count=len(refused), error=str(refused[0]))
        return replies

    def _tell(self, _: str, transition: Any) -> None:
        self._log.warning("bus.state", before=transition.before, after=transition.after, why=transition.why)


class ValkeySubscription:
    """Channels over one connection of their own, reconnecting by itself; losses show in the sequence."""

    def __init__(
        self,
        connector: Connector,
        channels: Collection[str],
        buffer_max: int,
        config: BusConfig,
        clock: Clock,
        logger: Log,
    ) -> None:
        self._connector = connector
        self._wanted = dict.fromkeys(channels)
        self._config = config
        self._clock = clock
        self._log = logger
        self._frames: BoundedQueue[tuple[str, bytes]] = BoundedQueue("bus_subscribe", buffer_max, Overflow.DROP_OLDEST)
        self._follower = Follower()
        self._connection: Any = None
        self._confirmed: set[str] = set()
        self._progress = asyncio.Event()
        self._orders: deque[Command] = deque(maxlen=1_000)
        self._reader: asyncio.Task[None] | None = None
        self._sender: asyncio.Task[None] | None = None
        self._ordered = asyncio.Event()

    @property
    def dropped(self) -> int:
        """Return how many deliveries were dropped because nobody read them."""
        return self._frames.dropped

    async def __aenter__(self) -> ValkeySubscription:
        """Begin to listen."""
        self._reader = asyncio.create_task(self._listen_forever(), name="bus-subscription")
        self._sender = asyncio.create_task(self._send_forever(), name="bus-subscription-orders")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End listening; a reader still waiting gets the end of the iteration."""
        tasks = [task for task in (self._reader, self._sender) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._frames.close()

    async def __aiter__(self) -> AsyncIterator[Delivery]:
        """Yield deliveries in order; a hole in a channel's sequence shows as `missed`."""
        while True:
            try:
                frames = await self._frames.get_all()
            except QueueClosedError:
                return
            for channel, frame in frames:
                delivery = self._follower.read(channel, frame) if channel in self._wanted else None
                if delivery is not None:
                    yield delivery

    async def ready(self) -> None:
        """Return once the server has confirmed every channel asked for."""
        while not self._confirmed.issuperset(self._wanted):
            self._progress.clear()
            await self._progress.wait()

    def add(self, channels: Collection[str]) -> None:
        """Listen to further channels."""
        fresh = [channel for channel in channels if channel not in self._wanted]
        self._wanted.update(dict.fromkeys(fresh))
        self._order("SUBSCRIBE", fresh)

    def remove(self, channels: Collection[str]) -> None:
        """Listen to these channels no more."""
        gone = [channel for channel in channels if channel in self._wanted]
        for channel in gone:
            del self._wanted[channel]
        self._follower.forget(gone)
        self._order("UNSUBSCRIBE", gone)

    def _order(self, verb: str, channels: list[str]) -> None:
        if channels and self._connection is not None:
            self._orders.append((verb, *channels))
            self._ordered.set()

    async def _send_forever(self) -> None:
        """Pass orders on to the connection; what fails is made good by the next connection's SUBSCRIBE."""
        while True:
            await self._ordered.wait()
            self._ordered.clear()
            while self._orders and self._connection is not None:
                order = self._orders.popleft()
                try:
                    await self._connection.send_command(*order, check_health=False)
                except Away:
                    break

    async def _listen_forever(self) -> None:
        backoff = Backoff(base_s=0.05, max_s=max(0.05, self._config.retry_s), rng=seeded_random())
        while True:
            connection = None
            try:
                connection = await self._connector.connect()
                self._orders.clear()
                if self._wanted:
                    await connection.send_command("SUBSCRIBE", *self._wanted, check_health=False)
                self._connection = connection
                backoff.reset()
                await self._read_forever(connection)
            except Away as error:
                self._log.warning("bus.subscription_cut", error=repr(error)[:200])
            finally:
                self._connection = None
                self._confirmed.clear()
                if connection is not None:
                    await drop(connection)
            await self._clock.sleep(backoff.next())

    async def _read_forever(self, connection: Any) -> None:
        asked = False
        while True:
            reply = await connection.read_response(disable_decoding=True, timeout=SILENCE_S, disconnect_on_error=False)
            if reply is None:  # silence: ask whether anybody is there
                if asked:
                    raise TimeoutError("the server answered no ping")
                await connection.send_command("PING", check_health=False)
                asked = True
                continue
            asked = False
            if not isinstance(reply, list) or len(reply) != 3:
                continue
            kind, channel = reply[0], reply[1].decode("utf-8", "replace")
            if kind == b"message":
                self._frames.put((channel, reply[2]))
            elif kind == b"subscribe":
                self._confirmed.add(channel)
                self._progress.set()
            elif kind == b"unsubscribe":
                self._confirmed.discard(channel)
