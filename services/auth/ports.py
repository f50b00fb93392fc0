"""All that the auth room asks of the world."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from services.auth.model.allowance import Standing
from services.auth.model.api_token import ApiToken
from services.auth.model.challenge import Challenge
from services.auth.model.keyring import KeyRecord
from services.auth.model.session import Client, RefreshRecord, Session, User, Verdict, Wallet, WalletKind


class Clock(Protocol):
    """Time."""

    def now(self) -> datetime:
        """Return the wall time, in UTC."""
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


class Challenges(Protocol):
    """What was issued and is not yet taken. Losing it costs a sign-in that has to be begun again."""

    async def keep(self, nonce: str, challenge: Challenge, *, lifetime: timedelta) -> None:
        """Keep a challenge; raises PEER_UNAVAILABLE when that cannot be made sure."""
        ...

    async def take(self, nonce: str) -> Challenge | None:
        """Return a challenge and forget it in one step; None when there is none (any more)."""
        ...


class Tally(Protocol):
    """Where users' requests are counted for all edges together."""

    async def take(self, user: str, hits: int) -> Standing | None:
        """Count `hits` requests of a user where they fit; None when nobody can count now."""
        ...


class Prover(Protocol):
    """What finds out whether a wallet signed a text."""

    async def prove(self, address: str, chain_id: int, text: str, signature: bytes) -> WalletKind:
        """Return what signed, or raise SIGN_IN_REFUSED, WALLET_KIND_UNSUPPORTED or PEER_UNAVAILABLE."""
        ...


class Users(Protocol):
    """Users and their wallets. Every method is one transaction, and names its user."""

    async def get(self, user_id: UUID) -> User | None:
        """Return a user."""
        ...

    async def sign_in(
        self, session: Callable[[UUID], Session], *, wallet: Wallet, new_user: UUID, nonce_hash: bytes, refresh: bytes
    ) -> Session | None:
        """Find or make the wallet's user, open the session that `session` gives for it; None for a spent nonce."""
        ...

    async def set_preferences(
        self, user_id: UUID, change: Callable[[dict[str, object]], dict[str, object]]
    ) -> dict[str, object]:
        """Change the preferences under a lock and return them."""
        ...

    async def link(self, user_id: UUID, wallet: Wallet, *, nonce_hash: bytes, until: datetime) -> bool:
        """Link a wallet; False for a spent nonce. Raises WALLET_TAKEN. One linked to this user already is no error."""
        ...

    async def unlink(
        self, user_id: UUID, address: str, proof: str, *, nonce_hash: bytes, until: datetime, now: datetime
    ) -> tuple[UUID, ...] | None:
        """Unlink a wallet and end its sessions; return those, None for a spent nonce. `proof` must be linked too."""
        ...


class Sessions(Protocol):
    """Sessions and their refresh tokens."""

    async def page(
        self, user_id: UUID, now: datetime, *, after: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[Session]:
        """Return living sessions, the last used first."""
        ...

    async def end(
        self, user_id: UUID, now: datetime, *, only: UUID | None, keep: UUID | None, reason: str
    ) -> tuple[UUID, ...]:
        """End one session or all of a user; return those that lived."""
        ...

    async def exists(self, user_id: UUID, session_id: UUID) -> bool:
        """Say whether the user has or had such a session."""
        ...

    async def refresh(
        self,
        token_hash: bytes,
        *,
        client: Client,
        now: datetime,
        judge: Callable[[RefreshRecord, Session], Verdict],
        successor_hash: bytes,
        masked_successor: bytes,
        renewed: Callable[[Session], Session],
    ) -> tuple[Verdict, Session, bytes | None] | None:
        """Judge a refresh token under a lock and carry the verdict out; None for a token that is not known.

        The last part is the masked successor of a REPEAT.
        """
        ...


class ApiTokens(Protocol):
    """API tokens."""

    async def add(self, token: ApiToken, secret_hash: bytes, *, live_max: int) -> tuple[ApiToken, bool]:
        """Add a token, or return the one that its request_id made before; the second part says whether it is new."""
        ...

    async def page(
        self,
        user_id: UUID,
        *,
        now: datetime,
        ended_since: datetime | None,
        after: tuple[datetime, UUID] | None,
        limit: int,
    ) -> Sequence[ApiToken]:
        """Return tokens, the newest first; ended ones only when `ended_since` is given."""
        ...

    async def revoke(self, user_id: UUID, api_token_id: UUID, now: datetime) -> bool | None:
        """Revoke a token; say whether it lived, None when the user has none of that id."""
        ...

    async def use(self, secret_hash: bytes, now: datetime) -> ApiToken | None:
        """Return the token behind a secret and note its use; None when there is none."""
        ...


class Ended(Protocol):
    """What was revoked lately, by anyone: the record that verifiers are told from."""

    async def since(self, moment: datetime) -> Collection[UUID]:
        """Return the ids of sessions and API tokens that were ended since a moment."""
        ...

    async def prune(self, now: datetime) -> None:
        """Forget what nobody can use any more."""
        ...


class Keys(Protocol):
    """The signing keys; their private parts stay behind this port."""

    async def load(self) -> Sequence[KeyRecord]:
        """Return every key that is still of use."""
        ...

    async def advance(
        self, wanted: Callable[[Sequence[KeyRecord]], tuple[datetime, datetime] | None], now: datetime
    ) -> Sequence[KeyRecord]:
        """Make a key where `wanted` says so, one process at a time, and return every key of use."""
        ...

    def sign(self, kid: str, claims: dict[str, object]) -> str:
        """Return an access token signed by a loaded key."""
        ...


class Herald(Protocol):
    """What tells verifiers at once that sessions or API tokens have ended."""

    def tell(self, ids: Collection[UUID]) -> None:
        """Spread the word; the record stays the truth."""
        ...
