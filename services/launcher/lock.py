"""One mesh per state folder, and who holds a port."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Protocol

from services.chassis.clock import SYSTEM
from services.launcher.config import Layout

WAIT_S = 8.0
"""How long a start waits for a mesh that is just being ended: longer than its guard takes."""
_POLL_S = 0.05


class LockedError(Exception):
    """Another launcher uses the state folder; the message is one sentence that says what to do."""


class Says(Protocol):
    """Whoever tells the person why it takes a moment."""

    def say(self, text: str) -> None:
        """Print one line."""


class StateLock:
    """Holds the state folder. A fork of the holder (the guard) holds it too: free means that nothing is left."""

    def __init__(self, layout: Layout, says: Says, *, wait: bool = True) -> None:
        self._layout = layout
        self._says = says
        self._wait = wait
        self._file = -1

    def __enter__(self) -> StateLock:
        self._file = os.open(self._layout.lock, os.O_RDWR | os.O_CREAT, 0o600)
        deadline, said = SYSTEM.monotonic() + WAIT_S, False
        while not self._take():
            holder = self._holder()
            alive = holder is not None and _is_alive(holder)
            if alive or not self._wait or SYSTEM.monotonic() > deadline:
                os.close(self._file)
                raise LockedError(
                    f"A mesh already uses {self._layout.state} (process {holder}): stop it with Ctrl-C or "
                    f"`kill {holder}`, or give this one a folder of its own with PERPMESH_STATE_DIR."
                )
            if not said:
                self._says.say("Waiting for the previous mesh to end ...")
                said = True
            _pause(_POLL_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
        os.close(self._file)

    def name_holder(self, pid: int) -> None:
        """Write who holds the folder, for the sentence that another launcher will print."""
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{pid}\n".encode(), 0)

    def _take(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _holder(self) -> int | None:
        text = os.pread(self._file, 32, 0).strip()
        return int(text) if text.isdigit() else None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _pause(seconds: float) -> None:
    import select

    select.select([], [], [], seconds)


def port_holder(port: int) -> str:
    """Return ` by NAME (process PID)` for whoever listens on a TCP port, or nothing where that cannot be seen."""
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        with contextlib.suppress(OSError):
            for line in table.read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == "0A" and int(columns[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{columns[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(os.readlink(entry) in inodes for entry in (process / "fd").iterdir()):
                return f" by {(process / 'comm').read_text().strip()} (process {process.name})"
    return ""
