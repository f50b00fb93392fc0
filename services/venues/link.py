"""One socket to a venue: does what a `Session` says, and gives each frame to a listener as bytes.

The link owns the I/O and nothing else: opening and dropping the socket, reading frames without decoding them, writing,
the tick of the session's timers, the circuit breaker of the endpoint, and counts. Frames are bounded by
`FRAME_BYTES_MAX`; a larger one closes the socket (code 1009). Redirects are not followed. A listener that raises is a
fault of ours: the frame is counted as bad, logged, and the link goes on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from services.chassis.clock import Clock
from services.chassis.telemetry import log
from services.domain.feed import FeedState
from services.venues.lifecycle import Action, Changed, Close, Connect, Lost, Refused, Send, State
from services.venues.port import ConnectionStatus
from services.venues.session import Session
from services.venues.subscriptions import Subscription

FRAME_BYTES_MAX: Final = 8 * 1024 * 1024
QUEUE_FRAMES_MAX: Final = 256
"""Frames read ahead of us; beyond them the socket is no longer read and TCP holds the venue back."""
TICK_S: Final = 0.05
"""The longest pause between two looks at the session's timers."""
TURN_FRAMES: Final = 32
"""Frames handled before other tasks get a turn. A turn after every frame was measured: prices of one batch of a venue's
came to clients later (p50 1.6 instead of 1.2 ms), since each then waits for the writing of those before it."""
_CLOSE_S: Final = 0.25
_BREAKER_WAIT_S: Final = 0.25


class Breaker(Protocol):
    """What a link asks of the circuit breaker of its endpoint."""

    def allow(self) -> bool:
        """Whether an attempt may be made now."""

    def success(self) -> None:
        """An attempt went well."""

    def failure(self, reason: str) -> None:
        """An attempt failed."""

    def forget(self) -> None:
        """An attempt ended without saying anything of the endpoint."""

    def retry_after_s(self) -> float:
        """How long until the next attempt may be made."""

    def is_closed(self) -> bool:
        """Whether the endpoint is held to be well."""


class Listener(Protocol):
    """Who hears what a link learns. Called from the link's task; must not block."""

    def frame(self, link: Link, data: bytes, receive_time_ns: int) -> None:
        """A frame came, as sent; `receive_time_ns` since the Unix epoch."""

    def changed(self, link: Link, state: FeedState, reason: str, time_ns: int) -> None:
        """The connection as a whole is now LIVE, STALE or RECOVERING."""

    def lost(self, link: Link, keys: tuple[str, ...], reason: str, time_ns: int) -> None:
        """These subscriptions no longer deliver until they are acknowledged again."""

    def refused(self, link: Link, key: str, reason: str, time_ns: int) -> None:
        """The venue does not give this subscription for now."""


class Tap(Protocol):
    """Takes a copy of every frame, such as a recorder."""

    def __call__(self, connection: str, receive_time_ns: int, data: bytes) -> None:
        """Take one frame."""


@dataclass(slots=True)
class LinkCounts:
    """What has passed since the start."""

    frames: int = 0
    frame_bytes: int = 0
    faults: int = 0
    """Frames upon which our own listener raised."""


class _NoRedirect(connect):
    """A connection that does not follow redirects: a venue's address is the configured one or it is not used."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Return the refusal as it is."""
        return exc


