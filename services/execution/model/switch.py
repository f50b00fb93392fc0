"""Dead man's switches: what each venue takes, and who keeps the clock. Source: docs/venue-trading.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID

from services.domain.market import HYPERLIQUID, LIGHTER
from services.domain.refusal import Origin, Refusal, RefusalReason

SLACK: Final = timedelta(seconds=2)
"""Beyond the shortest delay, for the way to the venue: it measures from when the bytes arrive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchRule:
    """What a venue takes. `max_delay` is None where it sets none, `fires_per_day` where it does not count."""

    min_delay: timedelta
    max_delay: timedelta | None
    fires_per_day: int | None

    def refusal(self, venue: str, delay: timedelta) -> Refusal | None:
        """Say why a delay is not taken, and the nearest that is."""
        nearest = max(self.min_delay, delay if self.max_delay is None else min(delay, self.max_delay))
        if nearest == delay:
            return None
        return Refusal(
            reason=RefusalReason.NOT_SUPPORTED,
            origin=Origin.MESH,
            message=f"{venue} takes {_words(self.min_delay)} at least"
            + ("." if self.max_delay is None else f", and {_words(self.max_delay)} at most."),
            advice="Take the nearest, or set allow_mesh_keeper: then we keep the clock while we run.",
            field="delay",
            given_value=_seconds(delay),
            passing_value=_seconds(nearest),
            venue=venue,
        )

    def time(self, delay: timedelta, now: datetime) -> datetime:
        """Return when a switch is to fire: never so near or far that it is refused for the way to the venue."""
        least = max(delay, self.min_delay + SLACK)
        return now + (least if self.max_delay is None else min(least, self.max_delay - SLACK))


RULES: Final[Mapping[str, SwitchRule]] = {
    HYPERLIQUID: SwitchRule(min_delay=timedelta(seconds=5), max_delay=None, fires_per_day=10),
    LIGHTER: SwitchRule(min_delay=timedelta(minutes=5), max_delay=timedelta(days=15), fires_per_day=None),
}
"""Hyperliquid takes one only from a million USD of volume on, which it says itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A switch as it was last accepted."""

    account_id: UUID
    user_id: UUID
    venue: str
    by_mesh: bool
    """Whether we keep the clock: then our own orders alone are canceled, and only while we run."""
    cancel_time: datetime | None
    fire_day: date | None = None
    fire_count: int = 0

    def was_fired_by_venue(self, now: datetime) -> bool:
        """Whether the venue's clock has run out, so that it has canceled and counts one fire."""
        return not self.by_mesh and self.cancel_time is not None and self.cancel_time <= now


def remaining(switch: Switch | None, rule: SwitchRule, today: date) -> int | None:
    """Return how often a switch may still fire today; None where the venue does not count."""
    if rule.fires_per_day is None:
        return None
    fired = switch.fire_count if switch is not None and switch.fire_day == today else 0
    return max(0, rule.fires_per_day - fired)


def _words(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    if seconds % 86_400 == 0:
        return f"{seconds // 86_400} days"
    return f"{seconds // 60} minutes" if seconds % 60 == 0 else f"{seconds} s"


def _seconds(span: timedelta) -> str:
    return f"{span.total_seconds():g}s"
