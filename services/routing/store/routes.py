"""Quotes just made, so that the same wish on the same books is not planned twice, and a frame of a stream can be cited.

A quote is found again only by its wish and the stamp of the books it was made from, never by time alone, and only while
at least half of its life is left. What is found by a wish was made for nobody in particular: quotes that count with
somebody's accounts are never shared. Replicas share by the bus (`routes:{hash}`); a wish is looked for there only when
it comes again, so that one that comes once costs no exchange. When the bus is away every look is a miss.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from google.protobuf.message import DecodeError
from perpmesh.routing.v1 import quote_pb2

from services.chassis.bus import LatestValues, tagged
from services.chassis.clock import Clock
from services.routing.model.books import Stamp
from services.routing.model.wish import Wish
from services.routing.ports import KeptQuote

PREFIX: Final = "routes"
LIFE_MAX_NS: Final = 10_000_000_000
"""No quote is found again after this, whatever its own life."""
WISHES_MAX: Final = 4_096
"""Wishes remembered, each with its last quote, of some two kilobytes."""
FRAMES_MAX: Final = 10_000
WAITING_MAX: Final = 1_000
PAUSE_S: Final = 0.02
"""How long quotes gather before they are given to the bus together."""
_HEAD: Final = struct.Struct(">QI")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class _Entry:
    stamp: Stamp
    quote: KeptQuote
    until_ns: int


class RecentRoutes:
    """The port `Routes`."""

    def __init__(self, values: LatestValues, clock: Clock) -> None:
        self._values = values
        self._clock = clock
        self._wishes: OrderedDict[Wish, _Entry] = OrderedDict()
        self._frames: OrderedDict[UUID, KeptQuote] = OrderedDict()
        self._waiting: OrderedDict[str, tuple[bytes, int]] = OrderedDict()
        self._arrived = asyncio.Event()

    def known(self, wish: Wish, stamp: Stamp) -> KeptQuote | None:
        """Return the quote of a wish on these books, where this process has it."""
        entry = self._wishes.get(wish)
        if entry is None or entry.stamp != stamp or entry.until_ns <= self._clock.time_ns():
            return None
        return entry.quote

    async def fetch(self, wish: Wish, stamp: Stamp) -> KeptQuote | None:
        """Return the quote of a wish that has come before, where another replica has just made it."""
        if wish not in self._wishes:
            return None
        raw = await self._values.get(_key(wish, stamp))
        found = None if raw is None else _read(raw, self._clock.time_ns())
        if found is not None:
            self._put(wish, _Entry(stamp, *found))
        return None if found is None else found[0]

    def remember(self, wish: Wish, stamp: Stamp, quote: KeptQuote, *, share: bool) -> None:
        """Remember a quote that counts with nobody's accounts; `share` gives it to the other replicas."""
        came_before = wish in self._wishes
        half_ns = int((quote.expire_time - quote.create_time) / timedelta(microseconds=1)) * 500
        until_ns = _nanoseconds(quote.create_time) + min(half_ns, LIFE_MAX_NS)
        self._put(wish, _Entry(stamp, quote, until_ns))
        if not (share and came_before):
            return
        self._waiting[_key(wish, stamp)] = _HEAD.pack(until_ns, len(quote.quote)) + quote.quote + quote.inputs, until_ns
        if len(self._waiting) > WAITING_MAX:
            self._waiting.popitem(last=False)
        self._arrived.set()

    def note_frame(self, quote: KeptQuote) -> None:
        """Remember a frame of a stream until it expires, so that an order can cite it."""
        now = _EPOCH + timedelta(microseconds=self._clock.time_ns() // 1_000)
        frames = self._frames
        frames[quote.quote_id] = quote
        while len(frames) > FRAMES_MAX or next(iter(frames.values())).expire_time <= now:
            frames.popitem(last=False)
            if not frames:
                return

    def frame(self, quote_id: UUID) -> KeptQuote | None:
        """Return a frame that was sent by this process and may still be cited."""
        return self._frames.get(quote_id)

    async def run(self) -> None:
        """Give the bus what gathers, until canceled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            await self._clock.sleep(PAUSE_S)
            waiting, self._waiting = self._waiting, OrderedDict()
            left_ns = max((until for _, until in waiting.values()), default=0) - self._clock.time_ns()
            left_ms = left_ns // 1_000_000
            if left_ms > 0:
                await self._values.put_many({key: raw for key, (raw, _) in waiting.items()}, ttl_ms=left_ms)

    def _put(self, wish: Wish, entry: _Entry) -> None:
        self._wishes[wish] = entry
        self._wishes.move_to_end(wish)
        if len(self._wishes) > WISHES_MAX:
            self._wishes.popitem(last=False)


def _key(wish: Wish, stamp: Stamp) -> str:
    return tagged(PREFIX, hashlib.sha256(f"{wish!r}\0{stamp.versions}".encode()).hexdigest())


def _read(raw: bytes, now_ns: int) -> tuple[KeptQuote, int] | None:
    """Return what another replica gave, or None where it is too old or not what it should be."""
    if len(raw) < _HEAD.size:
        return None
    until_ns, length = _HEAD.unpack_from(raw)
    quote, inputs = raw[_HEAD.size : _HEAD.size + length], raw[_HEAD.size + length :]
    try:
        message = quote_pb2.Quote.FromString(quote)
        quote_id = UUID(message.quote_id)
    except (DecodeError, ValueError):
        return None
    if until_ns <= now_ns or hashlib.sha256(inputs).hexdigest() != message.inputs_digest:
        return None
    made = KeptQuote(
        quote_id=quote_id,
        user_id=None,
        market=message.market,
        create_time=message.create_time.ToDatetime(tzinfo=UTC),
        expire_time=message.expire_time.ToDatetime(tzinfo=UTC),
        digest=message.inputs_digest,
        inputs=inputs,
        quote=quote,
    )
    return made, until_ns


def _nanoseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1_000
