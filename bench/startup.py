"""How long `make up` takes from the command to READY: cold (an empty state folder), and warm (the second start)."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def start(state: Path) -> float:
    """Start the mesh, wait for READY, end it; return the seconds to READY."""
    environ = os.environ | {
        "PERPMESH_STATE_DIR": str(state),
        "PERPMESH_EDGE_PORT": "0",
        "PERPMESH_ADMIN_PORT": "0",
    }
    began = time.perf_counter()
    process = subprocess.Popen(
        ["make", "--no-print-directory", "up"],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("READY"):
            break
    spent = time.perf_counter() - began
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does at Ctrl-C
    process.communicate(timeout=30)
    return spent


def main() -> None:
    """Print cold and warm starts."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=3)
    runs = options.parse_args().runs
    cold, warm = [], []
    for _ in range(runs):
        folder = Path(tempfile.mkdtemp(prefix="perpmesh-bench-"))
        folder.chmod(0o755)
        try:
            cold.append(start(folder / "state"))
            warm.append(start(folder / "state"))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{'start':<8} {'median s':>9} {'min':>6} {'max':>6}   goal")
    print(f"{'cold':<8} {statistics.median(cold):>9.2f} {min(cold):>6.2f} {max(cold):>6.2f}   60 s")
    print(f"{'warm':<8} {statistics.median(warm):>9.2f} {min(warm):>6.2f} {max(warm):>6.2f}   2 s")


if __name__ == "__main__":
    main()
