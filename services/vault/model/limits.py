"""Whether an action is within an account's limits, judged from the action itself. Pure.

The notional of an order is its size at the worse of its limit and the mark price: a sell with a low limit is worth what
the market pays, a buy with a high one may cost its limit. A changed order counts whole, as if it were new: what filled
of the old one is not known here. What only reduces a position is held to no notional.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_DOWN, Decimal
from typing import Final

from services.domain.decimals import plain_text, rounding
from services.domain.refusal import Origin, Refusal, RefusalReason
from services.vault.model.account import Account, Limits
from services.venues.actions import Action, Modify, OrderTerms, Place, SetLeverage, Side

_BPS: Final = Decimal(10_000)
_EXACT: Final = Decimal(1).scaleb(-18)


@dataclass(frozen=True, slots=True)
class Charge:
    """What an action counts as."""

    notional: Decimal = Decimal(0)
    orders: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What was used of the limits before."""

    day: date
    day_notional: Decimal
    minute_orders: int


def judge(action: Action, account: Account, marks: Mapping[str, Decimal], used: Usage) -> Charge | Refusal:
    """Return what the action counts as, or why it is not signed. `marks` has the mark prices that are fresh."""
    limits = account.limits
    if isinstance(action, SetLeverage):
        return _leverage(action, limits) or Charge()
    if isinstance(action, Place):
        orders = action.orders
        if action.interface_fee_rate and action.interface_fee_rate > account.fee_rate:
            return _fee(action, account)
    elif isinstance(action, Modify):
        orders = (action.terms,)
    else:
        return Charge()
    total = Decimal(0)
    for index, terms in enumerate(orders):
        field = f"action.place.orders[{index}]" if isinstance(action, Place) else "action.modify.terms"
        found = _order(terms, limits, marks.get(terms.market), field)
        if isinstance(found, Refusal):
            return found
        total += found
    if limits.max_day_notional is not None and total and used.day_notional + total > limits.max_day_notional:
        left = max(Decimal(0), limits.max_day_notional - used.day_notional)
        return _limit(
            f"The orders of this day (UTC) would come to {_usd(used.day_notional + total)}; the account's limit is "
            f"{_usd(limits.max_day_notional)}.",
            f"{_usd(left)} is left until midnight UTC; raise max_day_notional, or wait.",
            field="limits.max_day_notional", given=plain_text(total), passing=plain_text(left),
        )  # fmt: skip
    most = limits.max_orders_per_minute
    if most and used.minute_orders + len(orders) > most:
        return _limit(
            f"{used.minute_orders + len(orders)} orders within a minute; the account's limit is {most}.",
            "Wait, or raise max_orders_per_minute.",
            field="limits.max_orders_per_minute", given=str(used.minute_orders + len(orders)), passing=str(most),
        )  # fmt: skip
    return Charge(total, len(orders))


@dataclass(frozen=True, slots=True)
class Exposure:
    """What an account has at its venue."""

    positions: Mapping[str, Decimal]
    """Notional by market in USD, negative where it is short."""
    equity: Decimal
    """What the account is worth, in USD."""


def judge_exposure(
    opening: Sequence[OrderTerms],
    limits: Limits,
    exposure: Exposure,
    since: Mapping[str, Decimal],
    day_equity: Decimal,
    marks: Mapping[str, Decimal],
) -> Refusal | None:
    """Say why orders that open are beyond the limits on position and loss.

    `since` is what was signed since the exposure was seen, as if it had filled; `day_equity` what the account was worth
    when its day began.
    """
    loss = day_equity - exposure.equity
    if limits.max_day_loss is not None and loss > limits.max_day_loss:
        return _limit(
            f"The account is {_usd(loss)} below the beginning of its day (UTC); its limit is "
            f"{_usd(limits.max_day_loss)}, beyond which it takes reduce-only orders alone.",
            "Reduce, wait for the next day, or raise max_day_loss.",
            field="limits.max_day_loss", given=plain_text(loss), passing=plain_text(limits.max_day_loss),
        )  # fmt: skip
    if limits.max_position_notional is None:
        return None
    added: dict[str, Decimal] = {}
    for terms in opening:
        worth = notional_of(terms, marks.get(terms.market)) * terms.side.sign
        before = exposure.positions.get(terms.market, Decimal(0)) + since.get(terms.market, Decimal(0))
        before += added.get(terms.market, Decimal(0))
        after = before + worth
        added[terms.market] = added.get(terms.market, Decimal(0)) + worth
        grows = abs(after) > abs(before) or after * before < 0
        if grows and abs(after) > limits.max_position_notional:
            left = max(Decimal(0), limits.max_position_notional - before * terms.side.sign)
            return _limit(
                f"The position in {terms.market} would be worth {_usd(abs(after))}; the account's limit is "
                f"{_usd(limits.max_position_notional)}.",
                f"{_usd(left)} more would pass; make it smaller, or raise max_position_notional.",
                field="limits.max_position_notional", given=plain_text(abs(after)),
                passing=plain_text(limits.max_position_notional),
            )  # fmt: skip
    return None


