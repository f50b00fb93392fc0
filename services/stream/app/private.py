"""Follows upstream what one caller sees on one socket: a stream of its own, opened with the caller's own token.

Nothing is shared between callers, so that nobody is told what another's token may see: the room that owns the orders
checks the token itself, as for any other call.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable

from services.domain.errors import DomainError, Reason
from services.stream.app.connection import Connection, PrivateFollow
from services.stream.model import frame
from services.stream.model.caller import Caller
from services.stream.model.feed import Remedy, backoff_s, remedy
from services.stream.model.private import Private, PrivateLane, Told, told_frame
from services.stream.ports import Clock, PrivateRooms

STEADY_S = 5.0
"""A stream that lived as long was sound: when it is cut, the pauses begin small again."""


class PrivateDesk:
    """All the callers' own topics."""

    def __init__(
        self,
        *,
        rooms: PrivateRooms,
        clock: Clock,
        chance: random.Random,
        flush: Callable[[Iterable[Connection]], None],
        fault: Callable[[Exception], None],
    ) -> None:
        self._rooms = rooms
        self._clock = clock
        self._chance = chance
        self._flush = flush
        self._fault = fault
        self._tasks: set[asyncio.Task[None]] = set()

    def join(self, connection: Connection, topic: Private, frame_id: str, cursor: str) -> None:
        """Let a connection have a topic from a cursor on; asked again, it begins anew."""
        known = connection.private.get(topic)
        if known is not None:
            self.leave(known)
        room = asyncio.Event()
        follow = PrivateFollow(connection, topic, PrivateLane(room.set), room, frame_id, cursor)
        connection.private[topic] = follow
        follow.task = asyncio.create_task(self._run(follow), name=f"private-{topic.value}")
        self._tasks.add(follow.task)
        follow.task.add_done_callback(self._tasks.discard)

    def leave(self, follow: PrivateFollow) -> None:
        """Give a follow nothing more."""
        if follow.connection.private.get(follow.topic) is follow:
            del follow.connection.private[follow.topic]
        follow.connection.outbox.forget(follow.lane)
        if follow.task is not None and follow.task is not asyncio.current_task():
            follow.task.cancel()

    async def close(self) -> None:
        """End all streams."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, follow: PrivateFollow) -> None:
        """Follow until it is left or refused."""
        attempt = 0
        while True:
            began_s = self._clock.monotonic()
            resuming = bool(follow.cursor)
            caller = follow.connection.caller
            assert caller is not None, "a private topic has a caller"
            try:
                error = await self._once(follow, caller)
            except DomainError as refusal:
                error = refusal
            except Exception as problem:  # a fault of ours: it is told, and the topic goes on from where it stood
                self._fault(problem)
                error = DomainError(Reason.INTERNAL, "The stream broke here; it is opened again.")
            attempt = 1 if self._clock.monotonic() - began_s >= STEADY_S else attempt + 1
            what = remedy(error.reason, resuming=resuming)
            now = follow.connection.caller
            if now is not None and now is not caller:  # a fresh token came meanwhile: the stream ended with the old one
                what = Remedy.RESUME
            if what is Remedy.REFUSE:
                self._put(follow, frame.status(follow.topic.value, frame.REFUSED, follow.answered(), error))
                if follow.connection.private.get(follow.topic) is follow:  # what waits is still sent
                    del follow.connection.private[follow.topic]
                return
            if what is Remedy.START_ANEW:
                follow.cursor = ""
            status = frame.status(follow.topic.value, frame.INTERRUPTED, follow.answered(), error)
            self._put(follow, status)
            await self._clock.sleep(backoff_s(attempt, self._chance))

    async def _once(self, follow: PrivateFollow, caller: Caller) -> DomainError:
        """Follow one stream to its end; return why it ended."""
        is_told = False

        async def hear(told: Told) -> None:
            nonlocal is_told
            if not is_told:
                is_told = True
                self._put(follow, frame.status(follow.topic.value, frame.SUBSCRIBED, follow.answered()))
            if told.event and told.event != "end":
                while follow.lane.full:
                    follow.room.clear()
                    await follow.room.wait()
                self._put(follow, told_frame(follow.topic, told))
            follow.cursor = told.cursor or follow.cursor

        ended = await self._rooms.follow(follow.topic, token=caller.token, cursor=follow.cursor, hear=hear)
        if ended is not None and ended.reason in Reason.__members__.values():
            return DomainError(Reason(ended.reason), ended.message)
        return DomainError(Reason.PEER_UNAVAILABLE, "The topic's source ended the stream; it is opened again.")

    def _put(self, follow: PrivateFollow, item: frame.Frame) -> None:
        follow.lane.put(item)
        follow.connection.outbox.mark(follow.lane)
        self._flush((follow.connection,))
