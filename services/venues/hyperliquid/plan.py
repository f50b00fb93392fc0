"""What to subscribe, on which socket, inside the venue's limits. Pure.

The venue counts 1,000 subscriptions, 10 connections and 2,000 messages a minute per address, over all sockets. So:

- contexts of all markets come through one subscription, every 13.6 s;
- what is wanted comes first, in the order given: a wanted price costs three (best bid and ask, trades, its own context
  once a second), a wanted book two more (the fast 5 levels and the default 20);
- what room is left gives best bid, ask and trades to the other markets, the first dex before the builders' dexes.

Every socket of prices also carries one context, which comes once a second whether it changed or not: so a socket that
answers pings and delivers nothing is found out.

The fast and the default book of a coin have the same channel and coin in every frame: they come over different sockets,
so that the socket tells which it is. Prices are spread over a few sockets; a coin stays where it is while it is wanted,
and all its price subscriptions are on one socket, whose silence is then the silence of that price.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

import msgspec

from services.venues.hyperliquid.wire import frames
from services.venues.port import FeedLevel
from services.venues.subscriptions import Subscription

SUBSCRIPTIONS_ALLOWED: Final = 1_000
CONNECTIONS_ALLOWED: Final = 10
MESSAGES_ALLOWED_PER_MINUTE: Final = 2_000
CONNECTS_ALLOWED_PER_MINUTE: Final = 30
"""The venue's documented limits per address."""


class Role(Enum):
    """What a socket carries, and with it what a book frame on it is."""

    PRICES = "prices"
    FAST = "fast-books"
    FULL = "full-books"


class Channel(Enum):
    """What can be subscribed; the value is the venue's word."""

    TOP = "bbo"
    TRADES = "trades"
    CONTEXT = "activeAssetCtx"
    FAST_BOOK = "l2Book/fast"
    FULL_BOOK = "l2Book"
    ALL_CONTEXTS = "allDexsAssetCtxs"


