"""A leg: the part of an order that one venue carries, and the table that moves it.

Every state that ends a leg is reached by evidence: a venue's answer, its stream, a look-up, its history, or the proof
that signed bytes can never land. What is not in the table changes nothing: a fill told twice, an answer that comes
after the stream told more. `filled` never goes back, and a fill is counted once, by the venue's own id.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID

from services.domain.market import LIGHTER
from services.domain.refusal import Refusal
from services.execution.model.caller_key import CallerKey
from services.venues.actions import OrderType, Side, TimeInForce

ZERO: Final = Decimal(0)
NATIVE_LIFE_MIN: Final = timedelta(minutes=5, seconds=30)
"""How long an order must live for Lighter to end it by itself: its 5 minutes, and half a minute for signing it late."""
NATIVE_GRACE: Final = timedelta(seconds=5)
"""How long a venue has to end an order itself before we take it down."""


class LegState(StrEnum):
    """Where a leg stands; the contract's names."""

    HELD = "HELD"
    PREPARED = "PREPARED"
    SIGNED = "SIGNED"
    SUBMITTED = "SUBMITTED"
    SUBMIT_UNKNOWN = "SUBMIT_UNKNOWN"
    OPEN = "OPEN"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    DENIED = "DENIED"
    REJECTED = "REJECTED"
    FAILED = "FAILED"

    @property
    def is_final(self) -> bool:
        """Whether nothing but a late fill follows."""
        return self in _FINAL


class Role(StrEnum):
    """What a leg is for; the contract's names."""

    ENTRY = "ENTRY"
    TAKE_PROFIT = "TAKE_PROFIT"
    STOP_LOSS = "STOP_LOSS"
    REROUTE = "REROUTE"
    UNWIND = "UNWIND"
    SLICE = "SLICE"
    HEDGE = "HEDGE"

    @property
    def trades_the_order(self) -> bool:
        """Whether its trades are what the order is to trade; those of its exits and of trades back are not."""
        return self in (Role.ENTRY, Role.REROUTE, Role.SLICE, Role.HEDGE)


class Told(StrEnum):
    """What can happen to a leg."""

    RELEASE = "RELEASE"
    """What it waited for has come."""
    SIGN = "SIGN"
    """Its bytes exist."""
    SEND = "SEND"
    """They are about to be posted."""
    LOSE = "LOSE"
    """What became of them is not known."""
    ACCEPT = "ACCEPT"
    """The venue has it."""
    FILL = "FILL"
    """A part was traded."""
    FILL_ALL = "FILL_ALL"
    """The last part was traded."""
    CANCEL = "CANCEL"
    """It was canceled, by its owner or by the venue."""
    EXPIRE = "EXPIRE"
    """Its time ran out."""
    DENY = "DENY"
    """A check of ours said no."""
    REFUSE = "REFUSE"
    """The venue said no."""
    NEVER_LAND = "NEVER_LAND"
    """It is proven that the venue never acted on it."""


class Evidence(StrEnum):
    """What a state rests on; the contract's names."""

    UNSPECIFIED = "UNSPECIFIED"
    RESPONSE = "RESPONSE"
    STREAM = "STREAM"
    LOOKUP = "LOOKUP"
    HISTORY = "HISTORY"
    EXPIRY = "EXPIRY"
    NOT_SENT = "NOT_SENT"


_S, _T = LegState, Told
_FINAL: Final = frozenset((_S.FILLED, _S.CANCELED, _S.EXPIRED, _S.DENIED, _S.REJECTED, _S.FAILED))
_SENT: Final[dict[Told, LegState]] = {
    _T.ACCEPT: _S.OPEN,
    _T.FILL: _S.PARTIALLY_FILLED,
    _T.FILL_ALL: _S.FILLED,
    _T.CANCEL: _S.CANCELED,
    _T.EXPIRE: _S.EXPIRED,
    _T.REFUSE: _S.REJECTED,
    _T.NEVER_LAND: _S.FAILED,
    _T.LOSE: _S.SUBMIT_UNKNOWN,
}
_RESTING: Final[dict[Told, LegState]] = {
    _T.FILL: _S.PARTIALLY_FILLED,
    _T.FILL_ALL: _S.FILLED,
    _T.CANCEL: _S.CANCELED,
    _T.EXPIRE: _S.EXPIRED,
    _T.REFUSE: _S.CANCELED,  # it was taken in and then thrown out when it was matched
}
_LATE: Final[dict[Told, LegState]] = {_T.FILL_ALL: _S.FILLED}
"""A trade that is told after the end counts; only the last part of all changes how the leg ended."""

