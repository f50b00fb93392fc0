"""Compares live payloads of the venues with the shapes this house knows, and prints the drift.

`make venue-check` asks the main networks; PERPMESH_VENUES=testnet the test networks; --hyperliquid and --lighter any
other address, such as the simulator's. A shape is the set of paths in a payload with the kinds of their values; the
known ones are in `venue_shapes.json`, written by `--write` from a simulator whose shapes are tested against captured
payloads. Nothing is sent but public questions.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import websockets

KNOWN = Path(__file__).with_name("venue_shapes.json")
FRAME_WAIT_S = 20.0
BODY_BYTES_MAX = 32 * 1024 * 1024
HYPERLIQUID = {"mainnet": "https://api.hyperliquid.xyz", "testnet": "https://api.hyperliquid-testnet.xyz"}
LIGHTER = {"mainnet": "https://mainnet.zklighter.elliot.ai", "testnet": "https://testnet.zklighter.elliot.ai"}

INFO: dict[str, dict[str, Any]] = {
    "meta": {"type": "meta"},
    "perpDexs": {"type": "perpDexs"},
    "metaAndAssetCtxs": {"type": "metaAndAssetCtxs"},
    "l2Book": {"type": "l2Book", "coin": "BTC"},
    "recentTrades": {"type": "recentTrades", "coin": "BTC"},
    "spotMeta": {"type": "spotMeta"},
}
CHANNELS: dict[str, dict[str, Any]] = {
    "l2Book": {"type": "l2Book", "coin": "BTC", "fast": True},
    "bbo": {"type": "bbo", "coin": "BTC"},
    "trades": {"type": "trades", "coin": "BTC"},
    "activeAssetCtx": {"type": "activeAssetCtx", "coin": "BTC"},
    "allDexsAssetCtxs": {"type": "allDexsAssetCtxs"},
}
ROUTES = {
    "orderBooks": "/api/v1/orderBooks",
    "orderBookDetails": "/api/v1/orderBookDetails?market_id=1",
    "orderBookOrders": "/api/v1/orderBookOrders?market_id=1&limit=5",
    "recentTrades": "/api/v1/recentTrades?market_id=1&limit=5",
}
TOPICS = ("order_book/1", "ticker/1", "trade/1", "market_stats/all")

Shape = dict[str, set[str]]


def shape_of(value: Any, path: str = "$") -> Shape:
    """Return the kinds of value at every path; items of a list share `[]`, numbered and named maps share `*`."""
    found: Shape = {path: {_kind(value)}}
    if isinstance(value, dict):
        for key, one in value.items():
            merge(found, shape_of(one, f"{path}.{'*' if key.isdigit() else key}"))
    elif isinstance(value, list):
        for one in value:
            merge(found, shape_of(one, f"{path}[]"))
    return found


def merge(into: Shape, other: Shape) -> None:
    """Add the paths and kinds of one shape to another."""
    for path, kinds in other.items():
        into.setdefault(path, set()).update(kinds)


def _kind(value: Any) -> str:
    names = {
        type(None): "null",
        bool: "bool",
        int: "integer",
        float: "number",
        str: "text",
        list: "list",
        dict: "object",
    }
    return names[type(value)]


@dataclass
class Drift:
    """What differs for one payload."""

    name: str
    new: list[str]
    gone: list[str]
    changed: list[str]

    def __bool__(self) -> bool:
        """Return whether anything differs."""
        return bool(self.new or self.gone or self.changed)


def compare(name: str, seen: Shape, known: Shape) -> Drift:
    """Return what is in one shape and not in the other; a null or an empty list proves nothing."""
    return Drift(
        name,
        new=sorted(path for path in seen if path not in known),
        gone=sorted(
            path for path in known if path not in seen and path.rpartition(".")[0] in seen and "null" not in known[path]
        ),
        changed=sorted(
            f"{path}: {'/'.join(sorted(kinds))} instead of {'/'.join(sorted(known[path]))}"
            for path, kinds in seen.items()
            if path in known and not kinds <= known[path] | {"null"}
        ),
    )


async def hyperliquid(session: aiohttp.ClientSession, base: str) -> dict[str, Shape]:
    """Return the shape of every public answer and frame that the Hyperliquid adapter reads."""
    found: dict[str, Shape] = {}
    for name, body in INFO.items():
        async with session.post(f"{base}/info", json=body) as response:
            response.raise_for_status()
            found[f"hyperliquid info {name}"] = shape_of(json.loads(await response.read()))
    async with websockets.connect("ws" + base.removeprefix("http") + "/ws", max_size=BODY_BYTES_MAX) as socket:
        for subscription in CHANNELS.values():
            await socket.send(json.dumps({"method": "subscribe", "subscription": subscription}))
        await _frames(socket, found, "hyperliquid ws", set(CHANNELS), lambda frame: str(frame.get("channel")))
    return found


async def lighter(session: aiohttp.ClientSession, base: str) -> dict[str, Shape]:
    """Return the shape of every public answer and frame that the Lighter adapter reads."""
    found: dict[str, Shape] = {}
    for name, route in ROUTES.items():
        async with session.get(base + route) as response:
            response.raise_for_status()
            found[f"lighter rest {name}"] = shape_of(json.loads(await response.read()))
    async with websockets.connect("ws" + base.removeprefix("http") + "/stream", max_size=BODY_BYTES_MAX) as socket:
        await socket.recv()
        for topic in TOPICS:
            await socket.send(json.dumps({"type": "subscribe", "channel": topic}))
        wanted = {f"{kind}/{topic.split('/')[0]}" for topic in TOPICS for kind in ("subscribed", "update")}
        await _frames(socket, found, "lighter ws", wanted, lambda frame: str(frame.get("type")))
    return found


async def _frames(socket: Any, found: dict[str, Shape], prefix: str, wanted: set[str], name_of: Any) -> None:
    """Gather the shapes of frames until each wanted kind was seen, or the time is up."""
    missing = set(wanted)
    try:
        async with asyncio.timeout(FRAME_WAIT_S):
            while missing:
                frame = json.loads(await socket.recv())
                name = name_of(frame)
                if name in wanted:
                    missing.discard(name)
                    merge(found.setdefault(f"{prefix} {name}", {}), shape_of(frame))
    except TimeoutError:
        print(f"{prefix}: no {', '.join(sorted(missing))} within {FRAME_WAIT_S:.0f} s")


async def gather(addresses: dict[str, str]) -> tuple[dict[str, Shape], list[str]]:
    """Return every shape seen, and a sentence for each venue that could not be asked."""
    found: dict[str, Shape] = {}
    failures = []
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        for venue, ask in (("hyperliquid", hyperliquid), ("lighter", lighter)):
            try:
                found.update(await ask(session, addresses[venue].rstrip("/")))
            except (aiohttp.ClientError, OSError, TimeoutError, websockets.WebSocketException) as error:
                failures.append(f"{venue} at {addresses[venue]} could not be asked: {type(error).__name__} {error}")
    return found, failures


def report(found: dict[str, Shape], known: dict[str, Shape]) -> int:
    """Print the drift; return how many payloads differ in a way that may hurt."""
    hurt = 0
    for name in sorted(found):
        if name not in known:
            print(f"{name}: not known here")
            continue
        drift = compare(name, found[name], known[name])
        print(f"{name}: {'drift' if drift else 'as known'}")
        for label, paths in (("new", drift.new), ("gone", drift.gone), ("changed", drift.changed)):
            for path in paths[:20]:
                print(f"  {label:<8} {path}")
        hurt += bool(drift.gone or drift.changed)
    return hurt


def main() -> int:
    """Compare, or write what is known."""
    network = os.environ.get("PERPMESH_VENUES", "mainnet")
    network = network if network in HYPERLIQUID else "mainnet"
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--hyperliquid", default=HYPERLIQUID[network], help="REST address")
    options.add_argument("--lighter", default=LIGHTER[network], help="REST address")
    options.add_argument("--write", action="store_true", help="take what is seen as what is known")
    chosen = options.parse_args()
    found, failures = asyncio.run(gather({"hyperliquid": chosen.hyperliquid, "lighter": chosen.lighter}))
    for failure in failures:
        print(failure)
    if chosen.write:
        rows = {name: {path: sorted(kinds) for path, kinds in sorted(shape.items())} for name, shape in found.items()}
        KNOWN.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")
        return 1 if failures else 0
    known = {
        name: {path: set(kinds) for path, kinds in shape.items()}
        for name, shape in json.loads(KNOWN.read_text()).items()
    }
    return 1 if report(found, known) or failures else 0


if __name__ == "__main__":
    sys.exit(main())
