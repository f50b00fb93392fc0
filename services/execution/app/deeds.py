"""Doing deeds: durable first, signed by the vault, posted, and followed until it is known what came of them.

Of one subject (a market's leverage, an account's switch) one is under way at a time, since two that were both out could
land in either order. The caller waits a while for the outcome; the deed goes on by itself, also after a crash.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Final
from uuid import UUID

from services.domain.errors import DomainError, Reason
from services.domain.refusal import Refusal, RefusalReason
from services.execution.app.attempts import Attempts
from services.execution.app.lines import Lines
from services.execution.app.placing import key_index_of
from services.execution.model.deed import Deed, DeedAction, DeedKind, DeedState, Heard, hear
from services.execution.model.fate import Fate, fate_of
from services.execution.model.order import mesh_says_no
from services.execution.model.retry import Trouble, trouble_of
from services.execution.model.trouble import WORDS_MAX, Failing, WorkKind
from services.execution.ports import Accounts, Chance, Clock, DeedSigner, DeedStore, TradingAccount, Venues
from services.venues.actions import ScheduleCancel
from services.venues.port import VenueError
from services.venues.trading import (
    Accepted,
    NonceFate,
    Outcome,
    Refused,
    SignedBytes,
    Standing,
    TradingVenue,
    Unknown,
)

PATIENCE_S: Final = 8.0
"""How long a caller waits for the outcome: below the edge's time limit of a call."""
LEASE_S: Final = 30.0
CLAIM_MAX: Final = 8
RESEND_MAX: Final = 3
LOOK_S, IDLE_S, SOON_S = 0.25, 2.0, 0.2
"""How often is looked for what is due, while deeds are under way and while none is; when one is looked at again."""
GRACE_MS: Final = 10_000
"""How long after its expiry a deed that nobody can tell of is given up: the vault lets its nonce lapse by itself."""
_TOLD_BEFORE: Final = (Reason.OUTCOME_CONTRADICTED, Reason.RESOURCE_UNKNOWN)


