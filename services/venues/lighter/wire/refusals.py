"""Lighter's codes for no, as data: what each means, what to change and what would pass, and the nonce's fate. Pure.

A refusal of the API leaves the nonce free; the sequencer's later refusal has used it. Source: the venue's list of 239
codes and its page; captured answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from services.domain.market import LIGHTER
from services.domain.refusal import Refusal, RefusalReason
from services.venues import teaching
from services.venues.account import OrderStatus
from services.venues.teaching import Scene, Teach
from services.venues.trading import NonceFate

R = RefusalReason
_NEAR: Final = teaching.within_band(Decimal("0.98"), Decimal("1.02"))
"""How near the mark price a price is that the venue's guards pass; their thresholds are not published."""

CODES_MIN: Final = 20_000
CODES_MAX: Final = 69_999
TOO_MANY: Final = frozenset((23000, 23001, 23002, 23003, 30009, 30010))


@dataclass(frozen=True, slots=True)
class Code:
    """One of the venue's codes."""

    reason: RefusalReason
    message: str
    advice: str = ""
    teach: Teach = teaching.nothing
    nonce: NonceFate = NonceFate.FREE


TABLE: Final[dict[int, Code]] = {
    20001: Code(R.NOT_SUPPORTED, "A parameter is not what the venue takes."),
    20013: Code(R.KEY_UNUSABLE, "The auth token is not good, or no longer."),
    21100: Code(R.NO_ACCOUNT, "The venue knows no such account."),
    21104: Code(R.NONCE, "The nonce is not the one the venue expects next.", nonce=NonceFate.REFUSED),
    21105: Code(R.NONCE, "The nonces of a batch do not rise.", nonce=NonceFate.REFUSED),
    21108: Code(R.KEY_UNUSABLE, "The key is not registered.", "Set the key up again.", nonce=NonceFate.KEY_UNKNOWN),
    21109: Code(R.KEY_UNUSABLE, "The key is not registered.", "Set the key up again.", nonce=NonceFate.KEY_UNKNOWN),
    21111: Code(R.INSUFFICIENT_MARGIN, "The account is close to liquidation: only what lowers its risk passes.",
                "Add collateral, or reduce.", teaching.affordable_size),
    21112: Code(R.INSUFFICIENT_MARGIN, "The account is being liquidated.", "Add collateral."),
    21113: Code(R.LEVERAGE, "The market does not have this leverage.", "Take the nearest:", teaching.leverage_within),
    21120: Code(R.SIGNATURE, "The signature does not hold."),
    21121: Code(R.SIGNATURE, "A batch is of one account and one key."),
    21122: Code(R.HALTED, "The account's dead man's switch is due: nothing passes before it has fired."),
    21132: Code(R.LEVERAGE, "The margin mode cannot change under a position or an open order.",
                "Close the position and cancel the orders first.", teaching.field_only("margin_mode")),
    21133: Code(R.INSUFFICIENT_MARGIN, "It would raise the account's risk too much.", "Make it smaller:",
                teaching.affordable_size),
    21136: Code(R.KEY_UNUSABLE, "The key is not registered in the form the venue takes now.",
                nonce=NonceFate.KEY_UNKNOWN),
    21149: Code(R.FEE_NOT_APPROVED, "The integrator's fee is not approved at this rate.",
                "Approve it, or send the order without."),
    21301: Code(R.INSUFFICIENT_MARGIN, "The account's collateral does not carry it.", "Make it smaller:",
                teaching.affordable_size),
    21501: Code(R.NOT_SUPPORTED, "The venue cannot read the transaction."),
    21505: Code(R.NOT_SUPPORTED, "The venue takes no transaction of this type here."),
    21506: Code(R.VENUE_BUDGET, "Too many transactions of the account wait at the venue.", "Wait a moment."),
    21507: Code(R.INSUFFICIENT_MARGIN, "The account would be below its maintenance margin.", "Make it smaller:",
                teaching.affordable_size),
    21508: Code(R.INSUFFICIENT_MARGIN, "The account would be below its initial margin.", "Make it smaller:",
                teaching.affordable_size),
    21514: Code(R.NOT_SUPPORTED, "A batch has at most 50 transactions.", "Send them in parts."),
    21600: Code(R.ALREADY_ENDED, "The order is not open."),
    21602: Code(R.MARKET_NOT_LISTED, "The venue knows no such market."),
    21605: Code(R.MARKET_HALTED, "The venue does not trade the market."),
    21614: Code(R.NOT_SUPPORTED, "There is no position to change the margin of."),
    21700: Code(R.ALREADY_ENDED, "The venue knows no such order, or it has ended."),
    21701: Code(R.SIZE_TOO_SMALL, "The size is below the market's smallest, or no size.", "Make it larger:",
                teaching.enough_notional),
    21702: Code(R.PRICE_OFF_TICK, "The price is no price of the market.", "Take the nearest:", teaching.legal_price),
    21706: Code(R.NOTIONAL_TOO_SMALL, "The size or its worth is below the market's smallest.", "Make it larger:",
                teaching.enough_notional),
    21709: Code(R.ALREADY_ENDED, "The order is not open."),
    21711: Code(R.NOT_SUPPORTED, "The order's expiry is not one the venue takes: 5 minutes to 30 days.", "",
                teaching.field_only("order_expire_time")),
    21712: Code(R.HALTED, "A cancellation of all orders waits at the venue.", "Wait a moment."),
    21714: Code(R.NOT_SUPPORTED, "The switch fires from 5 minutes to 15 days ahead.", "",
                teaching.field_only("cancel_time")),
    21715: Code(R.ALREADY_ENDED, "The order is not open."),
    21717: Code(R.TOO_MANY_OPEN_ORDERS, "The account has as many open orders as it may."),
    21718: Code(R.TOO_MANY_OPEN_ORDERS, "The account has as many open orders as it may."),
    21719: Code(R.TOO_MANY_OPEN_ORDERS, "The account has as many waiting orders as it may."),
    21720: Code(R.TOO_MANY_OPEN_ORDERS, "The account has as many open orders in the market as it may."),
    21721: Code(R.TOO_MANY_OPEN_ORDERS, "The account has as many waiting orders in the market as it may."),
    21722: Code(R.TOO_MANY_OPEN_ORDERS, "The account has as many open orders as it may."),
    21727: Code(R.NOT_SUPPORTED, "The client order index is none: 1 to 2^48 - 1.", "",
                teaching.field_only("client_order_id")),
    21728: Code(R.NOT_SUPPORTED, "An open order has this client order index already.", "Take another.",
                teaching.field_only("client_order_id")),
    21729: Code(R.TRIGGER_WRONG_SIDE, "The trigger price is none that waits.", "Move it to the other side:",
                teaching.on_the_right_side),
    21732: Code(R.REDUCE_ONLY, "There is no position on the other side to reduce.",
                "Send it without reduce_only, or for the other side.", teaching.not_reduce_only),
    21733: Code(R.PRICE_OUT_OF_BAND, "The price looks like an accident.", "Take a nearer one:", _NEAR),
    21734: Code(R.PRICE_OUT_OF_BAND, "The limit is too far from the mark price.", "Take a nearer one:", _NEAR),
    21735: Code(R.PRICE_OUT_OF_BAND, "The limit is too far from the trigger.", "Take a nearer one.",
                teaching.field_only("limit_price")),
    21738: Code(R.REDUCE_ONLY, "There is no position on the other side to reduce.",
                "Send it without reduce_only, or for the other side.", teaching.not_reduce_only),
    21739: Code(R.INSUFFICIENT_MARGIN, "The account's free margin does not carry the order.", "Make it smaller:",
                teaching.affordable_size),
    21740: Code(R.REDUCE_ONLY, "There is no position on the other side to reduce.",
                "Send it without reduce_only, or for the other side.", teaching.not_reduce_only),
    21741: Code(R.NOT_SUPPORTED, "The orders cannot be grouped like this."),
    21742: Code(R.NOT_SUPPORTED, "The orders cannot be grouped like this."),
    23000: Code(R.VENUE_BUDGET, "The account or the address has used up its requests.", "Wait a moment."),
    23001: Code(R.VENUE_BUDGET, "Too many subscriptions."),
    23002: Code(R.VENUE_BUDGET, "Too many accounts are listened to."),
    23003: Code(R.VENUE_BUDGET, "Too many connections."),
}  # fmt: skip

