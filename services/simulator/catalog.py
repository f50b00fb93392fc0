"""What both venues list: static facts, typical of late 2026, no live data.

An `Asset` is the thing that has one reference price; a listing is one venue's contract on it. Names, Lighter market
ids and decimals follow captured venue metadata; prices, volumes and margin figures are plausible, not quoted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Pace = Literal["major", "mid", "slow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One underlying: its starting price in dollars, its daily volatility, its trading pace and daily volume."""

    name: str
    price: float
    daily_volatility: float
    pace: Pace
    daily_volume_usd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HyperliquidListing:
    """A Hyperliquid contract; `dex` is empty for the venue's own perpetuals and for spot."""

    asset: str
    coin: str
    dex: str
    size_decimals: int
    max_leverage: int
    margin_table: int
    delisted: bool = False
    margin_mode: str | None = None
    spot_index: int | None = None

    @property
    def price_decimals(self) -> int:
        """Six less the size decimals for a perpetual, eight less for spot."""
        return (6 if self.spot_index is None else 8) - self.size_decimals


@dataclass(frozen=True, slots=True, kw_only=True)
class LighterListing:
    """A Lighter market; margin fractions are in 1e-4: default initial, least initial, maintenance, close-out."""

    asset: str
    symbol: str
    market_id: int
    size_decimals: int
    price_decimals: int
    min_base: str
    margin: tuple[int, int, int, int]
    quote_limit: str
    base_interest: str
    active: bool = True

    @property
    def spot(self) -> bool:
        """Spot markets are numbered from 2048."""
        return self.market_id >= 2048


@dataclass(frozen=True, slots=True)
class Dex:
    """A builder-deployed dex (HIP-3) of Hyperliquid and the token its contracts are settled in."""

    name: str
    full_name: str
    collateral_token: int


DEXES = (Dex("xyz", "XYZ", 0), Dex("flx", "Felix Exchange", 360))

