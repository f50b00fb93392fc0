"""`perpmesh report` and `perpmesh preview`: what an order came to, and what one would come to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from google.protobuf import json_format
from google.protobuf.message import Message
from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1 import report_pb2
from rich.table import Table

from perpmesh_client.cli.account import kept_login
from perpmesh_client.cli.arguments import Arguments
from perpmesh_client.cli.orders import cost_name
from perpmesh_client.cli.output import Output
from perpmesh_client.errors import PerpmeshError
from perpmesh_client.orders import Orders, wish

Cause = report_pb2.Attribution.Cause
Kind = report_pb2.Phase.Kind


async def run_reports(arguments: Arguments, output: Output) -> None:
    """Run one of the commands for the user that is signed in. Raises `ValueError` for a wrong wish."""
    async with kept_login(arguments) as login, Orders(arguments.address, token=login) as mine:
        await (report if arguments.command == "report" else preview)(mine, arguments, output)


async def report(mine: Orders, arguments: Arguments, output: Output) -> None:
    """Show what an order came to."""
    found = await mine.report(arguments.typed.id)
    if output.as_json:
        output.json_line(_json(found))
        return
    for line in report_lines(found):
        output.line(line)
    console = output.console()
    console.print(lines_table(found))
    console.print(causes_table(found))
    if found.phases:
        console.print(phases_table(found))


async def preview(mine: Orders, arguments: Arguments, output: Output) -> None:
    """Show what an order would come to; of one that would not pass, why."""
    typed, (market,) = arguments.typed, arguments.markets
    request = wish(
        market,
        typed.side,
        typed.size,
        limit_price=typed.limit,
        venue=typed.venue,
        time_in_force=typed.tif,
        reduce_only=typed.reduce_only,
        quote_id=typed.quote,
        max_slippage_bps=typed.slippage,
    )
    found = await mine.preview(request)
    if output.as_json:
        output.json_line(_json(found))
        return
    if found.legs:
        output.console().print(legs_table(found))
    for line in preview_lines(found):
        output.line(line)
    if not found.passes:
        raise PerpmeshError(found.explanation, code="FAILED_PRECONDITION")


def report_lines(found: report_pb2.ExecutionReport) -> Iterator[str]:
    """Yield a report's head."""
    yield found.explanation if found.complete else f"So far: {found.explanation}"
    quoted = f"quoted {found.quoted_size} at {found.quoted_price or '-'}"
    filled = f"filled {found.filled_size} at {found.achieved_price or '-'} in {found.fill_count} fills"
    yield f"arrival mid {found.arrival_mid_price or '-'}, {quoted}, {filled}"


def lines_table(found: report_pb2.ExecutionReport) -> Table:
    """Return the costs line by line, ours of zero too, with their sums."""
    table = _table("COST", "QUOTED", "ACHIEVED", "DIFFERENCE")
    for line in found.lines:
        table.add_row(cost_name(line.kind), line.quoted_amount, line.achieved_amount, line.difference)
    table.add_row("sum", found.quoted_cost, found.achieved_cost, found.difference, style="bold")
    return table


def causes_table(found: report_pb2.ExecutionReport) -> Table:
    """Return where the difference comes from."""
    table = _table("CAUSE", "AMOUNT", "VENUE", "WHAT HAPPENED")
    for one in found.attributions:
        cause = Cause.Name(one.cause).removeprefix("CAUSE_").replace("_", " ").lower()
        table.add_row(cause, one.amount, one.venue, one.explanation)
    return table


def phases_table(found: report_pb2.ExecutionReport) -> Table:
    """Return how long each step took, by leg."""
    venues = {leg.leg_id: leg.venue for leg in found.legs}
    table = _table("STEP", "VENUE", "TOOK")
    for one in found.phases:
        kind = Kind.Name(one.kind).removeprefix("KIND_").replace("_", " ").lower()
        took: timedelta = one.duration.ToTimedelta()
        table.add_row(kind, venues.get(one.leg_id, ""), f"{took / timedelta(milliseconds=1):,.1f} ms")
    return table


def legs_table(found: pb.PreviewOrderResponse) -> Table:
    """Return the legs as they would be sent."""
    table = _table("VENUE", "SIZE", "LIMIT", "MARGIN", "FREE", "COSTS")
    for leg in found.legs:
        costs = ", ".join(f"{cost_name(cost.kind)} {cost.amount}" for cost in leg.costs)
        margin, free = leg.initial_margin or "not known", leg.free_margin or "not known"
        table.add_row(leg.venue, leg.size, leg.limit_price, margin, free, costs)
    return table


def preview_lines(found: pb.PreviewOrderResponse) -> Iterator[str]:
    """Yield what is to be said of a preview beside its legs."""
    if found.passes:
        yield f"{found.explanation} Expected cost {found.expected_cost} USD, margin {found.initial_margin or '-'} USD."
    if found.max_size:
        yield f"The largest size that would pass now: {found.max_size}"
    for one in found.refusals:
        passing = f" {one.field} {one.passing_value} would pass." if one.passing_value else ""
        yield f"- {one.message}{passing}"


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def _json(one: Message) -> dict[str, object]:
    found: dict[str, object] = json_format.MessageToDict(
        one, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return found
