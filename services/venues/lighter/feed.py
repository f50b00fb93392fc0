"""Lighter's feed: from frames to events, with every chain kept.

A book is told only while its chain is whole. The first update that does not follow breaks it: the market is told to be
RECOVERING at once, the book is left and asked for again, and nothing of it is told before the new snapshot. The same
happens when a frame of the book cannot be read, when the room had no place for an update, when the room itself asks,
and when the ticker moves while the book does not. A silent venue is not a broken chain: after STALE, the next frame
shows that nothing was missed.

What Lighter leaves out is made up here: contexts come only when they change, so what the channel of all markets does
not mention is confirmed once a second; and trades are told once, however often a reconnect replays them.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, replace
from typing import Final

from services.chassis.telemetry import log
from services.domain.feed import Alive, BookDelta, BookSnapshot, Context, FeedState
from services.domain.market import LIGHTER, Listing
from services.venues.lighter import plan
from services.venues.lighter.outlet import Outlet
from services.venues.lighter.track import Step, Track
from services.venues.lighter.wire.frames import Decoder
from services.venues.lighter.wire.messages import (
    Contexts,
    Greeting,
    Message,
    Ping,
    Pong,
    Refusal,
    Shutdown,
    Ticker,
    Trades,
    Unsubscribed,
    Unused,
    WireMarket,
)
from services.venues.lighter.wire.numbers import WireError
from services.venues.link import Link
from services.venues.port import Emit, FeedLevel

ALIVE_EVERY_NS: Final = 250_000_000
UNKNOWN_IDS_MAX: Final = 10_000
CONFIRM_EVERY_NS: Final = 1_000_000_000
DATA_SILENCE_NS: Final = 2_600_000_000
"""A socket that brings no data for so long is stale, looked at every quarter of a second: within 3 s. Every socket has
the statistics of all markets, of which some change each second."""
DATA_GIVE_UP_NS: Final = 6_000_000_000
TOO_MANY_MESSAGES_S: Final = 5.0
TOO_MANY_IN_FLIGHT_S: Final = 1.0
PONG: Final = '{"type":"pong"}'
ALL_STATS: Final = "market_stats:all"
MISSED_REASON: Final = "trades were missed while the connection was down: the venue repeats only the latest 50"
NO_DATA: Final = (Pong, Ping, Greeting, Refusal, Unsubscribed, Shutdown, Unused)
BEHIND_REASON: Final = "trades were dropped because they came faster than they were taken"

NOT_SUBSCRIBED: Final = 30002
ALREADY_SUBSCRIBED: Final = 30003
TOO_MANY_MESSAGES: Final = 30009
TOO_MANY_IN_FLIGHT: Final = 30010


@dataclass(slots=True)
class Counts:
    """What has passed since the start."""

    bad_frames: int = 0
    gaps: int = 0
    resyncs: int = 0
    repeats: int = 0
    refused: int = 0


class Feed:
    """Turns the frames of all of Lighter's sockets into events."""

    def __init__(self, decoder: Decoder, *, chain: str, list_again: Callable[[], None]) -> None:
        self.counts = Counts()
        self._decoder = decoder
        self._by_nonce = chain == "nonce"
        self._list_again = list_again
        self._out = Outlet()
        self._links: list[Link] = []
        self._tracks: dict[str, Track] = {}
        self._alive_ns: dict[str, int] = {}
        self._data_ns: dict[str, int] = {}
        self._silent: set[str] = set()
        self._alive_sets: dict[str, frozenset[str]] = {}
        self._contexts: dict[str, Context] = {}
        self._listed: frozenset[str] = frozenset()
        self._asked_about: set[int] = set()

    # --- what the venue object says -----------------------------------------------------------------------------

    def start(self, emit: Emit, links: list[Link]) -> None:
        """Tell events to `emit` from now on; `links` grows as sockets are added."""
        self._out.emit = emit
        self._links = links

    def relist(self, listings: tuple[Listing, ...], ignored_ids: frozenset[int]) -> None:
        """Know these listings."""
        self._decoder.relist(listings, ignored_ids)
        self._listed = frozenset(listing.market for listing in listings)
        self._contexts = {name: context for name, context in self._contexts.items() if name in self._listed}

    def follow(
        self,
        levels: Mapping[str, FeedLevel],
        placed: Mapping[str, int],
        markets: Mapping[str, WireMarket],
        unasked: Container[str] = (),
    ) -> None:
        """Follow these markets at these levels; what was known of others is forgotten, save which trades were told."""
        tracks: dict[str, Track] = {}
        for name, level in levels.items():
            if name not in placed:
                continue
            track = self._tracks.get(name)
            market_id = markets[name].market_id
            if track is None or track.market_id != market_id or track.link != placed[name]:
                track = Track(name, market_id, placed[name], level)
            track.asked = name not in unasked
            if track.level is not level:
                track.level = level
                if level is not FeedLevel.BOOK:
                    track.break_chain()
            tracks[name] = track
        self._tracks = tracks
        self._alive_sets.clear()

    def fed(self, market: str) -> FeedLevel:
        """Return how much of `market` is subscribed and answered."""
        track = self._tracks.get(market)
        if track is None or track.link >= len(self._links):
            return FeedLevel.CONTEXT
        session = self._links[track.link].session
        if track.level is FeedLevel.BOOK and session.is_acked(track.book_key):
            return FeedLevel.BOOK
        return FeedLevel.PRICE if session.is_acked(track.ticker_key) else FeedLevel.CONTEXT

    def resync(self, market: str, reason: str, now_ns: int) -> None:
        """Build the book anew; nothing when it is already being built."""
        track = self._tracks.get(market)
        if track is not None and track.level is FeedLevel.BOOK and track.synced:
            self._break(track, reason, now_ns)

    def is_silent(self, link: Link) -> bool:
        """Whether a socket that answers pings has stopped to bring anything."""
        return link.name in self._silent

    def beat(self, now_ns: int) -> None:
        """Look for what does not come; call a few times a second."""
        for number, link in enumerate(self._links):
            quiet_ns = now_ns - self._data_ns.get(link.name, now_ns)
            if link.state is FeedState.LIVE and quiet_ns > DATA_SILENCE_NS and link.session.acked_count:
                self._no_data(link, quiet_ns, now_ns)
            for track in self._tracks.values():
                if track.link == number and link.name not in self._silent:
                    self._check_progress(track, now_ns)
                if track.link == number and track.renewal_due and track.may_renew(now_ns):
                    track.renewal_due = False
                    link.renew(track.book_key)
            self._out.settle(self._current(link), now_ns)

    # --- what the links say (`link.Listener`) -------------------------------------------------------------------

    def frame(self, link: Link, data: bytes, receive_time_ns: int) -> None:
        """Take one frame."""
        try:
            message = self._decoder.decode(data, receive_time_ns)
        except WireError as error:
            self._bad(link, error, data, receive_time_ns)
            return
        if type(message) is BookDelta:
            self._delta(message, receive_time_ns)
        elif isinstance(message, NO_DATA):
            self._answer(link, message)
            return
        else:
            self._other(link, message, receive_time_ns)
        self._data_ns[link.name] = receive_time_ns
        if self._silent:
            self._silent.discard(link.name)
            self._alive_ns.pop(link.name, None)
        if receive_time_ns - self._alive_ns.get(link.name, 0) >= ALIVE_EVERY_NS:
            self._alive(link, receive_time_ns)

    def changed(self, link: Link, state: FeedState, reason: str, time_ns: int) -> None:
        """The socket is LIVE, STALE or RECOVERING."""
        self._data_ns[link.name] = time_ns
        self._silent.discard(link.name)
        if state is not FeedState.LIVE:
            if state is FeedState.RECOVERING:
                self._forget(self._links.index(link))
            self._out.down(self._markets_on(link), state, reason, time_ns)

    def lost(self, link: Link, keys: tuple[str, ...], reason: str, time_ns: int) -> None:
        """Subscriptions went with their socket; `changed` tells of their markets."""

    def refused(self, link: Link, key: str, reason: str, time_ns: int) -> None:
        """The venue does not give a subscription for now."""
        self.counts.refused += 1

    # --- frames -------------------------------------------------------------------------------------------------

    def _delta(self, delta: BookDelta, now_ns: int) -> None:
        track = self._tracks.get(delta.market)
        if track is None:
            return
        step = track.step(delta)
        if step is Step.NEXT:
            if not self._out.give(delta):
                self._break(track, "the market data room was behind and had no place for an update", now_ns)
        elif step is Step.GAP:
            self.counts.gaps += 1
            self._break(track, track.gap_sentence(delta), now_ns)
        elif step is Step.AGAIN:
            self.counts.repeats += 1

    def _other(self, link: Link, message: Message, now_ns: int) -> None:
        """Take data other than an update of a book. Heights and candles only prove life."""
        if isinstance(message, BookSnapshot):
            self._snapshot(link, message, now_ns)
        elif isinstance(message, Ticker):
            self._ticker(link, message, now_ns)
        elif isinstance(message, Trades):
            self._trades(link, message, now_ns)
        elif isinstance(message, Contexts):
            self._contexts_of(link, message, now_ns)

    def _answer(self, link: Link, message: Message) -> None:
        """Take a frame that brings no data: it proves that the socket lives, not that its channels do."""
        if isinstance(message, Greeting):
            link.greeted()
        elif isinstance(message, Ping):
            link.reply(PONG)
        elif isinstance(message, Refusal):
            self._refusal(link, message)
        elif isinstance(message, Shutdown):
            link.recycle("the venue announced a restart")

    def _snapshot(self, link: Link, snapshot: BookSnapshot, now_ns: int) -> None:
        track = self._tracks.get(snapshot.market)
        if track is None or track.level is not FeedLevel.BOOK:
            return
        link.acked(track.book_key)
        track.start(snapshot)
        track.renewal_due = False
        self._alive_sets.clear()
        if self._out.give(snapshot):
            self._out.up(track.market)
        else:
            self._break(track, "the market data room was behind and had no place for a book", now_ns)

    def _ticker(self, link: Link, ticker: Ticker, now_ns: int) -> None:
        track = self._tracks.get(ticker.top.market)
        if track is None:
            return
        if ticker.snapshot:
            link.acked(track.ticker_key)
        if self._by_nonce:
            track.ticker.reach(ticker.nonce)
            if not ticker.snapshot:
                track.seen(ticker.nonce, now_ns, trade=False)
        if not track.priced:
            track.priced = True
            self._alive_sets.clear()
        if not self._out.give(ticker.top):
            self._lose_ticker(track, "the market data room was behind and had no place for a price", now_ns)

    def _trades(self, link: Link, trades: Trades, now_ns: int) -> None:
        track = self._tracks.get(trades.market)
        if track is None:
            return
        if trades.snapshot:
            link.acked(track.trade_key)
        elif self._by_nonce:
            track.seen(trades.nonce, now_ns, trade=True)
        fresh, missed = track.trades.fresh(trades.trades, snapshot=trades.snapshot)
        if missed:
            self._out.trades_lost(track.market, MISSED_REASON, now_ns, current=track.current)
        dropped = [trade for trade in fresh if not self._out.give(trade)]
        if dropped:
            self._out.trades_lost(track.market, BEHIND_REASON, now_ns, current=track.current)

    def _contexts_of(self, link: Link, contexts: Contexts, now_ns: int) -> None:
        if contexts.snapshot:
            link.acked(plan.key_of(contexts.channel))
        if link is not self._links[0]:
            return  # on other sockets they only prove life
        for context in contexts.contexts:
            self._contexts[context.market] = context
            self._out.give(context)
        if contexts.channel == ALL_STATS:
            for market, known in self._contexts.items():
                if now_ns - known.receive_time_ns >= CONFIRM_EVERY_NS:
                    self._contexts[market] = confirmed = replace(known, receive_time_ns=now_ns)
                    self._out.give(confirmed)
        for error in contexts.errors:
            self.counts.bad_frames += 1
            log.warning("lighter.bad_context", field=error.field, problem=error.problem)
        unknown = set(contexts.unknown_ids) - self._asked_about
        if unknown and len(self._asked_about) < UNKNOWN_IDS_MAX:
            self._asked_about |= unknown  # once is enough: the list is read every minute anyway
            self._list_again()

    def _refusal(self, link: Link, refusal: Refusal) -> None:
        self.counts.refused += 1
        log.warning("lighter.refusal", connection=link.name, code=refusal.code, text=refusal.message)
        key = plan.key_of(refusal.channel)
        if refusal.code == TOO_MANY_MESSAGES:
            link.throttle(TOO_MANY_MESSAGES_S)
        elif refusal.code == TOO_MANY_IN_FLIGHT:
            link.throttle(TOO_MANY_IN_FLIGHT_S)
        elif refusal.code == ALREADY_SUBSCRIBED:
            if key.startswith("order_book/") and not link.session.is_acked(key):
                link.renew(key, again=True)  # no snapshot follows this refusal
            else:
                link.acked(key)
        elif key and refusal.code != NOT_SUBSCRIBED:
            link.refuse(key, f"{refusal.code} {refusal.message}")

    # --- trouble ------------------------------------------------------------------------------------------------

    def _bad(self, link: Link, error: WireError, data: bytes, now_ns: int) -> None:
        """A frame that cannot be read: count it, show it, and repair what it may have been about."""
        self.counts.bad_frames += 1
        sample = data[:300].decode("latin-1")
        log.warning("lighter.bad_frame", connection=link.name, field=error.field, problem=error.problem, frame=sample)
        track = self._tracks.get(self._decoder.market_of(error.channel))
        if track is None:
            return
        reason = f"a frame of {error.channel} could not be read: {error.field}: {error.problem}"
        if error.channel.startswith("order_book:"):
            if track.level is FeedLevel.BOOK:
                self._break(track, reason, now_ns)
        elif error.channel.startswith("ticker:"):
            self._lose_ticker(track, reason, now_ns)
        else:
            self._out.trades_lost(track.market, reason, now_ns, current=track.current)

    def _break(self, track: Track, reason: str, now_ns: int) -> None:
        """Break a chain: tell it, and ask for a new snapshot (again, where the snapshot itself was bad)."""
        was_synced = track.synced
        track.break_chain()
        self._alive_sets.clear()
        if was_synced:
            self._out.down(frozenset((track.market,)), FeedState.RECOVERING, reason, now_ns)
        self.counts.resyncs += 1
        if not was_synced:  # the session waits longer and longer between these by itself
            self._links[track.link].renew(track.book_key, again=True)
        elif track.may_renew(now_ns):
            track.renewal_due = False
            self._links[track.link].renew(track.book_key)
        else:
            track.renewal_due = True

    def _lose_ticker(self, track: Track, reason: str, now_ns: int) -> None:
        """Ask for the ticker again; where it is all that is known of the price, the market is down until it comes."""
        track.lose_price()
        self._alive_sets.clear()
        if not track.synced:
            self._out.down(frozenset((track.market,)), FeedState.RECOVERING, reason, now_ns)
        if track.asked:  # else the next ticker is soon enough: messages are for markets that somebody asked for
            self._links[track.link].renew(track.ticker_key, again=True)

    def _forget(self, link: int) -> None:
        """A socket is gone: nothing that came over it is current any more."""
        for track in self._tracks.values():
            if track.link == link:
                track.break_chain()
                track.lose_price()
        self._alive_sets.clear()

    def _alive(self, link: Link, now_ns: int) -> None:
        """Tell which markets are current as of now."""
        self._alive_ns[link.name] = now_ns
        current = self._current(link)
        if current:
            self._out.give(Alive(venue=LIGHTER, connection=link.name, markets=current, receive_time_ns=now_ns))

    def _current(self, link: Link) -> frozenset[str]:
        current = self._alive_sets.get(link.name)
        if current is None:
            number = self._links.index(link)
            tracks = self._tracks.values()
            current = frozenset(track.market for track in tracks if track.link == number and track.current)
            self._alive_sets[link.name] = current
        return current

    def _check_progress(self, track: Track, now_ns: int) -> None:
        """Find a channel that stands still while others of its market move."""
        if track.book.is_behind(now_ns):
            self.counts.gaps += 1
            self._break(track, "the book stands still while trades or the ticker move", now_ns)
        if track.ticker.is_behind(now_ns):
            self.counts.gaps += 1
            self._lose_ticker(track, "the ticker stands still while trades happen", now_ns)

    def _no_data(self, link: Link, quiet_ns: int, now_ns: int) -> None:
        """A socket brings nothing although statistics of all markets are due: tell it, later give the socket up."""
        reason = f"nothing but answers to pings for {quiet_ns / 1e9:.1f} s"
        if link.name not in self._silent:
            self._silent.add(link.name)
            self._out.down(self._markets_on(link), FeedState.STALE, reason, now_ns)
        elif quiet_ns > DATA_GIVE_UP_NS:
            self._silent.discard(link.name)
            link.recycle(reason)

    def _markets_on(self, link: Link) -> frozenset[str]:
        """Return what comes over a socket; the first brings the contexts of all markets."""
        number = self._links.index(link)
        markets = {track.market for track in self._tracks.values() if track.link == number}
        if number == 0:
            markets |= self._listed - self._tracks.keys()
        return frozenset(markets)
