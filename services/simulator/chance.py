"""The simulator's only chance: generators that are told what to draw."""

from __future__ import annotations

from random import Random


def seeded(name: str) -> Random:
    """Return a generator whose draws depend on `name` alone."""
    return Random(name)  # noqa: S311 - a simulated market, no secret