# name, price, daily volatility %, pace, volume in millions, then
# Hyperliquid: coin, size decimals, max leverage, margin table (- for not listed)
# Lighter: market id, symbol, size decimals, price decimals, least base size, least initial margin (- for not listed)
_TABLE = """
BTC      84143     2.2 major 4100 BTC 5 40 56      1 BTC 5 1 0.00020 200
ETH      2824.6    3.0 major 2300 ETH 4 25 55      0 ETH 4 2 0.0050 200
ATOM     2.5172    4.0 slow  12   ATOM 2 5 5       -
MATIC    0.37621   0.0 slow  0    MATIC 1 20 20    -
DYDX     0.31      5.0 slow  9    DYDX 1 5 5       62 DYDX 1 5 15.0 1000
SOL      133.42    3.6 major 900  SOL 2 20 54      2 SOL 3 3 0.050 400
AVAX     13.552    4.4 mid   60   AVAX 2 10 52     9 AVAX 2 4 0.50 1000
BNB      842.3     2.5 mid   90   BNB 3 10 51      25 BNB 2 4 0.02 500
OP       0.3141    5.0 slow  11   OP 1 5 5         55 OP 1 5 10.0 1000
LTC      84.21     3.4 mid   30   LTC 2 10 52      35 LTC 3 3 0.100 1000
ARB      0.2143    5.0 slow  22   ARB 1 10 51      50 ARB 1 5 20.0 1000
DOGE     0.14562   4.2 mid   210  DOGE 0 10 52     3 DOGE 0 6 10 1000
SUI      1.5263    4.8 mid   120  SUI 1 10 52      16 SUI 1 5 3.0 1000
kPEPE    0.004411  5.5 mid   80   kPEPE 0 10 52    4 1000PEPE 0 6 500 1000
CRV      0.41562   5.0 slow  20   CRV 1 10 52      36 CRV 1 5 35.0 1000
LINK     12.845    4.0 mid   70   LINK 1 10 52     8 LINK 1 5 1.0 1000
XRP      2.1462    3.6 mid   320  XRP 0 20 53      7 XRP 0 6 20 500
BCH      531.2     3.5 slow  18   BCH 3 10 10      58 BCH 3 3 0.010 1000
APT      2.8821    4.6 slow  24   APT 2 10 52      31 APT 2 4 2.00 1000
AAVE     172.33    4.2 mid   50   AAVE 2 10 52     27 AAVE 3 3 0.050 1000
WLD      0.63121   5.2 slow  26   WLD 1 10 52      6 WLD 1 5 5.0 1000
TRX      0.28141   1.6 slow  14   TRX 0 10 51      43 TRX 1 5 40.0 1000
kSHIB    0.008532  4.2 slow  10   kSHIB 0 10 51    17 1000SHIB 0 6 500 1000
UNI      6.3112    4.6 slow  28   UNI 1 10 52      30 UNI 2 4 1.00 1000
SEI      0.13881   5.0 slow  13   SEI 0 10 10      32 SEI 1 5 50.0 1000
TIA      0.61021   5.5 slow  16   TIA 1 10 10      67 TIA 1 5 3.0 1000
NEAR     1.9021    4.8 slow  30   NEAR 1 10 52     10 NEAR 1 5 2.0 1000
kBONK    0.009641  5.2 slow  15   kBONK 0 10 52    18 1000BONK 0 6 500 1000
PENDLE   2.1151    5.0 slow  8    PENDLE 0 5 5     37 PENDLE 2 4 3.00 2000
ADA      0.42133   4.0 mid   60   ADA 0 10 52      39 ADA 1 5 10.0 1000
TON      1.5223    3.8 slow  10   TON 1 10 51      12 TON 1 5 2.0 1000
DOT      2.3311    4.2 slow  16   DOT 1 10 51      11 DOT 1 5 2.0 1000
ONDO     0.50231   4.6 slow  14   ONDO 0 10 51     38 ONDO 1 5 10.0 1000
ENA      0.26412   5.8 mid   60   ENA 0 10 52      29 ENA 1 5 20.0 1000
JUP      0.23511   5.0 slow  12   JUP 0 10 51      26 JUP 1 5 15.0 1000
HYPE     39.935    4.6 major 700  HYPE 2 10 52     24 HYPE 2 4 0.15 500
TRUMP    6.5521    5.0 slow  22   TRUMP 1 10 52    15 TRUMP 2 4 0.20 1000
FARTCOIN 0.31221   7.0 mid   50   FARTCOIN 1 10 52 21 FARTCOIN 1 5 20.0 1000
PUMP     0.002912  7.0 mid   70   PUMP 0 10 52     45 PUMP 0 6 2000 1000
ZEC      512.44    6.0 mid   260  ZEC 2 10 52      90 ZEC 3 3 0.100 1000
PAXG     4212.3    0.9 slow  20   PAXG 3 10 51     48 PAXG 4 2 0.0025 1000
TSLA     391.24    3.2 slow  60   xyz:TSLA 3 10 10      112 TSLA 4 2 0.0200 1000
NVDA     178.85    2.8 slow  80   xyz:NVDA 3 20 20      110 NVDA 3 3 0.050 1000
GOOGL    332.82    2.0 slow  12   xyz:GOOGL 3 10 10     116 GOOGL 4 2 0.0300 1000
SP500    7673.3    1.0 slow  150  xyz:SP500 3 25 25     -
SILVER   50.102    2.4 slow  90   xyz:SILVER 2 20 20    93 XAG 2 4 0.15 1000
GOLD     4065.1    1.0 slow  60   xyz:GOLD 4 20 20      92 XAU 4 2 0.0030 500
CRCL     71.32     4.0 slow  2    flx:CRCL 3 5 5        -
COIN     243.51    4.0 slow  6    flx:COIN 3 10 10      109 COIN 3 3 0.025 1000
HOOD     112.22    4.0 slow  8    -                     108 HOOD 3 3 0.100 1000
EURUSD   1.15142   0.4 slow  20   -                     96 EURUSD 1 5 10.0 200
USDJPY   156.412   0.5 slow  25   -                     98 USDJPY 3 3 0.050 200
RESOLV   0.06121   6.0 slow  3    -                     51 RESOLV 0 6 40 2000
HYUNDAI  264000    0.0 slow  0    -                     141 HYUNDAI 6 0 0.000010 2000
PURR     0.067131  5.0 slow  1    -                     -
"""

STRICTLY_ISOLATED = frozenset({"xyz:TSLA", "xyz:NVDA", "xyz:GOOGL", "flx:CRCL", "flx:COIN"})
DELISTED = frozenset({"MATIC"})
INACTIVE = frozenset({"HYUNDAI"})
_STOCKLIKE = frozenset({"TSLA", "NVDA", "GOOGL", "XAU", "XAG", "COIN", "HOOD", "EURUSD", "USDJPY", "HYUNDAI"})

