"""`PortfolioService`: message to value, one use case, value to message."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from perpmesh.portfolio.v1 import portfolio_service_pb2 as pb
from perpmesh.portfolio.v1 import position_record_pb2, transfer_pb2
from perpmesh.portfolio.v1.portfolio_service_pb2_grpc import PortfolioServiceServicer
from perpmesh.type.v1 import position_side_pb2, side_pb2

from services.chassis import call
from services.chassis.clock import Clock
from services.domain.decimals import parse_decimal
from services.domain.pages import Pager, page_size
from services.portfolio.app.desk import Desk
from services.portfolio.app.risk import Question, RiskDesk
from services.portfolio.model.rounding import ZERO
from services.portfolio.model.values import Environment, MarginMode
from services.portfolio.ports import FlowFilter, LifeFilter
from services.portfolio.rpc import encode, encode_risk
from services.portfolio.rpc.watch import Streams

EVENTS_PAGE_MAX: Final = 10
"""Lives in a page that carries their events."""
_SIDES: Final = {position_side_pb2.POSITION_SIDE_LONG: 1, position_side_pb2.POSITION_SIDE_SHORT: -1}


class PortfolioRpc(PortfolioServiceServicer):
    """Serves the contract."""

    def __init__(self, *, desk: Desk, risk: RiskDesk, streams: Streams, pager: Pager, clock: Clock) -> None:
        self._desk = desk
        self._risk = risk
        self._streams = streams
        self._pager = pager
        self._clock = clock

    async def ListPositions(self, request: pb.ListPositionsRequest, context: Any) -> pb.ListPositionsResponse:
        """List the open positions."""
        user = caller()
        limit = page_size(request.page_size, default=100, largest=500)
        wanted = LifeFilter(
            market=request.market,
            venue=request.venue,
            account_ids=ids(request.account_ids),
            environment=Environment(request.environment),
        )
        page = Page(self._pager, "ListPositions", user, request)
        after: tuple[str, str, UUID] | None = None
        if page.position:
            market, venue, account_id = page.position.split(" ")
            after = (market, venue, UUID(account_id))
        views, sequence = await self._desk.positions(user, wanted, after=after, limit=limit + 1)
        now = self._clock.now()
        answer = pb.ListPositionsResponse(
            positions=[encode.position(view, now) for view in views[:limit]], log_sequence=sequence
        )
        if len(views) > limit:
            last = views[limit - 1]
            answer.next_page_token = page.token(f"{last.life.market} {last.account.venue} {last.account.account_id}")
        return answer

    async def WatchPositions(self, request: pb.WatchPositionsRequest, context: Any) -> AsyncIterator[Any]:
        """Stream positions."""
        async with aclosing(self._streams.positions(caller(), request)) as messages:  # type: ignore[type-var]
            async for message in messages:
                yield message

    async def ListPositionHistory(
        self, request: pb.ListPositionHistoryRequest, context: Any
    ) -> pb.ListPositionHistoryResponse:
        """List the lives of positions."""
        user = caller()
        limit = page_size(request.page_size, default=50, largest=200)
        if request.include_events:
            limit = min(limit, EVENTS_PAGE_MAX)
        states = position_record_pb2.PositionRecord
        wanted = LifeFilter(
            market=request.market,
            venue=request.venue,
            side=_SIDES.get(request.side, 0),
            open=None if not request.state else request.state == states.STATE_OPEN,
            account_ids=ids(request.account_ids),
            position_id=UUID(request.position_id) if request.HasField("position_id") else None,
            start=moment(request, "start_time"),
            end=moment(request, "end_time"),
        )
        page = Page(self._pager, "ListPositionHistory", user, request)
        held, events = await self._desk.lives(
            user, wanted, after=page.after(), limit=limit + 1, events=request.include_events
        )
        answer = pb.ListPositionHistoryResponse(
            records=[encode.record(one.account, one.life, events.get(one.life.position_id, ())) for one in held[:limit]]
        )
        if len(held) > limit:
            life = held[limit - 1].life
            answer.next_page_token = page.token_after(life.opened, life.position_id)
        return answer

    async def ListBalances(self, request: pb.ListBalancesRequest, context: Any) -> pb.ListBalancesResponse:
        """List the balances, and the accounts as a whole."""
        user = caller()
        limit = page_size(request.page_size, default=100, largest=500)
        page = Page(self._pager, "ListBalances", user, request)
        sequence = await self._desk.cursor()
        views = await self._desk.accounts(user, ids(request.account_ids), Environment(request.environment))
        lines = [
            (view, asset, balance)
            for view in views
            if not request.venue or view.account.venue == request.venue
            for asset, balance in sorted(view.account.balances.items())
        ]
        keys = [f"{view.account.venue} {view.account.account_id} {asset}" for view, asset, _ in lines]
        start = sum(key <= page.position for key in keys) if page.position else 0
        shown = lines[start : start + limit]
        answer = pb.ListBalancesResponse(
            balances=[encode.balance(view.account, balance) for view, _, balance in shown], log_sequence=sequence
        )
        listed = {view.account.account_id for view, _, _ in shown}
        bare = [view for view in views if not view.account.balances] if not page.position else []
        for view in views:
            wanted = not request.venue or view.account.venue == request.venue
            if view.account.account_id in listed or (view in bare and wanted):
                answer.accounts.append(encode.summary(view))
        if len(lines) > start + limit:
            answer.next_page_token = page.token(keys[start + limit - 1])
        return answer

    async def WatchBalances(self, request: pb.WatchBalancesRequest, context: Any) -> AsyncIterator[Any]:
        """Stream balances and accounts."""
        async with aclosing(self._streams.balances(caller(), request)) as messages:  # type: ignore[type-var]
            async for message in messages:
                yield message

    async def ListTransfers(self, request: pb.ListTransfersRequest, context: Any) -> pb.ListTransfersResponse:
        """List deposits, withdrawals and transfers."""
        user = caller()
        limit = page_size(request.page_size, default=100, largest=1_000)
        kind = transfer_pb2.Transfer.Kind.Name(request.kind).removeprefix("KIND_") if request.kind else ""
        wanted = FlowFilter(
            venue=request.venue,
            account_ids=ids(request.account_ids),
            kind=kind,
            start=moment(request, "start_time"),
            end=moment(request, "end_time"),
        )
        page = Page(self._pager, "ListTransfers", user, request)
        found = await self._desk.transfers(user, wanted, after=page.after(), limit=limit + 1)
        answer = pb.ListTransfersResponse(transfers=[encode.transfer(*one) for one in found[:limit]])
        if len(found) > limit:
            last = found[limit - 1][0]
            answer.next_page_token = page.token_after(last.time, last.transfer_id)
        return answer

    async def ListFundingPayments(
        self, request: pb.ListFundingPaymentsRequest, context: Any
    ) -> pb.ListFundingPaymentsResponse:
        """List funding payments."""
        user = caller()
        limit = page_size(request.page_size, default=100, largest=1_000)
        wanted = FlowFilter(
            market=request.market,
            venue=request.venue,
            account_ids=ids(request.account_ids),
            position_id=UUID(request.position_id) if request.HasField("position_id") else None,
            start=moment(request, "start_time"),
            end=moment(request, "end_time"),
        )
        page = Page(self._pager, "ListFundingPayments", user, request)
        found = await self._desk.payments(user, wanted, after=page.after(), limit=limit + 1)
        answer = pb.ListFundingPaymentsResponse(funding_payments=[encode.payment(*one) for one in found[:limit]])
        if len(found) > limit:
            last = found[limit - 1][0]
            answer.next_page_token = page.token_after(last.time, last.payment_id)
        return answer

    async def GetExposure(self, request: pb.GetExposureRequest, context: Any) -> pb.GetExposureResponse:
        """Return the exposure over all venues."""
        picture = await self._risk.exposure(
            caller(),
            markets=request.markets,
            account_ids=ids(request.account_ids),
            environment=Environment(request.environment),
        )
        return pb.GetExposureResponse(exposure=encode_risk.exposure(picture))

    async def EstimateLiquidation(
        self, request: pb.EstimateLiquidationRequest, context: Any
    ) -> pb.EstimateLiquidationResponse:
        """Estimate where a position would be liquidated."""
        estimate = await self._risk.estimate(caller(), question(request))
        return pb.EstimateLiquidationResponse(estimate=encode_risk.estimate(estimate))


class Page:
    """Where a page begins, and the token of the next; bound to the caller and to every other argument."""

    def __init__(self, pager: Pager, name: str, user: UUID, request: Any) -> None:
        self._pager, self._name = pager, name
        asked = type(request)()
        asked.CopyFrom(request)
        asked.page_token, asked.page_size = "", 0
        self._arguments = f"{user} {asked.SerializeToString(deterministic=True).hex()}"
        self.position = pager.position(name, self._arguments, request.page_token) if request.page_token else ""

    def token(self, position: str) -> str:
        """Return the token that continues after a position."""
        return self._pager.token(self._name, self._arguments, position)

    def after(self) -> tuple[datetime, UUID] | None:
        """Return the last row of the page before, by time and id."""
        if not self.position:
            return None
        time, _, last = self.position.partition(" ")
        return datetime.fromisoformat(time), UUID(last)

    def token_after(self, time: datetime, last: UUID) -> str:
        """Return the token that continues after a row."""
        return self.token(f"{time.isoformat()} {last}")


def caller() -> UUID:
    """Return who calls; the chassis lets nobody else into a method that is not public."""
    serving = call.CURRENT.get()
    assert serving is not None
    assert serving.principal is not None
    return UUID(serving.principal.user)


def ids(texts: Any) -> tuple[UUID, ...]:
    """Return ids; the contract's rules have checked their shape."""
    return tuple(UUID(text) for text in texts)


def moment(request: Any, name: str) -> datetime | None:
    """Return a time of a request, None where it is absent."""
    if not request.HasField(name):
        return None
    found = getattr(request, name)
    return datetime.fromtimestamp(found.seconds, UTC).replace(microsecond=found.nanos // 1_000)


def question(request: pb.EstimateLiquidationRequest) -> Question:
    """Return what EstimateLiquidation is asked."""
    orders = []
    for order in request.orders:
        size = parse_decimal(order.size)
        price = parse_decimal(order.price) if order.HasField("price") else None
        orders.append((size if order.side == side_pb2.SIDE_BUY else -size, price))
    return Question(
        account_id=UUID(request.account_id),
        market=request.market,
        orders=tuple(orders),
        without_open_orders=request.ignore_open_orders,
        leverage=request.leverage,
        mode=MarginMode(request.margin_mode),
        collateral_change=parse_decimal(request.collateral_change) if request.collateral_change else ZERO,
        mark=parse_decimal(request.mark_price) if request.HasField("mark_price") else None,
    )
