"""Sums over legs, rounded where they are told."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from services.domain.decimals import ROUNDING, quotient, rounding
from services.routing.model.inputs import ZERO
from services.routing.model.plan import PlanLeg
from services.routing.model.reach import BPS

BPS_DECIMALS: Final = 6


def bps(amount: Decimal, notional: Decimal) -> Decimal:
    """Return an amount in basis points of a notional, rounded half to even."""
    return quotient(ROUNDING.multiply(amount, BPS), notional, BPS_DECIMALS) if notional else ZERO


def mean_price(legs: Sequence[PlanLeg], price_decimals: int) -> Decimal:
    """Return the average price over all legs, rounded half to even eight decimals beyond the market's."""
    if len(legs) == 1:
        return legs[0].average_price
    with rounding():
        size = sum((leg.size for leg in legs), ZERO)
        money = sum((leg.average_price * leg.size for leg in legs), ZERO)
    return quotient(money, size, price_decimals + 8)