def notional_of(terms: OrderTerms, mark: Decimal | None) -> Decimal:
    """Return what an order is worth at most as seen from here, in USD, rounded up at the 18th decimal."""
    price = terms.limit_price if mark is None else max(terms.limit_price, mark)
    with rounding():
        return (terms.size * price).quantize(_EXACT)


def _order(terms: OrderTerms, limits: Limits, mark: Decimal | None, field: str) -> Decimal | Refusal:
    if limits.markets and terms.market not in limits.markets:
        return _limit(
            f"{terms.market} is not among the markets that the account allows.",
            "Add it to the account's markets.",
            field=f"{field}.market", given=terms.market, passing=limits.markets[0],
        )  # fmt: skip
    if terms.reduce_only:
        return Decimal(0)
    if limits.reduce_only:
        return _limit(
            "The account takes reduce-only orders alone.",
            "Set reduce_only on the order, or lift it from the account's limits.",
            field=f"{field}.reduce_only", given="false", passing="true",
        )  # fmt: skip
    if mark is None:
        return Refusal(
            reason=RefusalReason.VENUE_STALE,
            origin=Origin.MESH,
            message=f"The mark price of {terms.market} is not known now, so the order's size in USD cannot be judged.",
            advice="Try again in a moment; reduce-only orders and cancellations need no mark price.",
            field=f"{field}.market",
            given_value=terms.market,
        )
    banded = _band(terms, limits, mark, field)
    if banded is not None:
        return banded
    worth = notional_of(terms, mark)
    if limits.max_order_notional is not None and worth > limits.max_order_notional:
        with rounding():
            size = (limits.max_order_notional / max(terms.limit_price, mark)).quantize(
                Decimal(1).scaleb(-8), rounding=ROUND_DOWN
            )
        return _limit(
            f"The order is worth {_usd(worth)}; the account's limit is {_usd(limits.max_order_notional)} an order.",
            "Make it smaller, or raise max_order_notional.",
            field=f"{field}.size", given=plain_text(terms.size), passing=plain_text(size),
        )  # fmt: skip
    return worth


def _band(terms: OrderTerms, limits: Limits, mark: Decimal, field: str) -> Refusal | None:
    reference = terms.trigger_price if terms.trigger_price is not None else mark
    with rounding():
        share = Decimal(limits.band_bps) / _BPS
        edge = reference * (1 + share if terms.side is Side.BUY else 1 - share)
        shown = plain_text(edge.quantize(Decimal(1).scaleb(-8)))
    beyond = terms.limit_price > edge if terms.side is Side.BUY else terms.limit_price < edge
    if not beyond:
        return None
    return Refusal(
        reason=RefusalReason.PRICE_OUT_OF_BAND,
        origin=Origin.MESH,
        message=f"The price {plain_text(terms.limit_price)} is more than {limits.band_bps} basis points beyond "
        f"{plain_text(reference)}, the {'trigger' if terms.trigger_price is not None else 'mark'} price.",
        advice="Move the price nearer, or widen price_band_bps of the account.",
        field=f"{field}.limit_price",
        given_value=plain_text(terms.limit_price),
        passing_value=shown,
    )


def _leverage(action: SetLeverage, limits: Limits) -> Refusal | None:
    if limits.markets and action.market not in limits.markets:
        return _limit(
            f"{action.market} is not among the markets that the account allows.",
            "Add it to the account's markets.",
            field="action.leverage.market", given=action.market, passing=limits.markets[0],
        )  # fmt: skip
    if limits.max_leverage and action.leverage > limits.max_leverage:
        return _limit(
            f"A leverage of {action.leverage}; the account's limit is {limits.max_leverage}.",
            "Lower it, or raise max_leverage.",
            field="action.leverage.leverage", given=str(action.leverage), passing=str(limits.max_leverage),
        )  # fmt: skip
    return None


def _fee(action: Place, account: Account) -> Refusal:
    assert action.interface_fee_rate is not None
    return Refusal(
        reason=RefusalReason.FEE_NOT_APPROVED,
        origin=Origin.MESH,
        message=f"A fee of {plain_text(action.interface_fee_rate)} of the notional; the wallet approved "
        f"{plain_text(account.fee_rate)}.",
        advice="Lower the fee, or approve it with a set-up of the purpose APPROVE_FEE.",
        field="action.place.interface_fee_rate",
        given_value=plain_text(action.interface_fee_rate),
        passing_value=plain_text(account.fee_rate),
    )


def _limit(message: str, advice: str, *, field: str, given: str, passing: str) -> Refusal:
    return Refusal(
        reason=RefusalReason.TRADING_LIMIT,
        origin=Origin.MESH,
        message=message,
        advice=advice,
        field=field,
        given_value=given,
        passing_value=passing,
    )


def _usd(amount: Decimal) -> str:
    return f"{plain_text(amount)} USD"
