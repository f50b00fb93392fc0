"""From a wallet to orders at the page alone: a key is set up, trades, and after it is revoked trades no more.

Everything is real: the wallet's signatures, the rooms, the simulated venues and gRPC-web in a browser. What the page
shows is held against what the mesh says, and what was signed and kept back against the venue.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import aiohttp
import grpc
import pytest
import pytest_asyncio
from perpmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub
from perpmesh.vault.v1 import key_pb2
from perpmesh.vault.v1 import vault_service_pb2 as vault_pb
from perpmesh.vault.v1.signer_service_pb2_grpc import SignerServiceStub
from perpmesh.vault.v1.vault_service_pb2_grpc import VaultServiceStub

from tests.foreign import chromium
from tests.foreign.injected import InjectedWallet
from tests.foreign.truth import Truth
from tests.support.auth import bearer, sign_in
from tests.support.mesh import Mesh
from tests.support.vault import order, post, sign_request

pytestmark = pytest.mark.asyncio(loop_scope="session")
MARKET = "BTC-PERP"
WAIT_S = 60.0
STATUS = "document.getElementById('accounts-status').textContent"
SETUP = "document.getElementById('setup-status').textContent"


@pytest_asyncio.fixture(loop_scope="session")
async def wallet() -> InjectedWallet:
    return InjectedWallet()


@pytest_asyncio.fixture(loop_scope="session")
async def page(mesh: Mesh, truth: Truth, wallet: InjectedWallet) -> AsyncIterator[chromium.Page]:
    """The account view in a browser of its own, signed in."""
    if chromium.executable() is None:
        pytest.skip("Chromium is not installed, so the page was not tried in a browser")
    await truth.until_live(MARKET)
    async with chromium.chromium() as browser:
        await wallet.into(browser)
        await browser.open(f"{mesh.url}/#account")
        await browser.click("#sign-in")
        await browser.until("document.body.dataset.signedIn === 'true'", timeout_s=WAIT_S)
        yield browser
        assert browser.errors == []


async def view(page: chromium.Page, name: str) -> None:
    """Go to a view."""
    await page.evaluate(f"void (location.hash = '{name}')")
    await page.until(f"document.getElementById('{name}').checkVisibility()", timeout_s=WAIT_S)


async def signs(page: chromium.Page) -> None:
    """Have the wallet sign what the page shows, and wait for the venue."""
    await page.until("document.activeElement.id === 'setup-title'", timeout_s=WAIT_S)
    await page.click("#setup-sign")
    await page.until(f"{SETUP} === 'The venue confirmed it.'", timeout_s=WAIT_S)


async def reviews(page: chromium.Page, **values: str) -> None:
    """Fill the order's form in and ask what would come of it."""
    for name, value in {"market": MARKET, "size": "0.01", **values}.items():
        await page.evaluate(
            f"""(() => {{ const one = document.querySelector('#order-form [name={name}]'); one.value = {value!r};
            one.dispatchEvent(new Event('input', {{bubbles: true}})); }})()"""
        )
    await page.click("#order-review")


async def places(page: chromium.Page, **values: str) -> None:
    """Fill the order's form in, review it, and place what was reviewed."""
    await reviews(page, **values)
    await page.until("document.activeElement.id === 'order-place'", timeout_s=WAIT_S)
    await page.click("#order-place")


async def row(page: chromium.Page, number: int, *words: str) -> str:
    """Wait until an order's row, the newest first, says every one of `words`, and return it."""
    said = f"(document.querySelectorAll('#orders tbody tr')[{number}]?.innerText ?? '')"
    has = " && ".join(f"{said}.includes('{word}')" for word in words)
    return str(await page.until(f"{has} && {said}", timeout_s=WAIT_S))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("venue", ["hyperliquid", "lighter"])
