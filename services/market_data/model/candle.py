"""Candles: what was traded in one interval, made from trades, and merged over time and over venues.

Three ways make a candle. Trades make one second and one minute (`Forming`). Longer ones are merged from their parts
(`merge_time`), so that a minute the venue's REST interface repaired is in its hour and day as well. The candle of all
venues is merged from the venues' (`merge_venues`). Every merge is exact, and the order in which trades arrive does not
matter: the first and last price are those of the earliest and latest trade by the venue's own time.

What a venue's REST candle does not say stays unknown: `quote_volume` is then None, and so is every sum with it in;
`trade_count` counts the trades that are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from services.domain.decimals import from_units

SECOND_NS: Final = 1_000_000_000
MINUTE_NS: Final = 60 * SECOND_NS
SECOND, MINUTE, DAY = 1, 60, 86_400
LADDER: Final = (MINUTE, 300, 900, 3_600, 14_400, DAY)
"""Lengths in seconds of the candles that are kept; each is a whole multiple of the one before."""
INTERVALS: Final = (SECOND, *LADDER)
"""Lengths in seconds of all candles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candle:
    """What was traded at one venue, or at all of them (`venue` empty), in one interval."""

    market: str
    venue: str
    interval_s: int
    open_ns: int
    """When it begins, inclusive; a whole multiple of the interval since the epoch."""
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    """In units of the base asset."""
    quote_volume: Decimal | None
    """In USD; None where the venue did not say."""
    trade_count: int
    first_ns: int
    """The venue's time of the trade that `open` is of; the begin of the interval where that is not known."""
    last_ns: int
    """The venue's time of the trade that `close` is of; the last instant of the interval where that is not known."""
    closed: bool
    repaired: bool = False
    """Whether a part of it came from the venue's REST interface and not from trades that were seen."""

    @property
    def close_ns(self) -> int:
        """When it ends, exclusive."""
        return self.open_ns + self.interval_s * SECOND_NS


class Forming:
    """The trades of one interval at one venue, in the listing's units."""

    __slots__ = ("base", "close", "count", "first_ns", "high", "last_ns", "low", "open", "quote")

    def __init__(self, price: int, size: int, time_ns: int) -> None:
        self.open = self.high = self.low = self.close = price
        self.base = size
        self.quote = price * size
        self.count = 1
        self.first_ns = self.last_ns = time_ns

    def add(self, price: int, size: int, time_ns: int) -> None:
        """Count a trade. Of trades at one time, the first to arrive is the earlier."""
        if time_ns < self.first_ns:
            self.first_ns, self.open = time_ns, price
        if time_ns >= self.last_ns:
            self.last_ns, self.close = time_ns, price
        if price > self.high:
            self.high = price
        if price < self.low:
            self.low = price
        self.base += size
        self.quote += price * size
        self.count += 1


@dataclass(frozen=True, slots=True)
class Scale:
    """Which listing's units a `Forming` is in."""

    market: str
    venue: str
    price_decimals: int
    size_decimals: int

    def candle(self, forming: Forming, interval_s: int, open_ns: int, *, closed: bool) -> Candle:
        """Return the candle of what was traded so far."""
        return Candle(
            market=self.market,
            venue=self.venue,
            interval_s=interval_s,
            open_ns=open_ns,
            open=from_units(forming.open, self.price_decimals),
            high=from_units(forming.high, self.price_decimals),
            low=from_units(forming.low, self.price_decimals),
            close=from_units(forming.close, self.price_decimals),
            volume=from_units(forming.base, self.size_decimals),
            quote_volume=from_units(forming.quote, self.price_decimals + self.size_decimals),
            trade_count=forming.count,
            first_ns=forming.first_ns,
            last_ns=forming.last_ns,
            closed=closed,
        )


def start_of(time_ns: int, interval_s: int) -> int:
    """Return when the interval that holds `time_ns` begins."""
    return time_ns - time_ns % (interval_s * SECOND_NS)


def merge_time(parts: Sequence[Candle], interval_s: int, *, closed: bool) -> Candle:
    """Return the candle of consecutive `parts` of one venue, in order of time; at least one."""
    first, last = parts[0], parts[-1]
    spread = replace(first, interval_s=interval_s, open_ns=start_of(first.open_ns, interval_s))
    return replace(_summed(spread, parts), close=last.close, last_ns=last.last_ns, closed=closed)


def merge_venues(candles: Sequence[Candle]) -> Candle:
    """Return the candle of all venues together, of one market, interval and begin; at least one.

    The open is of the venue that traded first, the close of the one that traded last; of two at one time, the first by
    name opens and the last by name closes. It is closed when all of them are.
    """
    ordered = sorted(candles, key=lambda one: one.venue)
    first = min(ordered, key=lambda one: one.first_ns)
    last = max(reversed(ordered), key=lambda one: one.last_ns)
    return replace(
        _summed(first, ordered),
        venue="",
        close=last.close,
        last_ns=last.last_ns,
        closed=all(one.closed for one in ordered),
    )


def _summed(one: Candle, parts: Sequence[Candle]) -> Candle:
    """Return `one` with the extremes and sums of `parts`."""
    quote: Decimal | None = Decimal(0)
    for part in parts:
        quote = None if quote is None or part.quote_volume is None else quote + part.quote_volume
    return replace(
        one,
        high=max(part.high for part in parts),
        low=min(part.low for part in parts),
        volume=sum((part.volume for part in parts), Decimal(0)),
        quote_volume=quote,
        trade_count=sum(part.trade_count for part in parts),
        repaired=any(part.repaired for part in parts),
    )
