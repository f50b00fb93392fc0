"""What each venue's dead man's switch takes, and how often it may still fire."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.execution.model.switch import RULES, Switch, remaining

NOW = datetime(2026, 11, 28, tzinfo=UTC)
DAY = date(2026, 11, 28)


def switch(**changes: object) -> Switch:
    given = {"account_id": UUID(int=1), "user_id": UUID(int=2), "venue": "hyperliquid", "by_mesh": False}
    return Switch(**({"cancel_time": None} | given | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("venue", RULES)
@given(seconds=st.integers(1, 20 * 86_400))
def test_a_delay_is_taken_within_the_venues_bounds_and_never_sent_beyond_them(venue: str, seconds: int) -> None:
    rule, delay = RULES[venue], timedelta(seconds=seconds)
    refusal = rule.refusal(venue, delay)
    inside = rule.min_delay <= delay and (rule.max_delay is None or delay <= rule.max_delay)
    assert (refusal is None) == inside
    if refusal is not None:
        passing = timedelta(seconds=float(refusal.passing_value.removesuffix("s")))
        assert rule.refusal(venue, passing) is None, "what is said to pass passes"
        return
    on_arrival = rule.time(delay, NOW) - (NOW + timedelta(seconds=1))
    assert on_arrival > rule.min_delay - timedelta(seconds=1)
    assert on_arrival >= rule.min_delay or delay >= rule.min_delay
    assert rule.time(delay, NOW) - NOW >= rule.min_delay + timedelta(seconds=1), "a second on the way is no refusal"
    assert rule.max_delay is None or rule.time(delay, NOW) - NOW < rule.max_delay


def test_fires_are_counted_by_the_day_where_the_venue_counts() -> None:
    assert remaining(None, RULES["hyperliquid"], DAY) == 10
    assert remaining(switch(fire_day=DAY, fire_count=3), RULES["hyperliquid"], DAY) == 7
    assert remaining(switch(fire_day=DAY, fire_count=12), RULES["hyperliquid"], DAY) == 0
    assert remaining(switch(fire_day=date(2026, 11, 27), fire_count=10), RULES["hyperliquid"], DAY) == 10
    assert remaining(switch(), RULES["lighter"], DAY) is None
