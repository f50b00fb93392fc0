"""How often and how soon work is tried again, when it is stuck, and what a halt takes in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.config import ConfigError
from services.domain.errors import DomainError, Reason
from services.domain.refusal import RefusalReason
from services.execution.config import RetryConfig
from services.execution.model.halt import Halt, HaltKind, Scope, halt_of, halted
from services.execution.model.retry import ADVICE, PAUSE_MAX_S, TABLE, Retry, Trouble, parse, show, trouble_of
from services.execution.model.trouble import Failing, WorkKind, failed_again
from services.execution.store.operator import scope_of

NOW = datetime(2026, 11, 27, tzinfo=UTC)
RULES = st.builds(
    Retry,
    first_s=st.floats(0.1, 20),
    backoff_multiplier=st.floats(1, 10),
    max_backoff_s=st.floats(0.1, PAUSE_MAX_S),
    jitter=st.floats(0, 1),
    max_attempts=st.integers(0, 50),
)


def failing(**changes: object) -> Failing:
    given = {
        "work_id": UUID(int=1), "kind": WorkKind.SEND, "trouble": Trouble.VENUE_AWAY, "user_id": UUID(int=2),
        "account_id": UUID(int=3), "venue": "lighter", "last_error": "no answer", "first_time": NOW, "last_time": NOW,
    }  # fmt: skip
    return Failing(**(given | changes))  # type: ignore[arg-type]


@given(RULES, st.integers(1, 10_000), st.floats(0, 1))
def test_a_pause_is_never_longer_than_the_longest_and_its_jitter(rule: Retry, attempts: int, chance: float) -> None:
    pause = rule.pause_s(attempts, chance)
    assert 0 <= pause <= min(PAUSE_MAX_S, rule.max_backoff_s * (1 + rule.jitter) + 1e-9)
    assert rule.pause_s(attempts) <= rule.pause_s(attempts + 1), "without chance it only grows"


@given(RULES, st.integers(1, 60))
def test_work_is_stuck_from_the_last_attempt_on_and_stays_so(rule: Retry, count: int) -> None:
    stands: Failing | None = None
    for turn in range(count):
        stands = failed_again(stands, failing(last_time=NOW + timedelta(seconds=turn)), rule)
    assert stands is not None
    assert (stands.attempts, stands.first_time) == (count, NOW)
    if rule.max_attempts and count >= rule.max_attempts:
        assert stands.stuck_time == NOW + timedelta(seconds=rule.max_attempts - 1)
    else:
        assert stands.stuck_time is None


def test_a_rule_is_read_as_it_is_shown_and_nonsense_is_refused() -> None:
    for rule in TABLE.values():
        assert parse(show(rule), Retry(**dict.fromkeys(Retry.__slots__, 1))) == rule
    assert parse("max_attempts=3", TABLE[Trouble.FAULT]).first_s == TABLE[Trouble.FAULT].first_s
    for wrong in ("attempts=3", "max_attempts", "jitter=2", "max_backoff_s=60", "backoff_multiplier=0.5", "first_s=0"):
        with pytest.raises(ValueError, match=r"first_s|at most"):
            parse(wrong, TABLE[Trouble.FAULT])
    assert RetryConfig(fault="max_attempts=2").table()[Trouble.FAULT].max_attempts == 2
    with pytest.raises(ConfigError, match="PERPMESH_EXECUTION_RETRY_BUDGET"):
        RetryConfig(budget="soon").table()


def test_every_trouble_has_a_rule_an_advice_and_a_row_of_the_page() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "execution.md").read_text()
    for trouble in Trouble:
        rule = TABLE[trouble]
        row = (
            f"| {trouble.value} | {rule.first_s:g} | {rule.backoff_multiplier:g} | {rule.max_backoff_s:g} | "
            f"{rule.jitter:g} | {rule.max_attempts} |"
        )
        assert row in page, f"docs/execution.md should hold {row}"
        assert ADVICE[trouble].endswith(".")
        assert rule.max_backoff_s <= PAUSE_MAX_S
    assert trouble_of(DomainError(Reason.LIMIT_REACHED, "full")) is Trouble.BUDGET
    assert trouble_of(DomainError(Reason.PEER_UNAVAILABLE, "away")) is Trouble.PEER_AWAY
    assert trouble_of(KeyError()) is Trouble.FAULT


@given(st.sampled_from(HaltKind), st.sampled_from(["lighter", "hyperliquid"]), st.integers(1, 2))
def test_a_halt_takes_in_its_scope_and_nothing_else(kind: HaltKind, venue: str, user: int) -> None:
    name = {HaltKind.EVERYTHING: "", HaltKind.VENUE: "lighter", HaltKind.USER: str(UUID(int=1))}[kind]
    halt = Halt(
        halt_id=UUID(int=9), scope=Scope(kind, name), reason="The venue misbehaves.", operator="ann",
        cancels_orders=False, create_time=NOW,
    )  # fmt: skip
    taken = {HaltKind.EVERYTHING: True, HaltKind.VENUE: venue == "lighter", HaltKind.USER: user == 1}[kind]
    assert (halt_of([halt], UUID(int=user), venue) is halt) == taken
    refusal = halted(halt)
    assert refusal.reason is RefusalReason.HALTED
    assert halt.reason in refusal.message


def test_scopes_are_named_and_others_are_taught() -> None:
    assert scope_of("everything") == Scope(HaltKind.EVERYTHING)
    assert scope_of("venue:lighter") == Scope(HaltKind.VENUE, "lighter")
    assert scope_of(f"user:{UUID(int=1)}") == Scope(HaltKind.USER, str(UUID(int=1)))
    for wrong in ("", "venue:", "user:me", "everything:else", "lighter"):
        with pytest.raises(ConfigError, match="would pass"):
            scope_of(wrong)
