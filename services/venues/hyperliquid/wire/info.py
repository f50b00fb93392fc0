"""The answers of `POST /info` that public market data needs, decoded and typed; numbers stay the venue's texts."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeVar

import msgspec

from services.venues.hyperliquid.wire.frames import Coin, RawBook, RawCandle, RawContext, RawTrade, TimeMs
from services.venues.hyperliquid.wire.values import DECODE_ERRORS, undecodable


class RawMarket(msgspec.Struct, gc=False):
    """One entry of a universe; its position is part of its asset id, and stays when it is delisted."""

    name: Coin
    szDecimals: Annotated[int, msgspec.Meta(ge=0, le=6)]  # noqa: N815 (the venue's names, here and below)
    maxLeverage: Annotated[int, msgspec.Meta(ge=1, le=1000)]  # noqa: N815
    marginTableId: Annotated[int, msgspec.Meta(ge=0)] | None = None  # noqa: N815
    onlyIsolated: bool | None = None  # noqa: N815
    isDelisted: bool | None = None  # noqa: N815
    marginMode: str | None = None  # noqa: N815
    growthMode: str | None = None  # noqa: N815


class RawTier(msgspec.Struct, gc=False):
    """From `lowerBound` of notional on, at most `maxLeverage`."""

    lowerBound: str  # noqa: N815
    maxLeverage: Annotated[int, msgspec.Meta(ge=1, le=1000)]  # noqa: N815


class RawMarginTable(msgspec.Struct, gc=False):
    """A margin table: its tiers, the lowest first."""

    marginTiers: Annotated[list[RawTier], msgspec.Meta(min_length=1, max_length=64)]  # noqa: N815


class RawMeta(msgspec.Struct, gc=False):
    """One dex: its markets, margin tables and the token that is its collateral."""

    universe: list[RawMarket]
    marginTables: list[tuple[int, RawMarginTable]] = []  # noqa: N815
    collateralToken: Annotated[int, msgspec.Meta(ge=0)] = 0  # noqa: N815


class RawDex(msgspec.Struct, gc=False):
    """A builder's dex (HIP-3)."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=16)]
    deployerFeeScale: str | None = None  # noqa: N815


class RawToken(msgspec.Struct, gc=False):
    """A spot token. Look it up by `index`: its position in the list is another number."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    index: Annotated[int, msgspec.Meta(ge=0)]


class RawSpotMeta(msgspec.Struct, gc=False):
    """The spot tokens, among them every dex's collateral."""

    tokens: list[RawToken]


class RawFunding(msgspec.Struct, gc=False):
    """One settled hour of funding."""

    coin: Coin
    fundingRate: str  # noqa: N815
    time: TimeMs
    premium: str | None = None


T = TypeVar("T")

_META: Final = msgspec.json.Decoder(RawMeta)
_META_AND_CONTEXTS: Final = msgspec.json.Decoder(tuple[RawMeta, list[RawContext]])
_METAS: Final = msgspec.json.Decoder(list[RawMeta])
_DEXES: Final[msgspec.json.Decoder[list[RawDex | None]]] = msgspec.json.Decoder(list[RawDex | None])
_SPOT_META: Final = msgspec.json.Decoder(RawSpotMeta)
_BOOK: Final[msgspec.json.Decoder[RawBook | None]] = msgspec.json.Decoder(RawBook | None)
_MIDS: Final = msgspec.json.Decoder(dict[str, str])
_TRADES: Final = msgspec.json.Decoder(list[RawTrade])
_FUNDING: Final = msgspec.json.Decoder(list[RawFunding])
_CANDLES: Final = msgspec.json.Decoder(list[RawCandle])


def decode_meta(body: bytes) -> RawMeta:
    """Return the answer to `meta`."""
    return _decode(_META, body)


def decode_meta_and_contexts(body: bytes) -> tuple[RawMeta, list[RawContext]]:
    """Return the answer to `metaAndAssetCtxs`: the contexts are in the universe's order."""
    return _decode(_META_AND_CONTEXTS, body)


def decode_metas(body: bytes) -> list[RawMeta]:
    """Return the answer to `allPerpMetas`: every dex's meta, in the order of `perpDexs`."""
    return _decode(_METAS, body)


def decode_dexes(body: bytes) -> list[RawDex | None]:
    """Return the answer to `perpDexs`; the first entry, null, is the venue's own dex."""
    return _decode(_DEXES, body)


def decode_spot_meta(body: bytes) -> RawSpotMeta:
    """Return the answer to `spotMeta`."""
    return _decode(_SPOT_META, body)


def decode_book(body: bytes) -> RawBook | None:
    """Return the answer to `l2Book`; None for an unknown coin."""
    return _decode(_BOOK, body)


def decode_mids(body: bytes) -> dict[str, str]:
    """Return the answer to `allMids`."""
    return _decode(_MIDS, body)


def decode_trades(body: bytes) -> list[RawTrade]:
    """Return the answer to `recentTrades`."""
    return _decode(_TRADES, body)


def decode_funding(body: bytes) -> list[RawFunding]:
    """Return the answer to `fundingHistory`, the oldest first."""
    return _decode(_FUNDING, body)


def decode_candles(body: bytes) -> list[RawCandle]:
    """Return the answer to `candleSnapshot`, the oldest first."""
    return _decode(_CANDLES, body)


def _decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except DECODE_ERRORS as error:
        undecodable(error)


def ask(kind: str, **fields: Any) -> bytes:
    """Return the body of a question to `POST /info`."""
    return msgspec.json.encode({"type": kind, **fields})
