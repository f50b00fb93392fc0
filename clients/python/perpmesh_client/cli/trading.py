"""Opens what the commands of orders work on: the orders of the user that is signed in."""

from __future__ import annotations

from perpmesh_client.cli import orders, reports, steering
from perpmesh_client.cli.account import kept_login
from perpmesh_client.cli.arguments import Arguments
from perpmesh_client.cli.output import Output
from perpmesh_client.orders import Orders

COMMANDS = {**orders.COMMANDS, **reports.COMMANDS, **steering.COMMANDS}


async def run_trading(arguments: Arguments, output: Output) -> None:
    """Run one of the commands. Raises `ValueError` for a wrong wish."""
    async with kept_login(arguments) as login, Orders(arguments.address, token=login) as mine:
        await COMMANDS[arguments.command](mine, arguments, output)