STATUSES: Final[dict[str, tuple[OrderStatus, RefusalReason | None]]] = {
    "open": (OrderStatus.OPEN, None),
    "in-progress": (OrderStatus.OPEN, None),
    "pending": (OrderStatus.WAITING, None),
    "filled": (OrderStatus.FILLED, None),
    "canceled": (OrderStatus.CANCELED, None),
    "canceled-post-only": (OrderStatus.REJECTED, R.POST_ONLY_CROSSED),
    "canceled-reduce-only": (OrderStatus.CANCELED, R.REDUCE_ONLY),
    "canceled-position-not-allowed": (OrderStatus.CANCELED, R.POSITION_LIMIT),
    "canceled-margin-not-allowed": (OrderStatus.CANCELED, R.INSUFFICIENT_MARGIN),
    "canceled-too-much-slippage": (OrderStatus.CANCELED, R.SLIPPAGE_EXCEEDED),
    "canceled-not-enough-liquidity": (OrderStatus.CANCELED, R.INSUFFICIENT_LIQUIDITY),
    "canceled-self-trade": (OrderStatus.CANCELED, R.SELF_TRADE),
    "canceled-expired": (OrderStatus.EXPIRED, R.EXPIRED),
    "canceled-oco": (OrderStatus.CANCELED, R.CANCELED_BY_VENUE),
    "canceled-child": (OrderStatus.CANCELED, R.CANCELED_BY_VENUE),
    "canceled-liquidation": (OrderStatus.CANCELED, R.CANCELED_BY_VENUE),
    "canceled-invalid-balance": (OrderStatus.CANCELED, R.INSUFFICIENT_MARGIN),
}
_MESSAGES: Final = {
    R.POST_ONLY_CROSSED: ("The order would have traded at once.", "Move the limit:", teaching.makes),
    R.REDUCE_ONLY: ("There was no position on the other side to reduce.", "", teaching.not_reduce_only),
    R.INSUFFICIENT_MARGIN: (
        "The account's free margin did not carry it.",
        "Make it smaller:",
        teaching.affordable_size,
    ),
    R.SLIPPAGE_EXCEEDED: ("The average price would have been worse than the limit.", "Widen it:", teaching.takes),
    R.INSUFFICIENT_LIQUIDITY: ("Nothing rested within the order's limit.", "Move the limit:", teaching.takes),
}


