"""`make bench`: every measurement in turn, each in a process of its own. Name some to run only those."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

MEASUREMENTS = (
    "attacks",
    "auth",
    "decode",
    "exchange",
    "execution",
    "fanout",
    "history",
    "latency",
    "memory",
    "portfolio",
    "quotes",
    "regret",
    "routing",
    "scale",
    "signing",
    "startup",
    "vault",
)
ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Run them; return how many failed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("names", nargs="*", choices=[*MEASUREMENTS, []], help="which to run; all when none is named")
    chosen = options.parse_args().names or MEASUREMENTS
    environ = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}:{ROOT / 'clients' / 'python'}"}
    failed = 0
    for name in chosen:
        print(f"\n== {name}", flush=True)
        failed += (
            subprocess.run([sys.executable, "-m", f"bench.{name}"], cwd=ROOT, env=environ, check=False).returncode != 0
        )
    return failed


if __name__ == "__main__":
    sys.exit(main())
