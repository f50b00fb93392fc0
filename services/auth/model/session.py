"""Users, wallets and sessions, and the rule of refresh tokens: each is good for one use, and a second use is a theft.

A refresh token is 32 random bytes. The database holds its SHA-256, and for the length of the grace its successor hidden
under a pad that only the old token yields: so the same client that lost an answer gets the same successor (RFC 9700,
4.14.2), and a copy of the database yields neither.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import hmac
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from services.domain.errors import DomainError, Reason

READ = "read"
TRADE = "trade"
SCOPES = (READ, TRADE)
"""What a token may do, in the order in which it is written."""

REFRESH_PREFIX = "pmr_"
TOKEN_BYTES = 32
GRACE = timedelta(seconds=10)
"""For how long the same client gets the same successor again."""
DEVICE_CHARS_MAX = 256


class WalletKind(enum.Enum):
    """What signs for a wallet."""

    KEY = "key"
    CONTRACT = "contract"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wallet:
    """A wallet of a user."""

    address: str
    chain_id: int
    kind: WalletKind
    link_time: datetime
    last_login_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person, known by wallets."""

    user_id: UUID
    wallets: tuple[Wallet, ...]
    """The first linked first."""
    preferences: dict[str, object]
    create_time: datetime
    last_login_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """The program that calls, as it names itself, and from where."""

    device: str
    network_address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A sign-in on one device."""

    session_id: UUID
    user_id: UUID
    address: str
    chain_id: int
    kind: WalletKind
    scopes: tuple[str, ...]
    device: str
    network_address: str
    create_time: datetime
    last_use_time: datetime
    expire_time: datetime
    """When it ends unless it is refreshed before."""
    latest_end_time: datetime
    """When it ends however often it is refreshed."""
    end_time: datetime | None = None

    def lives(self, now: datetime) -> bool:
        """Say whether it has neither ended nor expired."""
        return self.end_time is None and now < self.expire_time


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """How long things live."""

    access: timedelta
    idle: timedelta
    """A session that is not refreshed for so long ends."""
    longest: timedelta
    """A session ends after so long however often it is refreshed."""
    contract: timedelta
    """The whole life of a session of a contract wallet, whose owners can change (S14)."""

    def first_end(self, kind: WalletKind, now: datetime) -> tuple[datetime, datetime]:
        """Return when a new session ends unless refreshed, and at the latest."""
        latest = now + (self.contract if kind is WalletKind.CONTRACT else self.longest)
        return min(now + self.idle, latest), latest


def open_session(
    session_id: UUID,
    user_id: UUID,
    *,
    address: str,
    chain_id: int,
    kind: WalletKind,
    client: Client,
    lifetimes: Lifetimes,
    now: datetime,
) -> Session:
    """Return the session of a wallet that has just proved itself."""
    expire_time, latest = lifetimes.first_end(kind, now)
    return Session(
        session_id=session_id,
        user_id=user_id,
        address=address,
        chain_id=chain_id,
        kind=kind,
        scopes=SCOPES,
        device=client.device,
        network_address=client.network_address,
        create_time=now,
        last_use_time=now,
        expire_time=expire_time,
        latest_end_time=latest,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshRecord:
    """What the database holds of one refresh token."""

    use_time: datetime | None
    """When it was traded; None while it is the one that counts."""
    device: str
    """The program that traded it."""
    masked_successor: bytes | None
    """The successor under the pad of this token; None before the trade and after the grace."""
    successor_used: bool
    """Whether the successor was traded in its turn."""


class Verdict(enum.Enum):
    """What becomes of a refresh token that was presented."""

    ROTATE = "rotate"
    """It counts: a successor is made."""
    REPEAT = "repeat"
    """It was traded a moment ago by the same client: the same successor again."""
    END = "end"
    """It was traded before: the whole session ends, since one of the two uses was a thief's."""
    DEAD = "dead"
    """Its session has ended or expired."""


def judge(record: RefreshRecord, session: Session, device: str, now: datetime) -> Verdict:
    """Say what becomes of a refresh token whose record was found and locked."""
    if not session.lives(now):
        return Verdict.DEAD
    if record.use_time is None:
        return Verdict.ROTATE
    fresh = now - record.use_time <= GRACE
    if fresh and record.device == device and record.masked_successor is not None and not record.successor_used:
        return Verdict.REPEAT
    return Verdict.END


def refreshed(session: Session, client: Client, lifetimes: Lifetimes, now: datetime) -> Session:
    """Return the session after a refresh."""
    expire_time = min(now + lifetimes.idle, session.latest_end_time)
    return replace(
        session,
        expire_time=expire_time,
        last_use_time=now,
        network_address=client.network_address,
    )


def write_secret(prefix: str, secret: bytes) -> str:
    """Return the text of an opaque token."""
    return prefix + base64.urlsafe_b64encode(secret).decode().rstrip("=")


def read_secret(prefix: str, text: str) -> bytes | None:
    """Return the bytes of an opaque token, or None for a text that none of ours can be."""
    if not text.startswith(prefix) or not text.isascii():
        return None
    body = text[len(prefix) :]
    try:
        secret = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return secret if len(secret) == TOKEN_BYTES and write_secret(prefix, secret) == text else None


def hash_secret(secret: bytes) -> bytes:
    """Return what the database holds of an opaque token: 256 random bits need no slow hash."""
    return hashlib.sha256(b"perpmesh token\0" + secret).digest()


def mask(successor: bytes, old: bytes) -> bytes:
    """Hide a successor under the pad that the old token yields, or uncover it again; the pad is used once."""
    pad = hmac.digest(old, b"perpmesh refresh successor", hashlib.sha256)
    return bytes(one ^ other for one, other in zip(successor, pad, strict=True))


def token_refused(why: str) -> DomainError:
    """Return the refusal of an opaque token; it says no more than the caller may know."""
    return DomainError(Reason.TOKEN_INVALID, f"The token was refused: {why}.")


def needs_session() -> DomainError:
    """Return the refusal of a call that an access token from an API token may not make."""
    return DomainError(
        Reason.PERMISSION_DENIED,
        "This call needs a token that came from signing in; one that was exchanged from an API token may not make it.",
        metadata={"needs": "session"},
    )


def unknown(kind: str, name: str) -> DomainError:
    """Return the answer for what does not exist or is somebody else's; the two are not told apart."""
    return DomainError(Reason.RESOURCE_UNKNOWN, f"There is no such {kind}.", metadata={"kind": kind, "id": name})
