"""Hyperliquid's words for no, as data: what each means, what to change, and what would pass. Pure.

Texts are matched by how they begin: engine-level ones end with ` asset=N`, and numbers within vary. A text that is not
in the table is no refusal by this house's rules: what it means for the order is unknown, unless it stands in an order's
own place in an answer. Source: the venue's page of errors; captured answers of 2023 to 2026.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from services.domain.market import HYPERLIQUID
from services.domain.refusal import Refusal, RefusalReason
from services.venues import teaching
from services.venues.account import OrderStatus
from services.venues.teaching import Scene, Teach
from services.venues.trading import NonceFate

R = RefusalReason
_BAND: Final = teaching.within_band(Decimal("0.06"), Decimal("1.94"))
"""The venue takes prices within 95 % of its reference; a hundredth is left for a reference that is not our mark."""
_NEAR: Final = teaching.within_band(Decimal("0.99"), Decimal("1.01"))


@dataclass(frozen=True, slots=True)
class Text:
    """One of the venue's texts."""

    pattern: re.Pattern[str]
    reason: RefusalReason
    message: str
    advice: str
    teach: Teach = teaching.nothing
    nonce: NonceFate = NonceFate.USED


def _t(
    start: str,
    reason: RefusalReason,
    message: str,
    advice: str = "",
    teach: Teach = teaching.nothing,
    nonce: NonceFate = NonceFate.USED,
) -> Text:
    return Text(re.compile(start), reason, message, advice, teach, nonce)


