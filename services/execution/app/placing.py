"""What is signed to place a leg, and what is read of its bytes."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from services.domain.decimals import Price, Size
from services.execution.model.leg import Leg
from services.venues.actions import OrderTerms, Place
from services.venues.trading import SignedBytes

_KEY_INDEX: Final = re.compile(rb'"ApiKeyIndex":([0-9]{1,3})')
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def place_of(leg: Leg) -> Place:
    """Return what is signed to place a leg: a function of the leg, so that it is the same after any crash."""
    return Place(
        orders=(
            OrderTerms(
                market=leg.market,
                venue_market_id=leg.venue_market_id,
                side=leg.side,
                size=Size(leg.size),
                limit_price=Price(leg.limit_price),
                type=leg.type,
                time_in_force=leg.time_in_force,
                client_id=leg.client_id,
                reduce_only=leg.reduce_only,
                trigger_price=None if leg.trigger_price is None else Price(leg.trigger_price),
                expire_time_ms=_milliseconds(leg.expire_time) if leg.venue_ends_it else None,
            ),
        )
    )


def _milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - _EPOCH) // timedelta(milliseconds=1)


def bytes_of(leg: Leg) -> SignedBytes:
    """Return what tracing needs of a leg's bytes, which are the vault's to keep."""
    return SignedBytes(
        body=b"",
        action=place_of(leg),
        nonce=leg.nonce,
        expire_time_ms=leg.expire_ms,
        transaction_hash=leg.transaction_hash,
    )


def key_index_of(signed: SignedBytes) -> int:
    """Return the number of the API key in a transaction of Lighter's; 0 where there are no numbered keys."""
    found = _KEY_INDEX.search(signed.body)
    return int(found.group(1)) if found is not None else 0
