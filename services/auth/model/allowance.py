"""How many requests one user may make, whichever edge they come through: a bucket that fills at a steady rate."""

from __future__ import annotations

from dataclasses import dataclass

SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """A rate, and how far ahead of it a user may be."""

    per_second: int
    burst: int
    """Requests at once, from a full bucket."""

    @property
    def every_us(self) -> int:
        """After how many microseconds one more request fits; never less than one."""
        return max(1, SECOND_US // self.per_second)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What became of a request, and how the bucket stands after it."""

    fits: bool
    left: int
    """Requests that would fit at once now."""
    reset_us: int
    """Until the bucket is full again; where the request did not fit, until it would."""
