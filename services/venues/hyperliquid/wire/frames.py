"""The frames of Hyperliquid's WebSocket: `{"channel": ..., "data": ...}` in JSON text, decoded in one typed pass.

Only fields that are used are declared; the rest is checked as JSON and skipped. Numbers stay the venue's texts here:
what scale they have depends on the market (see `events`).
"""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec

from services.venues.hyperliquid.wire.values import DECODE_ERRORS, TIME_MS_MAX, WireError, undecodable

GREETING: Final = b"Websocket connection established."
"""What older servers said first, outside the protocol."""
FRAME_BYTES_MAX: Final = 4 * 1024 * 1024
"""A frame is refused beyond this; the largest seen, all contexts, has 116 kB."""

Coin = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
TimeMs = Annotated[int, msgspec.Meta(ge=0, le=TIME_MS_MAX)]
"""Milliseconds since the Unix epoch."""


class RawLevel(msgspec.Struct, gc=False):
    """One level of a book; the count of orders is not used."""

    px: str
    sz: str


class RawBook(msgspec.Struct, gc=False):
    """A whole book: bids from the best down, asks from the best up. Also what REST answers to `l2Book`."""

    coin: Coin
    time: TimeMs
    levels: tuple[list[RawLevel], list[RawLevel]]
    spread: str | None = None
    """Present only in aggregated books, which are never asked for."""
    fast: bool | None = None
    """Marks the five-level book on some servers; others leave it out."""


class RawTop(msgspec.Struct, gc=False):
    """The best bid and ask, null where there is none."""

    coin: Coin
    time: TimeMs
    bbo: tuple[RawLevel | None, RawLevel | None]


class RawTrade(msgspec.Struct, gc=False):
    """One print. `side` is the aggressor's: B for a buyer, A for a seller."""

    coin: Coin
    side: str
    px: str
    sz: str
    time: TimeMs
    tid: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class RawContext(msgspec.Struct, gc=False):
    """What the venue says of a perpetual market beside its book."""

    funding: str
    openInterest: str  # noqa: N815 (the venue's name)
    dayNtlVlm: str  # noqa: N815
    oraclePx: str  # noqa: N815
    markPx: str  # noqa: N815
    midPx: str | None = None  # noqa: N815


class RawActiveContext(msgspec.Struct, gc=False):
    """The context of one market."""

    coin: Coin
    ctx: RawContext


class RawDexContexts(msgspec.Struct, gc=False):
    """The contexts of one dex, by position in its universe."""

    dex: str
    ctxs: list[RawContext]


class RawAllContexts(msgspec.Struct, gc=False):
    """The contexts of every dex, each by position in its universe."""

    ctxs: list[tuple[str, list[RawContext]]]


class RawMids(msgspec.Struct, gc=False):
    """Mid prices by coin, spot and outcome markets among them."""

    mids: dict[str, str]
    dex: str = ""


class RawCandle(msgspec.Struct, gc=False):
    """One candle: open and close time, symbol, interval, open, close, high, low, volume, count of trades."""

    t: TimeMs
    T: TimeMs
    s: Coin
    i: str
    o: str
    c: str
    h: str
    l: str  # noqa: E741 (the venue's name)
    v: str
    n: Annotated[int, msgspec.Meta(ge=0)]


class Subscription(msgspec.Struct, gc=False, frozen=True, omit_defaults=True):
    """A subscription, as asked for and as acknowledged. The venue fills in defaults: see `normal`."""

    type: str
    coin: str | None = None
    dex: str | None = None
    fast: bool | None = None
    nSigFigs: int | None = None  # noqa: N815
    mantissa: int | None = None
    interval: str | None = None

    def normal(self) -> Subscription:
        """Return the subscription without the defaults that the venue fills in, so that two spellings compare equal."""
        return Subscription(
            type=self.type, coin=self.coin, dex=self.dex or None, fast=self.fast or None,
            nSigFigs=self.nSigFigs, mantissa=self.mantissa, interval=self.interval,
        )  # fmt: skip


class RawAck(msgspec.Struct, gc=False):
    """The answer to a subscription; comes before its first data."""

    method: str
    subscription: Subscription


class PostInfo(msgspec.Struct, gc=False, tag_field="type", tag="info"):
    """The answer to a question posted over the socket."""

    payload: msgspec.Raw


class PostAction(msgspec.Struct, gc=False, tag_field="type", tag="action"):
    """The answer to an action posted over the socket; none is sent here."""

    payload: msgspec.Raw


