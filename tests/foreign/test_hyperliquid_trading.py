"""Hyperliquid's own client, unpatched, trades against the simulator: orders, cancels, leverage, agents, streams.

Every test ends with the sums of the exchange: money and sizes add up to zero, to the last unit.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import time
from collections.abc import Callable
from typing import Any

import eth_account
import pytest
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from hyperliquid.utils.types import Cloid

from tests.support.simulator import Simulator, running_simulator

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
WAIT_S = 15.0
WALLET = eth_account.Account.from_key("0x" + "11" * 32)
OTHER = eth_account.Account.from_key("0x" + "22" * 32)


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


OF_A_USER = """
user_state spot_user_state open_orders frontend_open_orders user_fills user_fees user_staking_summary
user_staking_delegations user_staking_rewards delegator_history query_referral_state query_sub_accounts
query_user_to_multi_sig_signers query_user_dex_abstraction_state query_user_abstraction_state historical_orders
portfolio user_twap_slice_fills user_vault_equities user_role user_rate_limit query_spot_deploy_auction_status
extra_agents
"""
OF_NOBODY = """
query_perp_deploy_auction_status all_mids meta meta_and_asset_ctxs perp_dexs spot_meta spot_meta_and_asset_ctxs
"""


def ask_everything(url: str) -> list[str]:
    """Call every question the SDK has about an account or the market; return those that fail."""
    info, user, now = Info(url, skip_ws=True), WALLET.address, int(time.time() * 1000)
    asked: dict[str, tuple[Any, ...]] = dict.fromkeys(OF_A_USER.split(), (user,))
    asked |= dict.fromkeys(OF_NOBODY.split(), ())
    asked |= {
        "user_fills_by_time": (user, now - 1000),
        "user_funding_history": (user, now - 1000),
        "user_non_funding_ledger_updates": (user, now - 1000),
        "query_order_by_oid": (user, 5),
        "query_order_by_cloid": (user, Cloid.from_int(5)),
        "funding_history": ("BTC", now - 7_200_000),
        "l2_snapshot": ("BTC",),
        "candles_snapshot": ("BTC", "1m", now - 600_000, now),
    }
    failed = []
    for name, arguments in asked.items():
        try:
            getattr(info, name)(*arguments)
        except Exception as error:
            failed.append(f"{name}: {error!r}")
    return failed


@pytest.mark.timeout(60)
async def test_every_question_of_the_hyperliquid_sdk_is_answered() -> None:
    async with running_simulator(seed=13, hyperliquid_weight_max=0) as sim:
        assert await run(lambda: ask_everything(sim.hyperliquid_http)) == []
        await sim.fund("hyperliquid", WALLET.address, "1000")
        assert await run(lambda: ask_everything(sim.hyperliquid_http)) == []
