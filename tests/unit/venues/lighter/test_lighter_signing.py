"""Lighter's hashes and signatures: every captured and published vector, by our arithmetic and by the slow one."""

from __future__ import annotations

import base64
import json
import random
from decimal import Decimal
from typing import Any

import pytest

from services.domain.decimals import Price, Rate, Size
from services.venues import actions
from services.venues.actions import ActionError, Grouping, MarginMode, OrderReference, OrderTerms, OrderType, Side
from services.venues.actions import TimeInForce as Tif
from services.venues.lighter import poseidon, poseidon_constants, quintic, schnorr
from services.venues.lighter.wire import encode, transactions
from services.venues.lighter.wire.transactions import ApiKey, Attribute, Scale, TxType
from tests.support import lighter_reference as slow
from tests.unit.venues.lighter.samples import captured_json, needs_captures

KEY = ApiKey(account_index=1234, api_key_index=5)
SCALES = {0: Scale(2, 4), 1: Scale(1, 5)}
NOW = 1_790_000_000_000


def own() -> Any:
    return captured_json("own/sdk_1_1_8_signed_txs_and_auth_tokens.json")


def signature_holds(public: bytes, message: bytes, signature: bytes, *, twice: bool = False) -> bool:
    good = schnorr.verify(public, message, signature)
    if twice:
        assert slow.verify(public, message, signature) is good
    return good


@needs_captures
def test_the_constants_are_the_published_ones() -> None:
    found = captured_json("poseidon2_goldilocks_w12_constants.json")
    assert [list(row) for row in poseidon_constants.EXTERNAL] == found["external_constants"]
    assert list(poseidon_constants.INTERNAL) == found["internal_constants"]
    assert list(poseidon_constants.DIAGONAL) == found["internal_diag_minus_1_matrix_u64"]


@needs_captures
def test_every_transaction_the_sdk_signed_has_our_hash_and_its_signature_holds() -> None:
    found = own()
    public = bytes.fromhex(found["generate"]["pub"][2:])
    hashed, held, kinds = 0, 0, set()
    for name, vector in found["signed"].items():
        if vector["tx_hash"] is None:
            continue
        info = json.loads(vector["tx_info"])
        assert slow.tx_hash(304, vector["tx_type"], info).hex() == vector["tx_hash"], name
        tx, nonce, expired_at, signature = transactions.read_tx_info(vector["tx_type"], vector["tx_info"])
        ours = transactions.tx_hash(tx, chain_id=304, nonce=nonce, expired_at_ms=expired_at)
        assert ours.hex() == vector["tx_hash"], name
        first = vector["tx_type"] not in kinds
        kinds.add(vector["tx_type"])
        hashed += 1
        assert signature_holds(public, ours, base64.b64decode(signature), twice=first), name
        held += 1
    assert hashed >= 45
    print(f"{hashed} hashes equal, {held} signatures hold, types {sorted(kinds)}")


@needs_captures
def test_the_published_oracle_of_another_project_agrees() -> None:
    kinds, count = set(), 0
    for vector in captured_json("nautilus/signing_tx_oracle.json")["vectors"]:
        tx, nonce, expired_at, signature = transactions.read_tx_info(vector["tx_type"], vector["tx_info"])
        ours = transactions.tx_hash(tx, chain_id=vector["chain_id"], nonce=nonce, expired_at_ms=expired_at)
        assert ours.hex() == vector["tx_hash"], vector["kind"]
        public = schnorr.public_key_of(bytes.fromhex(vector["sk"]))
        assert signature_holds(public, ours, base64.b64decode(signature))
        kinds.add(vector["kind"])
        count += 1
    tokens = captured_json("nautilus/signing_auth_token_oracle.json")["vectors"]
    for vector in tokens:
        text, _, signature = vector["token"].rpartition(":")
        public = schnorr.public_key_of(bytes.fromhex(vector["sk"]))
        assert signature_holds(public, transactions.auth_hash(text), bytes.fromhex(signature)), text
    print(f"{count} transactions of {len(kinds)} kinds and {len(tokens)} tokens")


