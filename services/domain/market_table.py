"""The table of Lighter symbols that are the same contract as Hyperliquid's first-dex market of that name.

Each entry was checked by hand: same underlying, same multiplier (Lighter's `1000PEPE` is Hyperliquid's `kPEPE`, both a
thousand tokens). A symbol that is not here stays a market of its own, however alike it looks.
Sources: Lighter `orderBooks` of December 2025 and Hyperliquid's universes; see docs/markets.md.
"""

from __future__ import annotations

from typing import Final

# fmt: off
LIGHTER_SHARED: Final = frozenset(
    (
        "0G", "1000BONK", "1000FLOKI", "1000PEPE", "1000SHIB", "2Z", "AAVE", "ADA", "AERO", "AI16Z", "APEX", "APT",
        "ARB", "ASTER", "AVAX", "AVNT", "BCH", "BERA", "BNB", "BTC", "CC", "CRV", "DOGE", "DOT", "DYDX", "EIGEN",
        "ENA", "ETH", "ETHFI", "FARTCOIN", "FIL", "GMX", "GRASS", "HBAR", "HYPE", "ICP", "IP", "JUP", "KAITO",
        "LAUNCHCOIN", "LDO", "LINEA", "LINK", "LTC", "MEGA", "MET", "MKR", "MON", "MORPHO", "NEAR", "ONDO", "OP",
        "PAXG", "PENDLE", "PENGU", "POL", "POPCAT", "PROVE", "PUMP", "PYTH", "RESOLV", "S", "SEI", "SKY", "SOL",
        "SPX", "STBL", "STRK", "SUI", "SYRUP", "TAO", "TIA", "TON", "TRUMP", "TRX", "UNI", "VIRTUAL", "VVV", "WIF",
        "WLD", "WLFI", "XPL", "XRP", "YZY", "ZEC", "ZK", "ZORA", "ZRO",
    )
)
# fmt: on
