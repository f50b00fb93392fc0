"""How many new orders are taken in: no more than can be worked on soon, so that what is taken is not left lying.

Two bounds, both settings: the calls that are being taken in at a time, and the legs that no worker has taken up yet, by
their number and by the age of the oldest. Beyond, a new order is refused with the time after which to come again,
before anything is asked of the database or another room. What only reduces is let in up to twice the bounds. Cancels
and look-ups do not come through this door.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from services.domain.errors import DomainError, Reason
from services.execution.ports import Clock, Orders

LOOK_S: Final = 0.25
"""How often the legs that wait are counted while there are any; between, those that come are added."""
AGAIN_MIN_S: Final = 0.25
AGAIN_MAX_S: Final = 10.0
RATE_SHARE: Final = 0.2
"""The weight of the last look in the rate at which legs are taken up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What is let in."""

    calls: int
    """Orders being taken in at a time."""
    legs: int
    """Legs not taken up yet."""
    age_s: float
    """The age of the oldest of them."""


class Door:
    """Counts who is inside and what waits."""

    def __init__(self, bounds: Bounds, orders: Orders, clock: Clock) -> None:
        self._bounds = bounds
        self._orders = orders
        self._clock = clock
        self._inside = 0
        self._waiting = 0
        self._oldest_ns = 0
        self._taken = 0
        self._rate = 0.0

    @property
    def waiting(self) -> int:
        """How many legs wait, as far as is known."""
        return self._waiting

    @property
    def inside(self) -> int:
        """How many orders are being taken in."""
        return self._inside

    @contextmanager
    def entered(self, *, reduces: bool) -> Iterator[None]:
        """Be inside for the time of a block. Raises LIMIT_REACHED."""
        self._check(2 if reduces else 1)
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    def added(self, legs: int) -> None:
        """Note legs that were made durable, and that nobody took up at once."""
        if self._waiting == 0:
            self._oldest_ns = self._clock.time_ns()
        self._waiting += legs

    def taken(self, legs: int, *, all_taken: bool) -> None:
        """Note legs that workers took up; `all_taken` where none was left."""
        self._taken += legs
        self._waiting = 0 if all_taken else max(0, self._waiting - legs)

    async def run(self) -> None:
        """Count what waits until canceled."""
        while True:
            await self._clock.sleep(LOOK_S)
            self._rate += RATE_SHARE * (self._taken / LOOK_S - self._rate)
            self._taken = 0
            if self._waiting == 0:
                continue
            try:
                self._waiting, self._oldest_ns = await self._orders.waiting(2 * self._bounds.legs + 1)
            except DomainError:
                continue  # the database is away: what is known stands

    def _check(self, times: int) -> None:
        bounds = self._bounds
        if self._inside >= bounds.calls * times:
            raise _refused(
                "calls_inside", bounds.calls, f"{self._inside} orders are being taken in at this moment", AGAIN_MIN_S
            )
        if self._waiting == 0:
            return
        age_s = (self._clock.time_ns() - self._oldest_ns) / 1e9
        if self._waiting >= bounds.legs * times or age_s >= bounds.age_s * times:
            words = f"{self._waiting} legs wait to be sent, the oldest for {max(0.0, age_s):.1f} s"
            again_s = self._waiting / self._rate if self._rate > 1 else AGAIN_MAX_S
            raise _refused("legs_waiting", bounds.legs, words, min(AGAIN_MAX_S, max(AGAIN_MIN_S, again_s)))


def _refused(limit: str, bound: int, words: str, again_s: float) -> DomainError:
    return DomainError(
        Reason.LIMIT_REACHED,
        f"More orders come than can be sent: {words}. Nothing was taken in; come again in {again_s:.1f} s.",
        metadata={"limit": limit, "bound": str(bound)},
        retry_after_s=again_s,
    )
