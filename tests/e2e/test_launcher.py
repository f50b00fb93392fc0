"""The launcher starts everything with one command and leaves nothing behind, however it is ended.

Its rooms are stand-ins (tests/support/little_house.py); PostgreSQL, Valkey and Envoy are the real ones.
"""

# ruff: noqa: ASYNC240 - looking at files may block a test

from __future__ import annotations

import asyncio
import json
import os
import pty
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio

from tests.support import little_house
from tests.support.mesh import ROOT, environment, marked, running_mesh, state_folder


@pytest.fixture(scope="module")
def checkout() -> Iterator[Path]:
    with state_folder() as folder:
        folder.mkdir()
        yield little_house.build(folder)


@pytest.fixture
def state() -> Iterator[Path]:
    with state_folder() as folder:
        yield folder


async def launcher(
    checkout: Path,
    state: Path,
    command: str = "up",
    *,
    timeout_s: float = 30.0,
    moods: dict[str, str] | None = None,
    **settings: object,
) -> tuple[int, str]:
    """Run the launcher to its end; return its exit code and all it printed."""
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.launcher", command, cwd=checkout,
        env=environment(state, mark, settings) | (moods or {}), stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        out, _ = await asyncio.wait_for(process.communicate(), timeout_s)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    left = marked(mark, str(state))
    assert left == {}
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_everything_is_up_when_the_mesh_is_ready_and_its_secrets_are_private(checkout: Path, state: Path) -> None:
    async with running_mesh(checkout=checkout, state=state) as mesh:
        about = mesh.about
        assert set(about["processes"]) == {"market_data", "stream", "valkey", "envoy", "postgres"}
        valkey = redis.asyncio.Redis.from_url(about["valkey_url"])
        assert await valkey.ping()
        await valkey.aclose()
        await mesh.restarted("postgres", than=0)
        database = await asyncpg.connect(about["postgres_url"])
        assert await database.fetchval("select 40 + 2") == 42
        await database.close()
        for private in ("mesh.json", "secrets.json", "valkey.conf"):
            assert stat.S_IMODE((state / private).stat().st_mode) == 0o600, private
        password = json.loads((state / "secrets.json").read_text())["valkey"]
        stranger = redis.asyncio.Redis.from_url(about["valkey_url"].replace(password, "wrong"))
        with pytest.raises(redis.exceptions.RedisError, match="invalid username-password"):
            await stranger.ping()
        await stranger.aclose()
        print(f"first start: {mesh.started_s:.2f} s")
        assert all(
            word in mesh.printed() for word in ("curl ", "grpcurl ", "browser", "perpmesh watch", "perpmesh_client")
        )
    assert not (state / "mesh.json").exists()
    async with running_mesh(checkout=checkout, state=state) as mesh:
        print(f"second start: {mesh.started_s:.2f} s")


async def test_kill_minus_nine_of_the_launcher_leaves_nothing_and_the_next_start_works(
    checkout: Path, state: Path
) -> None:
    async with running_mesh(checkout=checkout, state=state) as mesh:
        await mesh.restarted("postgres", than=0)
        before = mesh.left()
        assert len(before) > 8, "launcher, guard, two rooms with a child each, Envoy, Valkey, PostgreSQL"
        mesh.launcher.kill()
        await mesh.launcher.wait()
        assert await mesh.gone() == {}
    async with running_mesh(checkout=checkout, state=state):
        pass


async def test_a_room_that_hears_nothing_does_not_outlive_a_killed_launcher(
    checkout: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_STREAM", "stuck")
    async with running_mesh(checkout=checkout, state=state) as mesh:
        mesh.launcher.kill()
        await mesh.launcher.wait()
        assert await mesh.gone() == {}


@pytest.mark.parametrize("presses", [1, 2])
@pytest.mark.parametrize("early", [True, False], ids=["while starting", "when ready"])
async def test_ctrl_c_at_a_terminal_leaves_nothing(checkout: Path, state: Path, presses: int, early: bool) -> None:
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(checkout)
        os.execve(sys.executable, [sys.executable, "-m", "services.launcher", "up"], environment(state, mark, {}))
    seen = await read_until(terminal, "ready after" if early else "Ctrl-C ends")
    for _ in range(presses):
        os.write(terminal, b"\x03")
    seen += await read_until(terminal, "nothing is left")
    assert os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, pid, 0))[1]) == 0, seen
    os.close(terminal)
    assert marked(mark, str(state)) == {}


async def read_until(terminal: int, text: str, timeout_s: float = 30.0) -> str:
    """Return what a terminal shows, up to and with `text`."""
    seen, deadline = "", time.monotonic() + timeout_s
    while text not in seen:
        assert time.monotonic() < deadline, seen
        try:
            seen += (await asyncio.to_thread(os.read, terminal, 4096)).decode(errors="replace")
        except OSError:  # the other end is closed
            raise AssertionError(f"{text!r} was not shown:\n{seen}") from None
    return seen


