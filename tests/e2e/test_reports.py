"""What orders came to, told after real trades in scripted books: each cause by its name, nothing left unexplained."""

# ruff: noqa: ASYNC110 - what is awaited is in other processes

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1 import operator_service_pb2, order_pb2, report_pb2
from perpmesh.execution.v1.operator_service_pb2_grpc import OperatorServiceStub
from perpmesh.portfolio.v1 import analytics_service_pb2, performance_pb2
from perpmesh.portfolio.v1.analytics_service_pb2_grpc import AnalyticsServiceStub
from perpmesh.routing.v1 import routing_service_pb2
from perpmesh.routing.v1.routing_service_pb2_grpc import RoutingServiceStub
from perpmesh.type.v1 import cost_pb2, environment_pb2, order_type_pb2, refusal_pb2, side_pb2
from perpmesh.vault.v1 import account_pb2, vault_service_pb2
from websockets.asyncio.client import ClientConnection, connect

from tests.e2e.test_trading import Trader, edge, mesh, new_trader, trader
from tests.support.mesh import Mesh

pytestmark = pytest.mark.asyncio(loop_scope="module")
__all__ = ["edge", "mesh", "trader"]
ETH = "ETH-PERP"
D = Decimal
MARKET = order_type_pb2.ORDER_TYPE_MARKET
Levels = Sequence[tuple[str, str]]
BIDS: Levels = (("1999", "50"), ("1990", "50"))
ASKS: Levels = (("2001", "1"), ("2002", "2"), ("2010", "50"))
MOVED: Levels = (("2002", "1"), ("2003", "2"), ("2011", "50"))
FAR: Levels = (("2009", "50"),)


@dataclass
class Street:
    """The books of one market at both venues, set by hand."""

    mesh: Mesh
    session: aiohttp.ClientSession
    routing: Any

    async def call(self, path: str, body: object) -> None:
        url = f"http://{self.mesh.address('simulator.control')}/control/{path}"
        async with self.session.post(url, json=body) as answer:
            assert answer.status == 200, await answer.text()

    async def set(self, **asks: Levels) -> None:
        steps = [
            {"do": "set_book", "venue": venue, "market": "ETH", "bids": BIDS, "asks": levels}
            for venue, levels in asks.items()
        ]
        steps += [{"do": "set_figures", "venue": venue, "market": "ETH", "mark": "2000"} for venue in asks]
        await self.call("source", {"kind": "script", "steps": steps})

    async def shows(self, **asks: Levels) -> None:
        """Set the books and wait until plans are made from them."""
        await self.set(**asks)
        async with asyncio.timeout(30):
            while await self.best() != {venue: tuple(levels[:2]) for venue, levels in asks.items()}:
                await asyncio.sleep(0.05)

    async def best(self) -> dict[str, Levels]:
        """Return the first levels of each venue that a quote is made from."""
        request = routing_service_pb2.QuoteRouteRequest(
            market=ETH, side=side_pb2.SIDE_BUY, size="1.5", include_inputs=True
        )
        try:
            quote = (await self.routing.QuoteRoute(request)).quote
        except grpc.aio.AioRpcError:
            return {}
        return {one.venue: tuple((each.price, each.size) for each in one.levels[:2]) for one in quote.inputs.venues}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def street(mesh: Mesh, trader: Trader, edge: grpc.aio.Channel) -> AsyncIterator[Street]:
    async with aiohttp.ClientSession() as session:
        made = Street(mesh, session, RoutingServiceStub(edge))
        await made.shows(hyperliquid=ASKS, lighter=ASKS)
        warm = await trader.place(market=ETH, side=side_pb2.SIDE_BUY, size="0.1", type=MARKET)
        await trader.ended(warm.order_id)
        yield made


async def report_of(trader: Trader, order_id: str) -> report_pb2.ExecutionReport:
    answer = await trader.execution.GetExecutionReport(
        pb.GetExecutionReportRequest(order_id=order_id), metadata=trader.metadata
    )
    report: report_pb2.ExecutionReport = answer.report
    assert sum(D(one.amount) for one in report.attributions) == D(report.difference), report
    assert sum(D(one.difference) for one in report.lines) == D(report.difference), report
    assert D(report.achieved_cost) - D(report.quoted_cost) == D(report.difference), report
    return report


