"""Lives of positions and the quality of execution, as a person reads them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from decimal import Decimal

from google.protobuf.duration_pb2 import Duration
from perpmesh.portfolio.v1 import execution_quality_pb2, position_record_pb2
from perpmesh.type.v1 import side_pb2
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from perpmesh_client.cli.figures import columns, money, percent, side_name
from perpmesh_client.cli.figures import filled as filled_columns

Record = position_record_pb2.PositionRecord
Figures = execution_quality_pb2.QualityFigures


def lives_table(records: Sequence[Record]) -> RenderableType:
    """Return lives, one a line."""
    return columns(
        ("OPENED", "MARKET", "VENUE", "SIDE", "MAX", "ENTRY", "EXIT", "REALIZED", "FUNDING", "NET"),
        [
            (f"{one.open_time.ToDatetime(UTC):%Y-%m-%d %H:%M}", one.market, one.venue, side_name(one.side),
             one.max_size, one.entry_price, _exit(one), one.realized_pnl, one.funding_paid, one.net_pnl)
            for one in records
        ],
    ) if records else Text("no positions so far")  # fmt: skip


def lives_told(records: Sequence[Record]) -> RenderableType:
    """Return lives with what happened to each, the newest life first and its events as they came."""
    parts: list[RenderableType] = []
    for one in records:
        state = "open" if one.state == Record.STATE_OPEN else "closed"
        parts.append(Text(
            f"{one.market} {side_name(one.side)} at {one.venue}, {state}: net {money(one.net_pnl)} USD",
            style="bold",
        ))  # fmt: skip
        parts.append(Padding(columns(
            ("TIME", "WHAT", "CHANGE", "SIZE AFTER", "REALIZED", "COSTS", "EXPLANATION"),
            [
                (f"{event.event_time.ToDatetime(UTC):%Y-%m-%d %H:%M:%S}", _kind(event), event.size_change,
                 event.size_after, money(event.realized_pnl), _costs(event), event.explanation)
                for event in reversed(one.events)
            ],
            fold=("EXPLANATION",),
        ), (0, 0, 1, 2)))  # fmt: skip
        if one.event_count > len(one.events):
            parts.append(Text(f"  {one.event_count - len(one.events)} events before these are not shown."))
    return Group(*parts) if parts else Text("no positions so far")


def quality_view(found: execution_quality_pb2.ExecutionQuality) -> RenderableType:
    """Return what orders cost against their quotes, and beside each venue alone."""
    total = found.total
    unrouted = f"{found.unrouted_order_count} orders that followed no quote are not counted"
    if not total.order_count:
        return Text(f"no routed order has ended in this time; {unrouted}")
    lines = [
        f"{total.order_count} routed orders, volume {money(total.volume)} USD, {percent(total.fill_ratio)} filled; "
        f"{unrouted}",
        f"cost {money(total.achieved_cost)} USD, quoted {money(total.quoted_cost)}: "
        f"{_signed(total.difference_bps)} bps against the quote (below zero is better)",
        f"slippage against the arrival mid {_signed(total.slippage_bps)} bps; time to fill "
        f"p50 {_seconds(total, 'median_time_to_fill')}, p99 {_seconds(total, 'p99_time_to_fill')}",
    ]
    parts: list[RenderableType] = [Text(line) for line in lines]
    parts.append(columns(
        ("VENUE ALONE", "ORDERS", "WOULD COST", "ACHIEVED", "SAVED USD", "SAVED BPS"),
        [
            (one.venue, str(one.order_count), money(one.single_venue_cost), money(one.achieved_cost),
             money(one.saving), _signed(one.saving_bps))
            for one in total.venue_comparisons
        ],
    ))  # fmt: skip
    parts.append(columns(
        ("ORDER FROM USD", "TO", "ORDERS", "SLIPPAGE BPS"),
        [
            (one.lower_notional, one.upper_notional, str(one.order_count), _signed(one.slippage_bps))
            for one in found.size_buckets
            if one.order_count
        ],
    ))  # fmt: skip
    if found.groups:
        parts.append(filled_columns(
            ("VENUE", "MARKET", "SIDE", "DAY", "ORDERS", "VOLUME", "COST", "AGAINST QUOTE BPS", "FILLED"),
            [
                (one.venue, one.market, side_pb2.Side.Name(one.side)[5:].lower() if one.side else "",
                 f"{one.day_time.ToDatetime(UTC):%Y-%m-%d}" if one.HasField("day_time") else "",
                 str(one.figures.order_count), money(one.figures.volume), money(one.figures.achieved_cost),
                 _signed(one.figures.difference_bps), percent(one.figures.fill_ratio))
                for one in found.groups
            ],
        ))  # fmt: skip
    return Group(*parts)


def _kind(event: position_record_pb2.PositionEvent) -> str:
    return position_record_pb2.PositionEvent.Kind.Name(event.kind).removeprefix("KIND_").lower()


def _costs(event: position_record_pb2.PositionEvent) -> str:
    return money(str(sum((Decimal(cost.amount) for cost in event.costs), Decimal(0))), 6) if event.costs else ""


def _exit(one: Record) -> str:
    return "open" if one.state == Record.STATE_OPEN else one.exit_price or "none"


def _signed(text: str) -> str:
    return f"{Decimal(text):+.2f}" if text else "-"


def _seconds(figures: Figures, name: str) -> str:
    if not figures.HasField(name):  # type: ignore[arg-type]
        return "-"
    span: Duration = getattr(figures, name)
    return f"{span.ToNanoseconds() / 1e9:.3f} s"
