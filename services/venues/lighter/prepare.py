"""From an action to the bytes that are posted to Lighter, for callers who sign themselves. Pure.

The house's own keys sign through `signer.Signer`. A caller's signature is checked here before it is taken.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from services.venues.actions import Action
from services.venues.lighter import schnorr
from services.venues.lighter.signer import SignedTransaction
from services.venues.lighter.wire import transactions
from services.venues.lighter.wire.encode import encode
from services.venues.lighter.wire.transactions import ApiKey, Scales, Transaction
from services.venues.trading import SignedBytes


class SignatureError(ValueError):
    """A signature that is none, or of another key, or over something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A transaction ready to be signed."""

    action: Action
    transaction: Transaction
    nonce: int
    expired_at_ms: int
    digest: bytes
    """What is signed, 40 bytes; in hex it is the transaction's hash."""
    unsigned_body: bytes
    """`tx_info` with an empty `Sig`."""


def prepare(
    action: Action, key: ApiKey, scales: Scales, *, chain_id: int, nonce: int, expired_at_ms: int, now_ms: int
) -> Prepared:
    """Return what is to be signed. Raises `ActionError` for what the venue cannot do."""
    transaction = encode(action, key=key, scales=scales, now_ms=now_ms)
    digest = transactions.tx_hash(transaction, chain_id=chain_id, nonce=nonce, expired_at_ms=expired_at_ms)
    return Prepared(
        action=action,
        transaction=transaction,
        nonce=nonce,
        expired_at_ms=expired_at_ms,
        digest=digest,
        unsigned_body=transactions.tx_info(transaction, nonce=nonce, expired_at_ms=expired_at_ms, signature=""),
    )


def seal(prepared: Prepared, signature: str, *, public_key: bytes) -> SignedBytes:
    """Return the bytes to post. Raises `SignatureError` unless `signature`, 80 bytes in base64, holds."""
    try:
        raw = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        raise SignatureError("signature: is no base64; 80 bytes in base64 would pass") from None
    if not schnorr.verify(public_key, prepared.digest, raw):
        raise SignatureError("signature: does not hold for this key and what was prepared")
    body = transactions.tx_info(
        prepared.transaction, nonce=prepared.nonce, expired_at_ms=prepared.expired_at_ms, signature=signature
    )
    return SignedBytes(
        body=body,
        action=prepared.action,
        nonce=prepared.nonce,
        expire_time_ms=prepared.expired_at_ms,
        transaction_type=int(prepared.transaction.type),
        transaction_hash=prepared.digest.hex(),
    )


def posted(action: Action, signed: SignedTransaction) -> SignedBytes:
    """Return what `signer.Signer` signed as the bytes to post."""
    return SignedBytes(
        body=signed.tx_info,
        action=action,
        nonce=signed.nonce,
        expire_time_ms=signed.expired_at_ms,
        transaction_type=signed.kind,
        transaction_hash=signed.tx_hash,
    )
