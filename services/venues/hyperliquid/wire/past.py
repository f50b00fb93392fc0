"""The past of a coin as REST tells it: candles and settled funding, exactly. Nothing else is known of a candle."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from services.domain.feed import PastCandle, PastFunding
from services.venues.hyperliquid.wire.frames import RawCandle
from services.venues.hyperliquid.wire.info import RawFunding
from services.venues.hyperliquid.wire.values import WireError, amount_of, decimal_of

_MS_NS: Final = 1_000_000


def candle(raw: RawCandle, symbol: str) -> PastCandle:
    """Return a candle; the venue does not say what was traded in USD."""
    if raw.s != symbol:
        raise WireError("s", f"{raw.s!r:.80} was answered, {symbol!r} asked", coin=symbol)
    opened, high, low, close = (
        amount_of(text, name, coin=symbol) for name, text in (("o", raw.o), ("h", raw.h), ("l", raw.l), ("c", raw.c))
    )
    if not 0 < low <= min(opened, close) <= max(opened, close) <= high:
        raise WireError("h", "the high is not the highest or the low not the lowest", coin=symbol)
    return PastCandle(
        open_time_ns=raw.t * _MS_NS,
        open=opened,
        high=high,
        low=low,
        close=close,
        volume=amount_of(raw.v, "v", coin=symbol),
        quote_volume=None,
        trade_count=raw.n,
    )


def between(candles: Iterable[PastCandle], start_ns: int, end_ns: int) -> list[PastCandle]:
    """Return those with trades that open in [start, end), oldest first."""
    found = (one for one in candles if start_ns <= one.open_time_ns < end_ns and one.volume)
    return sorted(found, key=lambda one: one.open_time_ns)


def funding(raw: RawFunding, symbol: str) -> PastFunding:
    """Return a settled rate, a fraction per hour; its time is a few milliseconds after the hour."""
    if raw.coin != symbol:
        raise WireError("coin", f"{raw.coin!r:.80} was answered, {symbol!r} asked", coin=symbol)
    return PastFunding(
        settle_time_ns=raw.time * _MS_NS,
        rate=decimal_of(raw.fundingRate, "fundingRate", coin=symbol),
        premium=None if raw.premium is None else decimal_of(raw.premium, "premium", coin=symbol),
    )
