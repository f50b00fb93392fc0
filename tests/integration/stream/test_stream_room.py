"""The room as a process: `python -m services.stream`, on the event loop it runs on in the mesh."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from perpmesh.marketdata.v1 import price_pb2, trade_pb2
from websockets.asyncio.client import connect

from tests.integration.stream.conftest import Reader, eventually
from tests.integration.stream.upstream import Upstream, UpstreamServer

CHECKOUT = Path(__file__).resolve().parents[3]


class Room:
    """A running process."""

    def __init__(self, process: asyncio.subprocess.Process, run_file: Path) -> None:
        self.process = process
        self.run_file = run_file

    @property
    def facts(self) -> dict[str, Any]:
        """Return what the run file says."""
        facts: dict[str, Any] = json.loads(self.run_file.read_text())
        return facts


async def spawn(run_file: Path, **settings: str) -> asyncio.subprocess.Process:
    roots = (CHECKOUT, CHECKOUT / "gen", CHECKOUT / "clients" / "python")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PERPMESH_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.stream",
        env={
            **inherited,
            "PYTHONPATH": ":".join(map(str, roots)),
            "PERPMESH_LISTEN": "127.0.0.1:0",
            "PERPMESH_RUN_FILE": str(run_file),
            "PERPMESH_ALLOW_PLAINTEXT": "true",
            **settings,
        },
        stderr=asyncio.subprocess.PIPE,
    )


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[UpstreamServer]:
    """Give a market_data."""
    server = UpstreamServer(Upstream())
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture
async def room(tmp_path: Path, upstream: UpstreamServer) -> AsyncIterator[Room]:
    """Give a room that follows it."""
    run_file = tmp_path / "run" / "stream.json"
    process = await spawn(
        run_file,
        PERPMESH_MARKET_DATA_ADDRESS=upstream.address,
        PERPMESH_STREAM_STALL_TIMEOUT_S="1",
    )
    await eventually(run_file.exists)
    yield Room(process, run_file)
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def http_get(port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


async def test_the_room_serves_counts_and_drains_when_it_is_told_to_stop(room: Room, upstream: UpstreamServer) -> None:
    facts = room.facts
    assert (facts["room"], facts["pid"]) == ("stream", room.process.pid)
    async with connect(f"ws://127.0.0.1:{facts['port']}/v1/ws") as client:
        reader = Reader(client)
        assert "welcome" in await reader.next()
        await reader.subscribe("prices:BTC-PERP")
        stream = await upstream.service.opened()
        stream.say(price=price_pb2.Price(market="BTC-PERP", sequence=1))
        stream.live()
        await reader.until("live")
        assert b"200 OK" in await http_get(facts["port"], "/healthz")
        assert b"perpmesh_stream_connections 1.0" in await http_get(facts["metrics_port"], "/metrics")
        room.process.send_signal(signal.SIGTERM)
        frames = await reader.rest()
        assert frames[-1]["end"]["reason"] == "DRAINING"
        assert client.close_code == 1012
    assert await asyncio.wait_for(room.process.wait(), 15) == 0
    assert not room.run_file.exists()


async def test_the_room_ends_who_does_not_read_and_names_what_a_slow_reader_missed(
    room: Room, upstream: UpstreamServer
) -> None:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sock.connect(("127.0.0.1", room.facts["port"]))
    client = await connect(
        "ws://127.0.0.1/v1/ws", sock=sock, max_queue=1, ping_interval=None, max_size=None, compression=None
    )
    reader = Reader(client)
    await reader.subscribe("trades:BTC-PERP")
    stream = await upstream.service.opened()
    for sequence in range(1, 4_000):
        stream.say(trade=trade_pb2.Trade(market="BTC-PERP", sequence=sequence, trade_id="x" * 1_000))
    metrics = room.facts["metrics_port"]
    async with asyncio.timeout(20):
        while b'ended_total{reason="SLOW_CONSUMER"} 1.0' not in await http_get(metrics, "/metrics"):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    frames = await reader.rest()
    assert frames[-1]["end"]["reason"] == "SLOW_CONSUMER"
    assert client.close_code == 1013


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "PERPMESH_MARKET_DATA_ADDRESS"),
        ({"PERPMESH_MARKET_DATA_ADDRESS": "nowhere"}, "host:port"),
        ({"PERPMESH_MARKET_DATA_ADDRESS": "127.0.0.1:1", "PERPMESH_LISTEN": "127.0.0.1:TAKEN"}, "free"),
    ],
    ids=["missing", "wrong", "port in use"],
)
async def test_a_wrong_setting_ends_the_room_with_one_sentence(
    tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        settings = {name: value.replace("TAKEN", port) for name, value in settings.items()}
        process = await spawn(tmp_path / "run.json", **settings)
        _, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 2
    assert errors.decode().startswith("stream: ")
    assert said in errors.decode()
    assert errors.count(b"\n") == 1
