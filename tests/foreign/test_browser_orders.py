"""The order form at the page: what is placed is what was reviewed, once; what comes of it is followed to its end.

The room behind the edge is a script here, so that a lost answer and every state can be brought about; that orders reach
a venue is proved where the rooms are real.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from perpmesh.execution.v1 import order_pb2

from tests.foreign import chromium
from tests.support.edge import RunningEdge, running_edge

pytestmark = pytest.mark.asyncio(loop_scope="session")
DIST = Path(__file__).resolve().parents[2] / "clients" / "web" / "dist"
SERVICES = (
    "perpmesh.marketdata.v1.MarketDataService",
    "perpmesh.auth.v1.AuthService",
    "perpmesh.execution.v1.ExecutionService",
    "perpmesh.portfolio.v1.PortfolioService",
    "perpmesh.vault.v1.VaultService",
)
ADDRESS = "0x00000000219ab540356cBB839Cbe05303d7705Fa"
ROWS = "[...document.querySelectorAll('#orders tbody tr')].map((one) => one.innerText)"
STATUS = "document.getElementById('order-status').textContent"


def token() -> str:
    """Return what looks like an access token of a quarter of an hour; nobody verifies it here."""
    return "e30." + base64.urlsafe_b64encode(json.dumps({"iat": 0, "exp": 900}).encode()).decode().rstrip("=") + ".x"


class Exchange:
    """What the rooms do: they keep orders, and lose the first answer to an order on demand."""

    def __init__(self, edge: RunningEdge) -> None:
        self.orders: dict[str, Any] = {}
        self.placed: list[Any] = []
        self.loses = 0
        self.passes = True
        self.news: asyncio.Queue[Any] = asyncio.Queue()
        scripts = edge.room.scripts
        scripts["RefreshSession"] = self.refresh
        scripts["PreviewOrder"] = self.preview
        scripts["PlaceOrder"] = self.place
        scripts["CancelOrder"] = self.cancel
        scripts["WatchOrders"] = self.watch
        scripts["ListFills"] = scripts["ListPositions"] = scripts["ListOrders"] = lambda _, answer: answer

    def refresh(self, _request: Any, answer: Any) -> Any:
        answer.access_token, answer.refresh_token = token(), "pmr_next"
        answer.session.address, answer.session.session_id = ADDRESS, "01a20366-5099-7093-a42f-fcdfcc83ec35"
        return answer

    def preview(self, request: Any, answer: Any) -> Any:
        answer.passes = self.passes
        answer.explanation = "It would pass." if self.passes else "It would not pass."
        if not self.passes:
            answer.refusals.add(message="The margin is too small.", advice="Add 100 USDC.", venue="lighter")
        answer.legs.add(
            venue="lighter", size=request.order.size, limit_price="60000", initial_margin="1", free_margin="2"
        )
        return answer

    def place(self, request: Any, answer: Any) -> Any:
        self.placed.append(request)
        if request.request_id not in self.orders:
            order = answer.order
            order.order_id, order.version, order.market = request.request_id, 1, request.market
            order.side, order.size, order.type, order.limit_price = (
                request.side, request.size, request.type, request.limit_price
            )  # fmt: skip
            order.state, order.explanation, order.filled_size = order_pb2.Order.STATE_RUNNING, "It rests.", "0"
            self.orders[request.request_id] = order
        if self.loses:
            self.loses -= 1
            raise grpc.aio.AbortError  # the answer is lost; the order is not
        answer.order.CopyFrom(self.orders[request.request_id])
        return answer

    def cancel(self, request: Any, answer: Any) -> Any:
        order = self.orders[request.order_id]
        order.version += 1
        order.state, order.explanation = order_pb2.Order.STATE_CANCELED, "Canceled by its owner."
        self.news.put_nowait(order)
        answer.order.CopyFrom(order)
        return answer

    async def watch(self, _request: Any, kind: Any) -> AsyncIterator[Any]:
        for order in self.orders.values():
            yield kind(cursor="1", order=order)
        live = kind(cursor="2")
        live.live.SetInParent()
        yield live
        while True:
            news = kind(cursor="3")
            news.order.ParseFromString((await self.news.get()).SerializeToString())
            yield news


@pytest_asyncio.fixture(loop_scope="session")
async def exchange(tmp_path: Path) -> AsyncIterator[tuple[chromium.Page, Exchange]]:
    """The trade view of a page that is signed in, and the rooms behind it."""
    if chromium.executable() is None:
        pytest.skip("Chromium is not installed, so the page was not tried in a browser")
    async with (
        running_edge(tmp_path, services=SERVICES, page=DIST, ip_requests_per_s=100_000) as edge,
        chromium.chromium() as page,
    ):
        rooms = Exchange(edge)
        kept = json.dumps({"address": ADDRESS, "sessionId": "x", "refreshToken": "pmr_first"})
        script = f"localStorage.setItem('perpmesh.session', {json.dumps(kept)})"
        await page.command("Page.addScriptToEvaluateOnNewDocument", source=script)
        await page.open(f"{edge.url}/#trade")
        await page.until("document.getElementById('order-form').checkVisibility()")
        await page.until("document.querySelector('#views a[href=\"#trade\"]').checkVisibility()")
        yield page, rooms


async def fill(page: chromium.Page, **values: str) -> None:
    """Write values into the fields, as a reader's typing is heard."""
    for name, value in values.items():
        await page.evaluate(
            f"""(() => {{ const one = document.querySelector('#order-form [name={name}]'); one.value = {value!r};
            one.dispatchEvent(new Event('input', {{bubbles: true}})); }})()"""
        )


