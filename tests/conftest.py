"""What holds for every test."""

from __future__ import annotations

import os
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

# Tests start PostgreSQL and others by fork and exec, with gRPC's threads about. Its fork handlers wake in the
# child before the exec, and kill it now and then.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

SHARED = {
    "tests/foreign/test_browser": "browser",
    "tests/foreign/test_viem.py": "browser",
    "tests/foreign/test_grpc": "foreign",
    "tests/foreign/test_typescript.py": "foreign",
    "tests/integration/vault/": "vault",
    "tests/e2e/test_doors.py": "mesh",
    "tests/e2e/test_quotes.py": "mesh",
    "tests/e2e/test_verdicts.py": "mesh",
}
"""Files that share what a conftest starts once, by the name of what they share."""


MESHES = ("tests/e2e/", "tests/foreign/")
"""Where tests run a whole mesh, or several."""
MESHES_MAX = 2
"""How many workers have them at a time while there is other work: what others measure is then theirs."""


class ByGround(LoadScopeScheduling):  # type: ignore[misc]
    """Keeps the tests of a file on one worker, and files together that share a mesh; never a mesh on every worker.

    Each worker that saw one of them would start a mesh of its own and keep it until the end. (Groups by marker, xdist's
    own way, have no effect under pytest 9.2, which does not read the name that xdist gives a test for it.)
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return next((ground for start, ground in SHARED.items() if path.startswith(start)), path)

    def _assign_work_unit(self, node: Any) -> None:
        """Take the first that has a mesh while few workers have one, else the first that has none."""
        others = [work for other, work in self.assigned_work.items() if other is not node]
        meshes = sum(any(_has_mesh(unit) and not all(unit.values()) for unit in work.values()) for work in others)
        wanted = meshes < MESHES_MAX
        chosen = next((name for name, unit in self.workqueue.items() if _has_mesh(unit) is wanted), None)
        if chosen is not None:
            self.workqueue.move_to_end(chosen, last=False)
        super()._assign_work_unit(node)


def _has_mesh(unit: dict[str, bool]) -> bool:
    return next(iter(unit)).startswith(MESHES)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByGround:
    """Hand out tests by what they stand on, in the order of the tree: its first folders take longest."""
    config.option.loadscopereorder = False
    return ByGround(config, log)
