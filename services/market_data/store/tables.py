"""The tables of history: their columns, how a value becomes a row and a row a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from services.market_data.model.candle import Candle
from services.market_data.model.history import FundingPoint, PriceSample, RecordedTrade

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def to_time(time_ns: int) -> datetime:
    """Return a time for the database, cut to microseconds."""
    return EPOCH + timedelta(microseconds=time_ns // 1_000)


def to_ns(time: datetime) -> int:
    """Return a time of the database in nanoseconds since the epoch, exactly."""
    return (time - EPOCH) // _MICROSECOND * 1_000


@dataclass(frozen=True, slots=True)
class Table:
    """One table, split by the time in its first column."""

    name: str
    columns: tuple[str, ...]
    by_month: bool
    """Whether a partition is a month; else it is a day."""
    row: Callable[[Any], tuple[Any, ...]]

    @property
    def time_column(self) -> str:
        """The column it is split by."""
        return self.columns[0]


def _price_row(one: PriceSample) -> tuple[Any, ...]:
    return (
        to_time(one.sample_ns),
        one.market,
        one.venue,
        one.bid,
        one.ask,
        one.last_price,
        one.mark_price,
        one.index_price,
    )


def _trade_row(one: RecordedTrade) -> tuple[Any, ...]:
    return (
        to_time(one.trade_ns),
        one.market,
        one.venue,
        one.trade_id,
        one.price,
        one.size,
        one.buy,
        one.liquidation,
        to_time(one.receive_ns),
    )


def _candle_row(one: Candle) -> tuple[Any, ...]:
    return (
        to_time(one.open_ns),
        one.interval_s,
        one.market,
        one.venue,
        one.open,
        one.high,
        one.low,
        one.close,
        one.volume,
        one.quote_volume,
        one.trade_count,
        to_time(one.first_ns),
        to_time(one.last_ns),
        one.repaired,
    )


def _funding_row(one: FundingPoint) -> tuple[Any, ...]:
    return to_time(one.settle_ns), one.market, one.venue, one.rate, one.interval_s, one.premium


PRICES: Final = Table(
    "price_history",
    ("sample_time", "market", "venue", "bid", "ask", "last_price", "mark_price", "index_price"),
    False,
    _price_row,
)
TRADES: Final = Table(
    "trades",
    ("trade_time", "market", "venue", "trade_id", "price", "size", "buy", "liquidation", "receive_time"),
    False,
    _trade_row,
)
CANDLES: Final = Table(
    "candles",
    (
        *("open_time", "interval_s", "market", "venue", "open", "high", "low", "close"),
        *("volume", "quote_volume", "trade_count", "first_time", "last_time", "repaired"),
    ),
    True,
    _candle_row,
)
FUNDINGS: Final = Table(
    "funding_history",
    ("settle_time", "market", "venue", "rate", "interval_s", "premium"),
    True,
    _funding_row,
)
TABLES: Final = (PRICES, TRADES, CANDLES, FUNDINGS)


def candle_of(row: Mapping[str, Any]) -> Candle:
    """Return the closed candle of a row."""
    return Candle(
        market=row["market"],
        venue=row["venue"],
        interval_s=row["interval_s"],
        open_ns=to_ns(row["open_time"]),
        open=row["open"],
        high=row["high"],
        low=row["low"],
        close=row["close"],
        volume=row["volume"],
        quote_volume=row["quote_volume"],
        trade_count=row["trade_count"],
        first_ns=to_ns(row["first_time"]),
        last_ns=to_ns(row["last_time"]),
        closed=True,
        repaired=row["repaired"],
    )


def price_of(row: Mapping[str, Any]) -> PriceSample:
    """Return the sample of a row."""
    return PriceSample(
        row["market"],
        row["venue"],
        to_ns(row["sample_time"]),
        row["bid"],
        row["ask"],
        row["last_price"],
        row["mark_price"],
        row["index_price"],
    )


def trade_of(row: Mapping[str, Any]) -> RecordedTrade:
    """Return the trade of a row."""
    return RecordedTrade(
        row["market"],
        row["venue"],
        row["trade_id"],
        row["price"],
        row["size"],
        row["buy"],
        row["liquidation"],
        to_ns(row["trade_time"]),
        to_ns(row["receive_time"]),
    )


def funding_of(row: Mapping[str, Any]) -> FundingPoint:
    """Return the settled rate of a row."""
    return FundingPoint(
        row["market"], row["venue"], to_ns(row["settle_time"]), row["rate"], row["interval_s"], row["premium"]
    )
