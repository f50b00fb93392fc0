"""What the command line understands of orders, and how it shows them."""

from __future__ import annotations

import uuid
from datetime import timedelta
from decimal import Decimal

import pytest
from perpmesh.execution.v1 import fill_pb2, order_pb2, report_pb2
from perpmesh.type.v1 import cost_pb2, order_type_pb2, side_pb2, time_in_force_pb2
from perpmesh_client import Perpmesh, PerpmeshError
from perpmesh_client.cli import demo_page, orders
from perpmesh_client.cli.arguments import parse
from perpmesh_client.cli.order_arguments import NAMES as ORDERS
from perpmesh_client.cli.report_arguments import NAMES as REPORTS
from perpmesh_client.cli.steering_arguments import NAMES as STEERING
from perpmesh_client.cli.trading import COMMANDS
from perpmesh_client.orders import ENDED, wish


def test_an_order_is_typed_with_all_its_wishes() -> None:
    typed = parse(["order", "btc", "buy", "0.5", "--limit", "60000", "--tif", "post-only", "--reduce-only", "--json"])
    assert (typed.markets, typed.json) == (("BTC-PERP",), True)
    assert (typed.typed.side, typed.typed.size, typed.typed.limit) == ("buy", "0.5", "60000")
    assert (typed.typed.tif, typed.typed.reduce_only, typed.typed.venue) == ("post-only", True, "")


def test_what_waits_what_is_sliced_and_what_is_protected_is_typed() -> None:
    typed = parse(["order", "btc", "buy", "1", "--twap", "30m", "--every", "45s", "--usd", "--account", "x"])
    request = orders.wished(typed)
    assert request.type == order_type_pb2.ORDER_TYPE_TWAP
    assert (request.twap.duration.seconds, request.twap.slice_interval.seconds) == (1_800, 45)
    assert list(request.account_ids) == ["x"]
    stop = orders.wished(parse(["order", "btc", "sell", "1", "--stop", "90"]))
    assert (stop.type, stop.trigger_price, stop.reduce_only) == (order_type_pb2.ORDER_TYPE_STOP_MARKET, "90", True)
    target = orders.wished(parse(["preview", "btc", "sell", "1", "--target", "120", "--limit", "119"]))
    assert target.type == order_type_pb2.ORDER_TYPE_TAKE_PROFIT_LIMIT
    entry = orders.wished(
        parse(["order", "btc", "buy", "1", "--take-profit", "120", "--stop-loss", "90", "--limit", "100",
               "--expires", "10m"])
    )  # fmt: skip
    assert (entry.take_profit.trigger_price, entry.stop_loss.trigger_price) == ("120", "90")
    assert entry.HasField("expire_time")
    with pytest.raises(ValueError, match="one of stop_price, target_price and twap"):
        orders.wished(parse(["order", "btc", "sell", "1", "--stop", "90", "--target", "120"]))


def test_accounts_and_orders_are_steered_by_what_is_typed() -> None:
    typed = parse(["replace", "x", "--size", "2", "--version", "3"])
    assert (typed.typed.id, typed.typed.size, typed.typed.limit, typed.typed.version) == ("x", "2", None, 3)
    typed = parse(["leverage", "btc", "5", "--account", "a", "--margin", "isolated"])
    assert (typed.markets, typed.typed.leverage, typed.typed.margin) == (("BTC-PERP",), 5, "isolated")
    typed = parse(["arm", "90s", "--account", "a", "--account", "b"])
    assert (typed.typed.delay, typed.typed.account) == (timedelta(seconds=90), ["a", "b"])
    assert set(COMMANDS) == {*ORDERS, *REPORTS, *STEERING}, "what can be typed can be run"


