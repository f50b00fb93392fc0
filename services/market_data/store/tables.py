"""The tables of history: their columns, how a value becomes a row and a row a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from services.market_data.model.candle import Candle
from services.market_data.model.history import FundingPoint, PriceSample, RecordedTrade

Row = tuple[datetime, str]
"""The time by which a row is split, and the row as a line of COPY's text format.

Text and not binary: the server converts numbers on its own core, four times faster than Python makes them binary."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_SPECIAL: Final = frozenset("\\\t\n\r")
_last: dict[int, tuple[datetime, str]] = {}


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
    row: Callable[[Any], Row]

    @property
    def time_column(self) -> str:
        """The column it is split by."""
        return self.columns[0]


def _stamp(time_ns: int) -> tuple[datetime, str]:
    """Return a time for the database, and its text; the rows of one sample share both."""
    known = _last.get(time_ns)
    if known is None:
        if len(_last) > 1_024:
            _last.clear()
        time = to_time(time_ns)
        known = _last[time_ns] = (time, time.isoformat())
    return known


def _number(value: Decimal | None) -> str:
    return "\\N" if value is None else str(value)


def _escaped(text: str) -> str:
    """Return a text of a venue's as COPY takes it (PostgreSQL, COPY, text format)."""
    if text.isalnum() or not _SPECIAL.intersection(text):
        return text
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _flag(value: bool | None) -> str:
    return "\\N" if value is None else "t" if value else "f"


def _price_row(one: PriceSample) -> Row:
    time, text = _stamp(one.sample_ns)
    return time, (
        f"{text}\t{one.market}\t{one.venue}\t{_number(one.bid)}\t{_number(one.ask)}\t{_number(one.last_price)}\t"
        f"{_number(one.mark_price)}\t{_number(one.index_price)}\n"
    )


def _trade_row(one: RecordedTrade) -> Row:
    time, text = _stamp(one.trade_ns)
    return time, (
        f"{text}\t{one.market}\t{one.venue}\t{_escaped(one.trade_id)}\t{one.price}\t{one.size}\t{_flag(one.buy)}\t"
        f"{_flag(one.liquidation)}\t{_stamp(one.receive_ns)[1]}\n"
    )


def _candle_row(one: Candle) -> Row:
    time, text = _stamp(one.open_ns)
    return time, (
        f"{text}\t{one.interval_s}\t{one.market}\t{one.venue}\t{one.open}\t{one.high}\t{one.low}\t{one.close}\t"
        f"{one.volume}\t{_number(one.quote_volume)}\t{one.trade_count}\t{_stamp(one.first_ns)[1]}\t"
        f"{_stamp(one.last_ns)[1]}\t{_flag(one.repaired)}\n"
    )


def _funding_row(one: FundingPoint) -> Row:
    time, text = _stamp(one.settle_ns)
    return time, (f"{text}\t{one.market}\t{one.venue}\t{one.rate}\t{one.interval_s}\t{_number(one.premium)}\n")


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