# Spot pairs that Hyperliquid's own client needs to know; token 0 is USDC.
_SPOT = (
    HyperliquidListing(
        asset="PURR", coin="PURR/USDC", dex="", size_decimals=0, max_leverage=1, margin_table=0, spot_index=0
    ),
    HyperliquidListing(
        asset="HYPE", coin="@107", dex="", size_decimals=2, max_leverage=1, margin_table=0, spot_index=107
    ),
)
_LIGHTER_SPOT = LighterListing(
    asset="ETH", symbol="ETH/USDC", market_id=2048, size_decimals=4, price_decimals=2, min_base="0.0050",
    margin=(0, 0, 0, 0), quote_limit="2500000.000000", base_interest="0.0000",
)  # fmt: skip


MarginTable = tuple[str, tuple[tuple[str, int], ...]]
"""A description and (lower bound in dollars, leverage) tiers."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything listed, in each venue's own order; `invented` says whether market and past are made up here."""

    assets: tuple[Asset, ...]
    hyperliquid: tuple[HyperliquidListing, ...]
    lighter: tuple[LighterListing, ...]
    dexes: tuple[Dex, ...]
    margin_tables: Mapping[int, MarginTable]
    invented: bool = True


def load() -> Catalog:
    """Read the table above."""
    assets: list[Asset] = []
    hyperliquid: list[HyperliquidListing] = []
    lighter: list[LighterListing] = []
    for line in _TABLE.strip().splitlines():
        words = line.split()
        assets.append(_asset(words))
        rest = words[5:]
        if rest[0] == "-":
            rest = rest[1:]
        else:
            hyperliquid.append(_hyperliquid(words[0], rest))
            rest = rest[4:]
        if rest[0] != "-":
            lighter.append(_lighter(words[0], rest))
    lighter.append(_LIGHTER_SPOT)
    by_id = tuple(sorted(lighter, key=lambda x: x.market_id))
    return Catalog(tuple(assets), tuple(hyperliquid) + _SPOT, by_id, DEXES, MARGIN_TABLES)


def _asset(words: list[str]) -> Asset:
    pace: Pace = "major" if words[3] == "major" else "mid" if words[3] == "mid" else "slow"
    return Asset(
        name=words[0],
        price=float(words[1]),
        daily_volatility=float(words[2]) / 100,
        pace=pace,
        daily_volume_usd=int(words[4]) * 1_000_000,
    )


def _hyperliquid(asset: str, words: list[str]) -> HyperliquidListing:
    coin = words[0]
    return HyperliquidListing(
        asset=asset,
        coin=coin,
        dex=coin.partition(":")[0] if ":" in coin else "",
        size_decimals=int(words[1]),
        max_leverage=int(words[2]),
        margin_table=int(words[3]),
        delisted=coin in DELISTED,
        margin_mode="strictIsolated" if coin in STRICTLY_ISOLATED else None,
    )


def _lighter(asset: str, words: list[str]) -> LighterListing:
    least = int(words[5])
    stocklike = words[1] in _STOCKLIKE
    return LighterListing(
        asset=asset,
        symbol=words[1],
        market_id=int(words[0]),
        size_decimals=int(words[2]),
        price_decimals=int(words[3]),
        min_base=words[4],
        margin=(max(500, least), least, least * 6 // 10, least * 4 // 10),
        quote_limit="5000000.000000" if stocklike else "281474976.710655",
        base_interest="0.0032" if stocklike else "0.0100",
        active=words[1] not in INACTIVE,
    )


MARGIN_TABLES: dict[int, MarginTable] = {
    51: ("tiered 10x", (("0.0", 10), ("3000000.0", 5))),
    52: ("tiered 10x (2)", (("0.0", 10), ("20000000.0", 5))),
    53: ("tiered 20x", (("0.0", 20), ("40000000.0", 10))),
    54: ("tiered 20x (2)", (("0.0", 20), ("70000000.0", 10))),
    55: ("tiered 25x", (("0.0", 25), ("100000000.0", 15))),
    56: ("tiered 40x", (("0.0", 40), ("150000000.0", 20))),
}
"""Hyperliquid's margin tables by id: description and (lower bound in dollars, leverage) tiers. Ids under 50 are
unlisted and mean a single tier of that leverage."""
