"""`perpmesh positions`, `balances`, `exposure`, `performance`, `quality` and `export`: what is yours."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TextIO, TypedDict

from google.protobuf.message import Message
from perpmesh.portfolio.v1 import exposure_pb2, performance_pb2, position_pb2
from rich.console import Group, RenderableType
from rich.text import Text

from perpmesh_client.cli.account import kept_login
from perpmesh_client.cli.arguments import Arguments, market_name
from perpmesh_client.cli.figures import columns, filled, money, percent, side_name
from perpmesh_client.cli.lives import lives_table, lives_told, quality_view
from perpmesh_client.cli.messages import as_json
from perpmesh_client.cli.output import Output
from perpmesh_client.ledger import Line, ledger, totals
from perpmesh_client.portfolio import Portfolio

CHART_HEIGHT = 12
_BLOCKS = " ▁▂▃▄▅▆▇█"


async def run_portfolio(arguments: Arguments, output: Output) -> None:
    """Run one of the commands for the user that is signed in."""
    async with kept_login(arguments) as login, Portfolio(arguments.address, token=login) as mine:
        await COMMANDS[arguments.command](mine, arguments, output)


async def positions(mine: Portfolio, arguments: Arguments, output: Output) -> None:
    """Show positions, live, or their lives."""
    typed = arguments.typed
    market = market_name(typed.market) if typed.market else ""
    if typed.closed or typed.events:
        records = await mine.position_history(market=market, events=typed.events)
        _show(records, output, lambda: lives_told(records) if typed.events else lives_table(records))
        return
    if typed.watch:
        async for one in mine.watch_positions(*([market] if market else [])):
            if output.as_json:
                output.json_line(as_json(one))
            else:
                output.line(f"{one.market} {one.venue} {one.size} at {one.mark_price}: {one.unrealized_pnl} USD")
        return
    found = await mine.positions(market=market)
    _show(found, output, lambda: _positions_table(found))


async def balances(mine: Portfolio, arguments: Arguments, output: Output) -> None:
    """Show balances and accounts."""
    found, accounts = await mine.balances()
    _show([*found, *accounts], output, lambda: Group(
        columns(
            ("VENUE", "ASSET", "TOTAL", "HELD", "COMPUTED", "DIFFERENCE"),
            [(one.venue, one.asset, one.total, one.held, one.computed_total, one.difference) for one in found],
        ),
        columns(
            ("VENUE", "EQUITY", "UNREALIZED", "INITIAL", "MAINTENANCE", "AVAILABLE", "LEVERAGE"),
            [
                (one.venue, money(one.equity), money(one.unrealized_pnl), money(one.initial_margin),
                 money(one.maintenance_margin), money(one.available), money(one.effective_leverage))
                for one in accounts
            ],
        ),
    ))  # fmt: skip


async def exposure(mine: Portfolio, arguments: Arguments, output: Output) -> None:
    """Show the exposure."""
    found = await mine.exposure()
    _show([found], output, lambda: _exposure_view(found))


async def performance(mine: Portfolio, arguments: Arguments, output: Output) -> None:
    """Show what trading came to."""
    typed = arguments.typed
    found = await mine.performance(**_window(arguments), venue=typed.venue)
    _show([found], output, lambda: _performance_view(found, output.columns))


async def quality(mine: Portfolio, arguments: Arguments, output: Output) -> None:
    """Show how well routed orders were executed."""
    found = await mine.execution_quality(**_window(arguments))
    _show([found], output, lambda: quality_view(found))


class _Window(TypedDict):
    group_by: Sequence[str]
    market: str
    start: datetime | None


def _window(arguments: Arguments) -> _Window:
    typed = arguments.typed
    if len(typed.by) > 2:
        raise ValueError("group by at most two of venue, market, side and day")
    return _Window(
        group_by=typed.by,
        market=market_name(typed.market) if typed.market else "",
        start=datetime.now(UTC) - timedelta(days=typed.days) if typed.days else None,
    )


async def export(mine: Portfolio, arguments: Arguments, output: Output) -> None:
    """Write the ledger."""
    typed = arguments.typed
    records = await mine.position_history(events=True, limit=0)
    lines = ledger(records, await mine.funding_payments(), await mine.transfers())
    as_json = output.as_json or typed.format == "json"
    if typed.out == "-":
        write_ledger(lines, sys.stdout, as_json=as_json)
    else:
        _write_file(Path(typed.out), lines, as_json=as_json)
    sums = ", ".join(f"{name} {_plain(value)}" for name, value in totals(lines).items())
    sys.stderr.write(f"{len(lines)} lines; {sums}\n")


def _write_file(path: Path, lines: Sequence[Line], *, as_json: bool) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        write_ledger(lines, file, as_json=as_json)


def write_ledger(lines: Sequence[Line], file: TextIO, *, as_json: bool) -> None:
    """Write lines as CSV with a head, or as one JSON object with their totals."""
    shown = [{name: _cell(value) for name, value in line._asdict().items()} for line in lines]
    if as_json:
        sums = {name: _plain(value) for name, value in totals(lines).items()}
        json.dump({"entries": shown, "totals": sums}, file, indent=1, ensure_ascii=False)
        file.write("\n")
        return
    writer = csv.DictWriter(file, Line._fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(shown)


COMMANDS: dict[str, Callable[[Portfolio, Arguments, Output], Awaitable[None]]] = {
    "positions": positions,
    "balances": balances,
    "exposure": exposure,
    "performance": performance,
    "quality": quality,
    "export": export,
}


def _show(messages: Sequence[Message], output: Output, view: Callable[[], RenderableType]) -> None:
    if output.as_json:
        for message in messages:
            output.json_line(as_json(message))
    else:
        output.console().print(view())


def _positions_table(found: Sequence[position_pb2.Position]) -> RenderableType:
    table = columns(
        ("MARKET", "VENUE", "SIZE", "ENTRY", "MARK", "UNREALIZED", "REALIZED", "FUNDING", "LIQUIDATION", "VENUE SAYS"),
        [
            (one.market, one.venue, one.size, money(one.entry_price), one.mark_price, money(one.unrealized_pnl),
             money(one.realized_pnl), money(one.funding_paid), money(one.computed_liquidation_price),
             money(one.reported_liquidation_price))
            for one in found
        ],
    )  # fmt: skip
    notes = [
        Text(
            f"{one.market} at {one.venue}: {part.field} is {part.computed_value} here and {part.reported_value} there "
            f"since {part.since_time.ToDatetime(UTC):%Y-%m-%d %H:%M:%S} UTC. {part.explanation}",
            style="yellow",
        )
        for one in found
        for part in one.differences
    ]
    return Group(table, *notes) if found else Text("no positions")


def _exposure_view(found: exposure_pb2.Exposure) -> RenderableType:
    markets = columns(
        ("MARKET", "NET SIZE", "NET USD", "GROSS USD", "FUNDING/H", "DIES ON A RISE", "DIES ON A FALL"),
        [
            (one.market, one.net_size, money(one.net_notional), money(one.gross_notional),
             money(one.funding_per_hour, 6), _death(one, "rise"), _death(one, "fall"))
            for one in found.markets
        ],
    )  # fmt: skip
    accounts = columns(
        ("VENUE", "EQUITY", "MAINTENANCE", "BUFFER", "DISTANCE", "MARKET", "AT", "VENUE SAYS"),
        [
            (one.venue, money(one.equity), money(one.maintenance_margin), money(one.buffer),
             percent(one.liquidation_distance), one.liquidation_market, money(one.computed_liquidation_price),
             money(one.reported_liquidation_price))
            for one in found.accounts
        ],
    )  # fmt: skip
    transfers = [Text(one.explanation) for one in found.equalizing_transfers]
    return Group(Text(found.explanation, style="bold"), markets, accounts, *transfers)


def _death(market: exposure_pb2.MarketExposure, way: str) -> str:
    if not market.HasField(way):  # type: ignore[arg-type]
        return "none"
    one: exposure_pb2.FirstDeath = getattr(market, way)
    return f"{one.venue} at {money(one.price)} ({percent(one.move)})"


def _performance_view(found: performance_pb2.Performance, width: int) -> RenderableType:
    total = found.total
    fees = _fees(total)
    late = found.data_age.ToNanoseconds() / 1e9
    lines = [
        f"from {found.start_time.ToDatetime(UTC):%Y-%m-%d %H:%M} to {found.end_time.ToDatetime(UTC):%Y-%m-%d %H:%M} UTC"
        + (f", without the last {late:.0f} s" if late >= 5 else "")
        + (f"; {money(total.net_transfers)} USD came or left, in no profit" if Decimal(total.net_transfers) else ""),
        f"net {money(total.net_pnl)} USD = realized {money(total.realized_pnl)} + unrealized "
        f"{money(total.unrealized_pnl_change)} - fees {money(str(fees))} - funding {money(total.funding_paid)}",
        f"{total.fill_count} fills, volume {money(total.volume)} USD; {total.closed_position_count} positions closed, "
        f"win rate {percent(total.win_rate)}, profit factor {money(total.profit_factor) or 'none'}",
        f"largest fall {money(found.max_drawdown)} USD ({percent(found.max_drawdown_rate)}), "
        f"Sharpe {money(found.sharpe_ratio) or 'none'}, Sortino {money(found.sortino_ratio) or 'none'}",
    ]
    parts: list[RenderableType] = [Text(line) for line in lines]
    if found.groups:
        parts.append(filled(
            ("VENUE", "MARKET", "SIDE", "DAY", "NET", "REALIZED", "UNREALIZED", "FEES", "FUNDING", "VOLUME", "FILLS"),
            [
                (one.venue, one.market, side_name(one.side) if one.side else "",
                 f"{one.day_time.ToDatetime(UTC):%Y-%m-%d}" if one.HasField("day_time") else "",
                 money(one.figures.net_pnl), money(one.figures.realized_pnl),
                 money(one.figures.unrealized_pnl_change), money(str(_fees(one.figures))),
                 money(one.figures.funding_paid), money(one.figures.volume), str(one.figures.fill_count))
                for one in found.groups
            ],
        ))  # fmt: skip
    curve = [Decimal(point.equity) for point in found.equity_curve]
    parts.append(Text(draw_curve(curve, width=max(20, width - 14), height=CHART_HEIGHT)))
    return Group(*parts)


def _fees(figures: performance_pb2.PerformanceFigures) -> Decimal:
    return sum((Decimal(cost.amount) for cost in figures.costs), Decimal(0))


def draw_curve(values: Sequence[Decimal], *, width: int, height: int) -> str:
    """Return a curve as lines of blocks, the highest value above; each column is the last value of its part."""
    if len(values) < 2:
        return "too little for a curve"
    count = min(width, len(values))
    shown = [values[(index + 1) * len(values) // count - 1] for index in range(count)]
    low, high = min(shown), max(shown)
    reach = (high - low) or Decimal(1)
    steps = [int((value - low) / reach * (height * 8 - 1)) + 1 for value in shown]
    lines = []
    for line in range(height - 1, -1, -1):
        label = money(str(high)) if line == height - 1 else money(str(low)) if line == 0 else ""
        lines.append(f"{label:>12} " + "".join(_BLOCKS[min(8, max(0, step - line * 8))] for step in steps))
    return "\n".join(lines)


def _plain(value: Decimal) -> str:
    return format(value, "f")


def _cell(value: object) -> str:
    if isinstance(value, Decimal):
        return _plain(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return "" if value is None else str(value)
