"""Runs one command: connects, picks the view, and turns whatever goes wrong into one sentence and an exit code."""

from __future__ import annotations

import asyncio
import os
import sys

from perpmesh_client.cli.arguments import ADDRESS_VARIABLE, Arguments

# gRPC's own log lines would be written across the views; what matters of them comes back as an error.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
# The demo starts a mesh as a process, which gRPC's handlers of a fork have nothing to do with.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from perpmesh_client.cli.commands import COMMANDS
from perpmesh_client.cli.order_arguments import NAMES as ORDERS
from perpmesh_client.cli.output import Output
from perpmesh_client.cli.portfolio_arguments import NAMES as PORTFOLIO
from perpmesh_client.cli.quote_arguments import NAMES as QUOTES
from perpmesh_client.cli.report_arguments import NAMES as REPORTS
from perpmesh_client.cli.steering_arguments import NAMES as STEERING
from perpmesh_client.cli.vault_arguments import VAULT_COMMANDS
from perpmesh_client.client import Perpmesh
from perpmesh_client.errors import PerpmeshError
from perpmesh_client.tuning import Tuning

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130

_TUNING = Tuning(connect_timeout_s=1.5, call_attempts_max=3)
"""A person waits: a mesh that does not answer is said to be missing soon. A view that has run keeps trying."""


def run(arguments: Arguments) -> int:
    """Run a command to its end and return its exit code."""
    try:
        asyncio.run(_run(arguments))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read us has enough, as `| head` does; the interpreter must not try to flush once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except PerpmeshError as error:
        return _fail(sentence(error, arguments.address), EXIT_FAILED)
    except _UsageError as error:
        return _fail(str(error), EXIT_USAGE)
    return EXIT_OK


def sentence(error: PerpmeshError, address: str) -> str:
    """Return what to tell a person about an error."""
    if error.code == "UNAVAILABLE" and error.from_transport:
        return (
            f"nothing answers at {address}: start it with `make up`, or say where it is with --address or "
            f"{ADDRESS_VARIABLE}"
        )
    near = error.metadata.get("suggestions", "")
    return f"{error} Did you mean {near}?" if near and near not in str(error) else str(error)


async def _run(arguments: Arguments) -> None:
    if arguments.command in ("login", "logout", "sessions", "token", *VAULT_COMMANDS):
        await _run_account(arguments)
        return
    if arguments.command in QUOTES:
        await _run_quote(arguments)
        return
    if arguments.command in PORTFOLIO:
        await _run_portfolio(arguments)
        return
    if arguments.command in (*ORDERS, *REPORTS, *STEERING):
        await _run_orders(arguments)
        return
    if arguments.command == "demo":
        await _run_demo(arguments)
        return
    try:
        mesh = Perpmesh(arguments.address, tuning=_TUNING, on_gap=lambda gap: None)
    except ValueError as error:
        raise _UsageError(str(error)) from None
    async with mesh:
        await COMMANDS[arguments.command](mesh, arguments, Output.of_process(arguments.json))


async def _run_account(arguments: Arguments) -> None:
    from perpmesh_client.cli.account import ACCOUNT_COMMANDS
    from perpmesh_client.cli.vault import run_vault

    try:
        await ACCOUNT_COMMANDS.get(arguments.command, run_vault)(arguments, Output.of_process(arguments.json))
    except ValueError as error:
        raise _UsageError(str(error)) from None
    except OSError as error:
        raise _UsageError(f"{error.filename} cannot be used ({error.strerror})") from None


async def _run_orders(arguments: Arguments) -> None:
    from perpmesh_client.cli.trading import run_trading

    try:
        await run_trading(arguments, Output.of_process(arguments.json))
    except ValueError as error:
        raise _UsageError(str(error)) from None


async def _run_demo(arguments: Arguments) -> None:
    from perpmesh_client.cli.demo import run_demo
    from perpmesh_client.cli.demo_page import Page

    try:
        await run_demo(arguments, Page(Output.of_process(as_json=False).console()))
    except ValueError as error:
        raise _UsageError(str(error)) from None


async def _run_portfolio(arguments: Arguments) -> None:
    from perpmesh_client.cli.portfolio import run_portfolio

    try:
        await run_portfolio(arguments, Output.of_process(arguments.json))
    except ValueError as error:
        raise _UsageError(str(error)) from None
    except OSError as error:
        raise _UsageError(f"{error.filename} cannot be written ({error.strerror})") from None


async def _run_quote(arguments: Arguments) -> None:
    from perpmesh_client.cli.quote import run_check, run_forecast, run_quote

    output = Output.of_process(arguments.json)
    try:
        if arguments.command == "check-quote":
            if not await run_check(arguments, output):
                raise PerpmeshError("the quote does not hold", code="DATA_LOSS")
            return
        run = run_quote if arguments.command == "quote" else run_forecast
        await run(arguments, output)
    except ValueError as error:
        raise _UsageError(str(error)) from None


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"perpmesh: {message}\n")
    return code


class _UsageError(Exception):
    """What was typed cannot be done; the message says what would pass."""
