"""From a venue's no to what would pass: the values a refusal teaches. Pure, and the same arithmetic for every venue.

A `Scene` is what was asked and what was known of the market and the account then. Each function returns the field at
fault, the value as given and the nearest value that would pass, empty where what is known does not tell. "Nearest" is
the least change that keeps the side and the kind of the order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from services.domain.decimals import Size, plain_text, rounding
from services.domain.market import Listing, round_price_down, round_price_up, round_size_down, tick_at
from services.domain.refusal import VENUE_MESSAGE_MAX, Origin, Refusal, RefusalReason
from services.venues.actions import OrderTerms, OrderType, SetLeverage, Side
from services.venues.rounding import price_above, price_below, size_for, size_within


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What was asked, and what is known around it. None and empty where nothing is."""

    terms: OrderTerms | None = None
    leverage: SetLeverage | None = None
    listing: Listing | None = None
    bid: Decimal | None = None
    ask: Decimal | None = None
    mark: Decimal | None = None
    max_size: Decimal | None = None
    """The largest size the account's margin carries on that side."""
    position: Decimal | None = None
    """The account's position, signed."""
    max_notional: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Lesson:
    """The field at fault, its value, and what would pass."""

    field: str = ""
    given: str = ""
    passing: str = ""


NOTHING: Final = Lesson()
Teach = Callable[[Scene], Lesson]


def _text(value: Decimal | None) -> str:
    return "" if value is None or value <= 0 else plain_text(value)


def legal_price(scene: Scene) -> Lesson:
    """The limit price on the grid."""
    terms, listing = scene.terms, scene.listing
    if terms is None or listing is None:
        return Lesson("limit_price")
    price = terms.limit_price
    tick = tick_at(listing, price)
    with rounding():
        nearest = (price / tick).to_integral_value(rounding=ROUND_HALF_EVEN) * tick
    return Lesson("limit_price", plain_text(price), _text(nearest))


def legal_size(scene: Scene) -> Lesson:
    """The size on the lots, at least the smallest, and worth at least the venue's minimum."""
    terms, listing = scene.terms, scene.listing
    if terms is None or listing is None:
        return Lesson("size")
    size = max(round_size_down(listing, terms.size), listing.lot, listing.min_size or listing.lot)
    if listing.min_notional is not None and not terms.reduce_only:
        size = max(size, size_for(listing, listing.min_notional, terms.limit_price))
    return Lesson("size", plain_text(terms.size), plain_text(size))


def enough_notional(scene: Scene) -> Lesson:
    """The smallest size that is worth the venue's minimum, by the lowest price it may be judged by."""
    terms, listing = scene.terms, scene.listing
    if terms is None or listing is None or listing.min_notional is None:
        return Lesson("size")
    prices: list[Decimal] = [terms.limit_price]
    if terms.type.is_market or terms.side is Side.BUY:
        prices += [price for price in (scene.bid, scene.ask, scene.mark) if price]
    size = size_for(listing, listing.min_notional, min(prices))
    return Lesson("size", plain_text(terms.size), plain_text(max(size, listing.min_size or size)))


def within_notional(scene: Scene) -> Lesson:
    """The largest size within the venue's largest notional."""
    terms, listing = scene.terms, scene.listing
    if terms is None or listing is None or scene.max_notional is None:
        return Lesson("size", plain_text(terms.size) if terms is not None else "")
    size = size_within(listing, scene.max_notional, max(terms.limit_price, scene.mark or terms.limit_price))
    return Lesson("size", plain_text(terms.size), _text(size))


def affordable_size(scene: Scene) -> Lesson:
    """The largest size the account's margin carries."""
    terms, listing = scene.terms, scene.listing
    if terms is None or listing is None:
        return Lesson("size")
    most = None if scene.max_size is None else round_size_down(listing, scene.max_size)
    if most is not None and most >= terms.size:
        most = Size(Decimal(0))  # the venue's figure carries it and the venue refused: no figure is better than a wrong
    return Lesson("size", plain_text(terms.size), _text(most))


def makes(scene: Scene) -> Lesson:
    """The best price that does not trade at once."""
    terms, listing = scene.terms, scene.listing
    if terms is None or listing is None:
        return Lesson("limit_price")
    against = scene.ask if terms.side is Side.BUY else scene.bid
    if against is None:
        return Lesson("limit_price", plain_text(terms.limit_price))
    price = price_below(listing, against) if terms.side is Side.BUY else price_above(listing, against)
    return Lesson("limit_price", plain_text(terms.limit_price), _text(price))


