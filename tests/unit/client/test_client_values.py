"""A message becomes a value and the value's JSON is the one REST gives: nothing lost, nothing renamed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from enum import StrEnum
from typing import Any

import pytest
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from perpmesh.marketdata.v1 import (
    book_pb2,
    candle_pb2,
    funding_pb2,
    history_pb2,
    market_pb2,
    price_pb2,
    state_pb2,
    trade_pb2,
    venue_pb2,
)
from perpmesh.type.v1 import side_pb2
from perpmesh_client import (
    BreakerState,
    Candle,
    Feed,
    FundingPoint,
    FundingRate,
    ListingStatus,
    Market,
    OrderBook,
    Price,
    PricePoint,
    Side,
    Source,
    State,
    Trade,
    Venue,
    to_json,
)
from perpmesh_client.values import convert
from perpmesh_client.values.states import STATES

from tests.unit.client import client_messages as make

PAIRS: list[tuple[Any, Message]] = [
    (Price, make.price()),
    (Price, make.price(bid="100001", ask="100000")),
    (Price, price_pb2.Price(market="ETH-PERP", venues=[price_pb2.VenuePrice(venue="lighter")])),
    (OrderBook, make.order_book()),
    (OrderBook, book_pb2.OrderBook()),
    (Trade, make.trade(7)),
    (FundingRate, make.funding()),
    (FundingRate, funding_pb2.FundingRate(market="X-PERP", venues=[funding_pb2.VenueFunding(venue="lighter")])),
    (Candle, make.candle()),
    (Candle, make.candle(closed=False, venue="lighter")),
    (FundingPoint, make.funding_point()),
    (PricePoint, make.price_point()),
    (Market, make.market()),
    (Market, market_pb2.Market(listings=[market_pb2.Market.Listing()])),
    (Venue, make.venue()),
    (Venue, venue_pb2.Venue(breakers=[venue_pb2.Venue.Breaker()], connections=[venue_pb2.Venue.Connection()])),
]


def rest_json(message: Message) -> dict[str, Any]:
    """Return the JSON that the edge transcodes: the proto's names, empty fields printed."""
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


@pytest.mark.parametrize(("kind", "message"), PAIRS, ids=lambda item: getattr(item, "__name__", ""))
def test_the_json_of_a_value_is_the_json_of_its_message(kind: Any, message: Message) -> None:
    assert to_json(kind.from_proto(message)) == rest_json(message)


_digits = st.text("0123456789", min_size=1, max_size=18)
_decimals = st.builds(
    lambda sign, whole, fraction: f"{sign}{int(whole)}.{fraction}", st.sampled_from(["", "-"]), _digits, _digits
)
_stamps = st.builds(
    lambda seconds, micros: Timestamp(seconds=seconds, nanos=micros * 1_000),
    st.integers(0, 4_000_000_000),
    st.integers(0, 999_999),
)
_spans = st.builds(
    lambda sign, seconds, micros: Duration(seconds=sign * seconds, nanos=sign * micros * 1_000),
    st.sampled_from([1, -1]),
    st.integers(0, 10**9),
    st.integers(0, 999_999),
)


@settings(max_examples=200, deadline=None)
@given(
    bid=_decimals, rate=_decimals, stamp=_stamps, age=_spans, state=st.integers(0, 4), number=st.integers(0, 2**64 - 1)
)
def test_any_decimal_time_and_span_comes_through_exactly(
    bid: str, rate: str, stamp: Timestamp, age: Duration, state: int, number: int
) -> None:
    shown = price_pb2.VenuePrice(
        venue="lighter",
        state=state,  # type: ignore[arg-type]
        bid=bid,
        funding_rate=rate,
        receive_time=stamp,
        age=age,
    )
    message = price_pb2.Price(market="BTC-PERP", venues=[shown], sequence=number, update_time=stamp)
    value = Price.from_proto(message)
    assert value.venues[0].bid == Decimal(bid)
    assert value.update_time == stamp.ToDatetime(UTC)
    assert value.venues[0].age == age.ToTimedelta()
    assert to_json(value) == rest_json(message)


@pytest.mark.parametrize(
    ("words", "descriptor"),
    [
        (State, state_pb2.State.DESCRIPTOR),
        (Source, state_pb2.Source.DESCRIPTOR),
        (Side, side_pb2.Side.DESCRIPTOR),
        (ListingStatus, market_pb2.Market.Status.DESCRIPTOR),
        (Feed, market_pb2.Market.Feed.DESCRIPTOR),
        (BreakerState, venue_pb2.Venue.Breaker.State.DESCRIPTOR),
    ],
)
def test_the_words_are_those_of_the_contract_in_their_order(words: type[StrEnum], descriptor: EnumDescriptor) -> None:
    assert [(number, word.value) for number, word in enumerate(words)] == [
        (value.number, value.name) for value in descriptor.values
    ]


def test_every_field_of_the_contract_is_a_field_of_the_value() -> None:
    for kind, message in PAIRS:
        assert list(kind.__dataclass_fields__) == [
            item.name for item in sorted(message.DESCRIPTOR.fields, key=lambda item: item.number)
        ], kind.__name__
    covered = {type(message) for _, message in PAIRS}
    assert covered == {
        price_pb2.Price,
        book_pb2.OrderBook,
        trade_pb2.Trade,
        funding_pb2.FundingRate,
        funding_pb2.FundingPoint,
        candle_pb2.Candle,
        history_pb2.PricePoint,
        market_pb2.Market,
        venue_pb2.Venue,
    }


def test_a_state_newer_than_this_client_is_never_taken_for_live() -> None:
    assert convert.word(STATES, 99) is State.UNSPECIFIED
    assert convert.word(STATES, -1) is State.UNSPECIFIED


def test_an_absent_value_is_none_and_not_zero() -> None:
    value = Price.from_proto(price_pb2.Price(market="BTC-PERP", venues=[price_pb2.VenuePrice(venue="lighter")]))
    assert (value.best_bid, value.spread, value.update_time) == (None, None, None)
    assert (value.venues[0].bid, value.venues[0].age, value.venues[0].receive_time) == (None, None, None)


def test_times_are_aware_and_in_utc() -> None:
    value = Trade.from_proto(make.trade(1))
    assert value.trade_time == datetime(2026, 1, 2, 12, 0, 0, 250_000, tzinfo=UTC)
    assert value.trade_time.utcoffset() == timedelta(0)


def test_the_spread_is_exact_whatever_context_the_caller_has() -> None:
    value = Price.from_proto(make.price(bid="123456789012345678.000000000000000001", ask="123456789012345679.5"))
    with localcontext(prec=3):
        assert value.spread == Decimal("1.499999999999999999")


def test_a_crossed_price_has_a_negative_spread() -> None:
    value = Price.from_proto(make.price(bid="100001", ask="100000.5"))
    assert value.crossed
    assert value.spread == Decimal("-0.5")


def test_a_venue_is_found_by_name() -> None:
    value = Price.from_proto(make.price())
    lighter = value.venue("lighter")
    assert lighter is not None
    assert lighter.ask == Decimal("100001")
    assert value.venue("nowhere") is None
