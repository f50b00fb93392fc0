"""What may be posted to /exchange: every action's fields in their order, the canonical form, and who signed it.

The venue reads an action into a typed form and encodes that again before hashing, so the order of keys in the posted
JSON, zeros at the end of a number and the case of hexadecimal digits do not matter to the signature. The same is done
here: `canonical` rebuilds an action by its specification, and refuses what the venue answers with HTTP 422: unknown
fields of the envelope or the action, missing or mistyped ones, numbers that are not plain decimal texts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
from eth_hash.auto import keccak

from services.simulator.crypto.ethereum import domain, recover, struct_hash, typed_digest
from services.simulator.dialects.hyperliquid.info import UnprocessableError

Json = object
Reader = Callable[[Json], Json]
_HEX = re.compile(r"(?:0x)?[0-9a-fA-F]+")
_ADDRESS = re.compile(r"(?:0x)?[0-9a-fA-F]{40}")
_CLOID = re.compile(r"0x[0-9a-fA-F]{32}")
_DECIMAL = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+")
_SIGNIFICANT_DECIMALS_MAX = 8
_pack = msgspec.msgpack.Encoder().encode


def whole(value: Json) -> int:
    """Read an integer that is not negative."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 64:
        raise UnprocessableError
    return value


def signed(value: Json) -> int:
    """Read an integer of either sign."""
    if not isinstance(value, int) or isinstance(value, bool) or not -(1 << 63) <= value < 1 << 63:
        raise UnprocessableError
    return value


def flag(value: Json) -> bool:
    """Read a boolean."""
    if not isinstance(value, bool):
        raise UnprocessableError
    return value


def text(value: Json) -> str:
    """Read a text."""
    if not isinstance(value, str):
        raise UnprocessableError
    return value


def address(value: Json) -> str:
    """Read an address: the 0x may be missing, capital digits become small, a prefix 0X is refused."""
    if not isinstance(value, str) or _ADDRESS.fullmatch(value) is None:
        raise UnprocessableError
    small = value.lower()
    return small if small.startswith("0x") else f"0x{small}"


def cloid(value: Json) -> str:
    """Read a client order id: 0x and 32 hexadecimal digits."""
    if not isinstance(value, str) or _CLOID.fullmatch(value) is None:
        raise UnprocessableError
    return value.lower()


def decimal(value: Json) -> str:
    """Read a plain decimal text with at most eight significant decimals; zeros at the end go."""
    if not isinstance(value, str) or _DECIMAL.fullmatch(value) is None:
        raise UnprocessableError
    units, _, fraction = value.partition(".")
    fraction = fraction.rstrip("0")
    if len(fraction) > _SIGNIFICANT_DECIMALS_MAX:
        raise UnprocessableError
    units = units.lstrip("0") or "0"
    return f"{units}.{fraction}" if fraction else units


def order_key(value: Json) -> Json:
    """Read an order id or a client order id."""
    return cloid(value) if isinstance(value, str) else whole(value)


def one_of(*words: str) -> Reader:
    """Return a reader of one of some words."""

    def read(value: Json) -> Json:
        if value not in words:
            raise UnprocessableError
        return value

    return read


def record(*fields: tuple[str, Reader], optional: tuple[tuple[str, Reader], ...] = (), strict: bool = False) -> Reader:
    """Return a reader of an object with fields in order; optional ones are absent or not null."""
    known = {name for name, _ in (*fields, *optional)}

    def read(value: Json) -> Json:
        if not isinstance(value, dict) or (strict and not known.issuperset(value)):
            raise UnprocessableError
        found: dict[str, Json] = {}
        for name, reader in fields:
            if name not in value:
                raise UnprocessableError
            found[name] = reader(value[name])
        for name, reader in optional:
            if value.get(name) is not None:
                found[name] = reader(value[name])
        return found

    return read


def many(reader: Reader) -> Reader:
    """Return a reader of a list."""

    def read(value: Json) -> Json:
        if not isinstance(value, list):
            raise UnprocessableError
        return [reader(item) for item in value]

    return read


_LIMIT = record(("tif", one_of("Gtc", "Ioc", "Alo", "FrontendMarket", "LiquidationMarket")))
_TRIGGER = record(("isMarket", flag), ("triggerPx", decimal), ("tpsl", one_of("tp", "sl")))


def _order_type(value: Json) -> Json:
    if isinstance(value, dict) and len(value) == 1:
        if "limit" in value:
            return {"limit": _LIMIT(value["limit"])}
        if "trigger" in value:
            return {"trigger": _TRIGGER(value["trigger"])}
    raise UnprocessableError


def _grouping(value: Json) -> Json:
    if isinstance(value, dict):
        return record(("p", whole))(value)
    return one_of("na", "normalTpsl", "positionTpsl")(value)


def _true(value: Json) -> Json:
    if value is not True:
        raise UnprocessableError
    return value