PRICE_CHANNELS: Final = (Channel.TOP, Channel.TRADES)
WANTED_CHANNELS: Final = (Channel.TOP, Channel.TRADES, Channel.CONTEXT)
BOOK_CHANNELS: Final = (Channel.FAST_BOOK, Channel.FULL_BOOK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of the venue's limits this feed may use."""

    subscriptions_max: int = 950
    """The rest of 1,000 is for what overlaps while one subscription replaces another."""
    price_links: int = 2
    """Sockets for prices; with the two for books, four of the ten an address may have. More would use up the venue's
    30 new connections a minute sooner while it is away."""

    def __post_init__(self) -> None:
        """Refuse what the venue would."""
        if not 1 <= self.subscriptions_max <= SUBSCRIPTIONS_ALLOWED:
            raise ValueError(f"subscriptions_max: from 1 to {SUBSCRIPTIONS_ALLOWED} would pass")
        if not 1 <= self.price_links <= CONNECTIONS_ALLOWED - 2:
            raise ValueError(f"price_links: from 1 to {CONNECTIONS_ALLOWED - 2} would pass")

    def link_names(self) -> tuple[str, ...]:
        """Return the names of all sockets: those for prices, then the two for books."""
        return (*(f"prices-{number + 1}" for number in range(self.price_links)), Role.FAST.value, Role.FULL.value)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be subscribed: per socket, the most urgent first, and how much of each coin that makes."""

    links: dict[str, tuple[Subscription, ...]]
    levels: dict[str, FeedLevel]
    """By coin; a coin that is not here has its context only."""
    shards: dict[str, int]
    """By coin: the number of the socket that carries its price."""

    @property
    def subscription_count(self) -> int:
        """How many subscriptions it makes over all sockets."""
        return sum(len(link) for link in self.links.values())


NOTHING: Final = Plan({}, {}, {})


def key_of(channel: Channel, coin: str = "") -> str:
    """Return the name of a subscription, such as `bbo:BTC`."""
    return f"{channel.value}:{coin}"


def key_of_frame(asked: frames.Subscription) -> str:
    """Return the name of the subscription that the venue speaks of."""
    kind = "l2Book/fast" if asked.type == "l2Book" and asked.fast else asked.type
    return f"{kind}:{asked.coin or ''}"


def coin_of(key: str) -> str:
    """Return the coin of a subscription's name; empty where it is about all."""
    return key.partition(":")[2]


@lru_cache(maxsize=8_192)
def subscription(channel: Channel, coin: str = "") -> Subscription:
    """Return a subscription in the venue's words."""
    kind, _, fast = channel.value.partition("/")
    body = msgspec.json.encode(frames.Subscription(type=kind, coin=coin or None, fast=True if fast else None)).decode()
    return Subscription(
        key=key_of(channel, coin),
        subscribe=f'{{"method":"subscribe","subscription":{body}}}',
        unsubscribe=f'{{"method":"unsubscribe","subscription":{body}}}',
    )


def plan(live: Sequence[str], wanted: Iterable[tuple[str, FeedLevel]], before: Plan, limits: Limits) -> Plan:
    """Return what to subscribe for `live` coins when some are `wanted`, moving nothing that can stay.

    Coins that are wanted and not live are left out. What does not fit comes at a lower level.
    """
    room = limits.subscriptions_max - 1 - limits.price_links  # all contexts, and a pulse for each socket of prices
    levels: dict[str, FeedLevel] = {}
    asked: dict[str, tuple[Channel, ...]] = {}
    known = set(live)
    for coin, level in wanted:
        if coin not in known or coin in asked or level < FeedLevel.PRICE:
            continue
        book = level >= FeedLevel.BOOK and room >= len(WANTED_CHANNELS) + len(BOOK_CHANNELS)
        channels: tuple[Channel, ...] = WANTED_CHANNELS + BOOK_CHANNELS if book else WANTED_CHANNELS
        if len(channels) > room:
            channels = PRICE_CHANNELS
        if len(channels) > room:
            break
        asked[coin] = channels
        levels[coin] = FeedLevel.BOOK if book else FeedLevel.PRICE
        room -= len(channels)
    for coin in live:
        if room < len(PRICE_CHANNELS):
            break
        if coin not in asked:
            asked[coin] = PRICE_CHANNELS
            levels[coin] = FeedLevel.PRICE
            room -= len(PRICE_CHANNELS)
    shards = _shards(asked, before.shards, limits.price_links)
    return Plan(_links(asked, shards, limits), levels, shards)


def _links(
    asked: dict[str, tuple[Channel, ...]], shards: dict[str, int], limits: Limits
) -> dict[str, tuple[Subscription, ...]]:
    names = limits.link_names()
    links: dict[str, list[Subscription]] = {name: [] for name in names}
    links[names[0]].append(subscription(Channel.ALL_CONTEXTS))
    pulsing = {shards[coin] for coin, channels in asked.items() if Channel.CONTEXT in channels}
    for coin, channels in asked.items():
        prices = links[names[shards[coin]]]
        if shards[coin] not in pulsing:
            pulsing.add(shards[coin])
            prices.append(subscription(Channel.CONTEXT, coin))
        prices.extend(subscription(channel, coin) for channel in channels if channel not in BOOK_CHANNELS)
        if Channel.FAST_BOOK in channels:
            links[Role.FAST.value].append(subscription(Channel.FAST_BOOK, coin))
            links[Role.FULL.value].append(subscription(Channel.FULL_BOOK, coin))
    return {name: tuple(subscriptions) for name, subscriptions in links.items()}


def _shards(asked: dict[str, tuple[Channel, ...]], before: dict[str, int], count: int) -> dict[str, int]:
    """Return the price socket of each coin: the one it had, or the least loaded."""
    loads = [0] * count
    shards: dict[str, int] = {}
    for coin in asked:
        shard = before.get(coin, count)
        if shard < count:
            shards[coin] = shard
            loads[shard] += 1
    for coin in asked:
        if coin not in shards:
            shard = loads.index(min(loads))
            shards[coin] = shard
            loads[shard] += 1
    return {coin: shards[coin] for coin in asked}
