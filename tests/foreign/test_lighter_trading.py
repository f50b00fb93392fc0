"""Lighter's own client, unpatched, trades against the simulator: every transaction it can sign, and account streams.

Every test ends with the sums of the exchange: money and sizes add up to zero, to the last unit. `lighter-sdk` obeys
HTTP_PROXY (its aiohttp session trusts the environment), so NO_PROXY names loopback here.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import re
import time
import warnings
from collections.abc import Callable
from typing import Any

import eth_account
import pytest
import websockets

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


def paths_of_the_sdk() -> set[tuple[str, str]]:
    """Return (method, path) of every call of the installed client."""
    found = set()
    for name, module in inspect.getmembers(lighter.api, inspect.ismodule):
        if name.endswith("_api"):
            found |= set(re.findall(r"method='(GET|POST)',\s+resource_path='([^']+)'", inspect.getsource(module)))
    return found


@pytest.mark.timeout(60)
async def test_every_path_of_the_lighter_sdk_is_there() -> None:
    """A path that is missing answers 29404; every other answer, a refusal included, is a path that is there."""
    known = paths_of_the_sdk()
    assert len(known) > 80
    async with running_simulator(seed=16, lighter_requests_max=0, lighter_sends_max=0) as sim:
        missing = []
        for method, path in sorted(known):
            async with sim.session.request(
                method, sim.lighter_http + path, data={} if method == "POST" else None
            ) as reply:
                if reply.status in (404, 405):
                    missing.append(f"{method} {path}")
        assert missing == []
