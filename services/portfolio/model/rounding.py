"""Where this room rounds: every function's name says what it does with the digits it cannot keep.

Sums are exact everywhere (80 digits, `Inexact` trapped). Two things divide: the share of a cost that a reduced position
gives up, which is rounded once and whose rest is what remains, so that nothing is lost or made; and what is shown.
"""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from typing import Final

from services.domain.decimals import plain_text, rounding

SHOWN_DECIMALS: Final = 18
"""Decimals that the contract carries."""
UNIT: Final = Decimal(1).scaleb(-SHOWN_DECIMALS)
ZERO: Final = Decimal(0)
_SHOWN_MAX: Final = Decimal(10) ** 18


def share_half_even(amount: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """Return `amount * part / whole` to 18 decimals, half to even. `whole` is not zero."""
    with rounding():
        return (amount * part / whole).quantize(UNIT, ROUND_HALF_EVEN)


def ratio_half_even(top: Decimal, bottom: Decimal) -> Decimal:
    """Return `top / bottom` to 18 decimals, half to even. `bottom` is not zero."""
    with rounding():
        return (top / bottom).quantize(UNIT, ROUND_HALF_EVEN)


def product_half_even(left: Decimal, right: Decimal) -> Decimal:
    """Return `left * right` to 18 decimals, half to even."""
    with rounding():
        return (left * right).quantize(UNIT, ROUND_HALF_EVEN)


def cut_to(value: Decimal, decimals: int) -> Decimal:
    """Return `value` cut toward zero to a number of decimals, as the venues print amounts."""
    with rounding():
        return value.quantize(Decimal(1).scaleb(-decimals), ROUND_DOWN)


def shown(value: Decimal) -> str:
    """Return `value` as the contract's text: plain, at most 18 decimals (half to even beyond), no trailing zeros."""
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -SHOWN_DECIMALS:
        with rounding():
            value = value.quantize(UNIT, ROUND_HALF_EVEN)
    return plain_text(value)


def fits(value: Decimal) -> bool:
    """Say whether the contract can carry `value`: at most 18 digits before the point."""
    return abs(value) < _SHOWN_MAX
