"""Restarts every room of a running mesh, one replica after another, so that callers need not notice.

Where a room has one replica the edge holds its calls for the seconds that its restart takes, its streams open again
after, and rooms that call it are told that it is away; with SCALE=2 another replica takes them.
"""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from services.chassis.clock import SYSTEM
from services.chassis.config import ConfigError
from services.launcher.config import Layout
from services.launcher.plan import ROOMS

BACK_S = 120.0
"""How long a replica may take to be back, and to be seen by the edge."""
_POLL_S = 0.1


async def roll(layout: Layout, say: Callable[[str], None], rooms: Collection[str] = ()) -> None:
    """Restart every replica of these rooms in turn, of all where none is named.

    Raises `ConfigError` without a mesh, for a room there is none of, or when a replica does not return.
    """
    about = read(layout.mesh)
    if about is None:
        raise ConfigError(f"No mesh runs with the state folder {layout.state}: there is nothing to restart.")
    known = {room.name for room in ROOMS}
    if unknown := set(rooms) - known:
        raise ConfigError(f"There is no room {sorted(unknown)[0]!r}: name some of {', '.join(sorted(known))}, or none.")
    known = set(rooms) or known
    for name, process in about["processes"].items():
        if name.partition(".")[0] not in known or process["pid"] is None:
            continue
        began = SYSTEM.monotonic()
        os.kill(process["pid"], signal.SIGTERM)
        await _until(lambda name=name, pid=process["pid"]: _is_back(layout.mesh, name, pid), f"{name} is not back")  # type: ignore[misc]
        address = about["addresses"][name]
        await _until(lambda address=address: edge_sees_all(about["admin"], address), f"the edge does not see {name}")  # type: ignore[misc]
        say(f"  {name:<14} restarted in {SYSTEM.monotonic() - began:.1f} s")


def read(mesh: Path) -> dict[str, Any] | None:
    """Return what `mesh.json` says; None where there is none, or it is just being written."""
    try:
        return dict(json.loads(mesh.read_text()))
    except (OSError, ValueError):
        return None


def _is_back(mesh: Path, name: str, before: int) -> bool:
    about = read(mesh)
    if about is None:
        return False
    now = about["processes"].get(name, {})
    return bool(now.get("ready")) and now.get("pid") != before


def edge_sees_all(admin: str, beside: str = "") -> bool:
    """Say whether every address of every cluster is given calls: its checks pass, and its errors did not put it out.

    With `beside`, a host and port, only clusters that have this address count: what a room's next restart depends on.
    """
    try:
        with urllib.request.urlopen(f"http://{admin}/clusters?format=json", timeout=5) as answer:
            clusters = json.load(answer)["cluster_statuses"]
    except (OSError, ValueError):
        return False
    groups = [cluster.get("host_statuses", ()) for cluster in clusters]
    statuses = [
        host["health_status"] for hosts in groups if not beside or beside in map(_address, hosts) for host in hosts
    ]
    passed_over = ("failed_active_health_check", "failed_outlier_check")
    return not any(status.get(reason) for status in statuses for reason in passed_over)


def _address(host: dict[str, Any]) -> str:
    address = host.get("address", {}).get("socket_address", {})
    return f"{address.get('address')}:{address.get('port_value')}"


async def _until(done: Callable[[], bool], otherwise: str) -> None:
    end = SYSTEM.monotonic() + BACK_S
    while not done():
        if SYSTEM.monotonic() > end:
            raise ConfigError(f"{otherwise} after {BACK_S:g} s: see its log.")
        await SYSTEM.sleep(_POLL_S)
