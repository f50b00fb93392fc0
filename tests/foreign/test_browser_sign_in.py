"""Signing in at the page with an injected wallet, as a reader does; the mesh says who is signed in, not the page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from perpmesh.auth.v1 import auth_service_pb2 as pb
from perpmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub

from tests.foreign import chromium
from tests.foreign.injected import InjectedWallet
from tests.support.auth import bearer
from tests.support.mesh import Mesh

pytestmark = pytest.mark.asyncio(loop_scope="session")

SIGNED_IN = "document.body.dataset.signedIn === 'true'"
SIGNED_OUT = "document.body.dataset.signedIn === 'false'"
STATUS = "document.getElementById('sign-in-status').textContent"
KEPT = "JSON.parse(localStorage.getItem('perpmesh.session') ?? 'null')"


@pytest_asyncio.fixture(loop_scope="session")
async def wallet() -> InjectedWallet:
    return InjectedWallet()


@pytest_asyncio.fixture(loop_scope="session")
async def page(mesh: Mesh, wallet: InjectedWallet) -> AsyncIterator[chromium.Page]:
    """The page in a browser of its own, with the wallet in it; what its console complains of fails the test."""
    if chromium.executable() is None:
        pytest.skip("Chromium is not installed, so the page was not tried in a browser")
    async with chromium.chromium() as browser:
        await wallet.into(browser)
        await browser.open(f"{mesh.url}/")
        yield browser
        assert browser.errors == []


async def sign_in(page: chromium.Page) -> Any:
    """Press the button and wait; return what the page keeps."""
    await page.click("#sign-in")
    await page.until(SIGNED_IN)
    return await page.evaluate(KEPT)


async def sessions_of(mesh: Mesh, token: str) -> list[Any]:
    """Return the sessions of whoever a refresh token belongs to; the token is spent."""
    async with grpc.aio.insecure_channel(mesh.edge) as channel:
        stub = AuthServiceStub(channel)
        renewed = await stub.RefreshSession(pb.RefreshSessionRequest(refresh_token=token))
        answer = await stub.ListSessions(pb.ListSessionsRequest(), metadata=bearer(renewed.access_token))
        return list(answer.sessions)


async def test_a_reader_signs_in_sees_the_session_and_signs_out(
    page: chromium.Page, wallet: InjectedWallet, mesh: Mesh, tmp_path: Path
) -> None:
    await page.until(SIGNED_OUT)
    kept = await sign_in(page)
    address = wallet.wallet.address
    assert wallet.asked == ["eth_requestAccounts", "eth_chainId", "personal_sign"]
    assert wallet.signed[0].split("\n")[:2] == [
        f"{mesh.edge} wants you to sign in with your Ethereum account:",
        address,
    ]
    assert kept["address"] == address
    assert await page.evaluate("document.getElementById('who').title") == address
    await page.click("#views a[href='#account']")
    await page.until("document.querySelectorAll('#sessions tbody tr').length === 1")
    row = await page.evaluate("document.querySelector('#sessions tbody tr').innerText")
    assert "this one" in row
    assert "Chrome" in row
    await page.screenshot(tmp_path / "account.png")
    print(f"screenshot {tmp_path / 'account.png'}")
    await page.click("#sign-out")
    await page.until(SIGNED_OUT)
    await page.until(f"{STATUS} === 'Signed out.'")
    assert await page.evaluate(KEPT) is None
    async with grpc.aio.insecure_channel(mesh.edge) as channel:
        request = pb.RefreshSessionRequest(refresh_token=kept["refreshToken"])
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await AuthServiceStub(channel).RefreshSession(request)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    page.errors[:] = [error for error in page.errors if "401" not in error]


async def test_a_session_outlives_a_reload_and_ends_where_it_is_ended_elsewhere(
    page: chromium.Page, wallet: InjectedWallet, mesh: Mesh
) -> None:
    kept = await sign_in(page)
    await page.evaluate("void (window.before = true)")
    await page.command("Page.reload")
    await page.until(f"window.before === undefined && document.readyState === 'complete' && {SIGNED_IN}")
    await page.click("#views a[href='#account']")
    await page.until("document.querySelectorAll('#sessions tbody tr').length === 1")
    renewed = await page.evaluate(KEPT)
    assert renewed["sessionId"] == kept["sessionId"]
    assert renewed["refreshToken"] != kept["refreshToken"]
    assert wallet.asked.count("personal_sign") == 1
    async with grpc.aio.insecure_channel(mesh.edge) as channel:
        stub = AuthServiceStub(channel)
        other = await stub.RefreshSession(pb.RefreshSessionRequest(refresh_token=renewed["refreshToken"]))
        await stub.RevokeAllSessions(pb.RevokeAllSessionsRequest(), metadata=bearer(other.access_token))
    await page.click("#views a[href='#markets']")
    await page.click("#views a[href='#account']")
    await page.until(SIGNED_OUT)
    await page.until(f"{STATUS} === 'The session has ended. Sign in again.'")
    page.errors[:] = [error for error in page.errors if "401" not in error]


async def test_a_reader_who_declines_is_told_so_and_nothing_is_signed(
    page: chromium.Page, wallet: InjectedWallet
) -> None:
    wallet.declines = True
    await page.click("#sign-in")
    await page.until(f"{STATUS}.includes('declined')")
    assert await page.evaluate(SIGNED_OUT)
    assert wallet.signed == []
    wallet.declines, wallet.chain_id = False, 999_999
    await page.click("#sign-in")
    await page.until(f"{STATUS}.includes('chain')")
    assert wallet.signed == []
    page.errors[:] = [error for error in page.errors if "400" not in error]


async def test_a_browser_without_a_wallet_says_what_to_do(mesh: Mesh) -> None:
    if chromium.executable() is None:
        pytest.skip("Chromium is not installed, so the page was not tried in a browser")
    async with chromium.chromium() as page:
        await page.open(f"{mesh.url}/")
        await page.click("#sign-in")
        await page.until(f"{STATUS}.includes('This browser has no wallet')")
        assert page.errors == []
        plain = InjectedWallet()
        await plain.into(page, announced=False)
        await page.command("Page.reload")
        await page.until("document.readyState === 'complete' && window.ethereum !== undefined")
        assert (await sign_in(page))["address"] == plain.wallet.address
