"""The venues' own Python clients, unpatched, against the simulator as a process; what is compared is what they hold.

Both clients talk to a loopback address. `lighter-sdk` obeys HTTP_PROXY (its aiohttp session trusts the environment),
so NO_PROXY names loopback here.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import warnings
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import pytest
from hyperliquid.info import Info
from hyperliquid.utils.error import ClientError, ServerError

from tests.support.simulator import Simulator, running_simulator

with warnings.catch_warnings():
    # The SDK imports the websockets library's old interface, which warns.
    warnings.simplefilter("ignore", DeprecationWarning)
    import lighter
    from websockets.legacy import client as _old_interface  # noqa: F401

WAIT_S = 15.0
USER = "0x" + "ab" * 20


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")


class Mailbox:
    """Collects what the Hyperliquid client hands to its callbacks, in its own thread."""

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        self.frames: defaultdict[str, list[Any]] = defaultdict(list)

    def put(self, frame: Any) -> None:
        with self._arrived:
            self.frames[frame["channel"]].append(frame["data"])
            self._arrived.notify_all()

    def wait(self, done: Callable[[dict[str, list[Any]]], bool]) -> None:
        """Block until what arrived is enough."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: done(self.frames), WAIT_S), {
                k: len(v) for k, v in self.frames.items()
            }


def levels(rows: list[Any], price: str, size: str) -> dict[Decimal, Decimal]:
    return {Decimal(row[price]): Decimal(row[size]) for row in rows}


def truth(rows: list[list[str]], limit: int | None = None) -> dict[Decimal, Decimal]:
    return {Decimal(price): Decimal(size) for price, size in rows[:limit]}


@contextlib.asynccontextmanager
async def hyperliquid_info(sim: Simulator, **options: Any) -> AsyncIterator[Info]:
    info = await asyncio.to_thread(lambda: Info(sim.hyperliquid_http, **options))
    try:
        yield info
    finally:
        if info.ws_manager is not None:
            # Its own close would leave its thread in a 10 s select on the closed socket; a lost line ends it at once.
            await sim.fault("close", venue="hyperliquid")
            await asyncio.to_thread(info.ws_manager.join, WAIT_S)
            await asyncio.to_thread(info.disconnect_websocket)
        info.session.close()


async def test_hyperliquid_info_reads_the_universe_books_candles_and_funding_as_they_are() -> None:
    async with (
        running_simulator(frozen=True, hyperliquid_weight_max=0) as sim,
        hyperliquid_info(sim, skip_ws=True, perp_dexs=["", "xyz", "flx"]) as info,
    ):
        assert info.coin_to_asset["BTC"] == 0
        assert info.coin_to_asset["xyz:TSLA"] == 110000
        assert info.coin_to_asset["flx:CRCL"] == 120000
        assert info.name_to_coin["HYPE/USDC"] == "@107"
        assert info.asset_to_sz_decimals[0] == 5
        meta, contexts = await asyncio.to_thread(info.meta_and_asset_ctxs)
        assert len(meta["universe"]) == len(contexts) >= 40
        true = await sim.book("hyperliquid", "BTC")
        book = await asyncio.to_thread(info.l2_snapshot, "BTC")
        assert levels(book["levels"][0], "px", "sz") == truth(true["bids"], 20)
        assert levels(book["levels"][1], "px", "sz") == truth(true["asks"], 20)
        mids = await asyncio.to_thread(info.all_mids)
        assert Decimal(mids["BTC"]) == (Decimal(true["bids"][0][0]) + Decimal(true["asks"][0][0])) / 2
        now = book["time"]
        candles = await asyncio.to_thread(info.candles_snapshot, "BTC", "1h", now - 86_400_000, now)
        assert 24 <= len(candles) <= 25
        funding = await asyncio.to_thread(info.funding_history, "BTC", now - 86_400_000, now)
        assert 24 <= len(funding) <= 25
        assert await asyncio.to_thread(info.open_orders, USER) == []
        state = await asyncio.to_thread(info.user_state, USER)
        assert state["marginSummary"]["accountValue"] == "0.0"
        assert await asyncio.to_thread(info.query_order_by_oid, USER, 1) == {"status": "unknownOid"}
        with pytest.raises(ClientError) as refused:
            await asyncio.to_thread(info.post, "/info", {"type": "nope"})
        assert refused.value.status_code == 422
        with pytest.raises(ServerError):
            await asyncio.to_thread(info.post, "/info", {"type": "metaAndAssetCtxs", "dex": "nope"})


