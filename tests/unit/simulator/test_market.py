"""The synthetic market keeps the venues' rules and is a function of its seed and the time."""

from __future__ import annotations

import hashlib
import time
from decimal import Decimal
from itertools import pairwise

import msgspec
import pytest

from services.simulator.book import Book
from services.simulator.catalog import HyperliquidListing, LighterListing, load
from services.simulator.dialects.hyperliquid import printing as hyperliquid
from services.simulator.dialects.lighter import printing as lighter
from services.simulator.history import INTERVALS_MS
from services.simulator.market import Batch, Block, Event, Market
from services.simulator.rules import five_figures, fixed, parse, plain, snap_down, snap_up

START_NS = 1_795_348_802_345_000_000
SECOND = 1_000_000_000


def market(seed: int = 7) -> Market:
    return Market(load(), seed=seed, start_ns=START_NS)


def printed(events: list[Event]) -> list[bytes]:
    """Print every book event as the faces would."""
    out = []
    for event in events:
        if isinstance(event, Block):
            out += [hyperliquid.bbo(item, event.time_ms) for item in event.touched]
            out += [[hyperliquid.trade(item, row) for row in rows] for item, rows in event.trades]
        elif isinstance(event, Batch):
            out += [
                lighter.book_update(
                    d.instrument, d.bids, d.asks, begin=d.begin_nonce, nonce=d.nonce, offset=d.offset,
                    time_us=event.time_us,
                )
                for d in event.deltas
            ]  # fmt: skip
            out += [[lighter.trade(item, row, event.height) for row in rows] for item, rows in event.trades]
    return [msgspec.json.encode(row) for row in out]


def test_at_least_forty_perpetuals_are_listed_and_most_on_both_venues() -> None:
    catalog = load()
    there = {row.asset for row in catalog.hyperliquid if row.spot_index is None and not row.delisted}
    here = {row.asset for row in catalog.lighter if not row.spot and row.active}
    assert len(there) >= 40
    assert len(here) >= 40
    assert len(there & here) >= 40
    assert any(row.dex == "xyz" for row in catalog.hyperliquid)
    assert here - there
    assert [row.coin for row in catalog.hyperliquid if row.delisted] == ["MATIC"]
    assert [row.symbol for row in catalog.lighter if not row.active] == ["HYUNDAI"]


def test_every_lighter_price_and_size_decimal_adds_up_to_six() -> None:
    assert {row.price_decimals + row.size_decimals for row in load().lighter} == {6}


def frames_hash(running: Market, milliseconds: int, step_ms: int) -> str:
    """Hash everything printed while time passes in steps that hold at most one block and one batch."""
    total = hashlib.sha256()
    for at in range(step_ms, milliseconds + step_ms, step_ms):
        for frame in printed(running.advance(START_NS + min(at, milliseconds) * 1_000_000)):
            total.update(frame)
    return total.hexdigest()


def test_same_seed_and_same_time_give_the_same_frames_however_the_time_is_cut() -> None:
    one, other, whole = market(), market(), market()
    assert frames_hash(one, 3000, 3) == frames_hash(other, 3000, 40)
    whole.advance(START_NS + 3 * SECOND)
    assert one.digest() == other.digest() == whole.digest()
    assert market(8).digest() != market(7).digest()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_book_ever_crosses_or_empties_and_all_ticks_and_lots_are_valid(seed: int) -> None:
    print("seed", seed)
    running = market(seed)
    for second in range(1, 9):
        running.advance(START_NS + second * SECOND)
        for venue in running.venues.values():
            for item in venue.values():
                bid, ask = item.book.best_bid(), item.book.best_ask()
                if not item.live:
                    assert bid is None
                    assert ask is None
                    continue
                assert bid is not None, item.key
                assert ask is not None, item.key
                assert bid[0] < ask[0], item.key
                assert len(item.book.bids.prices) >= 5
                assert item.book.bids.prices == sorted(item.book.bids.sizes)
                assert item.book.asks.prices == sorted(item.book.asks.sizes)
                for price, size in item.book.bid_levels() + item.book.ask_levels():
                    assert size > 0
                    assert price % item.tick(price) == 0, (item.key, price)


def test_hyperliquid_prices_have_five_significant_figures_or_are_whole() -> None:
    running = market()
    running.advance(START_NS + SECOND)
    for item in running.venues["hyperliquid"].values():
        for price, _ in item.book.bid_levels() + item.book.ask_levels():
            value = Decimal(plain(price, item.price_decimals)).normalize()
            assert len(value.as_tuple().digits) <= 5 or value == value.to_integral_value(), (item.key, value)


def test_applying_the_deltas_to_the_first_book_gives_the_last_book_and_the_chain_holds() -> None:
    running = market()
    books = {
        key: (dict(i.book.bid_levels()), dict(i.book.ask_levels())) for key, i in running.venues["lighter"].items()
    }
    nonces = {key: item.nonce for key, item in running.venues["lighter"].items()}
    seen = 0
    for event in running.advance(START_NS + 5 * SECOND):
        if not isinstance(event, Batch):
            continue
        for delta in event.deltas:
            key = delta.instrument.key
            assert delta.begin_nonce == nonces[key]
            assert delta.nonce > delta.begin_nonce
            nonces[key] = delta.nonce
            for side, changes in zip(books[key], (delta.bids, delta.asks), strict=True):
                for price, size in changes.items():
                    if size:
                        side[price] = size
                    else:
                        side.pop(price, None)
            seen += 1
    assert seen > 300
    for key, item in running.venues["lighter"].items():
        assert books[key] == (dict(item.book.bid_levels()), dict(item.book.ask_levels())), key


