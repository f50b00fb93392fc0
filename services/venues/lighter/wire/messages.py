"""What a frame of Lighter's can mean: the values `frames.Decoder` gives, beside the house's own events."""

from __future__ import annotations

from dataclasses import dataclass

from services.domain.feed import BookDelta, BookSnapshot, Context, TopOfBook, Trade
from services.venues.lighter.wire.numbers import Units, WireError
from services.venues.lighter.wire.shapes import WireCandle


@dataclass(frozen=True, slots=True, kw_only=True)
class WireMarket:
    """What the decoder knows of one market: its name and scales."""

    market: str
    symbol: str
    market_id: int
    prices: Units
    sizes: Units


@dataclass(frozen=True, slots=True)
class Ticker:
    """The best levels of a market, with the venue's sequence number of the change."""

    top: TopOfBook
    nonce: int
    snapshot: bool


@dataclass(frozen=True, slots=True)
class Trades:
    """Prints of a market, oldest first. A snapshot repeats the latest 50, and the latest 50 liquidations."""

    market: str
    trades: list[Trade]
    nonce: int
    snapshot: bool


@dataclass(frozen=True, slots=True)
class Contexts:
    """Contexts of one or many markets, what was wrong with others, and ids of markets that are not listed here."""

    channel: str
    contexts: list[Context]
    errors: list[WireError]
    unknown_ids: list[int]
    snapshot: bool
    time_ms: int


@dataclass(frozen=True, slots=True)
class Candles:
    """The latest candles of a market at one resolution, such as `1m`."""

    market: str
    resolution: str
    candles: list[WireCandle]


@dataclass(frozen=True, slots=True)
class Height:
    """The venue's block height, a sign of progress."""

    height: int


@dataclass(frozen=True, slots=True)
class Greeting:
    """The first frame of a socket; only after it may anything be asked."""


@dataclass(frozen=True, slots=True)
class Ping:
    """The venue asks for a sign of life."""


@dataclass(frozen=True, slots=True)
class Pong:
    """The venue answers our ping."""


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    """The venue has stopped sending a channel."""

    channel: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """The venue says no; `channel` is empty where it does not say to what."""

    code: int
    message: str
    channel: str


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The venue will close the socket."""

    close_in_s: float


@dataclass(frozen=True, slots=True)
class Unused:
    """A frame of Lighter's that this house does not ask for: an account's, or of a spot market."""

    type: str
    channel: str


Message = (
    BookSnapshot
    | BookDelta
    | Ticker
    | Trades
    | Contexts
    | Candles
    | Height
    | Greeting
    | Ping
    | Pong
    | Unsubscribed
    | Refusal
    | Shutdown
    | Unused
)
