"""The `perpmesh` command as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass

MODULE = (sys.executable, "-m", "perpmesh_client.cli")
DEADLINE_S = 20


@dataclass(frozen=True, slots=True)
class Done:
    """How a process ended."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, object]]:
        """The lines of its output, each as JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a process that sees this checkout and no setting of the tester's."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PERPMESH_", "NO_COLOR", "FORCE_"))
    }
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **more}


async def perpmesh(*arguments: str, lines: int | None = None, **variables: str) -> Done:
    """Run the command to its end, or until it has written `lines` lines, and then send it Ctrl-C's signal."""
    process = await asyncio.create_subprocess_exec(
        *MODULE,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(**variables),
        limit=1 << 20,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(DEADLINE_S):
        read = [await process.stdout.readline() for _ in range(lines or 0)]
        if lines is not None:
            process.send_signal(signal.SIGINT)
        rest, err = await process.communicate()
    assert process.returncode is not None
    return Done(process.returncode, (b"".join(read) + (b"" if lines else rest)).decode(), err.decode())
