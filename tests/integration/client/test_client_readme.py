"""What the client's page shows is run as it stands, against a real server."""

from __future__ import annotations

import asyncio
import re
import shlex
import signal
import sys
from pathlib import Path

import pytest
from perpmesh_client.cli.arguments import parse

from services.domain.errors import DomainError, Reason
from tests.integration.client.client_process import environment, perpmesh
from tests.integration.client.scripted_mesh import ScriptedMesh

PAGE = (Path(__file__).parents[3] / "clients/python/README.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"^\$ perpmesh (.*)$", PAGE, re.MULTILINE)


def test_the_page_fits_a_screen_or_two_and_has_examples() -> None:
    assert len(PAGE.splitlines()) < 160
    assert (len(PROGRAMS), len(COMMANDS)) == (4, 13)


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
async def test_an_example_runs_as_it_stands(filled: ScriptedMesh, number: int) -> None:
    """One that ends must end well; one that goes on for ever must print, and is then stopped with Ctrl-C's signal."""
    filled.answer("GetMarket", DomainError(Reason.MARKET_UNKNOWN, "No venue lists NO-SUCH-PERP."))
    program = PROGRAMS[number].replace("127.0.0.1:8080", filled.address)
    assert filled.address in program
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-u",
        "-W",
        "error",
        "-c",
        program,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        first = await process.stdout.readline()
        if "async for" in program:
            process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert first, err.decode()
    if "async for" in program:
        assert err.decode().rstrip().endswith("KeyboardInterrupt")
    else:
        assert (process.returncode, err) == (0, b"")
        assert b"NOT_FOUND MARKET_UNKNOWN trading No venue lists NO-SUCH-PERP." in out


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_command_of_the_page_runs(filled: ScriptedMesh, command: str) -> None:
    parsed = parse(shlex.split(command))
    live = not (parsed.once or parsed.history) and parsed.command not in {"markets", "market"}
    done = await perpmesh(*shlex.split(command), lines=1 if live else None, PERPMESH_ADDRESS=filled.address)
    assert done.code == (130 if live else 0)
    assert done.out
    assert done.err == ""
