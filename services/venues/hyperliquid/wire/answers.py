"""What `POST /exchange` answers, and the body it is asked with. Pure.

An answer of HTTP 200 may say no in three places: for the whole action, for one order in the list of statuses, or not
at all where a list is shorter than what was asked. Only what the venue says of an order is said of that order; the rest
is `Unknown`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from services.domain.decimals import Price, Size
from services.venues import actions
from services.venues.hyperliquid.sign import Signature
from services.venues.hyperliquid.wire import refusals
from services.venues.hyperliquid.wire.values import DECODE_ERRORS
from services.venues.teaching import Scene
from services.venues.trading import Accepted, NonceFate, Outcome, Refused, Standing, Submission, Unknown

PATH: Final = "/exchange"
_ANSWER: Final = msgspec.json.Decoder(dict[str, Any])


def body(
    action: object,
    nonce: int,
    signature: Signature | None,
    *,
    vault: str | None = None,
    expires_after_ms: int | None = None,
) -> bytes:
    """Return what is posted. Without a signature its place is null, for callers who sign themselves."""
    return msgspec.json.encode(
        {
            "action": action,
            "nonce": nonce,
            "signature": signature.as_wire() if signature is not None else None,
            "vaultAddress": vault,
            "expiresAfter": expires_after_ms,
        }
    )


def count_of(action: actions.Action) -> int:
    """Return how many answers an action has, which is also how many requests it counts as."""
    if isinstance(action, (actions.Place, actions.Cancel)):
        return len(action.orders)
    return 1


def read(data: bytes, action: actions.Action, scenes: Sequence[Scene], *, again: bool = False) -> Submission:
    """Return what an answer of HTTP 200 means for each part of `action`; `scenes` are what is known of each.

    `again` says that the bytes may have been posted before: a refusal that did not use their nonce is of this time.
    """
    made = _read(data, action, scenes)
    if again and made.nonce not in (NonceFate.USED, NonceFate.UNKNOWN):
        return _unknown(count_of(action), "the venue refused them this time, and may have acted on them before")
    return made


def _read(data: bytes, action: actions.Action, scenes: Sequence[Scene]) -> Submission:
    count = count_of(action)
    try:
        answer = _ANSWER.decode(data)
    except DECODE_ERRORS:
        return _unknown(count, f"the venue's answer cannot be read: {data[:120]!r}")
    status, response = answer.get("status"), answer.get("response")
    if status == "err" and isinstance(response, str):
        return _whole(response, count, scenes)
    if status != "ok" or not isinstance(response, dict):
        return _unknown(count, f"the venue's answer is none of its protocol: {data[:120]!r}")
    if response.get("type") == "default":
        if isinstance(action, (actions.SetLeverage, actions.ScheduleCancel)):
            return Submission(outcomes=(Accepted(standing=Standing.DONE),), nonce=NonceFate.USED)
        return _unknown(count, "the venue took the action and said nothing of its orders", NonceFate.USED)
    statuses = _statuses(response)
    outcomes = [_outcome(statuses[n] if n < len(statuses) else None, action, n, scenes[n]) for n in range(count)]
    if count > len(statuses) == 1 and isinstance(statuses[0], dict) and "error" in statuses[0]:
        outcomes = [outcomes[0]] * count  # a check before matching refuses all for one
    return Submission(outcomes=tuple(outcomes), nonce=NonceFate.USED)


def _whole(words: str, count: int, scenes: Sequence[Scene]) -> Submission:
    if refusals.DUPLICATE_NONCE.match(words):
        return _unknown(count, "the venue has taken in an action with this nonce before: these bytes, it may be")
    entry = refusals.find(words)
    if entry is None:
        return _unknown(count, f"the venue answered an error of no known meaning: {words[:200]}")
    outcomes = tuple(Refused(refusals.explain(words, scenes[n])) for n in range(count))
    return Submission(outcomes=outcomes, nonce=entry.nonce)


def _statuses(response: Mapping[str, Any]) -> list[Any]:
    data = response.get("data")
    if not isinstance(data, dict):
        return []
    found = data.get("statuses")
    return found if isinstance(found, list) else [data["status"]] if "status" in data else []


def _outcome(status: Any, action: actions.Action, index: int, scene: Scene) -> Outcome:
    if isinstance(action, actions.Cancel):
        reference = action.orders[index]
        if status == "success":
            return Accepted(standing=Standing.DONE, order_id=reference.order_id, client_id=reference.client_id)
    elif status in ("waitingForFill", "waitingForTrigger"):
        return Accepted(standing=Standing.WAITING, client_id=_client_id(action, index))
    elif isinstance(status, dict) and isinstance(status.get("resting"), dict):
        standing = Standing.RESTING
        if _terms(action, index).type.has_trigger:
            standing = Standing.WAITING
        return _placed(status["resting"], standing, action, index)
    elif isinstance(status, dict) and isinstance(status.get("filled"), dict):
        return _placed(status["filled"], Standing.FILLED, action, index)
    if isinstance(status, dict) and isinstance(status.get("error"), str):
        return Refused(refusals.explain(status["error"], scene))
    return Unknown("the venue said nothing of this order" if status is None else f"the venue said {status!r:.100}")


def _placed(raw: Mapping[str, Any], standing: Standing, action: actions.Action, index: int) -> Outcome:
    oid, size, price = raw.get("oid"), raw.get("totalSz"), raw.get("avgPx")
    if not isinstance(oid, int) or isinstance(oid, bool):
        return Unknown(f"the venue placed it and named no id: {raw!r:.100}")
    try:
        return Accepted(
            standing=standing,
            order_id=str(oid),
            client_id=str(raw.get("cloid") or _client_id(action, index)),
            filled=None if size is None else Size(Decimal(str(size))),
            average_price=None if price is None else Price(Decimal(str(price))),
        )
    except InvalidOperation:
        return Unknown(f"the venue placed it with numbers that cannot be read: {raw!r:.100}")


def _terms(action: actions.Action, index: int) -> actions.OrderTerms:
    assert isinstance(action, (actions.Place, actions.Modify))
    return action.orders[index] if isinstance(action, actions.Place) else action.terms


def _client_id(action: actions.Action, index: int) -> str:
    return _terms(action, index).client_id if isinstance(action, (actions.Place, actions.Modify)) else ""


def _unknown(count: int, message: str, nonce: NonceFate = NonceFate.UNKNOWN) -> Submission:
    return Submission(outcomes=(Unknown(message),) * count, nonce=nonce)
