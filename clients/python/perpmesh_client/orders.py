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
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from grpc import aio
from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1 import fill_pb2, order_pb2, report_pb2
from perpmesh.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub
from perpmesh.type.v1 import order_type_pb2, side_pb2, time_in_force_pb2

from perpmesh_client.errors import PerpmeshError, from_rpc
from perpmesh_client.transport import Endpoint, Token, open_channel

if TYPE_CHECKING:
    from perpmesh.execution.v1.execution_service_pb2_grpc import ExecutionServiceAsyncStub

CALL_TIMEOUT_S = 10.0
REPEAT_TIMEOUT_S = 60.0
"""How long a call is repeated while the mesh does not answer."""
REPEAT_S = 0.2
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

Answer = TypeVar("Answer")
Metadata = Sequence[tuple[str, str]]

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
) -> pb.PlaceOrderRequest:
    """Return an order to place: a limit order where `limit_price` is given, else a market order.

    `size` is in units of the base asset, prices in USD. Without `venue` it is routed. `time_in_force` is `gtc`, `ioc`
    or `post-only`. Without `request_id` it gets a new one; the same one again is the same order.
    """
    if side not in SIDES:
        raise ValueError(f"side must be buy or sell, not {side!r}")
    if time_in_force not in LIFETIMES:
        raise ValueError(f"time_in_force must be gtc, ioc or post-only, not {time_in_force!r}")
    limited = limit_price is not None
    request = pb.PlaceOrderRequest(
        request_id=request_id or str(uuid.uuid4()),
        market=market,
        side=SIDES[side],
        size=_text(size),
        type=order_type_pb2.ORDER_TYPE_LIMIT if limited else order_type_pb2.ORDER_TYPE_MARKET,
        time_in_force=LIFETIMES[time_in_force],
        reduce_only=reduce_only,
        venue=venue,
        client_order_id=client_order_id,
    )
    if limit_price is not None:
        request.limit_price = _text(limit_price)
    if quote_id:
        request.quote_id = quote_id
    if max_slippage_bps is not None:
        request.max_slippage_bps = max_slippage_bps
    return request


