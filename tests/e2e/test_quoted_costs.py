"""What a quote says is what its execution costs: both simulated venues, scripted books, orders through the edge.

Books stand still, so that the venues trade against what the quote was made from. Costs are compared with the fills as
they are listed and with the venues' own journals.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
from perpmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1 import leg_pb2, order_pb2
from perpmesh.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub
from perpmesh.routing.v1 import quote_pb2
from perpmesh.routing.v1 import routing_service_pb2 as routing
from perpmesh.routing.v1.routing_service_pb2_grpc import RoutingServiceStub
from perpmesh.type.v1 import cost_pb2, order_type_pb2, refusal_pb2, side_pb2, time_in_force_pb2
from perpmesh.vault.v1.vault_service_pb2_grpc import VaultServiceStub
from perpmesh_client.certificate import check_quote
from perpmesh_client.quotes import route

from tests.support.auth import bearer, sign_in
from tests.support.mesh import Mesh, running_mesh
from tests.support.vault import Owner, own
from tests.support.waiting import until
from tests.support.wallet import Wallet

pytestmark = pytest.mark.asyncio(loop_scope="module")
State = order_pb2.Order
ENDED = (
    State.STATE_DONE, State.STATE_PARTIALLY_DONE, State.STATE_CANCELED, State.STATE_REJECTED, State.STATE_DENIED,
    State.STATE_FAILED, State.STATE_EXPIRED,
)  # fmt: skip
VENUES = ("hyperliquid", "lighter")
WAIT_S = 60.0
UNIT = Decimal("0.000001")

Levels = list[tuple[str, str]]
Book = dict[str, tuple[Levels, Levels]]
"""Bids and asks of each venue."""

WHOLE_FEES: Book = {
    "hyperliquid": (
        [("83990", "0.2"), ("83980", "0.1"), ("83960", "1")], [("84000", "0.1"), ("84020", "0.2"), ("84040", "1")],
    ),
    "lighter": (
        [("83960", "0.2"), ("83940", "0.3"), ("83900", "1")], [("84030", "0.15"), ("84050", "0.3"), ("84100", "1")],
    ),
}  # fmt: skip
"""BTC, whose lots are equal: a fee of 0.045 % is whole millionths at every level."""
CUT_FEES: Book = {
    "hyperliquid": (
        [("83991", "0.20007"), ("83983", "0.10003"), ("83967", "1")],
        [("84001", "0.10003"), ("84023", "0.20007"), ("84041", "1")],
    ),
    "lighter": (
        [("83961.7", "0.20009"), ("83943.3", "0.30001"), ("83900.1", "1")],
        [("84031.3", "0.15001"), ("84053.9", "0.30007"), ("84100.1", "1")],
    ),
}
"""BTC, where every fee is cut."""
MIXED_LOTS: Book = {
    "hyperliquid": (
        [("133.31", "20.13"), ("133.27", "10.07"), ("133.2", "90")],
        [("133.42", "10.11"), ("133.46", "20.03"), ("133.52", "90")],
    ),
    "lighter": (
        [("133.281", "7.313"), ("133.262", "20.001"), ("133.2", "90")],
        [("133.441", "7.777"), ("133.471", "20.003"), ("133.5", "90")],
    ),
}
"""SOL, whose lots are 0.01 at Hyperliquid and 0.001 at Lighter."""


@dataclass
class Desk:
    """Somebody who trades, and who scripts the venues' books."""

    mesh: Mesh
    execution: Any
    routing: Any
    metadata: tuple[tuple[str, str], ...]
    owners: dict[str, Owner]
    http: aiohttp.ClientSession

    async def script(self, coin: str, book: Book, mark: str) -> None:
        """Make the venues' books, and wait until quotes are made from them."""
        steps: list[dict[str, Any]] = []
        for venue, (bids, asks) in book.items():
            steps.append({"do": "set_figures", "venue": venue, "market": coin, "mark": mark, "index": mark})
            steps.append({"do": "set_book", "venue": venue, "market": coin, "bids": bids, "asks": asks})
        await self.control("POST", "source", {"kind": "script", "steps": steps})
        for side, at in (("buy", 1), ("sell", 0)):
            wanted = {venue: numbers(levels[at]) for venue, levels in book.items()}
            await until(
                lambda side=side: self.seen(coin, side),  # type: ignore[misc]
                lambda seen, wanted=wanted: seen == wanted,  # type: ignore[misc]
                timeout_s=WAIT_S,
                why=f"the scripted books of {coin} reach the router",
            )

    async def control(self, method: str, path: str, body: object = None, **query: str) -> Any:
        url = f"http://{self.mesh.address('simulator.control')}/control/{path}"
        async with self.http.request(method, url, json=body, params=query) as answer:
            told = await answer.json()
            assert answer.status == 200, told
            return told

    async def seen(self, coin: str, side: str) -> dict[str, list[tuple[Decimal, Decimal]]]:
        """Return the levels that the router has, by venue; an impossible size shows all of them."""
        wish = route(f"{coin}-PERP", side, "100000", max_slippage_bps=9_999)
        try:
            quote = (await self.routing.QuoteRoute(routing_request(wish))).quote
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return {}
        return {one.venue: numbers([(level.price, level.size) for level in one.levels]) for one in quote.inputs.venues}

    async def quote(self, coin: str, side: str, size: str) -> quote_pb2.Quote:
        quote = (await self.routing.QuoteRoute(route(f"{coin}-PERP", side, size))).quote
        assert quote.outcome == quote_pb2.Quote.OUTCOME_FEASIBLE, quote.explanation
        assert check_quote(quote) == []
        return quote  # type: ignore[no-any-return]

    async def place(self, **fields: Any) -> order_pb2.Order:
        request = pb.PlaceOrderRequest(request_id=str(uuid.uuid4()), **fields)
        return (await self.execution.PlaceOrder(request, metadata=self.metadata)).order

    async def get(self, order_id: str) -> order_pb2.Order:
        return (await self.execution.GetOrder(pb.GetOrderRequest(order_id=order_id), metadata=self.metadata)).order

    async def ended(self, order_id: str) -> order_pb2.Order:
        return await until(
            lambda: self.get(order_id), lambda order: order.state in ENDED, timeout_s=WAIT_S, why="the order ends"
        )

    async def traded(self, coin: str, side: str, size: str) -> tuple[quote_pb2.Quote, order_pb2.Order]:
        """Quote and place an order that cites the quote; once more where that took longer than the quote lived."""
        for _ in range(5):
            quote = await self.quote(coin, side, size)
            order = await self.place(
                market=quote.market, side=quote.side, size=quote.size, quote_id=quote.quote_id,
                type=order_type_pb2.ORDER_TYPE_MARKET,
            )  # fmt: skip
            if order.state != State.STATE_DENIED:
                return quote, await self.ended(order.order_id)
        raise AssertionError(f"no quote lived long enough: {order}")

    async def done(
        self, coin: str, side: str, size: str, book: Book, mark: str
    ) -> tuple[quote_pb2.Quote, order_pb2.Order]:
        """Trade on scripted books; once more where a busy machine sent bytes so late that they had expired."""
        told = []
        for _ in range(4):
            await self.script(coin, book, mark)
            quote, order = await self.traded(coin, side, size)
            if order.state == State.STATE_DONE:
                return quote, order
            told.append(story(order))
        raise AssertionError("\n".join(told))

    async def fills(self, order_id: str) -> list[Any]:
        request = pb.ListFillsRequest(order_id=order_id, page_size=500)
        return list((await self.execution.ListFills(request, metadata=self.metadata)).fills)

    async def journal(self, venue: str, clients: set[str]) -> tuple[Decimal, Decimal]:
        """Return (notional, fees) of orders as the venue's own journal has them, in units of its own."""
        account = str(self.owners[venue].account.venue_account or self.owners[venue].wallet.address)
        entries = (await self.control("GET", "accounts/journal", venue=venue, account=account, limit="10000"))[
            "entries"
        ]
        fills = [
            one["body"] for one in entries if one["kind"] == "fill" and number_of(one["body"]["client"]) in clients
        ]
        return (
            sum((Decimal(one["price"]) * one["size"] for one in fills), Decimal(0)),
            sum((Decimal(one["fee"]) for one in fills), Decimal(0)),
        )


