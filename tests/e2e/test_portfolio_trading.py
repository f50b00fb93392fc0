"""Real orders at both simulated venues become positions here, and the venues report the same; what comes about at a
venue without us (money, trades, liquidations, positions of before) is noticed, and explained in the history."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC
from decimal import Decimal
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
from perpmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from perpmesh.execution.v1 import execution_service_pb2 as execution_pb
from perpmesh.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub
from perpmesh.portfolio.v1 import analytics_service_pb2 as analytics_pb
from perpmesh.portfolio.v1 import portfolio_service_pb2 as portfolio_pb
from perpmesh.portfolio.v1 import position_record_pb2, transfer_pb2
from perpmesh.portfolio.v1.analytics_service_pb2_grpc import AnalyticsServiceStub
from perpmesh.portfolio.v1.portfolio_service_pb2_grpc import PortfolioServiceStub
from perpmesh.type.v1 import order_type_pb2, side_pb2
from perpmesh.vault.v1.vault_service_pb2_grpc import VaultServiceStub
from perpmesh_client.ledger import Line, ledger, totals
from perpmesh_client.portfolio import Portfolio

from services.chassis.clock import SYSTEM
from services.domain.market import HYPERLIQUID
from services.venues.actions import Side
from services.venues.circuit import REST, SOCKET, Circuit
from services.venues.hyperliquid.sign import Key
from services.venues.hyperliquid.trader import HyperliquidTrader, TraderConfig
from services.venues.port import listing_of
from services.venues.trading import Accepted, AccountRef
from tests.e2e.test_trading import BTC, Trader, edge, mesh, trader
from tests.referee.venue_trading.desks import MARKET, HyperliquidDesk, place
from tests.support.auth import bearer, sign_in
from tests.support.mesh import Mesh
from tests.support.vault import own
from tests.support.waiting import until
from tests.support.wallet import Wallet

pytestmark = pytest.mark.asyncio(loop_scope="module")
__all__ = ["edge", "mesh", "trader"]
D = Decimal
Kind = position_record_pb2.PositionEvent
WAIT_S = 90.0
UNIT = D("0.000001")
LEDGER_S = 200.0
"""A ledger is asked for once a minute where trades hide that money moved, and not in a minute of many requests."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def portfolio(trader: Trader) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(trader.mesh.edge) as channel:
        yield PortfolioServiceStub(channel)


async def test_filled_orders_are_positions_that_the_venues_report_alike(trader: Trader, portfolio: Any) -> None:
    sizes: dict[str, Decimal] = {}
    for venue in ("hyperliquid", "lighter"):
        order = await trader.place_surely(
            side=side_pb2.SIDE_BUY, size="0.01", type=order_type_pb2.ORDER_TYPE_MARKET, venue=venue
        )
        done = await trader.ended(order.order_id)
        sizes[venue] = Decimal(done.filled_size)
    assert all(sizes.values())
    asked = portfolio_pb.ListPositionsRequest()
    async with asyncio.timeout(60):
        while True:
            found = (await portfolio.ListPositions(asked, metadata=trader.metadata)).positions
            held = {one.venue: one for one in found}
            agreed = all(one.HasField("reported") and not one.differences for one in found)
            if set(held) == set(sizes) and agreed and all(one.mark_price for one in found):
                break
            await asyncio.sleep(0.2)
    assert {venue: Decimal(one.size) for venue, one in held.items()} == sizes
    for one in found:
        assert Decimal(one.reported.size) == Decimal(one.size)
        assert Decimal(one.mark_price) > 0
    balances = await portfolio.ListBalances(portfolio_pb.ListBalancesRequest(), metadata=trader.metadata)
    cash = {one.venue: Decimal(one.total) for one in balances.balances if one.asset == "USDC"}
    assert all(cash[venue] > 0 for venue in sizes), cash
    for account in balances.accounts:
        # Marks move between the venue's report and ours; a whole balance that is missing would be far more.
        assert abs(Decimal(account.equity) - Decimal(account.reported.equity)) < 100, account


async def control(mesh: Mesh, path: str, method: str = "POST", **body: object) -> Any:
    url = f"http://{mesh.address('simulator.control')}/control/{path}"
    async with aiohttp.ClientSession() as http, http.request(method, url, json=body) as answer:
        told = await answer.json()
        assert answer.status == 200, told
        return told


