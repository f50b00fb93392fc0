"""The shapes of Lighter's messages, as the venue writes them: what `msgspec` decodes into. Field names are the venue's.

Unknown fields are passed over. A wrong type, a negative count or a time beyond reason is refused by the decoder itself.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Final

from msgspec import Meta, Raw, Struct

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Milliseconds = Annotated[int, Meta(ge=0, le=10**14)]
Microseconds = Annotated[int, Meta(ge=0, le=10**17)]

ABSENT: Final = -1
"""A count that was left out; one that is written cannot be negative."""


class WireLevel(Struct, gc=False):
    """One level of a book."""

    price: str
    size: str


class WireBook(Struct, gc=False):
    """The levels of a snapshot or of an update; `begin_nonce` since 2026, `nonce` since November 2025."""

    asks: list[WireLevel]
    bids: list[WireLevel]
    offset: Count = 0
    nonce: Count = ABSENT
    begin_nonce: Count = ABSENT


class WireBookFrame(Struct, gc=False):
    """A frame of `order_book`."""

    channel: str
    type: str
    order_book: WireBook
    last_updated_at: Microseconds = 0
    timestamp: Milliseconds = 0


class WireTicker(Struct, gc=False):
    """The best levels; an empty side has empty texts."""

    s: str
    a: WireLevel
    b: WireLevel


class WireTickerFrame(Struct, gc=False):
    """A frame of `ticker`."""

    channel: str
    ticker: WireTicker
    nonce: Count = 0
    last_updated_at: Microseconds = 0
    timestamp: Milliseconds = 0


class WireTrade(Struct, gc=False):
    """A print as Lighter writes it, on the socket and over REST."""

    trade_id: Count
    market_id: Count
    price: str
    size: str
    type: str
    is_maker_ask: bool
    timestamp: Milliseconds
    transaction_time: Microseconds = 0


class WireTradeFrame(Struct, gc=False):
    """A frame of `trade`; a list may be null or left out."""

    channel: str
    trades: list[WireTrade] | None = None
    liquidation_trades: list[WireTrade] | None = None
    nonce: Count = 0


class WireStats(Struct, gc=False):
    """A market's statistics; rates in percent per hour, open interest in USD."""

    market_id: Count
    symbol: str
    mark_price: str | None = None
    index_price: str | None = None
    last_trade_price: str | None = None
    current_funding_rate: str | None = None
    open_interest: str | None = None
    funding_timestamp: Milliseconds = 0
    daily_quote_token_volume: Decimal | None = None


class WireStatsFrame(Struct, gc=False):
    """A frame of `market_stats`: one object, or a map of them by market id."""

    channel: str
    market_stats: Raw
    timestamp: Milliseconds = 0


class WireCandle(Struct, gc=False):
    """A candle: `t` its start in milliseconds, prices, `v` base and `V` quote volume; what is zero may be left out."""

    t: Milliseconds
    o: Decimal = Decimal(0)
    h: Decimal = Decimal(0)
    l: Decimal = Decimal(0)  # noqa: E741 the venue's name
    c: Decimal = Decimal(0)
    v: Decimal = Decimal(0)
    V: Decimal = Decimal(0)
    i: Count = 0


class WireCandleFrame(Struct, gc=False):
    """A frame of `candle`."""

    channel: str
    candles: list[WireCandle]


class WireHeightFrame(Struct, gc=False):
    """A frame of `height`."""

    height: Count


class WireRefusal(Struct, gc=False):
    """What is wrong, in an error frame."""

    code: int
    message: str = ""


class WireHead(Struct, gc=False):
    """What tells one kind of frame from another."""

    type: str = ""
    channel: str = ""
    error: WireRefusal | None = None
    close_in_ms: Count = 0
