"""The schedule of signing keys: one signs at every time, and nobody meets a token whose key they cannot have."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.auth.model.keyring import OVERLAP, KeyRecord, Schedule, signer

START = datetime(2026, 1, 1, tzinfo=UTC)
TOKEN_LIFE = timedelta(minutes=15)


def walk(schedule: Schedule, *, step: timedelta, steps: int, away: range = range(0)) -> None:
    """Run the schedule; auth is down in the steps of `away`."""
    keys: list[KeyRecord] = []
    first_seen: dict[str, datetime] = {}
    for number in range(steps):
        now = START + number * step
        if number in away:
            continue
        while (due := schedule.wanted(keys, now)) is not None:
            kid = f"k{len(keys)}"
            keys.append(KeyRecord(kid=kid, algorithm="EdDSA", public={}, sign_time=due[0], retire_time=due[1]))
            first_seen[kid] = now
        signing = signer(keys, now)
        assert signing is not None, now
        assert signing.published(now)
        # Whatever it signs now verifies until its end.
        assert signing.published(now + TOKEN_LIFE)
        if signing.sign_time != first_seen[signing.kid]:  # one that could be known beforehand was
            assert signing.sign_time - first_seen[signing.kid] >= schedule.ahead - step
        assert sum(key.published(now) for key in keys) <= 3


@pytest.mark.parametrize("period_hours", [1, 24, 720])
def test_one_key_signs_at_every_time_and_is_known_long_before(period_hours: int) -> None:
    schedule = Schedule(ahead=timedelta(minutes=15), period=timedelta(hours=period_hours))
    walk(schedule, step=timedelta(minutes=period_hours), steps=400)


def test_a_key_is_published_the_whole_time_ahead_before_it_signs() -> None:
    schedule = Schedule(ahead=timedelta(minutes=15), period=timedelta(hours=1))
    first = KeyRecord(kid="a", algorithm="EdDSA", public={}, sign_time=START, retire_time=START + timedelta(hours=1))
    assert schedule.wanted([first], START + timedelta(minutes=44)) is None
    due = schedule.wanted([first], START + timedelta(minutes=45))
    assert due == (first.retire_time, first.retire_time + timedelta(hours=1))


def test_after_a_long_absence_a_key_signs_at_once() -> None:
    walk(
        Schedule(ahead=timedelta(minutes=15), period=timedelta(hours=1)),
        step=timedelta(minutes=5),
        steps=100,
        away=range(20, 60),
    )


def test_a_withdrawn_key_neither_signs_nor_is_published() -> None:
    key = KeyRecord(
        kid="a",
        algorithm="EdDSA",
        public={},
        sign_time=START,
        retire_time=START + timedelta(days=30),
        revoke_time=START + timedelta(days=1),
    )
    now = START + timedelta(days=2)
    assert signer([key], now) is None
    assert not key.published(now)
    assert Schedule(ahead=timedelta(minutes=15), period=timedelta(days=30)).wanted([key], now) == (
        now,
        now + timedelta(days=30),
    )
    assert OVERLAP > TOKEN_LIFE
