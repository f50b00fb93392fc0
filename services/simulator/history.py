"""Prices before the simulator started, and the bars that grow once it runs.

The past is made on demand and is a pure function of seed, asset and start: a random walk backwards over whole hours,
filled in by minutes, so that bars of every interval agree with each other. It reaches back `HISTORY_HOURS`.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from services.simulator.chance import seeded

HOUR_MS = 3_600_000
MINUTE_MS = 60_000
HISTORY_HOURS = 720
LIVE_MINUTES_MAX = 2 * 24 * 60
"""Minute bars kept since the start; older ones are forgotten (two days)."""

INTERVALS_MS: dict[str, int] = {
    "1m": MINUTE_MS, "3m": 3 * MINUTE_MS, "5m": 5 * MINUTE_MS, "15m": 15 * MINUTE_MS, "30m": 30 * MINUTE_MS,
    "1h": HOUR_MS, "2h": 2 * HOUR_MS, "4h": 4 * HOUR_MS, "8h": 8 * HOUR_MS, "12h": 12 * HOUR_MS,
    "1d": 24 * HOUR_MS, "3d": 72 * HOUR_MS, "1w": 168 * HOUR_MS, "1M": 720 * HOUR_MS,
}  # fmt: skip
"""Bar lengths; a month counts as thirty days here."""


@dataclass(slots=True)
class Bar:
    """One bar in scaled integers: prices, base volume, quote volume (price times size), trades, last trade id."""

    start_ms: int
    open: int
    high: int
    low: int
    close: int
    base: int
    quote: int
    trades: int
    last_id: int = 0

    def add(self, price: int, size: int, trade_id: int) -> None:
        """Count a trade."""
        self.high = max(self.high, price)
        self.low = min(self.low, price)
        self.close = price
        self.base += size
        self.quote += price * size
        self.trades += 1
        self.last_id = trade_id

    def merge(self, later: Bar) -> None:
        """Append a later bar to this one."""
        self.high = max(self.high, later.high)
        self.low = min(self.low, later.low)
        self.close = later.close
        self.base += later.base
        self.quote += later.quote
        self.trades += later.trades
        self.last_id = later.last_id or self.last_id


class Past:
    """The reference price of one asset before `start_ms`, in dollars."""

    def __init__(self, seed: str, price: float, daily_volatility: float, start_ms: int) -> None:
        self._seed = seed
        self._start_hour = start_ms // HOUR_MS
        self._hourly = daily_volatility / math.sqrt(24)
        self._rng = seeded(f"{seed}:hours")
        self._logs = [math.log(price)]

    def at_hour(self, hour: int) -> float:
        """Return the price at the beginning of an hour since 1970; the start's own price for later hours."""
        back = max(0, min(HISTORY_HOURS, self._start_hour - hour + 1))
        while len(self._logs) <= back:
            self._logs.append(self._logs[-1] + self._rng.gauss(0.0, self._hourly))
        return math.exp(self._logs[back])

    def minutes(self, hour: int) -> list[float]:
        """Return 61 prices: the hour's beginning, the ends of its minutes 1 to 60."""
        begin, end = math.log(self.at_hour(hour)), math.log(self.at_hour(hour + 1))
        rng = seeded(f"{self._seed}:{hour}")
        steps = [rng.gauss(0.0, self._hourly / math.sqrt(60)) for _ in range(60)]
        drift = (end - begin - sum(steps)) / 60
        prices, log = [begin], begin
        for step in steps:
            log += step + drift
            prices.append(log)
        return [math.exp(value) for value in prices]


