"""Hyperliquid's signatures, byte for byte those of the official SDK, in a tenth of its time.

Two schemes. An *L1 action* (orders, cancels, leverage, ...) is packed as MessagePack in the order of its fields, hashed
with nonce, vault and expiry, and the hash is what a phantom agent signs under a fixed EIP-712 domain. A *user-signed
action* (approvals, transfers) is EIP-712 typed data that a wallet can show. All type hashes and domain separators are
computed once; what is left of an L1 signature is one packing, three Keccaks and one curve operation.

Pure: no clock, no chance (RFC 6979), no I/O. Nothing here decides what may be signed.
Source: hyperliquid-python-sdk 0.24.0 `utils/signing.py`; EIP-712; the venue's page on signing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from services.venues.hyperliquid import curve
from services.venues.hyperliquid.curve import keccak256

SIGNATURE_CHAIN_ID: Final = "0x66eee"
"""The chain id the SDK signs user-signed actions for; any would do, since it travels in the action."""
_ADDRESS_ZERO: Final = b"\x00" * 32

Field = tuple[str, str]
"""(name, EIP-712 type) of one field of typed data."""

_CHAIN: Final = ("hyperliquidChain", "string")
_PREFIX: Final = "HyperliquidTransaction:"

USER_SIGNED: Final[Mapping[str, tuple[str, tuple[Field, ...]]]] = {
    kind: (_PREFIX + name, (_CHAIN, *fields))
    for kind, name, fields in (
        ("usdSend", "UsdSend", (("destination", "string"), ("amount", "string"), ("time", "uint64"))),
        (
            "spotSend",
            "SpotSend",
            (("destination", "string"), ("token", "string"), ("amount", "string"), ("time", "uint64")),
        ),
        ("withdraw3", "Withdraw", (("destination", "string"), ("amount", "string"), ("time", "uint64"))),
        ("usdClassTransfer", "UsdClassTransfer", (("amount", "string"), ("toPerp", "bool"), ("nonce", "uint64"))),
        (
            "sendAsset",
            "SendAsset",
            (
                ("destination", "string"),
                ("sourceDex", "string"),
                ("destinationDex", "string"),
                ("token", "string"),
                ("amount", "string"),
                ("fromSubAccount", "string"),
                ("nonce", "uint64"),
            ),
        ),
        ("approveAgent", "ApproveAgent", (("agentAddress", "address"), ("agentName", "string"), ("nonce", "uint64"))),
        (
            "approveBuilderFee",
            "ApproveBuilderFee",
            (("maxFeeRate", "string"), ("builder", "address"), ("nonce", "uint64")),
        ),
        (
            "userSetAbstraction",
            "UserSetAbstraction",
            (("user", "address"), ("abstraction", "string"), ("nonce", "uint64")),
        ),
        ("userDexAbstraction", "UserDexAbstraction", (("user", "address"), ("enabled", "bool"), ("nonce", "uint64"))),
        (
            "tokenDelegate",
            "TokenDelegate",
            (("validator", "address"), ("wei", "uint64"), ("isUndelegate", "bool"), ("nonce", "uint64")),
        ),
        ("convertToMultiSigUser", "ConvertToMultiSigUser", (("signers", "string"), ("nonce", "uint64"))),
        ("multiSig", "SendMultiSig", (("multiSigActionHash", "bytes32"), ("nonce", "uint64"))),
    )
}
"""Every action a wallet signs as typed data: its `type` to (primary type, fields in their order)."""

_DOMAIN_FIELDS: Final[tuple[Field, ...]] = (
    ("name", "string"),
    ("version", "string"),
    ("chainId", "uint256"),
    ("verifyingContract", "address"),
)


class SignError(ValueError):
    """Something that cannot be signed, or no signature. The message names the field and what would pass."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature as numbers; `v` is 27 or 28."""

    r: int
    s: int
    v: int

    def as_wire(self) -> dict[str, object]:
        """Return it as the SDK posts it: r and s in hex without leading zeros."""
        return {"r": hex(self.r), "s": hex(self.s), "v": self.v}

    def as_hex(self) -> str:
        """Return the 65 bytes r, s, v in hex with 0x, as wallets answer."""
        return f"0x{self.r:064x}{self.s:064x}{self.v:02x}"

    @classmethod
    def from_hex(cls, text: str) -> Signature:
        """Read the 65 bytes of a wallet; v may be 0, 1, 27 or 28. Raises `SignError`."""
        try:
            raw = bytes.fromhex(text.removeprefix("0x"))
        except ValueError:
            raise SignError("signature: no hex; 65 bytes in hex with 0x would pass") from None
        if len(raw) != 65:
            raise SignError(f"signature: {len(raw)} bytes; 65 would pass")
        v = raw[64] + 27 if raw[64] < 2 else raw[64]
        if v not in (27, 28):
            raise SignError(f"signature: v is {raw[64]}; 27 or 28 would pass")
        return cls(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:64], "big"), v)