class Link:
    """Drives one session over one socket at a time, until canceled."""

    def __init__(
        self,
        *,
        name: str,
        url: str,
        session: Session,
        listener: Listener,
        breaker: Breaker,
        clock: Clock,
        tap: Tap | None = None,
    ) -> None:
        self.name = name
        self.url = url
        self.session = session
        self.counts = LinkCounts()
        self.state = FeedState.RECOVERING
        self.state_reason = "not started"
        self.last_frame_time_ns = 0
        self._listener = listener
        self._breaker = breaker
        self._clock = clock
        self._tap = tap
        self._outbox: deque[str] = deque()
        self._outbox_filled = asyncio.Event()
        self._connect: Connect | None = None
        self._connect_wanted = asyncio.Event()
        self._close_reason = ""
        self._close_wanted = asyncio.Event()

    # --- what others say ----------------------------------------------------------------------------------------

    def want(self, subscriptions: Iterable[Subscription]) -> None:
        """Replace what is subscribed, most urgent first."""
        self._perform(self.session.want(subscriptions, self._clock.monotonic_ns()))

    def acked(self, key: str) -> None:
        """A frame answered the subscription `key`."""
        if not self.session.is_acked(key):
            self._perform(self.session.acked(key, self._clock.monotonic_ns()))

    def refuse(self, key: str, reason: str, *, retry_s: float | None = None) -> None:
        """A frame refused the subscription `key`."""
        self._perform(self.session.refused(key, reason, self._clock.monotonic_ns(), retry_s=retry_s))

    def renew(self, key: str, *, again: bool = False) -> None:
        """Leave and ask again for `key`; see `Session.renew`."""
        self._perform(self.session.renew(key, self._clock.monotonic_ns(), again=again))

    def greeted(self) -> None:
        """A frame was the venue's greeting."""
        self._perform(self.session.greeted(self._clock.monotonic_ns()))

    def throttle(self, seconds: float) -> None:
        """A frame said that we talk too much."""
        self._perform(self.session.throttle(seconds, self._clock.monotonic_ns()))

    def reply(self, text: str) -> None:
        """Answer a frame that asks for an answer."""
        self._perform(self.session.reply(text, self._clock.monotonic_ns()))

    def recycle(self, reason: str) -> None:
        """Drop the socket and open a new one."""
        self._perform(self.session.recycle(reason, self._clock.monotonic_ns()))

    def status(self) -> ConnectionStatus:
        """Return how the connection stands."""
        return ConnectionStatus(
            name=self.name,
            state=self.state,
            state_reason=self.state_reason,
            last_frame_time_ns=self.last_frame_time_ns,
            subscription_count=self.session.acked_count,
            reconnect_count=max(0, self.session.counts.connects - 1),
        )

    # --- the tasks ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the session connected until canceled."""
        self._perform(self.session.start(self._clock.monotonic_ns()))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._tick(), name=f"{self.name}-tick")
                group.create_task(self._reconnect(), name=f"{self.name}-socket")
        finally:
            self._perform(self.session.stop(self._clock.monotonic_ns()))

    async def _tick(self) -> None:
        clock, session = self._clock, self.session
        while session.state is not State.STOPPED:
            now_ns = clock.monotonic_ns()
            self._perform(session.tick(now_ns))
            due_s = (session.next_due_ns(now_ns) - now_ns) / 1e9
            await clock.sleep(min(max(due_s, 0.001), TICK_S))

    async def _reconnect(self) -> None:
        while True:
            await self._connect_wanted.wait()
            self._connect_wanted.clear()
            self._close_wanted.clear()
            self._outbox.clear()
            wait_s: float | None = None
            if self._breaker.allow():
                reason = await self._one_connection(self._connect or Connect(3.0))
            else:
                wait_s = max(_BREAKER_WAIT_S, self._breaker.retry_after_s())
                reason = "the circuit breaker of the venue's socket is open"
            self._perform(self.session.closed(reason, self._clock.monotonic_ns(), wait_s=wait_s))

    async def _one_connection(self, wanted: Connect) -> str:
        """Open a socket and serve it to its end; return the reason of the end."""
        frames = self.counts.frames
        serving = asyncio.create_task(self._serve(wanted.timeout_s), name=f"{self.name}-serve")
        closing = asyncio.create_task(self._close_wanted.wait())
        try:
            await asyncio.wait((serving, closing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            closing.cancel()
            if not serving.done():
                serving.cancel()
            await asyncio.wait((serving,))
            fault = None if serving.cancelled() else serving.exception()
            if serving.cancelled() and not self._close_wanted.is_set():
                self._breaker.forget()
        if fault is not None:
            log.error("link.failed", connection=self.name, error=fault)
            reason = f"a fault of this program: {type(fault).__name__}"
        elif self._close_wanted.is_set():
            reason = self._close_reason
        else:
            reason = serving.result()
        if self.counts.frames == frames:
            self._breaker.failure(reason)
        return reason[:300]

    async def _serve(self, timeout_s: float) -> str:
        try:
            socket = await self._open(timeout_s)
            writing = asyncio.create_task(self._write(socket), name=f"{self.name}-write")
            try:
                self._perform(self.session.opened(self._clock.monotonic_ns()))
                await self._read(socket)
            finally:
                writing.cancel()
                await asyncio.wait((writing,))
                await _drop(socket)
        except ConnectionClosed as error:
            reason = _closed_sentence(error)
        except InvalidStatus as error:
            reason = f"the venue answered HTTP {error.response.status_code} instead of opening a WebSocket"
        except TimeoutError:
            reason = f"no connection within {timeout_s:g} s"
        except (OSError, WebSocketException, EOFError, ValueError) as error:
            reason = f"cannot connect: {error or type(error).__name__}"
        return reason

    async def _open(self, timeout_s: float) -> ClientConnection:
        local = self.url.startswith(("ws://127.0.0.1", "ws://localhost", "ws://[::1]"))
        return await _NoRedirect(
            self.url,
            compression=None,
            open_timeout=timeout_s,
            close_timeout=_CLOSE_S,
            ping_interval=None,
            max_size=FRAME_BYTES_MAX,
            max_queue=QUEUE_FRAMES_MAX,
            proxy=None if local else True,
            user_agent_header="perpmesh",
        )

    async def _read(self, socket: ClientConnection) -> None:
        """Read frames until the socket ends, which raises `ConnectionClosed`."""
        clock, session, counts, listener, tap = self._clock, self.session, self.counts, self._listener, self._tap
        first = True
        while True:
            data = await socket.recv(decode=False)
            receive_time_ns = clock.time_ns()
            counts.frames += 1
            counts.frame_bytes += len(data)
            self.last_frame_time_ns = receive_time_ns
            actions = session.frame(clock.monotonic_ns())
            if actions:
                self._perform(actions)
            if first:
                first = False
                self._breaker.success()
            if tap is not None:
                tap(self.name, receive_time_ns, data)
            try:
                listener.frame(self, data, receive_time_ns)
            except Exception as error:
                counts.faults += 1
                log.error("link.listener_failed", connection=self.name, error=error, frame=data[:200].decode("latin-1"))
            if counts.frames % TURN_FRAMES == 0:
                await clock.sleep(0)

    async def _write(self, socket: ClientConnection) -> None:
        while True:
            while self._outbox:
                await socket.send(self._outbox.popleft())
            self._outbox_filled.clear()
            await self._outbox_filled.wait()

    def _perform(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                self._outbox.append(action.text)
                self._outbox_filled.set()
            elif isinstance(action, Connect):
                self._connect = action
                self._connect_wanted.set()
            elif isinstance(action, Close):
                self._close_reason = action.reason
                self._close_wanted.set()
            else:
                self._tell(action)

    def _tell(self, notice: Changed | Lost | Refused) -> None:
        time_ns = self._clock.time_ns()
        if isinstance(notice, Changed):
            self.state, self.state_reason = notice.state, notice.reason
            log.event("link.state", connection=self.name, state=notice.state.value, reason=notice.reason)
            self._listener.changed(self, notice.state, notice.reason, time_ns)
        elif isinstance(notice, Lost):
            self._listener.lost(self, notice.keys, notice.reason, time_ns)
        else:
            log.warning("link.refused", connection=self.name, subscription=notice.key, reason=notice.reason)
            self._listener.refused(self, notice.key, notice.reason, time_ns)


async def _drop(socket: ClientConnection) -> None:
    """Close politely for a moment, then without asking."""
    try:
        async with asyncio.timeout(_CLOSE_S):
            await socket.close()
    except (TimeoutError, OSError, WebSocketException):
        pass
    finally:
        socket.transport.abort()


def _closed_sentence(error: ConnectionClosed) -> str:
    received = error.rcvd
    if received is None:
        sent = error.sent
        if sent is not None and sent.code == 1009:
            return f"the venue sent a frame of more than {FRAME_BYTES_MAX} bytes"
        return "the connection was cut without a word"
    return f"the venue closed the connection: {received.code} {received.reason}".rstrip()
