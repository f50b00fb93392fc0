"""What was missed, asked of the venues' REST interfaces: today's minutes, older candles, settled funding.

One task per venue, one question at a time with a pause after each, so that a backfill never takes the budget that
books and audits need. In order: where a market's candles stand in the database (`_restore`), minutes that trades did
not cover (`_repair`), funding that was settled since, and last the candles of longer ago. A question that fails is
asked again after a growing pause; nothing is given up but what the venues have no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from services.domain.errors import DomainError
from services.domain.feed import PastCandle
from services.market_data.app.recorder import Recorder
from services.market_data.model.candle import DAY, LADDER, MINUTE, MINUTE_NS, SECOND_NS, Candle, start_of
from services.market_data.model.history import FundingPoint
from services.market_data.model.ladder import Ladder
from services.market_data.ports import Clock, HistorySink, HistoryStore, Venue
from services.venues.port import VenueError

PAGE: Final = 500
"""How many candles one question is for; both venues answer as many at once."""
REACH_NS: Final = 3 * DAY * SECOND_NS
"""How far back single minutes are repaired: Hyperliquid has the last 5,000 of them (3.4 days)."""
STORE_PATIENCE_S: Final = 10.0
"""How long the start of a market's candles waits for the database; then today is taken from the venue."""
FUNDING_DELAY_NS: Final = 60 * SECOND_NS
"""How long after an hour its funding is asked for."""
HOUR_NS: Final = 3_600 * SECOND_NS
BUDGET_SHARE: Final = 0.6
"""How much of a venue's REST budget may be used before the past has to wait; one question takes up to 0.04 of it."""
RETRY_FIRST_S, RETRY_MAX_S = 1.0, 60.0
LOOK_S: Final = 0.5
"""How often it is looked for something to do."""

Series = tuple[str, str]
"""A market and a venue."""


@dataclass(slots=True)
class _Work:
    """What is known of one series."""

    since_s: float
    spans: list[tuple[int, int, int]] | None = None
    """(interval, start, end) of older candles still to be asked for; None before that is known."""
    funding_ns: int | None = None
    """Up to when funding is recorded; None before that is known."""
    funding_tried_ns: int = 0


@dataclass(slots=True)
class Counts:
    """What came from REST since the start, and how often that failed."""

    candles: int = 0
    funding: int = 0
    failed: int = 0