async def test_money_that_comes_and_leaves_is_in_the_balances_and_in_no_profit(
    trader: Trader, portfolio: Any, mesh: Mesh, edge: grpc.aio.Channel
) -> None:
    async def every() -> list[Any]:
        answer = await portfolio.ListTransfers(portfolio_pb.ListTransfersRequest(), metadata=trader.metadata)
        return list(answer.transfers)

    # What set the accounts up: not by time, since the venues' clock is theirs, and behind ours on a busy machine.
    before = await until(every, lambda found: len(found) == 2, timeout_s=LEDGER_S, why="both first deposits are told")
    known = {one.transfer_id for one in before}
    for venue, owner in trader.owners.items():
        me = (await owner.get()).account.venue_account
        await control(mesh, "accounts", venue=venue, address=owner.wallet.address, usdc="70")
        await control(mesh, "accounts/money", venue=venue, account=me, usdc="30")

    async def moved() -> list[Any]:
        return [one for one in await every() if one.transfer_id not in known]

    found = await until(
        moved, lambda found: len(found) == 4, timeout_s=LEDGER_S, why="both venues tell what came and left"
    )
    began = min(one.transfer_time.ToDatetime(UTC) for one in found)
    transfer = transfer_pb2.Transfer
    assert sorted((one.venue, one.kind, one.amount) for one in found) == sorted(
        (venue, kind, amount) for venue in trader.owners
        for kind, amount in ((transfer.KIND_DEPOSIT, "70"), (transfer.KIND_WITHDRAWAL, "-30"))
    )  # fmt: skip

    async def balances() -> dict[str, Any]:
        answer = await portfolio.ListBalances(portfolio_pb.ListBalancesRequest(), metadata=trader.metadata)
        return {one.venue: one for one in answer.balances if one.asset == "USDC"}

    await until(
        balances,
        lambda found: all(D(one.difference) == 0 for one in found.values()),
        timeout_s=WAIT_S,
        why="ours agrees with the venues again",
    )
    asked = analytics_pb.GetPerformanceRequest()
    asked.start_time.FromDatetime(began)
    performance = (await AnalyticsServiceStub(edge).GetPerformance(asked, metadata=trader.metadata)).performance
    total, curve = performance.total, performance.equity_curve
    assert D(total.net_transfers) == 80
    assert D(curve[-1].equity) - D(curve[0].equity) == D(total.net_pnl) + 80
    assert D(curve[-1].net_pnl) == D(total.net_pnl)
    assert abs(D(total.net_pnl)) < 20, "eighty dollars are no profit of a position of 0.02"


class Elsewhere:
    """The same wallet at another terminal: it trades at the venue without us."""

    def __init__(self, mesh: Mesh, wallet: Wallet, market: str = MARKET) -> None:
        self.trader = HyperliquidTrader(
            TraderConfig(base_url=f"http://{mesh.address('simulator.hyperliquid')}"),
            clock=SYSTEM,
            rng=random.Random(1),
            rest_breaker=Circuit(HYPERLIQUID, REST, clock=SYSTEM),
            socket_breaker=Circuit(HYPERLIQUID, SOCKET, clock=SYSTEM),
        )
        self.wallet = wallet
        self.market = market

    async def __aenter__(self) -> HyperliquidDesk:
        await self.trader.load()
        listing = listing_of(self.trader.universe.listings, self.market)
        assert listing is not None
        account = AccountRef(account_id="elsewhere", address=self.wallet.address.lower())
        desk = HyperliquidDesk(name=HYPERLIQUID, venue=self.trader, account=account, listing=listing, simulator=None)
        desk.key = Key(self.wallet.secret)
        return desk

    async def __aexit__(self, *_: object) -> None:
        await self.trader.close()


async def trades(desk: HyperliquidDesk, side: Side, size: str) -> None:
    listing = desk.listing
    wanted = replace(await desk.taking(side, size), market=listing.market, venue_market_id=listing.venue_market_id)
    (outcome,) = (await desk.send(place(wanted))).outcomes
    assert isinstance(outcome, Accepted), outcome
    assert outcome.filled == D(size)


class Held:
    """A trader's position at a venue, and what has happened to it since this was made."""

    def __init__(self, trader: Trader, portfolio: Any, venue: str) -> None:
        self.trader, self.portfolio, self.venue, self.seen = trader, portfolio, venue, 0

    async def events(self) -> list[Any]:
        """Return what is new of the open position, oldest first, funding left out."""
        asked = portfolio_pb.ListPositionHistoryRequest(
            venue=self.venue, include_events=True, state=position_record_pb2.PositionRecord.STATE_OPEN
        )
        (record,) = (await self.portfolio.ListPositionHistory(asked, metadata=self.trader.metadata)).records
        found = [event for event in reversed(record.events) if event.kind != Kind.KIND_FUNDING]
        return found[self.seen :]

    async def now(self) -> Any:
        """Return the position."""
        found = await self.portfolio.ListPositions(portfolio_pb.ListPositionsRequest(), metadata=self.trader.metadata)
        (one,) = (one for one in found.positions if one.venue == self.venue)
        return one

    async def agrees(self, size: Decimal) -> None:
        """Wait until ours and the venue's are of a size and agree in all."""
        await until(
            self.now,
            lambda one: D(one.size) == D(one.reported.size) == size and not one.differences,
            timeout_s=WAIT_S,
            why=f"ours and the venue's agree on {size}",
        )