TABLE: Final[dict[LegState, dict[Told, LegState]]] = {
    _S.HELD: {_T.RELEASE: _S.PREPARED, _T.CANCEL: _S.CANCELED},
    _S.PREPARED: {_T.SIGN: _S.SIGNED, _T.DENY: _S.DENIED, _T.CANCEL: _S.CANCELED, _T.EXPIRE: _S.EXPIRED},
    _S.SIGNED: {_T.SEND: _S.SUBMITTED, _T.CANCEL: _S.CANCELED, _T.EXPIRE: _S.EXPIRED, _T.DENY: _S.DENIED},
    _S.SUBMITTED: {**_SENT, _T.SEND: _S.SUBMITTED},
    _S.SUBMIT_UNKNOWN: {**_SENT, _T.SEND: _S.SUBMIT_UNKNOWN},
    _S.OPEN: {**_RESTING},
    _S.PARTIALLY_FILLED: {**_RESTING},
    _S.FILLED: {},
    _S.CANCELED: _LATE,
    _S.EXPIRED: _LATE,
    _S.DENIED: {},
    _S.REJECTED: {_T.FILL: _S.CANCELED, _T.FILL_ALL: _S.FILLED},
    _S.FAILED: {_T.FILL: _S.CANCELED, _T.FILL_ALL: _S.FILLED},
}
"""(state, what is told) to the state after it; what is missing changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """A leg as it stands."""

    leg_id: UUID
    number: int
    venue: str
    account_id: UUID
    market: str
    venue_market_id: int
    side: Side
    size: Decimal
    limit_price: Decimal
    type: OrderType
    time_in_force: TimeInForce
    reduce_only: bool
    client_id: str
    state: LegState = LegState.PREPARED
    evidence: Evidence = Evidence.UNSPECIFIED
    refusal: Refusal | None = None
    filled: Decimal = ZERO
    notional: Decimal = ZERO
    """Sum of price times size over the fills, in USD."""
    fees: Decimal = ZERO
    interface_fees: Decimal = ZERO
    venue_order_id: str = ""
    transaction_hash: str = ""
    nonce: int = 0
    key_index: int = 0
    """The number of the API key that signed it; Lighter counts nonces by key."""
    expire_ms: int = 0
    """After this the venue refuses its bytes; 0 before they exist."""
    send_count: int = 0
    action_number: int = 0
    """The last action of this leg that was asked to be signed; 0 places it."""
    settled: int = 0
    """Actions below this number have a fate that the vault was told of, so that their nonces hold nothing up."""
    cancel_wanted: bool = False
    cancel_send_time: datetime | None = None
    """When the last cancel began to be sent; the next one waits longer each time."""
    create_time: datetime
    submit_time: datetime | None = None
    acknowledge_time: datetime | None = None
    execute_time: datetime | None = None
    update_time: datetime
    resolve_time: datetime | None = None
    """By when an unknown outcome is proven at the latest."""
    expire_time: datetime | None = None
    """When what rests of it is to end."""
    trigger_price: Decimal | None = None
    trigger_time: datetime | None = None
    """When the venue told that its trigger was reached."""
    role: Role = Role.ENTRY
    entry: int = 0
    """The number of the leg whose exit it is, or which it trades back; 0 for none."""
    part: int = 0
    """Which slice it is of, which pair of its entry's exits it belongs to, or which side of a hedge, from 1."""
    expiring: bool = False
    """Whether it is being taken down because its time ran out; its owner asked for no cancel before."""
    caller: CallerKey | None = None
    """Whose key signs it; None where one of ours does."""
    sign_by: datetime | None = None
    """Until when its caller may sign the action of number `action_number`."""
    signature: str = ""
    """The caller's signature of that action; empty before it is brought."""

    @property
    def awaits_signature(self) -> bool:
        """Whether its caller is to sign: its placing, or the cancel that was prepared last."""
        if self.caller is None or self.signature or self.sign_by is None or self.is_final:
            return False
        return self.settled <= self.action_number

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return self.state.is_final

    @property
    def is_settled(self) -> bool:
        """Whether nothing that was signed for it waits for its fate to be told to the vault."""
        return self.settled > self.action_number or (self.send_count == 0 and self.action_number == 0)

    @property
    def venue_ends_it(self) -> bool:
        """Whether the venue itself ends it in time: Lighter's orders have an expiry, Hyperliquid's have none."""
        return (
            self.venue == LIGHTER
            and self.expire_time is not None
            and (self.expire_time - self.create_time >= NATIVE_LIFE_MIN)
        )

    @property
    def take_down_time(self) -> datetime | None:
        """When we take it down if it is still there; None where it has no time or is being taken down already."""
        if self.expire_time is None or self.is_final or self.wants_cancel:
            return None
        return self.expire_time + (NATIVE_GRACE if self.venue_ends_it else timedelta(0))

    @property
    def wants_cancel(self) -> bool:
        """Whether it is to be taken down."""
        return self.cancel_wanted or self.expiring

    def is_over(self, now: datetime) -> bool:
        """Whether its time ran out, so that it must not be sent any more."""
        return self.expire_time is not None and self.expire_time <= now

    @property
    def may_rest(self) -> bool:
        """Whether what does not trade at once waits."""
        return self.time_in_force is not TimeInForce.IMMEDIATE_OR_CANCEL


