"""Watching an account so that nothing is missed and nothing told twice, whatever the socket does.

`Told` is the memory, pure: trades by their id, orders by their version. `AccountWatch` is the driver. It keeps one
socket subscribed, gives every event through `Told`, and after each (re)connection, when every channel has answered,
asks the venue over REST for what it may have missed: open orders, those known that are open no longer, those that came
and ended unseen, trades since the last one told, the account. Only then is the stream LIVE. Events that come meanwhile
wait in the queue behind.

Bounds: `QUEUE_EVENTS_MAX` events wait for the room; at the bound the socket is dropped, and reconciling after the next
connection tells what was lost. `FILLS_MAX` trades and `ENDED_MAX` ended orders are remembered; trades older than the
oldest forgotten one count as told.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from services.chassis.clock import Clock
from services.chassis.telemetry import log
from services.domain.feed import FeedState
from services.venues.account import AccountState, Fill, OrderRecord, OrderStatus
from services.venues.actions import OrderReference
from services.venues.link import Link
from services.venues.port import VenueError
from services.venues.subscriptions import Subscription
from services.venues.trading import (
    AccountEmit,
    AccountEvent,
    FillsSeen,
    FundingSeen,
    OrdersSeen,
    StateSeen,
    StreamChanged,
)

QUEUE_EVENTS_MAX: Final = 10_000
FILLS_MAX: Final = 50_000
ENDED_MAX: Final = 10_000
OVERLAP_MS: Final = 120_000
"""How far before the last trade told trades are asked for again: venues' times are of their engine, not of delivery."""
SKEW_MS: Final = 10_000
"""How far a venue's clock may be behind ours when ended orders are first asked for; Lighter's times are whole seconds.
An order that ended that shortly before the watch began is told as well."""
ENDED_EVERY: Final = 10
"""On the timer alone, ended orders are asked for at each so many rounds: at Hyperliquid the answer weighs up to 120."""
RETRY_S: Final = (0.25, 0.5, 1.0, 2.0, 5.0)


class Told:
    """What has been told of one account."""

    def __init__(self, *, since_ms: int = 0) -> None:
        self.watermark_ms = since_ms
        """The time of the newest trade told; trades since then are asked for after a gap."""
        self._fills: OrderedDict[str, int] = OrderedDict()
        self._floor_ms = -1
        self._funding: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._open: dict[str, OrderRecord] = {}
        self._ended: OrderedDict[str, int] = OrderedDict()

    @property
    def open_orders(self) -> tuple[OrderRecord, ...]:
        """The orders last told as open."""
        return tuple(self._open.values())

    def fills(self, fills: Iterable[Fill]) -> tuple[Fill, ...]:
        """Return the trades not told before, oldest first, and count them as told."""
        fresh: list[Fill] = []
        for fill in fills:
            if fill.fill_id in self._fills or fill.time_ms <= self._floor_ms:
                continue
            self._fills[fill.fill_id] = fill.time_ms
            fresh.append(fill)
            self.watermark_ms = max(self.watermark_ms, fill.time_ms)
        while len(self._fills) > FILLS_MAX:
            self._floor_ms = max(self._floor_ms, self._fills.popitem(last=False)[1])
        return tuple(sorted(fresh, key=lambda fill: fill.time_ms))

    def orders(self, records: Iterable[OrderRecord]) -> tuple[OrderRecord, ...]:
        """Return the orders that changed, and count them as told. What has ended stays ended."""
        return tuple(changed for record in records if (changed := self._order(record)) is not None)

    def funding(self, seen: FundingSeen) -> FundingSeen | None:
        """Return the payments not told before."""
        fresh = tuple(p for p in seen.payments if (p.symbol, p.time_ms) not in self._funding)
        for payment in fresh:
            self._funding[payment.symbol, payment.time_ms] = None
        while len(self._funding) > ENDED_MAX:
            self._funding.popitem(last=False)
        return FundingSeen(payments=tuple(sorted(fresh, key=lambda p: p.time_ms))) if fresh else None

    def _order(self, record: OrderRecord) -> OrderRecord | None:
        if record.order_id in self._ended:
            return None
        known = self._open.get(record.order_id)
        if known is not None:
            record = _completed(record, known)
            if record.version < known.version or record == known:
                return None
            if record.version == known.version and not record.status.is_final and record.remaining >= known.remaining:
                return None
        if record.status.is_final:
            self._open.pop(record.order_id, None)
            self._ended[record.order_id] = record.version
            while len(self._ended) > ENDED_MAX:
                self._ended.popitem(last=False)
        else:
            self._open[record.order_id] = record
        return record