async def test_a_fill_that_the_stream_lost_is_found_by_what_it_did_and_the_history_says_so(
    trader: Trader, portfolio: Any, mesh: Mesh
) -> None:
    held = Held(trader, portfolio, HYPERLIQUID)
    size, held.seen = D((await held.now()).size), len(await held.events())
    await control(mesh, "faults", kind="private", venue=HYPERLIQUID)  # frames of the account's channels are lost
    async with Elsewhere(mesh, trader.owners[HYPERLIQUID].wallet, BTC) as desk:
        await trades(desk, Side.BUY, "0.001")
    told = await until(
        held.events,
        lambda found: any(event.kind == Kind.KIND_FILL for event in found),
        timeout_s=WAIT_S,
        why="the position's change is looked into",
    )
    fill = next(event for event in told if event.kind == Kind.KIND_FILL)
    assert (D(fill.size_change), D(fill.size_after), fill.order_id) == (D("0.001"), size + D("0.001"), "")
    assert fill.explanation.endswith(" by a trade that no order of ours made.")
    await held.agrees(size + D("0.001"))
    await control(mesh, "faults", "DELETE")


@pytest.mark.parametrize("venue", ["hyperliquid", "lighter"])
async def test_a_position_closed_against_a_bankrupt_one_is_deleveraged_and_no_trade_of_ours(
    trader: Trader, portfolio: Any, mesh: Mesh, edge: grpc.aio.Channel, venue: str
) -> None:
    held = Held(trader, portfolio, venue)
    one = await held.now()
    size, held.seen = D(one.size), len(await held.events())
    asked = analytics_pb.GetPerformanceRequest(venue=venue)
    before = (await AnalyticsServiceStub(edge).GetPerformance(asked, metadata=trader.metadata)).performance.total
    answer = await control(mesh, "accounts/deleverage", venue=venue, market="BTC", size="-0.004")
    assert len(answer["deleveraged"]) == 1
    told = await until(
        held.events,
        lambda found: any(event.size_change for event in found),
        timeout_s=WAIT_S,
        why="the venue tells of it",
    )
    (event,) = (event for event in told if event.size_change)
    assert event.kind == Kind.KIND_DELEVERAGING
    assert (D(event.size_change), D(event.size_after), event.order_id) == (D("-0.004"), size - D("0.004"), "")
    assert [D(cost.amount) for cost in event.costs if D(cost.amount)] == []
    assert event.explanation.endswith(" by the venue, which closed it against a bankrupt position.")
    await held.agrees(size - D("0.004"))
    total = (await AnalyticsServiceStub(edge).GetPerformance(asked, metadata=trader.metadata)).performance.total
    assert total.fill_count == before.fill_count + 1
    assert D(total.realized_pnl) == D(before.realized_pnl) + D(event.realized_pnl)


async def test_an_export_adds_up_to_what_each_venue_holds_and_its_fills_to_what_is_open(
    trader: Trader, mesh: Mesh
) -> None:
    token = dict(trader.metadata)["authorization"].removeprefix("Bearer ")
    async with Portfolio(mesh.edge, token=token) as mine:

        async def exported() -> tuple[list[Line], dict[str, Any], dict[str, Any]]:
            records, paid = await mine.position_history(events=True, limit=0), await mine.funding_payments()
            lines = ledger(records, paid, await mine.transfers())
            balances = {one.venue: one for one in (await mine.balances())[0] if one.asset == "USDC"}
            return lines, balances, {one.venue: one for one in await mine.positions()}

        def of(lines: list[Line], venue: str, name: str) -> Decimal:
            return sum((getattr(line, name) for line in lines if line.venue == venue), D(0))

        def adds_up(found: tuple[list[Line], dict[str, Any], dict[str, Any]]) -> bool:
            """Say whether all that came, left, was won, paid and lost is what the venue says is there.

            At each trade that closes a part a venue cuts the cost of what stays open to its unit, we do not.
            """
            lines, balances, held = found
            return set(balances) == set(held) == set(trader.owners) and all(
                abs(of(lines, venue, "amount") - D(balances[venue].total)) <= UNIT * len(lines)
                and of(lines, venue, "size") == D(held[venue].size)
                for venue in trader.owners
            )

        # Funding may be paid between two of the calls; then they are asked again.
        lines, balances, _ = await until(exported, adds_up, timeout_s=WAIT_S, why="the export adds up at both venues")
        assert {line.kind for line in lines} >= {"deposit", "withdrawal", "fill", "deleveraging"}
        assert totals(lines)["amount"] == sum((D(one.computed_total) for one in balances.values()), D(0))


