"""Packages of npm for foreign clients, installed from `tests/foreign/node`'s lock into `var/foreign-node`.

The lock names no registry; its hashes decide. What is installed is kept under the lock's own hash, so it is installed
once and never goes stale.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = Path(__file__).resolve().parent / "node"
CACHE = ROOT / "var" / "foreign-node"
INSTALL_S = 300


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _folder(manifest: Path) -> Path:
    names = ("package.json", "package-lock.json", ".npmrc")
    return CACHE / hashlib.sha256(b"\0".join((manifest / name).read_bytes() for name in names)).hexdigest()[:16]


async def installed() -> Path:
    """Return the folder that has the packages in `node_modules`; skip the test where there is no Node."""
    return await installed_from(MANIFEST)


async def installed_from(manifest: Path) -> Path:
    """Return the folder that has the packages of another manifest."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("Node with npm is not installed, so its packages were not tried")
    return await asyncio.to_thread(_install, npm, manifest)


def _install(npm: str, manifest: Path) -> Path:
    with _alone(CACHE):
        folder = _folder(manifest)
        if (folder / "node_modules").is_dir():
            return folder
        part = Path(tempfile.mkdtemp(dir=CACHE, prefix=".part-"))
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(manifest / name, part / name)
        done = subprocess.run(
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=part,
            capture_output=True,
            text=True,
            timeout=INSTALL_S,
            check=False,
            env={**os.environ, "npm_config_update_notifier": "false"},
        )
        assert done.returncode == 0, f"npm ci failed in {part}:\n{done.stdout}{done.stderr}"
        part.replace(folder)
        return folder
