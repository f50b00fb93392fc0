"""An exchange that the mesh is connected to: the state of its feed, its breakers and its limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from perpmesh_client.values.convert import span, time, word
from perpmesh_client.values.states import BREAKER_STATES, SOURCES, STATES, BreakerState, Source, State
from perpmesh_client.values.to_json import WIDE

if TYPE_CHECKING:
    from perpmesh.marketdata.v1 import venue_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One connection of the mesh to a venue."""

    name: str
    """Unique within the venue, such as `ws-0`."""
    state: State
    state_reason: str
    """Why the state is not LIVE, as a sentence; empty when it is."""
    frame_age: timedelta | None
    """The age of the last frame of any kind."""
    subscription_count: int
    reconnect_count: int = field(metadata=WIDE)
    """How many times it was made again since the mesh started."""

    @classmethod
    def from_proto(cls, message: venue_pb2.Venue.Connection) -> Connection:
        """Return the value a message holds."""
        return cls(
            name=message.name,
            state=word(STATES, message.state),
            state_reason=message.state_reason,
            frame_age=span(message.frame_age) if message.HasField("frame_age") else None,
            subscription_count=message.subscription_count,
            reconnect_count=message.reconnect_count,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """The circuit breaker of one endpoint: after too many failures nothing passes for a while, then probes do."""

    endpoint: str
    """What it guards, such as `rest` or `ws`."""
    state: BreakerState
    failure_count: int
    """Failures within the current window."""
    change_time: datetime | None
    """When it last changed."""
    retry_time: datetime | None
    """When it lets a probe through; None unless it is open."""
    last_failure: str
    """The last failure, as a sentence."""

    @classmethod
    def from_proto(cls, message: venue_pb2.Venue.Breaker) -> Breaker:
        """Return the value a message holds."""
        return cls(
            endpoint=message.endpoint,
            state=word(BREAKER_STATES, message.state),
            failure_count=message.failure_count,
            change_time=time(message.change_time) if message.HasField("change_time") else None,
            retry_time=time(message.retry_time) if message.HasField("retry_time") else None,
            last_failure=message.last_failure,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One of the venue's documented limits."""

    name: str
    """What is limited, such as `subscriptions` or `rest_weight_per_minute`."""
    used: int = field(metadata=WIDE)
    """How much is in use now."""
    allowed: int = field(metadata=WIDE)
    """How much the venue allows."""

    @classmethod
    def from_proto(cls, message: venue_pb2.Venue.Limit) -> Limit:
        """Return the value a message holds."""
        return cls(name=message.name, used=message.used, allowed=message.allowed)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedCounts:
    """What has passed through a venue's feed since the mesh started."""

    frames: int = field(metadata=WIDE)
    """Frames received."""
    bad_frames: int = field(metadata=WIDE)
    """Frames that could not be read."""
    gaps: int = field(metadata=WIDE)
    """Gaps found in a chain of book updates."""
    resyncs: int = field(metadata=WIDE)
    """Books built again from a fresh snapshot."""
    refused_subscriptions: int = field(metadata=WIDE)
    """Subscriptions the venue refused."""
    dropped_events: int = field(metadata=WIDE)
    """Events dropped because the mesh was behind; each is followed by a resync."""
    audits: int = field(metadata=WIDE)
    """Books compared with a fresh snapshot."""
    audit_differences: int = field(metadata=WIDE)
    """Audits that found a difference."""

    @classmethod
    def from_proto(cls, message: venue_pb2.Venue.FeedCounts) -> FeedCounts:
        """Return the value a message holds."""
        return cls(
            frames=message.frames,
            bad_frames=message.bad_frames,
            gaps=message.gaps,
            resyncs=message.resyncs,
            refused_subscriptions=message.refused_subscriptions,
            dropped_events=message.dropped_events,
            audits=message.audits,
            audit_differences=message.audit_differences,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Venue:
    """An exchange of perpetual futures that the mesh is connected to."""

    venue: str
    """The name, such as `hyperliquid`."""
    state: State
    """The state of the feed as a whole: the best of its connections. A single market can be worse."""
    state_reason: str
    """Why the state is not LIVE, as a sentence; empty when it is."""
    state_time: datetime | None
    """When the state last changed."""
    source: Source
    """Where the values come from."""
    address: str
    """The address of the venue's REST interface in use."""
    market_count: int
    """How many markets of the venue the mesh lists."""
    connections: tuple[Connection, ...]
    """In a fixed order."""
    breakers: tuple[Breaker, ...]
    limits: tuple[Limit, ...]
    """The venue's documented limits and how much of each is in use."""
    counts: FeedCounts | None
    """Counts since the mesh started."""

    @classmethod
    def from_proto(cls, message: venue_pb2.Venue) -> Venue:
        """Return the value a message holds."""
        return cls(
            venue=message.venue,
            state=word(STATES, message.state),
            state_reason=message.state_reason,
            state_time=time(message.state_time) if message.HasField("state_time") else None,
            source=word(SOURCES, message.source),
            address=message.address,
            market_count=message.market_count,
            connections=tuple(Connection.from_proto(item) for item in message.connections),
            breakers=tuple(Breaker.from_proto(item) for item in message.breakers),
            limits=tuple(Limit.from_proto(item) for item in message.limits),
            counts=FeedCounts.from_proto(message.counts) if message.HasField("counts") else None,
        )