def causes(report: report_pb2.ExecutionReport) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for one in report.attributions:
        name = report_pb2.Attribution.Cause.Name(one.cause).removeprefix("CAUSE_")
        found[name] = found.get(name, D(0)) + D(one.amount)
    return found


async def bought(trader: Trader, size: str, **fields: Any) -> order_pb2.Order:
    placed = await trader.place(**{"market": ETH, "side": side_pb2.SIDE_BUY, "size": size, "type": MARKET, **fields})
    return await trader.ended(placed.order_id)


async def test_books_that_stand_still_make_no_difference_and_every_fee_is_stated(
    trader: Trader, street: Street, edge: grpc.aio.Channel
) -> None:
    await street.shows(hyperliquid=ASKS, lighter=ASKS)
    order = await bought(trader, "2")
    assert order.state == order_pb2.Order.STATE_DONE, order
    report = await report_of(trader, order.order_id)
    assert report.complete
    assert causes(report) == {"UNEXPLAINED": 0}, report
    kept = await RoutingServiceStub(edge).GetQuote(
        routing_service_pb2.GetQuoteRequest(quote_id=order.quote_id), metadata=trader.metadata
    )
    assert report.quoted_cost == report.achieved_cost == kept.quote.total_cost
    assert report.quote_id == order.quote_id
    own = [line for line in report.lines if line.kind == cost_pb2.COST_KIND_PLATFORM_FEE]
    assert [(line.quoted_amount, line.achieved_amount) for line in own] == [("0", "0")]
    assert {leg.venue for leg in report.legs} == {"hyperliquid", "lighter"}
    kinds = {report_pb2.Phase.Kind.Name(one.kind) for one in report.phases}
    assert kinds >= {"KIND_ACCEPT", "KIND_SIGN", "KIND_ACKNOWLEDGE", "KIND_FIRST_FILL", "KIND_LAST_FILL"}
    fills = await trader.execution.ListFills(pb.ListFillsRequest(order_id=order.order_id), metadata=trader.metadata)
    for fill in fills.fills:
        lines = {one.kind: one.amount for one in fill.costs}
        assert lines[cost_pb2.COST_KIND_PLATFORM_FEE] == "0"
        assert cost_pb2.COST_KIND_VENUE_FEE in lines
        assert sum(D(one.amount) for one in fill.costs) == D(fill.total_cost)
    fees = sum(D(fill.total_cost) for fill in fills.fills)
    assert fees == sum(D(line.achieved_amount) for line in report.lines if line.kind != cost_pb2.COST_KIND_BOOK)


async def test_a_book_that_moves_on_the_way_is_named_with_the_dollars_it_moved(trader: Trader, street: Street) -> None:
    await street.shows(hyperliquid=FAR, lighter=ASKS)
    placed = await trader.place(market=ETH, side=side_pb2.SIDE_BUY, size="2", type=MARKET, venue="lighter")
    await street.set(lighter=MOVED)  # Lighter holds a taker's order back for 300 ms
    order = await trader.ended(placed.order_id)
    assert order.state == order_pb2.Order.STATE_DONE, order
    report = await report_of(trader, order.order_id)
    found = causes(report)
    assert found.pop("UNEXPLAINED") == 0, report
    assert set(found) <= {"BOOK_MOVED", "LATENCY"}, "before the sending or after it, as the machine had it"
    assert sum(found.values()) == D(report.difference) == 2, report


async def test_what_was_not_filled_is_named(trader: Trader, street: Street) -> None:
    await street.shows(hyperliquid=FAR, lighter=ASKS)
    placed = await trader.place(
        market=ETH, side=side_pb2.SIDE_BUY, size="1", type=order_type_pb2.ORDER_TYPE_LIMIT, limit_price="2001",
        venue="lighter", time_in_force=2,
    )  # fmt: skip
    await street.set(lighter=(("2001", "0.4"), ("2010", "50")))
    order = await trader.ended(placed.order_id)
    assert (order.state, order.filled_size) == (order_pb2.Order.STATE_PARTIALLY_DONE, "0.4"), order
    report = await report_of(trader, order.order_id)
    mid = D(report.arrival_mid_price)
    assert causes(report) == {"PARTIAL_FILL": D("-0.6") * (2001 - mid), "UNEXPLAINED": 0}, report
    assert (report.quoted_size, report.filled_size) == ("1", "0.4")


