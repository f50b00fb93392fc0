"""What Hyperliquid lists: every dex's markets with their rules, scales, margin tiers and fees.

Asset ids: a market of the first dex is its position in the universe, a HIP-3 market is 100000 + 10000 x the dex's
position in `perpDexs` + its own position. Prices have at most 6 - szDecimals decimals, sizes szDecimals.
A market that cannot be understood is left out and named in `Universe.problems`; the others live.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal, localcontext
from itertools import pairwise
from typing import Final

from services.domain.decimals import Rate, Usd
from services.domain.market import (
    HYPERLIQUID,
    LeverageTier,
    Listing,
    MarketNameError,
    Status,
    canonical_name,
)
from services.venues.hyperliquid.wire.info import RawDex, RawMarket, RawMeta, RawTier, RawToken
from services.venues.hyperliquid.wire.values import SIGNIFICANT_FIGURES, Units, WireError, amount_of

PRICE_DECIMALS_MAX: Final = 6
"""Decimals of a perpetual's price plus those of its size."""
MIN_NOTIONAL: Final = Usd(Decimal(10))
MAKER_FEE: Final = Decimal("0.00015")
TAKER_FEE: Final = Decimal("0.00045")
"""The fees without volume, discount or referral; the venue's fee page."""
GROWTH_FACTOR: Final = Decimal("0.1")
"""A HIP-3 market in growth mode pays a tenth."""
FUNDING_INTERVAL_S: Final = 3600
MAX_ORDER_NOTIONALS: Final = ((25, 30_000_000), (20, 5_000_000), (10, 2_000_000), (0, 500_000))
"""The largest notional of a market order, by the market's greatest leverage from this on; a limit order may have ten
times as much. The venue's page of contract specifications."""
TABLE_IMPLIED_BELOW: Final = 50
"""A margin table below this id may be unlisted: it has one tier whose leverage is the id."""
_RATE_STEP: Final = Decimal(1).scaleb(-12)


@dataclass(slots=True, eq=False)
class CoinInfo:
    """A market as the wire needs it: its listing and the scales of its numbers."""

    listing: Listing
    prices: Units
    """Prices of orders: five significant figures, or an integer."""
    prints: Units
    """Prices of trades: a settlement or liquidation may print more figures than an order may have."""
    sizes: Units
    market: str
    live: bool
    """Whether it trades; a delisted coin is never subscribed."""


@dataclass(frozen=True, slots=True, eq=False)
class Universe:
    """Everything listed at one moment."""

    coins: dict[str, CoinInfo]
    """By the venue's symbol."""
    dexes: dict[str, tuple[CoinInfo | None, ...]]
    """By dex name (empty for the first), in the order of its universe; None where a market was left out."""
    listings: tuple[Listing, ...]
    problems: tuple[str, ...]
    """One sentence for each market or dex that was left out."""

    def coin(self, symbol: str, field: str = "coin") -> CoinInfo:
        """Return the market of `symbol`. Raises `WireError` for one that is not listed."""
        found = self.coins.get(symbol)
        if found is None:
            raise WireError(field, f"{symbol!r:.80} is not a listed perpetual market", coin=symbol)
        return found

    def symbol_of(self, market: str) -> str | None:
        """Return the venue's symbol of the canonical `market`."""
        return next((item.symbol for item in self.listings if item.market == market), None)


EMPTY: Final = Universe({}, {}, (), ())


