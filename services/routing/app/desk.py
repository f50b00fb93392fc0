"""The use cases: read the books and the caller's standing, let the model plan, answer."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.domain.errors import DomainError, Reason
from services.domain.feed import FeedState
from services.domain.refusal import Refusal
from services.routing.model.books import MarketBooks, Stamp, VenueBook
from services.routing.model.forecast import Forecast, forecast
from services.routing.model.inputs import Inputs, Side, VenueInputs
from services.routing.model.plan import Plan
from services.routing.model.planner import SOLVER_VERSION, Offers, offers_of, plan_over
from services.routing.model.reach import clipped, prepare, units_down
from services.routing.model.resting import crosses, prepare_resting, rest
from services.routing.model.wish import Limits, Standing, Wish, age_s, assemble
from services.routing.ports import Books, Chance, Clock, Standings

LIFE_MAX_NS: Final = 3_000_000_000
LIFE_MIN_NS: Final = 1_000_000_000
GROUNDS_MAX: Final = 64
"""Grounds remembered a market: one for each side and set of limits that is asked for."""


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Ground:
    """What plans of any size are made over: the books as a wish sees them, its size aside."""

    inputs: Inputs
    left_out: tuple[Refusal, ...]
    offers: Offers


@dataclass(frozen=True, slots=True, kw_only=True)
class Quoted:
    """A quote as a value."""

    quote_id: UUID
    inputs: Inputs
    """Prepared, with as many levels as the plan and its proof need."""
    plan: Plan
    left_out: tuple[Refusal, ...]
    is_public: bool
    expire_ns: int
    number: int = 0
    """The number of the books it was made from."""
    stamp: Stamp | None = None
    """The books it was made from; None where it depends on more than them and the wish."""
    ground: Ground | None = None
    """What it was made over, by which equal parts of quotes are known; None for one made again."""
    solver_version: str = SOLVER_VERSION


class Desk:
    """Makes quotes."""

    def __init__(
        self,
        *,
        books: Books,
        standings: Standings,
        clock: Clock,
        chance: Chance,
        life_min_ns: int = LIFE_MIN_NS,
        life_max_ns: int = LIFE_MAX_NS,
    ) -> None:
        self._books = books
        self._standings = standings
        self._clock = clock
        self._chance = chance
        self._life_min_ns = life_min_ns
        self._life_max_ns = life_max_ns
        self._grounds: dict[str, tuple[MarketBooks, dict[Hashable, Ground]]] = {}
        """By market, over the books of its last quote."""

    async def quote(self, user: str | None, wish: Wish, account_ids: tuple[str, ...] = ()) -> Quoted:
        """Return the cheapest plan for a wish, for a user's own accounts or for the public."""
        if user is None and (wish.reduce_only or account_ids):
            field = "reduce_only" if wish.reduce_only else "account_ids"
            raise DomainError(
                Reason.TOKEN_MISSING,
                f"{field} counts with the caller's own positions: sign in, or leave it out.",
                metadata={"field": field},
            )
        standing = await self._standings.of_user(user, account_ids, wish.market)
        if wish.reduce_only and standing.is_public:  # no position is known that could be reduced
            standing = Standing(is_public=False)
        return await self._quote(wish, standing)

    async def plan(self, wish: Wish, account_ids: tuple[str, ...], limits: Limits | None = None) -> Quoted:
        """Return the cheapest plan for named accounts, for another room; `limits` by venue, with the account."""
        standing = await self._standings.of_accounts(account_ids, wish.market)
        return await self._quote(wish, standing.limited(limits or {}))

    async def changed(self, market: str) -> None:
        """Wait until the books of a market have changed."""
        await self._books.changed(market)

    async def stamp(self, wish: Wish) -> Stamp | None:
        """Return what a quote for the public would be made from now; None where that is more than books and wish."""
        return _stamp(wish, await self._books.market(wish.market))

    async def number(self, market: str) -> int:
        """Return the number of a market's books as they stand."""
        return (await self._books.market(market)).number

    async def stands(self, inputs: Inputs) -> bool:
        """Return whether the books that a plan was made from still stand: each LIVE, and unchanged as far as it went.

        A version that moved on leaves a plan standing where none of its levels changed: a venue may confirm the same
        levels several times a second.
        """
        books = await self._books.market(inputs.market)
        now = {book.venue: book for book in books.books if book.state is FeedState.LIVE}
        for venue in inputs.venues:
            book = now.get(venue.venue)
            if book is None or not _unchanged(inputs, venue, book):
                return False
        return True

    async def forecast(
        self, wish: Wish, sizes: tuple[Decimal, ...], points: int
    ) -> tuple[Forecast, Inputs, tuple[Refusal, ...]]:
        """Return the cost against the size."""
        standing = await self._standings.of_user(None, (), wish.market)
        books = await self._books.market(wish.market)
        inputs, left_out = assemble(wish, books, standing, self._clock.time_ns())
        prepared = prepare(replace(inputs, max_slippage_bps=wish.max_slippage_bps))
        return forecast(prepared, sizes, points), prepared, left_out

    async def _quote(self, wish: Wish, standing: Standing) -> Quoted:
        books = await self._books.market(wish.market)
        now_ns = self._clock.time_ns()
        return self._resting(wish, books, standing, now_ns) or self._taking(wish, books, standing, now_ns)

    def _resting(self, wish: Wish, books: MarketBooks, standing: Standing, now_ns: int) -> Quoted | None:
        """Return the plan of an order that waits; None for one that takes, as one does whose whole is within reach."""
        if not wish.resting:
            return None
        inputs, left_out = assemble(wish, books, standing, now_ns)
        prepared = prepare_resting(inputs)
        if not wish.post_only and crosses(prepared):
            taking = self._taking(wish, books, standing, now_ns)
            if taking.plan.is_feasible:
                return taking
        return self._quoted(prepared, rest(prepared), left_out, standing, books, wish)

    def _taking(self, wish: Wish, books: MarketBooks, standing: Standing, now_ns: int) -> Quoted:
        """Return the plan of an order that trades at once."""
        wish = replace(wish, resting=False, split_resting=False) if wish.resting else wish
        ground = self._ground(wish, books, standing, now_ns)
        inputs = replace(ground.inputs, size=wish.size, size_in_usd=wish.size_in_usd, time_ns=now_ns)
        plan = plan_over(inputs, ground.offers)
        kept = _kept(inputs, plan, books, now_ns)
        return self._quoted(kept, plan, ground.left_out, standing, books, wish, ground)

    def _quoted(
        self,
        inputs: Inputs,
        plan: Plan,
        left_out: tuple[Refusal, ...],
        standing: Standing,
        books: MarketBooks,
        wish: Wish,
        ground: Ground | None = None,
    ) -> Quoted:
        return Quoted(
            quote_id=self._chance.uuid(),
            inputs=inputs,
            plan=plan,
            left_out=left_out,
            is_public=standing.is_public,
            expire_ns=inputs.time_ns + self._life_ns(books.volatility),
            number=books.number,
            stamp=_stamp(wish, books) if standing.is_public else None,
            ground=ground,
        )

    def _ground(self, wish: Wish, books: MarketBooks, standing: Standing, now_ns: int) -> Ground:
        """Return what plans of any size are made over; for the public it is made once for a state of the books."""
        if not standing.is_public or wish.charge_latency:  # ages count for something then
            return _new_ground(wish, books, standing, now_ns)
        held, grounds = self._grounds.get(wish.market, (None, {}))
        if held is not books:
            grounds = {}
            self._grounds[wish.market] = books, grounds
        shape = wish.shape
        known = grounds.get(shape)
        if known is None:
            if len(grounds) >= GROUNDS_MAX:
                del grounds[next(iter(grounds))]
            known = grounds[shape] = _new_ground(wish, books, standing, now_ns)
        return known

    def _life_ns(self, volatility: Decimal) -> int:
        """Return how long a quote lives: the longest in a market at rest, the shortest from a yearly move of 100 %."""
        share = min(max(volatility, Decimal(0)), Decimal(1))
        return self._life_max_ns - int(share * (self._life_max_ns - self._life_min_ns))


