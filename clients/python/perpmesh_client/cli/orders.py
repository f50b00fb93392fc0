"""`perpmesh order`, `orders`, `cancel`, `close` and `fills`: trading from a terminal."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeVar

from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1 import fill_pb2, order_pb2, report_pb2
from perpmesh.type.v1 import cost_pb2
from rich.table import Table

from perpmesh_client.cli.arguments import Arguments
from perpmesh_client.cli.messages import show_all, show_line, table
from perpmesh_client.cli.output import Output
from perpmesh_client.errors import PerpmeshError
from perpmesh_client.orders import ENDED, Orders, wish

Answer = TypeVar("Answer")
State = order_pb2.Order.State
CANCEL_WAIT_S = 5.0
_REFUSED = (order_pb2.Order.STATE_DENIED, order_pb2.Order.STATE_REJECTED, order_pb2.Order.STATE_FAILED)


async def order(mine: Orders, arguments: Arguments, output: Output) -> None:
    """Place an order; follow to its end what does not rest."""
    request = wished(arguments)
    placed = await surely(mine.submit(request), request.request_id)
    typed = arguments.typed
    if typed.tif == "ioc" or all(one is None for one in (typed.limit, typed.stop, typed.target, typed.twap)):
        placed = await _ended(mine, placed)
    _show(placed.state not in _REFUSED, [placed], output)


async def orders(mine: Orders, arguments: Arguments, output: Output) -> None:
    """Show orders, or follow them."""
    typed = arguments.typed
    if typed.watch:
        async for one in mine.watch_orders(*arguments.markets):
            show_line(one, order_line(one), output)
        return
    market = "".join(arguments.markets)
    found = await mine.list(market=market, venue=typed.venue, active_only=typed.open, limit=typed.count)
    show_all(found, output, orders_table)


async def cancel(mine: Orders, arguments: Arguments, output: Output) -> None:
    """Cancel orders."""
    typed = arguments.typed
    if bool(typed.ids) == typed.all:
        raise ValueError("name the orders to cancel, or --all, and not both; perpmesh orders --open shows their ids")
    ids = typed.ids or await mine.cancel_all(market="".join(arguments.markets), venue=typed.venue)
    asked = [await (mine.get(one) if typed.all else mine.cancel(one)) for one in ids]
    # The venues take a moment; what stays open longer is shown as it stands.
    show_all(await asyncio.gather(*(_ended(mine, one, CANCEL_WAIT_S) for one in asked)), output, orders_table)


async def close(mine: Orders, arguments: Arguments, output: Output) -> None:
    """Close the position in a market, and follow what does it to its end."""
    typed, (market,) = arguments.typed, arguments.markets
    request_id = typed.request_id or str(uuid.uuid4())
    placed = await surely(
        mine.close_position(
            market,
            venue=typed.venue,
            size=typed.size,
            limit_price=typed.limit,
            max_slippage_bps=typed.slippage,
            request_id=request_id,
        ),
        request_id,
    )
    if not placed and not output.as_json:
        output.line(f"You hold no {market}{f' at {typed.venue}' if typed.venue else ''}: there is nothing to close.")
        return
    closing = [await _ended(mine, one) for one in placed]
    _show(all(one.state not in _REFUSED for one in closing), closing, output)


async def fills(mine: Orders, arguments: Arguments, output: Output) -> None:
    """Show fills, or follow them."""
    typed = arguments.typed
    if typed.watch:
        async for one in mine.watch_fills(*arguments.markets):
            show_line(one, fill_line(one), output)
        return
    market = "".join(arguments.markets)
    show_all(await mine.fills(typed.order, market=market, venue=typed.venue, limit=typed.count), output, fills_table)


COMMANDS: dict[str, Callable[[Orders, Arguments, Output], Awaitable[None]]] = {
    "order": order,
    "orders": orders,
    "cancel": cancel,
    "close": close,
    "fills": fills,
}


async def surely(call: Awaitable[Answer], request_id: str) -> Answer:
    """Return what a call answers; where it does not, say how the same is asked again and not a second time done."""
    try:
        return await call
    except PerpmeshError as error:
        if not error.from_transport:
            raise
        again = f"the mesh did not answer; the order may exist. Type the same with --request-id {request_id}"
        raise PerpmeshError(f"{again}: it is then placed once at most", code="UNKNOWN") from None


async def _ended(mine: Orders, one: order_pb2.Order, wait_s: float = 60.0) -> order_pb2.Order:
    """Return an order once it has ended, or as it stands after a while."""
    try:
        return await mine.ended(one.order_id, timeout_s=wait_s)
    except TimeoutError:
        return await mine.get(one.order_id)


def _show(passed: bool, found: Sequence[order_pb2.Order], output: Output) -> None:
    """Show orders; of one that was refused, say why and what would pass."""
    if passed or output.as_json:
        show_all(found, output, orders_table)
    refused = [one for one in found if one.state in _REFUSED]
    for one in refused:
        told = f"{one.explanation or one.refusal.message} {one.refusal.advice}".strip()
        raise PerpmeshError(told, code="FAILED_PRECONDITION")


def wished(arguments: Arguments) -> pb.PlaceOrderRequest:
    """Return the order that was typed. Raises `ValueError`."""
    typed, (market,) = arguments.typed, arguments.markets
    return wish(
        market,
        typed.side,
        typed.size,
        limit_price=typed.limit,
        venue=typed.venue,
        time_in_force=typed.tif,
        reduce_only=typed.reduce_only,
        quote_id=typed.quote,
        max_slippage_bps=typed.slippage,
        client_order_id=typed.client_id,
        request_id=typed.request_id,
        account_ids=typed.account,
        in_usd=typed.usd,
        stop_price=typed.stop,
        target_price=typed.target,
        take_profit=typed.take_profit,
        stop_loss=typed.stop_loss,
        expire_time=None if typed.expires is None else datetime.now(UTC) + typed.expires,
        twap=typed.twap,
        slice_interval=typed.every,
        randomize=typed.randomize,
    )


def state_name(state: State.ValueType) -> str:
    """Return a state as a word."""
    return State.Name(state).removeprefix("STATE_").replace("_", " ").lower()


def order_line(one: order_pb2.Order) -> str:
    """Return an order as one line."""
    price = f" at {one.average_price}" if one.average_price else ""
    said = f"{one.order_id} {_side(one.side)} {one.size} {one.market}: {state_name(one.state)}"
    end = f" ({one.explanation})" if one.explanation and one.state in ENDED else ""
    return f"{said}, filled {one.filled_size or 0}{price}{end}"


def fill_line(one: fill_pb2.Fill) -> str:
    """Return a fill as one line."""
    return f"{one.venue} {_side(one.side)} {one.size} {one.market} at {one.price}, {fees(one.costs)}"


def fees(costs: Iterable[cost_pb2.Cost]) -> str:
    """Return every line of cost in short, ours of zero too."""
    return ", ".join(f"{cost_name(cost.kind)} {cost.amount}" for cost in costs)


def cost_name(kind: cost_pb2.CostKind.ValueType) -> str:
    """Return a kind of cost as words."""
    return cost_pb2.CostKind.Name(kind).removeprefix("COST_KIND_").replace("_", " ").lower()


def causes(found: report_pb2.ExecutionReport) -> dict[str, Decimal]:
    """Return where the difference comes from, every venue's together; what nothing explains is there even at zero."""
    sums = {"unexplained": Decimal(0)}
    for part in found.attributions:
        name = report_pb2.Attribution.Cause.Name(part.cause).removeprefix("CAUSE_").replace("_", " ").lower()
        sums[name] = sums.get(name, Decimal(0)) + Decimal(part.amount)
    return dict(sorted(sums.items(), key=lambda one: (one[0] == "unexplained", -abs(one[1]))))


