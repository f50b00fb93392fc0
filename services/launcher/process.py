"""Processes that cannot outlive the launcher.

Four layers, because each alone has a hole. Every process is the leader of its own group, so that what it started goes
with it and the terminal's Ctrl-C reaches the launcher alone. It asks the kernel for a signal at the launcher's death,
which works only from the main thread, where all of them are started. A guard, forked before anything else, holds one
end of a pipe and ends every group when the other end is gone, also for a process too stuck to hear the first signal.
And the guard shares the launcher's lock, so that the next launcher starts only when nothing of this one is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import enum
import os
import select
import signal
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from services.launcher.edge import Upstream

LOG_BYTES_MAX = 16 << 20
"""A log beyond this is moved aside while its process goes on writing."""
LOGS_KEPT = 2
"""How many earlier files of each log are kept."""
GUARD_GRACE_S = 4.0
"""How long the guard lets processes end by themselves after the launcher's death."""

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Kind(enum.Enum):
    """How a process is treated when it dies."""

    SERVER = "server"
    """Somebody else's program: three deaths in a row end the mesh."""
    ROOM = "room"
    """One of ours: restarted with backoff for as long as it was ready once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process of the mesh."""

    name: str
    kind: Kind
    argv: tuple[str, ...]
    env: Mapping[str, str]
    ready: Path | Upstream
    """Ready when this file holds the answer (a run file, a socket, a pid file) or this address answers /healthz."""
    ready_text: str = ""
    """What the file must contain; empty for its mere presence. A socket must accept."""
    ready_names_pid: bool = False
    """Whether the file's first line must be the process's own id, since an earlier one may have left the file."""
    holds_up: bool = True
    """Whether the mesh counts as ready only with it."""
    stop_signal: signal.Signals = signal.SIGTERM
    hurry_signal: signal.Signals = signal.SIGKILL
    """What ends it at the second Ctrl-C."""
    stop_round: int = 0
    """Processes of a lower round are ended before those of a higher one."""
    unprivileged: bool = False
    """Whether it must not run as root; as root it runs as `nobody`."""
    cwd: Path
    log: Path


class Guard:
    """The child that ends every group when the launcher is gone. Make it first: it is a fork of the launcher."""

    def __init__(self) -> None:
        ours, theirs = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(theirs)
            _guard(ours)
        os.close(ours)
        self._pipe = theirs

    def add(self, group: int, stop: signal.Signals) -> None:
        """Have `group` ended by `stop`, then by SIGKILL, should the launcher die."""
        os.write(self._pipe, f"+ {group} {int(stop)}\n".encode())

    def remove(self, group: int) -> None:
        """Forget a group that has ended."""
        os.write(self._pipe, f"- {group} 0\n".encode())

    def close(self) -> None:
        """End the guard, which ends whatever is still known to it, and wait for it."""
        os.close(self._pipe)
        os.waitpid(self.pid, 0)


def _guard(pipe: int) -> None:
    """Read groups until the launcher is gone, then end them. Never returns."""
    os.setsid()
    for deaf_to in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(deaf_to, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    groups: dict[int, int] = {}
    unread = b""
    while data := os.read(pipe, 4096):
        *lines, unread = (unread + data).split(b"\n")
        for line in lines:
            sign, group, stop = line.split()
            if sign == b"+":
                groups[int(group)] = int(stop)
            else:
                groups.pop(int(group), None)
    for leader, number in groups.items():
        kill_group(leader, number)
    for _ in range(int(GUARD_GRACE_S / 0.05)):
        if not any(_is_running(leader) for leader in groups):
            break
        select.select([], [], [], 0.05)
    for leader in groups:
        kill_group(leader, signal.SIGKILL)
    os._exit(0)


def kill_group(group: int, number: int) -> None:
    """Signal every process of a group; a group that is gone is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _is_running(pid: int) -> bool:
    """Return whether a process is there and more than a zombie that nobody has reaped yet."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


class Running:
    """One process that was started; `exited` is done when it has ended."""

    def __init__(self, popen: subprocess.Popen[bytes], guard: Guard, stop: signal.Signals) -> None:
        self.pid = popen.pid
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._popen = popen
        self._guard = guard
        self._stop = stop
        guard.add(self.pid, stop)
        self._handle = os.pidfd_open(self.pid)
        asyncio.get_running_loop().add_reader(self._handle, self._reap)

    def _reap(self) -> None:
        code = self._popen.poll()
        if code is None or self.exited.done():
            return
        asyncio.get_running_loop().remove_reader(self._handle)
        os.close(self._handle)
        kill_group(self.pid, signal.SIGKILL)  # what it left behind goes with it
        self._guard.remove(self.pid)
        self.exited.set_result(code)

    async def end(self, *, grace_s: float) -> int:
        """Ask it to stop, wait `grace_s` at most, then end it with everything it started. Returns the exit code."""
        if not self.exited.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, self._stop)
            done, _ = await asyncio.wait({self.exited}, timeout=grace_s)
            if not done:
                self.kill(signal.SIGKILL)
        return await self.exited

    def kill(self, number: signal.Signals) -> None:
        """Signal the whole group at once."""
        if not self.exited.done():
            kill_group(self.pid, number)


