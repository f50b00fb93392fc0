"""The candles of one market at one venue, from one second to one day, with no hole and no double.

Minutes are *settled* one after the other; everything longer is merged from settled parts. A minute settles from trades
only where the feed is known to have brought all of them: it was covered from before the minute began, and gave a sign
of life after the minute's end. Any other minute (before the feed began, or around trades that were missed) waits until
the venue's REST interface says what was traded in it (`gap`, `fill`). So a minute is settled once and from one source.

One second is made from trades alone, since no venue's REST interface has it.

Times: trades carry the venue's; coverage and signs of life are in ours. `GRACE_NS` is for the difference of the two and
for trades under way.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from services.market_data.model.candle import (
    DAY,
    LADDER,
    MINUTE,
    MINUTE_NS,
    SECOND,
    SECOND_NS,
    Candle,
    Forming,
    Scale,
    merge_time,
    start_of,
)

GRACE_NS: Final = 2 * SECOND_NS
"""How long after its end a candle takes trades; later ones are counted and are in no candle."""
RESUME_NS: Final = 3 * SECOND_NS
"""How long after a cut nothing settles: the venue repeats its recent trades, or the feed says that some are lost."""
FILL_DELAY_NS: Final = 5 * SECOND_NS
"""How long after its end a minute is asked of the venue's REST interface."""
MINUTES_WAITING_MAX: Final = 1_440
"""How many minutes of trades wait for a repair; the oldest go first and are then repaired as well."""


