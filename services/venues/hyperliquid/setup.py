"""What a wallet signs so that Hyperliquid accepts an agent, lets an interface take a fee, or forgets either. Pure.

An agent may trade and can never withdraw. One agent per name: approving the same name, or no name, again replaces the
agent before, which is also how one is revoked. An agent's address is never used twice, since the venue may forget the
nonces of one that ended. Source: the venue's pages on agents and builder fees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from services.domain.decimals import plain_text
from services.venues.hyperliquid import sign
from services.venues.hyperliquid.sign import SignError

NAME_MAX: Final = 16
LIFETIME_DAYS_MAX: Final = 180
BUILDER_RATE_MAX: Final = Decimal("0.001")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to sign: the typed data for a wallet, the digest for checking, the action to post with it."""

    typed_data: Mapping[str, object]
    digest: bytes
    action: Mapping[str, object]
    nonce: int


def approve_agent(
    agent: str,
    *,
    nonce: int,
    mainnet: bool,
    name: str = "",
    valid_until_ms: int | None = None,
    chain_id: str = sign.SIGNATURE_CHAIN_ID,
) -> Step:
    """Return the approval of `agent`, an address; without a name it is the account's one unnamed agent.

    `chain_id` is the chain, in hex, that the wallet signs typed data for; what is approved does not depend on it.
    """
    if len(name) > NAME_MAX or (valid_until_ms is not None and not name):
        raise SignError(f"agent name: {name!r:.40}; up to {NAME_MAX} characters would pass, and an expiry needs a name")
    full = name if valid_until_ms is None else f"{name} valid_until {valid_until_ms}"
    values = {"agentAddress": agent.lower(), "agentName": full, "nonce": nonce}
    unposted = () if full else ("agentName",)
    return _step("approveAgent", values, nonce, mainnet=mainnet, chain_id=chain_id, unposted=unposted)


def approve_builder_fee(
    builder: str, *, max_rate: Decimal, nonce: int, mainnet: bool, chain_id: str = sign.SIGNATURE_CHAIN_ID
) -> Step:
    """Return the approval of a builder's fee up to `max_rate`, a fraction of the notional; zero takes it back."""
    if not 0 <= max_rate <= BUILDER_RATE_MAX:
        raise SignError(f"maxFeeRate: {max_rate} of the notional; 0 to {BUILDER_RATE_MAX} would pass")
    percent = plain_text(max_rate * 100) + "%"
    values = {"maxFeeRate": percent, "builder": builder.lower(), "nonce": nonce}
    return _step("approveBuilderFee", values, nonce, mainnet=mainnet, chain_id=chain_id)


def _step(
    kind: str,
    values: Mapping[str, object],
    nonce: int,
    *,
    mainnet: bool,
    chain_id: str,
    unposted: tuple[str, ...] = (),
) -> Step:
    signed = sign.user_signed(kind, values, mainnet=mainnet, chain_id=chain_id)
    primary, fields = sign.user_signed_type(kind)
    posted = {name: value for name, value in signed.items() if name not in unposted}
    return Step(sign.user_typed_data(primary, fields, signed), sign.digest_of(signed), posted, nonce)
