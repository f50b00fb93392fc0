"""Slow, greedy, wrong and unwelcome clients, over real sockets."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from typing import Any

import pytest
from perpmesh.marketdata.v1 import book_pb2, price_pb2, trade_pb2
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from services.stream.app.door import DoorBounds
from services.stream.model.limits import Limits
from services.stream.model.request import BadFrameError, parse_request
from services.stream.ws.server import Entrance
from tests.integration.stream.conftest import MakeMesh, Mesh, Reader, eventually

PADDING = "x" * 1_000
READER_SETTINGS: dict[str, Any] = {"max_queue": 1, "ping_interval": None}


def narrow(mesh: Mesh) -> dict[str, Any]:
    """Return the settings of a client whose socket holds little, so that not reading is soon felt."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sock.connect(("127.0.0.1", mesh.server.port))
    return {"sock": sock, **READER_SETTINGS}


async def until_congested(mesh: Mesh) -> None:
    """Wait until the door holds back for its one client."""
    (client,) = mesh.door._connections
    await eventually(lambda: client.stalled_s is not None)


async def caught_up(mesh: Mesh, stream: Any) -> None:
    """Wait until all that a stream was told to say has been said, and give it a moment to arrive."""
    await eventually(lambda: stream._said.empty())
    await asyncio.sleep(0.2)  # what is on its way can be seen by nobody


async def test_trades_that_a_slow_reader_missed_are_named_and_none_is_lost_without_a_word(make_mesh: MakeMesh) -> None:
    mesh = await make_mesh(DoorBounds(limits=Limits(trades_queued_max=100, flush_bytes_max=16_384)))
    reader = await mesh.client(**narrow(mesh))
    await reader.subscribe("trades:BTC-PERP")
    stream = await mesh.service.opened()
    stream.live()
    await reader.until("live")
    total = 4_000
    for sequence in range(1, total + 1):
        stream.say(trade=trade_pb2.Trade(market="BTC-PERP", sequence=sequence, trade_id=PADDING))
    await until_congested(mesh)
    await caught_up(mesh, stream)
    accounted: list[int] = []
    named = 0
    while not accounted or accounted[-1] < total:
        frame = await reader.next()
        if "trade" in frame:
            accounted.append(int(frame["trade"]["sequence"]))
        else:
            gap = frame["gap"]
            accounted.extend(range(int(gap["from_sequence"]), int(gap["to_sequence"]) + 1))
            named += 1
    assert accounted == list(range(1, total + 1))
    assert named >= 1


async def test_a_slow_reader_of_a_book_gets_a_fresh_one_and_ends_with_the_right_one(make_mesh: MakeMesh) -> None:
    mesh = await make_mesh(DoorBounds(limits=Limits(deltas_queued_max=50, flush_bytes_max=16_384)))
    reader = await mesh.client(**narrow(mesh))
    await reader.subscribe("book:BTC-PERP")
    stream = await mesh.service.opened()
    stream.say(snapshot=book_pb2.OrderBook(market="BTC-PERP", sequence=1))
    stream.live()
    await reader.until("live")
    truth: dict[str, str] = {}
    chance = random.Random(5)
    total = 4_000
    for sequence in range(2, total + 1):
        at, size = str(chance.randrange(1, 40)), str(chance.randrange(3))
        truth.pop(at, None)
        if size != "0":
            truth[at] = size
        change = book_pb2.BookLevel(price=at, size=size, venues=[{"venue": PADDING, "size": size}])
        stream.say(
            delta=book_pb2.BookDelta(
                market="BTC-PERP",
                sequence=sequence,
                previous_sequence=sequence - 1,
                bids=[change],
                bid_level_count=len(truth),
            )
        )
    await until_congested(mesh)
    await caught_up(mesh, stream)
    mine: dict[str, str] = {}
    at_sequence, whole = 1, 0
    while at_sequence < total:
        frame = await reader.next()
        if "book" in frame:
            whole += 1
            mine = {level["price"]: level["size"] for level in frame["book"]["bids"]}
            at_sequence = int(frame["book"]["sequence"])
        else:
            delta = frame["book_delta"]
            assert int(delta["previous_sequence"]) == at_sequence
            at_sequence = int(delta["sequence"])
            for level in delta["bids"]:
                mine.pop(level["price"], None)
                if level["size"] != "0":
                    mine[level["price"]] = level["size"]
    assert mine == truth
    assert whole >= 1


