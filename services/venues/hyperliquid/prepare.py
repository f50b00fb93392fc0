"""From an action to the bytes that are posted to Hyperliquid: what to sign, and the body once it is signed. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from services.venues.actions import Action
from services.venues.hyperliquid import sign
from services.venues.hyperliquid.sign import Key, Signature
from services.venues.hyperliquid.wire import answers
from services.venues.hyperliquid.wire.actions import WireAction, encode
from services.venues.trading import SignedBytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What surrounds an action: the network, whom it is for, who gets an interface fee."""

    mainnet: bool
    vault: str | None = None
    """The sub-account or vault acted for, an address in lower case; None for the signer's own account."""
    builder: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An action ready to be signed."""

    action: Action
    wire: WireAction
    nonce: int
    expires_after_ms: int
    vault: str | None
    hashed: bytes
    digest: bytes
    """What is signed, 32 bytes."""
    payload: str
    """The typed data as JSON, as `eth_signTypedData_v4` takes it."""
    unsigned_body: bytes


def prepare(action: Action, terms: Terms, *, nonce: int, expires_after_ms: int) -> Prepared:
    """Return what is to be signed. Raises `ActionError` for what the venue cannot do."""
    wire = encode(action, builder=terms.builder)
    hashed = sign.action_hash(wire, nonce, vault=terms.vault, expires_after_ms=expires_after_ms)
    typed = sign.l1_typed_data(hashed, mainnet=terms.mainnet)
    return Prepared(
        action=action,
        wire=wire,
        nonce=nonce,
        expires_after_ms=expires_after_ms,
        vault=terms.vault,
        hashed=hashed,
        digest=sign.l1_digest(hashed, mainnet=terms.mainnet),
        payload=msgspec.json.encode(typed).decode(),
        unsigned_body=answers.body(wire, nonce, None, vault=terms.vault, expires_after_ms=expires_after_ms),
    )


def seal(prepared: Prepared, signature: Signature, *, signer: str) -> SignedBytes:
    """Return the bytes to post. Raises `SignError` unless `signature` is of `signer`, an address, over exactly this."""
    found = sign.recover(prepared.digest, signature)
    if found != signer.lower():
        raise sign.SignError(f"signature: is of {found}, not of {signer.lower()}, or not over what was prepared")
    return _signed(prepared, signature)


def signed(action: Action, terms: Terms, key: Key, *, nonce: int, expires_after_ms: int) -> SignedBytes:
    """Return an action signed with `key`: the way of every order, without the typed data nobody looks at."""
    wire = encode(action, builder=terms.builder)
    hashed = sign.action_hash(wire, nonce, vault=terms.vault, expires_after_ms=expires_after_ms)
    signature = key.sign(sign.l1_digest(hashed, mainnet=terms.mainnet))
    body = answers.body(wire, nonce, signature, vault=terms.vault, expires_after_ms=expires_after_ms)
    return SignedBytes(body=body, action=action, nonce=nonce, expire_time_ms=expires_after_ms)


def _signed(prepared: Prepared, signature: Signature) -> SignedBytes:
    expires = prepared.expires_after_ms
    body = answers.body(prepared.wire, prepared.nonce, signature, vault=prepared.vault, expires_after_ms=expires)
    return SignedBytes(body=body, action=prepared.action, nonce=prepared.nonce, expire_time_ms=expires)