async def test_a_port_in_use_is_one_sentence_that_names_who_has_it(checkout: Path, state: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = await launcher(checkout, state, edge_port=port)
    assert code == 1
    assert f"Port {port} is in use by" in said
    assert f"process {os.getpid()}" in said
    assert f"PERPMESH_EDGE_PORT={port + 1} make up" in said
    assert len(said.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"venues": "mainet"}, "simulated, mainnet, testnet"), ({"edge_prot": 1}, "did you mean PERPMESH_EDGE_PORT?")],
)
async def test_a_wrong_variable_is_one_sentence(
    checkout: Path, state: Path, settings: dict[str, object], said: str
) -> None:
    code, printed = await launcher(checkout, state, **settings)
    assert code == 1
    assert said in printed
    assert len(printed.strip().splitlines()) == 1


async def test_a_room_that_refuses_its_settings_ends_the_start_with_its_sentence(checkout: Path, state: Path) -> None:
    code, said = await launcher(checkout, state, moods={"STANDIN_STREAM": "refuses"})
    assert code == 1
    assert said.strip().endswith("stream: PERPMESH_MOON must be new or half, not 'full': correct it or remove it.")


async def test_a_room_that_cannot_start_is_given_up_after_three_deaths(checkout: Path, state: Path) -> None:
    code, said = await launcher(checkout, state, moods={"STANDIN_MARKET_DATA": "dies"})
    assert code == 1
    assert "three times in a row" in said
    assert "the moon is full" in said


@pytest.mark.parametrize("name", ["market_data", "valkey", "envoy", "postgres"])
async def test_what_is_killed_is_started_again_where_it_was_and_said_so(checkout: Path, state: Path, name: str) -> None:
    async with running_mesh(checkout=checkout, state=state) as mesh:
        await mesh.restarted("postgres", than=0)
        addresses = mesh.about["addresses"]
        killed = mesh.kill(name)
        await mesh.restarted(name, than=killed)
        assert mesh.about["addresses"] == addresses
        assert "was killed by signal 9; starting it again" in mesh.printed()


async def test_a_second_mesh_on_the_same_folder_is_refused_with_what_to_do(checkout: Path, state: Path) -> None:
    async with running_mesh(checkout=checkout, state=state) as mesh:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.launcher", "up", cwd=checkout,
            env=environment(state, "second", {}), stderr=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        _, said = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 1
        assert f"kill {mesh.launcher.pid}" in said.decode()
        assert "PERPMESH_STATE_DIR" in said.decode()


async def test_reset_refuses_while_the_mesh_runs_and_empties_afterwards(checkout: Path, state: Path) -> None:
    async with running_mesh(checkout=checkout, state=state) as mesh:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.launcher", "reset", cwd=checkout,
            env=environment(state, "reset", {}), stderr=subprocess.PIPE,
        )  # fmt: skip
        _, said = await process.communicate()
        assert process.returncode == 1
        assert "stop it with Ctrl-C" in said.decode()
        assert mesh.launcher.returncode is None
    assert (state / "postgres").exists()
    (state / "thesis.txt").write_text("not the mesh's own")
    code, said_then = await launcher(checkout, state, "reset")
    assert (code, "left alone: thesis.txt" in said_then) == (0, True)
    assert {path.name for path in state.iterdir()} == {"launcher.lock", "thesis.txt"}


async def test_a_deep_state_folder_moves_the_sockets_and_works(checkout: Path, state: Path) -> None:
    deep = state / "/".join(["deep"] * 20)
    async with running_mesh(checkout=checkout, state=deep) as mesh:
        valkey = redis.asyncio.Redis.from_url(mesh.about["valkey_url"])
        assert await valkey.ping()
        await valkey.aclose()
        await mesh.restarted("postgres", than=0)
    code, _ = await launcher(checkout, deep, "reset")
    assert code == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="about root alone")
async def test_root_may_start_it_where_nobody_else_may_enter(checkout: Path, state: Path) -> None:
    state.mkdir()
    state.chmod(0o700)
    before = set(Path("/var/lib").glob("perpmesh-*"))
    async with running_mesh(checkout=checkout, state=state / "var") as mesh:
        await mesh.restarted("postgres", than=0)
        database = await asyncpg.connect(mesh.about["postgres_url"])
        assert await database.fetchval("select 1") == 1
        await database.close()
    code, _ = await launcher(checkout, state / "var", "reset")
    assert code == 0
    assert set(Path("/var/lib").glob("perpmesh-*")) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")
async def test_a_normal_user_may_start_it(checkout: Path, state: Path) -> None:
    python = python_of_everyone()
    if python is None:
        pytest.skip("no Python of this version that a normal user may start")
    state.mkdir()
    os.chown(state, 65534, 65534)
    command = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", python)
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    old = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{packages}:{ROOT / 'gen'}"
    try:
        async with running_mesh(checkout=checkout, command=command, state=state) as mesh:
            await mesh.restarted("postgres", than=0)
            owners = {Path(f"/proc/{pid}").stat().st_uid for pid in mesh.left()}
            assert owners == {65534}
    finally:
        os.environ.pop("PYTHONPATH") if old is None else os.environ.update(PYTHONPATH=old)


def python_of_everyone() -> str | None:
    """Return a Python of our version that any user may start, and that may start itself."""
    tries = "import asyncio, subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', 'import json']))"
    for candidate in (sys.executable, f"/usr/bin/python3.{sys.version_info[1]}"):
        tried = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", candidate, "-c", tries],
            capture_output=True,
            check=False,
        )
        if tried.returncode == 0:
            return candidate
    return None
