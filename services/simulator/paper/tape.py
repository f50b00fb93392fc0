"""What a live venue published since the last block or batch. Pure: frames in, a contract's crowd and trades out.

A frame is held until the market takes it, at the venue's next block or batch here, so that users meet the new crowd
before anyone sees its book. What a user has taken from a level comes back when the venue next names that level. Frames
that cannot be read are counted, and change nothing.

Hyperliquid sends no deltas: the touch of every block, five levels each half second, twenty every five seconds. The
finer layer goes before the deeper one. Lighter sends deltas chained by nonce; a broken chain empties the book and asks
for a new snapshot.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from services.simulator.book import Execution
from services.simulator.instrument import RATE_SCALE, DayVolume, Instrument
from services.simulator.rules import parse

Json = object
Rows = list[tuple[int, int]]
LAYERS = ("bbo", "fast", "whole")
FAST_LEVELS = 5
TRADES_HELD_MAX = 1_000
"""Trades of one contract that wait for the next block; beyond, the oldest are forgotten."""
_RATE_DECIMALS = len(str(RATE_SCALE)) - 1
_PERCENT_DECIMALS = _RATE_DECIMALS - 2


@dataclass(slots=True)
class _Held:
    """What waits for one contract."""

    layers: dict[str, tuple[Rows, Rows]] = field(default_factory=dict)
    bids: dict[int, int] = field(default_factory=dict)
    asks: dict[int, int] = field(default_factory=dict)
    whole: bool = False
    nonce: int | None = None
    trades: list[Execution] = field(default_factory=list)


class _Tape:
    """What both venues' tapes share."""

    def __init__(self, instruments: Mapping[str, Instrument]) -> None:
        self._instruments = instruments
        self._held: defaultdict[str, _Held] = defaultdict(_Held)
        self._due: set[str] = set()
        self.odd = 0
        """Frames or rows that could not be read."""
        self.heard_frames = 0

    def heard(self, frame: Json) -> None:
        """Take a decoded frame in."""
        self.heard_frames += 1
        try:
            self._hear(frame)
        except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError, IndexError):
            self.odd += 1

    def clear(self) -> None:
        """Let no one trade on what may no longer be true: empty every book with the next block."""
        self._held.clear()
        for key, instrument in self._instruments.items():
            if instrument.book.bids.prices or instrument.book.asks.prices:
                self._held[key].whole = True
                self._due.add(key)

    def take(self, instrument: Instrument) -> list[Execution]:
        """Move a contract's crowd to where the venue's is, and return what the venue's crowd traded."""
        key = instrument.key
        if key not in self._due:
            return []
        self._due.discard(key)
        held = self._held[key]
        self._move(instrument, held)
        trades, held.trades = held.trades, []
        return trades

    def _hear(self, frame: Json) -> None:
        raise NotImplementedError

    def _move(self, instrument: Instrument, held: _Held) -> None:
        raise NotImplementedError

    def _traded(self, instrument: Instrument, price: Json, size: Json, *, buy: bool) -> None:
        held = self._held[instrument.key]
        held.trades.append(Execution(_price(instrument, price), _size(instrument, size), buy))
        del held.trades[:-TRADES_HELD_MAX]
        self._due.add(instrument.key)


