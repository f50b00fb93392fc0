"""What is told, kept and noted when an answer is lost on the way: never less than what was sent."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from services.domain.errors import DomainError, Reason
from services.domain.refusal import Origin, Refusal, RefusalReason
from services.execution.app.attempts import KEPT_FROM, SWEEP_S, Attempts
from services.execution.app.canceling import Canceler
from services.execution.app.deeds import Deeds
from services.execution.app.lines import Lines
from services.execution.app.watcher import Watcher
from services.execution.model.deed import Deed, DeedState
from services.execution.model.fate import Fate
from services.execution.model.leg import LegState
from services.execution.model.retry import TABLE, Trouble
from services.execution.ports import Work
from services.venues.actions import Cancel, OrderReference
from services.venues.trading import (
    Accepted,
    AccountRef,
    NonceFate,
    Outcome,
    Refused,
    SignedBytes,
    Standing,
    Submission,
)
from tests.support.clock import ManualClock
from tests.unit.execution.test_deed import deed
from tests.unit.execution.test_leg import leg
from tests.unit.execution.test_transfers import state

REFERENCE = OrderReference(market="BTC-PERP", venue_market_id=1, client_id="7")
BYTES = SignedBytes(body=b"{}", action=Cancel(orders=(REFERENCE,)), nonce=7, expire_time_ms=2**60)
ACCOUNT: Any = SimpleNamespace(account_id=deed(DeedState.PREPARED).account_id, venue="lighter", environment="TESTNET",
                               ref=AccountRef(account_id="a"))  # fmt: skip


def refused(reason: RefusalReason) -> Refused:
    return Refused(Refusal(reason=reason, origin=Origin.VENUE, message="no"))


@pytest.mark.parametrize(
    ("traced", "fate"),
    [
        (Accepted(standing=Standing.DONE), Fate.ACCEPTED),
        (refused(RefusalReason.NEVER_LANDED), Fate.NEVER_LANDED),
        (refused(RefusalReason.ALREADY_ENDED), Fate.REFUSED_NONCE_USED),
    ],
)
async def test_a_cancel_that_was_carried_out_in_vain_has_used_its_nonce(traced: Outcome, fate: Fate) -> None:
    told: list[Fate] = []

    async def change(work: Work, change: Any, *, due_s: float) -> Work:
        return replace(work, leg=change(work.leg))

    async def sign(*_: object) -> SignedBytes:
        return BYTES

    async def settle(work: Work, number: int, said: Fate) -> None:
        told.append(said)

    async def trace(*_: object) -> tuple[Outcome, ...]:
        return (traced,)

    canceler = Canceler(
        orders=SimpleNamespace(change=change), signer=SimpleNamespace(sign=sign, settle=settle), clock=ManualClock(),  # type: ignore[arg-type]
        key_index=lambda signed: 0, standing=TABLE[Trouble.STANDING],
    )  # fmt: skip
    out = leg(state=LegState.OPEN, action_number=1, settled=1, send_count=1)
    kept = await canceler.cancel(Work(order=None, leg=out, fence=1), ACCOUNT, SimpleNamespace(trace=trace))  # type: ignore[arg-type]
    assert told == [fate]
    assert kept is not None
    assert kept.leg.is_settled


class Kept:
    """The store of one deed."""

    def __init__(self, one: Deed) -> None:
        self.deed = one

    async def change(self, one: Deed, *, due_s: float, holds: bool = False) -> bool:
        self.deed = one
        return True

    async def get(self, deed_id: object) -> Deed:
        return self.deed


async def test_a_deed_stays_noted_as_sent_when_the_vault_cannot_be_told_what_became_of_it() -> None:
    store, clock = Kept(deed(DeedState.PREPARED)), ManualClock()

    async def of_user(*_: object) -> list[Any]:
        return [ACCOUNT]

    async def sign_deed(*_: object) -> SignedBytes:
        return BYTES

    async def settle_deed(*_: object) -> None:
        raise DomainError(Reason.PEER_UNAVAILABLE, "the vault is away")

    async def submit(*_: object, again: bool) -> Submission:
        return Submission(outcomes=(Accepted(standing=Standing.DONE),), nonce=NonceFate.USED)

    async def never(*_: object) -> None:
        raise AssertionError("one failure is not kept")

    attempts = Attempts(
        troubles=SimpleNamespace(keep=never), clock=clock, chance=lambda: 0.5, table=TABLE,  # type: ignore[arg-type]
        show_stuck=lambda count: None, tell_fault=lambda error: None,
    )  # fmt: skip
    deeds = Deeds(
        store=store, signer=SimpleNamespace(sign_deed=sign_deed, settle_deed=settle_deed),  # type: ignore[arg-type]
        accounts=SimpleNamespace(of_user=of_user), clock=clock, chance=SimpleNamespace(), attempts=attempts,  # type: ignore[arg-type]
        venues=SimpleNamespace(at=lambda *_: SimpleNamespace(submit=submit, orders_nonces=True)),  # type: ignore[arg-type]
        lines=Lines(), tell_fault=lambda one, error: None,
    )  # fmt: skip
    await deeds._do(store.deed)
    assert (store.deed.state, store.deed.send_count) == (DeedState.SENT, 1)


async def test_work_that_went_well_while_the_database_was_away_is_settled_when_it_is_back() -> None:
    clock, away, settled = ManualClock(), [True], []

    async def keep(failing: object) -> None:
        """It is kept."""

    async def settle(work_id: object, now: object) -> None:
        if away:
            raise ConnectionResetError
        settled.append(work_id)

    async def settle_ended(now: object) -> list[object]:
        return []

    troubles: Any = SimpleNamespace(keep=keep, settle=settle, settle_ended=settle_ended)
    attempts = Attempts(
        troubles=troubles, clock=clock, chance=lambda: 0.5, table=TABLE, show_stuck=lambda count: None,
        tell_fault=lambda error: None,
    )  # fmt: skip
    account: Any = SimpleNamespace(account_id=ACCOUNT.account_id, user_id=ACCOUNT.account_id, venue="lighter")
    for _ in range(KEPT_FROM):
        await attempts.failed_account(account, Trouble.DEAF, "cut")
    await attempts.went_well(account.account_id, seen=KEPT_FROM)
    sweeping = asyncio.create_task(attempts.run())
    await clock.advance(2 * SWEEP_S)
    assert settled == []
    away.clear()
    await clock.advance(2 * SWEEP_S)
    sweeping.cancel()
    assert settled == [account.account_id]
    assert attempts.of(account.account_id) == 0


async def test_an_account_that_could_not_be_kept_is_well_again_when_it_can_though_its_stream_never_broke() -> None:
    clock, settled = ManualClock(), []

    async def keep(failing: object) -> None:
        """It is kept."""

    async def settle(work_id: object, now: object) -> None:
        settled.append(work_id)

    async def said(*_: object) -> Any:
        return state(100)

    async def ledger(*_: object, since_ms: int = 0) -> Any:
        return ()

    async def last_ms(*_: object) -> int:
        return 0

    troubles: Any = SimpleNamespace(keep=keep, settle=settle)
    attempts = Attempts(
        troubles=troubles, clock=clock, chance=lambda: 0.5, table=TABLE, show_stuck=lambda count: None,
        tell_fault=lambda error: None,
    )  # fmt: skip
    account: Any = SimpleNamespace(account_id=ACCOUNT.account_id, user_id=ACCOUNT.account_id, venue="lighter", ref=None)
    orders: Any = SimpleNamespace(observe=said, last_transfer_ms=last_ms)
    seen: Any = SimpleNamespace(tell=lambda observed: None)
    watcher = Watcher(
        orders=orders, accounts=orders, venues=orders, clock=clock, live={account.account_id}, seen=seen,
        wake=lambda: None, tell_fault=lambda *_: None, attempts=attempts,
    )  # fmt: skip
    for _ in range(KEPT_FROM):
        await attempts.failed_account(account, Trouble.DEAF, "the database is away")
    venue: Any = SimpleNamespace(limits=lambda: (), fees=said, state=said, transfers=ledger)
    asking = asyncio.create_task(watcher._states(account, venue))
    await clock.wait_for_sleepers()
    asking.cancel()
    assert settled == [account.account_id]
    assert attempts.of(account.account_id) == 0