async def test_a_position_of_before_is_adopted_traded_elsewhere_and_liquidated_and_its_history_says_so(
    mesh: Mesh, edge: grpc.aio.Channel, portfolio: Any
) -> None:
    wallet = Wallet()
    venue: dict[str, Any] = {"venue": HYPERLIQUID, "account": wallet.address}
    await control(mesh, "accounts", venue=HYPERLIQUID, address=wallet.address, usdc="1000")
    async with Elsewhere(mesh, wallet) as desk:
        await trades(desk, Side.BUY, "0.4")
        await control(mesh, "accounts/forget", **venue)  # as a venue does with trades of long ago
        (held,) = (await desk.venue.state(desk.account)).positions
        token = (await sign_in(AuthServiceStub(edge), wallet)).access_token
        owner = await own(VaultServiceStub(edge), wallet, token, HYPERLIQUID, default=True)
        await owner.complete(await owner.begin())
        mine = bearer(token)

        async def position() -> Any:
            found = (await portfolio.ListPositions(portfolio_pb.ListPositionsRequest(), metadata=mine)).positions
            return found[0] if found else None

        def agrees(size: str) -> Callable[[Any], bool]:
            """Say that ours and the venue's are of one size and agree in all."""
            return lambda one: one and D(one.size) == D(one.reported.size) == D(size) and not one.differences

        one = await until(position, agrees("0.4"), timeout_s=WAIT_S, why="the position of before is adopted")
        assert (D(one.adopted.size), D(one.entry_price)) == (D("0.4"), held.entry_price)
        assert D(one.mark_price) > 0
        assert one.computed_liquidation_price
        asked = portfolio_pb.GetExposureRequest()
        exposure = (await portfolio.GetExposure(asked, metadata=mine)).exposure
        assert exposure.markets[0].market == MARKET
        close = execution_pb.ClosePositionRequest(request_id=str(uuid.uuid4()), market=MARKET, size="0.1")
        await ExecutionServiceStub(edge).ClosePosition(close, metadata=mine)
        await until(position, agrees("0.3"), timeout_s=WAIT_S, why="a part of it is closed by an order of ours")
        await trades(desk, Side.SELL, "0.1")
        await until(position, agrees("0.2"), timeout_s=WAIT_S, why="a part of it is sold elsewhere")
        equity = (await desk.venue.state(desk.account)).margin.equity
        await control(mesh, "accounts/money", **venue, usdc=f"{equity - 1:.2f}", force=True)
        await until(position, lambda one: one is None, timeout_s=WAIT_S, why="the venue liquidates it")
    asked_history = portfolio_pb.ListPositionHistoryRequest(include_events=True)
    (record,) = (await portfolio.ListPositionHistory(asked_history, metadata=mine)).records
    assert record.state == position_record_pb2.PositionRecord.STATE_CLOSED
    events = list(reversed(record.events))
    seen = [event.kind for event in events if event.kind != Kind.KIND_FUNDING]
    assert seen[:2] == [Kind.KIND_RECONCILIATION, Kind.KIND_ADOPTION]
    assert seen[-1] == Kind.KIND_LIQUIDATION
    adopted = next(event for event in events if event.kind == Kind.KIND_ADOPTION)
    assert (D(adopted.size_change), adopted.realized_pnl, list(adopted.costs)) == (D("0.4"), "", [])
    fills = [event for event in events if event.kind == Kind.KIND_FILL]
    assert [bool(event.order_id) for event in fills] == [True, False]
    assert "no order of ours" in fills[1].explanation
    assert sum(D(event.size_change or 0) for event in events) == 0
    assert sum(D(event.realized_pnl or 0) for event in events) == D(record.realized_pnl)
    listed = (await portfolio.ListTransfers(portfolio_pb.ListTransfersRequest(), metadata=mine)).transfers
    assert [D(one.amount) for one in listed][-1] == 1000
    performance = (
        await AnalyticsServiceStub(edge).GetPerformance(analytics_pb.GetPerformanceRequest(), metadata=mine)
    ).performance
    assert performance.total.adopted_unrealized_pnl == record.adopted.unrealized_pnl
    assert performance.total.fill_count >= 3
