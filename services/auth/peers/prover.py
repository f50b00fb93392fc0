"""Who signed a text: a key, or a contract where a chain can be asked.

Without an RPC address for the chain only keys sign in; a signature that no key can have made is answered with
WALLET_KIND_UNSUPPORTED. With one, the order is EIP-6492's: the wrapped signature first, then EIP-1271 where there is
code, and the key last; all of it is one call of the reference validator (`contract_wallet.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import coincurve

from services.auth.model import challenge
from services.auth.model.ethereum import KeySignature, SignatureShapeError, address_of, personal_digest
from services.auth.model.session import WalletKind
from services.domain.errors import DomainError, Reason

WRAPPED_SUFFIX = bytes.fromhex("6492" * 16)
"""What a signature of a wallet that is not deployed yet ends in (EIP-6492)."""


class Chain(Protocol):
    """A chain that can be asked."""

    async def has_code(self, address: str) -> bool:
        """Say whether there is a contract at an address."""
        ...

    async def accepts(self, address: str, digest: bytes, signature: bytes) -> bool:
        """Say whether the wallet at an address, deployed or not, takes a signature for its own."""
        ...


class WalletProver:
    """The port `Prover`."""

    def __init__(self, chains: Mapping[int, Chain]) -> None:
        self._chains = chains

    async def prove(self, address: str, chain_id: int, text: str, signature: bytes) -> WalletKind:
        """Return what signed, or raise SIGN_IN_REFUSED, WALLET_KIND_UNSUPPORTED or PEER_UNAVAILABLE."""
        digest = personal_digest(text.encode())
        chain = self._chains.get(chain_id)
        if chain is None:
            return self._prove_key(address, chain_id, digest, signature)
        wrapped = signature.endswith(WRAPPED_SUFFIX)
        if wrapped or await chain.has_code(address):
            if not await chain.accepts(address, digest, signature):
                raise challenge.refused("signature", "the contract wallet does not take this signature for its own")
            return WalletKind.CONTRACT
        _check_key(address, digest, signature)
        return WalletKind.KEY

    def _prove_key(self, address: str, chain_id: int, digest: bytes, signature: bytes) -> WalletKind:
        if len(signature) not in (64, 65):
            raise DomainError(
                Reason.WALLET_KIND_UNSUPPORTED,
                f"A signature of {len(signature)} bytes can only be a contract wallet's (EIP-1271, EIP-6492), and no "
                f"RPC address is configured for chain {chain_id}: sign with a key wallet, or "
                "set PERPMESH_AUTH_RPC_URLS.",
                metadata={"chain_id": str(chain_id)},
            )
        _check_key(address, digest, signature)
        return WalletKind.KEY


def _check_key(address: str, digest: bytes, signature: bytes) -> None:
    try:
        shape = KeySignature.read(signature)
    except SignatureShapeError as error:
        raise challenge.refused("signature", str(error)) from None
    try:
        key = coincurve.PublicKey.from_signature_and_message(shape.recoverable, digest, hasher=None)
    except Exception:  # what libsecp256k1 cannot recover a key from
        raise challenge.refused("signature", "no key can have made this signature") from None
    if address_of(key.format(compressed=False)[1:]) != address:
        raise challenge.refused("signature", "it is not the signature of this address over this text")