class _Scales:
    """The scales by szDecimals: markets of equal precision share what is remembered."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Units, Units, Units]] = {}

    def of(self, size_decimals: int) -> tuple[Units, Units, Units]:
        """Return the scales of order prices, print prices and sizes."""
        made = self._made.get(size_decimals)
        if made is None:
            decimals = PRICE_DECIMALS_MAX - size_decimals
            made = (Units(decimals, figures=SIGNIFICANT_FIGURES), Units(decimals), Units(size_decimals))
            self._made[size_decimals] = made
        return made


def build(metas: Sequence[RawMeta], dexes: Sequence[RawDex | None], tokens: Sequence[RawToken]) -> Universe:
    """Return what is listed, out of `allPerpMetas`, `perpDexs` and the tokens of `spotMeta`.

    Raises `WireError` when the first dex itself cannot be understood, or when the two lists of dexes differ in length
    (a dex was added between the two questions: ask again).
    """
    if len(metas) != len(dexes):
        raise WireError("allPerpMetas", f"{len(metas)} dexes, where perpDexs has {len(dexes)}")
    if not metas or dexes[0] is not None:
        raise WireError("perpDexs[0]", "must be null: the venue's own dex")
    names = {token.index: token.name for token in tokens}
    scales = _Scales()
    coins: dict[str, CoinInfo] = {}
    by_dex: dict[str, tuple[CoinInfo | None, ...]] = {}
    taken: dict[str, str] = {}
    problems: list[str] = []
    for index, (meta, dex) in enumerate(zip(metas, dexes, strict=True)):
        try:
            terms = _DexTerms.of(index, meta, dex, names)
        except WireError as error:
            if dex is None:
                raise
            problems.append(f"dex {dex.name!r} is left out: {error}")
            by_dex[dex.name] = (None,) * len(meta.universe)
            continue
        row: list[CoinInfo | None] = []
        for position, raw in enumerate(meta.universe):
            try:
                info = _market(terms, position, raw, scales)
                other = taken.setdefault(info.market, raw.name)
                if other != raw.name or raw.name in coins:
                    raise WireError("name", f"{raw.name!r} and {other!r} would both be {info.market}")
            except (WireError, MarketNameError) as error:
                problems.append(f"market {raw.name!r} is left out: {error}")
                row.append(None)
                continue
            coins[raw.name] = info
            row.append(info)
        by_dex[terms.name] = tuple(row)
    return Universe(coins, by_dex, tuple(info.listing for info in coins.values()), tuple(problems))


@dataclass(frozen=True, slots=True)
class _DexTerms:
    """What the markets of one dex have in common."""

    name: str
    first_id: int
    quote: str
    fee_scale: Decimal
    tables: dict[int, tuple[LeverageTier, ...]]

    @classmethod
    def of(cls, index: int, meta: RawMeta, dex: RawDex | None, tokens: dict[int, str]) -> _DexTerms:
        quote = tokens.get(meta.collateralToken, "USDC" if meta.collateralToken == 0 else "")
        if not quote:
            raise WireError("collateralToken", f"token {meta.collateralToken} is not in spotMeta")
        tables = {number: _tiers(table.marginTiers) for number, table in meta.marginTables}
        if dex is None:
            return cls("", 0, quote, Decimal(1), tables)
        return cls(dex.name, 100_000 + 10_000 * index, quote, _fee_scale(dex), tables)


def _fee_scale(dex: RawDex) -> Decimal:
    """Return by how much a HIP-3 dex's fees exceed the first dex's: 1 + scale below 1, else 2 x scale."""
    scale = amount_of(dex.deployerFeeScale or "1.0", "deployerFeeScale")
    return 1 + scale if scale < 1 else 2 * scale


def _tiers(raw: Sequence[RawTier]) -> tuple[LeverageTier, ...]:
    """Return a margin table's tiers. Raises `WireError` when they do not rise from zero with falling leverage."""
    tiers = tuple(_tier(amount_of(tier.lowerBound, "lowerBound"), tier.maxLeverage) for tier in raw)
    if tiers[0].lower_notional != 0:
        raise WireError("marginTiers[0].lowerBound", "must be zero")
    for below, above in pairwise(tiers):
        if below.lower_notional >= above.lower_notional or below.max_leverage < above.max_leverage:
            raise WireError("marginTiers", "bounds must rise, and leverage must not rise with them")
    return tiers


def _market(terms: _DexTerms, position: int, raw: RawMarket, scales: _Scales) -> CoinInfo:
    prefix, colon, _ = raw.name.rpartition(":")
    if prefix != terms.name or bool(colon) != bool(terms.name):
        raise WireError("name", f"{raw.name!r} is not of dex {terms.name!r}")
    market = canonical_name(HYPERLIQUID, raw.name)
    growth = GROWTH_FACTOR if raw.growthMode == "enabled" else Decimal(1)
    prices, prints, sizes = scales.of(raw.szDecimals)
    live = not raw.isDelisted
    largest = Decimal(next(most for least, most in MAX_ORDER_NOTIONALS if raw.maxLeverage >= least))
    listing = Listing(
        market=market,
        venue=HYPERLIQUID,
        symbol=raw.name,
        venue_market_id=terms.first_id + position,
        quote=terms.quote,
        price_decimals=PRICE_DECIMALS_MAX - raw.szDecimals,
        price_significant_figures=SIGNIFICANT_FIGURES,
        size_decimals=raw.szDecimals,
        min_size=None,
        min_notional=MIN_NOTIONAL,
        max_leverage=raw.maxLeverage,
        leverage_tiers=_leverage(terms, raw),
        maker_fee=Rate(MAKER_FEE * terms.fee_scale * growth),
        taker_fee=Rate(TAKER_FEE * terms.fee_scale * growth),
        funding_interval_s=FUNDING_INTERVAL_S,
        status=Status.ACTIVE if live else Status.DELISTED,
        isolated_only=bool(raw.onlyIsolated) or raw.marginMode in ("strictIsolated", "noCross"),
        max_order_notional=Usd(largest),
        max_resting_notional=Usd(largest * 10),
    )
    return CoinInfo(listing, prices, prints, sizes, market, live)


def _leverage(terms: _DexTerms, raw: RawMarket) -> tuple[LeverageTier, ...]:
    table = raw.marginTableId
    if table is None:
        return (_tier(Decimal(0), raw.maxLeverage),)
    tiers = terms.tables.get(table)
    if tiers is not None:
        return tiers
    if 1 <= table < TABLE_IMPLIED_BELOW:
        return (_tier(Decimal(0), table),)
    raise WireError("marginTableId", f"{table} is not among the margin tables")


def _tier(lower: Decimal, leverage: int) -> LeverageTier:
    """Return a tier; the maintenance margin is half of the initial margin at its highest leverage."""
    with localcontext() as context:
        context.prec = 40
        context.clear_traps()
        maintenance = (Decimal(1) / (2 * leverage)).quantize(_RATE_STEP, rounding=ROUND_UP)
    return LeverageTier(Usd(lower), leverage, Rate(maintenance.normalize()))
