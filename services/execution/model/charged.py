"""Which fee rate a venue charged, told from the fees themselves: venues do not say it with a fill."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

from services.domain.decimals import rounding

UNIT: Final = Decimal("0.000001")
"""Both venues keep fees in millionths of a dollar, and cut or round the rest."""
RATE_DECIMALS_MAX: Final = 12


def charged_rate(pairs: Sequence[tuple[Decimal, Decimal]], quoted: Decimal) -> Decimal | None:
    """Return the rate behind fees, each a (notional, fee): the quoted one where it fits to the last digit.

    Else the shortest decimal that fits all of them, and None where none does (rates that changed between two fills).
    """
    if all(abs(fee - notional * quoted) < UNIT for notional, fee in pairs):
        return quoted
    with rounding():
        low = max((fee - UNIT) / notional for notional, fee in pairs)
        high = min((fee + UNIT) / notional for notional, fee in pairs)
        for decimals in range(RATE_DECIMALS_MAX + 1):
            places = Decimal(1).scaleb(-decimals)
            middle = (low + high) / 2
            for way in (ROUND_FLOOR, ROUND_CEILING):
                rate = middle.quantize(places, rounding=way)
                if low < rate < high:
                    return rate
    return None
