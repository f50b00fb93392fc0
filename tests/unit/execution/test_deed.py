"""The table of a deed's states, walked whole."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product
from uuid import UUID

import pytest

from services.execution.model.deed import TABLE, Deed, DeedKind, DeedState, Heard, hear
from services.venues.actions import ScheduleCancel

NOW = datetime(2026, 11, 28, tzinfo=UTC)
SURE = {Heard.ACCEPT: DeedState.DONE, Heard.REFUSE: DeedState.REFUSED, Heard.NEVER_LAND: DeedState.FAILED}


def deed(state: DeedState, **changes: object) -> Deed:
    given = {
        "deed_id": UUID(int=1), "user_id": UUID(int=2), "account_id": UUID(int=3), "venue": "lighter",
        "kind": DeedKind.SWITCH, "subject": "", "request_id": None, "action": ScheduleCancel(), "state": state,
        "create_time": NOW, "update_time": NOW,
    }  # fmt: skip
    return Deed(**(given | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(("state", "heard"), list(product(DeedState, Heard)))
def test_what_is_not_in_the_table_changes_nothing_and_what_is_ends_it_by_evidence(
    state: DeedState, heard: Heard
) -> None:
    before = deed(state)
    after = hear(before, heard, NOW)
    if heard not in TABLE[state]:
        assert after is before
        return
    assert after.state is TABLE[state][heard]
    assert not state.is_final, "an end is an end"
    assert after.send_count == (1 if heard is Heard.SEND else 0)
    if heard in SURE:
        assert after.state is SURE[heard]
    if state is DeedState.PREPARED:
        assert heard is not Heard.ACCEPT, "nothing is done that was not sent"


def test_a_deed_is_over_when_its_nonce_is_settled_or_holds_nothing_up() -> None:
    assert not deed(DeedState.SENT, send_count=1).is_over
    assert not deed(DeedState.DONE, send_count=1).is_over
    assert deed(DeedState.DONE, send_count=1, is_settled=True).is_over
    assert deed(DeedState.REFUSED).is_over, "nothing was sent"
    assert deed(DeedState.LAPSED, send_count=1).is_over, "its nonce lapses by itself"
