"""The past of a market as REST tells it.

Candles come as JSON numbers, some computed in floating point by the venue: prices are rounded to the market's tick and
volumes to its lot, which loses nothing that was ever traded. How many trades there were is not said.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

from services.domain.decimals import rounding
from services.domain.feed import PastCandle, PastFunding
from services.venues.lighter.wire.messages import WireMarket
from services.venues.lighter.wire.numbers import WireError
from services.venues.lighter.wire.payloads import Settled
from services.venues.lighter.wire.shapes import WireCandle

_MS_NS: Final = 1_000_000
_SECOND_NS: Final = 1_000_000_000


def candles(rows: Sequence[WireCandle], market: WireMarket, start_ns: int, end_ns: int) -> list[PastCandle]:
    """Return those with trades that open in [start, end), oldest first."""
    prices, sizes = market.prices.decimals, market.sizes.decimals
    found = []
    for index, row in enumerate(rows):
        if not start_ns <= row.t * _MS_NS < end_ns or not row.v:
            continue
        if row.l <= 0:
            raise WireError(f"c[{index}].l", "a price of zero in a candle with trades")
        found.append(
            PastCandle(
                open_time_ns=row.t * _MS_NS,
                open=_rounded(row.o, prices),
                high=_rounded(row.h, prices),
                low=_rounded(row.l, prices),
                close=_rounded(row.c, prices),
                volume=_rounded(row.v, sizes),
                quote_volume=_rounded(row.V, prices + sizes),
                trade_count=None,
            )
        )
    return sorted(found, key=lambda one: one.open_time_ns)


def fundings(rows: Iterable[Settled], start_ns: int, end_ns: int) -> list[PastFunding]:
    """Return those settled in [start, end), oldest first; the venue gives no premium."""
    found = [PastFunding(settle_time_ns=row.time_s * _SECOND_NS, rate=row.rate, premium=None) for row in rows]
    return sorted((one for one in found if start_ns <= one.settle_time_ns < end_ns), key=lambda one: one.settle_time_ns)


def _rounded(value: Decimal, decimals: int) -> Decimal:
    with rounding():
        return value.quantize(Decimal(1).scaleb(-decimals))
