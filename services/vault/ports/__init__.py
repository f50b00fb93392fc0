"""All that the vault asks of the world; `venues` says what it asks of venues."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Protocol
from uuid import UUID

from services.vault.model.account import Account, Environment, Limits
from services.vault.model.key import Key, Sealed
from services.vault.model.lane import Lane
from services.vault.model.setup import Setup
from services.vault.model.signing import CallerKey, Kept, Leg, Report


class Clock(Protocol):
    """Time."""

    def now(self) -> datetime:
        """Return the wall time, in UTC."""
        ...

    def time_ns(self) -> int:
        """Return the wall time in nanoseconds since 1970."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Chance(Protocol):
    """Ids and secrets."""

    def uuid(self) -> UUID:
        """Return a new id."""
        ...

    def secret(self, size_bytes: int) -> bytes:
        """Return random bytes that nobody can guess."""
        ...


class Secrets(Protocol):
    """What seals and opens. Raises KEY_SEALED for what does not open."""

    async def seal(self, secret: bytes | bytearray, about: bytes) -> Sealed:
        """Seal a secret under a new data key of its own."""
        ...

    def opened(self, sealed: Sealed, about: bytes) -> AbstractAsyncContextManager[bytearray]:
        """Open a secret for the time of a block; its bytes are overwritten at the end."""
        ...

    async def seal_body(self, account: Account, body: bytes, about: bytes) -> bytes:
        """Seal bytes under the account's data key."""
        ...

    async def open_body(self, account: Account, sealed: bytes, about: bytes) -> bytes:
        """Open such bytes."""
        ...

    async def audit_key(self, account: Account) -> bytes:
        """Return the key of the account's audit chain."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAccount:
    """An account to add."""

    account: Account
    request_id: UUID
    asked_venue_account: str


class Accounts(Protocol):
    """Accounts. What names a user finds that user's accounts alone; every change is audited in its transaction."""

    async def add(self, wanted: NewAccount) -> Account:
        """Add an account, or return the one that its request_id made before. Raises REQUEST_ID_REUSED."""
        ...

    async def get(self, user_id: UUID | None, account_id: UUID) -> Account:
        """Return an account; None for the user means anybody's. Raises RESOURCE_UNKNOWN."""
        ...

    async def page(
        self, user_id: UUID, *, venue: str, environment: Environment | None, after: str, limit: int
    ) -> Sequence[Account]:
        """Return accounts by venue and then the oldest first, those after the id `after`."""
        ...

    async def every(
        self, ids: Collection[UUID], user_id: UUID | None, *, after: UUID | None, limit: int
    ) -> Sequence[Account]:
        """Return accounts of all users by id."""
        ...

    async def set_limits(self, user_id: UUID, account_id: UUID, change: Callable[[Account], Limits]) -> Account:
        """Set what the account may be used for."""
        ...

    async def freeze(self, user_id: UUID, account_id: UUID, reason: str) -> Account:
        """Stop all signing; one that is frozen stays as it is."""
        ...

    async def unfreeze(self, user_id: UUID, account_id: UUID) -> Account:
        """Let it sign again."""
        ...

    async def found_at_venue(self, account_id: UUID, venue_account: str) -> Account:
        """Keep the venue's own name of an account."""
        ...

    async def delete(self, user_id: UUID, account_id: UUID) -> bool:
        """Remove an account and destroy its secrets; say whether it lived. Raises STATE_FORBIDS, RESOURCE_UNKNOWN."""
        ...

    async def funded(self, account_id: UUID, request_id: UUID) -> tuple[Decimal, Decimal] | None:
        """Return (amount, balance) of test funds given under a request_id."""
        ...

    async def fund(self, account_id: UUID, request_id: UUID, amount: Decimal, balance: Decimal) -> None:
        """Remember test funds."""
        ...


