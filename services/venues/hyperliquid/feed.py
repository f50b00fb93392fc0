"""What the sockets said, put in order: older frames ignored, repeated trades dropped, implausible times refused. Pure.

The venue gives no sequence numbers and no checksums. What can be known is time: every book and every top has the
venue's, in milliseconds, and never goes back for one coin and kind. A frame that is older than the last is late and is
ignored; several in a row mean that the last one's time was wrong, and the subscription is asked for anew.

A best bid and ask is sent only when it changes, so a lost one leaves no trace. Contexts carry the mid price: when it
twice contradicts a best bid and ask that has stood for a while, that is doubtful too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from services.domain.feed import BookSnapshot, Context, TopOfBook, Trade
from services.venues.hyperliquid.wire import events, frames
from services.venues.hyperliquid.wire.universe import EMPTY, CoinInfo, Universe
from services.venues.hyperliquid.wire.values import WireError, decimal_of

TRADES_REMEMBERED: Final = 512
"""Prints of one coin that are known again; the venue repeats about 30 at each subscription."""
OLDER_MAX: Final = 5
"""So many older frames of one coin and kind in a row make the subscription be asked for anew."""
AHEAD_MS_MAX: Final = 5_000
"""How far a frame's time may run ahead of the frames before it, against our clock."""
AHEAD_FRAMES_MAX: Final = 3
"""So many such frames in a row mean that a clock was set, and are believed."""
STOOD_NS: Final = 5_000_000_000
"""How long a best bid and ask must have stood before a context's mid price is held against it."""
MID_MISSES_MAX: Final = 2
ACTIVE_FOR_NS: Final = 3_000_000_000
"""While a market's own context is younger than this, the slower one of all markets says nothing of it."""


@dataclass(slots=True)
class Counts:
    """What was left out, and why."""

    older: int = 0
    repeated_trades: int = 0
    ahead: int = 0


class Gate:
    """The time of one coin and kind: lets through what is not older than the last."""

    __slots__ = ("_last_ms", "_older")

    def __init__(self) -> None:
        self._last_ms = 0
        self._older = 0

    def admits(self, time_ms: int) -> bool:
        """Whether a frame of `time_ms` is at least as new as the last."""
        if time_ms >= self._last_ms:
            self._last_ms = time_ms
            self._older = 0
            return True
        self._older += 1
        return False

    @property
    def doubtful(self) -> bool:
        """Whether so many were older that it must be the last one that was wrong."""
        return self._older >= OLDER_MAX

    def reset(self) -> None:
        """Forget: what comes next is a beginning."""
        self._last_ms = 0
        self._older = 0


class Prints:
    """The recent trades of one coin, so that each is given once, and a gap is seen where one can be."""

    __slots__ = ("_backfilling", "_horizon_ms", "_seen")

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._horizon_ms = 0
        self._backfilling = False

    def subscribed(self) -> None:
        """The subscription was answered: the next frame repeats recent trades."""
        self._backfilling = True

    def take(self, trades: list[Trade]) -> tuple[list[Trade], bool]:
        """Return the trades not seen before, and whether some before them were missed.

        Trades were missed when a beginning does not reach back to any trade that was known.
        """
        seen = self._seen
        fresh = [trade for trade in trades if trade.trade_id not in seen and trade.venue_time_ns >= self._horizon_ms]
        missed = self._backfilling and bool(seen) and bool(trades) and len(fresh) == len(trades)
        self._backfilling = self._backfilling and not trades
        for trade in fresh:
            seen[trade.trade_id] = trade.venue_time_ns
        while len(seen) > TRADES_REMEMBERED:
            oldest = next(iter(seen))
            self._horizon_ms = max(self._horizon_ms, seen.pop(oldest))
        return fresh, missed


@dataclass(slots=True, eq=False)
class CoinFeed:
    """Where the feed of one coin stands."""

    info: CoinInfo
    top: Gate = field(default_factory=Gate)
    fast: Gate = field(default_factory=Gate)
    full: Gate = field(default_factory=Gate)
    prints: Prints = field(default_factory=Prints)
    active_time_ns: int = 0
    fast_time_ns: int = 0
    """When the fast book last came, or was promised; 0 while it is not subscribed."""
    mid_sum: int = 0
    """Best bid plus best ask in units, 0 where one is missing: twice the mid price."""
    top_time_ns: int = 0
    mid_misses: int = 0

    def stands(self, top: TopOfBook) -> None:
        """Note the best bid and ask that a context's mid price is held against."""
        self.mid_sum = top.bid[0] + top.ask[0] if top.bid is not None and top.ask is not None else 0
        self.top_time_ns = top.receive_time_ns
        self.mid_misses = 0

    def contradicted(self, mid: str | None, now_ns: int) -> bool:
        """Whether a context's mid price says, for the second time, that a change of the top was missed."""
        if mid is None or not self.mid_sum or now_ns - self.top_time_ns < STOOD_NS:
            return False
        try:
            theirs = decimal_of(mid, "ctx.midPx").scaleb(self.info.prices.decimals) * 2
        except WireError:
            return False
        if abs(theirs - self.mid_sum) <= 2:  # a mid price may be rounded to a unit
            self.mid_misses = 0
            return False
        self.mid_misses += 1
        return self.mid_misses >= MID_MISSES_MAX


