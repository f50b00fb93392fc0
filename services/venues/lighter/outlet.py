"""The way out to the room: gives events on, and remembers the bad news the room had no place for.

What is lost of a book or of prices repairs itself (the caller resyncs); what must not be lost is that something is no
longer current, and that trades were missed. Memory: one refused notice per market.
"""

from __future__ import annotations

from services.domain.feed import Alive, Event, FeedState, MarketDown
from services.domain.market import LIGHTER
from services.venues.port import Emit


class Outlet:
    """Gives events to `emit`."""

    __slots__ = ("_downs", "_lost", "dropped", "emit")

    def __init__(self) -> None:
        self.emit: Emit = _nobody
        self.dropped = 0
        self._downs: dict[str, tuple[FeedState, str]] = {}
        self._lost: dict[str, str] = {}

    def give(self, event: Event) -> bool:
        """Give one event; False, and counted, when the room has no place."""
        if self.emit(event):
            return True
        self.dropped += 1
        return False

    def down(self, markets: frozenset[str], state: FeedState, reason: str, now_ns: int) -> None:
        """Say that these markets are no longer current."""
        if markets and not self.give(_down(markets, state, reason, now_ns)):
            self._downs.update(dict.fromkeys(markets, (state, reason)))

    def up(self, market: str) -> None:
        """A market was told anew: that it was down need not be said any more."""
        self._downs.pop(market, None)

    def trades_lost(self, market: str, reason: str, now_ns: int, *, current: bool) -> None:
        """Say that trades were missed; where the market's prices are `current`, say at once that they still are."""
        state = FeedState.STALE if current else FeedState.RECOVERING
        if not self.give(_down(frozenset((market,)), state, reason, now_ns, trades_lost=True)):
            self._lost[market] = reason
            return
        self._lost.pop(market, None)
        if current:
            self.give(Alive(venue=LIGHTER, connection="", markets=frozenset((market,)), receive_time_ns=now_ns))

    def settle(self, current: frozenset[str], now_ns: int) -> None:
        """Say what could not be said; call a few times a second with the markets that are current by now."""
        for market, reason in list(self._lost.items()):
            self.trades_lost(market, reason, now_ns, current=market in current)
        for market, (state, reason) in list(self._downs.items()):
            is_over = market in current and state is FeedState.STALE
            if is_over or self.give(_down(frozenset((market,)), state, reason, now_ns)):
                del self._downs[market]


def _down(
    markets: frozenset[str], state: FeedState, reason: str, now_ns: int, *, trades_lost: bool = False
) -> MarketDown:
    return MarketDown(
        venue=LIGHTER,
        markets=markets,
        state=state,
        reason=reason,
        receive_time_ns=now_ns,
        trades_lost=trades_lost,
    )


def _nobody(event: Event) -> bool:
    """Take events before anybody listens."""
    return True
