"""From the fields of a message to Python's own types, and nothing lost: decimals stay exact, times stay aware.

Source of the forms: the contract's style (decimals are strings, times are `Timestamp`, spans are `Duration`).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.timestamp_pb2 import Timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGITS_MAX = 80
"""More than any sum or difference of two contract decimals needs (36 digits each)."""

Word = TypeVar("Word", bound=StrEnum)


def decimal(text: str) -> Decimal:
    """Return the decimal a field holds; the field is one that is never empty."""
    return Decimal(text)


def maybe_decimal(text: str) -> Decimal | None:
    """Return the decimal a field holds, or None where it is empty: the venue has not given the value."""
    return Decimal(text) if text else None


def difference(minuend: Decimal, subtrahend: Decimal) -> Decimal:
    """Return the exact difference, whatever precision the caller's decimal context has."""
    with localcontext(prec=_DIGITS_MAX):
        return minuend - subtrahend


def time(stamp: Timestamp) -> datetime:
    """Return a time, aware, in UTC, cut to microseconds."""
    return _EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1_000)


def span(duration: Duration) -> timedelta:
    """Return a span, cut toward zero to microseconds."""
    microseconds = abs(duration.nanos) // 1_000
    return timedelta(seconds=duration.seconds, microseconds=microseconds if duration.nanos >= 0 else -microseconds)


def word(words: tuple[Word, ...], number: int) -> Word:
    """Return the enum value of a number; one that is newer than this client counts as the first, "unspecified"."""
    return words[number] if 0 <= number < len(words) else words[0]
