"""What is followed upstream: one feed per subject, and the feeds of one Watch stream together."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING

from services.domain.errors import DomainError
from services.stream.model.feed import Stand
from services.stream.model.frame import Frame
from services.stream.model.present import Present
from services.stream.model.said import Ended
from services.stream.model.topic import Subject

if TYPE_CHECKING:
    from services.stream.app.connection import Connection, Follow


class Feed:
    """One subject with everybody who follows it."""

    __slots__ = ("error", "followers", "group", "present", "stand", "subject", "unwanted_s")

    def __init__(self, subject: Subject, trades_kept: int) -> None:
        self.subject = subject
        self.present = Present(subject, trades_kept)
        self.stand = Stand.OPENING
        self.error: DomainError | None = None
        """Why it is interrupted."""
        self.followers: dict[Follow, None] = {}
        self.group: Group | None = None
        self.unwanted_s: float | None = None
        """Since when nobody follows it."""

    def put(self, item: Frame, dirty: dict[Connection, None]) -> None:
        """Give every follower a frame that must keep its place."""
        for follow in self.followers:
            follow.lane.put(item)
            self._mark(follow, dirty)

    def offer(self, item: Frame, sequence: int, slot: str, dirty: dict[Connection, None]) -> None:
        """Give every follower a change."""
        for follow in self.followers:
            lane = follow.lane
            lane.offer(item, sequence, slot)
            connection = follow.connection
            connection.outbox.mark(lane)
            dirty[connection] = None

    def refresh(self, dirty: dict[Connection, None]) -> None:
        """Give every follower of a book the book as it then stands."""
        for follow in self.followers:
            follow.lane.refresh()
            self._mark(follow, dirty)

    def _mark(self, follow: Follow, dirty: dict[Connection, None]) -> None:
        follow.connection.outbox.mark(follow.lane)
        dirty[follow.connection] = None


class Group:
    """The feeds of one Watch stream."""

    __slots__ = (
        "accepted",
        "accepted_s",
        "attempt",
        "cursor",
        "ended",
        "feeds",
        "replay",
        "subjects",
        "task",
        "watermark",
    )

    def __init__(self, feeds: list[Feed]) -> None:
        self.subjects = tuple(feed.subject for feed in feeds)
        """Their order is part of what a cursor is good for, so it never changes."""
        self.feeds = {feed.subject.market: feed for feed in feeds}
        self.cursor = ""
        self.accepted = False
        """Whether the stream now open has said anything."""
        self.ended: Ended | None = None
        """The last word of the stream now open."""
        self.accepted_s = 0.0
        """When it said its first word, on the monotonic clock."""
        self.attempt = 0
        """How often in a row it was cut or not reached."""
        self.replay = 0
        """How many recent trades it was asked for first; part of what a cursor is good for."""
        self.watermark: datetime | None = None
        self.task: asyncio.Task[None] | None = None
        for feed in feeds:
            feed.group = self
