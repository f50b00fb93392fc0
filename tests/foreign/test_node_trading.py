"""Clients of npm that nobody here wrote trade on the simulated Hyperliquid, unpatched; what they do is in `node/`.

Each step is one line of JSON. The exchange's sums must be zero after it, to the last unit.
"""

from __future__ import annotations

import asyncio
import json
import shutil

import eth_account
import pytest

from tests.foreign import node_packages
from tests.support.simulator import running_simulator

SECRET, OTHER = "0x" + "11" * 32, "0x" + "33" * 32
SCRIPTS = ("trade_nktkas.mjs", "trade_hyperliquid.mjs")
WAIT_S = 120


@pytest.mark.timeout(node_packages.INSTALL_S + WAIT_S)
@pytest.mark.parametrize(("script", "steps_min"), [(SCRIPTS[0], 75), (SCRIPTS[1], 18)], ids=["nktkas", "hyperliquid"])
async def test_a_client_of_npm_trades_unpatched(script: str, steps_min: int) -> None:
    folder = await node_packages.installed()
    for name in (script, "trading.mjs"):
        await asyncio.to_thread(shutil.copy, node_packages.MANIFEST / name, folder / name)
    async with running_simulator(seed=31, hyperliquid_weight_max=0, hyperliquid_ack_ms=0) as sim:
        address = eth_account.Account.from_key(SECRET).address
        await sim.fund("hyperliquid", address, "100000", volume="2000000")
        process = await asyncio.create_subprocess_exec(
            "node", script, sim.hyperliquid_http, sim.hyperliquid_ws, SECRET, OTHER, cwd=folder,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, said = await asyncio.wait_for(process.communicate(), WAIT_S)
        steps = [json.loads(line) for line in out.decode().splitlines()]
        assert [step for step in steps if not step.get("ok") and "done" not in step] == [], said.decode()[-2000:]
        assert {"done": True} in steps, said.decode()[-2000:]
        assert sum("ok" in step for step in steps) >= steps_min
        sums = (await sim.sums())["hyperliquid"]["audit"]
        assert (sums["money"], sums["sizes"]) == (0, {})
