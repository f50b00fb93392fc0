"""A scripted mesh and a client whose waits are short."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from perpmesh_client import Gap, Perpmesh, Tuning

from tests.integration.client.scripted_mesh import ScriptedMesh

FAST = Tuning(
    call_timeout_s=2.0, connect_timeout_s=2.0, silence_timeout_s=5.0, backoff_first_s=0.01, backoff_max_s=0.05
)


@pytest.fixture
async def server() -> AsyncIterator[ScriptedMesh]:
    """A mesh that listens, and follows the scripts of the test."""
    scripted = ScriptedMesh()
    await scripted.start()
    yield scripted
    await scripted.close()


@pytest.fixture
def gaps() -> list[Gap]:
    """The gaps that the client reports."""
    return []


@pytest.fixture
async def mesh(server: ScriptedMesh, gaps: list[Gap]) -> AsyncIterator[Perpmesh]:
    """A client of the scripted mesh."""
    async with Perpmesh(server.address, on_gap=gaps.append, tuning=FAST) as client:
        yield client