class Key:
    """A secret key that signs digests. Its address is in lower case, as the venue writes addresses."""

    __slots__ = ("_secret", "address")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32 or not 0 < int.from_bytes(secret, "big") < curve.ORDER:
            raise SignError("secret: 32 bytes, above zero and below the order of secp256k1, would pass")
        self._secret: curve.Secret = curve.load_secret(secret)
        self.address = curve.address_of(self._secret.public())

    def __repr__(self) -> str:
        return f"Key({self.address})"

    def sign(self, digest: bytes) -> Signature:
        """Return the signature of a digest of 32 bytes."""
        raw = self._secret.sign(digest)
        return Signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:64], "big"), raw[64] + 27)


def recover(digest: bytes, signature: Signature) -> str:
    """Return the address, in lower case, whose key signed `digest`. Raises `SignError` where none can have."""
    if not (0 < signature.r < curve.ORDER and 0 < signature.s < curve.ORDER and signature.v in (27, 28)):
        raise SignError("signature: r and s above zero and below the curve's order, and v 27 or 28, would pass")
    raw = signature.r.to_bytes(32, "big") + signature.s.to_bytes(32, "big") + bytes((signature.v - 27,))
    try:
        return curve.address_of(curve.recover(digest, raw))
    except ValueError as error:
        raise SignError(f"signature: {error}") from None


# --- L1 actions -----------------------------------------------------------------------------------------------------

_PACK: Final = msgspec.msgpack.Encoder()


def pack(action: object) -> bytes:
    """Return `action` in MessagePack, fields in the order they have. A `wire.actions` struct has the venue's order."""
    return _PACK.encode(action)


def action_hash(action: object, nonce: int, *, vault: str | None = None, expires_after_ms: int | None = None) -> bytes:
    """Return the 32 bytes that an L1 action's signature is about.

    `vault` is the sub-account or vault acted for, an address; `expires_after_ms` the last moment, since the Unix epoch.
    """
    data = _PACK.encode(action) + nonce.to_bytes(8, "big")
    data += b"\x00" if vault is None else b"\x01" + address_bytes(vault)
    if expires_after_ms is not None:
        data += b"\x00" + expires_after_ms.to_bytes(8, "big")
    return keccak256(data)


def l1_digest(hashed: bytes, *, mainnet: bool) -> bytes:
    """Return what is signed for an action's hash: the phantom agent's typed data, source `a` on mainnet, else `b`."""
    return keccak256(_L1_PREFIX + keccak256((_L1_MAINNET if mainnet else _L1_TESTNET) + hashed))


def l1_typed_data(hashed: bytes, *, mainnet: bool) -> dict[str, object]:
    """Return the typed data of `l1_digest` as a wallet takes it (`eth_signTypedData_v4`)."""
    message = {"source": "a" if mainnet else "b", "connectionId": "0x" + hashed.hex()}
    return _typed_data("Agent", _AGENT_FIELDS, "Exchange", 1337, message)


# --- user-signed actions --------------------------------------------------------------------------------------------


def user_digest(primary: str, fields: Sequence[Field], action: Mapping[str, object]) -> bytes:
    """Return what is signed for a user-signed action: EIP-712 over `fields` of `action`, which names its own chain.

    Raises `SignError` for a field that is missing or not of its type.
    """
    separator = _domain("HyperliquidSignTransaction", _chain_id(action))
    parts = [_type_hash(primary, tuple(fields))]
    parts.extend(_word(name, kind, action) for name, kind in fields)
    return keccak256(b"\x19\x01" + separator + keccak256(b"".join(parts)))


def user_typed_data(primary: str, fields: Sequence[Field], action: Mapping[str, object]) -> dict[str, object]:
    """Return the typed data of `user_digest` as a wallet takes it (`eth_signTypedData_v4`)."""
    message = {name: _shown(action[name]) for name, _ in fields}
    return _typed_data(primary, fields, "HyperliquidSignTransaction", _chain_id(action), message)


def user_signed(
    kind: str, values: Mapping[str, object], *, mainnet: bool, chain_id: str = SIGNATURE_CHAIN_ID
) -> dict[str, object]:
    """Return a user-signed action as it is posted, ready for `digest_of`.

    `kind` is the venue's `type`, `values` its fields beside the chain. Raises `SignError` for one too many or too few.
    """
    _, fields = user_signed_type(kind)
    names = [name for name, _ in fields[1:]]
    if set(names) != set(values):
        raise SignError(f"{kind}: has fields {', '.join(sorted(values))}; {', '.join(names)} would pass")
    head: dict[str, object] = {"type": kind, "hyperliquidChain": "Mainnet" if mainnet else "Testnet"}
    head["signatureChainId"] = chain_id
    return head | {name: values[name] for name in names}


