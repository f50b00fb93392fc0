"""The Python client of Perpmesh: real-time perpetual futures over every venue, as one market.

    import asyncio
    from perpmesh_client import Perpmesh

    async def main() -> None:
        async with Perpmesh("127.0.0.1:8080") as mesh:
            async for price in mesh.watch_prices("BTC-PERP", "ETH-PERP"):
                print(price.market, price.best_bid, price.best_ask)

    asyncio.run(main())

Everything public is named here, and is imported when it is first used: the command line starts without gRPC.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perpmesh_client.client import DEFAULT_ADDRESS, Perpmesh
    from perpmesh_client.errors import FieldViolation, GapError, PerpmeshError
    from perpmesh_client.login import CallbackWallet, KeyWallet, Login, Wallet
    from perpmesh_client.orders import Orders
    from perpmesh_client.portfolio import Portfolio
    from perpmesh_client.quotes import Quotes
    from perpmesh_client.stream import Status, Watch
    from perpmesh_client.tuning import Tuning
    from perpmesh_client.values.book import BookLevel, BookVersion, LocalBook, OrderBook, VenueSize
    from perpmesh_client.values.funding import FundingRate, VenueFunding
    from perpmesh_client.values.history import Candle, FundingPoint, Interval, PricePoint
    from perpmesh_client.values.market import LeverageTier, Listing, Market
    from perpmesh_client.values.price import BestLevel, Price, VenuePrice
    from perpmesh_client.values.states import BreakerState, Feed, ListingStatus, Side, Source, State
    from perpmesh_client.values.to_json import to_json
    from perpmesh_client.values.trade import Gap, Trade
    from perpmesh_client.values.venue import Breaker, Connection, FeedCounts, Limit, Venue
    from perpmesh_client.vault import Vault

_HOMES = {
    "client": ("DEFAULT_ADDRESS", "Perpmesh"),
    "errors": ("FieldViolation", "GapError", "PerpmeshError"),
    "login": ("CallbackWallet", "KeyWallet", "Login", "Wallet"),
    "orders": ("Orders",),
    "portfolio": ("Portfolio",),
    "quotes": ("Quotes",),
    "stream": ("Status", "Watch"),
    "tuning": ("Tuning",),
    "values.book": ("BookLevel", "BookVersion", "LocalBook", "OrderBook", "VenueSize"),
    "values.funding": ("FundingRate", "VenueFunding"),
    "values.history": ("Candle", "FundingPoint", "Interval", "PricePoint"),
    "values.market": ("LeverageTier", "Listing", "Market"),
    "values.price": ("BestLevel", "Price", "VenuePrice"),
    "values.states": ("BreakerState", "Feed", "ListingStatus", "Side", "Source", "State"),
    "values.to_json": ("to_json",),
    "values.trade": ("Gap", "Trade"),
    "values.venue": ("Breaker", "Connection", "FeedCounts", "Limit", "Venue"),
    "vault": ("Vault",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__version__ = "0.1.0"
__all__ = [
    "DEFAULT_ADDRESS",
    "BestLevel",
    "BookLevel",
    "BookVersion",
    "Breaker",
    "BreakerState",
    "CallbackWallet",
    "Candle",
    "Connection",
    "Feed",
    "FeedCounts",
    "FieldViolation",
    "FundingPoint",
    "FundingRate",
    "Gap",
    "GapError",
    "Interval",
    "KeyWallet",
    "LeverageTier",
    "Limit",
    "Listing",
    "ListingStatus",
    "LocalBook",
    "Login",
    "Market",
    "OrderBook",
    "Orders",
    "Perpmesh",
    "PerpmeshError",
    "Portfolio",
    "Price",
    "PricePoint",
    "Quotes",
    "Side",
    "Source",
    "State",
    "Status",
    "Trade",
    "Tuning",
    "Vault",
    "Venue",
    "VenueFunding",
    "VenuePrice",
    "VenueSize",
    "Wallet",
    "Watch",
    "to_json",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"perpmesh_client has no {name!r}")
    value: object = getattr(import_module(f"perpmesh_client.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