async def test_what_was_reviewed_is_placed_once_though_the_answer_is_lost(
    exchange: tuple[chromium.Page, Exchange], tmp_path: Path
) -> None:
    page, rooms = exchange
    await fill(
        page, market="btc-perp", side="sell", size="0.25", type="limit", limit_price="61000.5", time_in_force="post"
    )
    await page.click("#order-review")
    await page.until("document.activeElement.id === 'order-place'")
    summary = await page.evaluate("document.getElementById('order-summary').textContent")
    assert summary == "Sell 0.25 BTC-PERP at 61,000.5 or better. It would pass."
    assert rooms.placed == []
    rooms.loses = 1
    await page.click("#order-place")
    await page.until(f"{STATUS} !== '' && document.getElementById('order-status').dataset.kind === 'failed'")
    await page.click("#order-place")
    await page.until(f"{ROWS}.length === 1")
    first, second = rooms.placed
    assert first == second
    assert len(rooms.orders) == 1
    assert (first.market, first.size, first.limit_price, first.side) == ("BTC-PERP", "0.25", "61000.5", 2)
    assert (first.type, first.time_in_force) == (2, 3)
    await page.screenshot(tmp_path / "orders.png")
    print(f"screenshot {tmp_path / 'orders.png'}")
    await page.click("#orders tbody button")
    await page.until(f"{ROWS}[0].includes('canceled')")
    assert not await page.evaluate("document.querySelector('#orders tbody button')")


async def test_a_change_after_the_review_takes_the_button_away(exchange: tuple[chromium.Page, Exchange]) -> None:
    page, rooms = exchange
    await fill(page, market="ETH-PERP", size="1", type="market")
    await page.click("#order-review")
    await page.until("document.getElementById('order-place').checkVisibility()")
    await fill(page, size="100")
    assert not await page.evaluate("document.getElementById('order-place').checkVisibility()")
    rooms.passes = False
    await page.click("#order-review")
    await page.until("document.getElementById('order-summary').textContent.includes('The margin is too small.')")
    assert not await page.evaluate("document.getElementById('order-place').checkVisibility()")
    assert rooms.placed == []


async def test_states_come_by_the_stream_and_an_older_one_changes_nothing(
    exchange: tuple[chromium.Page, Exchange],
) -> None:
    page, rooms = exchange
    order = order_pb2.Order(order_id="o", market="SOL-PERP", size="5", version=7, state=order_pb2.Order.STATE_DONE)
    old = order_pb2.Order(order_id="o", market="SOL-PERP", size="5", version=6, state=order_pb2.Order.STATE_RUNNING)
    other = order_pb2.Order(order_id="p", market="XRP-PERP", size="5", version=1, state=order_pb2.Order.STATE_RUNNING)
    for one in (order, old, other):
        rooms.news.put_nowait(one)
    await page.until(f"{ROWS}.some((one) => one.includes('XRP-PERP'))")
    rows = await page.evaluate(ROWS)
    assert "filled" in next(one for one in rows if "SOL-PERP" in one)
