"""What limits of an account and its venue leave of a size: margin, position, the owner's own limits, the budget.

Each rule takes the price by which it is judged. A venue judges an order's notional by the limit it goes out with, which
is the worst price of a plan; the vault by that or the mark price, whichever is higher.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeAlias

from services.routing.model.books import VenueRules
from services.routing.model.inputs import ZERO, Cap, CapKind, Side

SLIPPAGE_BPS_DEFAULT: Final = 100
"""What bounds a wish that states no slippage limit."""
Offer: TypeAlias = tuple[Decimal, Decimal | None]
"""A price, and the size that is there for it; None for any size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountLimits:
    """What an account may carry of an order at most: what its owner allows, and what its venue's budget leaves."""

    max_order_notional: Decimal | None = None
    """In USD; zero where its owner allows no such order, None for no limit."""
    max_position_notional: Decimal | None = None
    """In USD, of the position afterwards; None for no limit."""
    budget_spent: bool = False


NO_LIMITS: Final = AccountLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The position that an order changes, by the order's side, and the prices by which limits are judged."""

    side: Side
    position_size: Decimal
    """Signed."""
    worst_price: Decimal
    """The limit that the order goes out with."""
    mark_price: Decimal

    @property
    def closes(self) -> Decimal:
        """Return the size that only closes."""
        return max(-self.position_size * self.side.sign, ZERO)

    @property
    def dearest(self) -> Decimal:
        """Return the higher of the order's worst price and the mark price."""
        return max(self.worst_price, self.mark_price)

    def up_to(self, notional: Decimal) -> Decimal:
        """Return the size after which the position is worth `notional`, at the mark price before and dearest after."""
        room = notional - self.position_size * self.side.sign * self.mark_price
        return divided(max(room, ZERO), self.dearest)


def worst_price(side: Side, limit_price: Decimal | None, mid: Decimal, max_slippage_bps: int | None) -> Decimal:
    """Return the limit that an order goes out with: its own, or the slippage it allows from the mid price."""
    if limit_price is not None:
        return limit_price
    slippage = SLIPPAGE_BPS_DEFAULT if max_slippage_bps is None else max_slippage_bps
    return mid * (1 + side.sign * Decimal(slippage).scaleb(-4))


def owner_caps(limits: AccountLimits, held: Held) -> tuple[Cap, ...]:
    """Return what an account's owner and its venue's budget leave. What only reduces has no such limits."""
    caps = []
    if limits.max_order_notional is not None:
        caps.append(Cap(CapKind.TRADING_LIMIT, divided(limits.max_order_notional, held.dearest)))
    if limits.max_position_notional is not None:
        caps.append(Cap(CapKind.TRADING_LIMIT, held.up_to(limits.max_position_notional)))
    if limits.budget_spent:
        caps.append(Cap(CapKind.BUDGET, ZERO))
    return tuple(caps)


def venue_caps(rules: VenueRules, held: Held, leverage: int, *, resting: bool) -> tuple[Cap, ...]:
    """Return what a venue takes: its largest order, and its largest position at a leverage that was set (0: none)."""
    caps = []
    largest = rules.max_resting_notional if resting else rules.max_order_notional
    if largest:
        caps.append(Cap(CapKind.ORDER_LIMIT, divided(largest, held.worst_price)))
    ends = next((lower for lower, most in rules.leverage_tiers if most < leverage), None)
    if ends is not None:
        caps.append(Cap(CapKind.POSITION_LIMIT, max(held.closes, held.up_to(ends))))
    return tuple(caps)


def carried(room: Decimal, free: Decimal, prices: Iterable[Offer]) -> Decimal:
    """Return the size whose notional is at most `room` after `free`, of which each level gives what it has.

    Closing a position needs no margin and frees as much as opening the same size takes: `free` is twice what closes.
    Cut after 18 decimals.
    """
    size, left = ZERO, free
    for price, offered in prices:
        unpaid = left if offered is None else min(left, offered)
        size, left = size + unpaid, left - unpaid
        most = divided(room, price)
        if offered is None or most < offered - unpaid:
            return size + most
        size, room = size + offered - unpaid, room - price * (offered - unpaid)
    return size + left


def divided(amount: Decimal, price: Decimal) -> Decimal:
    """Return how much `amount` buys, cut after 18 decimals."""
    whole = int(amount.scaleb(36)) // int(price.scaleb(18))
    return Decimal(whole).scaleb(-18)
