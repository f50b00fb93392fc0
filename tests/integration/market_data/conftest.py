"""The market data room over a real gRPC server, fed by scripted venues."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import pytest
from perpmesh.marketdata.v1 import market_data_service_pb2_grpc as stubs

from services.chassis.clock import SYSTEM
from services.chassis.server import Server, ServerConfig
from services.domain.market import Source
from services.domain.pages import Pager
from services.market_data.app.audit import Auditor
from services.market_data.app.demand import Demand
from services.market_data.app.engine import Engine
from services.market_data.app.view import View
from services.market_data.rpc.publisher import StreamPublisher
from services.market_data.rpc.service import MarketDataService
from services.venues.port import FeedLevel
from tests.support.feed import HYPERLIQUID_BTC, LIGHTER_BTC
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


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    """A room whose venues list BTC-PERP and have said nothing of it yet."""
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
    service = MarketDataService(
        view=View(engine, SYSTEM),
        demand=demand,
        publisher=publisher,
        sources=SOURCES,
        pager=Pager(b"secret"),
        clock=SYSTEM,
    )
    server = Server("market_data", ServerConfig(drain_grace_s=1.0))
    server.add("perpmesh.marketdata.v1.MarketDataService", service)
    port = await server.start()
    tasks = [
        asyncio.create_task(one)
        for one in (engine.run(), publisher.run(), lighter.run(engine.intake.emit), hyperliquid.run(engine.intake.emit))
    ]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await lighter.started.wait()
        await hyperliquid.started.wait()
        await engine.round_done()
        yield Room(
            stub=stubs.MarketDataServiceStub(channel),  # type: ignore[arg-type]
            lighter=lighter,
            hyperliquid=hyperliquid,
            engine=engine,
            publisher=publisher,
            server=server,
            auditor=Auditor(engine, SYSTEM, interval_s=0.01, margin_s=0.1),
            kept=kept,
        )
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await server.stop()
