"""What was recorded, and candles, as messages."""

from __future__ import annotations

from typing import Final

from perpmesh.marketdata.v1 import candle_pb2, funding_pb2, history_pb2, trade_pb2
from perpmesh.type.v1 import side_pb2

from services.domain.decimals import plain_text
from services.market_data.model.candle import Candle
from services.market_data.model.history import FundingPoint, PriceSample, RecordedTrade
from services.market_data.rpc.encode import decimal_text, set_time

INTERVALS_S: Final = {
    candle_pb2.CANDLE_INTERVAL_1S: 1,
    candle_pb2.CANDLE_INTERVAL_1M: 60,
    candle_pb2.CANDLE_INTERVAL_5M: 300,
    candle_pb2.CANDLE_INTERVAL_15M: 900,
    candle_pb2.CANDLE_INTERVAL_1H: 3_600,
    candle_pb2.CANDLE_INTERVAL_4H: 14_400,
    candle_pb2.CANDLE_INTERVAL_1D: 86_400,
}
_WORDS: Final = {seconds: word for word, seconds in INTERVALS_S.items()}


def candle(one: Candle) -> candle_pb2.Candle:
    """Return a candle; what was traded in USD is empty where the venue did not say."""
    message = candle_pb2.Candle(
        market=one.market,
        venue=one.venue,
        interval=_WORDS[one.interval_s],
        open=plain_text(one.open),
        high=plain_text(one.high),
        low=plain_text(one.low),
        close=plain_text(one.close),
        volume=plain_text(one.volume),
        quote_volume=decimal_text(one.quote_volume),
        trade_count=one.trade_count,
        closed=one.closed,
    )
    set_time(message.open_time, one.open_ns)
    set_time(message.close_time, one.close_ns)
    return message


def price_point(one: PriceSample) -> history_pb2.PricePoint:
    """Return a sample of a price."""
    message = history_pb2.PricePoint(
        market=one.market,
        venue=one.venue,
        bid=decimal_text(one.bid),
        ask=decimal_text(one.ask),
        last_price=decimal_text(one.last_price),
        mark_price=decimal_text(one.mark_price),
        index_price=decimal_text(one.index_price),
    )
    set_time(message.sample_time, one.sample_ns)
    return message


def funding_point(one: FundingPoint) -> funding_pb2.FundingPoint:
    """Return a settled rate."""
    message = funding_pb2.FundingPoint(
        market=one.market,
        venue=one.venue,
        rate=plain_text(one.rate),
        hourly_rate=plain_text(one.hourly),
        yearly_rate=plain_text(one.yearly),
        premium=decimal_text(one.premium),
    )
    set_time(message.settle_time, one.settle_ns)
    return message


def trade(one: RecordedTrade) -> trade_pb2.Trade:
    """Return a print; one of an earlier start has no number."""
    side = side_pb2.SIDE_UNSPECIFIED
    if one.buy is not None:
        side = side_pb2.SIDE_BUY if one.buy else side_pb2.SIDE_SELL
    message = trade_pb2.Trade(
        market=one.market,
        venue=one.venue,
        trade_id=one.trade_id,
        price=plain_text(one.price),
        size=plain_text(one.size),
        side=side,
        liquidation=one.liquidation,
        sequence=one.sequence,
    )
    set_time(message.trade_time, one.trade_ns)
    set_time(message.receive_time, one.receive_ns)
    return message
