"""The venues' own clients, unpatched, trade against the simulator: orders, cancels, leverage, agents, streams.

Every test ends with the sums of the exchange: money and sizes add up to zero, to the last unit.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import time
import warnings
from collections.abc import Callable
from typing import Any

import eth_account
import pytest
import websockets
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from hyperliquid.utils.types import Cloid

from tests.support.simulator import Simulator, running_simulator

with warnings.catch_warnings():
    # The SDK imports the websockets library's old interface, which warns.
    warnings.simplefilter("ignore", DeprecationWarning)
    import lighter
    from websockets.legacy import client as _old_interface  # noqa: F401

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
WAIT_S = 15.0
WALLET = eth_account.Account.from_key("0x" + "11" * 32)
OTHER = eth_account.Account.from_key("0x" + "22" * 32)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")


async def balanced(sim: Simulator) -> None:
    sums = await sim.call("GET", "exchange")
    for venue in ("hyperliquid", "lighter"):
        assert (sums[venue]["audit"]["money"], sums[venue]["audit"]["sizes"]) == (0, {}), sums[venue]


async def run(work: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(work)


class Heard:
    """Frames of the SDK's socket by channel."""

    def __init__(self) -> None:
        self.frames: queue.Queue[Any] = queue.Queue()
        self.seen: list[Any] = []

    def __call__(self, frame: Any) -> None:
        self.frames.put(frame)

    def until(self, wanted: Callable[[Any], bool]) -> Any:
        deadline = time.monotonic() + WAIT_S
        while True:
            for frame in self.seen:
                if wanted(frame):
                    return frame
            with contextlib.suppress(queue.Empty):
                self.seen.append(self.frames.get(timeout=max(0.01, deadline - time.monotonic())))
                continue
            raise AssertionError(f"not heard; seen {[frame['channel'] for frame in self.seen]}")


def status(answer: Any) -> Any:
    assert answer["status"] == "ok", answer
    (only,) = answer["response"]["data"]["statuses"]
    return only


def trade_on_hyperliquid(url: str, limits: dict[str, float]) -> dict[str, Any]:
    exchange, info = Exchange(WALLET, url), Info(url, skip_ws=False)
    heard = Heard()
    user = WALLET.address
    for kind in ("orderUpdates", "userEvents", "userFills", "userFundings", "userNonFundingLedgerUpdates"):
        info.subscribe({"type": kind, "user": user}, heard)
    info.subscribe({"type": "activeAssetData", "user": user, "coin": "BTC"}, heard)
    try:
        mid = float(info.all_mids()["BTC"])
        limits["mid"] = mid
        assert exchange.update_leverage(10, "BTC") == {"status": "ok", "response": {"type": "default"}}
        low = float(round(mid * 0.8))
        cloid = Cloid.from_int(7)
        resting = status(exchange.order("BTC", True, 0.01, low, {"limit": {"tif": "Gtc"}}, cloid=cloid))
        assert resting["resting"]["cloid"] == cloid.to_raw()
        oid = resting["resting"]["oid"]
        assert [row["oid"] for row in info.open_orders(user)] == [oid]
        assert info.query_order_by_cloid(user, cloid)["order"]["status"] == "open"
        modified = status(
            exchange.modify_order(oid, "BTC", True, 0.02, low - 100, {"limit": {"tif": "Gtc"}}, cloid=cloid)
        )
        assert modified["resting"]["oid"] != oid
        assert status(exchange.cancel_by_cloid("BTC", cloid)) == "success"
        gone = status(exchange.cancel("BTC", modified["resting"]["oid"]))
        assert gone == {"error": "Order was never placed, already canceled, or filled. asset=0"}
        bulk = exchange.bulk_orders([
            {"coin": "BTC", "is_buy": True, "sz": 0.01, "limit_px": low, "order_type": {"limit": {"tif": "Alo"}},
             "reduce_only": False},
            {"coin": "ETH", "is_buy": True, "sz": 0.001, "limit_px": 1000.0, "order_type": {"limit": {"tif": "Gtc"}},
             "reduce_only": False},
        ])["response"]["data"]["statuses"]  # fmt: skip
        assert "resting" in bulk[0]
        assert bulk[1] == {"error": "Order must have minimum value of $10. asset=1"}
        filled = status(exchange.market_open("BTC", True, 0.05))["filled"]
        assert filled["totalSz"] == "0.05"
        state = info.user_state(user)
        (position,) = [row["position"] for row in state["assetPositions"]]
        assert (position["szi"], position["leverage"]) == ("0.05", {"type": "cross", "value": 10})
        fills = info.user_fills(user)
        assert sum(float(row["sz"]) for row in fills) == pytest.approx(0.05)
        assert all(row["crossed"] and row["dir"] == "Open Long" for row in fills)
        heard.until(lambda f: f["channel"] == "user" and "fills" in f["data"])
        heard.until(lambda f: f["channel"] == "userFills" and "isSnapshot" not in f["data"])
        heard.until(lambda f: f["channel"] == "activeAssetData")
        rows = heard.until(
            lambda f: f["channel"] == "orderUpdates" and any(row["status"] == "filled" for row in f["data"])
        )
        assert [row["status"] for row in rows["data"]][-2:] == ["open", "filled"]
        stop = {"trigger": {"triggerPx": float(round(mid * 0.9)), "isMarket": True, "tpsl": "sl"}}
        trigger = status(exchange.order("BTC", False, 0.05, float(round(mid * 0.85)), stop, reduce_only=True))
        (shown,) = [row for row in info.frontend_open_orders(user) if row["isTrigger"]]
        assert (shown["oid"], shown["orderType"]) == (trigger["resting"]["oid"], "Stop Market")
        closed = status(exchange.market_close("BTC"))["filled"]
        assert closed["totalSz"] == "0.05"
        refused = exchange.schedule_cancel(int(time.time() * 1000) + 10_000)
        assert refused["response"].startswith("Cannot set scheduled cancel time until enough volume traded. Required:")
        answer, key = exchange.approve_agent("bot")
        assert answer == {"status": "ok", "response": {"type": "default"}}
        agent = Exchange(eth_account.Account.from_key(key), url, account_address=user)
        assert "resting" in status(agent.order("ETH", True, 0.1, 1500.0, {"limit": {"tif": "Gtc"}}))
        assert [row["name"] for row in info.extra_agents(user)] == ["bot"]
        stranger = Exchange(OTHER, url).order("BTC", True, 0.01, low, {"limit": {"tif": "Gtc"}})
        assert stranger["response"] == f"User or API Wallet {OTHER.address.lower()} does not exist."
        return {
            "history": info.historical_orders(user),
            "limit": info.post("/info", {"type": "userRateLimit", "user": user}),
        }
    finally:
        info.disconnect_websocket()


