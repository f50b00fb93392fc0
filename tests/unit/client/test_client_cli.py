"""What the command line understands, and how it shows values to a person."""

from __future__ import annotations

import io
from datetime import timedelta
from decimal import Decimal

import pytest
from perpmesh.marketdata.v1 import price_pb2, state_pb2
from perpmesh_client import FundingRate, Gap, Market, OrderBook, PerpmeshError, Price, Source, Trade, Venue
from perpmesh_client.cli import formats, lines, tables
from perpmesh_client.cli.arguments import ADDRESS_VARIABLE, DEFAULT_ADDRESS, market_name, parse
from perpmesh_client.cli.runner import sentence
from rich.console import Console, RenderableType

from tests.unit.client import client_messages as make


def shown(renderable: RenderableType, width: int = 300) -> list[str]:
    """Return the lines of a table, their columns parted by one blank."""
    text = io.StringIO()
    Console(file=text, width=width, highlight=False).print(renderable)
    return [" ".join(line.split()) for line in text.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("typed", "name"),
    [("btc", "BTC-PERP"), ("BTC-PERP", "BTC-PERP"), ("xyz-tsla", "XYZ-TSLA-PERP"), ("1000pepe-perp", "1000PEPE-PERP")],
)
def test_a_market_may_be_typed_in_short(typed: str, name: str) -> None:
    assert market_name(typed) == name


def test_options_may_stand_before_or_after_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ADDRESS_VARIABLE, raising=False)
    assert parse(["watch"]).address == DEFAULT_ADDRESS
    assert parse(["--address", "a:1", "watch"]).address == parse(["watch", "--address", "a:1"]).address == "a:1"
    monkeypatch.setenv(ADDRESS_VARIABLE, "b:2")
    assert parse(["venues"]).address == "b:2"
    assert parse(["venues", "--address", "a:1"]).address == "a:1"
    typed = parse(["book", "eth", "--depth", "100", "--interval", "0.5", "--json", "--once"])
    assert (typed.markets, typed.depth, typed.interval_s, typed.json, typed.once) == (
        ("ETH-PERP",),
        100,
        0.5,
        True,
        True,
    )
    assert parse(["watch", "btc", "eth", "BTC-PERP"]).markets == ("BTC-PERP", "ETH-PERP")


def test_what_follows_record_is_left_to_the_recorder() -> None:
    assert parse(["record", "--venue", "lighter", "--help", "-o", "x"]).rest == (
        "--venue",
        "lighter",
        "--help",
        "-o",
        "x",
    )


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ([], "COMMAND"),
        (["wotch"], "invalid choice"),
        (["book"], "MARKET"),
        (["book", "btc", "--depth", "7"], "choose from 5, 20, 100, 500"),
        (["watch", "--interval", "61"], "61 is not a number of seconds from 0 to 60"),
        (["watch", "--interval", "nan"], "nan is not a number of seconds"),
        (["trades", "btc", "--count", "1001"], "1001 is not a whole number from 0 to 1000"),
        (["watch", "--frob"], "not understood: --frob"),
    ],
)
def test_a_wrong_command_exits_with_2_and_says_what_would_pass(
    argv: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(argv)
    assert caught.value.code == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "expected"),
    [("1234567.000100", "1,234,567.000100"), ("-0.5", "-0.5"), ("0E-9", "0.000000000"), ("1E+3", "1,000"), (None, "-")],
)
def test_a_number_keeps_every_digit(given: str | None, expected: str) -> None:
    assert formats.number(None if given is None else Decimal(given)) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.04, "0.0s"),
        (4.24, "4.2s"),
        (35, "35s"),
        (119, "119s"),
        (120, "2m"),
        (7_200, "2h"),
        (259_200, "3d"),
        (-1, "0.0s"),
    ],
)
def test_an_age_is_short(seconds: float, expected: str) -> None:
    assert formats.age(timedelta(seconds=seconds)) == expected


def test_rates_sizes_and_spreads_are_rounded_only_for_the_eye() -> None:
    assert formats.percent(Decimal("0.0000125"), 5) == "+0.00125%"
    assert formats.percent(Decimal("-0.0350401"), 2) == "-3.50%"
    assert formats.percent(None, 2) == "-"
    assert [formats.large(Decimal(text)) for text in ("999.999", "1234567", "2500000000")] == [
        "1,000.00",
        "1.23M",
        "2.50B",
    ]
    assert formats.spread(Decimal("100000"), Decimal("100001")) == "1 (0.1bp)"
    assert formats.spread(Decimal("0"), Decimal("1")) == "1 (-)"


def test_what_is_not_the_market_says_so() -> None:
    assert formats.venue("lighter", Source.MAINNET) == "lighter"
    assert formats.venue("lighter", Source.SIMULATED) == "lighter(sim)"
    assert formats.venue("lighter", Source.UNSPECIFIED) == "lighter(?)"
    assert formats.warning({Source.MAINNET}) == ""
    assert formats.warning({Source.MAINNET, Source.TESTNET}).startswith("TESTNET")
    assert formats.warning({Source.TESTNET, Source.SIMULATED}).startswith("SIMULATED")


