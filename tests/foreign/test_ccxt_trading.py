"""ccxt, a client nobody here wrote, on both simulated venues: it approves its own builder and integrator fees first."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest
from ccxt.async_support import hyperliquid

from services.venues.lighter.library import find
from tests.support.signers import Wallet
from tests.support.simulator import ROOT, running_simulator

SYMBOL = "BTC/USDC:USDC"


@pytest.mark.timeout(60)
async def test_ccxt_orders_edits_cancels_and_reads_its_account() -> None:
    wallet = Wallet(1)
    async with running_simulator(seed=31, hyperliquid_weight_max=0, hyperliquid_ack_ms=0) as sim:
        await sim.fund("hyperliquid", wallet.address, "100000")
        client = hyperliquid({
            "walletAddress": wallet.address, "privateKey": "0x" + wallet.account.key.hex().removeprefix("0x"),
            "enableRateLimit": False,
        })  # fmt: skip
        client.set_sandbox_mode(True)
        client.urls["api"] = {"public": sim.hyperliquid_http, "private": sim.hyperliquid_http}
        try:
            await client.load_markets()
            assert (await client.fetch_balance())["USDC"]["total"] == 100_000
            first = await client.create_order(SYMBOL, "limit", "buy", 0.01, 60000)
            assert (await client.fetch_order(first["id"], SYMBOL))["status"] == "open"
            await client.edit_order(first["id"], SYMBOL, "limit", "buy", 0.02, 59000)
            (resting,) = await client.fetch_open_orders(SYMBOL)
            assert (resting["amount"], resting["price"]) == (0.02, 59000)
            await client.cancel_order(resting["id"], SYMBOL)
            await client.set_leverage(5, SYMBOL)
            await client.create_order(SYMBOL, "market", "buy", 0.01, (await client.fetch_ticker(SYMBOL))["last"])
            (position,) = await client.fetch_positions([SYMBOL])
            assert (position["contracts"], position["leverage"], position["side"]) == (0.01, 5, "long")
            assert sum(fill["amount"] for fill in await client.fetch_my_trades(SYMBOL)) == pytest.approx(0.01)
            await client.withdraw("USDC", 10, wallet.address)
            refusals = await client.fetch_ledger()
            assert [row["type"] for row in refusals]
        finally:
            await client.close()
        sums = (await sim.sums())["hyperliquid"]["audit"]
        assert (sums["money"], sums["sizes"]) == (0, {})
        assert sums["surcharges"] > 0


@pytest.mark.timeout(90)
async def test_ccxt_sets_up_a_lighter_account_and_reads_it() -> None:
    wallet = Wallet(1)
    secret = "0x" + wallet.account.key.hex().removeprefix("0x")
    async with running_simulator(seed=32, lighter_requests_max=0, lighter_sends_max=0, lighter_delays=False) as sim:
        await sim.fund("lighter", wallet.address, "100000", tier="premium")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.foreign.ccxt_lighter", sim.lighter_http, sim.lighter_ws, secret, str(find()),
            cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, said = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, said.decode()[-2000:]
        found = json.loads(out)
        assert found["balance"] == 100_000
        assert found["leverage"] == {SYMBOL.replace("BTC", "ETH"): [5, "cross"], SYMBOL: [4, "isolated"]}
        assert (found["crossed"], found["approved"], found["rates"], found["trades"]) == (False, True, True, True)
        assert (found["open"], found["ended"], found["fills"]) == (0, 0, 0)
        assert found["candles"] > 20
        sums = (await sim.sums())["lighter"]["audit"]
        assert (sums["money"], sums["sizes"]) == (0, {})
