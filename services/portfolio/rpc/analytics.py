"""`AnalyticsService`: performance and the quality of execution."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from perpmesh.portfolio.v1 import analytics_service_pb2 as pb
from perpmesh.portfolio.v1 import execution_quality_pb2, performance_pb2
from perpmesh.portfolio.v1.analytics_service_pb2_grpc import AnalyticsServiceServicer
from perpmesh.type.v1 import side_pb2

from services.portfolio.app.analytics import AnalyticsDesk, Cache
from services.portfolio.model.performance import CONVENTION, Figures, Grouping, GroupKey, Performance
from services.portfolio.model.quality import Quality, buckets_of, groups_of, quality_of
from services.portfolio.model.rounding import shown
from services.portfolio.model.values import Environment
from services.portfolio.ports import Ended, FlowFilter
from services.portfolio.rpc.encode import cost_lines, floor_text, side_of, span, stamp, text
from services.portfolio.rpc.service import caller, ids, moment


class AnalyticsRpc(AnalyticsServiceServicer):
    """Serves the contract. Answers are kept as bytes: one that stands costs a look at the user's revision."""

    def __init__(self, desk: AnalyticsDesk, cache: Cache) -> None:
        self._desk = desk
        self._cache = cache

    async def GetPerformance(self, request: pb.GetPerformanceRequest, context: Any) -> Any:
        """Return profit, fees, funding, volume and the ratios over a time, in all and by group."""
        user = caller()
        wanted = FlowFilter(
            market=request.market,
            venue=request.venue,
            account_ids=ids(request.account_ids),
            start=moment(request, "start_time"),
            end=moment(request, "end_time"),
        )
        groupings = [Grouping(one) for one in request.groupings]

        async def make() -> tuple[bytes, int]:
            found, sequence, age_s, now = await self._desk.performance(
                user, wanted, Environment(request.environment), groupings
            )
            message = pb.GetPerformanceResponse(performance=performance(found, age_s, now))
            return message.SerializeToString(), sequence

        return await self._cache.get(user, b"p" + request.SerializeToString(deterministic=True), make)

    async def GetExecutionQuality(self, request: pb.GetExecutionQualityRequest, context: Any) -> Any:
        """Return what orders cost against their quotes and against each venue alone, in all and by group."""
        user = caller()
        wanted = FlowFilter(
            market=request.market,
            account_ids=ids(request.account_ids),
            start=moment(request, "start_time"),
            end=moment(request, "end_time"),
        )
        groupings = [Grouping(one) for one in request.groupings]

        async def make() -> tuple[bytes, int]:
            ended, now = await self._desk.reports(user, wanted, Environment(request.environment))
            message = pb.GetExecutionQualityResponse(execution_quality=quality(ended, groupings, wanted, now))
            return message.SerializeToString(), ended.sequence

        return await self._cache.get(user, b"q" + request.SerializeToString(deterministic=True), make)


def performance(found: Performance, age_s: float, now: datetime) -> performance_pb2.Performance:
    """Return a performance."""
    drawdown = found.drawdown
    return performance_pb2.Performance(
        total=_figures(found.total),
        groups=[
            performance_pb2.PerformanceGroup(
                venue=key[0], market=key[1], side=side_of(key[2]), day_time=_day(key), figures=_figures(figures)
            )
            for key, figures in found.groups
        ],
        equity_curve=[
            performance_pb2.EquityPoint(
                point_time=stamp(point.moment), equity=shown(point.equity), net_pnl=shown(point.net)
            )
            for point in found.curve
        ],
        max_drawdown=text(drawdown.amount if drawdown is not None else None),
        max_drawdown_rate=text(drawdown.rate if drawdown is not None else None),
        drawdown_start_time=stamp(drawdown.start) if drawdown is not None and drawdown.amount else None,
        drawdown_end_time=stamp(drawdown.end) if drawdown is not None and drawdown.amount else None,
        sharpe_ratio=text(found.sharpe),
        sortino_ratio=text(found.sortino),
        ratio_convention=CONVENTION,
        start_time=stamp(found.start),
        end_time=stamp(found.end),
        compute_time=stamp(now),
        data_age=span(timedelta(seconds=age_s)),
    )


def _figures(one: Figures) -> performance_pb2.PerformanceFigures:
    held = one.average_held
    return performance_pb2.PerformanceFigures(
        realized_pnl=shown(one.realized),
        unrealized_pnl_change=shown(one.unrealized_change),
        costs=cost_lines(one.costs.items()),
        funding_paid=shown(one.funding),
        net_pnl=shown(one.net),
        volume=shown(one.volume),
        fill_count=one.fills,
        closed_position_count=one.closed,
        winning_position_count=one.wins,
        win_rate=text(one.win_rate),
        profit_factor=text(one.profit_factor),
        average_win=text(one.average_win),
        average_loss=text(one.average_loss),
        average_holding_time=span(held) if held is not None else None,
        net_transfers=shown(one.transfers),
        adopted_unrealized_pnl=shown(one.came),
    )


def quality(
    ended: Ended, groupings: Sequence[Grouping], wanted: FlowFilter, now: datetime
) -> execution_quality_pb2.ExecutionQuality:
    """Return the quality of execution."""
    reports = ended.reports
    first = reports[0].placed if reports else now
    return execution_quality_pb2.ExecutionQuality(
        total=_quality(quality_of(reports)),
        groups=[
            execution_quality_pb2.QualityGroup(
                venue=key[0],
                market=key[1],
                side=side_pb2.SIDE_BUY if key[2] > 0 else side_pb2.SIDE_SELL if key[2] < 0 else 0,  # type: ignore[arg-type]
                day_time=_day(key),
                figures=_quality(found),
            )
            for key, found in groups_of(reports, groupings)
        ],
        size_buckets=[
            execution_quality_pb2.SizeBucket(
                lower_notional=shown(lower),
                upper_notional=text(upper),
                order_count=found.orders,
                slippage_bps=text(found.slippage_bps),
            )
            for lower, upper, found in buckets_of(reports)
        ],
        start_time=stamp(wanted.start or first),
        end_time=stamp(wanted.end or now),
        compute_time=stamp(now),
        data_age=span(timedelta(seconds=ended.age_s)),
        unrouted_order_count=ended.unrouted,
    )


def _quality(one: Quality) -> execution_quality_pb2.QualityFigures:
    median, late = one.time_within(50), one.time_within(99)
    return execution_quality_pb2.QualityFigures(
        order_count=one.orders,
        volume=floor_text(one.volume),
        quoted_cost=shown(one.quoted),
        achieved_cost=shown(one.achieved),
        difference_bps=text(one.difference_bps),
        venue_comparisons=[
            execution_quality_pb2.VenueComparison(
                venue=found.venue,
                order_count=found.orders,
                single_venue_cost=shown(found.single),
                achieved_cost=shown(found.achieved),
                saving=shown(found.saving),
                saving_bps=shown(found.saving_bps),
            )
            for found in one.comparisons
        ],
        slippage_bps=text(one.slippage_bps),
        fill_ratio=text(one.fill_ratio),
        median_time_to_fill=span(timedelta(microseconds=median)) if median is not None else None,
        p99_time_to_fill=span(timedelta(microseconds=late)) if late is not None else None,
    )


def _day(key: GroupKey) -> Any:
    day: date | None = key[3]
    return stamp(datetime.combine(day, time(), UTC)) if day is not None else None
