"""The other calls of the room: histories, exposure, estimates, analytics."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf import duration_pb2
from perpmesh.execution.v1 import leg_pb2, log_event_pb2, order_pb2, report_pb2
from perpmesh.portfolio.v1 import analytics_service_pb2 as analytics_pb
from perpmesh.portfolio.v1 import performance_pb2, position_record_pb2, transfer_pb2
from perpmesh.portfolio.v1 import portfolio_service_pb2 as pb
from perpmesh.type.v1 import cost_pb2, environment_pb2, position_side_pb2, side_pb2

from tests.support.portfolio import START, House, fill, minutes, new_ids, observed, running_house
from tests.support.postgres import Postgres
from tests.support.valkey import Valkey

pytestmark = pytest.mark.asyncio(loop_scope="module")
FEE = cost_pb2.COST_KIND_VENUE_FEE
D = Decimal


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(
    tmp_path_factory: pytest.TempPathFactory, portfolio_postgres: Postgres, portfolio_valkey: Valkey
) -> AsyncIterator[House]:
    """One room for all of these: each test has users of its own."""
    folder = tmp_path_factory.mktemp("portfolio")
    marks = {"BTC-PERP": "100", "ETH-PERP": "130"}
    async with running_house(folder, server=portfolio_postgres, valkey_url=portfolio_valkey.url, marks=marks) as found:
        yield found


async def call(house: House, user: str, name: str, **asked: Any) -> Any:
    request = getattr(pb, f"{name}Request")(**asked)
    return await getattr(house.room.calls, name)(request, metadata=house.mine(user))


async def performance(house: House, user: str, **asked: Any) -> Any:
    answer = await house.room.analytics.GetPerformance(
        analytics_pb.GetPerformanceRequest(**asked), metadata=house.mine(user)
    )
    return answer.performance


async def refusal(awaitable: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await awaitable
    return refused.value.code(), refused.value.details() or ""


async def a_pair(house: House, user: str) -> tuple[str, str]:
    """A long at one venue and an equal short at the other, with money at each."""
    hyperliquid, lighter = new_ids(2)
    house.street.set("BTC-PERP", "100")
    held = {"market": "BTC-PERP", "entry_price": "100", "leverage": 10, "margin_mode": 1}
    for account, venue, side, total in (
        (hyperliquid, "hyperliquid", "buy", "200"),
        (lighter, "lighter", "sell", "400"),
    ):
        size = "10" if side == "buy" else "-10"
        await house.writer.write(
            user,
            observed(account, venue=venue, balances=[{"asset": "USDC", "total": total}]),
            fill(account, side, "10", "100", venue=venue, at=minutes(1)),
            observed(
                account, venue=venue, at=minutes(2), positions=[{**held, "size": size}],
                balances=[{"asset": "USDC", "total": total}],
            ),
        )  # fmt: skip
    await house.caught_up()
    return hyperliquid, lighter


async def test_lives_are_listed_with_every_fill_fee_and_payment(house: House) -> None:
    user, account = new_ids(2)
    house.street.set("BTC-PERP", "100")
    paid = {"market": "BTC-PERP", "amount": "-0.5", "rate": "0.0001", "position_size": "2", "at": minutes(3)}
    await house.writer.write(
        user,
        fill(account, "buy", "2", "100", at=minutes(1), fees=[(FEE, "0.1")]),
        observed(account, at=minutes(4), complete=False, funding=[paid]),
        fill(account, "sell", "3", "110", at=minutes(5), fees=[(FEE, "0.3")]),
        observed(account, at=minutes(6), complete=False, funding=[paid]),
        fill(account, "buy", "1", "120", at=minutes(7), cause=2),
    )
    await house.caught_up()
    answer = await call(house, user, "ListPositionHistory", include_events=True)
    short, long = answer.records
    assert (long.side, long.entry_price, long.exit_price, long.max_size) == (
        position_side_pb2.POSITION_SIDE_LONG, "100", "110", "2",
    )  # fmt: skip
    assert (long.realized_pnl, long.fifo_realized_pnl, long.funding_paid, long.net_pnl) == ("20", "20", "0.5", "19.2")
    assert [(cost.kind, cost.amount) for cost in long.costs] == [(FEE, "0.3")]
    assert [event.explanation for event in reversed(long.events)] == [
        "Bought 2 at 100 by a trade that no order of ours made.",
        "Funding of 0.5 USD was paid.",
        "Sold 2 at 110, which realized 20 USD by a trade that no order of ours made.",
    ]
    assert (short.realized_pnl, short.state) == ("-10", position_record_pb2.PositionRecord.STATE_CLOSED)
    assert short.events[0].kind == position_record_pb2.PositionEvent.KIND_LIQUIDATION
    payments = (await call(house, user, "ListFundingPayments")).funding_payments
    assert [(one.amount, one.position_id) for one in payments] == [("-0.5", long.position_id)]
    only = await call(house, user, "ListPositionHistory", side=position_side_pb2.POSITION_SIDE_SHORT)
    assert [one.position_id for one in only.records] == [short.position_id]
    pages, token = [], ""
    while True:
        page = await call(house, user, "ListPositionHistory", page_size=1, page_token=token)
        pages += [one.position_id for one in page.records]
        if not (token := page.next_page_token):
            break
    assert pages == [short.position_id, long.position_id]


async def test_transfers_are_listed_and_change_the_balance_once(house: House) -> None:
    user, account = new_ids(2)
    moved = {"venue_transfer_id": "7", "venue_kind": "deposit", "asset": "USDC", "amount": "50", "at": minutes(1)}
    await house.writer.write(
        user,
        observed(account, balances=[{"asset": "USDC", "total": "100"}]),
        observed(account, at=minutes(2), complete=False, transfers=[moved]),
        observed(account, at=minutes(3), transfers=[moved], balances=[{"asset": "USDC", "total": "151"}]),
    )
    await house.caught_up()
    (transfer,) = (await call(house, user, "ListTransfers", kind=transfer_pb2.Transfer.KIND_DEPOSIT)).transfers
    assert (transfer.amount, transfer.venue_transfer_id) == ("50", "7")
    assert not (await call(house, user, "ListTransfers", kind=transfer_pb2.Transfer.KIND_REWARD)).transfers
    (balance,) = (await call(house, user, "ListBalances")).balances
    assert (balance.total, balance.computed_total, balance.difference) == ("151", "150", "1")
    assert balance.difference_time.ToDatetime() == minutes(1).replace(tzinfo=None)  # the report was behind the log


async def test_exposure_names_who_dies_first_and_what_makes_it_even(house: House) -> None:
    (user,) = new_ids(1)
    hyperliquid, lighter = await a_pair(house, user)
    exposure = (await call(house, user, "GetExposure")).exposure
    assert (exposure.net_notional, exposure.gross_notional, exposure.equity) == ("0", "2000", "600")
    (market,) = exposure.markets
    # The long: 200 + 10 (p - 100) = 10 p / 80. The short: 400 - 10 (p - 100) = 10 p 0.012.
    assert D(market.fall.price) == pytest.approx(D(800) / D("9.875"), rel=D("1e-15"))
    assert D(market.rise.price) == pytest.approx(D(1400) / D("10.12"), rel=D("1e-15"))
    assert (market.fall.account_id, market.rise.account_id) == (hyperliquid, lighter)
    assert market.fall.net_size_after == "-10"
    (transfer,) = exposure.equalizing_transfers
    assert (transfer.from_account_id, transfer.to_account_id) == (lighter, hyperliquid)
    amount = D(transfer.amount)
    fall = 1 - (D(800) - amount) / D("9.875") / 100
    rise = (D(1400) - amount) / D("10.12") / 100 - 1
    assert abs(fall - rise) < D("1e-8")
    assert abs(fall - D(transfer.distance_after)) < D("1e-8")
    assert exposure.explanation.startswith(
        "Net notional 0 USD; the first leg to die is BTC-PERP at hyperliquid, at a fall"
    )


async def test_an_estimate_says_what_orders_would_do_and_from_what(house: House) -> None:
    (user,) = new_ids(1)
    hyperliquid, _ = await a_pair(house, user)
    leg_id, order_id = new_ids(2)
    resting = leg_pb2.Leg(
        leg_id=leg_id, account_id=hyperliquid, market="BTC-PERP", side=side_pb2.SIDE_SELL, size="10", limit_price="110",
        state=leg_pb2.Leg.STATE_OPEN,
    )  # fmt: skip
    await house.writer.write(user, order_pb2.Order(order_id=order_id, legs=[resting]))
    await house.caught_up()
    asked: dict[str, Any] = {"account_id": hyperliquid, "market": "BTC-PERP"}
    buy = pb.EstimateLiquidationRequest.ConsideredOrder(side=side_pb2.SIDE_BUY, size="10", price="90")
    estimate = (await call(house, user, "EstimateLiquidation", **asked, orders=[buy])).estimate
    assert (estimate.positions_only.size, estimate.with_buy_orders.size, estimate.with_sell_orders.size) == (
        "10", "20", "0",
    )  # fmt: skip
    assert estimate.with_buy_orders.entry_price == "95"
    assert estimate.with_sell_orders.liquidation_price == ""
    assert estimate.worst == estimate.with_buy_orders
    assert estimate.best == estimate.with_sell_orders
    assert (estimate.formula, estimate.verified) == ("hyperliquid-margin-1", True)
    assert {one.name for one in estimate.inputs} >= {"cash", "mark_price", "maintenance_rate", "leverage"}
    added = (await call(house, user, "EstimateLiquidation", **asked, collateral_change="100")).estimate
    assert D(added.positions_only.liquidation_price) < D(estimate.positions_only.liquidation_price)
    foreign = call(house, new_ids(1)[0], "EstimateLiquidation", **asked)
    code, words = await refusal(foreign)
    assert code is grpc.StatusCode.NOT_FOUND
    unknown = call(house, user, "EstimateLiquidation", account_id=new_ids(1)[0], market="BTC-PERP")
    assert await refusal(unknown) == (code, words)
    code, words = await refusal(call(house, user, "EstimateLiquidation", **asked, leverage=99))
    assert (code, words) == (grpc.StatusCode.INVALID_ARGUMENT, "leverage: BTC-PERP allows at most 40 at hyperliquid")


async def test_performance_adds_up_and_a_new_fill_makes_it_new(house: House) -> None:
    user, account = new_ids(2)
    house.street.set("ETH-PERP", "130")
    await house.writer.write(
        user,
        observed(account, balances=[{"asset": "USDC", "total": "1000"}]),
        fill(account, "buy", "2", "100", market="ETH-PERP", at=minutes(1), fees=[(FEE, "0.1")]),
        fill(account, "sell", "1", "110", market="ETH-PERP", at=minutes(2), fees=[(FEE, "0.2")]),
        fill(account, "sell", "1", "120", market="ETH-PERP", at=START + timedelta(days=3), fees=[(FEE, "0.3")]),
        fill(account, "sell", "1", "120", market="ETH-PERP", at=START + timedelta(days=4), fees=[(FEE, "0.4")]),
    )
    await house.caught_up()
    found = await performance(house, user)
    total = found.total
    assert (total.realized_pnl, total.unrealized_pnl_change, total.net_pnl) == ("30", "-10", "19")
    assert (total.volume, total.fill_count, total.closed_position_count, total.win_rate) == ("550", 4, 1, "1")
    assert found.equity_curve[-1].equity == "1019"
    assert found.equity_curve[-1].net_pnl == "19"
    assert "root of 365" in found.ratio_convention
    started = time.perf_counter()
    again = await performance(house, user)
    assert again.compute_time == found.compute_time
    assert time.perf_counter() - started < 1
    await house.writer.write(user, fill(account, "buy", "1", "100", market="ETH-PERP", at=START + timedelta(days=5)))
    await house.caught_up()
    fresh = await performance(house, user)
    assert fresh.total.realized_pnl == "50"
    half = await performance(
        house, user, groupings=[performance_pb2.GROUPING_DAY, performance_pb2.GROUPING_SIDE],
        start_time=minutes(2), end_time=START + timedelta(days=4, minutes=1),
    )  # fmt: skip
    assert [(one.side, one.figures.realized_pnl) for one in half.groups] == [
        (position_side_pb2.POSITION_SIDE_SHORT, "0"),
        (position_side_pb2.POSITION_SIDE_LONG, "10"),
        (position_side_pb2.POSITION_SIDE_LONG, "20"),
    ]
    assert half.total.fill_count == 3


async def test_quality_compares_with_the_quote_and_with_each_venue_alone(house: House) -> None:
    user, account, quote = new_ids(3)
    for number, (cost, alone, quote_id) in enumerate((("1.5", "3", quote), ("2.5", "2", quote), ("9", "", ""))):
        report = report_pb2.ExecutionReport(
            order_id=new_ids(1)[0], quote_id=quote_id, complete=True, arrival_mid_price="100", quoted_size="10",
            filled_size="5",
            achieved_price="100.2", quoted_cost="2", achieved_cost=cost,
            lines=[report_pb2.ReportLine(kind=cost_pb2.COST_KIND_BOOK, achieved_amount="1")],
            phases=[report_pb2.Phase(kind=report_pb2.Phase.KIND_LAST_FILL, duration=duration_pb2.Duration(seconds=2))],
        )  # fmt: skip
        message = log_event_pb2.ExecutionReported(
            report=report, market="BTC-PERP", side=side_pb2.SIDE_BUY, size="10", account_id=account,
            environment=environment_pb2.ENVIRONMENT_SIMULATED,
            single_venue_costs=[log_event_pb2.SingleVenueCost(venue="lighter", cost=alone)] if quote_id else [],
        )  # fmt: skip
        message.create_time.FromDatetime(minutes(number))
        await house.writer.write(user, message)
    await house.caught_up()
    answer = await house.room.analytics.GetExecutionQuality(
        analytics_pb.GetExecutionQualityRequest(), metadata=house.mine(user)
    )
    total = answer.execution_quality.total
    assert (total.order_count, total.quoted_cost, total.achieved_cost, total.fill_ratio) == (2, "2", "4", "0.5")
    assert (total.slippage_bps, total.median_time_to_fill.seconds) == ("20", 2)
    (venue,) = total.venue_comparisons
    assert (venue.venue, venue.single_venue_cost, venue.saving) == ("lighter", "2.5", "-1.5")
    assert [one.order_count for one in answer.execution_quality.size_buckets] == [2, 0, 0, 0, 0]
    assert answer.execution_quality.unrouted_order_count == 1  # it named its venue: in no figure


async def test_balances_are_streamed_whole(house: House) -> None:
    user, account = new_ids(2)
    await house.writer.write(user, observed(account, balances=[{"asset": "USDC", "total": "100"}]))
    await house.caught_up()
    stream = house.room.calls.WatchBalances(pb.WatchBalancesRequest(), metadata=house.mine(user))
    first, second, third = [await stream.read() for _ in range(3)]
    assert (first.balance.total, second.account.account_id) == ("100", account)
    assert third.HasField("live")
    await house.writer.write(user, observed(account, at=minutes(1), balances=[{"asset": "USDC", "total": "90"}]))
    while not (message := await stream.read()).HasField("balance"):
        pass
    assert (message.balance.total, message.balance.difference) == ("90", "-10")
    stream.cancel()