class Keys(Protocol):
    """Keys and set-ups."""

    async def of_account(
        self, account_id: UUID, *, ended: bool = True, after: tuple[datetime, UUID] | None = None, limit: int = 200
    ) -> Sequence[Key]:
        """Return keys, the newest first."""
        ...

    async def get(self, account_id: UUID, key_id: UUID) -> Key | None:
        """Return a key of an account."""
        ...

    async def trading(self, account_ids: Sequence[UUID]) -> Mapping[UUID, Sequence[str]]:
        """Return the public keys that sign for accounts, by account, in one question."""
        ...

    async def active(self, account_id: UUID) -> Key | None:
        """Return the key that signs for an account."""
        ...

    async def begun(self, account_id: UUID, request_id: UUID) -> Setup | None:
        """Return the set-up of a request_id."""
        ...

    async def imported(self, account_id: UUID, request_id: UUID) -> Key | None:
        """Return the key of a request_id."""
        ...

    async def setup(self, account_id: UUID, key_setup_id: UUID) -> Setup | None:
        """Return a set-up."""
        ...

    async def latest_setup(self, key_id: UUID, purpose: str) -> Setup | None:
        """Return the newest set-up of a key for a purpose."""
        ...

    async def add(self, account: Account, setup: Setup | None, key: Key | None, request_id: UUID) -> None:
        """Add a set-up, a key, or both. Raises STATE_FORBIDS for a key that is somebody's already."""
        ...

    async def save(self, account: Account, setup: Setup) -> None:
        """Keep how far a set-up has come."""
        ...

    async def activate(self, account: Account, key: Key, *, expire_time: datetime | None) -> Key:
        """The venue accepts the key: it signs from now on, and the one before does not."""
        ...

    async def end(self, account: Account, key: Key, state: str, explanation: str, *, at_venue: bool = False) -> Key:
        """End a key and destroy its secret; `at_venue` says that the venue confirmed it."""
        ...

    async def approve_fee(self, account: Account, rate: Decimal) -> None:
        """Keep the highest fee that the wallet approved."""
        ...

    async def expire(self, now: datetime) -> int:
        """End keys whose time ran out and set-ups that came to nothing; return how many."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What signing for an account begins from: read in one transaction, true until a write is refused."""

    account: Account
    key: Key | None
    lane: Lane | None
    room_version: int
    room_freeze: str | None
    """Why nothing at all is signed; None while the room is not frozen."""
    recent: tuple[tuple[datetime, int], ...]
    """(when, how many) orders were signed in the last minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one write of the signer changes."""

    desk: Desk
    lane: Lane | None
    audit: Sequence[tuple[str, Mapping[str, object]]]
    day_notional: Decimal
    signed: Sequence[Kept] = ()
    accepted: Sequence[Kept] = ()
    """Prepared before, and signed by their caller now."""
    settled: Sequence[Report] = ()
    fences: Mapping[UUID, int] = field(default_factory=dict)


class Signing(Protocol):
    """The record of what was signed, and the lanes."""

    async def desk(self, account_id: UUID, caller: CallerKey | None = None) -> Desk:
        """Take the lane of an account's key, or of a caller's, and read what signing begins from.

        Raises RESOURCE_UNKNOWN, or PEER_UNAVAILABLE while another vault holds the lane.
        """
        ...

    async def known(self, legs: Sequence[Leg]) -> tuple[dict[tuple[UUID, int], Kept], dict[UUID, tuple[UUID, int]]]:
        """Return those actions that are kept, and of each leg its account and newest fence."""
        ...

    def recent(self, legs: Sequence[Leg]) -> tuple[dict[tuple[UUID, int], Kept], dict[UUID, tuple[UUID, int]]]:
        """Return the same of what was signed here of late, without a look."""
        ...

    async def note_fences(self, account_id: UUID, fences: Mapping[UUID, int]) -> None:
        """Remember newer fences."""
        ...

    async def write(self, batch: Batch) -> Desk | None:
        """Keep all of it in one statement and return the desk as it then is; None where the desk is not true any more.

        Nothing was written then: another vault took over, or the account changed.
        """
        ...

    async def day_equity(self, account_id: UUID, day: date, equity: Decimal) -> Decimal:
        """Return what the account was worth when a day began; `equity` where nothing was seen of the day before."""
        ...

    async def is_current(self, desk: Desk) -> bool:
        """Say whether neither the account nor the room has changed since."""
        ...

    async def wipe(self, now: datetime) -> int:
        """Wipe bytes that have expired; return how many."""
        ...
