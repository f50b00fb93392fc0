"""The simulator as a process: addresses, HTTP refusals, sources, faults on real sockets, slow clients, SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import websockets

from tests.support.simulator import Simulator, running_simulator

WAIT_S = 10.0


@asynccontextmanager
async def lighter(sim: Simulator, *channels: str) -> AsyncIterator[Any]:
    async with websockets.connect(sim.lighter_ws, proxy=None, max_size=None) as ws:
        assert json.loads(await ws.recv())["type"] == "connected"
        for channel in channels:
            await ws.send(json.dumps({"type": "subscribe", "channel": channel}))
        yield ws


async def read(ws: Any) -> Any:
    return json.loads(await asyncio.wait_for(ws.recv(), WAIT_S))


async def until(ws: Any, kind: str) -> Any:
    while (frame := await read(ws)).get("type") != kind:
        pass
    return frame


async def rest(ws: Any) -> None:
    """Read until the line ends, which raises."""
    while True:
        await read(ws)


async def poll(sim: Simulator, done: Callable[[Any], bool]) -> None:
    """Ask the other process for its state until it is as wanted."""
    async with asyncio.timeout(WAIT_S):
        while not done(await sim.state()):  # noqa: ASYNC110 - another process cannot set an event of ours
            await asyncio.sleep(0.02)


async def test_http_refusals_are_the_venues_and_every_reply_says_that_it_is_simulated() -> None:
    async with running_simulator(seed=5) as sim:
        url, js = f"{sim.hyperliquid_http}/info", {"Content-Type": "application/json"}
        cases: list[tuple[str, Any, dict[str, str], int, str]] = [
            ("POST", "{", js, 400, "Failed to parse the request body as JSON"),
            ("POST", '{"type":"nope"}', js, 422, "Failed to deserialize the JSON body into the target type"),
            (
                "POST",
                '{"type":"meta","type":"meta"}',
                js,
                422,
                "Failed to deserialize the JSON body into the target type",
            ),
            (
                "POST",
                "{}",
                {"Content-Type": "text/plain"},
                415,
                "Expected request with `Content-Type: application/json`",
            ),
            ("POST", '{"type":"metaAndAssetCtxs","dex":"x"}', js, 500, "null"),
            ("POST", '{"type":"l2Book","coin":"NOPE"} trailing', js, 200, "null"),
            ("GET", None, {}, 405, ""),
        ]
        for method, body, headers, status, text in cases:
            async with sim.session.request(method, url, data=body, headers=headers) as response:
                assert (response.status, await response.text()) == (status, text), body
                assert response.headers["x-perpmesh-simulated"] == "true"
        async with sim.session.get(f"{sim.lighter_http}/api/v1/orderBookOrders") as response:
            assert response.status == 400
            assert (await response.json())["code"] == 20001
        async with sim.session.get(f"{sim.lighter_http}/api/v1/nothing") as response:
            assert response.status == 404
            assert await response.json() == {"code": 29404, "message": "not found"}
        for url in (sim.hyperliquid_ws, sim.lighter_ws):
            async with websockets.connect(url, proxy=None) as ws:
                assert ws.response.headers["x-perpmesh-simulated"] == "true"
        state = await sim.state()
        assert state["simulated"] is True
        assert "synthetic" in state["notice"]


async def test_limits_answer_as_the_venues_do_and_can_be_switched_off() -> None:
    async with running_simulator(hyperliquid_weight_max=40, lighter_requests_max=2) as sim:
        url = f"{sim.hyperliquid_http}/info"
        answers = []
        for _ in range(3):
            async with sim.session.post(url, json={"type": "meta"}) as response:
                answers.append((response.status, await response.text() if response.status == 429 else ""))
        assert answers == [(200, ""), (200, ""), (429, "null")]
        statuses = []
        for _ in range(3):
            async with sim.session.get(f"{sim.lighter_http}/api/v1/currentHeight") as response:
                statuses.append((response.status, (await response.json())["code"]))
        assert statuses == [(200, 200), (200, 200), (429, 23000)]


async def test_the_eleventh_socket_of_an_address_is_refused_on_hyperliquid() -> None:
    async with running_simulator() as sim:
        sockets = [await sim.session.ws_connect(sim.hyperliquid_ws) for _ in range(10)]
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await sim.session.ws_connect(sim.hyperliquid_ws)
        assert caught.value.status == 429
        for ws in sockets:
            await ws.close()
            assert ws.close_code == 1000


async def test_a_frozen_market_lets_a_client_be_compared_with_the_truth() -> None:
    async with running_simulator(frozen=True, seed=9) as sim, lighter(sim, "order_book/1") as ws:
        await until(ws, "subscribed/order_book")
        await sim.step(5000)
        truth = await sim.book("lighter", "BTC")
        frame: Any = {}
        while frame.get("order_book", {}).get("nonce") != truth["nonce"]:
            frame = await read(ws)
        assert (await sim.book("lighter", "1"))["bids"] == truth["bids"]
        await sim.thaw()
        later = await until(ws, "update/order_book")
        assert later["order_book"]["begin_nonce"] == truth["nonce"]


async def test_a_recording_is_replayed_whole_and_again_for_each_subscription(tmp_path: Path) -> None:
    frames = [{"channel": "order_book:1", "type": "subscribed/order_book", "order_book": {"nonce": 1}}]
    frames += [
        {"channel": "order_book:1", "type": "update/order_book", "order_book": {"nonce": n}} for n in range(2, 900)
    ]
    lines = [{"ts": 100 + index / 100, "msg": json.dumps(frame)} for index, frame in enumerate(frames)]
    other = {"receive_time_ns": 101 * 10**9, "venue": "hyperliquid", "msg": {"channel": "pong"}}
    path = tmp_path / "recording.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in [*lines, other]))
    async with running_simulator() as sim:
        told = await sim.source("recording", venue="lighter", path=str(path), speed="max")
        assert told["frames"] == 899
        async with lighter(sim) as ws:
            for _ in range(2):
                await ws.send('{"type":"subscribe","channel":"order_book/1"}')
                assert [(await read(ws))["order_book"]["nonce"] for _ in range(899)] == list(range(1, 900))
                await ws.send('{"type":"unsubscribe","channel":"order_book/1"}')
                await until(ws, "unsubscribed")
        await sim.source("recording", venue="lighter", path=str(path), speed=30)
        async with lighter(sim, "order_book/1", "order_book/0") as ws:
            began = asyncio.get_running_loop().time()
            nonces = [(await read(ws))["order_book"]["nonce"] for _ in range(300)]
            took = asyncio.get_running_loop().time() - began
            assert 0 in nonces  # the market that was not recorded begins empty
            assert 0.08 < took < 2.0  # 3 s of recording at 30 times
        async with sim.session.get(f"{sim.lighter_http}/api/v1/orderBookOrders?market_id=1&limit=1") as response:
            assert response.status == 503  # the synthetic market's book would contradict the recording
        source = (await sim.state())["venues"]["lighter"]["source"]
        assert source["kind"] == "recording"
        await sim.source("synthetic", venue="lighter")
        async with lighter(sim, "order_book/0") as ws:
            await until(ws, "update/order_book")


async def test_captured_hyperliquid_frames_are_replayed_to_whom_they_concern(fixtures: Path, tmp_path: Path) -> None:
    captured = json.loads((fixtures / "hyperliquid/measured_ws_frames_2026-09-24.json").read_text())["frames"]
    frames = [row["msg"] for row in captured if row["dir"] == "server"]
    path = tmp_path / "hyperliquid.jsonl"
    path.write_text("\n".join(json.dumps({"ts": 5.0, "venue": "hyperliquid", "msg": frame}) for frame in frames))
    async with running_simulator() as sim:
        told = await sim.source("recording", venue="hyperliquid", path=str(path), speed="max")
        assert told["skipped"] == len(frames) - told["frames"]
        async with websockets.connect(sim.hyperliquid_ws, proxy=None) as ws:
            for kind, coin in (("l2Book", "kPEPE"), ("bbo", "BTC"), ("trades", "BTC"), ("activeAssetCtx", "BTC")):
                subscription = {"type": kind, "coin": coin}
                await ws.send(json.dumps({"method": "subscribe", "subscription": subscription}))
                assert (await read(ws))["channel"] == "subscriptionResponse"
                frame = await read(ws)
                assert frame in frames
                assert frame["channel"] == kind
        async with sim.session.post(f"{sim.hyperliquid_http}/info", json={"type": "l2Book", "coin": "BTC"}) as response:
            assert response.status == 500


async def test_the_real_recording_comes_through_unchanged(fixtures: Path) -> None:
    path = fixtures / "lighter/nautilus_pr_dec2025/ws/mainnet_ob_trade_stats_btc_20251210.jsonl"
    wanted = [json.loads(line)["msg"] for line in path.read_text().splitlines()]
    async with running_simulator(recording=str(path), recording_speed="max") as sim:
        for channel in ("order_book", "trade", "market_stats"):
            mine = [text for text in wanted if f'"channel":"{channel}:1"' in text]
            async with lighter(sim, f"{channel}/1") as ws:
                assert [await asyncio.wait_for(ws.recv(), WAIT_S) for _ in mine] == mine


async def test_a_script_sets_books_trades_and_faults_at_its_times() -> None:
    steps = [
        {"at_ms": 0, "do": "set_book", "venue": "lighter", "market": "BTC",
         "bids": [["100.0", "2"], ["99.5", "1"]], "asks": [["100.5", "3"]]},
        {"at_ms": 0, "do": "set_book", "venue": "hyperliquid", "market": "BTC",
         "bids": [["100", "1"]], "asks": [["101", "1"]]},
        {"at_ms": 300, "do": "trade", "venue": "lighter", "market": "BTC", "side": "sell", "size": "2.5"},
        {"at_ms": 600, "do": "fault", "kind": "drop", "venue": "lighter", "channel": "ticker"},
        {"at_ms": 700, "do": "trade", "venue": "nowhere", "market": "BTC", "side": "sell", "size": "1"},
    ]  # fmt: skip
    async with running_simulator() as sim, lighter(sim, "order_book/1", "trade/1") as ws:
        await until(ws, "subscribed/trade")
        await sim.source("script", steps=steps)
        trade = await until(ws, "update/trade")
        while [(row["price"], row["size"]) for row in trade["trades"]] != [("99.5", "0.50000"), ("100.0", "2.00000")]:
            trade = await until(ws, "update/trade")
        assert (await sim.book("lighter", "1"))["bids"] == [["99.5", "0.50000"]]
        assert (await sim.book("hyperliquid", "BTC"))["asks"] == [["101.0", "1.0"]]
        await poll(sim, lambda state: not state["script_steps_left"])
        assert [rule["kind"] for rule in (await sim.faults())["rules"]] == ["drop"]
        assert "nowhere" in (await sim.state())["script_errors"][0]


async def test_a_dropped_delta_shows_as_a_break_in_the_chain_and_is_counted() -> None:
    async with running_simulator() as sim, lighter(sim, "order_book/1") as ws:
        nonce = (await until(ws, "subscribed/order_book"))["order_book"]["nonce"]
        await sim.fault("gap", venue="lighter", market="1", count=1)
        breaks = 0
        for _ in range(30):
            book = (await until(ws, "update/order_book"))["order_book"]
            breaks += book["begin_nonce"] != nonce
            nonce = book["nonce"]
        assert breaks == 1
        told = await sim.faults()
        assert told["counts"] == {"gap": 1}
        assert told["injected"][0]["market"] == "1"


async def test_silence_keeps_the_line_open_and_a_mute_server_answers_no_ping() -> None:
    async with running_simulator() as sim, lighter(sim, "order_book/1") as ws:
        await until(ws, "update/order_book")
        rule = await sim.fault("silent", venue="lighter")
        await ws.send('{"type":"ping"}')
        await until(ws, "pong")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ws.recv(), 0.5)
        await asyncio.wait_for(await ws.ping(), WAIT_S)
        await sim.call("DELETE", f"faults/{rule}")
        await until(ws, "update/order_book")
        await sim.fault("mute", venue="lighter")
        waiter = await ws.ping()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiter), 0.5)
        await sim.clear_faults()


async def test_lines_are_cut_without_a_close_frame_and_listeners_can_refuse() -> None:
    async with running_simulator() as sim:
        async with lighter(sim, "order_book/1") as ws:
            await until(ws, "subscribed/order_book")
            await sim.fault("refuse", venue="lighter", duration_s=0.6)
            await sim.fault("close", venue="lighter")
            with pytest.raises(websockets.ConnectionClosedError) as caught:
                await rest(ws)
            assert caught.value.rcvd is None
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            await websockets.connect(sim.lighter_ws, proxy=None)
        async with sim.session.post(f"{sim.hyperliquid_http}/info", json={"type": "exchangeStatus"}) as response:
            assert response.status == 200
        await poll(sim, lambda state: not state["venues"]["lighter"]["refusing"])
        async with lighter(sim, "order_book/1") as ws:
            await until(ws, "subscribed/order_book")


async def test_http_faults_of_every_kind_reach_the_client() -> None:
    async with running_simulator(lighter_requests_max=0) as sim:
        url, body = f"{sim.hyperliquid_http}/info", {"type": "exchangeStatus"}

        async def ask() -> tuple[int, str, str]:
            async with sim.session.post(url, json=body) as response:
                return response.status, response.content_type, await response.text()

        await sim.fault("http_status", venue="hyperliquid", count=1, params={"status": 429})
        assert await ask() == (429, "application/json", "null")
        await sim.fault("http_status", venue="hyperliquid", count=1, params={"status": 502})
        assert (await ask())[0] == 502
        await sim.fault("http_html", venue="hyperliquid", count=1)
        assert (await ask())[1] == "text/html"
        await sim.fault("http_garbage", venue="hyperliquid", count=1)
        with pytest.raises(json.JSONDecodeError):
            json.loads((await ask())[2])
        await sim.fault("http_reset", venue="hyperliquid", count=1)
        with pytest.raises(aiohttp.ClientError):
            await ask()
        await sim.fault("http_hang", venue="hyperliquid", count=1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ask(), 0.4)
        await sim.fault("http_status", venue="lighter", channel="/api/v1/orderBooks", count=1)
        async with sim.session.get(f"{sim.lighter_http}/api/v1/currentHeight") as response:
            assert response.status == 200
        async with sim.session.get(f"{sim.lighter_http}/api/v1/orderBooks") as response:
            assert response.status == 503
        await sim.fault("http_status", venue="lighter", channel="ws", count=1)
        with pytest.raises(websockets.InvalidStatus):
            await websockets.connect(sim.lighter_ws, proxy=None)
        assert (await ask())[0] == 200


async def test_an_announced_restart_is_announced_and_happens() -> None:
    async with running_simulator() as sim, lighter(sim) as ws:
        await sim.fault("shutdown", params={"close_in_ms": 200})
        assert await until(ws, "shutdown") == {"type": "shutdown", "close_in_ms": 200}
        with pytest.raises(websockets.ConnectionClosedError):
            await rest(ws)


async def test_a_client_that_does_not_read_is_cut_and_costs_the_others_nothing() -> None:
    async with running_simulator(lighter_messages_max=0, lighter_subscriptions_max=0) as sim:
        address = sim.lighter_ws.removeprefix("ws://").partition("/")[0]
        host, _, port = address.partition(":")
        handshake = (
            f"GET /stream HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        async with lighter(sim, "order_book/1") as ws:
            with socket.create_connection((host, int(port))) as deaf:
                deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                deaf.sendall(handshake.encode())
                await poll(sim, lambda state: state["venues"]["lighter"]["connections"] == 2)
                # Each round asks for a full book (about 100 kB) and gives it up again; nothing is ever read.
                with contextlib.suppress(ConnectionError):
                    for _ in range(400):
                        deaf.sendall(masked("subscribe") + masked("unsubscribe"))
                        await asyncio.sleep(0)
                await poll(sim, lambda state: state["venues"]["lighter"]["connections"] == 1)
            await until(ws, "update/order_book")


def masked(kind: str) -> bytes:
    """Return a client's frame of the WebSocket protocol."""
    body = json.dumps({"type": kind, "channel": "order_book/1"}).encode()
    return struct.pack("!BB4s", 0x81, 0x80 | len(body), b"\0\0\0\0") + body


async def test_wrong_control_calls_teach_what_would_pass() -> None:
    async with running_simulator() as sim:
        for method, path, body in [
            ("POST", "faults", {"kind": "fire"}),
            ("POST", "source", {"kind": "tape"}),
            ("POST", "source", {"kind": "recording", "venue": "lighter", "path": "/nowhere"}),
            ("POST", "source", {"kind": "script", "steps": [{"do": "jump"}]}),
            ("POST", "clock", {"step_ms": 10}),
            ("GET", "book?venue=lighter&market=NOPE", None),
        ]:
            async with sim.session.request(method, f"{sim.control_http}/control/{path}", json=body) as response:
                assert response.status == 400, path
                assert "would pass" in (await response.json())["error"] or "no file" in (await response.json())["error"]


async def test_sigterm_ends_the_process_and_its_clients_at_once() -> None:
    async with running_simulator() as sim, lighter(sim, "order_book/1") as ws:
        await until(ws, "update/order_book")
        os.kill(sim.pid, signal.SIGTERM)
        with pytest.raises(websockets.ConnectionClosed):
            await rest(ws)
