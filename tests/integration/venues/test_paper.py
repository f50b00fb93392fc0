"""Paper trading on live prices: one simulator follows another over loopback, as it would follow the real venues.

The followed one is "the venue": what it shows must be what the paper shows, and nothing of a paper trade reaches it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.support.signers import Wallet
from tests.support.simulator import ROOT, Simulator, running_simulator

pytestmark = pytest.mark.timeout(120)
WAIT_S = 20.0
WALLET = Wallet(1)
BTC = {"hyperliquid": "BTC", "lighter": "1"}


@asynccontextmanager
async def paper_of(venue: Simulator, **options: object) -> AsyncIterator[Simulator]:
    where = f"{venue.hyperliquid_http},{venue.lighter_http}"
    settings: dict[str, object] = {"paper": where, "paper_books_max": 6, "hyperliquid_weight_max": 0,
                                   "hyperliquid_ack_ms": 0} | options  # fmt: skip
    async with running_simulator(**settings) as paper:
        yield paper


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not await condition():
        assert time.monotonic() < deadline, f"not within {WAIT_S:g} s: {what}"
        await asyncio.sleep(0.1)


async def ask(sim: Simulator, kind: str, **fields: object) -> Any:
    async with sim.session.post(f"{sim.hyperliquid_http}/info", json={"type": kind, **fields}) as response:
        return await response.json()


async def order(sim: Simulator, price: str, size: str, tif: str, *, buy: bool = True) -> Any:
    row = {"a": 0, "b": buy, "p": price, "s": size, "r": False, "t": {"limit": {"tif": tif}}}
    action = {"type": "order", "orders": [row], "grouping": "na"}
    envelope = WALLET.l1(action, time.time_ns() // 1_000_000)
    async with sim.session.post(f"{sim.hyperliquid_http}/exchange", json=envelope) as response:
        return (await response.json())["response"]["data"]["statuses"][0]


async def still(venue: Simulator) -> None:
    """Let the venue's crowd rest while its figures go on, so that it is quiet and not silent."""
    await venue.source("script", steps=[{"at_ms": 0, "do": "flow", "enabled": False}])


async def same_books(venue: Simulator, paper: Simulator) -> bool:
    """Say whether the paper shows the venue's levels: all of Lighter's, the twenty that Hyperliquid publishes."""
    for name, market in BTC.items():
        theirs, ours = await venue.book(name, market), await paper.book(name, market)
        depth = 20 if name == "hyperliquid" else None
        if any(ours[side] != theirs[side][:depth] or not ours[side] for side in ("bids", "asks")):
            return False
    return True


async def test_books_marks_and_listing_are_the_venues_and_orders_fill_at_its_prices() -> None:
    async with running_simulator(seed=41, hyperliquid_weight_max=0) as venue, paper_of(venue) as paper:
        state = (await paper.state())["venues"]
        assert {state[name]["source"]["kind"] for name in BTC} == {"paper"}
        assert BTC["lighter"] in state["lighter"]["source"]["books"]
        assert "live prices" in (await paper.state())["notice"]
        theirs, ours = await ask(venue, "meta"), await ask(paper, "meta")
        assert ours == theirs
        assert [dex and dex["name"] for dex in await ask(paper, "perpDexs")] == [None, "xyz", "flx"]
        await until(lambda: _fills_up(paper), "both books are there")
        await still(venue)
        await until(lambda: same_books(venue, paper), "a still venue's books are the paper's")
        await venue.freeze()
        await until(lambda: _same_figures(venue, paper), "marks, indexes and funding are the venue's")

        await paper.fund("hyperliquid", WALLET.address, "100000")
        book = await venue.book("hyperliquid", "BTC")
        ask_price, ask_size = book["asks"][0]
        assert book["bids"][0][0] < ask_price
        size = min(float(ask_size) / 2, 0.01)
        filled = (await order(paper, _limit(ask_price, 1.01), f"{size:.5f}".rstrip("0"), "Ioc"))["filled"]
        assert float(filled["avgPx"]) == float(ask_price)
        resting = await order(paper, _limit(book["bids"][0][0], 0.9), "0.01", "Gtc")
        assert "resting" in resting
        assert (await venue.journal("hyperliquid"))["counts"] == {}
        sums = (await paper.sums())["hyperliquid"]["audit"]
        assert (sums["money"], sums["sizes"]) == (0, {})


