"""Hyperliquid as a venue: owns its sockets, its list of markets and its limits.

Three things go on: the links, each driving one socket; the beat, four times a second, which tells what is current,
settles what is owed and applies a changed plan; the relisting, once a minute, which reads what the venue lists.
Everything that decides is pure and elsewhere: `plan`, `feed`, `wire`, and the session.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Final, Protocol

from services.chassis.clock import Clock
from services.chassis.telemetry import log
from services.domain.feed import (
    BookSnapshot,
    FeedState,
    ListingsChanged,
    MarketDown,
    PastCandle,
    PastFunding,
    TopOfBook,
)
from services.domain.market import HYPERLIQUID, Source
from services.venues.budget import Allowance, Budget
from services.venues.hyperliquid import plan as planning
from services.venues.hyperliquid.connects import Connects
from services.venues.hyperliquid.feed import Feed
from services.venues.hyperliquid.http import WEIGHT_ALLOWED, Info
from services.venues.hyperliquid.listener import Listener
from services.venues.hyperliquid.listings import contradiction, live_coins
from services.venues.hyperliquid.outlet import Outlet
from services.venues.hyperliquid.plan import Channel, Limits, Plan, Role, key_of
from services.venues.hyperliquid.wire.universe import Universe
from services.venues.hyperliquid.wishes import Wishes
from services.venues.lifecycle import SessionConfig
from services.venues.link import Breaker, Link, Tap
from services.venues.port import (
    BreakerStatus,
    ConnectionStatus,
    Emit,
    FeedCounts,
    FeedLevel,
    LimitUse,
    VenueError,
    VenueStatus,
)
from services.venues.rest import Rest
from services.venues.session import Session
from services.venues.subscriptions import Subscription

MAINNET_URL: Final = "https://api.hyperliquid.xyz"
TESTNET_URL: Final = "https://api.hyperliquid-testnet.xyz"
BEAT_S: Final = 0.25
RELIST_DOUBT_S: Final = 10.0
"""How soon the list of markets is read again when something makes it doubtful."""
SILENT_TOP_S: Final = 0.6
"""How long after its subscription a best bid and ask may stay away before it is asked for by REST."""
TOPS_AT_ONCE: Final = 8
TOPS_WEIGHT_BELOW: Final = 250
"""Beyond this much of the minute's weight, the rest is kept for the list of markets and for audits."""
RETRY_MAX_S: Final = 15.0


class WatchedBreaker(Breaker, Protocol):
    """A circuit breaker that can be shown."""

    def status(self) -> BreakerStatus:
        """Return how it stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HyperliquidConfig:
    """Which Hyperliquid, and how much of its limits to use. Times in seconds."""

    source: Source = Source.SIMULATED
    base_url: str
    """Its REST address, such as `https://api.hyperliquid.xyz`; the socket's is the same with `ws` and `/ws`."""
    limits: Limits = field(default_factory=Limits)
    relist_s: float = 60.0

    def socket_url(self) -> str:
        """Return the WebSocket's address, as the venue derives it."""
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url: {self.base_url!r:.80} must begin with http:// or https://")
        return "ws" + self.base_url.rstrip("/")[len("http") :] + "/ws"


