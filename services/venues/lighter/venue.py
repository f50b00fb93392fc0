"""Lighter as a venue: owns its sockets, its list of markets and its limits.

Three things go on: the links, each driving one socket; the list of markets, read again every minute and whenever a
frame names an unknown one; and the beat, which judges how the venue stands as a whole. What decides is pure and
elsewhere: `plan`, `track`, `wire`, and the session.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol

from services.chassis.clock import Clock
from services.chassis.telemetry import log
from services.domain.feed import BookSnapshot, FeedState, ListingsChanged, PastCandle, PastFunding
from services.domain.market import LIGHTER, Listing, Source, Status
from services.venues.budget import Allowance, Budget
from services.venues.lifecycle import SessionConfig
from services.venues.lighter import plan
from services.venues.lighter.feed import Feed
from services.venues.lighter.http import REQUESTS_PER_MINUTE, LighterHttp
from services.venues.lighter.wire.frames import Decoder, wire_market
from services.venues.lighter.wire.messages import WireMarket
from services.venues.lighter.wire.payloads import Listed
from services.venues.link import Breaker, Link, Tap
from services.venues.port import BreakerStatus, Emit, FeedCounts, FeedLevel, LimitUse, VenueError, VenueStatus
from services.venues.rest import Rest
from services.venues.session import Session

MAINNET_URL: Final = "https://mainnet.zklighter.elliot.ai"
TESTNET_URL: Final = "https://testnet.zklighter.elliot.ai"
BEAT_S: Final = 0.25
RELIST_SOON_S: Final = 5.0
"""How soon the list is read again after a frame named an unknown market."""
RETRY_FIRST_S: Final = 0.25
RETRY_MAX_S: Final = 15.0
PING: Final = '{"type":"ping"}'


class WatchedBreaker(Breaker, Protocol):
    """A circuit breaker that can be shown."""

    def status(self) -> BreakerStatus:
        """Return how it stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LighterConfig:
    """Which Lighter. Times in seconds."""

    source: Source = Source.SIMULATED
    base_url: str
    """Its REST address, such as `https://mainnet.zklighter.elliot.ai`; the socket's is the same with `ws`."""
    chain: str = "nonce"
    """What chains a book's updates: `nonce`, or `offset` for recordings of 2025, which must be declared."""
    relist_s: float = 60.0

    def socket_url(self) -> str:
        """Return the WebSocket's address. Raises `ValueError` for an address that is none."""
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url: {self.base_url!r:.80} must begin with http:// or https://")
        return "ws" + self.base_url.rstrip("/")[len("http") :] + "/stream"


