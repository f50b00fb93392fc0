"""What the caller stands to gain and lose over all venues: who dies first, and what would make the distances equal.

Venues share no collateral. An account's distance is the smallest move of one of its markets, up or down, all others
standing still, at which its maintenance margin is no longer there. Turned round: to survive a move d an account needs

    need(d) = max over its positions of  |size| p rate - deduction + maintenance of the others - size (p - mark)

at p = mark (1 - d) for a long and mark (1 + d) for a short. That grows with d, so one search finds the distance at
which the needs of all accounts come to what they have together; what each has beyond its need there is what it gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Final
from uuid import UUID

from services.domain.decimals import rounding
from services.portfolio.model.liquidation import liquidation_price, solve
from services.portfolio.model.margin import Holding, MarketRules, Standing, stand
from services.portfolio.model.rounding import ZERO
from services.portfolio.model.values import MarginMode

CENT: Final = Decimal("0.000001")
"""The smallest amount of the settlement asset."""
DISTANCE_MAX: Final = Decimal(10)
"""Beyond a move of ten times the price distances are as good as endless, and nothing is to be made equal."""
_STEPS: Final = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An account in the picture: its holdings at the marks, the rules of their markets, and its cross cash."""

    account_id: UUID
    venue: str
    holdings: tuple[Holding, ...]
    rules: Mapping[str, MarketRules]
    cash: Decimal

    @property
    def standing(self) -> Standing:
        """Return its margin."""
        return stand(self.holdings, self.rules, self.cash)

    @property
    def cross(self) -> tuple[Holding, ...]:
        """Return the holdings that the whole account stands behind."""
        return tuple(held for held in self.holdings if held.mode is not MarginMode.ISOLATED and held.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """A position that is liquidated: where the mark is then, and how far that is, as a fraction; a fall is negative."""

    member: Member
    held: Holding
    price: Decimal
    move: Decimal


def deaths(member: Member) -> list[Death]:
    """Return where each of an account's positions is liquidated, all other markets standing still; no move if now."""
    found = []
    standing = member.standing
    with rounding():
        for held in member.holdings:
            if held.mode is MarginMode.ISOLATED:
                price = solve(member.rules[held.market], held.size, held.mark, held.value, ZERO)
            else:
                other = standing.maintenance - member.rules[held.market].maintenance(held.notional)
                price = solve(member.rules[held.market], held.size, held.mark, standing.value, other)
            if price is not None:
                if (price > held.mark) == (held.size > 0):
                    price = held.mark  # it is liquidated where the price is now
                found.append(Death(member=member, held=held, price=price, move=(price - held.mark) / held.mark))
    return found


def nearest(member: Member) -> Death | None:
    """Return the liquidation an account is nearest to."""
    return min(deaths(member), key=lambda death: abs(death.move), default=None)


def first_death(members: Sequence[Member], market: str, *, rise: bool) -> Death | None:
    """Return the position of a market that dies first when its price rises or falls everywhere by the same fraction.

    The move is the same at every venue; each venue's own mark is where it starts from.
    """
    found = [
        death
        for member in members
        for death in deaths(member)
        if death.held.market == market and (death.held.size < 0) == rise
    ]
    return min(found, key=lambda death: abs(death.move), default=None)


def pnl_at(members: Sequence[Member], market: str, move: Decimal) -> Decimal:
    """Return what all positions of a market have gained after a move, unrealized profit of before included not."""
    with rounding():
        return sum(
            (held.size * held.mark * move for one in members for held in one.holdings if held.market == market), ZERO
        )


def left_after(members: Sequence[Member], death: Death) -> Decimal:
    """Return what is left of a market's net size right after a position of it was liquidated whole.

    A cross account that dies loses all its positions of the market; it has one.
    """
    market = death.held.market
    total = sum((held.size for one in members for held in one.holdings if held.market == market), ZERO)
    return total - death.held.size


def need(member: Member, distance: Decimal) -> Decimal:
    """Return the value that an account needs for every liquidation to be at least `distance` away."""
    found = ZERO
    with rounding():
        maintenance = member.standing.maintenance
        for held in member.cross:
            own = member.rules[held.market]
            price = max(ZERO, held.mark * (1 - distance if held.size > 0 else 1 + distance))
            other = maintenance - own.maintenance(held.notional)
            there = own.maintenance(abs(held.size) * price)
            found = max(found, there + other - held.size * (price - held.mark))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Money to move so that the distances become equal."""

    source: Member
    target: Member
    amount: Decimal


def equalize(members: Sequence[Member]) -> tuple[list[Transfer], Decimal | None]:
    """Return the transfers that make the distances of the accounts equal, and that distance; none where there is none.

    Only accounts with cross positions take part, and only what an account has beyond its need is taken. Amounts are
    whole units of the settlement asset, cut down.
    """
    taking = [member for member in members if member.cross]
    if len(taking) < 2:
        return [], None
    with rounding():
        have = {member.account_id: member.standing.value for member in taking}
        total = sum(have.values(), ZERO)

        def short(distance: Decimal) -> bool:
            return sum((need(member, distance) for member in taking), ZERO) > total

        low, high = ZERO, DISTANCE_MAX
        if not short(high) or short(low):
            return [], None
        for _ in range(_STEPS):
            middle = (low + high) / 2
            if short(middle):
                high = middle
            else:
                low = middle
        spare = {member.account_id: have[member.account_id] - need(member, low) for member in taking}
    return _match(taking, spare), low


def _match(members: Sequence[Member], spare: dict[UUID, Decimal]) -> list[Transfer]:
    found = []
    givers = sorted((one for one in members if spare[one.account_id] > 0), key=lambda one: -spare[one.account_id])
    takers = sorted((one for one in members if spare[one.account_id] < 0), key=lambda one: spare[one.account_id])
    for taker in takers:
        for giver in givers:
            with rounding():
                amount = min(spare[giver.account_id], -spare[taker.account_id])
                spare[giver.account_id] -= max(ZERO, amount)
                spare[taker.account_id] += max(ZERO, amount)
                amount = amount.quantize(CENT, ROUND_DOWN)
            if amount > 0:
                found.append(Transfer(source=giver, target=taker, amount=amount))
    return found


def moved(member: Member, amount: Decimal) -> Member:
    """Return an account after money came in (positive) or left."""
    return Member(
        account_id=member.account_id,
        venue=member.venue,
        holdings=member.holdings,
        rules=member.rules,
        cash=member.cash + amount,
    )


def liquidation_of(member: Member, market: str) -> Decimal | None:
    """Return the liquidation price of an account's position in a market."""
    for held in member.holdings:
        if held.market == market and held.size:
            return liquidation_price(held, member.holdings, member.rules, member.cash)
    return None
