"""What somebody has in the portfolio: a position, a balance and what was paid, as execution's log tells it."""

from __future__ import annotations

import asyncio
import uuid

import redis.asyncio as redis
from perpmesh.auth.v1 import auth_service_pb2
from perpmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from perpmesh.execution.v1 import log_event_pb2
from perpmesh.portfolio.v1 import portfolio_service_pb2 as pb
from perpmesh.portfolio.v1.portfolio_service_pb2_grpc import PortfolioServiceStub

from services.portfolio.peers.log import STREAM
from tests.support.owned import Owner, Step
from tests.support.portfolio import fill, minutes, observed

HEARD_S = 20.0
LEFT_OUT: dict[str, str] = {}


async def own(owner: Owner) -> list[Step]:
    """Write fills and reports of an account of the owner's into the log, and wait until they are heard of."""
    user = await AuthServiceStub(owner.channel).GetUser(auth_service_pb2.GetUserRequest(), metadata=owner.metadata)
    account, first = str(uuid.uuid4()), minutes(1)
    told = [
        observed(account, balances=[{"asset": "USDC", "total": "1000"}]),
        fill(account, "buy", "3", "100", at=first),
        fill(account, "sell", "1", "110", at=minutes(2)),
    ]
    client = redis.Redis.from_url(owner.mesh.about["valkey_url"])
    last = await client.xrevrange(STREAM, count=1)
    number = int(last[0][0].split(b"-")[0]) if last else 0
    for message in told:
        number += 1
        event = log_event_pb2.LogEvent(sequence=number, user_id=user.user.user_id)
        if message.DESCRIPTOR.name == "Fill":
            event.fill_recorded.fill.CopyFrom(message)
        else:
            event.account_observed.CopyFrom(message)
        await client.xadd(STREAM, {"event": event.SerializeToString()}, id=f"{number}-0")
    await client.aclose()
    stub = PortfolioServiceStub(owner.channel)
    async with asyncio.timeout(HEARD_S):
        while not (await stub.ListPositions(pb.ListPositionsRequest(), metadata=owner.metadata)).positions:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    shows = (account,)
    estimate = pb.EstimateLiquidationRequest(account_id=account, market="BTC-PERP")
    return [
        Step("ListPositions", pb.ListPositionsRequest(), shows=shows),
        Step("WatchPositions", pb.WatchPositionsRequest(), shows=shows),
        Step("ListPositionHistory", pb.ListPositionHistoryRequest()),
        Step("ListBalances", pb.ListBalancesRequest(), shows=shows),
        Step("WatchBalances", pb.WatchBalancesRequest(), shows=shows),
        Step("ListTransfers", pb.ListTransfersRequest()),
        Step("GetExposure", pb.GetExposureRequest()),
        Step("EstimateLiquidation", estimate, hides=shows),
        Step("ListFundingPayments", pb.ListFundingPaymentsRequest()),
    ]
