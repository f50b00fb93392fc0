"""What became of bytes whose answer was lost, or that wait: asked of Lighter until it is evident, never guessed.

A transaction is looked up by its hash. One the venue does not know may still come until `ExpiredAt`; after that, with
the key's next nonce not beyond its own, it never can. With it beyond, it landed, or another got its nonce when it had
lapsed: the order is asked for by our id, and what has shown nothing of itself a minute after its expiry was the lapsed.
"""

from __future__ import annotations

from typing import Final, Protocol

from services.domain.market import LIGHTER
from services.domain.refusal import Origin, Refusal, RefusalReason
from services.venues import actions
from services.venues.account import Fill, OrderRecord, OrderStatus
from services.venues.actions import OrderReference
from services.venues.lighter.wire import account as wire
from services.venues.lighter.wire import answers, refusals
from services.venues.teaching import Scene
from services.venues.trading import Accepted, AccountRef, Outcome, Refused, SignedBytes, Standing, Unknown

SETTLE_MS: Final = 5_000
"""How long after its expiry a transaction may still be on its way into the venue's books, and clocks differ."""

LAPSED_MS: Final = 60_000
"""How long after its expiry a transaction whose nonce is used may take to show by its hash, its order or a trade."""
LIFE_MAX_MS: Final = 15 * 60_000
"""How long before its expiry it may have been sent: ten minutes, and clocks differ."""


class Asked(Protocol):
    """What tracing asks of a trader."""

    async def transaction(self, tx_hash: str) -> wire.RawTx | None:
        """A transaction."""

    async def order(self, account: AccountRef, reference: OrderReference) -> OrderRecord | None:
        """One order."""

    async def fills(self, account: AccountRef, *, since_ms: int, until_ms: int | None = None) -> tuple[Fill, ...]:
        """Trades of a time."""

    async def next_nonce(self, account: AccountRef) -> int | None:
        """The key's next nonce."""

    async def look(self, account: AccountRef, action: actions.Action, index: int) -> Scene:
        """What is known around one order of an action, for saying what would pass."""


async def trace(asked: Asked, account: AccountRef, signed: SignedBytes, *, now_ms: int) -> tuple[Outcome, ...]:
    """Return what is evident of each part of the action. Raises `VenueError`."""
    count = len(signed.action.orders) if isinstance(signed.action, actions.Place) else 1
    found = await asked.transaction(signed.transaction_hash) if signed.transaction_hash else None
    if found is None:
        return await _unknown(asked, account, signed, now_ms, count)
    outcome = answers.read_tx(found, client_id="", scene=Scene())
    if isinstance(outcome, Refused):
        outcome = answers.read_tx(found, client_id="", scene=await asked.look(account, signed.action, 0))
    if not isinstance(outcome, Accepted):
        return (outcome,) * count
    if isinstance(signed.action, actions.Place):
        return await _orders(asked, account, signed.action)
    return (Accepted(standing=Standing.DONE),)


async def _unknown(
    asked: Asked, account: AccountRef, signed: SignedBytes, now_ms: int, count: int
) -> tuple[Outcome, ...]:
    nonce = await asked.next_nonce(account)
    if nonce is not None and nonce > signed.nonce:
        if not isinstance(signed.action, actions.Place):
            return (Unknown("the nonce is used; the venue does not say by what"),) * count
        found = await _orders(asked, account, signed.action)
        if now_ms <= signed.expire_time_ms + LAPSED_MS or not any(isinstance(one, Unknown) for one in found):
            return found
        return await _lapsed(asked, account, signed, signed.action, found)
    if now_ms <= signed.expire_time_ms + SETTLE_MS:
        return (Unknown("the venue does not know the transaction, and it has not expired"),) * count
    return (_never("its nonce was never used"),) * count


async def _lapsed(
    asked: Asked, account: AccountRef, signed: SignedBytes, action: actions.Place, found: tuple[Outcome, ...]
) -> tuple[Outcome, ...]:
    """Return what became of orders of which the venue knows neither the transaction nor, so far, themselves."""
    fills = await asked.fills(account, since_ms=max(0, signed.expire_time_ms - LIFE_MAX_MS))
    traded = {fill.client_id: fill.order_id for fill in fills if fill.client_id}
    outcomes: list[Outcome] = []
    for terms, outcome in zip(action.orders, found, strict=True):
        if not isinstance(outcome, Unknown):
            outcomes.append(outcome)
        elif terms.client_id in traded:
            order_id = traded[terms.client_id]
            outcomes.append(Accepted(standing=Standing.FILLED, order_id=order_id, client_id=terms.client_id))
        else:
            outcomes.append(_never("the venue knows neither it, nor the order, nor a trade: another used its nonce"))
    return tuple(outcomes)


def _never(why: str) -> Outcome:
    return Refused(
        Refusal(
            reason=RefusalReason.NEVER_LANDED,
            origin=Origin.VENUE,
            message=f"What was sent has expired, and {why}.",
            advice="Send it anew.",
            venue=LIGHTER,
        )
    )


async def _orders(asked: Asked, account: AccountRef, action: actions.Place) -> tuple[Outcome, ...]:
    return tuple([await _placed(asked, account, action, index) for index in range(len(action.orders))])


async def _placed(asked: Asked, account: AccountRef, action: actions.Place, index: int) -> Outcome:
    terms = action.orders[index]
    if not terms.client_id:
        return Accepted(standing=Standing.DONE)
    reference = OrderReference(market=terms.market, venue_market_id=terms.venue_market_id, client_id=terms.client_id)
    found = await asked.order(account, reference)
    if found is None:
        return Unknown("the transaction landed and the venue does not show the order yet")
    if ended_by_venue(found):
        return outcome_of(found, await asked.look(account, action, index))
    return outcome_of(found, Scene())


def ended_by_venue(record: OrderRecord) -> bool:
    """Whether the venue ended the order for a reason, without a trade: then it was never taken."""
    return record.status.is_final and record.reason is not None and not record.filled


def outcome_of(record: OrderRecord, scene: Scene) -> Outcome:
    """Return what an order's own record says of its placement.

    The sequencer ends at once what it cannot take, and the order's status says why; one that traded before was taken.
    """
    if ended_by_venue(record) and record.reason in _AT_PLACEMENT:
        refusal = refusals.explain_status(record.venue_status, scene)
        assert refusal is not None
        return Refused(refusal)
    standing = {OrderStatus.OPEN: Standing.RESTING, OrderStatus.WAITING: Standing.WAITING}
    return Accepted(
        standing=standing.get(record.status, Standing.FILLED),
        order_id=record.order_id,
        client_id=record.client_id,
        filled=record.filled,
    )


_AT_PLACEMENT: Final = frozenset(
    (
        RefusalReason.POST_ONLY_CROSSED,
        RefusalReason.REDUCE_ONLY,
        RefusalReason.POSITION_LIMIT,
        RefusalReason.INSUFFICIENT_MARGIN,
        RefusalReason.SLIPPAGE_EXCEEDED,
        RefusalReason.INSUFFICIENT_LIQUIDITY,
    )
)
"""Reasons for which the sequencer ends an order that it never took."""
