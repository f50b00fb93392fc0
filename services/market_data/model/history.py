"""What is recorded beside candles: samples of prices, trades, and settled funding."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from services.domain.decimals import rounding
from services.market_data.model.funding import HOURS_PER_YEAR


@dataclass(frozen=True, slots=True)
class PriceSample:
    """What one venue showed of one market at one moment; None where there was no such value. Prices in USD."""

    market: str
    venue: str
    sample_ns: int
    bid: Decimal | None
    ask: Decimal | None
    last_price: Decimal | None
    mark_price: Decimal | None
    index_price: Decimal | None


@dataclass(frozen=True, slots=True)
class RecordedTrade:
    """A print as it is kept. `sequence` is its number within the market, 0 for one of an earlier start."""

    market: str
    venue: str
    trade_id: str
    price: Decimal
    size: Decimal
    buy: bool | None
    liquidation: bool
    trade_ns: int
    receive_ns: int
    sequence: int = 0

    @property
    def key(self) -> tuple[int, str, str]:
        """Where it stands among the trades of its market: by the venue's time, to the microsecond, then by name."""
        return self.trade_ns // 1_000, self.venue, self.trade_id


@dataclass(frozen=True, slots=True)
class FundingPoint:
    """A rate that a venue settled: a fraction for `interval_s`, positive where longs paid."""

    market: str
    venue: str
    settle_ns: int
    rate: Decimal
    interval_s: int
    premium: Decimal | None

    @property
    def hourly(self) -> Decimal:
        """The rate per hour."""
        with rounding():
            return self.rate * 3600 / self.interval_s

    @property
    def yearly(self) -> Decimal:
        """The rate over 365 days, without compounding."""
        with rounding():
            return self.hourly * HOURS_PER_YEAR
