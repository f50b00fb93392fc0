"""What an order that was not routed is expected to cost: the books at its arrival stand in for a quote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from services.execution.model.leg import Leg
from services.execution.model.order import Order
from services.execution.model.quoted import Quoted, QuotedLeg, Rates, carried, enough
from services.execution.ports.looking import Books, Standings


def with_quoted(order: Order, books: Books, standings: Standings, now: datetime) -> Order:
    """Return an order that is about to be kept with what it is expected to cost."""
    legs = [leg for leg in order.legs if leg.role.trades_the_order]
    if not legs and order.quoted is None:
        return order
    quoted = carried(order.quoted, legs) if order.quoted is not None else _by_books(order, legs, books, standings)
    accept_us = (now - order.create_time) // timedelta(microseconds=1)
    return replace(order, quoted=replace(quoted, accept_us=max(0, accept_us)))


def _by_books(order: Order, legs: Sequence[Leg], books: Books, standings: Standings) -> Quoted:
    """Return what is expected by the books; an order with a trigger arrives when and where that is reached."""
    known = books.mid(order.market) if order.trigger_price is None else order.trigger_price
    mid = known if known is not None else legs[0].limit_price
    return Quoted(
        quote_id=None,
        arrival_mid_price=mid,
        size=sum((leg.size for leg in legs), Decimal(0)),
        legs=tuple(_own(leg, order, mid, books, standings) for leg in legs),
    )


def _own(leg: Leg, order: Order, mid: Decimal, books: Books, standings: Standings) -> QuotedLeg:
    """Return what is expected of a leg, which may be in another market than its order."""
    if leg.market == order.market:
        return _leg(leg, mid, books, standings)
    own = books.mid(leg.market) or leg.limit_price
    return replace(_leg(leg, own, books, standings), mid=own)


def _leg(leg: Leg, mid: Decimal, books: Books, standings: Standings) -> QuotedLeg:
    if leg.trigger_price is not None:
        return _triggered(leg, leg.trigger_price, books, standings)
    levels = books.now(leg.market, leg.venue, leg.side)
    return QuotedLeg(
        venue=leg.venue,
        size=leg.size,
        rates=rates_of(leg.account_id, leg.market, leg.venue, books, standings),
        levels=None if levels is None else enough(levels, leg.size),
        limit=leg.limit_price,
        rest_at=leg.limit_price if levels is not None or leg.may_rest else mid,
        rests=leg.may_rest,
        leg_id=leg.leg_id,
    )


def _triggered(leg: Leg, trigger_price: Decimal, books: Books, standings: Standings) -> QuotedLeg:
    """Return what is expected of a leg with a trigger: its limit as a maker, or its trigger price as a taker."""
    rests = not leg.type.is_market
    return QuotedLeg(
        venue=leg.venue,
        size=leg.size,
        rates=rates_of(leg.account_id, leg.market, leg.venue, books, standings),
        levels=None,
        rest_at=leg.limit_price if rests else trigger_price,
        rests=rests,
        leg_id=leg.leg_id,
    )


def rates_of(account_id: UUID, market: str, venue: str, books: Books, standings: Standings) -> Rates:
    """Return what a venue charges an account; what it charges the public where the account's tier is not known yet."""
    fees, listing = standings.fees(account_id), books.listing(market, venue)
    if fees is not None:
        return Rates(taker=fees.taker, maker=fees.maker)
    return listing.rates if listing is not None else Rates()
