"""What Lighter's socket says, from bytes to values.

`Decoder.decode` gives one value per frame. The frames that come by the thousand (book updates) are recognized by their
last bytes and decoded straight into their own type; that is a guess only, and the type and channel inside are what
counts. Everything else is looked at twice: which kind it is, then what it says.

A `WireError` names the field at fault and, where it could be read, the channel, so that a book whose frame was
unreadable is repaired at once and not at the next update. Contexts of many markets come in one frame: a bad one is
reported beside the good ones and does not take them along.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw

from services.domain.book import Level
from services.domain.decimals import DecimalError
from services.domain.feed import BookDelta, BookSnapshot, Context, TopOfBook, Trade
from services.domain.market import LIGHTER, Listing
from services.venues.lighter.wire import shapes
from services.venues.lighter.wire.messages import (
    Candles,
    Contexts,
    Greeting,
    Height,
    Message,
    Ping,
    Pong,
    Refusal,
    Shutdown,
    Ticker,
    Trades,
    Unsubscribed,
    Unused,
    WireMarket,
)
from services.venues.lighter.wire.numbers import Units, WireError, amount, base_of, percent, price_units, size_units

NO_CHAIN: Final = shapes.ABSENT
"""`BookDelta.previous_version` of an update that does not say what it follows: it follows nothing."""
HOUR_MS: Final = 3_600_000
CONTEXT_CADENCE_S: Final = 1.0
"""What the channel of all markets does not mention has not changed; the feed confirms it this often."""
LARGE_BYTES: Final = 1_000_000
"""A smaller frame cannot hold more than `LEVELS_MAX` levels of this venue's: each takes 23 bytes and more."""
MANY_BYTES: Final = 10_000
"""A larger frame of a book has hundreds of levels: their texts are converted together."""
LEVELS_MAX: Final = 50_000
"""Levels per side in one frame; the largest book seen had 3,677."""
TRADES_MAX: Final = 1_000
MARKETS_MAX: Final = 10_000

_UPDATE_END: Final = b'"type":"update/order_book"}'
_CHANNEL: Final = re.compile(rb'"channel"\s*:\s*"([a-z_]{1,40}:[a-z0-9:]{1,20})"')
_NAMED: Final = re.compile(r"[a-z_]{1,40}:[a-z0-9:]{1,20}")
_UNUSED: Final = re.compile(
    r"(subscribed|update)/(spot_market_stats|mark_price_candle|account_\w+|user_stats|notification|pool_\w+|rfq\w*"
    r"|transaction|executed_transaction)|jsonapi/\w+"
)


