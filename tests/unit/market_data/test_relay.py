"""A replica that is fed shows what the feeder shows, whatever is lost on the way; the lease decides who feeds."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.domain.feed import Event, FeedState, ListingsChanged, Trade, TradesMissed
from services.market_data.app.demand import Demand
from services.market_data.app.engine import Engine
from services.market_data.app.relay import ALONE_S, PATIENCE_S, Relay
from services.market_data.app.relayed_venue import RelayedVenue
from services.market_data.model.merged_book import merge
from services.market_data.model.relay import Ask, Told
from services.market_data.peers.replicas import Codec
from services.market_data.ports import Lease
from services.venues.port import FeedLevel
from tests.support.clock import ManualClock
from tests.support.feed import HYPERLIQUID_BTC, LIGHTER_BTC, SECOND_NS, context, delta, snapshot, top, trade
from tests.support.venue import ScriptedVenue

BTC, ETH = "BTC-PERP", "ETH-PERP"
LISTED = {
    "hyperliquid": (HYPERLIQUID_BTC, replace(HYPERLIQUID_BTC, market=ETH, symbol="ETH")),
    "lighter": (LIGHTER_BTC, replace(LIGHTER_BTC, market=ETH, symbol="ETH")),
}


class Silent:
    """A publisher (`services.market_data.ports.Publisher`) to nobody."""

    def __getattr__(self, _: str) -> Any:
        return lambda *args, **named: None


class Replica:
    """One replica without its loops: a test says when what happens."""

    def __init__(self, name: str, clock: ManualClock) -> None:
        self.codec = Codec()
        self.told: list[bytes] = []
        self.asked: list[bytes] = []
        self.released = 0
        venues = [
            RelayedVenue(lambda one=one: ScriptedVenue(one, *LISTED[one]), clock, store=lambda: None) for one in LISTED
        ]
        demand = Demand({BTC: FeedLevel.BOOK}, clock)
        self.engine = Engine(venues=venues, publisher=Silent(), demand=demand, clock=clock)
        self.relay = Relay(name, venues=venues, engine=self.engine, demand=demand, replicas=self, clock=clock)
        self.engine.tick()

    # The port `services.market_data.ports.Replicas`, through the real codec.

    async def lease(self, *, knows: bool) -> Lease:
        return Lease.UNKNOWN

    async def release(self) -> None:
        self.released += 1

    def tell(self, told: Told) -> None:
        self.told.append(self.codec.told(told))

    def ask(self, ask: Ask) -> None:
        self.asked.append(self.codec.ask(ask))

    async def listen(self, *_: Any, **__: Any) -> None: ...

    def say(self, event: Event) -> None:
        """A venue of this replica says something."""
        self.engine.intake.emit(event)
        self.relay.said(event)

    def shows(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, market in self.engine.markets.items():
            for venue, one in market.venues.items():
                values = (one.context.mark_price, one.context.funding_rate) if one.context is not None else None
                found[f"{name} {venue}"] = (one.bid, one.ask, one.version if one.full else 0, values, one.price_down)
            book = merge(market, 50, SECOND_NS)
            found[f"{name} book"] = (dict(book.bids), dict(book.asks))
            log = self.engine.trade_logs[name]
            found[f"{name} trades"] = [(one.sequence, one.trade.trade_id) for one in log.newest(50)]
        return found


class Pair:
    """A feeder and a replica that it feeds, over a line that may lose."""

    def __init__(self) -> None:
        clock = ManualClock(time_ns=SECOND_NS)
        self.clock = clock
        self.feeder, self.fed = Replica("a", clock), Replica("b", clock)
        self.feeder.relay.take(Lease.OURS)
        self.fed.relay.take(Lease.THEIRS)
        self.missed: set[str] = set()
        for listings in LISTED.values():
            self.feeder.say(ListingsChanged(venue=listings[0].venue, listings=listings, receive_time_ns=0))

    def carry(self, *, lose: bool = False) -> None:
        """Let the feeder decide and tell, and the other hear, or lose what was said."""
        self.feeder.engine.round()
        self.feeder.relay.flush()
        told, self.feeder.told = self.feeder.told, []
        for payload in told:
            message = self.fed.codec.read_told(payload)
            if lose:
                self.missed.add(message.line)
                continue
            self.fed.relay.hear(message, message.line in self.missed)
            self.missed.discard(message.line)
        self.fed.engine.round()

    def wish(self) -> None:
        """Let the other say what it wants."""
        self.clock_moves()
        self.fed.ask(self.fed.relay.wish())
        for payload in self.fed.asked:
            self.feeder.relay.serve(self.feeder.codec.read_ask(payload))
        self.fed.asked = []

    def clock_moves(self) -> None:
        self.clock._wall_ns += 200_000_000
        self.clock._mono_ns += 200_000_000

    def settle(self) -> None:
        for _ in range(4):
            for line in (*LISTED, "trades"):  # as the feeder does several times a second
                self.feeder.tell(Told(teller="a", line=line, events=[]))
            self.wish()
            self.carry()


def events(chance: random.Random, books: dict[str, tuple[int, dict[int, int], dict[int, int]]], number: int) -> Event:
    """Return something that a venue may say next."""
    kind = chance.randrange(5)
    market = chance.choice((BTC, ETH))
    at_ns = SECOND_NS + number
    if kind == 0:
        return trade(chance.choice(tuple(LISTED)), f"t{number}", 1_000 + number % 7, 5, at_ns=at_ns, market=market)
    if kind == 1:
        venue = chance.choice(tuple(LISTED))
        return context(
            venue, mark=f"{Decimal(chance.randrange(1, 99))}.5", funding="0.0001", at_ns=at_ns, market=market
        )
    if kind == 2:
        bid = 1_000 + chance.randrange(5)
        return top("hyperliquid", (bid, 3), (bid + 1, 4), at_ns=at_ns, market=market)
    version, bids, asks = books.get(market, (0, {}, {}))
    if not version or chance.randrange(12) == 0:
        bids = {price: chance.randrange(1, 9) for price in range(950, 1_000, 7)}
        asks = {price: chance.randrange(1, 9) for price in range(1_001, 1_050, 7)}
        books[market] = (version + 10, bids, asks)
        return snapshot(
            "lighter",
            sorted(bids.items(), reverse=True),
            sorted(asks.items()),
            version=version + 10,
            at_ns=at_ns,
            market=market,
        )
    price, size = chance.choice(sorted(bids)), chance.randrange(1, 9)
    bids[price] = size
    books[market] = (version + 1, bids, asks)
    return delta("lighter", [(price, size)], [], previous=version, version=version + 1, at_ns=at_ns, market=market)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.1, 0.5]))
def test_whatever_is_lost_on_the_way_both_show_the_same_in_the_end(seed: int, loss: float) -> None:
    chance, pair = random.Random(seed), Pair()
    books: dict[str, tuple[int, dict[int, int], dict[int, int]]] = {}
    with pair.fed.engine.demand.watching([ETH], FeedLevel.BOOK):
        pair.fed.engine.tick()
        for number in range(chance.randrange(5, 120)):
            pair.feeder.say(events(chance, books, number))
            if chance.randrange(3) == 0:
                pair.carry(lose=chance.random() < loss)
            if chance.randrange(10) == 0:
                pair.wish()
        pair.settle()
        assert pair.fed.relay.missing == []
        fed, fed_by = pair.fed.shows(), pair.feeder.shows()
        assert fed.keys() == fed_by.keys()
        for key, value in fed_by.items():
            if key.endswith("trades"):  # what was lost before the whole was asked for may be missing, and is no other
                assert set(fed[key]) <= set(value)
                assert fed[key][:1] == value[:1]
            else:
                assert fed[key] == value, key


def test_what_one_caller_watches_at_one_replica_is_fed_by_the_other() -> None:
    pair = Pair()
    pair.settle()
    assert pair.feeder.engine.demand.levels().get(ETH) is None
    with pair.fed.engine.demand.watching([ETH], FeedLevel.BOOK):
        pair.settle()
        assert pair.feeder.engine.demand.levels()[ETH] is FeedLevel.BOOK


def test_nobody_tells_anything_where_nobody_asks() -> None:
    pair = Pair()
    pair.feeder.say(trade("lighter", "t", 1_000, 1))
    pair.carry()
    assert pair.feeder.told == []


def test_a_replica_is_not_ready_before_it_has_heard_the_whole() -> None:
    pair = Pair()
    assert pair.fed.relay.missing == ["hyperliquid", "lighter", "trades"]
    pair.settle()
    assert pair.fed.relay.missing == []
    assert pair.feeder.relay.missing == []


def test_a_bus_that_cannot_be_asked_leaves_the_feeder_feeding_and_the_other_feeds_itself_after_a_while() -> None:
    pair = Pair()
    for replica in (pair.feeder, pair.fed):
        replica.relay.take(Lease.UNKNOWN)
    assert (pair.feeder.relay.leading, pair.fed.relay.leading) == (True, False)
    pair.clock._mono_ns += round(ALONE_S * 1e9)
    for replica in (pair.feeder, pair.fed):
        replica.relay.take(Lease.UNKNOWN)
    assert (pair.feeder.relay.leading, pair.fed.relay.leading) == (True, True)
    pair.fed.relay.take(Lease.THEIRS)
    assert not pair.fed.relay.leading


def test_a_replica_that_knows_nothing_leaves_a_free_lease_for_a_second_to_one_that_knows() -> None:
    pair = Pair()
    assert not pair.fed.relay.knows()
    pair.fed.relay.take(Lease.NOBODYS)
    assert not pair.fed.relay.knows()
    pair.clock._mono_ns += round(PATIENCE_S * 1e9)
    assert pair.fed.relay.knows(), "nobody who knows is there"
    pair.fed.relay.take(Lease.THEIRS)
    assert not pair.fed.relay.knows()
    pair.settle()
    assert pair.fed.relay.knows()


def test_numbers_that_begin_anew_at_another_feeder_do_so_everywhere_and_lose_nothing() -> None:
    pair = Pair()
    for number in range(9):
        pair.feeder.say(trade("lighter", f"old{number}", 1_000, 1))
    pair.settle()
    fresh = Pair()
    fresh.feeder.relay._me = "c"
    fresh.fed = pair.fed
    fresh.feeder.say(trade("lighter", "new", 1_000, 1))
    fresh.settle()
    newest = fresh.fed.engine.trade_logs[BTC].newest(2)
    assert [(one.trade.trade_id, one.sequence) for one in newest] == [("new", 1), ("old8", 9)]


async def test_one_that_leaves_gives_the_lease_back_and_never_takes_it_again() -> None:
    pair = Pair()
    leaving = asyncio.create_task(pair.feeder.relay.leave())
    await asyncio.sleep(0)
    assert not pair.feeder.relay.leading
    await pair.clock.advance(1)
    await leaving
    assert pair.feeder.released == 1
    pair.feeder.relay.take(Lease.OURS)
    assert not pair.feeder.relay.leading


@pytest.mark.parametrize(
    ("known_s", "first", "later", "missed"),
    [
        pytest.param(5, [4, 5, 6], [9], False, id="they reach back"),
        pytest.param(5, [6, 7], [9], True, id="they begin later"),
        pytest.param(5, [5, 6], [9], True, id="they begin in the same moment"),
        pytest.param(0, [6], [9], False, id="nothing was known"),
        pytest.param(5, [], [9], True, id="the venue repeats nothing"),
    ],
)
async def test_a_replica_that_begins_to_feed_says_that_trades_are_missing_where_the_venues_do_not_reach_back(
    known_s: int, first: list[int], later: list[int], missed: bool
) -> None:
    clock = ManualClock()
    venue = RelayedVenue(lambda: ScriptedVenue("lighter", LIGHTER_BTC), clock, store=lambda: None)
    said: list[Event] = []
    venue.join(said.append, lambda: None, lambda _: None, lambda _: known_s * SECOND_NS)
    venue.know(frozenset({BTC}))
    seen: list[Event] = []
    running = asyncio.create_task(venue.run(lambda event: not seen.append(event)))
    await asyncio.sleep(0)
    assert seen == []
    assert venue.status().state is FeedState.RECOVERING
    venue.lead(True)
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await venue._real.started.wait()  # type: ignore[attr-defined]
    old = replace(trade("lighter", "liquidated", 1_000, 1, at_ns=SECOND_NS), liquidation=True)
    prints = [trade("lighter", f"t{at}", 1_000, 1, at_ns=at * SECOND_NS) for at in (*first, *later)]
    venue._real.say(old, *prints)  # type: ignore[attr-defined]
    told = [type(one).__name__ for one in seen]
    assert told.count("TradesMissed") == missed
    if missed:
        assert told[:3] == ["ListingsChanged", "TradesMissed", "Trade"], "before the first print after the hole"
        assert isinstance(seen[1], TradesMissed)
        assert seen[1].markets == {BTC}
        assert seen[1] in said, "the other replicas are told"
    running.cancel()


def test_trades_that_may_be_missed_are_told_at_every_replica_and_prices_stay_live() -> None:
    pair = Pair()
    pair.feeder.say(top("lighter", (1_000, 1), (1_001, 1)))
    pair.settle()
    told: list[tuple[str, str]] = []

    class Ear(Silent):
        def trades_lost(self, market: str, venue: str) -> None:
            told.append((market, venue))

    for replica in (pair.feeder, pair.fed):
        replica.engine.follow(Ear())
    now_ns = pair.clock.time_ns()
    pair.feeder.say(
        TradesMissed(venue="lighter", markets=frozenset({BTC, "GONE-PERP"}), reason="change", receive_time_ns=now_ns)
    )
    pair.carry()
    assert told == [(BTC, "lighter")] * 2
    assert pair.feeder.shows() == pair.fed.shows()
    for replica in (pair.feeder, pair.fed):
        assert replica.engine.markets[BTC].venues["lighter"].price_down is None


async def test_prints_that_a_venue_repeats_to_a_new_feeder_are_not_told_again() -> None:
    clock = ManualClock()
    made: list[ScriptedVenue] = []

    def make() -> ScriptedVenue:
        made.append(ScriptedVenue("lighter", LIGHTER_BTC))
        return made[-1]

    venue = RelayedVenue(make, clock, store=lambda: None)
    venue.join(lambda _: None, lambda: None, lambda _: None, lambda _: 5 * SECOND_NS)
    venue.know(frozenset({BTC}))
    seen: list[Event] = []
    running = asyncio.create_task(venue.run(lambda event: not seen.append(event)))
    venue.lead(True)
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await made[-1].started.wait()
    made[-1].say(*(trade("lighter", f"t{at}", 1_000, 1, at_ns=at * SECOND_NS) for at in (4, 5, 6)))
    assert [one.trade_id for one in seen if isinstance(one, Trade)] == ["t5", "t6"]
    clock._mono_ns += 31 * SECOND_NS
    made[-1].say(trade("lighter", "late", 1_000, 1, at_ns=SECOND_NS))
    assert isinstance(seen[-1], Trade)
    running.cancel()