@needs_captures
def test_a_real_testnet_hash_and_the_golden_hash_agree() -> None:
    golden = captured_json("hftbacktest/golden_tx_hash_vector.json")
    i = golden["inputs"]
    body = {
        "AccountIndex": i["account_index"], "ApiKeyIndex": i["api_key_index"], "MarketIndex": i["market_index"],
        "ClientOrderIndex": i["client_order_index"], "BaseAmount": i["base_amount"], "Price": i["price"],
        "IsAsk": i["is_ask"], "Type": i["order_type"], "TimeInForce": i["time_in_force"],
        "ReduceOnly": i["reduce_only"], "TriggerPrice": i["trigger_price"], "OrderExpiry": i["order_expiry"],
    }  # fmt: skip
    tx = transactions.Transaction(TxType.CREATE_ORDER, body)
    made = transactions.tx_hash(tx, chain_id=300, nonce=i["nonce"], expired_at_ms=i["ExpiredAt"])
    assert made.hex() == golden["expected_txHash_40b_hex"]


@needs_captures
@pytest.mark.parametrize("name", ["auth_default", "auth_fixed", "auth_too_long"])
def test_the_sdks_auth_tokens_hold(name: str) -> None:
    found = own()
    token = found[name]
    token = token if isinstance(token, str) else next(v for v in _texts(token) if v.count(":") == 3)
    text, _, signature = token.rpartition(":")
    public = bytes.fromhex(found["generate"]["pub"][2:])
    assert signature_holds(public, transactions.auth_hash(text), bytes.fromhex(signature), twice=True)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [text for item in value for text in _texts(item)] if isinstance(value, list) else []


@needs_captures
def test_the_published_schnorr_and_hash_vectors_agree() -> None:
    hashes = captured_json("nautilus/signing_hash_poseidon2_vectors.json")["vectors"]
    for vector in hashes["permute"]:
        state = list(poseidon.from_bytes(bytes.fromhex(vector["input"])))
        assert poseidon.to_bytes(poseidon.permute(state)).hex() == vector["output"]
    sponges = 0
    for vector in hashes["sponge"] + [v | {"num_outputs": 5} for v in hashes["hash_to_quintic"]]:
        if vector["num_outputs"] <= 8:
            values = poseidon.from_bytes(bytes.fromhex(vector["input"]))
            made = poseidon.hash_elements(values, vector["num_outputs"])
            assert poseidon.to_bytes(made).hex() == vector["output"]
            sponges += 1
    pairs = captured_json("nautilus/signing_schnorr_vectors.json")["vectors"]
    for vector in pairs["keygen"]:
        assert schnorr.public_key_of(bytes.fromhex(vector["sk"])).hex() == vector["pk"]
    for vector in pairs["sign"]:
        secret, message = bytes.fromhex(vector["sk"]), bytes.fromhex(vector["hashed_msg"])
        signature = bytes.fromhex(vector["sig"])
        assert signature_holds(schnorr.public_key_of(secret), message, signature)
    print(f"{len(hashes['permute'])} permutations, {sponges} sponges, {len(pairs['keygen'])} keys")
    print(f"{len(pairs['sign'])} signatures")


def test_random_elements_hashes_and_points_agree_with_the_slow_arithmetic() -> None:
    rng = random.Random(7)
    element = lambda: tuple(rng.randrange(quintic.P) for _ in range(5))  # noqa: E731
    for _ in range(200):
        a, b = element(), element()
        assert quintic.mul(a, b) == slow.fmul(a, b)
        assert quintic.square(a) == slow.fmul(a, a)
        assert quintic.invert(a) == slow.finv(a)
        assert quintic.add(a, b) == slow.fadd(a, b)
        assert quintic.sub(a, b) == slow.fsub(a, b)
    for _ in range(4):
        square = quintic.square(element())
        found = quintic.root(square)
        assert found is not None
        assert quintic.square(found) == square
    assert quintic.root(quintic.mul(quintic.square(element()), quintic.small(7))) is None
    for length in (0, 1, 7, 8, 9, 16, 17):
        values = [rng.randrange(-5, 2**64) for _ in range(length)]
        assert list(poseidon.hash_elements(values, 5)) == slow.hash_n(values, 5)
    secret = rng.randbytes(40)
    assert schnorr.public_key_of(secret) == slow.public_of(secret)
    one = (1).to_bytes(40, "little")
    assert schnorr.public_key_of(one) == (4).to_bytes(40, "little")


