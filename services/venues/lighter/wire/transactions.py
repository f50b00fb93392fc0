"""Lighter's transactions: the hash that is signed, and the text that is sent. Pure.

A transaction is a type, named integers in the venue's order, and at most four attributes. Its hash covers chain, type,
nonce and expiry, then the body, then the attributes that are not nil. Source: lighter-go; captured hashes of mainnet
and testnet.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

import msgspec

from services.venues.actions import ActionError
from services.venues.lighter.poseidon import from_bytes, hash_elements, to_bytes


class TxType(IntEnum):
    """The venue's numbers of transaction types that this house knows the hash of."""

    CHANGE_PUB_KEY = 8
    CREATE_SUB_ACCOUNT = 9
    TRANSFER = 12
    WITHDRAW = 13
    CREATE_ORDER = 14
    CANCEL_ORDER = 15
    CANCEL_ALL_ORDERS = 16
    MODIFY_ORDER = 17
    UPDATE_LEVERAGE = 20
    CREATE_GROUPED_ORDERS = 28
    UPDATE_MARGIN = 29
    UPDATE_ACCOUNT_CONFIG = 41
    UPDATE_ACCOUNT_ASSET_CONFIG = 42
    APPROVE_INTEGRATOR = 45


TRADING: Final = frozenset(
    (
        TxType.CREATE_ORDER,
        TxType.CANCEL_ORDER,
        TxType.CANCEL_ALL_ORDERS,
        TxType.MODIFY_ORDER,
        TxType.UPDATE_LEVERAGE,
        TxType.CREATE_GROUPED_ORDERS,
    )
)
"""What an action can become."""
SETUP: Final = frozenset((TxType.CHANGE_PUB_KEY, TxType.APPROVE_INTEGRATOR))
"""What setting up and revoking a key or an integrator needs."""


class Attribute(IntEnum):
    """What can be attached to a transaction; `NIL` has the values that mean nothing."""

    INTEGRATOR = 1
    INTEGRATOR_TAKER_FEE = 2
    INTEGRATOR_MAKER_FEE = 3
    SKIP_NONCE = 4
    CANCEL_ALL_MARKET = 5
    SELF_TRADE_BEHAVIOR = 6
    SELF_TRADE_EQUALITY = 7
    ORDER_VERSION = 8


NIL: Final = dict.fromkeys(Attribute, 0) | {Attribute.CANCEL_ALL_MARKET: 255}

Value = int | str | list[dict[str, int]]


@dataclass(frozen=True, slots=True)
class Transaction:
    """What is to be signed, but for nonce and expiry. `body` is in the venue's order of fields."""

    type: TxType
    body: Mapping[str, Value]
    attributes: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """Who signs: an account's API key; and the integrator who is paid interface fees, if any."""

    account_index: int
    api_key_index: int
    integrator_account_index: int = 0

    @property
    def head(self) -> dict[str, Value]:
        """The fields every transaction begins with."""
        return {"AccountIndex": self.account_index, "ApiKeyIndex": self.api_key_index}


@dataclass(frozen=True, slots=True)
class Scale:
    """How many decimals a market's prices and sizes have."""

    price_decimals: int
    size_decimals: int


Scales = Mapping[int, Scale]
"""By market id."""

_ORDER_FIELDS: Final = (
    "MarketIndex",
    "ClientOrderIndex",
    "BaseAmount",
    "Price",
    "IsAsk",
    "Type",
    "TimeInForce",
    "ReduceOnly",
    "TriggerPrice",
    "OrderExpiry",
)


def tx_hash(transaction: Transaction, *, chain_id: int, nonce: int, expired_at_ms: int) -> bytes:
    """Return the 40 bytes that are signed, and by which the venue can be asked for the transaction."""
    head = (chain_id, int(transaction.type), nonce, expired_at_ms)
    hashed = hash_elements((*head, *_elements(transaction)), 5)
    attributes = sorted((k, v) for k, v in transaction.attributes.items() if v != NIL[Attribute(k)])
    if attributes:
        padded = [*attributes, *[(0, 0)] * (4 - len(attributes))]
        hashed = hash_elements((*hashed, *hash_elements([n for pair in padded for n in pair], 5)), 5)
    return to_bytes(hashed)


def _elements(transaction: Transaction) -> list[int]:
    """Return the body as field elements, in the order of its fields; amounts of money as their two halves."""
    elements: list[int] = []
    for name, value in transaction.body.items():
        if name in _UNHASHED:
            continue
        if isinstance(value, list):
            elements += _grouped(value)
        elif isinstance(value, str):
            elements += from_bytes(base64.b64decode(value))
        elif name in _HALVED:
            elements += (value & 0xFFFFFFFF, value >> 32)
        else:
            elements.append(value)
    return elements


def _grouped(orders: list[dict[str, int]]) -> tuple[int, ...]:
    total: tuple[int, ...] = ()
    for order in orders:
        hashed = hash_elements([order[name] for name in _ORDER_FIELDS], 4)
        total = hash_elements(total + hashed, 4) if total else hashed
    return total


_HALVED: Final = frozenset(("Amount", "USDCFee", "USDCAmount"))
_UNHASHED: Final = frozenset(("Memo", "L1Sig"))


def tx_info(transaction: Transaction, *, nonce: int, expired_at_ms: int, signature: str) -> bytes:
    """Return the text that is sent as `tx_info`; `signature` is the 80 bytes in base64, empty while it is unsigned."""
    tail: dict[str, object] = {"ExpiredAt": expired_at_ms, "Nonce": nonce, "Sig": signature}
    attributes = {str(k): v for k, v in transaction.attributes.items() if v != NIL[Attribute(k)]}
    tail["L2TxAttributes"] = attributes or None
    return msgspec.json.encode(dict(transaction.body) | tail)


def read_tx_info(kind: int, text: str | bytes) -> tuple[Transaction, int, int, str]:
    """Return (transaction, nonce, expired_at_ms, signature) of a signed text. Raises `ActionError` for what is none."""
    try:
        fields = msgspec.json.decode(text, type=dict[str, object])
        nonce, expired_at = int(str(fields.pop("Nonce"))), int(str(fields.pop("ExpiredAt")))
        attributes = fields.pop("L2TxAttributes", None) or {}
        assert isinstance(attributes, dict)
        signature = str(fields.pop("Sig", ""))
        for name in _UNHASHED:
            fields.pop(name, None)
        body = msgspec.convert(fields, type=dict[str, int | str | list[dict[str, int]]])
        held = {int(k): int(v) for k, v in attributes.items()}
        return Transaction(TxType(kind), body, held), nonce, expired_at, signature
    except (msgspec.MsgspecError, KeyError, ValueError, AssertionError) as error:
        raise ActionError("tx_info", f"cannot be read: {error}") from error


def auth_hash(text: str) -> bytes:
    """Return the 40 bytes that are signed for an auth token `deadline:account:key`."""
    return to_bytes(hash_elements(from_bytes(text.encode()), 5))
