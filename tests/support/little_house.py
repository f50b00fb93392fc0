"""A checkout with tiny rooms, so that the launcher can be tested without the real ones.

It holds the real launcher, chassis and edge, the real contract, and rooms of a few lines that start in a tenth of a
second, answer nothing, and do what the variable STANDIN_<NAME> says: `stuck` ignores SIGTERM, `dies` ends at once,
`refuses` ends as a room with a wrong setting does. Each starts a child of its own, so that leftovers would show.
"""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("market_data", "stream")

STANDIN = '''
"""A room of a few lines."""
import json, os, signal, socket, subprocess, sys, threading
name = __spec__.parent.rpartition(".")[2]
mood = os.environ.get("STANDIN_" + name.upper(), "")
if mood == "dies":
    print(name + " cannot go on: the moon is full", flush=True)
    sys.exit(3)
if mood == "refuses":
    print(name + ": PERPMESH_MOON must be new or half, not 'full': correct it or remove it.", flush=True)
    sys.exit(2)
host, port = os.environ["PERPMESH_LISTEN"].split(":")
server = socket.create_server((host, int(port)))
if mood == "stuck":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "600"])
file = os.environ["PERPMESH_RUN_FILE"]
with open(file + ".part", "w") as out:
    json.dump({"port": int(port), "child": child.pid}, out)
os.replace(file + ".part", file)
print(name + " listens", flush=True)
threading.Event().wait()
'''


def build(folder: Path) -> Path:
    """Make the checkout in `folder`, which everyone may enter, and return it."""
    checkout = folder / "checkout"
    without = shutil.ignore_patterns("__pycache__")
    for part in ("services/launcher", "services/chassis", "envoy", "deploy/postgres"):
        shutil.copytree(ROOT / part, checkout / part, ignore=without)
    (checkout / "services" / "__init__.py").touch()
    (checkout / "gen").mkdir()
    for made in ("perpmesh.binpb", "openapi.json", "reference.html"):
        shutil.copy(ROOT / "gen" / made, checkout / "gen")
    for room in ROOMS:
        (checkout / "services" / room).mkdir()
        (checkout / "services" / room / "__init__.py").touch()
        (checkout / "services" / room / "__main__.py").write_text(STANDIN)
    return checkout
