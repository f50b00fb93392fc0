"""One client's connection, and its following of one topic."""

from __future__ import annotations

import asyncio

from services.stream.app.feed import Feed
from services.stream.model.caller import Caller
from services.stream.model.lane import Lane
from services.stream.model.limits import Limits
from services.stream.model.outbox import Outbox
from services.stream.model.private import Private, PrivateLane
from services.stream.model.request import Meter
from services.stream.ports import Socket


class Connection:
    """What the door keeps of one socket."""

    __slots__ = (
        "caller",
        "closing",
        "follows",
        "id",
        "meter",
        "outbox",
        "private",
        "scheduled",
        "sent_s",
        "socket",
        "stalled_s",
    )

    def __init__(self, connection_id: str, socket: Socket, limits: Limits, now_s: float) -> None:
        self.id = connection_id
        self.socket = socket
        self.outbox = Outbox(limits)
        self.meter = Meter(limits)
        self.follows: dict[str, Follow] = {}
        """By topic, as the client wrote it."""
        self.private: dict[Private, PrivateFollow] = {}
        self.sent_s = now_s
        """When something was last handed to the socket."""
        self.stalled_s: float | None = None
        """Since when the socket takes no more; None while it does."""
        self.scheduled: float | None = None
        """When the pacer will look at it."""
        self.closing = False
        self.caller: Caller | None = None
        """Who calls; None before an `authenticate`."""


class Follow:
    """A connection's following of one topic."""

    __slots__ = ("connection", "feed", "frame_id", "lane", "primed")

    def __init__(self, connection: Connection, feed: Feed, lane: Lane, frame_id: str) -> None:
        self.connection = connection
        self.feed = feed
        self.lane = lane
        self.frame_id = frame_id
        """The id of the client's frame until its first status is sent; then empty."""
        self.primed = False
        """Whether it has been told that it is subscribed, with the present."""

    def answered(self) -> str:
        """Return the id for the first status; later ones carry none."""
        frame_id, self.frame_id = self.frame_id, ""
        return frame_id


class PrivateFollow:
    """A connection's following of one topic of its caller's."""

    __slots__ = ("_frame_id", "connection", "cursor", "lane", "room", "task", "topic")

    def __init__(
        self,
        connection: Connection,
        topic: Private,
        lane: PrivateLane,
        room: asyncio.Event,
        frame_id: str,
        cursor: str,
    ) -> None:
        self.connection = connection
        self.topic = topic
        self.lane = lane
        self.room = room
        """Set when the lane has room again."""
        self._frame_id = frame_id
        self.cursor = cursor
        """Where it stands; what has been put into the lane is before it."""
        self.task: asyncio.Task[None] | None = None

    def answered(self) -> str:
        """Return the client's id for the first status; later ones carry none."""
        frame_id, self._frame_id = self._frame_id, ""
        return frame_id
