"""What is subscribed keeps the venue's limits, whatever is listed and wanted."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.venues.hyperliquid import plan as planning
from services.venues.hyperliquid.plan import NOTHING, Channel, Limits, Plan, Role, key_of, key_of_frame, plan
from services.venues.hyperliquid.wire import frames
from services.venues.hyperliquid.wishes import LINGER_NS, Wishes
from services.venues.port import FeedLevel

LIMITS = Limits()
COINS = [f"C{number}" for number in range(400)] + [f"xyz:D{number}" for number in range(200)]


def keys(made: Plan) -> set[str]:
    return {subscription.key for link in made.links.values() for subscription in link}


def check(made: Plan, limits: Limits = LIMITS) -> None:
    """Assert all that must hold of any plan."""
    everything = [subscription.key for link in made.links.values() for subscription in link]
    assert len(everything) == len(set(everything)) == made.subscription_count
    assert len(everything) <= limits.subscriptions_max <= planning.SUBSCRIPTIONS_ALLOWED
    assert len(made.links) <= planning.CONNECTIONS_ALLOWED
    for name, link in made.links.items():
        channels = {subscription.key.partition(":")[0] for subscription in link}
        if name == Role.FAST.value:
            assert channels <= {Channel.FAST_BOOK.value}
        elif name == Role.FULL.value:
            assert channels <= {Channel.FULL_BOOK.value}
        else:
            assert not channels & {Channel.FAST_BOOK.value, Channel.FULL_BOOK.value}
    for coin, level in made.levels.items():
        top, trades = key_of(Channel.TOP, coin), key_of(Channel.TRADES, coin)
        home = [name for name, link in made.links.items() if {top, trades} <= {one.key for one in link}]
        assert len(home) == 1
        books = {key_of(Channel.FAST_BOOK, coin), key_of(Channel.FULL_BOOK, coin)}
        assert (books <= set(everything)) == (level is FeedLevel.BOOK)


def test_600_markets_with_150_wanted_books_stay_inside_the_limits_and_every_book_is_fed() -> None:
    wanted = [(coin, FeedLevel.BOOK) for coin in COINS[200:350]]
    made = plan(COINS, wanted, NOTHING, LIMITS)
    check(made)
    assert made.subscription_count == 947
    assert all(made.levels[coin] is FeedLevel.BOOK for coin, _ in wanted)
    assert sum(level is FeedLevel.PRICE for level in made.levels.values()) == 98
    assert key_of(Channel.ALL_CONTEXTS) in keys(made)


def test_all_of_the_real_venue_is_priced_when_nothing_is_wanted() -> None:
    made = plan(COINS[:400], [], NOTHING, LIMITS)
    check(made)
    assert len(made.levels) == 400


def test_what_is_wanted_first_is_fed_first_and_the_rest_comes_at_a_lower_level() -> None:
    made = plan(COINS, [(coin, FeedLevel.BOOK) for coin in COINS], NOTHING, LIMITS)
    check(made)
    levels = [made.levels.get(coin, FeedLevel.CONTEXT) for coin in COINS]
    assert levels == sorted(levels, reverse=True)
    assert levels.count(FeedLevel.BOOK) == 189  # of five subscriptions each


def test_a_wanted_coin_that_does_not_trade_is_never_subscribed() -> None:
    made = plan(COINS[:5], [("btc", FeedLevel.BOOK), ("C1", FeedLevel.BOOK)], NOTHING, LIMITS)
    check(made)
    assert "btc" not in {key.partition(":")[2] for key in keys(made)}


def test_a_coin_stays_on_its_socket_while_others_come_and_go() -> None:
    rng = random.Random(5)
    made = NOTHING
    for _ in range(30):
        wanted = [(coin, FeedLevel.BOOK) for coin in rng.sample(COINS, 40)]
        after = plan(COINS, wanted, made, LIMITS)
        check(after)
        assert all(made.shards[coin] == shard for coin, shard in after.shards.items() if coin in made.shards)
        made = after


def test_every_socket_of_prices_has_a_pulse() -> None:
    for wanted in ([], [(COINS[0], FeedLevel.BOOK)], [(coin, FeedLevel.BOOK) for coin in COINS]):
        made = plan(COINS, wanted, NOTHING, LIMITS)
        for name, link in made.links.items():
            if name.startswith("prices"):
                assert any(subscription.key.startswith("activeAssetCtx:") for subscription in link)


def test_price_sockets_share_the_load() -> None:
    made = plan(COINS[:300], [], NOTHING, Limits(price_links=3))
    sizes = [len(made.links[name]) for name in made.links if name.startswith("prices")]
    assert max(sizes) - min(sizes) <= 3


@given(
    st.integers(0, 600),
    st.lists(st.tuples(st.sampled_from(COINS), st.sampled_from(list(FeedLevel))), max_size=200),
    st.integers(1, 1000),
    st.integers(1, 8),
)
@settings(max_examples=60, deadline=None)
def test_no_wish_makes_a_plan_beyond_its_limits(
    count: int, wanted: list[tuple[str, FeedLevel]], most: int, links: int
) -> None:
    limits = Limits(subscriptions_max=most, price_links=links)
    first = plan(COINS[:count], wanted, NOTHING, limits)
    check(first, limits)
    check(plan(COINS[:count], wanted[::-1], first, limits), limits)


def test_subscriptions_are_said_in_the_venues_words_and_known_again_in_its_answers() -> None:
    said = planning.subscription(Channel.FAST_BOOK, "xyz:TSLA")
    assert json.loads(said.subscribe) == {
        "method": "subscribe",
        "subscription": {"type": "l2Book", "coin": "xyz:TSLA", "fast": True},
    }
    assert json.loads(said.unsubscribe)["method"] == "unsubscribe"
    echo = frames.Subscription(type="l2Book", coin="xyz:TSLA", fast=True)
    assert key_of_frame(echo) == said.key
    full = frames.Subscription(type="l2Book", coin="BTC", fast=False).normal()
    assert key_of_frame(full) == planning.subscription(Channel.FULL_BOOK, "BTC").key
    assert json.loads(planning.subscription(Channel.ALL_CONTEXTS).subscribe)["subscription"] == {
        "type": "allDexsAssetCtxs"
    }
    for channel in Channel:
        body = json.loads(planning.subscription(channel, "BTC").subscribe)["subscription"]
        assert key_of_frame(frames.Subscription(**body)) == key_of(channel, "BTC")


@pytest.mark.parametrize("wrong", [{"subscriptions_max": 1001}, {"subscriptions_max": 0}, {"price_links": 9}])
def test_limits_beyond_the_venues_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="would pass"):
        Limits(**wrong)


SYMBOLS = {f"{coin}-PERP": coin for coin in COINS}


def test_what_is_no_longer_wanted_lingers_where_there_is_room_and_goes_when_its_time_is_over() -> None:
    wishes = Wishes()
    wishes.replace({"C1-PERP": FeedLevel.BOOK, "C2-PERP": FeedLevel.BOOK}, 0)
    wishes.replace({"C2-PERP": FeedLevel.PRICE}, 1)
    made = wishes.plan(COINS[:10], SYMBOLS, NOTHING, LIMITS)
    assert (made.levels["C1"], made.levels["C2"]) == (FeedLevel.BOOK, FeedLevel.BOOK)
    assert wishes.books(SYMBOLS) == set()
    assert wishes.level("C2-PERP") is FeedLevel.PRICE
    assert not wishes.expire(LINGER_NS)
    assert wishes.expire(LINGER_NS + 1)
    made = wishes.plan(COINS[:10], SYMBOLS, made, LIMITS)
    assert (made.levels["C1"], made.levels["C2"]) == (FeedLevel.PRICE, FeedLevel.PRICE)


def test_what_lingers_takes_nothing_from_what_is_wanted_or_priced() -> None:
    wishes = Wishes()
    wishes.replace(dict.fromkeys(list(SYMBOLS)[:150], FeedLevel.BOOK), 0)
    wishes.replace(dict.fromkeys(list(SYMBOLS)[100:250], FeedLevel.BOOK), 1)
    fresh = Wishes()
    fresh.replace(dict.fromkeys(list(SYMBOLS)[100:250], FeedLevel.BOOK), 1)
    made = wishes.plan(COINS, SYMBOLS, NOTHING, LIMITS)
    check(made)
    assert made.levels == fresh.plan(COINS, SYMBOLS, NOTHING, LIMITS).levels


def test_what_is_wanted_again_lingers_no_more() -> None:
    wishes = Wishes()
    wishes.replace({"C1-PERP": FeedLevel.BOOK}, 0)
    wishes.replace({}, 1)
    wishes.replace({"C1-PERP": FeedLevel.BOOK}, 2)
    assert not wishes.expire(10 * LINGER_NS)
    assert wishes.books(SYMBOLS) == {"C1"}