async def test_another_fee_tier_than_quoted_is_named(trader: Trader, street: Street) -> None:
    await street.shows(hyperliquid=ASKS, lighter=FAR)
    address = trader.owners["hyperliquid"].wallet.address
    await street.call("accounts", {"venue": "hyperliquid", "address": address, "usdc": "1", "tier": "20"})
    order = await bought(trader, "1", venue="hyperliquid")
    report = await report_of(trader, order.order_id)
    found = causes(report)
    assert found.pop("UNEXPLAINED") == 0
    assert found == {"FEE_TIER": 2001 * D("-0.00009")}, report
    fee = next(line for line in report.lines if line.kind == cost_pb2.COST_KIND_VENUE_FEE)
    assert (D(fee.quoted_amount), D(fee.achieved_amount)) == (2001 * D("0.00045"), 2001 * D("0.00036"))


async def test_an_order_that_rests_is_measured_against_the_prices_at_its_arrival(
    trader: Trader, street: Street
) -> None:
    await street.shows(hyperliquid=FAR, lighter=ASKS)
    placed = await trader.place(
        market=ETH, side=side_pb2.SIDE_BUY, size="1", type=order_type_pb2.ORDER_TYPE_LIMIT, limit_price="1998",
        venue="lighter",
    )  # fmt: skip
    await trader.until(placed.order_id, order_pb2.Order.STATE_RUNNING)
    running = await report_of(trader, placed.order_id)
    assert not running.complete
    assert not running.quote_id
    assert (running.arrival_mid_price, running.quoted_price) == ("2000", "1998")
    await trader.execution.CancelOrder(pb.CancelOrderRequest(order_id=placed.order_id), metadata=trader.metadata)
    await trader.ended(placed.order_id)
    report = await report_of(trader, placed.order_id)
    assert report.complete
    assert causes(report) == {"PARTIAL_FILL": 2, "UNEXPLAINED": 0}, report


async def test_an_order_that_was_denied_has_a_report_of_nothing(trader: Trader, street: Street) -> None:
    order = await bought(trader, "0.0000001")
    assert order.state == order_pb2.Order.STATE_DENIED
    report = await report_of(trader, order.order_id)
    assert (report.complete, report.filled_size, report.difference) == (True, "0", "0")


async def preview(trader: Trader, **fields: Any) -> pb.PreviewOrderResponse:
    order = pb.PlaceOrderRequest(**{
        "request_id": str(uuid.uuid4()), "market": ETH, "side": side_pb2.SIDE_BUY, "type": MARKET, **fields,
    })  # fmt: skip
    answer: pb.PreviewOrderResponse = await trader.execution.PreviewOrder(
        pb.PreviewOrderRequest(order=order), metadata=trader.metadata
    )
    return answer


async def test_a_preview_says_what_placing_does_and_keeps_nothing(trader: Trader, street: Street) -> None:
    await street.shows(hyperliquid=ASKS, lighter=ASKS)
    before = await trader.execution.ListOrders(pb.ListOrdersRequest(page_size=1), metadata=trader.metadata)
    request_id = str(uuid.uuid4())
    seen = await preview(trader, size="2", request_id=request_id)
    assert seen.passes, seen
    assert not seen.refusals
    after = await trader.execution.ListOrders(pb.ListOrdersRequest(page_size=1), metadata=trader.metadata)
    assert [one.order_id for one in after.orders] == [one.order_id for one in before.orders], "nothing is kept"
    order = await bought(trader, "2", request_id=request_id)
    assert [(leg.venue, leg.size, leg.limit_price) for leg in order.legs] == [
        (leg.venue, leg.size, leg.limit_price) for leg in seen.legs
    ]
    assert seen.expected_cost == (await report_of(trader, order.order_id)).quoted_cost
    assert D(seen.initial_margin) == sum(D(leg.initial_margin) for leg in seen.legs) > 0
    assert all(D(leg.free_margin) > D(leg.initial_margin) for leg in seen.legs)
    assert D(seen.max_size) > 2


