"""What the simulated venues saw, and their prices, moved by hand: the control listener of a running mesh."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import aiohttp

from tests.support.mesh import Mesh


async def control(mesh: Mesh, method: str, path: str, body: object = None, **query: str) -> Any:
    """Make a control call; raise AssertionError with the lesson when it is refused."""
    url = f"http://{mesh.address('simulator.control')}/control/{path}"
    async with aiohttp.ClientSession() as session, session.request(method, url, json=body, params=query) as response:
        answer = await response.json()
        assert response.status == 200, answer
        return answer


async def received(mesh: Mesh, venue: str, what: str) -> list[str]:
    """Return the bytes that a venue received and that hold a text, the oldest first."""
    found: list[str] = []
    after = 0
    while True:
        page = await control(mesh, "GET", "accounts/journal", venue=venue, after=str(after), limit="10000")
        for entry in page["entries"]:
            after = entry["seq"]
            if entry["kind"] == "received":
                texts = [entry["body"]["body"]] if "body" in entry["body"] else entry["body"]["infos"]
                found += [str(text) for text in texts if what in str(text)]
        if not page["entries"]:
            return found


async def set_mark(mesh: Mesh, coin: str, price: Decimal, venues: tuple[str, ...] = ("hyperliquid", "lighter")) -> None:
    """Set the mark price of a coin; its crowd stands still until `let_go`."""
    step = {"do": "set_figures", "market": coin, "mark": str(price)}
    steps = [{**step, "venue": venue} for venue in venues]
    await control(mesh, "POST", "source", {"kind": "script", "steps": steps})


async def let_go(mesh: Mesh, coin: str) -> None:
    """Let a coin's crowd go on."""
    steps = [{"do": "flow", "enabled": True, "venue": venue, "market": coin} for venue in ("hyperliquid", "lighter")]
    await control(mesh, "POST", "source", {"kind": "script", "steps": steps})


async def set_book(
    mesh: Mesh, venue: str, coin: str, *, bids: list[tuple[Decimal, int]], asks: list[tuple[Decimal, int]]
) -> None:
    """Have a book of these levels alone; its crowd stands still until `let_go`."""
    step = {
        "do": "set_book", "venue": venue, "market": coin, "bids": [[str(price), str(size)] for price, size in bids],
        "asks": [[str(price), str(size)] for price, size in asks],
    }  # fmt: skip
    await control(mesh, "POST", "source", {"kind": "script", "steps": [step]})


async def sell(mesh: Mesh, venue: str, coin: str, size: str) -> None:
    """Have the crowd sell, to whoever bids most."""
    step = {"do": "trade", "venue": venue, "market": coin, "side": "sell", "size": size}
    await control(mesh, "POST", "source", {"kind": "script", "steps": [step]})
