"""What an owner has in the portfolio: written by the room's own fold and store, as the log would make it.

It is written beside the log, without moving the cursor, so that it needs no execution and troubles none that runs.
"""

from __future__ import annotations

import dataclasses
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from perpmesh.auth.v1 import auth_service_pb2 as auth_pb
from perpmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from perpmesh.portfolio.v1 import analytics_service_pb2 as analytics_pb
from perpmesh.portfolio.v1 import portfolio_service_pb2 as pb

from services.chassis.config import load
from services.chassis.postgres import Database, PostgresConfig
from services.portfolio.model.account import Account, Changes, Known
from services.portfolio.model.fold import fold
from services.portfolio.model.values import (
    Environment,
    Fill,
    LogEntry,
    Observation,
    Payment,
    ReportedBalance,
    Transfer,
    TransferKind,
)
from services.portfolio.store.ledger import PostgresLedger
from tests.support.owned import Owner, Step

MARKET = "BTC-PERP"


async def own(owner: Owner) -> list[Step]:
    """Give the owner an account with a position, a payment and a transfer."""
    user = (await AuthServiceStub(owner.channel).GetUser(auth_pb.GetUserRequest(), metadata=owner.metadata)).user
    account_id, now = uuid.uuid4(), datetime.now(UTC) - timedelta(hours=1)
    fill = Fill(
        fill_id=uuid.uuid4(), order_id="", account_id=account_id, venue="hyperliquid", market=MARKET, size=Decimal(-1),
        price=Decimal(100), time=now,
    )  # fmt: skip
    payment = Payment(
        payment_id=uuid.uuid4(), market=MARKET, amount=Decimal(-1), rate=Decimal("0.0001"), position_size=Decimal(1),
        time=now + timedelta(minutes=1),
    )  # fmt: skip
    transfer = Transfer(
        transfer_id=uuid.uuid4(), venue_transfer_id="1", kind=TransferKind.DEPOSIT, asset="USDC", amount=Decimal(5),
        fee=Decimal(0), counterparty="", time=now,
    )  # fmt: skip
    seen = Observation(
        account_id=account_id, venue="hyperliquid", environment=Environment.SIMULATED, received=now,
        balances=(ReportedBalance(asset="USDC", total=Decimal(10**6)),), payments=(payment,), transfers=(transfer,),
    )  # fmt: skip
    changes = await _write(owner, uuid.UUID(user.user_id), fill, seen)
    (position_id,) = changes.lives
    account, position = str(account_id), str(position_id)
    shows = {"shows": (account,)}
    estimate = pb.EstimateLiquidationRequest(account_id=account, market=MARKET)
    return [
        Step("ListPositions", pb.ListPositionsRequest(), shows=(account, position)),
        Step("WatchPositions", pb.WatchPositionsRequest(), shows=(account, position)),
        Step(
            "ListPositionHistory", pb.ListPositionHistoryRequest(position_id=position), shows=(position,),
            hides=(position,),
        ),
        Step("ListBalances", pb.ListBalancesRequest(account_ids=[account]), **shows),
        Step("WatchBalances", pb.WatchBalancesRequest(), **shows),
        Step("ListTransfers", pb.ListTransfersRequest(), shows=(account, str(transfer.transfer_id))),
        Step("ListFundingPayments", pb.ListFundingPaymentsRequest(), shows=(account, str(payment.payment_id))),
        Step("GetExposure", pb.GetExposureRequest(), shows=(account, position)),
        Step("EstimateLiquidation", estimate, hides=(account,)),
        Step("GetPerformance", analytics_pb.GetPerformanceRequest()),
        Step("GetExecutionQuality", analytics_pb.GetExecutionQualityRequest()),
    ]  # fmt: skip


async def _write(owner: Owner, user_id: uuid.UUID, *what: Fill | Observation) -> Changes:
    about = owner.mesh.about
    config = load(PostgresConfig, {"PERPMESH_POSTGRES_URL": about["postgres_url"]})
    database = await Database.open("portfolio", dataclasses.replace(config, pool_max=1))
    try:
        ledger = PostgresLedger(database)
        while True:
            cursor, changes = await ledger.cursor(), Changes()
            accounts: dict[uuid.UUID, Account] = {}
            for one in what:
                entry = LogEntry(sequence=cursor, user_id=user_id, written=one_time(one), what=(one,))
                fold(entry, accounts, Known(), changes)
            if await ledger.write(changes, before=cursor, after=cursor):
                return changes
    finally:
        await database.close()


def one_time(what: Fill | Observation) -> datetime:
    """Return when something happened."""
    return what.time if isinstance(what, Fill) else what.received
