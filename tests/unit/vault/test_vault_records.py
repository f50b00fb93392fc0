"""The audit chain, the lifecycle of keys and set-ups."""

from __future__ import annotations

import itertools
import uuid
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.vault.model.audit import START, Row, audit_key, chained, first_broken
from services.vault.model.key import NEXT, KeyState
from services.vault.model.setup import Method, Plan, SetupState, Step, StepKind, StepState, state_of

KEY = audit_key(b"\x01" * 32, "account")


def chain(count: int) -> tuple[list[Row], tuple[int, bytes]]:
    rows, seq, head = [], 0, START
    for number in range(count):
        row = chained(KEY, seq, head, "action.signed", {"nonce": number})
        rows.append(row)
        seq, head = row.seq, row.hash
    return rows, (seq, head)


def test_a_chain_holds() -> None:
    rows, head = chain(9)
    assert first_broken(KEY, rows, head) is None
    assert first_broken(KEY, [], (0, START)) is None


@given(st.integers(1, 8), st.data())
def test_whatever_is_changed_left_out_or_put_in_breaks_it(count: int, data: st.DataObject) -> None:
    rows, head = chain(count)
    at = data.draw(st.integers(0, count - 1))
    forged = chained(b"another key", rows[at].seq - 1, START, rows[at].kind, {"nonce": 99})
    how = data.draw(st.sampled_from(["detail", "kind", "hash", "drop", "twice", "forge"]))
    changed = {
        "detail": [*rows[:at], replace(rows[at], detail=rows[at].detail + " "), *rows[at + 1 :]],
        "kind": [*rows[:at], replace(rows[at], kind="other"), *rows[at + 1 :]],
        "hash": [*rows[:at], replace(rows[at], hash=bytes(32)), *rows[at + 1 :]],
        "drop": [*rows[:at], *rows[at + 1 :]],
        "twice": [*rows[: at + 1], rows[at], *rows[at + 1 :]],
        "forge": [*rows[:at], forged, *rows[at + 1 :]],
    }[how]
    assert first_broken(KEY, changed, head) is not None
    assert first_broken(audit_key(b"\x02" * 32, "account"), rows, head) == 1


def test_a_key_that_ended_never_comes_back() -> None:
    for before, after in itertools.product(KeyState, KeyState):
        if before.is_final:
            assert after not in NEXT[before]
    assert NEXT[KeyState.PENDING] >= {KeyState.ACTIVE, KeyState.REVOKED}
    assert KeyState.PENDING not in NEXT[KeyState.ACTIVE]


def step(state: StepState, *, required: bool = True) -> Step:
    plan = Plan(
        kind=StepKind.APPROVE_AGENT, required=required, explanation="", method=Method.EIP712, payload="",
        venue_action={}, nonce=1,
    )  # fmt: skip
    return Step(step_id=uuid.uuid4(), plan=plan, signer_address="", state=state)


AWAITED, SENT, DONE, NO, LEFT = StepState


@pytest.mark.parametrize(
    ("steps", "late", "state"),
    [
        ([step(AWAITED)], False, SetupState.AWAITING_SIGNATURES),
        ([step(AWAITED)], True, SetupState.EXPIRED),
        ([step(SENT)], True, SetupState.SUBMITTED),
        ([step(DONE)], False, SetupState.CONFIRMED),
        ([step(NO)], False, SetupState.REFUSED),
        ([step(DONE), step(AWAITED, required=False)], False, SetupState.AWAITING_SIGNATURES),
        ([step(DONE), step(AWAITED, required=False)], True, SetupState.CONFIRMED),
        ([step(DONE), step(NO, required=False)], False, SetupState.CONFIRMED),
        ([step(DONE), step(LEFT, required=False)], False, SetupState.CONFIRMED),
        ([step(NO), step(AWAITED, required=False)], False, SetupState.REFUSED),
    ],
)
def test_how_far_a_set_up_has_come(steps: list[Step], late: bool, state: SetupState) -> None:
    assert state_of(steps, is_late=late) is state
