"""What callers may ask of the past: the database, and in front of it what memory has that the database may not yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from services.domain.errors import DomainError, Reason
from services.market_data.app.recorder import Recorder, recorded
from services.market_data.app.view import View
from services.market_data.model.candle import SECOND_NS, Candle
from services.market_data.model.history import FundingPoint, PriceSample, RecordedTrade
from services.market_data.model.market import Market
from services.market_data.ports import Answer, HistoryStore

FIRST: Final = "~"
"""Stands after every venue's name: the place before the first row of a page that has no earlier one."""

REORDERED_MAX: Final = 64
"""By how many places a trade may arrive out of the order of time: venues repeat the last 50 after a cut."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of the past, newest first, whether there is more, and how old the answer may be."""

    rows: list[T]
    is_last: bool
    age_s: float = 0.0


class Archive:
    """The room's questions to the past, and their answers. Each raises `DomainError` while there is no database."""

    def __init__(self, view: View, recorder: Recorder, store: Callable[[], HistoryStore | None]) -> None:
        self._view = view
        self._recorder = recorder
        self._find_store = store

    async def candles(
        self, market: Market, interval_s: int, venue: str, *, start_ns: int, end_ns: int, size: int
    ) -> Page[Candle]:
        """Return the newest `size` candles that open in [start, end), of one venue or (empty) of all together."""
        venues = [venue] if venue else list(market.venues)
        groups: dict[int, dict[str, Candle]] = {}
        for name in venues:
            for candle in self._recorder.kept(market.name, name, interval_s):
                if start_ns <= candle.open_ns < end_ns:
                    groups.setdefault(candle.open_ns, {})[name] = candle
        limit = (size + 1) * len(venues)
        answer = await self._store().candles(market.name, interval_s, venues, start_ns, end_ns, limit)
        for candle in answer.rows:
            groups.setdefault(candle.open_ns, {}).setdefault(candle.venue, candle)
        opens = sorted(groups, reverse=True)
        if len(answer.rows) == limit:  # the oldest may lack the candle of a venue
            opens = [open_ns for open_ns in opens if open_ns > answer.rows[-1].open_ns]
        shown = [self._join(market.name, venue, list(groups[open_ns].values())) for open_ns in opens[:size]]
        return Page(shown, len(opens) <= size and len(answer.rows) < limit, answer.age_s)

    def _join(self, market: str, venue: str, candles: Sequence[Candle]) -> Candle:
        return candles[0] if venue else self._recorder.joined(market, candles)

    async def prices(
        self, market: Market, venue: str, *, start_ns: int, before: tuple[int, str], size: int
    ) -> Page[PriceSample]:
        """Return the next `size` samples after `before` (time, venue)."""
        venues = [venue] if venue else list(market.venues)
        return _page(await self._store().prices(market.name, venues, start_ns, before, size + 1), size)

    async def fundings(
        self, market: Market, venues: frozenset[str], *, start_ns: int, before: tuple[int, str], size: int
    ) -> Page[FundingPoint]:
        """Return the next `size` settled rates after `before` (time, venue)."""
        names = sorted(venues or market.venues)
        return _page(await self._store().fundings(market.name, names, start_ns, before, size + 1), size)

    async def trades(
        self, market: Market, venues: frozenset[str], before: tuple[int, str, str] | None, size: int
    ) -> Page[RecordedTrade]:
        """Return the next `size` trades before (microseconds, venue, id), by the venue's time, newest first.

        What memory has answers without the database; where it is not enough, the database has the rest.
        """
        names = sorted(venues or market.venues)
        log = self._view.trade_log(market)
        found = {
            one.key: one
            for one in (recorded(market, numbered) for numbered in log.newest(len(log), venues=venues))
            if before is None or one.key < before
        }
        newest = sorted(found.values(), key=lambda one: one.key, reverse=True)
        if len(newest) > size + REORDERED_MAX or not self._recorder.records(market.name):
            return Page(newest[:size], is_last=len(newest) <= size)
        try:
            answer = await self._store().trades(market.name, names, before or (_FAR_US, "", ""), size + 1)
        except DomainError:
            if newest:  # the next page will ask the database again
                return Page(newest[:size], is_last=False)
            raise
        for one in answer.rows:
            found.setdefault(one.key, one)
        merged = sorted(found.values(), key=lambda one: one.key, reverse=True)
        return Page(merged[:size], is_last=len(merged) <= size, age_s=answer.age_s)

    def _store(self) -> HistoryStore:
        store = self._find_store()
        if store is None:
            raise DomainError(
                Reason.PEER_UNAVAILABLE,
                "history cannot be read now, since its database has not answered yet; prices and streams go on",
                metadata={"peer": "postgres"},
                retry_after_s=1.0,
            )
        return store


_FAR_US: Final = 4_102_444_800 * SECOND_NS // 1_000
"""The year 2100: later than any trade."""


def _page(answer: Answer[T], size: int) -> Page[T]:
    return Page(answer.rows[:size], len(answer.rows) <= size, answer.age_s)
