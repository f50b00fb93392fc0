"""A caller's own topics: `orders`, `fills` and `positions`. Never collapsed, never lost.

What cannot be sent waits here, in a bounded lane; when the lane is full nothing more is read upstream, whose log waits
for us. So a slow client delays itself alone, and one that takes nothing at all is ended by the door.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from services.domain.errors import field_invalid
from services.stream.model.frame import Frame

QUEUED_MAX = 64
"""Frames of a topic that wait for one socket before reading pauses."""
FILLS_FIRST = 50
"""Recent fills that come first."""


class Private(StrEnum):
    """A topic of the caller's own."""

    ORDERS = "orders"
    FILLS = "fills"
    POSITIONS = "positions"


EVENT = {Private.ORDERS: "order", Private.FILLS: "fill", Private.POSITIONS: "position"}
"""What each frame carries, by topic."""


def private_of(text: str) -> Private | None:
    """Return the topic that a text names; None where it names no caller's own."""
    word = text.partition(":")[0]
    if word not in Private.__members__.values():
        return None
    if word != text:
        raise field_invalid("topics", f"{text!r} has a part too many; what passes is {word}, for all markets.")
    return Private(word)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One message of a caller's own stream upstream."""

    cursor: str
    event: str
    """`order`, `fill`, `position`, `live`, `gap` or `end`; empty where it says nothing but that it is alive."""
    body: bytes = b""
    """The message as JSON."""
    reason: str = ""
    message: str = ""
    """Why upstream ends the stream, for `end`."""


def told_frame(topic: Private, told: Told) -> Frame:
    """Return the frame of a message, with its cursor."""
    cursor = json.dumps(told.cursor).encode()
    head = json.dumps(topic.value).encode()
    return Frame(b'{"topic":%b,"id":"","%b":%b,"cursor":%b}' % (head, told.event.encode(), told.body, cursor))


class PrivateLane:
    """The frames of one private topic that wait for one socket, every one in its order."""

    __slots__ = ("_queue", "_taken", "interval_s", "last_s")

    def __init__(self, taken: Callable[[], None]) -> None:
        """Prepare; `taken` is called when there is room again."""
        self._queue: deque[Frame] = deque()
        self._taken = taken
        self.interval_s: float | None = None
        self.last_s = float("-inf")

    @property
    def full(self) -> bool:
        """Say whether no more is to be read."""
        return len(self._queue) >= QUEUED_MAX

    @property
    def urgent(self) -> bool:
        """Say whether anything waits."""
        return bool(self._queue)

    @property
    def pending(self) -> bool:
        """Nothing here waits for a batch."""
        return False

    def put(self, item: Frame) -> None:
        """Add a frame after all that waits."""
        self._queue.append(item)

    def offer(self, item: Frame, sequence: int, slot: str) -> None:
        """Add a change; it is kept like any other frame."""
        self.put(item)

    def refresh(self) -> None:
        """What waits is still true: nothing is forgotten."""

    def take(self) -> list[Frame]:
        """Give all that waits, in order."""
        taken = list(self._queue)
        self._queue.clear()
        self._taken()
        return taken
