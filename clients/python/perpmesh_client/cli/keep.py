"""Where the command line keeps the session of each mesh: one file that only its owner may read.

It holds refresh tokens, which are good for one use and for one session; never a private key.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

FILE_VARIABLE = "PERPMESH_SESSION_FILE"


def path() -> Path:
    """Return the file: what the environment names, or one in the user's configuration folder."""
    named = os.environ.get(FILE_VARIABLE)
    if named:
        return Path(named).expanduser()
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "perpmesh" / "sessions.json"


def load(address: str) -> str:
    """Return the refresh token kept for a mesh; empty when there is none."""
    return _read().get(address, "")


def store(address: str, refresh_token: str) -> None:
    """Keep a refresh token for a mesh, or forget it when it is empty; whole or not at all."""
    known = _read()
    known.pop(address, None)
    if refresh_token:
        known[address] = refresh_token
    target = path()
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(known, file, indent=1)
    part.replace(target)


def _read() -> dict[str, str]:
    try:
        known = json.loads(path().read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return {str(address): str(token) for address, token in known.items()} if isinstance(known, dict) else {}
