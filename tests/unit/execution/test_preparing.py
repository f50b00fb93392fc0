"""Orders that their callers sign: what is asked for, what is taken, and that each signature is of one action alone."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from services.domain.errors import DomainError, Reason
from services.domain.refusal import RefusalReason
from services.execution.model import preparing
from services.execution.model.caller_key import CallerKey
from services.execution.model.leg import Evidence, Leg, LegState, Told, tell
from services.execution.model.order import NewOrder, Order, OrderState, mesh_says_no
from services.execution.model.preparing import LIFE_CANCEL, LIFE_IMMEDIATE, LIFE_RESTING, Method, Prepared, Signable
from services.execution.store.plans import caller_json, caller_of
from services.venues.actions import TimeInForce
from tests.unit.execution.test_leg import leg as some_leg
from tests.unit.execution.test_order import wish as wanted
from tests.unit.execution.test_replacing import order

NOW = datetime(2026, 11, 28, tzinfo=UTC)
ACCOUNT, OTHER = UUID(int=21), UUID(int=22)
WALLET = CallerKey(address="0x" + "ab" * 20)
API_KEY = CallerKey(public_key="cd" * 40, api_key_index=9)


@dataclass(frozen=True)
class Account:
    """An account, as far as the rules need it."""

    account_id: UUID = ACCOUNT
    venue: str = "hyperliquid"
    has_our_key: bool = True


def prepared(*legs: Leg) -> Order:
    """Return an order whose legs wait for their signatures."""
    made = order(*(legs or (some_leg(account_id=ACCOUNT, create_time=NOW),)))
    return preparing.for_callers(made, signed_by((ACCOUNT, WALLET), (OTHER, API_KEY)))


def signed_by(*signers: tuple[UUID, CallerKey], **changes: object) -> NewOrder:
    return replace(wanted(), signers=signers, **changes)  # type: ignore[arg-type]


def refused(order: Order, signatures: dict[UUID, str], now: datetime = NOW) -> DomainError:
    with pytest.raises(DomainError) as caught:
        preparing.take(order, signatures, now)
    return caught.value


def test_an_order_waits_a_minute_where_it_trades_at_once_and_five_where_it_rests() -> None:
    for tif, life in (
        (TimeInForce.IMMEDIATE_OR_CANCEL, LIFE_IMMEDIATE), (TimeInForce.GOOD_TILL_CANCELED, LIFE_RESTING)
    ):  # fmt: skip
        made = prepared(some_leg(account_id=ACCOUNT, create_time=NOW, time_in_force=tif))
        (leg,) = made.legs
        assert (made.caller_signed, leg.caller, leg.sign_by) == (True, WALLET, NOW + life)
        assert (leg.awaits_signature, leg.state, made.state) == (True, LegState.PREPARED, OrderState.PLANNED)
        assert preparing.sign_left_s(leg, NOW) == life.total_seconds()
        assert preparing.sign_left_s(leg, NOW + life) == 0
    plain = order()
    assert preparing.for_callers(plain, wanted()) is plain
    assert not plain.legs[0].awaits_signature


def test_every_leg_is_signed_at_once_or_none() -> None:
    made = prepared(
        some_leg(leg_id=UUID(int=7), account_id=ACCOUNT, create_time=NOW),
        some_leg(leg_id=UUID(int=8), account_id=OTHER, create_time=NOW, number=2, venue="lighter"),
    )
    both = {UUID(int=7): "a", UUID(int=8): "b"}
    assert preparing.take(made, both, NOW) == made.legs
    assert str(UUID(int=8)) in refused(made, {UUID(int=7): "a"}).message
    assert "no leg of this order" in refused(made, {**both, UUID(int=9): "c"}).message
    late = refused(made, both, NOW + LIFE_RESTING)
    assert (late.reason, late.metadata["state"]) == (Reason.STATE_FORBIDS, "EXPIRED")
    signed = preparing.sign(made, {(UUID(int=7), 0): "a", (UUID(int=8), 0): "b"}, NOW)
    assert [(leg.state, leg.signature) for leg in signed.legs] == [(LegState.SIGNED, "a"), (LegState.SIGNED, "b")]
    assert preparing.take(signed, both, NOW) == (), "again, nothing is taken"
    assert preparing.sign(signed, {(UUID(int=7), 0): "x"}, NOW) is signed, "what was signed is signed"
    assert refused(order(), both).reason is Reason.STATE_FORBIDS, "ours sign that order"


def test_a_signature_is_of_one_action_alone() -> None:
    (leg,) = prepared().legs
    assert preparing.sign(order(leg), {(leg.leg_id, 1): "of the cancel"}, NOW).legs == (leg,)
    canceling = replace(leg, state=LegState.OPEN, settled=1, action_number=1, sign_by=NOW + LIFE_CANCEL)
    assert preparing.sign(order(canceling), {(leg.leg_id, 0): "of the order"}, NOW).legs == (canceling,)
    (signed,) = preparing.sign(order(canceling), {(leg.leg_id, 1): "of the cancel"}, NOW).legs
    assert (signed.state, signed.signature, signed.awaits_signature) == (LegState.OPEN, "of the cancel", False)


def test_a_leg_that_ended_waits_for_no_signature_whatever_ended_it() -> None:
    (leg,) = prepared().legs
    for told in (Told.CANCEL, Told.EXPIRE, Told.DENY):
        ended = tell(leg, told, Evidence.NOT_SENT, NOW)
        assert ended.is_final
        assert not ended.awaits_signature
        assert preparing.sign(order(ended), {(leg.leg_id, 0): "late"}, NOW).legs == (ended,)
    (denied,) = preparing.deny(
        prepared(), leg.leg_id, mesh_says_no(RefusalReason.FROZEN, "Too far from the mark."), NOW
    ).legs
    assert (denied.state, denied.evidence) == (LegState.DENIED, Evidence.NOT_SENT)


def test_a_cancel_is_asked_of_the_caller_only_where_it_can_be_and_nobody_else_can() -> None:
    (leg,) = prepared().legs
    stands = replace(leg, state=LegState.OPEN, settled=1, cancel_wanted=True, send_count=1, signature="a")
    cases = itertools.product(
        (LegState.SUBMITTED, LegState.SUBMIT_UNKNOWN, LegState.OPEN, LegState.PARTIALLY_FILLED, LegState.CANCELED),
        (0, 1), (False, True), ((), (ACCOUNT,)),
    )  # fmt: skip
    for state, settled, wants, ours in cases:
        one = replace(stands, state=state, settled=settled, cancel_wanted=wants)
        (asked,) = preparing.ask_cancels(order(one), ours, NOW).legs
        able = state in (LegState.OPEN, LegState.PARTIALLY_FILLED) and settled == 1 and wants and not ours
        assert (asked.action_number == 1) is able, (state, settled, wants, ours)
        assert asked.awaits_signature is able
        if able:
            assert (asked.sign_by, asked.signature) == (NOW + LIFE_CANCEL, "")
            assert preparing.ask_cancels(order(asked), (), NOW).legs == (asked,), "one is out"
            given_back = replace(asked, settled=2)
            (next_one,) = preparing.ask_cancels(order(given_back), (), NOW).legs
            assert next_one.action_number == 2


def test_a_worker_looks_at_a_callers_cancel_when_it_is_signed_and_when_its_time_ran_out() -> None:
    (leg,) = prepared().legs
    stands = replace(leg, state=LegState.OPEN, settled=1, cancel_wanted=True, send_count=1, signature="a")
    assert preparing.caller_wait_s(stands, NOW) == float("inf"), "nothing is out"
    (asked,) = preparing.ask_cancels(order(stands), (), NOW).legs
    assert preparing.caller_wait_s(asked, NOW) == LIFE_CANCEL.total_seconds()
    assert preparing.caller_wait_s(asked, NOW + LIFE_CANCEL) == 0
    assert preparing.caller_wait_s(replace(asked, signature="b"), NOW) == 0
    assert preparing.caller_wait_s(replace(asked, signature="b", settled=2), NOW) == float("inf")


def test_what_cannot_be_signed_by_a_caller_is_said_before_anything_is_kept() -> None:
    both = signed_by((ACCOUNT, WALLET), (OTHER, API_KEY))
    lighter = Account(OTHER, "lighter")
    assert preparing.judge(both, (Account(), lighter), NOW) is None
    assert preparing.judge(wanted(), (replace(lighter, has_our_key=False),), NOW) is None, "ours sign"
    blind = preparing.judge(both, (replace(lighter, has_our_key=False),), NOW)
    assert blind is not None
    assert (blind.reason, blind.venue) == (RefusalReason.KEY_UNUSABLE, "lighter")
    until = replace(both, expire_time=NOW + timedelta(days=1))
    assert preparing.judge(until, (Account(), lighter), NOW) is None
    bare = preparing.judge(until, (Account(has_our_key=False),), NOW)
    assert bare is not None
    assert bare.field == "expire_time"
    soon = preparing.judge(replace(both, expire_time=NOW + timedelta(minutes=10)), (lighter,), NOW)
    assert soon is not None
    passing = datetime.fromisoformat(soon.passing_value)
    assert preparing.judge(replace(both, expire_time=passing), (lighter,), NOW) is None


@pytest.mark.parametrize(
    ("account", "key", "passes"),
    [
        (Account(), WALLET, True),
        (Account(), API_KEY, False),
        (Account(venue="lighter"), API_KEY, True),
        (Account(venue="lighter"), WALLET, False),
        (Account(venue="lighter"), replace(API_KEY, api_key_index=0), True),
        (Account(venue="lighter"), replace(API_KEY, api_key_index=None), False),
        (Account(account_id=OTHER), WALLET, False),
    ],
)
def test_a_signer_is_named_as_its_venue_knows_it(account: Account, key: CallerKey, passes: bool) -> None:
    signers = {ACCOUNT: key}
    if passes:
        preparing.check_signers(signers, (account,))
        return
    with pytest.raises(DomainError) as caught:
        preparing.check_signers(signers, (account,))
    assert caught.value.metadata["field"] == "signers"


def test_other_signers_under_one_request_are_other_content() -> None:
    ours, mine = wanted(), signed_by((ACCOUNT, WALLET), (OTHER, API_KEY))
    again = signed_by((OTHER, API_KEY), (ACCOUNT, WALLET))
    other = signed_by((ACCOUNT, WALLET), (OTHER, replace(API_KEY, api_key_index=10)))
    assert len({ours.digest, mine.digest, other.digest}) == 3
    assert again.digest == mine.digest, "in whatever order they are named"


def test_what_is_signed_is_said_in_words_and_a_key_is_kept_as_it_is() -> None:
    (leg,) = prepared().legs
    signable = Signable(
        leg=replace(leg, venue="hyperliquid"),
        prepared=Prepared(payload="{}", digest="", unsigned_body="", nonce=1, expire_time=NOW),
    )
    assert signable.method is Method.EIP712
    assert signable.explanation.startswith("Buy ")
    assert replace(signable, leg=replace(leg, venue="lighter")).method is Method.LIGHTER_SCHNORR
    assert replace(signable, leg=replace(leg, action_number=1)).explanation.startswith("Cancel the order")
    for key in (None, WALLET, API_KEY, replace(API_KEY, api_key_index=0)):
        assert caller_of(caller_json(key)) == key