@pytest.mark.timeout(90)
async def test_the_hyperliquid_sdk_trades_cancels_modifies_and_hears_its_user_streams() -> None:
    async with running_simulator(seed=11, hyperliquid_weight_max=0) as sim:
        await sim.call("POST", "accounts", {"venue": "hyperliquid", "address": WALLET.address, "usdc": "100000"})
        told = await run(lambda: trade_on_hyperliquid(sim.hyperliquid_http, {}))
        assert {row["status"] for row in told["history"]} >= {"open", "filled", "canceled", "minTradeNtlRejected"}
        assert told["limit"]["nRequestsUsed"] > 8
        await balanced(sim)
        journal = await sim.call("GET", "accounts/journal", venue="hyperliquid", limit="5000")
        accepted = {
            e["body"]["oid"] for e in journal["entries"] if e["kind"] == "order" and e["body"]["status"] == "open"
        }
        assert len(accepted) >= 4


def schedule(url: str) -> Any:
    exchange = Exchange(WALLET, url)
    low = float(round(float(exchange.info.all_mids()["BTC"]) * 0.8))
    status(exchange.order("BTC", True, 0.01, low, {"limit": {"tif": "Gtc"}}))
    answer = exchange.schedule_cancel(int(time.time() * 1000) + 5_400)
    assert answer == {"status": "ok", "response": {"type": "default"}}, answer
    deadline = time.monotonic() + WAIT_S
    while exchange.info.open_orders(WALLET.address):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return exchange.info.historical_orders(WALLET.address)[0]["status"]


@pytest.mark.timeout(60)
async def test_a_scheduled_cancel_of_the_hyperliquid_sdk_fires() -> None:
    async with running_simulator(seed=12, hyperliquid_weight_max=0) as sim:
        spec = {"venue": "hyperliquid", "address": WALLET.address, "usdc": "1000", "volume": "2000000"}
        await sim.call("POST", "accounts", spec)
        assert await run(lambda: schedule(sim.hyperliquid_http)) == "scheduledCancel"
        await balanced(sim)


# -- Lighter


def ok(answer: Any) -> Any:
    """Return what a call of the SDK gives besides its error, which must be none."""
    assert answer[-1] is None, answer[-1]
    return answer[-2]


