"""What somebody has at execution: an order that was filled at a simulated venue, and one that rests."""

from __future__ import annotations

import asyncio

from google.protobuf.duration_pb2 import Duration
from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1 import order_pb2, signable_pb2
from perpmesh.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub
from perpmesh.type.v1 import order_type_pb2, side_pb2
from perpmesh.vault.v1 import vault_service_pb2
from perpmesh.vault.v1.vault_service_pb2_grpc import VaultServiceStub

from tests.support import vault
from tests.support.callers import by_sdk
from tests.support.owned import Owner, Step

FILLED_S = 60.0


async def own(owner: Owner) -> list[Step]:
    """Add an account with a key, and trade with it until a fill is told."""
    stub = ExecutionServiceStub(owner.channel)
    mine = await _account(owner)
    request = pb.PlaceOrderRequest(
        request_id=owner.new_id(),
        market=vault.MARKET,
        side=side_pb2.SIDE_BUY,
        size="0.01",
        type=order_type_pb2.ORDER_TYPE_MARKET,
        account_ids=[mine.account_id],
    )
    async with asyncio.timeout(FILLED_S):
        while not (await stub.ListFills(pb.ListFillsRequest(), metadata=owner.metadata)).fills:
            order = (await stub.PlaceOrder(request, metadata=owner.metadata)).order
            if order.legs:
                await asyncio.sleep(0.1)
            else:
                request.request_id = owner.new_id()  # denied: the books were not there yet
    rests = pb.PlaceOrderRequest(
        request_id=owner.new_id(),
        market=vault.MARKET,
        side=side_pb2.SIDE_BUY,
        size="0.01",
        type=order_type_pb2.ORDER_TYPE_LIMIT,
        limit_price="50000",
        account_ids=[mine.account_id],
    )
    slices = pb.PlaceOrderRequest(
        request_id=owner.new_id(),
        market=vault.MARKET,
        side=side_pb2.SIDE_BUY,
        size="0.05",
        type=order_type_pb2.ORDER_TYPE_TWAP,
        account_ids=[mine.account_id],
        twap=order_pb2.Twap(duration=Duration(seconds=7_200)),
    )
    twap = (await stub.PlaceOrder(slices, metadata=owner.metadata)).order.order_id
    one = order.order_id
    other = (await stub.PlaceOrder(rests, metadata=owner.metadata)).order.order_id
    prepare = pb.PrepareOrderRequest(
        order=rests,
        signers=[signable_pb2.CallerSigner(account_id=mine.account_id, signer_address=owner.wallet.address)],
    )
    prepare.order.request_id = owner.new_id()
    prepared = await stub.PrepareOrder(prepare, metadata=owner.metadata)
    own_order = prepared.order.order_id
    signatures = [
        signable_pb2.LegSignature(leg_id=one.leg_id, signature=by_sdk(one, owner.wallet.secret))
        for one in prepared.signables
    ]
    submit = pb.SubmitOrderRequest(order_id=own_order, signatures=signatures)
    await stub.SubmitOrder(submit, metadata=owner.metadata)
    hedge = pb.PlaceHedgedOrderRequest(
        request_id=owner.new_id(),
        legs=[
            pb.PlaceHedgedOrderRequest.HedgeLeg(
                market=market,
                side=side,
                size="0.01",
                venue="hyperliquid",
                account_id=mine.account_id,
                limit_price=price,
            )
            for market, side, price in (
                (vault.MARKET, side_pb2.SIDE_BUY, "50000"),
                ("ETH-PERP", side_pb2.SIDE_SELL, "9000"),
            )
        ],
        rollback=order_pb2.Rollback(action=order_pb2.Rollback.ACTION_UNWIND),
    )
    both = (await stub.PlaceHedgedOrder(hedge, metadata=owner.metadata)).order.order_id
    new_terms = pb.ReplaceOrderRequest(order_id=other, request_id=owner.new_id(), limit_price="49000")
    rests.request_id = owner.new_id()
    batch = pb.BatchPlaceOrdersRequest(requests=[rests])
    return [
        Step("PreviewOrder", pb.PreviewOrderRequest(order=rests), hides=(mine.account_id,)),
        Step("PlaceOrder", request, shows=(one,), hides=(mine.account_id,)),
        Step("BatchPlaceOrders", batch),
        Step("PlaceHedgedOrder", hedge, shows=(both,), hides=(mine.account_id,)),
        Step("GetOrder", pb.GetOrderRequest(order_id=one), shows=(one,), hides=(one,)),
        Step("GetExecutionReport", pb.GetExecutionReportRequest(order_id=one), shows=(one,), hides=(one,)),
        Step("ListOrders", pb.ListOrdersRequest(), shows=(one,)),
        Step("WatchOrders", pb.WatchOrdersRequest()),
        Step("ListFills", pb.ListFillsRequest(), shows=(one,)),
        Step("WatchFills", pb.WatchFillsRequest(replay_count=5), shows=(one,)),
        Step("CancelOrder", pb.CancelOrderRequest(order_id=one), shows=(one,), hides=(one,)),
        Step("BatchCancelOrders", pb.BatchCancelOrdersRequest(order_ids=[one]), shows=(one,), hides=(one,)),
        Step("PauseOrder", pb.PauseOrderRequest(order_id=twap), shows=(twap,), hides=(twap,)),
        Step("ResumeOrder", pb.ResumeOrderRequest(order_id=twap), shows=(twap,), hides=(twap,)),
        Step("ReplaceOrder", new_terms, shows=(other,), hides=(other,)),
        Step(
            "SetLeverage",
            pb.SetLeverageRequest(account_id=mine.account_id, market=vault.MARKET, leverage=5),
            hides=(mine.account_id,),
        ),
        Step(
            "ArmCancelAll",
            pb.ArmCancelAllRequest(account_ids=[mine.account_id], disarm=True),
            hides=(mine.account_id,),
        ),
        Step(
            "GetVenueBudget",
            pb.GetVenueBudgetRequest(account_id=mine.account_id),
            hides=(mine.account_id,),
        ),
        Step("PrepareOrder", prepare, shows=(own_order,), hides=(mine.account_id,)),
        Step("SubmitOrder", submit, shows=(own_order,), hides=(own_order,)),
        Step("GetUsage", pb.GetUsageRequest()),
        Step("ClosePosition", pb.ClosePositionRequest(request_id=owner.new_id(), market=vault.MARKET)),
        Step("CancelAllOrders", pb.CancelAllOrdersRequest()),
    ]


async def _account(owner: Owner) -> vault.Owner:
    """Return the owner's account at Hyperliquid, with a key that trades."""
    stub = VaultServiceStub(owner.channel)
    listed = vault_service_pb2.ListAccountsRequest(venue="hyperliquid")
    for account in (await stub.ListAccounts(listed, metadata=owner.metadata)).accounts:
        mine = vault.Owner(stub, owner.wallet, owner.token, account)
        await mine.ready()
        return mine
    made = vault_service_pb2.CreateAccountRequest(
        request_id=owner.new_id(), venue="hyperliquid", environment=vault.SIMULATED, default=True
    )
    account = (await stub.CreateAccount(made, metadata=owner.metadata)).account
    mine = vault.Owner(stub, owner.wallet, owner.token, account)
    await mine.ready()
    return mine
