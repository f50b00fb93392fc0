"""Accounts: adding, listing, limiting, freezing, removing, funding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.chassis.principal import Principal
from services.domain.errors import DomainError, Reason, field_invalid
from services.vault.model.account import (
    Account,
    AccountKind,
    Custody,
    Environment,
    Limits,
    forbids,
)
from services.vault.model.setup import Authorization
from services.vault.ports import Accounts, Chance, Clock, Keys, NewAccount
from services.vault.ports.venues import Faucet, Venues

FUNDS: Final = Decimal(10_000)
FUNDS_MAX: Final = Decimal(1_000_000)
FUNDS_GRAIN: Final = Decimal("0.000001")
LOOK_S: Final = 10.0
"""How old what a venue said of a wallet's authorizations may be."""
LOOKS_MAX: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a user says of an account to add."""

    request_id: UUID
    venue: str
    environment: Environment
    wallet_address: str
    kind: AccountKind
    venue_account: str
    label: str
    custody: Custody
    is_default: bool


@dataclass(frozen=True, slots=True)
class Looked:
    """What a wallet authorized, and when the venue said so; None before it has."""

    authorizations: Sequence[Authorization]
    time: datetime | None


def needs_session(principal: Principal, what: str) -> None:
    """Raise PERMISSION_DENIED for a token that was exchanged from an API token."""
    if principal.from_api_token:
        raise DomainError(
            Reason.PERMISSION_DENIED,
            f"An API token may not {what}: sign in with the wallet.",
            metadata={"needs": "session"},
        )


class AccountDesk:
    """What a user does with accounts."""

    def __init__(
        self, *, accounts: Accounts, keys: Keys, venues: Venues, faucet: Faucet, clock: Clock, chance: Chance
    ) -> None:
        self._accounts = accounts
        self._keys = keys
        self._venues = venues
        self._faucet = faucet
        self._clock = clock
        self._chance = chance
        self._looks: dict[UUID, tuple[float, Looked]] = {}

    async def create(self, principal: Principal, asked: Asked) -> Account:
        """Add an account at a venue."""
        needs_session(principal, "add accounts")
        wallet = asked.wallet_address or principal.wallet
        if wallet.lower() != principal.wallet.lower():
            raise field_invalid(
                "wallet_address", f"only the wallet that signed in is proven to be yours; {principal.wallet} would pass"
            )
        venue = self._venues.at(asked.venue, asked.environment)
        if (asked.kind is AccountKind.MAIN) == bool(asked.venue_account):
            raise field_invalid("venue_account", "a sub-account or vault is named here, the main account is not")
        name = asked.venue_account.lower()
        if name and not await venue.owns(wallet, name):
            raise field_invalid("venue_account", f"{asked.venue} does not show {name} as one of {wallet}'s")
        now = self._clock.now()
        account = Account(
            account_id=self._chance.uuid(),
            user_id=UUID(principal.user),
            venue=asked.venue,
            environment=asked.environment,
            kind=asked.kind,
            wallet_address=principal.wallet,
            venue_account=name or await venue.find(wallet),
            label=asked.label or f"{asked.venue.capitalize()} {asked.environment.lower()}",
            custody=asked.custody,
            is_default=asked.is_default,
            limits=Limits(),
            fee_rate=Decimal(0),
            freeze_time=None,
            freeze_reason="",
            create_time=now,
            update_time=now,
            version=0,
            audit_seq=0,
            audit_hash=b"",
            day=None,
            day_notional=Decimal(0),
        )
        return await self._accounts.add(
            NewAccount(account=account, request_id=asked.request_id, asked_venue_account=name)
        )

    async def page(
        self, principal: Principal, *, venue: str, environment: Environment | None, after: str, limit: int
    ) -> Sequence[Account]:
        """Return the caller's accounts."""
        return await self._accounts.page(
            UUID(principal.user), venue=venue, environment=environment, after=after, limit=limit
        )

    async def get(self, principal: Principal, account_id: UUID) -> tuple[Account, Looked]:
        """Return an account with what its wallet has authorized at the venue."""
        account = await self.found(await self._accounts.get(UUID(principal.user), account_id))
        return account, await self.authorizations(account)

    async def found(self, account: Account) -> Account:
        """Look for an account that its venue did not know before."""
        if account.venue_account:
            return account
        try:
            name = await self._venues.at(account.venue, account.environment).find(account.wallet_address)
        except DomainError:
            return account
        return await self._accounts.found_at_venue(account.account_id, name) if name else account

    async def authorizations(self, account: Account, *, fresh: bool = False) -> Looked:
        """Return what a wallet authorized; the last answer where the venue is silent."""
        known = self._looks.get(account.account_id)
        if known is not None and not fresh and self._clock.monotonic() - known[0] < LOOK_S:
            return known[1]
        if not account.venue_account:
            return Looked((), None)
        try:
            found = await self._venues.at(account.venue, account.environment).authorizations(account)
        except DomainError:
            return known[1] if known is not None else Looked((), None)
        looked = Looked(found, self._clock.now())
        if len(self._looks) >= LOOKS_MAX:
            self._looks.clear()
        self._looks[account.account_id] = (self._clock.monotonic(), looked)
        return looked

    async def delete(self, principal: Principal, account_id: UUID) -> None:
        """Remove an account and destroy its keys."""
        user = UUID(principal.user)
        try:
            account = await self._accounts.get(user, account_id)
        except DomainError:
            await self._accounts.delete(user, account_id)  # one that is gone is no error, an unknown one is
            return
        venue = self._venues.at(account.venue, account.environment)
        if account.venue_account and (count := await venue.open_orders(account)):
            raise forbids(
                f"The account has {count} open orders at {account.venue}: cancel them first.",
                account_id=str(account_id),
                open_orders=str(count),
            )
        if await self._accounts.delete(user, account_id):
            await venue.forget()

    async def set_limits(self, principal: Principal, account_id: UUID, limits: Limits) -> Account:
        """Set the limits of an account, all of them at once."""

        def change(account: Account) -> Limits:
            if limits.loosens(account.limits):
                needs_session(principal, "loosen limits")
            return limits

        return await self._accounts.set_limits(UUID(principal.user), account_id, change)

    async def freeze(self, principal: Principal, account_id: UUID, reason: str) -> Account:
        """Stop all signing for an account."""
        return await self._accounts.freeze(UUID(principal.user), account_id, reason)

    async def unfreeze(self, principal: Principal, account_id: UUID) -> Account:
        """Let an account sign again."""
        needs_session(principal, "unfreeze accounts")
        return await self._accounts.unfreeze(UUID(principal.user), account_id)

    async def fund(
        self, principal: Principal, account_id: UUID, request_id: UUID, amount: Decimal | None
    ) -> tuple[Decimal, Decimal]:
        """Give test funds to a simulated account; return the amount and the balance."""
        account = await self._accounts.get(UUID(principal.user), account_id)
        if not account.environment.is_ours:
            raise forbids(
                f"Test funds are for simulated accounts; this one lives in {account.environment}.",
                account_id=str(account_id),
                environment=account.environment,
            )
        wanted = FUNDS if amount is None else amount
        if wanted > FUNDS_MAX:
            raise field_invalid("amount", f"at most {FUNDS_MAX} USDC would pass")
        if wanted % FUNDS_GRAIN:
            raise field_invalid("amount", "USDC has six decimals: no more would pass, such as 0.000001")
        before = await self._accounts.funded(account_id, request_id)
        if before is not None:
            return before
        balance = await self._faucet.give(account, wanted)
        await self._accounts.fund(account_id, request_id, wanted, balance)
        await self.found(account)
        return wanted, balance