def _completed(record: OrderRecord, known: OrderRecord) -> OrderRecord:
    """Return `record` with what its channel does not say taken from what is known."""
    return replace(
        record,
        type=record.type or known.type,
        time_in_force=record.time_in_force or known.time_in_force,
        trigger_price=record.trigger_price or known.trigger_price,
        client_id=record.client_id or known.client_id,
        parent_id=record.parent_id or known.parent_id,
    )


class Sources(Protocol):
    """What reconciling asks of a venue; a `TradingVenue` without the account in every call."""

    async def open_orders(self) -> tuple[OrderRecord, ...]:
        """All open orders."""

    async def order(self, reference: OrderReference) -> OrderRecord | None:
        """One order."""

    async def fills(self, since_ms: int) -> tuple[Fill, ...]:
        """All trades since then."""

    async def ended_orders(self, since_ms: int) -> tuple[OrderRecord, ...]:
        """The orders that ended since then, as far back as the venue shows them."""

    async def state(self) -> AccountState:
        """The account."""


class Dialect(Protocol):
    """What one venue's private socket says."""

    async def subscriptions(self) -> tuple[tuple[Subscription, ...], int | None]:
        """Return what to subscribe, and when (monotonic ns) the frames must be made anew; None for never."""

    def heard(self, link: Link, data: bytes, receive_time_ns: int) -> Sequence[AccountEvent]:
        """Say what a frame means; tell the link what it answers. Raises `ValueError` for one that cannot be read."""


@dataclass(frozen=True, slots=True)
class _Ready:
    """Every channel has answered, or it is time to ask again."""

    ended: bool = True
    """Whether to ask for orders that ended, too."""


@dataclass(frozen=True, slots=True)
class _Lost:
    """The stream no longer delivers."""

    state: FeedState
    reason: str


