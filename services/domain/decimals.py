"""Exact numbers in their two forms: scaled integers inside books and prices, `Decimal` where people read them.

Text from outside is accepted only as a plain finite decimal: no exponent, no sign where none makes sense, no `NaN`, no
digits beyond ASCII. What does not fit a scale exactly is refused, never rounded; rounding lives in `market.py`, in
functions whose names say the direction.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, InvalidOperation, localcontext
from typing import Final, NewType

Price = NewType("Price", Decimal)
"""A price in the quote asset (USD) per unit of the base asset."""
Size = NewType("Size", Decimal)
"""A quantity in units of the base asset."""
Usd = NewType("Usd", Decimal)
"""An amount of the quote asset."""
Rate = NewType("Rate", Decimal)
"""A fraction, such as a fee or a funding rate: 0.0001 is one basis point."""

DIGITS_MAX: Final = 36
"""The longest number of digits accepted on either side of the point together (contract: 18 and 18)."""

ROUNDING: Final = Context(prec=80, traps=[InvalidOperation, DivisionByZero])
"""The context of `rounding()`, for single operations."""
_PLAIN: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)


class DecimalError(ValueError):
    """A text that is not a plain finite decimal, or does not fit its scale exactly."""


def rounding() -> AbstractContextManager[Context]:
    """Return a decimal context in which results may be rounded, for functions whose names say how.

    Everywhere else the house traps `Inexact`, so that no digit is ever lost unseen.
    """
    return localcontext(ROUNDING)


def quotient(amount: Decimal, by: Decimal, decimals: int, rounding: str = ROUND_HALF_EVEN) -> Decimal:
    """Return `amount / by` with `decimals` decimals, rounded half to even or as `rounding` says.

    The same as dividing within `rounding()`, at a quarter of what entering it costs.
    """
    return ROUNDING.divide(amount, by).quantize(_STEPS[decimals], rounding, ROUNDING)


def parse_decimal(text: str) -> Decimal:
    """Return the plain decimal that `text` spells.

    Raises `DecimalError` for anything else: exponents, `NaN`, `Infinity`, spaces, underscores, more than `DIGITS_MAX`
    digits.
    """
    if not isinstance(text, str) or len(text) > DIGITS_MAX + 2 or _PLAIN.fullmatch(text) is None:
        raise DecimalError(f"{text!r:.60} is not a plain decimal such as 1 or -0.25")
    return Decimal(text)


def to_units(text: str, decimals: int) -> int:
    """Return the non-negative decimal `text` in units of 10 to the power of -`decimals`, exactly.

    Raises `DecimalError` when the text is no plain non-negative decimal or has digits beyond the scale.
    """
    whole, _, fraction = text.partition(".")
    if len(fraction) > decimals:
        if fraction.strip("0"):
            kept = fraction.rstrip("0")
            if len(kept) > decimals:
                raise DecimalError(f"{text!r:.60} has more than {decimals} decimals")
        fraction = fraction[:decimals]
    digits = whole + fraction
    if not (digits.isdecimal() and digits.isascii() and whole) or text[-1] == "." or len(digits) > DIGITS_MAX:
        raise DecimalError(f"{text!r:.60} is not a plain decimal of zero or more such as 0 or 0.25")
    return int(digits) * _POWERS[decimals - len(fraction)]


def from_units(units: int, decimals: int) -> Decimal:
    """Return `units` of 10 to the power of -`decimals` as a `Decimal`."""
    return Decimal(units).scaleb(-decimals)


def units_text(units: int, decimals: int) -> str:
    """Return `units` of 10 to the power of -`decimals` as plain text without trailing zeros, such as `0.25`."""
    if decimals == 0:
        return str(units)
    sign = "-" if units < 0 else ""
    digits = str(abs(units)).rjust(decimals + 1, "0")
    fraction = digits[-decimals:].rstrip("0")
    return f"{sign}{digits[:-decimals]}.{fraction}" if fraction else f"{sign}{digits[:-decimals]}"


def plain_text(value: Decimal) -> str:
    """Return `value` as plain text without exponent or trailing zeros."""
    text = str(value)
    if "E" in text:
        text = format(value, "f") if value else "0"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


_STEPS: Final = tuple(Decimal((0, (1,), -decimals)) for decimals in range(DIGITS_MAX + 1))
"""The last decimal of a number with that many."""
_POWERS: Final[tuple[int, ...]] = tuple(10**n for n in range(DIGITS_MAX + 2))
