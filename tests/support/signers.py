"""Wallets and keys that sign for the simulated venues, without the venues' clients."""

from __future__ import annotations

import base64
import json
from random import Random
from typing import Any

import eth_account
from eth_account.messages import encode_defunct
from hyperliquid.utils import signing

from services.simulator.crypto import schnorr
from services.simulator.crypto.poseidon import from_bytes, hash_elements
from services.simulator.dialects.lighter import transactions


class Wallet:
    """An Ethereum wallet that posts signed actions."""

    def __init__(self, seed: int) -> None:
        self.account = eth_account.Account.from_key(f"0x{seed:064x}")
        self.address = self.account.address.lower()
        self.number = int(self.address, 16)

    def l1(self, action: dict[str, Any], nonce: int, *, vault: str | None = None, expires: int | None = None) -> Any:
        """Return the envelope of an L1 action."""
        signature = signing.sign_l1_action(self.account, action, vault, nonce, expires, False)
        return {
            "action": action, "nonce": nonce, "signature": signature, "vaultAddress": vault, "expiresAfter": expires,
        }  # fmt: skip

    def approve_agent(self, agent: Wallet, nonce: int, name: str = "") -> Any:
        """Return the envelope that approves an agent."""
        action = {"type": "approveAgent", "agentAddress": agent.address, "agentName": name, "nonce": nonce}
        return self._envelope(action, signing.sign_agent(self.account, action, False), nonce)

    def approve_builder(self, builder: Wallet, nonce: int, rate: str) -> Any:
        """Return the envelope that approves a builder's fee."""
        action = {"type": "approveBuilderFee", "maxFeeRate": rate, "builder": builder.address, "nonce": nonce}
        return self._envelope(action, signing.sign_approve_builder_fee(self.account, action, False), nonce)

    def withdraw(self, amount: str, nonce: int) -> Any:
        """Return the envelope of a withdrawal."""
        action = {"type": "withdraw3", "destination": self.address, "amount": amount, "time": nonce}
        return self._envelope(action, signing.sign_withdraw_from_bridge_action(self.account, action, False), nonce)

    def send_asset(self, amount: str, nonce: int, *, source: str, target: str) -> Any:
        """Return the envelope that moves dollars between the wallet's dexes."""
        action = {
            "type": "sendAsset", "destination": self.address, "sourceDex": source, "destinationDex": target,
            "token": "USDC", "amount": amount, "fromSubAccount": "", "nonce": nonce,
        }  # fmt: skip
        return self._envelope(action, signing.sign_send_asset_action(self.account, action, False), nonce)

    def _envelope(self, action: dict[str, Any], signature: Any, nonce: int) -> Any:
        return {
            "action": action, "nonce": nonce, "signature": signature, "vaultAddress": None, "expiresAfter": None,
        }  # fmt: skip

    def text(self, message: str) -> str:
        """Sign a text."""
        return "0x" + self.account.sign_message(encode_defunct(text=message)).signature.hex().removeprefix("0x")


class ApiKey:
    """A Lighter API key; signatures are drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)
        self.scalar = self._rng.randrange(1, schnorr.N)
        self._table = schnorr.table_of(schnorr.GENERATOR)
        self.public = self._point(self.scalar)

    def _point(self, scalar: int) -> list[int]:
        total = schnorr._accumulate(None, scalar, self._table)
        assert total is not None
        return schnorr.encode(schnorr._affine([total])[0])

    @property
    def hex(self) -> str:
        """Return the public key as the venue shows it."""
        return b"".join(limb.to_bytes(8, "little") for limb in self.public).hex()

    def sign(self, message: bytes) -> bytes:
        """Sign 40 bytes."""
        k = self._rng.randrange(1, schnorr.N)
        digest = hash_elements(self._point(k) + from_bytes(message), 5)
        e = sum(limb << (64 * index) for index, limb in enumerate(digest)) % schnorr.N
        return ((k - e * self.scalar) % schnorr.N).to_bytes(40, "little") + e.to_bytes(40, "little")

    def tx(self, kind: int, fields: dict[str, Any], chain: int = 304) -> str:
        """Return the text of a signed transaction."""
        bare = fields | {"Sig": "", "L2TxAttributes": fields.get("L2TxAttributes")}
        digest = transactions.read(kind, json.dumps(bare), chain).hash
        return json.dumps(bare | {"Sig": base64.b64encode(self.sign(digest)).decode()})

    def token(self, deadline_s: int, account: int, slot: int) -> str:
        """Return an auth token."""
        text = f"{deadline_s}:{account}:{slot}"
        return f"{text}:{self.sign(transactions.token_hash(text)).hex()}"
