"""`python -m tests.simulation SEED [SEED ...]` repeats seeds; `--count N` runs many over all cores."""

from __future__ import annotations

import sys

from services.chassis.telemetry import Level, log
from tests.simulation.run import run

if __name__ == "__main__":
    log.level = Level.ERROR
    failed = 0
    for text in sys.argv[1:]:
        result = run(int(text))
        print(result.words() if result.problem else f"seed {text}: good, {result.digest}")
        failed += bool(result.problem)
    raise SystemExit(bool(failed))