class Ladder:
    """Pure: takes trades, signs of life and repairs; returns the candles that are closed by them."""

    __slots__ = ("_alive", "_covered_ns", "_parts", "_resumed_ns", "_seconds", "_seconds_settled_ns", "_watermark_ns",
                 "changed", "held", "late", "minutes", "scale", "settled_ns")  # fmt: skip

    def __init__(self, scale: Scale) -> None:
        self.scale = scale
        self.settled_ns = 0
        """Every minute before this is settled."""
        self.minutes: dict[int, Forming] = {}
        self.late = 0
        """Trades that came after their candle was closed."""
        self.held = True
        """Whether nothing settles yet, since it is not known from where on."""
        self.changed = False
        """Whether a trade came since this was last set to False."""
        self._seconds: dict[int, Forming] = {}
        self._seconds_settled_ns = 0
        self._parts: dict[int, list[Candle]] = {interval_s: [] for interval_s in LADDER[1:]}
        self._covered_ns: int | None = None
        self._watermark_ns = 0
        self._resumed_ns = 0
        self._alive = False

    def trade(self, price: int, size: int, time_ns: int) -> None:
        """Count a trade that was not counted before."""
        minute = time_ns - time_ns % MINUTE_NS
        if minute < self.settled_ns:
            self.late += 1
        else:
            forming = self.minutes.get(minute)
            if forming is None:
                self.minutes[minute] = Forming(price, size, time_ns)
            else:
                forming.add(price, size, time_ns)
            self.changed = True
        second = time_ns - time_ns % SECOND_NS
        if second >= self._seconds_settled_ns:
            part = self._seconds.get(second)
            if part is None:
                self._seconds[second] = Forming(price, size, time_ns)
            else:
                part.add(price, size, time_ns)

    def begin(self, settled_ns: int) -> None:
        """Say from which whole day on minutes are to be settled; until then trades are only collected."""
        self.settled_ns = start_of(settled_ns, DAY)
        self.held = False

    def is_settled(self, interval_s: int, open_ns: int) -> bool:
        """Return whether the candle of a length that opens at `open_ns` cannot change any more."""
        settled_ns = self._seconds_settled_ns if interval_s == SECOND else self.settled_ns
        return open_ns + interval_s * SECOND_NS <= settled_ns

    @property
    def evidence_ns(self) -> int:
        """The feed's last sign of life while its trades were fed; 0 before the first."""
        return self._watermark_ns

    def lose(self) -> None:
        """Trades were missed: nothing settles from trades until the feed covers a whole minute again."""
        self._covered_ns = None

    def advance(self, now_ns: int, evidence_ns: int, *, alive: bool) -> list[Candle]:
        """Take how the feed stands, and return what closes by it, in order of time within each length.

        `alive`: whether trades are subscribed and the feed is LIVE. `evidence_ns`: its last sign of life.
        """
        if alive:
            if not self._alive:
                self._resumed_ns = now_ns
            if self._covered_ns is None:
                self._covered_ns = now_ns
            self._watermark_ns = max(self._watermark_ns, evidence_ns)
        self._alive = alive
        closed = self._close_seconds()
        if self.held or not alive or now_ns - self._resumed_ns < RESUME_NS:
            return closed
        covered_ns = self._covered_minute()
        while covered_ns is not None and covered_ns <= self.settled_ns:
            if self._watermark_ns < self.settled_ns + MINUTE_NS + GRACE_NS:
                break
            closed += self._settle(self._minute_candle(self.settled_ns, closed=True))
        return closed

    def gap(self, now_ns: int) -> tuple[int, int] | None:
        """Return the minutes [start, end) that only the venue's REST interface can say now, or None."""
        if self.held:
            return None
        covered_ns = self._covered_minute()
        over_ns = start_of(now_ns - FILL_DELAY_NS, MINUTE)
        end_ns = over_ns if covered_ns is None else min(covered_ns, over_ns)
        return (self.settled_ns, end_ns) if end_ns > self.settled_ns else None

    def fill(self, start_ns: int, end_ns: int, candles: Iterable[Candle]) -> list[Candle]:
        """Settle [start, end) by the venue's own closed minutes, and return what closes by it.

        A minute that the venue does not name had no trades, unless some were seen. An answer to an older question
        (`start_ns` is not where this stands) changes nothing.
        """
        if start_ns != self.settled_ns:
            return []
        said = {candle.open_ns: candle for candle in candles}
        closed: list[Candle] = []
        while self.settled_ns < end_ns:
            minute_ns = self.settled_ns
            candle = said.get(minute_ns)
            if candle is None:
                candle = self._minute_candle(minute_ns, closed=True)
            else:
                self.minutes.pop(minute_ns, None)
            closed += self._settle(candle)
        self.changed = True
        return closed

    def forming(self, interval_s: int) -> Candle | None:
        """Return the newest candle of a length as it stands, not closed; None when nothing was traded in it yet."""
        if interval_s == SECOND:
            if not self._seconds:
                return None
            open_ns = max(self._seconds)
            return self.scale.candle(self._seconds[open_ns], SECOND, open_ns, closed=False)
        if not self.minutes:
            return None
        newest_ns = max(self.minutes)
        start_ns = start_of(newest_ns, interval_s)
        parts = [
            part
            for length in reversed(LADDER[1:])
            if length <= interval_s
            for part in self._parts[length]
            if part.open_ns >= start_ns
        ]
        parts += [
            self.scale.candle(self.minutes[open_ns], MINUTE, open_ns, closed=False)
            for open_ns in sorted(self.minutes)
            if open_ns >= start_ns
        ]
        return merge_time(parts, interval_s, closed=False)

    def _covered_minute(self) -> int | None:
        """Return the first minute that is covered from its begin."""
        if len(self.minutes) > MINUTES_WAITING_MAX:
            oldest_ns = min(self.minutes)
            del self.minutes[oldest_ns]
            if self._covered_ns is not None:
                self._covered_ns = max(self._covered_ns, oldest_ns + MINUTE_NS)
        return None if self._covered_ns is None else start_of(self._covered_ns + MINUTE_NS - 1, MINUTE)

    def _minute_candle(self, open_ns: int, *, closed: bool) -> Candle | None:
        forming = self.minutes.pop(open_ns, None)
        return None if forming is None else self.scale.candle(forming, MINUTE, open_ns, closed=closed)

    def _settle(self, minute: Candle | None) -> list[Candle]:
        """Settle the next minute, and every longer candle that ends with it."""
        self.settled_ns += MINUTE_NS
        closed = [] if minute is None else [minute]
        part = minute
        for interval_s in LADDER[1:]:
            parts = self._parts[interval_s]
            if part is not None:
                parts.append(part)
            if self.settled_ns % (interval_s * SECOND_NS):
                break
            part = merge_time(parts, interval_s, closed=True) if parts else None
            parts.clear()
            if part is not None:
                closed.append(part)
        return closed

    def _close_seconds(self) -> list[Candle]:
        over_ns = start_of(max(0, self._watermark_ns - GRACE_NS), SECOND)
        if over_ns <= self._seconds_settled_ns:
            return []
        self._seconds_settled_ns = over_ns
        due = sorted(open_ns for open_ns in self._seconds if open_ns < over_ns)
        return [self.scale.candle(self._seconds.pop(open_ns), SECOND, open_ns, closed=True) for open_ns in due]
