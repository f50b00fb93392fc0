"""Sending orders: one leg at a time under a lease, by its state alone, so that a crash and a start are one path.

    PREPARED, SIGNED     sign (the vault repeats itself for the same leg), note that it is sent, post; one that its
                         caller signs waits for that, or for its time to run out
    SUBMITTED, UNKNOWN   trace; while the bytes can still land, post the identical ones again
    OPEN, PARTIALLY...   look it up now and then: what the stream missed; cancel where that is wanted

A leg is noted as sent before its bytes leave, so nothing that may have arrived is ever taken for unsent. Unknown is
left only by evidence. Bytes of one account at Lighter are posted one after another: its order of nonces demands it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import Context
from dataclasses import replace
from datetime import timedelta
from typing import Final
from uuid import UUID

from services.domain.errors import DomainError, Reason
from services.domain.refusal import Refusal, RefusalReason
from services.execution.app.attempts import Attempts
from services.execution.app.canceling import Canceler, reference_of
from services.execution.app.door import Door
from services.execution.app.lines import Lines
from services.execution.app.placing import EPOCH, bytes_of, key_index_of, place_of
from services.execution.app.replacing import Succession
from services.execution.app.settling import fate_of_placing, settle, settled
from services.execution.app.signing import placing_bytes
from services.execution.app.watcher import BLIND_S
from services.execution.model.evidence import apply_outcome, apply_record, trades_of
from services.execution.model.fate import Fate, fate_of
from services.execution.model.leg import Evidence, Leg, LegState, Told, tell
from services.execution.model.order import mesh_says_no
from services.execution.model.preparing import sign_left_s
from services.execution.model.retry import Trouble, trouble_of
from services.execution.ports import Accounts, Clock, Orders, TradingAccount, Venues, Work
from services.execution.ports.callers import CallerSigner
from services.venues.account import OrderRecord
from services.venues.port import VenueError
from services.venues.trading import NonceFate, Outcome, Refused, SignedBytes, TradingVenue, Unknown

LEASE_S: Final = 30.0
CLAIM_MAX: Final = 32
LOOK_S: Final = 0.25
"""How often due legs are looked for that nobody said a word of, such as those that wait for a time."""
RESEND_MAX: Final = 3
"""How often identical bytes are posted in all; after that the venue is only asked."""
SOON_S, CALM_S = 0.5, 120.0
"""When a leg is looked at again: while its outcome is open; while it rests and the account's stream tells. Look-ups
cost of the venue's budget, and each reconciliation names what to look up."""
SETTLE_MS: Final = 3_000
"""How long after an order's end a venue may show it without all of its trades: look-ups lag by up to a second."""
SENT_WITHIN_S: Final = 60.0
"""How long an immediate order may wait to be sent, whatever kept it; after that its price is of another market."""
ACCOUNTS_MAX: Final = 10_000
"""Accounts that are remembered; beyond, all are forgotten and asked for anew."""
STREAM_S: Final = 1.0
"""How long the stream has to tell the end of an immediate order before it is looked up."""


