"""Canceling a leg: one signed cancel at a time, its identical bytes again while they may land, the next one later.

A cancel whose answer was lost is not forgotten: as long as its action is not settled, the vault answers with the same
bytes, which are posted again or traced. Only then may another be signed, each later than the one before, so that a
venue which takes cancels and does not act on them costs no flood of nonces.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from services.domain.refusal import Refusal, RefusalReason
from services.execution.app.settling import settle, settled
from services.execution.app.signing import by_caller, canceling_bytes
from services.execution.model.fate import Fate, fate_of
from services.execution.model.leg import Leg
from services.execution.model.preparing import caller_wait_s
from services.execution.model.retry import Retry
from services.execution.ports import Clock, Orders, TradingAccount, Work
from services.execution.ports.callers import CallerSigner
from services.venues.actions import Cancel, OrderReference
from services.venues.trading import Accepted, AccountRef, SignedBytes, TradingVenue, Unknown

HOLD_S: Final = 30.0
GRACE_MS: Final = 10_000
"""How long after its expiry a cancel that nobody can tell of is given up: the vault lets its nonce lapse by itself."""


class Canceler:
    """Cancels legs; a cancel that is signed anew, under the account's line, which the caller holds."""

    def __init__(
        self,
        *,
        orders: Orders,
        signer: CallerSigner,
        clock: Clock,
        key_index: Callable[[SignedBytes], int],
        standing: Retry,
    ) -> None:
        """Prepare; `standing` says how long to wait after each cancel."""
        self._standing = standing
        self._orders = orders
        self._signer = signer
        self._clock = clock
        self._key_index = key_index

    def wait_s(self, work: Work, account: TradingAccount) -> float:
        """Return how long until something is to be done about a cancel; 0 where one may be signed, or one is out."""
        leg = work.leg
        if by_caller(work, account):
            return caller_wait_s(leg, self._clock.now())
        if not leg.is_settled or leg.cancel_send_time is None:
            return 0.0
        return max(
            0.0, self._standing.pause_s(leg.action_number) - (self._clock.now() - leg.cancel_send_time).total_seconds()
        )

    async def cancel(self, work: Work, account: TradingAccount, venue: TradingVenue) -> Work | None:
        """Sign the next cancel, or go on with the one that is out; None where another worker holds the leg."""
        again = not work.leg.is_settled
        if by_caller(work, account) and (work.leg.awaits_signature or not work.leg.signature):
            return await self._unsigned(work)
        number = work.leg.action_number if again else work.leg.action_number + 1
        now = self._clock.now()

        def begun(leg: Leg) -> Leg:
            return replace(leg, action_number=number, cancel_send_time=leg.cancel_send_time if again else now)

        kept = await self._orders.change(work, begun, due_s=HOLD_S)
        if kept is None:
            return None
        signed = await canceling_bytes(self._signer, kept, account, cancel_of(kept.leg), number)
        if isinstance(signed, Refusal) or not signed.body:  # nothing was allocated, or it was settled before a crash
            return await self._orders.change(kept, settled(number), due_s=HOLD_S)
        ref = replace(account.ref, api_key_index=self._key_index(signed))
        fate = await self._traced(venue, ref, signed) if again else None
        is_alive = signed.expire_time_ms > self._clock.time_ns() // 1_000_000
        if fate is None and is_alive:
            submission = await asyncio.shield(venue.submit(ref, signed, again=again))
            fate = fate_of(submission.nonce, submission.outcomes[0])
            if fate is Fate.NOT_SENT and again:
                fate = None  # not now; an earlier time it may have been
        if fate is not None:
            await settle(self._signer, kept, number, fate)
        elif signed.expire_time_ms + GRACE_MS > self._clock.time_ns() // 1_000_000:
            return kept
        return await self._orders.change(kept, settled(number), due_s=HOLD_S)

    async def _unsigned(self, work: Work) -> Work | None:
        """Give back the nonce of a cancel that its caller did not sign; its time ran out, or its leg has ended."""
        number = work.leg.action_number
        await settle(self._signer, work, number, Fate.NOT_SENT)
        return await self._orders.change(work, settled(number), due_s=HOLD_S)

    async def _traced(self, venue: TradingVenue, ref: AccountRef, signed: SignedBytes) -> Fate | None:
        outcome = (await venue.trace(ref, signed))[0]
        if isinstance(outcome, Unknown):
            return None
        if isinstance(outcome, Accepted):
            return Fate.ACCEPTED
        never = outcome.refusal.reason is RefusalReason.NEVER_LANDED
        return Fate.NEVER_LANDED if never else Fate.REFUSED_NONCE_USED  # such as one of an order that had ended


def cancel_of(leg: Leg) -> Cancel:
    """Return what is signed to cancel a leg: a function of the leg, so that it is the same after any crash."""
    return Cancel(orders=(reference_of(leg),))


def reference_of(leg: Leg) -> OrderReference:
    """Return how the venue knows a leg."""
    return OrderReference(market=leg.market, venue_market_id=leg.venue_market_id, client_id=leg.client_id)