ORDER = record(
    ("a", whole), ("b", flag), ("p", decimal), ("s", decimal), ("r", flag), ("t", _order_type),
    optional=(("c", cloid),),
)  # fmt: skip
_BUILDER = record(("b", address), ("f", whole))
_FAST: tuple[tuple[str, Reader], ...] = (("f", _true),)
_ALWAYS: tuple[tuple[str, Reader], ...] = (("a", _true),)


def _action(*fields: tuple[str, Reader], optional: tuple[tuple[str, Reader], ...] = ()) -> Reader:
    return record(("type", text), *fields, optional=optional, strict=True)


L1_ACTIONS: dict[str, Reader] = {
    "order": _action(("orders", many(ORDER)), ("grouping", _grouping), optional=(("builder", _BUILDER),)),
    "cancel": _action(("cancels", many(record(("a", whole), ("o", whole)))), optional=_FAST),
    "cancelByCloid": _action(("cancels", many(record(("asset", whole), ("cloid", cloid)))), optional=_FAST),
    "modify": _action(("oid", order_key), ("order", ORDER), optional=_ALWAYS),
    "batchModify": _action(("modifies", many(record(("oid", order_key), ("order", ORDER)))), optional=_ALWAYS),
    "scheduleCancel": _action(optional=(("time", whole),)),
    "updateLeverage": _action(("asset", whole), ("isCross", flag), ("leverage", whole)),
    "updateIsolatedMargin": _action(("asset", whole), ("isBuy", flag), ("ntli", signed)),
    "topUpIsolatedOnlyMargin": _action(("asset", whole), ("leverage", decimal)),
    "twapOrder": _action(
        ("twap", record(("a", whole), ("b", flag), ("s", decimal), ("r", flag), ("m", whole), ("t", flag)))
    ),
    "twapCancel": _action(("a", whole), ("t", whole)),
    "reserveRequestWeight": _action(("weight", whole), optional=(("destination", address),)),
    "noop": _action(),
    "setReferrer": _action(("code", text)),
    "registerReferrer": _action(("code", text)),
    "createSubAccount": _action(("name", text)),
    "subAccountTransfer": _action(("subAccountUser", address), ("isDeposit", flag), ("usd", whole)),
    "subAccountSpotTransfer": _action(
        ("subAccountUser", address), ("isDeposit", flag), ("token", text), ("amount", decimal)
    ),
    "vaultTransfer": _action(("vaultAddress", address), ("isDeposit", flag), ("usd", whole)),
    "claimRewards": _action(),
    "agentEnableDexAbstraction": _action(),
    "agentSetAbstraction": _action(("abstraction", one_of("i", "u", "p"))),
    "agentSendAsset": _action(
        ("destination", address), ("sourceDex", text), ("destinationDex", text), ("token", text), ("amount", decimal),
        ("fromSubAccount", text), ("nonce", whole),
    ),
}  # fmt: skip
"""Actions signed through the phantom agent; their fields in the order in which they are hashed."""

_CHAIN: tuple[tuple[str, str], ...] = (("hyperliquidChain", "string"),)
USER_ACTIONS: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "usdSend": ("UsdSend", (("destination", "string"), ("amount", "string"), ("time", "uint64"))),
    "spotSend": (
        "SpotSend", (("destination", "string"), ("token", "string"), ("amount", "string"), ("time", "uint64")),
    ),
    "withdraw3": ("Withdraw", (("destination", "string"), ("amount", "string"), ("time", "uint64"))),
    "usdClassTransfer": ("UsdClassTransfer", (("amount", "string"), ("toPerp", "bool"), ("nonce", "uint64"))),
    "sendAsset": (
        "SendAsset", (
            ("destination", "string"), ("sourceDex", "string"), ("destinationDex", "string"), ("token", "string"),
            ("amount", "string"), ("fromSubAccount", "string"), ("nonce", "uint64"),
        ),
    ),
    "approveAgent": ("ApproveAgent", (("agentAddress", "address"), ("agentName", "string"), ("nonce", "uint64"))),
    "approveBuilderFee": (
        "ApproveBuilderFee", (("maxFeeRate", "string"), ("builder", "address"), ("nonce", "uint64")),
    ),
    "userSetAbstraction": (
        "UserSetAbstraction", (("user", "address"), ("abstraction", "string"), ("nonce", "uint64")),
    ),
    "userDexAbstraction": ("UserDexAbstraction", (("user", "address"), ("enabled", "bool"), ("nonce", "uint64"))),
    "tokenDelegate": (
        "TokenDelegate",
        (("validator", "address"), ("wei", "uint64"), ("isUndelegate", "bool"), ("nonce", "uint64")),
    ),
    "convertToMultiSigUser": ("ConvertToMultiSigUser", (("signers", "string"), ("nonce", "uint64"))),
}  # fmt: skip
"""Actions a wallet signs as typed data: the struct's name and its fields after `hyperliquidChain`."""

