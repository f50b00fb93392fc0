"""The schedule of a TWAP order: a pure function of its terms, its seed and how long it was paused.

Slices are evenly spaced, the first at once and the last at the end. After slice k the order should have filled its
share k of all; a slice orders what is missing to that, counting what is still out as if it filled, and at most three
times its own size. So what a slice does not fill, or was missed, the next ones catch up, never in one blow; what is
missing after the last stays unfilled, and the order says so.

Randomized, slices vary by up to 20 % in size and time. Sizes vary in pairs, one as much larger as the next is smaller,
so that shares are known without adding up all slices before.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import Final
from uuid import UUID

from services.domain.decimals import rounding
from services.domain.refusal import Refusal

SLICES_MAX: Final = 250
"""An order is told whole with every change, so its legs are bounded."""
CATCH_UP: Final = 3
VARY: Final = Decimal("0.2")
GRAIN: Final = Decimal(1).scaleb(-8)
"""Sizes are cut to this before each venue's lot."""
ZERO: Final = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a caller wants an order sliced."""

    duration: timedelta
    interval: timedelta
    randomize: bool = False

    @property
    def count(self) -> int:
        """How many slices there are."""
        return self.duration // self.interval + 1

    @property
    def smallest(self) -> Decimal:
        """The smallest slice, as a share of all."""
        with rounding():
            return (1 - VARY if self.randomize and self.count > 1 else Decimal(1)) / self.count


@dataclass(frozen=True, slots=True, kw_only=True)
class Twap:
    """A schedule and how far it has come."""

    terms: Terms
    seed: int
    account_ids: tuple[UUID, ...]
    """The accounts chosen when it was placed, at most one a venue."""
    start_time: datetime
    next_slice: int = 1
    """The number of the slice that comes next; beyond the count when none does."""
    sent: int = 0
    pause_time: datetime | None = None
    paused: timedelta = timedelta(0)
    """How long it was paused before; every slice to come is as much later."""
    refusal: Refusal | None = None
    """Why the last slice was not sent; None where it was."""

    @property
    def is_over(self) -> bool:
        """Whether no slice is to come."""
        return self.next_slice > self.terms.count

    @property
    def end_time(self) -> datetime:
        """When the last slice is due."""
        return self.start_time + self.paused + self.terms.duration

    @property
    def next_time(self) -> datetime | None:
        """When the next slice is due; None when none is, or while paused."""
        if self.is_over or self.pause_time is not None:
            return None
        return self.due_time(self.next_slice)

    def due_time(self, number: int) -> datetime:
        """Return when a slice is due."""
        count = self.terms.count
        at = self.start_time + self.paused
        if number == count and count > 1:
            return at + self.terms.duration
        at += (number - 1) * self.terms.interval
        if self.terms.randomize and number > 1:
            at += self.terms.interval * float(self._vary("time", number))
        return at

    def due_slice(self, now: datetime) -> int | None:
        """Return the last slice whose time has come; those before it that were missed are one with it."""
        if self.is_over or self.pause_time is not None or self.due_time(self.next_slice) > now:
            return None
        # Times rise from slice to slice, so the last one that is due is found between two bounds.
        low, high = self.next_slice, self.terms.count
        while low < high:
            middle = (low + high + 1) // 2
            if self.due_time(middle) <= now:
                low = middle
            else:
                high = middle - 1
        return low

    def target(self, number: int, size: Decimal) -> Decimal:
        """Return what should have been filled of a size after a slice."""
        count = self.terms.count
        if number >= count:
            return size
        parts = Decimal(number)
        if self.terms.randomize and number % 2 and number < count:
            parts += self._vary("size", number)
        with rounding():
            return (size * parts / count).quantize(GRAIN, rounding=ROUND_DOWN)

    def slice_size(self, number: int, size: Decimal, filled: Decimal, out: Decimal) -> Decimal:
        """Return what a slice orders, given what is filled and what is out and may still fill; not above zero: nothing.

        Slices missed before it do not make it larger than three times its own size.
        """
        own = self.target(number, size) - self.target(number - 1, size)
        return min(self.target(number, size) - filled - out, CATCH_UP * own)

    def shortfall(self, size: Decimal, filled: Decimal) -> Decimal:
        """Return what the slices so far should have filled and did not."""
        return max(ZERO, self.target(self.next_slice - 1, size) - filled)

    def _vary(self, what: str, number: int) -> Decimal:
        raw = hashlib.sha256(f"{self.seed} {what} {number}".encode()).digest()[:8]
        with rounding():
            share = Decimal(int.from_bytes(raw)) / Decimal(2**63) - 1  # from -1 to 1
            return (share * VARY).quantize(Decimal("0.0001"))
