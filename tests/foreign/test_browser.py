"""The page at `/` in headless Chromium, over gRPC-web: what a reader sees is what the mesh says at that moment."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from perpmesh.marketdata.v1 import book_pb2, price_pb2

from tests.foreign import chromium
from tests.foreign.truth import Truth, same_moment
from tests.support.mesh import Mesh
from tests.support.storm import simulator_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

MARKET = "BTC-PERP"
STALE_S = 3.0
"""How soon the mesh calls a silent venue STALE (docs/paths/tick.md)."""
PAGE_S = 3.0
"""What the way to the page may add: the interval it asks for, a frame, and a busy machine."""

READ_PRICE = """(() => {
  const body = document.querySelector('tbody[data-market="BTC-PERP"]');
  if (!body || !body.dataset.sequence) return null;
  const text = (row, at, inner) => {
    const cell = row.cells[at];
    return (inner ? cell.querySelector(inner) : cell).textContent.replaceAll('\\u00a0', '').replaceAll(',', '');
  };
  const [top, ...venues] = body.rows;
  return {
    sequence: body.dataset.sequence,
    crossed: text(top, 5, '.crossed') === 'CROSSED',
    bid_size: text(top, 1), bid: text(top, 2, '.price'), bid_venue: text(top, 2, '.venue'),
    ask: text(top, 3, '.price'), ask_venue: text(top, 3, '.venue'), ask_size: text(top, 4),
    spread: text(top, 5, 'span:last-child'),
    venues: venues.map((row) => ({
      venue: row.dataset.venue, source: text(row, 0, '.source'),
      bid_size: text(row, 1), bid: text(row, 2), ask: text(row, 3), ask_size: text(row, 4),
      last_price: text(row, 6), mark_price: text(row, 7), funding: text(row, 8), state: text(row, 9, '.tag'),
    })),
  };
})()"""

READ_BOOK = """(() => {
  const table = document.getElementById('book');
  if (!table.dataset.sequence) return null;
  const side = (name) => [...table.querySelectorAll(`tbody.${name} tr`)].map((row) =>
    [0, 1, 2, 3].map((at) => row.cells[at].textContent.replaceAll('\\u00a0', '').replaceAll(',', '')));
  return { sequence: table.dataset.sequence, asks: side('asks').reverse(), bids: side('bids') };
})()"""

READ_TRADES = """[...document.querySelectorAll('#trades tbody tr')].map((row) => ({
  sequence: row.dataset.sequence, side: row.cells[1].textContent,
  price: row.cells[2].textContent.replaceAll(',', ''), size: row.cells[3].textContent.replaceAll(',', ''),
  venue: row.cells[4].textContent,
}))"""


def state_of(venue: str) -> str:
    """Return the script for what the page says of one venue of the market."""
    return f"document.querySelector('tbody[data-market=\"{MARKET}\"] tr[data-venue={venue}] td.state')?.textContent"


LINK = "document.getElementById('status').dataset.link"
ALL_LIVE = f"{LINK} === 'live' && {state_of('hyperliquid')} === 'LIVE' && {state_of('lighter')} === 'LIVE'"


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def browser() -> AsyncIterator[chromium.Page]:
    """One browser for all these tests."""
    if chromium.executable() is None:
        pytest.skip("Chromium is not installed, so the page was not tried in a browser")
    async with chromium.chromium() as page:
        yield page


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: chromium.Page, mesh: Mesh, truth: Truth) -> AsyncIterator[chromium.Page]:
    """The page, freshly loaded and live; whatever its console complains of fails the test."""
    await truth.until_live(MARKET)
    await browser.command("Page.navigate", url="about:blank")
    await browser.size(1400, 900)
    browser.errors.clear()
    await browser.open(f"{mesh.url}/")
    await browser.until(ALL_LIVE)
    yield browser
    assert browser.errors == []


async def read_price(page: chromium.Page) -> tuple[int, Any]:
    """Return what the page shows of the market, and its number."""
    shown = await page.evaluate(READ_PRICE)
    return (0, None) if shown is None else (int(shown["sequence"]), shown)


async def read_book(page: chromium.Page) -> tuple[int, Any]:
    """Return the order book that the page shows, and its number."""
    shown = await page.evaluate(READ_BOOK)
    return (0, None) if shown is None else (int(shown["sequence"]), shown)


def check_price(shown: Any, wanted: price_pb2.Price) -> None:
    """Assert that the page shows exactly this price."""
    for side, level in (("bid", wanted.best_bid), ("ask", wanted.best_ask)):
        assert (shown[side], shown[f"{side}_size"], shown[f"{side}_venue"]) == (level.price, level.size, level.venue)
    assert shown["crossed"] == wanted.crossed
    bid, ask = Decimal(wanted.best_bid.price), Decimal(wanted.best_ask.price)
    assert abs(Decimal(shown["spread"]) - (ask - bid) * 20_000 / (ask + bid)) <= Decimal("0.005")
    assert [one["venue"] for one in shown["venues"]] == [one.venue for one in wanted.venues]
    for one, other in zip(shown["venues"], wanted.venues, strict=True):
        names = ("bid", "bid_size", "ask", "ask_size", "last_price", "mark_price")
        assert {name: one[name] for name in names} == {name: getattr(other, name) for name in names}
        assert (one["state"], one["source"]) == ("LIVE", "SIMULATED")
        assert one["funding"].endswith("%")
        assert Decimal(one["funding"][:-1]) == Decimal(other.funding_rate) * 100


def check_book(shown: Any, wanted: book_pb2.OrderBook) -> None:
    """Assert that the page shows exactly this book."""
    for side in ("bids", "asks"):
        levels, total = getattr(wanted, side), Decimal(0)
        assert [(price, size) for price, size, _, _ in shown[side]] == [(one.price, one.size) for one in levels]
        for (_, _, cumulated, venues), level in zip(shown[side], levels, strict=True):
            total += Decimal(level.size)
            assert Decimal(cumulated) == total
            parts = [one.venue if len(level.venues) == 1 else f"{one.venue} {one.size}" for one in level.venues]
            assert venues == " · ".join(parts)


async def test_both_venues_are_live_with_the_values_of_that_moment(page: chromium.Page, truth: Truth) -> None:
    for _ in range(3):
        wanted, shown = await same_moment(lambda: truth.price(MARKET), lambda: read_price(page))
        check_price(shown, wanted)


async def test_every_market_is_listed_and_marked_as_synthetic(page: chromium.Page, truth: Truth) -> None:
    wanted = sorted(one.market for one in await truth.markets())
    listed = "[...document.querySelectorAll('tbody[data-market]')].map((one) => one.dataset.market)"
    assert await page.evaluate(listed) == wanted
    assert len(wanted) >= 40
    banner = await page.evaluate("document.getElementById('banner').textContent")
    assert banner.startswith("Synthetic data. Every venue here is simulated")
    assert await page.evaluate("document.getElementById('banner').checkVisibility()")
    sources = "[...new Set([...document.querySelectorAll('tr[data-venue] .source')].map((one) => one.textContent))]"
    assert await page.evaluate(sources) == ["SIMULATED"]


async def test_an_opened_market_shows_its_book_and_trades(page: chromium.Page, truth: Truth, tmp_path: Path) -> None:
    await page.click(f'tbody[data-market="{MARKET}"] button')
    await page.until("document.querySelectorAll('#book tbody.bids tr').length === 20")
    for _ in range(3):
        wanted, shown = await same_moment(lambda: truth.book(MARKET), lambda: read_book(page))
        assert len(wanted.bids) == len(wanted.asks) == 20
        check_book(shown, wanted)
    await page.until("document.querySelectorAll('#trades tbody tr').length > 5")
    trades = await page.evaluate(READ_TRADES)
    known = await truth.trades(MARKET, 1000)
    numbers = [int(one["sequence"]) for one in trades]
    assert numbers == list(range(numbers[0], numbers[0] - len(numbers), -1))
    sides = {1: "buy", 2: "sell"}
    for one in trades:
        wanted_trade = known[int(one["sequence"])]
        assert (one["price"], one["size"], one["venue"]) == (wanted_trade.price, wanted_trade.size, wanted_trade.venue)
        assert one["side"].split(" ")[0] == sides[wanted_trade.side]
    await page.screenshot(tmp_path / "page.png")
    print(f"screenshot {tmp_path / 'page.png'}")


async def test_it_is_used_with_the_keyboard_alone(page: chromium.Page) -> None:
    names = "[...document.querySelectorAll('tbody[data-market]')].map((one) => one.dataset.market).join(' ')"
    await page.evaluate("document.getElementById('filter').focus()")
    await page.write("sol-p")
    await page.until(f"{names} === 'SOL-PERP'")
    focused = "document.activeElement.closest('tbody')?.dataset.market"
    for _ in range(12):
        await page.press("Tab", 9)
        if await page.evaluate(focused) == "SOL-PERP":
            break
    assert await page.evaluate(focused) == "SOL-PERP"
    await page.press("Enter", 13)
    await page.until("document.activeElement.id === 'panel-title' && document.activeElement.textContent === 'SOL-PERP'")
    await page.until("document.querySelectorAll('#book tbody.bids tr').length > 0")
    await page.press("Escape", 27)
    await page.until("document.getElementById('panel').hidden")
    assert await page.evaluate(focused) == "SOL-PERP"


async def test_columns_sort_by_value(page: chromium.Page) -> None:
    await page.click("th[data-sort=bid] button")
    await page.click("th[data-sort=bid] button")
    assert await page.evaluate("document.querySelector('th[data-sort=bid]').getAttribute('aria-sort')") == "descending"
    first = await page.evaluate("document.querySelector('tbody[data-market]').dataset.market")
    bids = """[...document.querySelectorAll('tbody[data-market] .market-row td:nth-child(3) .price')]
        .map((one) => one.textContent.replaceAll(',', '').replaceAll('\\u00a0', ''))
        .filter((one) => /^[0-9]/.test(one))"""
    shown = [Decimal(one) for one in await page.evaluate(bids)]
    assert first == MARKET
    # A row moves when it is looked at again, not with every price: neighbours of nearly one price may be swapped.
    assert all(later <= earlier * Decimal("1.01") for earlier, later in itertools.pairwise(shown))
    assert shown[0] > 1_000 * shown[-1]


@pytest.mark.parametrize("width", [360, 390, 768, 1024])
async def test_nothing_is_cut_off_in_a_narrow_window(page: chromium.Page, width: int) -> None:
    await page.size(width, 800, phone=width < 500)
    await page.click(f'tbody[data-market="{MARKET}"] button')
    await page.until("document.querySelectorAll('#book tbody.bids tr').length > 0")
    await page.until("document.querySelectorAll('#trades tbody tr').length > 0")
    title = await page.evaluate("document.getElementById('panel-title').getBoundingClientRect().toJSON()")
    assert 0 <= title["top"] < 400, "what was opened is out of sight"
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    cut = """[...document.querySelectorAll('#prices .price, #prices td.number, #book td')]
        .filter((one) => one.checkVisibility() && one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0)
        .map((one) => one.textContent)"""
    assert await page.evaluate(cut) == []


async def test_a_silent_venue_is_shown_stale_and_live_again(page: chromium.Page, mesh: Mesh, truth: Truth) -> None:
    async with aiohttp.ClientSession() as session:
        simulator = simulator_of(mesh, session)
        try:
            began = time.monotonic()
            await simulator.fault("mute", venue="lighter")
            await page.until(f"['STALE', 'RECOVERING'].includes({state_of('lighter')})", timeout_s=STALE_S + 10)
            took = time.monotonic() - began
            print(f"shown STALE after {took:.2f} s")
            assert took <= STALE_S + PAGE_S
            assert await page.evaluate(state_of("hyperliquid")) == "LIVE"
            shown = (await read_price(page))[1]
            assert (shown["bid_venue"], shown["ask_venue"]) == ("hyperliquid", "hyperliquid")
            stale = next(one for one in shown["venues"] if one["venue"] == "lighter")
            assert stale["bid"] != "", "the last known values stay"
            count = await page.until("document.getElementById('count').textContent.match(/(\\d+) markets? with/)?.[1]")
            assert int(count) >= 1
        finally:
            await simulator.clear_faults()
    await page.until(ALL_LIVE, timeout_s=20)
    await truth.until_live(MARKET)


async def test_a_room_that_dies_is_noticed_and_the_page_comes_back(
    browser: chromium.Page, page: chromium.Page, mesh: Mesh, truth: Truth
) -> None:
    await page.click(f'tbody[data-market="{MARKET}"] button')
    await page.until("document.querySelectorAll('#book tbody.bids tr').length === 20")
    before = mesh.kill("market_data")
    await page.until(f"{LINK} !== 'live' && {state_of('hyperliquid')} === 'LAST KNOWN'")
    said = await page.evaluate("document.getElementById('status').textContent")
    assert "Values are those of" in said
    await mesh.restarted("market_data", than=before)
    await page.until(ALL_LIVE, timeout_s=30)
    wanted, shown = await same_moment(lambda: truth.price(MARKET), lambda: read_price(page))
    check_price(shown, wanted)
    await page.until("document.getElementById('book').dataset.connected === 'true'", timeout_s=20)
    wanted_book, shown_book = await same_moment(lambda: truth.book(MARKET), lambda: read_book(page))
    check_book(shown_book, wanted_book)
    # The edge answers 503 meanwhile, which a browser writes to its console; nothing else may be there.
    assert [error for error in browser.errors if "503" not in error and "net::ERR" not in error] == []
    browser.errors.clear()
