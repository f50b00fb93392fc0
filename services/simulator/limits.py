"""How much one address may ask of a venue in a minute."""

from __future__ import annotations

ADDRESSES_MAX = 10_000


class Window:
    """Counts weight per address in fixed minutes; a limit of zero means no limit."""

    __slots__ = ("_limit", "_used")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used: dict[str, tuple[int, int]] = {}

    def take(self, address: str, weight: int, now: float) -> bool:
        """Count `weight` and say whether it still fits; `now` is in seconds."""
        if self._limit == 0:
            return True
        minute = int(now // 60)
        seen, used = self._used.get(address, (minute, 0))
        used = used if seen == minute else 0
        if used + weight > self._limit:
            return False
        if len(self._used) >= ADDRESSES_MAX:
            self._used.clear()
        self._used[address] = (minute, used + weight)
        return True

    def add(self, address: str, weight: int, now: float) -> None:
        """Count `weight` that is known only afterwards, even beyond the limit."""
        if self._limit and weight:
            minute = int(now // 60)
            seen, used = self._used.get(address, (minute, 0))
            self._used[address] = (minute, weight + (used if seen == minute else 0))