async def test_a_slow_reader_gets_fewer_prices_the_newest_last_and_delays_nobody(make_mesh: MakeMesh) -> None:
    mesh = await make_mesh(DoorBounds(limits=Limits(batch_interval_s=0.005, flush_bytes_max=16_384)))
    slow = await mesh.client(**narrow(mesh))
    await slow.subscribe("prices:BTC-PERP", min_interval="0s")
    stream = await mesh.service.opened()
    stream.live()
    await slow.until("live")
    quick = await mesh.client()
    await quick.subscribe("prices:BTC-PERP", min_interval="0s")
    await quick.until("live")
    total = 3_000
    price = price_pb2.Price(market="BTC-PERP", venues=[{"venue": "lighter", "state_reason": PADDING}])
    for sequence in range(1, total + 1):
        price.sequence = sequence
        stream.say(price=price)
    while (await quick.until("price"))["price"]["sequence"] != str(total):
        pass
    seen = []
    while not seen or seen[-1] < total:
        seen.append(int((await slow.until("price"))["price"]["sequence"]))
    assert seen == sorted(set(seen))
    assert len(seen) < total


async def test_a_socket_that_takes_nothing_is_ended_as_a_slow_consumer_with_1013(make_mesh: MakeMesh) -> None:
    mesh = await make_mesh(DoorBounds(limits=Limits(stall_timeout_s=1.0)))
    reader = await mesh.client(**narrow(mesh))
    await reader.subscribe("trades:BTC-PERP")
    stream = await mesh.service.opened()
    stream.live()
    await reader.until("live")
    for sequence in range(1, 4_000):
        stream.say(trade=trade_pb2.Trade(market="BTC-PERP", sequence=sequence, trade_id=PADDING))
    await eventually(lambda: b'ended_total{reason="SLOW_CONSUMER"} 1.0' in mesh.metrics.render())
    frames = await reader.rest()
    assert frames[-1]["end"]["reason"] == "SLOW_CONSUMER"
    assert frames[-1]["end"]["resumable"] is True
    assert (reader.socket.close_code, reader.socket.close_reason) == (1013, "SLOW_CONSUMER")


