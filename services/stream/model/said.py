"""What market_data says on a Watch stream, as values: JSON is made once, at the rim, and only joined here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A price, a trade, a funding rate or a candle."""

    market: str
    sequence: int
    """Its number within the market; zero for candles, which have none."""
    slot: str = ""
    """What collapses into what: values of one slot replace each other. For a candle, when it opens."""
    body: bytes
    """The message as JSON."""


@dataclass(frozen=True, slots=True)
class Level:
    """One price of a book."""

    price: str
    gone: bool
    """In a delta: the level is no more."""
    body: bytes
    """The level as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BookSnapshot:
    """A whole book."""

    market: str
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    versions: bytes
    """The venues' versions as a JSON list."""
    crossed: bool
    sequence: int
    update_time: str
    """RFC 3339, or empty where absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BookDelta:
    """A change of a book, with what the book is like after it."""

    market: str
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    versions: bytes
    crossed: bool
    sequence: int
    previous_sequence: int
    bid_level_count: int
    ask_level_count: int
    update_time: str
    body: bytes
    """The whole delta as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """Messages of one market were lost on the way to us; `body` is the gap as JSON."""

    market: str
    of_venue: bool
    """Whether a venue's feed lost them; else this stream did."""
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NowLive:
    """The present has all been said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """Nothing else happened; all up to `watermark` has been said."""

    watermark: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """market_data ends the stream."""

    reason: str
    message: str
    resumable: bool


Event = Value | BookSnapshot | BookDelta | Lost | NowLive | Beat | Ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One message of a Watch stream."""

    cursor: str
    events: tuple[Event, ...]
    """One event, or the several prices of a batch."""