class HyperliquidTape(_Tape):
    """Understands `bbo`, `l2Book`, `trades`, `activeAssetCtx` and `allDexsAssetCtxs`."""

    def __init__(self, instruments: Mapping[str, Instrument], universe: Mapping[str, list[str]]) -> None:
        """`universe` gives each dex's coins by place, since contexts of all dexes come without names."""
        super().__init__(instruments)
        self._universe = universe
        self._newest_ms: dict[str, int] = {}

    def _hear(self, frame: Json) -> None:
        if not isinstance(frame, dict):
            raise TypeError("a frame is an object")
        channel: str = frame["channel"]
        data: Any = frame.get("data")
        if channel == "trades":
            self._trades(data)
        elif channel == "allDexsAssetCtxs":
            for dex, rows in data["ctxs"]:
                for coin, row in zip(self._universe[dex], rows, strict=False):
                    _hyperliquid_figures(self._instruments[coin], row)
        elif channel == "activeAssetCtx":
            _hyperliquid_figures(self._instruments[data["coin"]], data["ctx"])
        elif channel == "bbo":
            bid, ask = data["bbo"]
            self._layer("bbo", data, [row for row in (bid,) if row], [row for row in (ask,) if row])
        elif channel == "l2Book":
            bids, asks = data["levels"]
            fast = data.get("fast") or max(len(bids), len(asks)) <= FAST_LEVELS
            self._layer("fast" if fast else "whole", data, bids, asks)

    def _layer(self, name: str, data: Mapping[str, Json], bids: Iterable[Json], asks: Iterable[Json]) -> None:
        instrument = self._instruments[str(data["coin"])]
        self._newest_ms[instrument.key] = int(str(data["time"]))
        self._held[instrument.key].layers[name] = (_levels(instrument, bids, "px", "sz"),
                                                   _levels(instrument, asks, "px", "sz"))  # fmt: skip
        self._due.add(instrument.key)

    def _trades(self, rows: Iterable[Mapping[str, Json]]) -> None:
        """Take trades that are younger than a book seen before: the first frame tells of the past."""
        for row in rows:
            instrument = self._instruments[str(row["coin"])]
            if int(str(row["time"])) > self._newest_ms.get(instrument.key, 1 << 62) - 1_000:
                self._traded(instrument, row["px"], row["sz"], buy=row["side"] == "B")

    def _move(self, instrument: Instrument, held: _Held) -> None:
        bids = _composed([held.layers[name][0] for name in LAYERS if name in held.layers], highest=True)
        asks = _composed([held.layers[name][1] for name in LAYERS if name in held.layers], highest=False)
        if bids and asks and bids[0][0] >= asks[0][0]:
            self.odd += 1  # two layers of different times; the next touch puts it right
            return
        instrument.book.replace(bids, asks)


class LighterTape(_Tape):
    """Understands `order_book`, `trade` and `market_stats`."""

    def __init__(self, instruments: Mapping[str, Instrument]) -> None:
        """Take the contracts by their market ids."""
        super().__init__(instruments)
        self.broken: set[str] = set()
        """Markets whose chain is broken, for the line to ask for anew."""
        self._asked: set[str] = set()

    def take_broken(self) -> list[str]:
        """Return the markets to ask for anew; each once until its snapshot has come."""
        found = sorted(self.broken)
        self.broken.clear()
        self._asked.update(found)
        return found

    def _hear(self, frame: Json) -> None:
        if not isinstance(frame, dict):
            raise TypeError("a frame is an object")
        kind, _, topic = str(frame["type"]).partition("/")
        key = str(frame.get("channel", "")).partition(":")[2]
        if topic == "order_book":
            self._book(key, frame["order_book"], first=kind == "subscribed")
        elif topic == "trade" and kind == "update":
            for row in frame["trades"]:
                self._traded(self._instruments[key], row["price"], row["size"], buy=bool(row["is_maker_ask"]))
        elif topic == "market_stats":
            stats = frame["market_stats"]
            for row in stats.values() if key == "all" else (stats,):
                _lighter_figures(self._instruments[str(row["market_id"])], row)

    def _book(self, key: str, body: Mapping[str, Json], *, first: bool) -> None:
        instrument, held = self._instruments[key], self._held[key]
        if not first and held.nonce is None:
            if key not in self._asked:
                self.broken.add(key)
            return  # an update after a break, or while the snapshot is under way
        if not first and body["begin_nonce"] != held.nonce:
            held.bids, held.asks, held.whole, held.nonce = {}, {}, True, None
            self.broken.add(key)
            self._due.add(key)
            return
        if first:
            held.bids, held.asks, held.whole = {}, {}, True
            self.broken.discard(key)
            self._asked.discard(key)
        held.nonce = int(str(body["nonce"]))
        held.bids.update(_levels(instrument, _list(body["bids"]), "price", "size"))
        held.asks.update(_levels(instrument, _list(body["asks"]), "price", "size"))
        self._due.add(key)

    def _move(self, instrument: Instrument, held: _Held) -> None:
        bids, asks, whole = held.bids, held.asks, held.whole
        held.bids, held.asks, held.whole = {}, {}, False
        book = instrument.book
        if whole:
            book.replace([row for row in bids.items() if row[1]], [row for row in asks.items() if row[1]])
            return
        for side, changes in ((book.bids, bids), (book.asks, asks)):
            for price, size in changes.items():
                side.set(price, size)
        if book.bids.prices and book.asks.prices and book.bids.prices[-1] >= book.asks.prices[0]:
            book.replace((), ())
            held.nonce = None
            self.broken.add(instrument.key)


