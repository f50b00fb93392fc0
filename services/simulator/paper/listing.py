"""What the live venues list, as a catalog. Pure; `source` asks for the answers that are read here.

Only perpetuals: spot orders are refused by the simulator anyway. Delisted contracts keep their places, since
Hyperliquid numbers assets by place. Figures that no answer holds begin as the mark price and are told by the tape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from services.simulator.catalog import Asset, Catalog, Dex, HyperliquidListing, LighterListing, MarginTable

Json = object
SPOT_FROM = 2048
"""Lighter numbers its spot markets from here."""


class ListingError(ValueError):
    """A venue's answer is not the listing that its documentation describes."""


def catalog(dexes: Json, metas: Sequence[tuple[str, Json]], details: Json) -> Catalog:
    """Return what both venues list.

    `dexes` is Hyperliquid's `perpDexs`, `metas` its `metaAndAssetCtxs` by dex, `details` Lighter's
    `orderBookDetails`. Raises `ListingError` that names the answer.
    """
    tables: dict[int, MarginTable] = {}
    collateral: dict[str, int] = {}
    assets: list[Asset] = []
    try:
        listings = [
            listing for dex, body in metas for listing in _dex(dex, body, assets, tables, collateral)
        ]  # fmt: skip
        builders = tuple(
            Dex(str(row["name"]), str(row.get("fullName", "")), collateral.get(str(row["name"]), 0))
            for row in _rows(dexes)
        )
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise ListingError(f"Hyperliquid's universe cannot be read: {type(error).__name__} {error}") from None
    try:
        markets = sorted((_lighter(row, assets) for row in _rows(_field(details, "order_book_details"))
                          if int(str(row["market_id"])) < SPOT_FROM), key=lambda item: item.market_id)  # fmt: skip
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise ListingError(f"Lighter's orderBookDetails cannot be read: {type(error).__name__} {error}") from None
    return Catalog(tuple(assets), tuple(listings), tuple(markets), builders, tables, invented=False)


def most_traded(listed: Catalog, venue: str, count: int) -> list[str]:
    """Return the names of the contracts with the most volume in dollars, at most `count`."""
    volume = {asset.name: asset.daily_volume_usd for asset in listed.assets}
    found: list[tuple[int, str]] = []
    if venue == "hyperliquid":
        found = [(volume[item.asset], item.coin) for item in listed.hyperliquid if not item.delisted]
    else:
        found = [(volume[item.asset], str(item.market_id)) for item in listed.lighter if item.active]
    return [name for _, name in sorted(found, key=lambda row: -row[0])[:count]]


def _dex(
    dex: str, body: Json, assets: list[Asset], tables: dict[int, MarginTable], collateral: dict[str, int]
) -> list[HyperliquidListing]:
    if not isinstance(body, (list, tuple)) or len(body) != 2:
        raise ListingError(f"metaAndAssetCtxs of {dex or 'the first dex'} is no pair")
    meta, contexts = body
    collateral[dex] = int(str(_field(meta, "collateralToken", 0) or 0))
    for number, table in _pairs(_field(meta, "marginTables", [])):
        tiers = tuple((str(tier["lowerBound"]), int(str(tier["maxLeverage"])))
                      for tier in _rows(_field(table, "marginTiers")))  # fmt: skip
        tables[int(str(number))] = (str(_field(table, "description", "")), tiers)
    found = []
    for row, context in zip(_rows(_field(meta, "universe")), _rows(contexts), strict=True):
        coin = str(row["name"])
        name = f"hyperliquid:{coin}"
        assets.append(_asset(name, context.get("markPx"), context.get("dayNtlVlm")))
        isolated = bool(row.get("onlyIsolated"))
        found.append(HyperliquidListing(
            asset=name, coin=coin, dex=dex, size_decimals=int(str(row["szDecimals"])),
            max_leverage=int(str(row["maxLeverage"])),
            margin_table=int(str(row.get("marginTableId", row["maxLeverage"]))),
            delisted=bool(row.get("isDelisted")),
            margin_mode=str(row.get("marginMode", "noCross")) if isolated else None,
        ))  # fmt: skip
    return found


def _lighter(row: Mapping[str, Json], assets: list[Asset]) -> LighterListing:
    name = f"lighter:{row['market_id']}"
    assets.append(_asset(name, row.get("mark_price") or row.get("last_trade_price"),
                         row.get("daily_quote_token_volume")))  # fmt: skip
    margin = [int(str(row[f"{kind}_margin_fraction"]))
              for kind in ("default_initial", "min_initial", "maintenance", "closeout")]  # fmt: skip
    return LighterListing(
        asset=name, symbol=str(row["symbol"]), market_id=int(str(row["market_id"])),
        size_decimals=int(str(row["supported_size_decimals"])),
        price_decimals=int(str(row["supported_price_decimals"])),
        min_base=str(row["min_base_amount"]), margin=(margin[0], margin[1], margin[2], margin[3]),
        quote_limit=str(row["order_quote_limit"]), base_interest=str(row.get("base_interest_rate", "0.0100")),
        active=row.get("status") == "active",
    )  # fmt: skip


def _asset(name: str, mark: Json, volume: Json) -> Asset:
    price = float(Decimal(str(mark or "1")))
    dollars = int(Decimal(str(volume or "0")))
    return Asset(name=name, price=price or 1.0, daily_volatility=0.0, pace="slow", daily_volume_usd=dollars)


def _field(body: Json, name: str, default: Json = None) -> Json:
    if not isinstance(body, dict) or (default is None and name not in body):
        raise ListingError(f"{name} is missing")
    return body.get(name, default)


def _rows(value: Json) -> list[Mapping[str, Json]]:
    """Return the objects of a list; Hyperliquid's list of dexes begins with null."""
    if not isinstance(value, (list, tuple)):
        raise ListingError(f"{str(value)[:60]!r} is no list")
    return [row for row in value if isinstance(row, dict)]


def _pairs(value: Json) -> list[tuple[Json, Json]]:
    if not isinstance(value, (list, tuple)):
        raise ListingError(f"{str(value)[:60]!r} is no list of pairs")
    return [(row[0], row[1]) for row in value]
