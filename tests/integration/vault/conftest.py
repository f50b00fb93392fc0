"""One database, bus and pair of simulated venues for the tests of the vault; each test has users of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.crash import CrashingRoom, crashing
from tests.support.vault_room import Client, Grounds, client
from tests.support.vault_room import grounds as make_grounds

BUILDER = "0x" + "66" * 20
INTEGRATOR = 777


@pytest_asyncio.fixture(loop_scope="session", scope="package")
async def ground(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Grounds]:
    async with make_grounds(tmp_path_factory.mktemp("vault")) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session", scope="package")
async def room(ground: Grounds) -> AsyncIterator[CrashingRoom]:
    """One vault for the tests that do not break it."""
    await ground.simulator.fund("lighter", "0x" + "77" * 20, "10", index=INTEGRATOR)
    fees = {"hyperliquid_builder": BUILDER, "lighter_integrator": INTEGRATOR}
    environ = ground.environ(ground.folder / "vault.json", **fees)
    with crashing("services.vault.__main__", "vault", environ, ground.folder / "vault.log") as made:
        made.start()
        yield made


@pytest_asyncio.fixture(loop_scope="session", scope="package")
async def mesh(ground: Grounds, room: CrashingRoom) -> AsyncIterator[Client]:
    async with client(ground, ground.folder / "vault.json") as made:
        yield made