class Worker:
    """Does what is due."""

    def __init__(
        self,
        *,
        orders: Orders,
        accounts: Accounts,
        signer: CallerSigner,
        venues: Venues,
        clock: Clock,
        tell_fault: Callable[[Work, Exception], None],
        hears: Callable[[UUID], bool],
        attempts: Attempts,
        stops: Callable[[UUID, str], Refusal | None],
        lines: Lines,
        due: asyncio.Event,
        door: Door,
        parallel: int = 128,
    ) -> None:
        """Prepare; `stops` says why no new order may leave, `lines` keep the bytes of each account in a row,
        `due` is set to have the workers look.
        """
        self._orders = orders
        self._accounts = accounts
        self._signer = signer
        self._venues = venues
        self._clock = clock
        self._tell = tell_fault
        self._hears = hears
        self._parallel = parallel
        self._urgent_only = parallel // 8  # places that new orders leave to cancels and unknown outcomes
        self._promised = 0
        self._door = door
        self._attempts = attempts
        self._succession = Succession(orders, clock)
        self._stops = stops
        self._canceler = Canceler(
            orders=orders, signer=signer, clock=clock, key_index=key_index_of, standing=attempts.table[Trouble.STANDING]
        )
        self._due = due
        self._running: set[asyncio.Task[None]] = set()
        self._lines = lines
        self._known: dict[UUID, TradingAccount] = {}

    def wake(self) -> None:
        """Look at once."""
        self._due.set()

    async def run(self) -> None:
        """Claim and do what is due until canceled; canceled work ends where it stands and is taken up again."""
        try:
            await self._orders.release()
            while True:
                if not await self._claim():
                    self._due.clear()
                    try:
                        async with asyncio.timeout(LOOK_S):
                            await self._due.wait()
                    except TimeoutError:
                        continue
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _claim(self) -> bool:
        """Take up what is due as far as there is room; say whether there may be more."""
        room = self._parallel - len(self._running) - self._promised
        is_full = room <= self._urgent_only
        count = min(CLAIM_MAX, room if is_full else room - self._urgent_only)
        if count <= 0:
            return False
        works = await self._orders.claim(count, LEASE_S, urgent=is_full)
        for work in works:
            self._begin(work)
        if not is_full:
            self._door.taken(len(works), all_taken=len(works) < count)
        return len(works) == count

    def reserve(self, count: int) -> bool:
        """Keep places for new legs, unless others wait for one."""
        room = self._parallel - self._urgent_only - len(self._running) - self._promised
        if count > room or self._door.waiting:
            return False
        self._promised += count
        return True

    def give_back(self, count: int) -> None:
        """Give places back that were kept."""
        self._promised -= count
        self._due.set()

    def take(self, works: Sequence[Work]) -> None:
        """Do works for which places were kept."""
        self._promised -= len(works)
        for work in works:
            self._begin(work)

    def _begin(self, work: Work) -> None:
        task = asyncio.create_task(self._do(work), context=Context())  # not the deadline of the call that brought it
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self._door.waiting:
            self._due.set()

    async def _do(self, work: Work) -> None:
        failed = self._attempts.of(work.leg.leg_id)
        try:
            account = await self._account(work)
            venue = self._venues.at(account.venue, account.environment)
            state = work.leg.state
            if state is LegState.HELD:
                await self._orders.change(work, _same, due_s=CALM_S)  # what it waited for is looked at with it
            elif state in (LegState.PREPARED, LegState.SIGNED):
                await self._send(work, account, venue)
            elif state in (LegState.SUBMITTED, LegState.SUBMIT_UNKNOWN):
                await self._resolve(work, account, venue)
            elif not state.is_final:
                await self._tend(work, account, venue)
            else:
                await self._finish(work, account, venue)
            if failed:
                await self._attempts.went_well(work.leg.leg_id, seen=failed)
        except Exception as error:  # the venue's, the vault's or a fault of ours: told, and tried again later
            self._tell(work, error)
            trouble = Trouble.VENUE_AWAY if isinstance(error, VenueError) else trouble_of(error)
            await self._later(work, await self._attempts.failed(work, trouble, str(error) or repr(error)))

    async def _later(self, work: Work, pause_s: float) -> None:
        """Nothing more is known than before: what was kept stands, and it is looked at again."""
        try:
            await self._orders.change(work, _same, due_s=pause_s)
        except Exception as error:  # the database is away too: the lease ends by itself
            self._tell(work, error)

    async def _account(self, work: Work) -> TradingAccount:
        known = self._known.get(work.leg.account_id)
        if known is None:
            every = await self._accounts.of_user(work.order.user_id)
            if len(self._known) + len(every) > ACCOUNTS_MAX:
                self._known.clear()
            self._known.update((one.account_id, one) for one in every)
            known = self._known.get(work.leg.account_id)
        if known is None:
            raise DomainError(Reason.RESOURCE_UNKNOWN, f"The account {work.leg.account_id} is gone.")
        return known

    async def _send(self, work: Work, account: TradingAccount, venue: TradingVenue) -> None:
        """Sign and post a leg for the first time."""
        now = self._clock.now()
        unsigned = work.leg.awaits_signature
        if unsigned and not work.leg.cancel_wanted and (left_s := sign_left_s(work.leg, now)) > 0:
            await self._orders.change(work, _same, due_s=left_s)
            return
        if work.leg.cancel_wanted or work.leg.is_over(now) or unsigned:
            told = Told.CANCEL if work.leg.cancel_wanted else Told.EXPIRE
            await settle(self._signer, work, 0, Fate.NOT_SENT)  # it may have been signed; it was surely not sent
            await self._orders.change(work, self._teller(told, Evidence.NOT_SENT), due_s=CALM_S)
            return
        async with self._lines.of(work.leg.account_id, venue):
            if await self._withheld(work):
                return
            signed = await placing_bytes(self._signer, work, account, place_of(work.leg))
            if isinstance(signed, Refusal):
                deny = self._teller(Told.DENY, Evidence.NOT_SENT, refusal=signed)
                await self._orders.change(work, deny, due_s=CALM_S)
                return
            if await self._withheld(work):  # it may have waited long for its nonce
                return
            if not signed.body or signed.expire_time_ms <= self._clock.time_ns() // 1_000_000:
                await settle(self._signer, work, 0, Fate.NOT_SENT)
                late = _too_late(work.leg, self._attempts.words(work.leg.leg_id))
                end = self._teller(Told.EXPIRE, Evidence.NOT_SENT, refusal=late)
                await self._orders.change(work, end, due_s=CALM_S)
                return
            await self._post(work, account, venue, signed)

    async def _withheld(self, work: Work) -> bool:
        """End a leg that was never sent and may not be any more: trading is halted, or its moment has passed."""
        leg = work.leg
        halted = self._halted(work)
        waited_s = (self._clock.now() - leg.create_time).total_seconds()
        if halted is not None:
            end = self._teller(Told.DENY, Evidence.NOT_SENT, refusal=halted)
        elif not leg.may_rest and leg.caller is None and waited_s > SENT_WITHIN_S:  # a caller's bytes expire by then
            late = mesh_says_no(
                RefusalReason.EXPIRED,
                f"It could not be sent within {SENT_WITHIN_S:.0f} s, and the price it was meant for is too old.",
                "Place it again.",
            )
            end = self._teller(Told.EXPIRE, Evidence.NOT_SENT, refusal=late)
        else:
            return False
        await settle(self._signer, work, 0, Fate.NOT_SENT)  # it may have been signed; it was surely not sent
        await self._orders.change(work, end, due_s=CALM_S)
        return True

    def _halted(self, work: Work) -> Refusal | None:
        return None if work.leg.reduce_only else self._stops(work.order.user_id, work.leg.venue)

    async def _post(self, work: Work, account: TradingAccount, venue: TradingVenue, signed: SignedBytes) -> None:
        """Note that bytes are sent, post them, and keep what came of it."""
        again = work.leg.send_count > 0
        now = self._clock.now()
        key_index = key_index_of(signed)

        def sending(leg: Leg) -> Leg:
            known = replace(
                leg,
                transaction_hash=signed.transaction_hash,
                nonce=signed.nonce,
                key_index=key_index,
                expire_ms=signed.expire_time_ms,
                resolve_time=EPOCH + timedelta(milliseconds=signed.expire_time_ms),
            )
            return tell(tell(known, Told.SIGN, Evidence.NOT_SENT, now), Told.SEND, Evidence.UNSPECIFIED, now)

        sent = await self._orders.change(work, sending, due_s=LEASE_S)
        if sent is None:
            return  # another worker holds the leg by now: it sends the same bytes, or has
        ref = replace(account.ref, api_key_index=key_index)
        submission = await asyncio.shield(venue.submit(ref, signed, again=again))
        outcome = submission.outcomes[0]
        if submission.nonce is NonceFate.NOT_SENT and not again:
            # Surely nothing left this machine: the same bytes go later.
            pause_s = await self._attempts.failed(work, *_why_held(outcome))
            await self._orders.change(sent, _unsent, due_s=pause_s)
            return
        fate = fate_of(submission.nonce, outcome)
        note: Callable[[Leg], Leg] = _same
        if fate not in (None, Fate.NOT_SENT):
            assert fate is not None, "ruled out above"
            await settle(self._signer, sent, 0, fate)
            note = settled(0)
        now = self._clock.now()
        due_s = SOON_S if isinstance(outcome, Unknown) else STREAM_S
        await self._orders.change(sent, lambda leg: note(apply_outcome(leg, outcome, now)), due_s=due_s)

    async def _resolve(self, work: Work, account: TradingAccount, venue: TradingVenue) -> None:
        """Find out what became of bytes that may have been acted on.

        Not in the account's line: who signs there may be waiting for what is found out here.
        """
        leg = work.leg
        ref = replace(account.ref, api_key_index=leg.key_index)
        (outcome, *_) = await venue.trace(ref, bytes_of(leg))
        now = self._clock.now()
        if isinstance(outcome, Unknown):
            alive = leg.expire_ms > self._clock.time_ns() // 1_000_000 and not leg.is_over(now)
            may_resend = leg.acknowledge_time is None and leg.send_count < RESEND_MAX
            if alive and may_resend and self._halted(work) is None:
                signed = await placing_bytes(self._signer, work, account, place_of(leg))
                if not isinstance(signed, Refusal) and signed.body:  # none where it was settled before a crash
                    await self._post(work, account, venue, signed)
                    return
            lose = _same if leg.acknowledge_time else self._teller(Told.LOSE, Evidence.UNSPECIFIED)
            pause_s = await self._attempts.failed(work, Trouble.UNDECIDED, outcome.message)
            await self._orders.change(work, lose, due_s=pause_s)
            return
        found = apply_outcome(leg, outcome, now, evidence=Evidence.LOOKUP)
        note = settled(0)
        if not leg.is_settled:
            await settle(self._signer, work, 0, fate_of_placing(found))
        kept = await self._orders.change(
            work, lambda one: note(apply_outcome(one, outcome, now, evidence=Evidence.LOOKUP)), due_s=STREAM_S
        )
        if kept is not None and not kept.leg.is_final:
            await self._look(kept, account, venue)

    async def _tend(self, work: Work, account: TradingAccount, venue: TradingVenue) -> None:
        """Cancel where that is wanted, then look the leg up."""
        if work.leg.settled == 0:  # the venue's stream told of it before its answer was kept
            await settle(self._signer, work, 0, fate_of_placing(work.leg))
            kept = await self._orders.change(work, settled(0), due_s=LEASE_S)
            if kept is None:
                return
            work = kept
        if (down := work.leg.take_down_time) is not None and down <= self._clock.now():
            kept = await self._orders.change(work, _expiring, due_s=LEASE_S)
            if kept is None:
                return
            work = kept
        if work.leg.wants_cancel and self._canceler.wait_s(work, account) == 0.0:
            if work.leg.action_number and work.leg.is_settled:
                words = f"The venue took {work.leg.action_number} cancels, and the order still stands."
                await self._attempts.failed(work, Trouble.STANDING, words)
            async with self._line(work.leg, venue):
                kept = await self._canceler.cancel(work, account, venue)
            if kept is None:
                return
            work = kept
        await self._look(work, account, venue)

    def _line(self, leg: Leg, venue: TradingVenue) -> AbstractAsyncContextManager[None]:
        """Return the turn to sign something new for a leg; what is out already is followed outside of the line."""
        return self._lines.of(leg.account_id, venue) if leg.is_settled else nullcontext()

    async def _finish(self, work: Work, account: TradingAccount, venue: TradingVenue) -> None:
        """Tell the vault what became of what was signed for a leg that has ended; then it is never looked at again."""
        if work.leg.settled == 0 and work.leg.send_count > 0:
            await settle(self._signer, work, 0, fate_of_placing(work.leg))
            kept = await self._orders.change(work, settled(0), due_s=LEASE_S)
            if kept is None:
                return
            work = kept
        if not work.leg.is_settled:
            kept = await self._canceler.cancel(work, account, venue)
            if kept is None:
                return
            work = kept
        if work.order.is_replacing(work.leg):
            await self._succession.follow(work, account, venue)
            self._due.set()
            return
        await self._orders.change(work, _same, due_s=SOON_S)

    async def _look(self, work: Work, account: TradingAccount, venue: TradingVenue) -> None:
        """Ask the venue how an order stands, and for the trades that the stream did not tell."""
        leg = work.leg
        record = await venue.order(account.ref, reference_of(leg))
        all_trades = record is not None and record.status.is_final and self._is_old(record)
        if record is not None and (record.filled is None or record.filled > leg.filled or record.status.is_final):
            since = (leg.submit_time or leg.create_time) - timedelta(seconds=5)
            fills = await venue.fills(account.ref, since_ms=int(since.timestamp() * 1_000))
            trades = trades_of(account.account_id, account.venue, fills, self._clock.now())
            await self._orders.record(account, trades)
        now = self._clock.now()

        def learned(current: Leg) -> Leg:
            if record is None:
                return current
            return apply_record(current, record, now, Evidence.LOOKUP, all_trades=all_trades)

        calm_s = STREAM_S if not leg.may_rest else CALM_S if self._hears(leg.account_id) else BLIND_S
        due_s = min(calm_s, max(SOON_S, self._canceler.wait_s(work, account))) if leg.wants_cancel else calm_s
        kept = await self._orders.change(work, learned, due_s=due_s)
        if kept is not None and kept.leg.is_final and kept.order.is_replacing(kept.leg):
            await self._finish(kept, account, venue)

    def _is_old(self, record: OrderRecord) -> bool:
        """Whether an order ended so long ago that the venue shows every trade of it."""
        return self._clock.time_ns() // 1_000_000 >= record.update_time_ms + SETTLE_MS

    def _teller(self, told: Told, evidence: Evidence, *, refusal: Refusal | None = None) -> Callable[[Leg], Leg]:
        now = self._clock.now()
        return lambda leg: tell(leg, told, evidence, now, refusal=refusal)


