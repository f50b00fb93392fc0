"""Challenges in Valkey: kept for five minutes, taken by one command that reads and deletes.

Losing them (a restart, a flush) costs sign-ins that have to be begun again, and nothing else: that no nonce works twice
is also the record's word (`auth_sessions.nonce_hash`, `spent_nonces`), which no cache can take back.
"""

from __future__ import annotations

import itertools
import json
from datetime import datetime, timedelta
from typing import Any

from services.auth.model.challenge import Challenge, Purpose
from services.chassis.valkey import Away, Command, Connector, Line
from services.domain.errors import DomainError, Reason

TIMEOUT_S = 2.0
"""How long an exchange may take: here a caller waits, and a miss costs a sign-in."""

LINES = 4
"""Connections: an exchange waits for its turn on one of them."""


class ValkeyChallenges:
    """The port `Challenges`."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        connector = Connector(url, timeout_s=timeout_s)
        self._lines = [Line(connector, timeout_s=timeout_s) for _ in range(LINES)]
        self._turn = itertools.cycle(self._lines)

    async def close(self) -> None:
        """Close the connections."""
        for line in self._lines:
            await line.close()

    async def keep(self, nonce: str, challenge: Challenge, *, lifetime: timedelta) -> None:
        """Keep a challenge; raises PEER_UNAVAILABLE when that cannot be made sure."""
        kept = {
            "text": challenge.text,
            "purpose": challenge.purpose.value,
            "user": challenge.user,
            "binding": challenge.binding,
            "expire_time": challenge.expire_time.isoformat(),
        }
        ttl_ms = int(lifetime.total_seconds() * 1_000)
        reply = await self._ask(("SET", _key(nonce), json.dumps(kept), "NX", "PX", ttl_ms))
        if reply != b"OK":
            raise _away()

    async def take(self, nonce: str) -> Challenge | None:
        """Return a challenge and forget it in one step; None when there is none (any more)."""
        reply = await self._ask(("GETDEL", _key(nonce)))
        if reply is None:
            return None
        if not isinstance(reply, bytes):
            raise _away()
        kept = json.loads(reply)
        return Challenge(
            text=kept["text"],
            purpose=Purpose(kept["purpose"]),
            user=kept["user"],
            binding=kept["binding"],
            expire_time=datetime.fromisoformat(kept["expire_time"]),
        )

    async def _ask(self, command: Command) -> Any:
        try:
            replies = await next(self._turn).exchange([command])
        except Away:
            raise _away() from None
        return replies[0]


def _key(nonce: str) -> str:
    return f"auth:challenge:{nonce}"


def _away() -> DomainError:
    return DomainError(
        Reason.PEER_UNAVAILABLE,
        "Challenges cannot be kept or taken now, so that nobody can sign in: begin again in a moment.",
        metadata={"peer": "valkey"},
        retry_after_s=1.0,
    )
