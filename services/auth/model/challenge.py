"""What a challenge says, and every rule that its signed text must pass before a signature is looked at.

Pure: the text, what was issued under its nonce, the origins and chains of the configuration, and `now` go in; the
challenge or a refusal that names the failed check comes out. The ids S1 to S15 are those of the security checklist.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import hmac
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.auth.model import siwe
from services.auth.model.siwe import SiweError, SiweMessage
from services.domain.errors import DomainError, FieldViolation, Reason

LIFETIME = timedelta(minutes=5)
"""How long a challenge may be used."""
AGE_MAX = timedelta(minutes=10)
"""How old an issue time may be."""
SKEW_MAX = timedelta(seconds=30)
"""How far a time may lie in the future, for clocks that differ."""
NONCE_BYTES = 16
"""128 bits, written as 32 hex digits."""

_NONCE = re.compile(r"[0-9a-f]{32}")


class Purpose(enum.Enum):
    """What a signed challenge is for; one for another purpose is refused (S15)."""

    SIGN_IN = "sign-in"
    LINK_WALLET = "link-wallet"
    UNLINK_WALLET = "unlink-wallet"


_STATEMENTS = {
    Purpose.SIGN_IN: "Sign in to Perpmesh. This costs nothing and moves no funds.",
    Purpose.LINK_WALLET: "Link this wallet to the Perpmesh user named below. This costs nothing and moves no funds.",
    Purpose.UNLINK_WALLET: "Unlink a wallet from the Perpmesh user named below. This costs nothing and moves no funds.",
}
"""Fixed by us, so that a text which a phisher composed for another site does not pass (S13)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What the configuration says of us: where we are signed in to, and which chains count."""

    origins: tuple[str, ...]
    """Such as `https://app.example`; never from the Host header (S3). The first is the default."""
    chains: frozenset[int]

    def origin_for(self, asked: str) -> str:
        """Return the caller's origin where it is one of ours, and the first of ours otherwise."""
        return asked if asked in self.origins else self.origins[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """What was issued under a nonce, and is kept until it is taken."""

    text: str
    purpose: Purpose
    user: str
    """The user to link to or unlink from; empty for a sign-in."""
    binding: str
    """The hash of the secret of whoever asked; empty when it is not tied (S5)."""
    expire_time: datetime


def domain_of(origin: str) -> str:
    """Return the authority of an origin."""
    return origin.partition("://")[2]


def compose(
    *,
    address: str,
    chain_id: int,
    purpose: Purpose,
    user: str,
    binding: str,
    origin: str,
    nonce: bytes,
    site: Site,
    now: datetime,
) -> tuple[str, Challenge]:
    """Return the nonce and the challenge for a wallet; `address` must carry its checksum."""
    if chain_id not in site.chains:
        raise chain_unknown(chain_id, site)
    text_nonce = nonce.hex()
    expire_time = now + LIFETIME
    resources = [f"urn:perpmesh:purpose:{purpose.value}"]
    if user:
        resources.append(f"urn:perpmesh:user:{user}")
    message = SiweMessage(
        domain=domain_of(origin),
        address=address,
        statement=_STATEMENTS[purpose],
        uri=f"{origin}/",
        chain_id=chain_id,
        nonce=text_nonce,
        issued_at=siwe.print_time(now),
        expiration_time=siwe.print_time(expire_time),
        resources=tuple(resources),
    )
    challenge = Challenge(
        text=message.text(),
        purpose=purpose,
        user=user,
        binding=binding,
        expire_time=siwe.read_time(siwe.print_time(expire_time)),
    )
    return text_nonce, challenge


def read(text: str) -> SiweMessage:
    """Return the message of a text, or raise FIELD_INVALID naming `message` (S1, S2, S12)."""
    try:
        return siwe.parse(text)
    except SiweError as error:
        advice = str(error)
        raise DomainError(
            Reason.FIELD_INVALID,
            f"message: {advice}",
            metadata={"field": "message"},
            fields=(FieldViolation("message", advice),),
        ) from None


def is_nonce(text: str) -> bool:
    """Say whether a text has the shape of a nonce of ours."""
    return _NONCE.fullmatch(text) is not None


def check(
    message: SiweMessage,
    text: str,
    issued: Challenge | None,
    *,
    purpose: Purpose,
    user: str,
    verifier: str,
    site: Site,
    now: datetime,
) -> None:
    """Raise SIGN_IN_REFUSED naming the first check that fails; `issued` is what the nonce was good for."""
    _check_place(message, site)
    _check_times(message, now)
    if issued is None:
        raise refused("nonce", "the nonce was not issued here, is older than five minutes, or was used before")
    if now > issued.expire_time:
        raise refused("time", "the challenge is older than five minutes")
    if issued.purpose is not purpose:
        raise refused("purpose", f"the challenge is for {issued.purpose.value}, and this call takes {purpose.value}")
    if issued.user != user:
        raise refused("user", "the challenge was made for another user")
    if not _is_bound(issued.binding, verifier):
        raise refused("binding", "the challenge is tied to another client: send its binding_verifier")
    if issued.text != text:
        raise refused("text", "the text differs from the challenge: sign it exactly as it was received")


def _check_place(message: SiweMessage, site: Site) -> None:
    if message.domain not in {domain_of(origin) for origin in site.origins}:
        raise refused("domain", f"the text is for {message.domain[:80]!r}, which is not this site")
    if not any(message.uri == origin or message.uri.startswith(f"{origin}/") for origin in site.origins):
        raise refused("uri", "the URI is not on this site")
    if message.scheme is not None and f"{message.scheme}://{message.domain}" not in site.origins:
        raise refused("scheme", "the scheme is not this site's")
    if message.chain_id not in site.chains:
        raise refused("chain", f"chain {message.chain_id} is none of {_chains(site)}")


def _check_times(message: SiweMessage, now: datetime) -> None:
    issued_at = siwe.read_time(message.issued_at)
    if issued_at > now + SKEW_MAX:
        raise refused("time", "the text was issued in the future: look at the clock")
    if issued_at < now - AGE_MAX:
        raise refused("time", "the text was issued more than ten minutes ago")
    if message.expiration_time is None:
        raise refused("time", "the text must state when it expires")
    if siwe.read_time(message.expiration_time) <= now:
        raise refused("time", "the text has expired")
    if message.not_before is not None and siwe.read_time(message.not_before) > now:
        raise refused("time", "the text is not valid yet")


def _is_bound(binding: str, verifier: str) -> bool:
    if not binding:
        return True
    digest = hashlib.sha256(verifier.encode()).digest()
    return hmac.compare_digest(base64.urlsafe_b64encode(digest).rstrip(b"="), binding.encode())


def refused(failed: str, why: str) -> DomainError:
    """Return the refusal of a signed text: `failed` is the check, `why` a clause that says what is wrong."""
    return DomainError(Reason.SIGN_IN_REFUSED, f"The sign-in was refused: {why}.", metadata={"check": failed})


def chain_unknown(chain_id: int, site: Site) -> DomainError:
    """Return the refusal of a chain that is not configured."""
    advice = f"must be one of {_chains(site)}"
    return DomainError(
        Reason.FIELD_INVALID,
        f"chain_id: {advice}",
        metadata={"field": "chain_id", "chain_id": str(chain_id)},
        fields=(FieldViolation("chain_id", advice),),
    )


def _chains(site: Site) -> str:
    return ", ".join(str(chain) for chain in _in_order(site.chains))


def _in_order(chains: Collection[int]) -> list[int]:
    return sorted(chains)
