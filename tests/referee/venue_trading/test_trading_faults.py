"""Every fault of a venue's private face, and what the adapter says of it: outcome, fate of the nonce, stream's state.

The simulator knows what was carried out; the adapter must never claim more than it can know, and must find it out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from services.chassis.clock import SYSTEM
from services.domain.feed import FeedState
from services.domain.market import HYPERLIQUID, LIGHTER
from services.domain.refusal import RefusalReason
from services.venues.account import OrderRecord, OrderStatus
from services.venues.actions import Cancel, OrderReference, OrderTerms, Side, TimeInForce
from services.venues.trading import Accepted, FillsSeen, NonceFate, OrdersSeen, Refused, StreamChanged, Unknown
from tests.referee.venue_trading.desks import MARKET, TESTNET, Desk, desk_at, of_kind, place

pytestmark = [pytest.mark.skipif(TESTNET, reason="needs the simulator's own hands"), pytest.mark.timeout(240)]
WAIT_S = 75.0
"""Far beyond what is needed: ended orders are asked for at each tenth round of the timer."""
BOTH = (HYPERLIQUID, LIGHTER)
SEND = {HYPERLIQUID: "/exchange", LIGHTER: "/api/v1/sendTx"}
TOLD_ON = {HYPERLIQUID: ("orderUpdates", "userFills"), LIGHTER: ("account_all_orders", "account_all_trades")}
ACK = {HYPERLIQUID: "/exchange", LIGHTER: "*"}


@dataclass(frozen=True)
class Case:
    """A fault of the answer, what the adapter says at once, and whether the order exists."""

    kind: str
    says: type
    fate: NonceFate
    exists: bool
    params: dict[str, Any] = field(default_factory=dict)
    venues: tuple[str, ...] = BOTH
    reason: RefusalReason | None = None


CASES = (
    Case("ack_late", Accepted, NonceFate.USED, True, {"ms": 600}),
    Case("ack_lost", Unknown, NonceFate.UNKNOWN, True),
    Case("ack_error", Unknown, NonceFate.UNKNOWN, True, {"status": 502, "text": "<html>bad gateway</html>"}),
    Case("ack_error", Unknown, NonceFate.UNKNOWN, True, {"status": 500}),
    Case("ack_error", Unknown, NonceFate.UNKNOWN, True, {"status": 200, "text": "Internal error"}, (HYPERLIQUID,)),
    Case("http_garbage", Unknown, NonceFate.UNKNOWN, True),
    Case("http_html", Unknown, NonceFate.UNKNOWN, False),
    Case("http_reset", Unknown, NonceFate.UNKNOWN, False),
    Case("http_status", Unknown, NonceFate.UNKNOWN, False, {"status": 503}),
    Case("http_status", Unknown, NonceFate.UNKNOWN, False, {"status": 429}, (HYPERLIQUID,)),
    Case("http_status", Refused, NonceFate.FREE, False, {"status": 429}, (LIGHTER,), RefusalReason.VENUE_BUDGET),
    Case("maintenance", Unknown, NonceFate.UNKNOWN, False),
    Case("maintenance", Refused, NonceFate.USED, False, {"mode": "post_only"}, (HYPERLIQUID,)),
)


def name_of(case: tuple[str, Case]) -> str:
    """Name a parameter."""
    return "-".join([case[0], case[1].kind, *(str(value)[:9] for value in case[1].params.values())])


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until events have brought `condition` about."""
    for _ in range(round(WAIT_S / 0.02)):
        if condition():
            return
        await SYSTEM.sleep(0.02)
    raise AssertionError(f"not within {WAIT_S:g} s: {what}")


@pytest.mark.parametrize("case", [(venue, case) for case in CASES for venue in case.venues], ids=name_of)
async def test_an_answer_is_believed_only_as_far_as_it_can_be(case: tuple[str, Case]) -> None:
    venue, fault = case
    async with desk_at(venue) as desk:
        assert desk.simulator is not None
        terms = await desk.far()
        signed = await desk.sign(place(terms))
        channel = ACK[venue] if fault.kind.startswith(("ack_", "maint")) else SEND[venue]
        await desk.simulator.fault(fault.kind, venue=venue, channel=channel, count=1, params=fault.params)
        made = await desk.venue.submit(desk.account, signed)
        (outcome,) = made.outcomes
        assert isinstance(outcome, fault.says), made
        assert made.nonce is fault.fate
        if isinstance(outcome, Refused) and fault.reason is not None:
            assert outcome.refusal.reason is fault.reason
        await desk.simulator.clear_faults()
        if fault.exists:
            found = await _found(desk, terms)
            assert found.client_id == terms.client_id
            (traced,) = await desk.venue.trace(desk.account, signed)
            assert isinstance(traced, Accepted)
        else:
            assert await desk.venue.order(desk.account, _reference(terms)) is None
            if fault.says is Unknown:  # the same bytes may still land, so they are sent again, and do
                assert isinstance((await desk.venue.trace(desk.account, signed))[0], Unknown)
                again = await desk.venue.submit(desk.account, signed, again=True)
                assert isinstance(again.outcomes[0], Accepted)
                await _found(desk, terms)
        assert len(await desk.venue.open_orders(desk.account)) == (fault.exists or fault.says is Unknown)