def tell(leg: Leg, told: Told, evidence: Evidence, now: datetime, *, refusal: Refusal | None = None) -> Leg:
    """Return the leg after something was told of it; the same leg where that changes nothing."""
    if told is Told.CANCEL and leg.expiring and refusal is None:
        told = Told.EXPIRE  # the cancel was ours, for its time ran out
    state = TABLE[leg.state].get(told)
    if state is None or (state is leg.state and told is not Told.SEND):
        return leg
    changed = replace(leg, state=state, evidence=evidence, update_time=now)
    if refusal is not None:
        changed = replace(changed, refusal=refusal)
    if told is Told.SEND:
        changed = replace(changed, send_count=leg.send_count + 1, submit_time=leg.submit_time or now)
    if state is not LegState.SUBMIT_UNKNOWN and state.is_final:
        changed = replace(changed, resolve_time=None)
    return changed


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """One trade of an account as its venue told it."""

    fill_id: UUID
    trade_id: str
    venue: str
    account_id: UUID
    market: str
    side: Side
    price: Decimal
    size: Decimal
    liquidity: str
    cause: str
    fee: Decimal
    interface_fee: Decimal
    realized_pnl: Decimal | None
    venue_order_id: str
    client_id: str
    fill_time: datetime
    receive_time: datetime


def fill(leg: Leg, trade: Trade, now: datetime) -> Leg:
    """Return the leg after a trade that was not counted before."""
    filled = leg.filled + trade.size
    counted = replace(
        leg,
        filled=filled,
        notional=leg.notional + trade.price * trade.size,
        fees=leg.fees + trade.fee,
        interface_fees=leg.interface_fees + trade.interface_fee,
        venue_order_id=leg.venue_order_id or trade.venue_order_id,
        execute_time=max(leg.execute_time or trade.fill_time, trade.fill_time),
        acknowledge_time=leg.acknowledge_time or now,
        trigger_time=leg.trigger_time or (trade.fill_time if leg.trigger_price is not None else None),
        update_time=now,
    )
    return tell(counted, Told.FILL_ALL if filled >= leg.size else Told.FILL, Evidence.STREAM, now)
