"""What each frame and each change of a socket means: events to the room, answers to the session, repairs.

Called by the links, synchronously, one frame at a time. A frame that cannot be true is counted, told in the status and
repaired: a price is asked for anew when its coin can be made out; otherwise every price of that socket is, at most once
in `REFRESH_NS`, since a best bid and ask is sent only when it changes and the broken frame may have been such a change.
Books need no repair, being sent whole again within seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from services.chassis.telemetry import log
from services.domain.feed import Alive, FeedState, MarketDown
from services.domain.market import HYPERLIQUID
from services.venues.hyperliquid.feed import Feed
from services.venues.hyperliquid.outlet import Outlet
from services.venues.hyperliquid.plan import NOTHING, Channel, Plan, Role, coin_of, key_of, key_of_frame
from services.venues.hyperliquid.wire import events, frames
from services.venues.hyperliquid.wire.values import WireError
from services.venues.link import Link
from services.venues.port import FeedLevel

DATA_SILENCE_NS: Final = {Role.PRICES: 5_000_000_000, Role.FAST: 5_000_000_000, Role.FULL: 20_000_000_000}
"""How long a socket may answer pings and deliver nothing before it is replaced; doubles while that does not help."""
DATA_SILENCE_MAX_NS: Final = 60_000_000_000
BOOK_SILENCE_NS: Final = 3_000_000_000
"""How long one fast book may stay away while its socket delivers others."""
REFRESH_NS: Final = 60_000_000_000
QUARANTINE_NS: Final = 900_000_000_000
"""How long a coin stays out after the venue closed a socket because of it; the session doubles it in its own memory."""
_DATA: Final = frozenset(
    (frames.BookFrame, frames.TopFrame, frames.TradesFrame, frames.ActiveContextFrame, frames.AllContextsFrame)
)
"""What a socket is for; the rest is talk."""
_CONTEXT_HEADS: Final = (b'{"channel":"activeAssetCtx"', b'{"channel":"allDexsAssetCtxs"')
"""How frames begin that come again by themselves, changed or not."""
MISSED_REASON: Final = "trades were missed while the connection was down: the venue's recent ones do not reach back"


@dataclass(slots=True)
class Tally:
    """What has passed since the start."""

    bad_frames: int = 0
    gaps: int = 0
    resyncs: int = 0
    refused: int = 0
    last_problem: str = ""


@dataclass(slots=True)
class Pulse:
    """When a socket last delivered data: a pong proves the line, not the feed."""

    data_ns: int = 0
    watched_ns: int = 0
    """From when on data is due: the socket is open and something is acknowledged."""
    patience: int = 0
    """How many times in a row the socket was replaced for silence."""


@dataclass(slots=True)
class Priced:
    """The prices one socket delivers."""

    coins: set[str] = field(default_factory=set)
    markets: frozenset[str] = frozenset()
    doubtful_since_ns: int = 0
    """When a frame came that could not be made out; 0 while none is to be made good."""
    refreshed_ns: int = 0
    told_ns: int = 0


class Listener:
    """Hears every link of the venue."""

    def __init__(
        self,
        feed: Feed,
        outlet: Outlet,
        roles: dict[str, Role],
        doubt_listing: Callable[[], None],
        accepted: Callable[[], None],
    ) -> None:
        self.tally = Tally()
        self.plan: Plan = NOTHING
        self.links: dict[str, Link] = {}
        self.silent_tops: dict[str, int] = {}
        """Coins whose best bid and ask is subscribed and has not come yet, and since when (Unix ns)."""
        self.quarantined: dict[str, int] = {}
        """Coins the venue closes sockets over, and until when (Unix ns) they stay out."""
        self._feed = feed
        self._outlet = outlet
        self._books: set[str] = set()
        self._roles = roles
        self._doubt_listing = doubt_listing
        self._accepted = accepted
        self._states = dict.fromkeys(roles, FeedState.RECOVERING)
        self._priced: dict[str, Priced] = {name: Priced() for name, role in roles.items() if role is Role.PRICES}
        self._pulses = {name: Pulse() for name in roles}
        self._culprits: dict[str, int] = {}
        self._handlers: dict[type[Any], Callable[[Link, Any, int], None]] = {
            frames.BookFrame: self._on_book,
            frames.TopFrame: self._on_top,
            frames.TradesFrame: self._on_trades,
            frames.ActiveContextFrame: self._on_active_context,
            frames.AllContextsFrame: self._on_all_contexts,
            frames.AckFrame: self._on_ack,
            frames.ErrorFrame: self._on_error,
            frames.PongFrame: _ignore,
        }

    # --- what the link tells ------------------------------------------------------------------------------------

    def frame(self, link: Link, data: bytes, receive_time_ns: int) -> None:
        """Take one frame."""
        try:
            frame = frames.decode(data)
            handler = self._handlers.get(type(frame))
            if handler is None:
                raise WireError("channel", f"a {type(frame).__name__} was not asked for")
            handler(link, frame, receive_time_ns)
            if type(frame) in _DATA:
                pulse = self._pulses[link.name]
                pulse.data_ns, pulse.patience = receive_time_ns, 0
        except WireError as error:
            self._bad(link, data, error, receive_time_ns)

    def changed(self, link: Link, state: FeedState, reason: str, time_ns: int) -> None:
        """Tell the room when a socket of prices falls silent, and when it speaks again."""
        if state is FeedState.LIVE and self._states[link.name] is FeedState.RECOVERING:
            self._accepted()
        self._states[link.name] = state
        priced = self._priced.get(link.name)
        if priced is None or not priced.coins:
            return
        if state is FeedState.STALE:
            self._down(self._markets(priced.coins), FeedState.STALE, reason, time_ns)
        elif state is FeedState.LIVE:
            self._alive(link, priced, time_ns)

    def lost(self, link: Link, keys: tuple[str, ...], reason: str, time_ns: int) -> None:
        """Tell the room what no longer comes, and forget what it would be compared with."""
        role = self._roles[link.name]
        coins = {coin_of(key) for key in keys if key.startswith((f"{Channel.TOP.value}:", "l2Book"))}
        for symbol in coins:
            coin = self._feed.coin(symbol)
            if coin is None:
                continue
            if role is Role.PRICES:
                coin.top.reset()
                coin.mid_sum = 0
                self._outlet.forget_price(coin.info.market)
                self.silent_tops.pop(symbol, None)
            elif role is Role.FULL:
                coin.full.reset()
                self._outlet.forget_books(coin.info.market, fast=False)
            else:
                coin.fast.reset()
                coin.fast_time_ns = 0
                self._outlet.forget_books(coin.info.market)
        if role is Role.PRICES:
            priced = self._priced[link.name]
            priced.coins -= coins
            priced.markets = self._markets(priced.coins)
            priced.doubtful_since_ns = 0
        markets = self._markets(coins)
        if role is not Role.FULL and markets:
            self._down(markets, FeedState.RECOVERING, reason, time_ns)
        if role is Role.FAST:
            for market in markets:  # the best bid and ask come over another socket and are still good
                self._outlet.again(market)

    def refused(self, link: Link, key: str, reason: str, time_ns: int) -> None:
        """Leave a coin out over which the venue closes sockets: each of its channels would close one more."""
        self.tally.refused += 1
        self.tally.last_problem = f"{key} is refused: {reason}"
        symbol = coin_of(key)
        culprits = link.session.counts.quarantined
        if symbol and culprits > self._culprits.get(link.name, 0):
            self.quarantined[symbol] = time_ns + QUARANTINE_NS
            self._doubt_listing()
        self._culprits[link.name] = culprits
        markets = self._markets({symbol})
        if markets and key == key_of(Channel.TOP, symbol):
            self._down(markets, FeedState.RECOVERING, f"the venue refuses this market: {reason}", time_ns)

    def replanned(self, plan: Plan, books: set[str]) -> None:
        """Take what is subscribed from now on, and the coins whose `books` are wanted: others' are not given on.

        What is not subscribed is nobody's silence.
        """
        for symbol in self._books - books:
            coin = self._feed.coin(symbol)
            if coin is not None:
                self._outlet.forget_books(coin.info.market)
        for symbol, level in self.plan.levels.items():
            coin = self._feed.coin(symbol) if level is FeedLevel.BOOK else None
            if coin is not None and plan.levels.get(symbol) is not FeedLevel.BOOK:
                coin.fast_time_ns = 0
        self.plan, self._books = plan, books
        for priced in self._priced.values():
            gone = priced.coins - plan.levels.keys()
            if gone:
                priced.coins -= gone
                for symbol in gone:
                    self.silent_tops.pop(symbol, None)
            priced.markets = self._markets(priced.coins)

    # --- what is due a few times a second -------------------------------------------------------------------------

    def beat(self, links: list[Link], time_ns: int) -> None:
        """Tell which prices are current though nothing changed, and repair what a broken frame left in doubt."""
        for link in links:
            pulse = self._pulses[link.name]
            self._check_pulse(link, pulse, time_ns)
            if self._roles[link.name] is Role.FAST and link.state is FeedState.LIVE:
                self._check_books(link, time_ns)
            priced = self._priced.get(link.name)
            if priced is None:
                continue
            if link.state is FeedState.LIVE and pulse.data_ns > priced.told_ns:
                self._alive(link, priced, pulse.data_ns)
            if priced.doubtful_since_ns and time_ns - priced.refreshed_ns >= REFRESH_NS:
                priced.doubtful_since_ns, priced.refreshed_ns = 0, time_ns
                self.tally.gaps += 1
                for symbol in sorted(priced.coins):
                    link.renew(key_of(Channel.TOP, symbol))
        for symbol, until_ns in list(self.quarantined.items()):
            if time_ns >= until_ns:
                del self.quarantined[symbol]
                self._doubt_listing()

    def _check_pulse(self, link: Link, pulse: Pulse, time_ns: int) -> None:
        """Replace a socket that answers pings and delivers nothing of what it acknowledged."""
        if link.state is not FeedState.LIVE or not link.session.acked_count:
            pulse.watched_ns = time_ns
            return
        allowed_ns = min(DATA_SILENCE_NS[self._roles[link.name]] << min(pulse.patience, 8), DATA_SILENCE_MAX_NS)
        if time_ns - max(pulse.data_ns, pulse.watched_ns) > allowed_ns:
            self.tally.gaps += 1
            pulse.watched_ns, pulse.patience = time_ns, pulse.patience + 1
            link.recycle(f"the venue answers pings and has sent no data for {allowed_ns / 1e9:g} s")

    def _check_books(self, link: Link, time_ns: int) -> None:
        """Ask anew for a fast book that stays away while others come."""
        for symbol, level in self.plan.levels.items():
            coin = self._feed.coin(symbol) if level is FeedLevel.BOOK else None
            if coin is None or not coin.fast_time_ns or time_ns - coin.fast_time_ns <= BOOK_SILENCE_NS:
                continue
            coin.fast_time_ns = time_ns
            self._renew(link, Channel.FAST_BOOK, symbol, "the fast book stays away")

    def _doubt_top(self, symbol: str) -> None:
        for name, priced in self._priced.items():
            if symbol in priced.coins:
                self._renew(self.links[name], Channel.TOP, symbol, "the mid price contradicts the best bid and ask")

    # --- what the frames say --------------------------------------------------------------------------------------

    def _on_book(self, link: Link, frame: frames.BookFrame, now_ns: int) -> None:
        role = self._roles[link.name]
        if role is Role.PRICES:
            raise WireError("channel", "a book where none was asked for", coin=frame.data.coin)
        depth = events.FAST_DEPTH if role is Role.FAST else events.FULL_DEPTH
        snapshot = self._feed.book(frame.data, depth, now_ns)
        if snapshot is not None:
            if frame.data.coin in self._books:
                self._outlet.book(snapshot)
        else:
            channel = Channel.FAST_BOOK if role is Role.FAST else Channel.FULL_BOOK
            coin = self._feed.coin(frame.data.coin)
            if coin is not None:
                gate = coin.fast if role is Role.FAST else coin.full
                if gate.doubtful:
                    gate.reset()
                    self._renew(link, channel, frame.data.coin, "books older than the one before")

    def _on_top(self, link: Link, frame: frames.TopFrame, now_ns: int) -> None:
        symbol = frame.data.coin
        top = self._feed.top(frame.data, now_ns)
        if top is not None:
            if self.silent_tops:
                self.silent_tops.pop(symbol, None)
            if symbol in self.plan.levels:
                self._outlet.top(top)
            return
        coin = self._feed.coin(symbol)
        if coin is not None and coin.top.doubtful:
            coin.top.reset()
            self._renew(link, Channel.TOP, symbol, "best prices older than the ones before")

    def _on_trades(self, link: Link, frame: frames.TradesFrame, now_ns: int) -> None:
        fresh, missed = self._feed.trades(frame.data, now_ns)
        if missed:
            self.tally.gaps += 1
            self._outlet.trades_lost(fresh[0].market, MISSED_REASON, now_ns)
        for trade in fresh:
            self._outlet.trade(trade)

    def _on_active_context(self, link: Link, frame: frames.ActiveContextFrame, now_ns: int) -> None:
        self._outlet.context(self._feed.active_context(frame.data, now_ns))
        if self._feed.doubtful_top(frame.data, now_ns):
            self._doubt_top(frame.data.coin)

    def _on_all_contexts(self, link: Link, frame: frames.AllContextsFrame, now_ns: int) -> None:
        link.acked(key_of(Channel.ALL_CONTEXTS))
        for dex, raw in frame.data.ctxs:
            try:
                found, problems = self._feed.dex_contexts(dex, raw, now_ns)
            except WireError as error:
                found, problems = [], [error]
            for context in found:
                self._outlet.context(context)
            for symbol in self._feed.doubtful_tops(dex, raw, now_ns):
                self._doubt_top(symbol)
            if problems:
                self._doubt_listing()
                self.tally.bad_frames += 1
                self.tally.last_problem = f"{link.name}: {problems[0]}"

    def _on_ack(self, link: Link, frame: frames.AckFrame, now_ns: int) -> None:
        if frame.data.method == "subscribe":
            self._acked(link, key_of_frame(frame.data.subscription.normal()), now_ns)

    def _on_error(self, link: Link, frame: frames.ErrorFrame, now_ns: int) -> None:
        """Read what the venue objects to; its sentences repeat the subscription they are about."""
        text = frame.data
        about = frames.subscription_in(text)
        if about is not None and text.startswith("Already subscribed"):
            self._acked(link, key_of_frame(about), now_ns)
            return
        if text.startswith("Already unsubscribed"):
            return
        self.tally.last_problem = f"{link.name}: the venue says {text[:200]}"
        log.warning("hyperliquid.error_frame", connection=link.name, text=text[:300])
        if about is not None:
            link.refuse(key_of_frame(about), f"the venue says {text[:100]}")

    def _acked(self, link: Link, key: str, now_ns: int) -> None:
        link.acked(key)
        symbol = coin_of(key)
        coin = self._feed.coin(symbol)
        if coin is None:
            return
        if key == key_of(Channel.TOP, symbol):
            self.silent_tops[symbol] = now_ns
            priced = self._priced.get(link.name)
            if priced is not None and symbol not in priced.coins:
                priced.coins.add(symbol)
                priced.markets |= {coin.info.market}
        elif key == key_of(Channel.FAST_BOOK, symbol):
            coin.fast_time_ns = now_ns
        elif key == key_of(Channel.TRADES, symbol):
            coin.prints.subscribed()

    # --- repairs --------------------------------------------------------------------------------------------------

    def _renew(self, link: Link, channel: Channel, symbol: str, reason: str) -> None:
        self.tally.gaps += 1
        self.tally.last_problem = f"{symbol}: {reason}"
        link.renew(key_of(channel, symbol))

    def _bad(self, link: Link, data: bytes, error: WireError, now_ns: int) -> None:
        """Count, tell and repair a frame that cannot be true."""
        self.tally.bad_frames += 1
        self.tally.last_problem = f"{link.name}: {str(error)[:200]}"
        log.warning("hyperliquid.bad_frame", connection=link.name, error=str(error)[:300], frame=_head(data))
        priced = self._priced.get(link.name)
        if priced is None or data.startswith(_CONTEXT_HEADS):
            return
        if error.coin in priced.coins:
            link.renew(key_of(Channel.TOP, error.coin))
            link.renew(key_of(Channel.TRADES, error.coin))
        elif self._feed.coin(error.coin) is None:
            priced.doubtful_since_ns = priced.doubtful_since_ns or now_ns

    def _alive(self, link: Link, priced: Priced, time_ns: int) -> None:
        priced.told_ns = time_ns
        if priced.markets:
            self._outlet.alive(
                Alive(venue=HYPERLIQUID, connection=link.name, markets=priced.markets, receive_time_ns=time_ns)
            )

    def _down(self, markets: frozenset[str], state: FeedState, reason: str, time_ns: int) -> None:
        self._outlet.down(
            MarketDown(venue=HYPERLIQUID, markets=markets, state=state, reason=reason, receive_time_ns=time_ns)
        )

    def _markets(self, symbols: set[str]) -> frozenset[str]:
        known = self._feed.universe.coins
        return frozenset(known[symbol].market for symbol in symbols if symbol in known)


def _ignore(link: Link, frame: object, now_ns: int) -> None:
    """A sign of life says nothing more than that."""


def _head(data: bytes) -> str:
    return data[:200].decode("latin-1")