class Deeds:
    """Does deeds."""

    def __init__(
        self,
        *,
        store: DeedStore,
        signer: DeedSigner,
        accounts: Accounts,
        venues: Venues,
        clock: Clock,
        chance: Chance,
        attempts: Attempts,
        lines: Lines,
        tell_fault: Callable[[Deed, Exception], None],
    ) -> None:
        """Prepare; `lines` keep the bytes of accounts in a row, the orders' among them."""
        self._store = store
        self._signer = signer
        self._accounts = accounts
        self._venues = venues
        self._clock = clock
        self._chance = chance
        self._attempts = attempts
        self._lines = lines
        self._tell = tell_fault
        self._due = asyncio.Event()
        self._moved: defaultdict[UUID, asyncio.Event] = defaultdict(asyncio.Event)
        self._running: set[asyncio.Task[None]] = set()
        self._open: set[UUID] = set()
        """Deeds that were moved here and are not over."""

    async def do(
        self,
        account: TradingAccount,
        subject: str,
        action: DeedAction,
        *,
        request_id: UUID | None = None,
        is_same: Callable[[Deed], bool] | None = None,
    ) -> Deed:
        """Return a deed as it stands when it is decided, or patience is over. The same request gets it again.

        One of the same subject that is under way is waited for first; where that takes too long it is returned.
        `is_same` says whether the deed that a request made is what it asks for.
        """
        kind = DeedKind.SWITCH if isinstance(action, ScheduleCancel) else DeedKind.LEVERAGE
        end = self._clock.time_ns() + round(PATIENCE_S * 1e9)
        while True:
            known = None
            if request_id is not None:
                known = await self._store.by_request(account.user_id, request_id)
            if known is not None:
                if is_same is not None and not is_same(known):
                    raise DomainError(
                        Reason.REQUEST_ID_REUSED,
                        f"request_id {request_id} was used for something else: choose a new UUID for each wish.",
                        metadata={"field": "request_id"},
                    )
                return await self._decided(known, end)
            before = await self._store.under_way(account.account_id, kind, subject)
            if before is not None:
                seen = await self._decided(before, end, is_over=True)
                if not seen.is_over or self._clock.time_ns() >= end:
                    return seen
                continue
            now = self._clock.now()
            made = Deed(
                deed_id=self._chance.uuid(), user_id=account.user_id, account_id=account.account_id,
                venue=account.venue, kind=kind, subject=subject, request_id=request_id, action=action,
                create_time=now, update_time=now,
            )  # fmt: skip
            if await self._store.add(made):
                self._due.set()
                return await self._decided(made, end)

    async def _decided(self, deed: Deed, end_ns: int, *, is_over: bool = False) -> Deed:
        """Wait for a deed's end, at most until a time."""
        moved = self._moved[deed.deed_id]
        try:
            while not (deed.is_over if is_over else deed.state.is_final) and self._clock.time_ns() < end_ns:
                moved.clear()
                try:
                    async with asyncio.timeout(LOOK_S):
                        await moved.wait()
                except TimeoutError:
                    pass  # another process may have moved it
                deed = await self._store.get(deed.deed_id)
        finally:
            self._moved.pop(deed.deed_id, None)
        return deed

    async def run(self) -> None:
        """Do what is due until canceled; canceled work is taken up again where it stands."""
        try:
            await self._store.release()
            while True:
                for deed in await self._claimed():
                    task = asyncio.create_task(self._do(deed))
                    self._running.add(task)
                    task.add_done_callback(self._running.discard)
                self._due.clear()
                try:
                    async with asyncio.timeout(LOOK_S if self._open else IDLE_S):
                        await self._due.wait()
                except TimeoutError:
                    continue
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _claimed(self) -> tuple[Deed, ...]:
        try:
            return tuple(await self._store.claim(CLAIM_MAX, LEASE_S)) if len(self._running) < 2 * CLAIM_MAX else ()
        except DomainError:
            return ()  # the database is away: what is due stays due

    async def _do(self, deed: Deed) -> None:
        failed = self._attempts.of(deed.deed_id)
        try:
            every = await self._accounts.of_user(deed.user_id)
            account = next((one for one in every if one.account_id == deed.account_id), None)
            if account is None:
                raise DomainError(Reason.RESOURCE_UNKNOWN, f"The account {deed.account_id} is gone.")
            venue = self._venues.at(account.venue, account.environment)
            if deed.state is DeedState.PREPARED:
                async with self._lines.of(deed.account_id, venue):
                    await self._send(deed, account, venue)
            else:  # not in the line: who signs there may be waiting for what is found out here
                await self._follow(deed, account, venue)
            if failed:
                await self._attempts.went_well(deed.deed_id, seen=failed)
        except Exception as error:  # the venue's, the vault's or a fault of ours: told, and tried again later
            self._tell(deed, error)
            trouble = Trouble.VENUE_AWAY if isinstance(error, VenueError) else trouble_of(error)
            await self._later(deed, trouble, str(error) or repr(error), as_kept=True)
        finally:
            if deed.deed_id in self._moved:
                self._moved[deed.deed_id].set()

    async def _send(self, deed: Deed, account: TradingAccount, venue: TradingVenue) -> None:
        signed = await self._signer.sign_deed(deed, account)
        now = self._clock.now()
        if isinstance(signed, Refusal):
            await self._change(hear(deed, Heard.REFUSE, now, refusal=signed), due_s=SOON_S)
            return
        if not signed.body or signed.expire_time_ms <= self._now_ms():
            await self._settle(deed, Fate.NOT_SENT)
            late = mesh_says_no(RefusalReason.EXPIRED, "It could not be sent in time.", "Ask for it again.")
            await self._change(hear(deed, Heard.NEVER_LAND, now, refusal=late), due_s=SOON_S)
            return
        known = replace(
            deed,
            nonce=signed.nonce,
            key_index=key_index_of(signed),
            expire_ms=signed.expire_time_ms,
            transaction_hash=signed.transaction_hash,
        )
        await self._post(known, account, venue, signed)

    async def _post(self, deed: Deed, account: TradingAccount, venue: TradingVenue, signed: SignedBytes) -> None:
        again = deed.send_count > 0
        sent = hear(deed, Heard.SEND, self._clock.now())
        if not await self._change(sent, due_s=LEASE_S, holds=True):
            return  # another holds it by now: it sends the same bytes, or has
        ref = replace(account.ref, api_key_index=sent.key_index)
        submission = await asyncio.shield(venue.submit(ref, signed, again=again))
        outcome = submission.outcomes[0]
        if submission.nonce is NonceFate.NOT_SENT and not again:
            assert isinstance(outcome, Refused), "what was not sent is refused by us"
            back = replace(sent, state=DeedState.PREPARED, send_count=0)
            await self._later(back, Trouble.VENUE_AWAY, outcome.refusal.message)
            return
        fate = fate_of(submission.nonce, outcome)
        if fate is not None and fate is not Fate.NOT_SENT:
            await self._settle(sent, fate)
            sent = replace(sent, is_settled=True)
        await self._keep(sent, outcome)

    async def _follow(self, deed: Deed, account: TradingAccount, venue: TradingVenue) -> None:
        """Find out what became of bytes that may have been acted on, and settle them."""
        if deed.state.is_final:  # it was decided, and a crash came before the vault was told
            await self._settle(deed, _fate(deed))
            await self._change(replace(deed, is_settled=True), due_s=SOON_S)
            return
        ref = replace(account.ref, api_key_index=deed.key_index)
        (outcome, *_) = await venue.trace(ref, _bytes(deed))
        if isinstance(outcome, Unknown):
            alive = deed.expire_ms > self._now_ms()
            if alive and not deed.is_acknowledged and deed.send_count < RESEND_MAX:
                signed = await self._signer.sign_deed(deed, account)
                if not isinstance(signed, Refusal) and signed.body:
                    await self._post(deed, account, venue, signed)
                    return
            if deed.expire_ms + GRACE_MS <= self._now_ms():
                await self._change(hear(deed, Heard.LAPSE, self._clock.now()), due_s=SOON_S)
                return
            await self._later(deed, Trouble.UNDECIDED, outcome.message)
            return
        decided = self._after(deed, outcome)
        if decided.state.is_final and not decided.is_settled:
            await self._settle(decided, _fate(decided))
            decided = replace(decided, is_settled=True)
        await self._change(decided, due_s=SOON_S)

    async def _keep(self, deed: Deed, outcome: Outcome) -> None:
        if isinstance(outcome, Unknown):
            await self._later(deed, Trouble.UNDECIDED, outcome.message)
        else:
            await self._change(self._after(deed, outcome), due_s=SOON_S)

    def _after(self, deed: Deed, outcome: Outcome) -> Deed:
        now = self._clock.now()
        if isinstance(outcome, Refused):
            never = outcome.refusal.reason is RefusalReason.NEVER_LANDED
            return hear(deed, Heard.NEVER_LAND if never else Heard.REFUSE, now, refusal=outcome.refusal)
        assert isinstance(outcome, Accepted), "there are three outcomes"
        if outcome.standing is Standing.QUEUED:
            return replace(deed, is_acknowledged=True, update_time=now)
        return hear(deed, Heard.ACCEPT, now)

    async def _later(self, deed: Deed, trouble: Trouble, words: str, *, as_kept: bool = False) -> None:
        """Have a deed looked at again; `as_kept` as it stands in the record, since it may have been sent meanwhile."""
        now = self._clock.now()
        failing = Failing(
            work_id=deed.deed_id, kind=WorkKind.RESOLVE if deed.send_count else WorkKind.SIGN, trouble=trouble,
            user_id=deed.user_id, account_id=deed.account_id, venue=deed.venue, last_error=words[:WORDS_MAX],
            first_time=now, last_time=now,
        )  # fmt: skip
        pause_s = await self._attempts.count(failing)
        try:
            if as_kept:
                deed = replace(await self._store.get(deed.deed_id), fence=deed.fence)
            await self._change(deed, due_s=pause_s)
        except Exception as error:  # the database is away too: the lease ends by itself
            self._tell(deed, error)

    async def _change(self, deed: Deed, *, due_s: float, holds: bool = False) -> bool:
        (self._open.discard if deed.is_over else self._open.add)(deed.deed_id)
        return await self._store.change(deed, due_s=due_s, holds=holds)

    async def _settle(self, deed: Deed, fate: Fate) -> None:
        try:
            await self._signer.settle_deed(deed, fate)
        except DomainError as error:
            if error.reason not in _TOLD_BEFORE:
                raise

    def _now_ms(self) -> int:
        return self._clock.time_ns() // 1_000_000


def _fate(deed: Deed) -> Fate:
    """Return what became of a deed's nonce by what the venue has shown."""
    if deed.state is DeedState.FAILED:
        return Fate.NEVER_LANDED
    return Fate.REFUSED_NONCE_USED if deed.state is DeedState.REFUSED else Fate.ACCEPTED


def _bytes(deed: Deed) -> SignedBytes:
    """Return what tracing needs of a deed's bytes, which are the vault's to keep."""
    return SignedBytes(
        body=b"",
        action=deed.action,
        nonce=deed.nonce,
        expire_time_ms=deed.expire_ms,
        transaction_hash=deed.transaction_hash,
    )
