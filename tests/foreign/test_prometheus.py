"""Alert rules and dashboard in the real Prometheus, reading a running mesh; skipped where it is not installed."""

# ruff: noqa: ASYNC110 - what is awaited is in another process

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.support.mesh import running_mesh
from tests.support.valkey import free_port

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/opt/prometheus/bin"])
PROMTOOL, PROMETHEUS = (shutil.which(name, path=PATH) for name in ("promtool", "prometheus"))
needed = pytest.mark.skipif(
    not (PROMTOOL and PROMETHEUS), reason="Debian's package prometheus is not installed: its files were not loaded"
)


def expressions() -> list[str]:
    """Every question of the dashboard."""
    board = json.loads((DEPLOY / "grafana" / "perpmesh.json").read_text())
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


@needed
@pytest.mark.parametrize("command", [("check", "config", "prometheus.yml"), ("test", "rules", "alerts_test.yml")])
def test_promtool_accepts_configuration_rules_and_their_tests(command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [str(PROMTOOL), *command], cwd=DEPLOY / "prometheus", capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needed
async def test_prometheus_reads_a_mesh_and_answers_every_question_of_the_dashboard(tmp_path: Path) -> None:
    async with running_mesh(simulator_seed=91) as mesh:
        config = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
        config = config.replace("../../var", str(mesh.state)).replace("_interval: 5s", "_interval: 1s")
        (tmp_path / "prometheus.yml").write_text(config)
        shutil.copy(DEPLOY / "prometheus" / "alerts.yml", tmp_path)
        port = free_port()
        flags = (f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={tmp_path / 'data'}")
        process = await asyncio.create_subprocess_exec(
            str(PROMETHEUS), "--config.file=prometheus.yml", *flags, cwd=tmp_path, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            async with asyncio.timeout(60):
                while not (found := await targets(port)) or any(one["health"] != "up" for one in found):
                    await asyncio.sleep(0.2)
                assert {one["labels"]["replica"] for one in found} >= {"market_data", "stream", "auth", "edge"}
                while not (await ask(port, "query", query="perpmesh_feed_live"))["result"]:
                    await asyncio.sleep(0.2)
            rules = (await ask(port, "rules"))["groups"][0]["rules"]
            assert len(rules) >= 14
            assert [rule["name"] for rule in rules if rule.get("lastError")] == []
            for expression in expressions():
                await ask(port, "query", query=expression)
        finally:
            process.terminate()
            await process.wait()


async def targets(port: int) -> list[dict[str, Any]]:
    try:
        return list((await ask(port, "targets"))["activeTargets"])
    except OSError:
        return []


async def ask(port: int, what: str, **arguments: str) -> Any:
    url = f"http://127.0.0.1:{port}/api/v1/{what}?{urllib.parse.urlencode(arguments)}"

    def get() -> Any:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)

    try:
        found = await asyncio.to_thread(get)
    except urllib.error.HTTPError as error:
        if error.code == 503 and what == "targets":
            return {"activeTargets": []}  # it is still starting
        raise AssertionError(f"{arguments}: {error.read().decode()}") from None
    assert found["status"] == "success"
    return found["data"]