class Lighter:
    """A signer of the SDK, its REST interfaces, and a socket of ours for the account's channels."""

    def __init__(self, sim: Simulator, index: int, keys: dict[int, str]) -> None:
        self.sim = sim
        self.index = index
        self.signer = lighter.SignerClient(
            url=sim.lighter_http, account_index=index, api_private_keys=keys, chain_id=304
        )
        self.api = lighter.ApiClient(lighter.Configuration(host=sim.lighter_http))
        self.frames: list[Any] = []

    async def close(self) -> None:
        await self.signer.close()
        await self.api.close()

    def token(self, slot: int = 5) -> str:
        token, error = self.signer.create_auth_token_with_expiry(api_key_index=slot)
        assert error is None
        return str(token)

    async def active(self, market: int = 1) -> list[Any]:
        api = lighter.OrderApi(self.api)
        found = await api.account_active_orders(account_index=self.index, market_id=market, authorization=self.token())
        return list(found.orders)

    async def until_active(self, count: int, market: int = 1) -> list[Any]:
        async with asyncio.timeout(WAIT_S):
            while len(found := await self.active(market)) != count:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        return found

    async def position(self, market: int = 1) -> Any:
        account = (await lighter.AccountApi(self.api).account(by="index", value=str(self.index))).accounts[0]
        return next((row for row in account.positions if row.market_id == market), None)

    async def until_position(self, size: str, market: int = 1) -> Any:
        async with asyncio.timeout(WAIT_S):
            while (found := await self.position(market)) is None or found.position != size:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return found

    async def listen(self, *channels: str) -> None:
        async with websockets.connect(self.sim.lighter_ws, proxy=None, max_size=None) as ws:
            for channel in channels:
                await ws.send(json.dumps({"type": "subscribe", "channel": channel, "auth": self.token()}))
            async for text in ws:
                self.frames.append(json.loads(text))

    async def heard(self, wanted: Callable[[Any], bool]) -> Any:
        async with asyncio.timeout(WAIT_S):
            while True:
                for frame in self.frames:
                    if wanted(frame):
                        return frame
                await asyncio.sleep(0.02)


def new_key() -> tuple[str, str]:
    private, public, error = lighter.create_api_key()
    assert error is None
    return private, public.removeprefix("0x")


