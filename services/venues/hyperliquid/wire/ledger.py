"""Hyperliquid's ledger of an account beside its trades and funding: money that came, left or changed wallets. Pure.

The venue prints amounts positive on both sides; who gave and who got is in the entry. An entry that moves money between
two wallets of the account is two transfers here. What moves no money (a liquidation, whose loss is in its trades) is
none; an entry of a kind that is not known here is none either: it is told, and shows as a difference of the balance.

Unverified, for no capture has both ends of one: that the fee of a withdrawal is within its amount, and that of a send
beside it. Source: the venue's page, and `nktkas`' types for kinds that no capture has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final

from msgspec import Struct

from services.venues.account import Transfer
from services.venues.hyperliquid.wire.frames import TimeMs
from services.venues.hyperliquid.wire.values import WireError, decimal_of

USDC: Final = "USDC"
SPOT: Final = "spot"
ZERO: Final = Decimal(0)
SILENT: Final = frozenset(("liquidation",))
"""Kinds that move no money: what a liquidation cost is in its trades."""


class RawDelta(Struct, gc=False, rename="camel"):
    """What moved. Each kind has some of the fields."""

    type: str
    usdc: str = ""
    token: str = ""
    amount: str = ""
    fee: str = "0"
    fee_token: str = ""
    user: str = ""
    destination: str = ""
    source_dex: str = ""
    destination_dex: str = ""
    to_perp: bool = False
    is_deposit: bool = False
    net_withdrawn_usd: str = ""


class RawEntry(Struct, gc=False):
    """An entry of the ledger."""

    time: TimeMs
    hash: str
    delta: RawDelta


def transfers(entries: Sequence[RawEntry], user: str, tell: Callable[[str], None]) -> list[Transfer]:
    """Return what the entries moved of `user`'s, in their order; `tell` hears of kinds that are not known.

    Raises `WireError` for an entry that cannot be read. Entries alike in all have numbers: those of one moment must all
    be here, or none.
    """
    found: list[Transfer] = []
    counts: dict[str, int] = {}
    for entry in entries:
        parts = _parts(entry.delta, user.lower())
        if parts is None:
            tell(entry.delta.type)
            continue
        for wallet, asset, amount, fee, other in parts:
            name = f"{entry.hash}:{entry.time}:{entry.delta.type}:{wallet}:{amount}"
            counts[name] = counts.get(name, 0) + 1
            found.append(
                Transfer(
                    transfer_id=name if counts[name] == 1 else f"{name}#{counts[name]}",
                    kind=entry.delta.type,
                    wallet=wallet,
                    asset=asset,
                    amount=amount,
                    fee=fee,
                    counterparty=other,
                    time_ms=entry.time,
                )
            )
    return found


Part = tuple[str, str, Decimal, Decimal, str]
"""Wallet, asset, signed amount, fee, the other side."""


def _parts(delta: RawDelta, user: str) -> list[Part] | None:
    """Return what an entry moved; None for a kind that is not known."""
    kind = delta.type
    if kind in SILENT:
        return []
    if kind in _ONE_SIDED:
        field, sign, wallet = _ONE_SIDED[kind]
        amount = _amount(delta, field)
        fee = decimal_of(delta.fee, "fee") if kind == "withdraw" else ZERO
        return [(wallet, delta.token or USDC, sign * amount, fee, "")]
    if kind == "accountClassTransfer":
        amount = _amount(delta, "usdc") * (1 if delta.to_perp else -1)
        return [("", USDC, amount, ZERO, SPOT), (SPOT, USDC, -amount, ZERO, "perp")]
    if kind == "cStakingTransfer":
        amount = _amount(delta, "amount")
        return [(SPOT, delta.token or "HYPE", -amount if delta.is_deposit else amount, ZERO, "staking")]
    if kind in ("internalTransfer", "subAccountTransfer"):
        return _sent(delta, user, _amount(delta, "usdc"), USDC, "", "")
    if kind == "spotTransfer":
        return _sent(delta, user, _amount(delta, "amount"), delta.token, SPOT, SPOT)
    if kind == "send":
        return _sent(delta, user, _amount(delta, "amount"), delta.token, delta.source_dex, delta.destination_dex)
    return None


_ONE_SIDED: Final[dict[str, tuple[str, int, str]]] = {
    "deposit": ("usdc", 1, ""),
    "withdraw": ("usdc", -1, ""),
    "vaultCreate": ("usdc", -1, ""),
    "vaultDeposit": ("usdc", -1, ""),
    "vaultWithdraw": ("net_withdrawn_usd", 1, ""),
    "vaultDistribution": ("usdc", 1, ""),
    "vaultLeaderCommission": ("usdc", 1, ""),
    "rewardsClaim": ("amount", 1, ""),
    "spotGenesis": ("amount", 1, SPOT),
}
"""Kinds with one side that is the account's: where the amount is, its sign, the wallet."""


def _sent(delta: RawDelta, user: str, amount: Decimal, asset: str, source: str, target: str) -> list[Part]:
    """Return the sides of a send that are the user's; the sender pays the fee beside the amount."""
    fee = decimal_of(delta.fee, "fee") if delta.fee_token in ("", asset) else ZERO
    asset = asset.partition(":")[0]
    sender, receiver = delta.user.lower(), delta.destination.lower()
    if user not in (sender, receiver):
        raise WireError("user", f"a {delta.type} between {sender:.42} and {receiver:.42} is none of {user:.42}")
    found: list[Part] = []
    if sender == user:
        found.append((source, asset, -(amount + fee), fee, receiver))
    if receiver == user:
        found.append((target, asset, amount, ZERO, sender))
    return found


def _amount(delta: RawDelta, field: str) -> Decimal:
    amount = decimal_of(getattr(delta, field), field)
    if amount < 0:
        raise WireError(field, f"{amount} of a {delta.type} is negative")
    return amount
