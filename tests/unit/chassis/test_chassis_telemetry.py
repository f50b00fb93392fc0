"""Logs, metrics and the page that shows them."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from services.chassis import call, telemetry
from services.chassis.metrics import Metrics, watch_loop_lag
from services.chassis.probes import Probes
from services.chassis.telemetry import Level, Log
from tests.support.clock import ManualClock


class Sink:
    """A pipe whose reading end keeps every line."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()

    def lines(self, log: Log) -> list[dict[str, Any]]:
        assert log.flush(5)
        os.set_blocking(self.reading, False)
        try:
            data = os.read(self.reading, 1 << 20)
        except BlockingIOError:
            data = b""
        return [json.loads(line) for line in data.splitlines()]


@pytest.fixture
def sink() -> Iterator[Sink]:
    made = Sink()
    yield made
    os.close(made.reading)
    os.close(made.writing)


def test_an_event_is_one_json_line_with_time_level_room_and_fields(sink: Sink) -> None:
    log = Log(descriptor=sink.writing, clock=ManualClock(), room="market_data")
    log.event("feed.gap", venue="lighter", missed=3, price=Decimal("0.10"))
    (line,) = sink.lines(log)
    assert line == {
        "time": "2026-01-01T00:00:00Z",
        "level": "info",
        "room": "market_data",
        "event": "feed.gap",
        "venue": "lighter",
        "missed": 3,
        "price": "0.10",
    }


def test_a_line_carries_the_request_id_of_the_call_being_served(sink: Sink) -> None:
    log = Log(descriptor=sink.writing)
    mark = call.CURRENT.set(call.Call(request_id="r-1", method="x/Y"))
    log.event("a")
    call.CURRENT.reset(mark)
    log.event("b")
    first, second = sink.lines(log)
    assert first["request_id"] == "r-1"
    assert "request_id" not in second


def test_fields_that_speak_of_secrets_are_hidden_and_bytes_are_counted(sink: Sink) -> None:
    log = Log(descriptor=sink.writing)
    log.event("login", access_token="abc", Authorization="Bearer x", api_key="k", body=b"1234")
    (line,) = sink.lines(log)
    assert (line["access_token"], line["Authorization"], line["api_key"]) == ("[hidden]",) * 3
    assert line["body"] == "<4 bytes>"


def test_a_line_is_bounded_whatever_is_given(sink: Sink) -> None:
    log = Log(descriptor=sink.writing)
    log.event("long", text="x" * 100_000)
    log.event("wide", **{f"k{number}": "y" * 1000 for number in range(100)})
    log.event("odd", value=object(), broken=float("nan"))
    os.set_blocking(sink.reading, False)
    assert log.flush(5)
    raw = os.read(sink.reading, 1 << 20)
    assert all(len(line) < telemetry.LINE_BYTES_MAX for line in raw.splitlines())
    long, wide, _ = [json.loads(line) for line in raw.splitlines()]
    assert long["text"].endswith("...")
    assert wide["cut"] is True


def test_an_exception_becomes_type_text_and_a_short_trace(sink: Sink) -> None:
    log = Log(descriptor=sink.writing)
    try:
        raise ValueError("broken")
    except ValueError as error:
        log.error("task.failed", error=error)
    (line,) = sink.lines(log)
    assert (line["error"]["type"], line["error"]["text"]) == ("ValueError", "broken")
    assert "test_chassis_telemetry" in line["error"]["trace"]


def test_an_event_that_floods_is_cut_to_its_rate_and_says_how_many_were_left_out(sink: Sink) -> None:
    clock = ManualClock()
    log = Log(descriptor=sink.writing, clock=clock, per_second=10, burst=5)
    for _ in range(100):
        log.event("noisy")
    log.event("quiet")
    assert [line["event"] for line in sink.lines(log)] == ["noisy"] * 5 + ["quiet"]
    asyncio.run(clock.advance(1))
    log.event("noisy")
    (line,) = sink.lines(log)
    assert line["suppressed"] == 95


def test_levels_below_the_chosen_one_are_not_written(sink: Sink) -> None:
    log = Log(descriptor=sink.writing, level=Level.WARNING)
    log.event("a")
    log.warning("b")
    assert [line["event"] for line in sink.lines(log)] == ["b"]


def test_when_nobody_reads_lines_are_dropped_and_the_caller_is_never_held(sink: Sink) -> None:
    log = Log(descriptor=sink.writing, per_second=1e9, burst=10**9)
    done = threading.Event()

    def flood() -> None:
        for _ in range(telemetry.QUEUE_LINES_MAX + 20_000):
            log.event("x", text="y" * 200)
        done.set()

    threading.Thread(target=flood, daemon=True).start()
    assert done.wait(30)
    assert log.dropped > 0
    while not log.flush(0.05):
        os.read(sink.reading, 1 << 20)


async def test_metrics_are_made_once_and_rendered() -> None:
    metrics = Metrics()
    metrics.counter("calls_total", "Calls.", ("code",)).labels("OK").inc()
    metrics.counter("calls_total", "Calls.", ("code",)).labels("OK").inc()
    assert b'calls_total{code="OK"} 2.0' in metrics.render()


async def test_the_loop_lag_is_measured() -> None:
    metrics, clock = Metrics(), ManualClock()
    task = asyncio.create_task(watch_loop_lag(clock, metrics, period_s=0.5))
    await clock.wait_for_sleepers()
    await clock.advance(0.5)
    assert b"perpmesh_loop_lag_seconds 0.0" in metrics.render()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_the_page_separates_liveness_from_readiness() -> None:
    why: list[str | None] = ["No venue is live."]
    metrics = Metrics()
    metrics.gauge("one", "One.").set(1)
    probes = Probes(lambda: why[0], metrics=metrics)
    port = await probes.start(0)
    try:
        assert (await ask(port, b"GET /livez HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200")
        not_ready = await ask(port, b"GET /readyz HTTP/1.1\r\n\r\n")
        assert not_ready.startswith(b"HTTP/1.1 503")
        assert b"No venue is live." in not_ready
        why[0] = None
        assert (await ask(port, b"GET /readyz HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert b"one 1.0" in await ask(port, b"GET /metrics?x=1 HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await ask(port, b"POST /metrics HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 405")
        assert (await ask(port, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 404")
        assert await ask(port, b"GET /" + b"x" * 20_000) == b""
    finally:
        await probes.close()
