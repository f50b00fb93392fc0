"""A crowd that a test moves by hand, for the exchange alone."""

from __future__ import annotations

from collections import defaultdict
from typing import Any


class HandStreet:
    """Levels and marks by market; `trades` and `shown` are what would be public."""

    def __init__(self) -> None:
        self.levels: defaultdict[str, dict[bool, dict[int, int]]] = defaultdict(lambda: {True: {}, False: {}})
        self.marks: dict[str, int] = {}
        self.indexes: dict[str, int] = {}
        self.trades: list[Any] = []
        self.shown: dict[tuple[str, bool, int], int] = {}
        self._ids = 0

    def best(self, market: str, buy: bool) -> tuple[int, int] | None:
        side = self.levels[market][not buy]
        if not side:
            return None
        price = min(side) if buy else max(side)
        return price, side[price]

    def take(self, market: str, buy: bool, price: int, size: int) -> None:
        side = self.levels[market][not buy]
        side[price] -= size
        assert side[price] >= 0
        if side[price] == 0:
            del side[price]

    def show(self, market: str, buy: bool, price: int, size: int) -> None:
        self.shown[market, buy, price] = size

    def mark(self, market: str) -> int:
        return self.marks[market]

    def index(self, market: str) -> int:
        return self.indexes.get(market, self.marks[market])

    def trade_id(self, market: str) -> int:
        self._ids += 1
        return self._ids

    def printed(self, trade: Any) -> None:
        self.trades.append(trade)
