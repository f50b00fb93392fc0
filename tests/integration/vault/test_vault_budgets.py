"""The venues' rate limits are on: orders signed here and sent by the adapters meet no nonce error, breach no budget.

`PERPMESH_VAULT_LIMITED` says how many orders a venue. `make vault-nonces` makes 10,000 at Hyperliquid, whose 1,200 a
minute, 750 of them for trading, let them through in a quarter of an hour, and 10,000 from a premium account of
Lighter, whose 4,000 a minute do in three.
A standard account of Lighter's may send 40 of one kind a minute, with which 10,000 would take four hours: it makes 80.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from perpmesh.vault.v1 import account_pb2, action_pb2
from perpmesh.vault.v1 import vault_service_pb2 as vault_pb

from services.chassis import errors
from services.chassis.clock import SYSTEM
from services.domain.errors import Reason
from services.vault.rpc import decode
from services.venues.circuit import REST, SOCKET, Circuit
from services.venues.hyperliquid.budgets import TRADING_WEIGHT, HyperliquidBudgets
from services.venues.hyperliquid.trader import HyperliquidTrader
from services.venues.hyperliquid.trader import TraderConfig as HyperliquidConfig
from services.venues.lighter.budgets import LighterBudgets
from services.venues.lighter.tokens import VenueToken
from services.venues.lighter.trader import LighterTrader
from services.venues.lighter.trader import TraderConfig as LighterConfig
from services.venues.trading import Accepted, AccountRef, NonceFate, SignedBytes, Submission
from tests.support.crash import crashing
from tests.support.vault import middle, moment, order, report_request, sign_request
from tests.support.vault_room import Client, client, grounds

pytestmark = pytest.mark.asyncio(loop_scope="function")
COUNTS = dict(
    pair.split("=") for pair in os.environ.get("PERPMESH_VAULT_LIMITED", "hyperliquid=60,lighter=12").split(",")
)
DEFAULTS: dict[str, object] = {
    "lighter_requests_max": 60, "lighter_sends_max": 60, "hyperliquid_weight_max": 1_200,
    "hyperliquid_requests_max": 10_000,
}  # fmt: skip
"""The venues' own limits for a standard account and one address."""
PREMIUM_SENDS = 4_000
"""Transactions a minute of a premium account of Lighter's that stakes nothing; its 24,000 weights are as many."""
COUNTED = {"hyperliquid": "weight", "lighter": "sends"}
"""The venue's own count of what is sent."""
OPEN_MAX = 900
"""After how many orders all are canceled where a venue bounds the open ones."""
HISTORY_USD = 200_000
"""What an account has traded before: enough for 10,000 actions at either venue, which earns one each 1 and 7 USD."""
FATES = {
    NonceFate.FREE: "REFUSED_NONCE_FREE", NonceFate.REFUSED: "REFUSED_NONCE", NonceFate.NOT_SENT: "NOT_SENT",
    NonceFate.KEY_UNKNOWN: "KEY_UNKNOWN",
}  # fmt: skip


def trader_at(venue: str, url: str, tier: str) -> Any:
    """Return the adapter that execution sends with, its budgets as they are."""
    circuits = {
        "rest_breaker": Circuit(venue, REST, clock=SYSTEM),
        "socket_breaker": Circuit(venue, SOCKET, clock=SYSTEM),
    }
    if venue == "hyperliquid":
        return HyperliquidTrader(
            HyperliquidConfig(base_url=url), clock=SYSTEM, rng=random.Random(1), **circuits,
            budgets=HyperliquidBudgets(weight_per_minute=TRADING_WEIGHT),
        )  # fmt: skip

    async def token(_: AccountRef) -> VenueToken:
        raise AssertionError("posting needs no token")

    budgets = LighterBudgets()
    if tier == "premium":
        most = PREMIUM_SENDS
        budgets = LighterBudgets(requests_per_minute=most, sends_per_minute=most, kind_per_minute=most)
    return LighterTrader(
        LighterConfig(base_url=url), clock=SYSTEM, rng=random.Random(1), tokens=token, budgets=budgets, **circuits
    )


async def _room(call: Any, request: Any) -> Any:
    """Call; again while earlier actions are out or the vault is busy, as those do that wait for the venue's budget."""
    while True:
        try:
            return await call(request, timeout=29)
        except grpc.aio.AioRpcError as error:
            if errors.from_rpc_error(error).reason is not Reason.LIMIT_REACHED:
                raise