def _composed(layers: list[Rows], *, highest: bool) -> Rows:
    """Return one side from its layers, finest first: a deeper layer adds what lies beyond the finer one's last."""
    rows: Rows = []
    for layer in layers:
        last = rows[-1][0] if rows else None
        for price, size in layer:
            if last is None or (price < last if highest else price > last):
                rows.append((price, size))
    return rows


def _levels(instrument: Instrument, rows: Iterable[Json], price: str, size: str) -> Rows:
    found = []
    for row in rows:
        if not isinstance(row, dict):
            raise TypeError("a level is an object")
        found.append((_price(instrument, row[price]), _size(instrument, row[size])))
    return found


def _list(value: Json) -> list[Json]:
    if not isinstance(value, list):
        raise TypeError("no list of levels")
    return value


def _price(instrument: Instrument, value: Json) -> int:
    price = parse(str(value), instrument.price_decimals)
    if price <= 0:
        raise ValueError("a price must be positive")
    return price


def _size(instrument: Instrument, value: Json) -> int:
    size = parse(str(value), instrument.size_decimals)
    if size < 0:
        raise ValueError("a size must not be negative")
    return size


def _cut(value: Json, decimals: int) -> int:
    """Return a figure as a scaled integer, cut toward zero; venues print some as floats or with more digits."""
    return int(Decimal(str(value)).scaleb(decimals))


def _hyperliquid_figures(instrument: Instrument, row: Mapping[str, Json]) -> None:
    prices, sizes = instrument.price_decimals, instrument.size_decimals
    instrument.mark = max(1, _cut(row["markPx"], prices))
    instrument.index = max(1, _cut(row["oraclePx"], prices))
    instrument.rate = _cut(row["funding"], _RATE_DECIMALS)
    instrument.open_interest = _cut(row["openInterest"], sizes)
    instrument.day_open = max(1, _cut(row["prevDayPx"], prices))
    if row.get("premium") is not None:
        instrument.premium = _cut(row["premium"], _RATE_DECIMALS)
        instrument.samples[-1] = instrument.premium
    if not instrument.trades:
        instrument.last = instrument.mark
    _day(instrument, row.get("dayBaseVlm"), row.get("dayNtlVlm"), instrument.mark, instrument.mark)


def _lighter_figures(instrument: Instrument, row: Mapping[str, Json]) -> None:
    prices = instrument.price_decimals
    instrument.mark = max(1, _cut(row["mark_price"], prices))
    instrument.index = max(1, _cut(row["index_price"], prices))
    instrument.rate = _cut(row["current_funding_rate"], _PERCENT_DECIMALS)
    instrument.open_interest = _cut(row["open_interest"], prices + instrument.size_decimals) // instrument.mark
    if row.get("last_trade_price") and not instrument.trades:
        instrument.last = max(1, _cut(row["last_trade_price"], prices))
    high, low = (_cut(row[f"daily_price_{end}"] or 0, prices) or instrument.mark for end in ("high", "low"))
    change = Decimal(str(row.get("daily_price_change") or 0))
    instrument.day_open = max(1, int(instrument.last / (1 + change / 100))) if change > -100 else instrument.last
    _day(instrument, row.get("daily_base_token_volume"), row.get("daily_quote_token_volume"), high, low)


def _day(instrument: Instrument, base: Json, quote: Json, high: int, low: int) -> None:
    """Make the day what the venue says it is."""
    scales = instrument.price_decimals + instrument.size_decimals
    rows = [(0, 0, 0, high, low)] * 23
    rows.append((_cut(base or 0, instrument.size_decimals), _cut(quote or 0, scales), 0, high, low))
    instrument.day = DayVolume(rows)
