"""What a venue lists and what it marks, as the signer needs it; asked of the venue itself, nobody else is trusted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

from services.domain.market import Listing
from services.domain.refusal import Origin, Refusal, RefusalReason
from services.vault.model.limits import Exposure
from services.vault.peers.wallet import unavailable
from services.vault.ports import Clock
from services.venues.account import AccountState
from services.venues.actions import Action, Cancel, CancelAll, Modify, Place, SetLeverage

FRESH_S: Final = 60.0
"""How old a mark price may be."""


class Markets:
    """The listings and marks of one venue."""

    def __init__(self, venue: str, clock: Clock) -> None:
        self._venue = venue
        self._clock = clock
        self._ids: dict[str, int] = {}
        self._marks: dict[str, Decimal] = {}
        self._marked = float("-inf")

    @property
    def is_known(self) -> bool:
        """Whether the listings were read."""
        return bool(self._ids)

    def list_all(self, listings: Iterable[Listing]) -> None:
        """Take what is listed."""
        self._ids = {one.market: one.venue_market_id for one in listings}

    def mark_all(self, marks: Mapping[str, Decimal]) -> None:
        """Take the mark prices of now, by market."""
        self._marks = dict(marks)
        self._marked = self._clock.monotonic()

    def id_of(self, market: str) -> int | None:
        """Return the venue's own number of a market."""
        return self._ids.get(market)

    def marks(self) -> Mapping[str, Decimal]:
        """Return the marks while they are fresh."""
        return self._marks if self._clock.monotonic() - self._marked <= FRESH_S else {}

    def check(self, action: Action) -> Refusal | None:
        """Refuse a market that is not listed, or that is not the one of its number: limits are judged by its name.

        Raises VENUE_UNAVAILABLE while nothing is known to judge by, which passes.
        """
        if not self._ids or (_opens(action) and not self.marks()):
            raise unavailable(self._venue, "what it lists and marks is not known now, so nothing is signed")
        named: list[tuple[str, int | None]] = []
        if isinstance(action, Place):
            named = [(terms.market, terms.venue_market_id) for terms in action.orders]
        elif isinstance(action, Modify):
            named = [
                (action.order.market, action.order.venue_market_id),
                (action.terms.market, action.terms.venue_market_id),
            ]
        elif isinstance(action, Cancel):
            named = [(one.market, one.venue_market_id) for one in action.orders]
        elif isinstance(action, SetLeverage):
            named = [(action.market, action.venue_market_id)]
        elif isinstance(action, CancelAll) and action.market:
            named = [(action.market, self.id_of(action.market))]
        for market, number in named:
            known = self._ids.get(market)
            if known is None or known != number:
                return self._unlisted(market, number, known)
        if isinstance(action, Modify) and action.order.market != action.terms.market:
            return self._unlisted(action.terms.market, action.terms.venue_market_id, self._ids[action.order.market])
        return None

    def _unlisted(self, market: str, number: int | None, known: int | None) -> Refusal:
        words = f"{self._venue.capitalize()} lists no {market}"
        if known is not None:
            words = f"The number {number} is not that of {market} at {self._venue}, which is {known}"
        return Refusal(
            reason=RefusalReason.MARKET_NOT_LISTED,
            origin=Origin.MESH,
            message=f"{words}.",
            field="venue_market_id",
            given_value=str(number),
            passing_value="" if known is None else str(known),
            venue=self._venue,
        )


def _opens(action: Action) -> bool:
    orders = action.orders if isinstance(action, Place) else (action.terms,) if isinstance(action, Modify) else ()
    return any(not order.reduce_only for order in orders)


def exposure_of(state: AccountState) -> Exposure:
    """Return what an account has, from its state."""
    held = {one.market: abs(one.notional) * (1 if one.size > 0 else -1) for one in state.positions if one.size}
    return Exposure(held, state.margin.equity)


def unsupported(venue: str, field: str, problem: str) -> Refusal:
    """Return the refusal of an action that the venue has no way to do."""
    return Refusal(
        reason=RefusalReason.NOT_SUPPORTED,
        origin=Origin.MESH,
        message=f"{venue.capitalize()} cannot be asked for this: {field}: {problem}.",
        field=field,
        venue=venue,
    )


def said_no(venue: str, code: str, words: str, advice: str = "") -> Refusal:
    """Return a refusal in the venue's own words."""
    return Refusal(
        reason=RefusalReason.UNSPECIFIED,
        origin=Origin.VENUE,
        message=f"{venue.capitalize()} refused: {words[:300]}",
        advice=advice,
        venue=venue,
        venue_code=code,
        venue_message=words[:1_000],
    )