async def trade_on_lighter(client: Lighter) -> None:
    signer = client.signer
    order: dict[str, Any] = {
        "market_index": 1, "order_type": signer.ORDER_TYPE_LIMIT, "reduce_only": 0, "trigger_price": 0,
        "time_in_force": signer.ORDER_TIME_IN_FORCE_GOOD_TILL_TIME,
    }  # fmt: skip
    true = await client.sim.book("lighter", "BTC")
    bid = int(true["bids"][0][0].replace(".", ""))
    low = bid * 8 // 10
    sent = ok(await signer.create_order(client_order_index=42, base_amount=100, price=low, is_ask=False, **order))
    assert (sent.code, len(sent.tx_hash)) == (200, 80)
    (resting,) = await client.until_active(1)
    assert (resting.client_order_index, resting.status, resting.base_size) == (42, "open", 100)
    assert resting.order_index // 2**48 == 2
    twice = ok(await signer.create_order(client_order_index=42, base_amount=100, price=low, is_ask=False, **order))
    tx = lighter.TransactionApi(client.api)
    async with asyncio.timeout(WAIT_S):
        while (found := await tx.tx(by="hash", value=twice.tx_hash)).status != 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert json.loads(json.loads(found.event_info)["ae"]) == {
        "code": 21728, "message": "client order index already exists",
    }  # fmt: skip
    ok(await signer.modify_order(market_index=1, order_index=42, base_amount=150, price=low - 10, trigger_price=0))
    async with asyncio.timeout(WAIT_S):
        while (await client.active())[0].initial_base_amount != "0.00150":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    ok(await signer.cancel_order(market_index=1, order_index=42))
    await client.until_active(0)
    for number in (50, 51):
        ok(await signer.create_order(client_order_index=number, base_amount=100, price=low, is_ask=False, **order))
    await client.until_active(2)
    ok(await signer.cancel_all_orders(time_in_force=signer.CANCEL_ALL_TIF_IMMEDIATE, timestamp_ms=0))
    await client.until_active(0)
    ok(await signer.update_leverage(market_index=1, margin_mode=signer.CROSS_MARGIN_MODE, leverage=10))
    bought = ok(await signer.create_market_order(1, 60, 1000, bid * 11 // 10, False))
    assert bought.code == 200
    position = await client.until_position("0.01000")
    assert (position.sign, position.initial_margin_fraction) == (1, "10.00")
    groups = [
        lighter.signer_client.CreateOrderTxReq(
            MarketIndex=1, ClientOrderIndex=number, BaseAmount=1000, Price=price, IsAsk=1, Type=kind,
            TimeInForce=signer.ORDER_TIME_IN_FORCE_IMMEDIATE_OR_CANCEL, ReduceOnly=1, TriggerPrice=trigger,
            OrderExpiry=-1,
        )
        for number, price, kind, trigger in (
            (70, bid * 12 // 10, signer.ORDER_TYPE_TAKE_PROFIT, bid * 13 // 10),
            (71, bid * 7 // 10, signer.ORDER_TYPE_STOP_LOSS, bid * 8 // 10),
        )
    ]  # fmt: skip
    ok(await signer.create_grouped_orders(
        grouping_type=signer.GROUPING_TYPE_ONE_CANCELS_THE_OTHER, orders=groups,
    ))  # fmt: skip
    pair = await client.until_active(2)
    assert {(row.type, row.status, row.trigger_status) for row in pair} == {
        ("take-profit", "pending", "mark-price"), ("stop-loss", "pending", "mark-price"),
    }  # fmt: skip
    ok(await signer.cancel_order(market_index=1, order_index=70))
    await client.until_active(0)
    ok(await signer.create_market_order(1, 80, 1000, bid * 9 // 10, True, reduce_only=True))
    await client.until_position("0.00000")


@pytest.mark.timeout(100)
async def test_the_lighter_sdk_trades_cancels_groups_and_hears_its_account_streams() -> None:
    async with running_simulator(seed=13, lighter_requests_max=0, lighter_sends_max=0, lighter_delays=False) as sim:
        private, public = new_key()
        made = await sim.call("POST", "accounts", {
            "venue": "lighter", "address": WALLET.address, "usdc": "100000", "api_keys": {"5": public},
        })  # fmt: skip
        client = Lighter(sim, made["account"], {5: private})
        index = client.index
        channels = [f"{name}/{index}" for name in (
            "account_all_orders", "account_all_trades", "account_all_positions", "user_stats", "account_tx",
            "account_all_assets", "account_all", "account_orders/1")]  # fmt: skip
        listening = asyncio.create_task(client.listen(*channels))
        try:
            assert client.signer.check_client() is None
            await trade_on_lighter(client)
            kinds = ("account_all_orders", "account_orders", "account_all_trades", "account_all_positions",
                     "account_all_assets", "account_tx", "account_all")  # fmt: skip
            for kind in kinds:
                await client.heard(lambda f, kind=kind: f.get("type") == f"update/{kind}")
            await client.heard(lambda f: f.get("type") == "update/user_stats")
            await balanced(sim)
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening
            await client.close()


@pytest.mark.timeout(60)
async def test_the_lighter_sdk_changes_its_key_and_heals_a_wrong_nonce() -> None:
    async with running_simulator(seed=14, lighter_requests_max=0, lighter_sends_max=0, lighter_delays=False) as sim:
        spec = {"venue": "lighter", "address": WALLET.address, "usdc": "1000"}
        index = (await sim.call("POST", "accounts", spec))["account"]
        private, public = new_key()
        client = Lighter(sim, index, {6: private})
        try:
            assert "no api key" in str(client.signer.check_client())
            key = "0x" + WALLET.key.hex().removeprefix("0x")
            ok(await client.signer.change_api_key(eth_private_key=key, new_pubkey="0x" + public, api_key_index=6))
            assert client.signer.check_client() is None
            nonce = await lighter.TransactionApi(client.api).next_nonce(account_index=index, api_key_index=6)
            assert nonce.nonce == 1
            wrong = await client.signer.cancel_order(market_index=1, order_index=5, nonce=9, api_key_index=6)
            assert "code=21104 message='invalid nonce'" in wrong[-1]
            stranger = eth_account.Account.from_key("0x" + "33" * 32)
            stolen = "0x" + stranger.key.hex().removeprefix("0x")
            with pytest.raises(lighter.exceptions.BadRequestException, match="code=21504"):
                await client.signer.change_api_key(eth_private_key=stolen, new_pubkey="0x" + public, api_key_index=6)
            late, _ = client.signer.create_auth_token_with_expiry(9 * 3600, api_key_index=6)
            with pytest.raises(lighter.exceptions.ApiException, match="20013"):
                await lighter.AccountApi(client.api).account_limits(account_index=index, authorization=late)
            limits = await lighter.AccountApi(client.api).account_limits(
                account_index=index, authorization=client.token(6)
            )
            assert (limits.user_tier, limits.current_taker_fee_tick) == ("standard", 0)
        finally:
            await client.close()


@pytest.mark.timeout(60)
async def test_every_other_transaction_of_the_lighter_sdk_is_carried_out() -> None:
    async with running_simulator(seed=15, lighter_requests_max=0, lighter_sends_max=0, lighter_delays=False) as sim:
        private, public = new_key()
        spec = {"venue": "lighter", "usdc": "10000", "tier": "premium"}
        made = await sim.call("POST", "accounts", spec | {"address": WALLET.address, "api_keys": {"5": public}})
        other = await sim.call("POST", "accounts", spec | {"address": OTHER.address})
        client = Lighter(sim, made["account"], {5: private})
        signer, key = client.signer, "0x" + WALLET.key.hex().removeprefix("0x")
        api = lighter.AccountApi(client.api)
        try:
            ok(await signer.create_sub_account())
            async with asyncio.timeout(WAIT_S):
                while len((await api.accounts_by_l1_address(l1_address=WALLET.address)).sub_accounts) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            sub = (await api.accounts_by_l1_address(l1_address=WALLET.address)).sub_accounts[1]
            assert (sub.account_type, sub.index > 2**47) == (1, True)
            ok(
                await signer.transfer_same_master_account(
                    sub.index, signer.ASSET_ID_USDC, 0, 0, 100, 0, "0x" + "00" * 32
                )
            )
            ok(await signer.transfer(key, other["account"], signer.ASSET_ID_USDC, 0, 0, 50, 0, "0x" + "00" * 32))
            ok(await signer.withdraw(signer.ASSET_ID_USDC, 0, 25))
            ok(await signer.approve_integrator(
                eth_private_key=key, integrator_account_index=other["account"], max_perps_taker_fee=300,
                max_perps_maker_fee=100, max_spot_taker_fee=0, max_spot_maker_fee=0,
                approval_expiry=int(time.time() * 1000) + 86_400_000,
            ))  # fmt: skip
            ok(await signer.update_account_config(1))
            ok(await signer.update_account_asset_config(signer.ASSET_ID_USDC, 1))
            ok(await signer.update_leverage(market_index=1, margin_mode=signer.ISOLATED_MARGIN_MODE, leverage=5))
            bid = int((await sim.book("lighter", "BTC"))["bids"][0][0].replace(".", ""))
            ok(await signer.create_market_order(
                1, 90, 1000, bid * 11 // 10, False, integrator_account_index=other["account"],
                integrator_taker_fee=250, integrator_maker_fee=100,
            ))  # fmt: skip
            position = await client.until_position("0.01000")
            assert position.margin_mode == 1
            ok(await signer.update_margin(market_index=1, usdc_amount=20.0, direction=1))
            before = float(position.allocated_margin)
            async with asyncio.timeout(WAIT_S):
                while float((await client.position()).allocated_margin) < before + 19:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            account = (await api.account(by="index", value=str(client.index))).accounts[0]
            assert (account.account_trading_mode, account.approved_integrators[0].account_index) == (
                1,
                other["account"],
            )
            trades = (await lighter.OrderApi(client.api).trades(
                sort_by="trade_id", limit=10, account_index=client.index, authorization=client.token(),
            )).trades  # fmt: skip
            assert all(row.taker_fee == 280 and row.integrator_taker_fee > 0 for row in trades)
            await batch(client)
            await balanced(sim)
            sums = (await sim.call("GET", "exchange"))["lighter"]["audit"]
            assert sums["surcharges"] > 0
        finally:
            await client.close()


async def batch(client: Lighter) -> None:
    """Two orders in one request."""
    api, signer = lighter.TransactionApi(client.api), client.signer
    nonce = (await api.next_nonce(account_index=client.index, api_key_index=5)).nonce
    types, infos = [], []
    for number in (200, 201):
        kind, info, _, error = signer.sign_create_order(
            2, number, 1000, 50_000, False, signer.ORDER_TYPE_LIMIT, signer.ORDER_TIME_IN_FORCE_POST_ONLY,
            nonce=nonce + number - 200, api_key_index=5,
        )  # fmt: skip
        assert error is None
        types.append(kind)
        infos.append(info)
    sent = await signer.send_tx_batch(types, infos)
    assert (sent.code, len(sent.tx_hash)) == (200, 2)
    await client.until_active(2, market=2)
