"""What was recorded: candles, prices second by second, and funding that was settled."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

from perpmesh_client.values.convert import decimal, maybe_decimal, time, word
from perpmesh_client.values.to_json import WIDE

if TYPE_CHECKING:
    from perpmesh.marketdata.v1 import candle_pb2, funding_pb2, history_pb2


class Interval(StrEnum):
    """The length of a candle."""

    UNSPECIFIED = "CANDLE_INTERVAL_UNSPECIFIED"
    ONE_SECOND = "CANDLE_INTERVAL_1S"
    ONE_MINUTE = "CANDLE_INTERVAL_1M"
    FIVE_MINUTES = "CANDLE_INTERVAL_5M"
    FIFTEEN_MINUTES = "CANDLE_INTERVAL_15M"
    ONE_HOUR = "CANDLE_INTERVAL_1H"
    FOUR_HOURS = "CANDLE_INTERVAL_4H"
    ONE_DAY = "CANDLE_INTERVAL_1D"
    """From midnight UTC."""

    @property
    def short(self) -> str:
        """As it is typed, such as `1m`."""
        return self.value.rpartition("_")[2].lower()

    @property
    def number(self) -> int:
        """Its number on the wire."""
        return _INTERVALS.index(self)

    @classmethod
    def of(cls, text: str) -> Interval:
        """Return the interval that `1s`, `1m`, `5m`, `15m`, `1h`, `4h` or `1d` names. Raises `ValueError`."""
        for interval in _INTERVALS[1:]:
            if text in (interval.short, interval.value):
                return interval
        raise ValueError(f"{text!r} is no interval; what passes is {', '.join(INTERVAL_NAMES)}")


_INTERVALS = tuple(Interval)
INTERVAL_NAMES = tuple(interval.short for interval in _INTERVALS[1:])
"""The intervals as they are typed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candle:
    """What was traded in one interval."""

    market: str
    venue: str
    """Empty for the candle of all venues together."""
    interval: Interval
    open_time: datetime
    """When it begins, inclusive."""
    close_time: datetime
    """When it ends, exclusive."""
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    """In units of the base asset."""
    quote_volume: Decimal | None
    """In USD; None where a part of it is only known from a venue that does not say."""
    trade_count: int = field(metadata=WIDE)
    """How many trades are known."""
    closed: bool
    """Whether it will not change any more."""

    @classmethod
    def from_proto(cls, message: candle_pb2.Candle) -> Candle:
        """Return the value a message holds."""
        return cls(
            market=message.market,
            venue=message.venue,
            interval=word(_INTERVALS, message.interval),
            open_time=time(message.open_time),
            close_time=time(message.close_time),
            open=decimal(message.open),
            high=decimal(message.high),
            low=decimal(message.low),
            close=decimal(message.close),
            volume=decimal(message.volume),
            quote_volume=maybe_decimal(message.quote_volume),
            trade_count=message.trade_count,
            closed=message.closed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PricePoint:
    """What one venue showed at one moment; None where there was no such value. Prices in USD."""

    market: str
    venue: str
    sample_time: datetime
    bid: Decimal | None
    ask: Decimal | None
    last_price: Decimal | None
    mark_price: Decimal | None
    index_price: Decimal | None

    @classmethod
    def from_proto(cls, message: history_pb2.PricePoint) -> PricePoint:
        """Return the value a message holds."""
        return cls(
            market=message.market,
            venue=message.venue,
            sample_time=time(message.sample_time),
            bid=maybe_decimal(message.bid),
            ask=maybe_decimal(message.ask),
            last_price=maybe_decimal(message.last_price),
            mark_price=maybe_decimal(message.mark_price),
            index_price=maybe_decimal(message.index_price),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingPoint:
    """A rate that a venue has settled; rates are fractions, positive where longs paid."""

    market: str
    venue: str
    rate: Decimal
    """For the venue's own interval."""
    hourly_rate: Decimal
    yearly_rate: Decimal
    """Over 365 days without compounding."""
    premium: Decimal | None
    """What the rate came from; None where the venue gives none."""
    settle_time: datetime

    @classmethod
    def from_proto(cls, message: funding_pb2.FundingPoint) -> FundingPoint:
        """Return the value a message holds."""
        return cls(
            market=message.market,
            venue=message.venue,
            rate=decimal(message.rate),
            hourly_rate=decimal(message.hourly_rate),
            yearly_rate=decimal(message.yearly_rate),
            premium=maybe_decimal(message.premium),
            settle_time=time(message.settle_time),
        )