async def sent(vault: Client, trader: Any, account: AccountRef, request: Any) -> tuple[int, Submission]:
    """Sign, send until it is known what came of it, and report."""
    signed = (await _room(vault.signer.Sign, request)).signed_action
    made = SignedBytes(
        body=signed.body,
        action=decode.action(request.action),
        nonce=signed.nonce,
        expire_time_ms=decode.milliseconds(signed.expire_time),
        transaction_type=signed.transaction_type,
        transaction_hash=signed.transaction_hash,
    )
    came = await trader.submit(account, made)
    while came.nonce in (NonceFate.UNKNOWN, NonceFate.NOT_SENT):
        await asyncio.sleep(0.5)
        if came.nonce is NonceFate.UNKNOWN:  # its answer was lost: the venue is asked what became of it
            traced = await trader.trace(account, made)
            if all(isinstance(one, Accepted) for one in traced):
                came = Submission(outcomes=traced, nonce=NonceFate.USED)
                break
        came = await trader.submit(account, made, again=came.nonce is NonceFate.UNKNOWN)
    accepted = all(isinstance(one, Accepted) for one in came.outcomes)
    outcome = FATES.get(came.nonce, "ACCEPTED" if accepted else "REFUSED_NONCE_USED")
    await _room(vault.signer.ReportOutcome, report_request(request, outcome))
    return signed.nonce, came


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("whose", COUNTS)
async def test_orders_are_signed_and_sent_within_the_budgets(tmp_path: Path, whose: str) -> None:
    venue, _, tier = whose.partition(".")
    count = int(COUNTS[whose])
    async with grounds(tmp_path, **DEFAULTS) as ground:
        run_file = tmp_path / "vault.json"
        environ = ground.environ(run_file, vault_marks_s=50)
        with crashing("services.vault.__main__", "vault", environ, tmp_path / "vault.log") as room:
            room.start()
            async with client(ground, run_file) as vault, contextlib.AsyncExitStack() as held:
                owner = await vault.owner(venue)
                key = await owner.ready()
                about = (await owner.get()).account
                if tier or count > 1_000:
                    await ground.simulator.fund(
                        venue, owner.wallet.address.lower(), "0", volume=str(HISTORY_USD), tier=tier
                    )
                most = account_pb2.TradingLimits(max_day_notional="1000000000")
                limits = vault_pb.SetTradingLimitsRequest(account_id=owner.account_id, limits=most)
                await owner.vault.SetTradingLimits(limits, metadata=owner.metadata)
                trader = trader_at(venue, ground.face(venue), tier)
                held.push_async_callback(trader.close)
                await trader.load()
                account = AccountRef(
                    account_id=owner.account_id,
                    address=owner.wallet.address.lower(),
                    index=int(about.venue_account) if venue == "lighter" else 0,
                    api_key_index=key.api_key_index,
                )
                price = int(await middle(ground.http, ground.face(venue), venue)) * 70 // 100
                action = [order(venue, price=str(price), size="0.001") for _ in range(count)]
                if venue == "lighter":  # which refuses the 1,001st open order before it takes its nonce
                    action[OPEN_MAX::OPEN_MAX] = [
                        action_pb2.Action(cancel_all=action_pb2.CancelAllAction()) for _ in action[OPEN_MAX::OPEN_MAX]
                    ]
                requests = [sign_request(owner.account_id, one, expire_time=moment(3_600)) for one in action]
                turn = asyncio.Semaphore(1 if venue == "lighter" else 16)

                async def one(request: Any) -> tuple[int, Submission]:
                    async with turn:
                        return await sent(vault, trader, account, request)

                began = time.monotonic()
                done = await asyncio.gather(*(one(request) for request in requests))
        nonces = [nonce for nonce, _ in done]
        odd = [came for _, came in done if came.nonce is not NonceFate.USED]
        assert odd == [], odd[:3]
        assert len(set(nonces)) == len(nonces)
        if venue == "lighter":
            assert nonces == list(range(nonces[0], nonces[0] + len(nonces))), "in order, none skipped"
        journal = await ground.simulator.journal(venue, limit="10000")
        refused = [one for one in journal["entries"] if "Too Many" in str(one) or "Too many cumulative" in str(one)]
        assert refused == []
        counts = (await ground.simulator.state())["venues"][venue]["limits"][COUNTED[venue]]
        assert counts["refused"] == 0, "the venue never had to refuse"
        assert counts["used"] >= count
        seconds = time.monotonic() - began
        print(f"\n{whose}: {count} orders with limits on in {seconds:.0f} s: no nonce error, no budget breached")
