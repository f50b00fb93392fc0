"""What changed between two lists of markets, and whether the newer can be true. Pure."""

from __future__ import annotations

from services.venues.hyperliquid.wire.universe import Universe


def contradiction(before: Universe, after: Universe) -> str:
    """Return why `after` cannot follow `before`, empty where it can.

    The venue never takes a position back: a market that is delisted stays in its place. A universe that shrinks, or
    names another market at a position, is a wrong answer, or a venue that began anew.
    """
    for dex, known in before.dexes.items():
        listed = after.dexes.get(dex)
        if listed is None:
            return f"dex {dex!r:.40} is gone"
        if len(listed) < len(known):
            return f"dex {dex!r:.40} lists {len(listed)} markets, {len(known)} before"
        for position, (old, new) in enumerate(zip(known, listed, strict=False)):
            if old is not None and new is not None and old.listing.symbol != new.listing.symbol:
                return f"position {position} of dex {dex!r:.40} is {new.listing.symbol}, {old.listing.symbol} before"
    return ""


def live_coins(universe: Universe) -> list[str]:
    """Return the coins that trade: the first dex's, then the builders' dexes', each in the venue's order."""
    first = [info.listing.symbol for info in universe.dexes.get("", ()) if info is not None and info.live]
    others = [
        info.listing.symbol
        for dex, infos in universe.dexes.items()
        if dex
        for info in infos
        if info is not None and info.live
    ]
    return first + others
