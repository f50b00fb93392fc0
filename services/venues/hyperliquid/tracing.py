"""What became of bytes whose answer was lost: asked of Hyperliquid until it is evident, never guessed.

An order is looked up by our id; one the venue forgot may still have trades. That nothing landed is proven once the
bytes have expired, the venue has had `SETTLE_MS` to show what it took in before, and still knows nothing: each nonce
counts once, and expired bytes are refused.
"""

from __future__ import annotations

from typing import Final, Protocol

from services.domain.market import HYPERLIQUID
from services.domain.refusal import Origin, Refusal, RefusalReason
from services.venues import actions
from services.venues.account import Fill, OrderRecord, OrderStatus
from services.venues.actions import OrderReference, OrderTerms
from services.venues.hyperliquid.wire import refusals
from services.venues.teaching import Scene
from services.venues.trading import Accepted, AccountRef, Outcome, Refused, SignedBytes, Standing, Unknown

SETTLE_MS: Final = 5_000
"""Look-ups by our id lag up to a second behind, and clocks differ."""
BEFORE_MS: Final = 60_000
"""How far before the bytes' nonce, which is a time, their trades are looked for."""


class Asked(Protocol):
    """What tracing asks of a trader."""

    async def order(self, account: AccountRef, reference: OrderReference) -> OrderRecord | None:
        """One order."""

    async def fills(self, account: AccountRef, *, since_ms: int, until_ms: int | None = None) -> tuple[Fill, ...]:
        """Trades of a time."""

    async def setting(self, account: AccountRef, market: str) -> actions.SetLeverage:
        """A market's leverage."""

    async def look(self, account: AccountRef, action: actions.Action, index: int) -> Scene:
        """What is known around one order of an action, for saying what would pass."""


async def trace(asked: Asked, account: AccountRef, signed: SignedBytes, *, now_ms: int) -> tuple[Outcome, ...]:
    """Return what is evident of each part of the action. Raises `VenueError`."""
    action = signed.action
    is_over = now_ms > signed.expire_time_ms + SETTLE_MS
    if isinstance(action, actions.Place):
        return tuple(
            [await _placed(asked, account, action, n, signed.nonce, is_over) for n in range(len(action.orders))]
        )
    if isinstance(action, actions.Modify):
        return (await _modified(asked, account, action, signed.nonce, is_over),)
    if isinstance(action, actions.Cancel):
        return tuple([await _canceled(asked, account, reference, is_over) for reference in action.orders])
    if isinstance(action, actions.SetLeverage):
        found = await asked.setting(account, action.market)
        if (found.leverage, found.margin_mode) == (action.leverage, action.margin_mode):
            return (Accepted(standing=Standing.DONE),)
        return (_never(is_over, "the leverage is another"),)
    return (Unknown("Hyperliquid does not tell whether its switch is armed; arm it again"),)


def outcome_of(record: OrderRecord, scene: Scene) -> Outcome:
    """Return what an order's own record says of its placement."""
    if record.status is OrderStatus.REJECTED:
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


async def _placed(
    asked: Asked, account: AccountRef, action: actions.Place, index: int, nonce: int, is_over: bool
) -> Outcome:
    terms = action.orders[index]
    if not terms.client_id:
        return Unknown("the order carries no id of ours to ask by")
    found = await asked.order(account, _reference(terms))
    if found is not None:
        rejected = found.status is OrderStatus.REJECTED
        return outcome_of(found, await asked.look(account, action, index) if rejected else Scene())
    if not is_over:
        return Unknown("the venue does not know the order yet")
    fills = await asked.fills(account, since_ms=max(0, nonce - BEFORE_MS))
    mine = [fill for fill in fills if fill.client_id == terms.client_id]
    if mine:
        return Accepted(standing=Standing.FILLED, order_id=mine[0].order_id, client_id=terms.client_id)
    return _never(True, "the venue knows neither the order nor a trade of it")


async def _modified(asked: Asked, account: AccountRef, action: actions.Modify, nonce: int, is_over: bool) -> Outcome:
    """A changed order has a new id of the venue's, and the terms asked for."""
    if action.terms.client_id:
        found = await asked.order(account, _reference(action.terms))
        if (
            found is not None
            and found.limit_price == action.terms.limit_price
            and found.size == action.terms.size
            and found.create_time_ms >= nonce - SETTLE_MS
        ):
            return outcome_of(found, Scene())
    return _never(is_over, "the order was not changed")


async def _canceled(asked: Asked, account: AccountRef, reference: OrderReference, is_over: bool) -> Outcome:
    found = await asked.order(account, reference)
    if found is not None and found.status.is_final:
        return Accepted(standing=Standing.DONE, order_id=found.order_id, client_id=found.client_id)
    return _never(is_over, "the order is still open" if found is not None else "the venue does not know the order")


def _never(is_over: bool, why: str) -> Outcome:
    if not is_over:
        return Unknown(f"{why}, and the bytes have not expired")
    return Refused(
        Refusal(
            reason=RefusalReason.NEVER_LANDED,
            origin=Origin.VENUE,
            message=f"What was sent has expired, and {why}.",
            advice="Send it anew.",
            venue=HYPERLIQUID,
        )
    )


def _reference(terms: OrderTerms) -> OrderReference:
    return OrderReference(market=terms.market, venue_market_id=terms.venue_market_id, client_id=terms.client_id)
