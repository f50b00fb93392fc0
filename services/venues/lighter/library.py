"""Lighter's own signer library, as the official SDK ships it: found, checked by its hash, and called through ctypes.

The library is a Go program. It installs signal handlers (SIGSEGV, SIGPIPE and others), keeps keys in a table of its own
for as long as it lives, asks the venue over HTTP when a nonce is negative, and ends the whole process when it panics.
So it is loaded by `signer_child.py` alone, in a process of its own (`docs/decisions/0005`). It chooses `ExpiredAt`
itself: now and 599 seconds. Struct layouts belong to one release: another file than the pinned ones is refused.
Source: lighter-sdk 1.1.8, `signer_client.py` and the headers beside the libraries.
"""

from __future__ import annotations

import base64
import ctypes
import hashlib
import platform
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from services.venues.lighter.wire.transactions import Attribute, Transaction, TxType

PINNED: Final = {
    "lighter-signer-linux-amd64.so": "7f107a0e2240aa40c9f0ae8aba396380fe62892fe199dd3691e3103fc9a6fd8e",
    "lighter-signer-linux-arm64.so": "9088ced1545e4cf81b6a4e18102c9459f3145215256c9d2f0a7ee4d160d7dfae",
    "lighter-signer-darwin-amd64.dylib": "cc7a6b7c4736d09e9bf236def745e132d962a30c91d72235d579c44d895cfaa1",
    "lighter-signer-darwin-arm64.dylib": "b58e94ae6149be8c4e2ca90a6058fcb86e3c16604d0f09c3be29034b8feb2630",
}
"""SHA-256 of the libraries of lighter-sdk 1.1.8. Our tests run on Linux; the others are hashed and not tried."""
_MACHINES: Final = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_SYSTEMS: Final = {"Linux": ("linux", "so"), "Darwin": ("darwin", "dylib")}
_NOWHERE: Final = b"http://127.0.0.1:9"
"""Where the library would ask for nonces; it is never made to."""


class LibraryError(Exception):
    """The library is not there, is another than the pinned one, or refused. The message is a sentence."""


def find() -> Path:
    """Return where the library of this machine is. Raises `LibraryError`."""
    system = _SYSTEMS.get(platform.system())
    machine = _MACHINES.get(platform.machine().lower())
    if system is None or machine is None:
        raise LibraryError(f"Lighter ships no signer for {platform.system()} on {platform.machine()}")
    spec = find_spec("lighter")
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not places:
        raise LibraryError("lighter-sdk is not installed; pip install -e .[server] would bring it")
    return Path(places[0]) / "signers" / f"lighter-signer-{system[0]}-{machine}.{system[1]}"


def check(path: Path) -> Path:
    """Return `path` if its content is the pinned one. Raises `LibraryError` otherwise."""
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise LibraryError(f"{path.name} cannot be read: {error}") from None
    wanted = PINNED.get(path.name)
    if found != wanted:
        raise LibraryError(f"{path.name} has the hash {found}; that of lighter-sdk 1.1.8, {wanted}, would pass")
    return path


class _Signed(ctypes.Structure):
    _fields_ = (
        ("txType", ctypes.c_uint8),
        ("txInfo", ctypes.c_void_p),
        ("txHash", ctypes.c_void_p),
        ("messageToSign", ctypes.c_void_p),
        ("err", ctypes.c_void_p),
    )


class _Text(ctypes.Structure):
    _fields_ = (("str", ctypes.c_void_p), ("err", ctypes.c_void_p))


class _Pair(ctypes.Structure):
    _fields_ = (("privateKey", ctypes.c_void_p), ("publicKey", ctypes.c_void_p), ("err", ctypes.c_void_p))


class _Order(ctypes.Structure):
    _fields_ = (
        ("MarketIndex", ctypes.c_longlong),
        ("ClientOrderIndex", ctypes.c_longlong),
        ("BaseAmount", ctypes.c_longlong),
        ("Price", ctypes.c_uint32),
        ("IsAsk", ctypes.c_uint8),
        ("Type", ctypes.c_uint8),
        ("TimeInForce", ctypes.c_uint8),
        ("ReduceOnly", ctypes.c_uint8),
        ("TriggerPrice", ctypes.c_uint32),
        ("OrderExpiry", ctypes.c_longlong),
    )


_L, _I, _B, _U = ctypes.c_longlong, ctypes.c_int, ctypes.c_uint8, ctypes.c_uint32
_TAIL: Final = (_B, _L, _I, _L)
"""skip_nonce, nonce, api key index, account index."""
_FEES: Final = (_L, _I, _I, _B, _B)
"""integrator, its taker fee, its maker fee, self-trade behavior and equality."""
_SIGNATURES: Final[dict[TxType, tuple[str, tuple[Any, ...]]]] = {
    TxType.CREATE_ORDER: ("SignCreateOrder", (_L, _L, _L, _I, _I, _I, _I, _I, _I, _L, *_FEES, *_TAIL)),
    TxType.CREATE_GROUPED_ORDERS: ("SignCreateGroupedOrders", (_B, ctypes.POINTER(_Order), _I, *_FEES, *_TAIL)),
    TxType.CANCEL_ORDER: ("SignCancelOrder", (_L, _L, *_TAIL)),
    TxType.CANCEL_ALL_ORDERS: ("SignCancelAllOrders", (_I, _L, _L, *_TAIL)),
    TxType.MODIFY_ORDER: ("SignModifyOrder", (_L, _L, _L, _L, _L, *_FEES, _B, _L, _L, _I, _L)),
    TxType.UPDATE_LEVERAGE: ("SignUpdateLeverage", (_L, _I, _I, *_TAIL)),
    TxType.APPROVE_INTEGRATOR: ("SignApproveIntegrator", (_L, _U, _U, _U, _U, _L, *_TAIL)),
    TxType.CHANGE_PUB_KEY: ("SignChangePubKey", (ctypes.c_char_p, *_TAIL)),
}
"""What can be signed at all: a withdrawal or a transfer has no entry, so no request of any kind leads to one."""


