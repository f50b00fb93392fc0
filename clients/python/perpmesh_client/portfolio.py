"""What is yours at every venue: positions, balances, histories, exposure and performance.

    async with Login("127.0.0.1:8080", KeyWallet(key)) as login, Portfolio("127.0.0.1:8080", token=login) as mine:
        frame = pandas.DataFrame(rows(await mine.positions()))

What comes back are the contract's own messages (`perpmesh.portfolio.v1`); `rows` makes flat dictionaries of them, with
`Decimal` for amounts and aware times, as a data frame takes them. Every call raises `PerpmeshError`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from perpmesh.portfolio.v1 import (
    analytics_service_pb2,
    balance_pb2,
    execution_quality_pb2,
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

from perpmesh_client.part import Part
from perpmesh_client.transport import Token

if TYPE_CHECKING:
    from perpmesh.portfolio.v1.analytics_service_pb2_grpc import AnalyticsServiceAsyncStub
    from perpmesh.portfolio.v1.portfolio_service_pb2_grpc import PortfolioServiceAsyncStub

PATIENCE_S = 1.5
"""How long a call, which only reads, is sent again to a mesh that is away for a moment."""
GROUPINGS = ("venue", "market", "side", "day")

Value = str | int | bool | Decimal | datetime | float | None

_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_NUMBERS_BY_NAME = re.compile(r"(_id|_ids)$")

__all__ = ["GROUPINGS", "Portfolio", "rows"]


class Portfolio(Part):
    """Asks portfolio, for the user of a token. Lists are read to their end, page by page."""

    def __init__(self, address: str, *, token: Token, root_certificates: bytes | None = None) -> None:
        """Prepare; the first call connects. `token` is an access token, or what fetches one, such as a `Login`."""
        super().__init__(address, token=token, root_certificates=root_certificates, patience_s=PATIENCE_S)

    async def positions(
        self, *, market: str = "", venue: str = "", account_ids: Sequence[str] = ()
    ) -> list[position_pb2.Position]:
        """Return the open positions, ordered by market, venue and account."""
        request = pb.ListPositionsRequest(market=market, venue=venue, account_ids=account_ids, page_size=500)
        return await self._pages(self._stub().ListPositions, request, lambda page: page.positions)

    async def watch_positions(
        self, *markets: str, min_interval_s: float = 1.0
    ) -> AsyncGenerator[position_pb2.Position, None]:
        """Yield positions: those open, then each as it changes. A broken stream is resumed where it was."""

        def request_of(at: str) -> pb.WatchPositionsRequest:
            request = pb.WatchPositionsRequest(cursor=at, markets=markets)
            request.min_interval.FromNanoseconds(round(min_interval_s * 1e9))
            return request

        told = self._stream(self._stub().WatchPositions, request_of, collapses=True)
        async with aclosing(told):
            async for message in told:
                if message.HasField("position"):
                    yield message.position

    async def position_history(
        self, *, market: str = "", venue: str = "", events: bool = False, limit: int = 1_000
    ) -> list[position_record_pb2.PositionRecord]:
        """Return at most `limit` lives of positions, the last opened first; with `events`, all that happened."""
        request = pb.ListPositionHistoryRequest(market=market, venue=venue, include_events=events, page_size=200)
        return await self._pages(self._stub().ListPositionHistory, request, lambda page: page.records, limit=limit)

    async def balances(self) -> tuple[list[balance_pb2.Balance], list[balance_pb2.AccountSummary]]:
        """Return the balances, and the accounts as a whole."""
        accounts: dict[str, balance_pb2.AccountSummary] = {}

        def taken(page: pb.ListBalancesResponse) -> Iterable[balance_pb2.Balance]:
            accounts.update((one.account_id, one) for one in page.accounts)
            return page.balances

        request = pb.ListBalancesRequest(page_size=500)
        found = await self._pages(self._stub().ListBalances, request, taken)
        return found, list(accounts.values())

    async def transfers(self) -> list[transfer_pb2.Transfer]:
        """Return deposits, withdrawals and transfers, the newest first."""
        request = pb.ListTransfersRequest(page_size=1_000)
        return await self._pages(self._stub().ListTransfers, request, lambda page: page.transfers)

    async def funding_payments(self, *, market: str = "") -> list[funding_payment_pb2.FundingPayment]:
        """Return funding payments, the newest first."""
        request = pb.ListFundingPaymentsRequest(market=market, page_size=1_000)
        return await self._pages(self._stub().ListFundingPayments, request, lambda page: page.funding_payments)

    async def exposure(self, *markets: str) -> exposure_pb2.Exposure:
        """Return the exposure over all venues."""
        answer = await self._ask(self._stub().GetExposure, pb.GetExposureRequest(markets=markets))  # fmt: skip
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
        request = analytics_service_pb2.GetPerformanceRequest(
            groupings=[performance_pb2.Grouping.Value(name) for name in _groupings(group_by)],
            market=market,
            venue=venue,
        )
        if start is not None:
            request.start_time.FromDatetime(start)
        if end is not None:
            request.end_time.FromDatetime(end)
        answer = await self._ask(self._analytics().GetPerformance, request)
        return answer.performance

    async def execution_quality(
        self,
        *,
        group_by: Sequence[str] = (),
        market: str = "",
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> execution_quality_pb2.ExecutionQuality:
        """Return what routed orders cost against their quotes and each venue alone; grouped as `performance` is."""
        request = analytics_service_pb2.GetExecutionQualityRequest(
            groupings=[performance_pb2.Grouping.Value(name) for name in _groupings(group_by)], market=market
        )
        if start is not None:
            request.start_time.FromDatetime(start)
        if end is not None:
            request.end_time.FromDatetime(end)
        answer = await self._ask(self._analytics().GetExecutionQuality, request)
        return answer.execution_quality

    def _stub(self) -> PortfolioServiceAsyncStub:
        stub: PortfolioServiceAsyncStub = PortfolioServiceStub(self._open())  # type: ignore[assignment, unused-ignore]
        return stub

    def _analytics(self) -> AnalyticsServiceAsyncStub:
        stub: AnalyticsServiceAsyncStub = AnalyticsServiceStub(self._open())  # type: ignore[assignment, unused-ignore]
        return stub


def _groupings(names: Sequence[str]) -> list[str]:
    for name in names:
        if name not in GROUPINGS:
            raise ValueError(f"group by one of {', '.join(GROUPINGS)}, not {name!r}")
    return [f"GROUPING_{name.upper()}" for name in names]


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