def sign_slowly(secret: bytes, message: bytes, k: int) -> bytes:
    r = slow.encode(slow.pmul(k, slow.G))
    e = slow.scalar(slow.hash_n([*r, *slow.le5(message)], 5))
    s = (k - e * int.from_bytes(secret, "little")) % slow.N
    return s.to_bytes(40, "little") + e.to_bytes(40, "little")


def test_a_flipped_bit_anywhere_is_refused() -> None:
    rng = random.Random(11)
    secret = rng.randbytes(39) + b"\x00"
    public, message = schnorr.public_key_of(secret), rng.randbytes(32).ljust(40, b"\x00")
    signature = sign_slowly(secret, message, rng.randrange(slow.N))
    assert schnorr.verify(public, message, signature)
    for _ in range(12):
        at = rng.randrange(160 * 8)
        whole = bytearray(public + message + signature)
        whole[at // 8] ^= 1 << at % 8
        assert not schnorr.verify(bytes(whole[:40]), bytes(whole[40:80]), bytes(whole[80:]))
    assert not schnorr.verify(public, message, signature[:-1])
    assert not schnorr.verify(b"\x00" * 40, message, signature)
    large = (slow.N + 1).to_bytes(40, "little")
    assert not schnorr.verify(public, message, large + signature[40:])
    assert schnorr.is_public_key(public)
    assert not schnorr.is_public_key(b"\xff" * 40)


# --- actions --------------------------------------------------------------------------------------------------------


def terms(**changes: Any) -> OrderTerms:
    plain: dict[str, Any] = {
        "market": "ETH-PERP",
        "venue_market_id": 0,
        "side": Side.SELL,
        "size": Size(Decimal("0.1")),
        "limit_price": Price(Decimal("4050")),
        "type": OrderType.LIMIT,
        "time_in_force": Tif.GOOD_TILL_CANCELED,
        "client_id": "42",
    }
    return OrderTerms(**(plain | changes))


def made(action: actions.Action, key: ApiKey = KEY) -> transactions.Transaction:
    return encode.encode(action, key=key, scales=SCALES, now_ms=NOW)


@needs_captures
def test_our_actions_become_what_the_sdk_signs() -> None:
    """Each action, encoded, has the body of the SDK's own transaction; the text is the SDK's byte for byte."""
    signed = own()["signed"]
    reference = OrderReference(market="ETH-PERP", venue_market_id=0, client_id="42")
    expiry = NOW  # the vectors' expiry is not compared with any clock
    cases: list[tuple[str, actions.Action, int]] = [
        ("create_order_gtt", actions.Place(orders=(terms(expire_time_ms=expiry),)), NOW - 600_000),
        (
            "create_order_ioc",
            actions.Place(orders=(terms(side=Side.BUY, time_in_force=Tif.IMMEDIATE_OR_CANCEL),)),
            NOW,
        ),
        ("cancel", actions.Cancel(orders=(reference,)), NOW),
        ("cancel_all_now", actions.CancelAll(), NOW),
        ("cancel_all_market", actions.CancelAll(market="X-PERP", venue_market_id=3), NOW),
        ("cancel_all_sched", actions.ScheduleCancel(cancel_time_ms=NOW), NOW - 600_000),
        ("cancel_all_abort", actions.ScheduleCancel(), NOW),
        (
            "modify",
            actions.Modify(order=reference, terms=terms(size=Size(Decimal("0.11")), limit_price=Price(Decimal(4100)))),
            NOW,
        ),
        (
            "leverage",
            actions.SetLeverage(market="ETH-PERP", venue_market_id=0, leverage=20, margin_mode=MarginMode.CROSS),
            NOW,
        ),
    ]
    for name, action, now_ms in cases:
        vector = signed[name]
        tx = encode.encode(action, key=KEY, scales=SCALES, now_ms=now_ms)
        expected, nonce, expired_at, signature = transactions.read_tx_info(vector["tx_type"], vector["tx_info"])
        assert tx == expected, name
        text = transactions.tx_info(tx, nonce=nonce, expired_at_ms=expired_at, signature=signature)
        assert text.decode() == vector["tx_info"], name


def test_a_bracket_becomes_one_grouped_transaction() -> None:
    exits = [
        terms(side=Side.BUY, type=kind, trigger_price=Price(Decimal(price)), reduce_only=True, client_id=str(number))
        for kind, price, number in (
            (OrderType.TAKE_PROFIT_MARKET, 3900, 43),
            (OrderType.STOP_LIMIT, 4200, 44),
        )
    ]
    tx = made(actions.Place(orders=(terms(), *exits), grouping=Grouping.ENTRY_WITH_EXITS))
    assert tx.type is TxType.CREATE_GROUPED_ORDERS
    orders = tx.body["Orders"]
    assert isinstance(orders, list)
    assert tx.body["GroupingType"] == 3
    assert [(o["Type"], o["BaseAmount"], o["TimeInForce"], o["ReduceOnly"]) for o in orders] == [
        (0, 1000, 1, 0),
        (4, 0, 0, 1),
        (3, 0, 1, 1),
    ]
    pair = made(actions.Place(orders=tuple(exits), grouping=Grouping.EXITS))
    assert pair.body["GroupingType"] == 2
    assert [o["BaseAmount"] for o in pair.body["Orders"]] == [1000, 1000]  # type: ignore[union-attr,index]


def test_an_interface_fee_needs_an_integrator_and_is_attached() -> None:
    place = actions.Place(orders=(terms(),), interface_fee_rate=Rate(Decimal("0.00025")))
    with pytest.raises(ActionError, match="integrator"):
        made(place)
    paid = made(place, ApiKey(account_index=1, api_key_index=2, integrator_account_index=777))
    assert paid.attributes == {Attribute.INTEGRATOR: 777, Attribute.INTEGRATOR_TAKER_FEE: 250, 3: 250}


@pytest.mark.parametrize(
    ("action", "field"),
    [
        (actions.Place(orders=(terms(limit_price=Price(Decimal("4050.001"))),)), "limit_price"),
        (actions.Place(orders=(terms(size=Size(Decimal("0.00001"))),)), "size"),
        (actions.Place(orders=(terms(size=Size(Decimal(0))),)), "size"),
        (actions.Place(orders=(terms(client_id="0"),)), "venue_client_id"),
        (actions.Place(orders=(terms(client_id=str(2**48)),)), "venue_client_id"),
        (actions.Place(orders=(terms(venue_market_id=9),)), "venue_market_id"),
        (actions.Place(orders=(terms(), terms())), "orders"),
        (actions.Place(orders=(terms(),), priority_fee_bps=1), "priority_fee_bps"),
        (actions.Place(orders=(terms(expire_time_ms=NOW + 1000),)), "order_expire_time"),
        (actions.Place(orders=(terms(type=OrderType.STOP_MARKET),)), "trigger_price"),
        (actions.ScheduleCancel(cancel_time_ms=NOW + 5000), "cancel_time"),
        (actions.Cancel(orders=()), "orders"),
        (
            actions.Cancel(orders=(OrderReference(market="X", venue_market_id=0, order_id="5"),)),
            "venue_order_id",
        ),
    ],
)
def test_what_the_venue_cannot_do_is_refused_by_its_field(action: actions.Action, field: str) -> None:
    with pytest.raises(ActionError) as error:
        made(action)
    assert error.value.field == field
