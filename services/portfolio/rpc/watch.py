"""The Watch calls: the present, a mark, then changes as they are written and mark prices at the caller's pace.

A cursor is the number of a log event. So a stream resumes anywhere, after any restart: it then gets each position that
changed meanwhile once, as it stands. What is live is never collapsed but by the mark price alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from perpmesh.portfolio.v1 import portfolio_service_pb2 as pb
from perpmesh.type.v1 import stream_pb2

from services.chassis.clock import Clock
from services.domain.errors import DomainError, FieldViolation, Reason
from services.portfolio.app.live import WATCHERS_MAX, Live, Watcher
from services.portfolio.model.view import AccountView, PositionView
from services.portfolio.ports import Held, Ledger
from services.portfolio.rpc import encode

HEARTBEAT_S: Final = 15.0
INTERVAL_DEFAULT_S: Final = 1.0
PRESENT_MAX: Final = 10_000
_SLOW: Final = "this stream was read too slowly: resume it with the last cursor"
_DRAINING: Final = "this room is stopping: connect again and resume with the last cursor"

Wanted = Callable[[str, str], bool]
"""Whether a market and an account are wanted."""


class Streams:
    """Serves both Watch calls; `close` ends every stream."""

    def __init__(self, live: Live, ledger: Ledger, clock: Clock) -> None:
        self._live = live
        self._ledger = ledger
        self._clock = clock
        self._closing = False
        self._open: set[Watcher] = set()

    def close(self) -> None:
        """End every stream with a last message."""
        self._closing = True
        for watcher in self._open:
            watcher.event.set()

    async def positions(self, user_id: UUID, request: pb.WatchPositionsRequest) -> AsyncIterator[Any]:
        """Yield the messages of WatchPositions."""
        since, markets, accounts = _cursor(request.cursor), frozenset(request.markets), frozenset(request.account_ids)

        def wanted(market: str, account_id: str) -> bool:
            return (not markets or market in markets) and (not accounts or account_id in accounts)

        watcher = await self._attach(user_id)
        try:
            present, cursor = await self._present(user_id, since)
            sent: dict[UUID, Decimal | None] = {}
            for view in present:
                if wanted(view.life.market, str(view.account.account_id)):
                    sent[view.life.position_id] = view.mark.price if view.mark is not None else None
                    yield self._position(view, cursor)
            yield pb.WatchPositionsResponse(cursor=str(cursor), live=self._live_mark())
            pace = _Pace(self._clock, _seconds(request, "min_interval"))
            while True:
                said = False
                for sequence, view in self._changes(watcher, cursor):
                    cursor = max(cursor, sequence)
                    if wanted(view.life.market, str(view.account.account_id)):
                        sent[view.life.position_id] = view.mark.price if view.mark is not None else None
                        said = True
                        yield self._position(view, cursor)
                if (end := self._end(watcher)) is not None:
                    yield pb.WatchPositionsResponse(cursor=str(cursor), end=end)
                    return
                if pace.due():
                    for view in self._moved(user_id, sent, wanted):
                        said = True
                        yield self._position(view, cursor)
                if pace.silent(said):
                    yield pb.WatchPositionsResponse(cursor=str(cursor), heartbeat=self._heartbeat())
                await self._rest(watcher, pace)
        finally:
            self._detach(watcher)

    async def balances(self, user_id: UUID, request: pb.WatchBalancesRequest) -> AsyncIterator[Any]:
        """Yield the messages of WatchBalances."""
        _cursor(request.cursor)
        accounts = frozenset(request.account_ids)
        watcher = await self._attach(user_id)
        try:
            await self._live.prime(user_id)
            cursor = self._live.sequence
            sent: dict[str, bytes] = {}
            for message in self._money(user_id, accounts, sent, cursor):
                yield message
            yield pb.WatchBalancesResponse(cursor=str(cursor), live=self._live_mark())
            pace = _Pace(self._clock, _seconds(request, "min_interval"))
            while True:
                said = False
                for sequence, _, _ in watcher.changes:
                    cursor = max(cursor, sequence)
                watcher.changes.clear()
                watcher.over = False  # balances collapse: nothing is lost
                if (end := self._end(watcher)) is not None:
                    yield pb.WatchBalancesResponse(cursor=str(cursor), end=end)
                    return
                if pace.due():
                    for message in self._money(user_id, accounts, sent, cursor):
                        said = True
                        yield message
                if pace.silent(said):
                    yield pb.WatchBalancesResponse(cursor=str(cursor), heartbeat=self._heartbeat())
                await self._rest(watcher, pace)
        finally:
            self._detach(watcher)

    async def _present(self, user_id: UUID, since: int | None) -> tuple[list[PositionView], int]:
        await self._live.prime(user_id)
        cursor = self._live.sequence
        if since is not None and since > cursor:
            raise _not_ours("it names a log event that has not been applied; send one as received, or none")
        open_now = [view for one in self._live.views(user_id).values() for view in one.positions]
        if since is None:
            return sorted(open_now, key=_order), cursor
        changed = [view for view in open_now if view.life.sequence > since]
        closed: list[Held] = []
        if since < cursor:
            closed = list(await self._ledger.closed_since(user_id, since, limit=PRESENT_MAX))
        await self._live.look({one.life.market for one in closed})
        for one in closed:
            changed.append(_only(self._live.view_with(one.account, one.life), one.life.market))
        return sorted(changed, key=lambda view: view.life.sequence), cursor

    def _changes(self, watcher: Watcher, cursor: int) -> list[tuple[int, PositionView]]:
        found: list[tuple[int, PositionView]] = []
        while watcher.changes:
            sequence, account, life = watcher.changes.popleft()
            if sequence > cursor or found:
                found.append((sequence, _only(self._live.view_with(account, life), life.market)))
        return found

    def _moved(self, user_id: UUID, sent: dict[UUID, Decimal | None], wanted: Wanted) -> list[PositionView]:
        found = []
        for account in self._live.views(user_id).values():
            for view in account.positions:
                mark = view.mark.price if view.mark is not None else None
                known = sent.get(view.life.position_id, view)
                if known is not view and known != mark and wanted(view.life.market, str(view.account.account_id)):
                    sent[view.life.position_id] = mark
                    found.append(view)
        return found

    def _money(
        self, user_id: UUID, accounts: frozenset[str], sent: dict[str, bytes], cursor: int
    ) -> list[pb.WatchBalancesResponse]:
        found = []
        views = sorted(self._live.views(user_id).items(), key=lambda pair: (pair[1].account.venue, str(pair[0])))
        for account_id, view in views:
            if accounts and str(account_id) not in accounts:
                continue
            for asset, one in sorted(view.account.balances.items()):
                balance = encode.balance(view.account, one)
                if _new(sent, f"{account_id} {asset}", balance):
                    found.append(pb.WatchBalancesResponse(cursor=str(cursor), balance=balance))
            summary = encode.summary(view)
            if _new(sent, str(account_id), summary):
                found.append(pb.WatchBalancesResponse(cursor=str(cursor), account=summary))
        return found

    def _position(self, view: PositionView, cursor: int) -> pb.WatchPositionsResponse:
        return pb.WatchPositionsResponse(cursor=str(cursor), position=encode.position(view, self._clock.now()))

    def _live_mark(self) -> stream_pb2.Live:
        return stream_pb2.Live(send_time=encode.stamp(self._clock.now()))

    def _heartbeat(self) -> stream_pb2.Heartbeat:
        now = encode.stamp(self._clock.now())
        return stream_pb2.Heartbeat(send_time=now, watermark_time=now)

    def _end(self, watcher: Watcher) -> stream_pb2.End | None:
        if watcher.over:
            return stream_pb2.End(reason=Reason.SLOW_CONSUMER.value, message=_SLOW, resumable=True)
        if self._closing:
            return stream_pb2.End(reason=Reason.DRAINING.value, message=_DRAINING, resumable=True)
        return None

    async def _rest(self, watcher: Watcher, pace: _Pace) -> None:
        watcher.event.clear()
        if watcher.changes or self._closing or watcher.over:
            return
        try:
            async with asyncio.timeout(pace.wait_s()):
                await watcher.event.wait()
        except TimeoutError:
            return

    async def _attach(self, user_id: UUID) -> Watcher:
        if self._closing:
            raise DomainError(Reason.DRAINING, _DRAINING)
        if len(self._open) >= WATCHERS_MAX:
            raise DomainError(
                Reason.LIMIT_REACHED,
                f"this service holds {WATCHERS_MAX} streams of positions and balances, all it takes; try again later",
                metadata={"limit": "streams", "allowed": str(WATCHERS_MAX)},
                retry_after_s=5.0,
            )
        watcher = await self._live.attach(user_id)
        self._open.add(watcher)
        return watcher

    def _detach(self, watcher: Watcher) -> None:
        self._open.discard(watcher)
        self._live.detach(watcher)


class _Pace:
    """When a stream may speak of mark prices, and when it must say that it is alive."""

    def __init__(self, clock: Clock, interval_s: float) -> None:
        self._clock = clock
        self._interval_s = max(interval_s, 0.05)
        self._next = clock.monotonic() + self._interval_s
        self._spoke = clock.monotonic()

    def due(self) -> bool:
        """Say whether mark prices may be sent now."""
        now = self._clock.monotonic()
        if now < self._next:
            return False
        self._next = now + self._interval_s
        return True

    def silent(self, said: bool) -> bool:
        """Say whether a heartbeat is owed; `said` is whether something was sent."""
        now = self._clock.monotonic()
        if said:
            self._spoke = now
            return False
        if now - self._spoke < HEARTBEAT_S:
            return False
        self._spoke = now
        return True

    def wait_s(self) -> float:
        """Return how long nothing is to be done."""
        return max(0.0, min(self._next, self._spoke + HEARTBEAT_S) - self._clock.monotonic())


def _only(view: AccountView, market: str) -> PositionView:
    return next(one for one in view.positions if one.life.market == market)


def _order(view: PositionView) -> tuple[str, str, str]:
    return view.life.market, view.account.venue, str(view.account.account_id)


def _new(sent: dict[str, bytes], key: str, message: Any) -> bool:
    data = message.SerializeToString(deterministic=True)
    if sent.get(key) == data:
        return False
    sent[key] = data
    return True


def _seconds(request: Any, name: str) -> float:
    if not request.HasField(name):
        return INTERVAL_DEFAULT_S
    length: timedelta = getattr(request, name).ToTimedelta()
    return length.total_seconds()


def _cursor(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise _not_ours("this is no cursor of this call; send one exactly as received, or none")
    return int(text)


def _not_ours(advice: str) -> DomainError:
    return DomainError(
        Reason.CURSOR_INVALID,
        f"cursor: {advice}",
        metadata={"field": "cursor"},
        fields=(FieldViolation("cursor", advice),),
    )
