"""What to ask Lighter for, in which order, and over which socket. Pure.

The venue takes 200 messages a minute, so the order matters. First the statistics of all markets in one subscription: on
the first socket for their contexts, on every other as proof that it brings data. Then, in the order wanted, what gives
each market its price (the book, or the ticker where no book is wanted), then trades, then the tickers of markets with a
book; after those the same for markets that nobody asked for, a few at a time. A market stays on its socket while it is
wanted; a socket holds at most `MARKETS_PER_LINK`.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Final

from services.venues.lighter.wire.messages import WireMarket
from services.venues.port import FeedLevel
from services.venues.subscriptions import Subscription

STATS_KEY: Final = "market_stats/all"
MARKETS_PER_LINK: Final = 100
"""Three subscriptions each, within the venue's documented 500 a connection."""
LINKS_MAX: Final = 4
SUBSCRIPTIONS_PER_LINK: Final = 500
MESSAGES_PER_MINUTE: Final = 200
SPARE_BELOW: Final = 60
"""Markets nobody asked for are added while fewer messages than this were sent in the last minute: the rest is kept for
whoever asks next, and for books that must come back after a cut."""
SPARE_AT_ONCE: Final = 4
CONNECTS_PER_MINUTE: Final = 255


def subscription(key: str) -> Subscription:
    """Return the subscription of a channel; the venue writes `/` in requests and `:` in answers."""
    return Subscription(
        key=key,
        subscribe=f'{{"type":"subscribe","channel":"{key}"}}',
        unsubscribe=f'{{"type":"unsubscribe","channel":"{key}"}}',
    )


def key_of(channel: str) -> str:
    """Return the subscription's key of a channel as the venue names it in its answers."""
    return channel.replace(":", "/")


def place(wanted: Iterable[str], placed: Mapping[str, int]) -> dict[str, int]:
    """Return the socket's number of each wanted market, most urgent first; those beyond the last socket have none.

    A market keeps its socket; a new one goes to the first with room.
    """
    names = list(dict.fromkeys(wanted))
    result = {name: placed[name] for name in names if name in placed}
    room = [MARKETS_PER_LINK] * LINKS_MAX
    for link in result.values():
        room[link] -= 1
    for name in names:
        if name not in result:
            free = next((link for link, left in enumerate(room) if left > 0), None)
            if free is None:
                break
            room[free] -= 1
            result[name] = free
    return result


def subscriptions(
    link: int,
    levels: Mapping[str, FeedLevel],
    placed: Mapping[str, int],
    markets: Mapping[str, WireMarket],
    unasked: Container[str] = (),
) -> list[Subscription]:
    """Return what the socket `link` asks for, most urgent first; the markets `unasked` for come last."""
    here = [(name, markets[name].market_id, level) for name, level in levels.items() if placed.get(name) == link]
    keys = [STATS_KEY]
    for last in (False, True):
        group = [(number, level) for name, number, level in here if (name in unasked) is last]
        keys += [f"order_book/{number}" if level is FeedLevel.BOOK else f"ticker/{number}" for number, level in group]
        keys += [f"trade/{number}" for number, _ in group]
        keys += [f"ticker/{number}" for number, level in group if level is FeedLevel.BOOK]
    return [subscription(key) for key in keys]
