"""Accounts and keys at the page: a reader adds an account, funds it, and has the wallet sign a key in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from perpmesh.auth.v1 import auth_service_pb2 as auth_pb
from perpmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from perpmesh.vault.v1 import account_pb2, key_pb2
from perpmesh.vault.v1 import vault_service_pb2 as pb
from perpmesh.vault.v1.vault_service_pb2_grpc import VaultServiceStub

from tests.foreign import chromium
from tests.foreign.injected import InjectedWallet
from tests.support.auth import bearer
from tests.support.mesh import Mesh

pytestmark = pytest.mark.asyncio(loop_scope="session")
STATUS = "document.getElementById('accounts-status').textContent"


@pytest_asyncio.fixture(loop_scope="session")
async def wallet() -> InjectedWallet:
    return InjectedWallet()


@pytest_asyncio.fixture(loop_scope="session")
async def page(mesh: Mesh, wallet: InjectedWallet) -> AsyncIterator[chromium.Page]:
    """The account view in a browser of its own, signed in."""
    if chromium.executable() is None:
        pytest.skip("Chromium is not installed, so the page was not tried in a browser")
    async with chromium.chromium() as browser:
        await wallet.into(browser)
        await browser.open(f"{mesh.url}/#account")
        await browser.click("#sign-in")
        await browser.until("document.body.dataset.signedIn === 'true'")
        yield browser
        assert browser.errors == []


async def vault_of(mesh: Mesh, page: chromium.Page) -> tuple[list[Any], list[Any]]:
    """Return the accounts and keys of whoever is signed in at the page, as the mesh knows them."""
    kept = await page.evaluate("JSON.parse(localStorage.getItem('perpmesh.session')).refreshToken")
    async with grpc.aio.insecure_channel(mesh.edge) as channel:
        request = auth_pb.RefreshSessionRequest(refresh_token=kept)
        metadata = bearer((await AuthServiceStub(channel).RefreshSession(request)).access_token)
        vault = VaultServiceStub(channel)
        accounts = list((await vault.ListAccounts(pb.ListAccountsRequest(), metadata=metadata)).accounts)
        keys = []
        for account in accounts:
            listed = pb.ListKeysRequest(account_id=account.account_id)
            keys += list((await vault.ListKeys(listed, metadata=metadata)).keys)
        return accounts, keys


def press(words: str) -> str:
    """Return the selector of an action of the only account."""
    return f"#accounts button[aria-label^='{words}']"


@pytest.mark.parametrize("venue", ["hyperliquid", "lighter"])
async def test_a_reader_sets_an_account_up_and_freezes_it(
    page: chromium.Page, wallet: InjectedWallet, mesh: Mesh, tmp_path: Path, venue: str
) -> None:
    await page.evaluate(f"document.getElementById('account-venue').value = '{venue}'")
    await page.evaluate("document.getElementById('account-label').focus()")
    await page.write("Mine")
    await page.press("Enter", 13)
    await page.until(f"{STATUS} === 'Added Mine ({venue}, simulated).'")
    await page.click(press("Get test funds"))
    await page.until(f"{STATUS}.includes('USDC given')")
    await page.click(press("Set up a key"))
    await page.until("document.activeElement.id === 'setup-title'")
    said = await page.evaluate("document.getElementById('setup-steps').innerText")
    assert wallet.wallet.address in said
    before = len(wallet.signed)
    await page.screenshot(tmp_path / "setup.png")
    await page.click("#setup-sign")
    await page.until("document.getElementById('setup-status').textContent === 'The venue confirmed it.'", timeout_s=40)
    assert len(wallet.signed) > before
    await page.until("document.querySelector('#accounts tbody').innerText.includes('can trade')")
    await page.until("document.querySelector('#keys tbody').innerText.includes('active')")
    await page.screenshot(tmp_path / "accounts.png")
    print(f"screenshots {tmp_path}")
    await page.click(press("Freeze"))
    await page.until(f"{STATUS}.startsWith('Frozen')")
    accounts, keys = await vault_of(mesh, page)
    assert [(one.label, one.venue, one.state) for one in accounts] == [
        ("Mine", venue, account_pb2.Account.STATE_FROZEN)
    ]
    assert [key.state for key in keys] == [key_pb2.Key.STATE_ACTIVE]


async def test_what_the_wallet_declines_changes_nothing(
    page: chromium.Page, wallet: InjectedWallet, mesh: Mesh
) -> None:
    await page.click("#account-add")
    await page.until(f"{STATUS}.startsWith('Added')")
    await page.click(press("Get test funds"))
    await page.until(f"{STATUS}.includes('USDC given')")
    await page.click(press("Set up a key"))
    await page.until("document.activeElement.id === 'setup-title'")
    wallet.declines = True
    await page.click("#setup-sign")
    await page.until("document.getElementById('setup-status').textContent.includes('declined')")
    accounts, keys = await vault_of(mesh, page)
    assert [one.state for one in accounts] == [account_pb2.Account.STATE_NEEDS_KEY]
    assert {key.state for key in keys} <= {key_pb2.Key.STATE_PENDING}


@pytest.mark.parametrize("width", [360, 768])
async def test_the_views_fit_a_narrow_window(page: chromium.Page, width: int, tmp_path: Path) -> None:
    await page.click("#account-add")
    await page.until(f"{STATUS}.startsWith('Added')")
    await page.size(width, 800, phone=width < 500)
    for view in ("account", "quote", "trade"):
        await page.evaluate(f"void (location.hash = '{view}')")
        await page.until(f"document.getElementById('{view}').checkVisibility()")
        await page.screenshot(tmp_path / f"{view}.png")
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, view
    print(f"screenshots {tmp_path}")


async def test_whatever_can_be_pressed_or_filled_in_has_a_name(page: chromium.Page) -> None:
    await page.click("#account-add")
    await page.until(f"{STATUS}.startsWith('Added')")
    for view in ("account", "quote", "trade"):
        await page.evaluate(f"void (location.hash = '{view}')")
        await page.until(f"document.getElementById('{view}').checkVisibility()")
        nameless = """[...document.querySelectorAll('button, input, select, a')].filter((one) => one.checkVisibility())
            .filter((one) => !(one.textContent.trim() || one.ariaLabel || one.labels?.length))
            .map((one) => one.outerHTML)"""
        assert await page.evaluate(nameless) == []
        ids = "[...document.querySelectorAll('[id]')].map((one) => one.id)"
        found = await page.evaluate(ids)
        assert len(found) == len(set(found))
