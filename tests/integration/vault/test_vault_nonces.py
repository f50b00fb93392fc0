"""Nonces under many requests at once, two vaults, and vaults that sleep: none is doubled, skipped or out of order.

`PERPMESH_VAULT_SIGNS` says how many requests come at once (10,000 in `make vault-nonces`), `PERPMESH_VAULT_STOPS` how
often a vault is stopped past its lease and continued (1,000 there).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from perpmesh.vault.v1 import account_pb2
from perpmesh.vault.v1 import vault_service_pb2 as pb
from perpmesh.vault.v1.signer_service_pb2 import BatchGetSigningAccountsRequest
from perpmesh.vault.v1.signer_service_pb2_grpc import SignerServiceStub

from services.chassis import errors
from services.domain.errors import DomainError, Reason
from tests.support.auth import refusal
from tests.support.crash import CrashingRoom, crashing
from tests.support.vault import Owner, middle, moment, order, post, report_request, sign_request
from tests.support.vault_room import Client, Grounds, client, facts

pytestmark = pytest.mark.asyncio(loop_scope="session")
SIGNS = int(os.environ.get("PERPMESH_VAULT_SIGNS", "150"))
STOPS = int(os.environ.get("PERPMESH_VAULT_STOPS", "3"))
CONNECTION_CALLS = 1_000
LATE = frozenset((grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE))
BOTH = pytest.mark.parametrize("venue", ["hyperliquid", "lighter"])
LONG = pytest.mark.timeout(7200)


async def bid_far(ground: Grounds, venue: str, percent: int = 95) -> str:
    return str(int(await middle(ground.http, ground.face(venue), venue)) * percent // 100)


async def traded(mesh: Client, stub: Any, owner: Owner, price: str) -> tuple[int, Any]:
    """Sign, post and report one order, as execution does; return its nonce and the venue's answer."""
    venue = owner.account.venue
    action = order(venue, price=price, size="0.001")
    request = sign_request(owner.account_id, action, expire_time=moment(3_600))
    answer = await _patiently(stub.Sign, request)
    assert answer.HasField("signed_action"), answer
    signed = answer.signed_action
    said = await post(mesh.grounds.http, mesh.grounds.face(venue), signed)
    outcome = "ACCEPTED" if said.get("code", 200) == 200 and said.get("status", "ok") == "ok" else "REFUSED_NONCE_FREE"
    if venue == "hyperliquid" and outcome != "ACCEPTED":
        outcome = "REFUSED_NONCE_USED"
    await _patiently(stub.ReportOutcome, report_request(request, outcome))
    return signed.nonce, said


async def later(number: int, trade: Any) -> Any:
    """Begin a trade a moment later than the one before: a server refuses calls that it cannot even look at."""
    await asyncio.sleep(number * 0.001)
    return await trade


async def _connected(mesh: Client, held: contextlib.AsyncExitStack) -> Any:
    """Return execution's calls on a connection of their own, which knows by a first call how many it may carry."""
    port = int((await facts(mesh.grounds.folder / "vault.json"))["signer_port"])
    channel = await held.enter_async_context(mesh.grounds.channel(port, part="execution"))
    stub = SignerServiceStub(channel)
    await stub.BatchGetSigningAccounts(BatchGetSigningAccountsRequest(page_size=1))
    return stub


async def _patiently(call: Any, request: Any) -> Any:
    """Ask again where there was no room in time, or no answer: the same leg gets the same bytes, whatever happened."""
    while True:
        try:
            return await call(request, timeout=25)
        except grpc.aio.AioRpcError as error:
            if errors.from_rpc_error(error).reason is not Reason.LIMIT_REACHED and error.code() not in LATE:
                raise


def nonce_errors(answers: list[Any]) -> list[Any]:
    return [one for one in answers if "nonce" in str(one).lower()]


