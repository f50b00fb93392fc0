"""The table of a leg's states, walked whole; and what must hold of any history."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.execution.model.clients import venue_client_id
from services.execution.model.leg import TABLE, Evidence, Leg, LegState, Told, Trade, fill, tell
from services.execution.model.order import OrderState, state_of
from services.venues.actions import OrderType, Side, TimeInForce

NOW = datetime(2026, 11, 27, tzinfo=UTC)
D = Decimal
ENDS = {state for state in LegState if state.is_final}
NEVER_SENT = {LegState.PREPARED, LegState.SIGNED}


def leg(**changes: object) -> Leg:
    made = Leg(
        leg_id=UUID(int=7),
        number=1,
        venue="lighter",
        account_id=UUID(int=8),
        market="BTC-PERP",
        venue_market_id=1,
        side=Side.BUY,
        size=D("3"),
        limit_price=D("100"),
        type=OrderType.LIMIT,
        time_in_force=TimeInForce.GOOD_TILL_CANCELED,
        reduce_only=False,
        client_id="1",
        create_time=NOW,
        update_time=NOW,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def trade(size: str, number: int = 1) -> Trade:
    return Trade(
        fill_id=UUID(int=number),
        trade_id=str(number),
        venue="lighter",
        account_id=UUID(int=8),
        market="BTC-PERP",
        side=Side.BUY,
        price=D("100"),
        size=D(size),
        liquidity="TAKER",
        cause="ORDER",
        fee=D("0.1"),
        interface_fee=D(0),
        realized_pnl=None,
        venue_order_id="9",
        client_id="1",
        fill_time=NOW,
        receive_time=NOW,
    )


@pytest.mark.parametrize(("state", "told"), list(product(LegState, Told)))
def test_the_whole_table(state: LegState, told: Told) -> None:
    before = leg(state=state)
    after = tell(before, told, Evidence.STREAM, NOW + timedelta(seconds=1))
    wanted = TABLE[state].get(told, state)
    assert after.state is wanted
    if told not in TABLE[state]:
        assert after == before, "what is not in the table changes nothing"


def test_no_end_is_left_but_by_a_trade_and_nothing_unsent_is_refused_by_a_venue() -> None:
    for state in ENDS:
        assert set(TABLE[state]) <= {Told.FILL, Told.FILL_ALL}
    for state in NEVER_SENT:
        assert not {Told.REFUSE, Told.NEVER_LAND, Told.LOSE, Told.ACCEPT, Told.FILL} & set(TABLE[state])


def test_unknown_is_left_by_evidence_alone() -> None:
    left = {told for told, state in TABLE[LegState.SUBMIT_UNKNOWN].items() if state is not LegState.SUBMIT_UNKNOWN}
    assert left == {Told.ACCEPT, Told.FILL, Told.FILL_ALL, Told.CANCEL, Told.EXPIRE, Told.REFUSE, Told.NEVER_LAND}


@given(st.lists(st.sampled_from([*Told, "1", "2"]), max_size=30))
def test_filled_never_goes_back_and_an_end_stays_an_end(history: list[Told | str]) -> None:
    one, number = leg(), 0
    for told in history:
        before = one
        if isinstance(told, Told):
            one = tell(one, told, Evidence.STREAM, NOW)
        elif before.state not in NEVER_SENT | {LegState.DENIED}:
            number += 1
            one = fill(one, trade(told, number), NOW)
        assert one.filled >= before.filled
        assert not before.is_final or one.is_final
        assert (
            one.state is not LegState.FILLED
            or one.filled >= one.size
            or before.state is LegState.FILLED
            or (told is Told.FILL_ALL)
        )


def test_a_late_fill_of_a_canceled_leg_counts() -> None:
    canceled = leg(state=LegState.CANCELED, filled=D(1))
    assert fill(canceled, trade("1"), NOW).state is LegState.CANCELED
    assert fill(canceled, trade("1"), NOW).filled == 2
    assert fill(canceled, trade("2"), NOW).state is LegState.FILLED


@pytest.mark.parametrize(
    ("states", "filled", "wanted"),
    [
        (("PREPARED", "SIGNED"), 0, "PLANNED"),
        (("SUBMITTED", "PREPARED"), 0, "RUNNING"),
        (("FILLED", "SUBMIT_UNKNOWN"), 3, "SUBMIT_UNKNOWN"),
        (("FILLED", "FILLED"), 3, "DONE"),
        (("FILLED", "REJECTED"), 3, "PARTIALLY_DONE"),
        (("REJECTED", "CANCELED"), 0, "REJECTED"),
        (("FAILED", "CANCELED"), 0, "FAILED"),
        (("CANCELED", "CANCELED"), 0, "CANCELED"),
        (("DENIED",), 0, "DENIED"),
        ((), 0, "DENIED"),
    ],
)
def test_an_order_stands_where_its_legs_do(states: tuple[str, ...], filled: int, wanted: str) -> None:
    legs = [leg(state=LegState(state), filled=D(filled) if state == "FILLED" else D(0)) for state in states]
    size = D(3 * max(1, len(legs)))
    assert state_of(legs, size) is OrderState(wanted)


@given(st.uuids())
def test_the_id_at_a_venue_is_a_function_of_the_leg_and_fits(leg_id: UUID) -> None:
    assert 1 <= int(venue_client_id("lighter", leg_id)) < 2**48
    assert venue_client_id("lighter", leg_id) == venue_client_id("lighter", leg_id)
    assert len(venue_client_id("hyperliquid", leg_id)) == 34


def drawn() -> str:
    """Return the table as the documentation shows it."""
    lines = ["| state | what is told, and the state after it |", "|---|---|"]
    for state, moves in TABLE.items():
        told = ", ".join(f"{told.value} → {after.value}" for told, after in moves.items())
        lines.append(f"| {state.value} | {told or 'nothing more'} |")
    return "\n".join(lines)


def test_the_documentation_shows_the_table() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "execution.md").read_text()
    assert drawn() in page, f"docs/execution.md should hold:\n{drawn()}"
