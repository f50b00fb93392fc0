"""How the venues count margin: tiers, initial and maintenance margin, what is free. Pure; sources in docs/portfolio.md.

One shape for both venues. Hyperliquid's maintenance rate is half the initial rate of the tier's greatest leverage,
less a deduction that makes it continuous; Lighter has one fraction a market. An account is counted with `cash`: what it
holds with every open entry put back, so that `cash` plus unrealized profit is its value. An isolated position counts
alone, with the collateral set aside for it; it is no part of the cross account.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from services.domain.decimals import rounding
from services.portfolio.model.rounding import ZERO
from services.portfolio.model.values import MarginMode

HYPERLIQUID: Final = "hyperliquid"
LIGHTER: Final = "lighter"
UNIFIED: Final = frozenset({"unifiedAccount", "portfolioMargin"})
"""Account modes in which the spot balance is the collateral (Hyperliquid)."""
_TENTH: Final = Decimal("0.1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """From a notional on: the greatest leverage, the maintenance rate, and the deduction from rate times notional."""

    lower: Decimal
    max_leverage: int
    rate: Decimal
    deduction: Decimal = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketRules:
    """How one venue counts margin in one market."""

    venue: str
    market: str
    tiers: tuple[Tier, ...]

    def tier(self, notional: Decimal) -> Tier:
        """Return the tier a notional falls in."""
        found = self.tiers[0]
        for tier in self.tiers:
            if notional >= tier.lower:
                found = tier
        return found

    def maintenance(self, notional: Decimal) -> Decimal:
        """Return the maintenance margin of a position of a notional, in USD."""
        tier = self.tier(notional)
        with rounding():
            return max(ZERO, notional * tier.rate - tier.deduction)

    @property
    def max_leverage(self) -> int:
        """Return the greatest leverage of all."""
        return self.tiers[0].max_leverage


def leverage_tiers(rows: Iterable[tuple[Decimal, int]]) -> tuple[Tier, ...]:
    """Return Hyperliquid's tiers from (lower notional, greatest leverage), the lowest first.

    rate(k) = 1 / (2 leverage(k)); deduction(k) = deduction(k-1) + lower(k) (rate(k) - rate(k-1)).
    """
    tiers: list[Tier] = []
    with rounding():
        for lower, leverage in rows:
            rate = Decimal(1) / (2 * leverage)
            deduction = tiers[-1].deduction + lower * (rate - tiers[-1].rate) if tiers else ZERO
            tiers.append(Tier(lower=lower, max_leverage=leverage, rate=rate, deduction=deduction))
    return tuple(tiers)


def fraction_tier(maintenance: Decimal, max_leverage: int) -> tuple[Tier, ...]:
    """Return Lighter's one tier from its maintenance fraction."""
    return (Tier(lower=ZERO, max_leverage=max_leverage, rate=maintenance),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A position as margin sees it. `cost` is what the open size cost; `leverage` what is set at the venue."""

    market: str
    size: Decimal
    """Signed."""
    cost: Decimal
    """Never negative: the entry price times the size."""
    mark: Decimal
    leverage: Decimal
    mode: MarginMode = MarginMode.CROSS
    collateral: Decimal = ZERO
    """What is set aside for it where it is isolated, without its profit."""

    @property
    def notional(self) -> Decimal:
        """Return the size at the mark price, in USD."""
        return abs(self.size) * self.mark

    @property
    def profit(self) -> Decimal:
        """Return the unrealized profit."""
        return self.size * self.mark - (self.cost if self.size > 0 else -self.cost)

    @property
    def initial(self) -> Decimal:
        """Return the initial margin: the notional at the mark over the leverage set (both venues)."""
        with rounding():
            return self.notional / self.leverage

    @property
    def value(self) -> Decimal:
        """Return what an isolated position has for itself: its collateral and its profit."""
        return self.collateral + self.profit


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A cross account's margin, in USD. `isolated` is the value of the isolated positions beside it."""

    value: Decimal
    initial: Decimal
    maintenance: Decimal
    notional: Decimal
    isolated: Decimal
    cash: Decimal

    @property
    def equity(self) -> Decimal:
        """Return the value of everything."""
        return self.value + self.isolated

    @property
    def buffer(self) -> Decimal:
        """Return how much could be lost before liquidation."""
        return self.value - self.maintenance


def stand(holdings: Iterable[Holding], rules: Mapping[str, MarketRules], cash: Decimal) -> Standing:
    """Return the standing of an account whose cross cash is `cash`."""
    value, initial, maintenance, notional, isolated = cash, ZERO, ZERO, ZERO, ZERO
    with rounding():
        for held in holdings:
            if held.mode is MarginMode.ISOLATED:
                isolated += held.value
                continue
            value += held.profit
            initial += held.initial
            notional += held.notional
            maintenance += rules[held.market].maintenance(held.notional)
    return Standing(
        value=value, initial=initial, maintenance=maintenance, notional=notional, isolated=isolated, cash=cash
    )


def available(standing: Standing, orders_margin: Decimal = ZERO) -> Decimal:
    """Return what may back new orders; may be negative. Orders hold margin at Hyperliquid alone."""
    return standing.value - standing.initial - orders_margin


def withdrawable(venue: str, standing: Standing, orders_margin: Decimal = ZERO, *, tenth: bool = True) -> Decimal:
    """Return what may leave the account.

    Hyperliquid: value less the larger of initial margin, orders included, and a tenth of the notional (`tenth`;
    captures of 2023 do without). Lighter: value less initial margin, and no more than the cash.
    """
    with rounding():
        if venue == LIGHTER:
            return max(ZERO, min(standing.value - standing.initial, standing.cash))
        need = standing.initial + orders_margin
        return max(ZERO, standing.value - max(need, standing.notional * _TENTH if tenth else ZERO))


def unified_value(spot: Mapping[str, Decimal], standing: Standing) -> Decimal:
    """Return the value of a unified account: the spot USDC is the cash of its positions (unverified)."""
    return spot.get("USDC", ZERO) + standing.value - standing.cash + standing.isolated
