"""Lighter's histories of deposits, withdrawals and transfers. Pure.

No capture has one: the shapes are those of the venue's own SDK (1.1.8), and unverified are the unit of `timestamp`
(seconds and milliseconds are told apart by their size), that the money of a withdrawal leaves when it is asked for, and
that a transfer's fee is beside its amount (the signed transaction has the two apart). Statuses: a deposit counts when
it is completed; a withdrawal at once, and one that failed or was refunded comes back as a transfer of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from msgspec import Struct

from services.domain.decimals import DecimalError, parse_decimal
from services.venues.account import Transfer
from services.venues.lighter.wire.numbers import WireError

USDC: Final = "USDC"
USDC_ID: Final = 3
SPOT: Final = "spot"
ZERO: Final = Decimal(0)
RETURNED: Final = frozenset(("failed", "refunded"))
RETURN: Final = "refund"
_ROUTES: Final = {"perps": "", "": "", "spot": SPOT}


class RawDeposit(Struct, gc=False):
    """A deposit from a chain."""

    id: str
    amount: str
    timestamp: int
    status: str
    asset_id: int = USDC_ID
    l1_tx_hash: str = ""


class RawWithdrawal(Struct, gc=False):
    """A withdrawal to a chain."""

    id: str
    amount: str
    timestamp: int
    status: str
    asset_id: int = USDC_ID
    l1_tx_hash: str = ""


class RawTransfer(Struct, gc=False):
    """A transfer between accounts, or between the routes of one."""

    id: str
    amount: str
    timestamp: int
    type: str
    from_account_index: int
    to_account_index: int
    asset_id: int = USDC_ID
    fee: str = "0"
    from_route: str = ""
    to_route: str = ""


def deposits(rows: Iterable[RawDeposit]) -> list[Transfer]:
    """Return the deposits that have arrived."""
    return [
        _made(
            f"deposit:{row.id}", "deposit", "", row.asset_id, _number(row.amount), ZERO, row.l1_tx_hash, row.timestamp
        )
        for row in rows
        if row.status == "completed"
    ]


def withdrawals(rows: Iterable[RawWithdrawal]) -> list[Transfer]:
    """Return what was withdrawn, and what of it came back."""
    found = []
    for row in rows:
        amount, other = _number(row.amount), row.l1_tx_hash
        name = f"withdraw:{row.id}"
        found.append(_made(name, "withdraw", "", row.asset_id, -amount, ZERO, other, row.timestamp))
        if row.status in RETURNED:
            found.append(_made(f"{name}:{RETURN}", RETURN, "", row.asset_id, amount, ZERO, other, row.timestamp))
    return found


def transfers(rows: Iterable[RawTransfer], index: int) -> list[Transfer]:
    """Return the sides of transfers that are the account's; to another wallet of it there are two."""
    found = []
    for row in rows:
        amount, fee = _number(row.amount), _number(row.fee or "0")
        source, target = row.from_account_index, row.to_account_index
        if index not in (source, target):
            raise WireError("from_account_index", f"a transfer from {source} to {target} is none of {index}")
        name = f"transfer:{row.id}"
        if source == index:
            wallet = _ROUTES.get(row.from_route, row.from_route)
            taken = -(amount + fee)
            found.append(_made(f"{name}:out", row.type, wallet, row.asset_id, taken, fee, str(target), row.timestamp))
        if target == index:
            wallet = _ROUTES.get(row.to_route, row.to_route)
            found.append(_made(f"{name}:in", row.type, wallet, row.asset_id, amount, ZERO, str(source), row.timestamp))
    return found


def _made(
    name: str, kind: str, wallet: str, asset_id: int, amount: Decimal, fee: Decimal, other: str, time: int
) -> Transfer:
    return Transfer(
        transfer_id=name,
        kind=kind,
        wallet=wallet,
        asset=USDC if asset_id == USDC_ID else f"asset {asset_id}",
        amount=amount,
        fee=fee,
        counterparty=other,
        time_ms=milliseconds(time),
    )


def milliseconds(time: int) -> int:
    """Return a time that the venue states in seconds or in milliseconds."""
    return time * 1_000 if 0 < time < 10**11 else time


def _number(text: str) -> Decimal:
    try:
        amount = parse_decimal(text)
    except DecimalError as error:
        raise WireError("amount", str(error)) from None
    if amount < 0:
        raise WireError("amount", f"{text:.40} is negative")
    return amount