class LighterVenue:
    """Public market data of one Lighter."""

    def __init__(
        self,
        config: LighterConfig,
        *,
        clock: Clock,
        rng: random.Random,
        rest_breaker: WatchedBreaker,
        socket_breaker: WatchedBreaker,
        tap: Tap | None = None,
    ) -> None:
        if config.chain not in ("nonce", "offset"):
            raise ValueError(f"chain: {config.chain!r:.40} must be nonce or offset")
        self._config = config
        self._clock = clock
        self._rng = rng
        self._tap = tap
        self._breakers = (rest_breaker, socket_breaker)
        self._socket_breaker = socket_breaker
        self._requests = Budget(Allowance(units=REQUESTS_PER_MINUTE, seconds=60))
        self._messages = Budget(
            Allowance(units=plan.MESSAGES_PER_MINUTE - 10, seconds=60, reserve=20),
            Allowance(units=50, seconds=1, reserve=5),
        )
        self._connects = Budget(Allowance(units=60, seconds=60))
        rest = Rest(base_url=config.base_url, budget=self._requests, breaker=rest_breaker, clock=clock)
        self._rest = rest
        self._http = LighterHttp(rest, clock)
        self._relist_wanted = asyncio.Event()
        self._feed = Feed(Decoder((), chain=config.chain), chain=config.chain, list_again=self._relist_wanted.set)
        self._links: list[Link] = []
        self._started = 0
        self._group: asyncio.TaskGroup | None = None
        self._emit: Emit = _refuse
        self._listings: tuple[Listing, ...] = ()
        self._listings_owed = False
        self._markets: dict[str, WireMarket] = {}
        self._wanted: dict[str, FeedLevel] = {}
        self._trading: tuple[str, ...] = ()
        self._unasked: dict[str, None] = {}
        self._connected: tuple[int, ...] = ()
        self._placed: dict[str, int] = {}
        self._state = FeedState.RECOVERING
        self._state_reason = "the list of markets has not been read yet"
        self._state_time_ns = clock.time_ns()
        self._version = 1
        self._shown: object = None

    # --- the port -----------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The venue's name."""
        return LIGHTER

    async def run(self, emit: Emit) -> None:
        """Feed until canceled."""
        self._emit = emit
        self._feed.start(emit, self._links)
        try:
            await self._list_first()
            async with asyncio.TaskGroup() as group:
                self._group = group
                group.create_task(self._beat(), name="lighter-beat")
                group.create_task(self._relist(), name="lighter-relist")
                self._apply()
        finally:
            self._group = None
            await self._rest.close()

    def want(self, levels: dict[str, FeedLevel]) -> None:
        """Say what is wanted of each canonical market, replacing what was said before.

        A market that is not named is fed at PRICE as the venue's message rate leaves room for it (`plan.SPARE_BELOW`).
        """
        self._wanted = dict(levels)
        self._apply()

    def fed(self, market: str) -> FeedLevel:
        """Return how much of `market` is subscribed, and answered, now."""
        return self._feed.fed(market)

    def resync(self, market: str, reason: str) -> None:
        """Build the book of `market` again from a fresh snapshot. Idempotent while one is under way."""
        log.event("lighter.resync", market=market, reason=reason)
        self._feed.resync(market, reason, self._clock.time_ns())

    async def fetch_book(self, market: str) -> BookSnapshot:
        """Return the near levels of a book by REST; see `LighterHttp.book` for what they can be compared with."""
        return await self._http.book(self._known(market))

    async def fetch_candles(
        self, market: str, interval_s: int, start_time_ns: int, end_time_ns: int
    ) -> list[PastCandle]:
        """Return past candles by REST, the oldest first. Raises `VenueError`."""
        return await self._http.candles(self._known(market), interval_s, start_time_ns, end_time_ns)

    async def fetch_fundings(self, market: str, start_time_ns: int, end_time_ns: int) -> list[PastFunding]:
        """Return settled funding by REST, the oldest first. Raises `VenueError`."""
        return await self._http.fundings(self._known(market), start_time_ns, end_time_ns)

    def _known(self, market: str) -> WireMarket:
        known = self._markets.get(market)
        if known is None:
            raise VenueError(f"Lighter does not list {market}")
        return known

    def status(self) -> VenueStatus:
        """Return how the feed stands."""
        now_ns = self._clock.monotonic_ns()
        counts = self._feed.counts
        links = self._links[: self._started]
        messages, connects, requests = (b.used(now_ns) for b in (self._messages, self._connects, self._requests))
        subscribed = sum(link.session.acked_count for link in links)
        return VenueStatus(
            venue=LIGHTER,
            state=self._state,
            state_reason=self._state_reason,
            state_time_ns=self._state_time_ns,
            source=self._config.source,
            address=self._config.base_url,
            connections=tuple(link.status() for link in links),
            breakers=tuple(breaker.status() for breaker in self._breakers),
            limits=(
                LimitUse(name="subscriptions", used=subscribed, allowed=plan.SUBSCRIPTIONS_PER_LINK * plan.LINKS_MAX),
                LimitUse(name="connections", used=len(links), allowed=plan.LINKS_MAX),
                LimitUse(name="messages_per_minute", used=messages[0], allowed=plan.MESSAGES_PER_MINUTE),
                LimitUse(name="connects_per_minute", used=connects[0], allowed=plan.CONNECTS_PER_MINUTE),
                LimitUse(name="rest_requests_per_minute", used=requests[0], allowed=requests[1]),
            ),
            counts=FeedCounts(
                frames=sum(link.counts.frames for link in links),
                bad_frames=counts.bad_frames + sum(link.counts.faults for link in links),
                gaps=counts.gaps,
                resyncs=counts.resyncs,
                refused_subscriptions=counts.refused,
            ),
            version=self._version,
        )

    # --- what is subscribed -------------------------------------------------------------------------------------

    def _apply(self) -> None:
        """Place what is wanted on sockets, and start those that are new."""
        if self._group is None:
            return
        levels = {
            name: level
            for name, level in self._wanted.items()
            if name in self._markets and level is not FeedLevel.CONTEXT
        }
        unasked = [name for name in self._unasked if name in self._markets and name not in levels]
        self._unasked = dict.fromkeys(unasked)
        levels |= dict.fromkeys(unasked, FeedLevel.PRICE)
        self._placed = plan.place(levels, self._placed)
        self._feed.follow(levels, self._placed, self._markets, self._unasked)
        for number in range(max(self._placed.values(), default=0) + 1):
            if number == len(self._links):
                self._links.append(self._make_link(number))
        for number, link in enumerate(self._links):
            link.want(plan.subscriptions(number, levels, self._placed, self._markets, self._unasked))
        for link in self._links[self._started :]:
            self._group.create_task(link.run(), name=link.name)
        self._started = len(self._links)

    def _tend_unasked(self) -> None:
        """Add markets nobody asked for while messages are to spare; drop those of a socket that was made anew.

        After a cut, what was asked for must come back first: the others are added again when there is room.
        """
        if self._group is None or not self._started:
            return
        connects = tuple(link.session.counts.connects for link in self._links)
        before = dict(enumerate(self._connected))
        anew = {number for number, count in enumerate(connects) if count > before.get(number, count)}
        self._connected = connects
        kept = {name: None for name in self._unasked if self._placed.get(name) not in anew}
        live = all(link.state is FeedState.LIVE for link in self._links)
        used, _ = self._messages.used(self._clock.monotonic_ns())
        if live and not anew and used < plan.SPARE_BELOW:
            fresh = (name for name in self._trading if name not in self._wanted and name not in kept)
            kept.update(dict.fromkeys(islice(fresh, plan.SPARE_AT_ONCE)))
        if kept.keys() != self._unasked.keys():
            self._unasked = kept
            self._apply()

    def _make_link(self, number: int) -> Link:
        config = SessionConfig(
            ping=PING,
            expects_greeting=True,
            subscriptions_max=plan.SUBSCRIPTIONS_PER_LINK,
            in_flight_max=24,
        )
        session = Session(config, messages=self._messages, connects=self._connects, rng=self._rng)
        return Link(
            name=f"lighter-{number + 1}",
            url=self._config.socket_url(),
            session=session,
            listener=self._feed,
            breaker=self._socket_breaker,
            clock=self._clock,
            tap=self._tap,
        )

    # --- what is listed -----------------------------------------------------------------------------------------

    async def _list_first(self) -> None:
        wait_s = RETRY_FIRST_S
        while True:
            try:
                listed = await self._http.listings()
            except VenueError as error:
                self._stand(FeedState.RECOVERING, f"{error}; asking again in {wait_s:g} s")
                log.warning("lighter.listing_failed", error=str(error))
                await self._clock.sleep(wait_s)
                wait_s = min(wait_s * 2, RETRY_MAX_S)
                continue
            self._take(listed)
            return

    async def _relist(self) -> None:
        clock, config = self._clock, self._config
        while True:
            waited_s = 0.0
            while waited_s < config.relist_s:
                step_s = min(RELIST_SOON_S, config.relist_s)
                await clock.sleep(step_s)
                waited_s += step_s
                if self._relist_wanted.is_set():
                    break
            self._relist_wanted.clear()
            try:
                listed = await self._http.listings()
            except VenueError as error:
                log.warning("lighter.listing_failed", error=str(error))
                continue
            if listed.listings != self._listings:
                self._take(listed)
                self._apply()

    def _take(self, listed: Listed) -> None:
        """Read by a new list of markets from now on, and tell the room."""
        for error in listed.errors[:20]:
            log.warning("lighter.market_left_out", field=error.field, problem=error.problem)
        before = self._markets
        self._listings = listed.listings
        self._trading = tuple(one.market for one in listed.listings if one.status is Status.ACTIVE)
        self._markets = {listing.market: wire_market(listing) for listing in listed.listings}
        self._feed.relist(listed.listings, listed.ignored_ids)
        self._tell_listings()
        for name, market in self._markets.items():
            known = before.get(name)
            if known is not None and known != market:
                self.resync(name, "the venue changed the precision of this market")

    def _tell_listings(self) -> None:
        event = ListingsChanged(venue=LIGHTER, listings=self._listings, receive_time_ns=self._clock.time_ns())
        self._listings_owed = not self._emit(event)

    # --- how it stands ------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        while True:
            await self._clock.sleep(BEAT_S)
            if self._listings_owed:
                self._tell_listings()
            self._tend_unasked()
            self._feed.beat(self._clock.time_ns())
            self._judge()

    def _judge(self) -> None:
        """Say how the venue stands as a whole: as its worst socket."""
        state, reason = FeedState.LIVE, ""
        for link in self._links[: self._started]:
            if link.state is not FeedState.LIVE and state is not FeedState.RECOVERING:
                state, reason = link.state, f"{link.name}: {link.state_reason}"
            elif self._feed.is_silent(link) and state is FeedState.LIVE:
                state, reason = FeedState.STALE, f"{link.name}: nothing but answers to pings"
        self._stand(state, reason)
        links = tuple((link.state, link.session.acked_count, link.session.counts.connects) for link in self._links)
        counts = self._feed.counts
        shown = (
            links,
            tuple(breaker.status().state for breaker in self._breakers),
            (counts.bad_frames, counts.gaps, counts.resyncs, counts.refused),
        )
        if shown != self._shown:
            self._shown = shown
            self._version += 1

    def _stand(self, state: FeedState, reason: str) -> None:
        if (state, reason) != (self._state, self._state_reason):
            if state is not self._state:
                self._state_time_ns = self._clock.time_ns()
            self._state, self._state_reason = state, reason
            self._version += 1


def _refuse(event: object) -> bool:
    """There is nobody to take events before `run`."""
    return False
