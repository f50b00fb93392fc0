"""Where a position is liquidated: the mark price at which value and maintenance margin meet, others standing still.

Both venues solve value(p) = maintenance(p), with the maintenance rate of the tier the position has there:

    p = (rest - deduction) / (size - |size| * rate),  rest = size * mark - (value - maintenance of the others)

The left side falls and the right rises with p for a long, the other way round for a short, so there is one solution or
none. A short's lies above the mark, a long's below; where value is below maintenance already, it is on the other side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from services.domain.decimals import rounding
from services.portfolio.model.margin import Holding, MarketRules, stand
from services.portfolio.model.rounding import ZERO
from services.portfolio.model.values import MarginMode

FORMULAS: Final = {"hyperliquid": "hyperliquid-margin-1", "lighter": "lighter-margin-1"}
"""Name and version of each venue's formula, as docs/portfolio.md writes it out."""
VERIFIED: Final = frozenset(
    {
        ("hyperliquid", MarginMode.CROSS),
        ("hyperliquid", MarginMode.ISOLATED),
        ("lighter", MarginMode.CROSS),
    }
)
"""Whose liquidation price a captured account of the venue checks, to the digit."""
BPS: Final = Decimal(10_000)


def solve(rules: MarketRules, size: Decimal, mark: Decimal, value: Decimal, other: Decimal) -> Decimal | None:
    """Return the liquidation price of a position of signed `size`, None where there is none.

    `value` is that of the margin it draws on, at `mark`; `other` is what the other positions there must maintain.
    """
    if not size:
        return None
    with rounding():
        rest = size * mark - value + other
        for tier in reversed(rules.tiers):
            bottom = size - abs(size) * tier.rate
            if not bottom:
                continue
            price = (rest - tier.deduction) / bottom
            if price > 0 and rules.tier(abs(size) * price) is tier:
                return price
    return None


def liquidation_price(
    held: Holding, holdings: Iterable[Holding], rules: Mapping[str, MarketRules], cash: Decimal
) -> Decimal | None:
    """Return the liquidation price of one of an account's holdings, None where there is none."""
    own = rules[held.market]
    if held.mode is MarginMode.ISOLATED:
        return solve(own, held.size, held.mark, held.value, ZERO)
    standing = stand(holdings, rules, cash)
    with rounding():
        other = standing.maintenance - own.maintenance(held.notional)
    return solve(own, held.size, held.mark, standing.value, other)


def distance(mark: Decimal, price: Decimal | None) -> Decimal | None:
    """Return how far the mark is from a liquidation price, as a fraction of the mark."""
    if price is None or not mark:
        return None
    with rounding():
        return abs(price - mark) / mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """An order taken as filled: signed size and price."""

    size: Decimal
    price: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What an account comes to in one market when some orders are filled."""

    size: Decimal
    entry_price: Decimal | None
    initial: Decimal
    maintenance: Decimal
    liquidation_price: Decimal | None
    distance: Decimal | None
    suffices: bool


def traded(held: Holding, trades: Sequence[Trade]) -> tuple[Holding, Decimal]:
    """Return a holding after trades, each at its own price, and what they realized."""
    realized = ZERO
    with rounding():
        for trade in trades:
            size, left = held.size, trade.size
            cost = held.cost
            if size and (size > 0) != (left > 0):
                closing = min(abs(left), abs(size))
                given_up = cost * closing / abs(size)
                realized += (1 if size > 0 else -1) * (trade.price * closing - given_up)
                cost -= given_up
                size += closing if left > 0 else -closing
                left += closing if left < 0 else -closing
            held = replace(held, size=size + left, cost=(cost if size else ZERO) + abs(left) * trade.price)
    return held, realized


def judge(
    held: Holding, others: Sequence[Holding], rules: Mapping[str, MarketRules], cash: Decimal, trades: Sequence[Trade]
) -> Case:
    """Return what a market's position comes to after trades; what an isolated one needs more comes from the cash."""
    after, realized = traded(held, trades)
    if after.mode is MarginMode.ISOLATED:
        with rounding():
            added = max(ZERO, (after.cost - held.cost) / after.leverage)
        after = replace(after, collateral=held.collateral + added)
        standing = stand([*others, after], rules, cash + realized - added)
        suffices = after.value >= rules[after.market].maintenance(after.notional) and standing.value >= standing.initial
    else:
        standing = stand([*others, after], rules, cash + realized)
        suffices = standing.value >= standing.initial
    price = liquidation_price(after, [*others, after], rules, cash + realized)
    with rounding():
        entry = after.cost / abs(after.size) if after.size else None
        own = rules[after.market].maintenance(after.notional)
    return Case(
        size=after.size, entry_price=entry, initial=after.initial if after.size else ZERO,
        maintenance=own if after.size else ZERO, liquidation_price=price, distance=distance(after.mark, price),
        suffices=suffices,
    )  # fmt: skip