def story(order: order_pb2.Order) -> str:
    """Return what became of an order, leg by leg."""
    legs = [
        f"{leg.venue} {leg.size} at {leg.limit_price}: {leg_pb2.Leg.State.Name(leg.state)} by "
        f"{leg_pb2.Leg.Evidence.Name(leg.evidence)}, {leg.filled_size} filled, sent {leg.send_count}; "
        f"{leg.create_time.ToJsonString()} {leg.submit_time.ToJsonString()} {leg.update_time.ToJsonString()}"
        for leg in order.legs
    ]
    return "\n".join([order.explanation, *legs])


def routing_request(wish: routing.QuoteRouteRequest) -> routing.QuoteRouteRequest:
    """Return the wish with its inputs asked for."""
    wish.include_inputs = True
    return wish


def numbers(levels: Levels) -> list[tuple[Decimal, Decimal]]:
    """Return levels as numbers."""
    return [(Decimal(price), Decimal(size)) for price, size in levels]


def number_of(client: Any) -> str:
    """Return a client order id as the number it is."""
    text = str(client or 0)
    return str(int(text, 16) if text.startswith("0x") else int(text))


def sign(quote: quote_pb2.Quote) -> int:
    """Return 1 for a buy, -1 for a sale."""
    return 1 if quote.side == side_pb2.SIDE_BUY else -1


