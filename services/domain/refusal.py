"""Why an order, a leg or a plan is refused: one value that teaches.

Not an error: the call succeeded, and its answer is that the world says no. `RefusalReason` repeats
`perpmesh.type.v1.RefusalReason` because the domain imports no generated code; a test keeps the two equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

VENUE_MESSAGE_MAX: Final = 1_000
"""How many characters of a venue's words are kept."""


class RefusalReason(StrEnum):
    """The machine-readable reason; the contract's enum without its prefix."""

    UNSPECIFIED = "UNSPECIFIED"
    PRICE_OFF_TICK = "PRICE_OFF_TICK"
    PRICE_OUT_OF_BAND = "PRICE_OUT_OF_BAND"
    TRIGGER_WRONG_SIDE = "TRIGGER_WRONG_SIDE"
    SIZE_OFF_LOT = "SIZE_OFF_LOT"
    SIZE_TOO_SMALL = "SIZE_TOO_SMALL"
    NOTIONAL_TOO_SMALL = "NOTIONAL_TOO_SMALL"
    SIZE_TOO_LARGE = "SIZE_TOO_LARGE"
    INSUFFICIENT_LIQUIDITY = "INSUFFICIENT_LIQUIDITY"
    SLIPPAGE_EXCEEDED = "SLIPPAGE_EXCEEDED"
    INSUFFICIENT_MARGIN = "INSUFFICIENT_MARGIN"
    POSITION_LIMIT = "POSITION_LIMIT"
    OPEN_INTEREST_CAP = "OPEN_INTEREST_CAP"
    REDUCE_ONLY = "REDUCE_ONLY"
    POST_ONLY_CROSSED = "POST_ONLY_CROSSED"
    IMMEDIATE_NOT_FILLED = "IMMEDIATE_NOT_FILLED"
    LEVERAGE = "LEVERAGE"
    NOT_SUPPORTED = "NOT_SUPPORTED"
    MARKET_NOT_LISTED = "MARKET_NOT_LISTED"
    MARKET_HALTED = "MARKET_HALTED"
    VENUE_STALE = "VENUE_STALE"
    VENUE_RECOVERING = "VENUE_RECOVERING"
    VENUE_UNAVAILABLE = "VENUE_UNAVAILABLE"
    VENUE_EXCLUDED = "VENUE_EXCLUDED"
    VENUE_BUDGET = "VENUE_BUDGET"
    TOO_MANY_OPEN_ORDERS = "TOO_MANY_OPEN_ORDERS"
    NO_ACCOUNT = "NO_ACCOUNT"
    KEY_UNUSABLE = "KEY_UNUSABLE"
    FEE_NOT_APPROVED = "FEE_NOT_APPROVED"
    TRADING_LIMIT = "TRADING_LIMIT"
    FROZEN = "FROZEN"
    HALTED = "HALTED"
    QUOTE_EXPIRED = "QUOTE_EXPIRED"
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
    EXPIRED = "EXPIRED"
    NEVER_LANDED = "NEVER_LANDED"
    SELF_TRADE = "SELF_TRADE"
    CANCELED_BY_VENUE = "CANCELED_BY_VENUE"
    ALREADY_ENDED = "ALREADY_ENDED"
    NONCE = "NONCE"
    SIGNATURE = "SIGNATURE"


class Origin(StrEnum):
    """Who said no; the contract's names."""

    MESH = "MESH"
    VENUE = "VENUE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One refusal. Empty texts mean that there is nothing to say; `retry_time_ns` is 0 where waiting does not help."""

    reason: RefusalReason
    origin: Origin
    message: str
    """The reason as one plain sentence."""
    advice: str = ""
    """What to change, as one sentence."""
    field: str = ""
    """The request's field at fault, such as `limit_price`."""
    given_value: str = ""
    passing_value: str = ""
    """The nearest value of the field that would pass, a decimal or a name."""
    venue: str = ""
    venue_code: str = ""
    venue_message: str = ""
    """The venue's own words, unchanged, cut to `VENUE_MESSAGE_MAX` characters."""
    retry_time_ns: int = 0
