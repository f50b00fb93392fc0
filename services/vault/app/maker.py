"""Making signatures: whether an action may be signed, and what is kept of it. Reads nothing, writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

from services.domain.refusal import Origin, Refusal, RefusalReason
from services.vault.app.exposure import Exposures
from services.vault.model import limits
from services.vault.model import signing as model
from services.vault.model.account import Custody
from services.vault.model.lane import Lane, NonceError
from services.vault.model.signing import CallerKey, Kept, Made, SignedAction, Wanted
from services.vault.ports import Batch, Clock, Desk, Secrets
from services.vault.ports.venues import Venue, Venues
from services.venues.actions import Action


class Maker:
    """Judges actions and signs them in memory."""

    def __init__(self, secrets: Secrets, venues: Venues, clock: Clock, exposures: Exposures) -> None:
        self._exposures = exposures
        self._secrets = secrets
        self._venues = venues
        self._clock = clock

    def venue(self, desk: Desk) -> Venue:
        """Return the account's venue."""
        return self._venues.at(desk.account.venue, desk.account.environment)

    def refusal(self, desk: Desk, caller: CallerKey | None) -> Refusal | None:
        """Say why nothing at all can be signed at a desk now."""
        account, key = desk.account, desk.key
        stopped = self.stopped(desk)
        if stopped is not None:
            return stopped
        if not account.venue_account:
            return model.no_key(account.explanation)
        if caller is not None:
            return None
        if account.custody is Custody.CALLER:
            return model.no_key("The account's owner signs: prepare the order instead.")
        if key is None or key.sealed is None:
            return model.no_key("No key of ours works for the account.")
        if key.expire_time is not None and key.expire_time <= self._clock.now():
            return model.no_key("The key's time at the venue ran out.")
        return None

    async def review(self, desk: Desk, action: Action) -> Refusal | None:
        """Say why an action would not be signed now; None where it would be. Raises VENUE_UNAVAILABLE."""
        stopped = self.refusal(desk, None)
        if stopped is not None:
            return stopped
        venue = self.venue(desk)
        odd = venue.check(action)
        if odd is not None:
            return odd
        used = limits.Usage(day=self.today(), day_notional=self.used_today(desk), minute_orders=self._minute(desk))
        charge = limits.judge(action, desk.account, venue.marks(), used)
        if isinstance(charge, Refusal):
            return charge
        return await self._exposures.judge(desk, venue, action)

    @staticmethod
    def stopped(desk: Desk) -> Refusal | None:
        """Say that everything, or the account, is frozen."""
        if desk.room_freeze is not None:
            return model.frozen_refusal(desk.room_freeze, everywhere=True)
        if desk.account.freeze_time is not None:
            return model.frozen_refusal(desk.account.freeze_reason, everywhere=False)
        return None

    async def accepted(self, desk: Desk, kept: Kept, signature: str) -> Kept | Refusal:
        """Return a prepared action with its caller's signature in it; one that was accepted before, as it is."""
        if not kept.is_prepared or kept.sealed_body is None:
            return kept
        stopped = self.stopped(desk)
        if stopped is not None:
            return stopped
        prepared = await self._secrets.open_body(desk.account, kept.sealed_body, kept.about)
        made = self.venue(desk).seal(prepared, signature)
        if isinstance(made, Refusal):
            return made
        signed = replace(
            kept,
            is_prepared=False,
            transaction_type=made.transaction_type,
            transaction_hash=made.transaction_hash,
        )
        return replace(signed, sealed_body=await self._secrets.seal_body(desk.account, made.body, signed.about))

    async def make(
        self, desk: Desk, lane: Lane, wanted: Sequence[Wanted]
    ) -> tuple[list[SignedAction | Refusal], Batch]:
        """Sign in memory; return the answers and what must be kept before any is given."""
        answers: list[SignedAction | Refusal] = []
        signed: list[Kept] = []
        audit: list[tuple[str, dict[str, object]]] = []
        fences: dict[UUID, int] = {}
        day, minute = self.used_today(desk), self._minute(desk)
        for one in wanted:
            used = limits.Usage(day=self.today(), day_notional=day, minute_orders=minute)
            found = await self._one(desk, lane, one, used)
            if isinstance(found, Refusal):
                answers.append(found)
                continue
            lane, kept, body = found
            day, minute = day + kept.notional, minute + kept.orders
            signed.append(kept)
            fences[kept.leg_id] = max(one.leg.fence, fences.get(kept.leg_id, 0))
            words = {"leg": str(kept.leg_id), "number": kept.number, "nonce": kept.nonce, "action": kept.kind}
            whose = {"key": str(kept.key_id or ""), "order": str(kept.order_id or ""), "digest": kept.digest.hex()}
            kind = "action.prepared" if kept.is_prepared else "action.signed"
            audit.append((kind, words | whose | {"notional": str(kept.notional), "fence": one.leg.fence}))
            answers.append(SignedAction(kept=kept, venue=desk.account.venue, body=body))
        return answers, Batch(desk=desk, lane=lane, audit=audit, day_notional=day, signed=signed, fences=fences)

    async def _one(
        self, desk: Desk, lane: Lane, wanted: Wanted, used: limits.Usage
    ) -> tuple[Lane, Kept, bytes] | Refusal:
        account, now = desk.account, self._clock.now()
        now_ms = self.now_ms()
        if wanted.expire_ms <= now_ms:
            return _no(RefusalReason.EXPIRED, "The moment until which the bytes should live has passed.", "expire_time")
        venue = self.venue(desk)
        odd = venue.check(wanted.action)
        if odd is not None:
            return odd
        charge = limits.judge(wanted.action, account, venue.marks(), used)
        if isinstance(charge, Refusal):
            return charge
        beyond = await self._exposures.judge(desk, venue, wanted.action)
        if beyond is not None:
            return beyond
        try:
            after, nonce = lane.allocate(wanted.leg.name, now_ms, wanted.expire_ms)
        except NonceError as error:
            return _no(RefusalReason.NONCE, f"No nonce can be given out: {error}.", "")
        made = await self._sign(venue, desk, wanted, nonce)
        if isinstance(made, Refusal):
            return made
        if made.expire_ms != wanted.expire_ms:  # the venue's library chose it
            after, nonce = lane.allocate(wanted.leg.name, now_ms, made.expire_ms)
        kept = Kept(
            leg_id=wanted.leg.leg_id,
            number=wanted.leg.number,
            account_id=account.account_id,
            key_id=None if wanted.signer is not None or desk.key is None else desk.key.key_id,
            lane_id=lane.lane_id,
            order_id=wanted.order_id,
            kind=type(wanted.action).__name__,
            digest=wanted.digest,
            nonce=nonce,
            expire_time=datetime.fromtimestamp(made.expire_ms / 1000, UTC),
            sign_time=now,
            transaction_type=made.transaction_type,
            transaction_hash=made.transaction_hash,
            notional=charge.notional,
            orders=charge.orders,
            sealed_body=None,
            is_prepared=wanted.signer is not None,
        )
        sealed = await self._secrets.seal_body(account, made.body, kept.about)
        self._exposures.signed(desk, venue, wanted.action)
        return after, replace(kept, sealed_body=sealed), made.body

    async def _sign(self, venue: Venue, desk: Desk, wanted: Wanted, nonce: int) -> Made | Refusal:
        if wanted.signer is not None:
            return venue.prepare(desk.account, wanted.signer, wanted.action, nonce=nonce, expire_ms=wanted.expire_ms)
        key = desk.key
        assert key is not None
        assert key.sealed is not None
        sealed = key.sealed
        return await venue.sign(
            desk.account, key, lambda: self._secrets.opened(sealed, key.about), wanted.action,
            nonce=nonce, expire_ms=wanted.expire_ms,
        )  # fmt: skip

    def used_today(self, desk: Desk) -> Decimal:
        """Return what was signed on this day of UTC."""
        return desk.account.day_notional if desk.account.day == self.today() else Decimal(0)

    def _minute(self, desk: Desk) -> int:
        now = self._clock.now()
        return sum(count for when, count in desk.recent if (now - when).total_seconds() < 60)

    def today(self) -> date:
        """Return the day of UTC."""
        return self._clock.now().date()

    def now_ms(self) -> int:
        """Return the wall time in milliseconds since 1970."""
        return self._clock.time_ns() // 1_000_000


def _no(reason: RefusalReason, message: str, name: str) -> Refusal:
    return Refusal(reason=reason, origin=Origin.MESH, message=message, field=name)
