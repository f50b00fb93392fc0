"""What a venue says about a market and how it counts: tiers, margins, fees. Two venues, one shape.

Written from the venues' documentation and captured payloads. Formulas that no capture in the fixtures checks are
marked "unverified".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from services.simulator.exchange.values import MICRO, Trade

RATE = 10**12
"""Fee rates are integers of 1e-12 of the notional, fine enough for every product of discounts a venue lists."""


@dataclass(frozen=True, slots=True)
class Fraction:
    """A share of the notional, as two whole numbers."""

    num: int
    den: int

    def of(self, notional: int) -> int:
        """Return the share of an amount, cut to the unit (Hyperliquid: 47.66235 / 20 is shown as 2.383117)."""
        return notional * self.num // self.den


@dataclass(frozen=True, slots=True)
class Tier:
    """From a notional on: the least initial margin, the maintenance and the close-out margin, less a deduction."""

    lower: int
    initial: Fraction
    maintenance: Fraction
    closeout: Fraction
    deduction: int = 0


@dataclass(frozen=True, slots=True)
class Setting:
    """An account's choice in a market: cross or isolated, and its initial margin."""

    isolated: bool
    initial: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """A market's rules. `pool` names the margin pool it draws on; amounts of money are in 1e-6."""

    market: str
    asset: int
    pool: str
    price_decimals: int
    size_decimals: int
    tick: Callable[[int], int]
    tiers: tuple[Tier, ...]
    default: Setting
    live: bool = True
    isolated_only: bool = False
    no_removal: bool = False
    min_size: int = 1
    min_quote: int = 10 * MICRO
    max_market_quote: int = 0
    fee_scale: Fraction = Fraction(1, 1)
    max_leverage: int = 0
    spot: bool = False

    def tier(self, notional: int) -> Tier:
        """Return the tier a notional falls in."""
        found = self.tiers[0]
        for tier in self.tiers:
            if notional >= tier.lower:
                found = tier
        return found

    def maintenance(self, notional: int) -> int:
        """Return the maintenance margin of a position. Verified: 12073.655 at 40x gives 0.02 of it less 75."""
        tier = self.tier(notional)
        return max(0, tier.maintenance.of(notional) - tier.deduction)

    def closeout(self, notional: int) -> int:
        """Return the margin below which a position is taken over."""
        tier = self.tier(notional)
        return max(0, tier.closeout.of(notional) - tier.deduction * 2 // 3)


class Street(Protocol):
    """The crowd, as the exchange sees it. `buy` is always the side of whoever would take from it."""

    def best(self, market: str, buy: bool) -> tuple[int, int] | None:
        """Return (price, size) of the best level a taker would meet."""

    def take(self, market: str, buy: bool, price: int, size: int) -> None:
        """Consume part of a level."""

    def show(self, market: str, buy: bool, price: int, size: int) -> None:
        """Show in the public book how much users rest at a price on the bid (`buy`) or ask side."""

    def mark(self, market: str) -> int:
        """Return the mark price."""

    def index(self, market: str) -> int:
        """Return the index (oracle) price."""

    def trade_id(self, market: str) -> int:
        """Return a new trade's id."""

    def printed(self, trade: Trade) -> None:
        """Publish a trade."""


@dataclass(frozen=True, slots=True)
class FeeRates:
    """What an account pays for taking and making, in 1e-12; a negative maker rate is a rebate."""

    taker: int
    maker: int


class Rules(Protocol):
    """How a venue counts."""

    name: Literal["hyperliquid", "lighter"]
    reserves: bool
    """Whether resting orders hold margin."""
    shrinks: bool
    """Whether resting reduce-only orders shrink with the position."""

    def rates(self, tier: str, volume: int) -> FeeRates:
        """Return an account's rates for its tier and its weighted volume of 14 days (in 1e-6)."""

    def fee(self, notional: int, rate: int, scale: Fraction) -> int:
        """Return the fee of a fill; negative for a rebate."""

    def surcharge(self, notional: int, rate: int) -> int:
        """Return a builder's or integrator's fee for a rate in 1e-6."""


def cut(amount: int, divisor: int) -> int:
    """Divide, cutting toward zero."""
    return amount // divisor if amount >= 0 else -(-amount // divisor)


_VIP = (
    (7_000_000_000, 240, 0), (2_000_000_000, 260, 0), (500_000_000, 280, 0), (100_000_000, 300, 40),
    (25_000_000, 350, 80), (5_000_000, 400, 120),
)  # fmt: skip


class HyperliquidRules:
    """Hyperliquid: 14-day volume tiers; fees cut to 1e-6, a builder's fee cut apart and added (15 of 15 fills)."""

    name: Literal["hyperliquid", "lighter"] = "hyperliquid"
    reserves = True
    shrinks = True

    def rates(self, tier: str, volume: int) -> FeeRates:
        """Return taker 0.045 % and maker 0.015 %, or the VIP tier's; `tier` may name a staking discount in per cent."""
        taker, maker = 450, 150
        for cutoff, vip_taker, vip_maker in _VIP:
            if volume > cutoff * MICRO:
                taker, maker = vip_taker, vip_maker
                break
        discount = int(tier) if tier.isdigit() else 0
        return FeeRates(taker * MICRO * (100 - discount) // 100, maker * MICRO * (100 - discount) // 100)

    def fee(self, notional: int, rate: int, scale: Fraction) -> int:
        """Return the fee, cut toward zero."""
        return cut(notional * rate * scale.num, RATE * scale.den)

    def surcharge(self, notional: int, rate: int) -> int:
        """Return the builder's fee, cut toward zero."""
        return cut(notional * rate, MICRO)


_TICKS = {"standard": (0, 0), "plus": (50, 50), "premium": (280, 40)}


class LighterRules:
    """Lighter: fee ticks of 1e-6 by account tier. That the fee is cut to the unit is unverified."""

    name: Literal["hyperliquid", "lighter"] = "lighter"
    reserves = False
    shrinks = False

    def rates(self, tier: str, volume: int) -> FeeRates:
        """Return a tier's rates; unknown tiers pay as standard accounts do: nothing."""
        taker, maker = _TICKS.get(tier, (0, 0))
        return FeeRates(taker * MICRO, maker * MICRO)

    def fee(self, notional: int, rate: int, scale: Fraction) -> int:
        """Return the fee, cut toward zero."""
        return cut(notional * rate * scale.num, RATE * scale.den)

    def surcharge(self, notional: int, rate: int) -> int:
        """Return the integrator's fee, cut toward zero (unverified)."""
        return cut(notional * rate, MICRO)


def leverage_tiers(rows: tuple[tuple[int, int], ...]) -> tuple[Tier, ...]:
    """Return Hyperliquid's tiers from (lower bound in dollars, leverage): maintenance is half the least initial.

    The deduction makes maintenance continuous: ded(k) = ded(k-1) + lower(k) (mmr(k) - mmr(k-1)). Two thirds of the
    maintenance margin are the backstop's threshold.
    """
    tiers: list[Tier] = []
    deduction, before = 0, 0
    for dollars, leverage in rows:
        lower = dollars * MICRO
        if tiers:
            deduction += lower // (2 * leverage) - lower // (2 * before)
        tiers.append(
            Tier(lower, Fraction(1, leverage), Fraction(1, 2 * leverage), Fraction(1, 3 * leverage), deduction)
        )
        before = leverage
    return tuple(tiers)


def fraction_tier(least: int, maintenance: int, closeout: int) -> tuple[Tier, ...]:
    """Return Lighter's one tier from fractions in 1e-4."""
    return (Tier(0, Fraction(least, 10_000), Fraction(maintenance, 10_000), Fraction(closeout, 10_000)),)