class Decoder:
    """Decodes frames for a set of listings.

    `chain` says what makes one book follow another: `nonce` (2026: an update names its predecessor's nonce) or `offset`
    (recordings of 2025, which do not: the offset grows by one). By nonce, an update that names none follows nothing.
    """

    def __init__(self, listings: tuple[Listing, ...], *, chain: str = "nonce") -> None:
        self._by_offset = chain == "offset"
        self._by_id: dict[int, WireMarket] = {}
        self._ignored_ids: set[int] = set()
        self._by_channel: dict[str, WireMarket] = {}
        self._books: dict[str, WireMarket] = {}
        self._book_frame = msgspec.json.Decoder(shapes.WireBookFrame).decode
        self._head = msgspec.json.Decoder(shapes.WireHead).decode
        self._ticker_frame = msgspec.json.Decoder(shapes.WireTickerFrame).decode
        self._trade_frame = msgspec.json.Decoder(shapes.WireTradeFrame).decode
        self._stats_frame = msgspec.json.Decoder(shapes.WireStatsFrame).decode
        self._stats_map = msgspec.json.Decoder(dict[str, Raw]).decode
        self._stats = msgspec.json.Decoder(shapes.WireStats).decode
        self._candle_frame = msgspec.json.Decoder(shapes.WireCandleFrame).decode
        self._height_frame = msgspec.json.Decoder(shapes.WireHeightFrame).decode
        self.relist(listings)

    def relist(self, listings: tuple[Listing, ...], ignored_ids: frozenset[int] = frozenset()) -> None:
        """Know these markets and no others; `ignored_ids` are known not to be markets of this house."""
        self._by_id = {listing.venue_market_id: wire_market(listing) for listing in listings}
        self._ignored_ids = set(ignored_ids)
        self._by_channel = {
            f"{channel}:{known.market_id}": known
            for known in self._by_id.values()
            for channel in ("order_book", "ticker", "trade")
        }
        self._books = {name: known for name, known in self._by_channel.items() if name.startswith("order_book:")}

    def market_of(self, channel: str) -> str:
        """Return the market of a book, ticker or trade channel, empty where it has none here."""
        known = self._by_channel.get(channel)
        return known.market if known is not None else ""

    def decode(self, data: bytes, receive_time_ns: int) -> Message:
        """Return what the frame says. Raises `WireError`, and nothing else, for whatever it may hold."""
        try:
            if data.endswith(_UPDATE_END):
                return self._book(data, receive_time_ns)
            return self._any(data, receive_time_ns)
        except WireError as error:
            if not error.channel:
                error.channel = _channel_in(data)
            raise
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            field, problem = explain(error)
            raise WireError(field, problem, channel=_channel_in(data)) from error

    def _any(self, data: bytes, now_ns: int) -> Message:
        head = self._head(data)
        kind = head.type
        if head.error is not None:
            return _refusal(head.error)
        first, _, rest = kind.partition("/")
        if rest and first in ("subscribed", "update"):
            message = self._data(rest, first == "subscribed", data, now_ns)
            if message is not None:
                return message
        simple = _SIMPLE.get(kind)
        if simple is not None:
            return simple
        if kind == "unsubscribed":
            return Unsubscribed(head.channel)
        if kind == "shutdown":
            return Shutdown(head.close_in_ms / 1_000)
        if _UNUSED.fullmatch(kind) is not None:
            return Unused(kind, head.channel)
        raise WireError("type", f"{kind!r:.60} is not a frame of Lighter's", channel=head.channel)

    def _data(self, name: str, snapshot: bool, data: bytes, now_ns: int) -> Message | None:
        if name == "order_book":
            return self._book(data, now_ns)
        if name == "ticker":
            return self._tick(self._ticker_frame(data), snapshot, now_ns)
        if name == "trade":
            return self._prints(self._trade_frame(data), snapshot, now_ns)
        if name == "market_stats":
            return self._contexts(self._stats_frame(data), snapshot, now_ns)
        if name == "candle":
            return self._candles(self._candle_frame(data))
        if name == "height":
            return Height(self._height_frame(data).height)
        return None

    def _book(self, data: bytes, now_ns: int) -> BookSnapshot | BookDelta:
        frame = self._book_frame(data)
        book = frame.order_book
        known = self._books.get(frame.channel)
        if known is None:
            raise WireError("channel", f"{frame.channel!r:.60} is not the book of a listed market")
        raw_bids, raw_asks = book.bids, book.asks
        if len(data) > LARGE_BYTES and len(raw_bids) + len(raw_asks) > LEVELS_MAX:
            raise WireError("order_book", f"more than {LEVELS_MAX} levels")
        prices, sizes = known.prices, known.sizes
        try:
            if len(data) > MANY_BYTES:
                bids, asks = _many(raw_bids, known), _many(raw_asks, known)
            else:
                bids = [(prices[level.price], sizes[level.size]) for level in raw_bids] if raw_bids else []
                asks = [(prices[level.price], sizes[level.size]) for level in raw_asks] if raw_asks else []
        except DecimalError:
            raise _bad_level(book, known) from None
        if self._by_offset:
            version, previous = book.offset, book.offset - 1
        elif book.nonce >= 0:
            version, previous = book.nonce, book.begin_nonce
        else:
            raise WireError("order_book.nonce", "missing")
        if frame.type == "update/order_book":
            venue_time_ns = frame.last_updated_at * 1_000 or frame.timestamp * 1_000_000
            return BookDelta(LIGHTER, known.market, bids, asks, version, previous, venue_time_ns, now_ns)
        if frame.type != "subscribed/order_book":
            raise WireError("type", f"{frame.type!r:.60} is not a book frame")
        _check_snapshot(bids, asks)
        return BookSnapshot(
            venue=LIGHTER,
            market=known.market,
            bids=bids,
            asks=asks,
            version=version,
            depth=0,
            venue_time_ns=frame.timestamp * 1_000_000 or frame.last_updated_at * 1_000,
            receive_time_ns=now_ns,
        )

    def _tick(self, frame: shapes.WireTickerFrame, snapshot: bool, now_ns: int) -> Ticker:
        known = self._known(frame.channel, "ticker")
        if frame.ticker.s != known.symbol:
            raise WireError("ticker.s", f"{frame.ticker.s!r:.60} on the channel of {known.symbol}")
        top = TopOfBook(
            venue=LIGHTER,
            market=known.market,
            bid=_best(frame.ticker.b, known, "ticker.b"),
            ask=_best(frame.ticker.a, known, "ticker.a"),
            venue_time_ns=frame.last_updated_at * 1_000 or frame.timestamp * 1_000_000,
            receive_time_ns=now_ns,
        )
        if top.bid is not None and top.ask is not None and top.bid[0] >= top.ask[0]:
            raise WireError(
                "ticker", f"the best bid {frame.ticker.b.price} is not below the ask {frame.ticker.a.price}"
            )
        return Ticker(top, frame.nonce, snapshot)

    def _prints(self, frame: shapes.WireTradeFrame, snapshot: bool, now_ns: int) -> Trades:
        known = self._known(frame.channel, "trade")
        prints: list[tuple[int, Trade]] = []
        for name, rows in (("trades", frame.trades), ("liquidation_trades", frame.liquidation_trades)):
            for index, row in enumerate(rows or ()):
                prints.append((row.trade_id, to_trade(row, known, f"{name}[{index}]", now_ns)))
                if len(prints) > TRADES_MAX:
                    raise WireError(name, f"more than {TRADES_MAX} trades")
        prints.sort(key=_first)
        return Trades(known.market, [trade for _, trade in prints], frame.nonce, snapshot)

    def _contexts(self, frame: shapes.WireStatsFrame, snapshot: bool, now_ns: int) -> Contexts:
        result = Contexts(frame.channel, [], [], [], snapshot, frame.timestamp)
        scope = frame.channel.removeprefix("market_stats:")
        if scope == "all":
            rows = self._stats_map(frame.market_stats)
            if len(rows) > MARKETS_MAX:
                raise WireError("market_stats", f"more than {MARKETS_MAX} markets")
        elif scope.isdecimal():
            rows = {scope: frame.market_stats}
        else:
            raise WireError("channel", f"{frame.channel!r:.60} is not a channel of market statistics")
        for key, raw in rows.items():
            try:
                self._context(key, self._stats(raw), result, now_ns)
            except WireError as error:
                result.errors.append(error)
            except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
                field, problem = explain(error)
                result.errors.append(WireError(f"market_stats.{key:.20}.{field}", problem, channel=frame.channel))
        return result

    def _context(self, key: str, stats: shapes.WireStats, result: Contexts, now_ns: int) -> None:
        path = f"market_stats.{key:.20}"
        known = self._by_id.get(stats.market_id)
        if str(stats.market_id) != key:
            raise WireError(f"{path}.market_id", f"{stats.market_id} does not match its key {key!r:.20}")
        if known is None:
            if stats.market_id not in self._ignored_ids:
                result.unknown_ids.append(stats.market_id)
            return
        if stats.symbol != known.symbol:
            raise WireError(f"{path}.symbol", f"{stats.symbol!r:.60} is not {known.symbol}")
        mark = amount(stats.mark_price, f"{path}.mark_price")
        funding = amount(stats.current_funding_rate, f"{path}.current_funding_rate", signed=True)
        notional = amount(stats.open_interest, f"{path}.open_interest")
        settled_ms = max(stats.funding_timestamp, result.time_ms)
        result.contexts.append(
            Context(
                venue=LIGHTER,
                market=known.market,
                mark_price=mark or None,
                index_price=amount(stats.index_price, f"{path}.index_price") or None,
                last_price=amount(stats.last_trade_price, f"{path}.last_trade_price") or None,
                funding_rate=None if funding is None else percent(funding),
                next_funding_time_ns=(settled_ms // HOUR_MS + 1) * HOUR_MS * 1_000_000 if settled_ms else 0,
                volume_24h_usd=amount(stats.daily_quote_token_volume, f"{path}.daily_quote_token_volume"),
                open_interest=base_of(notional, mark, known.sizes.decimals) if notional is not None and mark else None,
                receive_time_ns=now_ns,
                cadence_s=CONTEXT_CADENCE_S,
            )
        )

    def _candles(self, frame: shapes.WireCandleFrame) -> Candles:
        _, _, rest = frame.channel.partition(":")
        market_id, _, resolution = rest.partition(":")
        known = self._by_id.get(int(market_id)) if market_id.isdecimal() and len(market_id) < 10 else None
        if known is None:
            raise WireError("channel", f"{frame.channel!r:.60} is not the channel of a listed market")
        for index, candle in enumerate(frame.candles):
            check_candle(candle, f"candles[{index}]")
        return Candles(known.market, resolution, frame.candles)

    def _known(self, channel: str, name: str) -> WireMarket:
        known = self._by_channel.get(channel)
        if known is None or not channel.startswith(name):
            raise WireError("channel", f"{channel!r:.60} is not the {name} channel of a listed market")
        return known


_SIMPLE: Final[Mapping[str, Message]] = {"connected": Greeting(), "ping": Ping(), "pong": Pong()}


def wire_market(listing: Listing) -> WireMarket:
    """Return what decoding needs of a listing."""
    return WireMarket(
        market=listing.market,
        symbol=listing.symbol,
        market_id=listing.venue_market_id,
        prices=price_units(listing.price_decimals),
        sizes=size_units(listing.size_decimals),
    )


def to_trade(row: shapes.WireTrade, known: WireMarket, path: str, now_ns: int) -> Trade:
    """Return a print as an event. Raises `WireError`."""
    if row.market_id != known.market_id:
        raise WireError(f"{path}.market_id", f"{row.market_id} on the channel of {known.market_id}")
    size = _units(known.sizes, row.size, f"{path}.size")
    if size == 0:
        raise WireError(f"{path}.size", "a trade of nothing")
    return Trade(
        venue=LIGHTER,
        market=known.market,
        trade_id=str(row.trade_id),
        price=_units(known.prices, row.price, f"{path}.price"),
        size=size,
        buy=row.is_maker_ask,
        liquidation=row.type != "trade",
        venue_time_ns=row.transaction_time * 1_000 or row.timestamp * 1_000_000,
        receive_time_ns=now_ns,
    )


def check_candle(candle: shapes.WireCandle, path: str) -> None:
    """Raise `WireError` for a candle that no market can have printed."""
    for name in ("o", "h", "l", "c", "v", "V"):
        amount(getattr(candle, name), f"{path}.{name}")
    if not candle.l <= min(candle.o, candle.c) <= max(candle.o, candle.c) <= candle.h:
        raise WireError(f"{path}", "the high is not the highest or the low not the lowest")


def _best(level: shapes.WireLevel, known: WireMarket, path: str) -> Level | None:
    if level.price == "" and level.size == "":
        return None
    size = _units(known.sizes, level.size, f"{path}.size")
    if size == 0:
        raise WireError(f"{path}.size", "a best level of nothing")
    return _units(known.prices, level.price, f"{path}.price"), size


def _units(scale: Units, text: str, field: str) -> int:
    try:
        return scale[text]
    except DecimalError as error:
        raise WireError(field, str(error)) from None


def _many(levels: list[shapes.WireLevel], known: WireMarket) -> list[Level]:
    """Return many levels in units. Raises `DecimalError`."""
    if not levels:
        return []
    prices = known.prices.many([level.price for level in levels])
    return list(zip(prices, known.sizes.many([level.size for level in levels]), strict=True))


def _bad_level(book: shapes.WireBook, known: WireMarket) -> WireError:
    """Find the level that could not be converted."""
    for side, levels in (("bids", book.bids), ("asks", book.asks)):
        for index, level in enumerate(levels):
            for name, scale, text in (("price", known.prices, level.price), ("size", known.sizes, level.size)):
                try:
                    scale[text]
                except DecimalError as error:
                    return WireError(f"order_book.{side}[{index}].{name}", str(error))
    return WireError("order_book", "a level could not be read")


def _check_snapshot(bids: list[Level], asks: list[Level]) -> None:
    """Raise `WireError` for a snapshot that is no book: an empty level, a price twice, or a crossed top."""
    best: list[int] = []
    for name, levels, choose in (("bids", bids, max), ("asks", asks, min)):
        if not levels:
            continue
        prices, sizes = zip(*levels, strict=True)
        if 0 in sizes:
            raise WireError(f"order_book.{name}", "a snapshot with a level of nothing")
        if len(set(prices)) != len(prices):
            raise WireError(f"order_book.{name}", "a snapshot with the same price twice")
        best.append(choose(prices))
    if len(best) == 2 and best[0] >= best[1]:
        raise WireError("order_book", "a snapshot whose best bid is not below its best ask")


def _refusal(error: shapes.WireRefusal) -> Refusal:
    named = _NAMED.search(error.message)
    return Refusal(error.code, error.message[:200], named.group() if named else "")


def _first(pair: tuple[int, Trade]) -> int:
    return pair[0]


def _channel_in(data: bytes) -> str:
    """Return the channel named in a frame that could not be read, as far as it can be found."""
    found = _CHANNEL.search(data[:4_096]) or _CHANNEL.search(data[-4_096:])
    return found.group(1).decode("ascii") if found else ""


def explain(error: Exception) -> tuple[str, str]:
    """Return (field, problem) of a decoding error."""
    if isinstance(error, RecursionError):
        return "$", "nested too deeply"
    problem, _, path = str(error).partition(" - at `")
    return (path.rstrip("`").removeprefix("$.") or "$"), problem