@pytest.mark.parametrize(
    ("reason", "fields"),
    [
        ("INSUFFICIENT_LIQUIDITY", {"size": "100000"}),
        ("SIZE_TOO_SMALL", {"size": "0.00000001"}),
        ("PRICE_OFF_TICK", {"size": "1", "type": 2, "limit_price": "1998.123456", "venue": "lighter"}),
        ("POST_ONLY_CROSSED", {"size": "1", "type": 2, "time_in_force": 3, "limit_price": "2005", "venue": "lighter"}),
        ("INSUFFICIENT_MARGIN", {"size": "99999", "type": 2, "limit_price": "1998", "venue": "lighter"}),
        ("SIZE_TOO_SMALL", {"size": "0.0001", "type": 2, "limit_price": "1998", "venue": "lighter"}),
    ],
)
async def test_what_would_not_pass_is_named_with_what_would(
    trader: Trader, street: Street, reason: str, fields: dict[str, Any]
) -> None:
    await street.shows(hyperliquid=ASKS, lighter=ASKS)
    seen = await preview(trader, **fields)
    assert not seen.passes
    assert not seen.expected_cost
    named = {refusal_pb2.RefusalReason.Name(one.reason).removeprefix("REFUSAL_REASON_"): one for one in seen.refusals}
    found = named.get(reason) or next(
        (one for name, one in named.items() if name.startswith(("SIZE", "NOTIONAL"))), None
    )
    assert found is not None, seen
    assert found.passing_value, found
    mended = await preview(trader, **{**fields, found.field: found.passing_value})
    assert mended.passes, mended


async def test_every_denial_is_named_at_once(trader: Trader, street: Street) -> None:
    await street.shows(hyperliquid=ASKS, lighter=ASKS)
    seen = await preview(
        trader, size="90000", side=side_pb2.SIDE_SELL, type=2, time_in_force=3, limit_price="1990", venue="hyperliquid"
    )
    names = {refusal_pb2.RefusalReason.Name(one.reason) for one in seen.refusals}
    # The vault's look at the mark prices may still be of before the books were set: then the band is named too.
    assert names - {"REFUSAL_REASON_PRICE_OUT_OF_BAND"} == {
        "REFUSAL_REASON_POST_ONLY_CROSSED", "REFUSAL_REASON_INSUFFICIENT_MARGIN",
    }, seen  # fmt: skip


async def test_the_socket_tells_its_caller_of_orders_fills_and_positions_and_nobody_else(
    trader: Trader, street: Street, mesh: Mesh, edge: grpc.aio.Channel
) -> None:
    await street.shows(hyperliquid=ASKS, lighter=ASKS)
    other = await new_trader(mesh, edge, ())
    async with connect(f"ws://{mesh.edge}/v1/ws") as mine, connect(f"ws://{mesh.edge}/v1/ws") as theirs:
        for socket, who in ((mine, trader), (theirs, other)):
            await ask(socket, subscribe={"topics": ["orders"]})
            assert (await heard(socket, "status"))["status"]["reason"] == "TOKEN_MISSING"
            token = dict(who.metadata)["authorization"].removeprefix("Bearer ")
            await ask(socket, authenticate={"access_token": token})
            await heard(socket, "authenticated")
            await ask(socket, subscribe={"topics": ["orders", "fills", "positions"]})
            live = {(await heard(socket, "live"))["topic"] for _ in range(3)}
            assert live == {"orders", "fills", "positions"}
        order = await bought(trader, "0.5")
        states: list[str] = []
        cursor = ""
        while not states or states[-1] != "STATE_DONE":
            frame = await heard(mine, "order")
            if frame["order"]["order_id"] == order.order_id:
                states.append(frame["order"]["state"])
                cursor = cursor or frame["cursor"]
        versions = len(states)
        await ask(theirs, ping={})
        await heard(theirs, "pong", never=("order", "fill", "position"))
    async with connect(f"ws://{mesh.edge}/v1/ws") as again:
        await ask(again, authenticate={"access_token": dict(trader.metadata)["authorization"].removeprefix("Bearer ")})
        await ask(again, subscribe={"topics": ["orders"], "cursor": cursor})
        resumed = [(await heard(again, "order"))["order"] for _ in range(versions - 1)]
        assert [one["state"] for one in resumed if one["order_id"] == order.order_id] == states[1:], (
            "none lost or twice"
        )
        await ask(again, subscribe={"topics": ["fills"]})
        filled = D(0)
        while filled < D("0.5"):
            frame = await heard(again, "fill")
            filled += D(frame["fill"]["size"]) if frame["fill"]["order_id"] == order.order_id else 0
        await ask(again, subscribe={"topics": ["positions"]})
        assert (await heard(again, "position"))["position"]["market"] == ETH