async def test_a_socket_that_never_reads_again_is_cut_off(make_mesh: MakeMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.stream.ws.socket.CLOSE_TIMEOUT_S", 0.3)
    mesh = await make_mesh(DoorBounds(limits=Limits(stall_timeout_s=1.0)))
    reader = await mesh.client(**narrow(mesh))
    await reader.subscribe("trades:BTC-PERP")
    stream = await mesh.service.opened()
    for sequence in range(1, 4_000):
        stream.say(trade=trade_pb2.Trade(market="BTC-PERP", sequence=sequence, trade_id=PADDING))
    await eventually(lambda: not mesh.door.connection_count)


async def test_answers_that_are_asked_for_and_not_read_end_the_connection(make_mesh: MakeMesh) -> None:
    limits = Limits(control_frames_max=20, frames_per_minute_max=1_000_000, flush_bytes_max=16_384)
    mesh = await make_mesh(DoorBounds(limits=limits))
    reader = await mesh.client(**narrow(mesh))

    async def ask() -> None:
        topics = [f"nonsense {number}" for number in range(100)]
        while True:
            await reader.subscribe(*topics)

    asking = asyncio.create_task(ask())
    await eventually(lambda: b'ended_total{reason="SLOW_CONSUMER"} 1.0' in mesh.metrics.render())
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


def bad_frames(seed: int, count: int) -> list[str]:
    """Return seeded frames that no reader of the contract would take."""
    chance = random.Random(seed)
    good = [
        '{"id":"a","subscribe":{"topics":["prices:BTC-PERP","book:ETH-PERP"],"min_interval":"0.5s","depth":20}}',
        '{"id":7,"unsubscribe":{"topics":["prices:BTC-PERP"]}}',
        '{"ping":{}}',
    ]
    values: list[Any] = [None, True, -1, 1e308, "x", "\ud800", [], {}, [[]], {"topics": 1}, "9" * 100, ["prices", None]]
    frames: list[str] = []
    while len(frames) < count:
        text = chance.choice(good)
        change = chance.randrange(5)
        if change == 0:
            text = text[: chance.randrange(len(text))]
        elif change == 1:
            at = chance.randrange(len(text))
            text = text[:at] + chr(chance.choice((0, 34, 44, 58, 91, 93, 123, 125, 955, 0x1F600))) + text[at + 1 :]
        elif change == 2:
            body = json.loads(text)
            target = chance.choice([body, *(value for value in body.values() if isinstance(value, dict))])
            target[chance.choice((*target, "extra", "subscribe", "ping", "depth", "topics"))] = chance.choice(values)
            text = json.dumps(body)
        elif change == 3:
            text = "".join(
                chr(chance.choice((*range(32, 127), *range(0x400, 0x420)))) for _ in range(chance.randrange(99))
            )
        else:
            text = text * 2 if chance.random() < 0.5 else "[" * chance.randrange(1, 10_000)
        try:
            parse_request(text, Limits())
        except BadFrameError:
            frames.append(text)
    return frames


async def test_500_bad_frames_are_each_answered_by_an_error_and_the_connection_stays(mesh: Mesh) -> None:
    seed = 42
    reader = await mesh.client()
    reasons = set()
    for index, text in enumerate(bad_frames(seed, 500)):
        await reader.socket.send(text)
        frame = await reader.next()
        assert "error" in frame, f"seed {seed}, frame {index}: {text!r}"
        assert frame["error"]["message"]
        reasons.add(frame["error"]["reason"])
    assert reasons == {"REQUEST_UNREADABLE", "FIELD_INVALID"}
    await reader.send(id="still here", ping={})
    assert (await reader.next())["id"] == "still here"
    assert mesh.service.idle


async def test_a_binary_frame_and_one_too_large_are_answered_and_the_connection_stays(mesh: Mesh) -> None:
    reader = await mesh.client()
    await reader.socket.send(b'{"ping": {}}')
    assert "binary" in (await reader.next())["error"]["message"]
    await reader.socket.send(json.dumps({"id": "x" * 16_384, "ping": {}}))
    too_large = (await reader.next())["error"]
    assert (too_large["reason"], "16384" in too_large["message"]) == ("REQUEST_TOO_LARGE", True)
    await reader.send(ping={})
    assert "pong" in await reader.next()


@pytest.mark.parametrize(
    ("opcode", "data", "code"),
    [(Opcode.TEXT, b"x" * 70_000, 1009), (Opcode.TEXT, b"\xff\xfe", 1007), (Opcode(0), b"x", 1002)],
    ids=["four times too large", "not UTF-8", "a continuation of nothing"],
)
async def test_what_breaks_the_protocol_closes_as_the_protocol_says(
    mesh: Mesh, opcode: Opcode, data: bytes, code: int
) -> None:
    reader = await mesh.client()
    raw = Frame(opcode, data).serialize(mask=True)
    reader.socket.transport.write(raw)
    with pytest.raises(ConnectionClosed):
        await reader.next()
    assert reader.socket.close_code == code
    other = await mesh.client()
    await other.send(ping={})
    assert "pong" in await other.next()


async def test_frames_beyond_the_rate_are_refused_and_abuse_is_closed_with_1008(make_mesh: MakeMesh) -> None:
    mesh = await make_mesh(DoorBounds(limits=Limits(frames_per_minute_max=5)))
    reader = await mesh.client()
    for _ in range(11):
        await reader.send(ping={})
    frames = await reader.rest()
    kinds = ["pong" if "pong" in frame else frame.get("error", frame.get("end"))["reason"] for frame in frames]
    assert kinds == ["pong"] * 5 + ["LIMIT_REACHED"] * 7
    assert "end" in frames[-1]
    assert reader.socket.close_code == 1008


async def test_silence_is_broken_by_a_heartbeat_with_the_sources_watermark(make_mesh: MakeMesh) -> None:
    mesh = await make_mesh(DoorBounds(limits=Limits(heartbeat_interval_s=0.5)))
    reader = await mesh.client()
    assert "watermark_time" not in (await reader.until("heartbeat"))["heartbeat"]
    await reader.subscribe("prices:BTC-PERP")
    stream = await mesh.service.opened()
    stream.live()
    stream.say(heartbeat={"watermark_time": {"seconds": 1_767_225_600, "nanos": 123_456_789}})
    await reader.until("live")
    beat = (await reader.until("heartbeat"))["heartbeat"]
    assert beat["watermark_time"] == "2026-01-01T00:00:00.123456Z"


async def test_draining_says_so_closes_with_1012_and_lets_nobody_in(mesh: Mesh) -> None:
    readers = [await mesh.client() for _ in range(3)]
    await readers[0].subscribe("prices:BTC-PERP")
    mesh.door.drain()
    with pytest.raises(InvalidStatus) as refused:
        await connect(mesh.url)
    assert refused.value.response.status_code == 503
    assert json.loads(refused.value.response.body)["details"][0]["reason"] == "DRAINING"
    for reader in readers:
        frames = await reader.rest()
        assert (frames[-1]["end"]["reason"], frames[-1]["end"]["resumable"]) == ("DRAINING", True)
        assert (reader.socket.close_code, reader.socket.close_reason) == (1012, "DRAINING")
    await asyncio.wait_for(mesh.server.stop(), 10)


async def test_a_full_door_answers_429_and_takes_the_next_when_one_has_left(make_mesh: MakeMesh) -> None:
    mesh = await make_mesh(DoorBounds(connections_max=2))
    first = await mesh.client()
    await mesh.client()
    with pytest.raises(InvalidStatus) as refused:
        await connect(mesh.url)
    assert refused.value.response.status_code == 429
    assert refused.value.response.headers["Retry-After"] == "5"
    await first.socket.close()
    await eventually(lambda: mesh.door.connection_count == 1)
    await mesh.client()


async def test_one_address_may_hold_as_many_as_the_bound_the_edge_naming_it(make_mesh: MakeMesh) -> None:
    mesh = await make_mesh(entrance=Entrance(per_address_max=1))
    await mesh.client(additional_headers={"X-Forwarded-For": "1.1.1.1, 2.2.2.2"})
    await mesh.client(additional_headers={"X-Forwarded-For": "3.3.3.3"})
    with pytest.raises(InvalidStatus) as refused:
        await mesh.client(additional_headers={"X-Forwarded-For": "9.9.9.9, 2.2.2.2"})
    assert refused.value.response.status_code == 429


@pytest.mark.parametrize(
    ("origin", "host", "passes"),
    [
        ("http://mesh.example:8080", "mesh.example:8080", True),
        ("https://mesh.example", "MESH.example", True),
        ("https://app.example", "mesh.example", True),
        ("https://evil.example", "mesh.example", False),
        ("https://mesh.example.evil.example", "mesh.example", False),
        ("http://mesh.example:9999", "mesh.example:8080", False),
        ("null", "mesh.example", False),
        ("", "mesh.example", False),
    ],
)
async def test_a_page_connects_from_its_own_origin_or_a_configured_one(
    make_mesh: MakeMesh, origin: str, host: str, passes: bool
) -> None:
    mesh = await make_mesh(entrance=Entrance(origins=("https://app.example",)))
    headers = {"Origin": origin, "Host": host}
    status, body = await upgrade(mesh, headers)
    assert status == (101 if passes else 403)
    if not passes:
        assert json.loads(body)["details"][0]["reason"] == "PERMISSION_DENIED"


async def upgrade(mesh: Mesh, headers: dict[str, str]) -> tuple[int, bytes]:
    """Ask for a WebSocket with headers of the test's own; return the status and, of a refusal, the body."""
    head = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        **headers,
    }
    return await http(mesh, "GET", "/v1/ws", head, whole="101")


