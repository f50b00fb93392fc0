"""One PostgreSQL and one Valkey for the tests of the portfolio room; each test has a room and a database of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.portfolio import House, running_house
from tests.support.postgres import Postgres, postgres
from tests.support.valkey import Valkey, valkey


@pytest.fixture(scope="session")
def portfolio_postgres() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def portfolio_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
async def house(tmp_path: Path, portfolio_postgres: Postgres, portfolio_valkey: Valkey) -> AsyncIterator[House]:
    async with running_house(tmp_path, server=portfolio_postgres, valkey_url=portfolio_valkey.url) as found:
        yield found
