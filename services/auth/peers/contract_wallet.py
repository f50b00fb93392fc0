"""Contract wallets, asked through a chain's JSON-RPC address of the configuration (EIP-1271, EIP-6492).

One `eth_call` that creates the reference validator of EIP-6492, never deployed, with (address, digest, signature): it
unwraps, asks the wallet's `isValidSignature`, and answers one byte. The RPC server is not trusted with more than that
byte: its chain id must be right, its answers are bounded in size and time, redirects are not followed, and its address
comes from the configuration alone.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import aiohttp
import msgspec

from services.domain.errors import DomainError, Reason

ANSWER_BYTES_MAX = 65_536
TIMEOUT_S = 5.0
_VALIDATOR = Path(__file__).with_name("eip6492_validator.hex")


class RpcChain:
    """One chain behind one RPC address."""

    def __init__(self, chain_id: int, url: str, session: aiohttp.ClientSession) -> None:
        self._chain_id = chain_id
        self._url = url
        self._session = session
        self._validator = bytes.fromhex(_VALIDATOR.read_text().strip())
        self._checked = False
        self._number = itertools.count(1)

    async def has_code(self, address: str) -> bool:
        """Say whether there is a contract at an address."""
        return await self._ask("eth_getCode", address, "latest") not in ("0x", "0x0", "")

    async def accepts(self, address: str, digest: bytes, signature: bytes) -> bool:
        """Say whether the wallet at an address, deployed or not, takes a signature for its own."""
        data = self._validator + validator_arguments(address, digest, signature)
        answer = await self._ask("eth_call", {"data": "0x" + data.hex()}, "latest", reverts="0x00")
        return answer == "0x01"

    async def _ask(self, method: str, *parameters: object, reverts: str | None = None) -> str:
        """Return the text that a method answers; `reverts` is the answer where the chain itself says no."""
        if not self._checked:
            self._checked = True
            try:
                told = await self._ask("eth_chainId")
                if not told.startswith("0x") or int(told, 16) != self._chain_id:
                    raise self._away(f"it serves chain {told[:20]}")
            except BaseException:
                self._checked = False
                raise
        body = msgspec.json.encode(
            {"jsonrpc": "2.0", "id": next(self._number), "method": method, "params": list(parameters)}
        )
        try:
            async with self._session.post(
                self._url,
                data=body,
                headers={"content-type": "application/json"},
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
                allow_redirects=False,
            ) as response:
                raw = await response.content.read(ANSWER_BYTES_MAX + 1)
                while len(raw) <= ANSWER_BYTES_MAX and not response.content.at_eof():
                    raw += await response.content.read(ANSWER_BYTES_MAX + 1 - len(raw))
                if response.status != 200 or len(raw) > ANSWER_BYTES_MAX:
                    raise self._away(f"it answered status {response.status} and {len(raw)} bytes")
            answer = msgspec.json.decode(raw)
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as error:
            raise self._away(type(error).__name__) from None
        result = answer.get("result") if isinstance(answer, dict) else None
        if isinstance(result, str):
            return result
        if reverts is not None and isinstance(answer, dict) and isinstance(answer.get("error"), dict):
            return reverts
        raise self._away("it answered an error")

    def _away(self, why: str) -> DomainError:
        return DomainError(
            Reason.PEER_UNAVAILABLE,
            f"Chain {self._chain_id} could not be asked about the contract wallet ({why}): begin again in a moment.",
            metadata={"peer": f"chain {self._chain_id}"},
            retry_after_s=2.0,
        )


def validator_arguments(address: str, digest: bytes, signature: bytes) -> bytes:
    """Return (address, bytes32, bytes) in the contract ABI's encoding."""
    padded = signature + bytes(-len(signature) % 32)
    head = bytes.fromhex(address[2:]).rjust(32, b"\0") + digest + (96).to_bytes(32, "big")
    return head + len(signature).to_bytes(32, "big") + padded
