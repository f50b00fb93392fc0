"""The schedule of an order in slices: shares, catching up, pauses, and what is never exceeded."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.domain.refusal import Origin, Refusal, RefusalReason
from services.execution.app.slicing import begin
from services.execution.model.leg import LegState, Role
from services.execution.model.order import NewOrder, Order, OrderState, denied
from services.execution.model.twap import CATCH_UP, GRAIN, Terms, Twap
from services.execution.ports import Route, TradingAccount
from services.execution.store.plans import twap_json, twap_of
from services.venues.actions import OrderType, TimeInForce
from tests.unit.execution.test_exits import bracket
from tests.unit.execution.test_leg import NOW, leg

D = Decimal
TERMS = st.builds(
    Terms,
    duration=st.integers(60, 1_800).map(lambda one: timedelta(seconds=one)),
    interval=st.integers(10, 60).map(lambda one: timedelta(seconds=one)),
    randomize=st.booleans(),
)
SIZES = st.decimals("0.001", "5000", places=5)


def schedule(terms: Terms, **changes: object) -> Twap:
    made = Twap(terms=terms, seed=7, account_ids=(UUID(int=8),), start_time=NOW)
    return replace(made, **changes)  # type: ignore[arg-type]


def order(twap: Twap, **changes: object) -> Order:
    made = replace(
        bracket(()), type=OrderType.MARKET, time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL, legs=(), twap=twap,
        size=D(70),
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=40)
@given(TERMS, SIZES, st.integers(0, 2**63))
def test_shares_rise_to_all_of_it_and_slices_vary_by_a_fifth_at_most(terms: Terms, size: Decimal, seed: int) -> None:
    twap = schedule(terms, seed=seed)
    targets = [twap.target(number, size) for number in range(terms.count + 1)]
    assert (targets[0], targets[-1]) == (0, size)
    assert targets == sorted(targets)
    share = D("0.2") if terms.randomize else D(0)
    for before, after in pairwise(targets):  # compared whole, so that nothing is rounded here
        own = (after - before) * terms.count
        assert size * (1 - share) - 2 * GRAIN * terms.count <= own <= size * (1 + share) + 2 * GRAIN * terms.count


@settings(deadline=None, max_examples=40)
@given(TERMS, st.integers(0, 2**63))
def test_times_rise_from_the_start_to_the_end_and_the_slice_that_is_due_is_found(terms: Terms, seed: int) -> None:
    twap = schedule(terms, seed=seed)
    times = [twap.due_time(number) for number in range(1, terms.count + 1)]
    assert times[0] == NOW
    assert terms.count == 1 or times[-1] == twap.end_time == NOW + terms.duration
    assert times == sorted(set(times))
    for number, at in enumerate(times, 1):
        assert twap.due_slice(at) == number
        assert twap.due_slice(at - timedelta(microseconds=1)) == (number - 1 or None)


@settings(deadline=None, max_examples=40)
@given(TERMS, SIZES, st.integers(0, 2**63), st.data())
def test_whatever_fills_and_is_missed_no_more_than_all_is_ordered_and_nothing_in_one_blow(
    terms: Terms, size: Decimal, seed: int, data: st.DataObject
) -> None:
    twap, filled, full = schedule(terms, seed=seed), D(0), True
    while not twap.is_over:
        late = timedelta(seconds=data.draw(st.sampled_from([0, 0, 0, 0, 200])))  # the room was away for a while
        at = twap.due_time(twap.next_slice) + late
        number = twap.due_slice(at)
        assert number is not None
        full &= number == twap.next_slice
        asked = twap.slice_size(number, size, filled, D(0))
        own = twap.target(number, size) - twap.target(number - 1, size)
        assert asked <= CATCH_UP * own
        if asked > 0:
            share = data.draw(st.sampled_from([1, 1, 1, 0]))
            full &= share == 1
            filled += asked * share
        assert filled <= twap.target(number, size)
        twap = replace(twap, next_slice=number + 1)
        assert twap.shortfall(size, filled) == twap.target(number, size) - filled
    if full:
        assert filled == size


def test_what_is_out_is_counted_as_if_it_filled() -> None:
    twap = schedule(Terms(duration=timedelta(seconds=60), interval=timedelta(seconds=10)), next_slice=3)
    assert twap.slice_size(3, D(70), D(10), D(10)) == 10
    assert twap.slice_size(3, D(70), D(10), D(0)) == 20
    assert twap.slice_size(7, D(70), D(0), D(0)) == 30, "three times its own size"
    assert twap.slice_size(3, D(70), D(30), D(0)) == 0


def test_a_pause_moves_what_is_to_come() -> None:
    twap = schedule(Terms(duration=timedelta(seconds=60), interval=timedelta(seconds=10)), next_slice=2)
    assert twap.next_time == NOW + timedelta(seconds=10)
    paused = replace(twap, pause_time=NOW + timedelta(seconds=5))
    assert (paused.next_time, paused.due_slice(NOW + timedelta(days=1))) == (None, None)
    resumed = replace(twap, paused=timedelta(minutes=3))
    assert resumed.next_time == NOW + timedelta(seconds=190)
    assert resumed.end_time == NOW + timedelta(seconds=240)


@settings(deadline=None, max_examples=40)
@given(TERMS, st.integers(0, 2**63 - 1), st.booleans())
def test_a_schedule_is_kept_whole(terms: Terms, seed: int, paused: bool) -> None:
    no = Refusal(reason=RefusalReason.VENUE_STALE, origin=Origin.MESH, message="stale")
    twap = schedule(terms, seed=seed, next_slice=3, sent=2, paused=timedelta(seconds=3), refusal=no if paused else None)
    twap = replace(twap, pause_time=NOW if paused else None)
    assert twap_of(twap_json(twap)) == twap


SHORT = Terms(duration=timedelta(seconds=60), interval=timedelta(seconds=10))
OVER = {"next_slice": 8, "sent": 7}


@pytest.mark.parametrize(
    ("twap", "changes", "states", "filled", "wanted"),
    [
        ({}, {}, (), 0, "PLANNED"),
        ({"next_slice": 2, "sent": 1}, {}, ("FILLED",), 10, "RUNNING"),
        ({"next_slice": 2, "sent": 1}, {}, ("SUBMIT_UNKNOWN",), 0, "SUBMIT_UNKNOWN"),
        ({"next_slice": 2, "sent": 1, "pause_time": NOW}, {}, ("FILLED",), 10, "PAUSED"),
        ({"pause_time": NOW}, {"cancel_time": NOW}, (), 0, "CANCELED"),
        ({"next_slice": 2, "sent": 1}, {"cancel_time": NOW}, ("OPEN",), 0, "RUNNING"),
        ({"next_slice": 2, "sent": 1}, {"cancel_time": NOW}, ("FILLED",), 10, "PARTIALLY_DONE"),
        ({"next_slice": 2, "sent": 1}, {"cancel_time": NOW}, ("REJECTED",), 0, "CANCELED"),
        (OVER, {}, ("FILLED",), 70, "DONE"),
        (OVER, {}, ("FILLED", "REJECTED"), 60, "PARTIALLY_DONE"),
        (OVER, {}, ("REJECTED",), 0, "REJECTED"),
        ({"next_slice": 8}, {}, (), 0, "EXPIRED"),
    ],
)
def test_an_order_in_slices_stands_where_its_schedule_and_its_legs_do(
    twap: dict[str, object], changes: dict[str, object], states: tuple[str, ...], filled: int, wanted: str
) -> None:
    legs = tuple(
        leg(leg_id=UUID(int=at), number=at, role=Role.SLICE, part=at, size=D(70), state=LegState(state),
            filled=D(filled) if state == "FILLED" else D(0))
        for at, state in enumerate(states, 1)
    )  # fmt: skip
    one = order(schedule(SHORT, **twap), legs=legs, **changes)
    assert one.state is OrderState(wanted)
    assert (one.slice_time is None) == (wanted not in ("PLANNED", "RUNNING", "SUBMIT_UNKNOWN") or bool(changes))


class Router:
    """Routing that carries a size or more."""

    def __init__(self, smallest: str) -> None:
        self.smallest = D(smallest)

    async def plan(self, wanted: NewOrder, accounts: object, order_id: UUID, *, preview: bool = False) -> Route:
        assert preview, "nothing is kept of a look"
        refusal = None
        if wanted.size < self.smallest:
            refusal = Refusal(
                reason=RefusalReason.NOTIONAL_TOO_SMALL, origin=Origin.MESH, message="It is worth too little.",
                field="size", passing_value=str(self.smallest),
            )  # fmt: skip
        return Route(quote_id=UUID(int=1), legs=(), size=wanted.size, arrival_mid_price=D(100), refusal=refusal)


def whole(market: str, accounts: object, size: Decimal) -> Decimal:
    return size


@pytest.mark.parametrize("randomize", [False, True])
async def test_the_smallest_slice_must_pass_and_what_is_said_to_pass_does(randomize: bool) -> None:
    accounts: tuple[TradingAccount, ...] = ()
    asked = order(schedule(replace(SHORT, randomize=randomize)), size=D(1))
    refusal = await begin(asked, accounts, planner=Router("0.2"), on_lot=whole)
    assert isinstance(refusal, Refusal)
    assert (refusal.field, refusal.reason) == ("size", RefusalReason.NOTIONAL_TOO_SMALL)
    assert denied(asked, refusal).state is OrderState.DENIED
    again = replace(asked, size=D(refusal.passing_value))
    assert isinstance(await begin(again, accounts, planner=Router("0.2"), on_lot=whole), Order)


async def test_an_order_has_so_many_slices_at_most() -> None:
    week = Terms(duration=timedelta(days=7), interval=timedelta(seconds=30))
    refusal = await begin(order(schedule(week)), (), planner=Router("0"), on_lot=whole)
    assert isinstance(refusal, Refusal)
    passing = timedelta(seconds=int(refusal.passing_value.removesuffix("s")))
    assert isinstance(
        await begin(order(schedule(replace(week, interval=passing))), (), planner=Router("0"), on_lot=whole), Order
    )
