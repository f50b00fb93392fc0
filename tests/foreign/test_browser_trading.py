"""The trade view at the page: what the mesh says the reader holds, and orders where the mesh takes them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from perpmesh.auth.v1 import auth_service_pb2 as auth_pb
from perpmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from perpmesh.portfolio.v1 import portfolio_service_pb2 as pb
from perpmesh.portfolio.v1.portfolio_service_pb2_grpc import PortfolioServiceStub

from tests.foreign import chromium
from tests.foreign.injected import InjectedWallet
from tests.foreign.truth import Truth
from tests.support.auth import bearer, sign_in
from tests.support.mesh import Mesh
from tests.support.owned import Owner
from tests.support.owned.portfolio import own

pytestmark = pytest.mark.asyncio(loop_scope="session")
LINK = "document.querySelector('#views a[href=\"#trade\"]').checkVisibility()"


@pytest_asyncio.fixture(loop_scope="session")
async def wallet() -> InjectedWallet:
    return InjectedWallet()


@pytest_asyncio.fixture(loop_scope="session")
async def page(mesh: Mesh, truth: Truth, wallet: InjectedWallet) -> AsyncIterator[chromium.Page]:
    """The page in a browser of its own; nobody is signed in yet."""
    if chromium.executable() is None:
        pytest.skip("Chromium is not installed, so the page was not tried in a browser")
    await truth.until_live("BTC-PERP")
    async with chromium.chromium() as browser:
        await wallet.into(browser)
        await browser.open(f"{mesh.url}/")
        yield browser
        assert browser.errors == []


async def test_positions_are_shown_to_whoever_holds_them_and_to_nobody_else(
    page: chromium.Page, wallet: InjectedWallet, mesh: Mesh, tmp_path: Path
) -> None:
    assert not await page.evaluate(LINK)
    async with grpc.aio.insecure_channel(mesh.edge) as channel:
        signed = await sign_in(AuthServiceStub(channel), wallet.wallet)
        owner = Owner(
            wallet=wallet.wallet,
            channel=channel,
            token=signed.access_token,
            session_id=signed.session.session_id,
            mesh=mesh,
        )
        await own(owner)
        (held,) = (
            await PortfolioServiceStub(channel).ListPositions(pb.ListPositionsRequest(), metadata=owner.metadata)
        ).positions
        await page.click("#sign-in")
        await page.until(LINK)
        await page.click("#views a[href='#trade']")
        await page.until("document.querySelectorAll('#positions tbody tr').length === 1")
        cells = await page.evaluate(
            "[...document.querySelector('#positions tbody tr').cells].map((one) => one.textContent.replaceAll(',', ''))"
        )
        side = "short" if held.size.startswith("-") else "long"
        assert cells[:5] == [held.market, f"{held.venue} simulated", side, held.size, held.entry_price]
        await page.screenshot(tmp_path / "trade.png")
        print(f"screenshot {tmp_path / 'trade.png'}")
        await page.click("#sign-out")
        await page.until("document.querySelectorAll('#positions tbody tr').length === 0")
        await page.until(f"!({LINK})")
        await AuthServiceStub(channel).GetUser(auth_pb.GetUserRequest(), metadata=bearer(signed.access_token))
