"""A room as a process: start, signals, exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.echo import SERVICE, SayRequest, SayResponse

ROOT = Path(__file__).resolve().parents[3]


async def start(tmp_path: Path, **environ: str) -> tuple[asyncio.subprocess.Process, Path]:
    run_file = tmp_path / "echo.json"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.echo_room",
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in (".", "gen")),
            "PERPMESH_RUN_FILE": str(run_file),
            "PERPMESH_ALLOW_PLAINTEXT": "true",
            **environ,
        },
        stderr=asyncio.subprocess.PIPE,
    )
    return process, run_file


async def lines_until(process: asyncio.subprocess.Process, event: str) -> list[dict[str, Any]]:
    assert process.stderr is not None
    seen: list[dict[str, Any]] = []
    async with asyncio.timeout(20):
        while not seen or seen[-1]["event"] != event:
            line = await process.stderr.readline()
            assert line, f"the room ended before {event}: {seen}"
            seen.append(json.loads(line))
    return seen


@pytest.mark.parametrize(("loop", "module"), [("uvloop", "uvloop"), ("asyncio", "asyncio.unix_events")])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_room_starts_answers_and_stops_on_a_signal(
    tmp_path: Path, loop: str, module: str, number: signal.Signals
) -> None:
    process, run_file = await start(tmp_path, PERPMESH_EVENT_LOOP=loop)
    lines = await lines_until(process, "server.started")
    facts = json.loads(run_file.read_text())
    assert facts["pid"] == process.pid
    exact = next(line for line in lines if line["event"] == "numbers.exact")
    assert (exact["main"], exact["thread"], exact["task"]) == (True, True, True)
    assert next(line for line in lines if line["event"] == "loop.kind")["kind"] == module
    async with grpc.aio.insecure_channel(f"127.0.0.1:{facts['port']}") as channel:
        call = channel.unary_unary(f"/{SERVICE}/Say", SayRequest.SerializeToString, SayResponse.FromString)
        assert (await call(SayRequest(text="hi"))).text == "hi"
    reader, writer = await asyncio.open_connection("127.0.0.1", facts["metrics_port"])
    writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
    page = await reader.read()
    writer.close()
    assert b"perpmesh_loop_lag_seconds" in page
    assert b"perpmesh_rpc_total" in page
    process.send_signal(number)
    await lines_until(process, "server.stopped")
    assert await process.wait() == 0
    assert not run_file.exists()


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"PERPMESH_METRICS_PORT": "x"}, "PERPMESH_METRICS_PORT must be a whole number from -1 to 65535"),
        ({"PERPMESH_LISTTEN": "1"}, "did you mean PERPMESH_LISTEN?"),
        ({"PERPMESH_ECHO_MOOD": "refuse"}, "set PERPMESH_DATABASE_URL"),
    ],
)
async def test_a_wrong_setting_is_one_sentence_and_exit_code_2(
    tmp_path: Path, environ: dict[str, str], says: str
) -> None:
    process, _ = await start(tmp_path, **environ)
    _, said = await process.communicate()
    assert process.returncode == 2
    (line,) = said.decode().splitlines()
    assert line.startswith("echo: ")
    assert says in line


async def test_a_fault_at_the_start_is_logged_and_exit_code_1(tmp_path: Path) -> None:
    process, _ = await start(tmp_path, PERPMESH_ECHO_MOOD="break")
    _, said = await process.communicate()
    assert process.returncode == 1
    (line,) = said.decode().splitlines()
    assert json.loads(line)["error"]["text"] == "broken at the start"


async def test_a_second_signal_ends_a_room_that_hangs(tmp_path: Path) -> None:
    process, _ = await start(tmp_path, PERPMESH_ECHO_MOOD="hang")
    await lines_until(process, "server.started")
    process.send_signal(signal.SIGTERM)
    await lines_until(process, "room.signal")
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(5):
        assert await process.wait() == 1
