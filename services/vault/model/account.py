"""Accounts and what they may be used for at most."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID

from services.domain.errors import DomainError, Reason

BAND_BPS: Final = 1_000
"""How far a price may be beyond the mark where the account says nothing."""


class Environment(StrEnum):
    """Where an account lives; the contract's names."""

    SIMULATED = "SIMULATED"
    PAPER = "PAPER"
    TESTNET = "TESTNET"
    MAINNET = "MAINNET"

    @property
    def is_ours(self) -> bool:
        """Whether the venue there is our own simulator, whose money is free."""
        return self in (Environment.SIMULATED, Environment.PAPER)


class AccountKind(StrEnum):
    """What an account is at the venue; the contract's names."""

    MAIN = "MAIN"
    SUB_ACCOUNT = "SUB_ACCOUNT"
    VAULT = "VAULT"


class Custody(StrEnum):
    """Who holds the key that trades."""

    DELEGATED = "DELEGATED"
    CALLER = "CALLER"


class AccountState(StrEnum):
    """Whether an account can trade."""

    NEEDS_KEY = "NEEDS_KEY"
    ACTIVE = "ACTIVE"
    FROZEN = "FROZEN"
    NEEDS_DEPOSIT = "NEEDS_DEPOSIT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an account may be used for at most. None and empty: no limit of this kind. Amounts in USD."""

    max_order_notional: Decimal | None = None
    max_day_notional: Decimal | None = None
    max_position_notional: Decimal | None = None
    max_day_loss: Decimal | None = None
    markets: tuple[str, ...] = ()
    max_leverage: int = 0
    max_orders_per_minute: int = 0
    price_band_bps: int | None = None
    reduce_only: bool = False

    def loosens(self, before: Limits) -> bool:
        """Say whether anything is allowed now that was not before."""
        amounts = ("max_order_notional", "max_day_notional", "max_position_notional", "max_day_loss")
        if any(_looser(getattr(self, name), getattr(before, name)) for name in amounts):
            return True
        if before.markets and not (self.markets and set(self.markets) <= set(before.markets)):
            return True
        counts = ("max_leverage", "max_orders_per_minute")
        if any(_looser(getattr(self, name) or None, getattr(before, name) or None) for name in counts):
            return True
        return self.band_bps > before.band_bps or (before.reduce_only and not self.reduce_only)

    @property
    def needs_exposure(self) -> bool:
        """Whether a limit needs to know what the account has."""
        return self.max_position_notional is not None or self.max_day_loss is not None

    @property
    def band_bps(self) -> int:
        """How far a price may be beyond the mark, in basis points."""
        return BAND_BPS if self.price_band_bps is None else self.price_band_bps


def _looser(now: Decimal | int | None, before: Decimal | int | None) -> bool:
    return before is not None and (now is None or now > before)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user's account at a venue."""

    account_id: UUID
    user_id: UUID
    venue: str
    environment: Environment
    kind: AccountKind
    wallet_address: str
    """With its checksum."""
    venue_account: str
    """The venue's own name: an address in lower case, or an account index. Empty until the venue knows it."""
    label: str
    custody: Custody
    is_default: bool
    limits: Limits
    fee_rate: Decimal
    """The highest builder or integrator fee that the wallet approved through us, as a fraction of the notional."""
    freeze_time: datetime | None
    freeze_reason: str
    create_time: datetime
    update_time: datetime
    version: int
    audit_seq: int
    audit_hash: bytes
    day: date | None
    day_notional: Decimal
    """What was signed on `day`."""
    has_key: bool = False
    """Whether a key of ours works there."""
    wrapped: tuple[str, bytes] | None = field(default=None, repr=False)
    """The account's data key: which master key wraps it, and the wrapped key."""

    @property
    def state(self) -> AccountState:
        """Whether it can trade."""
        if self.freeze_time is not None:
            return AccountState.FROZEN
        if not self.venue_account:
            return AccountState.NEEDS_DEPOSIT
        if self.custody is Custody.DELEGATED and not self.has_key:
            return AccountState.NEEDS_KEY
        return AccountState.ACTIVE

    @property
    def explanation(self) -> str:
        """The state and what to do about it, as one sentence."""
        if self.state is AccountState.FROZEN:
            return "Trading is frozen for this account: unfreeze it to trade again."
        if self.state is AccountState.NEEDS_DEPOSIT:
            deposit = "request test funds" if self.environment.is_ours else f"deposit at {self.venue} with this wallet"
            return f"{self.venue.capitalize()} does not know the wallet yet: {deposit}, then look again."
        if self.state is AccountState.NEEDS_KEY:
            return "No key of ours works there: begin a key set-up and sign what it says."
        if self.custody is Custody.CALLER:
            return "Orders are prepared here and signed by you."
        return "It can trade."


def forbids(message: str, **metadata: str) -> DomainError:
    """Return the refusal of what a state does not allow."""
    return DomainError(Reason.STATE_FORBIDS, message, metadata=metadata)


def unknown(kind: str) -> DomainError:
    """Return the refusal of what does not exist, or is not the caller's; the two are not told apart."""
    return DomainError(
        Reason.RESOURCE_UNKNOWN,
        f"No {kind} of yours has this id: take it from the matching List call.",
        metadata={"resource": kind},
    )
