"""`python -m tests.simulation SEED [SEED ...]` repeats seeds; `--count N [--first SEED]` runs many over all cores."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.many import Met, everywhere, several

SHOWN = 3
EVERY = 10_000


def main() -> int:
    """Run what the command line says; 1 where a seed is broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seeds", nargs="*", type=int)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    met, began = Met(), time.monotonic()
    if given.seeds:
        for result in several(given.seeds):
            met.add(result)
            print(result.words() if result.problem else f"seed {result.seed}: {result.digest}")
        return bool(met.broken)
    for result in everywhere(given.first, given.count):
        met.add(result)
        if result.problem and len(met.broken) <= SHOWN:
            print(result.words())
        elif result.problem:
            print(f"seed {result.seed}: {result.problem}")
        if met.seeds % EVERY == 0:
            print(f"{met.seeds} seeds, {len(met.broken)} broken", file=sys.stderr)
    took_s = time.monotonic() - began
    print(f"{met.table()}\n{met.seeds / took_s:.0f} seeds/s in {took_s:.0f} s")
    return bool(met.broken)


if __name__ == "__main__":
    raise SystemExit(main())