KNOWN_UNSUPPORTED = frozenset(
    {"convertToMultiSigUser", "multiSig", "perpDeploy", "spotDeploy", "cDeposit", "cWithdraw", "evmUserModify"}
)
"""Actions of the venue that this simulator answers with an error of its own."""
_READERS: dict[str, Reader] = {"string": text, "uint64": whole, "bool": flag, "address": address}


@dataclass(frozen=True, slots=True)
class Signed:
    """An envelope that could be read: the action in canonical form and who signed it (None: not recoverable)."""

    action: Mapping[str, Json]
    kind: str
    nonce: int
    signer: int | None
    vault: int | None
    expires_after: int | None
    by_user: bool
    wrong_chain: bool = False


_SIGNATURE = record(("r", text), ("s", text), ("v", whole))
_EXCHANGE = domain("Exchange", 1337)
_AGENT = (("source", "string"), ("connectionId", "bytes32"))


def action_hash(action: Json, nonce: int, vault: int | None, expires_after: int | None) -> bytes:
    """Return the connection id: keccak of the packed action, the nonce, the vault and the expiry."""
    data = _pack(action) + nonce.to_bytes(8, "big")
    data += b"\x00" if vault is None else b"\x01" + vault.to_bytes(20, "big")
    if expires_after is not None:
        data += b"\x00" + expires_after.to_bytes(8, "big")
    return keccak(data)


def l1_digest(action: Json, nonce: int, vault: int | None, expires_after: int | None, *, source: str) -> bytes:
    """Return what the phantom agent signs; `source` is "a" on mainnet and "b" everywhere else."""
    connection = action_hash(action, nonce, vault, expires_after)
    return typed_digest(_EXCHANGE, struct_hash("Agent", _AGENT, {"source": source, "connectionId": connection}))


def user_digest(action: Mapping[str, Json]) -> bytes:
    """Return what a wallet signs for an action of `USER_ACTIONS`."""
    name, fields = USER_ACTIONS[str(action["type"])]
    values = {"agentName": ""} | dict(action)
    struct = struct_hash(f"HyperliquidTransaction:{name}", _CHAIN + fields, values)
    return typed_digest(domain("HyperliquidSignTransaction", int(str(action["signatureChainId"]), 16)), struct)


def read_envelope(body: Json) -> Signed:
    """Read a posted body. Raises UnprocessableError where the venue answers 422."""
    known = {"action", "nonce", "signature", "vaultAddress", "expiresAfter", "isFrontend"}
    if not isinstance(body, dict) or not known.issuperset(body):
        raise UnprocessableError
    raw, nonce = body.get("action"), whole(body.get("nonce"))
    signature = _SIGNATURE(body.get("signature"))
    if not isinstance(raw, dict) or not isinstance(raw.get("type"), str) or not isinstance(signature, dict):
        raise UnprocessableError
    r, s = _hex(signature["r"]), _hex(signature["s"])
    vault = None if body.get("vaultAddress") is None else int(address(body["vaultAddress"]), 16)
    expires = None if body.get("expiresAfter") is None else whole(body["expiresAfter"])
    kind, v = str(raw["type"]), int(str(signature["v"]))
    if kind in USER_ACTIONS:
        action = _user_action(raw)
        signer = recover(user_digest(action), r, s, v)
        return Signed(action, kind, nonce, signer, vault, expires, True, action["hyperliquidChain"] != "Testnet")
    reader = L1_ACTIONS.get(kind)
    if reader is None and kind not in KNOWN_UNSUPPORTED:
        raise UnprocessableError
    canonical = raw if reader is None else reader(raw)
    if not isinstance(canonical, dict):
        raise UnprocessableError
    signer = recover(l1_digest(canonical, nonce, vault, expires, source="b"), r, s, v)
    return Signed(canonical, kind, nonce, signer, vault, expires, False)


def _hex(value: Json) -> int:
    if not isinstance(value, str) or _HEX.fullmatch(value) is None or len(value) > 66:
        raise UnprocessableError
    return int(value, 16)


def _user_action(raw: Mapping[str, Json]) -> dict[str, Json]:
    kind = str(raw["type"])
    fields = USER_ACTIONS[kind][1]
    known = {"type", "signatureChainId", "hyperliquidChain", *(name for name, _ in fields)}
    if not known.issuperset(raw):
        raise UnprocessableError
    chain = raw.get("hyperliquidChain")
    if chain not in ("Mainnet", "Testnet"):
        raise UnprocessableError
    action: dict[str, Json] = {"type": kind, "signatureChainId": text(raw.get("signatureChainId"))}
    if _HEX.fullmatch(str(action["signatureChainId"])) is None:
        raise UnprocessableError
    action["hyperliquidChain"] = chain
    for name, type_name in fields:
        if name == "agentName" and raw.get(name) is None:
            continue
        value = _READERS[type_name](raw.get(name))
        # a destination is hashed as the text that was posted, so its case stays
        action[name] = raw[name] if type_name == "string" else value
    return action
