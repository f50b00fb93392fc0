"""What became of bytes whose answer was lost: dead only by proof, landed only by evidence, else unknown."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from services.domain.decimals import Price, Size
from services.domain.refusal import RefusalReason
from services.venues import actions
from services.venues.account import Fill, OrderRecord, OrderStatus
from services.venues.actions import (
    Cancel,
    MarginMode,
    OrderReference,
    OrderTerms,
    OrderType,
    Place,
    SetLeverage,
    Side,
    TimeInForce,
)
from services.venues.hyperliquid import tracing as hyperliquid
from services.venues.hyperliquid.wire import answers as hyperliquid_answers
from services.venues.lighter import tracing as lighter
from services.venues.lighter.wire import answers as lighter_answers
from services.venues.lighter.wire.account import RawTx
from services.venues.teaching import Scene
from services.venues.trading import (
    Accepted,
    AccountRef,
    NonceFate,
    Outcome,
    Refused,
    SignedBytes,
    Standing,
    Unknown,
)
from tests.unit.venues.test_watching import fill, order

D = Decimal
ACCOUNT = AccountRef(account_id="a", address="0xab", index=7)
TERMS = OrderTerms(
    market="BTC-PERP",
    venue_market_id=0,
    side=Side.BUY,
    size=Size(D(5)),
    limit_price=Price(D(10)),
    type=OrderType.LIMIT,
    time_in_force=TimeInForce.GOOD_TILL_CANCELED,
    client_id="c1",
)
EXPIRES = 1_000_000
LATE = EXPIRES + 60_000


class Venue:
    """What a venue would answer."""

    def __init__(self, **answers: Any) -> None:
        self.found: OrderRecord | None = answers.get("found")
        self.trades: tuple[Fill, ...] = answers.get("trades", ())
        self.tx: RawTx | None = answers.get("tx")
        self.nonce: int = answers.get("nonce", 5)
        self.leverage = SetLeverage(
            market="BTC-PERP", venue_market_id=0, leverage=answers.get("leverage", 1), margin_mode=MarginMode.CROSS
        )

    async def order(self, account: AccountRef, reference: OrderReference) -> OrderRecord | None:
        return self.found

    async def fills(self, account: AccountRef, *, since_ms: int, until_ms: int | None = None) -> tuple[Fill, ...]:
        return self.trades

    async def setting(self, account: AccountRef, market: str) -> SetLeverage:
        return self.leverage

    async def transaction(self, tx_hash: str) -> RawTx | None:
        return self.tx

    async def next_nonce(self, account: AccountRef) -> int | None:
        return self.nonce

    async def look(self, account: AccountRef, action: actions.Action, index: int) -> Scene:
        return Scene()


def signed(action: actions.Action, nonce: int = 5) -> SignedBytes:
    return SignedBytes(
        body=b"", action=action, nonce=nonce, expire_time_ms=EXPIRES, transaction_type=14, transaction_hash="ab"
    )


async def ask(module: Any, venue: Venue, now_ms: int, action: actions.Action | None = None) -> Outcome:
    action = action or Place(orders=(TERMS,))
    (outcome,) = await module.trace(venue, ACCOUNT, signed(action), now_ms=now_ms)
    return outcome  # type: ignore[no-any-return]


def never(outcome: Outcome) -> bool:
    return isinstance(outcome, Refused) and outcome.refusal.reason is RefusalReason.NEVER_LANDED


@pytest.mark.parametrize("module", [hyperliquid, lighter])
async def test_what_the_venue_does_not_know_is_unknown_until_it_has_expired_and_dead_after(module: Any) -> None:
    for now_ms in (0, EXPIRES, EXPIRES + 4_999):
        assert isinstance(await ask(module, Venue(), now_ms), Unknown)
    assert never(await ask(module, Venue(), LATE))


async def test_hyperliquid_shows_the_order_or_a_trade_of_it() -> None:
    for status, standing in (
        (OrderStatus.OPEN, Standing.RESTING),
        (OrderStatus.WAITING, Standing.WAITING),
        (OrderStatus.FILLED, Standing.FILLED),
        (OrderStatus.CANCELED, Standing.FILLED),
    ):
        outcome = await ask(hyperliquid, Venue(found=order(status=status)), LATE)
        assert isinstance(outcome, Accepted)
        assert (outcome.standing, outcome.order_id) == (standing, "1")
    rejected = order(status=OrderStatus.REJECTED, venue_status="perpMarginRejected")
    outcome = await ask(hyperliquid, Venue(found=rejected), 0)
    assert isinstance(outcome, Refused)
    assert outcome.refusal.reason is RefusalReason.INSUFFICIENT_MARGIN
    forgotten = await ask(hyperliquid, Venue(trades=(fill(9),)), LATE)
    assert isinstance(forgotten, Accepted)
    assert never(await ask(hyperliquid, Venue(trades=(replace(fill(9), client_id="other"),)), LATE))


async def test_hyperliquid_cancels_and_leverage_are_seen_in_their_effect() -> None:
    cancel = Cancel(orders=(OrderReference(market="BTC-PERP", venue_market_id=0, client_id="c1"),))
    ended = Venue(found=order(status=OrderStatus.CANCELED))
    assert isinstance(await ask(hyperliquid, ended, 0, cancel), Accepted)
    assert isinstance(await ask(hyperliquid, Venue(found=order()), 0, cancel), Unknown)
    assert never(await ask(hyperliquid, Venue(found=order()), LATE, cancel))
    wanted = SetLeverage(market="BTC-PERP", venue_market_id=0, leverage=9, margin_mode=MarginMode.CROSS)
    assert isinstance(await ask(hyperliquid, Venue(leverage=9), 0, wanted), Accepted)
    assert isinstance(await ask(hyperliquid, Venue(leverage=1), 0, wanted), Unknown)
    assert never(await ask(hyperliquid, Venue(leverage=1), LATE, wanted))
    assert isinstance(await ask(hyperliquid, Venue(), LATE, actions.ScheduleCancel()), Unknown)


async def test_lighters_transaction_says_what_became_of_it() -> None:
    failed = RawTx(hash="ab", type=14, status=0, event_info='{"ae":"{\\"code\\":21739,\\"message\\":\\"no\\"}"}')
    outcome = await ask(lighter, Venue(tx=failed), 0)
    assert isinstance(outcome, Refused)
    assert outcome.refusal.reason is RefusalReason.INSUFFICIENT_MARGIN
    assert isinstance(await ask(lighter, Venue(tx=RawTx(hash="ab", type=14, status=1)), LATE), Unknown)
    done = RawTx(hash="ab", type=14, status=2)
    assert isinstance(await ask(lighter, Venue(tx=done), 0), Unknown)  # the order is not shown yet
    assert isinstance(await ask(lighter, Venue(tx=done, found=order()), 0), Accepted)
    crossed = order(
        status=OrderStatus.REJECTED, venue_status="canceled-post-only", reason=RefusalReason.POST_ONLY_CROSSED
    )
    outcome = await ask(lighter, Venue(tx=done, found=crossed), 0)
    assert isinstance(outcome, Refused)
    assert outcome.refusal.reason is RefusalReason.POST_ONLY_CROSSED
    part = replace(
        crossed,
        status=OrderStatus.CANCELED,
        venue_status="canceled-not-enough-liquidity",
        reason=RefusalReason.INSUFFICIENT_LIQUIDITY,
        filled=Size(D(1)),
    )
    assert isinstance(await ask(lighter, Venue(tx=done, found=part), 0), Accepted)


async def test_a_used_nonce_on_lighter_proves_that_it_landed_or_that_another_did_which_only_its_traces_tell() -> None:
    assert isinstance(await ask(lighter, Venue(nonce=6, found=order()), LATE), Accepted)
    assert isinstance(await ask(lighter, Venue(nonce=6), LATE), Unknown)
    assert isinstance(await ask(lighter, Venue(nonce=6), LATE, actions.CancelAll()), Unknown)
    assert isinstance(await ask(lighter, Venue(nonce=6), LATE + 1, actions.CancelAll()), Unknown)
    assert isinstance(await ask(lighter, Venue(nonce=6, found=order()), LATE + 1), Accepted)
    assert isinstance(await ask(lighter, Venue(nonce=6, trades=(fill(9),)), LATE + 1), Accepted)
    assert never(await ask(lighter, Venue(nonce=6, trades=(replace(fill(9), client_id="other"),)), LATE + 1))
    assert never(await ask(lighter, Venue(nonce=5), LATE, actions.CancelAll()))


@pytest.mark.parametrize("code", [21104, 21706, 21739, 21711, 23000, 21109])
def test_what_lighters_api_refuses_when_posted_again_may_have_been_taken_in_before(code: int) -> None:
    body = f'{{"code":{code},"message":"no"}}'.encode()
    first = lighter_answers.read(body, client_id="", tx_hash="", scene=Scene(), again=False)
    assert isinstance(first.outcomes[0], Refused)
    again = lighter_answers.read(body, client_id="", tx_hash="", scene=Scene(), again=True)
    assert isinstance(again.outcomes[0], Unknown)
    assert again.nonce is NonceFate.UNKNOWN


@pytest.mark.parametrize(
    ("words", "is_told"),
    [
        ("User or API Wallet 0xab does not exist", False),
        ("Too many cumulative requests sent (2 > 1)", False),
        ("Invalid nonce: nonce too low 1 < 2", False),
        ("Action already expired", True),  # its nonce was taken this time, so it was not before
    ],
)
def test_what_hyperliquid_refuses_before_the_nonce_when_posted_again_may_have_been_acted_on(
    words: str, is_told: bool
) -> None:
    body = f'{{"status":"err","response":"{words}"}}'.encode()
    action = Place(orders=(TERMS,))
    assert isinstance(hyperliquid_answers.read(body, action, [Scene()]).outcomes[0], Refused)
    again = hyperliquid_answers.read(body, action, [Scene()], again=True)
    assert isinstance(again.outcomes[0], Refused if is_told else Unknown)
    assert (again.nonce is NonceFate.USED) is is_told
