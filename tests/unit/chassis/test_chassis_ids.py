"""Ids, tokens and seeds."""

from __future__ import annotations

import uuid

import pytest

from services.chassis import ids
from tests.support.clock import ManualClock


def test_ids_are_version_7_unique_and_rising_within_one_millisecond() -> None:
    clock = ManualClock()
    made = [ids.new_id(clock) for _ in range(10_000)]
    assert made == sorted(set(made))
    parsed = uuid.UUID(made[0])
    assert parsed.version == 7
    assert parsed.variant == uuid.RFC_4122


def test_an_id_carries_the_time_it_was_made() -> None:
    clock = ManualClock(time_ns=4_000_000_000_000_000_000)
    assert ids.new_uuid(clock).int >> 80 == 4_000_000_000_000


def test_ids_keep_rising_when_the_wall_clock_steps_back() -> None:
    clock = ManualClock(time_ns=4_100_000_000_000_000_000)
    before = ids.new_id(clock)
    clock.jump_wall(-3600)
    assert ids.new_id(clock) > before


def test_a_token_is_long_and_never_repeats() -> None:
    made = {ids.token(32) for _ in range(1000)}
    assert len(made) == 1000
    assert all(len(item) == 43 for item in made)
    with pytest.raises(ValueError, match="at least 16 bytes"):
        ids.token(8)


def test_secrets_are_compared_as_text_or_bytes() -> None:
    assert ids.same_secret("abc", b"abc")
    assert not ids.same_secret("abc", "abd")


def test_a_seed_given_again_gives_the_same_numbers() -> None:
    seed = ids.new_seed()
    assert ids.seeded_random(seed).random() == ids.seeded_random(seed).random()
    assert ids.seeded_random().random() != ids.seeded_random().random()
