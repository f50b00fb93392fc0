"""Numbers, ages and states as a person reads them. Exact values go in; only what is shown is rounded."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

from perpmesh_client.values.convert import difference
from perpmesh_client.values.states import BreakerState, Source, State

DASH = "-"
STATE_STYLES = {State.LIVE: "green", State.STALE: "yellow", State.RECOVERING: "yellow", State.HALTED: "red"}
BREAKER_STYLES = {BreakerState.CLOSED: "green", BreakerState.HALF_OPEN: "yellow", BreakerState.OPEN: "red"}
_SOURCE_TAGS = {Source.SIMULATED: "sim", Source.TESTNET: "testnet", Source.UNSPECIFIED: "?"}
_LARGE = ((Decimal(10) ** 9, "B"), (Decimal(10) ** 6, "M"), (Decimal(10) ** 3, "k"))


def number(value: Decimal | None) -> str:
    """Return every digit of a number, in groups of three before the point; a dash for none."""
    return DASH if value is None else format(value, ",f")


def large(value: Decimal | None) -> str:
    """Return a large number in short: 1234567 is 1.23M."""
    if value is None:
        return DASH
    for unit, letter in _LARGE:
        if abs(value) >= unit:
            return f"{_rounded(value / unit, 2)}{letter}"
    return _rounded(value, 2)


def percent(fraction: Decimal | None, places: int) -> str:
    """Return a fraction as a percentage with a sign: 0.0000125 with four places is +0.0013%."""
    return DASH if fraction is None else f"{_rounded(fraction * 100, places, '+')}%"


def basis_points(spread: Decimal, bid: Decimal) -> str:
    """Return a spread in hundredths of a percent of the bid, with one decimal."""
    return DASH if not bid else f"{_rounded(spread / bid * 10_000, 1)}bp"


def spread(bid: Decimal, ask: Decimal) -> str:
    """Return ask less bid, and the same in basis points of the bid."""
    apart = difference(ask, bid)
    return f"{number(apart)} ({basis_points(apart, bid)})"


def age(length: timedelta | None) -> str:
    """Return an age: 0.1s, 4.2s, 35s, 12m, 3h, 2d; a dash for none."""
    if length is None:
        return DASH
    seconds = max(0.0, length.total_seconds())
    if seconds < 10:
        return f"{seconds:.1f}s"
    for unit, letter in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f}{letter}"
    return f"{seconds:.0f}s"


def clock(moment: datetime | None) -> str:
    """Return the time of day in UTC to the millisecond; a dash for none."""
    return DASH if moment is None else f"{moment:%H:%M:%S}.{moment.microsecond // 1_000:03d}"


def minute(moment: datetime | None) -> str:
    """Return the time of day in UTC to the minute; a dash for none."""
    return DASH if moment is None else f"{moment:%H:%M}"


def state(value: State | BreakerState) -> str:
    """Return a state in one word."""
    return value.name.replace("_", "-")


def venue(name: str, source: Source) -> str:
    """Return a venue's name; one whose values are not the market's says so."""
    tag = _SOURCE_TAGS.get(source)
    return f"{name}({tag})" if tag else name


def warning(sources: set[Source]) -> str:
    """Return what has to be said of values that are not the market's; empty when all are."""
    if Source.SIMULATED in sources:
        return "SIMULATED: synthetic or recorded prices, never the market's"
    if Source.TESTNET in sources:
        return "TESTNET: prices of a test network, not the market's"
    return ""


def _rounded(value: Decimal, places: int, sign: str = "") -> str:
    with localcontext(prec=80, rounding=ROUND_HALF_EVEN):
        return format(value.quantize(Decimal(1).scaleb(-places)), f"{sign},f")