def test_venues_are_correlated_and_not_equal() -> None:
    running = market()
    gaps = []
    for second in range(1, 20):
        running.advance(START_NS + second * SECOND)
        there, here = running.venues["hyperliquid"]["BTC"].mid(), running.venues["lighter"]["1"].mid()
        assert there is not None
        assert here is not None
        gaps.append((there - here) / there)
    assert all(abs(gap) < 0.002 for gap in gaps)
    assert len(set(gaps)) > 10


def test_major_lighter_books_are_deep_and_change_with_every_batch() -> None:
    running = market()
    btc = running.venues["lighter"]["1"]
    events = running.advance(START_NS + 5 * SECOND)
    deltas = [d for e in events if isinstance(e, Batch) for d in e.deltas if d.instrument is btc]
    assert len(btc.book.bids.prices) > 800
    assert len(btc.book.asks.prices) > 800
    assert 60 < len(deltas) <= 100


def test_blocks_come_about_every_seventy_milliseconds() -> None:
    blocks = [event.time_ms for event in market().advance(START_NS + 20 * SECOND) if isinstance(event, Block)]
    steps = [after - before for before, after in pairwise(blocks)]
    assert min(steps) >= 45
    assert max(steps) <= 156
    assert 60 < sum(steps) / len(steps) < 85


def test_both_venues_together_cost_well_under_a_quarter_of_a_core() -> None:
    running = market()
    began = time.process_time()
    running.advance(START_NS + 20 * SECOND)
    spent = (time.process_time() - began) / 20
    print(f"the market costs {spent:.1%} of a core")
    assert spent < 0.10


def test_bars_of_every_interval_agree_with_the_minutes_they_hold() -> None:
    running = market()
    running.advance(START_NS + 90 * SECOND)
    bars, now = running.venues["lighter"]["1"].bars, running.now_ns // 1_000_000
    minutes = bars.between("1m", now - 7_200_000, now, 5000)
    starts = [bar.start_ms for bar in minutes]
    assert starts == list(range(starts[0], starts[-1] + 60_000, 60_000))
    for interval in ("5m", "15m", "1h"):
        length = INTERVALS_MS[interval]
        for bar in bars.between(interval, now - 3_600_000, now, 100):
            inside = [m for m in minutes if bar.start_ms <= m.start_ms < bar.start_ms + length]
            assert bar.high == max(m.high for m in inside)
            assert bar.base == sum(m.base for m in inside)
            assert bar.close == inside[-1].close
            assert bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high


def test_an_hour_that_ends_settles_funding_once() -> None:
    hour = 3_600_000
    start = (START_NS // 1_000_000 // hour + 1) * hour - 2_000
    running = Market(load(), seed=1, start_ns=start * 1_000_000)
    running.advance((start + 4_000) * 1_000_000)
    for venue in running.venues.values():
        rows = list(venue["BTC" if "BTC" in venue else "1"].fundings)
        assert len(rows) == 1
        assert 1 <= rows[0].time_ms - (start + 2_000) <= 118


def test_a_market_that_nobody_ran_goes_on_at_once_after_a_jump() -> None:
    running = market()
    running.skip_to(START_NS + 3600 * SECOND)
    events = running.advance(running.now_ns + SECOND)
    assert 15 < sum(isinstance(event, Batch) for event in events) < 25


def test_listings_are_of_their_venue() -> None:
    running = market()
    assert all(isinstance(i.listing, HyperliquidListing) for i in running.venues["hyperliquid"].values())
    assert all(isinstance(i.listing, LighterListing) for i in running.venues["lighter"].values())


@pytest.mark.parametrize(
    ("price", "expected"), [(841430, 10), (4411, 1), (145620, 10), (99999, 1), (100000, 10), (12345678, 10)]
)
def test_the_tick_keeps_five_figures_and_never_exceeds_one(price: int, expected: int) -> None:
    # With one decimal a price of 12345678 units is 1234567.8: integers stay legal, so the tick is capped at 1.0.
    assert five_figures(1)(price) == expected


def test_snapping_lands_on_admitted_prices() -> None:
    tick = five_figures(1)
    assert snap_down(841439, tick) == 841430
    assert snap_up(841431, tick) == 841440
    assert snap_up(841430, tick) == 841430


@pytest.mark.parametrize(
    ("value", "decimals", "lighter_form", "hyperliquid_form"),
    [(841430, 1, "84143.0", "84143.0"), (20, 5, "0.00020", "0.0002"), (-5, 1, "-0.5", "-0.5"), (7, 0, "7", "7.0")],
)
def test_numbers_print_as_each_venue_prints_them(
    value: int, decimals: int, lighter_form: str, hyperliquid_form: str
) -> None:
    assert fixed(value, decimals) == lighter_form
    assert plain(value, decimals) == hyperliquid_form
    assert parse(lighter_form, decimals) == parse(hyperliquid_form, decimals) == value


@pytest.mark.parametrize("text", ["", "abc", "1e5", "0.123456", "NaN", "1.2.3", "--1", "."])
def test_texts_that_are_no_plain_number_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="plain number"):
        parse(text, 5)


def test_a_book_refuses_to_be_made_crossed() -> None:
    book = Book()
    with pytest.raises(ValueError, match="must not cross"):
        book.replace([(101, 1)], [(101, 1)])
    book.replace([(100, 1), (99, 2)], [(101, 1)])
    assert [(e.price, e.size) for e in book.take(False, 2)] == [(100, 1), (99, 1)]
    assert book.take_changes() == ({100: 0, 99: 1}, {101: 1})
