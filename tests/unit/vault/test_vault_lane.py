"""Nonces: whatever is signed, settled and expires in whatever order, the venues' rules hold."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.vault.model.lane import AHEAD_MAX_MS, GRACE_MS, WINDOW, Lane, NonceError, Out, Outcome

NAME = (uuid.UUID(int=1), 0)
NOW = 1_800_000_000_000
TOLD = [one for one in Outcome if one is not Outcome.LAPSED]
Step = tuple[str, int, Outcome]
STEPS = st.lists(
    st.tuples(st.sampled_from(["sign", "settle", "wait"]), st.integers(0, 10_000), st.sampled_from(TOLD)), max_size=300
)


class StrictVenue:
    """Lighter: takes exactly the next nonce."""

    def __init__(self) -> None:
        self.next = 0

    def take(self, nonce: int, outcome: Outcome) -> None:
        """Hear of a nonce what the report says of it."""
        if outcome in (Outcome.ACCEPTED, Outcome.REFUSED_NONCE_USED):
            assert nonce == self.next
            self.next += 1


@given(STEPS)
def test_an_ordered_lane_gives_out_what_the_venue_expects(steps: list[Step]) -> None:
    lane, venue, now = Lane(lane_id=1, venue="lighter", fence=1, nonce=0), StrictVenue(), NOW
    for what, number, outcome in steps:
        if what == "wait":
            now += number
        elif what == "sign" and lane.room(now):
            if lane.nonce is None:
                lane = lane.observed(venue.next)
            lane, nonce = lane.allocate(NAME, now, now + 600_000)
            assert nonce == venue.next
            assert lane.room(now) == 0
        elif what == "settle" and lane.out:
            nonce = lane.out[0].nonce
            venue.take(nonce, outcome)
            lane = lane.settle(nonce, outcome)
            assert lane.room(now) == 1
            assert lane.nonce in (venue.next, None)


class WindowVenue:
    """Hyperliquid: a nonce is new, and above the lowest of the hundred highest."""

    def __init__(self) -> None:
        self.seen: set[int] = set()

    def take(self, nonce: int) -> None:
        """Take a nonce, in whatever order they come."""
        highest = sorted(self.seen)[-WINDOW:]
        assert nonce not in self.seen
        assert len(highest) < WINDOW or nonce > highest[0], "too low"
        self.seen.add(nonce)


@given(STEPS, st.randoms(use_true_random=False))
def test_a_free_lane_gives_out_nothing_that_comes_too_late(steps: list[Step], rng: object) -> None:
    lane, venue, now = Lane(lane_id=1, venue="hyperliquid", fence=1, nonce=None), WindowVenue(), NOW
    waiting: list[int] = []
    last = 0
    for what, number, outcome in steps:
        if what == "wait":
            now += number % 50 - 10  # the clock may step back
        elif what == "sign" and lane.room(now) > 0:
            lane, nonce = lane.allocate(NAME, now, now + 3_600_000)
            assert nonce > last
            last = nonce
            waiting.append(nonce)
        elif what == "settle" and waiting:
            nonce = waiting.pop(rng.randrange(len(waiting)))  # type: ignore[attr-defined]
            venue.take(nonce)
            lane = lane.settle(nonce, outcome)
    for nonce in waiting:
        venue.take(nonce)


def test_no_more_than_the_window_is_out() -> None:
    lane = Lane(lane_id=1, venue="hyperliquid", fence=1, nonce=None)
    for _ in range(WINDOW):
        lane, _ = lane.allocate(NAME, NOW, NOW + 1_000)
    assert lane.room(NOW) == 0
    newest = lane.settle(lane.out[-1].nonce, Outcome.ACCEPTED)
    assert newest.room(NOW) == 0, "the oldest is still out"
    oldest = newest.settle(newest.out[0].nonce, Outcome.NOT_SENT)
    assert oldest.room(NOW) == 1
    assert newest.room(NOW + 1_000 + GRACE_MS) == WINDOW, "what has expired is dead"


def test_a_clock_that_jumped_back_stops_nonces_before_the_venue_does() -> None:
    lane = Lane(lane_id=1, venue="hyperliquid", fence=1, nonce=NOW + AHEAD_MAX_MS)
    with pytest.raises(NonceError, match="minutes ahead"):
        lane.allocate(NAME, NOW, NOW + 1)
    assert lane.allocate(NAME, NOW + 2, NOW + 3)[1] == NOW + AHEAD_MAX_MS + 1


@pytest.mark.parametrize(
    ("outcome", "after"),
    [
        (Outcome.ACCEPTED, 8), (Outcome.REFUSED_NONCE_USED, 8), (Outcome.REFUSED_NONCE_FREE, 7), (Outcome.NOT_SENT, 7),
        (Outcome.REFUSED_NONCE, None), (Outcome.NEVER_LANDED, None), (Outcome.KEY_UNKNOWN, None),
        (Outcome.LAPSED, None),
    ],
)  # fmt: skip
def test_what_an_outcome_does_to_the_next_nonce(outcome: Outcome, after: int | None) -> None:
    lane = Lane(lane_id=1, venue="lighter", fence=1, nonce=7, out=(Out(7, NOW, NAME),))
    assert lane.settle(7, outcome).nonce == after
    assert lane.settle(6, outcome) == lane, "another nonce changes nothing"


def test_a_key_that_somebody_else_uses_is_found_out() -> None:
    lane = Lane(lane_id=1, venue="lighter", fence=1, nonce=7)
    for _ in range(3):
        assert not lane.is_shared
        nonce = lane.nonce
        assert nonce is not None
        lane = replace(lane, out=(Out(nonce, NOW, NAME),)).settle(nonce, Outcome.REFUSED_NONCE).observed(nonce + 2)
    assert lane.is_shared
    again = replace(lane, foreign_moves=0, out=(Out(9, NOW, NAME),)).settle(9, Outcome.NEVER_LANDED).observed(10)
    assert again.foreign_moves == 0, "what landed after all is no sign of somebody else"


def test_what_lapsed_is_asked_for() -> None:
    lane = Lane(lane_id=1, venue="lighter", fence=1, nonce=7, out=(Out(7, NOW, NAME),))
    assert lane.lapsed(NOW + GRACE_MS - 1) is None
    assert lane.lapsed(NOW + GRACE_MS) == lane.out[0]