async def test_a_venue_that_falls_silent_has_no_prices_to_trade_on_until_it_is_back() -> None:
    async with running_simulator(seed=42) as venue, paper_of(venue) as paper:
        await until(lambda: _fills_up(paper), "both books are there")
        await paper.fund("hyperliquid", WALLET.address, "100000")
        mark = float((await ask(paper, "allMids"))["BTC"])
        await venue.fault("refuse", duration_s=4.0)
        await venue.fault("close")
        await until(lambda: _is_empty(paper), "the books are empty")
        assert not (await paper.state())["venues"]["hyperliquid"]["source"]["live"]
        refused = await order(paper, _limit(str(mark), 1.05), "0.01", "Ioc")
        assert "could not immediately match" in refused["error"]
        await until(lambda: _fills_up(paper), "the books are back")
        assert "filled" in await order(paper, _limit(str(mark), 1.05), "0.01", "Ioc")


async def test_a_broken_chain_and_garbage_are_mended_by_a_new_snapshot() -> None:
    async with running_simulator(seed=43) as venue, paper_of(venue) as paper:
        await until(lambda: _fills_up(paper), "both books are there")
        await venue.fault("gap", venue="lighter", channel="order_book", count=3)
        for name in BTC:
            await venue.fault("garbage", venue=name, count=20, params={"variant": "truncated"})
        await until(lambda: _odd(paper), "the garbage is counted")
        await venue.clear_faults()
        heard = await _frames(paper)
        await until(lambda: _beyond(paper, heard + 400), "every busy book has moved since")  # only then a gap shows
        await still(venue)
        await until(lambda: same_books(venue, paper), "the paper's books are the venue's again")


async def test_without_the_venue_it_does_not_start_and_says_why() -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PERPMESH_")}
    for value, said in (
        ("http://127.0.0.1:9,http://127.0.0.1:9", "paper trading needs the live venues' listings"),
        ("mainet", "mainnet, testnet or two addresses"),
    ):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.simulator", cwd=ROOT, stderr=asyncio.subprocess.PIPE,
            env=environment | {"PERPMESH_SIMULATOR_PAPER": value},
        )  # fmt: skip
        _, told = await asyncio.wait_for(process.communicate(), WAIT_S)
        assert process.returncode == 2
        assert said in told.decode()


async def _fills_up(paper: Simulator) -> bool:
    books = [await paper.book(name, market) for name, market in BTC.items()]
    return all(book["bids"] and book["asks"] for book in books)


async def _is_empty(paper: Simulator) -> bool:
    books = [await paper.book(name, market) for name, market in BTC.items()]
    return not any(book["bids"] or book["asks"] for book in books)


async def _odd(paper: Simulator) -> bool:
    venues = (await paper.state())["venues"]
    return all(venues[name]["source"]["odd"] > 0 for name in BTC)


async def _frames(paper: Simulator) -> int:
    venues = (await paper.state())["venues"]
    return min(venues[name]["source"]["frames"] for name in BTC)


async def _beyond(paper: Simulator, count: int) -> bool:
    return await _frames(paper) > count


async def _same_figures(venue: Simulator, paper: Simulator) -> bool:
    """Compare marks, oracles, funding and interest of the followed contracts, and Lighter's."""
    followed = (await paper.state())["venues"]["hyperliquid"]["source"]["books"]
    (meta, theirs), (_, ours) = [await ask(sim, "metaAndAssetCtxs") for sim in (venue, paper)]
    for row, one, other in zip(meta["universe"], theirs, ours, strict=True):
        names = ("markPx", "oraclePx", "funding", "openInterest", "dayNtlVlm", "prevDayPx")
        if row["name"] in followed and any(one[name] != other[name] for name in names):
            return False
    figures = []
    for sim in (venue, paper):
        async with aiohttp.ClientSession() as session, session.ws_connect(sim.lighter_ws) as socket:
            await socket.receive()
            await socket.send_str(json.dumps({"type": "subscribe", "channel": "market_stats/1"}))
            stats = json.loads((await socket.receive()).data)["market_stats"]
            figures.append({name: stats[name] for name in ("mark_price", "index_price", "current_funding_rate")})
    return figures[0] == figures[1]


def _limit(price: str, factor: float) -> str:
    return str(round(float(price) * factor))
