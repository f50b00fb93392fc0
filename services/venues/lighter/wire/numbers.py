"""Lighter's numbers, exactly; and the error that names what is wrong with a message.

Prices and sizes are texts with a fixed number of decimals. The same texts come again and again near the top of a book,
so each scale remembers what it has converted, at most `REMEMBERED_MAX` texts, and starts anew when full. The thousands
of texts of a snapshot are converted together instead (`Units.many`), at a third of the time, and displace nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Final

from services.domain.decimals import DIGITS_MAX, DecimalError, parse_decimal, to_units

REMEMBERED_MAX: Final = 16_384
PRICE_UNITS_MAX: Final = 2**32 - 1
"""The largest price the venue's order format can hold."""
SIZE_UNITS_MAX: Final = 2**60
"""Far above the largest order (2^48 - 1): a level sums many."""
DECIMALS_MAX: Final = 18


class WireError(ValueError):
    """A message that does not say what Lighter's protocol allows.

    `field` is the path of what is wrong, `problem` what is wrong with it, `channel` the channel the message was about,
    as far as that could be read, else empty.
    """

    def __init__(self, field: str, problem: str, *, channel: str = "") -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem
        self.channel = channel


class Units(dict[str, int]):
    """A scale: `units["0.25"]` is 25 at two decimals. Raises `DecimalError` for what does not fit it exactly."""

    __slots__ = ("_largest", "_regular", "_smallest", "decimals")

    def __init__(self, decimals: int, *, smallest: int, largest: int) -> None:
        super().__init__()
        self.decimals = decimals
        self._smallest = smallest
        self._largest = largest
        number = rf"[0-9]{{1,18}}\.[0-9]{{{decimals}}}" if decimals else "[0-9]{1,18}"
        self._regular = re.compile(rf"{number}(?:,{number})*")

    def __missing__(self, text: str) -> int:
        whole, _, fraction = text.partition(".")
        digits = whole + fraction
        if len(fraction) == self.decimals and whole and digits.isdecimal() and digits.isascii() and len(digits) < 20:
            units = int(digits)  # as the venue writes them
        else:
            units = to_units(text, self.decimals)
        if not self._smallest <= units <= self._largest:
            raise DecimalError(f"{text!r:.60} is outside of what the venue can trade")
        if len(self) >= REMEMBERED_MAX:
            self.clear()
        self[text] = units
        return units

    def many(self, texts: Sequence[str]) -> list[int]:
        """Return each of `texts` in units, as `units[text]` would. Raises `DecimalError`."""
        joined = ",".join(texts)
        if (
            self._regular.fullmatch(joined) is not None
        ):  # every text with exactly the venue's decimals, as it writes them
            found = list(map(int, joined.replace(".", "").split(",")))
            if len(found) == len(texts) and self._smallest <= min(found) and max(found) <= self._largest:
                if len(self) + len(found) <= REMEMBERED_MAX:
                    self.update(zip(texts, found, strict=True))
                return found
        return [self[text] for text in texts]


_PRICES: Final[dict[int, Units]] = {}
_SIZES: Final[dict[int, Units]] = {}


def price_units(decimals: int) -> Units:
    """Return the scale of prices with `decimals`, shared by all markets that have as many."""
    return _scale(_PRICES, decimals, 1, PRICE_UNITS_MAX)


def size_units(decimals: int) -> Units:
    """Return the scale of sizes with `decimals`; zero is a size, and means that a level is gone."""
    return _scale(_SIZES, decimals, 0, SIZE_UNITS_MAX)


def _scale(scales: dict[int, Units], decimals: int, smallest: int, largest: int) -> Units:
    if not 0 <= decimals <= DECIMALS_MAX:
        raise DecimalError(f"{decimals} decimals are outside of 0 to {DECIMALS_MAX}")
    return scales.setdefault(decimals, Units(decimals, smallest=smallest, largest=largest))


def forget() -> None:
    """Forget every text that was converted, as after a start."""
    for scale in (*_PRICES.values(), *_SIZES.values()):
        scale.clear()


def amount(value: str | Decimal | None, field: str, *, signed: bool = False) -> Decimal | None:
    """Return an amount a message carries as text or as number; None where it carries none or an empty text.

    Raises `WireError` for what is no finite decimal of a reasonable length, or negative unless `signed`. Exact in every
    decimal context: nothing here rounds.
    """
    if value is None or value == "":
        return None
    try:
        number = parse_decimal(value) if isinstance(value, str) else value
    except DecimalError as error:
        raise WireError(field, str(error)) from error
    _, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int) or len(digits) > DIGITS_MAX or exponent < -DIGITS_MAX or number.adjusted() > 24:
        raise WireError(field, f"{str(value)[:60]} is not a number below 10^25 of at most {DIGITS_MAX} digits")
    if number < 0 and not signed:
        raise WireError(field, f"{str(value)[:60]} is negative")
    return number


def percent(value: Decimal) -> Decimal:
    """Return a percentage as a fraction."""
    return value.scaleb(-2)


def base_of(notional: Decimal, price: Decimal, decimals: int) -> Decimal:
    """Return how many base units, to `decimals`, are worth `notional` at `price`."""
    with localcontext() as context:
        context.prec = 60
        context.clear_traps()
        return (notional / price).quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_EVEN)
