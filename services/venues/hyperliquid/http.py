"""Hyperliquid's questions over `POST /info`, each with its weight (the venue allows 1,200 a minute per address).

Every method raises `VenueError` with a sentence: the venue did not answer, or not with what its protocol says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from services.chassis.clock import Clock
from services.domain.feed import BookSnapshot
from services.venues.budget import Allowance
from services.venues.hyperliquid.wire import events, info
from services.venues.hyperliquid.wire.universe import Universe, build
from services.venues.hyperliquid.wire.values import WireError
from services.venues.port import VenueError
from services.venues.rest import Rest

WEIGHT_ALLOWED: Final = Allowance(units=1_200, seconds=60, reserve=100)
BOOK_WEIGHT: Final = 2
META_WEIGHT: Final = 20
PATH: Final = "/info"


class Info:
    """The REST interface of one Hyperliquid."""

    def __init__(self, rest: Rest, clock: Clock) -> None:
        self._rest = rest
        self._clock = clock
        self._tokens: Sequence[info.RawToken] = ()

    async def universe(self) -> Universe:
        """Return what is listed now; weight 40, or 60 when a collateral token is not known yet."""
        metas_body = await self._rest.post(PATH, info.ask("allPerpMetas"), weight=META_WEIGHT)
        dexes_body = await self._rest.post(PATH, info.ask("perpDexs"), weight=META_WEIGHT)
        try:
            metas, dexes = info.decode_metas(metas_body), info.decode_dexes(dexes_body)
        except WireError as error:
            raise VenueError(f"Hyperliquid's list of markets cannot be read: {error}") from error
        known = {token.index for token in self._tokens}
        if any(meta.collateralToken not in known for meta in metas):
            spot_body = await self._rest.post(PATH, info.ask("spotMeta"), weight=META_WEIGHT)
            try:
                self._tokens = info.decode_spot_meta(spot_body).tokens
            except WireError as error:
                raise VenueError(f"Hyperliquid's list of tokens cannot be read: {error}") from error
        try:
            return build(metas, dexes, self._tokens)
        except WireError as error:
            raise VenueError(f"Hyperliquid's list of markets contradicts itself: {error}") from error

    async def book(self, symbol: str, universe: Universe) -> BookSnapshot:
        """Return the 20 best levels per side of a coin; weight 2."""
        body = await self._rest.post(PATH, info.ask("l2Book", coin=symbol), weight=BOOK_WEIGHT)
        try:
            raw = info.decode_book(body)
            if raw is None:
                raise VenueError(f"Hyperliquid knows no book of {symbol}")
            if raw.coin != symbol:
                raise WireError("coin", f"{raw.coin!r:.80} was answered, {symbol!r} asked")
            return events.book(raw, universe, depth=events.FULL_DEPTH, receive_time_ns=self._clock.time_ns())
        except WireError as error:
            raise VenueError(f"Hyperliquid's book of {symbol} cannot be read: {error}") from error

    async def close(self) -> None:
        """Give the sockets back."""
        await self._rest.close()
