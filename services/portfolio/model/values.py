"""What the log brings, as values: fills, payments, transfers and reports. Numbers are `Decimal`, times aware in UTC."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Final, TypeAlias
from uuid import UUID

NAMESPACE: Final = UUID("5a0b3f0e-6d0c-5d0a-9a57-1c4f8a6a2f11")
"""The namespace of ids that are functions of what they name (RFC 9562, version 5)."""
SETTLEMENT_ASSET: Final = "USDC"
"""What both venues settle perpetuals in."""
SPOT_ASSET: Final = "USDC-SPOT"
"""The spot wallet, where it is not the collateral of the perpetual account."""
SPOT_WALLET: Final = "spot"


def derived_id(*parts: str) -> UUID:
    """Return the id of what `parts` name: the same parts, the same id, so that a rebuild gives equal ids."""
    return uuid.uuid5(NAMESPACE, "\0".join(parts))


class Environment(IntEnum):
    """Where an account lives; the contract's numbers."""

    UNSPECIFIED = 0
    SIMULATED = 1
    PAPER = 2
    TESTNET = 3
    MAINNET = 4


class MarginMode(IntEnum):
    """What stands behind a position; the contract's numbers."""

    UNSPECIFIED = 0
    CROSS = 1
    ISOLATED = 2


class Cause(IntEnum):
    """What brought a fill about; the contract's numbers."""

    UNSPECIFIED = 0
    ORDER = 1
    LIQUIDATION = 2
    DELEVERAGING = 3
    SETTLEMENT = 4


class EventKind(IntEnum):
    """What happened to a position; the contract's numbers."""

    FILL = 1
    FUNDING = 2
    LIQUIDATION = 3
    DELEVERAGING = 4
    SETTLEMENT = 5
    COLLATERAL = 6
    LEVERAGE = 7
    RECONCILIATION = 8
    ADOPTION = 9


class TransferKind(StrEnum):
    """What kind of transfer it is; the contract's names."""

    UNSPECIFIED = "UNSPECIFIED"
    DEPOSIT = "DEPOSIT"
    WITHDRAWAL = "WITHDRAWAL"
    INTERNAL = "INTERNAL"
    TEST_FUNDS = "TEST_FUNDS"
    REWARD = "REWARD"


Costs: TypeAlias = dict[int, Decimal]
"""Amounts by kind of cost (the contract's numbers); positive is paid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """A trade of an account, known by its id. `size` is signed: a buy is positive. `costs` are (kind, amount)."""

    fill_id: UUID
    order_id: str
    account_id: UUID
    venue: str
    market: str
    size: Decimal
    price: Decimal
    costs: tuple[tuple[int, Decimal], ...] = ()
    cost_asset: str = SETTLEMENT_ASSET
    cause: Cause = Cause.ORDER
    time: datetime

    @property
    def total_cost(self) -> Decimal:
        """Return the sum of the costs."""
        return sum((amount for _, amount in self.costs), Decimal(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedPosition:
    """A position as the venue reports it; None where it does not say. `received` is when it came in here."""

    market: str
    size: Decimal
    entry_price: Decimal | None = None
    mark_price: Decimal | None = None
    liquidation_price: Decimal | None = None
    unrealized_pnl: Decimal | None = None
    realized_pnl: Decimal | None = None
    funding_paid: Decimal | None = None
    margin_used: Decimal | None = None
    leverage: int = 0
    margin_mode: MarginMode = MarginMode.UNSPECIFIED
    isolated_collateral: Decimal | None = None
    venue_time: datetime | None = None
    received: datetime

    @property
    def as_of(self) -> datetime:
        """Return the moment it speaks of, as far as it is known."""
        return self.venue_time or self.received


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedBalance:
    """What an account has of one asset, as the venue reports it."""

    asset: str
    total: Decimal
    held: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedMargin:
    """An account as a whole as the venue reports it; None where it does not say."""

    equity: Decimal | None = None
    initial_margin: Decimal | None = None
    maintenance_margin: Decimal | None = None
    withdrawable: Decimal | None = None
    available: Decimal | None = None
    account_mode: str = ""
    received: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedFees:
    """The fee rates of an account; None where the venue does not say."""

    tier: str
    maker: Decimal | None
    taker: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Money that came in (positive) or left."""

    transfer_id: UUID
    venue_transfer_id: str
    kind: TransferKind
    asset: str
    amount: Decimal
    """What the balance changed by, the fee included."""
    fee: Decimal
    counterparty: str
    time: datetime
    wallet: str = ""
    """Which of the account's wallets it changed, in the venue's word; empty for the one that trades perpetuals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """Funding that one position paid or received (positive) once."""

    payment_id: UUID
    market: str
    amount: Decimal
    rate: Decimal
    position_size: Decimal
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a venue said about an account at one moment."""

    account_id: UUID
    venue: str
    environment: Environment
    received: datetime
    venue_time: datetime | None = None
    complete: bool = False
    reconciled: bool = False
    """Whether every trade that the venue tells of before it stands earlier in the log."""
    positions: tuple[ReportedPosition, ...] = ()
    balances: tuple[ReportedBalance, ...] = ()
    margin: ReportedMargin | None = None
    fees: ReportedFees | None = None
    transfers: tuple[Transfer, ...] = ()
    payments: tuple[Payment, ...] = ()

    @property
    def as_of(self) -> datetime:
        """Return the moment it speaks of, as far as it is known."""
        return self.venue_time or self.received


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLeg:
    """A resting part of an order: what it may still trade, signed, at its limit price (None: at the mark)."""

    leg_id: UUID
    order_id: str
    account_id: UUID
    market: str
    size: Decimal
    price: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderState:
    """What an OrderChanged says: the legs that are open, and those that are not any more."""

    order_id: str
    open: tuple[OpenLeg, ...]
    ended: tuple[UUID, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderReport:
    """How an ended order was executed: its report, and what each venue alone would have cost."""

    order_id: UUID
    market: str
    side: int
    venue: str
    account_id: UUID | None
    environment: Environment
    size: Decimal
    filled_size: Decimal
    quoted_size: Decimal
    notional: Decimal
    arrival_notional: Decimal
    quoted_cost: Decimal
    achieved_cost: Decimal
    slippage: Decimal
    single_venue_costs: tuple[tuple[str, Decimal], ...]
    placed: datetime
    time_to_fill_us: int | None
    routed: bool = True
    """Whether it followed a quote."""


What: TypeAlias = Fill | Observation | OrderState | OrderReport


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One event of the log, read. `what` is None for an event that this version does not know."""

    sequence: int
    user_id: UUID
    written: datetime
    what: tuple[What, ...] = field(default=())
