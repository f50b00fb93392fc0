"""Kill -9 at every step of an event loop and around every call of a socket: a room that dies at the step it is told.

    with crashing("services.execution.__main__", "execution", environ) as room:
        room.start()
        ...                                  # wait until it is ready, by its run file
        room.arm(kill_at=17)                 # 0 only counts
        ...                                  # ask something of it
        if room.died: room.start()           # and see what it remembers

A step is one callback of asyncio's loop (every `await` that really waits, every reader that became ready), and besides
the moments before and after bytes are given to a socket, and after some were taken from one: of PostgreSQL, Valkey and
the venues. A commit is such a call, since the database writes for us. gRPC's sockets are its own library's, outside the
loop; what was handed to it lies between two steps.

`arm` starts counting; the process kills itself just before step number `kill_at`, or the first time it comes to the
place `kill_in`, or sends itself another signal there, such as SIGSTOP. Rooms are forked from a server that has imported
their code already, so that a start costs a tenth of a second. The room must run on asyncio's own loop
(`PERPMESH_EVENT_LOOP=asyncio`), whose handles can be counted; `arm` refuses a room that is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
STOP_S = 10.0
PLACE_BYTES = 240
"""How much of a place's name tells it from others."""


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
        self._kill_in = _CONTEXT.RawArray("c", PLACE_BYTES)
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
            self._signal, self._kill_in,
        )  # fmt: skip
        self._process = _CONTEXT.Process(target=_run, args=arguments, daemon=True)
        self._process.start()

    def arm(self, *, kill_at: int = 0, kill_in: str = "", number: signal.Signals = signal.SIGKILL) -> None:
        """Count steps from now on, and die just before the step of a number, or in a place; or get another signal."""
        assert not self.died, "the room to be armed is gone"
        self._steps.value = 0
        self._signal.value = number
        self._kill_at.value = kill_at
        self._kill_in.value = kill_in.encode()[: PLACE_BYTES - 1]
        self._armed.value = 1

    def disarm(self) -> None:
        """Count no more, and let it live."""
        self._armed.value = 0
        self._kill_at.value = 0
        self._kill_in.value = b""

    @property
    def stopped(self) -> bool:
        """Whether it was told to stop and does nothing."""
        state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state == "T"

    def places(self) -> tuple[set[str], set[str]]:
        """Return the places in our code that it was seen to go on from while it was counted, and those it died at."""
        lines = Path(f"{self._log}.places").read_text().splitlines()
        seen, died = ({line[5:] for line in lines if line.startswith(what)} for what in ("seen ", "died "))
        return seen, died

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
    module: str,
    name: str,
    environ: Mapping[str, str],
    log: str,
    kill_at: Any,
    steps: Any,
    armed: Any,
    number: Any,
    kill_in: Any,
) -> None:  # pragma: no cover - in another process
    """Run the room, counting the loop's steps while armed."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    places = os.open(f"{log}.places", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    seen: set[str] = set()

    def point(place: Callable[[], str]) -> None:
        if not armed.value:
            return
        steps.value += 1
        if steps.value == kill_at.value or (kill_in.value and place().encode()[: PLACE_BYTES - 1] == kill_in.value):
            os.write(places, f"died {place()}\n".encode())
            os.kill(os.getpid(), number.value)
        elif not kill_at.value and (found := place()) not in seen:
            seen.add(found)
            os.write(places, f"seen {found}\n".encode())

    _count_steps(point)
    _count_sockets(point)
    found = importlib.import_module(module)
    from services.chassis.room import run_room

    raise SystemExit(run_room(name, found.Config, found.main, environ=environ))


def _count_steps(point: Callable[[Callable[[], str]], None]) -> None:  # pragma: no cover - in another process
    step = asyncio.events.Handle._run

    def counted(self: asyncio.Handle) -> None:
        point(lambda: _place(self))
        step(self)  # type: ignore[arg-type]

    asyncio.events.Handle._run = counted  # type: ignore[method-assign, assignment]


def _count_sockets(point: Callable[[Callable[[], str]], None]) -> None:  # pragma: no cover - in another process
    """Count the moments around calls of sockets that belong to the loop's thread."""
    loop_thread = threading.get_ident()

    def around(name: str, *, before: bool) -> Callable[..., Any]:
        call = getattr(socket.socket, name)

        def counted(self: socket.socket, *args: Any) -> Any:
            if self.family not in _NETWORK or threading.get_ident() != loop_thread:
                return call(self, *args)
            if before:
                point(lambda: f"before {name} {_caller()}")
            told = call(self, *args)
            point(lambda: f"after {name} {_caller()}")
            return told

        return counted

    for name, before in (("send", True), ("sendmsg", True), ("recv", False), ("recv_into", False)):
        setattr(socket.socket, name, around(name, before=before))


def _caller() -> str:  # pragma: no cover - in another process
    """Return where in our code a call came from: the innermost line of ours, or whose turn it is."""
    frame = sys._getframe()
    while frame is not None and "/services/" not in frame.f_code.co_filename:
        frame = frame.f_back  # type: ignore[assignment]
    return "in the loop" if frame is None else f"{frame.f_code.co_qualname}:{frame.f_lineno}"


def _place(handle: asyncio.Handle) -> str:  # pragma: no cover - in another process
    """Return where in our code a step goes on: the innermost line of ours that waits, or what is called."""
    callback = handle._callback  # type: ignore[attr-defined]
    owner = getattr(callback, "__self__", None)
    if not isinstance(owner, asyncio.Task):
        return str(getattr(callback, "__qualname__", type(callback).__name__))
    waits: Any = owner.get_coro()
    found = str(getattr(waits, "__qualname__", waits))
    while waits is not None:
        frame = getattr(waits, "cr_frame", None) or getattr(waits, "gi_frame", None) or getattr(waits, "ag_frame", None)
        if frame is not None and "/services/" in frame.f_code.co_filename:
            found = f"{frame.f_code.co_qualname}:{frame.f_lineno}"
        waits = next((one for name in _AWAITS if (one := getattr(waits, name, None)) is not None), None)
    return found


_NETWORK = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
_AWAITS = ("cr_await", "gi_yieldfrom", "ag_await")