async def http(
    mesh: Mesh, method: str, path: str, headers: dict[str, str] | None = None, whole: str = ""
) -> tuple[int, bytes]:
    """Send one request and return status and body; a status of `whole` is not read to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", mesh.server.port)
    lines = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "x", **(headers or {})}.items())
    writer.write(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode())
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    status = head.split(b" ")[1].decode()
    body = b"" if status == whole else await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return int(status), body


async def test_the_port_answers_plain_requests(make_mesh: MakeMesh, tmp_path: Any) -> None:
    root = tmp_path / "dist"
    root.mkdir()
    (root / "index.html").write_text("<!doctype html>")
    (root / "large.js").write_bytes(b"/" * 3_000_000)
    mesh = await make_mesh(root=root)
    assert await http(mesh, "GET", "/") == (200, b"<!doctype html>")
    assert await http(mesh, "HEAD", "/") == (200, b"")
    assert await http(mesh, "GET", "/large.js") == (200, b"/" * 3_000_000)
    status, body = await http(mesh, "GET", "/nothing/here")
    assert (status, json.loads(body)["code"]) == (404, 5)
    assert json.loads(body)["details"][0]["metadata"]["category"] == "trading"
    assert (await http(mesh, "DELETE", "/"))[0] == 405
    assert (await http(mesh, "GET", "/v1/ws"))[0] == 426
    assert (await http(mesh, "GET", "/../../etc/passwd"))[0] == 404


async def test_health_is_good_once_the_markets_are_known_and_bad_while_draining(make_mesh: MakeMesh) -> None:
    mesh = await make_mesh(started=False)
    status, body = await http(mesh, "GET", "/healthz")
    assert (status, "market_data" in json.loads(body)["reason"]) == (503, True)
    await mesh.upstream.start()
    await eventually(lambda: mesh.door.not_ready() is None)
    assert (await http(mesh, "GET", "/healthz"))[0] == 200
    mesh.door.drain()
    assert (await http(mesh, "GET", "/healthz"))[0] == 503


async def test_the_welcome_states_the_limits(mesh: Mesh) -> None:
    reader: Reader = await mesh.client()
    welcome = reader.seen[0]["welcome"]
    assert (welcome["topics_max"], welcome["frames_per_minute_max"], welcome["frame_bytes_max"]) == (200, 600, 16_384)
    assert (welcome["batch_interval"], welcome["heartbeat_interval"]) == ("0.050s", "15s")
