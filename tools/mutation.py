"""Mutation testing of the order table and the retry rules: every small change of them must fail a unit test.

    python -m tools.mutation [module ...]

The mutants are those of cosmic-ray's operators, taken from the tool itself, which is installed by uv into an
environment of its own (`COSMIC_RAY`) and is no dependency of the project. Each mutant is compiled in a forked child
that has pytest and what the tests need loaded already, and lives in memory alone: a second each in place of several.
Left out are mutants that cannot be told apart: of annotations, which are never evaluated here.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
COSMIC_RAY: Final = "cosmic-ray==8.7.0"
MODEL: Final = "services/execution/model/"
MODULES: Final = ("fate", "retry", "trouble", "evidence", "leg", "order")
TESTS: Final = "tests/unit/execution/"
FIRST: Final = {
    "fate": ("evidence",), "retry": ("rules", "retry"), "trouble": ("rules", "retry"),
    "evidence": ("evidence", "expiry"), "leg": ("rules", "leg", "evidence"), "order": ("rules", "leg", "order", "twap"),
}  # fmt: skip
"""The tests that know a module best; all others of the room come after."""
MUTANT_MAX_S: Final = 60.0
EVERY: Final = int(os.environ.get("PERPMESH_MUTANTS_EVERY", "1"))
"""One of so many mutants is tried; 1 for all."""
GENERATE: Final = """
import json, sys
from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.mutating import MutationVisitor
from cosmic_ray.plugins import get_operator, operator_names
for path in sys.argv[1:]:
    for name in sorted(operator_names()):
        if get_operator(name).arguments():
            continue
        operator = get_operator(name)()
        tree = get_ast_from_path(path)
        count = sum(len(tuple(operator.mutation_positions(node))) for node in ast_nodes(tree))
        for at in range(count):
            visitor = MutationVisitor(at, operator)
            mutated = visitor.walk(get_ast_from_path(path))
            if visitor.mutation_applied:
                print(json.dumps([path, name.split("/")[-1], at, mutated.get_code()]))
"""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A module with one small change."""

    path: str
    operator: str
    line: int
    source: str
    text: str
    """The line as it is changed."""


def mutants(paths: list[str]) -> Iterator[Mutant]:
    """Yield every mutant of modules that can be told from the original."""
    command = [sys.executable, "-m", "uv", "run", "--no-project", "--with", COSMIC_RAY, "python", "-c", GENERATE]
    made = subprocess.run([*command, *paths], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for row in made.splitlines():
        path, operator, _, source = json.loads(row)
        before, after = (ROOT / path).read_text().splitlines(), source.splitlines()
        line = next((at for at, (a, b) in enumerate(zip(before, after, strict=False), 1) if a != b), 0)
        if _bare(source) != _bare((ROOT / path).read_text()):
            yield Mutant(path, operator, line, source, after[line - 1].strip() if line else "")


def _bare(source: str) -> str:
    """Return what a module does, without its annotations and comments."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return source
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(value=None)
    return ast.dump(tree)


def survives(mutant: Mutant, tests: list[str]) -> bool:
    """Run the tests in a child that has the mutant in place of its module; say whether all pass."""
    child = os.fork()
    if child == 0:
        _run(mutant, tests)
    end = time.monotonic() + MUTANT_MAX_S
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.005)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return False


def _run(mutant: Mutant, tests: list[str]) -> None:
    """Take the mutant's place and never return."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    code = 1
    with contextlib.suppress(BaseException):
        name = mutant.path.removesuffix(".py").replace("/", ".")
        sys.meta_path.insert(0, _Finder(name, mutant))
        code = int(importlib.import_module("pytest").main(["-x", "-q", "--assert=plain", *tests]))
    os._exit(code)


class _Finder(MetaPathFinder, Loader):
    """Finds the mutant where its module is asked for."""

    def __init__(self, name: str, mutant: Mutant) -> None:
        self._name = name
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        """Return how the mutant is loaded; None for any other module."""
        return spec_from_loader(fullname, self) if fullname == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        """Run the mutant in its module."""
        exec(compile(self._mutant.source, self._mutant.path, "exec"), vars(module))  # noqa: S102 - that is the point


def main(words: list[str]) -> int:
    """Run; print the survivors and the score."""
    chosen = [name for name in MODULES if not words or name in words]
    for name in ("pytest", "hypothesis", "asyncpg", "services.domain.errors", "services.venues.trading"):
        importlib.import_module(name)
    score: Counter[tuple[str, bool]] = Counter()
    for name in chosen:
        path = f"{MODEL}{name}.py"
        tests = [f"{TESTS}test_{one}.py" for one in FIRST[name] if (ROOT / f"{TESTS}test_{one}.py").exists()] + [TESTS]
        if not survives(Mutant(path, "", 0, (ROOT / path).read_text(), ""), tests):
            print("The tests do not pass as they are: nothing can be said of mutants.")
            return 2
        for mutant in itertools.islice(mutants([path]), 0, None, EVERY):
            alive = survives(mutant, tests)
            score[name, alive] += 1
            if alive:
                print(f"survives: {path}:{mutant.line} {mutant.operator}: {mutant.text}", flush=True)
        killed, left = score[name, False], score[name, True]
        print(f"{path}: {killed} of {killed + left} killed", flush=True)
    killed = sum(count for (_, alive), count in score.items() if not alive)
    made = sum(score.values())
    print(f"{killed} of {made} mutants killed, {100 * killed / made:.1f} %")
    return 0 if killed * 10 >= made * 9 else 1


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "gen"), str(ROOT / "clients/python")]
    raise SystemExit(main(sys.argv[1:]))
