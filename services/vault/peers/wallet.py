"""A wallet's signatures over typed data and texts, checked before anything is sent."""

from __future__ import annotations

from services.domain.errors import DomainError, FieldViolation, Reason
from services.domain.refusal import Origin, Refusal, RefusalReason
from services.vault.model.setup import Step
from services.venues.hyperliquid.curve import keccak256
from services.venues.hyperliquid.sign import Signature, SignError, recover


def personal_digest(text: str) -> bytes:
    """Return what `personal_sign` signs (EIP-191)."""
    raw = text.encode()
    return keccak256(b"\x19Ethereum Signed Message:\n" + str(len(raw)).encode() + raw)


def checked(step: Step, digest: bytes, signature: str) -> Signature | Refusal:
    """Return the signature if it is the step's wallet's over exactly this; else why it is not."""
    try:
        found = Signature.from_hex(signature)
        signer = recover(digest, found)
    except SignError as error:
        return refused(f"The signature cannot be read: {error}.", step)
    if signer != step.signer_address.lower():
        return refused(
            f"The signature is of {signer}, or not over the step's payload; it must be of {step.signer_address}.", step
        )
    return found


def refused(message: str, step: Step) -> Refusal:
    """Return the refusal of a signature."""
    return Refusal(
        reason=RefusalReason.SIGNATURE,
        origin=Origin.MESH,
        message=message,
        advice="Sign the payload exactly as it is given, with the wallet that the step names.",
        field="signatures.signature",
        given_value=str(step.step_id),
    )


def unavailable(venue: str, error: Exception | str) -> DomainError:
    """Return the error of a venue that did not answer."""
    return DomainError(
        Reason.VENUE_UNAVAILABLE,
        f"{venue.capitalize()} did not answer: {str(error)[:300]}.",
        metadata={"venue": venue},
        retry_after_s=1.0,
    )


def bad_key(description: str) -> DomainError:
    """Return the refusal of a private key; it names no part of it."""
    return DomainError(
        Reason.FIELD_INVALID,
        f"private_key: {description}",
        metadata={"field": "private_key"},
        fields=(FieldViolation("private_key", description),),
    )
