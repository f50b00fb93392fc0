"""How much may be said to a venue, and how often: a sliding window that is never exceeded.

A venue counts messages, weights or connections per address over a minute. A token bucket lets almost twice its limit
pass across two halves of a window; this keeps the times instead, so that no window of the stated length ever holds more
than the limit. One budget is shared by all that the venue counts together, such as every socket of one address.

Pure: no clock, no I/O. Times are monotonic nanoseconds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """At most `units` within any `seconds`; `reserve` of them are kept for urgent use, such as pings and pongs."""

    units: int
    seconds: float
    reserve: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetUse:
    """How much of one of a venue's limits is in use, for who asks."""

    by_account: bool
    """Whether the venue counts it for the account; else for our network address, which all users share."""
    name: str
    unit: str
    limit: int
    used: int
    reserved: int = 0
    """Kept for look-ups and cancels."""
    next_order_cost: int = 0
    window_s: float = 0.0
    """0 for a limit without a window."""
    free_s: float = 0.0
    """How long until one more order may go; 0 for now."""


class _Window:
    """One sliding window: the times and weights of what was spent within it."""

    __slots__ = ("_log", "length_ns", "limit", "reserve", "used")

    def __init__(self, allowance: Allowance) -> None:
        self.limit = allowance.units
        self.reserve = allowance.reserve
        self.used = 0
        self.length_ns = round(allowance.seconds * 1e9)
        self._log: deque[tuple[int, int]] = deque()

    def expire(self, now_ns: int) -> None:
        log = self._log
        horizon = now_ns - self.length_ns
        while log and log[0][0] <= horizon:
            self.used -= log.popleft()[1]

    def add(self, now_ns: int, units: int) -> None:
        self._log.append((now_ns, units))
        self.used += units

    def free_at_ns(self, units: int, limit: int) -> int:
        """Return when `units` fit under `limit`, given what is spent so far; 0 when they fit now."""
        excess = self.used + units - limit
        if excess <= 0:
            return 0
        for spent_ns, weight in self._log:
            excess -= weight
            if excess <= 0:
                return spent_ns + self.length_ns
        return (self._log[-1][0] if self._log else 0) + self.length_ns


class Budget:
    """What may still be spent, under one or several allowances at once. Its memory is bounded by their units."""

    __slots__ = ("_windows", "spent")

    def __init__(self, *allowances: Allowance) -> None:
        if not allowances or any(a.units < 1 or a.seconds <= 0 or a.reserve >= a.units for a in allowances):
            raise ValueError("a budget needs allowances of at least one unit, each larger than its reserve")
        self._windows = [_Window(allowance) for allowance in allowances]
        self.spent = 0
        """All that was ever spent, to compare with a venue's own count."""

    def take(self, now_ns: int, units: int = 1, *, urgent: bool = False) -> bool:
        """Spend `units` now and return True, or return False and spend nothing. Urgent use may draw on the reserve."""
        if self.free_at_ns(now_ns, units, urgent=urgent) > now_ns:
            return False
        for window in self._windows:
            window.add(now_ns, units)
        self.spent += units
        return True

    def free_at_ns(self, now_ns: int, units: int = 1, *, urgent: bool = False) -> int:
        """Return the earliest time at which `units` may be spent; at or before `now_ns` means now."""
        at_ns = now_ns
        for window in self._windows:
            window.expire(now_ns)
            limit = window.limit if urgent else window.limit - window.reserve
            if units > limit:
                units = limit  # a request heavier than the window waits for an empty one
            at_ns = max(at_ns, window.free_at_ns(units, limit))
        return at_ns

    def charge(self, now_ns: int, units: int) -> None:
        """Count `units` that were spent without asking, such as what a long answer costs afterwards."""
        self.spent += units
        for window in self._windows:
            window.expire(now_ns)
            window.add(now_ns, units)

    def used(self, now_ns: int) -> tuple[int, int]:
        """Return (used, allowed) of the first allowance, for status."""
        window = self._windows[0]
        window.expire(now_ns)
        return window.used, window.limit

    def use(self, now_ns: int, *, by_account: bool, name: str, unit: str, cost: int = 0) -> BudgetUse:
        """Return how it stands, by its first allowance; `cost` is what an order takes of it."""
        window = self._windows[0]
        window.expire(now_ns)
        free_ns = self.free_at_ns(now_ns, cost) if cost else now_ns
        return BudgetUse(
            by_account=by_account,
            name=name,
            unit=unit,
            limit=window.limit,
            used=window.used,
            reserved=window.reserve,
            next_order_cost=cost,
            window_s=window.length_ns / 1e9,
            free_s=max(0, free_ns - now_ns) / 1e9,
        )


class Seats:
    """A fixed number of places, such as the users a venue lets one address listen to. Taking one twice is no error."""

    __slots__ = ("_taken", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._taken: set[str] = set()

    @property
    def used(self) -> int:
        """How many are taken."""
        return len(self._taken)

    def take(self, name: str) -> bool:
        """Take a place for `name`; False where none is left."""
        if name not in self._taken and len(self._taken) >= self.limit:
            return False
        self._taken.add(name)
        return True

    def give_back(self, name: str) -> None:
        """Free the place of `name`."""
        self._taken.discard(name)


class Allotment:
    """Requests a venue grants for good and that trading earns: Hyperliquid's actions of one address.

    Orders may use `cap`; cancels more, up to min(cap + 100,000, 2 cap). Beyond, one request passes every `drip_s`.
    The count begins unknown, and anything may be sent, until `observe` brings the venue's own.
    """

    __slots__ = ("_cap", "_drip_ns", "_next_ns", "used")

    def __init__(self, *, drip_s: float) -> None:
        self._cap: int | None = None
        self._drip_ns = round(drip_s * 1e9)
        self._next_ns = 0
        self.used = 0

    @property
    def cap(self) -> int | None:
        """How many are granted so far; None until the venue was asked."""
        return self._cap

    def observe(self, *, used: int, cap: int) -> None:
        """Take over the venue's own count."""
        self.used, self._cap = used, cap

    def earn(self, units: int) -> None:
        """Count what trading has added."""
        if self._cap is not None:
            self._cap += units

    def free_at_ns(self, now_ns: int, units: int, *, cancel: bool = False) -> int:
        """Return when `units` may go; at or before `now_ns` means now."""
        if self._cap is None:
            return now_ns
        limit = min(self._cap + 100_000, 2 * self._cap) if cancel else self._cap
        return now_ns if self.used + units <= limit else max(now_ns, self._next_ns)

    def spend(self, now_ns: int, units: int) -> None:
        """Count a request of `units` that was sent."""
        if self._cap is not None and self.used + units > self._cap:
            self._next_ns = now_ns + self._drip_ns
        self.used += units
