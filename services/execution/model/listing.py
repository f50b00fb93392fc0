"""What a venue demands of orders in a market, as market_data lists it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

from services.domain.decimals import rounding
from services.domain.market import HYPERLIQUID
from services.execution.model.quoted import Rates

MINIMUM_WAIVED: Final = frozenset({HYPERLIQUID})
"""Venues that waive the smallest notional for orders that only reduce."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One market at one venue."""

    rates: Rates
    """What it charges the public."""
    lot: Decimal
    tick: Decimal
    """The smallest step of prices; where significant figures count too, the venue's own rounding says more."""
    min_size: Decimal
    min_notional: Decimal
    """In USD."""
    max_leverage: int

    def smallest(self, venue: str, price: Decimal, *, reduce_only: bool) -> Decimal:
        """Return the smallest size at a price, rounded up to the lot."""
        worth = Decimal(0) if reduce_only and venue in MINIMUM_WAIVED else self.min_notional
        with rounding():
            lots = (max(self.min_size, worth / price, self.lot) / self.lot).to_integral_value(rounding=ROUND_CEILING)
            return lots * self.lot

    def rounded_down(self, size: Decimal) -> Decimal:
        """Return the largest size on the lot that is not more."""
        with rounding():
            return (size / self.lot).to_integral_value(rounding=ROUND_FLOOR) * self.lot
