"""What Ethereum says of addresses, texts and signatures: Keccak-256, EIP-55, EIP-191 and the shape of a signature."""

from __future__ import annotations

import re
from dataclasses import dataclass

from Crypto.Hash import keccak

CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""The order n of secp256k1 (SEC 2)."""

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_KEY_SIGNATURE_BYTES = 65
_COMPACT_SIGNATURE_BYTES = 64


class SignatureShapeError(ValueError):
    """The bytes cannot be a key's signature; the message says what would pass."""


def keccak256(data: bytes) -> bytes:
    """Return the Keccak-256 hash of `data`, 32 bytes: the one before NIST's padding, as Ethereum uses it."""
    return keccak.new(digest_bits=256, data=data).digest()


def checksummed(address: str) -> str:
    """Return an address in the one spelling of EIP-55; raises ValueError for what is no address."""
    if _ADDRESS.fullmatch(address) is None:
        raise ValueError("an address is 0x and 40 hex digits")
    digits = address[2:].lower()
    marks = keccak256(digits.encode()).hex()
    return "0x" + "".join(
        digit.upper() if int(mark, 16) >= 8 else digit for digit, mark in zip(digits, marks, strict=False)
    )


def personal_digest(message: bytes) -> bytes:
    """Return what a wallet signs for a text (EIP-191, version 0x45: `personal_sign`)."""
    return keccak256(b"\x19Ethereum Signed Message:\n" + str(len(message)).encode() + message)


def address_of(public_key: bytes) -> str:
    """Return the address of an uncompressed public key without its leading 0x04: 64 bytes."""
    return checksummed("0x" + keccak256(public_key)[-20:].hex())


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySignature:
    """A signature by a key, its numbers in range and its `s` in the lower half (EIP-2), so that it has no twin."""

    r: int
    s: int
    parity: int
    """0 or 1: which of the two points of `r` was meant."""

    @classmethod
    def read(cls, signature: bytes) -> KeySignature:
        """Take 65 bytes apart, or raise SignatureShapeError. The 64-byte form of EIP-2098 is refused: see c.1, S8."""
        if len(signature) == _COMPACT_SIGNATURE_BYTES:
            raise SignatureShapeError("compact signatures of 64 bytes (EIP-2098) are not taken: send r, s and v")
        if len(signature) != _KEY_SIGNATURE_BYTES:
            raise SignatureShapeError(f"a key's signature has 65 bytes, not {len(signature)}")
        r, s, v = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big"), signature[64]
        if v not in (0, 1, 27, 28):
            raise SignatureShapeError(f"the last byte of a signature is 0, 1, 27 or 28, not {v}")
        if not 0 < r < CURVE_ORDER:
            raise SignatureShapeError("r must be from 1 to the order of the curve, exclusively")
        if not 0 < s <= CURVE_ORDER // 2:
            raise SignatureShapeError("s must be from 1 to half the order of the curve (EIP-2)")
        return cls(r=r, s=s, parity=v % 27)

    @property
    def recoverable(self) -> bytes:
        """Return r, s and the parity as 65 bytes, the form that libsecp256k1 reads."""
        return self.r.to_bytes(32, "big") + self.s.to_bytes(32, "big") + bytes([self.parity])
