"""The door: who may come in, what is done with what they say, and what they are sent when.

A client that is slow costs itself: what may collapse collapses, what may not is named in a gap, and one whose socket
takes nothing for `stall_timeout_s` is told so and closed. Nobody else waits for it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from services.domain.errors import DomainError, Reason
from services.stream.app.catalog import Catalog
from services.stream.app.connection import Connection, Follow
from services.stream.app.hub import Hub, HubBounds
from services.stream.app.pacer import Pacer
from services.stream.app.private import PrivateDesk
from services.stream.model import frame, request
from services.stream.model.lane import make_lane
from services.stream.model.limits import Limits
from services.stream.model.private import Private, private_of
from services.stream.model.topic import caller_needed, parse_topic
from services.stream.ports import Callers, Clock, MarketData, Measures, Presence, PrivateRooms, Socket

CLOSE_RESTART = 1012
"""The door drains: connect again."""
CLOSE_TRY_LATER = 1013
"""The client did not read."""
CLOSE_POLICY = 1008
"""The client goes on beyond its limits."""

WATCH_INTERVAL_S = 1.0
TICKS_PER_BATCH = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorBounds:
    """The bounds of the door as a whole."""

    connections_max: int = 2_000
    """Open sockets; a further one is answered with 429."""
    limits: Limits = field(default_factory=Limits)
    """The bounds of each."""
    hub: HubBounds = field(default_factory=HubBounds)
    """The bounds of what is followed upstream."""


class Door:
    """The use cases of the WebSocket."""

    def __init__(
        self,
        *,
        market_data: MarketData,
        clock: Clock,
        new_id: Callable[[], str],
        chance: random.Random,
        measures: Measures,
        bounds: DoorBounds,
        callers: Callers,
        presence: Presence,
        rooms: PrivateRooms,
    ) -> None:
        self._clock = clock
        self._new_id = new_id
        self._measures = measures
        self._bounds = bounds
        self._callers = callers
        self._presence = presence
        self._limits = bounds.limits
        self._catalog = Catalog(market_data, clock)
        self._hub = Hub(
            market_data=market_data,
            clock=clock,
            chance=chance,
            measures=measures,
            bounds=bounds.hub,
            flush=self.flush,
        )
        self._private = PrivateDesk(rooms=rooms, clock=clock, chance=chance, flush=self.flush, fault=measures.fault)
        self._pacer = Pacer(clock, bounds.limits.batch_interval_s / TICKS_PER_BATCH, self.flush)
        self._connections: dict[Connection, None] = {}
        self._draining = False

    @property
    def connection_count(self) -> int:
        """Return how many sockets are open."""
        return len(self._connections)

    def stalls(self) -> tuple[int, float]:
        """Return how many sockets take nothing now, and for how long the worst of them has not, in seconds."""
        now = self._clock.monotonic()
        waits = [now - one.stalled_s for one in self._connections if one.stalled_s is not None]
        return len(waits), max(waits, default=0.0)

    def not_ready(self) -> str | None:
        """Return why the door should get no clients now, as one sentence, or None."""
        if self._draining:
            return "The door is draining."
        if not self._catalog.known:
            return "market_data has not said yet which markets there are."
        return None

    def may_enter(self) -> None:
        """Raise the `DomainError` that keeps a further socket out, if there is one."""
        if self._draining:
            raise _draining()
        if len(self._connections) >= self._bounds.connections_max:
            raise DomainError(
                Reason.LIMIT_REACHED,
                f"This door has {self._bounds.connections_max} connections and takes no more; try again later, or "
                "use one connection for all topics.",
                metadata={"connections_max": str(self._bounds.connections_max)},
                retry_after_s=5.0,
            )

    def enter(self, socket: Socket) -> Connection:
        """Take in a socket and welcome it."""
        connection = Connection(self._new_id(), socket, self._limits, self._clock.monotonic())
        self._connections[connection] = None
        self._measures.connections(len(self._connections))
        connection.outbox.answer(frame.welcome(connection.id, self._limits, self._clock.now()))
        self.flush((connection,))
        if self._draining:
            self._end(connection, _draining(), CLOSE_RESTART, resumable=True)
        return connection

    def leave(self, connection: Connection) -> None:
        """Forget a socket that is closed."""
        self._connections.pop(connection, None)
        self._measures.connections(len(self._connections))
        self._release(connection)

    async def receive(self, connection: Connection, message: str | bytes) -> None:
        """Act on a client's frame, or answer why not."""
        if connection.closing:
            return
        try:
            asked = self._read(connection, message)
        except request.BadFrameError as refusal:
            self._measures.refused(refusal.error)
            connection.outbox.answer(frame.error_frame(refusal.error, refusal.frame_id))
        else:
            if isinstance(asked, request.Ping):
                connection.outbox.answer(frame.pong(asked.id, self._clock.now()))
            elif isinstance(asked, request.Authenticate):
                self._authenticate(connection, asked)
            elif isinstance(asked, request.Unsubscribe):
                self._unsubscribe(connection, asked)
            else:
                await self._subscribe(connection, asked)
        self.flush((connection,))
        if connection.meter.abused and not connection.closing:
            error = request.too_many(self._limits).error
            self._end(connection, error, CLOSE_POLICY, resumable=False)
        elif connection.outbox.overflowing and not connection.closing:
            self._end(connection, self._slow("left its answers unread"), CLOSE_TRY_LATER, resumable=True)

    def flush(self, connections: Iterable[Connection]) -> None:
        """Send what is due, and see to it that the rest is looked at when it is."""
        now = self._clock.monotonic()
        for connection in connections:
            if connection.closing:
                continue
            due = connection.outbox.due()
            while due is not None and due <= now:
                if connection.socket.congested:
                    if connection.stalled_s is None:
                        connection.stalled_s = now
                    break
                self._send(connection, now)
                due = connection.outbox.due()
            else:
                if due is not None and due < now + WATCH_INTERVAL_S:  # what is due later, the watch will see
                    self._pacer.schedule(connection, due)

    def drained(self, connection: Connection) -> None:
        """Go on after the socket has taken what it was given."""
        connection.stalled_s = None
        self.flush((connection,))

    async def run(self) -> None:
        """Keep batches, heartbeats, linger and slow consumers, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pacer.run())
                tasks.create_task(self._watch())
                tasks.create_task(self._catalog.learn())
        finally:
            await self._private.close()
            await self._hub.close()

    def drain(self) -> None:
        """Take nobody in any more, and tell everybody to connect again."""
        self._draining = True
        for connection in list(self._connections):
            if not connection.closing:
                self._end(connection, _draining(), CLOSE_RESTART, resumable=True)

    def _read(self, connection: Connection, message: str | bytes) -> request.Request:
        if not connection.meter.admit(self._clock.monotonic()):
            raise request.too_many(self._limits)
        size = len(message) if isinstance(message, bytes) else len(message.encode())
        if size > self._limits.frame_bytes_max:
            raise request.too_large(size, self._limits)
        if isinstance(message, bytes):
            raise request.not_text()
        return request.parse_request(message, self._limits)

    def _authenticate(self, connection: Connection, asked: request.Authenticate) -> None:
        """Take in who calls, or who goes on calling; whatever else a token says ends the connection."""
        known = connection.caller
        try:
            caller = self._callers.admit(asked.access_token, lambda why: self._turn_out(connection, why))
            if known is not None and known.user != caller.user:
                caller.forget()
                raise DomainError(
                    Reason.PERMISSION_DENIED, "This connection is another user's: open one for each user."
                )
        except DomainError as error:
            self._measures.refused(error)
            connection.outbox.answer(frame.error_frame(error, asked.id))
            self.flush((connection,))
            self._end(connection, error, CLOSE_POLICY, resumable=False)
            return
        if known is not None:
            known.forget()
        else:
            self._presence.here(caller.user, connection.id)
        connection.caller = caller
        connection.outbox.answer(frame.authenticated(asked.id, caller.user, caller.expire_time))

    def _turn_out(self, connection: Connection, why: DomainError) -> None:
        """End a connection whose token has ended or was revoked."""
        if not connection.closing:
            self._end(connection, why, CLOSE_POLICY, resumable=True)

    async def _subscribe(self, connection: Connection, asked: request.Subscribe) -> None:
        try:
            for text in asked.topics:
                try:
                    await self._follow(connection, text, asked)
                except DomainError as error:
                    self._measures.refused(error)
                    connection.outbox.answer(frame.status(text, frame.REFUSED, asked.id, error))
        finally:
            self._hub.open_wanted()

    async def _follow(self, connection: Connection, text: str, asked: request.Subscribe) -> None:
        private = private_of(text)
        if private is not None:
            if connection.caller is None:
                raise caller_needed(text)
            self._private.join(connection, private, asked.id, asked.cursor)
            return
        subject = parse_topic(text, asked.depth)
        await self._catalog.check(subject.market)
        if connection.closing:
            return
        known = connection.follows.get(text)
        if known is None and len(connection.follows) >= self._limits.topics_max:
            raise self._too_many_topics(text)
        feed = self._hub.feed(subject)
        if known is not None:  # asked again: the new settings hold, and the present comes anew
            self._hub.leave(known)
        lane = make_lane(subject, self._limits, asked.min_interval_s, feed.present.snapshot)
        follow = connection.follows[text] = Follow(connection, feed, lane, asked.id)
        self._hub.join(follow)

    def _unsubscribe(self, connection: Connection, asked: request.Unsubscribe) -> None:
        for text in asked.topics:
            private = connection.private.get(Private(text)) if text in Private.__members__.values() else None
            if private is not None:
                self._private.leave(private)
                connection.outbox.answer(frame.status(text, frame.UNSUBSCRIBED, asked.id))
                continue
            follow = connection.follows.pop(text, None)
            if follow is not None:
                self._hub.leave(follow)
                connection.outbox.answer(frame.status(text, frame.UNSUBSCRIBED, asked.id))
                continue
            try:
                if private_of(text) is None:
                    parse_topic(text)
                elif connection.caller is None:
                    raise caller_needed(text)
            except DomainError as error:
                self._measures.refused(error)
                connection.outbox.answer(frame.status(text, frame.REFUSED, asked.id, error))
            else:  # not followed is what was asked for
                connection.outbox.answer(frame.status(text, frame.UNSUBSCRIBED, asked.id))

    def _send(self, connection: Connection, now: float) -> None:
        frames = connection.outbox.take(now)
        if not frames:
            return
        size_bytes = connection.socket.write(frames)
        connection.sent_s = now
        self._measures.sent(len(frames), size_bytes)

    async def _watch(self) -> None:
        """Once a second: heartbeats into silence, an end for who does not read, an end of what nobody follows."""
        while True:
            await self._clock.sleep(WATCH_INTERVAL_S)
            now = self._clock.monotonic()
            for connection in list(self._connections):
                self._look_after(connection, now)
            self._hub.close_unwanted()

    def _look_after(self, connection: Connection, now: float) -> None:
        if connection.closing:
            return
        if not connection.socket.congested:
            connection.stalled_s = None
        elif connection.stalled_s is None:
            connection.stalled_s = now
        if connection.stalled_s is not None:
            if now - connection.stalled_s >= self._limits.stall_timeout_s:
                why = f"took nothing for {self._limits.stall_timeout_s:g} s"
                self._end(connection, self._slow(why), CLOSE_TRY_LATER, resumable=True)
            return
        if now - connection.sent_s >= self._limits.heartbeat_interval_s:
            is_all = connection.outbox.empty and not connection.private
            mark = self._hub.watermark(connection) if is_all else None
            connection.outbox.answer(frame.heartbeat(self._clock.now(), mark))
        self.flush((connection,))

    def _end(self, connection: Connection, error: DomainError, code: int, *, resumable: bool) -> None:
        self._release(connection)
        self._measures.ended(error.reason.value)
        connection.socket.write([frame.end(error, resumable=resumable)])
        connection.socket.close(code, error.reason.value)

    def _release(self, connection: Connection) -> None:
        connection.closing = True
        if connection.caller is not None:
            connection.caller.forget()
            self._presence.gone(connection.caller.user, connection.id)
            connection.caller = None
        for private in list(connection.private.values()):
            self._private.leave(private)
        for follow in connection.follows.values():
            self._hub.leave(follow)
        connection.follows.clear()

    def _slow(self, why: str) -> DomainError:
        return DomainError(
            Reason.SLOW_CONSUMER,
            f"This connection {why}, so it is closed. Read faster, follow fewer topics or ask for a longer "
            "min_interval; then connect and subscribe again.",
        )

    def _too_many_topics(self, text: str) -> DomainError:
        most = self._limits.topics_max
        return DomainError(
            Reason.LIMIT_REACHED,
            f"topics: this connection follows {most} topics, the most that pass; unsubscribe from one before {text}.",
            metadata={"field": "topics", "topics_max": str(most)},
        )


def _draining() -> DomainError:
    return DomainError(Reason.DRAINING, "This door is being restarted. Connect and subscribe again.")