def cost_of(quote: quote_pb2.Quote, fills: list[Any]) -> Decimal:
    """Return what fills cost beyond trading their size at the quote's arrival mid price: the quote's own measure."""
    mid = Decimal(quote.arrival_mid_price)
    walked = sum((Decimal(one.price) * Decimal(one.size) - mid * Decimal(one.size) for one in fills), Decimal(0))
    return sign(quote) * walked + sum((Decimal(one.total_cost) for one in fills), Decimal(0))


def cuts_of(quote: quote_pb2.Quote) -> Decimal:
    """Return what the venues cut of the fees where one maker stands behind each level: less than a unit a level."""
    total = Decimal(0)
    venues = {one.venue: one for one in quote.inputs.venues}
    for leg in quote.legs:
        left = Decimal(leg.size)
        for level in venues[leg.venue].levels:
            taken = min(left, Decimal(level.size))
            fee = taken * Decimal(level.price) * Decimal(venues[leg.venue].taker_fee_rate)
            total, left = total + fee - fee.quantize(UNIT, rounding=ROUND_DOWN), left - taken
        assert not left
    return total


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def desk() -> AsyncIterator[Desk]:
    """A mesh whose quotes live long, so that a busy machine does not outlive them, and a trader with an account at each
    venue."""
    settings = {
        "simulator_seed": 31, "ip_requests_per_s": 100_000, "simulator_lighter_requests_max": 0,
        "quote_life_min_s": 10, "quote_life_max_s": 10,
    }  # fmt: skip
    async with (
        running_mesh(**settings) as mesh,
        grpc.aio.insecure_channel(mesh.edge) as edge,
        aiohttp.ClientSession() as http,
    ):
        yield await new_desk(mesh, edge, http)


async def new_desk(mesh: Mesh, edge: grpc.aio.Channel, http: aiohttp.ClientSession) -> Desk:
    wallet = Wallet()
    token = (await sign_in(AuthServiceStub(edge), wallet)).access_token
    owners = {}
    for venue in VENUES:
        owner = await own(VaultServiceStub(edge), wallet, token, venue, default=True)
        await owner.ready()
        owner.account = (await owner.get()).account
        owners[venue] = owner
    return Desk(mesh, ExecutionServiceStub(edge), RoutingServiceStub(edge), bearer(token), owners, http)


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize(
    ("coin", "book", "mark", "size", "exact"),
    [
        pytest.param("BTC", WHOLE_FEES, "84000", "0.4", True, id="whole fees, equal lots"),
        pytest.param("BTC", CUT_FEES, "84000", "0.41013", False, id="cut fees, equal lots"),
        pytest.param("SOL", MIXED_LOTS, "133.4", "40.123", False, id="cut fees, unequal lots"),
    ],
)
async def test_an_executed_plan_costs_its_quote_to_the_last_unit(
    desk: Desk, coin: str, book: Book, mark: str, size: str, exact: bool, side: str
) -> None:
    quote, order = await desk.done(coin, side, size, book, mark)
    assert len(quote.legs) == 2, "the books are such that a split is the cheapest"
    assert order.quote_id == quote.quote_id
    assert {leg.venue: leg.size for leg in order.legs} == {leg.venue: leg.size for leg in quote.legs}
    fills = await desk.fills(order.order_id)
    assert len(fills) == sum(leg.level_count for leg in quote.legs), "one maker stands behind each level"
    cuts = cuts_of(quote)
    assert (cuts == 0) == exact
    assert cost_of(quote, fills) == Decimal(quote.total_cost) - cuts
    assert cuts <= Decimal(quote.fee_truncation_bound)
    for leg in order.legs:  # what is listed is what the venues themselves wrote down
        mine = [one for one in fills if one.venue == leg.venue]
        fee = sum(
            Decimal(line.amount) for one in mine for line in one.costs if line.kind == cost_pb2.COST_KIND_VENUE_FEE
        )
        notional, charged = await desk.journal(leg.venue, {number_of(leg.venue_client_id)})
        assert charged * UNIT == fee
        assert notional * UNIT == sum(Decimal(one.price) * Decimal(one.size) for one in mine)