class Orders:
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
        self.address = address
        self._token = token
        self._headers = tuple((metadata or {}).items())
        self._root_certificates = root_certificates
        self._repeat_timeout_s = repeat_timeout_s
        self._channel: aio.Channel | None = None

    async def __aenter__(self) -> Orders:
        """Return itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

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
    ) -> order_pb2.Order:
        """Place an order; `submit` takes a `wish` with everything that can be wished."""
        request = wish(
            market, side, size, limit_price=limit_price, venue=venue, time_in_force=time_in_force,
            reduce_only=reduce_only, max_slippage_bps=max_slippage_bps,
        )  # fmt: skip
        return await self.submit(request)

    async def submit(self, request: pb.PlaceOrderRequest) -> order_pb2.Order:
        """Place an order as wished. When this fails unanswered, the order may exist: submit the same request again."""
        answer = await self._call(lambda stub, about: stub.PlaceOrder(request, metadata=about, timeout=CALL_TIMEOUT_S))
        return answer.order

    async def get(self, order_id: str) -> order_pb2.Order:
        """Return an order as it stands."""
        request = pb.GetOrderRequest(order_id=order_id)
        answer = await self._call(lambda stub, about: stub.GetOrder(request, metadata=about, timeout=CALL_TIMEOUT_S))
        return answer.order

    async def report(self, order_id: str) -> report_pb2.ExecutionReport:
        """Return what an order came to against its quote, line by line and cause by cause; what it is so far."""
        request = pb.GetExecutionReportRequest(order_id=order_id)
        answer = await self._call(
            lambda stub, about: stub.GetExecutionReport(request, metadata=about, timeout=CALL_TIMEOUT_S)
        )
        return answer.report

    async def preview(self, request: pb.PlaceOrderRequest) -> pb.PreviewOrderResponse:
        """Return what placing a `wish` would do, cost and bind, or all that stands in its way. Places nothing."""
        looked = pb.PreviewOrderRequest(order=request)
        return await self._call(lambda stub, about: stub.PreviewOrder(looked, metadata=about, timeout=CALL_TIMEOUT_S))

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
            request.size = _text(size)
        if limit_price is not None:
            request.limit_price = _text(limit_price)
        if max_slippage_bps is not None:
            request.max_slippage_bps = max_slippage_bps
        answer = await self._call(
            lambda stub, about: stub.ClosePosition(request, metadata=about, timeout=CALL_TIMEOUT_S)
        )
        return list(answer.orders)

    async def cancel(self, order_id: str) -> order_pb2.Order:
        """Ask for an order to be canceled; one that has ended is returned as it is."""
        request = pb.CancelOrderRequest(order_id=order_id)
        answer = await self._call(lambda stub, about: stub.CancelOrder(request, metadata=about, timeout=CALL_TIMEOUT_S))
        return answer.order

    async def cancel_all(self, *, market: str = "", venue: str = "") -> Sequence[str]:
        """Ask for every open order to be canceled, and return their ids."""
        request = pb.CancelAllOrdersRequest(market=market, venue=venue)
        answer = await self._call(
            lambda stub, about: stub.CancelAllOrders(request, metadata=about, timeout=CALL_TIMEOUT_S)
        )
        return list(answer.order_ids)

    async def list(
        self, *, market: str = "", venue: str = "", active_only: bool = False, limit: int = 100
    ) -> Sequence[order_pb2.Order]:
        """Return at most `limit` orders, the newest first."""
        request = pb.ListOrdersRequest(market=market, venue=venue, active_only=active_only)
        found: list[order_pb2.Order] = []
        while len(found) < limit:
            request.page_size = min(PAGE_MAX, limit - len(found))
            page = await self._call(
                lambda stub, about: stub.ListOrders(request, metadata=about, timeout=CALL_TIMEOUT_S)
            )
            found.extend(page.orders)
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        return found

    async def fills(
        self, order_id: str = "", *, market: str = "", venue: str = "", limit: int = 1_000
    ) -> Sequence[fill_pb2.Fill]:
        """Return at most `limit` fills, of one order or of all, the newest first."""
        request = pb.ListFillsRequest(market=market, venue=venue)
        if order_id:
            request.order_id = order_id
        found: list[fill_pb2.Fill] = []
        while len(found) < limit:
            request.page_size = min(PAGE_MAX, limit - len(found))
            page = await self._call(lambda stub, about: stub.ListFills(request, metadata=about, timeout=CALL_TIMEOUT_S))
            found.extend(page.fills)
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        return found

    async def watch_orders(self, *markets: str, cursor: str = "") -> AsyncGenerator[order_pb2.Order, None]:
        """Yield orders: those open, then every state of each. A broken stream is resumed where it was."""
        while True:
            request = pb.WatchOrdersRequest(cursor=cursor, markets=markets)
            try:
                async for message in self._stub().WatchOrders(request, metadata=await self._metadata()):
                    cursor = message.cursor or cursor
                    if message.HasField("order"):
                        yield message.order
                    else:
                        _check(message)
            except aio.AioRpcError as failure:
                self._raise_unless_unanswered(failure)
            await asyncio.sleep(REPEAT_S)

    async def watch_fills(
        self, *markets: str, replay: int = 0, cursor: str = ""
    ) -> AsyncGenerator[fill_pb2.Fill, None]:
        """Yield fills, each once: the last `replay` ones, then each as it comes. A broken stream is resumed."""
        while True:
            request = pb.WatchFillsRequest(cursor=cursor, markets=markets, replay_count=0 if cursor else replay)
            try:
                async for message in self._stub().WatchFills(request, metadata=await self._metadata()):
                    cursor = message.cursor or cursor
                    if message.HasField("fill"):
                        yield message.fill
                    else:
                        _check(message)
            except aio.AioRpcError as failure:
                self._raise_unless_unanswered(failure)
            await asyncio.sleep(REPEAT_S)

    async def _call(self, send: Callable[[ExecutionServiceAsyncStub, Metadata], Awaitable[Answer]]) -> Answer:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._repeat_timeout_s
        while True:
            try:
                return await send(self._stub(), await self._metadata())
            except aio.AioRpcError as failure:
                error = from_rpc(failure, self.address)
            wait_s = max(REPEAT_S, error.retry_after.total_seconds() if error.retry_after is not None else 0.0)
            if not _unanswered(error) or loop.time() + wait_s >= deadline:
                raise error
            await asyncio.sleep(wait_s)

    def _raise_unless_unanswered(self, failure: aio.AioRpcError) -> None:
        error = from_rpc(failure, self.address)
        if not _unanswered(error):
            raise error from None

    async def _metadata(self) -> Metadata:
        if self._token is None:
            return self._headers
        token = self._token if isinstance(self._token, str) else await self._token()
        return (*self._headers, ("authorization", f"Bearer {token}"))

    def _stub(self) -> ExecutionServiceAsyncStub:
        if self._channel is None:
            self._channel = open_channel(Endpoint.parse(self.address), self._root_certificates)
        stub: ExecutionServiceAsyncStub = ExecutionServiceStub(self._channel)  # type: ignore[assignment, unused-ignore]
        return stub


def _unanswered(error: PerpmeshError) -> bool:
    """Say whether it is unknown what became of a call, so that only the same call again can tell."""
    return error.code == "UNAVAILABLE" or error.from_transport


def _check(message: pb.WatchOrdersResponse | pb.WatchFillsResponse) -> None:
    """Raise where a stream lost something or ended for good: of orders and fills, nothing may be passed over."""
    if message.HasField("gap"):
        raise PerpmeshError("the stream lost what it can no longer tell; list it, then watch anew", code="DATA_LOSS")
    if message.HasField("end") and not message.end.resumable:
        raise PerpmeshError(message.end.message, code="ABORTED", reason=message.end.reason)


def _text(number: Decimal | str) -> str:
    return format(number, "f") if isinstance(number, Decimal) else number
