"""What a caller wishes, and how it becomes the inputs of a plan: which venues count, with which fees and limits."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Final, TypeAlias

from services.domain.errors import DomainError, Reason, field_invalid
from services.domain.feed import FeedState
from services.domain.refusal import Origin, Refusal, RefusalReason
from services.routing.model.books import MarketBooks, Status, VenueBook, VenueContext, VenueRules
from services.routing.model.caps import (
    NO_LIMITS,
    SLIPPAGE_BPS_DEFAULT,
    AccountLimits,
    Held,
    Offer,
    carried,
    owner_caps,
    venue_caps,
    worst_price,
)
from services.routing.model.inputs import ZERO, Cap, CapKind, Inputs, Side, VenueInputs
from services.routing.model.wording import name

LATENCY_S: Final[Mapping[str, Decimal]] = {"hyperliquid": Decimal("0.2"), "lighter": Decimal("0.3")}
"""How long a venue takes to act on an order: a block of Hyperliquid's; Lighter's delay of the standard tier (its
account types page). An account's own tier takes its place."""
FEE_DECIMALS: Final[Mapping[str, int]] = {"hyperliquid": 6, "lighter": 6}
"""USDC has six at both."""
PRIORITY_SELLERS: Final = frozenset({"hyperliquid"})
Limits: TypeAlias = Mapping[str, tuple[str, AccountLimits]]
"""By venue, the account that trades there and what it may carry of an order."""
MINIMUM_WAIVED: Final = frozenset({"hyperliquid"})
"""Venues that waive the smallest notional for reduce-only orders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked for."""

    market: str
    side: Side
    size: Decimal
    size_in_usd: bool = False
    limit_price: Decimal | None = None
    max_slippage_bps: int | None = None
    venues: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    reduce_only: bool = False
    holding_s: Decimal = ZERO
    priority_fee_bps: int = 0
    charge_latency: bool = False
    resting: bool = False
    """Whether what does not trade at once waits at the limit price, which is then stated."""
    post_only: bool = False
    split_resting: bool = False

    @property
    def shape(self) -> Hashable:
        """All of the wish but its size and what needs no plan."""
        return (
            self.side, self.limit_price, self.max_slippage_bps, self.venues, self.excluded, self.reduce_only,
            self.holding_s, self.priority_fee_bps,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueStanding:
    """One account of the caller at one venue, as far as a plan counts with it."""

    account_id: str
    taker_fee: Decimal | None = None
    maker_fee: Decimal | None = None
    interface_fee: Decimal = ZERO
    position_size: Decimal = ZERO
    """Signed."""
    free_margin: Decimal | None = None
    """None where it is not known, which is no limit."""
    leverage: int = 0
    """What is set; zero where it is not known, which is as the most that the market allows."""
    fee_tier: str = ""
    limits: AccountLimits = NO_LIMITS


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Whose fees, positions and margin count: the public base tier where there is no account."""

    by_venue: Mapping[str, VenueStanding] = field(default_factory=dict)
    is_public: bool = True

    def limited(self, limits: Limits) -> Standing:
        """Return the same with what accounts may carry, by venue; one of which nothing else is known is public else."""
        found = dict(self.by_venue)
        for venue, (account_id, one) in limits.items():
            found[venue] = replace(found.get(venue) or VenueStanding(account_id=account_id), limits=one)
        return replace(self, by_venue=found)


def assemble(wish: Wish, books: MarketBooks, standing: Standing, now_ns: int) -> tuple[Inputs, tuple[Refusal, ...]]:
    """Return the inputs, and the venues that were left out with the reason.

    Raises NO_LIVE_VENUE where no venue that is allowed has a live book: never an old price. STATE_FORBIDS where the
    caller has no account at any, FIELD_INVALID where the caller allows none.
    """
    _known(wish, books)
    left_out: list[Refusal] = []
    chosen: list[tuple[VenueRules, VenueBook, VenueContext]] = []
    for rules, book, context in zip(books.rules, books.books, books.contexts, strict=True):
        refusal = _leave_out(wish, standing, rules, book)
        if refusal is None:
            chosen.append((rules, book, context))
        else:
            left_out.append(refusal)
    if not chosen:
        _no_live_venue(wish, left_out)
    bid = max((book.bids[0][0] for _, book, _ in chosen if book.bids), default=None)
    ask = min((book.asks[0][0] for _, book, _ in chosen if book.asks), default=None)
    first, second = (bid if bid is not None else ask), (ask if ask is not None else bid)
    if first is None or second is None:
        raise DomainError(Reason.NO_LIVE_VENUE, f"The books of {wish.market} are empty.", retry_after_s=1.0)
    mid = (Decimal(first + second) / 2).scaleb(-books.price_decimals)
    venues = tuple(_venue(wish, books, standing, now_ns, mid, *one) for one in chosen)
    charged = wish.charge_latency and not wish.resting  # what waits has no moment to be late for
    return Inputs(
        market=wish.market,
        side=wish.side,
        size=wish.size,
        size_in_usd=wish.size_in_usd,
        limit_price=wish.limit_price,
        max_slippage_bps=SLIPPAGE_BPS_DEFAULT if wish.max_slippage_bps is None else wish.max_slippage_bps,
        reduce_only=wish.reduce_only,
        resting=wish.resting,
        post_only=wish.post_only,
        split_resting=wish.split_resting,
        holding_s=wish.holding_s,
        arrival_mid_price=mid,
        volatility=books.volatility if charged else ZERO,
        risk_factor=Decimal(1) if charged else ZERO,
        time_ns=now_ns,
        price_decimals=books.price_decimals,
        size_decimals=books.size_decimals,
        venues=venues,
    ), tuple(left_out)


def _known(wish: Wish, books: MarketBooks) -> None:
    """Refuse a venue that does not list the market: a misspelled one would leave out what was meant."""
    names = [rules.venue for rules in books.rules]
    for path, venues in (("venues", wish.venues), ("excluded_venues", wish.excluded)):
        for at, venue in enumerate(venues):
            if venue not in names:
                raise DomainError(
                    Reason.VENUE_UNKNOWN,
                    f"{path}[{at}]: {venue!r:.40} does not list {wish.market}; {' and '.join(names)} do.",
                    metadata={"field": f"{path}[{at}]", "venue": venue, "venues": ", ".join(names)},
                )


def _leave_out(wish: Wish, standing: Standing, rules: VenueRules, book: VenueBook) -> Refusal | None:
    at, venue = name(rules.venue), rules.venue
    if (wish.venues and venue not in wish.venues) or venue in wish.excluded:
        return _no(RefusalReason.VENUE_EXCLUDED, f"{at} is not among the venues allowed.", venue)
    if rules.status is not Status.ACTIVE:
        return _no(RefusalReason.MARKET_HALTED, f"{at} does not trade {wish.market} now.", venue)
    if book.state is not FeedState.LIVE:
        stale = book.state is FeedState.STALE
        reason = RefusalReason.VENUE_STALE if stale else RefusalReason.VENUE_RECOVERING
        said = f": {book.reason}" if book.reason else ""
        return _no(reason, f"The book of {at} is {book.state.value}{said}.", venue)
    if not standing.is_public and venue not in standing.by_venue and venue not in wish.venues:
        return _no(RefusalReason.NO_ACCOUNT, f"There is no account at {at} to trade from.", venue)
    return None


def _no_live_venue(wish: Wish, left_out: list[Refusal]) -> None:
    why = {one.reason for one in left_out}
    if why == {RefusalReason.VENUE_EXCLUDED}:
        names = ", ".join(one.venue for one in left_out)
        raise field_invalid("excluded_venues", f"they are all that list {wish.market} ({names}): leave one in")
    if why and why <= {RefusalReason.VENUE_EXCLUDED, RefusalReason.NO_ACCOUNT}:
        raise DomainError(
            Reason.STATE_FORBIDS,
            f"No account of yours can trade {wish.market}: add one (CreateAccount), or ask without a login.",
            metadata={"market": wish.market, **{one.venue: one.reason.value for one in left_out}},
        )
    said = " ".join(one.message for one in left_out) or "No venue lists it."
    raise DomainError(
        Reason.NO_LIVE_VENUE,
        f"No venue can be planned with for {wish.market}. {said}",
        metadata={"market": wish.market, **{one.venue: one.reason.value for one in left_out}},
        retry_after_s=1.0,
    )


def _venue(
    wish: Wish,
    books: MarketBooks,
    standing: Standing,
    now_ns: int,
    mid: Decimal,
    rules: VenueRules,
    book: VenueBook,
    context: VenueContext,
) -> VenueInputs:
    own = standing.by_venue.get(rules.venue)
    sells_priority = rules.venue in PRIORITY_SELLERS
    priority = Decimal(wish.priority_fee_bps).scaleb(-4) if sells_priority else ZERO
    taker = own.taker_fee if own is not None and own.taker_fee is not None else rules.taker_fee
    maker = own.maker_fee if own is not None and own.maker_fee is not None else rules.maker_fee
    leverage = own.leverage if own is not None and own.leverage else rules.max_leverage
    waived = wish.reduce_only and rules.venue in MINIMUM_WAIVED
    position = own.position_size if own is not None else ZERO
    held = Held(
        side=wish.side,
        position_size=position,
        worst_price=worst_price(wish.side, wish.limit_price, mid, wish.max_slippage_bps),
        mark_price=context.mark_price or mid,
    )
    return VenueInputs(
        venue=rules.venue,
        book_version=book.version,
        levels=book.asks if wish.side is Side.BUY else book.bids,
        own_levels=() if not wish.resting else book.bids if wish.side is Side.BUY else book.asks,
        lot=int(rules.lot.scaleb(books.size_decimals)),
        tick=rules.tick,
        price_significant_figures=rules.price_significant_figures,
        price_decimals=rules.price_decimals,
        min_size=rules.min_size,
        min_notional=ZERO if waived else rules.min_notional,
        caps=_caps(wish, rules, own, held, leverage, _prices(wish, book, books, mid)),
        taker_fee_rate=taker,
        maker_fee_rate=maker,
        interface_fee_rate=own.interface_fee if own is not None else ZERO,
        priority_fee_rate=priority,
        funding_rate_hourly=context.funding_rate_hourly,
        mark_price=context.mark_price,
        latency_s=LATENCY_S.get(rules.venue, ZERO),
        book_age_s=age_s(book.confirmed_ns, now_ns),
        fee_decimals=FEE_DECIMALS.get(rules.venue, 6),
        closing_cost_rate=_closing_rate(book, taker, mid, books.price_decimals) if wish.holding_s else ZERO,
        fee_table_version=f"tier:{own.fee_tier}" if own is not None and own.fee_tier else "public",
        position_size=position,
        account_id=own.account_id if own is not None else "",
        max_leverage=leverage,
        sells_priority=sells_priority,
    )


def age_s(confirmed_ns: int, now_ns: int) -> Decimal:
    """Return how long ago a book was confirmed, in seconds; zero before the first time."""
    return Decimal(max(0, now_ns - confirmed_ns) if confirmed_ns else 0).scaleb(-9)


def _caps(
    wish: Wish, rules: VenueRules, own: VenueStanding | None, held: Held, leverage: int, prices: Iterable[Offer]
) -> tuple[Cap, ...]:
    """Return the limits of the venue and of the caller's account: its margin, or its position where that is reduced."""
    set_to = own.leverage if own is not None else 0
    caps = venue_caps(rules, held, 0 if wish.reduce_only else set_to, resting=wish.resting)
    if own is None:
        return caps
    if wish.reduce_only:
        return (*caps, Cap(CapKind.REDUCE_ONLY, held.closes))
    if own.free_margin is not None and leverage:
        room = max(own.free_margin, ZERO) * leverage
        caps += (Cap(CapKind.MARGIN, carried(room, 2 * held.closes, prices)),)
    return caps + owner_caps(own.limits, held)


def _prices(wish: Wish, book: VenueBook, books: MarketBooks, mid: Decimal) -> Iterable[Offer]:
    """Give what a trade opens at: a buy at its asks, level by level, a sale at the mid price, above every bid."""
    if wish.side is Side.SELL:
        yield mid, None
        return
    for price, size in book.asks:
        yield Decimal(price).scaleb(-books.price_decimals), Decimal(size).scaleb(-books.size_decimals)


def _closing_rate(book: VenueBook, taker: Decimal, mid: Decimal, price_decimals: int) -> Decimal:
    """Return half the venue's spread and a taker's fee, as a fraction, cut after 12 decimals."""
    if not book.bids or not book.asks:
        return taker
    spread = Decimal(book.asks[0][0] - book.bids[0][0]).scaleb(-price_decimals)
    half = int(spread.scaleb(30)) // (2 * int(mid.scaleb(18)))
    return taker + Decimal(max(half, 0)).scaleb(-12)


def _no(reason: RefusalReason, message: str, venue: str) -> Refusal:
    return Refusal(reason=reason, origin=Origin.MESH, message=message, venue=venue)