def orders_table(found: Sequence[order_pb2.Order]) -> Table:
    """Return orders as a person reads them."""
    made = table(
        "CREATED", "ORDER", "MARKET", "SIDE", "SIZE", "LIMIT", "FILLED", "AVERAGE", "STATE", "VENUES", no_wrap=True
    )
    for one in found:
        made.add_row(
            f"{one.create_time.ToDatetime(UTC):%m-%d %H:%M:%S}", one.order_id, one.market, _side(one.side), one.size,
            one.limit_price or "market", one.filled_size or "0", one.average_price, state_name(one.state),
            " ".join(dict.fromkeys(leg.venue for leg in one.legs)),
        )  # fmt: skip
    return made


def fills_table(found: Sequence[fill_pb2.Fill]) -> Table:
    """Return fills as a person reads them."""
    made = table("TIME", "VENUE", "MARKET", "SIDE", "SIZE", "PRICE", "FEES", "REALIZED", "ORDER", no_wrap=True)
    for one in found:
        made.add_row(
            f"{one.fill_time.ToDatetime(UTC):%m-%d %H:%M:%S}", one.venue, one.market, _side(one.side), one.size,
            one.price, fees(one.costs), one.realized_pnl, one.order_id,
        )  # fmt: skip
    return made


def _side(side: int) -> str:
    return "buy" if side == 1 else "sell"
