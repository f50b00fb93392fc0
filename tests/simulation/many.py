"""Many seeds: over all cores or one after another, and what they met."""

from __future__ import annotations

import gc
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from tests.simulation.chaos import KINDS
from tests.simulation.run import Result, run
from tests.simulation.stories import STORIES

CHUNK = 100


@dataclass(slots=True)
class Met:
    """What seeds have met, added up."""

    seeds: int = 0
    steps: int = 0
    virtual_s: float = 0.0
    orders: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    """In how many seeds each fault struck."""
    strikes: int = 0
    stories: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    kinds: set[str] = field(default_factory=set)
    broken: list[Result] = field(default_factory=list)
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    def add(self, result: Result) -> None:
        """Count a seed; they must come in their order."""
        self.seeds += 1
        self.steps += result.steps
        self.virtual_s += result.virtual_s
        self.orders += result.orders
        self.faults.update(dict.fromkeys(result.met, 1))
        self.strikes += sum(result.met.values())
        self.stories.update(result.stories)
        self.states.update(result.states)
        self.kinds |= result.kinds
        self._hash.update(result.digest.encode())
        if result.problem:
            self.broken.append(result)

    def table(self) -> str:
        """Return what was met, as lines."""
        lines = [
            f"{self.seeds} seeds, {len(self.broken)} broken, {self.orders} orders, {self.strikes} faults struck, "
            f"{self.steps} steps, {self.virtual_s / 3_600:.0f} virtual hours, {len(self.kinds)} kinds of events",
            f"hash of all traces: {self._hash.hexdigest()}",
            "legs ended or stood in seeds: " + _row(self.states),
            "stories in seeds: " + _row(self.stories),
            *(f"  {self.faults[kind]:>7}  {kind}: {KINDS[kind]}" for kind in sorted(KINDS)),
        ]
        lines += [f"never met: {one}" for one in self.missing()]
        return "\n".join(lines)

    def missing(self) -> list[str]:
        """Return the faults and stories that no seed met."""
        return [one for one in KINDS if not self.faults[one]] + [one for one in STORIES if not self.stories[one]]


def _row(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def several(seeds: Iterable[int]) -> Iterator[Result]:
    """Run seeds one after another."""
    gc.disable()
    try:
        for count, seed in enumerate(seeds, 1):
            yield _short(run(seed))
            if count % 50 == 0:
                gc.collect()
    finally:
        gc.enable()


def _short(result: Result) -> Result:
    if not result.problem:
        result.last = ()
    return result


def chunk(first: int, count: int) -> list[Result]:
    """Run some seeds in a row."""
    return list(several(range(first, first + count)))


def everywhere(first: int, count: int, workers: int | None = None) -> Iterator[Result]:
    """Run many seeds over all cores, in their order."""
    starts = range(first, first + count, CHUNK)
    sizes = [min(CHUNK, first + count - start) for start in starts]
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        for results in pool.map(chunk, starts, sizes):
            yield from results
