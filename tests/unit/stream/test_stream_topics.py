"""What a topic is."""

from __future__ import annotations

import pytest

from services.domain.errors import DomainError, Reason
from services.stream.model.private import Private, private_of
from services.stream.model.topic import INTERVALS, Kind, Subject, market_unknown, parse_topic


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("prices:BTC-PERP", Subject(kind=Kind.PRICES, market="BTC-PERP")),
        ("book:XYZ-TSLA-PERP", Subject(kind=Kind.BOOK, market="XYZ-TSLA-PERP", depth=20)),
        ("trades:1000PEPE-PERP", Subject(kind=Kind.TRADES, market="1000PEPE-PERP")),
        ("funding:ETH-PERP", Subject(kind=Kind.FUNDING, market="ETH-PERP")),
        *[
            (f"candles:BTC-PERP:{name}", Subject(kind=Kind.CANDLES, market="BTC-PERP", interval=name))
            for name in INTERVALS
        ],
    ],
)
def test_every_form_names_its_subject_and_is_written_back_the_same(text: str, subject: Subject) -> None:
    assert parse_topic(text) == subject
    assert subject.topic == text


def test_the_depth_belongs_to_books_alone() -> None:
    assert parse_topic("book:BTC-PERP", 5).depth == 5
    assert parse_topic("prices:BTC-PERP", 5).depth == 0


@pytest.mark.parametrize(
    ("text", "would_pass"),
    [
        ("", "prices:{market}"),
        ("prices", "such as prices:BTC-PERP"),
        ("price:BTC-PERP", "prices:{market}"),
        ("PRICES:BTC-PERP", "prices:{market}"),
        ("prices:btc-perp", "prices:BTC-PERP"),
        ("prices:BTC", "prices:BTC-PERP"),
        ("prices:BTC-PERP:1m", "prices:BTC-PERP"),
        ("prices:BTC-PERP ", "prices:BTC-PERP"),
        ("prices:" + "A" * 20 + "-" + "B" * 20 + "-" + "C" * 20 + "-PERP", "prices:BTC-PERP"),
        ("candles:BTC-PERP", "1s, 1m, 5m"),
        ("candles:BTC-PERP:2m", "candles:BTC-PERP:1m"),
        ("candles:BTC:1m", "candles:BTC-PERP:1m"),
    ],
)
def test_what_is_no_topic_is_refused_with_what_would_pass(text: str, would_pass: str) -> None:
    with pytest.raises(DomainError) as refusal:
        parse_topic(text)
    assert refusal.value.reason is Reason.FIELD_INVALID
    assert refusal.value.fields[0].field == "topics"
    assert would_pass in refusal.value.message


def test_what_belongs_to_a_caller_is_a_topic_of_its_own_for_all_markets() -> None:
    assert [private_of(text) for text in ("orders", "fills", "positions")] == list(Private)
    assert private_of("prices:BTC-PERP") is None
    with pytest.raises(DomainError) as refusal:
        private_of("orders:BTC-PERP")
    assert refusal.value.reason is Reason.FIELD_INVALID


def test_an_unknown_market_is_refused_with_the_nearest_names() -> None:
    error = market_unknown("BTX-PERP", {"BTC-PERP", "ETH-PERP"})
    assert error.reason is Reason.MARKET_UNKNOWN
    assert "BTC-PERP" in error.message
    assert error.metadata["market"] == "BTX-PERP"
