"""How much a market moves, from the mid prices seen: an exponentially weighted mean of squared returns over time.

Not money but a parameter, stated with the quote that uses it: it sets how long a quote lives and what latency and age
of a book are charged. Integers of parts in a billion, so that a replay sees the same number everywhere.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from services.domain.decimals import rounding

YEAR_NS: Final = 31_536_000 * 1_000_000_000
MEMORY_NS: Final = 60 * 1_000_000_000
"""The weight of a return is halved, roughly, after this long."""
STEP_NS: Final = 250_000_000
"""Returns over less are noise of the spread and are waited for."""
RETURNS_MIN: Final = 8
"""Fewer returns say nothing."""
_PART: Final = 1_000_000_000


class Volatility:
    """The estimate of one market."""

    __slots__ = ("_count", "_last", "_last_ns", "_time_ns", "_variance")

    def __init__(self) -> None:
        self._last: Decimal | None = None
        self._last_ns = 0
        self._variance = 0
        """Sum of squared returns, in parts of 10^-18, weighted."""
        self._time_ns = 0
        """The time they took, weighted alike."""
        self._count = 0

    def observe(self, mid: Decimal, now_ns: int) -> None:
        """Take a mid price."""
        if self._last is None or mid <= 0:
            self._last, self._last_ns = mid, now_ns
            return
        span_ns = now_ns - self._last_ns
        if span_ns < STEP_NS:
            return
        with rounding():
            part = int((mid - self._last).scaleb(9) / self._last)
        keep = max(0, MEMORY_NS - span_ns)
        self._variance = self._variance * keep // MEMORY_NS + part * part
        self._time_ns = self._time_ns * keep // MEMORY_NS + span_ns
        self._count += 1
        self._last, self._last_ns = mid, now_ns

    def yearly(self) -> Decimal:
        """Return the deviation of a year as a fraction with four decimals; zero before there are enough returns."""
        if self._count < RETURNS_MIN or not self._time_ns:
            return Decimal(0)
        with rounding():
            variance = Decimal(self._variance) / Decimal(_PART) ** 2 * Decimal(YEAR_NS) / Decimal(self._time_ns)
            return variance.sqrt().quantize(Decimal("0.0001"), rounding=ROUND_HALF_EVEN)
