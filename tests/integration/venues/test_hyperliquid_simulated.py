"""The Hyperliquid adapter against the simulator as a process: real sockets, real REST, the room's own judgement.

What is asserted is the state a client would be shown, judged by the market data room's model, not that nothing raised.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest

from services.chassis.clock import SYSTEM
from services.domain.decimals import to_units
from services.domain.feed import (
    Alive,
    BookSnapshot,
    Context,
    Event,
    FeedState,
    ListingsChanged,
    MarketDown,
    TopOfBook,
    Trade,
)
from services.market_data.model.venue_market import VenueMarket
from services.venues.circuit import REST, SOCKET, Circuit
from services.venues.hyperliquid.plan import Channel, Limits, key_of, subscription
from services.venues.hyperliquid.venue import HyperliquidConfig, HyperliquidVenue
from services.venues.port import FeedLevel
from tests.support.simulator import Simulator, running_simulator
from tests.support.waiting import STALE_MAX_S
from tests.support.waiting import took as took_until

ALL = Limits()
BTC, ETH, SOL = "BTC-PERP", "ETH-PERP", "SOL-PERP"


class Watcher:
    """Takes events as the room does and remembers what it would show."""

    def __init__(self) -> None:
        self.markets: dict[str, VenueMarket] = {}
        self.trades: dict[str, list[Trade]] = {}
        self.downs: list[MarketDown] = []
        self.history: list[tuple[float, str, FeedState]] = []

    def emit(self, event: Event) -> bool:
        if isinstance(event, ListingsChanged):
            for listing in event.listings:
                self.markets.setdefault(listing.market, VenueMarket(listing))
        elif isinstance(event, BookSnapshot):
            self.markets[event.market].on_snapshot(event)
        elif isinstance(event, TopOfBook):
            self.markets[event.market].on_top(event)
        elif isinstance(event, Trade):
            self.trades.setdefault(event.market, []).append(event)
        elif isinstance(event, Context):
            self.markets[event.market].on_context(event)
        elif isinstance(event, Alive):
            for market in event.markets:
                self.markets[market].on_alive(event.receive_time_ns)
        elif isinstance(event, MarketDown):
            self.downs.append(event)
            for market in event.markets:
                self.markets[market].on_down(event)
        return True

    def price(self, market: str) -> FeedState:
        known = self.markets.get(market)
        return FeedState.RECOVERING if known is None else known.judge(time.time_ns()).state

    def book(self, market: str) -> FeedState:
        known = self.markets.get(market)
        return FeedState.RECOVERING if known is None else known.judge_book(time.time_ns()).state

    def is_live(self, *markets: str) -> bool:
        return all(self.price(m) is FeedState.LIVE and self.book(m) is FeedState.LIVE for m in markets)

    async def until(self, condition: Callable[[], bool], what: str, within_s: float) -> float:
        """Return how long `condition` took to hold; fail with `what` when it did not within `within_s`."""
        return await took_until(condition, within_s, lambda: what)


def a_venue(config: HyperliquidConfig) -> HyperliquidVenue:
    """Return the adapter with its real circuit breakers."""
    return HyperliquidVenue(
        config,
        clock=SYSTEM,
        rng=random.Random(1),
        rest_breaker=Circuit("hyperliquid", REST, clock=SYSTEM),
        socket_breaker=Circuit("hyperliquid", SOCKET, clock=SYSTEM),
    )


@asynccontextmanager
async def fed(simulator: Simulator, limits: Limits = ALL) -> AsyncIterator[tuple[HyperliquidVenue, Watcher]]:
    """Run the adapter on a simulator, with the books of two markets wanted."""
    watcher = Watcher()
    venue = a_venue(HyperliquidConfig(base_url=simulator.hyperliquid_http, limits=limits))
    venue.want({BTC: FeedLevel.BOOK, ETH: FeedLevel.BOOK})
    running = asyncio.create_task(venue.run(watcher.emit))
    try:
        await watcher.until(lambda: watcher.is_live(BTC, ETH), "live books", 15)
        yield venue, watcher
        assert not running.done(), running.exception()
    finally:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


def units(rows: list[list[str]], watcher: Watcher, market: str) -> list[tuple[int, int]]:
    listing = watcher.markets[market].listing
    return [(to_units(px, listing.price_decimals), to_units(sz, listing.size_decimals)) for px, sz in rows]


async def is_true(simulator: Simulator, watcher: Watcher, *markets: str) -> None:
    """Let the market stand still and wait until the shown books are exactly the true ones."""
    await simulator.freeze()
    for market in markets:
        true = await simulator.book("hyperliquid", market.removesuffix("-PERP"))
        bids, asks = units(true["bids"][:20], watcher, market), units(true["asks"][:20], watcher, market)
        known = watcher.markets[market]
        await watcher.until(
            lambda known=known, bids=bids, asks=asks: (known.bids(20), known.asks(20)) == (bids, asks),  # type: ignore[misc]
            f"the true book of {market}",
            7,  # the default book's clock is 5.4 s: until then its far levels are older
        )


async def test_live_books_are_the_simulators_true_books_and_every_live_market_has_a_price() -> None:
    async with running_simulator(seed=11) as simulator, fed(simulator) as (venue, watcher):
        await watcher.until(
            lambda: all(
                watcher.price(market) is FeedState.LIVE
                for market, known in watcher.markets.items()
                if known.listing.status.value == "active"
            ),
            "a price of every market that trades",
            15,
        )
        await is_true(simulator, watcher, BTC, ETH)
        for market in (BTC, ETH):
            fetched = await venue.fetch_book(market)
            assert (fetched.bids, fetched.asks) == (watcher.markets[market].bids(20), watcher.markets[market].asks(20))
        for market, known in watcher.markets.items():
            if venue.fed(market) is not FeedLevel.PRICE:
                continue
            true = await simulator.book("hyperliquid", known.listing.symbol)
            assert known.bid == units(true["bids"][:1], watcher, market)[0]
            assert known.ask == units(true["asks"][:1], watcher, market)[0]
            assert known.context is not None
            assert (known.context.mark_price or Decimal(0)) > 0
        assert venue.fed(BTC) is FeedLevel.BOOK
        assert venue.status().state is FeedState.LIVE
        assert venue.status().counts.bad_frames == 0


async def test_silence_with_answered_pings_is_stale_within_three_seconds_and_ends_when_data_comes() -> None:
    async with running_simulator(seed=12) as simulator, fed(simulator) as (_, watcher):
        await watcher.until(lambda: watcher.price(SOL) is FeedState.LIVE, "a live price", 10)
        await simulator.fault("silent", venue="hyperliquid", duration_s=4)
        took = await watcher.until(
            lambda: all(watcher.price(m) is not FeedState.LIVE for m in (BTC, ETH, SOL)), "no longer live", 4
        )
        assert took <= STALE_MAX_S
        await watcher.until(lambda: watcher.is_live(BTC, ETH) and watcher.price(SOL) is FeedState.LIVE, "live again", 8)


async def test_a_silent_line_that_does_not_even_answer_pings_is_stale_within_three_seconds() -> None:
    async with running_simulator(seed=13) as simulator, fed(simulator) as (_, watcher):
        await watcher.until(lambda: watcher.price(SOL) is FeedState.LIVE, "a live price", 10)
        await simulator.fault("drop", venue="hyperliquid", duration_s=4)
        took = await watcher.until(
            lambda: all(watcher.price(m) is not FeedState.LIVE for m in (BTC, ETH, SOL)), "no longer live", 4
        )
        assert took <= STALE_MAX_S
        await watcher.until(lambda: watcher.is_live(BTC, ETH) and watcher.price(SOL) is FeedState.LIVE, "live again", 8)


async def test_a_cut_line_gives_fresh_books_within_a_second_and_a_half() -> None:
    async with running_simulator(seed=14) as simulator, fed(simulator) as (venue, watcher):
        await simulator.fault("close", venue="hyperliquid", duration_s=1.0)
        await watcher.until(lambda: not watcher.is_live(BTC, ETH), "the cut to be seen", 3)
        start = time.monotonic()
        await asyncio.sleep(max(0.0, 1.0 - (time.monotonic() - start)))
        took = await watcher.until(lambda: watcher.is_live(BTC, ETH), "fresh books after the line healed", 5)
        assert took <= 1.5
        assert {down.state for down in watcher.downs} <= {FeedState.RECOVERING, FeedState.STALE}
        assert not any(down.trades_lost for down in watcher.downs)
        assert venue.status().connections[0].reconnect_count >= 1


async def test_a_venue_that_refused_connections_for_three_seconds_is_fresh_again_soon_after() -> None:
    async with running_simulator(seed=19) as simulator, fed(simulator) as (_, watcher):
        await simulator.fault("refuse", venue="hyperliquid", duration_s=3)
        await simulator.fault("close", venue="hyperliquid", count=None, duration_s=0.3)
        await watcher.until(lambda: not watcher.is_live(BTC, ETH), "the cut to be seen", 3)
        assert watcher.price(BTC) in (FeedState.RECOVERING, FeedState.STALE)
        await asyncio.sleep(3.0)
        took = await watcher.until(lambda: watcher.is_live(BTC, ETH), "fresh books after the venue came back", 5)
        assert took <= 1.5


async def test_a_best_bid_and_ask_whose_change_was_lost_is_found_by_the_mid_price_and_repaired() -> None:
    async with running_simulator(seed=20) as simulator, fed(simulator) as (venue, watcher):
        venue.want({SOL: FeedLevel.PRICE})
        known = watcher.markets[SOL]
        await watcher.until(lambda: known.bid is not None and known.ask is not None, "a price", 5)
        await simulator.fault("silent", venue="hyperliquid", channel="bbo")
        first = await simulator.book("hyperliquid", "SOL")
        deadline = time.monotonic() + 20
        while True:
            true = await simulator.book("hyperliquid", "SOL")
            bid, ask = units(true["bids"][:1], watcher, SOL)[0], units(true["asks"][:1], watcher, SOL)[0]
            assert known.bid is not None
            assert known.ask is not None
            if abs(bid[0] + ask[0] - known.bid[0] - known.ask[0]) > 4:
                break
            assert time.monotonic() < deadline, f"the market did not move from {first}"
            await asyncio.sleep(0.05)
        await simulator.freeze()
        await simulator.clear_faults()
        true = await simulator.book("hyperliquid", "SOL")
        bid, ask = units(true["bids"][:1], watcher, SOL)[0], units(true["asks"][:1], watcher, SOL)[0]
        assert (known.bid, known.ask) != (bid, ask)
        await watcher.until(lambda: (known.bid, known.ask) == (bid, ask), "the lost change to be found", 10)
        assert venue.status().counts.gaps > 0


async def test_a_coin_the_venue_closes_sockets_over_is_left_out_and_the_others_live() -> None:
    async with running_simulator(seed=15) as simulator, fed(simulator) as (venue, watcher):
        link = venue._links["prices-1"]
        wanted = (*venue._plan.links["prices-1"], subscription(Channel.TOP, "NOSUCHCOIN"))
        link.want(wanted)
        await watcher.until(lambda: link.session.counts.quarantined == 1, "the culprit to be found", 15)
        await watcher.until(lambda: watcher.is_live(BTC, ETH), "live books", 5)
        assert not link.session.is_acked(key_of(Channel.TOP, "NOSUCHCOIN"))
        closes = link.session.counts.closes
        await asyncio.sleep(2.0)
        assert link.session.counts.closes == closes
        assert venue.status().counts.refused_subscriptions == 1


VARIANTS = ("truncated", "wrong_type", "nan", "huge", "negative", "binary", "html", "null", "empty", "crossed")


async def test_garbage_is_counted_and_no_wrong_book_is_ever_live() -> None:
    async with running_simulator(seed=16) as simulator, fed(simulator) as (venue, watcher):
        for variant in VARIANTS:
            before = venue.status().counts.bad_frames
            await simulator.fault(
                "garbage", venue="hyperliquid", probability=0.2, duration_s=0.8, params={"variant": variant}
            )
            end = time.monotonic() + 0.9
            while time.monotonic() < end:
                for market in (BTC, ETH):
                    known = watcher.markets[market]
                    bids, asks = known.bids(20), known.asks(20)
                    if bids and asks:
                        assert bids[0][0] < asks[0][0] < 2 * bids[-1][0]
                await asyncio.sleep(0.02)
            assert venue.status().counts.bad_frames > before, variant
        await watcher.until(lambda: watcher.is_live(BTC, ETH), "live books after the garbage", 6)
        await is_true(simulator, watcher, BTC, ETH)


async def test_reordered_and_doubled_frames_change_nothing_in_the_end_and_no_trade_comes_twice() -> None:
    async with running_simulator(seed=17) as simulator, fed(simulator) as (venue, watcher):
        await simulator.fault("reorder", venue="hyperliquid", probability=0.2, duration_s=3)
        await simulator.fault("duplicate", venue="hyperliquid", probability=0.2, duration_s=3)
        await asyncio.sleep(3.2)
        await is_true(simulator, watcher, BTC, ETH)
        for trades in watcher.trades.values():
            assert len({trade.trade_id for trade in trades}) == len(trades)
        assert venue._feed.counts.older + venue._feed.counts.repeated_trades > 0


async def test_what_is_wanted_changes_what_is_fed() -> None:
    async with running_simulator(seed=18) as simulator, fed(simulator) as (venue, watcher):
        assert venue.fed(SOL) is FeedLevel.PRICE
        venue.want({SOL: FeedLevel.BOOK})
        await watcher.until(lambda: watcher.is_live(SOL), "the book that is now wanted", 5)
        assert venue.fed(SOL) is FeedLevel.BOOK
        assert venue.fed(BTC) is FeedLevel.PRICE
        state = await simulator.state()
        assert state is not None


async def test_wishes_that_change_ten_times_a_second_never_exceed_what_the_venue_allows() -> None:
    rng = random.Random(21)
    options = {"seed": 21, "hyperliquid_subscriptions_max": 125}
    async with running_simulator(**options) as simulator, fed(simulator, Limits(subscriptions_max=120)) as (venue, w):
        names = sorted(name for name, known in w.markets.items() if known.listing.status.value == "active")
        for _ in range(10):
            wanted = rng.sample(names, 20)
            venue.want(dict.fromkeys(wanted, FeedLevel.BOOK))
            await asyncio.sleep(0.1)
        venue.want({BTC: FeedLevel.BOOK, ETH: FeedLevel.BOOK})
        await w.until(lambda: w.is_live(BTC, ETH) and venue.fed(BTC) is FeedLevel.BOOK, "the last wish", 10)
        assert "Cannot subscribe" not in venue._listener.tally.last_problem
        assert venue.status().counts.refused_subscriptions == 0
        assert all(link.session.counts.closes == 0 for link in venue._links.values())
        await is_true(simulator, w, BTC, ETH)


async def test_books_that_come_and_go_cost_no_messages_while_there_is_room_and_are_shown_only_while_wanted() -> None:
    async with running_simulator(seed=22) as simulator, fed(simulator) as (venue, watcher):
        venue.want({BTC: FeedLevel.BOOK, SOL: FeedLevel.BOOK})
        await watcher.until(lambda: watcher.is_live(SOL), "the book that is now wanted", 5)
        await asyncio.sleep(0.5)
        used = {limit.name: limit.used for limit in venue.status().limits}["messages_per_minute"]
        for number in range(20):
            venue.want({BTC: FeedLevel.BOOK} if number % 2 == 0 else {BTC: FeedLevel.BOOK, SOL: FeedLevel.BOOK})
            await asyncio.sleep(0.02)
        venue.want({BTC: FeedLevel.BOOK})
        changes = watcher.markets[SOL].book_time_ns
        assert venue.fed(SOL) is FeedLevel.PRICE
        await asyncio.sleep(1.2)
        assert watcher.markets[SOL].book_time_ns == changes
        assert {limit.name: limit.used for limit in venue.status().limits}["messages_per_minute"] - used < 5


async def test_a_venue_that_answers_with_web_pages_is_recovering_with_the_reason_and_then_feeds() -> None:
    async with running_simulator(seed=23) as simulator:
        await simulator.fault("http_html", venue="hyperliquid", duration_s=1.0)
        venue = a_venue(HyperliquidConfig(base_url=simulator.hyperliquid_http))
        watcher = Watcher()
        running = asyncio.create_task(venue.run(watcher.emit))
        try:
            await watcher.until(lambda: "asking again" in venue.status().state_reason, "the reason", 5)
            assert venue.status().state is FeedState.RECOVERING
            assert watcher.markets == {}
            await watcher.until(lambda: watcher.price(BTC) is FeedState.LIVE, "a live price", 10)
            await watcher.until(lambda: venue.status().state is FeedState.LIVE, "a live venue", 1)
        finally:
            running.cancel()
            await asyncio.wait((running,))


async def test_a_venue_that_is_not_there_is_recovering_and_says_so() -> None:
    venue = a_venue(HyperliquidConfig(base_url="http://127.0.0.1:1"))
    watcher = Watcher()
    running = asyncio.create_task(venue.run(watcher.emit))
    await watcher.until(lambda: "POST /info failed" in venue.status().state_reason, "the reason", 5)
    assert venue.status().state is FeedState.RECOVERING
    assert watcher.markets == {}
    running.cancel()
    await asyncio.wait((running,))
    assert running.cancelled()
