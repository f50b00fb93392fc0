"""The words of the contract as enums. A value equals its name on the wire, so `State.LIVE == "STATE_LIVE"`.

A value that is newer than this client reads as UNSPECIFIED: never as one that can be trusted.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """How far what is known of a venue, or of one market there, can be trusted."""

    UNSPECIFIED = "STATE_UNSPECIFIED"
    LIVE = "STATE_LIVE"
    """Fed and within the venue's cadence."""
    STALE = "STATE_STALE"
    """Silent for longer than the venue's cadence allows: the values are the last known."""
    RECOVERING = "STATE_RECOVERING"
    """Connecting, resubscribing or waiting for a fresh snapshot: the values, if any, are the last known."""
    HALTED = "STATE_HALTED"
    """The venue does not trade the market now."""


class Source(StrEnum):
    """Where the values of a venue come from."""

    UNSPECIFIED = "SOURCE_UNSPECIFIED"
    MAINNET = "SOURCE_MAINNET"
    """The venue's own main network."""
    TESTNET = "SOURCE_TESTNET"
    """The venue's own test network: its prices are not the market's."""
    SIMULATED = "SOURCE_SIMULATED"
    """A simulated venue: synthetic, recorded or scripted, never the market."""


class Side(StrEnum):
    """The direction of an order, or of the aggressor of a trade."""

    UNSPECIFIED = "SIDE_UNSPECIFIED"
    BUY = "SIDE_BUY"
    SELL = "SIDE_SELL"


class ListingStatus(StrEnum):
    """Whether a venue trades a market."""

    UNSPECIFIED = "STATUS_UNSPECIFIED"
    ACTIVE = "STATUS_ACTIVE"
    HALTED = "STATUS_HALTED"
    """Listed and not trading now."""
    DELISTED = "STATUS_DELISTED"
    """No longer listed."""


class Feed(StrEnum):
    """What is fed of a market; each value includes those before it."""

    UNSPECIFIED = "FEED_UNSPECIFIED"
    CONTEXT = "FEED_CONTEXT"
    """Mark, index, funding, volume and open interest only."""
    PRICE = "FEED_PRICE"
    """Also the best bid and ask, and trades."""
    BOOK = "FEED_BOOK"
    """Also the order book."""


class BreakerState(StrEnum):
    """Where the circuit breaker of a venue's endpoint stands."""

    UNSPECIFIED = "STATE_UNSPECIFIED"
    CLOSED = "STATE_CLOSED"
    """Everything passes."""
    OPEN = "STATE_OPEN"
    """Nothing passes until the retry time."""
    HALF_OPEN = "STATE_HALF_OPEN"
    """A few probes pass; their outcome closes or opens it."""


STATES = tuple(State)
SOURCES = tuple(Source)
SIDES = tuple(Side)
STATUSES = tuple(ListingStatus)
FEEDS = tuple(Feed)
BREAKER_STATES = tuple(BreakerState)