TABLE: Final[tuple[Text, ...]] = (
    _t("Order must have minimum value of", R.NOTIONAL_TOO_SMALL, "The order is worth less than 10 USD.",
       "Make it larger:", teaching.enough_notional),
    _t("Insufficient margin to place order", R.INSUFFICIENT_MARGIN,
       "The account's free margin does not carry the order.",
       "Make it smaller, or add collateral:", teaching.affordable_size),
    _t("Order could not immediately match", R.IMMEDIATE_NOT_FILLED, "Nothing rests within the order's limit.",
       "Move the limit to the other side of the book:", teaching.takes),
    _t("Post only order would have immediately matched", R.POST_ONLY_CROSSED, "The order would have traded at once.",
       "Move the limit out of the other side of the book:", teaching.makes),
    _t("Reduce only order would increase position", R.REDUCE_ONLY, "There is no position on the other side to reduce.",
       "Send it without reduce_only, or for the other side.", teaching.not_reduce_only),
    _t("Price must be divisible by tick size", R.PRICE_OFF_TICK, "The price is not on the venue's grid.",
       "Take the nearest price that is:", teaching.legal_price),
    _t(r"Order has invalid price\.", R.PRICE_OFF_TICK,
       "The price has more than 5 significant figures or more decimals than the market.",
       "Take the nearest price that has not:", teaching.legal_price),
    _t(r"Order has invalid size\.", R.SIZE_OFF_LOT, "The size is no multiple of the market's lot.",
       "Take the nearest size that is:", teaching.legal_size),
    _t(r"Order has zero size\.", R.SIZE_TOO_SMALL, "The size is zero.", "Take the smallest:", teaching.legal_size),
    _t(r"Order price cannot be more than \d+% away", R.PRICE_OUT_OF_BAND,
       "The price is too far from the reference price.",
       "Take a nearer one:", _BAND),
    _t("(Order p|P)rice too far from oracle", R.PRICE_OUT_OF_BAND, "The price is too far from the oracle's.",
       "Take a nearer one:", _NEAR),
    _t("Order value too large", R.SIZE_TOO_LARGE, "The order is worth more than the venue takes in one.",
       "Make it smaller:", teaching.within_notional),
    _t(r"Invalid TP/SL price", R.TRIGGER_WRONG_SIDE, "The trigger is on the side of the mark price where it has fired.",
       "Move it to the other side:", teaching.on_the_right_side),
    _t("No liquidity available for market order", R.INSUFFICIENT_LIQUIDITY, "The book is empty on the other side.",
       "Wait, or place a limit order."),
    _t("Order would increase open interest", R.OPEN_INTEREST_CAP, "The market's open interest is at its cap.",
       "Only orders that reduce pass."),
    _t("Order rejected due to price more aggressive than oracle", R.OPEN_INTEREST_CAP,
       "At the open interest cap the price must not be more aggressive than the oracle's.", "", _NEAR),
    _t("Order would cause position to exceed margin tier", R.POSITION_LIMIT,
       "At this leverage the position would leave its margin tier.", "Lower the leverage, or make the order smaller."),
    _t("Order was never placed, already canceled, or filled", R.ALREADY_ENDED, "The order had ended or never was."),
    _t("Cannot modify canceled or filled order", R.ALREADY_ENDED, "The order had ended."),
    _t("Attempted to modify to invalid new order", R.NOT_SUPPORTED,
       "A changed order must be one that rests: post-only, or a limit that does not cross.",
       "Cancel it and place another."),
    _t("Orders are empty", R.NOT_SUPPORTED, "The action names no order."),
    _t("Signed action over weight limit", R.NOT_SUPPORTED, "The action names too many orders.", "Send them in parts."),
    _t("Unable to recover signer", R.SIGNATURE, "No key can have made the signature.", "", teaching.nothing,
       NonceFate.FREE),
    _t(r"(L1 error: )?User or API Wallet 0x[0-9a-fA-F]+ does not exist", R.KEY_UNUSABLE,
       "The venue does not know the key that signed: it was revoked, has expired, or signed something else.",
       "Set the key up again.", teaching.nothing, NonceFate.KEY_UNKNOWN),
    _t("Must deposit before performing actions", R.NO_ACCOUNT, "The account has never had funds.", "Deposit first.",
       teaching.nothing, NonceFate.KEY_UNKNOWN),
    _t("Invalid nonce: nonce too (low|high)", R.NONCE, "The nonce is outside of the venue's window.", "",
       teaching.nothing, NonceFate.REFUSED),
    _t(r"Nonce mismatch", R.NONCE, "The nonce inside the action is not the one around it.", "", teaching.nothing,
       NonceFate.FREE),
    _t("Action already expired", R.EXPIRED, "The action came after its expiry."),
    _t("Vault not registered", R.NO_ACCOUNT, "The account acted for is none of the signer's."),
    _t("Too many cumulative requests sent", R.VENUE_BUDGET, "The address has used up its requests.",
       "Trade to earn more, or wait ten seconds a request.", teaching.nothing, NonceFate.FREE),
    _t("Builder fee has not been approved", R.FEE_NOT_APPROVED, "The builder's fee is not approved at this rate.",
       "Approve it, or send the order without."),
    _t("Insufficient delegatable balance for priority", R.INSUFFICIENT_MARGIN, "The priority fee cannot be paid.",
       "Send the order without."),
    _t("Invalid leverage value", R.LEVERAGE, "The market does not have this leverage.", "Take the nearest:",
       teaching.leverage_within),
    _t("(Isolated|Cross) position does not have sufficient margin available to decrease leverage", R.LEVERAGE,
       "The position's margin does not carry a lower leverage.", "Add collateral."),
    _t("Cannot switch leverage type with open position", R.LEVERAGE, "The margin mode cannot change under a position.",
       "Close it first.", teaching.field_only("margin_mode")),
    _t("Cross margin is not allowed for this asset", R.LEVERAGE, "The market has isolated margin only.", "",
       teaching.isolated),
    _t("Cannot set scheduled cancel time until enough volume traded", R.NOT_SUPPORTED,
       "The venue gives its dead man's switch to accounts with a million USD of volume."),
    _t("(Scheduled cancel|Cannot set scheduled cancel)", R.NOT_SUPPORTED, "The venue does not take this schedule.",
       "At least 5 seconds ahead, and at most 10 times a day.", teaching.field_only("cancel_time")),
    _t("Only post-only orders allowed immediately after a? ?network upgrade", R.MARKET_HALTED,
       "After an upgrade the venue takes post-only orders alone.", "", teaching.rests_as_maker),
    _t("Too many open orders|Too many orders", R.TOO_MANY_OPEN_ORDERS,
       "The account has as many open orders as it may."),
    _t("Trading is halted|Market is halted|Asset is delisted|Invalid asset", R.MARKET_HALTED,
       "The venue does not trade the market."),
    _t("Mainnet and testnet require different signature", R.SIGNATURE, "It was signed for the other network.", "",
       teaching.nothing, NonceFate.FREE),
)  # fmt: skip

DUPLICATE_NONCE: Final = re.compile("Invalid nonce: duplicate nonce")
"""Not a refusal: these bytes, or others with their nonce, were taken in before."""
_BBO: Final = re.compile(r"bbo was ([0-9.]+)@([0-9.]+)")
_MAX: Final = re.compile(r"Max is \$([0-9]+(?:\.[0-9]+)?[0-9]?)")

