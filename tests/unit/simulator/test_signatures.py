"""Signatures: every vector of the fixtures, and for Lighter the slow reference's own keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from services.simulator.crypto.ethereum import domain, recover, struct_hash, typed_digest
from services.simulator.crypto.schnorr import Verifier, public_key
from services.simulator.dialects.hyperliquid.actions import (
    L1_ACTIONS,
    USER_ACTIONS,
    action_hash,
    l1_digest,
    read_envelope,
    user_digest,
)
from services.simulator.dialects.hyperliquid.info import UnprocessableError
from services.simulator.dialects.lighter import transactions


def vectors(fixtures: Path) -> list[dict[str, Any]]:
    return json.loads((fixtures / "hyperliquid/signing_vectors.json").read_text())["vectors"]


def test_every_l1_vector_recovers_its_signer(fixtures: Path) -> None:
    seen = 0
    for row in vectors(fixtures):
        if row["scheme"] != "l1":
            continue
        vault = row["vaultAddress"] and int(row["vaultAddress"], 16)
        found = action_hash(row["action"], row["nonce"], vault, row["expiresAfter"])
        assert "0x" + found.hex() == row["action_hash"], row["name"]
        digest = l1_digest(row["action"], row["nonce"], vault, row["expiresAfter"], source=row["agent_source"])
        assert digest.hex() == row["eip712_digest"].removeprefix("0x")
        sig = row["signature"]
        signer = recover(digest, int(sig["r"], 16), int(sig["s"], 16), sig["v"])
        assert signer == int(row["address"], 16), row["name"]
        seen += 1
    assert seen >= 80


def test_every_vector_of_a_known_action_is_its_own_canonical_form_or_is_refused(fixtures: Path) -> None:
    """A few published vectors sign prices with zeros at their end, which the venue would hash without them."""
    odd = set()
    for row in vectors(fixtures):
        if row["scheme"] == "l1" and row["action"]["type"] in L1_ACTIONS:
            shuffled = {key: row["action"][key] for key in sorted(row["action"], reverse=True)}
            canonical = L1_ACTIONS[row["action"]["type"]](shuffled)
            if json.dumps(canonical) != json.dumps(row["action"]):
                odd.add(row["name"])
    assert all(name.startswith("rs_order") for name in odd)


def test_every_user_signed_vector_recovers_its_signer(fixtures: Path) -> None:
    seen = 0
    for row in vectors(fixtures):
        if row["scheme"] == "l1":
            continue
        sig, action = row["signature"], row["action"]
        kind = next(
            (name for name, (primary, _) in USER_ACTIONS.items()
             if row["primaryType"] == f"HyperliquidTransaction:{primary}"), None)  # fmt: skip
        assert kind is not None, row["primaryType"]
        if "signatureChainId" in action:
            digest = user_digest(action | {"type": kind})
        else:
            fields = tuple((item["name"], item["type"]) for item in row["types"])
            separator = domain("HyperliquidSignTransaction", int(row["domain"]["chainId"]))
            digest = typed_digest(separator, struct_hash(row["primaryType"], fields, action))
        signer = recover(digest, int(sig["r"], 16), int(sig["s"], 16), sig["v"])
        assert signer == int(row["address"], 16), row["name"]
        seen += 1
    assert seen > 15


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1},
        {"nonce": "5"},
        {"nonce": -1},
        {"signature": {"r": "0x1", "s": "0x1"}},
        {"action": {"type": "noSuchAction"}},
        {"action": {"type": "noop", "more": 1}},
        {"action": {"type": "order", "orders": [{"a": 1}], "grouping": "na"}},
        {"vaultAddress": "0X1719884eb866cb12b2287399b15f7db5e7d775ea"},
    ],
)
def test_what_the_venue_cannot_read_is_unprocessable(change: dict[str, Any]) -> None:
    body = {
        "action": {"type": "noop"}, "nonce": 5, "signature": {"r": "0x1", "s": "0x1", "v": 27},
        "vaultAddress": None, "expiresAfter": None,
    }  # fmt: skip
    read_envelope(body)
    with pytest.raises(UnprocessableError):
        read_envelope(body | change)


@pytest.mark.parametrize("price", ["1e3", "-5", "NaN", "1.123456789", 5, "", "."])
def test_a_number_that_is_no_plain_text_is_unprocessable(price: Any) -> None:
    order = {"a": 0, "b": True, "p": price, "s": "1", "r": False, "t": {"limit": {"tif": "Gtc"}}}
    with pytest.raises(UnprocessableError):
        L1_ACTIONS["order"]({"type": "order", "orders": [order], "grouping": "na"})


def test_every_lighter_transaction_of_the_official_signer_has_its_hash_and_a_true_signature(fixtures: Path) -> None:
    own = json.loads((fixtures / "lighter/own/sdk_1_1_8_signed_txs_and_auth_tokens.json").read_text())
    public, verifier, types = bytes.fromhex(own["generate"]["pub"].removeprefix("0x")), Verifier(), set()
    for name, row in own["signed"].items():
        if row.get("tx_info") is None or row["tx_type"] not in transactions.BODIES:
            continue
        tx = transactions.read(row["tx_type"], row["tx_info"], 304)
        assert tx.hash.hex() == row["tx_hash"], name
        key = tx.public_key if tx.type == transactions.CHANGE_KEY else public
        assert verifier.verify(key, tx.hash, tx.signature), name
        spoiled = bytes([tx.signature[0] ^ 1]) + tx.signature[1:]
        assert not verifier.verify(key, tx.hash, spoiled)
        types.add(tx.type)
    assert types == set(transactions.BODIES)


def test_the_published_lighter_vectors_hold(fixtures: Path) -> None:
    folder = fixtures / "lighter/nautilus"
    vectors_of = {
        name: json.loads((folder / f"signing_{name}.json").read_text())["vectors"]
        for name in ("tx_oracle", "schnorr_vectors", "auth_token_oracle")
    }
    verifier, names = Verifier(), {"create_order": 14, "cancel_order": 15, "modify_order": 17, "cancel_all_orders": 16}
    for row in vectors_of["tx_oracle"]:
        info = row["tx_info"]
        kind = names.get(row["kind"]) or row["tx_type"]
        tx = transactions.read(kind, info, row["chain_id"])
        assert tx.hash.hex() == row["tx_hash"]
        assert verifier.verify(public_key(bytes.fromhex(row["sk"])), tx.hash, tx.signature)
    for row in vectors_of["schnorr_vectors"]["keygen"]:
        assert public_key(bytes.fromhex(row["sk"])).hex() == row["pk"]
    for row in vectors_of["auth_token_oracle"]:
        text, _, signature = row["token"].rpartition(":")
        key = public_key(bytes.fromhex(row["sk"]))
        assert verifier.verify(key, transactions.token_hash(text), bytes.fromhex(signature))
