"""Where captured payloads are; tests that need them are skipped with one line when PERPMESH_FIXTURES is not set."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def fixtures() -> Path:
    folder = os.environ.get("PERPMESH_FIXTURES")
    if not folder:
        pytest.skip("PERPMESH_FIXTURES is not set: captured payloads are not there to compare with")
    return Path(folder)
