"""What can be wrong with a message, and numbers out of texts.

A whole-book feed repeats the same few thousand texts again and again, so each scale remembers what it has converted: a
remembered text costs one dictionary lookup, a tenth of the conversion.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, NoReturn

import msgspec

from services.domain.decimals import DecimalError, parse_decimal, to_units

UNITS_MAX: Final = 2**63 - 1
"""The largest price or size, in units: what the contract's and the database's integers hold."""
SIGNIFICANT_FIGURES: Final = 5
"""How many significant figures the price of an order may have; an integer price may have more."""
REMEMBERED_MAX: Final = 16_384
"""How many texts one scale remembers; beyond, it forgets all of them and begins again."""
SIDE_DIGITS_MAX: Final = 18
"""The most digits before, and after, a decimal point: what the contract's decimals hold."""
TIME_MS_MAX: Final = 4_102_444_800_000
"""No venue time is later than the year 2100; a later one is garbage."""


class WireError(ValueError):
    """A message that does not say what Hyperliquid's protocol allows. `field` is the path of what is wrong.

    `coin` is the venue's symbol the message was about, as far as that could be read, else empty.
    """

    def __init__(self, field: str, problem: str, *, coin: str = "") -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem
        self.coin = coin


class Units(dict[str, int]):
    """A scale: positive decimal texts to integers of 10^-`decimals`; `units["84143.0"]` is 841430 at one decimal.

    Raises `DecimalError` for a text that is no plain decimal above zero, has digits beyond the scale, exceeds
    `UNITS_MAX`, or, with `figures`, has more significant figures than an order's price may have.
    """

    __slots__ = ("_figures", "decimals")

    def __init__(self, decimals: int, *, figures: int = 0) -> None:
        super().__init__()
        self.decimals = decimals
        self._figures = figures

    def __missing__(self, text: str) -> int:
        """Convert and remember."""
        units = to_units(text, self.decimals)
        if not 0 < units <= UNITS_MAX:
            raise DecimalError(f"{text!r:.60} is not above zero and below 2^63 units of 10^-{self.decimals}")
        if self._figures and units >= 10**self._figures and units % 10**self.decimals:
            digits = str(units).rstrip("0")
            if len(digits) > self._figures:
                raise DecimalError(f"{text!r:.60} has more than {self._figures} significant figures and is no integer")
        if len(self) >= REMEMBERED_MAX:
            self.clear()
        self[text] = units
        return units


def decimal_of(text: str, field: str, *, coin: str = "") -> Decimal:
    """Return the exact decimal of `text`, of any sign, with at most `SIDE_DIGITS_MAX` digits on each side."""
    try:
        value = parse_decimal(text)
    except DecimalError as error:
        raise WireError(field, str(error), coin=coin) from None
    whole, _, fraction = text.lstrip("-").partition(".")
    if len(whole) > SIDE_DIGITS_MAX or len(fraction) > SIDE_DIGITS_MAX:
        raise WireError(field, f"{text!r:.60} has more than {SIDE_DIGITS_MAX} digits on a side", coin=coin)
    return value


def amount_of(text: str, field: str, *, coin: str = "") -> Decimal:
    """Return the exact decimal of `text`, which must not be negative."""
    value = decimal_of(text, field, coin=coin)
    if value.is_signed() and value:
        raise WireError(field, f"{text!r:.60} is negative; zero or more would pass", coin=coin)
    return abs(value)


def undecodable(error: Exception, *, coin: str = "") -> NoReturn:
    """Raise the `WireError` of what msgspec could not decode, with the field it names."""
    problem, _, path = str(error).rpartition(" - at `")
    if isinstance(error, msgspec.ValidationError) and problem:
        raise WireError(path.rstrip("`").removeprefix("$.") or "$", problem, coin=coin) from None
    if isinstance(error, RecursionError):
        raise WireError("$", "nested too deeply", coin=coin) from None
    raise WireError("$", str(error)[:200], coin=coin) from None


DECODE_ERRORS: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)
"""Everything that msgspec raises for bytes that are not the message asked for."""
