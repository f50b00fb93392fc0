"""A mesh of one's own, from the checkout this runs in: simulated venues, state in a folder that goes with it.

The launcher is part of the server and is run as a process; nothing of it is imported. It ends when its block ends, or
with this process, however that dies.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from perpmesh_client.errors import PerpmeshError

READY_TIMEOUT_S = 180.0
"""How long the start may take: seconds on a machine that is free."""
STOP_TIMEOUT_S = 30.0
POLL_S = 0.05
_BOOT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, int(signal.SIGINT))  # PR_SET_PDEATHSIG: Ctrl-C for the mesh when its starter dies
if os.getppid() != int(sys.argv[1]):
    sys.exit("its starter is gone")
os.execv(sys.executable, [sys.executable, "-m", "services.launcher", "up"])
"""


def checkout() -> Path | None:
    """Return the folder that holds the server, where this runs from a checkout."""
    sys.path.insert(0, os.getcwd())
    try:
        found = importlib.util.find_spec("services.launcher")
    except ModuleNotFoundError:
        return None
    finally:
        sys.path.pop(0)
    return None if found is None or found.origin is None else Path(found.origin).parents[2]


@asynccontextmanager
async def own_mesh(root: Path) -> AsyncGenerator[str, None]:
    """Start a mesh and yield the address of its edge; end it and remove its state afterwards.

    Raises `PerpmeshError` with what the launcher said when it does not start. The state of a mesh that was in use when
    an error came is kept, and the error says where.
    """
    folder = _folder()
    state = folder / "state"
    settings = {"STATE_DIR": str(state), "EDGE_PORT": "0", "ADMIN_PORT": "0", "VENUES": "simulated"}
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PERPMESH_")}
    with (folder / "launcher.out").open("wb") as out:
        launcher = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _BOOT,
            str(os.getpid()),
            cwd=root,
            env={**outside, **{f"PERPMESH_{name}": value for name, value in settings.items()}},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us, and we end it
        )
    kept = False
    try:
        address = await _ready(launcher, state)
        try:
            yield address
        except PerpmeshError as error:
            kept = True
            raise PerpmeshError(f"{error} What the mesh wrote is in {folder}.", code="ABORTED") from None
    finally:
        await _end(launcher)
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


def _folder() -> Path:
    """Make a folder that everyone may enter: as root, the database runs as another user."""
    folder = Path(tempfile.mkdtemp(prefix="perpmesh-demo-"))
    folder.chmod(0o755)
    return folder


async def _ready(launcher: asyncio.subprocess.Process, state: Path) -> str:
    """Return the address of the edge once every process of the mesh is ready."""
    about, said = state / "mesh.json", state.parent / "launcher.out"
    loop = asyncio.get_running_loop()
    deadline = loop.time() + READY_TIMEOUT_S
    while not about.exists():
        if launcher.returncode is not None or loop.time() > deadline:
            last = said.read_text(errors="replace").strip().rpartition("\n")[2]
            raise PerpmeshError(f"The mesh did not start. It said: {last}", code="FAILED_PRECONDITION")
        await asyncio.sleep(POLL_S)
    return str(json.loads(about.read_text())["edge"])


async def _end(launcher: asyncio.subprocess.Process) -> None:
    if launcher.returncode is not None:
        return
    launcher.send_signal(signal.SIGINT)
    try:
        await asyncio.wait_for(launcher.wait(), STOP_TIMEOUT_S)
    except TimeoutError:
        launcher.kill()
        await launcher.wait()
