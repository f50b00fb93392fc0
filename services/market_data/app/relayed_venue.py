"""A venue as a replica has it: the real one while this replica feeds, what the feeder tells of it otherwise."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Final

from services.domain.errors import DomainError
from services.domain.feed import BookSnapshot, Event, FeedState, PastCandle, PastFunding, Trade, TradesMissed
from services.market_data.model.candle import SECOND_NS
from services.market_data.ports import Clock, HistoryStore, Venue
from services.venues.port import Emit, FeedLevel, VenueError, VenueStatus

SILENT_S: Final = 2.0
"""A feeder that has not said how a venue stands for so long is taken to be gone."""
RECORDED_NS: Final = 20 * SECOND_NS
"""How long after its end a candle is in the database, where the feeder has recorded it."""
REPEATS_S: Final = 30.0
"""How long after a change of the feeder a venue may repeat prints that the last feeder has told."""
PAGE: Final = 5_000
TURN: Final = 1_000_000
"""Added to the version of a status with every turn, so that versions of two feeders differ."""


class RelayedVenue:
    """One venue (`services.venues.port.Venue`), whoever feeds it."""

    def __init__(self, make: Callable[[], Venue], clock: Clock, *, store: Callable[[], HistoryStore | None]) -> None:
        """Make the real venue by `make`, anew whenever this replica begins to feed."""
        self._make = make
        self._real = make()
        self._clock = clock
        self._store = store
        self.name = self._real.name
        self._leading = False
        self._changed = asyncio.Event()
        self._turns = 0
        self._levels: dict[str, FeedLevel] = {}
        self._markets: frozenset[str] = frozenset()
        self._status: VenueStatus | None = None
        self._fed: dict[str, int] = {}
        self._heard_s = -SILENT_S
        self._said: Callable[[Event], None] = lambda _: None
        self._poke: Callable[[], None] = lambda: None
        self._need_book: Callable[[str], None] = lambda _: None
        self._last_trade_ns: Callable[[str], int] = lambda _: 0
        self._led_s = -REPEATS_S
        self._unproven: set[str] = set()
        """Markets of which this replica, which began to feed, has not seen yet that no print is missing."""

    def join(
        self,
        said: Callable[[Event], None],
        poke: Callable[[], None],
        need_book: Callable[[str], None],
        last_trade_ns: Callable[[str], int],
    ) -> None:
        """Say where to pass on what the real venue says, how to ask the feeder, and up to when trades are known."""
        self._said, self._poke, self._need_book, self._last_trade_ns = said, poke, need_book, last_trade_ns

    def lead(self, leading: bool) -> None:
        """Begin to feed, or cease to."""
        self._leading = leading
        self._turns += 1
        self._status = None
        self._changed.set()

    def told(self, status: VenueStatus | None, fed: dict[str, int] | None) -> None:
        """Take how the feeder says the venue stands."""
        if status is not None:
            self._status, self._heard_s = status, self._clock.monotonic()
        if fed is not None:
            self._fed = fed

    async def run(self, emit: Emit) -> None:
        """Feed while this replica leads; the relay emits otherwise."""

        def pass_on(event: Event) -> bool:
            if not self._leading:
                return True  # another feeds already
            if isinstance(event, Trade):
                if self._shows_a_hole(event):
                    pass_on(self._missed(event.market))
                if self._is_repeated(event):
                    return True  # another has told it
            taken = emit(event)
            if taken:
                self._said(event)
            return taken

        while True:
            self._changed.clear()
            if not self._leading:
                await self._changed.wait()
                continue
            self._real = self._make()
            self._real.want(self._levels)
            if self._markets:
                self._led_s = self._clock.monotonic()
                self._unproven = set(self._markets)
            await self._feed(pass_on)

    async def _feed(self, emit: Emit) -> None:
        feeding = asyncio.ensure_future(self._real.run(emit))
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({feeding, changed}, return_when=asyncio.FIRST_COMPLETED)
            if feeding.done():
                feeding.result()
        finally:
            changed.cancel()
            feeding.cancel()
            await asyncio.gather(feeding, changed, return_exceptions=True)

    def _is_repeated(self, event: Trade) -> bool:
        """Say whether a print is one of those that a venue repeats to a new subscriber, and was told long ago."""
        if self._clock.monotonic() - self._led_s > REPEATS_S:
            return False
        return event.venue_time_ns < self._last_trade_ns(event.market)

    def _shows_a_hole(self, event: Trade) -> bool:
        """Say whether a market's first print here is later than the last that is known, so that some may be between.

        A venue begins with its recent prints, the oldest first, so that one that is older than what is known proves
        that none is missing. Its liquidations go back further and prove nothing.
        """
        if event.liquidation or event.market not in self._unproven:
            return False
        self._unproven.discard(event.market)
        last_ns = self._last_trade_ns(event.market)
        return 0 < last_ns <= event.venue_time_ns

    def _missed(self, market: str) -> TradesMissed:
        """Nobody listened for a moment, and the venue repeats too little. Values stay, STALE where a pause lasts."""
        return TradesMissed(
            venue=self.name,
            markets=frozenset((market,)),
            reason="another replica began to feed this market, and the venue's recent trades do not reach back",
            receive_time_ns=self._clock.time_ns(),
        )

    def know(self, markets: frozenset[str]) -> None:
        """Take which markets are shown, of which prints may be missing when another replica begins to feed."""
        self._markets = markets

    def want(self, levels: dict[str, FeedLevel]) -> None:
        """Say what is wanted of each market."""
        for market, level in levels.items():
            if not self._leading and level >= FeedLevel.BOOK > self._levels.get(market, FeedLevel.CONTEXT):
                self._need_book(market)
        self._levels = levels
        self._real.want(levels)
        self._poke()

    def fed(self, market: str) -> FeedLevel:
        """Return how much of `market` is subscribed, here or by the feeder."""
        return self._real.fed(market) if self._leading else FeedLevel(self._fed.get(market, FeedLevel.CONTEXT))

    def resync(self, market: str, reason: str) -> None:
        """Build the book of `market` again."""
        if self._leading:
            self._real.resync(market, reason)
        else:
            self._need_book(market)

    async def fetch_book(self, market: str) -> BookSnapshot:
        """Return a fresh snapshot by REST; a replica that is fed leaves the audit to the feeder."""
        if not self._leading:
            raise VenueError(f"another replica asks {self.name}")
        return await self._real.fetch_book(market)

    async def fetch_candles(
        self, market: str, interval_s: int, start_time_ns: int, end_time_ns: int
    ) -> list[PastCandle]:
        """Return past candles: from the venue where this replica feeds, else from what the feeder has recorded."""
        if self._leading:
            return await self._real.fetch_candles(market, interval_s, start_time_ns, end_time_ns)
        store = self._store()
        if store is None or end_time_ns > self._clock.time_ns() - RECORDED_NS:
            raise VenueError(f"the replica that feeds {self.name} may not have recorded {market} yet")
        try:
            found = await store.candles(market, interval_s, [self.name], start_time_ns, end_time_ns, PAGE)
        except DomainError as error:
            raise VenueError(error.message) from None
        return [
            PastCandle(
                open_time_ns=one.open_ns,
                open=one.open,
                high=one.high,
                low=one.low,
                close=one.close,
                volume=one.volume,
                quote_volume=one.quote_volume,
                trade_count=one.trade_count,
            )
            for one in reversed(found.rows)
        ]

    async def fetch_fundings(self, market: str, start_time_ns: int, end_time_ns: int) -> list[PastFunding]:
        """Return settled rates by REST; a replica that is fed records none and asks for none."""
        return await self._real.fetch_fundings(market, start_time_ns, end_time_ns) if self._leading else []

    def status(self) -> VenueStatus:
        """Return how the feed stands, as the feeder says where that is another."""
        if self._leading or self._status is None:
            status = self._real.status()
            if self._leading:
                return dataclasses.replace(status, version=status.version + self._turns * TURN)
            state, reason = FeedState.RECOVERING, "waiting for the replica that feeds this venue"
            return dataclasses.replace(
                status, state=state, state_reason=reason, version=status.version + self._turns * TURN
            )
        if self._clock.monotonic() - self._heard_s > SILENT_S:
            reason = "the replica that feeds this venue says nothing"
            return dataclasses.replace(
                self._status,
                state=FeedState.STALE,
                state_reason=reason,
                version=self._status.version + self._turns * TURN + 1,
            )
        return dataclasses.replace(self._status, version=self._status.version + self._turns * TURN)
