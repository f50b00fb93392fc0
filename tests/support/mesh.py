"""The whole mesh as real processes, for tests and bench: `async with running_mesh(simulator_seed=7) as mesh: ...`.

The launcher is started with a state folder of its own and ports chosen by the system, awaited through `mesh.json`, and
ended with SIGINT. Afterwards nothing of it may be left, which is asserted. Options are settings in lower case without
their prefix: `ip_requests_per_s=100000` sets PERPMESH_IP_REQUESTS_PER_S.
"""

# ruff: noqa: ASYNC110 - what is awaited is in other processes and in files

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

ROOT = Path(__file__).resolve().parents[2]
READY_S = 150.0
STOP_S = 20.0
UNLIMITED: dict[str, object] = {"simulator_hyperliquid_weight_max": 0, "simulator_lighter_requests_max": 0}
MARK = "MESH_OF_TEST"
"""Set in the environment of all that a mesh starts, so that leftovers are found wherever they hang."""


@dataclass(slots=True, kw_only=True)
class Mesh:
    """A running mesh: where it is reached, and which process is what."""

    state: Path
    launcher: asyncio.subprocess.Process
    mark: str
    output: Path
    started_s: float = 0.0
    """How long the start took, from the command to READY."""
    _first: dict[str, Any] = field(default_factory=dict)

    @property
    def about(self) -> dict[str, Any]:
        """What `mesh.json` says now; what it said first while it is rewritten or gone."""
        with contextlib.suppress(OSError, ValueError):
            return json.loads((self.state / "mesh.json").read_text())  # type: ignore[no-any-return]
        return self._first

    @property
    def edge(self) -> str:
        """Host and port of the edge."""
        return str(self.about["edge"])

    @property
    def url(self) -> str:
        """The edge as the beginning of an HTTP address."""
        return f"http://{self.edge}"

    @property
    def admin_url(self) -> str:
        """Envoy's admin page."""
        return f"http://{self.about['admin']}"

    def address(self, name: str) -> str:
        """Host and port of a room, or of a face of the simulator, such as `simulator.control`, past the edge."""
        return str(self.about["addresses"][name])

    def channel(self, room: str, *, part: str = "edge") -> grpc.aio.Channel:
        """Return a channel to a room, or a replica such as `auth.2`, with the certificate of a part of the mesh."""
        folder = Path(self.about["certificates"])
        credentials = grpc.ssl_channel_credentials(
            (folder / "authority.pem").read_bytes(),
            (folder / f"{part}.key").read_bytes(),
            (folder / f"{part}.pem").read_bytes(),
        )
        options = [("grpc.ssl_target_name_override", f"{room.partition('.')[0]}.perpmesh")]
        return grpc.aio.secure_channel(self.address(room), credentials, options=options)

    def pid(self, name: str) -> int:
        """The process id of a process now."""
        return int(self.about["processes"][name]["pid"])

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Signal one process and return the id it had."""
        pid = self.pid(name)
        os.kill(pid, number)
        return pid

    async def restarted(self, name: str, *, than: int, timeout_s: float = 60.0) -> int:
        """Wait until `name` runs and is ready under another process id `than` it had; return the new id."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            now = self.about["processes"][name]
            if now["ready"] and now["pid"] != than:
                return int(now["pid"])
            await asyncio.sleep(0.02)
        raise AssertionError(f"{name} was not started again within {timeout_s} s\n{self.printed()}")

    def printed(self) -> str:
        """What the launcher has printed."""
        return self.output.read_text(errors="replace")

    def log(self, name: str) -> str:
        """The log of one process."""
        return (self.state / "log" / f"{name}.log").read_text(errors="replace")

    def faults(self) -> str:
        """What the rooms logged as faults of ours, for a test that saw one from outside."""
        logs = sorted((self.state / "log").glob("*.log"))
        lines = (line for log in logs for line in log.read_text(errors="replace").splitlines())
        return "\n".join(line for line in lines if '"level":"error"' in line)[-20_000:]

    def left(self) -> dict[int, str]:
        """Every process that belongs to this mesh and lives, by id, with its command line."""
        return marked(self.mark, str(self.state))

    async def gone(self, *, timeout_s: float = 10.0) -> dict[int, str]:
        """Wait until nothing of the mesh lives; return what does when the time is up."""
        deadline = time.monotonic() + timeout_s
        while (left := self.left()) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        return left