async def test_the_hyperliquid_websocket_manager_ends_with_the_true_touch_and_book() -> None:
    async with running_simulator(seed=4) as sim, hyperliquid_info(sim) as info:
        mail = Mailbox()
        wanted: list[dict[str, Any]] = [
            {"type": "bbo", "coin": "BTC"},
            {"type": "l2Book", "coin": "ETH", "fast": True},  # the default clock is 5.36 s
            {"type": "trades", "coin": "BTC"},
            {"type": "candle", "coin": "BTC", "interval": "1m"},
            {"type": "activeAssetCtx", "coin": "BTC"},
            {"type": "allMids"},
            {"type": "userFills", "user": USER},
        ]
        for subscription in wanted:
            await asyncio.to_thread(info.subscribe, subscription, mail.put)
        await asyncio.to_thread(mail.wait, lambda got: len(got["bbo"]) > 20 and len(got["trades"]) > 5)
        await asyncio.to_thread(mail.wait, lambda got: len(got["l2Book"]) > 1)
        await sim.freeze()
        btc, eth = await sim.book("hyperliquid", "BTC"), await sim.book("hyperliquid", "ETH")
        seen = len(mail.frames["l2Book"])
        await asyncio.to_thread(mail.wait, lambda got: len(got["l2Book"]) > seen)
        touch = mail.frames["bbo"][-1]["bbo"]
        assert [[row["px"], row["sz"]] for row in touch] == [btc["bids"][0], btc["asks"][0]]
        book = mail.frames["l2Book"][-1]
        assert levels(book["levels"][0], "px", "sz") == truth(eth["bids"], 5)
        assert levels(book["levels"][1], "px", "sz") == truth(eth["asks"], 5)
        assert mail.frames["userFills"] == [{"isSnapshot": True, "user": USER, "fills": []}]
        assert {row["coin"] for frame in mail.frames["trades"] for row in frame} == {"BTC"}
        assert mail.frames["candle"][-1]["i"] == "1m"
        ledger = await sim.ledger(venue="hyperliquid")
        assert ledger["totals"]["hyperliquid"]["bbo"]["frames"] == len(mail.frames["bbo"])


async def test_lighter_api_client_reads_markets_books_trades_candles_and_funding() -> None:
    async with running_simulator(frozen=True, lighter_requests_max=0) as sim:
        client = lighter.ApiClient(lighter.Configuration(host=sim.lighter_http))
        try:
            orders, candles = lighter.OrderApi(client), lighter.CandlestickApi(client)
            books = (await orders.order_books()).order_books
            assert {row.symbol: row.market_id for row in books}["BTC"] == 1
            assert [row.symbol for row in books if row.status == "inactive"] == ["HYUNDAI"]
            details = (await orders.order_book_details(market_id=1)).order_book_details[0]
            assert (details.price_decimals, details.size_decimals) == (1, 5)
            assert details.min_initial_margin_fraction == 200
            true = await sim.book("lighter", "BTC")
            top = await orders.order_book_orders(market_id=1, limit=100)
            assert [[row.price, row.remaining_base_amount] for row in top.bids] == true["bids"][:100]
            assert [[row.price, row.remaining_base_amount] for row in top.asks] == true["asks"][:100]
            trades = (await orders.recent_trades(market_id=1, limit=10)).trades
            assert [row.trade_id for row in trades] == sorted((row.trade_id for row in trades), reverse=True)
            assert len((await orders.exchange_stats()).order_book_stats) == len(books)
            now = true["time_ms"]
            bars = await candles.candles(
                market_id=1, resolution="1h", start_timestamp=now - 86_400_000, end_timestamp=now, count_back=24
            )
            assert len(bars.c) == 24
            paid = await candles.fundings(
                market_id=1, resolution="1h", start_timestamp=now - 86_400_000, end_timestamp=now, count_back=24
            )
            assert 23 <= len(paid.fundings) <= 25
            rates = (await lighter.FundingApi(client).funding_rates()).funding_rates
            assert {row.exchange for row in rates} == {"lighter", "hyperliquid", "binance", "bybit"}
            assert (await lighter.RootApi(client).status()).network_id == 1
            assert (await lighter.BlockApi(client).current_height()).height > 0
            with pytest.raises(lighter.exceptions.BadRequestException, match="21100"):
                await lighter.AccountApi(client).account(by="index", value="5")
        finally:
            await client.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_the_lighter_ws_client_ends_with_the_true_book_once_its_levels_are_sorted() -> None:
    async with running_simulator(seed=6) as sim:
        updates: defaultdict[str, int] = defaultdict(int)
        enough, states = asyncio.Event(), {}

        def on_book(market: str, book: dict[str, Any]) -> None:
            updates[market] += 1
            states[market] = book
            if updates["1"] > 60 and updates["0"] > 60:
                enough.set()

        accounts: dict[str, Any] = {}
        client = lighter.WsClient(
            ws_url=sim.lighter_ws,
            order_book_ids=[0, 1],
            account_ids=[1234],
            on_order_book_update=on_book,
            on_account_update=accounts.__setitem__,
        )
        running = asyncio.create_task(client.run_async())
        try:
            await asyncio.wait_for(enough.wait(), WAIT_S)
            await sim.freeze()
            for market in ("0", "1"):
                true = await sim.book("lighter", market)
                sent = (await sim.ledger(venue="lighter", limit="5000"))["frames"]
                wanted = sum(frame["channel"] == "order_book" and frame["market"] == market for frame in sent)
                async with asyncio.timeout(WAIT_S):
                    while updates[market] < wanted:  # noqa: ASYNC110 - the client has no event for this
                        await asyncio.sleep(0.01)
                assert levels(states[market]["bids"], "price", "size") == truth(true["bids"])
                assert levels(states[market]["asks"], "price", "size") == truth(true["asks"])
            assert accounts["1234"]["positions"] == {}
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            await client.ws.close()
