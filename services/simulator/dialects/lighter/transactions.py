"""Lighter's transactions: what is in each, its hash, and the texts a wallet signs beside it.

The hash is over field elements: chain, type, nonce, expiry, then the body in the order of `BODIES`; attributes, if
any, are hashed apart and joined. It is what the API key signs and the `tx_hash` the venue names the transaction by.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from services.simulator.crypto.poseidon import from_bytes, hash_elements, to_bytes
from services.simulator.dialects.lighter.refusals import RefusedError

CHANGE_KEY, CREATE_SUB, TRANSFER, WITHDRAW = 8, 9, 12, 13
CREATE, CANCEL, CANCEL_ALL, MODIFY, LEVERAGE, GROUPED, MARGIN = 14, 15, 16, 17, 20, 28, 29
ACCOUNT_CONFIG, ASSET_CONFIG, APPROVE_INTEGRATOR = 41, 42, 45
ORDER_FIELDS = (
    "MarketIndex", "ClientOrderIndex", "BaseAmount", "Price", "IsAsk", "Type", "TimeInForce", "ReduceOnly",
    "TriggerPrice", "OrderExpiry",
)  # fmt: skip
BODIES: dict[int, tuple[str, ...]] = {
    CHANGE_KEY: ("AccountIndex", "ApiKeyIndex"),
    CREATE_SUB: ("AccountIndex", "ApiKeyIndex"),
    TRANSFER: (
        "FromAccountIndex", "ApiKeyIndex", "ToAccountIndex", "AssetIndex", "FromRouteType", "ToRouteType",
        "/Amount", "/USDCFee",
    ),
    WITHDRAW: ("FromAccountIndex", "ApiKeyIndex", "AssetIndex", "RouteType", "/Amount"),
    CREATE: ("AccountIndex", "ApiKeyIndex", *ORDER_FIELDS),
    CANCEL: ("AccountIndex", "ApiKeyIndex", "MarketIndex", "Index"),
    CANCEL_ALL: ("AccountIndex", "ApiKeyIndex", "TimeInForce", "Time"),
    MODIFY: ("AccountIndex", "ApiKeyIndex", "MarketIndex", "Index", "BaseAmount", "Price", "TriggerPrice"),
    LEVERAGE: ("AccountIndex", "ApiKeyIndex", "MarketIndex", "InitialMarginFraction", "MarginMode"),
    GROUPED: ("AccountIndex", "ApiKeyIndex", "GroupingType"),
    MARGIN: ("AccountIndex", "ApiKeyIndex", "MarketIndex", "/USDCAmount", "Direction"),
    ACCOUNT_CONFIG: ("AccountIndex", "ApiKeyIndex", "AccountTradingMode"),
    ASSET_CONFIG: ("AccountIndex", "ApiKeyIndex", "AssetIndex", "AssetMarginMode"),
    APPROVE_INTEGRATOR: (
        "AccountIndex", "ApiKeyIndex", "IntegratorAccountIndex", "MaxPerpsTakerFee", "MaxPerpsMakerFee",
        "MaxSpotTakerFee", "MaxSpotMakerFee", "ApprovalExpiry",
    ),
}  # fmt: skip
"""The hashed fields of each type in order; a slash marks one that is hashed as two words of 32 bits."""
_NIL = {1: 0, 2: 0, 3: 0, 4: 0, 5: 255, 6: 0, 7: 0, 8: 0}
ATTRIBUTES_MAX = 4
NUMBER_MAX = 1 << 60


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction as it came: its fields, its attributes without nil ones, its hash and signature."""

    type: int
    fields: Mapping[str, object]
    orders: tuple[Mapping[str, int], ...]
    attributes: Mapping[int, int]
    hash: bytes
    signature: bytes
    text: str

    def number(self, name: str) -> int:
        """Return a field that is a whole number."""
        return int(str(self.fields[name]))

    @property
    def account(self) -> int:
        """Return the account that acts."""
        return self.number("FromAccountIndex" if "FromAccountIndex" in self.fields else "AccountIndex")

    @property
    def key(self) -> int:
        """Return the API key's slot."""
        return self.number("ApiKeyIndex")

    @property
    def nonce(self) -> int:
        """Return the nonce."""
        return self.number("Nonce")

    @property
    def public_key(self) -> bytes:
        """Return the new key of a ChangePubKey."""
        return _key_bytes(self.fields.get("PubKey"))


