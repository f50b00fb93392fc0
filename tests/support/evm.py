"""A local Ethereum chain behind JSON-RPC: py-evm runs it, and contract wallets written in its own code live on it.

The contracts are small enough to be read as assembly, so that no compiler is needed. `OWNED` is a wallet of one owner
by EIP-1271; the others answer as a broken or an ill-meaning contract would.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from eth_abi import encode
from eth_tester import EthereumTester, PyEVMBackend
from eth_tester.exceptions import TransactionFailed
from eth_utils import keccak, to_checksum_address

from services.auth.peers.prover import WRAPPED_SUFFIX

CALL_GAS = 3_000_000
_CODES = {
    "STOP": 0x00, "MUL": 0x02, "EQ": 0x14, "SHL": 0x1B, "SHR": 0x1C, "CALLDATALOAD": 0x35, "CODECOPY": 0x39,
    "POP": 0x50, "MLOAD": 0x51, "MSTORE": 0x52, "JUMP": 0x56, "GAS": 0x5A, "JUMPDEST": 0x5B, "DUP1": 0x80,
    "RETURN": 0xF3, "STATICCALL": 0xFA, "REVERT": 0xFD,
}  # fmt: skip
# isValidSignature(hash, signature): ask the precompile 1 (ecrecover) who signed, and answer the magic value or nothing.
OWNED = """
  4 CALLDATALOAD 0 MSTORE            164 CALLDATALOAD 248 SHR 32 MSTORE
  100 CALLDATALOAD 64 MSTORE         132 CALLDATALOAD 96 MSTORE
  32 128 128 0 1 GAS STATICCALL POP
  128 MLOAD {owner} EQ 0x1626ba7e MUL 224 SHL 0 MSTORE 32 0 RETURN
"""
ILL = {
    "answers another word": "1 0 MSTORE 32 0 RETURN",
    "answers the magic value at the wrong end": "0x1626ba7e 0 MSTORE 32 0 RETURN",
    "answers nothing": "STOP",
    "reverts": "0 0 REVERT",
    "never ends": "JUMPDEST 0 JUMP",
}
# The deterministic deployment proxy: CREATE2 of what follows a salt in its calldata.
FACTORY = bytes.fromhex(
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234f58015156039578182fd5b"
    "8082525050506014600cf3"
)


def assemble(text: str) -> bytes:
    """Return the code of an assembly text; a number is pushed, in as many bytes as it needs."""
    code = b""
    for word in text.split():
        if word in _CODES:
            code += bytes([_CODES[word]])
        else:
            number = int(word, 0)
            size = 20 if len(word) == 42 else max(1, (number.bit_length() + 7) // 8)
            code += bytes([0x5F + size]) + number.to_bytes(size, "big")
    return code


def creation(runtime: bytes) -> bytes:
    """Return the code that leaves `runtime` behind."""
    return b"\x61" + len(runtime).to_bytes(2, "big") + bytes.fromhex("80600c6000396000f3") + runtime


@dataclass(slots=True)
class LocalChain:
    """One chain, and where it is asked."""

    tester: Any
    url: str = ""
    calls: int = 0

    def deploy(self, runtime: bytes) -> str:
        """Put a contract on the chain and return its address."""
        sender = self.tester.get_accounts()[0]
        sent = {"from": sender, "to": "", "data": "0x" + creation(runtime).hex(), "gas": CALL_GAS}
        receipt = self.tester.get_transaction_receipt(self.tester.send_transaction(sent))
        return to_checksum_address(receipt["contract_address"])

    def code(self, address: str) -> str:
        """Return the code at an address, in hex."""
        return str(self.tester.get_code(address))

    def answer(self, method: str, parameters: list[Any]) -> Any:
        """Answer one question as a node does; raise TransactionFailed where the code says no."""
        self.calls += 1
        if method == "eth_chainId":
            return "0x1"
        if method == "eth_getCode":
            return self.code(parameters[0])
        assert method == "eth_call", method
        asked = {"from": self.tester.get_accounts()[0], "to": "", "gas": CALL_GAS, **parameters[0]}
        return self.tester.call(asked)


def undeployed(factory: str, runtime: bytes, salt: bytes = bytes(32)) -> tuple[str, bytes]:
    """Return the address that a wallet will have, and the calldata with which the factory makes it."""
    made = creation(runtime)
    address = keccak(b"\xff" + bytes.fromhex(factory[2:]) + salt + keccak(made))[12:]
    return to_checksum_address(address), salt + made


def wrapped(factory: str, calldata: bytes, signature: bytes) -> bytes:
    """Return the signature of a wallet that is not on the chain yet (EIP-6492)."""
    return encode(["address", "bytes", "bytes"], [factory, calldata, signature]) + WRAPPED_SUFFIX


@contextlib.asynccontextmanager
async def local_chain() -> AsyncIterator[LocalChain]:
    """Run a chain and its JSON-RPC server on loopback."""
    chain = LocalChain(EthereumTester(backend=PyEVMBackend()))

    async def serve(request: web.Request) -> web.Response:
        asked = await request.json()
        said: dict[str, Any] = {"jsonrpc": "2.0", "id": asked["id"]}
        try:
            said["result"] = chain.answer(asked["method"], asked["params"])
        except TransactionFailed as error:
            said["error"] = {"code": 3, "message": f"execution reverted: {error}"}
        return web.json_response(said)

    app = web.Application()
    app.router.add_post("/", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    chain.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        yield chain
    finally:
        await runner.cleanup()
