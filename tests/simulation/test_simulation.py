"""Execution over failing venues, vault, database and network, on a virtual clock: every seed holds every invariant.

`make simulation` runs 100,000 seeds (`SEEDS=`) over all cores; the suite the first 2,000. A seed that fails prints the
line that repeats it. docs/execution.md says what is real in it and what is not.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.many import Met, several
from tests.simulation.planted import PLANTED
from tests.simulation.run import run

ROOT = Path(__file__).resolve().parents[2]
SEEDS = int(os.environ.get("PERPMESH_SIMULATION_SEEDS", "2000"))
FOUND_WITHIN = 120
"""Seeds in which each planted mistake must be found; it takes up to forty."""
SAME = 8


@pytest.mark.timeout(1_800)  # half a minute of work, for which a busy machine may take many
def test_no_seed_loses_doubles_or_invents() -> None:
    met = Met()
    for result in several(range(SEEDS)):
        met.add(result)
        if result.problem:
            print(result.words())
    print("\n" + met.table())
    assert [one.seed for one in met.broken] == []
    assert met.missing() == [], "the sample meets every fault and every story"


def test_one_seed_has_one_trace_also_in_another_process() -> None:
    seeds = range(200, 200 + SAME)
    first = [one.digest for one in several(seeds)]
    assert [one.digest for one in several(seeds)] == first
    assert len(set(first)) == SAME
    told = subprocess.run(
        [sys.executable, "-m", "tests.simulation", *map(str, seeds)], cwd=ROOT, check=True, capture_output=True,
        text=True, env=os.environ | {"PYTHONHASHSEED": "4711", "PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert [line.split()[-1] for line in told.stdout.splitlines()] == first


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mistake", PLANTED)
def test_a_planted_mistake_is_found(mistake: str) -> None:
    variant = PLANTED[mistake]
    for seed in range(FOUND_WITHIN):
        result = run(seed, variant)
        if result.problem:
            print(f"\n{mistake}: by seed {seed}, {result.problem[:200]}")
            return
    pytest.fail(f"{FOUND_WITHIN} seeds do not find it")
