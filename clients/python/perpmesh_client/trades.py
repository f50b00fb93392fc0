"""Every trade exactly once: what a stream lost is fetched, and what comes twice is dropped.

Trades are numbered within their market, one more with every trade, so a hole shows in the next number even where no
message names it. A hole is filled from ListTrades before anything later is yielded. After a restart of the mesh the
numbering may begin anew; then the venues' own ids, unique within venue and market, tell what was seen before.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from typing import TYPE_CHECKING

from perpmesh_client.errors import PerpmeshError
from perpmesh_client.stream import Follow, Live, Restarted
from perpmesh_client.values.trade import Gap, Trade

if TYPE_CHECKING:
    from perpmesh.marketdata.v1 import market_data_service_pb2 as pb

CALL = "WatchTrades"
REMEMBERED_TRADES_MAX = 4_096
"""How many trades of each market are remembered by number and id; older ones are forgotten."""


class Place(Enum):
    """Where a trade stands among those yielded before."""

    NEXT = auto()
    """It follows the last one, or is the first of its market."""
    LATER = auto()
    """There is a hole before it."""
    SEEN = auto()
    """It was yielded before."""
    STRANGE = auto()
    """Its number was used for another trade: the numbering began anew."""


@dataclass(slots=True)
class _Yielded:
    """What was yielded of one market."""

    last: int = 0
    by_sequence: OrderedDict[int, tuple[str, str]] = field(default_factory=OrderedDict)
    ids: set[tuple[str, str]] = field(default_factory=set)
    latest: dict[str, datetime] = field(default_factory=dict)
    """The venue's time of the latest trade, by venue."""


class Ledger:
    """Which trades were yielded, for every market; bounded by `REMEMBERED_TRADES_MAX` for each. Does no I/O."""

    def __init__(self) -> None:
        """Begin with nothing yielded."""
        self._markets: dict[str, _Yielded] = {}

    @property
    def markets(self) -> tuple[str, ...]:
        """The markets of which a trade was yielded."""
        return tuple(self._markets)

    def last(self, market: str) -> int | None:
        """Return the number of the last trade yielded, or None if there was none."""
        yielded = self._markets.get(market)
        return yielded.last if yielded is not None else None

    def place(self, trade: Trade) -> Place:
        """Say where `trade` stands."""
        yielded = self._markets.get(trade.market)
        if yielded is None or trade.sequence == yielded.last + 1:
            return Place.NEXT
        if trade.sequence > yielded.last:
            return Place.LATER
        known = yielded.by_sequence.get(trade.sequence)
        return Place.SEEN if known is None or known == (trade.venue, trade.trade_id) else Place.STRANGE

    def is_last(self, trade: Trade) -> bool:
        """Say whether `trade` is the last one yielded of its market, by number and by id."""
        yielded = self._markets[trade.market]
        key = (trade.venue, trade.trade_id)
        return trade.sequence == yielded.last and yielded.by_sequence.get(trade.sequence) == key

    def is_new(self, trade: Trade) -> bool:
        """Say by id and time, whatever its number, whether `trade` was not yielded before."""
        yielded = self._markets[trade.market]
        if (trade.venue, trade.trade_id) in yielded.ids:
            return False
        latest = yielded.latest.get(trade.venue)
        return latest is None or trade.trade_time is None or trade.trade_time >= latest

    def renumber(self, market: str) -> None:
        """Forget the numbers of a market and keep the ids: its numbering begins anew."""
        yielded = self._markets[market]
        yielded.last = 0
        yielded.by_sequence = OrderedDict((-number, key) for number, key in enumerate(yielded.by_sequence.values(), 1))

    def add(self, trade: Trade) -> None:
        """Note that `trade` is yielded."""
        yielded = self._markets.setdefault(trade.market, _Yielded())
        key = (trade.venue, trade.trade_id)
        yielded.last = trade.sequence
        yielded.by_sequence[trade.sequence] = key
        yielded.ids.add(key)
        if trade.trade_time is not None:
            before = yielded.latest.get(trade.venue, trade.trade_time)
            yielded.latest[trade.venue] = max(before, trade.trade_time)
        if len(yielded.by_sequence) > REMEMBERED_TRADES_MAX:
            _, oldest = yielded.by_sequence.popitem(last=False)
            yielded.ids.discard(oldest)


Fetch = Callable[[str, int, int], Awaitable[tuple[Sequence[Trade], int]]]
"""Fetches the trades of a market from one sequence number to another, inclusive (zero: no bound), newest first, and the
lowest number that is still kept (zero: none is)."""


