"""Kill -9 at every step of an event loop: a room in a forked process that dies at the step it is told.

    with crashing("services.execution.__main__", "execution", environ) as room:
        room.start()
        ...                                  # wait until it is ready, by its run file
        room.arm(kill_at=17)                 # 0 only counts
        ...                                  # ask something of it
        if room.died: room.start()           # and see what it remembers

A step is one callback of asyncio's loop: every `await` that really waits, every reader that became ready. `arm` starts
counting; the process kills itself just before step number `kill_at`, or sends itself another signal there, such as
SIGSTOP. Rooms are forked from a server that has imported their code already, so that a start costs a tenth of a second.
The room must run on asyncio's own loop (`PERPMESH_EVENT_LOOP=asyncio`), whose handles can be counted; `arm` refuses a
room that is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
STOP_S = 10.0


class CrashingRoom:
    """One room, started again and again."""

    def __init__(self, module: str, name: str, environ: Mapping[str, str], log: Path) -> None:
        self._module = module
        self._name = name
        self._environ = dict(environ)
        self._log = log
        self._kill_at = _CONTEXT.RawValue("q", 0)
        self._steps = _CONTEXT.RawValue("q", 0)
        self._armed = _CONTEXT.RawValue("b", 0)
        self._signal = _CONTEXT.RawValue("i", signal.SIGKILL)
        self._process: ForkServerProcess | None = None

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid

    @property
    def steps(self) -> int:
        """How many steps were counted since it was armed."""
        return int(self._steps.value)

    @property
    def died(self) -> bool:
        """Whether the process is gone."""
        return self._process is None or not self._process.is_alive()

    def start(self) -> None:
        """Start it, disarmed."""
        self.disarm()
        arguments = (
            self._module, self._name, self._environ, str(self._log), self._kill_at, self._steps, self._armed,
            self._signal,
        )  # fmt: skip
        self._process = _CONTEXT.Process(target=_run, args=arguments, daemon=True)
        self._process.start()

    def arm(self, *, kill_at: int = 0, number: signal.Signals = signal.SIGKILL) -> None:
        """Count steps from now on, and die just before the step of a number; or get another signal there."""
        assert not self.died, "the room to be armed is gone"
        self._steps.value = 0
        self._signal.value = number
        self._kill_at.value = kill_at
        self._armed.value = 1

    def disarm(self) -> None:
        """Count no more, and let it live."""
        self._armed.value = 0
        self._kill_at.value = 0

    @property
    def stopped(self) -> bool:
        """Whether it was told to stop and does nothing."""
        state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state == "T"

    async def gone(self, timeout_s: float = STOP_S) -> bool:
        """Wait for its end; say whether it ended."""
        assert self._process is not None
        await asyncio.to_thread(self._process.join, timeout_s)
        return self.died

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send it a signal."""
        if not self.died:
            os.kill(self.pid, number)

    def end(self) -> None:
        """Kill it and wait."""
        if self._process is not None:
            self._process.kill()
            self._process.join(STOP_S)


@contextlib.contextmanager
def crashing(
    module: str, name: str, environ: Mapping[str, str], log: Path, *, preload: Sequence[str] = ()
) -> Iterator[CrashingRoom]:
    """Have a room that can be made to die; nothing of it is left at the end."""
    _CONTEXT.set_forkserver_preload([__name__, module, *preload])
    room = CrashingRoom(module, name, environ, log)
    try:
        yield room
    finally:
        room.end()


def _run(
    module: str, name: str, environ: Mapping[str, str], log: str, kill_at: Any, steps: Any, armed: Any, number: Any
) -> None:  # pragma: no cover - in another process
    """Run the room, counting the loop's steps while armed."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    step = asyncio.events.Handle._run

    def counted(self: asyncio.Handle) -> None:
        if armed.value:
            steps.value += 1
            if steps.value == kill_at.value:
                os.kill(os.getpid(), number.value)
        step(self)  # type: ignore[arg-type]

    asyncio.events.Handle._run = counted  # type: ignore[method-assign, assignment]
    found = importlib.import_module(module)
    from services.chassis.room import run_room

    raise SystemExit(run_room(name, found.Config, found.main, environ=environ))
