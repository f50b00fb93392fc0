"""Somebody who trades at both simulated venues of a whole mesh, and who scripts their books."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Any

import aiohttp
import grpc
from perpmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1 import leg_pb2, order_pb2
from perpmesh.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub
from perpmesh.routing.v1 import quote_pb2
from perpmesh.routing.v1 import routing_service_pb2 as routing
from perpmesh.routing.v1.routing_service_pb2_grpc import RoutingServiceStub
from perpmesh.type.v1 import order_type_pb2, side_pb2
from perpmesh.vault.v1.vault_service_pb2_grpc import VaultServiceStub
from perpmesh_client.certificate import check_quote
from perpmesh_client.quotes import route

from tests.support.auth import bearer, sign_in
from tests.support.mesh import Mesh
from tests.support.vault import Owner, own
from tests.support.waiting import until
from tests.support.wallet import Wallet

State = order_pb2.Order
ENDED = (
    State.STATE_DONE, State.STATE_PARTIALLY_DONE, State.STATE_CANCELED, State.STATE_REJECTED, State.STATE_DENIED,
    State.STATE_FAILED, State.STATE_EXPIRED, State.STATE_ABORTED,
)  # fmt: skip
VENUES = ("hyperliquid", "lighter")
WAIT_S = 90.0
UNIT = Decimal("0.000001")

Levels = list[tuple[str, str]]
Book = dict[str, tuple[Levels, Levels]]
"""Bids and asks of each venue."""


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
        """Make the venues' books, and wait until quotes are made from them.

        Other books come first: what trades before left of the same ones may still be on its way to the router.
        """
        doubled: Book = {venue: (_doubled(bids), _doubled(asks)) for venue, (bids, asks) in book.items()}
        for one in (doubled, book):
            await self._scripted(coin, one, mark)

    async def _scripted(self, coin: str, book: Book, mark: str) -> None:
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

    async def waits(self, order_id: str) -> order_pb2.Order:
        """Return an order once every leg of it waits at its venue, or it has ended."""
        return await until(
            lambda: self.get(order_id),
            lambda order: order.state in ENDED or all(leg.state == leg_pb2.Leg.STATE_OPEN for leg in order.legs),
            timeout_s=WAIT_S,
            why="every leg waits at its venue",
        )

    async def traded(self, coin: str, side: str, size: str) -> tuple[quote_pb2.Quote, order_pb2.Order]:
        """Quote and place an order that cites the quote; once more where that took longer than the quote lived."""
        for _ in range(5):
            quote = await until(
                lambda: self.quote(coin, side, size),
                lambda quote: not quote.left_out,
                timeout_s=WAIT_S,
                why="both venues are in the quote: on a busy machine one is stale now and then",
            )
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


def _doubled(levels: Levels) -> Levels:
    return [(price, str(2 * Decimal(size))) for price, size in levels]


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


async def new_desk(mesh: Mesh, edge: grpc.aio.Channel, http: aiohttp.ClientSession) -> Desk:
    wallet = Wallet()
    token = (await sign_in(AuthServiceStub(edge), wallet)).access_token
    owners = {}
    for venue in VENUES:
        owner = await own(VaultServiceStub(edge), wallet, token, venue, default=True)
        await until(lambda owner=owner: ready(owner), bool, timeout_s=WAIT_S, why="the account can trade")  # type: ignore[misc]
        owner.account = (await owner.get()).account
        owners[venue] = owner
    return Desk(mesh, ExecutionServiceStub(edge), RoutingServiceStub(edge), bearer(token), owners, http)


async def ready(owner: Owner) -> bool:
    """Fund an account and set up its key; False while its venue does not know it yet, or does not answer."""
    try:
        await owner.ready()
    except grpc.aio.AioRpcError as error:
        if error.code() not in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNAVAILABLE):
            raise
        return False
    return True
