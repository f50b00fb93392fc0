"""One PostgreSQL and one Valkey for the tests of the auth room; each test has a room, and wallets, of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.auth import AuthRoom, running_auth
from tests.support.postgres import Postgres, postgres
from tests.support.valkey import Valkey, valkey


@pytest.fixture(scope="session")
def auth_postgres() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def auth_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
async def auth(tmp_path: Path, auth_postgres: Postgres, auth_valkey: Valkey) -> AsyncIterator[AuthRoom]:
    async with running_auth(tmp_path, postgres_url=auth_postgres.url(), valkey_url=auth_valkey.url) as room:
        yield room
