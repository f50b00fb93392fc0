"""Faults of the private faces on real sockets, and the witness: what was carried out, whatever the client was told."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
import websockets

from tests.support.signers import ApiKey, Wallet
from tests.support.simulator import Simulator, running_simulator

WALLET = Wallet(1)
KEY = ApiKey(1)
WAIT_S = 10.0


class Hyperliquid:
    """Posts orders that rest."""

    def __init__(self, sim: Simulator, start_ms: int) -> None:
        self.sim = sim
        self.nonce = start_ms

    def order(self, cloid: int) -> Any:
        self.nonce += 1
        row = {"a": 0, "b": True, "p": "60000", "s": "0.01", "r": False, "t": {"limit": {"tif": "Gtc"}},
               "c": f"0x{cloid:032x}"}  # fmt: skip
        return WALLET.l1({"type": "order", "orders": [row], "grouping": "na"}, self.nonce)

    async def post(self, envelope: Any) -> tuple[int, str]:
        async with self.sim.session.post(f"{self.sim.hyperliquid_http}/exchange", json=envelope) as response:
            return response.status, await response.text()

    async def accepted(self) -> list[str]:
        """Return the client ids of all orders that were ever open, from the witness."""
        journal = await self.sim.call("GET", "accounts/journal", venue="hyperliquid", account=WALLET.address)
        return [e["body"]["client"] for e in journal["entries"]
                if e["kind"] == "order" and e["body"]["status"] == "open"]  # fmt: skip

    async def status_of(self, cloid: int) -> str:
        body = {"type": "orderStatus", "user": WALLET.address, "oid": f"0x{cloid:032x}"}
        async with self.sim.session.post(f"{self.sim.hyperliquid_http}/info", json=body) as response:
            found = await response.json()
            return str(found["order"]["status"] if found["status"] == "order" else found["status"])


async def funded(sim: Simulator) -> Hyperliquid:
    await sim.call("POST", "accounts", {"venue": "hyperliquid", "address": WALLET.address, "usdc": "100000"})
    return Hyperliquid(sim, (await sim.state())["time_ms"])


async def test_an_answer_may_be_lost_false_or_late_and_the_order_is_there_once_all_the_same() -> None:
    async with running_simulator(seed=21, hyperliquid_weight_max=0, hyperliquid_ack_ms=0) as sim:
        client = await funded(sim)
        await sim.fault("ack_lost", venue="hyperliquid", count=1, market="order")
        lost = client.order(1)
        with pytest.raises(aiohttp.ClientError):
            await client.post(lost)
        assert await client.status_of(1) == "open"
        again = await client.post(lost)
        assert "duplicate nonce" in again[1]
        await sim.fault("ack_error", venue="hyperliquid", count=1, params={"status": 502, "text": "<html>"})
        assert await client.post(client.order(2)) == (502, "<html>")
        await sim.fault("ack_error", venue="hyperliquid", count=1, params={"status": 200, "text": "Internal error"})
        assert json.loads((await client.post(client.order(3)))[1]) == {"status": "err", "response": "Internal error"}
        await sim.fault("ack_late", venue="hyperliquid", count=1, params={"ms": 400})
        began = asyncio.get_running_loop().time()
        assert (await client.post(client.order(4)))[0] == 200
        assert asyncio.get_running_loop().time() - began >= 0.4
        assert await client.accepted() == [f"0x{number:032x}" for number in (1, 2, 3, 4)]
        faults = await sim.faults()
        assert (faults["counts"]["ack_lost"], faults["counts"]["ack_error"]) == (1, 2)


async def test_maintenance_and_429_carry_nothing_out() -> None:
    async with running_simulator(seed=22, hyperliquid_weight_max=0, hyperliquid_ack_ms=0) as sim:
        client = await funded(sim)
        await sim.fault("maintenance", venue="hyperliquid", count=1)
        assert (await client.post(client.order(1)))[0] == 503
        await sim.fault("http_status", venue="hyperliquid", channel="/exchange", count=1, params={"status": 429})
        assert await client.post(client.order(2)) == (429, "null")
        await sim.fault("maintenance", venue="hyperliquid", params={"mode": "post_only"})
        text = (await client.post(client.order(3)))[1]
        assert json.loads(text)["response"] == "Only post-only orders allowed immediately after network upgrade"
        await sim.clear_faults()
        assert (await client.post(client.order(4)))[0] == 200
        assert await client.accepted() == [f"0x{4:032x}"]


async def test_a_private_stream_may_be_dropped_doubled_or_reordered_while_orders_go_on() -> None:
    async with running_simulator(seed=23, hyperliquid_weight_max=0, hyperliquid_ack_ms=0) as sim:
        client = await funded(sim)
        async with websockets.connect(sim.hyperliquid_ws, proxy=None) as ws:
            subscription = {"type": "orderUpdates", "user": WALLET.address}
            await ws.send(json.dumps({"method": "subscribe", "subscription": subscription}))
            await ws.recv()

            async def updates(count: int) -> list[str]:
                seen = []
                while len(seen) < count:
                    frame = json.loads(await asyncio.wait_for(ws.recv(), WAIT_S))
                    seen += [row["order"]["cloid"][-1] for row in frame["data"]]
                return seen

            await sim.fault("private", venue="hyperliquid", count=1)
            await client.post(client.order(1))
            await client.post(client.order(2))
            assert await updates(1) == ["2"]
            await sim.fault("duplicate", venue="hyperliquid", channel="orderUpdates", count=1)
            await client.post(client.order(3))
            assert await updates(2) == ["3", "3"]
            await sim.fault("reorder", venue="hyperliquid", channel="orderUpdates", count=1)
            await client.post(client.order(4))
            await client.post(client.order(5))
            assert await updates(2) == ["5", "4"]
        assert len(await client.accepted()) == 5


async def test_a_lighter_answer_may_be_lost_or_false_and_the_nonce_has_moved_all_the_same() -> None:
    async with running_simulator(seed=24, lighter_sends_max=0, lighter_requests_max=0, lighter_delays=False) as sim:
        spec = {"venue": "lighter", "address": WALLET.address, "usdc": "1000", "api_keys": {"5": KEY.hex}}
        index = (await sim.call("POST", "accounts", spec))["account"]
        now = (await sim.state())["time_ms"]

        async def send(nonce: int, path: str = "sendTx") -> tuple[int, Any]:
            fields = {"AccountIndex": index, "ApiKeyIndex": 5, "MarketIndex": 1, "Index": 1, "Nonce": nonce,
                      "ExpiredAt": now + 599_000}  # fmt: skip
            form = aiohttp.FormData({"tx_type": "15", "tx_info": KEY.tx(15, fields)})
            form.add_field("price_protection", "true", content_type="text/plain")  # makes it multipart
            async with sim.session.post(f"{sim.lighter_http}/api/v1/{path}", data=form) as response:
                return response.status, await response.json()

        async def nonce() -> int:
            url = f"{sim.lighter_http}/api/v1/nextNonce?account_index={index}&api_key_index=5"
            async with sim.session.get(url) as response:
                return int((await response.json())["nonce"])

        assert (await send(0))[0] == 200
        await sim.fault("ack_lost", venue="lighter", count=1)
        with pytest.raises(aiohttp.ClientError):
            await send(1)
        assert await nonce() == 2
        await sim.fault("ack_error", venue="lighter", count=1, market="15")
        assert await send(2) == (502, {"code": 29500, "message": "internal server error"})
        assert await nonce() == 3
        assert await send(2) == (400, {"code": 21104, "message": "invalid nonce"})
        await sim.fault("maintenance", venue="lighter", count=1)
        assert await send(3) == (503, {"code": 29501, "message": "process timeout"})
        assert await nonce() == 3
        journal = await sim.call("GET", "accounts/journal", venue="lighter")
        assert journal["counts"]["received"] == 5
        assert (await sim.call("GET", "exchange"))["lighter_signatures"]["verified"] == 3


async def test_control_calls_teach() -> None:
    async with running_simulator(seed=25) as sim:
        for body, field in (
            ({"venue": "x"}, "venue"),
            ({"venue": "lighter", "address": "0x1"}, "address"),
            ({"venue": "lighter", "address": WALLET.address, "usdc": "1e5"}, "usdc"),
            ({"venue": "lighter", "address": WALLET.address, "tier": "gold"}, "tier"),
            ({"venue": "lighter", "address": WALLET.address, "api_keys": {"5": "00"}}, "api_keys"),
        ):
            with pytest.raises(AssertionError, match=field):
                await sim.call("POST", "accounts", body)
        made = await sim.call("POST", "accounts", {"venue": "lighter", "address": WALLET.address, "usdc": "12.5"})
        assert made["cash"] == {"": 12_500_000}
        shown = await sim.call("GET", "accounts", venue="lighter")
        assert [row["account"] for row in shown["accounts"]] == [str(made["account"])]