@LONG
@BOTH
async def test_many_requests_at_once_meet_no_nonce_error(mesh: Client, venue: str) -> None:
    owner = await mesh.owner(venue)
    await owner.ready()
    price = await bid_far(mesh.grounds, venue, 60 if venue == "hyperliquid" else 95)
    await owner.vault.SetTradingLimits(
        pb.SetTradingLimitsRequest(
            account_id=owner.account_id, limits=account_pb2.TradingLimits(max_day_notional="1000000000")
        ),
        metadata=owner.metadata,
    )
    async with contextlib.AsyncExitStack() as held:
        stubs = [await _connected(mesh, held) for _ in range(1 + SIGNS // CONNECTION_CALLS)]
        began = time.monotonic()
        done = await asyncio.gather(
            *(later(n, traded(mesh, stubs[n % len(stubs)], owner, price)) for n in range(SIGNS))
        )
    seconds = time.monotonic() - began
    nonces, answers = [nonce for nonce, _ in done], [answer for _, answer in done]
    assert nonce_errors(answers) == []
    taken = [nonce for nonce, said in done if said.get("code", 200) == 200]
    assert len(set(taken)) == len(taken)
    if venue == "lighter":
        assert sorted(taken) == list(range(min(taken), min(taken) + len(taken))), "none lost, none skipped"
    journal = await mesh.grounds.simulator.journal(venue, account=str(owner.account.venue_account), limit="10000")
    assert journal["entries"], "the venue saw them"
    print(f"\n{venue}: {len(nonces)} requests at once in {seconds:.1f} s, no nonce error")


@BOTH
async def test_nonces_follow_the_order_of_the_requests(mesh: Client, venue: str) -> None:
    owner = await mesh.owner(venue)
    await owner.ready()
    price = await bid_far(mesh.grounds, venue)
    requests = [sign_request(owner.account_id, order(venue, price=price)) for _ in range(40)]

    async def one(request: Any) -> int:
        signed = (await mesh.signer.Sign(request, timeout=25)).signed_action
        await mesh.signer.ReportOutcome(report_request(request, "ACCEPTED"))
        return int(signed.nonce)

    nonces = await asyncio.gather(*(one(request) for request in requests))
    assert nonces == sorted(nonces)
    assert len(set(nonces)) == len(nonces)


@pytest_asyncio.fixture(loop_scope="session")
async def pair(ground: Grounds, room: CrashingRoom, mesh: Client) -> AsyncIterator[tuple[CrashingRoom, Client, Path]]:
    """A second vault beside the first, with short leases in both."""
    run_file = ground.folder / "second.json"
    run_file.unlink(missing_ok=True)
    environ = ground.environ(run_file, vault_lease_s=0.5)
    with crashing("services.vault.__main__", "vault", environ, ground.folder / "second.log") as second:
        second.start()
        async with client(ground, run_file) as made:
            yield second, made, run_file


@BOTH
async def test_a_second_vault_signs_nothing_while_the_first_lives(
    mesh: Client, pair: tuple[CrashingRoom, Client, Path], venue: str
) -> None:
    _, second, _ = pair
    owner = await mesh.owner(venue)
    await owner.ready()
    price = await bid_far(mesh.grounds, venue)
    request = sign_request(owner.account_id, order(venue, price=price))
    first = (await mesh.signer.Sign(request)).signed_action
    told = await refusal(second.signer.Sign(sign_request(owner.account_id, order(venue, price=price))))
    assert (told.reason, told.metadata["peer"]) == (Reason.PEER_UNAVAILABLE, "vault")
    assert (await refusal(second.signer.Sign(request))).reason is Reason.PEER_UNAVAILABLE
    await mesh.signer.ReportOutcome(report_request(request, "NOT_SENT"))
    assert (await mesh.signer.Sign(request)).signed_action.nonce == first.nonce


async def _outcome(call: Any) -> str:
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return errors.from_rpc_error(error).reason.value
    return "signed" if answer.HasField("signed_action") else "refused"


@LONG
async def test_a_vault_that_slept_past_its_lease_signs_nothing(ground: Grounds, mesh: Client) -> None:
    """It is stopped in the midst of signing, another takes its key, and then it is continued."""
    owner = await mesh.owner("hyperliquid")
    await owner.ready()
    price = await bid_far(ground, "hyperliquid", 60)
    rooms, held = [], []
    for number in range(2):
        run_file = ground.folder / f"sleeper{number}.json"
        environ = ground.environ(run_file, vault_lease_s=0.3)
        holder = crashing("services.vault.__main__", "vault", environ, ground.folder / f"sleeper{number}.log")
        rooms.append(holder.__enter__())
        rooms[-1].start()
        held.append((holder, run_file))
    database = await ground.connection()
    try:
        async with client(ground, held[0][1]) as first, client(ground, held[1][1]) as second:
            pair = [(rooms[0], first), (rooms[1], second)]
            signed = await _stops(pair, mesh, owner, price, database)
    finally:
        await database.close()
        for holder, _ in held:
            holder.__exit__(None, None, None)
    rows = set(signed)
    assert len(rows) == len(signed), "a nonce was given out twice"
    print(f"\nstopped past its lease and continued {STOPS} times: 0 signatures by the fenced one")


async def _stops(pair: Any, mesh: Client, owner: Owner, price: str, database: Any) -> list[int]:
    """Stop the holder while it signs, let the other sign, continue it: what it then answers must be refused."""
    nonces: list[int] = []
    holder, other = pair
    del mesh
    for turn in range(STOPS):
        request = sign_request(owner.account_id, order("hyperliquid", price=price, size="0.001"))
        got = await _until_signed(holder[1], request)
        nonces.append(got.nonce)
        await holder[1].signer.ReportOutcome(report_request(request, "NOT_SENT"))
        os.kill(holder[0].pid, signal.SIGSTOP)
        sleeping = [
            asyncio.ensure_future(
                _outcome(
                    holder[1].signer.Sign(sign_request(owner.account_id, order("hyperliquid", price=price)), timeout=30)
                )
            )
            for _ in range(3)
        ]
        mine = sign_request(owner.account_id, order("hyperliquid", price=price, size="0.001"))
        taken = await _until_signed(other[1], mine)
        nonces.append(taken.nonce)
        await other[1].signer.ReportOutcome(report_request(mine, "NOT_SENT"))
        before = await database.fetchval("SELECT count(*) FROM signed_actions WHERE account_id = $1", owner.account_id)
        os.kill(holder[0].pid, signal.SIGCONT)
        said = await asyncio.gather(*sleeping)
        assert set(said) == {"PEER_UNAVAILABLE"}, (turn, said)
        after = await database.fetchval("SELECT count(*) FROM signed_actions WHERE account_id = $1", owner.account_id)
        assert after == before, "the fenced one kept a signature"
        holder, other = other, holder
    return nonces


async def _until_signed(vault: Client, request: Any) -> Any:
    """Ask until the vault that held the key has lost it."""
    end = time.monotonic() + 20
    while True:
        try:
            return (await vault.signer.Sign(request, timeout=20)).signed_action
        except grpc.aio.AioRpcError as error:
            told: DomainError = errors.from_rpc_error(error)
            assert told.reason is Reason.PEER_UNAVAILABLE, told
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
