"""`make planted`: plant every mistake, one at a time, and print who found it and the score.

    python -m tests.planted [part of a name ...]

First the finders must pass on the tree as it is; otherwise a failure proves nothing, and the run ends there.
"""

from __future__ import annotations

import sys
import time

from tests.planted.mistakes import MISTAKES
from tests.planted.planting import Verdict, copied, judge, run


def main(words: list[str]) -> int:
    """Run; return the exit code."""
    chosen = [one for one in MISTAKES if not words or any(word in one.name for word in words)]
    finders = list(dict.fromkeys(finder for one in chosen for finder in one.finders))
    began = time.monotonic()
    with copied() as tree:
        code, said, took_s = run(finders, tree)
        if code != 0:
            print(said)
            print("The tests do not pass as they are: nothing can be said of mistakes.")
            return 2
        print(f"{len(finders)} finders pass without a mistake, {took_s:.0f} s.\n", flush=True)
        print("| mistake | rows of the catalogue | found by | s |\n|---|---|---|---|", flush=True)
        results = []
        for mistake in chosen:
            result = judge(mistake, tree)
            results.append(result)
            by = f"`{result.by}`" if result.verdict is Verdict.FOUND else f"**{result.verdict.value}**: {result.by}"
            print(f"| {mistake.name} | {mistake.fault} | {by} | {result.took_s:.0f} |", flush=True)
    found = sum(result.verdict is Verdict.FOUND for result in results)
    print(f"\n{found} of {len(results)} mistakes found, {time.monotonic() - began:.0f} s.")
    return 0 if found == len(results) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
