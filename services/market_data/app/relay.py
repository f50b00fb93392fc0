"""Several replicas of the room on one set of sockets: one feeds, the others are fed by what it tells over the bus.

Who feeds is a lease of 1.2 s. The replica that has it runs the venues; the others run the same engine on the same
events, so that every call and stream is answered alike, trades under the same numbers. When the feeder goes, another
takes the lease (at once where its process is dead, which the bus sees) and opens its own sockets; meanwhile what is
known stays, and is STALE as after any silence. Where the lease cannot be asked for (the bus is away) the feeder goes
on, and after `ALONE_S` every replica feeds itself: twice the sockets, no silence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

from services.domain.errors import DomainError
from services.domain.feed import BookDelta, BookSnapshot, Event, Trade
from services.market_data.app.demand import Demand
from services.market_data.app.engine import Engine
from services.market_data.app.relayed_venue import RelayedVenue
from services.market_data.model.market import Market
from services.market_data.model.relay import TRADES, Ask, Part, Told, books, levels_of, numbered_trade, whole
from services.market_data.model.trade_log import NumberedTrade
from services.market_data.ports import Clock, Lease, Replicas
from services.venues.port import FeedLevel

LEASE_S: Final = 0.1
"""How often the lease is taken or kept; it lapses after 1.2 s."""
ALONE_S: Final = 2.0
"""How long a replica waits for a bus that does not answer before it feeds itself."""
PATIENCE_S: Final = 1.0
"""How long a replica that knows nothing yet leaves a free lease to one that knows."""
HANDOVER_S: Final = 0.15
"""How long the last words of a feeder that leaves may travel before another takes over, so that none is told twice."""
FLUSH_S: Final = 0.003
"""How long events are gathered into one message."""
STATUS_S: Final = 0.25
ASK_S: Final = 0.5
"""How often a replica that is fed says what it wants, and asks again for a whole that has not come."""
GONE_S: Final = 3.0
"""A replica that has asked for nothing for so long is not told anything more."""
KNOWN_S: Final = 10.0
"""How long a replica that starts waits for the whole before it serves in any case."""
WHOLE_PAUSE_S: Final = 0.1
"""The least time between two tellings of the whole of one line."""


class _Line:
    """Where a replica that is fed stands in one line."""

    __slots__ = ("needs", "teller")

    def __init__(self) -> None:
        self.teller = ""
        self.needs = True
        """Whether the whole is missing, so that changes cannot be taken."""


class Relay:
    """The relay of one replica. Also a tap of its engine (`services.market_data.ports.Tap`)."""

    def __init__(
        self,
        me: str,
        *,
        venues: Sequence[RelayedVenue],
        engine: Engine,
        demand: Demand,
        replicas: Replicas,
        clock: Clock,
        on_lead: Callable[[], None] = lambda: None,
    ) -> None:
        self._me = me
        self._venues = {venue.name: venue for venue in venues}
        self._engine = engine
        self._demand = demand
        self._replicas = replicas
        self._clock = clock
        self._on_lead = on_lead
        self.leading = False
        self.turns = 0
        """How often this replica began to feed."""
        self._leaving = False
        self._unknown_since_s: float | None = None
        self._nobodys_since_s: float | None = None
        self._lines = {name: _Line() for name in (*self._venues, TRADES)}
        self._known = asyncio.Event()
        self._askers: dict[str, float] = {}
        self._books: dict[str, frozenset[str]] = {}
        self._books_told: frozenset[str] = frozenset()
        self._buffers: dict[str, list[Event]] = {name: [] for name in self._lines}
        self._buffered = asyncio.Event()
        self._asked_whole_s: dict[str, float] = {}
        self._books_needed: dict[str, None] = {}
        self._poked = asyncio.Event()
        engine.intake.open(TRADES)
        engine.follow(self)
        for venue in venues:
            venue.join(self.said, self.poke, self.need_book, partial(self._last_trade_ns, venue.name))

    def _last_trade_ns(self, venue: str, market: str) -> int:
        """Return the venue's own time of the latest print that is known of a market."""
        found = self._engine.markets.get(market)
        part = found.venues.get(venue) if found is not None else None
        return part.last_trade_time_ns if part is not None else 0

    @property
    def asker_count(self) -> int:
        """Return how many replicas are fed by this one."""
        return len(self._askers)

    @property
    def missing(self) -> list[str]:
        """Return the lines of which the whole is still to come."""
        return [] if self.leading else [name for name, line in self._lines.items() if line.needs]

    async def known(self) -> None:
        """Wait until this replica has known the whole once, or feeds, or has waited long enough.

        Before that it has nothing to answer with, and calls that reach it would wait where another could answer.
        """
        try:
            async with asyncio.timeout(KNOWN_S):
                await self._known.wait()
        except TimeoutError:
            return

    async def run(self) -> None:
        """Lead or follow until canceled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_lease())
                tasks.create_task(self._replicas.listen(self.hear, self.serve, deaf=lambda: self.leading))
                tasks.create_task(self._flush_forever())
                tasks.create_task(self._ask_forever())
                tasks.create_task(self._tell_status_forever())
        finally:
            self._step(leading=False)

    async def leave(self) -> None:
        """Hand the feeding over at once, and feed no more: what a replica does first when it stops."""
        self._leaving = True
        if self.leading:
            self._step(leading=False)
            await self._clock.sleep(HANDOVER_S)
            await self._replicas.release()

    # Who feeds.

    async def _keep_lease(self) -> None:
        while True:
            if not self._leaving:
                self.take(await self._replicas.lease(knows=self.knows()))
            await self._clock.sleep(LEASE_S)

    def knows(self) -> bool:
        """Say whether this replica may go on where the last feeder ended: it knows the whole, or waited long enough."""
        if self.leading or not self.missing:
            return True
        return self._nobodys_since_s is not None and self._clock.monotonic() - self._nobodys_since_s >= PATIENCE_S

    def take(self, lease: Lease) -> None:
        """Act on whose the lease is."""
        if self._leaving:
            return
        if lease is not Lease.NOBODYS:
            self._nobodys_since_s = None
        elif self._nobodys_since_s is None:
            self._nobodys_since_s = self._clock.monotonic()
        if lease is not Lease.UNKNOWN:
            self._unknown_since_s = None
            self._step(leading=lease is Lease.OURS)
            return
        now_s = self._clock.monotonic()
        if self._unknown_since_s is None:
            self._unknown_since_s = now_s
        if now_s - self._unknown_since_s >= ALONE_S:
            self._step(leading=True)

    def _step(self, *, leading: bool) -> None:
        if leading == self.leading:
            return
        if not leading:  # what has arrived is numbered and told, and nothing after it
            self._engine.round()
            self.flush()
        self.leading = leading
        if leading:
            self.turns += 1
            self._known.set()
            self._on_lead()
        else:
            for line in self._lines.values():
                line.needs = True
        self._askers.clear()
        self._books.clear()
        self._books_told = frozenset()
        for name, venue in self._venues.items():
            venue.know(frozenset(market.name for market in self._engine.markets.values() if name in market.venues))
            venue.lead(leading)
        self.poke()

    # What the feeder says.

    def said(self, event: Event) -> None:
        """A venue of ours said something; the trades go by their numbers, from the engine."""
        if not self._askers or isinstance(event, Trade):
            return
        if isinstance(event, BookDelta | BookSnapshot) and event.market not in self._books_told:
            return
        self._buffers[event.venue].append(event)
        self._buffered.set()

    def trades(self, market: Market, trades: Sequence[NumberedTrade]) -> None:
        """The engine numbered these prints."""
        if self.leading and self._askers:
            self._buffers[TRADES].extend(numbered_trade(one) for one in trades)
            self._buffered.set()

    def trades_lost(self, market: str, venue: str) -> None:
        """Nothing to do: that the market went down is told in its venue's line."""

    def serve(self, ask: Ask) -> None:
        """Give a replica what it asks for."""
        if not self.leading or ask.asker == self._me:
            return
        self._askers[ask.asker] = self._clock.monotonic()
        levels = levels_of(ask.levels)
        for market, level in levels.items():
            if level > FeedLevel.CONTEXT:
                try:
                    self._demand.touch(market, level)
                except DomainError:  # too much is fed already: the asker's caller sees a market without a feed
                    break
        self._engine.send_demand()
        self._books[ask.asker] = frozenset(market for market, level in levels.items() if level >= FeedLevel.BOOK)
        self._books_told = frozenset().union(*self._books.values())
        now_s = self._clock.monotonic()
        lines = [
            line
            for line in ask.whole
            if line in self._lines and now_s - self._asked_whole_s.get(line, 0.0) >= WHOLE_PAUSE_S
        ]
        if lines or ask.books:
            self._engine.round()  # so that what is told before and after the whole joins without a hole
        for line in lines:
            self._asked_whole_s[line] = now_s
            self._tell_whole(line)
        for name in ask.books:
            found = self._engine.markets.get(name)
            for venue, venue_market in found.venues.items() if found is not None else ():
                self._buffers[venue] += books(venue_market)
                self._buffered.set()

    def _tell_whole(self, line: str) -> None:
        self.flush()
        now_ns = self._clock.time_ns()
        self._tell(line, [], Part.WHOLE_BEGIN)
        for events in whole(line, self._engine.markets.values(), self._engine.trade_logs, now_ns):
            self._tell(line, events, Part.WHOLE)
        self._tell(line, [], Part.WHOLE_END)

    def _tell(self, line: str, events: list[Event], part: Part = Part.CHANGE) -> None:
        self._replicas.tell(Told(teller=self._me, line=line, part=part, events=events))

    def flush(self) -> None:
        """Tell what has gathered."""
        for line, events in self._buffers.items():
            if events:
                self._buffers[line] = []
                if self.leading:
                    self._tell(line, events)

    async def _flush_forever(self) -> None:
        while True:
            await self._buffered.wait()
            await self._clock.sleep(FLUSH_S)
            self._buffered.clear()
            self.flush()

    async def _tell_status_forever(self) -> None:
        turn = 0
        while True:
            await self._clock.sleep(STATUS_S)
            now_s = self._clock.monotonic()
            for asker in [asker for asker, at_s in self._askers.items() if now_s - at_s > GONE_S]:
                del self._askers[asker]
                self._books.pop(asker, None)
            if not (self.leading and self._askers):
                continue
            turn += 1
            self._tell(TRADES, [])  # so that a loss shows where no trade follows
            for name, venue in self._venues.items():
                fed = _fed(venue, self._engine.markets) if turn % 4 == 1 else None
                self._replicas.tell(Told(teller=self._me, line=name, events=[], status=venue.status(), fed=fed))

    # What the others do.

    def hear(self, told: Told, missed: bool) -> None:
        """Take what the feeder says."""
        line = self._lines.get(told.line)
        if self.leading or line is None or told.teller == self._me:
            return
        if missed or told.teller != line.teller:
            line.teller = told.teller
            line.needs = True
        if told.part is Part.WHOLE_BEGIN:
            line.needs = False
        venue = self._venues.get(told.line)
        if venue is not None:
            venue.told(told.status, told.fed)
        if line.needs:
            self.poke()
            return
        for event in told.events:
            if not self._engine.intake.put(told.line, event):
                line.needs = True
        if told.part is Part.WHOLE_END:
            if not self.missing:
                self._known.set()
            self.poke()

    def poke(self) -> None:
        """Say soon what is wanted."""
        self._poked.set()

    def need_book(self, market: str) -> None:
        """Ask for the whole book of a market."""
        self._books_needed[market] = None
        self.poke()

    async def _ask_forever(self) -> None:
        while True:
            try:
                async with asyncio.timeout(ASK_S):
                    await self._poked.wait()
            except TimeoutError:
                pass
            await self._clock.sleep(FLUSH_S)
            self._poked.clear()
            if not self.leading:
                self._replicas.ask(self.wish())
                await self._clock.sleep(WHOLE_PAUSE_S)

    def wish(self) -> Ask:
        """Return what this replica wants now: the trades last, since they need the listings of every venue."""
        missing = self.missing
        lines = [line for line in missing if line != TRADES]
        if not lines and TRADES in missing:
            lines = [TRADES]
        books_needed, self._books_needed = list(self._books_needed), {}
        levels = {market: int(level) for market, level in self._demand.levels().items()}
        return Ask(asker=self._me, levels=levels, whole=lines, books=books_needed)


def _fed(venue: RelayedVenue, markets: Iterable[str]) -> dict[str, int]:
    levels = ((market, int(venue.fed(market))) for market in markets)
    return {market: level for market, level in levels if level > FeedLevel.CONTEXT}