async def test_a_new_key_trades_at_the_page_until_it_is_revoked(
    page: chromium.Page, wallet: InjectedWallet, mesh: Mesh, truth: Truth, tmp_path: Path, venue: str
) -> None:
    await page.evaluate(f"document.getElementById('account-venue').value = '{venue}'")
    await page.click("#account-add")
    await page.until(f"{STATUS}.startsWith('Added')", timeout_s=WAIT_S)
    await page.click("#accounts button[aria-label^='Get test funds']")
    await page.until(f"{STATUS}.includes('USDC given')", timeout_s=WAIT_S)
    await page.click("#accounts button[aria-label^='Set up a key']")
    await signs(page)

    bid = Decimal((await truth.price(MARKET)).best_bid.price)
    low = str(int(bid * Decimal("0.97")) // 10 * 10)
    await page.until("document.querySelector('#views a[href=\"#trade\"]').checkVisibility()", timeout_s=WAIT_S)
    await view(page, "trade")
    await page.until("document.querySelectorAll('#order-account option').length === 2", timeout_s=WAIT_S)
    account_id = await page.evaluate("document.querySelectorAll('#order-account option')[1].value")
    await places(page, account_ids=account_id, type="limit", limit_price=low)
    await row(page, 0, "open", low[:2])
    await page.screenshot(tmp_path / "open.png")
    await places(page, account_ids=account_id, type="market")
    await row(page, 0, "filled")
    await page.until("document.querySelector('#fills tbody tr')?.innerText.includes('BTC-PERP')", timeout_s=WAIT_S)
    assert venue in await page.evaluate("document.querySelector('#fills tbody tr').innerText")
    await page.click("#orders tbody tr:nth-child(2) button")
    await row(page, 1, "canceled")
    await page.screenshot(tmp_path / "traded.png")

    async with (
        grpc.aio.insecure_channel(mesh.edge) as channel,
        mesh.channel("vault.signer", part="execution") as inner,
        aiohttp.ClientSession() as http,
    ):
        metadata = bearer((await sign_in(AuthServiceStub(channel), wallet.wallet)).access_token)
        execution = ExecutionServiceStub(channel)
        placed = list((await execution.ListOrders(pb.ListOrdersRequest(), metadata=metadata)).orders)
        fills = list((await execution.ListFills(pb.ListFillsRequest(), metadata=metadata)).fills)
        assert len(placed) == 2
        assert {leg.venue for one in placed for leg in one.legs} == {fill.venue for fill in fills} == {venue}
        assert sum(Decimal(fill.size) for fill in fills) == Decimal("0.01")
        signer = SignerServiceStub(inner)
        held_back = (await signer.Sign(sign_request(account_id, order(venue, price=low)))).signed_action

        await view(page, "account")
        await page.until("document.querySelector('#keys tbody').innerText.includes('active')", timeout_s=WAIT_S)
        await page.click("#keys tbody button")
        await signs(page)
        await page.until("!document.querySelector('#keys tbody')?.innerText.includes('active')", timeout_s=WAIT_S)
        answer = await post(http, f"http://{mesh.address(f'simulator.{venue}')}", held_back)
        assert answer.get("code") != 200, answer
        assert answer.get("status") != "ok" or "error" in str(answer), answer
        vault = VaultServiceStub(channel)
        asked = vault_pb.ListKeysRequest(account_id=account_id, include_ended=True)
        (key,) = (await vault.ListKeys(asked, metadata=metadata)).keys
        assert (key.state, key.HasField("venue_revoke_time")) == (key_pb2.Key.STATE_REVOKED, True)

        await view(page, "trade")
        await row(page, 0, "filled")
        await reviews(page, account_ids=account_id, type="limit", limit_price=low)
        said = "document.getElementById('order-summary').textContent"
        refused = str(await page.until(f"{said}.includes('would not pass') && {said}", timeout_s=WAIT_S))
        assert refused.count("No key of ours works") == 1, refused
        assert not await page.evaluate("document.getElementById('order-place').checkVisibility()")
        await page.screenshot(tmp_path / "revoked.png")
        print(f"screenshots {tmp_path}: {refused!r}")