def takes(scene: Scene) -> Lesson:
    """The nearest price that trades at once."""
    terms, listing = scene.terms, scene.listing
    if terms is None or listing is None:
        return Lesson("limit_price")
    against = scene.ask if terms.side is Side.BUY else scene.bid
    if against is None:
        return Lesson("limit_price", plain_text(terms.limit_price))
    price = round_price_up(listing, against) if terms.side is Side.BUY else round_price_down(listing, against)
    return Lesson("limit_price", plain_text(terms.limit_price), _text(price))


def within_band(low: Decimal, high: Decimal) -> Teach:
    """Return the lesson of a price band, as fractions of the mark price."""

    def teach(scene: Scene) -> Lesson:
        terms, listing = scene.terms, scene.listing
        if terms is None or listing is None or scene.mark is None:
            return Lesson("limit_price", plain_text(terms.limit_price) if terms is not None else "")
        with rounding():
            least, most = round_price_up(listing, scene.mark * low), round_price_down(listing, scene.mark * high)
        nearest = min(max(terms.limit_price, least), most)
        return Lesson("limit_price", plain_text(terms.limit_price), _text(nearest))

    return teach


def on_the_right_side(scene: Scene) -> Lesson:
    """The nearest trigger that has not fired yet: a sell's stop is below the mark, its take-profit above."""
    terms, listing = scene.terms, scene.listing
    if terms is None or listing is None or terms.trigger_price is None:
        return Lesson("trigger_price")
    if scene.mark is None:
        return Lesson("trigger_price", plain_text(terms.trigger_price))
    below = terms.type.is_stop is (terms.side is Side.SELL)
    price = price_below(listing, scene.mark) if below else price_above(listing, scene.mark)
    return Lesson("trigger_price", plain_text(terms.trigger_price), _text(price))


def not_reduce_only(scene: Scene) -> Lesson:
    """There is nothing to reduce, or it is on the other side: only an order that may open passes."""
    return Lesson("reduce_only", "true", "false")


def rests_as_maker(scene: Scene) -> Lesson:
    """Only post-only orders pass now."""
    given = scene.terms.time_in_force.value if scene.terms is not None else ""
    return Lesson("time_in_force", given, "POST_ONLY")


def leverage_within(scene: Scene) -> Lesson:
    """The nearest leverage the market has."""
    if scene.leverage is None or scene.listing is None:
        return Lesson("leverage")
    nearest = min(max(scene.leverage.leverage, 1), scene.listing.max_leverage)
    return Lesson("leverage", str(scene.leverage.leverage), str(nearest))


def isolated(scene: Scene) -> Lesson:
    """Only isolated margin passes."""
    return Lesson("margin_mode", "CROSS", "ISOLATED")


def field_only(name: str) -> Teach:
    """Return a lesson that names the field and knows no value."""

    def teach(scene: Scene) -> Lesson:
        return Lesson(name, "", "")

    return teach


def nothing(scene: Scene) -> Lesson:
    """No field is at fault."""
    return NOTHING


def refusal(
    reason: RefusalReason,
    message: str,
    *,
    advice: str = "",
    teach: Teach = nothing,
    scene: Scene | None = None,
    venue: str,
    code: str = "",
    words: str = "",
    retry_time_ns: int = 0,
) -> Refusal:
    """Return a venue's refusal with its lesson."""
    lesson = teach(scene or Scene())
    if lesson.passing and advice:
        advice = f"{advice} {lesson.passing} would pass." if lesson.field not in ("", "reduce_only") else advice
    return Refusal(
        reason=reason,
        origin=Origin.VENUE,
        message=message,
        advice=advice,
        field=lesson.field,
        given_value=lesson.given,
        passing_value=lesson.passing,
        venue=venue,
        venue_code=code,
        venue_message=words[:VENUE_MESSAGE_MAX],
        retry_time_ns=retry_time_ns,
    )


def is_taking(terms: OrderTerms) -> bool:
    """Whether an order is meant to trade at once."""
    return terms.type is OrderType.MARKET or terms.time_in_force.value == "IMMEDIATE_OR_CANCEL"
