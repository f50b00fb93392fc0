"""The link over real sockets: whatever a server does, the session learns of it and the link goes on."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from services.chassis.breaker import BreakerPolicy
from services.chassis.clock import SYSTEM
from services.domain.feed import FeedState
from services.venues import link as link_module
from services.venues.budget import Allowance, Budget
from services.venues.circuit import SOCKET, Circuit
from services.venues.lifecycle import SessionConfig, State
from services.venues.link import Link
from services.venues.session import Session
from services.venues.subscriptions import Subscription

Handler = Callable[[ServerConnection], Awaitable[None]]


class Ear:
    """Remembers what a link tells, and wakes who waits for it."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.states: list[tuple[FeedState, str]] = []
        self.lost_keys: list[tuple[str, ...]] = []
        self.fail_on = b"\0never"
        self._news = asyncio.Event()

    def frame(self, link: Link, data: bytes, receive_time_ns: int) -> None:
        self.frames.append(data)
        self._news.set()
        if data == self.fail_on:
            raise RuntimeError("a fault of ours")
        if data.startswith(b"ack "):
            link.acked(data[4:].decode())

    def changed(self, link: Link, state: FeedState, reason: str, time_ns: int) -> None:
        self.states.append((state, reason))
        self._news.set()

    def lost(self, link: Link, keys: tuple[str, ...], reason: str, time_ns: int) -> None:
        self.lost_keys.append(keys)

    def refused(self, link: Link, key: str, reason: str, time_ns: int) -> None:
        pass

    async def until(self, what: Callable[[], bool], within_s: float = 5.0) -> None:
        async with asyncio.timeout(within_s):
            while not what():
                self._news.clear()
                await self._news.wait()

    def reasons(self, state: FeedState) -> list[str]:
        return [reason for told, reason in self.states if told is state]


def make_link(url: str, ear: Ear, *, policy: BreakerPolicy | None = None, **settings: object) -> Link:
    values: dict[str, object] = {"ping": "ping", "subscriptions_max": 10, **settings}
    session = Session(
        SessionConfig(**values),  # type: ignore[arg-type]
        messages=Budget(Allowance(units=1_000, seconds=60, reserve=10)),
        connects=Budget(Allowance(units=1_000, seconds=60)),
        rng=random.Random(3),
    )
    breaker = Circuit("venue", SOCKET, clock=SYSTEM, policy=policy or BreakerPolicy(failures_max=1_000))
    return Link(name="link-1", url=url, session=session, listener=ear, breaker=breaker, clock=SYSTEM)


@asynccontextmanager
async def served(handler: Handler, **options: object) -> AsyncIterator[str]:
    async with serve(handler, "127.0.0.1", 0, **options) as server:  # type: ignore[arg-type]
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/stream"


@asynccontextmanager
async def running(link: Link) -> AsyncIterator[Link]:
    task = asyncio.create_task(link.run())
    try:
        yield link
    finally:
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled() or task.exception() is None
        assert link.session.state is State.STOPPED


def sub(key: str) -> Subscription:
    return Subscription(key=key, subscribe=f"sub {key}", unsubscribe=f"unsub {key}")


async def test_subscribes_and_gives_text_and_binary_frames_as_bytes() -> None:
    async def venue(socket: ServerConnection) -> None:
        async for message in socket:
            await socket.send(f"ack {str(message)[4:]}")
            await socket.send(b"\xff\x00 not text")

    ear = Ear()
    async with served(venue) as url, running(make_link(url, ear)) as link:
        link.want([sub("a")])
        await ear.until(lambda: len(ear.frames) == 2)
        assert ear.frames == [b"ack a", b"\xff\x00 not text"]
        assert link.session.acked_count == 1
        assert link.state is FeedState.LIVE
        assert link.status().subscription_count == 1


