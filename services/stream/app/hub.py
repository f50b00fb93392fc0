"""Follows upstream what sockets want, each subject once, and hands what is heard to everybody who follows it.

Subjects that are wanted at the same moment share one Watch stream, which lives while one of them is wanted. When a
stream is cut, its topics are INTERRUPTED, and it is asked for again after a growing pause, from where it stood; when
that is impossible it starts anew, and a gap says what is missing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from services.domain.errors import DomainError, Reason
from services.stream.app.connection import Connection, Follow
from services.stream.app.feed import Feed, Group
from services.stream.model import frame
from services.stream.model.book import BookBrokenError
from services.stream.model.feed import GROUP_MAX, Remedy, Stand, backoff_s, remedy
from services.stream.model.frame import Frame
from services.stream.model.said import Beat, BookDelta, BookSnapshot, Event, Lost, NowLive, Said, Value
from services.stream.model.topic import Kind, Subject
from services.stream.ports import Clock, MarketData, Measures

STEADY_S = 5.0
"""A stream that lived as long was sound: when it is cut, the pauses begin small again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubBounds:
    """The bounds of what is followed upstream."""

    subjects_max: int = 4_096
    """Subjects followed at once; a further one is refused with LIMIT_REACHED."""
    linger_s: float = 5.0
    """How long a subject that nobody follows is kept, so that a page that is loaded again finds it warm."""
    trades_replayed: int = 50
    """Recent trades that a newcomer gets first, per market."""


