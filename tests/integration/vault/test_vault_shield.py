"""The vault's process keeps its memory to itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support.crash import CrashingRoom
from tests.support.vault_room import Client

ROOT = Path(__file__).resolve().parents[3]


def test_the_process_leaves_no_core_and_lets_nobody_read_it(room: CrashingRoom, mesh: Client) -> None:
    limits = Path(f"/proc/{room.pid}/limits").read_text()
    assert re.search(r"Max core file size\s+0\s+0\s", limits)
    assert dumpable("from services.chassis.shield import shield; shield()") == "0"
    assert dumpable("pass") == "1", "and without the shield it is dumpable"


def dumpable(before: str) -> str:
    """Say what PR_GET_DUMPABLE tells of a process after `before`."""
    probe = f"import ctypes; {before}; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    return subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()
