"""`perpmesh replace`, `pause`, `resume`, `leverage`, `arm`, `disarm`, `budget` and `usage`."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC

from perpmesh.execution.v1 import cancel_all_switch_pb2, leverage_setting_pb2, usage_pb2, venue_budget_pb2
from perpmesh.type.v1 import margin_mode_pb2
from rich.table import Table

from perpmesh_client.cli.arguments import Arguments
from perpmesh_client.cli.messages import show_all, show_line, table
from perpmesh_client.cli.orders import order_line, surely
from perpmesh_client.cli.output import Output
from perpmesh_client.errors import PerpmeshError
from perpmesh_client.orders import Orders

Switch = cancel_all_switch_pb2.CancelAllSwitch
Setting = leverage_setting_pb2.LeverageSetting


async def replace(mine: Orders, arguments: Arguments, output: Output) -> None:
    """Give an order that rests other terms."""
    typed = arguments.typed
    if typed.size is None and typed.limit is None:
        raise ValueError("say what is to change: --size, --limit, or both")
    request_id = typed.request_id or str(uuid.uuid4())
    asked = mine.replace(
        typed.id, size=typed.size, limit_price=typed.limit, expected_version=typed.version, request_id=request_id
    )
    one = await surely(asked, request_id)
    show_line(one, order_line(one), output)


async def pause(mine: Orders, arguments: Arguments, output: Output) -> None:
    """Send no further slice of an order."""
    one = await mine.pause(arguments.typed.id, cancel_resting=arguments.typed.cancel)
    show_line(one, order_line(one), output)


async def resume(mine: Orders, arguments: Arguments, output: Output) -> None:
    """Go on with an order in slices."""
    one = await mine.resume(arguments.typed.id)
    show_line(one, order_line(one), output)


async def leverage(mine: Orders, arguments: Arguments, output: Output) -> None:
    """Set a market's leverage at an account."""
    typed, (market,) = arguments.typed, arguments.markets
    request_id = typed.request_id or str(uuid.uuid4())
    setting = await surely(
        mine.set_leverage(typed.account, market, typed.leverage, margin=typed.margin, request_id=request_id), request_id
    )
    show_line(setting, leverage_line(setting), output)
    if setting.state == Setting.STATE_REFUSED:
        raise PerpmeshError(_refusal(setting), code="FAILED_PRECONDITION")


async def arm(mine: Orders, arguments: Arguments, output: Output) -> None:
    """Arm the dead man's switch of accounts."""
    typed = arguments.typed
    switches = await mine.arm_cancel_all(typed.delay, account_ids=typed.account, allow_mesh_keeper=typed.mesh_keeper)
    show_all(switches, output, switches_table)
    refused = [one for one in switches if one.state == Switch.STATE_REFUSED]
    if refused:
        raise PerpmeshError(_refusal(refused[0]), code="FAILED_PRECONDITION")


async def disarm(mine: Orders, arguments: Arguments, output: Output) -> None:
    """Let the dead man's switch of accounts go."""
    show_all(await mine.disarm_cancel_all(account_ids=arguments.typed.account), output, switches_table)


async def budget(mine: Orders, arguments: Arguments, output: Output) -> None:
    """Show what the venues' limits leave."""
    typed = arguments.typed
    show_all(await mine.budgets(venue=typed.venue, account_id=typed.account), output, budgets_table)


async def usage(mine: Orders, arguments: Arguments, output: Output) -> None:
    """Show what the mesh's own limits leave."""
    show_all(await mine.usage(), output, usages_table)


COMMANDS: dict[str, Callable[[Orders, Arguments, Output], Awaitable[None]]] = {
    "replace": replace,
    "pause": pause,
    "resume": resume,
    "leverage": leverage,
    "arm": arm,
    "disarm": disarm,
    "budget": budget,
    "usage": usage,
}


def leverage_line(one: Setting) -> str:
    """Return a setting as one line."""
    margin = margin_mode_pb2.MarginMode.Name(one.margin_mode).removeprefix("MARGIN_MODE_").lower()
    state = Setting.State.Name(one.state).removeprefix("STATE_").lower()
    return f"{one.market} at {one.venue}: {one.leverage}x, {margin} ({state})"


def switches_table(found: Sequence[Switch]) -> Table:
    """Return switches as a person reads them."""
    made = table("VENUE", "ACCOUNT", "STATE", "KEEPER", "FIRES", "LEFT TODAY")
    for one in found:
        fires = f"{one.cancel_time.ToDatetime(UTC):%m-%d %H:%M:%S}" if one.HasField("cancel_time") else ""
        left = str(one.remaining_triggers) if one.HasField("remaining_triggers") else ""
        keeper = Switch.Keeper.Name(one.keeper).removeprefix("KEEPER_").lower() if one.keeper else ""
        state = Switch.State.Name(one.state).removeprefix("STATE_").lower()
        made.add_row(one.venue, one.account_id, state, keeper, fires, left)
    return made


def budgets_table(found: Sequence[venue_budget_pb2.VenueBudget]) -> Table:
    """Return budgets as a person reads them."""
    made = table("VENUE", "LIMIT", "LEFT", "OF", "AN ORDER TAKES", "MEANS")
    for one in found:
        made.add_row(
            one.venue, one.name, str(one.remaining), f"{one.limit} {one.unit}", str(one.next_order_cost),
            one.explanation,
        )  # fmt: skip
    return made


def usages_table(found: Sequence[usage_pb2.Usage]) -> Table:
    """Return the mesh's own limits as a person reads them."""
    made = table("LIMIT", "LEFT", "OF", "WITHIN")
    for one in found:
        within = f"{one.window.ToTimedelta()}" if one.HasField("window") else ""
        made.add_row(one.name, str(one.remaining), str(one.limit), within)
    return made


def _refusal(one: Setting | Switch) -> str:
    refusal = one.refusal
    passing = f" {refusal.passing_value} would pass." if refusal.passing_value else ""
    return f"{refusal.message} {refusal.advice}".strip() + passing
