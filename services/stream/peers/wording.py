"""From the messages of a Watch stream to what the door takes in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp
from perpmesh.marketdata.v1 import book_pb2, candle_pb2, funding_pb2, price_pb2, trade_pb2
from perpmesh.type.v1 import stream_pb2

from services.stream.model.said import (
    Beat,
    BookDelta,
    BookSnapshot,
    Ended,
    Event,
    Level,
    Lost,
    NowLive,
    Said,
    Value,
)
from services.stream.peers.encode import shaper, timestamp, to_json

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PRICE = shaper(price_pb2.Price.DESCRIPTOR)
_TRADE = shaper(trade_pb2.Trade.DESCRIPTOR)
_FUNDING = shaper(funding_pb2.FundingRate.DESCRIPTOR)
_CANDLE = shaper(candle_pb2.Candle.DESCRIPTOR)
_GAP = shaper(stream_pb2.Gap.DESCRIPTOR)
_LEVEL = shaper(book_pb2.BookLevel.DESCRIPTOR)
_VERSION = shaper(book_pb2.BookVersion.DESCRIPTOR)
_DELTA = shaper(book_pb2.BookDelta.DESCRIPTOR)


def said(message: Any) -> Said:
    """Return what one message of any Watch stream says. An event that is newer than we are is nothing said."""
    kind = message.WhichOneof("event")
    make = _EVENTS.get(kind)
    if make is not None:
        return Said(cursor=message.cursor, events=(make(getattr(message, kind)),))
    if kind == "prices":
        return Said(cursor=message.cursor, events=tuple([_price(item) for item in message.prices.prices]))
    return Said(cursor=message.cursor, events=())


def _price(message: price_pb2.Price) -> Value:
    return Value(market=message.market, sequence=message.sequence, body=to_json(_PRICE(message)))


def _trade(message: trade_pb2.Trade) -> Value:
    return Value(market=message.market, sequence=message.sequence, body=to_json(_TRADE(message)))


def _funding(message: funding_pb2.FundingRate) -> Value:
    return Value(market=message.market, sequence=message.sequence, body=to_json(_FUNDING(message)))


def _candle(message: candle_pb2.Candle) -> Value:
    slot = timestamp(message.open_time)
    return Value(market=message.market, sequence=0, slot=slot, body=to_json(_CANDLE(message)))


def _snapshot(message: book_pb2.OrderBook) -> BookSnapshot:
    return BookSnapshot(
        market=message.market,
        bids=_levels(message.bids),
        asks=_levels(message.asks),
        versions=to_json([_VERSION(item) for item in message.versions]),
        crossed=message.crossed,
        sequence=message.sequence,
        update_time=_time_of(message),
    )


def _delta(message: book_pb2.BookDelta) -> BookDelta:
    bids, asks = _levels(message.bids), _levels(message.asks)
    shape = _DELTA(message)
    versions = to_json(shape["versions"])
    shape["bids"] = [msgspec.Raw(level.body) for level in bids]
    shape["asks"] = [msgspec.Raw(level.body) for level in asks]
    shape["versions"] = msgspec.Raw(versions)
    return BookDelta(
        market=message.market,
        bids=bids,
        asks=asks,
        versions=versions,
        crossed=message.crossed,
        sequence=message.sequence,
        previous_sequence=message.previous_sequence,
        bid_level_count=message.bid_level_count,
        ask_level_count=message.ask_level_count,
        update_time=_time_of(message),
        body=to_json(shape),
    )


def _levels(levels: Any) -> tuple[Level, ...]:
    return tuple([Level(level.price, level.size == "0", to_json(_LEVEL(level))) for level in levels])


def _time_of(message: book_pb2.OrderBook | book_pb2.BookDelta) -> str:
    return timestamp(message.update_time) if message.HasField("update_time") else ""


def _lost(message: stream_pb2.Gap) -> Lost:
    return Lost(market=message.market, of_venue=bool(message.venue), body=to_json(_GAP(message)))


def _beat(message: stream_pb2.Heartbeat) -> Beat:
    return Beat(watermark=_when(message.watermark_time) if message.HasField("watermark_time") else None)


def _end(message: stream_pb2.End) -> Ended:
    return Ended(reason=message.reason, message=message.message, resumable=message.resumable)


def _when(value: Timestamp) -> datetime:
    return _EPOCH + timedelta(seconds=value.seconds, microseconds=value.nanos // 1_000)


_EVENTS: dict[str | None, Callable[[Any], Event]] = {
    "price": _price,
    "trade": _trade,
    "funding_rate": _funding,
    "candle": _candle,
    "snapshot": _snapshot,
    "delta": _delta,
    "gap": _lost,
    "live": lambda message: NowLive(),
    "heartbeat": _beat,
    "end": _end,
}
