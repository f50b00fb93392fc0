"""Starts the planned processes at once, keeps them running, and ends them in order.

A process that dies is started again with growing pauses, and said so. Where that cannot help (it never became ready,
or it is somebody else's server) three deaths in a row end the mesh with one sentence, and a room that refuses its
settings ends it at the first.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from services.chassis.clock import Clock
from services.launcher import database, edge_plan, embedded, plan, process
from services.launcher.plan import Ground
from services.launcher.process import Guard, Kind, Process, Running
from services.launcher.screen import Screen, try_this

DEATHS_MAX = 3
"""Deaths in a row after which a server, or a room that never was ready, is given up."""
LONG_LIFE_S = 30.0
"""Who lived this long did not die in a row."""
PAUSE_FIRST_S, PAUSE_MAX_S = 0.25, 10.0
READY_TIMEOUT_S = 60.0
"""A process that is not ready by then is ended and counts as dead."""
STOP_GRACE_S = 5.0
"""How long a process may take to stop before it is killed."""
REFUSED_SETTINGS = 2
"""The exit code of a room whose settings are wrong; the last line of its log says which and what to do."""
POLL_S = 0.01
LOG_CHECK_S = 10.0

Prepare = Callable[[], Awaitable[None]]


class MeshError(Exception):
    """The mesh cannot go on; the message is one sentence that says what to do."""


class Supervisor:
    """Runs one plan; `run` returns when it was asked to stop and everything has ended."""

    def __init__(self, ground: Ground, guard: Guard, screen: Screen, clock: Clock, *, started: float) -> None:
        self._ground = ground
        self._guard = guard
        self._screen = screen
        self._clock = clock
        self._started = started
        self._processes = plan.plan(ground)
        self._prepare = self._preparations()
        self._running: dict[str, Running] = {}
        self._ready = {item.name: asyncio.Event() for item in self._processes}
        self._up = False
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    def _preparations(self) -> Mapping[str, Prepare]:
        async def valkey() -> None:
            embedded.configure_valkey(self._ground)

        async def envoy() -> None:
            from services.launcher import edge, reference

            process.rotate(self._ground.layout.logs / "access.log")
            template = (self._ground.checkout / "envoy" / "edge.yaml").read_text()
            told = edge_plan.edge_of(self._ground)
            if told.reference is not None:
                reference.write(self._ground.checkout / "gen", told.reference, told.services)
            self._ground.layout.edge.write_text(edge.render(template, told))

        async def postgres() -> None:
            await embedded.prepare_postgres(self._ground, self._guard)
            await database.prepare_rooms(self._ground, self._guard)

        return {"valkey": valkey, "envoy": envoy, "postgres": postgres}

    def ask_to_stop(self) -> None:
        """End the mesh in order; asked again, end it at once."""
        if self._stop.is_set():
            self._hurry.set()
            return
        self._stop.set()
        self._screen.say("\nStopping. Once more Ctrl-C ends everything at once.")

    async def run(self) -> None:
        """Run until asked to stop. Raises `MeshError` when the mesh cannot go on; nothing is left running then."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.ask_to_stop)
        tasks = {asyncio.create_task(self._keep(item), name=item.name) for item in self._processes}
        tasks.add(asyncio.create_task(self._announce()))
        tasks.add(asyncio.create_task(self._bound_logs()))
        stop = asyncio.create_task(self._stop.wait())
        failures: list[BaseException] = []
        try:
            watched = {stop, *tasks}
            while stop in watched and not failures:
                done, watched = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
                failures = [error for task in done if (error := task.exception()) is not None]
        finally:
            self._ground.layout.mesh.unlink(missing_ok=True)
            for task in (stop, *tasks):
                task.cancel()
            await asyncio.gather(stop, *tasks, return_exceptions=True)
            await self._end_all()
        if failures:
            raise failures[0]

    async def _keep(self, item: Process) -> None:
        """Run one process again and again."""
        deaths, was_ready = 0, False
        while True:
            code, lived_s, ready = await self._live(item)
            was_ready = was_ready or ready
            deaths = 1 if lived_s > LONG_LIFE_S else deaths + 1
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            last = process.last_line(item.log)
            if code == REFUSED_SETTINGS and item.kind is Kind.ROOM:
                raise MeshError(last or f"{item.name} refuses its settings: see {item.log}.")
            if "No space left on device" in last:
                raise MeshError(f"The disk is full, so that {item.name} cannot run: free some space on it.")
            if deaths >= DEATHS_MAX and (item.kind is Kind.SERVER or not was_ready):
                raise MeshError(
                    f"{item.name} {how}, and so three times in a row; it said last: {last} (its log is {item.log})"
                )
            pause_s = min(PAUSE_FIRST_S * 2 ** (deaths - 1), PAUSE_MAX_S)
            self._screen.died(item.name, how, pause_s)
            await self._clock.sleep(pause_s)

    async def _live(self, item: Process) -> tuple[int, float, bool]:
        """Run one process once. Returns its exit code, how long it lived and whether it became ready."""
        began = self._clock.monotonic()
        try:
            if item.name in self._prepare:
                await self._prepare[item.name]()
            if not item.ready_names_pid and isinstance(item.ready, Path):
                item.ready.unlink(missing_ok=True)
            process.rotate(item.log)
            user = embedded.unprivileged_user() if item.unprivileged else None
            running = process.spawn(item, self._guard, user=user)
        except OSError as error:
            raise MeshError(_could_not(item, error)) from error
        self._running[item.name] = running
        ready = await self._becomes_ready(item, running)
        if ready:
            self._ready[item.name].set()
            if not self._up or item.holds_up:
                self._screen.ready(item.name, self._clock.monotonic() - self._started)
            self._write_mesh()
        elif not running.exited.done():
            self._screen.say(f"  {item.name:<14} is not ready after {READY_TIMEOUT_S:.0f} s; ending it")
            await running.end(grace_s=STOP_GRACE_S)
        code = await asyncio.shield(running.exited)
        self._ready[item.name].clear()
        self._write_mesh()
        return code, self._clock.monotonic() - began, ready

    async def _becomes_ready(self, item: Process, running: Running) -> bool:
        deadline = self._clock.monotonic() + READY_TIMEOUT_S
        while not running.exited.done() and self._clock.monotonic() < deadline:
            if await _is_ready(item, running.pid):
                return True
            await self._clock.sleep(POLL_S)
        return False

    async def _announce(self) -> None:
        for item in self._processes:
            if item.holds_up:
                await self._ready[item.name].wait()
        self._up = True
        self._write_mesh()
        self._screen.say(f"READY after {self._clock.monotonic() - self._started:.2f} s")
        paper = bool(self._ground.environ.get("PERPMESH_SIMULATOR_PAPER"))
        self._screen.say(try_this(self._ground.config, running=tuple(self._ready), paper=paper))

    async def _bound_logs(self) -> None:
        logs = [item.log for item in self._processes] + [self._ground.layout.logs / "access.log"]
        while True:
            await self._clock.sleep(LOG_CHECK_S)
            for log in logs:
                process.bound(log)

    def _write_mesh(self) -> None:
        """Write what runs where, once the mesh is up, and whenever that changes."""
        if not self._up or self._stop.is_set():
            return
        ground, config = self._ground, self._ground.config
        host = plan.LOOPBACK if config.edge_host in ("0.0.0.0", "") else config.edge_host
        about = {
            "edge": f"{host}:{config.edge_port}",
            "admin": f"{plan.LOOPBACK}:{config.admin_port}",
            "venues": config.venues,
            "state": str(ground.layout.state),
            "launcher_pid": os.getpid(),
            "guard_pid": self._guard.pid,
            "valkey_url": plan.valkey_url(ground),
            "postgres_url": plan.postgres_url(ground),
            "certificates": str(ground.layout.certificates),
            "addresses": {name: f"{plan.LOOPBACK}:{port}" for name, port in ground.ports.items()},
            "processes": {
                name: {"pid": self._running[name].pid if name in self._running else None, "ready": ready.is_set()}
                for name, ready in self._ready.items()
            },
        }
        try:
            embedded.write_private(ground.layout.mesh, json.dumps(about, indent=1))
            (ground.layout.state / "targets.json").write_text(json.dumps(edge_plan.targets(ground), indent=1))
        except OSError as error:
            self._screen.say(f"  {ground.layout.mesh} could not be written: {error.strerror}")

    async def _end_all(self) -> None:
        """End what runs, round by round; everything at once when hurried."""
        hurry = asyncio.create_task(self._kill_in_a_hurry())
        for number in sorted({item.stop_round for item in self._processes}):
            members = [
                self._running[i.name] for i in self._processes if i.stop_round == number and i.name in self._running
            ]
            await asyncio.gather(*(running.end(grace_s=STOP_GRACE_S) for running in members))
        hurry.cancel()

    async def _kill_in_a_hurry(self) -> None:
        await self._hurry.wait()
        for item in self._processes:
            if item.name in self._running:
                self._running[item.name].kill(item.hurry_signal)


async def _is_ready(item: Process, pid: int) -> bool:
    """Return whether a process answers, by the means its plan names."""
    if not isinstance(item.ready, Path):
        return await _answers(item.ready.host, item.ready.port)
    try:
        if item.ready.is_socket():
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(item.ready))
            return True
        text = item.ready.read_text()
    except OSError:
        return False
    if item.ready_names_pid and text.partition("\n")[0] != str(pid):
        return False
    return item.ready_text in text


async def _answers(host: str, port: int) -> bool:
    """Return whether the edge answers its own health path."""
    try:
        async with asyncio.timeout(1.0):
            reader, writer = await asyncio.open_connection(host, port)
            with contextlib.closing(writer):
                writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                return b" 200 " in await reader.readline()
    except (OSError, TimeoutError):
        return False


def _could_not(item: Process, error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return f"The disk is full, so that {item.name} cannot start: free some space on it."
    return f"{item.name} cannot be started ({error}): run `make setup`, and see {item.log}."
