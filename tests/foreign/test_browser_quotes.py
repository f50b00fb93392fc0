"""Quotes at the page: what the router says is shown whole, and the certificate is checked in the browser."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from perpmesh.routing.v1 import routing_service_pb2 as pb
from perpmesh.routing.v1.routing_service_pb2_grpc import RoutingServiceStub

from tests.foreign import chromium
from tests.foreign.truth import Truth
from tests.support.mesh import Mesh

pytestmark = pytest.mark.asyncio(loop_scope="session")
HOLDS = "document.getElementById('quote-proof').dataset.holds"
SHOWN = "document.getElementById('quote-result').checkVisibility()"
ROWS = """(id) => [...document.querySelectorAll(`#${id} tbody tr`)].map((row) =>
    [...row.cells].map((cell) => cell.textContent.replaceAll(',', '')))"""


@pytest_asyncio.fixture(loop_scope="session")
async def page(mesh: Mesh, truth: Truth) -> AsyncIterator[chromium.Page]:
    """The quote view in a browser of its own; nobody is signed in."""
    if chromium.executable() is None:
        pytest.skip("Chromium is not installed, so the page was not tried in a browser")
    await truth.until_live("BTC-PERP")
    async with chromium.chromium() as browser:
        await browser.open(f"{mesh.url}/")
        await browser.until("document.querySelector('#views a[href=\"#quote\"]').checkVisibility()")
        await browser.until("document.querySelector('tbody[data-market=BTC-PERP]') !== null")
        await browser.click("#views a[href='#quote']")
        await browser.until("document.getElementById('quote').checkVisibility()")
        yield browser
        assert browser.errors == []


async def fill(page: chromium.Page, **values: str) -> None:
    """Write values into the fields."""
    for name, value in values.items():
        await page.evaluate(f"document.querySelector('#quote-form [name={name}]').value = {value!r}")


async def rows(page: chromium.Page, table: str) -> list[list[str]]:
    """Return the cells of a table."""
    return await page.evaluate(f"({ROWS})('{table}')")  # type: ignore[no-any-return]


async def stored(mesh: Mesh, page: chromium.Page) -> Any:
    """Return the quote that the page shows, as the router kept it."""
    async with grpc.aio.insecure_channel(mesh.edge) as channel:
        number = await page.evaluate("document.getElementById('quote-result').dataset.quote")
        return (await RoutingServiceStub(channel).GetQuote(pb.GetQuoteRequest(quote_id=number))).quote


@pytest.mark.parametrize(("side", "size"), [("buy", "2.5"), ("sell", "0.75"), ("buy", "0.001")])
async def test_a_quote_is_shown_whole_and_its_certificate_holds(
    page: chromium.Page, mesh: Mesh, tmp_path: Path, side: str, size: str
) -> None:
    await fill(page, market="btc-perp", side=side, size=size)
    await page.evaluate("document.getElementById('quote-size').focus()")
    await page.press("Enter", 13)
    await page.until(f"{SHOWN} && {HOLDS} !== undefined")
    proof = await page.evaluate("document.getElementById('quote-proof').textContent")
    assert await page.evaluate(HOLDS) == "true", proof
    assert "the bound of every set of venues" in proof
    quote = await stored(mesh, page)
    assert (quote.market, quote.size) == ("BTC-PERP", size)
    legs = await rows(page, "quote-legs")
    assert [(one[0], one[1], one[2], one[5]) for one in legs] == [
        (leg.venue, leg.size, leg.average_price, leg.total_cost) for leg in quote.legs
    ]
    costs = await rows(page, "quote-costs")
    assert [one[1] for one in costs] == [cost.amount for cost in quote.costs]
    assert sum(Decimal(one[1]) for one in costs) == Decimal(quote.total_cost)
    assert len(await rows(page, "quote-others")) == len(quote.alternatives)
    await page.screenshot(tmp_path / "quote.png")
    print(f"screenshot {tmp_path / 'quote.png'}")


async def test_a_wish_that_cannot_be_met_says_what_would_pass(page: chromium.Page) -> None:
    await fill(page, market="BTC-PERP", size="99999999")
    await page.click("#quote-ask")
    await page.until(f"{SHOWN} && document.getElementById('quote-summary').textContent.startsWith('It cannot be done')")
    assert await page.evaluate("document.getElementById('quote-proof').textContent") == ""
    await fill(page, size="1e5")
    await page.click("#quote-ask")
    await page.until("document.getElementById('quote-size').getAttribute('aria-invalid') === 'true'")
    assert await page.evaluate("document.activeElement.id") == "quote-size"
    assert not await page.evaluate(SHOWN)
    page.errors[:] = [error for error in page.errors if "400" not in error]


async def test_quotes_follow_the_books_until_told_to_stop(page: chromium.Page) -> None:
    await fill(page, market="BTC-PERP", size="1.5")
    await page.click("#quote-follow")
    await page.until(SHOWN)
    seen = set()
    for _ in range(3):
        last = await page.evaluate("document.getElementById('quote-result').dataset.quote")
        assert await page.evaluate(HOLDS) == "true"
        seen.add(last)
        await page.until(f"document.getElementById('quote-result').dataset.quote !== '{last}'", timeout_s=20)
    assert len(seen) == 3
    await page.click("#quote-follow")
    assert await page.evaluate("document.getElementById('quote-follow').textContent") == "Follow"
