"""What the vault asks of venues, and of what gives money in simulated ones.

What only some venues have is a port of its own, which the others answer None for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from services.domain.refusal import Refusal
from services.vault.model.account import Account, Environment
from services.vault.model.key import Key
from services.vault.model.limits import Exposure
from services.vault.model.setup import Authorization, Plan, Step
from services.vault.model.signing import CallerKey, Made
from services.venues.actions import Action


class Nonces(Protocol):
    """A venue that takes the nonces of a key strictly one after another. Raises VENUE_UNAVAILABLE."""

    async def next_nonce(self, account: Account, api_key_index: int) -> int:
        """Return the nonce the venue expects next."""
        ...


class Tokens(Protocol):
    """A venue whose private streams and reads are opened by a token."""

    async def token(
        self, account: Account, key: Key, secret: Callable[[], AbstractAsyncContextManager[bytearray]], end_s: int
    ) -> str:
        """Return what opens the account's private streams."""
        ...


class Venue(Protocol):
    """One venue in one environment. What asks the venue raises VENUE_UNAVAILABLE."""

    @property
    def name(self) -> str:
        """The venue's name."""
        ...

    @property
    def nonces(self) -> Nonces | None:
        """What tells which nonce comes next; None where the venue has no order of nonces."""
        ...

    @property
    def tokens(self) -> Tokens | None:
        """What issues tokens of private reads; None where the venue needs none."""
        ...

    def marks(self) -> Mapping[str, Decimal]:
        """Return the mark prices that are fresh, by market."""
        ...

    def check(self, action: Action) -> Refusal | None:
        """Say why an action cannot be meant: a market that is not listed, or not of that number."""
        ...

    async def sign(
        self,
        account: Account,
        key: Key,
        secret: Callable[[], AbstractAsyncContextManager[bytearray]],
        action: Action,
        *,
        nonce: int,
        expire_ms: int,
    ) -> Made | Refusal:
        """Sign an action with a key of ours."""
        ...

    def prepare(
        self, account: Account, key: CallerKey, action: Action, *, nonce: int, expire_ms: int
    ) -> Made | Refusal:
        """Return what a caller has to sign, as JSON of payload, digest, unsigned body and what sealing it needs."""
        ...

    def seal(self, prepared: bytes, signature: str) -> Made | Refusal:
        """Return the bytes to post once a caller has signed."""
        ...

    async def exposure(self, account: Account) -> Exposure:
        """Return the account's positions and what it is worth."""
        ...

    async def forget(self) -> None:
        """Let no process hold a secret any more."""
        ...

    # --- accounts and set-ups ---

    async def find(self, wallet: str) -> str:
        """Return the venue's name of a wallet's main account; empty where it knows none."""
        ...

    async def owns(self, wallet: str, venue_account: str) -> bool:
        """Say whether a sub-account or vault is the wallet's."""
        ...

    async def open_orders(self, account: Account) -> int:
        """Return how many orders are open."""
        ...

    async def authorizations(self, account: Account) -> Sequence[Authorization]:
        """Return everything the wallet authorized."""
        ...

    async def generate(self) -> tuple[bytearray, str]:
        """Return a new (secret, public key)."""
        ...

    def public_key_of(self, secret: bytes) -> str:
        """Return the public key of a secret. Raises FIELD_INVALID."""
        ...

    async def accepts(self, account: Account, public_key: str, api_key_index: int | None) -> bool:
        """Say whether the venue accepts a key for the account."""
        ...

    async def plan_key(
        self,
        account: Account,
        public_key: str,
        *,
        name: str,
        api_key_index: int | None,
        expire_time: datetime | None,
        fee_rate: Decimal,
        chain_id: int,
    ) -> tuple[Plan, ...]:
        """Return the steps of a new key."""
        ...

    async def plan_fee(
        self, account: Account, key: Key | None, *, fee_rate: Decimal, chain_id: int
    ) -> tuple[Plan, ...]:
        """Return the steps of approving a fee, or of taking it back where it is zero."""
        ...

    async def plan_revoke(
        self,
        account: Account,
        key: Key,
        secret: Callable[[], AbstractAsyncContextManager[bytearray]] | None,
        *,
        chain_id: int,
    ) -> tuple[Plan, ...]:
        """Return the steps after which the venue knows the key no longer; its secret is of use where it still is."""
        ...

    async def body(
        self,
        account: Account,
        key: Key | None,
        step: Step,
        signature: str,
        secret: Callable[[], AbstractAsyncContextManager[bytearray]] | None,
    ) -> bytes | Refusal:
        """Return what is posted for a step once the wallet has signed; a refusal for a signature that is not its."""
        ...

    async def post(self, step: Step, body: bytes) -> Refusal | None:
        """Post it; None where the venue took it. Raises VENUE_UNAVAILABLE where that is not known."""
        ...

    async def confirmed(self, account: Account, key: Key | None, step: Step) -> bool:
        """Say whether the venue shows what a step was for."""
        ...

    async def free_slot(self, account: Account, taken: Collection[int]) -> int | None:
        """Return the number of a free API key; None where keys have none."""
        ...


class Venues(Protocol):
    """The venues that are configured."""

    def at(self, venue: str, environment: Environment) -> Venue:
        """Return a venue. Raises FIELD_INVALID or STATE_FORBIDS where it is not configured."""
        ...


class Faucet(Protocol):
    """What gives money in a simulated venue."""

    async def give(self, account: Account, amount: Decimal) -> Decimal:
        """Give test funds and return the balance after it."""
        ...