def marked(mark: str, state: str) -> dict[int, str]:
    """Return the live processes that carry `mark` in their environment or `state` in their command line."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            environ = (folder / "environ").read_bytes() if os.access(folder / "environ", os.R_OK) else b""
            ours = f"{MARK}={mark}".encode() in environ.split(b"\0") or state in command
            if ours and (folder / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found[int(folder.name)] = command
    return found


def environment(state: Path, mark: str, settings: dict[str, object]) -> dict[str, str]:
    """Return the environment of a launcher: nothing of ours from outside, free ports, and the given settings."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PERPMESH_")}
    ours = {"state_dir": state, "edge_port": 0, "admin_port": 0, **settings}
    return outside | {MARK: mark} | {f"PERPMESH_{name.upper()}": str(value) for name, value in ours.items()}


@contextlib.contextmanager
def state_folder() -> Any:
    """Make a state folder that everyone may enter (the database may run as another user) and remove it afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="perpmesh-test-"))
    folder.chmod(0o755)
    try:
        yield folder / "state"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.asynccontextmanager
async def running_mesh(
    *, checkout: Path = ROOT, command: Sequence[str] = (), state: Path | None = None, **settings: object
) -> AsyncIterator[Mesh]:
    """Start a mesh from `checkout`, wait until it is ready, and end it.

    `command` replaces the start of the command line, `python` that is; `state` is a folder to use and to keep. The
    venues' limits for one address are off, unless given: a test makes more users in a minute than they allow. Raises
    `AssertionError` with what was printed when it does not start, does not stop, or leaves something running.
    """
    with contextlib.ExitStack() as held:
        folder = held.enter_context(state_folder()) if state is None else state
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        settings = (UNLIMITED if checkout == ROOT else {}) | settings
        mesh = await _start(folder, checkout, tuple(command) or (sys.executable,), settings)
        try:
            await _ready(mesh)
            yield mesh
        finally:
            await _end(mesh)


async def _start(folder: Path, checkout: Path, command: tuple[str, ...], settings: dict[str, object]) -> Mesh:
    mark, output = f"{os.getpid()}-{time.monotonic_ns()}", folder.parent / f"{folder.name}.out"
    with output.open("wb") as out:
        launcher = await asyncio.create_subprocess_exec(
            *command,
            "-m",
            "services.launcher",
            "up",
            cwd=checkout,
            env=environment(folder, mark, settings),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=asyncio.subprocess.STDOUT,
        )
    return Mesh(state=folder, launcher=launcher, mark=mark, output=output)


async def _ready(mesh: Mesh) -> None:
    began = time.monotonic()
    while not (mesh.state / "mesh.json").exists():
        assert mesh.launcher.returncode is None, f"the mesh did not start:\n{mesh.printed()}"
        assert time.monotonic() - began < READY_S, f"the mesh was not ready after {READY_S} s:\n{mesh.printed()}"
        await asyncio.sleep(0.01)
    mesh.started_s = time.monotonic() - began
    mesh._first = mesh.about


async def _end(mesh: Mesh) -> None:
    if mesh.launcher.returncode is None:
        mesh.launcher.send_signal(signal.SIGINT)
        try:
            await asyncio.wait_for(mesh.launcher.wait(), STOP_S)
        except TimeoutError:
            mesh.launcher.kill()
            await mesh.launcher.wait()
            raise AssertionError(f"the mesh did not stop within {STOP_S} s:\n{mesh.printed()}") from None
    left = await mesh.gone()
    assert left == {}, f"the mesh left processes running: {left}\n{mesh.printed()}"
