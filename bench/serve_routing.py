"""The routing room to be measured, on books of its own: `python -m bench.serve_routing` prints its port.

Everything of the room is there but its peers: the chassis, the desk, the solver, and the record of quotes in a real
PostgreSQL, whose address is an argument. Books stand still, or one level of each changes a number of times a second.
Beside the room's own calls it serves an empty unary call of the test contract, which passes the same wrapper.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import uvloop

from bench.serve import announce
from services.chassis import ids
from services.chassis.clock import SYSTEM
from services.chassis.postgres import Database, PostgresConfig
from services.chassis.room import install_decimal_context, spare_the_collector
from services.chassis.server import Server, ServerConfig
from services.domain.feed import FeedState
from services.routing.app.desk import Desk
from services.routing.model.books import Levels, MarketBooks, Status, VenueBook, VenueContext, VenueRules
from services.routing.model.wish import Standing
from services.routing.rpc.service import RoutingRpc
from services.routing.store.quotes import PostgresQuotes
from services.routing.store.routes import RecentRoutes
from tests.support.bus import MemoryBus
from tests.support.echo import SERVICE, Echo

MARKET = "BTC-PERP"
FEES = {"hyperliquid": "0.00045", "lighter": "0"}


class OwnBooks:
    """The port `Books` over books made here."""

    def __init__(self, levels: dict[str, int], seed: int) -> None:
        chance = random.Random(seed)
        self._books = MarketBooks(
            market=MARKET,
            price_decimals=1,
            size_decimals=5,
            rules=tuple(_rules(venue) for venue in levels),
            books=tuple(_book(chance, venue, count) for venue, count in levels.items()),
            contexts=tuple(
                VenueContext(mark_price=Decimal(84_143), funding_rate_hourly=Decimal("0.0000125")) for _ in levels
            ),
            volatility=Decimal("0.4"),
            number=1,
            versions="1",
        )
        self._moved = asyncio.Event()

    async def market(self, name: str) -> MarketBooks:
        """Return the books."""
        return self._books

    async def changed(self, name: str) -> None:
        """Wait until they move."""
        await self._moved.wait()

    async def move(self, per_second: float) -> None:
        """Change the size of each venue's best levels again and again."""
        turn = 0
        while True:
            await asyncio.sleep(1 / per_second)
            turn += 1
            now_ns = time.time_ns()
            books = tuple(
                replace(
                    one, version=one.version + 1, confirmed_ns=now_ns, bids=_nudged(one.bids, turn),
                    asks=_nudged(one.asks, turn),
                )
                for one in self._books.books
            )  # fmt: skip
            self._books = replace(self._books, books=books, number=turn, versions=str(turn))
            moved, self._moved = self._moved, asyncio.Event()
            moved.set()


def _nudged(levels: Levels, turn: int) -> Levels:
    (price, size), *rest = levels
    return ((price, size + (10 if turn % 2 else -10)), *rest)


def _rules(venue: str) -> VenueRules:
    return VenueRules(
        venue=venue,
        tick=Decimal("0.1"),
        price_decimals=1,
        price_significant_figures=5 if venue == "hyperliquid" else 0,
        lot=Decimal("0.00001"),
        min_size=Decimal("0.0002") if venue == "lighter" else Decimal(0),
        min_notional=Decimal(10),
        maker_fee=Decimal("0.00015"),
        taker_fee=Decimal(FEES[venue]),
        max_leverage=40,
        status=Status.ACTIVE,
    )


def _book(chance: random.Random, venue: str, count: int) -> VenueBook:
    sides: list[Levels] = []
    for sign in (-1, 1):
        price, rows = 841_430 + sign * (1 if venue == "hyperliquid" else 300), []
        for _ in range(count):
            rows.append((price, chance.randint(1, 40_000) * 10))
            price += sign * chance.randint(1, 20)
        sides.append(tuple(rows))
    bids, asks = sides
    return VenueBook(
        venue=venue, state=FeedState.LIVE, reason="", version=7, confirmed_ns=time.time_ns(), bids=bids, asks=asks
    )


class PublicStandings:
    """The port `Standings` where nobody has accounts."""

    async def of_user(self, user: str | None, account_ids: tuple[str, ...], market: str) -> Standing:
        """Return the public standing."""
        return Standing()

    async def of_accounts(self, account_ids: tuple[str, ...], market: str) -> Standing:
        """Return the public standing."""
        return Standing()


class _Chance:
    def uuid(self) -> UUID:
        """Return a new id."""
        return ids.new_uuid()


async def serve(url: str, levels: dict[str, int], moves: float) -> None:
    """Serve until killed."""
    books = OwnBooks(levels, seed=3)
    database = await Database.open("routing", PostgresConfig(url=url))
    quotes = PostgresQuotes(database, SYSTEM, kept=timedelta(days=1))
    bus = MemoryBus()
    routes = RecentRoutes(bus, SYSTEM)
    desk = Desk(books=books, standings=PublicStandings(), clock=SYSTEM, chance=_Chance())
    server = Server("routing", ServerConfig(drain_grace_s=0.1, reflection=False))
    server.add("perpmesh.routing.v1.RoutingService", RoutingRpc(desk=desk, quotes=quotes, routes=routes, clock=SYSTEM))
    server.add(SERVICE, Echo())
    port = await server.start()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(quotes.run())
        tasks.create_task(routes.run())
        if moves:
            tasks.create_task(books.move(moves))
        announce(port)


def main() -> None:
    """Serve until killed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("url", help="the database, its schema made")
    options.add_argument("--hyperliquid", type=int, default=20)
    options.add_argument("--lighter", type=int, default=250)
    options.add_argument("--moves", type=float, default=0.0, help="how often the books move, a second")
    chosen = options.parse_args()
    levels = {"hyperliquid": chosen.hyperliquid, "lighter": chosen.lighter}
    install_decimal_context()
    spare_the_collector()
    uvloop.run(serve(chosen.url, levels, chosen.moves))


if __name__ == "__main__":
    main()