STATUSES: Final[dict[str, tuple[OrderStatus, RefusalReason | None]]] = {
    "open": (OrderStatus.OPEN, None),
    "triggered": (OrderStatus.OPEN, None),
    "filled": (OrderStatus.FILLED, None),
    "canceled": (OrderStatus.CANCELED, None),
    "scheduledCancel": (OrderStatus.CANCELED, None),
    "rejected": (OrderStatus.REJECTED, R.UNSPECIFIED),
    "marginCanceled": (OrderStatus.CANCELED, R.INSUFFICIENT_MARGIN),
    "vaultWithdrawalCanceled": (OrderStatus.CANCELED, R.CANCELED_BY_VENUE),
    "openInterestCapCanceled": (OrderStatus.CANCELED, R.OPEN_INTEREST_CAP),
    "selfTradeCanceled": (OrderStatus.CANCELED, R.SELF_TRADE),
    "reduceOnlyCanceled": (OrderStatus.CANCELED, R.REDUCE_ONLY),
    "siblingFilledCanceled": (OrderStatus.CANCELED, R.CANCELED_BY_VENUE),
    "delistedCanceled": (OrderStatus.CANCELED, R.MARKET_HALTED),
    "liquidatedCanceled": (OrderStatus.CANCELED, R.CANCELED_BY_VENUE),
    "outcomeSettledCanceled": (OrderStatus.CANCELED, R.CANCELED_BY_VENUE),
    "internalCancel": (OrderStatus.CANCELED, R.CANCELED_BY_VENUE),
    "tickRejected": (OrderStatus.REJECTED, R.PRICE_OFF_TICK),
    "minTradeNtlRejected": (OrderStatus.REJECTED, R.NOTIONAL_TOO_SMALL),
    "perpMarginRejected": (OrderStatus.REJECTED, R.INSUFFICIENT_MARGIN),
    "reduceOnlyRejected": (OrderStatus.REJECTED, R.REDUCE_ONLY),
    "badAloPxRejected": (OrderStatus.REJECTED, R.POST_ONLY_CROSSED),
    "iocCancelRejected": (OrderStatus.REJECTED, R.IMMEDIATE_NOT_FILLED),
    "badTriggerPxRejected": (OrderStatus.REJECTED, R.TRIGGER_WRONG_SIDE),
    "marketOrderNoLiquidityRejected": (OrderStatus.REJECTED, R.INSUFFICIENT_LIQUIDITY),
    "positionIncreaseAtOpenInterestCapRejected": (OrderStatus.REJECTED, R.OPEN_INTEREST_CAP),
    "positionFlipAtOpenInterestCapRejected": (OrderStatus.REJECTED, R.OPEN_INTEREST_CAP),
    "tooAggressiveAtOpenInterestCapRejected": (OrderStatus.REJECTED, R.OPEN_INTEREST_CAP),
    "openInterestIncreaseRejected": (OrderStatus.REJECTED, R.OPEN_INTEREST_CAP),
    "insufficientSpotBalanceRejected": (OrderStatus.REJECTED, R.INSUFFICIENT_MARGIN),
    "oracleRejected": (OrderStatus.REJECTED, R.PRICE_OUT_OF_BAND),
    "perpMaxPositionRejected": (OrderStatus.REJECTED, R.POSITION_LIMIT),
    "tooManyOpenOrdersRejected": (OrderStatus.REJECTED, R.TOO_MANY_OPEN_ORDERS),
}


def status_of(word: str) -> tuple[OrderStatus, RefusalReason | None]:
    """Return what a status word means; an unknown one that ends in Canceled or Rejected is final."""
    found = STATUSES.get(word)
    if found is not None:
        return found
    if word.endswith("Rejected"):
        return OrderStatus.REJECTED, R.UNSPECIFIED
    if word.endswith(("Canceled", "Cancel")):
        return OrderStatus.CANCELED, R.CANCELED_BY_VENUE
    return OrderStatus.OPEN, None


def find(words: str) -> Text | None:
    """Return the entry of a text, or None."""
    return next((entry for entry in TABLE if entry.pattern.match(words)), None)


def explain(words: str, scene: Scene) -> Refusal:
    """Return the refusal of a text; one that is not in the table is refused for no stated reason."""
    bbo, most = _BBO.search(words), _MAX.search(words)
    if bbo is not None:
        scene = replace(scene, bid=Decimal(bbo[1].rstrip(".")), ask=Decimal(bbo[2].rstrip(".")))
    if most is not None:
        scene = replace(scene, max_notional=Decimal(most[1]))
    entry = find(words)
    if entry is None:
        return teaching.refusal(R.UNSPECIFIED, "The venue refused it.", venue=HYPERLIQUID, words=words)
    return teaching.refusal(
        entry.reason,
        entry.message,
        advice=entry.advice,
        teach=entry.teach,
        scene=scene,
        venue=HYPERLIQUID,
        words=words,
    )


def explain_status(word: str, scene: Scene) -> Refusal | None:
    """Return the refusal behind an order's final status, None where it has no reason."""
    _, reason = status_of(word)
    if reason is None:
        return None
    entry = next((text for text in TABLE if text.reason is reason), None)
    if entry is None:
        return teaching.refusal(reason, f"The order ended as {word}.", venue=HYPERLIQUID, code=word)
    return teaching.refusal(
        reason, entry.message, advice=entry.advice, teach=entry.teach, scene=scene, venue=HYPERLIQUID, code=word
    )