class TradeFiller:
    """Turns the messages of a WatchTrades stream into trades without holes, and the holes that remain into gaps."""

    def __init__(
        self,
        follow: Follow[pb.WatchTradesRequest, pb.WatchTradesResponse],
        fetch: Fetch,
        markets: Sequence[str],
    ) -> None:
        """Read `follow`; `markets` are those that were asked for by name."""
        self._follow = follow
        self._fetch = fetch
        self._asked = tuple(markets)
        self._ledger = Ledger()
        self._restarted: Gap | None = None
        """Why the stream began anew, until its live mark."""
        self._unsure: set[str] = set()
        """The markets not yet caught up since."""

    async def items(self) -> AsyncGenerator[Trade | Gap, None]:
        """Yield each trade once, in the order of its market, and a gap for every hole that could not be filled."""
        async with aclosing(self._follow.messages()) as messages:
            async for message in messages:
                if isinstance(message, Restarted):
                    self._restarted, self._follow.catching_up = message.gap, True
                    self._unsure = set(self._ledger.markets)
                elif isinstance(message, Live):
                    async for item in self._finish_restart():
                        yield item
                elif isinstance(message, Gap):
                    async for item in self._fill_stated(message):
                        yield item
                else:
                    async for item in self._take(Trade.from_proto(message.trade)):
                        yield item

    async def _finish_restart(self) -> AsyncIterator[Trade | Gap]:
        if self._restarted is None:
            return
        async for item in self._catch_up_all(self._restarted, self._unsure):
            yield item
        self._restarted, self._unsure, self._follow.catching_up = None, set(), False

    async def _take(self, trade: Trade) -> AsyncIterator[Trade | Gap]:
        if self._restarted is not None and trade.market in self._unsure:
            self._unsure.discard(trade.market)
            async for item in self._catch_up(trade.market, self._restarted):
                yield item
        place = self._ledger.place(trade)
        last = self._ledger.last(trade.market)
        if place is Place.LATER and last is not None:
            async for item in self._fill(trade.market, last + 1, trade.sequence - 1, "the next number shows it"):
                yield item
        elif place is Place.STRANGE:
            async for item in self._begin_anew(trade.market):
                yield item
            place = self._ledger.place(trade)
        if place is not Place.SEEN:
            yield self._note(trade)

    async def _fill_stated(self, gap: Gap) -> AsyncIterator[Trade | Gap]:
        """Fill a gap that the mesh states; one that lies with a venue's feed was never in the mesh."""
        last = self._ledger.last(gap.market)
        if gap.venue or (gap.market and last is None and not (gap.from_sequence and gap.to_sequence)):
            yield gap
        elif not gap.market:
            async for item in self._catch_up_all(gap, self._ledger.markets):
                yield item
        else:
            first = max(gap.from_sequence, last + 1) if last is not None else gap.from_sequence
            if not gap.to_sequence or first <= gap.to_sequence:
                async for item in self._fill(gap.market, first, gap.to_sequence, gap.message):
                    yield item

    async def _fill(self, market: str, first: int, last: int, why: str) -> AsyncIterator[Trade | Gap]:
        """Yield the trades `first` to `last`, and a gap for every number among them that is not to be had."""
        expected = first
        try:
            trades, _ = await self._fetch(market, first, last)
        except PerpmeshError as error:
            trades, why = (), f"{why}; fetching it failed: {error}"
        for trade in reversed(trades):
            if trade.sequence < expected:
                continue
            if trade.sequence > expected:
                yield _gap(market, expected, trade.sequence - 1, why)
            expected = trade.sequence + 1
            yield self._note(trade)
        if expected <= last:
            yield _gap(market, expected, last, why)

    async def _catch_up_all(self, cause: Gap, markets: Collection[str]) -> AsyncIterator[Trade | Gap]:
        """Fetch what the stream did not send of `markets`, and name those that leave nothing to go on from."""
        known = self._ledger.markets
        for market in tuple(markets):
            async for item in self._catch_up(market, cause):
                yield item
        unknown = [market for market in self._asked if market not in known]
        for market in unknown if self._asked else [""]:
            yield _gap(market, 0, 0, f"{cause.message} Nothing was received before to go on from.")

    async def _catch_up(self, market: str, cause: Gap) -> AsyncIterator[Trade | Gap]:
        last = self._ledger.last(market)
        assert last is not None, "only a market of which a trade was yielded can be caught up"
        try:
            trades, earliest = await self._fetch(market, last, 0)
        except PerpmeshError as error:
            yield _gap(market, last + 1, 0, f"{cause.message} Fetching what was missed failed: {error}")
            return
        oldest_first = list(reversed(trades))
        if oldest_first and self._ledger.is_last(oldest_first[0]):
            for trade in oldest_first[1:]:
                yield self._note(trade)
        elif earliest > last and all(map(self._ledger.is_new, oldest_first)):
            if earliest > last + 1:
                yield _gap(market, last + 1, earliest - 1, f"{cause.message} The mesh no longer keeps these.")
            for trade in oldest_first:
                yield self._note(trade)
        else:
            async for item in self._begin_anew(market):
                yield item

    async def _begin_anew(self, market: str) -> AsyncIterator[Trade | Gap]:
        """Go on in a new numbering: yield what is kept and was not yielded before, and say that more may be missing."""
        try:
            trades, _ = await self._fetch(market, 0, 0)
        except PerpmeshError as error:
            yield _gap(market, 0, 0, f"The mesh numbers its trades anew; fetching what was missed failed: {error}")
            return
        self._ledger.renumber(market)
        yield _gap(market, 0, 0, "The mesh numbers its trades anew: what it missed before that is not known.")
        for trade in reversed(trades):
            if self._ledger.is_new(trade):
                yield self._note(trade)
            else:
                self._ledger.add(trade)

    def _note(self, trade: Trade) -> Trade:
        self._ledger.add(trade)
        return trade


def _gap(market: str, first: int, last: int, why: str) -> Gap:
    return Gap(call=CALL, market=market, venue="", from_sequence=first, to_sequence=last, message=why)
