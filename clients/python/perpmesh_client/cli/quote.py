"""`perpmesh quote`: plan, costs, alternatives, and the check of the certificate."""

from __future__ import annotations

import argparse
from datetime import timedelta

from google.protobuf import json_format
from perpmesh.routing.v1 import quote_pb2
from perpmesh.type.v1 import cost_pb2
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from perpmesh_client.certificate import check_quote
from perpmesh_client.cli.output import Output
from perpmesh_client.client import Perpmesh
from perpmesh_client.quotes import Quotes, route

_FEASIBLE = quote_pb2.Quote.OUTCOME_FEASIBLE
_EVEN = quote_pb2.QuoteAlternative.KIND_EVEN_SPLIT


async def run_quote(address: str, market: str, typed: argparse.Namespace, output: Output) -> None:
    """Ask for one quote, or follow them. Raises `ValueError` for a wrong wish."""
    wish = route(
        market,
        typed.side,
        typed.size,
        in_usd=typed.usd,
        limit_price=typed.limit,
        max_slippage_bps=typed.slippage,
        venues=typed.venue,
        holding_time=timedelta(hours=typed.hold) if typed.hold is not None else None,
        priority_fee_bps=typed.priority,
    )
    async with Perpmesh(address) as mesh:
        listings = (await mesh.market(market)).listings
    output.warn({listing.source for listing in listings})
    async with Quotes(address) as quotes:
        if not typed.watch:
            _print(await quotes.ask(wish), output)
            return
        stream = quotes.watch(wish)
        if not output.screen:
            async for quote in stream:
                _print(quote, output)
            return
        with Live(console=output.console(), refresh_per_second=10, screen=False) as live:
            async for quote in stream:
                live.update(view(quote))


def _print(quote: quote_pb2.Quote, output: Output) -> None:
    if output.as_json:
        shown = json_format.MessageToDict(
            quote, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        output.json_line({**shown, "problems": check_quote(quote)})
    else:
        output.console().print(view(quote))


def view(quote: quote_pb2.Quote) -> RenderableType:
    """Return a quote as a person reads it."""
    side = "buy" if quote.side == 1 else "sell"
    head = f"{side} {quote.size} {quote.market} at a mid price of {quote.arrival_mid_price}"
    parts: list[RenderableType] = [Text(head)]
    if quote.outcome == _FEASIBLE:
        parts += [_legs(quote), _costs(quote), _alternatives(quote)]
    else:
        parts += [Text(f"  {one.message} {one.advice}") for one in quote.refusals]
    parts.append(Text(quote.explanation))
    if quote.HasField("break_even_holding_time"):
        hours = quote.break_even_holding_time.seconds / 3600
        later = f"Held for more than {hours:.1f} h, {quote.break_even_venue} becomes the cheapest by funding."
        parts.append(Text(later))
    parts += [Text(f"left out: {one.message}") for one in quote.left_out]
    problems = check_quote(quote)
    if problems:
        parts.append(Text(f"THE CERTIFICATE DOES NOT HOLD: {'; '.join(problems)}", style="bold red"))
    elif quote.outcome == _FEASIBLE:
        said = f"Checked here: no plan on these books costs less than {quote.certificate.lower_bound} USD"
        parts.append(Text(f"{said}; the gap is {quote.certificate.gap}.", style="green"))
    return Group(*parts)


def _legs(quote: quote_pb2.Quote) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("venue", "size", "average", "worst", "cost USD"):
        table.add_column(name, justify="left" if name == "venue" else "right")
    for leg in quote.legs:
        table.add_row(leg.venue, leg.size, leg.average_price, leg.worst_price, leg.total_cost)
    return table


def _costs(quote: quote_pb2.Quote) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("kind")
    table.add_column("amount", justify="right")
    for line in quote.costs:
        name = cost_pb2.CostKind.Name(line.kind).removeprefix("COST_KIND_").replace("_", " ").lower()
        table.add_row(name, line.amount)
    table.add_row("total", f"{quote.total_cost}  ({quote.total_cost_bps} bps)", style="bold")
    return table


def _alternatives(quote: quote_pb2.Quote) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("what")
    table.add_column("more", justify="right")
    for one in quote.alternatives:
        name = "even split" if one.kind == _EVEN else f"all at {one.venue}"
        said = f"+{one.extra_cost} USD  ({one.extra_cost_bps} bps)" if one.feasible else one.refusals[0].message
        table.add_row(name, said)
    return table