class PostError(msgspec.Struct, gc=False, tag_field="type", tag="error"):
    """A post that failed as an HTTP request would."""

    payload: str


class RawPost(msgspec.Struct, gc=False):
    """A reply to a post, matched by its id."""

    id: int
    response: PostInfo | PostAction | PostError


class BookFrame(msgspec.Struct, gc=False, tag_field="channel", tag="l2Book"):
    """Channel `l2Book`."""

    data: RawBook


class TopFrame(msgspec.Struct, gc=False, tag_field="channel", tag="bbo"):
    """Channel `bbo`."""

    data: RawTop


class TradesFrame(msgspec.Struct, gc=False, tag_field="channel", tag="trades"):
    """Channel `trades`; the first frame repeats about 30 recent trades."""

    data: list[RawTrade]


class ActiveContextFrame(msgspec.Struct, gc=False, tag_field="channel", tag="activeAssetCtx"):
    """Channel `activeAssetCtx`, once a second."""

    data: RawActiveContext


class AllContextsFrame(msgspec.Struct, gc=False, tag_field="channel", tag="allDexsAssetCtxs"):
    """Channel `allDexsAssetCtxs`, every 13.6 s."""

    data: RawAllContexts


class DexContextsFrame(msgspec.Struct, gc=False, tag_field="channel", tag="assetCtxs"):
    """Channel `assetCtxs`."""

    data: RawDexContexts


class MidsFrame(msgspec.Struct, gc=False, tag_field="channel", tag="allMids"):
    """Channel `allMids`, every 5 s."""

    data: RawMids


class CandleFrame(msgspec.Struct, gc=False, tag_field="channel", tag="candle"):
    """Channel `candle`."""

    data: RawCandle


class AckFrame(msgspec.Struct, gc=False, tag_field="channel", tag="subscriptionResponse"):
    """Channel `subscriptionResponse`."""

    data: RawAck


class ErrorFrame(msgspec.Struct, gc=False, tag_field="channel", tag="error"):
    """Channel `error`; the socket stays open."""

    data: str


class PongFrame(msgspec.Struct, gc=False, tag_field="channel", tag="pong"):
    """Channel `pong`, which has no data. The greeting of older servers is read as one."""


class PostFrame(msgspec.Struct, gc=False, tag_field="channel", tag="post"):
    """Channel `post`."""

    data: RawPost


Frame = (
    BookFrame | TopFrame | TradesFrame | ActiveContextFrame | AllContextsFrame | DexContextsFrame | MidsFrame
    | CandleFrame | AckFrame | ErrorFrame | PongFrame | PostFrame
)  # fmt: skip

_DECODER: Final[msgspec.json.Decoder[Frame]] = msgspec.json.Decoder(Frame)
_COIN: Final = re.compile(rb'"coin"\s*:\s*"([^"\\]{1,64})"')
_COIN_WITHIN_BYTES: Final = 4096


def decode(frame: bytes) -> Frame:
    """Return what `frame` says. Raises `WireError`, with the coin as far as it can be made out."""
    if len(frame) > FRAME_BYTES_MAX:
        raise WireError("$", f"{len(frame)} bytes; at most {FRAME_BYTES_MAX} would pass")
    try:
        return _DECODER.decode(frame)
    except DECODE_ERRORS as error:
        if frame == GREETING:
            return PongFrame()
        undecodable(error, coin=coin_in(frame))


def coin_in(frame: bytes) -> str:
    """Return the coin that a frame which cannot be decoded seems to be about, else an empty text."""
    found = _COIN.search(frame, 0, _COIN_WITHIN_BYTES)
    return found.group(1).decode("ascii", "replace") if found else ""


class _Request(msgspec.Struct, gc=False):
    """What a client says, as an error repeats it."""

    method: str
    subscription: Subscription


_REQUEST: Final[msgspec.json.Decoder[_Request]] = msgspec.json.Decoder(_Request)
_SUBSCRIPTION: Final[msgspec.json.Decoder[Subscription]] = msgspec.json.Decoder(Subscription)


def subscription_in(text: str) -> Subscription | None:
    """Return the subscription that an error sentence repeats, None where it repeats none."""
    start = text.find("{")
    if start < 0:
        return None
    body = text[start:].encode("utf-8", "replace")
    try:
        return _REQUEST.decode(body).subscription.normal()
    except DECODE_ERRORS:
        pass
    try:
        return _SUBSCRIPTION.decode(body).normal()
    except DECODE_ERRORS:
        return None
