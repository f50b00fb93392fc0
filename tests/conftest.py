"""What holds for every test."""

from __future__ import annotations

import os
from collections import defaultdict

import pytest

# Tests start PostgreSQL and others by fork and exec, with gRPC's threads about. Its fork handlers wake in the
# child before the exec, and kill it now and then.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")


@pytest.hookimpl(tryfirst=True)  # before the distribution reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file on one worker, and those of a folder that share what its conftest starts.

    Each worker that saw one of them would start a mesh of its own and keep it until the end.
    """
    by_file = defaultdict(list)
    for item in items:
        by_file[item.path].append(item)
    for path, tests in by_file.items():
        shares = any(_SHARED.get(path.parent.name, "") in getattr(test, "fixturenames", ()) for test in tests)
        group = pytest.mark.xdist_group(str(path.parent if shares else path))
        for test in tests:
            test.add_marker(group)


_SHARED = {"foreign": "mesh", "vault": "ground"}
"""By folder, the fixture that is started once for all of its files."""
