"""`perpmesh demo` as a person runs it, from its first line to its last: its mesh is gone afterwards."""

from __future__ import annotations

import asyncio
import itertools
import re
import socket

import pytest

from tests.integration.client.client_process import MODULE, environment
from tests.support.mesh import MARK, ROOT, marked, state_folder

README = (ROOT / "README.md").read_text()
PARTS = ["mesh", "wallet", "hyperliquid", "lighter", "quote", "order", "report", "positions", "close", "balances"]


def parts(text: str) -> list[str]:
    """Return the names on the left of what the demo prints; a quote that ended before its order came is asked anew."""
    return [name for name, _ in itertools.groupby(re.findall(r"^([a-z]+)  ", text, re.MULTILINE))]


@pytest.mark.timeout(400)
async def test_the_demo_trades_at_both_venues_and_leaves_nothing() -> None:
    with state_folder() as folder, socket.socket() as taken:
        folder.mkdir(mode=0o755)
        taken.bind(("127.0.0.1", 0))  # and nothing listens there
        process = await asyncio.create_subprocess_exec(
            *(*MODULE, "demo", "--address", f"127.0.0.1:{taken.getsockname()[1]}"),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment(TMPDIR=str(folder), **{MARK: str(folder)}),
        )
        async with asyncio.timeout(360):
            out, err = (text.decode() for text in await process.communicate())
        assert (process.returncode, err) == (0, ""), f"{out}\n{err}"
        assert marked(str(folder), str(folder)) == {}
        assert list(folder.iterdir()) == []
    assert parts(out) == PARTS, out
    bought, _, closed = out.partition("\nclose ")
    for told in (bought.partition("\norder ")[2].partition("\nreport ")[0], closed.partition("\nbalances ")[0]):
        assert set(re.findall(r" s  (hyperliquid|lighter) ", told)) == {"hyperliquid", "lighter"}, out
    assert re.search(r"done: [\d,]+ at \S+ on average; quoted was ", bought), out
    assert told_of_the_report(out), out
    assert re.search(r"^\d+\.\d s in all\.$", out, re.MULTILINE), out


def told_of_the_report(text: str) -> bool:
    """Whether the report says what the order cost beside its quote, and the causes with what nothing explains."""
    told = r"^report +cost [\d.,]+ USD, [\d.,]+ (more|less) than quoted when it was routed\n +.*unexplained -?[\d.]+$"
    return re.search(told, text, re.MULTILINE) is not None


def test_the_output_in_the_readme_is_one_of_the_demo() -> None:
    (shown,) = re.findall(r"^```\n\$ make demo\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert parts(shown) == PARTS
    assert told_of_the_report(shown)
