"""What `sendTx` answers, and how it is asked. Pure.

HTTP 200 with code 200 means queued: the sequencer may still refuse it, and says so in the transaction alone. A refusal
of the API comes as HTTP 400 with a code of the venue's, and as HTTP 429 with code 23000.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from services.venues.lighter.wire import refusals
from services.venues.lighter.wire.account import RawTx
from services.venues.teaching import Scene
from services.venues.trading import Accepted, NonceFate, Outcome, Refused, Standing, Submission, Unknown

SEND: Final = "/api/v1/sendTx"
SEND_BATCH: Final = "/api/v1/sendTxBatch"
FORM: Final = "application/x-www-form-urlencoded"
BATCH_MAX: Final = 15
"""How many transactions are sent in one batch; the venue's own figures are 15 and 50."""
FAILED, WAITING, EXECUTED, PENDING_FINAL = 0, 1, 2, 3
_ANSWER: Final = msgspec.json.Decoder(dict[str, Any])


def form(kind: int, tx_info: bytes, *, price_protection: bool = True) -> bytes:
    """Return the body of `sendTx`."""
    fields = {"tx_type": str(kind), "tx_info": tx_info.decode(), "price_protection": str(price_protection).lower()}
    return urlencode(fields).encode()


def batch_form(transactions: list[tuple[int, bytes]]) -> bytes:
    """Return the body of `sendTxBatch`: two lists, each as JSON text, the second of texts."""
    kinds = msgspec.json.encode([kind for kind, _ in transactions]).decode()
    infos = msgspec.json.encode([info.decode() for _, info in transactions]).decode()
    return urlencode({"tx_types": kinds, "tx_infos": infos}).encode()


def read(data: bytes, *, client_id: str, tx_hash: str, scene: Scene, again: bool) -> Submission:
    """Return what an answer of HTTP 200, 400 or 429 means for one transaction."""
    try:
        answer = _ANSWER.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return _unknown(f"the venue's answer cannot be read: {data[:120]!r}")
    code, words = answer.get("code"), str(answer.get("message") or "")
    if code == 200:
        found = answer.get("tx_hash")
        hashes = found if isinstance(found, list) else [found]
        if tx_hash and tx_hash not in hashes:
            return _unknown(f"the venue took in another transaction than the one sent: {found!r:.100}")
        when = answer.get("predicted_execution_time_ms")
        return Submission(
            outcomes=(Accepted(standing=Standing.QUEUED, client_id=client_id),),
            nonce=NonceFate.USED,
            transaction_hash=tx_hash or str(hashes[0]),
            predicted_time_ms=when if isinstance(when, int) else 0,
        )
    if not refusals.is_code(code):
        return _unknown(f"the venue answered an error that is none of its own: {data[:120]!r}")
    assert isinstance(code, int)
    if again:  # the API refuses before it looks at what it took in earlier, and its nonce may be used by these bytes
        return _unknown(f"the venue refused them this time ({code} {words[:100]}), and may have taken them in before")
    return Submission(outcomes=(Refused(refusals.explain(code, words, scene)),), nonce=refusals.nonce_fate(code))


def quota_left(data: bytes) -> int | None:
    """Return what an answer to a transaction says is left of the volume quota; None where it does not say."""
    try:
        left = _ANSWER.decode(data).get("volume_quota_remaining")
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    return left if isinstance(left, int) and not isinstance(left, bool) else None


def read_tx(raw: RawTx, *, client_id: str, scene: Scene) -> Outcome:
    """Return what a transaction's own record says: refused by the sequencer, executed, or not yet either."""
    problem = _problem(raw.event_info)
    if raw.status == FAILED or problem is not None:
        code, words = problem or (0, "")
        return Refused(refusals.explain(code, words, scene))
    if raw.status == WAITING:
        return Unknown("the transaction waits at the venue")
    return _executed(raw.event_info, client_id)


def _executed(event_info: str, client_id: str) -> Outcome:
    """An order that was acted on names itself in the event; other transactions are simply done."""
    event = _json(event_info)
    for side in ("to", "mo"):
        order = event.get(side)
        if isinstance(order, dict) and isinstance(order.get("i"), int) and str(order.get("u", "")) == client_id:
            return Accepted(standing=Standing.QUEUED, order_id=str(order["i"]), client_id=client_id)
    return Accepted(standing=Standing.DONE, client_id=client_id)


def _problem(event_info: str) -> tuple[int, str] | None:
    """Return (code, message) of the application's error in an event, None where there is none."""
    said = _json(event_info).get("ae")
    if isinstance(said, str):
        said = _json(said)
    if isinstance(said, dict) and isinstance(said.get("code"), int):
        return said["code"], str(said.get("message") or "")
    return None


def _json(text: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(text or "{}")
    except (msgspec.MsgspecError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _unknown(message: str) -> Submission:
    return Submission(outcomes=(Unknown(message),), nonce=NonceFate.UNKNOWN)
