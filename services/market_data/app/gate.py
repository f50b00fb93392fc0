"""Lets one replica of several record: the one that feeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from services.market_data.model.candle import Candle
from services.market_data.model.history import FundingPoint, PriceSample, RecordedTrade
from services.market_data.ports import HistorySink


class Gate:
    """A sink (`services.market_data.ports.HistorySink`) that drops everything while it is shut."""

    def __init__(self, sink: HistorySink) -> None:
        self._sink = sink
        self.is_open: Callable[[], bool] = lambda: True
        """Whether what comes is recorded; replaced where replicas share one feed."""

    def prices(self, samples: Iterable[PriceSample]) -> None:
        """Record samples of prices."""
        if self.is_open():
            self._sink.prices(samples)

    def trades(self, trades: Iterable[RecordedTrade]) -> None:
        """Record prints."""
        if self.is_open():
            self._sink.trades(trades)

    def candles(self, candles: Iterable[Candle]) -> None:
        """Record closed candles."""
        if self.is_open():
            self._sink.candles(candles)

    def fundings(self, points: Iterable[FundingPoint]) -> None:
        """Record settled funding."""
        if self.is_open():
            self._sink.fundings(points)
