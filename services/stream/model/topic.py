"""Topics: what a client writes, and what is followed upstream for it.

    prices:{market}   book:{market}   trades:{market}   funding:{market}   candles:{market}:{interval}

`orders`, `fills` and `positions` belong to a signed-in user and are told of in `private`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from services.domain.errors import DomainError, Reason, field_invalid

INTERVALS = ("1s", "1m", "5m", "15m", "1h", "4h", "1d")
"""The lengths of candles, as topics name them."""

DEPTHS = (5, 20, 100, 500)
"""How many levels per side a book may be followed with."""

DEFAULT_DEPTH = 20

TOPIC_CHARS_MAX = 96
"""Longer text is no topic; it is refused with its frame, and not repeated."""

FORMS = "prices:{market}, book:{market}, trades:{market}, funding:{market} or candles:{market}:{interval}"
"""The public ones."""

_MARKET = re.compile(r"[A-Z0-9]{1,20}(-[A-Z0-9]{1,20}){0,2}-PERP", re.ASCII)
_MARKET_CHARS_MAX = 48


class Kind(StrEnum):
    """What a topic carries; the word before its first colon."""

    PRICES = "prices"
    BOOK = "book"
    TRADES = "trades"
    FUNDING = "funding"
    CANDLES = "candles"


COLLAPSIBLE = frozenset({Kind.PRICES, Kind.FUNDING, Kind.CANDLES})
"""Kinds of which a slow or modest reader gets fewer messages, each the latest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is followed upstream: a topic, and for a book how deep."""

    kind: Kind
    market: str
    interval: str = ""
    """For candles, one of `INTERVALS`."""
    depth: int = 0
    """For a book, one of `DEPTHS`."""

    @property
    def topic(self) -> str:
        """Return the topic as clients write it."""
        tail = f":{self.interval}" if self.interval else ""
        return f"{self.kind.value}:{self.market}{tail}"


def parse_topic(text: str, depth: int = DEFAULT_DEPTH) -> Subject:
    """Return what `text` names, or raise a `DomainError` that says what would pass."""
    word, _, rest = text.partition(":")
    if word not in Kind.__members__.values():
        raise field_invalid("topics", f"{text!r} is no topic; what passes is {FORMS}, such as prices:BTC-PERP.")
    kind = Kind(word)
    market, _, interval = rest.partition(":")
    if len(market) > _MARKET_CHARS_MAX or not _MARKET.fullmatch(market):
        raise field_invalid(
            "topics",
            f"{text!r} names no market; what passes is a canonical name, such as {word}:BTC-PERP{_tail(kind)}.",
        )
    if kind is Kind.CANDLES:
        if interval not in INTERVALS:
            raise field_invalid(
                "topics",
                f"{text!r} names no interval; what passes is one of {', '.join(INTERVALS)}, such as "
                f"candles:{market}:1m.",
            )
        return Subject(kind=kind, market=market, interval=interval)
    if ":" in rest:
        raise field_invalid("topics", f"{text!r} has a part too many; what passes is {word}:{market}.")
    return Subject(kind=kind, market=market, depth=depth if kind is Kind.BOOK else 0)


def caller_needed(text: str) -> DomainError:
    """Return the refusal of a caller's own topic where nobody has said who calls."""
    return DomainError(
        Reason.TOKEN_MISSING,
        f"topics: {text} belongs to a signed-in user, and this connection has not said who calls: send an "
        "`authenticate` frame first; public topics are " + FORMS + ".",
        metadata={"field": "topics", "topic": text},
    )


def market_unknown(market: str, known: Collection[str]) -> DomainError:
    """Return the refusal of a market that nobody lists, with the names nearest to it."""
    near = difflib.get_close_matches(market, sorted(known), n=3, cutoff=0.6)
    hint = f"near names are {', '.join(near)}" if near else "GET /v1/markets has all names"
    return DomainError(
        Reason.MARKET_UNKNOWN,
        f"topics: no venue lists a market {market}; {hint}.",
        metadata={"field": "topics", "market": market, "near": ",".join(near)},
    )


def _tail(kind: Kind) -> str:
    return ":1m" if kind is Kind.CANDLES else ""
