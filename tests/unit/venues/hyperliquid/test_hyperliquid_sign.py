"""Hyperliquid's signatures: every published vector, the venue's canonical order, and what cannot be signed."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from services.domain.decimals import Price, Rate, Size
from services.venues import actions
from services.venues.actions import ActionError, Grouping, MarginMode, OrderReference, OrderTerms, OrderType, Side
from services.venues.actions import TimeInForce as Tif
from services.venues.hyperliquid import curve, setup, sign
from services.venues.hyperliquid.sign import Key, Signature, SignError
from services.venues.hyperliquid.wire.actions import encode

needs_captures = pytest.mark.skipif(
    not os.environ.get("PERPMESH_FIXTURES"), reason="PERPMESH_FIXTURES does not name the folder of captured payloads"
)
SECRET = b"\x01" * 32


def vectors() -> Any:
    return json.loads((Path(os.environ["PERPMESH_FIXTURES"]) / "hyperliquid/signing_vectors.json").read_text())


def key_of(vector: Any) -> Key:
    return Key(bytes.fromhex(vector["private_key"].removeprefix("0x")))


@needs_captures
def test_every_vector_gives_the_same_bytes_hash_digest_and_signature() -> None:
    l1 = user = short = 0
    for vector in vectors()["vectors"]:
        key = key_of(vector)
        assert key.address == vector["address"].lower(), vector["name"]
        if vector["scheme"] == "l1":
            packed = sign.pack(vector["action"])
            assert "0x" + packed.hex() == vector["msgpack_hex"], vector["name"]
            hashed = sign.action_hash(
                vector["action"],
                vector["nonce"],
                vault=vector["vaultAddress"],
                expires_after_ms=vector["expiresAfter"],
            )
            assert "0x" + hashed.hex() == vector["action_hash"], vector["name"]
            digest = sign.l1_digest(hashed, mainnet=vector["network"] == "mainnet")
            typed = sign.l1_typed_data(hashed, mainnet=vector["network"] == "mainnet")
            l1 += 1
        else:
            fields = tuple((field["name"], field["type"]) for field in vector["types"])
            action = {"agentName": "", **vector["action"]} if "agentName" in dict(fields) else vector["action"]
            digest = sign.user_digest(vector["primaryType"], fields, action)
            typed = sign.user_typed_data(vector["primaryType"], fields, action)
            user += 1
        assert "0x" + digest.hex() == vector["eip712_digest"], vector["name"]
        made = key.sign(digest)
        assert made.as_wire() == vector["signature"], vector["name"]
        assert made.as_hex()[2:66] == vector["r_padded"].removeprefix("0x"), vector["name"]
        assert sign.recover(digest, made) == key.address, vector["name"]
        short += len(hex(made.r)) < 66 or len(hex(made.s)) < 66
        assert Account.sign_message(encode_typed_data(full_message=typed), vector["private_key"]).r == made.r
    assert (l1, user, short) == (80, 23, 22)
    print(f"{l1} L1 and {user} user-signed vectors, {short} of them with stripped zeros: all equal")


@needs_captures
def test_the_multisig_and_raw_connection_vectors_agree() -> None:
    found = vectors()
    for vector in found["raw_connection_id_vectors"]:
        hashed = bytes.fromhex(vector["connectionId"][2:])
        for network in ("mainnet", "testnet"):
            made = key_of(vector).sign(sign.l1_digest(hashed, mainnet=network == "mainnet"))
            assert made.as_hex() == vector[f"{network}_sig"]
    for vector in found["multisig_vectors"]:
        user, outer, nonce = vector["multiSigUser"].lower(), vector["outerSigner"].lower(), vector["nonce"]
        inner = sign.action_hash([user, outer, vector["inner_action"]], nonce)
        made = key_of(vector).sign(sign.l1_digest(inner, mainnet=True))
        assert made.as_hex() == _padded(vector["inner_signature"])
        payload = {"multiSigUser": user, "outerSigner": outer, "action": vector["inner_action"]}
        action = {
            "signatureChainId": vector["signatureChainId"],
            "signatures": [vector["inner_signature"]],
            "payload": payload,
        }
        envelope = sign.user_signed(
            "multiSig", {"multiSigActionHash": sign.action_hash(action, nonce), "nonce": nonce}, mainnet=True
        )
        assert key_of(vector).sign(sign.digest_of(envelope)).as_hex() == _padded(vector["outer_signature"])


def _padded(raw: Any) -> str:
    return Signature(int(raw["r"], 16), int(raw["s"], 16), raw["v"]).as_hex()


@needs_captures
def test_the_vectors_of_orders_pass_through_our_own_structs_unchanged() -> None:
    """Decoding a published action into the structs and packing those gives the published bytes."""
    from services.venues.hyperliquid.wire import actions as wire

    kinds = {"order", "cancel", "cancelByCloid", "batchModify", "scheduleCancel", "updateLeverage", "noop"}
    decoder = msgspec.json.Decoder(wire.WireAction)
    seen = 0
    for vector in vectors()["vectors"]:
        action = vector["action"]
        if vector["scheme"] != "l1" or action.get("type") not in kinds or "f" in action or "a" in action:
            continue
        shuffled = _reversed(action)  # the order in which keys arrive changes nothing
        assert sign.pack(decoder.decode(json.dumps(shuffled))).hex() == vector["msgpack_hex"][2:], vector["name"]
        seen += 1
    assert seen >= 45
    print(f"{seen} actions through the structs")


def _reversed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _reversed(value[name]) for name in reversed(list(value))}
    return [_reversed(item) for item in value] if isinstance(value, list) else value


def terms(**changes: Any) -> OrderTerms:
    plain: dict[str, Any] = {
        "market": "ETH-PERP",
        "venue_market_id": 1,
        "side": Side.BUY,
        "size": Size(Decimal("0.0147")),
        "limit_price": Price(Decimal("1670.10")),
        "type": OrderType.LIMIT,
        "time_in_force": Tif.IMMEDIATE_OR_CANCEL,
        "client_id": "0x00000000000000000000000000000001",
    }
    return OrderTerms(**(plain | changes))


def as_json(action: actions.Action, **kwargs: Any) -> Any:
    return json.loads(msgspec.json.encode(encode(action, **kwargs)))


def test_an_order_is_encoded_in_the_venues_order_without_trailing_zeros() -> None:
    found = msgspec.json.encode(encode(actions.Place(orders=(terms(),)))).decode()
    assert found == (
        '{"type":"order","orders":[{"a":1,"b":true,"p":"1670.1","s":"0.0147","r":false,"t":{"limit":{"tif":"Ioc"}},'
        '"c":"0x00000000000000000000000000000001"}],"grouping":"na"}'
    )


def test_a_bracket_a_builder_fee_and_a_priority_rate_are_encoded() -> None:
    stop = terms(type=OrderType.STOP_MARKET, trigger_price=Price(Decimal(1600)), reduce_only=True, side=Side.SELL)
    bracket = actions.Place(
        orders=(terms(), stop), grouping=Grouping.ENTRY_WITH_EXITS, interface_fee_rate=Rate(Decimal("0.0001"))
    )
    found = as_json(bracket, builder="0x" + "AB" * 20)
    assert found["grouping"] == "normalTpsl"
    assert found["builder"] == {"b": "0x" + "ab" * 20, "f": 10}
    assert list(found["orders"][1]["t"]["trigger"].items()) == [
        ("isMarket", True),
        ("triggerPx", "1600"),
        ("tpsl", "sl"),
    ]
    assert as_json(actions.Place(orders=(terms(),), priority_fee_bps=3))["grouping"] == {"p": 30_000}


def test_cancels_changes_leverage_and_the_switch_are_encoded() -> None:
    by_id = OrderReference(market="ETH-PERP", venue_market_id=1, order_id="77")
    by_us = OrderReference(market="ETH-PERP", venue_market_id=1, client_id="0x" + "0f" * 16)
    assert as_json(actions.Cancel(orders=(by_id, by_id))) == {"type": "cancel", "cancels": [{"a": 1, "o": 77}] * 2}
    assert as_json(actions.Cancel(orders=(by_us,)))["cancels"] == [{"asset": 1, "cloid": "0x" + "0f" * 16}]
    change = as_json(actions.Modify(order=by_us, terms=terms()))
    assert list(change) == ["type", "modifies"]
    assert change["modifies"][0]["oid"] == by_us.client_id
    leverage = actions.SetLeverage(market="ETH-PERP", venue_market_id=1, leverage=5, margin_mode=MarginMode.ISOLATED)
    assert as_json(leverage) == {"type": "updateLeverage", "asset": 1, "isCross": False, "leverage": 5}
    assert as_json(actions.ScheduleCancel(cancel_time_ms=9)) == {"type": "scheduleCancel", "time": 9}
    assert as_json(actions.ScheduleCancel()) == {"type": "scheduleCancel"}


@pytest.mark.parametrize(
    ("action", "field"),
    [
        (actions.CancelAll(), "cancel_all"),
        (actions.Cancel(orders=()), "orders"),
        (actions.Place(orders=(terms(client_id="0x12"),)), "venue_client_id"),
        (actions.Place(orders=(terms(limit_price=Price(Decimal("0.123456789"))),)), "limit_price"),
        (actions.Place(orders=(terms(size=Size(Decimal(0))),)), "size"),
        (actions.Place(orders=(terms(expire_time_ms=5),)), "order_expire_time"),
        (actions.Place(orders=(terms(type=OrderType.STOP_LIMIT),)), "trigger_price"),
        (actions.Place(orders=(terms(trigger_price=Price(Decimal(1))),)), "trigger_price"),
        (actions.Place(orders=(terms(),), interface_fee_rate=Rate(Decimal("0.0001"))), "interface_fee_rate"),
    ],
)
def test_what_the_venue_cannot_do_is_refused_by_its_field(action: actions.Action, field: str) -> None:
    with pytest.raises(ActionError) as error:
        encode(action)
    assert error.value.field == field


def test_setting_up_an_agent_without_a_name_signs_an_empty_one_and_posts_none() -> None:
    step = setup.approve_agent("0x" + "AA" * 20, nonce=5, mainnet=False)
    assert "agentName" not in step.action
    assert step.typed_data["message"]["agentName"] == ""  # type: ignore[index]
    named = setup.approve_agent("0x" + "aa" * 20, name="mesh", valid_until_ms=9, nonce=5, mainnet=False)
    assert named.action["agentName"] == "mesh valid_until 9"
    with pytest.raises(SignError):
        setup.approve_agent("0x" + "aa" * 20, name="a" * 17, nonce=5, mainnet=False)
    fee = setup.approve_builder_fee("0x" + "aa" * 20, max_rate=Decimal("0.0005"), nonce=5, mainnet=True)
    assert fee.action["maxFeeRate"] == "0.05%"
    assert fee.action["hyperliquidChain"] == "Mainnet"


def test_a_wallets_signature_is_read_back_and_nonsense_is_not() -> None:
    key = Key(SECRET)
    digest = curve.keccak256(b"x")
    made = key.sign(digest)
    assert Signature.from_hex(made.as_hex()) == made
    assert Signature.from_hex(made.as_hex()[:-2] + f"{made.v - 27:02x}") == made
    assert sign.recover(digest, made) == key.address
    for bad in ("0x", "zz", made.as_hex()[:-2] + "05"):
        with pytest.raises(SignError):
            Signature.from_hex(bad)
    for r, s in ((0, made.s), (made.r, 0), (curve.ORDER, made.s)):
        with pytest.raises(SignError):
            sign.recover(digest, Signature(r, s, 27))
    for secret in (b"", b"\x00" * 32, b"\xff" * 32):
        with pytest.raises(SignError):
            Key(secret)
    assert "01" * 16 not in repr(key)


def test_pure_python_and_libsecp256k1_sign_the_same_bytes() -> None:
    assert curve.BACKEND == "libsecp256k1"
    slow, fast = curve._PurePython(SECRET), curve.load_secret(SECRET)
    assert slow.public() == fast.public()
    for n in range(3):
        digest = curve.keccak256(bytes([n]))
        assert slow.sign(digest) == fast.sign(digest)
        assert curve._recover_pure(digest, fast.sign(digest)) == fast.public()
