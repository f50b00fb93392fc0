"""Orders: placed once whatever dies on the way, canceled, listed, followed to the last fill, and closed again.

    async with Login("127.0.0.1:8080", KeyWallet(key)) as login, Perpmesh("127.0.0.1:8080", token=login) as mesh:
        order = await mesh.orders.place("BTC-PERP", "buy", "0.5")
        async for fill in mesh.orders.follow(order.order_id):
            print(fill.venue, fill.size, fill.price)
        await mesh.orders.close_position("BTC-PERP")

What comes back are the contract's own messages (`perpmesh.execution.v1`). Every call raises `PerpmeshError`. An order
that is denied or rejected is an answer, with its reason, and no error.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from decimal import Decimal

from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1 import fill_pb2, order_pb2, report_pb2
from perpmesh.type.v1 import order_type_pb2, side_pb2, size_unit_pb2, time_in_force_pb2

from perpmesh_client.errors import PerpmeshError
from perpmesh_client.part import REPEAT_S
from perpmesh_client.steering import Steering, text
from perpmesh_client.transport import Token

REPEAT_TIMEOUT_S = 60.0
"""How long a call is repeated while the mesh does not answer."""
PAGE_MAX = 1_000
FOLLOW_REPLAY, FOLLOW_MAX = 100, 100_000
"""How many fills that came just before are asked for when an order is followed, and the most that one may have."""
SIDES = {"buy": side_pb2.SIDE_BUY, "sell": side_pb2.SIDE_SELL}
LIFETIMES = {
    "": time_in_force_pb2.TIME_IN_FORCE_UNSPECIFIED,
    "gtc": time_in_force_pb2.TIME_IN_FORCE_GOOD_TILL_CANCELED,
    "ioc": time_in_force_pb2.TIME_IN_FORCE_IMMEDIATE_OR_CANCEL,
    "post-only": time_in_force_pb2.TIME_IN_FORCE_POST_ONLY,
}
ENDED = frozenset(
    {
        order_pb2.Order.STATE_DONE,
        order_pb2.Order.STATE_PARTIALLY_DONE,
        order_pb2.Order.STATE_CANCELED,
        order_pb2.Order.STATE_EXPIRED,
        order_pb2.Order.STATE_DENIED,
        order_pb2.Order.STATE_REJECTED,
        order_pb2.Order.STATE_FAILED,
        order_pb2.Order.STATE_ABORTED,
    }
)
"""The states that nothing follows."""

__all__ = ["ENDED", "LIFETIMES", "SIDES", "Orders", "wish"]


def wish(
    market: str,
    side: str,
    size: Decimal | str,
    *,
    limit_price: Decimal | str | None = None,
    venue: str = "",
    time_in_force: str = "",
    reduce_only: bool = False,
    quote_id: str = "",
    max_slippage_bps: int | None = None,
    client_order_id: str = "",
    request_id: str = "",
    account_ids: Sequence[str] = (),
    in_usd: bool = False,
    stop_price: Decimal | str | None = None,
    target_price: Decimal | str | None = None,
    take_profit: Decimal | str | None = None,
    stop_loss: Decimal | str | None = None,
    expire_time: datetime | None = None,
    twap: timedelta | None = None,
    slice_interval: timedelta | None = None,
    randomize: bool = False,
) -> pb.PlaceOrderRequest:
    """Return an order to place: a limit order where `limit_price` is given, else a market order.

    `size` is in units of the base asset, or in USD where `in_usd`; prices are in USD. Without `venue` it is routed.
    `time_in_force` is `gtc`, `ioc` or `post-only`. With `stop_price` or `target_price` it is a stop or a take-profit,
    which waits for the mark price and only reduces. `take_profit` and `stop_loss` protect what it fills. `twap` is how
    long it is sliced over. Without `request_id` it gets a new one; the same one again is the same order.
    """
    if side not in SIDES:
        raise ValueError(f"side must be buy or sell, not {side!r}")
    if time_in_force not in LIFETIMES:
        raise ValueError(f"time_in_force must be gtc, ioc or post-only, not {time_in_force!r}")
    if sum(one is not None for one in (stop_price, target_price, twap)) > 1:
        raise ValueError("an order is one of stop_price, target_price and twap")
    request = pb.PlaceOrderRequest(
        request_id=request_id or str(uuid.uuid4()),
        market=market,
        side=SIDES[side],
        size=text(size),
        size_unit=size_unit_pb2.SIZE_UNIT_USD if in_usd else size_unit_pb2.SIZE_UNIT_UNSPECIFIED,
        type=_type(limit_price is not None, stop_price is not None, target_price is not None, twap is not None),
        time_in_force=LIFETIMES[time_in_force],
        reduce_only=reduce_only or stop_price is not None or target_price is not None,
        venue=venue,
        client_order_id=client_order_id,
        account_ids=account_ids,
    )
    if limit_price is not None:
        request.limit_price = text(limit_price)
    trigger = target_price if stop_price is None else stop_price
    if trigger is not None:
        request.trigger_price = text(trigger)
    if quote_id:
        request.quote_id = quote_id
    if max_slippage_bps is not None:
        request.max_slippage_bps = max_slippage_bps
    if expire_time is not None:
        request.expire_time.FromDatetime(expire_time)
    if take_profit is not None:
        request.take_profit.trigger_price = text(take_profit)
    if stop_loss is not None:
        request.stop_loss.trigger_price = text(stop_loss)
    if twap is not None:
        _slice(request.twap, twap, slice_interval, randomize=randomize)
    return request


def _type(limited: bool, stops: bool, takes: bool, slices: bool) -> order_type_pb2.OrderType.ValueType:
    if slices:
        return order_type_pb2.ORDER_TYPE_TWAP
    if stops:
        return order_type_pb2.ORDER_TYPE_STOP_LIMIT if limited else order_type_pb2.ORDER_TYPE_STOP_MARKET
    if takes:
        return order_type_pb2.ORDER_TYPE_TAKE_PROFIT_LIMIT if limited else order_type_pb2.ORDER_TYPE_TAKE_PROFIT_MARKET
    return order_type_pb2.ORDER_TYPE_LIMIT if limited else order_type_pb2.ORDER_TYPE_MARKET


def _slice(terms: order_pb2.Twap, duration: timedelta, interval: timedelta | None, *, randomize: bool) -> None:
    terms.duration.FromTimedelta(duration)
    terms.randomize = randomize
    if interval is not None:
        terms.slice_interval.FromTimedelta(interval)


class Orders(Steering):
    """Asks execution, for the user of a token.

    A call that the mesh leaves unanswered is sent again, the same bytes with the same request id, for up to
    `repeat_timeout_s` seconds: what arrived the first time is answered and not done twice.
    """

    def __init__(
        self,
        address: str,
        *,
        token: Token | None,
        metadata: Mapping[str, str] | None = None,
        root_certificates: bytes | None = None,
        repeat_timeout_s: float = REPEAT_TIMEOUT_S,
    ) -> None:
        """Prepare; the first call connects. `token` is an access token, or what fetches one, such as a `Login`."""
        super().__init__(
            address, token=token, metadata=metadata, root_certificates=root_certificates, patience_s=repeat_timeout_s
        )

    async def place(
        self,
        market: str,
        side: str,
        size: Decimal | str,
        *,
        limit_price: Decimal | str | None = None,
        venue: str = "",
        time_in_force: str = "",
        reduce_only: bool = False,
        max_slippage_bps: int | None = None,
        quote_id: str = "",
    ) -> order_pb2.Order:
        """Place an order, by a quote where one is named; `submit` takes a `wish` with everything that can be wished."""
        request = wish(
            market, side, size, limit_price=limit_price, venue=venue, time_in_force=time_in_force,
            reduce_only=reduce_only, max_slippage_bps=max_slippage_bps, quote_id=quote_id,
        )  # fmt: skip
        return await self.submit(request)

    async def submit(self, request: pb.PlaceOrderRequest) -> order_pb2.Order:
        """Place an order as wished. When this fails unanswered, the order may exist: submit the same request again."""
        answer = await self._ask(self._stub().PlaceOrder, request)
        return answer.order

    async def get(self, order_id: str) -> order_pb2.Order:
        """Return an order as it stands."""
        request = pb.GetOrderRequest(order_id=order_id)
        answer = await self._ask(self._stub().GetOrder, request)
        return answer.order

    async def report(self, order_id: str) -> report_pb2.ExecutionReport:
        """Return what an order came to against its quote, line by line and cause by cause; what it is so far."""
        request = pb.GetExecutionReportRequest(order_id=order_id)
        answer = await self._ask(self._stub().GetExecutionReport, request)
        return answer.report

    async def preview(self, request: pb.PlaceOrderRequest) -> pb.PreviewOrderResponse:
        """Return what placing a `wish` would do, cost and bind, or all that stands in its way. Places nothing."""
        looked = pb.PreviewOrderRequest(order=request)
        return await self._ask(self._stub().PreviewOrder, looked)

    async def ended(self, order_id: str, *, timeout_s: float | None = 60.0) -> order_pb2.Order:
        """Return an order once nothing can happen to it anymore. Raises `TimeoutError` where it stays open longer."""
        async with asyncio.timeout(timeout_s):
            while True:
                order = await self.get(order_id)
                if order.state in ENDED:
                    return order
                await asyncio.sleep(REPEAT_S)

    async def follow(self, order_id: str) -> AsyncGenerator[fill_pb2.Fill, None]:
        """Yield every fill of an order, each once and as it comes, until nothing can happen to the order anymore."""
        news: asyncio.Queue[fill_pb2.Fill | PerpmeshError | None] = asyncio.Queue()

        async def live() -> None:
            async for fill in self.watch_fills(replay=FOLLOW_REPLAY):
                if fill.order_id == order_id:
                    news.put_nowait(fill)

        async def rest() -> None:
            await self.ended(order_id, timeout_s=None)
            for fill in reversed(await self.fills(order_id, limit=FOLLOW_MAX)):
                news.put_nowait(fill)
            news.put_nowait(None)

        async def told(source: Awaitable[None]) -> None:
            try:
                await source
            except PerpmeshError as error:
                news.put_nowait(error)

        known: set[str] = set()
        tasks = [asyncio.create_task(told(source)) for source in (live(), rest())]
        try:
            while (item := await news.get()) is not None:
                if isinstance(item, PerpmeshError):
                    raise item
                if item.fill_id not in known:
                    known.add(item.fill_id)
                    yield item
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close_position(
        self,
        market: str,
        *,
        venue: str = "",
        size: Decimal | str | None = None,
        limit_price: Decimal | str | None = None,
        max_slippage_bps: int | None = None,
        request_id: str = "",
    ) -> Sequence[order_pb2.Order]:
        """Close the position in a market, at every venue unless `venue` names one; return the orders that do it.

        All of it unless `size` says how much. The orders only reduce, so a close never opens. None is returned where
        nothing was open.
        """
        request = pb.ClosePositionRequest(request_id=request_id or str(uuid.uuid4()), market=market, venue=venue)
        if size is not None:
            request.size = text(size)
        if limit_price is not None:
            request.limit_price = text(limit_price)
        if max_slippage_bps is not None:
            request.max_slippage_bps = max_slippage_bps
        answer = await self._ask(self._stub().ClosePosition, request)
        return list(answer.orders)

    async def cancel(self, order_id: str) -> order_pb2.Order:
        """Ask for an order to be canceled; one that has ended is returned as it is."""
        return (await self.ask_cancel(order_id)).order

    async def cancel_all(self, *, market: str = "", venue: str = "") -> Sequence[str]:
        """Ask for every open order to be canceled, and return their ids."""
        request = pb.CancelAllOrdersRequest(market=market, venue=venue)
        answer = await self._ask(self._stub().CancelAllOrders, request)
        return list(answer.order_ids)

    async def list(
        self, *, market: str = "", venue: str = "", active_only: bool = False, limit: int = 100
    ) -> Sequence[order_pb2.Order]:
        """Return at most `limit` orders, the newest first."""
        request = pb.ListOrdersRequest(
            market=market, venue=venue, active_only=active_only, page_size=min(PAGE_MAX, limit)
        )
        return await self._pages(self._stub().ListOrders, request, lambda page: page.orders, limit=limit)

    async def fills(
        self, order_id: str = "", *, market: str = "", venue: str = "", limit: int = 1_000
    ) -> Sequence[fill_pb2.Fill]:
        """Return at most `limit` fills, of one order or of all, the newest first."""
        request = pb.ListFillsRequest(market=market, venue=venue, page_size=min(PAGE_MAX, limit))
        if order_id:
            request.order_id = order_id
        return await self._pages(self._stub().ListFills, request, lambda page: page.fills, limit=limit)

    async def watch_orders(self, *markets: str, cursor: str = "") -> AsyncGenerator[order_pb2.Order, None]:
        """Yield orders: those open, then every state of each. A broken stream is resumed where it was."""
        told = self._stream(
            self._stub().WatchOrders, lambda at: pb.WatchOrdersRequest(cursor=at, markets=markets), cursor=cursor
        )
        async with aclosing(told):
            async for message in told:
                if message.HasField("order"):
                    yield message.order

    async def watch_fills(
        self, *markets: str, replay: int = 0, cursor: str = ""
    ) -> AsyncGenerator[fill_pb2.Fill, None]:
        """Yield fills, each once: the last `replay` ones, then each as it comes. A broken stream is resumed."""

        def request_of(at: str) -> pb.WatchFillsRequest:
            return pb.WatchFillsRequest(cursor=at, markets=markets, replay_count=0 if at else replay)

        told = self._stream(self._stub().WatchFills, request_of, cursor=cursor)
        async with aclosing(told):
            async for message in told:
                if message.HasField("fill"):
                    yield message.fill