def spawn(process: Process, guard: Guard, *, user: tuple[int, int] | None = None) -> Running:
    """Start a process with its log; as `user` (uid, gid) where it must not be root. Call from the main thread.

    Raises `OSError` when the program cannot be started.
    """
    popen = _popen(process.argv, process.env, process.cwd, process.log, process.stop_signal, user)
    return Running(popen, guard, process.stop_signal)


async def run_once(
    argv: Iterable[str], env: Mapping[str, str], cwd: Path, log: Path, guard: Guard, *, user: tuple[int, int] | None
) -> int:
    """Run a program to its end under the same protection and return its exit code."""
    running = Running(_popen(tuple(argv), env, cwd, log, signal.SIGTERM, user), guard, signal.SIGTERM)
    try:
        return await asyncio.shield(running.exited)
    except asyncio.CancelledError:
        running.kill(signal.SIGKILL)
        await running.exited
        raise


def _popen(
    argv: tuple[str, ...],
    env: Mapping[str, str],
    cwd: Path,
    log: Path,
    stop: signal.Signals,
    user: tuple[int, int] | None,
) -> subprocess.Popen[bytes]:
    launcher = os.getpid()

    def before_exec() -> None:
        os.setpgid(0, 0)
        _libc.prctl(_PR_SET_PDEATHSIG, int(stop))  # after the change of user, which would clear it
        if os.getppid() != launcher:  # it died in between
            os._exit(1)

    with log.open("ab") as output:
        return subprocess.Popen(  # type: ignore[call-overload, no-any-return, unused-ignore]
            argv,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=before_exec,  # safe: the launcher has one thread
            user=None if user is None else user[0],
            group=None if user is None else user[1],
            extra_groups=None if user is None else [],
        )


def rotate(log: Path) -> None:
    """Move a log aside, keeping `LOGS_KEPT` earlier ones; nothing happens when there is none."""
    for number in range(LOGS_KEPT, 0, -1):
        source = log if number == 1 else log.with_name(f"{log.name}.{number - 1}")
        with contextlib.suppress(FileNotFoundError):
            source.replace(log.with_name(f"{log.name}.{number}"))


def bound(log: Path) -> None:
    """Move a log's text aside when it is too long, while its writer goes on: all writers append."""
    try:
        if log.stat().st_size <= LOG_BYTES_MAX:
            return
        rotated = log.with_name(f"{log.name}.1")
        with log.open("rb") as source, rotated.open("wb") as target:
            os.sendfile(target.fileno(), source.fileno(), 0, LOG_BYTES_MAX)
        os.truncate(log, 0)
    except FileNotFoundError:
        return


def last_line(log: Path) -> str:
    """Return the last line of a log that says something, at most 300 characters; empty when there is none."""
    try:
        with log.open("rb") as source:
            source.seek(max(0, log.stat().st_size - 4096))
            lines = source.read().decode(errors="replace").strip().splitlines()
    except FileNotFoundError:
        return ""
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")