class HyperliquidVenue:
    """Public market data of one Hyperliquid."""

    def __init__(
        self,
        config: HyperliquidConfig,
        *,
        clock: Clock,
        rng: random.Random,
        rest_breaker: WatchedBreaker,
        socket_breaker: WatchedBreaker,
        tap: Tap | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._breakers = (rest_breaker, socket_breaker)
        self._weight = Budget(WEIGHT_ALLOWED)
        self._messages = Budget(Allowance(units=planning.MESSAGES_ALLOWED_PER_MINUTE, seconds=60, reserve=200))
        self._connects = Connects()
        rest = Rest(base_url=config.base_url, budget=self._weight, breaker=rest_breaker, clock=clock)
        self._info = Info(rest, clock)
        self._feed = Feed()
        self._wishes = Wishes()
        self._symbols: dict[str, str] = {}
        self._plan: Plan = planning.NOTHING
        self._sent: dict[str, tuple[Subscription, ...]] = {}
        self._replan_due = False
        self._apply_due = False
        self._relist_wanted = asyncio.Event()
        self._suspicion = ""
        self._outlet = Outlet(_nowhere)
        self._roles = {
            name: Role(name) if name in (Role.FAST.value, Role.FULL.value) else Role.PRICES
            for name in config.limits.link_names()
        }
        self._listener = Listener(self._feed, self._outlet, self._roles, self._doubt, self._accepted)
        self._links = {name: self._make_link(name, rng, socket_breaker, tap) for name in self._roles}
        self._listener.links = self._links
        self._running: set[str] = set()
        self._group: asyncio.TaskGroup | None = None
        self._state = FeedState.RECOVERING
        self._state_reason = "the list of markets has not been read yet"
        self._state_time_ns = clock.time_ns()
        self._version = 1
        self._shown: object = None

    # --- the port -----------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The venue's name."""
        return HYPERLIQUID

    async def run(self, emit: Emit) -> None:
        """Feed until canceled."""
        self._outlet.open(emit)
        try:
            await self._list_first()
            async with asyncio.TaskGroup() as group:
                self._group = group
                group.create_task(self._beat(), name="hyperliquid-beat")
                group.create_task(self._relist(), name="hyperliquid-relist")
                group.create_task(self._fill_silent_tops(), name="hyperliquid-tops")
                self._replan()
        finally:
            self._group = None
            await self._info.close()

    def want(self, levels: dict[str, FeedLevel]) -> None:
        """Say what is wanted of each canonical market, replacing what was said before."""
        self._wishes.replace(levels, self._clock.monotonic_ns())
        self._replan()

    def fed(self, market: str) -> FeedLevel:
        """Return how much of `market` is subscribed, and answered, now."""
        symbol = self._symbols.get(market, "")
        planned = self._plan.levels.get(symbol)
        if planned is None or not self._is_acked(self._price_link(symbol), Channel.TOP, symbol):
            return FeedLevel.CONTEXT
        is_wanted = self._wishes.level(market) is FeedLevel.BOOK
        if planned is FeedLevel.BOOK and is_wanted and self._is_acked(Role.FAST.value, Channel.FAST_BOOK, symbol):
            return FeedLevel.BOOK
        return FeedLevel.PRICE

    def resync(self, market: str, reason: str) -> None:
        """Ask anew for the prices and books of `market`; the venue answers each with a whole one."""
        symbol = self._symbols.get(market)
        if symbol is None or symbol not in self._plan.levels:
            return
        self._listener.tally.resyncs += 1
        log.event("hyperliquid.resync", market=market, reason=reason)
        self._links[self._price_link(symbol)].renew(key_of(Channel.TOP, symbol))
        if self._plan.levels[symbol] is FeedLevel.BOOK:
            self._links[Role.FAST.value].renew(key_of(Channel.FAST_BOOK, symbol))
            self._links[Role.FULL.value].renew(key_of(Channel.FULL_BOOK, symbol))

    async def fetch_book(self, market: str) -> BookSnapshot:
        """Return a fresh snapshot of 20 levels per side by REST. Raises `VenueError`."""
        return await self._info.book(self._symbol(market), self._feed.universe)

    async def fetch_candles(
        self, market: str, interval_s: int, start_time_ns: int, end_time_ns: int
    ) -> list[PastCandle]:
        """Return past candles by REST, the oldest first. Raises `VenueError`."""
        return await self._info.candles(self._symbol(market), interval_s, start_time_ns, end_time_ns)

    async def fetch_fundings(self, market: str, start_time_ns: int, end_time_ns: int) -> list[PastFunding]:
        """Return settled funding by REST, the oldest first. Raises `VenueError`."""
        return await self._info.fundings(self._symbol(market), start_time_ns, end_time_ns)

    def _symbol(self, market: str) -> str:
        symbol = self._symbols.get(market)
        if symbol is None:
            raise VenueError(f"Hyperliquid does not list {market}")
        return symbol

    def status(self) -> VenueStatus:
        """Return how the feed stands."""
        now_ns = self._clock.monotonic_ns()
        tally = self._listener.tally
        subscriptions = sum(link.session.acked_count for link in self._links.values())
        messages, weight, connects = (b.used(now_ns) for b in (self._messages, self._weight, self._connects))
        return VenueStatus(
            venue=HYPERLIQUID,
            state=self._state,
            state_reason=self._state_reason,
            state_time_ns=self._state_time_ns,
            source=self._config.source,
            address=self._config.base_url,
            connections=self._connections(),
            breakers=tuple(breaker.status() for breaker in self._breakers),
            limits=(
                LimitUse(name="subscriptions", used=subscriptions, allowed=planning.SUBSCRIPTIONS_ALLOWED),
                LimitUse(name="connections", used=len(self._running), allowed=planning.CONNECTIONS_ALLOWED),
                LimitUse(name="messages_per_minute", used=messages[0], allowed=messages[1]),
                LimitUse(name="connects_per_minute", used=connects[0], allowed=connects[1]),
                LimitUse(name="rest_weight_per_minute", used=weight[0], allowed=weight[1]),
            ),
            counts=FeedCounts(
                frames=sum(link.counts.frames for link in self._links.values()),
                bad_frames=tally.bad_frames + sum(link.counts.faults for link in self._links.values()),
                gaps=tally.gaps,
                resyncs=tally.resyncs,
                refused_subscriptions=tally.refused,
            ),
            version=self._version,
        )

    # --- what is subscribed -------------------------------------------------------------------------------------

    def _replan(self) -> None:
        """Decide anew what to subscribe, and begin to."""
        out = self._listener.quarantined
        live = [coin for coin in live_coins(self._feed.universe) if coin not in out]
        self._plan = self._wishes.plan(live, self._symbols, self._plan, self._config.limits)
        self._listener.replanned(self._plan, self._wishes.books(self._symbols))
        self._apply_due = True
        self._apply()

    def _apply(self) -> None:
        """Leave what is no longer planned, and once that is sent, ask for what is new.

        So the venue never counts more subscriptions than allowed, over all sockets, whichever is faster.
        """
        if self._group is None or not self._apply_due:
            return
        for name, target in self._plan.links.items():
            keep = {subscription.key for subscription in target}
            sent = self._sent.get(name, ())
            kept = tuple(subscription for subscription in sent if subscription.key in keep)
            if len(kept) != len(sent):
                self._links[name].want(kept)
                self._sent[name] = kept
        now_ns = self._clock.monotonic_ns()
        if self._messages.free_at_ns(now_ns, 2) > now_ns:
            return  # something may still have to be left; the next beat tries again
        for name, target in self._plan.links.items():
            if target != self._sent.get(name, ()):
                self._links[name].want(target)
                self._sent[name] = target
            if target and name not in self._running:
                self._running.add(name)
                self._group.create_task(self._links[name].run(), name=f"hyperliquid-{name}")
        self._apply_due = False

    def _price_link(self, symbol: str) -> str:
        return self._config.limits.link_names()[self._plan.shards.get(symbol, 0)]

    def _is_acked(self, link: str, channel: Channel, symbol: str) -> bool:
        return self._links[link].session.is_acked(key_of(channel, symbol))

    def _make_link(self, name: str, rng: random.Random, breaker: Breaker, tap: Tap | None) -> Link:
        config = SessionConfig(
            ping='{"method":"ping"}',
            closes_on_bad_subscription=True,
            subscriptions_max=self._config.limits.subscriptions_max,
        )
        session = Session(config, messages=self._messages, connects=self._connects, rng=rng)
        url = self._config.socket_url()
        return Link(
            name=name, url=url, session=session, listener=self._listener, breaker=breaker, clock=self._clock, tap=tap
        )

    def _accepted(self) -> None:
        self._connects.accepted(self._clock.monotonic_ns())

    # --- what is listed -----------------------------------------------------------------------------------------

    def _doubt(self) -> None:
        """Something does not fit what we believe is listed, or subscribed: look again soon."""
        self._replan_due = True
        self._relist_wanted.set()

    async def _list_first(self) -> None:
        wait_s = 0.25
        while True:
            try:
                universe = await self._info.universe()
            except VenueError as error:
                self._stand(FeedState.RECOVERING, f"{error}; asking again in {wait_s:g} s")
                log.warning("hyperliquid.listing_failed", error=str(error))
                await self._clock.sleep(wait_s)
                wait_s = min(wait_s * 2, RETRY_MAX_S)
                continue
            self._take(universe)
            return

    async def _relist(self) -> None:
        clock, config = self._clock, self._config
        while True:
            await clock.sleep(min(RELIST_DOUBT_S, config.relist_s))
            waited_s = min(RELIST_DOUBT_S, config.relist_s)
            while waited_s < config.relist_s and not self._relist_wanted.is_set():
                await clock.sleep(1.0)
                waited_s += 1.0
            self._relist_wanted.clear()
            try:
                universe = await self._info.universe()
            except VenueError as error:
                log.warning("hyperliquid.listing_failed", error=str(error))
                continue
            doubt = contradiction(self._feed.universe, universe)
            if doubt and doubt != self._suspicion:
                self._suspicion = doubt
                log.warning("hyperliquid.listing_doubtful", problem=doubt)
                continue  # believed only when it is said twice
            self._suspicion = ""
            if universe.listings != self._feed.universe.listings:
                self._take(universe)
                self._replan()

    def _take(self, universe: Universe) -> None:
        """Read by a new list of markets from now on, and tell the room."""
        for problem in universe.problems[:20]:
            log.warning("hyperliquid.market_left_out", problem=problem)
        changed = self._feed.relist(universe)
        self._symbols = {listing.market: listing.symbol for listing in universe.listings}
        now_ns = self._clock.time_ns()
        markets = frozenset(universe.coins[coin].market for coin in changed)
        if markets:
            reason = "the venue changed the precision of this market"
            self._outlet.down(
                MarketDown(
                    venue=HYPERLIQUID,
                    markets=markets,
                    state=FeedState.RECOVERING,
                    reason=reason,
                    receive_time_ns=now_ns,
                )
            )
        for market in markets:
            self._outlet.forget_price(market)
            self._outlet.forget_books(market)
        self._outlet.listings(ListingsChanged(venue=HYPERLIQUID, listings=universe.listings, receive_time_ns=now_ns))
        for market in markets:
            self.resync(market, "the venue changed the precision of this market")

    # --- what is due -------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        clock = self._clock
        while True:
            self._outlet.settle()
            self._listener.beat([self._links[name] for name in sorted(self._running)], clock.time_ns())
            if self._wishes.expire(clock.monotonic_ns()) or self._replan_due:
                self._replan_due = False
                self._replan()
            elif self._apply_due:
                self._apply()
            self._judge()
            await clock.sleep(BEAT_S)

    async def _fill_silent_tops(self) -> None:
        """Ask by REST for best bids and asks that their subscriptions do not bring: they speak only of changes."""
        clock, silent = self._clock, self._listener.silent_tops
        while True:
            await clock.sleep(BEAT_S)
            due_ns = clock.time_ns() - round(SILENT_TOP_S * 1e9)
            symbols = [symbol for symbol, since_ns in silent.items() if since_ns <= due_ns][:TOPS_AT_ONCE]
            if symbols and self._weight.used(clock.monotonic_ns())[0] < TOPS_WEIGHT_BELOW:
                await asyncio.gather(*(self._fill_silent_top(symbol) for symbol in symbols))

    async def _fill_silent_top(self, symbol: str) -> None:
        silent = self._listener.silent_tops
        try:
            book = await self._info.book(symbol, self._feed.universe)
        except VenueError as error:
            log.warning("hyperliquid.top_failed", coin=symbol, error=str(error))
            if symbol in silent:
                silent[symbol] = self._clock.time_ns()
            return
        coin = self._feed.coin(symbol)
        if silent.pop(symbol, None) is None or coin is None or not coin.top.admits(book.version):
            return
        top = TopOfBook(
            venue=HYPERLIQUID,
            market=book.market,
            bid=book.bids[0] if book.bids else None,
            ask=book.asks[0] if book.asks else None,
            venue_time_ns=book.venue_time_ns,
            receive_time_ns=book.receive_time_ns,
        )
        coin.stands(top)
        self._outlet.top(top)

    def _judge(self) -> None:
        """Say how the venue stands as a whole: as its worst socket."""
        state, reason = FeedState.LIVE, ""
        for name in self._roles:
            link = self._links[name]
            if name in self._running and link.state is not FeedState.LIVE and state is not FeedState.RECOVERING:
                state, reason = link.state, f"{name}: {link.state_reason}"
        self._stand(state, reason)
        tally = self._listener.tally
        shown = (
            tuple(
                (link.state, link.session.acked_count, link.session.counts.connects) for link in self._links.values()
            ),
            tuple(breaker.status().state for breaker in self._breakers),
            (tally.bad_frames, tally.gaps, tally.resyncs, tally.refused),
        )
        if shown != self._shown:
            self._shown = shown
            self._version += 1

    def _stand(self, state: FeedState, reason: str) -> None:
        if state is not self._state or reason != self._state_reason:
            if state is not self._state:
                self._state_time_ns = self._clock.time_ns()
            self._state, self._state_reason = state, reason
            self._version += 1

    def _connections(self) -> tuple[ConnectionStatus, ...]:
        return tuple(self._links[name].status() for name in self._roles if name in self._running)


def _nowhere(event: object) -> bool:
    """Take nothing: there is no room yet."""
    return False
