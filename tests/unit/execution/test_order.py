"""One request, one order: what tells the same content from other content."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from services.execution.model.caller_key import CallerKey
from services.execution.model.order import Exit, NewOrder
from services.execution.model.policy import LegPolicy
from services.execution.model.twap import Terms
from services.venues.actions import OrderType, Side, TimeInForce

D = Decimal


def wish(**changes: Any) -> NewOrder:
    made = NewOrder(
        request_id=UUID(int=1), market="BTC-PERP", side=Side.BUY, size=D(3), size_in_usd=False, type=OrderType.LIMIT,
        limit_price=D(100), time_in_force=TimeInForce.GOOD_TILL_CANCELED, reduce_only=False, venue="", venues=(),
        excluded=(), account_ids=(), quote_id=None, max_slippage_bps=None, client_order_id="",
        allow_while_unknown=False,
    )  # fmt: skip
    return replace(made, **changes)


OTHERS: dict[str, Any] = {
    "market": "ETH-PERP", "side": Side.SELL, "size": D(4), "size_in_usd": True, "type": OrderType.MARKET,
    "limit_price": None, "time_in_force": TimeInForce.POST_ONLY, "reduce_only": True, "venue": "lighter",
    "venues": ("lighter",), "excluded": ("lighter",), "account_ids": (UUID(int=2),), "quote_id": UUID(int=3),
    "max_slippage_bps": 5, "client_order_id": "mine", "expire_time": datetime(2027, 1, 1, tzinfo=UTC),
    "twap": Terms(duration=timedelta(minutes=9), interval=timedelta(seconds=30)),
    "trigger_price": D(99), "take_profit": Exit(trigger_price=D(110)), "stop_loss": Exit(trigger_price=D(90)),
    "signers": ((UUID(int=2), CallerKey(address="0x1")),),
    "leg_policy": LegPolicy.UNWIND,
}  # fmt: skip


def test_every_part_of_an_order_counts() -> None:
    assert set(OTHERS) == {one.name for one in fields(NewOrder)} - {"request_id", "allow_while_unknown"}


@pytest.mark.parametrize("name", OTHERS)
def test_other_content_under_a_request_id_is_seen(name: str) -> None:
    assert wish(**{name: OTHERS[name]}).digest != wish().digest
    assert wish(**{name: OTHERS[name]}).digest == wish(**{name: OTHERS[name]}).digest


def test_two_schedules_and_two_exits_are_told_apart() -> None:
    schedules = [Terms(duration=timedelta(minutes=9), interval=timedelta(seconds=s)) for s in (30, 60)]
    assert wish(twap=schedules[0]).digest != wish(twap=schedules[1]).digest
    exits = [Exit(trigger_price=D(price)) for price in (90, 91)]
    assert wish(stop_loss=exits[0]).digest != wish(stop_loss=exits[1]).digest
    assert wish(stop_loss=exits[0], take_profit=exits[1]).digest != wish(stop_loss=exits[0]).digest
