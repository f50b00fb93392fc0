"""The market data room over a real gRPC server, fed by scripted venues, with or without its database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from perpmesh.marketdata.v1 import market_data_service_pb2_grpc as stubs

from services.chassis.clock import SYSTEM
from services.chassis.server import Server, ServerConfig
from services.chassis.tasks import Supervisor
from services.domain.market import Source
from services.domain.pages import Pager
from services.market_data.app.archive import Archive
from services.market_data.app.audit import Auditor
from services.market_data.app.backfill import Backfill
from services.market_data.app.demand import Demand
from services.market_data.app.engine import Engine
from services.market_data.app.recorder import Recorder
from services.market_data.app.view import View
from services.market_data.rpc.history_calls import HistoryCalls
from services.market_data.rpc.publisher import StreamPublisher
from services.market_data.rpc.service import MarketDataService
from services.market_data.store.history import History
from services.venues.port import FeedLevel
from tests.support.feed import HYPERLIQUID_BTC, LIGHTER_BTC
from tests.support.history import new_database, new_history
from tests.support.postgres import Postgres, postgres
from tests.support.venue import ScriptedVenue

SOURCES = {"hyperliquid": Source.SIMULATED, "lighter": Source.SIMULATED}


@dataclass
class Room:
    """The room and what surrounds it."""

    stub: stubs.MarketDataServiceAsyncStub
    lighter: ScriptedVenue
    hyperliquid: ScriptedVenue
    engine: Engine
    publisher: StreamPublisher
    server: Server
    auditor: Auditor
    kept: dict[str, bytes]
    recorder: Recorder
    history: History
    backfills: list[Backfill]


@asynccontextmanager
async def running_room(url: str = "", **options: Any) -> AsyncIterator[Room]:
    """Run a room whose venues list BTC-PERP and have said nothing of it yet; with the database at `url`, if any."""
    lighter, hyperliquid = ScriptedVenue("lighter", LIGHTER_BTC), ScriptedVenue("hyperliquid", HYPERLIQUID_BTC)
    kept: dict[str, bytes] = {}
    publisher = StreamPublisher(
        sources=SOURCES,
        epoch=7,
        clock=SYSTEM,
        keep_price=lambda market, payload, _: kept.__setitem__(market, payload),
        streams_max=100,
    )
    demand = Demand({"BTC-PERP": FeedLevel.BOOK}, SYSTEM)
    engine = Engine(venues=[lighter, hyperliquid], publisher=publisher, demand=demand, clock=SYSTEM)
    history = new_history(url or "postgresql://nobody@127.0.0.1:1/none", **options)
    recorder = Recorder(
        engine, history.writer, publisher.candles, SYSTEM, markets=["BTC-PERP"] if url else [], sample_interval_s=0.1
    )
    engine.follow(recorder)
    backfills = [
        Backfill(
            venue,
            recorder,
            history.writer,
            history.store,
            SYSTEM,
            interval_s_of=lambda market, venue: 3600,
            pause_s=0.0,
            depth=20,
            funding_days=2,
        )
        for venue in (lighter, hyperliquid)
    ]
    view, pager = View(engine, SYSTEM), Pager(b"secret")
    calls = HistoryCalls(
        archive=Archive(view, recorder, history.store),
        recorder=recorder,
        hubs=publisher.candles,
        view=view,
        pager=pager,
        clock=SYSTEM,
    )
    service = MarketDataService(
        view=view, demand=demand, publisher=publisher, sources=SOURCES, pager=pager, clock=SYSTEM, history=calls
    )
    server = Server("market_data", ServerConfig(drain_grace_s=1.0))
    server.add("perpmesh.marketdata.v1.MarketDataService", service)
    port = await server.start()
    tasks = [
        asyncio.create_task(one)
        for one in (engine.run(), publisher.run(), lighter.run(engine.intake.emit), hyperliquid.run(engine.intake.emit))
    ]
    try:
        async with Supervisor() as supervisor, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await lighter.started.wait()
            await hyperliquid.started.wait()
            await engine.round_done()
            if url:
                history.start(supervisor)
                supervisor.start("recorder", recorder.run)
                for backfill in backfills:
                    supervisor.start(f"backfill.{backfill.name}", backfill.run)
            yield Room(
                stub=stubs.MarketDataServiceStub(channel),  # type: ignore[arg-type]
                lighter=lighter,
                hyperliquid=hyperliquid,
                engine=engine,
                publisher=publisher,
                server=server,
                auditor=Auditor(engine, SYSTEM, interval_s=0.01, margin_s=0.1),
                kept=kept,
                recorder=recorder,
                history=history,
                backfills=backfills,
            )
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.stop()
        await history.close()


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    """A room without a database."""
    async with running_room() as running:
        yield running


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A real PostgreSQL, shared by all tests of the folder; each makes a database of its own."""
    with postgres() as server:
        yield server


@pytest.fixture
async def database_url(postgres_server: Postgres) -> str:
    """A fresh database with the room's role and schema, up to date."""
    return await new_database(postgres_server)