class Hub:
    """All that is followed upstream."""

    def __init__(
        self,
        *,
        market_data: MarketData,
        clock: Clock,
        chance: random.Random,
        measures: Measures,
        bounds: HubBounds,
        flush: Callable[[Iterable[Connection]], None],
    ) -> None:
        self._market_data = market_data
        self._clock = clock
        self._chance = chance
        self._measures = measures
        self._bounds = bounds
        self._flush = flush
        self._feeds: dict[Subject, Feed] = {}
        self._wanted: list[Feed] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def subject_count(self) -> int:
        """Return how many subjects are followed upstream."""
        return len(self._feeds)

    def feed(self, subject: Subject) -> Feed:
        """Return the feed of a subject, a new one if nobody follows it; `open_wanted` then asks upstream."""
        feed = self._feeds.get(subject)
        if feed is None:
            if len(self._feeds) >= self._bounds.subjects_max:
                raise DomainError(
                    Reason.LIMIT_REACHED,
                    f"topics: this door follows {self._bounds.subjects_max} topics already and {subject.topic} is not "
                    "among them; try again later.",
                    metadata={"field": "topics", "subjects_max": str(self._bounds.subjects_max)},
                )
            feed = self._feeds[subject] = Feed(subject, self._bounds.trades_replayed)
            self._wanted.append(feed)
            self._measures.subjects(len(self._feeds))
        return feed

    def join(self, follow: Follow) -> None:
        """Let `follow` have what its feed says from now on, its present first."""
        feed = follow.feed
        feed.followers[follow] = None
        feed.unwanted_s = None
        if feed.stand in (Stand.PRESENTING, Stand.LIVE):
            self._prime(follow)
        elif feed.stand is Stand.INTERRUPTED:
            follow.lane.put(frame.status(feed.subject.topic, frame.INTERRUPTED, follow.answered(), feed.error))
        follow.connection.outbox.mark(follow.lane)

    def leave(self, follow: Follow) -> None:
        """Give `follow` nothing more; the last to leave lets the feed linger for a while."""
        feed = follow.feed
        feed.followers.pop(follow, None)
        follow.connection.outbox.forget(follow.lane)
        if not feed.followers:
            feed.unwanted_s = self._clock.monotonic()

    def open_wanted(self) -> None:
        """Ask upstream for all subjects that became wanted since the last time, as few streams as possible."""
        wanted, self._wanted = self._wanted, []
        alike: dict[tuple[Kind, str], list[Feed]] = {}
        for feed in wanted:
            if not feed.followers:  # gone again before it was asked for
                self._remove((feed,))
                continue
            alike.setdefault((feed.subject.kind, feed.subject.interval), []).append(feed)
        for (kind, _), feeds in alike.items():
            size = GROUP_MAX[kind]
            for start in range(0, len(feeds), size):
                self._start(feeds[start : start + size])

    def close_unwanted(self) -> None:
        """End the streams of which nothing has been wanted for `linger_s`."""
        since_s = self._clock.monotonic() - self._bounds.linger_s
        groups = {feed.group for feed in self._feeds.values() if feed.unwanted_s is not None}
        for group in groups:
            if group is None or group.task is None:
                continue
            if all(feed.unwanted_s is not None and feed.unwanted_s <= since_s for feed in group.feeds.values()):
                group.task.cancel()
                self._remove(group.feeds.values())

    def watermark(self, connection: Connection) -> datetime | None:
        """Return up to when everything has been sent on a connection, or None where that cannot be said."""
        least: datetime | None = None
        for follow in connection.follows.values():
            mark = follow.feed.group.watermark if follow.feed.group is not None else None
            if mark is None or follow.feed.stand is not Stand.LIVE:
                return None
            least = mark if least is None else min(least, mark)
        return least

    async def close(self) -> None:
        """End all streams."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, feeds: list[Feed]) -> None:
        group = Group(feeds)
        group.task = asyncio.create_task(self._run(group))
        self._tasks.add(group.task)
        group.task.add_done_callback(self._tasks.discard)

    async def _run(self, group: Group) -> None:
        while True:
            error = await self._listen(group)
            lived_s = self._clock.monotonic() - group.accepted_s if group.accepted else 0.0
            group.attempt = 1 if lived_s >= STEADY_S else group.attempt + 1
            what = remedy(error.reason, resuming=bool(group.cursor))
            if group.ended is not None and not group.ended.resumable:
                what = Remedy.START_ANEW
            if what is Remedy.REFUSE:
                self._refuse(group, error)
                return
            at_once = what is Remedy.START_ANEW and bool(group.cursor) and not group.accepted
            if what is Remedy.START_ANEW:
                group.cursor = ""
            self._interrupt(group, error)
            if not at_once:
                await self._clock.sleep(backoff_s(group.attempt, self._chance))

    async def _listen(self, group: Group) -> DomainError:
        """Open the stream, hear it to its end, and return why it ended."""
        group.accepted, group.ended = False, None
        if not group.cursor:
            heard_before = any(feed.present.heard for feed in group.feeds.values())
            group.replay = 0 if heard_before else self._bounds.trades_replayed
            for feed in group.feeds.values():
                feed.present.tear()
        try:
            await self._market_data.follow(
                group.subjects,
                cursor=group.cursor,
                replay=group.replay,
                hear=partial(self._hear, group),
            )
        except DomainError as error:
            return error
        except BookBrokenError as error:
            group.cursor = ""
            return DomainError(Reason.PEER_UNAVAILABLE, f"{error} It is asked for again.")
        except Exception as error:  # a fault of ours must not leave topics silent for ever
            self._measures.fault(error)
            return DomainError(Reason.INTERNAL, "A fault of ours broke the topic's source; it is asked for again.")
        if group.ended is not None:
            reason = group.ended.reason
            known = Reason(reason) if reason in Reason.__members__ else Reason.PEER_UNAVAILABLE
            return DomainError(known, group.ended.message or "The topic's source was closed.")
        return DomainError(Reason.PEER_UNAVAILABLE, "The topic's source ended without a word; it is asked for again.")

    def _hear(self, group: Group, said: Said) -> None:
        dirty: dict[Connection, None] = {}
        if not group.accepted:
            self._accept(group, dirty)
        for event in said.events:
            self._take_in(group, event, dirty)
        if said.cursor:
            group.cursor = said.cursor
        if dirty:
            self._flush(dirty)

    def _accept(self, group: Group, dirty: dict[Connection, None]) -> None:
        group.accepted = True
        group.accepted_s = self._clock.monotonic()
        for feed in group.feeds.values():
            feed.stand = Stand.PRESENTING  # a resumed stream too says first what was missed, then that it is live
            feed.error = None
            for follow in feed.followers:
                if follow.primed:
                    follow.lane.put(frame.status(feed.subject.topic, frame.SUBSCRIBED))
                else:
                    self._prime(follow)
                follow.connection.outbox.mark(follow.lane)
                dirty[follow.connection] = None

    def _take_in(self, group: Group, event: Event, dirty: dict[Connection, None]) -> None:
        if isinstance(event, Value):
            feed = group.feeds.get(event.market)
            if feed is not None:
                self._gap(feed, event.sequence or None, dirty)
                self._spread(feed, feed.present.hear(event), event, dirty)
        elif isinstance(event, BookDelta):
            feed = group.feeds.get(event.market)
            if feed is not None:
                feed.offer(feed.present.apply(event), event.sequence, "", dirty)
        elif isinstance(event, BookSnapshot):
            feed = group.feeds.get(event.market)
            if feed is not None:
                self._gap(feed, event.sequence, dirty)
                feed.present.replace(event)
                feed.refresh(dirty)
        elif isinstance(event, NowLive):
            self._live(group, dirty)
        elif isinstance(event, Lost):
            feed = group.feeds.get(event.market)
            # A price or a rate that was skipped on the way to us is no loss: here skipping is the rule.
            if feed is not None and (event.of_venue or feed.subject.kind not in (Kind.PRICES, Kind.FUNDING)):
                feed.put(frame.data(feed.subject.topic, "gap", event.body), dirty)
        elif isinstance(event, Beat):
            group.watermark = event.watermark
        else:
            group.ended = event

    def _spread(self, feed: Feed, item: Frame, value: Value, dirty: dict[Connection, None]) -> None:
        if feed.stand is Stand.PRESENTING:
            feed.put(item, dirty)
        else:
            feed.offer(item, value.sequence, value.slot, dirty)

    def _live(self, group: Group, dirty: dict[Connection, None]) -> None:
        now = self._clock.now()
        for feed in group.feeds.values():
            if feed.subject.kind is not Kind.TRADES:  # the next trade's number will say what is missing
                self._gap(feed, None, dirty)
            feed.stand = Stand.LIVE
            feed.put(frame.live(feed.subject.topic, now), dirty)

    def _gap(self, feed: Feed, sequence: int | None, dirty: dict[Connection, None]) -> None:
        gap = feed.present.mend(sequence)
        if gap is not None:
            feed.put(gap, dirty)

    def _prime(self, follow: Follow) -> None:
        feed = follow.feed
        topic = feed.subject.topic
        lane = follow.lane
        lane.put(frame.status(topic, frame.SUBSCRIBED, follow.answered()))
        if not feed.present.is_book:
            for item in feed.present.frames():
                lane.put(item)
        elif feed.present.snapshot() is not None:
            lane.refresh()
        if feed.stand is Stand.LIVE:
            lane.put(frame.live(topic, self._clock.now()))
        follow.primed = True

    def _interrupt(self, group: Group, error: DomainError) -> None:
        """Tell everybody once; attempts that fail again are not told."""
        dirty: dict[Connection, None] = {}
        first = any(feed.stand is not Stand.INTERRUPTED for feed in group.feeds.values())
        if first:
            self._measures.interrupted(group.subjects[0].kind, error)
        for feed in group.feeds.values():
            told = feed.stand is Stand.INTERRUPTED
            feed.stand, feed.error = Stand.INTERRUPTED, error
            if told:
                continue
            shared = frame.status(feed.subject.topic, frame.INTERRUPTED, "", error)
            for follow in feed.followers:
                mine = follow.frame_id
                if mine:
                    follow.lane.put(frame.status(feed.subject.topic, frame.INTERRUPTED, follow.answered(), error))
                else:
                    follow.lane.put(shared)
                follow.connection.outbox.mark(follow.lane)
                dirty[follow.connection] = None
        self._flush(dirty)

    def _refuse(self, group: Group, error: DomainError) -> None:
        """Refuse the topics at fault, and ask again for those of the group that are not."""
        feeds = list(group.feeds.values())
        at_fault = feeds
        if error.reason is Reason.MARKET_UNKNOWN and len(feeds) > 1:
            named = group.feeds.get(error.metadata.get("market", ""))
            at_fault = [named] if named is not None else []
        rest = [feed for feed in feeds if feed not in at_fault]
        self._remove(at_fault)
        if rest and at_fault:
            self._start(rest)
        elif rest:  # nobody says which market it is: halve until it stands alone
            self._start(rest[: len(rest) // 2])
            self._start(rest[len(rest) // 2 :])
        dirty: dict[Connection, None] = {}
        for feed in at_fault:
            self._measures.refused(error)
            for follow in list(feed.followers):
                connection = follow.connection
                connection.outbox.forget(follow.lane)
                connection.follows.pop(feed.subject.topic, None)
                connection.outbox.answer(frame.status(feed.subject.topic, frame.REFUSED, follow.answered(), error))
                dirty[connection] = None
            feed.followers.clear()
        self._flush(dirty)

    def _remove(self, feeds: Iterable[Feed]) -> None:
        for feed in list(feeds):
            self._feeds.pop(feed.subject, None)
        self._measures.subjects(len(self._feeds))
