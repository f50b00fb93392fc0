"""What is checked in of the browser's side holds; the page's pure parts pass their own tests.

That `gen/ts` and `clients/web/dist` are what their sources make is proved by `make gen-check`.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

import pytest

from tools.gen_ts import SKIPPED

ROOT = Path(__file__).resolve().parents[2]
RUN_S = 110


async def gen_ts(option: str) -> str:
    """Run the generator with one option; skip the test where there is no Node."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tools.gen_ts",
        option,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(RUN_S):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    said = out.decode()
    if process.returncode == SKIPPED:
        pytest.skip(said.strip())
    assert process.returncode == 0, said
    return said


async def test_the_pages_pure_parts_pass_their_own_tests() -> None:
    said = await gen_ts("--test-web")
    passed = re.search(r"^# pass (\d+)$", said, re.MULTILINE)
    assert passed is not None, said
    assert int(passed[1]) >= 30
    assert "# fail 0" in said


@pytest.mark.parametrize("folder", ["clients/web", "tests/foreign/node"])
def test_locks_name_no_registry_and_every_package_has_its_hash(folder: str) -> None:
    text = (ROOT / folder / "package-lock.json").read_text()
    assert "://" not in re.sub(r'"(url|funding|homepage)":\s*(\{[^}]*\}|"[^"]*")', "", text)
    packages = {name: about for name, about in json.loads(text)["packages"].items() if name}
    assert packages
    assert [name for name, about in packages.items() if not about.get("integrity", "").startswith("sha512-")] == []
    assert [name for name, about in packages.items() if "resolved" in about] == []


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere() -> None:
    page = (ROOT / "clients/web/dist/index.html").read_text()
    assert re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", page) is None
    for address in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert re.match(r"/(?!/)|#", address), address
    for name in re.findall(r'"/(assets/[^"]+)"', page):
        assert (ROOT / "clients/web/dist" / name).is_file(), name
