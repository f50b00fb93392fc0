"""Keys: setting them up, importing, listing and revoking them; and the approval of fees.

A step is kept as submitted, with the exact bytes, before they are posted: whatever happens then, the same bytes can be
posted again, and what the venue shows decides whether it worked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.chassis.principal import Principal
from services.domain.errors import DomainError, field_invalid
from services.domain.market import HYPERLIQUID
from services.domain.refusal import Refusal
from services.vault.app.accounts import AccountDesk, needs_session
from services.vault.model.account import Account, Custody, forbids, unknown
from services.vault.model.key import Key, KeyKind, KeyState, Origin
from services.vault.model.setup import (
    FEE_RATE_MAX,
    KEY_LIFE,
    LIFE,
    Plan,
    Purpose,
    Setup,
    SetupState,
    Step,
    StepKind,
    StepState,
    state_of,
)
from services.vault.ports import Accounts, Chance, Clock, Keys, Secrets
from services.vault.ports.venues import Venue, Venues

CONFIRM_TRIES: Final = 20
CONFIRM_PAUSE_S: Final = 0.25
"""How long a call waits for a venue to show what it took."""
REVOKE_WAIT_S: Final = 0.6
"""How long a revocation waits for the venue before it takes effect here."""
_FEES: Final = frozenset((StepKind.APPROVE_BUILDER_FEE, StepKind.APPROVE_INTEGRATOR, StepKind.REVOKE_FEE))

Opener = Callable[[], AbstractAsyncContextManager[bytearray]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupWish:
    """What a user says of a set-up to begin."""

    request_id: UUID
    purpose: Purpose
    key_name: str
    lifetime: timedelta | None
    api_key_index: int | None
    fee_rate: Decimal
    chain_id: int


class KeyDesk:
    """What a user does with keys."""

    def __init__(
        self, *, accounts: Accounts, desk: AccountDesk, keys: Keys, secrets: Secrets, venues: Venues, clock: Clock,
        chance: Chance,
    ) -> None:  # fmt: skip
        self._accounts = accounts
        self._desk = desk
        self._keys = keys
        self._secrets = secrets
        self._venues = venues
        self._clock = clock
        self._chance = chance

    async def begin(self, principal: Principal, account_id: UUID, wish: SetupWish) -> Setup:
        """Begin the set-up of a key or a fee: make the key, and say what the wallet must sign."""
        needs_session(principal, "set up keys")
        account = await self._mine(principal, account_id)
        before = await self._keys.begun(account_id, wish.request_id)
        if before is not None:
            return before
        if wish.fee_rate > FEE_RATE_MAX:
            raise field_invalid("max_fee_rate", f"at most {FEE_RATE_MAX} of the notional would pass")
        if not account.venue_account:
            raise forbids(account.explanation, account_id=str(account_id), state=account.state)
        venue = self._venue(account)
        if wish.purpose is Purpose.NEW_KEY:
            key, plans = await self._new_key(account, venue, wish)
            try:
                return await self._add(account, key, wish.purpose, plans, wish.request_id)
            finally:
                del key
        rate = Decimal(0) if wish.purpose is Purpose.REVOKE_FEE else wish.fee_rate
        if wish.purpose is Purpose.APPROVE_FEE and not rate:
            raise field_invalid("max_fee_rate", f"the fee to approve, above 0 and at most {FEE_RATE_MAX}, would pass")
        current = await self._keys.active(account_id)
        plans = await venue.plan_fee(account, current, fee_rate=rate, chain_id=wish.chain_id)
        if not plans:
            raise forbids("This mesh takes no interface fee, so there is none to approve.", account_id=str(account_id))
        return await self._add(account, None, wish.purpose, plans, wish.request_id)

    async def _new_key(self, account: Account, venue: Venue, wish: SetupWish) -> tuple[Key, tuple[Plan, ...]]:
        if account.custody is Custody.CALLER:
            raise forbids("The account's owner signs, so no key is set up here.", account_id=str(account.account_id))
        now = self._clock.now()
        index = wish.api_key_index
        is_agent = account.venue == HYPERLIQUID
        if not is_agent:
            ours = await self._keys.of_account(account.account_id, ended=False)
            taken = [key.api_key_index for key in ours if key.api_key_index is not None]
            index = index if index is not None else await venue.free_slot(account, taken)
        elif index is not None:
            raise field_invalid("api_key_index", "Hyperliquid's agents have a name and no number")
        expire_time = now + (wish.lifetime or KEY_LIFE) if is_agent else None
        secret, public = await venue.generate()
        try:
            key = Key(
                key_id=self._chance.uuid(),
                account_id=account.account_id,
                user_id=account.user_id,
                venue=account.venue,
                environment=account.environment,
                kind=KeyKind.HYPERLIQUID_AGENT if is_agent else KeyKind.LIGHTER_API_KEY,
                origin=Origin.GENERATED,
                state=KeyState.PENDING,
                explanation="",
                public_key=public,
                api_key_index=index,
                venue_name=(wish.key_name or f"perpmesh-{self._chance.secret(12).hex()[:6]}") if is_agent else "",
                create_time=now,
                expire_time=expire_time,
            )
            key = replace(key, sealed=await self._secrets.seal(secret, key.about))
        finally:
            secret[:] = bytes(len(secret))
        plans = await venue.plan_key(
            account, public, name=key.venue_name, api_key_index=index, expire_time=expire_time,
            fee_rate=wish.fee_rate, chain_id=wish.chain_id,
        )  # fmt: skip
        return key, plans

    async def _add(
        self, account: Account, key: Key | None, purpose: Purpose, plans: Sequence[Plan], request_id: UUID,
        *, of: Key | None = None,
    ) -> Setup:  # fmt: skip
        now = self._clock.now()
        about = key or of
        setup = Setup(
            key_setup_id=self._chance.uuid(),
            account_id=account.account_id,
            key_id=None if about is None else about.key_id,
            purpose=purpose,
            state=SetupState.AWAITING_SIGNATURES,
            steps=tuple(
                Step(step_id=self._chance.uuid(), plan=plan, signer_address=account.wallet_address) for plan in plans
            ),
            create_time=now,
            expire_time=now + LIFE,
        )
        await self._keys.add(account, setup, key, request_id)
        return setup

    async def complete(
        self, principal: Principal, account_id: UUID, key_setup_id: UUID, *, signatures: Mapping[UUID, str],
        skipped: Sequence[UUID],
    ) -> tuple[Setup, Key | None]:  # fmt: skip
        """Take the wallet's signatures, send them to the venue, and wait for its word."""
        needs_session(principal, "complete set-ups")
        account = await self._mine(principal, account_id)
        setup = await self._keys.setup(account_id, key_setup_id)
        if setup is None:
            raise unknown("set-up")
        for step_id in (*signatures, *skipped):
            if setup.step(step_id) is None:
                raise unknown("step")
        setup = await self._skip(account, setup, skipped)
        key = None if setup.key_id is None else await self._keys.get(account_id, setup.key_id)
        while not setup.state.is_final and (step := setup.next_step()) is not None:
            moved = await self._advance(account, setup, step, key, signatures.get(step.step_id, ""))
            if moved is None:
                break
            setup = moved
            key = None if setup.key_id is None else await self._keys.get(account_id, setup.key_id)
        return setup, key

    async def _skip(self, account: Account, setup: Setup, skipped: Sequence[UUID]) -> Setup:
        for step_id in skipped:
            step = setup.step(step_id)
            assert step is not None
            if step.plan.required:
                raise field_invalid("skipped_step_ids", f"{step_id} is required; only other steps can be left out")
            if step.state is StepState.AWAITING_SIGNATURE:
                setup = self._with(setup, replace(step, state=StepState.SKIPPED))
        if skipped:
            await self._keys.save(account, setup)
        return setup

    async def _advance(
        self, account: Account, setup: Setup, step: Step, key: Key | None, signature: str
    ) -> Setup | None:
        """Bring one step further; None where its signature is missing, or the venue has not answered yet."""
        venue = self._venue(account)
        body = None
        if step.state is StepState.AWAITING_SIGNATURE:
            if setup.expire_time <= self._clock.now():
                setup = replace(setup, state=state_of(setup.steps, is_late=True))
                await self._keys.save(account, setup)
                return setup
            if not signature:
                return None
            # A fee alone is signed for by the key that trades, where the venue asks for that.
            signer = key if key is not None else await self._keys.active(account.account_id)
            made = await venue.body(account, signer, step, signature, self._opener(signer))
            if isinstance(made, Refusal):
                raise field_invalid("signatures", made.message)
            body = made
            about = self._about(setup, step)
            step = replace(
                step,
                state=StepState.SUBMITTED,
                sealed_body=await self._secrets.seal_body(account, body, about),
            )
            setup = self._with(setup, step)
            await self._keys.save(account, setup)
        elif await venue.confirmed(account, key, step):
            return await self._confirm(account, setup, step, key)
        if body is None:
            if step.sealed_body is None:
                return None
            body = await self._secrets.open_body(account, step.sealed_body, self._about(setup, step))
        refusal = await venue.post(step, body)
        if await self._shown(venue, account, key, step, patient=refusal is None):
            return await self._confirm(account, setup, step, key)
        if refusal is None:
            return None
        return await self._refuse(account, setup, step, key, refusal)

    async def _shown(self, venue: Venue, account: Account, key: Key | None, step: Step, *, patient: bool) -> bool:
        for turn in range(CONFIRM_TRIES if patient else 1):
            if turn:
                await self._clock.sleep(CONFIRM_PAUSE_S)
            try:
                if await venue.confirmed(account, key, step):
                    return True
            except DomainError:
                continue
        return False

    async def _confirm(self, account: Account, setup: Setup, step: Step, key: Key | None) -> Setup:
        kind = step.plan.kind
        if kind in (StepKind.APPROVE_AGENT, StepKind.CHANGE_PUBLIC_KEY) and key is not None:
            before = await self._keys.active(account.account_id)
            await self._keys.activate(account, key, expire_time=key.expire_time)
            if before is not None:
                await self._venue(account).forget()  # the key before has ended
        elif kind is StepKind.REVOKE_KEY and key is not None:
            await self._keys.end(account, key, KeyState.REVOKED, "", at_venue=True)
        elif kind in _FEES:
            await self._keys.approve_fee(account, step.plan.max_fee_rate or Decimal(0))
        setup = self._with(setup, replace(step, state=StepState.CONFIRMED, sealed_body=None))
        await self._keys.save(account, setup)
        return setup

    async def _refuse(self, account: Account, setup: Setup, step: Step, key: Key | None, refusal: Refusal) -> Setup:
        setup = self._with(setup, replace(step, state=StepState.REFUSED, refusal=refusal, sealed_body=None))
        await self._keys.save(account, setup)
        if setup.state is SetupState.REFUSED and key is not None and key.state is KeyState.PENDING:
            await self._keys.end(account, key, KeyState.DEAD, f"Its set-up was refused: {refusal.message}")
        return setup

    def _with(self, setup: Setup, step: Step) -> Setup:
        steps = tuple(step if one.step_id == step.step_id else one for one in setup.steps)
        late = setup.expire_time <= self._clock.now()
        return replace(setup, steps=steps, state=state_of(steps, is_late=late))

    async def import_key(
        self, principal: Principal, account_id: UUID, request_id: UUID, secret: bytearray, api_key_index: int | None
    ) -> Key:
        """Take in a key that the venue accepts already. `secret` is overwritten."""
        try:
            needs_session(principal, "import keys")
            account = await self._mine(principal, account_id)
            before = await self._keys.imported(account_id, request_id)
            if before is not None:
                return before
            return await self._import(account, request_id, secret, api_key_index)
        finally:
            secret[:] = bytes(len(secret))

    async def _import(self, account: Account, request_id: UUID, secret: bytearray, api_key_index: int | None) -> Key:
        is_agent = account.venue == HYPERLIQUID
        if account.custody is Custody.CALLER:
            raise forbids("The account's owner signs, so no key is kept here.", account_id=str(account.account_id))
        if not account.venue_account:
            raise forbids(account.explanation, account_id=str(account.account_id), state=account.state)
        if not is_agent and api_key_index is None:
            raise field_invalid("api_key_index", "the number of the API key at Lighter would pass")
        venue = self._venue(account)
        public = venue.public_key_of(bytes(secret))
        if is_agent and public == account.wallet_address.lower():
            raise field_invalid(
                "private_key", "this is the wallet's own key, which is never taken; an agent's would pass"
            )
        if not await venue.accepts(account, public, api_key_index):
            raise forbids(
                f"{account.venue.capitalize()} does not accept this key for the account: set it up there first.",
                account_id=str(account.account_id),
                public_key=public,
            )
        listed = await venue.authorizations(account)
        same = next((one for one in listed if one.grantee == public), None)
        now = self._clock.now()
        key = Key(
            key_id=self._chance.uuid(),
            account_id=account.account_id,
            user_id=account.user_id,
            venue=account.venue,
            environment=account.environment,
            kind=KeyKind.HYPERLIQUID_AGENT if is_agent else KeyKind.LIGHTER_API_KEY,
            origin=Origin.IMPORTED,
            state=KeyState.ACTIVE,
            explanation="",
            public_key=public,
            api_key_index=None if is_agent else api_key_index,
            venue_name=same.name if same is not None and is_agent else "",
            create_time=now,
            activate_time=now,
            expire_time=None if same is None else same.expire_time,
        )
        key = replace(key, sealed=await self._secrets.seal(secret, key.about))
        await self._keys.add(account, None, key, request_id)
        return key

    async def page(
        self, principal: Principal, account_id: UUID, *, ended: bool, after: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[Key]:
        """Return the keys of an account."""
        await self._accounts.get(UUID(principal.user), account_id)
        return await self._keys.of_account(account_id, ended=ended, after=after, limit=limit)

    async def revoke(self, principal: Principal, account_id: UUID, key_id: UUID) -> tuple[Key, Setup | None]:
        """Revoke a key here at once, and say what the wallet can sign so that the venue forgets it too."""
        account = await self._mine(principal, account_id)
        key = await self._keys.get(account_id, key_id)
        if key is None:
            raise unknown("key")
        plans: tuple[Plan, ...] = ()
        venue = self._venue(account)
        at_venue = key.venue_revoke_time is None and key.state is not KeyState.PENDING
        before = await self._keys.latest_setup(key_id, Purpose.REVOKE_KEY)
        if before is not None and not before.state.is_final and before.expire_time > self._clock.now():
            return await self._ended(account, key), before
        if at_venue and (key.venue_name or key.api_key_index is not None):
            try:
                opener = self._opener(key) if not key.state.is_final else None
                async with asyncio.timeout(REVOKE_WAIT_S):
                    plans = await venue.plan_revoke(account, key, opener, chain_id=0)
            except (DomainError, TimeoutError):
                plans = ()  # the venue is silent: it is revoked here in any case, and asked for again later
        key = await self._ended(account, key)
        await venue.forget()
        if not plans:
            return key, None
        return key, await self._add(account, None, Purpose.REVOKE_KEY, plans, self._chance.uuid(), of=key)

    async def _ended(self, account: Account, key: Key) -> Key:
        if key.state.is_final:
            return key
        return await self._keys.end(account, key, KeyState.REVOKED, "")

    async def _mine(self, principal: Principal, account_id: UUID) -> Account:
        return await self._desk.found(await self._accounts.get(UUID(principal.user), account_id))

    def _venue(self, account: Account) -> Venue:
        return self._venues.at(account.venue, account.environment)

    def _opener(self, key: Key | None) -> Opener | None:
        if key is None or key.sealed is None:
            return None
        sealed, about = key.sealed, key.about
        return lambda: self._secrets.opened(sealed, about)

    @staticmethod
    def _about(setup: Setup, step: Step) -> bytes:
        return f"vault.key_setup_steps\0{setup.account_id}\0{setup.key_setup_id}\0{step.step_id}\0v1".encode()
