"""What the room makes of an RPC server that answers well, badly, too much, too late, or for another chain (S10, S11).

Whether a real contract wallet is understood is a matter for a real EVM; this is about the line to it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from services.auth.model.ethereum import personal_digest
from services.auth.model.session import WalletKind
from services.auth.peers import contract_wallet
from services.auth.peers.contract_wallet import RpcChain, validator_arguments
from services.auth.peers.prover import WRAPPED_SUFFIX, WalletProver
from services.domain.errors import DomainError, Reason
from tests.support.wallet import Wallet

Answer = Callable[[str, list[Any]], Any]


@contextlib.asynccontextmanager
async def prover(answer: Answer) -> AsyncIterator[tuple[WalletProver, list[tuple[str, list[Any]]]]]:
    """Run an RPC server that answers by `answer`: a result, a whole web response, or a number of seconds to wait."""
    asked: list[tuple[str, list[Any]]] = []

    async def serve(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        asked.append((body["method"], body["params"]))
        result = answer(body["method"], body["params"])
        if isinstance(result, web.StreamResponse):
            return result
        if isinstance(result, float):
            await asyncio.sleep(result)
            result = "0x1"
        if isinstance(result, dict):
            return web.json_response({"jsonrpc": "2.0", "id": body["id"], "error": result})
        return web.json_response({"jsonrpc": "2.0", "id": body["id"], "result": result})

    app = web.Application()
    app.router.add_post("/", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        try:
            yield WalletProver({1: RpcChain(1, f"http://127.0.0.1:{runner.addresses[0][1]}/", session)}), asked
        finally:
            await runner.cleanup()


def chain(**results: Any) -> Answer:
    given = {"eth_chainId": "0x1", "eth_getCode": "0x6001", "eth_call": "0x01", **results}
    return lambda method, _: given[method]


async def told(answer: Answer, signature: bytes = b"\1" * 130) -> tuple[Reason | WalletKind, dict[str, str]]:
    async with prover(answer) as (proving, _):
        try:
            return await proving.prove(Wallet().address, 1, "text", signature), {}
        except DomainError as error:
            return error.reason, dict(error.metadata)


async def test_a_contract_that_takes_the_signature_signs_in_and_one_that_does_not_does_not() -> None:
    assert (await told(chain()))[0] is WalletKind.CONTRACT
    for no in ("0x00", "0x", "0x0000000000000000000000000000000000000000000000000000000000000001", "0x0101"):
        assert await told(chain(eth_call=no)) == (Reason.SIGN_IN_REFUSED, {"check": "signature"})
    reverts = {"code": 3, "message": "execution reverted"}
    assert await told(chain(eth_call=reverts)) == (Reason.SIGN_IN_REFUSED, {"check": "signature"})


async def test_where_there_is_code_the_contract_is_asked_and_the_key_is_not_tried() -> None:
    wallet = Wallet()
    async with prover(chain(eth_call="0x00")) as (proving, _):
        with pytest.raises(DomainError):
            await proving.prove(wallet.address, 1, "text", wallet.sign_bytes("text"))


async def test_where_there_is_no_code_the_key_decides_unless_the_signature_is_wrapped() -> None:
    wallet = Wallet()
    async with prover(chain(eth_getCode="0x")) as (proving, asked):
        assert await proving.prove(wallet.address, 1, "text", wallet.sign_bytes("text")) is WalletKind.KEY
        assert "eth_call" not in [method for method, _ in asked]
        wrapped = b"\2" * 96 + WRAPPED_SUFFIX
        assert await proving.prove(wallet.address, 1, "text", wrapped) is WalletKind.CONTRACT
        method, parameters = asked[-1]
        assert method == "eth_call"
        sent = bytes.fromhex(parameters[0]["data"][2:])
        assert sent.endswith(validator_arguments(wallet.address, personal_digest(b"text"), wrapped))


@pytest.mark.parametrize(
    "answer",
    [
        chain(eth_chainId="0x2"),
        chain(eth_chainId="nonsense"),
        chain(eth_getCode={"code": -32000, "message": "no"}),
        chain(eth_getCode=7),
        lambda *_: web.Response(text="<html>"),
        lambda *_: web.Response(status=500),
        lambda *_: web.Response(status=302, headers={"location": "http://169.254.169.254/"}),
        lambda *_: web.Response(text="x" * 1_000_000),
    ],
)
async def test_a_server_that_answers_nonsense_is_away_and_proves_nothing(answer: Answer) -> None:
    assert (await told(answer))[0] is Reason.PEER_UNAVAILABLE


async def test_a_slow_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract_wallet, "TIMEOUT_S", 0.2)
    assert (await told(lambda *_: 1.0))[0] is Reason.PEER_UNAVAILABLE
