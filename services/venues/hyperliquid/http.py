"""Hyperliquid's questions over `POST /info`, each with its weight (the venue allows 1,200 a minute per address).

Every method raises `VenueError` with a sentence: the venue did not answer, or not with what its protocol says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from services.chassis.clock import Clock
from services.domain.feed import BookSnapshot, PastCandle, PastFunding
from services.venues.budget import Allowance
from services.venues.hyperliquid.budgets import PRICES_WEIGHT
from services.venues.hyperliquid.wire import events, info, past
from services.venues.hyperliquid.wire.universe import Universe, build
from services.venues.hyperliquid.wire.values import WireError
from services.venues.port import VenueError
from services.venues.rest import Rest

WEIGHT_ALLOWED: Final = Allowance(units=PRICES_WEIGHT, seconds=60, reserve=100)
BOOK_WEIGHT: Final = 2
META_WEIGHT: Final = 20
HISTORY_WEIGHT: Final = 20
"""Of a question about the past; more by what comes back."""
CANDLES_MAX: Final = 5_000
"""The most candles of one answer; the venue has no older ones."""
FUNDINGS_MAX: Final = 500
INTERVALS: Final = {60: "1m", 300: "5m", 900: "15m", 3_600: "1h", 14_400: "4h", 86_400: "1d"}
PATH: Final = "/info"
_SECOND_NS: Final = 1_000_000_000
_HOUR_NS: Final = 3_600 * _SECOND_NS


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

    async def candles(self, symbol: str, interval_s: int, start_ns: int, end_ns: int) -> list[PastCandle]:
        """Return the candles that open in [start, end), oldest first; weight 20 and 1 for each 60 that may come."""
        end_ns = min(end_ns, start_ns + CANDLES_MAX * interval_s * _SECOND_NS)
        weight = HISTORY_WEIGHT + (end_ns - start_ns) // (interval_s * _SECOND_NS) // 60
        wanted = {
            "coin": symbol,
            "interval": INTERVALS[interval_s],
            "startTime": start_ns // 1_000_000,
            "endTime": end_ns // 1_000_000 - 1,
        }
        body = await self._rest.post(PATH, info.ask("candleSnapshot", req=wanted), weight=weight)
        try:
            found = [past.candle(raw, symbol) for raw in info.decode_candles(body)]
        except WireError as error:
            raise VenueError(f"Hyperliquid's candles of {symbol} cannot be read: {error}") from error
        return past.between(found, start_ns, end_ns)

    async def fundings(self, symbol: str, start_ns: int, end_ns: int) -> list[PastFunding]:
        """Return the rates settled in [start, end), oldest first; weight 20 and 1 for each 20 that may come."""
        end_ns = min(end_ns, start_ns + FUNDINGS_MAX * _HOUR_NS)
        weight = HISTORY_WEIGHT + (end_ns - start_ns) // _HOUR_NS // 20 + 1
        asked = info.ask(
            "fundingHistory", coin=symbol, startTime=start_ns // 1_000_000, endTime=end_ns // 1_000_000 - 1
        )
        body = await self._rest.post(PATH, asked, weight=weight)
        try:
            found = [past.funding(raw, symbol) for raw in info.decode_funding(body)]
        except WireError as error:
            raise VenueError(f"Hyperliquid's funding of {symbol} cannot be read: {error}") from error
        return sorted(found, key=lambda one: one.settle_time_ns)

    async def close(self) -> None:
        """Give the sockets back."""
        await self._rest.close()
