"""The bus: latest values and channels in Valkey or Redis. A cache and a shortcut, never the truth.

`LatestValues` keeps bytes under keys for a short time. `Channels` carries bytes to whoever listens now: every message
has a sequence number per channel and publisher, so that a reader notices what it missed and asks its source. Nothing
here holds up a feed: publishing never waits; when the server is away writes are dropped and counted, reads are misses,
and it is asked again only every `retry_s`. Keys of several things that go together carry a hash tag (`tagged`), and
several keys are written and read as single commands in one pipeline, so that a cluster could hold them.

`valkey_bus.py` is the real one; a fake for tests (`tests/support/bus.py`) passes the same suite
(`tests/referee/test_bus.py`).
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from services.chassis.config import setting
from services.chassis.ids import new_seed

CHANNELS_MAX = 10_000
"""Channels one process publishes to; a message to a further one is dropped."""
EPOCHS_MAX = 4
"""Publishers of one channel whose sequence a reader follows at once."""

_HEAD = struct.Struct(">QQ")


@dataclass(frozen=True, kw_only=True)
class BusConfig:
    """Where the bus is and what bounds it."""

    url: str = setting(
        "PERPMESH_VALKEY_URL",
        "Valkey or Redis, such as redis://user:password@127.0.0.1:6379/0; rediss:// for TLS.",
        secret=True,
        default="redis://127.0.0.1:6379/0",
    )
    timeout_s: float = setting(
        "PERPMESH_VALKEY_TIMEOUT_S",
        "How long one exchange with Valkey may take, in seconds, before it counts as away.",
        default=0.25,
        minimum=0.01,
        maximum=5,
    )
    retry_s: float = setting(
        "PERPMESH_VALKEY_RETRY_S",
        "How long Valkey is not asked after it was found away, in seconds.",
        default=0.5,
        minimum=0.01,
        maximum=60,
    )
    publish_queue_max: int = setting(
        "PERPMESH_VALKEY_PUBLISH_QUEUE_MAX",
        "Messages waiting to be published; when more come the oldest are dropped and counted.",
        default=10_000,
        minimum=1,
        maximum=1_000_000,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message of a channel."""

    channel: str
    payload: bytes
    sequence: int
    """Counts up by one per channel and publisher."""
    missed: int
    """How many messages of this publisher were lost just before this one."""
    restarted: bool
    """Whether another publisher is heard for the first time after an earlier one: what was missed is unknown."""


class Subscription(Protocol):
    """What a reader of channels holds; iterate to get deliveries, leave the block to end it."""

    @property
    def dropped(self) -> int:
        """Return how many deliveries were dropped because nobody read them."""

    async def __aenter__(self) -> Subscription: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __aiter__(self) -> AsyncIterator[Delivery]: ...

    async def ready(self) -> None:
        """Return once the server has confirmed every channel asked for."""

    def add(self, channels: Collection[str]) -> None:
        """Listen to further channels; takes effect at once or with the next connection."""

    def remove(self, channels: Collection[str]) -> None:
        """Listen to these channels no more."""


class LatestValues(Protocol):
    """Bytes under keys for a short time."""

    async def put_many(self, values: Mapping[str, bytes], *, ttl_ms: int) -> bool:
        """Set every key, each to lapse after `ttl_ms`; False when that could not be made sure."""

    async def get(self, key: str) -> bytes | None:
        """Return a value, or None for a miss (lapsed, never set, or the server is away)."""

    async def get_many(self, keys: Collection[str]) -> dict[str, bytes]:
        """Return the values of those keys that have one."""


class Channels(Protocol):
    """Bytes to whoever listens now."""

    def publish(self, channel: str, payload: bytes) -> bool:
        """Hand a message over without waiting; False when something was dropped for it."""

    def subscribe(self, channels: Collection[str], *, buffer_max: int) -> Subscription:
        """Listen to channels. At `buffer_max` unread deliveries the oldest are dropped, and show as `missed`."""


def tagged(prefix: str, tag: str) -> str:
    """Return a key whose hash slot depends on `tag` alone: `prefix:{tag}`."""
    return f"{prefix}:{{{tag}}}"


class Framer:
    """Puts the publisher's epoch and the channel's next sequence before a payload."""

    def __init__(self, epoch: int | None = None) -> None:
        self._epoch = new_seed() if epoch is None else epoch
        self._sequences: dict[str, int] = {}

    def frame(self, channel: str, payload: bytes) -> bytes | None:
        """Return what travels, or None when there are too many channels."""
        sequence = self._sequences.get(channel)
        if sequence is None:
            if len(self._sequences) >= CHANNELS_MAX:
                return None
            sequence = 0
        self._sequences[channel] = sequence + 1
        return _HEAD.pack(self._epoch, sequence) + payload


class Follower:
    """Reads frames and notices what is missing, per channel and publisher."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[int, int]] = {}

    def read(self, channel: str, frame: bytes) -> Delivery | None:
        """Return the delivery, or None for bytes that are no frame."""
        if len(frame) < _HEAD.size:
            return None
        epoch, sequence = _HEAD.unpack_from(frame)
        epochs = self._seen.setdefault(channel, {})
        last = epochs.pop(epoch, None)
        restarted = last is None and bool(epochs)
        missed = 0 if last is None else max(0, sequence - last - 1)
        if len(epochs) >= EPOCHS_MAX:
            del epochs[next(iter(epochs))]
        epochs[epoch] = sequence
        return Delivery(
            channel=channel, payload=frame[_HEAD.size :], sequence=sequence, missed=missed, restarted=restarted
        )

    def forget(self, channels: Collection[str]) -> None:
        """Forget channels that are listened to no more."""
        for channel in channels:
            self._seen.pop(channel, None)