@asynccontextmanager
async def watched(name: str) -> AsyncIterator[Desk]:
    """Open a desk whose private stream is live."""
    async with desk_at(name, reconcile_every_s=0.5) as desk:
        watching = asyncio.create_task(desk.venue.watch(desk.account, desk.emit))
        try:
            await until(lambda: _state(desk) is FeedState.LIVE, "the stream is live")
            yield desk
        finally:
            watching.cancel()
            await asyncio.wait((watching,))


@pytest.mark.parametrize("kind", ["private", "drop", "duplicate", "reorder", "latency"])
@pytest.mark.parametrize("venue", BOTH)
async def test_a_stream_that_loses_doubles_or_turns_updates_around_ends_with_the_truth(venue: str, kind: str) -> None:
    """What is lost is found by asking again (often, here); what comes twice or late is told once, newest last."""
    async with watched(venue) as desk:
        assert desk.simulator is not None
        params = {"ms": 400} if kind == "latency" else {}
        if kind in ("drop", "private"):
            await desk.simulator.fault(kind, venue=venue, duration_s=1.5)
        else:  # of the account's own channels alone: a held pong or acknowledgement is a matter of the session
            for channel in TOLD_ON[venue]:
                await desk.simulator.fault(kind, venue=venue, channel=channel, count=4, params=params)
        resting = await desk.far()
        taking = await desk.taking(Side.BUY)
        for terms in (resting, taking):
            assert isinstance((await desk.send(place(terms))).outcomes[0], Accepted)
        await _found(desk, resting)
        assert isinstance((await desk.send(Cancel(orders=(_reference(resting),)))).outcomes[0], Accepted)
        await until(lambda: _last(desk, resting) is OrderStatus.CANCELED, "the cancellation is told")
        await until(lambda: _filled(desk) >= taking.size, "the fills are told")
        assert _filled(desk) == taking.size
        ids = [fill.fill_id for event in of_kind(desk.events, FillsSeen) for fill in event.fills]
        assert len(ids) == len(set(ids))
        versions: dict[str, int] = {}
        for order in _orders(desk):
            assert order.version >= versions.get(order.order_id, 0)
            versions[order.order_id] = order.version


@pytest.mark.parametrize("venue", BOTH)
async def test_a_stream_that_is_cut_and_refused_recovers_and_says_so(venue: str) -> None:
    async with watched(venue) as desk:
        assert desk.simulator is not None
        before = len(of_kind(desk.events, StreamChanged))
        await desk.simulator.fault("refuse", venue=venue, duration_s=1.0)
        await desk.simulator.fault("close", venue=venue)
        await until(lambda: _state(desk) is not FeedState.LIVE, "the stream says that it is not live")
        changed = of_kind(desk.events, StreamChanged)[before]
        assert changed.state is FeedState.RECOVERING
        assert changed.reason
        await until(lambda: _state(desk) is FeedState.LIVE, "the stream is live again")
        terms = await desk.far()
        post_only = desk.terms(Side.BUY, terms.limit_price, Decimal("0.1"), tif=TimeInForce.POST_ONLY)
        assert isinstance((await desk.send(place(post_only))).outcomes[0], Accepted)
        await until(lambda: _last(desk, post_only) is OrderStatus.OPEN, "the order is told")


async def _found(desk: Desk, terms: OrderTerms) -> OrderRecord:
    for _ in range(100):
        found = await desk.venue.order(desk.account, _reference(terms))
        if found is not None and found.status is OrderStatus.OPEN:
            return found
        await SYSTEM.sleep(0.05)
    raise AssertionError("the venue does not show the order")


def _reference(terms: OrderTerms) -> OrderReference:
    return OrderReference(market=MARKET, venue_market_id=terms.venue_market_id, client_id=terms.client_id)


def _state(desk: Desk) -> FeedState | None:
    states = of_kind(desk.events, StreamChanged)
    return states[-1].state if states else None


def _orders(desk: Desk) -> list[OrderRecord]:
    return [order for event in of_kind(desk.events, OrdersSeen) for order in event.orders]


def _last(desk: Desk, terms: OrderTerms) -> OrderStatus | None:
    states = [order.status for order in _orders(desk) if order.client_id == terms.client_id]
    return states[-1] if states else None


def _filled(desk: Desk) -> Decimal:
    fills = [fill for event in of_kind(desk.events, FillsSeen) for fill in event.fills]
    return sum((fill.size for fill in fills), Decimal(0))
