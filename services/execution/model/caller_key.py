"""A key that is its owner's and not ours: whose signature is asked for, and taken."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerKey:
    """Hyperliquid knows a signer by its address, Lighter by its public key and the number of its slot."""

    address: str = ""
    """In lower case."""
    public_key: str = ""
    """80 hex digits."""
    api_key_index: int | None = None
