"""Replacing an order's terms: its leg is canceled first, then a new leg carries what is left of the new size. Pure.

Never are both live, and never is more filled than was wished: the new leg is made only when the old one has ended by
evidence and all that it traded is counted. Changing the order in place at the venue would be faster and would break
that at Hyperliquid, which counts the new size without what was filled meanwhile.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from services.domain.decimals import plain_text
from services.domain.errors import DomainError, Reason
from services.execution.model.clients import venue_client_id
from services.execution.model.leg import ZERO, Leg, LegState, Role
from services.execution.model.order import Order, Replacement
from services.venues.actions import OrderType


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaceAsked:
    """What a caller asks for; None is as it is."""

    order_id: UUID
    request_id: UUID
    size: Decimal | None
    """Of the whole, what is filled included."""
    limit_price: Decimal | None
    expected_version: int

    @property
    def digest(self) -> bytes:
        """What tells the same content under one request_id from other content."""
        parts = ["" if one is None else plain_text(one) for one in (self.size, self.limit_price)]
        return hashlib.sha256("\0".join(parts).encode()).digest()


def to_replace(order: Order, asked: ReplaceAsked, terms: Replacement) -> Order:
    """Return an order that is to get new terms, or itself where they are those it has. Raises STATE_FORBIDS."""
    if asked.expected_version not in (0, order.version):
        raise DomainError(
            Reason.VERSION_MOVED,
            f"The order has version {order.version} by now, and the change is meant for {asked.expected_version}.",
            metadata={
                "field": "expected_version",
                "order_id": str(order.order_id),
                "version": str(order.version),
            },
        )
    if order.caller_signed:
        raise _forbids(order, "new terms would need a signature of its caller: cancel it, prepare another")
    live = [leg for leg in order.legs if not leg.is_final]
    if order.state.is_final:
        raise _forbids(order, "it has ended; place a new one")
    if order.cancel_time is not None:
        raise _forbids(order, "it is being canceled; place a new one")
    if order.hedge is not None:
        raise _forbids(order, "its two sides belong together; cancel it, and place anew")
    if order.take_profit is not None or order.stop_loss is not None:
        raise _forbids(order, "its exits belong to its legs as they are; cancel it, and place anew")
    if order.type is not OrderType.LIMIT or not all(leg.may_rest for leg in order.legs) or len(live) > 1:
        raise _forbids(order, "only a limit order that rests at one venue can be replaced; cancel it, and place anew")
    if (terms.size, terms.limit_price) == wished(order):
        return order
    return replace(order, replacement=terms)


def wished(order: Order) -> tuple[Decimal, Decimal | None]:
    """Return the size and price that an order has or is to get."""
    if order.replacement is not None:
        return order.replacement.size, order.replacement.limit_price
    return order.size, order.limit_price


def succeed(order: Order, consumed: Decimal, now: datetime) -> tuple[Order, Leg | None]:
    """Return an order whose leg that was to be replaced has ended, and the leg that follows it, if any does.

    `consumed` is what the venue says the old leg traded, which may be more than what was counted of it so far. A leg
    that ended for another reason than its cancel, such as the venue's refusal, is followed by none.
    """
    terms = order.replacement
    assert terms is not None, "there is something to replace"
    old = next(leg for leg in order.legs if leg.leg_id == terms.leg_id)
    assert old.is_final, "two are never live"
    order = replace(order, replacement=None)
    if old.refusal is not None or old.state not in (LegState.CANCELED, LegState.FILLED):
        return order, None
    taken = sum((leg.filled for leg in order.legs), ZERO) + max(ZERO, consumed - old.filled)
    order = replace(order, size=terms.size, limit_price=terms.limit_price)
    rest = terms.size - taken
    if rest <= ZERO:
        return order, None
    fresh = Leg(
        leg_id=terms.new_leg_id,
        number=len(order.legs) + 1,
        venue=old.venue,
        account_id=old.account_id,
        market=old.market,
        venue_market_id=old.venue_market_id,
        side=old.side,
        size=rest,
        limit_price=terms.limit_price,
        type=old.type,
        time_in_force=old.time_in_force,
        reduce_only=old.reduce_only,
        client_id=venue_client_id(old.venue, terms.new_leg_id),
        expire_time=old.expire_time,
        create_time=now,
        update_time=now,
    )
    return replace(order, legs=(*order.legs, fresh)), fresh


def was_replaced_by_none(order: Order) -> bool:
    """Whether an order ended since its new terms were refused, when its old ones had been taken down for them."""
    entries = [leg for leg in order.legs if leg.role is Role.ENTRY]
    if order.cancel_time is not None or len(entries) < 2:
        return False
    old, last = entries[-2:]
    refused = last.state in (LegState.DENIED, LegState.REJECTED, LegState.FAILED)
    return refused and old.cancel_wanted and old.account_id == last.account_id


def _forbids(order: Order, why: str) -> DomainError:
    return DomainError(
        Reason.STATE_FORBIDS,
        f"The order cannot be replaced: {why}.",
        metadata={"order_id": str(order.order_id), "state": order.state.value},
    )