async def test_connects_again_and_asks_again_after_every_kind_of_end() -> None:
    ends: list[str] = []

    async def venue(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send("ack a")
        count = len(ends)
        ends.append("")
        if count == 0:
            await socket.close(1012, "restart")
        elif count == 1:
            socket.transport.abort()
        elif count == 2:
            await socket.close()
        else:
            await socket.wait_closed()

    ear = Ear()
    async with served(venue) as url, running(make_link(url, ear)) as link:
        link.want([sub("a")])
        await ear.until(lambda: len(ear.frames) == 4)
        assert ear.lost_keys == [("a",)] * 3
        reasons = ear.reasons(FeedState.RECOVERING)
        assert "1012 restart" in reasons[0]
        assert "cut without a word" in reasons[1]
        assert link.status().reconnect_count == 3


async def test_a_fault_of_the_listener_costs_one_frame_only() -> None:
    async def venue(socket: ServerConnection) -> None:
        for text in ("one", "two", "three"):
            await socket.send(text)
        await socket.wait_closed()

    ear = Ear()
    ear.fail_on = b"two"
    async with served(venue) as url, running(make_link(url, ear)) as link:
        await ear.until(lambda: len(ear.frames) == 3)
        assert link.counts.faults == 1
        assert link.state is FeedState.LIVE


async def test_a_frame_beyond_the_limit_closes_the_socket_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def venue(socket: ServerConnection) -> None:
        await socket.send("x" * 5_000)
        await socket.wait_closed()

    ear = Ear()
    monkeypatch.setattr(link_module, "FRAME_BYTES_MAX", 1_000)
    async with served(venue) as url, running(make_link(url, ear)):
        await ear.until(lambda: bool(ear.reasons(FeedState.RECOVERING)))
        assert "more than 1000 bytes" in ear.reasons(FeedState.RECOVERING)[0]
        assert ear.frames == []


async def test_http_answers_and_redirects_are_reasons_and_are_not_followed() -> None:
    answers = [
        Response(429, "Too Many Requests", _headers(), b"slow down"),
        Response(200, "OK", _headers(), b"<html>maintenance</html>"),
        Response(302, "Found", _headers(Location="ws://127.0.0.1:1/elsewhere"), b""),
    ]

    def refuse(socket: ServerConnection, request: Request) -> Response | None:
        return answers.pop(0) if answers else None

    async def venue(socket: ServerConnection) -> None:
        await socket.send("hello")
        await socket.wait_closed()

    ear = Ear()
    async with served(venue, process_request=refuse) as url, running(make_link(url, ear)):
        await ear.until(lambda: ear.frames == [b"hello"])
        reasons = ear.reasons(FeedState.RECOVERING)
        assert [word in reason for word, reason in zip(("429", "200", "302"), reasons, strict=True)] == [True] * 3


async def test_silence_is_stale_and_then_a_new_socket() -> None:
    pings: list[str] = []

    async def venue(socket: ServerConnection) -> None:
        await socket.send("hello")
        async for message in socket:
            pings.append(str(message))

    ear = Ear()
    quick = {"probe_after_s": 0.1, "probe_timeout_s": 0.1, "silence_give_up_s": 0.1}
    async with served(venue) as url, running(make_link(url, ear, **quick)):
        await ear.until(lambda: len(ear.frames) == 2)
    assert "ping" in pings
    states = [state for state, _ in ear.states]
    assert states[:4] == [FeedState.LIVE, FeedState.STALE, FeedState.RECOVERING, FeedState.LIVE]


async def test_an_open_breaker_makes_the_link_wait_and_try_once() -> None:
    ear = Ear()
    policy = BreakerPolicy(failures_max=2, window_s=10, open_s=0.3)
    link = make_link("ws://127.0.0.1:9/closed", ear, policy=policy)
    async with running(link):
        await ear.until(lambda: any("circuit breaker" in reason for reason in ear.reasons(FeedState.RECOVERING)))
    connects = [reason for reason in ear.reasons(FeedState.RECOVERING) if "cannot connect" in reason]
    assert len(connects) == 2


async def test_a_burst_of_frames_lets_others_have_their_turn() -> None:
    async def venue(socket: ServerConnection) -> None:
        for _ in range(2_000):
            await socket.send("x")
        await socket.wait_closed()

    ear = Ear()
    seen: list[int] = []

    async def other() -> None:
        while len(ear.frames) < 2_000:
            seen.append(len(ear.frames))
            await asyncio.sleep(0)

    async with served(venue) as url, running(make_link(url, ear)):
        task = asyncio.create_task(other())
        await ear.until(lambda: len(ear.frames) == 2_000)
        await task
    assert max(b - a for a, b in itertools.pairwise(seen)) <= link_module.TURN_FRAMES


def _headers(**values: str) -> Headers:
    return Headers({"Content-Length": "0", **values})
