"""`perpmesh report` and `perpmesh preview`: what an order came to, and what one would come to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta

from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1 import report_pb2
from rich.table import Table

from perpmesh_client.cli.arguments import Arguments
from perpmesh_client.cli.messages import as_json, table
from perpmesh_client.cli.orders import cost_name, wished
from perpmesh_client.cli.output import Output
from perpmesh_client.errors import PerpmeshError
from perpmesh_client.orders import Orders

Cause = report_pb2.Attribution.Cause
Kind = report_pb2.Phase.Kind


async def report(mine: Orders, arguments: Arguments, output: Output) -> None:
    """Show what an order came to."""
    found = await mine.report(arguments.typed.id)
    if output.as_json:
        output.json_line(as_json(found))
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
    found = await mine.preview(wished(arguments))
    if output.as_json:
        output.json_line(as_json(found))
        return
    if found.legs:
        output.console().print(legs_table(found))
    for line in preview_lines(found):
        output.line(line)
    if not found.passes:
        raise PerpmeshError(found.explanation, code="FAILED_PRECONDITION")


COMMANDS: dict[str, Callable[[Orders, Arguments, Output], Awaitable[None]]] = {"report": report, "preview": preview}


def report_lines(found: report_pb2.ExecutionReport) -> Iterator[str]:
    """Yield a report's head."""
    yield found.explanation if found.complete else f"So far: {found.explanation}"
    quoted = f"quoted {found.quoted_size} at {found.quoted_price or '-'}"
    filled = f"filled {found.filled_size} at {found.achieved_price or '-'} in {found.fill_count} fills"
    yield f"arrival mid {found.arrival_mid_price or '-'}, {quoted}, {filled}"


def lines_table(found: report_pb2.ExecutionReport) -> Table:
    """Return the costs line by line, ours of zero too, with their sums."""
    made = table("COST", "QUOTED", "ACHIEVED", "DIFFERENCE")
    for line in found.lines:
        made.add_row(cost_name(line.kind), line.quoted_amount, line.achieved_amount, line.difference)
    made.add_row("sum", found.quoted_cost, found.achieved_cost, found.difference, style="bold")
    return made


def causes_table(found: report_pb2.ExecutionReport) -> Table:
    """Return where the difference comes from."""
    made = table("CAUSE", "AMOUNT", "VENUE", "WHAT HAPPENED")
    for one in found.attributions:
        cause = Cause.Name(one.cause).removeprefix("CAUSE_").replace("_", " ").lower()
        made.add_row(cause, one.amount, one.venue, one.explanation)
    return made


def phases_table(found: report_pb2.ExecutionReport) -> Table:
    """Return how long each step took, by leg."""
    venues = {leg.leg_id: leg.venue for leg in found.legs}
    made = table("STEP", "VENUE", "TOOK")
    for one in found.phases:
        kind = Kind.Name(one.kind).removeprefix("KIND_").replace("_", " ").lower()
        took: timedelta = one.duration.ToTimedelta()
        made.add_row(kind, venues.get(one.leg_id, ""), f"{took / timedelta(milliseconds=1):,.1f} ms")
    return made


def legs_table(found: pb.PreviewOrderResponse) -> Table:
    """Return the legs as they would be sent."""
    made = table("VENUE", "SIZE", "LIMIT", "MARGIN", "FREE", "COSTS")
    for leg in found.legs:
        costs = ", ".join(f"{cost_name(cost.kind)} {cost.amount}" for cost in leg.costs)
        margin, free = leg.initial_margin or "not known", leg.free_margin or "not known"
        made.add_row(leg.venue, leg.size, leg.limit_price, margin, free, costs)
    return made


def preview_lines(found: pb.PreviewOrderResponse) -> Iterator[str]:
    """Yield what is to be said of a preview beside its legs."""
    if found.passes:
        yield f"{found.explanation} Expected cost {found.expected_cost} USD, margin {found.initial_margin or '-'} USD."
    if found.max_size:
        yield f"The largest size that would pass now: {found.max_size}"
    for one in found.refusals:
        passing = f" {one.field} {one.passing_value} would pass." if one.passing_value else ""
        yield f"- {one.message}{passing}"