async def test_what_the_vault_would_not_sign_is_named_and_nothing_is_counted(trader: Trader, street: Street) -> None:
    await street.shows(hyperliquid=FAR, lighter=ASKS)
    owner = trader.owners["lighter"]

    async def limited(**limits: Any) -> None:
        request = vault_service_pb2.SetTradingLimitsRequest(
            account_id=owner.account_id, limits=account_pb2.TradingLimits(**limits)
        )
        await owner.vault.SetTradingLimits(request, metadata=trader.metadata)

    await limited(max_order_notional="100")
    seen = await preview(trader, size="1", venue="lighter")
    names = [refusal_pb2.RefusalReason.Name(one.reason) for one in seen.refusals]
    assert names == ["REFUSAL_REASON_TRADING_LIMIT"], seen
    await limited(max_order_notional="10000", max_orders_per_minute=1_000)
    assert [(await preview(trader, size="1", venue="lighter")).passes for _ in range(3)] == [True] * 3
    await limited()


async def ask(socket: ClientConnection, **frame: Any) -> None:
    await socket.send(json.dumps(frame))


async def heard(socket: ClientConnection, event: str, never: Sequence[str] = ()) -> dict[str, Any]:
    """Read on until a frame carries `event`."""
    async with asyncio.timeout(30):
        while True:
            frame: dict[str, Any] = json.loads(await socket.recv())
            assert not set(never) & set(frame), frame
            if event in frame:
                return frame


async def test_a_report_is_its_owners(trader: Trader, mesh: Mesh, edge: grpc.aio.Channel) -> None:
    listed = await trader.execution.ListOrders(pb.ListOrdersRequest(page_size=1), metadata=trader.metadata)
    other = await new_trader(mesh, edge, ())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await report_of(other, listed.orders[0].order_id)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_the_log_tells_every_end_once_and_portfolio_adds_them_up(
    trader: Trader, street: Street, mesh: Mesh, edge: grpc.aio.Channel
) -> None:
    await street.shows(hyperliquid=ASKS, lighter=ASKS)
    first = await quality(trader, edge)
    order = await bought(trader, "2")
    async with asyncio.timeout(30):
        now = await quality(trader, edge)
        while now.total.order_count == first.total.order_count:
            await asyncio.sleep(0.1)
            now = await quality(trader, edge)
    events = await log_of(mesh)
    told = [one for one in events if one.execution_reported.report.order_id == order.order_id]
    assert len(told) == 1
    changed = [one.sequence for one in events if one.order_changed.order.order_id == order.order_id]
    done = next(one for one in events if one.order_changed.order.order_id == order.order_id
                and one.order_changed.order.state == order_pb2.Order.STATE_DONE)  # fmt: skip
    assert told[0].sequence > done.sequence >= changed[0]
    said = told[0].execution_reported
    assert said.environment == environment_pb2.ENVIRONMENT_SIMULATED
    assert {one.venue for one in said.single_venue_costs} == {"hyperliquid", "lighter"}
    ended = {one.execution_reported.report.order_id for one in events if one.HasField("execution_reported")}
    reports = [one.execution_reported for one in events if one.HasField("execution_reported")]
    assert len(reports) == len(ended), "each once"
    mine = [one for one in reports if one.account_id and one.report.quote_id]
    assert now.total.order_count == len(mine)
    assert now.unrouted_order_count == sum(1 for one in reports if one.account_id and not one.report.quote_id)
    assert D(now.total.achieved_cost) == sum(D(one.report.achieved_cost) for one in mine)
    saving = {one.venue: D(one.saving) for one in now.total.venue_comparisons}
    assert set(saving) == {"hyperliquid", "lighter"}
    by_venue = {one.venue for one in now.groups}
    assert {"", "hyperliquid", "lighter"} >= by_venue > set()


async def quality(trader: Trader, edge: grpc.aio.Channel) -> Any:
    request = analytics_service_pb2.GetExecutionQualityRequest(groupings=[performance_pb2.GROUPING_VENUE])
    answer = await AnalyticsServiceStub(edge).GetExecutionQuality(request, metadata=trader.metadata)
    return answer.execution_quality


async def log_of(mesh: Mesh) -> list[Any]:
    """Return the whole log, as portfolio reads it."""
    found: list[Any] = []
    async with mesh.channel("execution", part="portfolio") as channel:
        while True:
            request = operator_service_pb2.ReadLogRequest(from_sequence=len(found) + 1, event_count_max=1_000)
            answer = await OperatorServiceStub(channel).ReadLog(request)
            found += answer.events
            if len(found) >= answer.last_sequence:
                return found