def _new_ground(wish: Wish, books: MarketBooks, standing: Standing, now_ns: int) -> Ground:
    inputs, left_out = assemble(wish, books, standing, now_ns)
    prepared = prepare(inputs)
    return Ground(prepared, left_out, offers_of(prepared))


def _kept(inputs: Inputs, plan: Plan, books: MarketBooks, now_ns: int) -> Inputs:
    """Return the inputs with the ages of now, and as many levels as the plan and its proof need; all without one."""
    confirmed = {book.venue: book.confirmed_ns for book in books.books}
    whole = inputs.size_in_usd or not plan.is_feasible
    units = 0 if whole else units_down(plan.size, inputs.size_decimals)
    venues = [
        one.seen(one.levels if whole else clipped(one.levels, units), age_s(confirmed[one.venue], now_ns))
        for one in inputs.venues
    ]
    return replace(inputs, venues=tuple(venues))


def _stamp(wish: Wish, books: MarketBooks) -> Stamp | None:
    if wish.charge_latency or not books.versions:
        return None
    if not wish.holding_s:
        return Stamp(books.number, books.versions)
    said = " ".join(f"{one.mark_price} {one.funding_rate_hourly}" for one in books.contexts)
    return Stamp(books.number, f"{books.versions} {said}")


def _unchanged(inputs: Inputs, venue: VenueInputs, book: VenueBook) -> bool:
    if book.version == venue.book_version:
        return True
    taken, own = (book.asks, book.bids) if inputs.side is Side.BUY else (book.bids, book.asks)
    return taken[: len(venue.levels)] == venue.levels and own[: len(venue.own_levels)] == venue.own_levels
