"""One mesh for the tests that do not disturb it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import grpc
import pytest_asyncio

from tests.support.mesh import Mesh, running_mesh


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def mesh() -> AsyncIterator[Mesh]:
    """The whole mesh on the simulator; nobody may break it."""
    async with running_mesh(simulator_seed=11, ip_requests_per_s=100_000) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client without a total timeout, since streams do not end."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_read=30)) as client:
        yield client


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def channel(mesh: Mesh) -> AsyncIterator[grpc.aio.Channel]:
    """A gRPC channel to the edge."""
    async with grpc.aio.insecure_channel(mesh.edge) as made:
        yield made
