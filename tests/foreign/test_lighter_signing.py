"""Every transaction type the official lighter-sdk can sign, checked by the slow reference: hash and signature."""

from __future__ import annotations

import base64
import json
import warnings
from typing import Any

import pytest

from services.venues.lighter import schnorr
from tests.support import lighter_reference as slow

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # the SDK imports a deprecated name of websockets
    from lighter.signer_client import CreateOrderTxReq, SignerClient

CHAIN, ACCOUNT, KEY = 300, 1234, 5
SECRET = "457eca755a2636571c54f46007050459a5f7999d3e25ea71748f59ad28eaacaa7c9bc19ef0fcc807"
WALLET = "0x" + "07" * 32
NONCE: dict[str, Any] = {"nonce": 11, "api_key_index": KEY}


async def test_every_transaction_type_of_the_sdk_is_verified_by_the_reference() -> None:
    client = SignerClient("http://127.0.0.1:9", ACCOUNT, {KEY: SECRET}, chain_id=CHAIN)
    public = schnorr.public_key_of(bytes.fromhex(SECRET))
    order = CreateOrderTxReq(0, 1, 1000, 50_000, 0, 0, 1, 0, 0, 1_990_000_000_000)
    stop = CreateOrderTxReq(0, 2, 0, 48_000, 1, 2, 0, 1, 49_000, 1_990_000_000_000)
    calls: dict[str, Any] = {
        "create_order": lambda: client.sign_create_order(0, 7, 1000, 405_000, True, 0, 1, **NONCE),
        "grouped": lambda: client.sign_create_grouped_orders(1, [order, stop], **NONCE),
        "cancel": lambda: client.sign_cancel_order(0, 7, **NONCE),
        "cancel_all": lambda: client.sign_cancel_all_orders(0, 0, **NONCE),
        "modify": lambda: client.sign_modify_order(0, 7, 1000, 405_001, order_version=3, **NONCE),
        "leverage": lambda: client.sign_update_leverage(0, 500, 1, **NONCE),
        "margin": lambda: client.sign_update_margin(0, 2**40 + 5, 1, **NONCE),
        "withdraw": lambda: client.sign_withdraw(3, 0, 2**33 + 1, **NONCE),
        "sub_account": lambda: client.sign_create_sub_account(**NONCE),
        "transfer": lambda: client.sign_transfer(WALLET, 55, 3, 0, 0, 2**33, 3_000_000, "0x" + "00" * 32, **NONCE),
        "change_key": lambda: client.sign_change_api_key(WALLET, "0x" + public.hex(), **NONCE),
        "integrator": lambda: client.sign_approve_integrator(WALLET, 777, 500, 200, 600, 300, 2**41, **NONCE),
        "account_config": lambda: client.sign_update_account_config(1, **NONCE),
        "asset_config": lambda: client.sign_update_account_asset_config(3, 1, **NONCE),
        "create_pool": lambda: client.sign_create_public_pool(1000, 10**9, 1000, **NONCE),
        "update_pool": lambda: client.sign_update_public_pool(281474976710000, 0, 1000, 1000, **NONCE),
        "mint": lambda: client.sign_mint_shares(281474976710000, 5, **NONCE),
        "burn": lambda: client.sign_burn_shares(281474976710000, 5, **NONCE),
        "stake": lambda: client.sign_stake_assets(281474976710000, 5, **NONCE),
        "unstake": lambda: client.sign_unstake_assets(281474976710000, 5, **NONCE),
    }
    verified: dict[str, int] = {}
    other: dict[str, str] = {}
    try:
        for name, call in calls.items():
            kind, text, hashed, problem = call()
            if problem is not None:
                other[name] = problem
                continue
            info = json.loads(text)
            try:
                made = slow.tx_hash(CHAIN, kind, info).hex()
            except KeyError as error:
                other[name] = f"type {kind}, fields {list(info)}: {error}"
                continue
            if made != hashed:
                other[name] = f"type {kind}, fields {list(info)}: another hash"
                continue
            assert schnorr.verify(public, bytes.fromhex(hashed), base64.b64decode(info["Sig"])), name
            verified[name] = kind
    finally:
        await client.close()
    print(f"verified: {verified}\nnot verified: {other}")
    assert other == {}


@pytest.mark.parametrize("seconds", [60, 8 * 3600])
async def test_the_sdks_auth_tokens_are_verified_by_the_reference(seconds: int) -> None:
    client = SignerClient("http://127.0.0.1:9", ACCOUNT, {KEY: SECRET}, chain_id=CHAIN)
    try:
        token, problem = client.create_auth_token_with_expiry(seconds, timestamp=1_790_000_000, api_key_index=KEY)
        assert problem is None
        text, _, signature = token.rpartition(":")
        assert text == f"{1_790_000_000 + seconds}:{ACCOUNT}:{KEY}"
        assert slow.verify(slow.public_of(bytes.fromhex(SECRET)), slow.auth_hash(text), bytes.fromhex(signature))
    finally:
        await client.close()