@pytest.mark.parametrize("side", ["buy", "sell"])
async def test_with_several_makers_behind_a_level_the_cost_is_within_the_bound(desk: Desk, side: str) -> None:
    await desk.script("BTC", CUT_FEES, "84000")
    async with grpc.aio.insecure_channel(desk.mesh.edge) as edge:
        other = await new_desk(desk.mesh, edge, desk.http)
        at = 1 if side == "buy" else 0
        resting = []
        for venue in VENUES:
            for price, _ in CUT_FEES[venue][at][:2]:
                order = await other.place(
                    market="BTC-PERP", side=side_pb2.SIDE_SELL if at else side_pb2.SIDE_BUY, size="0.00333",
                    type=order_type_pb2.ORDER_TYPE_LIMIT, limit_price=price, venue=venue,
                    time_in_force=time_in_force_pb2.TIME_IN_FORCE_POST_ONLY,
                )  # fmt: skip
                resting.append(order.order_id)
        wanted = {
            venue: [
                (price, size + (Decimal("0.00333") if place < 2 else 0))
                for place, (price, size) in enumerate(numbers(CUT_FEES[venue][at]))
            ]
            for venue in VENUES
        }
        await until(
            lambda: desk.seen("BTC", side),
            lambda seen: seen == wanted,
            timeout_s=WAIT_S,
            why="the makers are in the book",
        )
        quote, order = await desk.traded("BTC", side, "0.41013")
        assert order.state == State.STATE_DONE, (
            f"{order.explanation} {[(one.venue, one.filled_size, one.size, one.refusal.message) for one in order.legs]}"
        )
        fills = await desk.fills(order.order_id)
        assert len(fills) > sum(leg.level_count for leg in quote.legs), "two makers stand behind a level"
        saved = Decimal(quote.total_cost) - cost_of(quote, fills)
        assert 0 < saved <= Decimal(quote.fee_truncation_bound)
        for order_id in resting:
            await other.execution.CancelOrder(pb.CancelOrderRequest(order_id=order_id), metadata=other.metadata)
        for order_id in resting:
            await other.ended(order_id)


async def test_a_venue_that_goes_stale_between_quote_and_use_ends_the_quote_and_is_left_out(desk: Desk) -> None:
    await desk.script("BTC", WHOLE_FEES, "84000")
    quote = await desk.quote("BTC", "buy", "0.4")
    assert {leg.venue for leg in quote.legs} == set(VENUES)
    await desk.control("POST", "faults", {"kind": "mute", "venue": "lighter"})
    try:
        await until(
            lambda: desk.quote("BTC", "buy", "0.2"),
            lambda seen: [one.venue for one in seen.left_out] == ["lighter"],
            timeout_s=WAIT_S,
            why="a silent venue is left out",
        )
        wish = {"market": quote.market, "side": quote.side, "type": order_type_pb2.ORDER_TYPE_MARKET}
        cited = await desk.place(size=quote.size, quote_id=quote.quote_id, **wish)
        assert cited.state == State.STATE_DENIED, story(cited)
        assert (cited.refusal.reason, cited.refusal.field) == (refusal_pb2.REFUSAL_REASON_QUOTE_EXPIRED, "quote_id")
        assert cited.refusal.advice
        order = await desk.ended((await desk.place(size="0.2", **wish)).order_id)
        assert [leg.venue for leg in order.legs] == ["hyperliquid"]
    finally:
        await desk.control("DELETE", "faults")


async def test_an_order_that_waits_is_placed_by_the_rule_and_a_cited_split_at_both_venues(desk: Desk) -> None:
    await desk.script("BTC", WHOLE_FEES, "84000")
    rests = time_in_force_pb2.TIME_IN_FORCE_GOOD_TILL_CANCELED
    wish = {"market": "BTC-PERP", "side": side_pb2.SIDE_BUY, "type": order_type_pb2.ORDER_TYPE_LIMIT,
            "limit_price": "83500", "time_in_force": rests}  # fmt: skip
    alone = await desk.place(size="0.02", **wish)
    assert [leg.venue for leg in alone.legs] == ["lighter"], "a maker pays nothing there, and nobody stands before it"
    asked = route("BTC-PERP", "buy", "0.02", limit_price="83500")
    asked.time_in_force, asked.split_resting = rests, True
    orders = [alone.order_id]
    for _ in range(5):
        quote = (await desk.routing.QuoteRoute(routing_request(asked))).quote
        assert check_quote(quote) == []
        both = await desk.place(size="0.02", quote_id=quote.quote_id, **wish)
        if both.state != State.STATE_DENIED:
            break
    assert {leg.venue: leg.size for leg in both.legs} == {"hyperliquid": "0.01", "lighter": "0.01"}, story(both)
    orders.append(both.order_id)
    for order_id in orders:
        await until(
            lambda order_id=order_id: desk.get(order_id),  # type: ignore[misc]
            lambda order: all(leg.state == leg_pb2.Leg.STATE_OPEN for leg in order.legs),
            timeout_s=WAIT_S,
            why="every leg waits at its venue",
        )
        await desk.execution.CancelOrder(pb.CancelOrderRequest(order_id=order_id), metadata=desk.metadata)
        assert (await desk.ended(order_id)).state == State.STATE_CANCELED
