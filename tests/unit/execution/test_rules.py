"""The edges of the order table and the retry rules: what counts, from which moment on, and what stays as it was."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from datetime import timedelta
from decimal import Decimal
from itertools import product
from typing import Any
from uuid import UUID

import pytest

from services.domain.errors import DomainError, Reason
from services.execution.model.clients import venue_client_id
from services.execution.model.leg import Evidence, LegState, Role, Told, fill, tell
from services.execution.model.order import (
    Exit,
    NewOrder,
    Order,
    OrderState,
    Replacement,
    concluded,
    with_leg,
)
from services.execution.model.retry import PAUSE_MAX_S, TABLE, Retry, Trouble, parse
from services.execution.model.trouble import WorkKind, failed_again, kind_of
from services.venues.actions import TimeInForce
from tests.unit.execution.test_leg import NOW, leg, trade
from tests.unit.execution.test_order import wish
from tests.unit.execution.test_retry import failing

D = Decimal
LATER = NOW + timedelta(seconds=3)


def order(**changes: Any) -> Order:
    wanted: NewOrder = wish()
    made = Order(
        order_id=UUID(int=1), user_id=UUID(int=2), request_id=wanted.request_id, digest=wanted.digest,
        market=wanted.market, side=wanted.side, size=D(3), type=wanted.type, limit_price=wanted.limit_price,
        time_in_force=wanted.time_in_force, reduce_only=False, client_order_id="", quote_id=None,
        max_slippage_bps=None, legs=(leg(),), create_time=NOW, update_time=NOW,
    )  # fmt: skip
    return replace(made, **changes)


def test_a_new_leg_has_sent_settled_and_filled_nothing() -> None:
    new = leg()
    assert (new.nonce, new.key_index, new.expire_ms, new.send_count, new.action_number, new.settled) == (0,) * 6
    assert (new.filled, new.notional, new.fees, new.interface_fees) == (0,) * 4
    assert (new.entry, new.part, new.cancel_wanted, new.expiring, new.wants_cancel) == (0, 0, False, False, False)
    assert (new.state, new.evidence, new.role) == (LegState.PREPARED, Evidence.UNSPECIFIED, Role.ENTRY)
    assert (new.is_final, new.is_settled) == (False, True)
    with pytest.raises(FrozenInstanceError):
        new.nonce = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("sent", "action", "settled", "is_settled"),
    [
        (0, 0, 0, True),  # nothing was signed
        (1, 0, 0, False),
        (2, 0, 0, False),
        (1, 0, 1, True),
        (1, 1, 1, False),  # the cancel is out
        (1, 1, 2, True),
        (1, 2, 2, False),
        (0, 1, 0, False),
        (0, 1, 1, False),
        (1, 2, 4, True),
    ],
)
def test_a_leg_is_settled_once_the_fate_of_its_last_action_is_told(
    sent: int, action: int, settled: int, is_settled: bool
) -> None:
    assert leg(send_count=sent, action_number=action, settled=settled).is_settled is is_settled


@pytest.mark.parametrize(
    ("venue", "life_s", "ends"),
    [("lighter", 330, True), ("lighter", 329, False), ("lighter", 331, True), ("lighter", None, False),
     ("hyperliquid", 10_000, False), ("moon", 10_000, False)],
)  # fmt: skip
def test_lighter_ends_what_lives_for_five_and_a_half_minutes(venue: str, life_s: int | None, ends: bool) -> None:
    until = None if life_s is None else NOW + timedelta(seconds=life_s)
    one = leg(venue=venue, expire_time=until)
    assert one.venue_ends_it is ends
    down = None if until is None else until + timedelta(seconds=5 if ends else 0)
    assert one.take_down_time == down
    assert leg(venue=venue, expire_time=until, cancel_wanted=True).take_down_time is None
    assert leg(venue=venue, expire_time=until, expiring=True).take_down_time is None
    assert leg(venue=venue, expire_time=until, state=LegState.FILLED).take_down_time is None


def test_a_leg_is_over_from_its_time_on() -> None:
    one = leg(expire_time=NOW)
    assert [one.is_over(NOW + timedelta(seconds=s)) for s in (-1, 0, 1)] == [False, True, True]
    assert not leg().is_over(LATER)
    assert [leg(time_in_force=kind).may_rest for kind in TimeInForce] == [
        kind is not TimeInForce.IMMEDIATE_OR_CANCEL for kind in TimeInForce
    ]


def test_sendings_are_counted_and_the_first_is_timed() -> None:
    one = leg(state=LegState.SIGNED)
    for count in range(1, 5):
        one = tell(one, Told.SEND, Evidence.UNSPECIFIED, NOW + timedelta(seconds=count))
        assert (one.send_count, one.submit_time) == (count, NOW + timedelta(seconds=1))
        assert one.update_time == NOW + timedelta(seconds=count)
    taken = tell(one, Told.ACCEPT, Evidence.STREAM, LATER)
    assert (taken.send_count, taken.submit_time, taken.state) == (4, one.submit_time, LegState.OPEN)


@pytest.mark.parametrize(("state", "told"), list(product(LegState, Told)))
def test_the_time_of_proof_goes_with_the_end_and_not_before(state: LegState, told: Told) -> None:
    before = leg(state=state, resolve_time=LATER)
    after = tell(before, told, Evidence.LOOKUP, NOW)
    ended = after != before and after.is_final
    assert after.resolve_time == (None if ended else LATER)
    assert after.evidence is (Evidence.LOOKUP if after != before else Evidence.UNSPECIFIED)


@pytest.mark.parametrize("told", Told)
@pytest.mark.parametrize("expiring", [True, False])
def test_only_our_own_cancel_for_its_time_is_an_expiry(told: Told, expiring: bool) -> None:
    after = tell(leg(state=LegState.OPEN, expiring=expiring), told, Evidence.STREAM, NOW)
    expired = told is Told.EXPIRE or (expiring and told is Told.CANCEL)
    assert (after.state is LegState.EXPIRED) is expired


def test_trades_add_up_each_by_its_own_price_and_fees() -> None:
    one = leg(state=LegState.OPEN, trigger_price=D(99))
    for number, (size, price, fee) in enumerate([("1", "101", "0.5"), ("0.5", "103", "-0.2"), ("1.5", "97", "0.7")]):
        told = replace(
            trade(size, number), price=D(price), fee=D(fee), interface_fee=D("0.01"), venue_order_id=str(number),
            fill_time=NOW + timedelta(seconds=(1, 3, 2)[number]),
        )  # fmt: skip
        one = fill(one, told, NOW + timedelta(seconds=10 + number))
    assert (one.filled, one.notional, one.fees, one.interface_fees) == (D(3), D("298"), D("1.0"), D("0.03"))
    assert (one.state, one.evidence, one.venue_order_id) == (LegState.FILLED, Evidence.STREAM, "0")
    assert (one.execute_time, one.acknowledge_time) == (NOW + timedelta(seconds=3), NOW + timedelta(seconds=10))
    assert one.trigger_time == NOW + timedelta(seconds=1), "its first trade"
    assert one.update_time == NOW + timedelta(seconds=12)
    assert fill(leg(state=LegState.OPEN), trade("4"), NOW).state is LegState.FILLED, "more than its size"
    assert fill(leg(state=LegState.OPEN), trade("4"), NOW).trigger_time is None


def test_an_order_counts_the_legs_that_trade_it() -> None:
    legs = (
        leg(filled=D("1.5"), notional=D(150), state=LegState.PARTIALLY_FILLED),
        leg(leg_id=UUID(int=9), number=2, size=D(2), filled=D(2), notional=D(300), state=LegState.FILLED),
        leg(leg_id=UUID(int=10), number=3, size=D(5), filled=D(1), notional=D(70), role=Role.STOP_LOSS,
            state=LegState.OPEN),
    )  # fmt: skip
    one = order(legs=legs)
    assert (one.filled, one.notional, one.out) == (D("3.5"), D(450), D("5.5"))
    assert (one.version, one.slice_time, one.is_slicing) == (1, None, False)


def test_a_changed_leg_is_a_new_version_and_an_end_is_timed_once() -> None:
    one = order(version=3)
    filled = leg(state=LegState.FILLED, filled=D(3))
    after = with_leg(one, filled, LATER)
    assert (after.version, after.update_time, after.legs) == (4, LATER, (filled,))
    assert with_leg(one, replace(filled, leg_id=UUID(int=99)), LATER).legs == one.legs
    assert after.finish_time is None
    done = concluded(after, LATER)
    assert (done.state, done.finish_time) == (OrderState.DONE, LATER)
    assert concluded(done, LATER + timedelta(seconds=1)) is done
    assert concluded(one, LATER) is one


def test_an_order_that_another_leg_follows_has_not_ended() -> None:
    next_terms = Replacement(
        request_id=UUID(int=5), leg_id=leg().leg_id, new_leg_id=UUID(int=6), size=D(3), limit_price=D(101)
    )
    canceled = leg(state=LegState.CANCELED)
    other = leg(leg_id=UUID(int=8), state=LegState.CANCELED)
    assert order(legs=(canceled,)).state is OrderState.CANCELED
    assert order(legs=(canceled,), replacement=next_terms).state is OrderState.RUNNING
    assert order(legs=(canceled,), replacement=next_terms).is_replacing(canceled)
    assert not order(legs=(canceled,), replacement=next_terms).is_replacing(other)
    assert not order(legs=(canceled,), replacement=next_terms).is_replacing(leg(leg_id=UUID(int=6)))
    assert not order(legs=(canceled,)).is_replacing(canceled)


def test_a_request_gets_its_order_again_and_other_content_is_refused() -> None:
    one = order()
    assert one.answer_to(wish()) is one
    for other in (wish(size=D(4)), wish(size=D(2)), wish(take_profit=Exit(trigger_price=D(110)))):
        with pytest.raises(DomainError) as caught:
            one.answer_to(other)
        assert caught.value.reason is Reason.REQUEST_ID_REUSED
        assert caught.value.metadata["order_id"] == str(one.order_id)


def test_the_ids_at_the_venues_are_those_that_are_kept_already() -> None:
    assert venue_client_id("lighter", UUID(int=0)) == "1"
    assert venue_client_id("lighter", UUID(int=2**47 - 2)) == str(2**47 - 1)
    assert venue_client_id("lighter", UUID(int=2**47 - 1)) == "1"
    assert venue_client_id("lighter", UUID(int=2**100 + 12)) == str((2**100 + 12) % (2**47 - 1) + 1)
    assert venue_client_id("hyperliquid", UUID(int=255)) == "0x" + "0" * 30 + "ff"


def test_pauses_grow_by_their_factor_up_to_the_longest() -> None:
    rule = Retry(first_s=0.5, backoff_multiplier=3, max_backoff_s=12, jitter=0.5, max_attempts=4)
    assert [rule.pause_s(count) for count in range(6)] == [0.5, 0.5, 1.5, 4.5, 12, 12]
    assert [rule.pause_s(2, chance) for chance in (0, 0.25, 0.5, 0.75, 1)] == [0.75, 1.125, 1.5, 1.875, 2.25]
    assert rule.pause_s(10_000) == 12, "however often"
    long = replace(rule, max_backoff_s=24, jitter=1.0)
    assert long.pause_s(9, 1.0) == PAUSE_MAX_S == 25
    assert long.pause_s(9, 0.0) == 0
    slow = replace(rule, backoff_multiplier=1.0001, max_backoff_s=25, jitter=0)
    assert slow.pause_s(66) == slow.pause_s(65) == pytest.approx(0.5 * 1.0001**64)
    assert slow.pause_s(64) == pytest.approx(0.5 * 1.0001**63)


@pytest.mark.parametrize(
    ("words", "passes"),
    [
        ("jitter=1", True), ("jitter=1.01", False), ("jitter=0", True), ("backoff_multiplier=1", True),
        ("backoff_multiplier=0.99", False), ("first_s=0.01", True), ("first_s=0", False), ("max_backoff_s=25", True),
        ("max_backoff_s=25.1", False), ("max_backoff_s=0", True), ("max_attempts=0", True), ("first_s=x", False),
        ("max_attempts=3", True), ("first_s=1 jitter=2", False),
        ("last_s=1", False), ("first_s=1=1", False), ("", True),
    ],
)  # fmt: skip
def test_rules_are_taken_within_their_bounds(words: str, passes: bool) -> None:
    default = TABLE[Trouble.BUDGET]
    if not passes:
        with pytest.raises(ValueError, match=r"at most|names|one of"):
            parse(words, default)
        return
    made = parse(words, default)
    changed = dict(word.split("=") for word in words.split())
    for name in ("first_s", "backoff_multiplier", "max_backoff_s", "jitter", "max_attempts"):
        assert getattr(made, name) == (float(changed[name]) if name in changed else getattr(default, name))
    assert isinstance(made.max_attempts, int)


@pytest.mark.parametrize(("state", "wanted"), list(product(LegState, (True, False))))
def test_work_is_named_by_what_is_being_done(state: LegState, wanted: bool) -> None:
    named = {LegState.PREPARED: WorkKind.SIGN, LegState.SIGNED: WorkKind.SEND}
    if wanted:
        named |= dict.fromkeys((LegState.OPEN, LegState.PARTIALLY_FILLED), WorkKind.CANCEL)
    assert kind_of(leg(state=state, cancel_wanted=wanted)) is named.get(state, WorkKind.RESOLVE)


def test_work_is_stuck_with_its_last_attempt_and_never_for_none() -> None:
    rule = TABLE[Trouble.FAULT]
    never = replace(rule, max_attempts=0)
    once = failed_again(None, failing(), rule)
    assert (once.attempts, once.stuck_time) == (1, None)
    assert failed_again(None, failing(), replace(rule, max_attempts=1)).stuck_time == NOW
    before = failing(attempts=rule.max_attempts - 2, first_time=NOW)
    almost = failed_again(before, failing(first_time=LATER, last_time=LATER), rule)
    assert (almost.attempts, almost.first_time, almost.stuck_time) == (rule.max_attempts - 1, NOW, None)
    stuck = failed_again(almost, failing(last_time=LATER), rule)
    assert (stuck.attempts, stuck.stuck_time) == (rule.max_attempts, LATER)
    again = failed_again(stuck, failing(last_time=LATER + timedelta(seconds=9)), rule)
    assert (again.attempts, again.stuck_time) == (rule.max_attempts + 1, LATER), "since the first time"
    assert failed_again(failing(attempts=1_000), failing(), never).stuck_time is None
    beyond = failed_again(failing(attempts=1_000), failing(last_time=LATER), rule)
    assert beyond.stuck_time == LATER, "a rule that allows less than was tried already"
