"""The log, followed by the real room: what fills and reports come to, once, whatever the stream loses."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from perpmesh.portfolio.v1 import account_state_service_pb2 as state_pb
from perpmesh.portfolio.v1 import portfolio_service_pb2 as pb
from perpmesh.portfolio.v1 import position_record_pb2
from perpmesh.type.v1 import cost_pb2

from tests.support.portfolio import House, fill, minutes, new_ids, observed

FEE = cost_pb2.COST_KIND_VENUE_FEE


async def positions(house: House, user: str, **asked: Any) -> list[Any]:
    answer = await house.room.calls.ListPositions(pb.ListPositionsRequest(**asked), metadata=house.mine(user))
    return list(answer.positions)


async def test_a_fill_becomes_a_position_beside_what_the_venue_reports(house: House) -> None:
    user, account = new_ids(2)
    house.street.set("BTC-PERP", "110")
    await house.writer.write(
        user,
        observed(account, balances=[{"asset": "USDC", "total": "1000"}]),
        fill(account, "buy", "2", "100", fees=[(FEE, "0.09")], at=minutes(1)),
        observed(
            account,
            at=minutes(2),
            balances=[{"asset": "USDC", "total": "999.91"}],
            positions=[
                {"market": "BTC-PERP", "size": "2", "entry_price": "100", "leverage": 20, "margin_mode": 1,
                 "liquidation_price": "0"}
            ],
        ),
    )  # fmt: skip
    await house.caught_up()
    (one,) = await positions(house, user)
    assert (one.size, one.entry_price, one.fifo_entry_price, one.mark_price) == ("2", "100", "100", "110")
    assert (one.unrealized_pnl, one.notional, one.initial_margin, one.maintenance_margin) == ("20", "220", "11", "2.75")
    assert [(cost.kind, cost.amount) for cost in one.costs] == [(FEE, "0.09")]
    assert (one.reported.size, one.leverage, list(one.differences), one.log_sequence) == ("2", 20, [], 3)
    answer = await house.room.calls.ListBalances(pb.ListBalancesRequest(), metadata=house.mine(user))
    (balance,) = answer.balances
    assert (balance.total, balance.computed_total, balance.difference) == ("999.91", "999.91", "0")
    assert not balance.HasField("difference_time")
    (account_now,) = answer.accounts
    assert (account_now.equity, account_now.unrealized_pnl, account_now.available) == ("1019.91", "20", "1008.91")
    states = await house.room.states.BatchGetAccountStates(
        state_pb.BatchGetAccountStatesRequest(account_ids=[account, *new_ids(1)])
    )
    (state,) = states.account_states
    assert (state.account, state.positions[0].size, states.log_sequence) == (account_now, "2", 3)


async def test_holes_floods_and_a_lost_stream_change_nothing(house: House) -> None:
    user, account = new_ids(2)
    house.street.set("BTC-PERP", "100")
    await house.writer.write(user, fill(account, "buy", "1", "100"))
    await house.writer.write(user, *[fill(account, "buy", "1", "100") for _ in range(1_200)], told=False)
    await house.writer.write(user, fill(account, "buy", "1", "100"))
    await house.caught_up()
    assert house.writer.reads
    await house.writer.write(user, fill(account, "sell", "2", "100"))
    await house.caught_up()
    await house.writer.write(user, fill(account, "sell", "100", "100"), told=False)
    await house.writer.flush()
    await house.caught_up()  # the source is asked though the stream is silent
    (one,) = await positions(house, user)
    assert one.size == "1100"


async def test_a_fill_told_twice_counts_once(house: House) -> None:
    user, account = new_ids(2)
    house.street.set("BTC-PERP", "100")
    same = fill(account, "buy", "1", "100")
    await house.writer.write(user, same, same)
    await house.writer.write(user, same)
    await house.caught_up()
    (one,) = await positions(house, user)
    assert one.size == "1"


async def test_the_room_resumes_where_it_was_killed(house: House) -> None:
    user, account = new_ids(2)
    house.street.set("BTC-PERP", "100")
    await house.writer.write(user, fill(account, "buy", "1", "100"))
    await house.caught_up()
    await house.room.kill()
    await house.writer.write(user, fill(account, "buy", "1", "100"), fill(account, "sell", "5", "101"))
    await house.room.start()
    await house.caught_up()
    (one,) = await positions(house, user)
    assert (one.size, one.entry_price) == ("-3", "101")
    await house.room.close()
    await house.room.start()


async def test_what_a_venue_reports_otherwise_is_noticed_and_explained(house: House) -> None:
    user, account = new_ids(2)
    house.street.set("BTC-PERP", "100")
    await house.writer.write(user, fill(account, "buy", "1", "100"))
    held = {"market": "BTC-PERP", "size": "3", "entry_price": "100"}
    await house.writer.write(user, observed(account, at=minutes(1), positions=[held]))
    await house.caught_up()
    (one,) = await positions(house, user)
    (difference,) = one.differences
    assert (difference.field, difference.computed_value, difference.reported_value) == ("size", "1", "3")
    assert difference.since_time.ToDatetime() == minutes(1).replace(tzinfo=None)
    await house.writer.write(user, fill(account, "buy", "2", "100", at=minutes(0)))  # the missing fill, late
    await house.writer.write(user, observed(account, at=minutes(2), positions=[held]))
    await house.caught_up()
    (one,) = await positions(house, user)
    assert not one.differences
    assert one.size == "3"
    answer = await house.room.calls.ListPositionHistory(
        pb.ListPositionHistoryRequest(include_events=True), metadata=house.mine(user)
    )
    (record,) = answer.records
    kinds = position_record_pb2.PositionEvent
    assert [event.kind for event in record.events] == [
        kinds.KIND_RECONCILIATION, kinds.KIND_FILL, kinds.KIND_RECONCILIATION, kinds.KIND_FILL,
    ]  # fmt: skip
    assert record.events[2].explanation.startswith("The venue reports 3, and the fills of our log come to 1.")
    assert record.events[0].explanation == "The venue and our log agree again on 3, after 60 s."


async def test_other_users_see_nothing(house: House) -> None:
    user, other, account = new_ids(3)
    house.street.set("BTC-PERP", "100")
    await house.writer.write(
        user, fill(account, "buy", "1", "100"), observed(account, balances=[{"asset": "USDC", "total": "5"}])
    )
    await house.caught_up()
    theirs = house.mine(other)
    calls = house.room.calls
    assert not (await calls.ListPositions(pb.ListPositionsRequest(account_ids=[account]), metadata=theirs)).positions
    assert not (await calls.ListBalances(pb.ListBalancesRequest(account_ids=[account]), metadata=theirs)).balances
    (mine,) = await positions(house, user)
    asked = pb.ListPositionHistoryRequest(position_id=mine.position_id)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await calls.ListPositionHistory(asked, metadata=theirs)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert len((await calls.ListPositionHistory(asked, metadata=house.mine(user))).records) == 1


async def test_pages_are_whole_and_their_tokens_are_the_callers(house: House) -> None:
    user, other, *accounts = new_ids(12)
    for market in ("BTC-PERP", "ETH-PERP"):
        house.street.set(market, "100")
    await house.writer.write(
        user,
        *[fill(one, "buy", "1", "100", market=market) for one in accounts for market in ("ETH-PERP", "BTC-PERP")],
    )
    await house.caught_up()
    seen: list[tuple[str, str, str]] = []
    token = ""
    while True:
        answer = await house.room.calls.ListPositions(
            pb.ListPositionsRequest(page_size=3, page_token=token), metadata=house.mine(user)
        )
        seen += [(one.market, one.venue, one.account_id) for one in answer.positions]
        last, token = token, answer.next_page_token
        if not token:
            break
    assert seen == sorted(seen)
    assert len(seen) == 20
    with pytest.raises(grpc.aio.AioRpcError):
        await house.room.calls.ListPositions(pb.ListPositionsRequest(page_token=last), metadata=house.mine(other))


async def test_watching_shows_every_fill_and_moves_with_the_mark(house: House) -> None:
    user, account = new_ids(2)
    house.street.set("BTC-PERP", "100")
    await house.writer.write(user, fill(account, "buy", "1", "100"))
    await house.caught_up()
    stream = house.room.calls.WatchPositions(pb.WatchPositionsRequest(), metadata=house.mine(user))
    first = await stream.read()
    assert (first.position.size, first.cursor) == ("1", "1")
    assert (await stream.read()).HasField("live")
    await house.writer.write(user, *[fill(account, "buy", "1", "100") for _ in range(5)])
    sizes = []
    async with asyncio.timeout(10):
        while len(sizes) < 5:
            message = await stream.read()
            if message.position.size != "1":
                sizes.append(message.position.size)
    assert sizes == ["2", "3", "4", "5", "6"]
    house.street.set("BTC-PERP", "120")
    async with asyncio.timeout(10):
        while (message := await stream.read()).position.mark_price != "120":
            pass
    assert (message.position.unrealized_pnl, message.cursor) == ("120", "6")
    stream.cancel()
    await house.writer.write(user, fill(account, "sell", "6", "120"))
    await house.caught_up()
    again = house.room.calls.WatchPositions(pb.WatchPositionsRequest(cursor="6"), metadata=house.mine(user))
    closed = await again.read()
    assert (closed.position.size, closed.position.realized_pnl, closed.cursor) == ("0", "120", "7")
    assert (await again.read()).HasField("live")
    again.cancel()
