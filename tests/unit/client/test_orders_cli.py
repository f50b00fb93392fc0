"""What the command line understands of orders, and how it shows them."""

from __future__ import annotations

import uuid

import pytest
from perpmesh.execution.v1 import fill_pb2, order_pb2
from perpmesh.type.v1 import order_type_pb2, side_pb2, time_in_force_pb2
from perpmesh_client.cli import orders
from perpmesh_client.cli.arguments import parse
from perpmesh_client.orders import ENDED, wish


def test_an_order_is_typed_with_all_its_wishes() -> None:
    typed = parse(["order", "btc", "buy", "0.5", "--limit", "60000", "--tif", "post-only", "--reduce-only", "--json"])
    assert (typed.markets, typed.json) == (("BTC-PERP",), True)
    assert (typed.typed.side, typed.typed.size, typed.typed.limit) == ("buy", "0.5", "60000")
    assert (typed.typed.tif, typed.typed.reduce_only, typed.typed.venue) == ("post-only", True, "")


@pytest.mark.parametrize(
    "wrong",
    [
        ["order", "btc", "hold", "1"],
        ["order", "btc", "buy"],
        ["order", "btc", "buy", "1", "--tif", "day"],
        ["orders", "--count", "0"],
        ["fills", "--count", "1001"],
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
        venue="lighter", side=side_pb2.SIDE_SELL, size="1", market="BTC-PERP", price="99", total_cost="0.02"
    )
    assert orders.fill_line(fill) == "lighter sell 1 BTC-PERP at 99, cost 0.02 USD"
