"""How each venue prints numbers and which prices it admits.

Prices and sizes are integers here: a price counts units of 10^-price_decimals, a size units of 10^-size_decimals.
Lighter prints exactly that many digits. Hyperliquid strips zeros but always keeps a decimal point, and admits at most
five significant figures in a price, integers excepted (venue documentation, "Tick and lot size").
"""

from __future__ import annotations

from collections.abc import Callable

TickRule = Callable[[int], int]
"""Gives the distance to the next admitted price, in price units, for a price in the same units."""


def fixed(value: int, decimals: int) -> str:
    """Print a scaled integer with exactly `decimals` digits after the point; Lighter's form."""
    if decimals == 0:
        return str(value)
    sign = "-" if value < 0 else ""
    digits = str(abs(value)).zfill(decimals + 1)
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}"


def plain(value: int, decimals: int) -> str:
    """Print a scaled integer without trailing zeros but with a decimal point; Hyperliquid's form."""
    if decimals == 0:
        return f"{value}.0"
    text = fixed(value, decimals).rstrip("0")
    return f"{text}0" if text.endswith(".") else text


def parse(text: str, decimals: int) -> int:
    """Read a plain decimal text as a scaled integer.

    Raises ValueError when the text is no plain number or has more than `decimals` significant decimals.
    """
    sign = -1 if text.startswith("-") else 1
    whole, _, fraction = text.removeprefix("-").partition(".")
    fraction = fraction.rstrip("0")
    if not (whole + fraction).isdigit() or not whole or len(fraction) > decimals:
        raise ValueError(f"{text!r} is not a plain number with at most {decimals} decimals, such as '12.5'")
    return sign * int(whole + fraction.ljust(decimals, "0"))


def one_tick(_price: int) -> int:
    """Lighter's rule: every unit is a price."""
    return 1


def five_figures(decimals: int) -> TickRule:
    """Hyperliquid's rule for a market of `decimals` price decimals: five significant figures, or an integer."""
    whole = 10**decimals

    def tick(price: int) -> int:
        digits = len(str(price))
        return min(10 ** (digits - 5), whole) if digits > 5 else 1

    return tick


def snap_down(price: int, tick: TickRule) -> int:
    """Return the highest admitted price at or below `price`."""
    return price - price % tick(price)


def snap_up(price: int, tick: TickRule) -> int:
    """Return the lowest admitted price at or above `price`."""
    rest = price % tick(price)
    return price if rest == 0 else price - rest + tick(price)
