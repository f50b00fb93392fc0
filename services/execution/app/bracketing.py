"""Exits attached to an order: held legs for each entry leg, on its venue's grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Final
from uuid import UUID

from services.domain.decimals import plain_text
from services.domain.refusal import Refusal, RefusalReason
from services.execution.model.clients import venue_client_id
from services.execution.model.exits import exit_id
from services.execution.model.leg import ZERO, Leg, LegState, Role
from services.execution.model.order import Exit, NewOrder, Order, mesh_says_no
from services.execution.ports import TradingAccount
from services.venues.actions import OrderType, Side, TimeInForce

MakeLeg = Callable[[Order, int, TradingAccount, Decimal, Decimal], Leg]
_TYPES: Final = {
    (Role.TAKE_PROFIT, True): OrderType.TAKE_PROFIT_LIMIT,
    (Role.TAKE_PROFIT, False): OrderType.TAKE_PROFIT_MARKET,
    (Role.STOP_LOSS, True): OrderType.STOP_LIMIT,
    (Role.STOP_LOSS, False): OrderType.STOP_MARKET,
}


def exits_of(wanted: NewOrder) -> list[tuple[Role, Exit]]:
    """Return the exits that an order has."""
    found = ((Role.TAKE_PROFIT, wanted.take_profit), (Role.STOP_LOSS, wanted.stop_loss))
    return [(role, one) for role, one in found if one is not None]


def judge(wanted: NewOrder) -> Refusal | None:
    """Say why exits do not belong to their order: they must lie on the two sides of its price."""
    sign = wanted.side.sign
    bounds = [(role.value.lower(), one.trigger_price) for role, one in exits_of(wanted)]
    if wanted.limit_price is not None and wanted.type is OrderType.LIMIT:
        bounds.append(("limit_price", wanted.limit_price))
    rank = {"stop_loss": 0, "limit_price": 1, "take_profit": 2}
    bounds.sort(key=lambda one: rank[one[0]])
    for (lower, below), (upper, above) in pairwise(bounds):
        if (above - below) * sign <= 0:
            order = "above" if wanted.side is Side.BUY else "below"
            name = f"{upper}.trigger_price" if upper != "limit_price" else f"{lower}.trigger_price"
            return mesh_says_no(
                RefusalReason.TRIGGER_WRONG_SIDE,
                f"The {upper} of an order to {wanted.side.value.lower()}, {plain_text(above)}, must lie {order} its "
                f"{lower}, {plain_text(below)}.",
                "Move it to the other side.",
                field=name,
                given=plain_text(above if upper != "limit_price" else below),
            )
    return None


def held(
    order: Order,
    wanted: NewOrder,
    accounts: Mapping[UUID, TradingAccount],
    make: MakeLeg,
    price: Callable[[NewOrder], Decimal],
    off_grid: Callable[[Leg, NewOrder], Refusal | None],
) -> Sequence[Leg] | Refusal:
    """Return the exits of every entry leg of an order. Raises `ActionError` for a price that rounds to nothing."""
    legs: list[Leg] = []
    for entry in order.legs:
        for role, one in exits_of(wanted):
            terms = replace(
                wanted, side=wanted.side.opposite, type=_TYPES[role, one.limit_price is not None], reduce_only=True,
                limit_price=one.limit_price, trigger_price=one.trigger_price, expire_time=None,
                time_in_force=TimeInForce.GOOD_TILL_CANCELED,
            )  # fmt: skip
            as_exit = replace(
                order, side=terms.side, type=terms.type, reduce_only=True, trigger_price=terms.trigger_price,
                expire_time=None, time_in_force=terms.time_in_force,
            )  # fmt: skip
            number = len(order.legs) + len(legs) + 1
            leg = make(as_exit, number, accounts[entry.account_id], ZERO, price(terms))
            off = off_grid(leg, terms)
            if off is not None:
                return replace(off, field=f"{role.value.lower()}.{off.field}")
            leg_id = exit_id(order.order_id, number)
            legs.append(
                replace(
                    leg, leg_id=leg_id, client_id=venue_client_id(leg.venue, leg_id), state=LegState.HELD, role=role,
                    entry=entry.number, part=1,
                )
            )  # fmt: skip
    return legs