@pytest.mark.parametrize(
    "wrong",
    [
        ["arm", "soon"],
        ["arm", "10"],
        ["leverage", "btc", "0", "--account", "a"],
        ["leverage", "btc", "5"],
        ["replace"],
        ["order", "btc", "buy", "1", "--twap", "1w"],
        ["order", "btc", "hold", "1"],
        ["order", "btc", "buy"],
        ["order", "btc", "buy", "1", "--tif", "day"],
        ["orders", "--count", "0"],
        ["fills", "--count", "1001"],
        ["close"],
        ["demo", "--json"],
    ],
)
def test_what_makes_no_order_is_refused_with_the_usage(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(wrong)
    assert caught.value.code == 2
    assert "usage: perpmesh" in capsys.readouterr().err


def test_lists_take_a_market_in_short() -> None:
    assert parse(["orders", "--market", "eth", "--open"]).markets == ("ETH-PERP",)
    assert parse(["fills", "--order", "x"]).markets == ()
    assert parse(["cancel", "a", "b"]).typed.ids == ["a", "b"]


def test_a_close_is_of_a_market_and_a_demo_takes_an_address() -> None:
    typed = parse(["close", "btc", "--venue", "lighter", "--size", "0.5"])
    assert (typed.markets, typed.typed.venue, typed.typed.size) == (("BTC-PERP",), "lighter", "0.5")
    assert parse(["demo", "--address", "127.0.0.1:1"]).address == "127.0.0.1:1"


def test_who_is_not_signed_in_is_told_how_before_anything_is_asked() -> None:
    mesh = Perpmesh("127.0.0.1:1")
    assert mesh.quotes.address == "127.0.0.1:1", "quotes are for everyone"
    for part in ("orders", "vault", "portfolio"):
        with pytest.raises(PerpmeshError, match=r"make a Login .* Perpmesh\(token=") as caught:
            getattr(mesh, part)
        assert caught.value.reason == "TOKEN_MISSING"


def test_money_is_shown_to_the_cent_and_a_price_to_seven_digits() -> None:
    shown = [demo_page.usd("1234567.005"), demo_page.usd("-0.004"), demo_page.usd("")]
    assert shown == ["1,234,567.00", "0.00", "-"]
    assert [demo_page.price("2.1441234567"), demo_page.price("84039.100"), demo_page.price("")] == [
        "2.144123", "84,039.1", "-",
    ]  # fmt: skip
    assert demo_page.plain(Decimal("-23.326016")) == "-23.326016"


def test_where_a_difference_comes_from_is_summed_over_venues_with_the_unexplained_last() -> None:
    Cause = report_pb2.Attribution.Cause  # noqa: N806 - a type
    parts = [(Cause.CAUSE_LATENCY, "0.1"), (Cause.CAUSE_BOOK_MOVED, "-2"), (Cause.CAUSE_LATENCY, "0.2")]
    report = report_pb2.ExecutionReport(
        attributions=[report_pb2.Attribution(cause=cause, amount=amount) for cause, amount in parts]
    )
    assert list(orders.causes(report).items()) == [
        ("book moved", Decimal(-2)), ("latency", Decimal("0.3")), ("unexplained", Decimal(0)),
    ]  # fmt: skip


def test_a_price_makes_a_limit_order_and_every_wish_has_an_id_of_its_own() -> None:
    plain, limited = wish("BTC-PERP", "sell", "1"), wish("BTC-PERP", "buy", "1", limit_price="5", time_in_force="ioc")
    assert (plain.type, plain.side) == (order_type_pb2.ORDER_TYPE_MARKET, side_pb2.SIDE_SELL)
    assert not plain.HasField("limit_price")
    assert (limited.type, limited.limit_price) == (order_type_pb2.ORDER_TYPE_LIMIT, "5")
    assert limited.time_in_force == time_in_force_pb2.TIME_IN_FORCE_IMMEDIATE_OR_CANCEL
    assert uuid.UUID(plain.request_id) != uuid.UUID(limited.request_id)
    assert wish("BTC-PERP", "buy", "1", request_id="same").request_id == "same"


def test_a_wrong_side_or_lifetime_is_said_with_what_would_pass() -> None:
    with pytest.raises(ValueError, match="buy or sell"):
        wish("BTC-PERP", "hold", "1")
    with pytest.raises(ValueError, match="gtc, ioc or post-only"):
        wish("BTC-PERP", "buy", "1", time_in_force="day")


def test_an_order_whose_outcome_is_unknown_has_not_ended() -> None:
    open_states = {name for name, number in order_pb2.Order.State.items() if number not in ENDED}
    assert open_states == {
        "STATE_UNSPECIFIED", "STATE_PLANNED", "STATE_RUNNING", "STATE_PAUSED", "STATE_SUBMIT_UNKNOWN",
    }  # fmt: skip


def test_orders_and_fills_are_shown_as_lines() -> None:
    one = order_pb2.Order(
        order_id="o1", side=side_pb2.SIDE_BUY, size="2", market="BTC-PERP", state=order_pb2.Order.STATE_DONE,
        filled_size="2", average_price="100.5",
    )  # fmt: skip
    assert orders.order_line(one) == "o1 buy 2 BTC-PERP: done, filled 2 at 100.5"
    fill = fill_pb2.Fill(
        venue="lighter",
        side=side_pb2.SIDE_SELL,
        size="1",
        market="BTC-PERP",
        price="99",
        costs=[
            cost_pb2.Cost(kind=cost_pb2.COST_KIND_VENUE_FEE, amount="0.02"),
            cost_pb2.Cost(kind=cost_pb2.COST_KIND_PLATFORM_FEE, amount="0"),
        ],
    )
    assert orders.fill_line(fill) == "lighter sell 1 BTC-PERP at 99, venue fee 0.02, platform fee 0"
