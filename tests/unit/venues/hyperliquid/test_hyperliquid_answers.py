"""What `/exchange` answers mean: three outcomes, and only what the venue said of an order is said of it."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from services.domain.refusal import RefusalReason
from services.venues import actions
from services.venues.actions import OrderReference, OrderType
from services.venues.hyperliquid.wire import answers, refusals
from services.venues.teaching import Scene
from services.venues.trading import Accepted, NonceFate, Outcome, Refused, Standing, Submission, Unknown
from tests.unit.venues.hyperliquid.captured import markets, universe_of
from tests.unit.venues.hyperliquid.test_hyperliquid_sign import terms

D = Decimal
LISTING = universe_of(markets([("BTC", 5), ("ETH", 4)])).coins["ETH"].listing
PLACE = actions.Place(orders=(terms(),))


def read(body: object, action: actions.Action = PLACE, **scene: Any) -> Submission:
    seen = Scene(terms=terms(), listing=LISTING, **scene)
    return answers.read(json.dumps(body).encode(), action, [seen] * answers.count_of(action))


def ok(*statuses: object, kind: str = "order") -> object:
    return {"status": "ok", "response": {"type": kind, "data": {"statuses": list(statuses)}}}


def only(made: Submission) -> Outcome:
    (outcome,) = made.outcomes
    return outcome


def test_resting_filled_and_waiting_are_accepted() -> None:
    resting = only(read(ok({"resting": {"oid": 77, "cloid": "0xab"}})))
    assert resting == Accepted(standing=Standing.RESTING, order_id="77", client_id="0xab")
    filled = only(read(ok({"filled": {"totalSz": "0.01", "avgPx": "39.9351", "oid": 5}})))
    assert isinstance(filled, Accepted)
    assert (filled.standing, filled.filled, filled.average_price) == (Standing.FILLED, D("0.01"), D("39.9351"))
    stop = actions.Place(orders=(terms(), terms(type=OrderType.STOP_MARKET, trigger_price=D(1600)), terms()))
    made = read(
        ok({"filled": {"totalSz": "1", "avgPx": "1", "oid": 5}}, {"resting": {"oid": 6}}, "waitingForTrigger"), stop
    )
    assert [o.standing for o in made.outcomes if isinstance(o, Accepted)] == [
        Standing.FILLED,
        Standing.WAITING,
        Standing.WAITING,
    ]
    assert made.nonce is NonceFate.USED


def test_a_short_list_leaves_the_rest_unknown_and_one_error_for_all_refuses_all() -> None:
    three = actions.Place(orders=(terms(), terms(), terms()))
    made = read(ok({"resting": {"oid": 1}}, {"error": "Order has zero size."}), three)
    assert [type(outcome) for outcome in made.outcomes] == [Accepted, Refused, Unknown]
    made = read(ok({"error": "Order price cannot be more than 95% away from the reference price"}), three)
    assert [type(outcome) for outcome in made.outcomes] == [Refused] * 3


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "nonsense",
        {"status": "err", "response": "Internal error, please try again"},
        {"status": "err", "response": 5},
        {"status": "ok"},
        {"status": "ok", "response": {"type": "default"}},
        ok("resting"),
        ok({"resting": {}}),
        ok({"filled": {"oid": 5, "totalSz": "x", "avgPx": "1"}}),
        ok(),
        {"status": "err", "response": "Invalid nonce: duplicate nonce 5"},
    ],
)
def test_what_is_no_verdict_is_unknown(body: object) -> None:
    assert isinstance(only(read(body)), Unknown)


def test_bytes_that_are_no_json_are_unknown() -> None:
    for data in (b"", b"<html>", b'{"status":', b"\xff"):
        assert isinstance(only(answers.read(data, PLACE, [Scene()])), Unknown)


@pytest.mark.parametrize(
    ("words", "reason", "nonce"),
    [
        ("User or API Wallet 0xab does not exist.", RefusalReason.KEY_UNUSABLE, NonceFate.KEY_UNKNOWN),
        ("L1 error: User or API Wallet 0xab does not exist.", RefusalReason.KEY_UNUSABLE, NonceFate.KEY_UNKNOWN),
        ("Must deposit before performing actions. User: 0xab", RefusalReason.NO_ACCOUNT, NonceFate.KEY_UNKNOWN),
        ("Invalid nonce: nonce too low 1 < 2", RefusalReason.NONCE, NonceFate.REFUSED),
        ("Action already expired", RefusalReason.EXPIRED, NonceFate.USED),
        ("Unable to recover signer.", RefusalReason.SIGNATURE, NonceFate.FREE),
        ("Too many cumulative requests sent (97460 > 97456) for cumulative volume traded $87457.46. Place taker orders"
         " to free up 1 request per USDC traded.", RefusalReason.VENUE_BUDGET, NonceFate.FREE),
        ("Vault not registered: 0xab", RefusalReason.NO_ACCOUNT, NonceFate.USED),
        ("Signed action over weight limit of 200.", RefusalReason.NOT_SUPPORTED, NonceFate.USED),
    ],
)  # fmt: skip
def test_a_refusal_of_the_whole_action_says_what_became_of_the_nonce(
    words: str, reason: RefusalReason, nonce: NonceFate
) -> None:
    made = read({"status": "err", "response": words})
    outcome = only(made)
    assert isinstance(outcome, Refused)
    assert (outcome.refusal.reason, outcome.refusal.venue_message, made.nonce) == (reason, words, nonce)


@pytest.mark.parametrize(
    ("words", "field", "passing", "scene"),
    [
        ("Order must have minimum value of $10. asset=1", "size", "0.0067", {"ask": D("1500")}),
        ("Post only order would have immediately matched, bbo was 1669.9@1670.1. asset=1", "limit_price", "1670", {}),
        ("Order could not immediately match against any resting orders. asset=1", "limit_price", "1671.3",
         {"ask": D("1671.3")}),
        ("Reduce only order would increase position. asset=1", "reduce_only", "false", {}),
        ("Insufficient margin to place order. asset=1", "size", "0.0101", {"max_size": D("0.01019")}),
        ("Insufficient margin to place order. asset=1", "size", "", {}),
        ("Order value too large. Max is $10.", "size", "0.0059", {}),
        ("Order price cannot be more than 95% away from the reference price", "limit_price", "999.99",
         {"mark": D("515.4639")}),
        ("Price must be divisible by tick size. asset=1", "limit_price", "1670.1", {}),
    ],
)  # fmt: skip
def test_an_orders_refusal_teaches_the_nearest_value(words: str, field: str, passing: str, scene: Any) -> None:
    outcome = only(read(ok({"error": words}), **scene))
    assert isinstance(outcome, Refused)
    assert (outcome.refusal.field, outcome.refusal.passing_value) == (field, passing)
    assert outcome.refusal.venue_message == words
    assert outcome.refusal.message.endswith(".")


def test_a_text_nobody_knows_is_refused_for_no_stated_reason_only_in_an_orders_own_place() -> None:
    outcome = only(read(ok({"error": "The moon is in the wrong house. asset=1"})))
    assert isinstance(outcome, Refused)
    assert outcome.refusal.reason is RefusalReason.UNSPECIFIED


def test_cancels_and_settings_are_done() -> None:
    two = actions.Cancel(
        orders=tuple(OrderReference(market="ETH-PERP", venue_market_id=1, order_id=str(n)) for n in (1, 2))
    )
    words = "Order was never placed, already canceled, or filled. asset=1"
    made = read(ok("success", {"error": words}, kind="cancel"), two)
    assert made.outcomes[0] == Accepted(standing=Standing.DONE, order_id="1")
    assert isinstance(made.outcomes[1], Refused)
    assert made.outcomes[1].refusal.reason is RefusalReason.ALREADY_ENDED
    done = read({"status": "ok", "response": {"type": "default"}}, actions.ScheduleCancel())
    assert done.outcomes == (Accepted(standing=Standing.DONE),)


def test_every_status_word_has_a_standing_and_unknown_ones_that_end_so_are_final() -> None:
    assert len(refusals.STATUSES) >= 30
    assert refusals.status_of("moonCanceled")[0].is_final
    assert refusals.status_of("moonRejected")[0].is_final
    assert not refusals.status_of("somethingNew")[0].is_final
