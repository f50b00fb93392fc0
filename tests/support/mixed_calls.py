"""The calls of a steady load: of everybody, and of somebody who owns an account, places orders and cancels them."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable
from typing import Any

import grpc
from perpmesh.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from perpmesh.execution.v1 import execution_service_pb2 as execution
from perpmesh.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub
from perpmesh.marketdata.v1 import market_data_service_pb2 as market_data
from perpmesh.marketdata.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from perpmesh.portfolio.v1 import portfolio_service_pb2 as portfolio
from perpmesh.portfolio.v1.portfolio_service_pb2_grpc import PortfolioServiceStub
from perpmesh.routing.v1.routing_service_pb2_grpc import RoutingServiceStub
from perpmesh.type.v1 import order_type_pb2, side_pb2
from perpmesh.vault.v1 import vault_service_pb2 as vault
from perpmesh.vault.v1.vault_service_pb2_grpc import VaultServiceStub
from perpmesh_client.quotes import route

from tests.support.auth import bearer, sign_in
from tests.support.vault import own
from tests.support.wallet import Wallet

MARKETS = ("BTC-PERP", "ETH-PERP", "SOL-PERP", "HYPE-PERP", "XRP-PERP", "DOGE-PERP")
WALLET = "0x52908400098527886E0F7030069857D2E4169EE7"
TIMEOUT_S = 10.0


class Mix:
    """Calls by number, over one of two channels; every fifth is of the owner, where there is one."""

    def __init__(self, channels: list[grpc.aio.Channel]) -> None:
        self._prices: list[Any] = [MarketDataServiceStub(one) for one in channels]  # type: ignore[no-untyped-call]
        self._auths: list[Any] = [auth_service_pb2_grpc.AuthServiceStub(one) for one in channels]  # type: ignore[no-untyped-call]
        self._channel = channels[0]
        self._metadata: Any = None

    async def sign_in(self) -> None:
        """Become somebody who may trade."""
        wallet, channel = Wallet(), self._channel
        self._metadata = bearer((await sign_in(self._auths[0], wallet)).access_token)
        self._vault: Any = VaultServiceStub(channel)  # type: ignore[no-untyped-call]
        self._execution: Any = ExecutionServiceStub(channel)  # type: ignore[no-untyped-call]
        self._portfolio: Any = PortfolioServiceStub(channel)  # type: ignore[no-untyped-call]
        self._routing: Any = RoutingServiceStub(channel)  # type: ignore[no-untyped-call]
        token = self._metadata[0][1].partition(" ")[2]
        owner = await own(self._vault, wallet, token, "hyperliquid", default=True)
        await owner.fund()
        await owner.complete(await owner.begin())

    def call(self, number: int) -> tuple[str, Awaitable[Any]]:
        """Begin a call; return its name, and what awaits its answer."""
        if self._metadata is not None and number % 5 == 4:
            return self._owned(number // 5)
        market, stub, auth = MARKETS[number % len(MARKETS)], self._prices[number % 2], self._auths[number % 2]
        if number % 20 == 7:
            wanted = auth_service_pb2.CreateChallengeRequest(address=WALLET, chain_id=1)
            return "CreateChallenge", auth.CreateChallenge(wanted, timeout=TIMEOUT_S)
        if number % 20 == 13:
            return "GetJwks", auth.GetJwks(auth_service_pb2.GetJwksRequest(), timeout=TIMEOUT_S)
        if number % 5 == 0:
            book = market_data.GetOrderBookRequest(market=market, depth=5)
            return "GetOrderBook", stub.GetOrderBook(book, timeout=TIMEOUT_S)
        return "GetPrice", stub.GetPrice(market_data.GetPriceRequest(market=market), timeout=TIMEOUT_S)

    def _owned(self, number: int) -> tuple[str, Awaitable[Any]]:
        mine = {"metadata": self._metadata, "timeout": TIMEOUT_S}
        match number % 10:
            case 0:
                return "PlaceOrder, CancelOrder", self._place_and_cancel()
            case 1 | 2:
                wish = route(MARKETS[number % len(MARKETS)], "buy", "1000", in_usd=True)
                return "QuoteRoute", self._routing.QuoteRoute(wish, timeout=TIMEOUT_S)
            case 3 | 4 | 5:
                return "ListAccounts", self._vault.ListAccounts(vault.ListAccountsRequest(), **mine)
            case 6 | 7:
                return "ListOrders", self._execution.ListOrders(execution.ListOrdersRequest(page_size=5), **mine)
            case _:
                return "ListBalances", self._portfolio.ListBalances(portfolio.ListBalancesRequest(), **mine)

    async def _place_and_cancel(self) -> None:
        """Rest an order far below the market, and take it back."""
        wanted = execution.PlaceOrderRequest(
            request_id=str(uuid.uuid4()),
            market="ETH-PERP",
            side=side_pb2.SIDE_BUY,
            size="0.05",
            type=order_type_pb2.ORDER_TYPE_LIMIT,
            limit_price="2000",
            venue="hyperliquid",
        )
        mine = {"metadata": self._metadata, "timeout": TIMEOUT_S}
        order = (await self._execution.PlaceOrder(wanted, **mine)).order
        wish = execution.CancelOrderRequest(order_id=order.order_id)
        await self._execution.CancelOrder(wish, **mine)
