"""What is yours at every venue: positions, balances, histories, exposure and performance.

    async with Login("127.0.0.1:8080", KeyWallet(key)) as login, Portfolio("127.0.0.1:8080", token=login) as mine:
        frame = pandas.DataFrame(rows(await mine.positions()))

What comes back are the contract's own messages (`perpmesh.portfolio.v1`); `rows` makes flat dictionaries of them, with
`Decimal` for amounts and aware times, as a data frame takes them. Every call raises `PerpmeshError`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio
from perpmesh.portfolio.v1 import (
    analytics_service_pb2,
    balance_pb2,
    exposure_pb2,
    funding_payment_pb2,
    performance_pb2,
    position_pb2,
    position_record_pb2,
    transfer_pb2,
)
from perpmesh.portfolio.v1 import portfolio_service_pb2 as pb
from perpmesh.portfolio.v1.analytics_service_pb2_grpc import AnalyticsServiceStub
from perpmesh.portfolio.v1.portfolio_service_pb2_grpc import PortfolioServiceStub
from perpmesh.type.v1 import cost_pb2

from perpmesh_client.errors import PerpmeshError, from_rpc
from perpmesh_client.transport import Endpoint, Token, open_channel

if TYPE_CHECKING:
    from perpmesh.portfolio.v1.analytics_service_pb2_grpc import AnalyticsServiceAsyncStub
    from perpmesh.portfolio.v1.portfolio_service_pb2_grpc import PortfolioServiceAsyncStub

CALL_TIMEOUT_S = 10.0
RECONNECT_S = 0.5
REPEAT_AFTER_S = (0.1, 0.3, 1.0)
"""The waits before a call, which only reads, is sent again to a mesh that is away for a moment."""
GROUPINGS = ("venue", "market", "side", "day")

Answer = TypeVar("Answer")
Item = TypeVar("Item")
Value = str | int | bool | Decimal | datetime | float | None

_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_NUMBERS_BY_NAME = re.compile(r"(_id|_ids)$")

__all__ = ["GROUPINGS", "Portfolio", "rows"]


class Portfolio:
    """Asks portfolio, for the user of a token. Lists are read to their end, page by page."""

    def __init__(self, address: str, *, token: Token, root_certificates: bytes | None = None) -> None:
        """Prepare; the first call connects. `token` is an access token, or what fetches one, such as a `Login`."""
        self.address = address
        self._token = token
        self._root_certificates = root_certificates
        self._channel: aio.Channel | None = None

    async def __aenter__(self) -> Portfolio:
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

    async def positions(
        self, *, market: str = "", venue: str = "", account_ids: Sequence[str] = ()
    ) -> list[position_pb2.Position]:
        """Return the open positions, ordered by market, venue and account."""
        request = pb.ListPositionsRequest(market=market, venue=venue, account_ids=account_ids, page_size=500)
        return await self._pages(request, lambda stub: stub.ListPositions, lambda page: page.positions)

    async def watch_positions(
        self, *markets: str, min_interval_s: float = 1.0
    ) -> AsyncGenerator[position_pb2.Position, None]:
        """Yield positions: those open, then each as it changes. A broken stream is resumed where it was."""
        cursor = ""
        while True:
            request = pb.WatchPositionsRequest(cursor=cursor, markets=markets)
            request.min_interval.FromNanoseconds(round(min_interval_s * 1e9))
            try:
                async for message in self._stub().WatchPositions(request, metadata=await self._metadata()):
                    cursor = message.cursor
                    if message.HasField("position"):
                        yield message.position
                    elif message.HasField("end") and not message.end.resumable:
                        raise PerpmeshError(message.end.message, code="ABORTED", reason=message.end.reason)
            except aio.AioRpcError as failure:
                error = from_rpc(failure, self.address)
                if error.code != "UNAVAILABLE" and not error.from_transport:
                    raise error from None
            await asyncio.sleep(RECONNECT_S)

    async def position_history(
        self, *, market: str = "", venue: str = "", events: bool = False, limit: int = 1_000
    ) -> list[position_record_pb2.PositionRecord]:
        """Return at most `limit` lives of positions, the last opened first; with `events`, all that happened."""
        request = pb.ListPositionHistoryRequest(market=market, venue=venue, include_events=events, page_size=200)
        return await self._pages(request, lambda stub: stub.ListPositionHistory, lambda page: page.records, limit)

    async def balances(self) -> tuple[list[balance_pb2.Balance], list[balance_pb2.AccountSummary]]:
        """Return the balances, and the accounts as a whole."""
        accounts: dict[str, balance_pb2.AccountSummary] = {}

        def taken(page: pb.ListBalancesResponse) -> Iterable[balance_pb2.Balance]:
            accounts.update((one.account_id, one) for one in page.accounts)
            return page.balances

        request = pb.ListBalancesRequest(page_size=500)
        found = await self._pages(request, lambda stub: stub.ListBalances, taken)
        return found, list(accounts.values())

    async def transfers(self) -> list[transfer_pb2.Transfer]:
        """Return deposits, withdrawals and transfers, the newest first."""
        request = pb.ListTransfersRequest(page_size=1_000)
        return await self._pages(request, lambda stub: stub.ListTransfers, lambda page: page.transfers)

    async def funding_payments(self, *, market: str = "") -> list[funding_payment_pb2.FundingPayment]:
        """Return funding payments, the newest first."""
        request = pb.ListFundingPaymentsRequest(market=market, page_size=1_000)
        return await self._pages(request, lambda stub: stub.ListFundingPayments, lambda page: page.funding_payments)

    async def exposure(self, *markets: str) -> exposure_pb2.Exposure:
        """Return the exposure over all venues."""
        answer = await self._call(lambda stub, about: stub.GetExposure(
            pb.GetExposureRequest(markets=markets), metadata=about, timeout=CALL_TIMEOUT_S
        ))  # fmt: skip
        return answer.exposure

    async def performance(
        self,
        *,
        group_by: Sequence[str] = (),
        market: str = "",
        venue: str = "",
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> performance_pb2.Performance:
        """Return what trading came to; `group_by` takes at most two of venue, market, side and day."""
        for name in group_by:
            if name not in GROUPINGS:
                raise ValueError(f"group by one of {', '.join(GROUPINGS)}, not {name!r}")
        request = analytics_service_pb2.GetPerformanceRequest(
            groupings=[performance_pb2.Grouping.Value(f"GROUPING_{name.upper()}") for name in group_by],
            market=market,
            venue=venue,
        )
        if start is not None:
            request.start_time.FromDatetime(start)
        if end is not None:
            request.end_time.FromDatetime(end)
        about = await self._metadata()
        try:
            answer = await self._analytics().GetPerformance(request, metadata=about, timeout=CALL_TIMEOUT_S)
        except aio.AioRpcError as failure:
            raise from_rpc(failure, self.address) from None
        return answer.performance

    async def _pages(
        self,
        request: Message,
        pick: Callable[[PortfolioServiceAsyncStub], Callable[..., Awaitable[Answer]]],
        take: Callable[[Answer], Iterable[Item]],
        limit: int = 0,
    ) -> list[Item]:
        found: list[Item] = []
        while True:
            page = await self._call(lambda stub, about: pick(stub)(request, metadata=about, timeout=CALL_TIMEOUT_S))
            found.extend(take(page))
            token: str = getattr(page, "next_page_token")  # noqa: B009 - every list has one
            if not token or (limit and len(found) >= limit):
                return found[:limit] if limit else found
            setattr(request, "page_token", token)  # noqa: B010 - and takes one

    async def _call(
        self, send: Callable[[PortfolioServiceAsyncStub, Sequence[tuple[str, str]]], Awaitable[Answer]]
    ) -> Answer:
        for wait_s in (*REPEAT_AFTER_S, None):
            try:
                return await send(self._stub(), await self._metadata())
            except aio.AioRpcError as failure:
                error = from_rpc(failure, self.address)
            if wait_s is None or (error.code != "UNAVAILABLE" and not error.from_transport):
                raise error
            await asyncio.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    async def _metadata(self) -> tuple[tuple[str, str], ...]:
        token = self._token if isinstance(self._token, str) else await self._token()
        return (("authorization", f"Bearer {token}"),)

    def _open(self) -> aio.Channel:
        if self._channel is None:
            self._channel = open_channel(Endpoint.parse(self.address), self._root_certificates)
        return self._channel

    def _stub(self) -> PortfolioServiceAsyncStub:
        stub: PortfolioServiceAsyncStub = PortfolioServiceStub(self._open())  # type: ignore[assignment, unused-ignore]
        return stub

    def _analytics(self) -> AnalyticsServiceAsyncStub:
        stub: AnalyticsServiceAsyncStub = AnalyticsServiceStub(self._open())  # type: ignore[assignment, unused-ignore]
        return stub


def rows(messages: Iterable[Message]) -> list[dict[str, Value]]:
    """Return messages as flat rows: amounts as `Decimal`, times aware, enums as words, fees a column a kind.

    A message inside is flattened with its name before its fields, such as `reported_size`; what repeats otherwise is
    left out.
    """
    return [row(message) for message in messages]


def row(message: Message, prefix: str = "") -> dict[str, Value]:
    """Return one message as a flat row."""
    found: dict[str, Value] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        name = prefix + field.name
        if field.is_repeated:
            if field.name == "costs":
                for cost in value:
                    kind = cost_pb2.CostKind.Name(cost.kind).removeprefix("COST_KIND_").lower()
                    found[f"{prefix}cost_{kind}"] = Decimal(cost.amount)
        elif field.message_type is None:
            found[name] = _scalar(field.enum_type, field.name, value)
        elif isinstance(value, Timestamp):
            found[name] = value.ToDatetime(UTC) if message.HasField(field.name) else None
        elif isinstance(value, Duration):
            found[name] = value.ToNanoseconds() / 1e9 if message.HasField(field.name) else None
        else:
            found.update(row(value, f"{name}_"))
    return found


def _scalar(enum: object, name: str, value: object) -> Value:
    if enum is not None:
        words = enum.values_by_number[value].name  # type: ignore[attr-defined]
        kind = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper()  # type: ignore[attr-defined]
        return str(words).removeprefix(f"{kind}_").lower()
    if isinstance(value, str):
        if not _NUMBERS_BY_NAME.search(name) and _DECIMAL.fullmatch(value):
            return Decimal(value)
        return value or None
    assert isinstance(value, int | bool)
    return value
