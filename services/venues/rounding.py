"""Putting an order's numbers on a venue's grid, never worse for its owner than asked. Pure.

A buy's limit goes down and a sell's up. A trigger moves the same way: a sell's up, a buy's down, so that a stop fires
no later and a take-profit no earlier than asked. A size goes down to the lot.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_UP, Decimal

from services.domain.decimals import Price, Size, rounding
from services.domain.market import Listing, round_price_down, round_price_up, round_size_down
from services.venues.actions import ActionError, OrderTerms, Side


def round_terms(listing: Listing, terms: OrderTerms) -> OrderTerms:
    """Return `terms` on the grid. Raises `ActionError` where a price or a needed size rounds to nothing."""
    limit = round_limit(listing, terms.limit_price, terms.side)
    trigger = terms.trigger_price
    if trigger is not None:
        trigger = round_limit(listing, trigger, terms.side)
        if trigger <= 0:
            raise ActionError("trigger_price", f"{terms.trigger_price} is below the smallest price of {listing.market}")
    size = round_size_down(listing, terms.size)
    if limit <= 0:
        raise ActionError("limit_price", f"{terms.limit_price} is below the smallest price of {listing.market}")
    if size <= 0 and terms.size > 0:
        raise ActionError("size", f"{terms.size} is below the lot of {listing.market}; {listing.lot} would pass")
    return replace(terms, limit_price=limit, trigger_price=trigger, size=size, venue_market_id=listing.venue_market_id)


def round_limit(listing: Listing, price: Decimal, side: Side) -> Price:
    """Return the nearest legal price that is no worse for a `side` order: at or below for a buy, at or above a sell."""
    return round_price_down(listing, price) if side is Side.BUY else round_price_up(listing, price)


def price_below(listing: Listing, price: Decimal) -> Price:
    """Return the highest legal price strictly below `price`; zero where there is none."""
    at = round_price_down(listing, price)
    if at < price:
        return at
    step = Decimal(1).scaleb(-listing.price_decimals - 1)
    return round_price_down(listing, price - step)


def price_above(listing: Listing, price: Decimal) -> Price:
    """Return the lowest legal price strictly above `price`."""
    at = round_price_up(listing, price)
    if at > price:
        return at
    step = Decimal(1).scaleb(-listing.price_decimals - 1)
    return round_price_up(listing, price + step)


def size_for(listing: Listing, notional: Decimal, price: Decimal) -> Size:
    """Return the smallest legal size worth at least `notional` at `price`."""
    with rounding():
        lots = (notional / price / listing.lot).to_integral_value(rounding=ROUND_UP)
        size = lots * listing.lot
        if size * price < notional:
            size += listing.lot
        return Size(size)


def size_within(listing: Listing, notional: Decimal, price: Decimal) -> Size:
    """Return the largest legal size worth at most `notional` at `price`."""
    with rounding():
        return round_size_down(listing, notional / price)
