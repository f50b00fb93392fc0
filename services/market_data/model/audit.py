"""Comparing our book with a fresh snapshot of the venue, to find what no single message can show (a changed digit).

The two are never of the same instant. So a price that moved while the snapshot was fetched proves nothing and is left
out, and so is the last price of the snapshot's range, which may be cut. What remains must be equal.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from services.domain.book import Level
from services.domain.feed import BookSnapshot
from services.market_data.model.venue_market import VenueMarket


@dataclass(frozen=True, slots=True)
class Difference:
    """A price at which our book is not the venue's."""

    side: str
    price: int
    ours: int
    theirs: int


@dataclass(slots=True)
class Watcher:
    """Our book over the time of one audit: its sizes at the start, and every price seen to differ from them since."""

    start: dict[str, dict[int, int]]
    moved: dict[str, set[int]] = field(default_factory=lambda: {"bids": set(), "asks": set()})

    @classmethod
    def begin(cls, market: VenueMarket) -> Watcher:
        """Return a watcher that starts with the book as it is."""
        return cls(
            {"bids": dict(market.bids(market.audited_depth())), "asks": dict(market.asks(market.audited_depth()))}
        )

    def look(self, market: VenueMarket) -> None:
        """Note what has moved since the start."""
        for side, levels in (
            ("bids", market.bids(market.audited_depth())),
            ("asks", market.asks(market.audited_depth())),
        ):
            start, now = self.start[side], dict(levels)
            self.moved[side].update(price for price, size in now.items() if start.get(price) != size)
            self.moved[side].update(price for price in start if price not in now)

    def compare(self, market: VenueMarket, snapshot: BookSnapshot) -> list[Difference]:
        """Return where our book, unmoved, is not what the venue's snapshot says."""
        self.look(market)
        return [
            *self._side("bids", market.bids(market.audited_depth()), snapshot.bids, sign=1),
            *self._side("asks", market.asks(market.audited_depth()), snapshot.asks, sign=-1),
        ]

    def _side(self, side: str, ours: list[Level], theirs: list[Level], *, sign: int) -> list[Difference]:
        if not theirs or not ours:
            return []
        worst = max(min(price * sign for price, _ in theirs), min(price * sign for price, _ in ours))
        mine, yours = dict(ours), dict(theirs)
        return [
            Difference(side, price, mine.get(price, 0), yours.get(price, 0))
            for price in sorted(mine.keys() | yours.keys(), reverse=sign > 0)
            if price * sign > worst and price not in self.moved[side] and mine.get(price, 0) != yours.get(price, 0)
        ]
