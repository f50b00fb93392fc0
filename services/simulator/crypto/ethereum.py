"""Who signed: recovery of an address from EIP-712 typed data (Hyperliquid) or an EIP-191 text (Lighter)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eth_hash.auto import keccak
from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError

_CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
Field = tuple[str, str]


def recover(digest: bytes, r: int, s: int, v: int) -> int | None:
    """Return the signer's address as a number, None when nothing can be recovered; `v` is 27, 28, 0 or 1."""
    parity = v - 27 if v >= 27 else v
    if parity not in (0, 1) or not 0 < r < _CURVE_ORDER or not 0 < s < _CURVE_ORDER:
        return None
    try:
        public = Signature(vrs=(parity, r, s)).recover_public_key_from_msg_hash(digest)
    except (BadSignature, ValidationError, ValueError):
        return None
    return int.from_bytes(public.to_canonical_address(), "big")


def recover_text(text: str, signature: bytes) -> int | None:
    """Return the signer of a personal message (EIP-191) from its 65 bytes of signature."""
    if len(signature) != 65:
        return None
    raw = text.encode()
    digest = keccak(b"\x19Ethereum Signed Message:\n" + str(len(raw)).encode() + raw)
    return recover(
        digest, int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big"), signature[64]
    )


def checksummed(address: int) -> str:
    """Print an address with the capitals of EIP-55."""
    digits = f"{address:040x}"
    marks = keccak(digits.encode()).hex()
    return "0x" + "".join(d.upper() if int(mark, 16) > 7 else d for d, mark in zip(digits, marks, strict=False))


def _word(kind: str, value: object) -> bytes:
    if kind == "string":
        return keccak(str(value).encode())
    if kind == "bytes32" and isinstance(value, bytes):
        return value
    if kind == "address":
        return int(str(value), 16).to_bytes(32, "big")
    if kind == "bool":
        return int(bool(value)).to_bytes(32, "big")
    return int(str(value)).to_bytes(32, "big")


def struct_hash(name: str, fields: Sequence[Field], values: Mapping[str, object]) -> bytes:
    """Return EIP-712's hashStruct for a flat struct. Raises ValueError, KeyError or OverflowError for wrong values."""
    signature = f"{name}({','.join(f'{kind} {field}' for field, kind in fields)})"
    return keccak(keccak(signature.encode()) + b"".join(_word(kind, values[field]) for field, kind in fields))


_DOMAIN: tuple[Field, ...] = (
    ("name", "string"), ("version", "string"), ("chainId", "uint256"), ("verifyingContract", "address"),
)  # fmt: skip


def domain(name: str, chain: int) -> bytes:
    """Return the domain separator of version 1 with no contract."""
    return struct_hash("EIP712Domain", _DOMAIN, {
        "name": name, "version": "1", "chainId": chain, "verifyingContract": "0x0",
    })  # fmt: skip


def typed_digest(separator: bytes, struct: bytes) -> bytes:
    """Return what is signed for typed data."""
    return keccak(b"\x19\x01" + separator + struct)
