"""`perpmesh quote`, `forecast` and `check-quote`: plan, costs, alternatives, and the check of the certificate."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal

from google.protobuf import json_format
from google.protobuf.message import Message
from perpmesh.routing.v1 import quote_pb2
from perpmesh.type.v1 import cost_pb2
from perpmesh.type.v1.side_pb2 import SIDE_BUY
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from perpmesh_client.certificate import check_quote
from perpmesh_client.cli import keep
from perpmesh_client.cli.account import kept_login
from perpmesh_client.cli.arguments import Arguments
from perpmesh_client.cli.formats import DASH, number
from perpmesh_client.cli.output import Output
from perpmesh_client.client import Perpmesh
from perpmesh_client.quotes import Quotes, route

_FEASIBLE = quote_pb2.Quote.OUTCOME_FEASIBLE
_EVEN = quote_pb2.QuoteAlternative.KIND_EVEN_SPLIT


async def run_quote(arguments: Arguments, output: Output) -> None:
    """Ask for one quote, or follow them, as who is signed in, if anybody is. Raises `ValueError` for a wrong wish."""
    market, typed, address = arguments.markets[0], arguments.typed, arguments.address
    wish = route(
        market,
        typed.side,
        typed.size,
        in_usd=typed.usd,
        limit_price=typed.limit,
        max_slippage_bps=typed.slippage,
        venues=typed.venue,
        excluded=typed.exclude,
        holding_time=timedelta(hours=typed.hold) if typed.hold is not None else None,
        priority_fee_bps=typed.priority,
        charge_latency=typed.latency,
    )
    async with Perpmesh(address) as mesh:
        listings = (await mesh.market(market)).listings
    output.warn({listing.source for listing in listings})
    async with _quotes(arguments, as_nobody=typed.public) as quotes:
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


@asynccontextmanager
async def _quotes(arguments: Arguments, *, as_nobody: bool = False) -> AsyncGenerator[Quotes, None]:
    """Yield what asks for quotes, with the login that is kept for this mesh where there is one."""
    if as_nobody or not keep.load(arguments.address):
        async with Quotes(arguments.address) as quotes:
            yield quotes
        return
    async with kept_login(arguments) as login, Quotes(arguments.address, token=login) as quotes:
        yield quotes


def _print(quote: quote_pb2.Quote, output: Output) -> None:
    if output.as_json:
        output.json_line({**_json(quote), "problems": check_quote(quote)})
    else:
        output.console().print(view(quote))


def _json(message: Message) -> dict[str, object]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def view(quote: quote_pb2.Quote) -> RenderableType:
    """Return a quote as a person reads it."""
    feasible = quote.outcome == _FEASIBLE
    side = "buy" if quote.side == SIDE_BUY else "sell"
    mine = quote.basis == quote_pb2.Quote.BASIS_ACCOUNT
    fees = "with your own fees, positions and margin" if mine else "with the fees that everybody pays"
    head = f"{side} {_n(quote.size)} {quote.market} at a mid price of {_n(quote.arrival_mid_price)}, {fees}"
    parts: list[RenderableType] = [Text(head)]
    if feasible:
        parts += [_legs(quote), _costs(quote), _alternatives(quote)]
    else:
        parts += [Text(f"  {one.message} {one.advice}") for one in quote.refusals]
    parts.append(Text(quote.explanation))
    if quote.HasField("break_even_holding_time"):
        hours = quote.break_even_holding_time.seconds / 3600
        later = f"Held for more than {hours:.1f} h, {quote.break_even_venue} becomes the cheapest by funding."
        parts.append(Text(later))
    if quote.priority_fee_advice:
        parts.append(Text(quote.priority_fee_advice))
    parts += [Text(f"left out: {one.message}") for one in quote.left_out]
    parts.append(_proof(quote, feasible=feasible))
    if feasible:
        lives = (quote.expire_time.ToNanoseconds() - quote.create_time.ToNanoseconds()) / 1e9
        books = ", ".join(f"{one.venue} {one.age.ToNanoseconds() / 1e9:.2f} s" for one in quote.book_versions)
        said = f"quote {quote.quote_id}, to be cited within {lives:.1f} s; ages of the books: {books}"
        parts.append(Text(said, style="dim"))
    return Group(*parts)


def _proof(quote: quote_pb2.Quote, *, feasible: bool) -> Text:
    """Return what the check of the certificate came to."""
    problems = check_quote(quote)
    if problems:
        return Text(f"THE CERTIFICATE DOES NOT HOLD: {'; '.join(problems)}", style="bold red")
    if not feasible:
        return Text("Checked here: by lots and limits alone, no plan carries it.", style="green")
    if quote.inputs.resting:
        return Text(
            "Checked here: every line of the costs. Where an order waits is a rule, not a proof.", style="green"
        )
    bound = Decimal(quote.certificate.lower_bound)
    money = f"for less than {_n(str(bound))} USD" if bound >= 0 else f"for more than {_n(str(-bound))} USD"
    gap = Decimal(quote.certificate.gap)
    near = f"this one is within {_n(str(gap))} USD of that" if gap else "this one does just that"
    verb = "buys" if quote.side == SIDE_BUY else "sells"
    return Text(f"Checked here: no plan on these books {verb} it {money}, fees and all; {near}.", style="green")


def _legs(quote: quote_pb2.Quote) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("venue", "size", "average", "worst", "cost USD"):
        table.add_column(name, justify="left" if name == "venue" else "right")
    for leg in quote.legs:
        worst = "rests" if leg.resting else _n(leg.worst_price)
        table.add_row(leg.venue, _n(leg.size), _n(leg.average_price), worst, _n(leg.total_cost))
    return table


def _costs(quote: quote_pb2.Quote) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("kind")
    table.add_column("amount", justify="right")
    for line in quote.costs:
        name = cost_pb2.CostKind.Name(line.kind).removeprefix("COST_KIND_").replace("_", " ").lower()
        table.add_row(name, _n(line.amount))
    table.add_row("total", f"{_n(quote.total_cost)}  ({_n(quote.total_cost_bps)} bps)", style="bold")
    return table


def _alternatives(quote: quote_pb2.Quote) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("what")
    table.add_column("more")
    for one in quote.alternatives:
        name = "even split" if one.kind == _EVEN else f"all at {one.venue}"
        if not one.feasible:
            said = one.refusals[0].message
        elif Decimal(one.extra_cost) == 0:
            said = "this plan" if len(quote.legs) == 1 else "costs the same"
        else:
            said = f"{_n(one.extra_cost)} USD more  ({_n(one.extra_cost_bps)} bps)"
        table.add_row(name, said)
    return table


def _n(digits: str) -> str:
    """Return a decimal with its digits before the point in groups of three."""
    return number(Decimal(digits or "0"))


async def run_forecast(arguments: Arguments, output: Output) -> None:
    """Show what sizes cost. Raises `ValueError` for a wrong wish."""
    market, typed = arguments.markets[0], arguments.typed
    async with Quotes(arguments.address) as quotes:
        found = await quotes.forecast(market, typed.side, typed.sizes, points=typed.points, venues=typed.venue)
    if output.as_json:
        output.json_line(
            json_format.MessageToDict(
                found, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )
        )
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("size", "average", "cost USD", "bps", "where"):
        table.add_column(name, justify="left" if name == "where" else "right")
    for point in found.points:
        if point.feasible:
            where = ", ".join(f"{one.venue} {_n(one.size)}" for one in point.venues)
            costs = (_n(point.average_price), _n(point.total_cost), _n(point.total_cost_bps))
            table.add_row(_n(point.size), *costs, where)
        else:
            table.add_row(_n(point.size), DASH, DASH, DASH, "cannot be met")
    output.console().print(table)
    alone = ", ".join(f"{one.venue} {_n(one.size)}" for one in found.venue_capacities)
    output.line(f"{_n(found.capacity)} can be met at most; one venue alone: {alone}")
    for one in found.left_out:
        output.line(f"left out: {one.message}")


async def run_check(arguments: Arguments, output: Output) -> bool:
    """Have a kept quote made again and check it; return whether it holds. One's own needs the login."""
    async with _quotes(arguments) as quotes:
        found = await quotes.replay(arguments.typed.id)
    problems = check_quote(found.stored_quote)
    if output.as_json:
        output.json_line({**_json(found), "problems": problems})
    else:
        output.console().print(view(found.stored_quote))
        output.line(f"Made again by solver {found.solver_version}: {found.explanation}")
        for one in found.differences:
            output.line(f"  {one.field}: stored {one.stored_value}, made again {one.recomputed_value}")
    return found.verdict == found.VERDICT_MATCH and not problems
