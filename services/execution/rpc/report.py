"""`ExecutionReport` and `ExecutionReported` out of a report."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from perpmesh.execution.v1 import log_event_pb2, report_pb2
from perpmesh.type.v1 import cost_pb2, environment_pb2, side_pb2

from services.domain.decimals import plain_text
from services.execution.model.leg import ZERO
from services.execution.model.reported import LegReport, Line, Report
from services.execution.rpc.encode import mean


def reported(report: Report, environment: environment_pb2.Environment.ValueType) -> log_event_pb2.ExecutionReported:
    """Return what the log is told of an order that has ended."""
    order, quoted = report.order, report.quoted
    message = log_event_pb2.ExecutionReported(
        report=report_message(report),
        single_venue_costs=[
            log_event_pb2.SingleVenueCost(venue=venue, cost=plain_text(cost))
            for venue, cost in (quoted.single_venue_costs if quoted is not None else ())
        ],
        market=order.market,
        side=side_pb2.Side.Value(f"SIDE_{order.side.value}"),
        size=plain_text(order.size),
        account_id=str(order.legs[0].account_id) if order.legs else "",
        environment=environment,
    )
    message.create_time.FromDatetime(order.create_time)
    return message


def report_message(report: Report) -> report_pb2.ExecutionReport:
    """Return a report."""
    order, quoted = report.order, report.quoted
    quoted_size = quoted.size if quoted is not None else ZERO
    planned = sum((leg.quoted_size for leg in report.legs), ZERO)
    message = report_pb2.ExecutionReport(
        order_id=str(order.order_id),
        quote_id="" if quoted is None or quoted.quote_id is None else str(quoted.quote_id),
        complete=report.is_complete,
        arrival_mid_price="" if quoted is None else plain_text(quoted.arrival_mid_price),
        quoted_size=plain_text(quoted_size),
        filled_size=plain_text(order.gross),
        quoted_price=mean(sum((leg.quoted_notional for leg in report.legs), ZERO), planned),
        achieved_price=mean(order.notional, order.gross),
        lines=_lines(report.lines),
        quoted_cost=plain_text(report.quoted_cost),
        achieved_cost=plain_text(report.achieved_cost),
        difference=plain_text(report.difference),
        difference_bps="" if report.difference_bps is None else plain_text(report.difference_bps),
        attributions=[
            report_pb2.Attribution(
                cause=report_pb2.Attribution.Cause.Value(f"CAUSE_{one.cause.value}"),
                amount=plain_text(one.amount),
                venue=one.venue,
                explanation=one.explanation,
            )
            for one in report.attributions
        ],
        phases=[
            report_pb2.Phase(
                kind=report_pb2.Phase.Kind.Value(f"KIND_{one.kind.value}"),
                leg_id="" if one.leg_id is None else str(one.leg_id),
                duration=_span(one.duration),
            )
            for one in report.phases
        ],
        legs=[_leg(leg) for leg in report.legs],
        fill_count=report.fill_count,
        explanation=report.explanation,
    )
    message.create_time.FromDatetime(report.create_time)
    return message


def _leg(leg: LegReport) -> report_pb2.LegReport:
    return report_pb2.LegReport(
        leg_id=str(leg.leg_id),
        venue=leg.venue,
        quoted_size=plain_text(leg.quoted_size),
        filled_size=plain_text(leg.filled_size),
        quoted_price=mean(leg.quoted_notional, leg.quoted_size),
        achieved_price=mean(leg.notional, leg.filled_size),
        lines=_lines(leg.lines),
    )


def _lines(lines: Iterable[Line]) -> list[report_pb2.ReportLine]:
    return [
        report_pb2.ReportLine(
            kind=cost_pb2.CostKind.Value(f"COST_KIND_{line.kind.value}"),
            quoted_amount=plain_text(line.quoted),
            achieved_amount=plain_text(line.achieved),
            difference=plain_text(line.difference),
        )
        for line in lines
    ]


def _span(duration: timedelta) -> Duration:
    message = Duration()
    message.FromTimedelta(duration)
    return message
