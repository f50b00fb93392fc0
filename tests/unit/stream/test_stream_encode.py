"""The fast encoder says what the official one says, and so does every control frame."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf import json_format, struct_pb2
from google.protobuf.message import Message
from perpmesh.execution.v1 import fill_pb2, order_pb2
from perpmesh.marketdata.v1 import book_pb2, candle_pb2, funding_pb2, price_pb2, trade_pb2, venue_pb2
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb
from perpmesh.portfolio.v1 import position_pb2
from perpmesh.stream.v1 import frame_pb2
from perpmesh.type.v1 import stream_pb2

from services.domain.errors import DomainError, Reason, field_invalid
from services.stream.model import frame
from services.stream.model.limits import Limits
from services.stream.peers.encode import shaper, to_json
from services.stream.peers.wording import said

TYPES: tuple[type[Message], ...] = (
    price_pb2.Price,
    trade_pb2.Trade,
    book_pb2.OrderBook,
    book_pb2.BookDelta,
    funding_pb2.FundingRate,
    candle_pb2.Candle,
    stream_pb2.Gap,
    venue_pb2.Venue,
    order_pb2.Order,
    fill_pb2.Fill,
    position_pb2.Position,
)
MESSAGES_PER_TYPE = 300
TEXTS = ("", "0", "90123.5", "-0.000125", 'a "quoted" \\ text', "tab\tnul\x00", "naïve ☃ 🂡", "</script>", "\u2028")
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def official(message: Message) -> Any:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def fill(message: Any, chance: random.Random, depth: int = 0) -> Any:
    """Fill a message with random values, some fields left out."""
    name = message.DESCRIPTOR.full_name
    if name == "google.protobuf.Timestamp":
        message.seconds = chance.choice((0, 1, -62135596800, 253402300799, chance.randrange(2**31)))
        message.nanos = chance.choice((0, 1, 999_999_999, 120_000_000, 345_000, chance.randrange(10**9)))
        return message
    if name == "google.protobuf.Duration":
        sign = chance.choice((1, -1))
        message.seconds = sign * chance.choice((0, 1, 315_576_000_000, chance.randrange(10**5)))
        message.nanos = sign * chance.choice((0, 1, 500_000_000, 20_000, chance.randrange(10**9)))
        return message
    for field in message.DESCRIPTOR.fields:
        if chance.random() < 0.2:
            continue
        if field.is_repeated:
            for _ in range(chance.randrange(4)):
                if field.message_type is not None:
                    fill(getattr(message, field.name).add(), chance, depth + 1)
                else:
                    getattr(message, field.name).append(scalar(field, chance))
        elif field.message_type is not None:
            target = getattr(message, field.name)
            target.SetInParent()
            fill(target, chance, depth + 1)
        else:
            setattr(message, field.name, scalar(field, chance))
    return message


def scalar(field: Any, chance: random.Random) -> Any:
    if field.enum_type is not None:
        return chance.choice((*(value.number for value in field.enum_type.values), 77))
    if field.cpp_type == field.CPPTYPE_STRING:
        return chance.choice(TEXTS)
    if field.cpp_type == field.CPPTYPE_BOOL:
        return chance.random() < 0.5
    if field.cpp_type == field.CPPTYPE_INT32:
        return chance.choice((0, 1, -1, 2**31 - 1, -(2**31)))
    if field.cpp_type == field.CPPTYPE_UINT32:
        return chance.choice((0, 1, 2**32 - 1))
    if field.cpp_type == field.CPPTYPE_INT64:
        return chance.choice((0, 1, -(2**63), 2**63 - 1))
    return chance.choice((0, 1, 2**64 - 1, chance.randrange(2**53)))


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.DESCRIPTOR.name)
def test_random_messages_read_as_the_official_encoder_writes_them(kind: type[Message]) -> None:
    seed = 20_260_101
    chance = random.Random(seed)
    shape = shaper(kind.DESCRIPTOR)
    for index in range(MESSAGES_PER_TYPE):
        message = fill(kind(), chance)
        assert json.loads(to_json(shape(message))) == official(message), f"seed {seed}, message {index}"


def test_an_empty_message_prints_its_defaults_and_leaves_out_absent_messages() -> None:
    printed = json.loads(to_json(shaper(price_pb2.Price.DESCRIPTOR)(price_pb2.Price())))
    assert printed == {"market": "", "crossed": False, "venues": [], "sequence": "0"}


def test_a_type_that_is_not_covered_is_refused_when_the_encoder_is_made() -> None:
    with pytest.raises(TypeError, match="not covered"):
        shaper(struct_pb2.Struct.DESCRIPTOR)


@pytest.mark.parametrize("kind", [book_pb2.BookDelta, book_pb2.OrderBook], ids=["delta", "snapshot"])
def test_a_book_joined_from_pieces_is_the_book_that_was_said(kind: type[Message]) -> None:
    seed = 7
    chance = random.Random(seed)
    for index in range(MESSAGES_PER_TYPE):
        message = fill(kind(), chance)
        answer = pb.WatchOrderBookResponse(cursor="c1")
        if isinstance(message, book_pb2.BookDelta):
            answer.delta.CopyFrom(message)
        else:
            answer.snapshot.CopyFrom(message)
        (event,) = said(answer).events
        for level, piece in zip(message.bids, event.bids, strict=True):  # type: ignore[union-attr, attr-defined]
            assert json.loads(piece.body) == official(level)
        assert json.loads(event.versions) == [official(item) for item in message.versions]  # type: ignore[union-attr, attr-defined]
        if isinstance(message, book_pb2.BookDelta):
            assert json.loads(event.body) == official(message), f"seed {seed}, message {index}"  # type: ignore[union-attr]


def test_a_batch_of_prices_is_several_events_with_one_cursor() -> None:
    answer = pb.WatchPricesResponse(cursor="c9")
    answer.prices.prices.add(market="A-PERP", sequence=3)
    answer.prices.prices.add(market="B-PERP", sequence=4)
    heard = said(answer)
    assert heard.cursor == "c9"
    assert [(event.market, event.sequence) for event in heard.events] == [("A-PERP", 3), ("B-PERP", 4)]  # type: ignore[union-attr]


def test_a_message_that_says_nothing_known_is_no_event() -> None:
    assert said(pb.WatchPricesResponse(cursor="c1")).events == ()


def test_every_control_frame_reads_as_the_contract_prints_it() -> None:
    error = DomainError(Reason.MARKET_UNKNOWN, 'No venue lists "X".')
    frames = [
        frame.welcome("c-1", Limits(), NOW),
        frame.status("prices:BTC-PERP", frame.SUBSCRIBED, "a"),
        frame.status("prices:X-PERP", frame.REFUSED, "", error),
        frame.status("prices:X-PERP", frame.INTERRUPTED, "", error),
        frame.status("prices:X-PERP", frame.UNSUBSCRIBED),
        frame.live("prices:BTC-PERP", NOW),
        frame.heartbeat(NOW, None),
        frame.heartbeat(NOW, NOW.replace(microsecond=0)),
        frame.gap("trades:BTC-PERP", "BTC-PERP", 5, 2**64 - 1, "why"),
        frame.end(error, resumable=True),
        frame.pong("p", NOW.replace(microsecond=120_000)),
        frame.error_frame(field_invalid("subscribe.topics", "must be"), "e"),
        frame.data("prices:BTC-PERP", "price", to_json(shaper(price_pb2.Price.DESCRIPTOR)(price_pb2.Price()))),
    ]
    seen = set()
    for made in frames:
        parsed = json_format.Parse(made.payload, frame_pb2.ServerFrame())
        assert json.loads(made.payload) == official(parsed)
        seen.add(parsed.WhichOneof("event"))
    assert seen == {"welcome", "status", "live", "heartbeat", "gap", "end", "pong", "error", "price"}


def test_times_and_spans_are_written_with_none_three_or_six_decimals() -> None:
    assert frame.timestamp(NOW) == "2026-01-02T03:04:05.678901Z"
    assert frame.timestamp(NOW.replace(microsecond=120_000)) == "2026-01-02T03:04:05.120Z"
    assert frame.timestamp(NOW.replace(microsecond=0)) == "2026-01-02T03:04:05Z"
    assert [frame.duration(span) for span in (15.0, 0.05, 0.000_25)] == ["15s", "0.050s", "0.000250s"]
