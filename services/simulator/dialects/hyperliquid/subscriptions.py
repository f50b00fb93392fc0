"""What a client may subscribe to, and the form in which the venue repeats it: with defaults filled in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from services.simulator.dialects.hyperliquid.accounts import is_address
from services.simulator.dialects.hyperliquid.info import valid_aggregation
from services.simulator.history import INTERVALS_MS

COINLESS = frozenset({"allDexsAssetCtxs", "fastAssetCtxs", "spotAssetCtxs", "outcomeMetaUpdates"})
SNAPSHOTS = frozenset({
    "userFills", "userFundings", "userNonFundingLedgerUpdates", "userHistoricalOrders", "userTwapSliceFills",
    "userTwapHistory", "clearinghouseState", "openOrders", "spotState", "allDexsClearinghouseState", "twapStates",
    "webData3",
})  # fmt: skip
"""User channels that begin with what is there; orderUpdates, userEvents and notification do not."""
USER_KINDS = SNAPSHOTS | {"orderUpdates", "userEvents", "notification", "activeAssetData"}
_BY_COIN = frozenset({"bbo", "trades", "activeAssetCtx"})


class UnparsableError(Exception):
    """The venue answers with an error frame and keeps the socket."""


class FatalError(Exception):
    """The venue closes the whole socket."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription in its normal form; `text` is its JSON, by which it is matched."""

    type: str
    fields: Mapping[str, object]
    text: str

    @property
    def coin(self) -> str:
        """Return the coin, or an empty text."""
        return str(self.fields.get("coin") or "")

    @property
    def user(self) -> str:
        """Return the user's address, or an empty text."""
        return str(self.fields.get("user") or "")


def normal(raw: object, known_coin: Callable[[str], bool], known_dex: Callable[[str], bool]) -> Subscription:
    """Return a subscription in its normal form. Raises UnparsableError or FatalError, as the venue would act."""
    if not isinstance(raw, dict) or not isinstance(raw.get("type"), str):
        raise UnparsableError
    kind = raw["type"]
    fields: dict[str, object] = {"type": kind}
    if kind in COINLESS:
        return _made(kind, fields)
    if kind in ("allMids", "assetCtxs"):
        dex = raw.get("dex")
        if dex is not None and not isinstance(dex, str):
            raise UnparsableError
        if dex is not None or kind == "assetCtxs":
            fields["dex"] = dex or ""
        if not known_dex(dex or ""):
            raise FatalError
        return _made(kind, fields)
    if kind in USER_KINDS and kind != "activeAssetData":
        return _made(kind, fields | _user_fields(raw, kind))
    if kind == "activeAssetData":
        fields |= _user_fields(raw, kind)
    elif kind not in _BY_COIN and kind not in ("l2Book", "candle"):
        raise UnparsableError
    coin = raw.get("coin")
    if not isinstance(coin, str):
        raise UnparsableError
    fields["coin"] = coin
    if kind == "candle":
        if raw.get("interval") not in INTERVALS_MS:
            raise UnparsableError
        fields["interval"] = raw["interval"]
    if kind == "l2Book":
        fields |= _book_fields(raw)
    if not known_coin(coin):
        raise FatalError
    return _made(kind, fields)


def _made(kind: str, fields: Mapping[str, object]) -> Subscription:
    return Subscription(kind, fields, msgspec.json.encode(fields).decode())


def _user_fields(raw: Mapping[str, object], kind: str) -> dict[str, object]:
    user = raw.get("user")
    if not is_address(user):
        raise UnparsableError
    text = str(user).lower()
    fields: dict[str, object] = {"user": text if text.startswith("0x") else f"0x{text}"}
    if kind == "userFills":
        fields["aggregateByTime"] = bool(raw.get("aggregateByTime", False))
    if kind == "spotState":
        fields["ignorePortfolioMargin"] = bool(raw.get("ignorePortfolioMargin", False))
    if kind in ("clearinghouseState", "openOrders", "twapStates"):
        fields["dex"] = str(raw.get("dex") or "")
    return fields


def _book_fields(raw: Mapping[str, object]) -> dict[str, object]:
    figures, mantissa, fast = raw.get("nSigFigs"), raw.get("mantissa"), raw.get("fast", False)
    for value in (figures, mantissa):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise UnparsableError
    if fast is None:
        fast = False
    if not isinstance(fast, bool):
        raise UnparsableError
    if not valid_aggregation(figures, mantissa):
        raise FatalError
    return {"nSigFigs": figures, "mantissa": mantissa, "fast": fast}