def status_of(word: str) -> tuple[OrderStatus, RefusalReason | None]:
    """Return what a status word means; an unknown one that begins with canceled is final."""
    found = STATUSES.get(word)
    if found is not None:
        return found
    if word.startswith("canceled"):
        return OrderStatus.CANCELED, R.CANCELED_BY_VENUE
    return OrderStatus.OPEN, None


def is_code(code: object) -> bool:
    """Whether this is a code of the venue's own, so that it read the request and said no."""
    return isinstance(code, int) and CODES_MIN <= code <= CODES_MAX


def explain(code: int, words: str, scene: Scene) -> Refusal:
    """Return the refusal of a code; one that is not in the table is refused for no stated reason."""
    entry = TABLE.get(code) or Code(R.UNSPECIFIED, "The venue refused it.")
    return teaching.refusal(
        entry.reason,
        entry.message,
        advice=entry.advice,
        teach=entry.teach,
        scene=scene,
        venue=LIGHTER,
        code=str(code),
        words=words,
    )


def explain_status(word: str, scene: Scene) -> Refusal | None:
    """Return the refusal behind an order's final status, None where it has no reason."""
    _, reason = status_of(word)
    if reason is None:
        return None
    message, advice, teach = _MESSAGES.get(reason, (f"The order ended as {word}.", "", teaching.nothing))
    return teaching.refusal(reason, message, advice=advice, teach=teach, scene=scene, venue=LIGHTER, code=word)


def nonce_fate(code: int) -> NonceFate:
    """Return what the API's refusal did to the nonce."""
    entry = TABLE.get(code)
    return entry.nonce if entry is not None else NonceFate.FREE
