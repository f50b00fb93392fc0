"""Looking at an order without placing it: the same checks in the same order, every one of them, and nothing kept."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from uuid import UUID

from services.domain.decimals import plain_text
from services.domain.refusal import Refusal
from services.execution.app.intake import Intake, needs_route
from services.execution.app.placing import place_of
from services.execution.app.quoting import with_quoted
from services.execution.model.leg import Leg, Role
from services.execution.model.order import NewOrder, Order
from services.execution.model.preview import Preview, PreviewLeg, distinct, preview_leg, standing_of
from services.execution.ports import Clock, Planner, Route, Signer
from services.execution.ports.looking import Books, Standings


class Previewer:
    """Answers what PlaceOrder would do."""

    def __init__(
        self, *, intake: Intake, planner: Planner, signer: Signer, books: Books, standings: Standings, clock: Clock
    ) -> None:
        self._intake = intake
        self._signer = signer
        self._planner = planner
        self._books = books
        self._standings = standings
        self._clock = clock

    async def preview(self, user_id: UUID, wanted: NewOrder) -> Preview:
        """Return what would come of an order. Raises as PlaceOrder does."""
        empty = self._intake.draft(user_id, self._intake.new_id(), wanted)
        accounts = await self._intake.admitted(user_id, wanted, counts=False)
        barred: list[Refusal] = []
        if isinstance(accounts, Refusal):  # halted, perhaps: what else is to be mended is said all the same
            barred.append(accounts)
            accounts = await self._intake.chosen(user_id, wanted)
        if isinstance(accounts, Refusal):
            return Preview(order=empty, refusals=distinct([*barred, accounts]), legs=(), max_size=None)
        await self._books.ready(wanted.market)
        route: Route | None = None
        if needs_route(wanted, accounts):
            route = await self._planner.plan(wanted, accounts, empty.order_id, preview=True)
        order = await self._intake.planned(empty, wanted, accounts, route)
        order = with_quoted(order, self._books, self._standings, self._clock.now())
        legs = tuple([await self._leg(order, leg) for leg in order.legs if leg.role is Role.ENTRY])
        found = [
            *barred,
            *(route.refusals if route is not None else ()),
            *((self._with_least(order, wanted),) if order.refusal is not None and route_allows(route) else ()),
            *(refusal for leg in legs for refusal in leg.refusals),
        ]
        return Preview(order=order, refusals=distinct(found), legs=legs, max_size=_most(route, legs))

    async def _leg(self, order: Order, leg: Leg) -> PreviewLeg:
        assert order.quoted is not None, "an order with legs was quoted"
        quoted = next(one for one in order.quoted.legs if one.leg_id == leg.leg_id)
        listing = self._books.listing(leg.market, leg.venue)
        standing = standing_of(self._standings.state(leg.account_id), leg.market, listing)
        seen = preview_leg(leg, quoted, order.quoted.arrival_mid_price, standing, listing)
        unsigned = await self._signer.review(leg.account_id, place_of(leg))
        if unsigned is None:
            return seen
        field = unsigned.field.removeprefix("action.place.orders[0].")
        named = replace(unsigned, field=field, venue=unsigned.venue or leg.venue)
        return replace(seen, refusals=(*seen.refusals, named))

    def _with_least(self, order: Order, wanted: NewOrder) -> Refusal:
        """Return why it is denied before it has legs; a size that is too small with the smallest that would pass."""
        refusal = order.refusal
        assert refusal is not None, "asked for a refusal"
        if refusal.passing_value or refusal.field != "size":
            return refusal
        venues = [wanted.venue] if wanted.venue else wanted.venues
        sizes = [
            listing.smallest(venue, wanted.limit_price, reduce_only=wanted.reduce_only)
            for venue in venues
            if (listing := self._books.listing(wanted.market, venue)) is not None and wanted.limit_price is not None
        ]
        return replace(refusal, passing_value=plain_text(min(sizes))) if sizes else refusal


def route_allows(route: Route | None) -> bool:
    """Whether a refusal is of what came after the plan; the plan's own are told by itself."""
    return route is None or route.refusal is None


def _most(route: Route | None, legs: tuple[PreviewLeg, ...]) -> Decimal | None:
    if route is not None:
        return route.max_size
    return legs[0].max_size if len(legs) == 1 else None