def user_signed_type(kind: str) -> tuple[str, tuple[Field, ...]]:
    """Return (primary type, fields) of a user-signed action. Raises `SignError` for another."""
    found = USER_SIGNED.get(kind)
    if found is None:
        raise SignError(f"type: {kind!r:.40} is not signed by a wallet; one of {', '.join(USER_SIGNED)} would pass")
    return found


def digest_of(action: Mapping[str, object]) -> bytes:
    """Return what a wallet signs for a user-signed action as it is posted (`user_signed` made it)."""
    primary, fields = user_signed_type(str(action.get("type", "")))
    return user_digest(primary, fields, action)


def address_bytes(address: str) -> bytes:
    """Return an address's 20 bytes. Raises `SignError` for what is none."""
    try:
        raw = bytes.fromhex(address.removeprefix("0x"))
    except ValueError:
        raw = b""
    if len(raw) != 20:
        raise SignError(f"address: {address!r:.60} is none; 0x and 40 hex digits would pass")
    return raw


# --- EIP-712 --------------------------------------------------------------------------------------------------------


def _type_text(name: str, fields: Sequence[Field]) -> str:
    return f"{name}({','.join(f'{kind} {field}' for field, kind in fields)})"


def _type_hash(name: str, fields: tuple[Field, ...]) -> bytes:
    key = (name, fields)
    found = _TYPE_HASHES.get(key)
    if found is None:
        found = keccak256(_type_text(name, fields).encode())
        if len(_TYPE_HASHES) < 64:  # the venue has a dozen types
            _TYPE_HASHES[key] = found
    return found


def _domain(name: str, chain_id: int) -> bytes:
    key = (name, chain_id)
    found = _DOMAINS.get(key)
    if found is None:
        found = keccak256(
            _type_hash("EIP712Domain", _DOMAIN_FIELDS)
            + keccak256(name.encode())
            + keccak256(b"1")
            + chain_id.to_bytes(32, "big")
            + _ADDRESS_ZERO
        )
        if len(_DOMAINS) < 64:  # a wallet may name any chain
            _DOMAINS[key] = found
    return found


def _chain_id(action: Mapping[str, object]) -> int:
    text = action.get("signatureChainId")
    try:
        number = int(text, 16) if isinstance(text, str) else -1
    except ValueError:
        number = -1
    if not 0 <= number < 2**256:
        raise SignError(f"signatureChainId: {text!r:.40} is no chain id; such as {SIGNATURE_CHAIN_ID!r} would pass")
    return number


def _word(name: str, kind: str, action: Mapping[str, object]) -> bytes:
    """Return the 32 bytes of one field."""
    value = action.get(name)
    if kind == "string" and isinstance(value, str):
        return keccak256(value.encode())
    if kind == "address" and isinstance(value, str):
        return b"\x00" * 12 + address_bytes(value)
    if kind == "bool" and isinstance(value, bool):
        return int(value).to_bytes(32, "big")
    if kind == "uint64" and isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64:
        return value.to_bytes(32, "big")
    if kind == "bytes32" and isinstance(value, bytes) and len(value) == 32:
        return value
    raise SignError(f"{name}: {value!r:.60} is no {kind}")


def _shown(value: object) -> object:
    return "0x" + value.hex() if isinstance(value, bytes) else value


def _typed_data(
    primary: str, fields: Sequence[Field], domain: str, chain_id: int, message: Mapping[str, object]
) -> dict[str, object]:
    types = {primary: fields, "EIP712Domain": _DOMAIN_FIELDS}
    return {
        "domain": {
            "name": domain,
            "version": "1",
            "chainId": chain_id,
            "verifyingContract": "0x0000000000000000000000000000000000000000",
        },
        "types": {name: [{"name": field, "type": kind} for field, kind in of] for name, of in types.items()},
        "primaryType": primary,
        "message": dict(message),
    }


_TYPE_HASHES: Final[dict[tuple[str, tuple[Field, ...]], bytes]] = {}
_DOMAINS: Final[dict[tuple[str, int], bytes]] = {}
_AGENT_FIELDS: Final[tuple[Field, ...]] = (("source", "string"), ("connectionId", "bytes32"))
_L1_PREFIX: Final = b"\x19\x01" + _domain("Exchange", 1337)
_L1_MAINNET: Final = _type_hash("Agent", _AGENT_FIELDS) + keccak256(b"a")
_L1_TESTNET: Final = _type_hash("Agent", _AGENT_FIELDS) + keccak256(b"b")