def _same(leg: Leg) -> Leg:
    return leg


def _expiring(leg: Leg) -> Leg:
    """Return a leg that is taken down because its time ran out; what its owner asked for first stands."""
    return leg if leg.wants_cancel else replace(leg, expiring=True)


def _too_late(leg: Leg, why: str) -> Refusal:
    """Say that signed bytes had expired before they could be sent, and what kept them."""
    kept = f" ({why.rstrip('.')})" if why else ""
    words = f"It could not be sent to {leg.venue} before its signature expired{kept}; nothing of it exists there."
    return mesh_says_no(RefusalReason.EXPIRED, words, "Place it again.", venue=leg.venue)


def _why_held(outcome: Outcome) -> tuple[Trouble, str]:
    """Return why bytes did not leave this machine."""
    assert isinstance(outcome, Refused), "what was not sent is refused by us"
    is_budget = outcome.refusal.reason is RefusalReason.VENUE_BUDGET
    return (Trouble.BUDGET if is_budget else Trouble.VENUE_AWAY), outcome.refusal.message


def _unsent(leg: Leg) -> Leg:
    """Return a leg whose bytes exist and did not leave; one that the venue told of by now stays as it is."""
    if leg.state is not LegState.SUBMITTED or leg.send_count != 1:
        return leg
    return replace(leg, state=LegState.SIGNED, send_count=0, submit_time=None, resolve_time=None)
