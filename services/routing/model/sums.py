"""Sums over legs, rounded where they are told."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from services.domain.decimals import rounding
from services.routing.model.plan import PlanLeg
from services.routing.model.reach import BPS

BPS_DECIMALS: Final = 6


def bps(amount: Decimal, notional: Decimal) -> Decimal:
    """Return an amount in basis points of a notional, rounded half to even."""
    with rounding():
        places = Decimal(1).scaleb(-BPS_DECIMALS)
        return (amount * BPS / notional).quantize(places, rounding=ROUND_HALF_EVEN) if notional else Decimal(0)


def mean_price(legs: Sequence[PlanLeg], price_decimals: int) -> Decimal:
    """Return the average price over all legs, rounded half to even eight decimals beyond the market's."""
    with rounding():
        size = sum((leg.size for leg in legs), Decimal(0))
        money = sum((leg.average_price * leg.size for leg in legs), Decimal(0))
        return (money / size).quantize(Decimal(1).scaleb(-price_decimals - 8), rounding=ROUND_HALF_EVEN)
