"""The ids under which venues know our legs."""

from __future__ import annotations

from uuid import UUID


def venue_client_id(venue: str, leg_id: UUID) -> str:
    """Return the id under which a venue knows a leg: a function of the leg, so that it is found after any crash.

    Hyperliquid takes 128 bits (cloid), Lighter a client order index below 2^48; of Lighter's the leg's id gives 47 bits
    of its random part, and the store's unique key refuses the twin that one in 10^14 would be.
    """
    if venue == "lighter":
        return str(leg_id.int % (2**47 - 1) + 1)
    return f"0x{leg_id.int:032x}"
