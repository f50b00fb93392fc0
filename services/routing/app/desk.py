"""The use cases: read the books and the caller's standing, let the model plan, answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.domain.errors import DomainError, Reason
from services.domain.refusal import Refusal
from services.routing.model.forecast import Forecast, forecast
from services.routing.model.inputs import Inputs
from services.routing.model.plan import Plan
from services.routing.model.planner import SOLVER_VERSION, make_plan
from services.routing.model.reach import clip, prepare, units_down
from services.routing.model.wish import Standing, Wish, assemble
from services.routing.ports import Books, Chance, Clock, Standings

LIFE_MAX_NS: Final = 3_000_000_000
LIFE_MIN_NS: Final = 1_000_000_000


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
        return await self._quote(wish, standing)

    async def plan(self, wish: Wish, account_ids: tuple[str, ...]) -> Quoted:
        """Return the cheapest plan for named accounts, for another room."""
        return await self._quote(wish, await self._standings.of_accounts(account_ids, wish.market))

    async def changed(self, market: str) -> None:
        """Wait until the books of a market have changed."""
        await self._books.changed(market)

    async def stands(self, inputs: Inputs) -> bool:
        """Return whether the books that a plan was made from still stand, by their versions."""
        books = await self._books.market(inputs.market)
        now = {book.venue: book.version for book in books.books}
        return all(now.get(venue.venue) == venue.book_version for venue in inputs.venues)

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
        inputs, left_out = assemble(wish, books, standing, now_ns)
        prepared = prepare(inputs)
        plan = make_plan(prepared)
        kept = prepared
        if plan.is_feasible and not prepared.size_in_usd:
            kept = clip(prepared, units_down(plan.size, prepared.size_decimals))
        return Quoted(
            quote_id=self._chance.uuid(),
            inputs=kept,
            plan=plan,
            left_out=left_out,
            is_public=standing.is_public,
            expire_ns=now_ns + self._life_ns(books.volatility),
        )

    def _life_ns(self, volatility: Decimal) -> int:
        """Return how long a quote lives: the longest in a market at rest, the shortest from a yearly move of 100 %."""
        share = min(max(volatility, Decimal(0)), Decimal(1))
        return self._life_max_ns - int(share * (self._life_max_ns - self._life_min_ns))