class Feed:
    """All coins of the venue."""

    def __init__(self) -> None:
        self.universe: Universe = EMPTY
        self.counts = Counts()
        self._coins: dict[str, CoinFeed] = {}
        self._ahead = 0
        self._skew_ms: int | None = None

    def relist(self, universe: Universe) -> frozenset[str]:
        """Read by another universe from now on. Returns the coins whose numbers are now read differently."""
        changed: set[str] = set()
        coins: dict[str, CoinFeed] = {}
        for symbol, info in universe.coins.items():
            known = self._coins.get(symbol)
            if known is not None and known.info.sizes.decimals == info.sizes.decimals:
                known.info = info
                coins[symbol] = known
                continue
            coins[symbol] = CoinFeed(info)
            if known is not None:
                changed.add(symbol)
        self.universe, self._coins = universe, coins
        return frozenset(changed)

    def coin(self, symbol: str) -> CoinFeed | None:
        """Return the feed of a coin that is listed."""
        return self._coins.get(symbol)

    def book(self, raw: frames.RawBook, depth: int, receive_time_ns: int) -> BookSnapshot | None:
        """Return a book, None for one that is late. Raises `WireError`."""
        snapshot = events.book(raw, self.universe, depth=depth, receive_time_ns=receive_time_ns)
        self._check_ahead(raw.time, receive_time_ns, raw.coin)
        coin = self._coins[raw.coin]
        gate = coin.full
        if depth == events.FAST_DEPTH:
            gate = coin.fast
            if coin.fast_time_ns:
                coin.fast_time_ns = receive_time_ns
        if gate.admits(raw.time):
            return snapshot
        self.counts.older += 1
        return None

    def top(self, raw: frames.RawTop, receive_time_ns: int) -> TopOfBook | None:
        """Return the best bid and ask, None for one that is late. Raises `WireError`."""
        top = events.top(raw, self.universe, receive_time_ns=receive_time_ns)
        self._check_ahead(raw.time, receive_time_ns, raw.coin)
        coin = self._coins[raw.coin]
        if coin.top.admits(raw.time):
            coin.stands(top)
            return top
        self.counts.older += 1
        return None

    def doubtful_top(self, raw: frames.RawActiveContext, now_ns: int) -> bool:
        """Whether a market's context contradicts its best bid and ask."""
        coin = self._coins.get(raw.coin)
        return coin is not None and coin.contradicted(raw.ctx.midPx, now_ns)

    def doubtful_tops(self, dex: str, raw: list[frames.RawContext], now_ns: int) -> list[str]:
        """Return the coins of a dex whose best bid and ask its contexts contradict."""
        infos = self.universe.dexes.get(dex, ())
        doubtful = []
        for info, context in zip(infos, raw, strict=False):
            coin = self._coins.get(info.listing.symbol) if info is not None else None
            if coin is not None and coin.contradicted(context.midPx, now_ns):
                doubtful.append(coin.info.listing.symbol)
        return doubtful

    def trades(self, raw: list[frames.RawTrade], receive_time_ns: int) -> tuple[list[Trade], bool]:
        """Return the trades that are new, the oldest first, and whether some before them were missed.

        Raises `WireError`.
        """
        if not raw:
            return [], False
        trades = events.trades(raw, self.universe, receive_time_ns=receive_time_ns)
        if self._skew_ms is not None:  # old trades say nothing of the clocks
            self._check_ahead(max(item.time for item in raw), receive_time_ns, raw[0].coin)
        fresh, missed = self._coins[raw[0].coin].prints.take(trades)
        self.counts.repeated_trades += len(trades) - len(fresh)
        return fresh, missed

    def active_context(self, raw: frames.RawActiveContext, receive_time_ns: int) -> Context:
        """Return one market's context. Raises `WireError`."""
        info = self.universe.coin(raw.coin, "data.coin")
        cadence_s = events.ACTIVE_CADENCE_S
        context = events.context(raw.ctx, info, cadence_s=cadence_s, receive_time_ns=receive_time_ns)
        self._coins[raw.coin].active_time_ns = receive_time_ns
        return context

    def dex_contexts(
        self, dex: str, raw: list[frames.RawContext], receive_time_ns: int
    ) -> tuple[list[Context], list[WireError]]:
        """Return the contexts of a dex's markets that have no fresher of their own, and what was wrong with others.

        Raises `WireError`.
        """
        found, problems = events.contexts(
            dex, raw, self.universe, cadence_s=events.ALL_CADENCE_S, receive_time_ns=receive_time_ns
        )
        active = {
            coin.info.market for coin in self._coins.values() if receive_time_ns - coin.active_time_ns < ACTIVE_FOR_NS
        }
        return [context for context in found if context.market not in active], problems

    def _check_ahead(self, time_ms: int, receive_time_ns: int, coin: str) -> None:
        """Refuse a frame whose time runs ahead of all before it: believed, it would make every true one look late."""
        skew_ms = time_ms - receive_time_ns // events.NS_PER_MS
        known_ms = self._skew_ms
        if known_ms is not None and skew_ms > known_ms + AHEAD_MS_MAX:
            self._ahead += 1
            if self._ahead < AHEAD_FRAMES_MAX:
                self.counts.ahead += 1
                problem = f"{time_ms} runs {skew_ms - known_ms} ms ahead of the frames before"
                raise WireError("data.time", problem, coin=coin)
        self._ahead = 0
        self._skew_ms = skew_ms if known_ms is None else max(skew_ms, known_ms - 1)
