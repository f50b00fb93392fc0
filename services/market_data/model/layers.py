"""A book that comes as whole snapshots of two depths with a faster best bid and ask over them (Hyperliquid).

The near layer (5 levels, every 0.54 s) is current; the far layer (20 levels, every 5.4 s) continues it with its own,
greater age; the best bid and ask (every block, on change) override both. A layer newer than another is believed where
they overlap. Levels better than a newer best are gone; the best itself is set to its newer size.
"""

from __future__ import annotations

import itertools

from services.domain.book import BookError, Level
from services.domain.feed import BookSnapshot, TopOfBook

NEAR_DEPTH_MAX = 10
"""A snapshot of at most this depth is the near layer."""


class Layers:
    """The layers of one market and the levels they add up to."""

    __slots__ = ("_asks", "_bids", "_top", "far", "near")

    def __init__(self) -> None:
        self.near: BookSnapshot | None = None
        self.far: BookSnapshot | None = None
        self._top: TopOfBook | None = None
        self._bids: list[Level] = []
        self._asks: list[Level] = []

    @property
    def has_near(self) -> bool:
        """Whether the venue's fast layer has arrived: from then on its cadence is a promise."""
        return self.near is not None

    @property
    def depth(self) -> int:
        """How many levels per side the venue gives at most."""
        return max((layer.depth for layer in (self.near, self.far) if layer is not None), default=0)

    def put(self, snapshot: BookSnapshot) -> bool:
        """Take a layer; False when it is older than the one of its depth. Raises `BookError` when it is crossed."""
        _check(snapshot)
        is_near = snapshot.depth <= NEAR_DEPTH_MAX
        known = self.near if is_near else self.far
        if known is not None and snapshot.venue_time_ns < known.venue_time_ns:
            return False
        if is_near:
            self.near = snapshot
        else:
            self.far = snapshot
        self._compose()
        return True

    def overlay(self, top: TopOfBook) -> None:
        """Take the best bid and ask."""
        self._top = top
        self._compose()

    def best(self) -> tuple[Level | None, Level | None]:
        """Return the best bid and ask."""
        return (self._bids[0] if self._bids else None), (self._asks[0] if self._asks else None)

    def bids(self, count: int) -> list[Level]:
        """Return at most `count` bids, best first."""
        return self._bids[:count]

    def asks(self, count: int) -> list[Level]:
        """Return at most `count` asks, best first."""
        return self._asks[:count]

    def _compose(self) -> None:
        near, far, top = self.near, self.far, self._top
        newest = far if near is None or (far is not None and far.venue_time_ns > near.venue_time_ns) else near
        if newest is None:
            return
        bids, asks = newest.bids, newest.asks
        if newest is near and far is not None:
            if len(bids) >= newest.depth:  # fewer levels than the layer's depth are all there are
                bids = bids + [level for level in far.bids if level[0] < bids[-1][0]]
            if len(asks) >= newest.depth:
                asks = asks + [level for level in far.asks if level[0] > asks[-1][0]]
        if top is not None and top.venue_time_ns > newest.venue_time_ns:
            bids = [] if top.bid is None else [top.bid, *[level for level in bids if level[0] < top.bid[0]]]
            asks = [] if top.ask is None else [top.ask, *[level for level in asks if level[0] > top.ask[0]]]
        self._bids, self._asks = bids, asks


def _check(snapshot: BookSnapshot) -> None:
    bids, asks = snapshot.bids, snapshot.asks
    if bids and asks and bids[0][0] >= asks[0][0]:
        raise BookError(f"best bid {bids[0][0]} is not below best ask {asks[0][0]}")
    if any(a[0] <= b[0] for a, b in itertools.pairwise(bids)) or any(a[0] >= b[0] for a, b in itertools.pairwise(asks)):
        raise BookError("levels are not in order")
    if any(price <= 0 or size <= 0 for price, size in bids) or any(price <= 0 or size <= 0 for price, size in asks):
        raise BookError("a level has no price or no size")
