"""A private stream in place of a socket: what a venue says reaches the watch, unless the line fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from services.domain.feed import FeedState
from services.venues.trading import AccountEvent
from tests.simulation.venues import Far


class Channel:
    """One private socket, in place of a `Link`: what the venue says goes to the watch, unless the line fails.

    It has what `AccountWatch` asks of a link, and each message is a frame whose bytes name a place in `kept`.
    """

    def __init__(self, far: Far, watch: Any, hear: Callable[[Any], None] | None, breathe: Callable[[], Any]) -> None:
        self._far = far
        self._watch = watch
        self._hear = hear
        self._breathe = breathe
        self._wanted = 0
        self.session = SimpleNamespace(acked_count=0)
        self._is_up = False
        self._is_silent = False
        self._cut = asyncio.Event()
        self._free_s = 0.0
        self.kept: list[tuple[AccountEvent, ...]] = []
        self._round = 0

    # -- what the watch asks of it

    def want(self, wanted: Sequence[object]) -> None:
        self._wanted = len(wanted)
        if self._is_up:
            self.session.acked_count = self._wanted
            self._send(())

    def renew(self, key: str, *, again: bool = False) -> None:
        """Ask again for a channel; it answers at once."""

    def recycle(self, reason: str) -> None:
        self._cut.set()

    async def run(self) -> None:
        """Be connected, again and again, until canceled."""
        far, rng = self._far, self._far.rng
        far.channels.append(self)
        try:
            while True:
                await asyncio.sleep(0.02 + rng.random() * 0.1)
                await self._breathe()
                while far.is_down():  # noqa: ASYNC110  (time is virtual)
                    await asyncio.sleep(0.5 + rng.random())
                self._connect()
                await self._live()
                await self._breathe()
                self._is_up = self._is_silent = False
                self.session.acked_count = 0
                self._round += 1
                self._watch.changed(self, FeedState.RECOVERING, "the line broke", 0)
                await asyncio.sleep(0.1 + rng.random() * 2)
        finally:
            far.channels.remove(self)

    def _connect(self) -> None:
        self._is_up = True
        self._cut.clear()
        self.session.acked_count = self._wanted
        self._send(())

    async def _live(self) -> None:
        """Stay up until the line breaks."""
        far = self._far
        while not self._cut.is_set():
            try:
                async with asyncio.timeout(1.0 + far.rng.random()):
                    await self._cut.wait()
            except TimeoutError:
                pass
            if far.is_down():
                return
            if far.chaos.strikes("stream_cut", 0.5):
                far.trace.note(far.name, "stream.cut")
                return
            if not self._is_silent and far.chaos.strikes("stream_silent", 0.3):
                self._is_silent = True
                far.trace.note(far.name, "stream.silent")
                try:
                    async with asyncio.timeout(3 + far.rng.random() * 12):
                        await self._cut.wait()
                except TimeoutError:
                    return

    # -- what the venue says

    def tell(self, events: tuple[AccountEvent, ...]) -> None:
        """Send events on their way."""
        if not self._is_up or self._is_silent:
            return
        chaos = self._far.chaos
        self._send(events)
        if chaos.strikes("stream_twice"):
            self._send(events)

    def tell_transaction(self, raw: Any) -> None:
        """Tell what became of a transaction."""
        if self._is_up and not self._is_silent and self._hear is not None:
            self._far.loop.call_later(0.005 + self._far.rng.random() * 0.05, self._heard, raw, self._round)

    def _heard(self, raw: Any, of_round: int) -> None:
        if self._is_up and of_round == self._round and self._hear is not None:
            self._hear(raw)

    def _send(self, events: tuple[AccountEvent, ...]) -> None:
        far = self._far
        delay_s = 0.005 + far.rng.random() * 0.05
        if events and far.chaos.strikes("stream_late"):
            delay_s += far.rng.random() * 3
        at_s = far.loop.time() + delay_s
        if not (events and far.chaos.strikes("stream_disorder")):
            at_s = max(at_s, self._free_s)
            self._free_s = at_s
        else:
            at_s += far.rng.random() * 0.5
        self.kept.append(events)
        far.loop.call_at(at_s, self._deliver, len(self.kept) - 1, self._round)

    def _deliver(self, place: int, of_round: int) -> None:
        if not self._is_up or of_round != self._round:
            return  # it was on the line when that broke
        events = self.kept[place]
        for event in events:
            self._far.trace.note(self._far.name, f"told.{type(event).__name__}")
        self._watch.frame(self, str(place).encode(), 0)


class Spoken:
    """The dialect of a `Channel`: one subscription, and frames that were read before."""

    channel: Channel

    async def subscriptions(self) -> tuple[tuple[object, ...], int | None]:
        return (SimpleNamespace(key="all"),), None

    def heard(self, link: Channel, data: bytes, receive_time_ns: int) -> Sequence[AccountEvent]:
        return link.kept[int(data)]