class AccountWatch:
    """One account's stream. Give it to a `Link` as its listener, then `run` it."""

    def __init__(
        self,
        *,
        name: str,
        dialect: Dialect,
        sources: Sources,
        emit: AccountEmit,
        clock: Clock,
        since_ms: int,
        reconcile_every_s: float = 60.0,
    ) -> None:
        self.name = name
        self.told = Told(since_ms=since_ms)
        self.reconciled_count = 0
        self.bad_frames = 0
        self._dialect = dialect
        self._sources = sources
        self._emit = emit
        self._clock = clock
        self._every_s = reconcile_every_s
        self._queue: asyncio.Queue[AccountEvent | _Ready | _Lost] = asyncio.Queue(QUEUE_EVENTS_MAX)
        self._wanted = 0
        self._ready = False
        self._live = False
        self._ended_since_ms = (since_ms or clock.time_ns() // 1_000_000) - SKEW_MS
        self._rounds = 0

    async def run(self, link: Link) -> None:
        """Watch until canceled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._subscribe(link), name=f"{self.name}-subscribe")
            group.create_task(self._drive(), name=f"{self.name}-drive")
            group.create_task(self._again(), name=f"{self.name}-reconcile")
            group.create_task(link.run(), name=f"{self.name}-link")

    # --- the link's listener ------------------------------------------------------------------------------------

    def frame(self, link: Link, data: bytes, receive_time_ns: int) -> None:
        """A frame came."""
        try:
            events = self._dialect.heard(link, data, receive_time_ns)
        except ValueError as error:
            self.bad_frames += 1
            log.warning("account.bad_frame", connection=self.name, error=str(error)[:300])
            self._ready = False  # what it said is asked for
            self._check_ready(link)
            return
        for event in events:
            self._put(link, event)
        self._check_ready(link)

    def changed(self, link: Link, state: FeedState, reason: str, time_ns: int) -> None:
        """The connection's state changed; only the account's own state is told, when it is reconciled."""
        if state is not FeedState.LIVE:
            self._lose(link, state, reason)

    def lost(self, link: Link, keys: tuple[str, ...], reason: str, time_ns: int) -> None:
        """Channels no longer deliver."""
        self._lose(link, FeedState.RECOVERING, reason)

    def refused(self, link: Link, key: str, reason: str, time_ns: int) -> None:
        """The venue does not give a channel now."""
        self._lose(link, FeedState.RECOVERING, f"{key}: {reason}")

    def _lose(self, link: Link, state: FeedState, reason: str) -> None:
        self._ready = False
        self._put(link, _Lost(state, reason))

    def _check_ready(self, link: Link) -> None:
        if not self._ready and self._wanted and link.session.acked_count >= self._wanted:
            self._ready = True
            self._put(link, _Ready())

    def _put(self, link: Link, item: AccountEvent | _Ready | _Lost) -> None:
        try:
            self._queue.put_nowait(item)
        except asyncio.QueueFull:
            self._ready = False
            link.recycle(f"{QUEUE_EVENTS_MAX} events wait to be kept")

    # --- the tasks ----------------------------------------------------------------------------------------------

    async def _subscribe(self, link: Link) -> None:
        """Keep the subscriptions' frames fresh: a token in them may end."""
        while True:
            try:
                wanted, renew_ns = await self._dialect.subscriptions()
            except VenueError as error:
                log.warning("account.no_subscriptions", connection=self.name, error=str(error)[:300])
                await self._clock.sleep(1.0)
                continue
            again = self._wanted > 0
            self._wanted = len(wanted)
            link.want(wanted)
            if again:
                for subscription in wanted:
                    link.renew(subscription.key)
            self._check_ready(link)
            if renew_ns is None:
                return
            await self._clock.sleep(max(1.0, (renew_ns - self._clock.monotonic_ns()) / 1e9))

    async def _again(self) -> None:
        """Reconcile on a timer too: what a venue forgets to say is found within one round."""
        while True:
            await self._clock.sleep(self._every_s)
            if self._live and self._ready and not self._queue.full():
                self._rounds += 1
                self._queue.put_nowait(_Ready(ended=self._rounds % ENDED_EVERY == 0))

    async def _drive(self) -> None:
        while True:
            item = await self._queue.get()
            if isinstance(item, _Ready):
                await self._reconcile(ended=item.ended)
            else:
                await self._take(item)

    async def _take(self, item: AccountEvent | _Lost) -> None:
        if not isinstance(item, _Lost):
            await self._tell(item)
        elif self._live or self.reconciled_count == 0:
            self._live = False
            await self._emit(StreamChanged(state=item.state, reason=item.reason))

    async def _meanwhile(self) -> bool:
        """Tell what the stream said while the venue's REST did not answer; say whether ended orders are to be asked."""
        ended = False
        for _ in range(self._queue.qsize()):
            item = self._queue.get_nowait()
            if isinstance(item, _Ready):
                ended |= item.ended
            else:
                await self._take(item)
        return ended

    async def _reconcile(self, *, ended: bool) -> None:
        """Ask for what may have been missed, until it is told or the stream is lost again."""
        attempt = 0
        while self._ready:
            try:
                await self._present(ended=ended)
            except VenueError as error:
                wait_s = RETRY_S[min(attempt, len(RETRY_S) - 1)]
                attempt += 1
                log.warning("account.not_reconciled", connection=self.name, error=str(error)[:300], wait_s=wait_s)
                await self._clock.sleep(wait_s)
                ended |= await self._meanwhile()
                continue
            self.reconciled_count += 1
            if not self._live:
                self._live = True
                await self._emit(StreamChanged(state=FeedState.LIVE, reason="reconciled with the venue"))
            return

    async def _present(self, *, ended: bool) -> None:
        sources, told = self._sources, self.told
        before = told.open_orders
        began_ms = self._clock.time_ns() // 1_000_000
        since_ms = max(0, told.watermark_ms - OVERLAP_MS)
        fills = await sources.fills(since_ms)
        current = await sources.open_orders()
        open_ids = {record.order_id for record in current}
        over: list[OrderRecord] = []
        for known in before:
            if known.order_id not in open_ids and known.order_id != "0":
                found = await sources.order(
                    OrderReference(market=known.market, venue_market_id=0, order_id=known.order_id)
                )
                over.append(found if found is not None else _vanished(known))
        if ended:
            over += await sources.ended_orders(self._ended_since_ms)
            self._ended_since_ms = max(self._ended_since_ms, began_ms - OVERLAP_MS)
        state = await sources.state()
        await self._tell(FillsSeen(fills=fills))
        await self._tell(OrdersSeen(orders=tuple(over)))
        told.orders(current)
        await self._emit(OrdersSeen(orders=told.open_orders, whole=True))
        await self._emit(StateSeen(state=state, reconciled=True))

    async def _tell(self, event: AccountEvent) -> None:
        if isinstance(event, FillsSeen):
            fills = self.told.fills(event.fills)
            if fills:
                await self._emit(FillsSeen(fills=fills))
        elif isinstance(event, OrdersSeen):
            orders = self.told.orders(event.orders)
            if orders:
                await self._emit(OrdersSeen(orders=orders))
        elif isinstance(event, FundingSeen):
            funding = self.told.funding(event)
            if funding is not None:
                await self._emit(funding)
        else:
            await self._emit(event)


def _vanished(known: OrderRecord) -> OrderRecord:
    """Return an order that is open no longer and that the venue has forgotten: ended, and its trades tell how."""
    return replace(known, status=OrderStatus.CANCELED, venue_status="unknown to the venue", version=known.version + 1)
