"""The TypeScript package, packed and installed into an empty project, reads prices and errors of a mesh from Node."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.support.mesh import Mesh

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "clients" / "typescript"
INSTALL_S = 200
pytestmark = pytest.mark.asyncio(loop_scope="session")

PROGRAM = """
import { connect, failureOf } from "perpmesh";
import { State } from "perpmesh/marketdata/v1/state_pb";

const mesh = connect(process.argv[2]);
const { price } = await mesh.marketData.getPrice({ market: "BTC-PERP" });
const failure = await mesh.marketData.getPrice({ market: "MOON-PERP" }).catch(failureOf);
const seen = [];
for await (const message of mesh.watch((cursor) => mesh.marketData.watchPrices({ markets: ["BTC-PERP"], cursor }))) {
  seen.push(message.event.case);
  if (seen.includes("live") && seen.filter((kind) => kind === "price").length > 3) break;
}
console.log(JSON.stringify({ market: price.market, bid: price.bestBid.price, live: State[price.venues[0].state],
  reason: failure.reason, category: failure.category, near: failure.metadata.near, seen }));
"""


async def run(*command: str, cwd: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env={**os.environ, "npm_config_update_notifier": "false"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), INSTALL_S)
    assert process.returncode == 0, f"{command}: {out.decode()[-2_000:]}{err.decode()[-2_000:]}"
    return out.decode()


@pytest.mark.timeout(400)
async def test_the_package_installs_from_the_checkout_and_speaks_with_a_mesh(mesh: Mesh, tmp_path: Path) -> None:
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("Node with npm is not installed, so the TypeScript package was not tried")
    source = tmp_path / "checkout"
    skip = shutil.ignore_patterns("node_modules", "dist")
    shutil.copytree(PACKAGE, source / "clients" / "typescript", ignore=skip)
    shutil.copytree(ROOT / "gen" / "ts", source / "gen" / "ts")
    await run("npm", "ci", cwd=source / "clients" / "typescript")
    await run("npm", "pack", "--pack-destination", str(tmp_path), cwd=source / "clients" / "typescript")
    project = tmp_path / "project"
    project.mkdir()
    (project / "package.json").write_text('{"name": "project", "private": true, "type": "module"}')
    (project / "main.mjs").write_text(PROGRAM)
    await run("npm", "install", "--no-audit", "--no-fund", str(tmp_path / "perpmesh-0.1.0.tgz"), cwd=project)
    found = json.loads(await run("node", "main.mjs", mesh.url, cwd=project))
    assert (found["market"], found["reason"], found["category"]) == ("BTC-PERP", "MARKET_UNKNOWN", "trading")
    assert float(found["bid"]) > 0
    assert found["live"] in ("LIVE", "STALE", "RECOVERING")
    assert "live" in found["seen"]