def test_a_price_is_one_line() -> None:
    assert lines.price_line(Price.from_proto(make.price())) == (
        "12:00:00.250 BTC-PERP bid 100,000 x 1.5 hyperliquid ask 100,001 x 0.25 lighter spread 1 (0.1bp) "
        "hyperliquid(sim)=LIVE/0.1s lighter(sim)=LIVE/0.1s"
    )
    crossed = lines.price_line(Price.from_proto(make.price(bid="100001", ask="100000.5")))
    assert "spread -0.5 (-0.0bp) CROSSED hyperliquid" in crossed
    empty = price_pb2.Price(
        market="X-PERP", venues=[price_pb2.VenuePrice(venue="lighter", state=state_pb2.STATE_HALTED)]
    )
    assert lines.price_line(Price.from_proto(empty)) == "- X-PERP bid - ask - spread - lighter(?)=HALTED/-"


def test_books_trades_funding_venues_and_gaps_are_one_line_each() -> None:
    assert lines.book_line(OrderBook.from_proto(make.order_book())) == (
        "12:00:00.250 BTC-PERP #1 bid 100,000 x 1.5 hyperliquid+lighter ask 100,001 x 0.25 lighter levels 2/2 "
        "hyperliquid=LIVE/- lighter=LIVE/-"
    )
    assert lines.trade_line(Trade.from_proto(make.trade(3))) == (
        "12:00:00.250 BTC-PERP sell 0.01 @ 100,000.5 lighter #3"
    )
    assert lines.funding_line(FundingRate.from_proto(make.funding())) == (
        "12:00:00.250 BTC-PERP hyperliquid(testnet)=+0.00125%/h,+10.95%/y,next 12:30 "
        "lighter(testnet)=-0.00040%/h,-3.50%/y,next 12:30 spread +0.00165%/h"
    )
    line = lines.venue_line(Venue.from_proto(make.venue()))
    assert line.startswith("12:00:00.250 lighter(sim) RECOVERING (The connection was cut;")
    assert line.endswith("connections ws-0=RECOVERING/3.0s breakers ws=HALF-OPEN limits subscriptions=812/1000")
    gap = Gap(call="WatchTrades", market="BTC-PERP", venue="", from_sequence=3, to_sequence=5, message="Lost.")
    assert lines.gap_line(gap) == "GAP: WatchTrades lost messages of BTC-PERP, sequence 3 to 5: Lost."


def test_the_price_table_has_a_column_a_venue_and_ages_that_grow() -> None:
    price = make.price()
    price.venues[1].state = state_pb2.STATE_STALE
    rows = shown(tables.price_table([tables.Seen(Price.from_proto(price), timedelta(seconds=4))]))
    assert rows[0].endswith("hyperliquid(sim) lighter(sim)")
    assert rows[1].startswith("BTC-PERP 100,000 1.5 hyperliquid 100,001 0.25 lighter 1 (0.1bp) 100,001.5 2.47M")
    assert rows[1].endswith("LIVE 4.1s STALE 4.1s")


def test_a_crossed_price_says_so_and_a_long_list_is_counted() -> None:
    crossed = Price.from_proto(make.price(bid="100001", ask="100000"))
    seen = [tables.Seen(crossed, timedelta(0))] * 5
    rows = shown(tables.price_table(seen, 2))
    assert "CROSSED -1 (-0.1bp)" in rows[1]
    assert rows[-1] == "and 3 more"
    assert len(rows) == 4


def test_the_ladder_has_the_asks_above_and_names_who_has_how_much() -> None:
    rows = shown(tables.book_table(OrderBook.from_proto(make.order_book())))
    assert rows[0] == "PRICE SIZE hyperliquid lighter"
    assert [row.split(" ", 1)[1] for row in (rows[1], rows[2], rows[4], rows[5])] == [
        "100,002.5 3 3",
        "100,001 0.25 0.25",
        "100,000 1.5 1 0.5",
        "99,999 2 2",
    ]
    assert rows[3] == "1 (0.1bp)"
    assert len(shown(tables.book_table(OrderBook.from_proto(make.order_book()), 2))) == 4
    assert shown(tables.book_table(OrderBook.from_proto(make.order_book(bids=[], asks=[]))))[1] == "-"


def test_the_other_tables_show_their_values() -> None:
    funding = shown(tables.funding_table([FundingRate.from_proto(make.funding())]))
    assert funding[1] == "BTC-PERP +0.00125% +10.95% 12:30 -0.00040% -3.50% 12:30 +0.00165% hyperliquid/lighter"
    markets = shown(tables.market_table([Market.from_proto(make.market())]))
    assert markets[1] == "BTC-PERP hyperliquid BTC active book 0.1 0.00001 - 10 40x +0.0150% +0.0450% 60m"
    assert markets[2].startswith("lighter BTC")
    trades = shown(tables.trade_table([Trade.from_proto(make.trade(3))]))
    assert trades[1] == "12:00:00.250 BTC-PERP sell 0.01 100,000.5 lighter 3"
    venues = shown(tables.venue_table([Venue.from_proto(make.venue())], timedelta(seconds=1)))
    assert venues[1].startswith(
        "lighter(sim) feed RECOVERING 42 markets at http://127.0.0.1:9100. The connection was cut"
    )
    assert venues[3] == "ws-0 RECOVERING 4.0s 12 subscriptions, 4 reconnects."
    assert venues[4] == "breaker ws HALF-OPEN 5 failures. The connection was refused."
    assert venues[5] == "subscriptions 812 of 1,000"


def test_errors_are_told_in_one_sentence() -> None:
    away = PerpmeshError("Nothing answers.", code="UNAVAILABLE", category="network")
    assert sentence(away, "a:1").startswith("nothing answers at a:1: start it with `make up`")
    busy = PerpmeshError("The room is stopping.", code="UNAVAILABLE", reason="DRAINING")
    assert sentence(busy, "a:1") == "The room is stopping."