class Library:
    """The library, loaded. Not for a process that does anything else."""

    def __init__(self, path: Path) -> None:
        self._lib = lib = ctypes.CDLL(str(check(path)))
        lib.GenerateAPIKey.argtypes, lib.GenerateAPIKey.restype = (), _Pair
        lib.CreateClient.argtypes = (ctypes.c_char_p, ctypes.c_char_p, _I, _I, _L)
        lib.CreateClient.restype = ctypes.c_void_p
        lib.CreateAuthToken.argtypes, lib.CreateAuthToken.restype = (_L, _I, _L), _Text
        lib.Free.argtypes, lib.Free.restype = (ctypes.c_void_p,), None
        for name, arguments in _SIGNATURES.values():
            function = getattr(lib, name)
            function.argtypes, function.restype = arguments, _Signed

    def generate(self) -> tuple[str, str]:
        """Return a new (secret, public) key in hex without 0x, from the library's own randomness."""
        made = self._lib.GenerateAPIKey()
        secret, public = self._take(made.privateKey), self._take(made.publicKey)
        self._raise(made.err)
        return secret.removeprefix("0x"), public.removeprefix("0x")

    def load(self, *, secret: str, chain_id: int, account_index: int, api_key_index: int) -> None:
        """Make a key, 80 hex digits, usable. It stays in the library until the process ends."""
        raw = secret.removeprefix("0x").encode()
        self._raise(self._lib.CreateClient(_NOWHERE, raw, chain_id, api_key_index, account_index))

    def sign(self, transaction: Transaction, nonce: int) -> tuple[str, str, str]:
        """Return (tx_info, tx_hash, message for the wallet or empty). Raises `LibraryError`."""
        if nonce < 0:
            raise LibraryError("nonce: is negative; the library would ask the venue for one")
        entry = _SIGNATURES.get(transaction.type)
        if entry is None:
            raise LibraryError(f"type: {transaction.type.name} is not signed here")
        made = getattr(self._lib, entry[0])(*_arguments(transaction, nonce))
        info, hashed, message = self._take(made.txInfo), self._take(made.txHash), self._take(made.messageToSign)
        self._raise(made.err)
        return info, hashed, message

    def token(self, *, deadline_s: int, account_index: int, api_key_index: int) -> str:
        """Return an auth token that ends at `deadline_s`, since the Unix epoch."""
        made = self._lib.CreateAuthToken(deadline_s, api_key_index, account_index)
        token = self._take(made.str)
        self._raise(made.err)
        return token

    def _take(self, pointer: int | None) -> str:
        if not pointer:
            return ""
        try:
            return (ctypes.cast(pointer, ctypes.c_char_p).value or b"").decode()
        finally:
            self._lib.Free(pointer)

    def _raise(self, pointer: int | None) -> None:
        problem = self._take(pointer)
        if problem:
            raise LibraryError(f"the signer says: {problem}")


def _arguments(transaction: Transaction, nonce: int) -> tuple[Any, ...]:
    """Return what the library's function of this type takes."""
    body = dict(transaction.body)
    account, key = body.pop("AccountIndex"), body.pop("ApiKeyIndex")
    held = transaction.attributes
    tail = (held.get(Attribute.SKIP_NONCE, 0), nonce, key, account)
    fees = (
        held.get(Attribute.INTEGRATOR, 0),
        held.get(Attribute.INTEGRATOR_TAKER_FEE, 0),
        held.get(Attribute.INTEGRATOR_MAKER_FEE, 0),
        held.get(Attribute.SELF_TRADE_BEHAVIOR, 0),
        held.get(Attribute.SELF_TRADE_EQUALITY, 0),
    )
    kind = transaction.type
    if kind is TxType.CREATE_GROUPED_ORDERS:
        orders = body["Orders"]
        assert isinstance(orders, list)
        array = (_Order * len(orders))(*(_Order(*(order[name] for name, _ in _Order._fields_)) for order in orders))
        return body["GroupingType"], array, len(orders), *fees, *tail
    if kind is TxType.CHANGE_PUB_KEY:
        return b"0x" + base64.b64decode(str(body["PubKey"])).hex().encode(), *tail
    values = tuple(body.values())
    if kind is TxType.CREATE_ORDER:
        return *values, *fees, *tail
    if kind is TxType.MODIFY_ORDER:
        version = held.get(Attribute.ORDER_VERSION, 0)
        return *values, *fees, tail[0], nonce, version, key, account
    if kind is TxType.CANCEL_ALL_ORDERS:
        return *values, held.get(Attribute.CANCEL_ALL_MARKET, 255), *tail
    return *values, *tail