def read(type_number: int, info: object, chain: int) -> Transaction:
    """Read a transaction. Raises RefusedError (21501, 21505)."""
    if type_number not in BODIES:
        raise RefusedError(21505)
    if isinstance(info, str):
        try:
            fields = msgspec.json.decode(info)
        except (msgspec.DecodeError, RecursionError):
            raise RefusedError(21501) from None
    else:
        fields, info = info, msgspec.json.encode(info).decode()
    if not isinstance(fields, dict):
        raise RefusedError(21501)
    body: list[int] = []
    for name in BODIES[type_number]:
        value = _number(fields, name.removeprefix("/"))
        body += [value & 0xFFFFFFFF, value >> 32] if name.startswith("/") else [value]
    orders: tuple[Mapping[str, int], ...] = ()
    if type_number == CHANGE_KEY:
        body += from_bytes(_key_bytes(fields.get("PubKey")))
    if type_number == GROUPED:
        orders = _orders(fields)
        body += _grouped(orders)
    head = [chain, type_number, _number(fields, "Nonce"), _number(fields, "ExpiredAt")]
    digest = hash_elements(head + body, 5)
    attributes = _attributes(fields.get("L2TxAttributes"))
    if attributes:
        pairs: list[int] = []
        for number, value in sorted(attributes.items()):
            pairs += [number, value]
        pairs += [0] * (2 * ATTRIBUTES_MAX - len(pairs))
        digest = hash_elements(digest + hash_elements(pairs, 5), 5)
    return Transaction(type_number, fields, orders, attributes, to_bytes(digest), _signature(fields), info)


def _number(fields: Mapping[str, object], name: str) -> int:
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < NUMBER_MAX:
        raise RefusedError(21501)
    return value


def _orders(fields: Mapping[str, object]) -> tuple[Mapping[str, int], ...]:
    rows = fields.get("Orders")
    if not isinstance(rows, list) or not 2 <= len(rows) <= 3 or not all(isinstance(row, dict) for row in rows):
        raise RefusedError(21742)
    return tuple({name: _number(row, name) for name in ORDER_FIELDS} for row in rows)


def _grouped(orders: tuple[Mapping[str, int], ...]) -> list[int]:
    total: list[int] = []
    for order in orders:
        digest = hash_elements([order[name] for name in ORDER_FIELDS], 4)
        total = hash_elements(total + digest, 4) if total else digest
    return total


def _attributes(raw: object) -> dict[int, int]:
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise RefusedError(21501)
    found: dict[int, int] = {}
    for name, value in raw.items():
        if not name.isdigit() or int(name) not in _NIL or not isinstance(value, int) or not 0 <= value < NUMBER_MAX:
            raise RefusedError(21501)
        if value != _NIL[int(name)]:
            found[int(name)] = value
    if len(found) > ATTRIBUTES_MAX:
        raise RefusedError(21501)
    return found


def _signature(fields: Mapping[str, object]) -> bytes:
    try:
        return base64.b64decode(str(fields.get("Sig") or ""), validate=True)
    except (binascii.Error, ValueError):
        raise RefusedError(21120) from None


def _key_bytes(value: object) -> bytes:
    """Read a public key: base64 as the official library writes it, or hexadecimal."""
    text = str(value or "")
    try:
        raw = bytes.fromhex(text.removeprefix("0x")) if len(text) in (80, 82) else base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RefusedError(21501) from None
    if len(raw) != 40:
        raise RefusedError(21501)
    return raw


def hex16(value: int) -> str:
    """Print a number as the wallet's texts do."""
    return f"0x{value:016x}"


def wallet_text(tx: Transaction, chain: int) -> str:
    """Return what the wallet signs (EIP-191) beside a ChangePubKey, Transfer or ApproveIntegrator."""
    end = "\nOnly sign this message for a trusted client!"

    def line(label: str, name: str) -> str:
        return f"\n{label}: {hex16(tx.number(name))}"

    if tx.type == CHANGE_KEY:
        return (
            f"Register Lighter Account\n\npubkey: 0x{tx.public_key.hex()}" + line("nonce", "Nonce")
            + line("account index", "AccountIndex") + line("api key index", "ApiKeyIndex") + end
        )  # fmt: skip
    if tx.type == TRANSFER:
        memo = tx.fields.get("Memo")
        shown = bytes(memo).hex() if isinstance(memo, list) else str(memo or "").removeprefix("0x")
        return (
            "Transfer\n" + line("nonce", "Nonce") + line("from", "FromAccountIndex")
            + f" (route {hex16(tx.number('FromRouteType'))})" + line("api key", "ApiKeyIndex")
            + line("to", "ToAccountIndex") + f" (route {hex16(tx.number('ToRouteType'))})"
            + line("asset", "AssetIndex") + line("amount", "Amount") + line("fee", "USDCFee")
            + f"\nchainId: {hex16(chain)}\nmemo: {shown}" + end
        )  # fmt: skip
    return (
        "Approve Integrator\n" + line("nonce", "Nonce") + line("account index", "AccountIndex")
        + line("api key index", "ApiKeyIndex") + line("integrator account index", "IntegratorAccountIndex")
        + line("max perps taker fee", "MaxPerpsTakerFee") + line("max perps maker fee", "MaxPerpsMakerFee")
        + line("max spot taker fee", "MaxSpotTakerFee") + line("max spot maker fee", "MaxSpotMakerFee")
        + line("approval expiry", "ApprovalExpiry") + f"\nchainId: {hex16(chain)}" + end
    )  # fmt: skip


def token_hash(text: str) -> bytes:
    """Return what the API key signs for an auth token "deadline:account:key"."""
    return to_bytes(hash_elements(from_bytes(text.encode()), 5))
