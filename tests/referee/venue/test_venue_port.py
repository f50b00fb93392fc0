"""The referee of `services.venues.port.Venue`: what every adapter must do, judged on a simulator as a real process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal

import pytest

from services.domain.decimals import to_units
from services.domain.feed import FeedState, ListingsChanged
from services.domain.market import Source
from services.venues.port import FeedLevel, Venue, VenueError
from tests.referee.venue.adapters import ADAPTERS, Adapter
from tests.referee.venue.watcher import Watcher
from tests.support.simulator import Simulator, running_simulator
from tests.support.waiting import STALE_MAX_S

BTC, ETH, SOL = "BTC-PERP", "ETH-PERP", "SOL-PERP"

pytestmark = pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.name)


@dataclass(frozen=True, slots=True)
class Court:
    """One adapter at work on a simulator."""

    adapter: Adapter
    simulator: Simulator
    venue: Venue
    room: Watcher

    async def true_levels(self, market: str) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        listing = self.room.markets[market].listing
        true = await self.simulator.book(self.adapter.name, listing.symbol)
        bids, asks = (
            [(to_units(px, listing.price_decimals), to_units(sz, listing.size_decimals)) for px, sz in true[side]]
            for side in ("bids", "asks")
        )
        return bids[: self.adapter.book_depth], asks[: self.adapter.book_depth]

    async def is_true(self, *markets: str) -> None:
        """Let the market stand still and wait until the books that would be shown are the true ones."""
        await self.simulator.freeze()
        for market in markets:
            true = await self.true_levels(market)
            known, depth = self.room.markets[market], self.adapter.book_depth
            await self.room.until(
                lambda known=known, true=true, depth=depth: (known.bids(depth), known.asks(depth)) == true,  # type: ignore[misc]
                f"the true book of {market}",
                self.adapter.exact_after_s + 3,
            )
            assert self.room.is_live(market)


@asynccontextmanager
async def court(adapter: Adapter, *, seed: int) -> AsyncIterator[Court]:
    """Run `adapter` on a simulator with two books wanted, until both are live."""
    async with running_simulator(seed=seed) as simulator:
        venue = adapter.make(adapter.address(simulator))
        room = Watcher(venue)
        venue.want({BTC: FeedLevel.BOOK, ETH: FeedLevel.BOOK, SOL: FeedLevel.PRICE})
        running = asyncio.create_task(venue.run(room.emit))
        try:
            await room.until(lambda: room.is_live(BTC, ETH) and room.price(SOL) is FeedState.LIVE, "live books", 15)
            yield Court(adapter, simulator, venue, room)
            assert not running.done(), running.exception()
        finally:
            running.cancel()
            await asyncio.wait((running,))
            assert running.cancelled()


async def test_it_lists_first_then_feeds_what_is_wanted_and_says_so(adapter: Adapter) -> None:
    async with court(adapter, seed=31) as c:
        assert isinstance(c.room.first, ListingsChanged)
        assert c.venue.name == adapter.name
        assert all(known.listing.venue == adapter.name for known in c.room.markets.values())
        await c.room.until(lambda: c.venue.fed(BTC) is FeedLevel.BOOK, "the wanted level", 5)
        assert c.venue.fed(SOL) >= FeedLevel.PRICE
        await c.room.until(lambda: bool(c.room.trades.get(BTC)), "trades", 10)
        await c.room.until(
            lambda: all(
                known.context is not None and (known.context.mark_price or Decimal(0)) > 0
                for known in c.room.markets.values()
                if known.listing.status.value == "active"
            ),
            "a context of every market that trades",
            30,
        )
        await c.is_true(BTC, ETH)


async def test_its_status_is_honest_and_its_limits_are_kept(adapter: Adapter) -> None:
    async with court(adapter, seed=32) as c:
        await c.room.until(lambda: c.venue.status().state is FeedState.LIVE, "a live venue", 5)
        status = c.venue.status()
        assert (status.venue, status.source) == (adapter.name, Source.SIMULATED)
        assert status.connections
        assert all(one.last_frame_time_ns for one in status.connections if one.subscription_count)
        assert {breaker.endpoint for breaker in status.breakers} == {"rest", "ws"}
        assert {breaker.state for breaker in status.breakers} == {"closed"}
        assert status.limits
        assert all(0 <= limit.used <= limit.allowed for limit in status.limits)
        assert (status.counts.bad_frames, status.counts.gaps) == (0, 0)
        assert status.counts.frames > 0
        await c.simulator.fault("close", venue=adapter.name)
        await c.room.until(lambda: c.venue.status().version > status.version, "a new version", 5)


async def test_wanting_changes_what_is_fed(adapter: Adapter) -> None:
    async with court(adapter, seed=33) as c:
        c.venue.want({SOL: FeedLevel.BOOK, BTC: FeedLevel.PRICE})
        await c.room.until(lambda: c.room.is_live(SOL) and c.venue.fed(SOL) is FeedLevel.BOOK, "the book", 5)
        assert c.venue.fed(BTC) is FeedLevel.PRICE
        c.venue.want({"NO-SUCH-PERP": FeedLevel.BOOK, SOL: FeedLevel.BOOK})
        assert c.venue.fed("NO-SUCH-PERP") is FeedLevel.CONTEXT
        await c.is_true(SOL)


async def test_a_resync_brings_a_fresh_book(adapter: Adapter) -> None:
    async with court(adapter, seed=34) as c:
        before = c.room.snapshots[BTC]
        c.venue.resync(BTC, "a test")
        c.venue.resync(BTC, "a test")
        c.venue.resync("NO-SUCH-PERP", "a test")
        await c.room.until(lambda: c.room.snapshots[BTC] > before and c.room.is_live(BTC), "a fresh book", 6)
        assert c.venue.status().counts.resyncs >= 1
        await c.is_true(BTC, ETH)


async def test_a_snapshot_for_the_audit_is_the_true_book(adapter: Adapter) -> None:
    async with court(adapter, seed=35) as c:
        await c.simulator.freeze()
        for market in (BTC, SOL):
            fetched = await c.venue.fetch_book(market)
            bids, asks = await c.true_levels(market)
            depth = min(fetched.depth or c.adapter.book_depth, c.adapter.book_depth)
            assert depth > 0
            assert (fetched.bids[:depth], fetched.asks[:depth]) == (bids[:depth], asks[:depth])
        with pytest.raises(VenueError, match="NO-SUCH-PERP"):
            await c.venue.fetch_book("NO-SUCH-PERP")


async def test_silence_is_stale_within_three_seconds_and_ends_by_itself(adapter: Adapter) -> None:
    async with court(adapter, seed=36) as c:
        for kind in ("silent", "mute"):  # with pings answered, and without
            await c.simulator.fault(kind, venue=adapter.name, duration_s=4)
            took = await c.room.until(
                lambda: all(c.room.price(market) is not FeedState.LIVE for market in (BTC, ETH, SOL)), "stale", 4
            )
            assert took <= STALE_MAX_S, kind
            await c.room.until(lambda: c.room.is_live(BTC, ETH) and c.room.price(SOL) is FeedState.LIVE, "live", 10)
        await c.is_true(BTC, ETH)


async def test_a_cut_line_gives_fresh_books_within_a_second_and_a_half_of_its_heal(adapter: Adapter) -> None:
    async with court(adapter, seed=37) as c:
        await c.simulator.fault("refuse", venue=adapter.name, duration_s=3)
        await c.simulator.fault("close", venue=adapter.name)
        healed = time.monotonic() + 3
        await c.room.until(lambda: not c.room.is_live(BTC, ETH), "the cut to be seen", 2)
        assert c.venue.status().counts.frames > 0
        await asyncio.sleep(max(0.0, healed - time.monotonic()))
        took = await c.room.until(lambda: c.room.is_live(BTC, ETH), "fresh books", 5)
        assert took <= 1.5
        await c.is_true(BTC, ETH)


GARBAGE = ("truncated", "wrong_type", "nan", "huge", "negative", "binary", "html", "null", "empty", "crossed")


async def test_garbage_never_shows_a_wrong_book(adapter: Adapter) -> None:
    async with court(adapter, seed=38) as c:
        for variant in GARBAGE:
            before = c.venue.status().counts.bad_frames + len(c.room.wrong)
            params = {"variant": variant}
            await c.simulator.fault("garbage", venue=adapter.name, probability=0.3, duration_s=0.8, params=params)
            end = time.monotonic() + 0.9
            while time.monotonic() < end:
                for market in (BTC, ETH):
                    known = c.room.markets[market]
                    if c.room.is_live(market):
                        assert known.bid is not None
                        assert known.ask is not None
                        assert known.bid[0] < known.ask[0] < 2 * known.bid[0]
                await asyncio.sleep(0.02)
            assert c.venue.status().counts.bad_frames + len(c.room.wrong) > before, variant
        await c.room.until(lambda: c.room.is_live(BTC, ETH), "live books", 15)
        await c.is_true(BTC, ETH)


async def test_lost_doubled_and_swapped_frames_end_in_the_true_book(adapter: Adapter) -> None:
    async with court(adapter, seed=39) as c:
        for kind in ("drop", "duplicate", "reorder", "gap"):
            await c.simulator.fault(kind, venue=adapter.name, probability=0.1, duration_s=1)
            await asyncio.sleep(1.1)
        await c.room.until(lambda: c.room.is_live(BTC, ETH), "live books", 35)
        await c.is_true(BTC, ETH)
        for trades in c.room.trades.values():
            assert len({trade.trade_id for trade in trades}) == len(trades)


async def test_a_room_that_was_full_is_told_the_truth_afterwards(adapter: Adapter) -> None:
    async with court(adapter, seed=40) as c:
        c.room.is_full = True
        await c.room.until(lambda: {BTC, ETH} <= c.room.refused, "something of each market refused", 20)
        c.room.is_full = False
        await c.room.until(lambda: c.room.is_live(BTC, ETH), "live books", 10)
        await c.is_true(BTC, ETH)


async def test_a_venue_that_cannot_be_reached_is_recovering_with_the_reason(adapter: Adapter) -> None:
    venue = adapter.make("http://127.0.0.1:9")
    room = Watcher(venue)
    venue.want({BTC: FeedLevel.BOOK})
    running = asyncio.create_task(venue.run(room.emit))
    tried = ("GET", "POST")
    await room.until(lambda: any(verb in venue.status().state_reason for verb in tried), "the reason", 20)
    assert venue.status().state is FeedState.RECOVERING
    assert not running.done()
    assert room.events == 0
    with pytest.raises(VenueError):
        await venue.fetch_book(BTC)
    running.cancel()
    await asyncio.wait((running,))
    assert running.cancelled()


async def test_nothing_is_left_running_after_a_cancel(adapter: Adapter) -> None:
    before = asyncio.all_tasks()
    async with running_simulator(seed=41) as simulator:
        inside = asyncio.all_tasks()
        venue = adapter.make(adapter.address(simulator))
        room = Watcher(venue)
        venue.want({BTC: FeedLevel.BOOK})
        running = asyncio.create_task(venue.run(room.emit))
        await room.until(lambda: room.is_live(BTC), "a live book", 15)
        running.cancel()
        await asyncio.wait((running,))
        await asyncio.sleep(0.05)
        assert asyncio.all_tasks() - inside - {running} == set()
        events = room.events
        await asyncio.sleep(0.5)
        assert room.events == events
    assert asyncio.all_tasks() <= before | inside


async def test_past_candles_are_whole_in_order_and_agree_with_each_other(adapter: Adapter) -> None:
    async with court(adapter, seed=31) as c:
        await c.room.until(lambda: c.room.is_live(BTC), "a live market", 10)
        hour_ns = 3_600 * 10**9
        end_ns = time.time_ns() // hour_ns * hour_ns
        start_ns = end_ns - 2 * hour_ns
        minutes = await c.venue.fetch_candles(BTC, 60, start_ns, end_ns)
        hours = await c.venue.fetch_candles(BTC, 3_600, start_ns, end_ns)
        assert [one.open_time_ns for one in hours] == [start_ns, start_ns + hour_ns]
        assert [one.open_time_ns for one in minutes] == list(range(start_ns, end_ns, 60 * 10**9))
        for hour in hours:
            parts = [one for one in minutes if 0 <= one.open_time_ns - hour.open_time_ns < hour_ns]
            assert (hour.open, hour.close) == (parts[0].open, parts[-1].close)
            assert (hour.high, hour.low) == (max(x.high for x in parts), min(x.low for x in parts))
            assert hour.volume == sum(x.volume for x in parts)
        with pytest.raises(VenueError, match="list"):
            await c.venue.fetch_candles("NO-SUCH-PERP", 60, start_ns, end_ns)


async def test_a_long_past_is_asked_on_from_the_last_candle(adapter: Adapter) -> None:
    async with court(adapter, seed=32) as c:
        await c.room.until(lambda: c.room.is_live(BTC), "a live market", 10)
        minute_ns = 60 * 10**9
        end_ns = time.time_ns() // minute_ns * minute_ns
        start_ns = end_ns - 1_200 * minute_ns
        found: list[int] = []
        while not found or found[-1] < end_ns - minute_ns:
            at_ns = found[-1] + minute_ns if found else start_ns
            page = await c.venue.fetch_candles(BTC, 60, at_ns, end_ns)
            assert page
            found += [one.open_time_ns for one in page]
        assert found == list(range(start_ns, end_ns, minute_ns))


async def test_settled_funding_comes_hour_by_hour(adapter: Adapter) -> None:
    async with court(adapter, seed=33) as c:
        await c.room.until(lambda: c.room.is_live(BTC), "a live market", 10)
        hour_ns = 3_600 * 10**9
        end_ns = time.time_ns() // hour_ns * hour_ns
        points = await c.venue.fetch_fundings(BTC, end_ns - 24 * hour_ns, end_ns)
        assert [one.settle_time_ns // hour_ns for one in points] == list(
            range(end_ns // hour_ns - 24, end_ns // hour_ns)
        )
        assert all(abs(one.rate) < Decimal("0.04") for one in points)