class Bars:
    """All bars of one market on one venue."""

    def __init__(
        self,
        past: Past,
        seed: str,
        *,
        start_ms: int,
        price_scale: int,
        tick: int,
        hourly_base: int,
        listed: bool = True,
    ) -> None:
        """`price_scale` turns dollars into price units; `hourly_base` is the usual hourly volume in size units."""
        self._past = past
        self._seed = seed
        self._start_ms = start_ms
        self._scale = price_scale
        self._tick = tick
        self._hourly_base = hourly_base
        self._listed = listed
        self._minutes: deque[Bar] = deque(maxlen=LIVE_MINUTES_MAX)
        self._hours: dict[int, Bar] = {}
        self._tracked: dict[str, Bar] = {}

    def add(self, time_ms: int, price: int, size: int, trade_id: int) -> None:
        """Count a live trade."""
        minute = time_ms - time_ms % MINUTE_MS
        if not self._minutes or self._minutes[-1].start_ms != minute:
            self._minutes.append(Bar(minute, price, price, price, price, 0, 0, 0))
        self._minutes[-1].add(price, size, trade_id)
        for interval, bar in self._tracked.items():
            length = INTERVALS_MS[interval]
            start = time_ms - time_ms % length
            if bar.start_ms != start:
                bar = self._tracked[interval] = Bar(start, price, price, price, price, 0, 0, 0)
            bar.add(price, size, trade_id)

    def current(self, interval: str, now_ms: int) -> Bar | None:
        """Return the bar that is forming, or the last one that formed; None when nothing ever traded."""
        if interval not in self._tracked:
            bars = self.between(interval, now_ms - 2 * INTERVALS_MS[interval], now_ms, 2)
            if not bars:
                return None
            self._tracked[interval] = bars[-1]
        return self._tracked[interval]

    def between(self, interval: str, start_ms: int, end_ms: int, limit: int) -> list[Bar]:
        """Return the newest `limit` bars that begin in [start_ms, end_ms], oldest first."""
        length = INTERVALS_MS[interval]
        first = max(start_ms - start_ms % length, end_ms - end_ms % length - (limit - 1) * length)
        found: list[Bar] = []
        for piece in self._pieces(first, min(end_ms - end_ms % length + length, self._now_end()), length):
            start = piece.start_ms - piece.start_ms % length
            if found and found[-1].start_ms == start:
                found[-1].merge(piece)
            else:
                found.append(Bar(start, piece.open, piece.high, piece.low, piece.close, piece.base, piece.quote,
                                 piece.trades, piece.last_id))  # fmt: skip
        return [bar for bar in found if bar.start_ms >= start_ms - length][-limit:]

    def _now_end(self) -> int:
        newest = self._minutes[-1].start_ms if self._minutes else self._start_ms - self._start_ms % MINUTE_MS
        return newest + MINUTE_MS

    def _pieces(self, first_ms: int, end_ms: int, length: int) -> list[Bar]:
        """Return minute bars (whole hours where the bars wanted are that long) of a span, oldest first."""
        pieces: list[Bar] = []
        if self._listed and first_ms < self._start_ms:
            oldest = self._start_ms // HOUR_MS - HISTORY_HOURS
            for hour in range(max(oldest, first_ms // HOUR_MS), self._start_ms // HOUR_MS + 1):
                if length >= HOUR_MS and (hour + 1) * HOUR_MS <= self._start_ms:
                    pieces.append(self._hour(hour))
                else:
                    pieces += self._past_minutes(hour)
        pieces += self._minutes
        return [bar for bar in pieces if first_ms <= bar.start_ms < end_ms]

    def _hour(self, hour: int) -> Bar:
        if hour not in self._hours:
            minutes = self._past_minutes(hour)
            whole = minutes[0]
            for minute in minutes[1:]:
                whole.merge(minute)
            self._hours[hour] = whole
        return self._hours[hour]

    def _past_minutes(self, hour: int) -> list[Bar]:
        rng = seeded(f"{self._seed}:{hour}")
        prices = [self._snap(price) for price in self._past.minutes(hour)]
        bars: list[Bar] = []
        for index in range(60):
            start = hour * HOUR_MS + index * MINUTE_MS
            if start > self._start_ms:
                break
            opened, closed = prices[index], prices[index + 1]
            wick = self._snap(abs(closed - opened) * rng.random() / self._scale)
            base = max(1, int(self._hourly_base / 60 * rng.lognormvariate(-0.3, 0.8)))
            high, low = max(opened, closed) + wick, max(self._tick, min(opened, closed) - wick)
            quote = base * (opened + closed) // 2
            bars.append(Bar(start, opened, high, low, closed, base, quote, 1 + rng.randrange(80)))
        return bars

    def _snap(self, price: float) -> int:
        units = int(price * self._scale)
        return units - units % self._tick