class Backfill:
    """Asks one venue for what the feed did not bring."""

    def __init__(
        self,
        venue: Venue,
        recorder: Recorder,
        sink: HistorySink,
        store: Callable[[], HistoryStore | None],
        clock: Clock,
        *,
        interval_s_of: Callable[[str, str], int],
        pause_s: float,
        depth: int,
        funding_days: int,
        tell: Callable[[str, str], None] = lambda venue, why: None,
    ) -> None:
        """`store` returns None while there is no database; `interval_s_of` how often a market's funding is settled;
        `tell` hears (venue, sentence) of every question that failed."""
        self._venue = venue
        self._recorder = recorder
        self._sink = sink
        self._store = store
        self._clock = clock
        self._interval_s_of = interval_s_of
        self._pause_s = pause_s
        self._depth = depth
        self._funding_ns = funding_days * DAY * SECOND_NS
        self._work: dict[Series, _Work] = {}
        self._tell = tell
        self.counts = Counts()
        self.name = venue.name

    async def run(self) -> None:
        """Look for what is missing and ask for it, until canceled."""
        wait_s = RETRY_FIRST_S
        while True:
            try:
                asked = await self.step()
                wait_s = RETRY_FIRST_S
            except (VenueError, DomainError) as error:
                self.counts.failed += 1
                self._tell(self.name, str(error))
                await self._clock.sleep(wait_s)
                wait_s = min(wait_s * 2, RETRY_MAX_S)
                continue
            await self._clock.sleep(self._pause_s if asked else LOOK_S)

    async def step(self) -> bool:
        """Ask the venue one question, the most urgent one; False when there is none."""
        now_ns = self._clock.time_ns()
        if self._is_busy():
            return False
        series = [(key, ladder) for key, ladder in self._recorder.ladders.items() if key[1] == self._venue.name]
        series.sort(key=lambda one: not self._recorder.records(one[0][0]))  # what is only watched comes after
        for key, ladder in series:
            if ladder.held:
                await self._restore(key, ladder, now_ns)
        for key, ladder in series:
            gap = ladder.gap(now_ns)
            if gap is not None:
                await self._repair(key, ladder, gap)
                return True
        recorded = [key for key, _ in series if self._recorder.records(key[0])]
        for key in recorded:
            if await self._ask_funding(key, now_ns):
                return True
        for key in recorded:
            if await self._ask_older(key, now_ns):
                return True
        return False

    def _is_busy(self) -> bool:
        """Return whether so much of the venue's REST budget is used that the rest is for books and audits."""
        return any(
            one.used > one.allowed * BUDGET_SHARE for one in self._venue.status().limits if one.name.startswith("rest_")
        )

    async def _restore(self, key: Series, ladder: Ladder, now_ns: int) -> None:
        """Find out from the database where the candles of a series stand, and begin from there."""
        work = self._work.setdefault(key, _Work(self._clock.monotonic()))
        today_ns = start_of(now_ns, DAY)
        store = self._store() if self._recorder.records(key[0]) else None
        if store is None:
            waited_s = self._clock.monotonic() - work.since_s
            if not self._recorder.records(key[0]) or waited_s > STORE_PATIENCE_S:
                ladder.begin(today_ns)
            return
        market, venue = key
        known = await store.span_of_candles(market, venue)
        _, last_ns = known.get(MINUTE, (0, 0))
        settled_ns = last_ns + MINUTE_NS
        begin_ns = start_of(settled_ns, DAY) if settled_ns > now_ns - REACH_NS else today_ns
        rows: list[Candle] = []
        at_ns = min(settled_ns, now_ns)
        while at_ns > begin_ns:
            page = (await store.candles(market, MINUTE, [venue], begin_ns, at_ns, PAGE)).rows
            rows += page
            at_ns = page[-1].open_ns if len(page) == PAGE else begin_ns
        ladder.begin(begin_ns)
        if settled_ns > begin_ns:
            self._recorder.close(ladder.fill(begin_ns, settled_ns, rows))
        work.spans = list(self._spans(known, begin_ns, now_ns))

    def _spans(self, known: dict[int, tuple[int, int]], begin_ns: int, now_ns: int) -> Iterable[tuple[int, int, int]]:
        """Yield the older candles that the database lacks, in pages, those of the shortest length first."""
        for interval_s in LADDER:
            length_ns = interval_s * SECOND_NS
            target_ns = start_of(now_ns - self._depth * length_ns, interval_s)
            end_ns = start_of(begin_ns, interval_s)
            first_ns, last_ns = known.get(interval_s, (end_ns, end_ns))
            for start_ns, stop_ns in ((last_ns + length_ns, end_ns), (target_ns, min(first_ns, end_ns))):
                at_ns = stop_ns
                while at_ns > start_ns:
                    page_ns = max(start_ns, at_ns - PAGE * length_ns)
                    yield interval_s, page_ns, at_ns
                    at_ns = page_ns

    async def _repair(self, key: Series, ladder: Ladder, gap: tuple[int, int]) -> None:
        start_ns, end_ns = gap[0], min(gap[1], gap[0] + PAGE * MINUTE_NS)
        candles = await self._candles(key, MINUTE, start_ns, end_ns)
        self._recorder.close(ladder.fill(start_ns, end_ns, candles))

    async def _ask_older(self, key: Series, now_ns: int) -> bool:
        work = self._work.setdefault(key, _Work(self._clock.monotonic()))
        if work.spans is None:
            store = self._store()
            ladder = self._recorder.ladders.get(key)
            if store is None or ladder is None or ladder.held:
                return False
            known = await store.span_of_candles(*key)
            work.spans = list(self._spans(known, start_of(ladder.settled_ns, DAY), now_ns))
        if not work.spans:
            return False
        interval_s, start_ns, end_ns = work.spans[0]
        self._sink.candles(await self._candles(key, interval_s, start_ns, end_ns))
        del work.spans[0]
        return True

    async def _ask_funding(self, key: Series, now_ns: int) -> bool:
        work = self._work.setdefault(key, _Work(self._clock.monotonic()))
        if work.funding_ns is None:
            store = self._store()
            if store is None:
                return False
            work.funding_ns = max(await store.last_funding(*key) + 1, now_ns - self._funding_ns)
        due_ns = start_of(now_ns - FUNDING_DELAY_NS, 3_600) + HOUR_NS // 2
        if work.funding_ns > due_ns - HOUR_NS or now_ns - work.funding_tried_ns < FUNDING_DELAY_NS:
            return False
        work.funding_tried_ns = now_ns
        start_ns, end_ns = work.funding_ns, min(due_ns, work.funding_ns + PAGE * HOUR_NS)
        market, venue = key
        points = await self._venue.fetch_fundings(market, start_ns, end_ns)
        interval_s = self._interval_s_of(market, venue)
        self._sink.fundings(
            FundingPoint(market, venue, one.settle_time_ns, one.rate, interval_s, one.premium) for one in points
        )
        self.counts.funding += len(points)
        if points:
            work.funding_ns = points[-1].settle_time_ns + 1
            work.funding_tried_ns = 0
        elif end_ns < due_ns:
            work.funding_ns = end_ns
            work.funding_tried_ns = 0
        return True

    async def _candles(self, key: Series, interval_s: int, start_ns: int, end_ns: int) -> list[Candle]:
        market, venue = key
        found = await self._venue.fetch_candles(market, interval_s, start_ns, end_ns)
        self.counts.candles += len(found)
        return [_candle(market, venue, interval_s, one) for one in found]


def _candle(market: str, venue: str, interval_s: int, past: PastCandle) -> Candle:
    return Candle(
        market=market,
        venue=venue,
        interval_s=interval_s,
        open_ns=past.open_time_ns,
        open=past.open,
        high=past.high,
        low=past.low,
        close=past.close,
        volume=past.volume,
        quote_volume=past.quote_volume,
        trade_count=past.trade_count or 0,
        first_ns=past.open_time_ns,
        last_ns=past.open_time_ns + interval_s * SECOND_NS - 1,
        closed=True,
        repaired=True,
    )
