"""A caller's own rooms for doors of tests: what a test writes is what its streams say, by user and topic."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from services.domain.errors import DomainError, Reason
from services.stream.model.private import Private, Told


@dataclass
class Opened:
    """One stream that was asked for."""

    topic: Private
    token: str
    cursor: str
    said: int = 0
    """How many messages were taken."""
    fault: asyncio.Future[DomainError | Told | None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class OwnRooms:
    """The port `PrivateRooms`: a log by topic, resumed by its numbers."""

    def __init__(self) -> None:
        self.log: dict[Private, list[bytes]] = {topic: [] for topic in Private}
        self.opened: list[Opened] = []
        self.refusal: DomainError | None = None
        self._grown = asyncio.Event()

    def write(self, topic: Private, *bodies: bytes) -> None:
        """Have something said."""
        self.log[topic] += bodies
        self._grown.set()

    async def follow(
        self, topic: Private, *, token: str, cursor: str, hear: Callable[[Told], Awaitable[None]]
    ) -> Told | None:
        """Say what is in the log after a cursor, and then what comes."""
        opened = Opened(topic, token, cursor)
        self.opened.append(opened)
        if self.refusal is not None:
            raise self.refusal
        at = int(cursor or 0)
        is_live = bool(cursor)
        while True:
            for body in self.log[topic][at:]:
                at += 1
                await hear(Told(cursor=str(at), event=_EVENTS[topic], body=body))
                opened.said += 1
            if not is_live:
                is_live = True
                await hear(Told(cursor=str(at), event="live", body=b"{}"))
            self._grown.clear()
            grown = asyncio.ensure_future(self._grown.wait())
            await asyncio.wait({grown, opened.fault}, return_when=asyncio.FIRST_COMPLETED)
            grown.cancel()
            if opened.fault.done():
                ended = opened.fault.result()
                if isinstance(ended, DomainError):
                    raise ended
                return ended


_EVENTS = {Private.ORDERS: "order", Private.FILLS: "fill", Private.POSITIONS: "position"}


class NoRooms:
    """The port `PrivateRooms` of a mesh without those rooms."""

    async def follow(
        self, topic: Private, *, token: str, cursor: str, hear: Callable[[Told], Awaitable[None]]
    ) -> Told | None:
        """Refuse."""
        raise DomainError(Reason.CALL_NOT_SERVED, f"topics: {topic.value} is not served by this mesh.")
