"""A quote as bytes: what is kept of it, sent of it, and compared with what an order asks for."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID
from weakref import WeakKeyDictionary

from perpmesh.routing.v1 import quote_pb2

from services.routing.app.desk import Ground, Quoted
from services.routing.model.caps import Held, owner_caps, worst_price
from services.routing.model.inputs import Inputs
from services.routing.model.wish import Limits, Wish
from services.routing.ports import KeptQuote
from services.routing.rpc.inputs import InputsWriter
from services.routing.rpc.quotes import digest_of, quote_bytes
from services.routing.rpc.wire import block, varint

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Scribe:
    """Writes quotes; what all quotes over one ground have in common is written once."""

    def __init__(self) -> None:
        self._writers: WeakKeyDictionary[Ground, InputsWriter] = WeakKeyDictionary()

    def write(self, quoted: Quoted, user: str | None) -> KeptQuote:
        """Return a quote as it is kept, for its user or for anyone."""
        writer = self._writers.get(quoted.ground) if quoted.ground is not None else InputsWriter(quoted.inputs)
        if writer is None:
            assert quoted.ground is not None
            writer = self._writers[quoted.ground] = InputsWriter(quoted.ground.inputs)
        inputs = writer.write(quoted.inputs)
        digest = digest_of(inputs)
        return KeptQuote(
            quote_id=quoted.quote_id,
            user_id=UUID(user) if user is not None else None,
            market=quoted.inputs.market,
            create_time=_EPOCH + timedelta(microseconds=quoted.inputs.time_ns // 1_000),
            expire_time=_EPOCH + timedelta(microseconds=quoted.expire_ns // 1_000),
            digest=digest,
            inputs=inputs,
            quote=quote_bytes(quoted, digest),
        )


def field(number: int, value: bytes) -> bytes:
    """Return a field of a message whose value is `value`: a message that is serialized already is not made again."""
    return block(varint(number << 3 | 2), value)


def serves(inputs: Inputs, quote: quote_pb2.Quote, wish: Wish, account_ids: Collection[str], limits: Limits) -> bool:
    """Return whether a quote answers what an order asks for, within every limit that the order and accounts state."""
    if quote.outcome != quote_pb2.Quote.OUTCOME_FEASIBLE:
        return False
    asked = (wish.market, wish.side, wish.reduce_only)
    if asked != (inputs.market, inputs.side, inputs.reduce_only):
        return False
    as_wished = (wish.size, wish.size_in_usd) == (inputs.size, inputs.size_in_usd)
    if not as_wished and (wish.size_in_usd or wish.size != Decimal(quote.size)):
        return False  # what was wished in dollars may be ordered by the size that came of it
    if wish.post_only != inputs.post_only or (inputs.resting and not wish.resting):
        return False
    if (
        wish.max_slippage_bps is not None
        and not inputs.resting
        and (inputs.max_slippage_bps is None or inputs.max_slippage_bps > wish.max_slippage_bps)
    ):
        return False
    for leg in quote.legs:
        if (wish.venues and leg.venue not in wish.venues) or leg.venue in wish.excluded:
            return False
        if leg.account_id and leg.account_id not in account_ids:
            return False
        if wish.limit_price is not None and (Decimal(leg.worst_price) - wish.limit_price) * inputs.side.sign > 0:
            return False
    return wish.reduce_only or all(_within(inputs, leg, wish, limits) for leg in quote.legs if leg.venue in limits)


def _within(inputs: Inputs, leg: quote_pb2.QuoteLeg, wish: Wish, limits: Limits) -> bool:
    """Return whether a leg is no more than the account that trades it may carry."""
    venue = next(one for one in inputs.venues if one.venue == leg.venue)
    held = Held(
        side=inputs.side,
        position_size=venue.position_size,
        worst_price=worst_price(inputs.side, wish.limit_price, inputs.arrival_mid_price, wish.max_slippage_bps),
        mark_price=venue.mark_price or inputs.arrival_mid_price,
    )
    size = Decimal(leg.size)
    return all(size <= cap.size for cap in owner_caps(limits[leg.venue][1], held))
