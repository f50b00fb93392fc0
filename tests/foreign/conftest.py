"""One mesh for other people's clients, and what it says of itself over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest_asyncio
from perpmesh.marketdata.v1 import market_data_service_pb2_grpc as stubs

from tests.foreign.truth import Truth
from tests.support.mesh import Mesh, running_mesh

SEED = 23


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def mesh() -> AsyncIterator[Mesh]:
    """The whole mesh on the simulator. Whoever disturbs it leaves it calm."""
    print(f"seed {SEED}")
    async with running_mesh(
        simulator_seed=SEED, ip_requests_per_s=100_000, simulator_lighter_requests_max=0
    ) as running:
        yield running


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def truth(mesh: Mesh) -> AsyncIterator[Truth]:
    """What our own Python stubs read from the same edge."""
    async with grpc.aio.insecure_channel(mesh.edge) as channel:
        yield Truth(stubs.MarketDataServiceStub(channel))
