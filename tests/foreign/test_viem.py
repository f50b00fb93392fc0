"""viem (npm) as the wallet: it reads our sign-in text by its own rules and signs it, over gRPC-web in Chromium."""

from __future__ import annotations

import asyncio
import shutil

import grpc
import pytest
from perpmesh.auth.v1 import auth_service_pb2 as pb
from perpmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub

from tests.foreign import chromium
from tests.foreign.node_packages import MANIFEST, installed
from tests.support.auth import bearer
from tests.support.mesh import Mesh

pytestmark = pytest.mark.asyncio(loop_scope="session")
BUNDLE_S = 60


async def wallet_script() -> str:
    """Return the wallet as one script."""
    folder = await installed()
    shutil.copyfile(MANIFEST / "wallet.mjs", folder / "wallet.mjs")
    process = await asyncio.create_subprocess_exec(
        "node",
        "node_modules/esbuild/bin/esbuild",
        "wallet.mjs",
        "--bundle",
        "--format=iife",
        "--log-level=warning",
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(BUNDLE_S):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


async def test_viem_signs_in_at_the_page(mesh: Mesh) -> None:
    if chromium.executable() is None:
        pytest.skip("Chromium is not installed, so the page was not tried in a browser")
    script = await wallet_script()
    async with chromium.chromium() as page:
        await page.command("Page.addScriptToEvaluateOnNewDocument", source=script)
        await page.open(f"{mesh.url}/")
        await page.click("#sign-in")
        await page.until("document.body.dataset.signedIn === 'true'")
        (message,) = await page.evaluate("window.signedByViem")
        kept = await page.evaluate("JSON.parse(localStorage.getItem('perpmesh.session'))")
        assert page.errors == []
    assert message["domain"] == mesh.edge
    assert message["version"] == "1"
    assert message["uri"] == f"{mesh.url}/"
    async with grpc.aio.insecure_channel(mesh.edge) as channel:
        stub = AuthServiceStub(channel)
        renewed = await stub.RefreshSession(pb.RefreshSessionRequest(refresh_token=kept["refreshToken"]))
        user = (await stub.GetUser(pb.GetUserRequest(), metadata=bearer(renewed.access_token))).user
    assert [wallet.address for wallet in user.wallets] == [message["address"]] == [kept["address"]]
