"""`connections:{userId}` in Valkey: which sockets a user has, over all doors. A help and nothing more.

A sorted set of connection ids by when each lapses. A door writes its own again every `REFRESH_S`, so that those of a
door that died are gone after `LAPSE_S`. Nothing waits for it; while Valkey is away the map has holes, and heals.
"""

from __future__ import annotations

from services.chassis.bus import BusConfig, tagged
from services.chassis.clock import Clock
from services.chassis.valkey import Away, Command, Connector, Line

REFRESH_S = 20.0
LAPSE_S = 60.0
FLUSH_S = 0.2
_BATCH_MAX = 500


def key_of(user: str) -> str:
    """Return the key of a user's sockets."""
    return tagged("connections", user)


class ValkeyPresence:
    """The port `Presence`."""

    def __init__(self, config: BusConfig, clock: Clock) -> None:
        self._line = Line(Connector(config.url, timeout_s=config.timeout_s), timeout_s=config.timeout_s)
        self._clock = clock
        self._here: dict[tuple[str, str], float] = {}
        self._gone: set[tuple[str, str]] = set()

    def here(self, user: str, connection_id: str) -> None:
        """A socket is a user's."""
        self._here[user, connection_id] = 0.0

    def gone(self, user: str, connection_id: str) -> None:
        """It is not any more."""
        if self._here.pop((user, connection_id), None) is not None:
            self._gone.add((user, connection_id))

    async def run(self) -> None:
        """Write what changed and what would lapse, until canceled."""
        try:
            while True:
                await self._clock.sleep(FLUSH_S)
                await self._write()
        finally:
            await self._line.close()

    async def _write(self) -> None:
        now_s = self._clock.monotonic()
        gone = list(self._gone)[:_BATCH_MAX]
        due = [one for one, written in self._here.items() if now_s - written >= REFRESH_S or not written][:_BATCH_MAX]
        lapse_ms = self._clock.time_ns() // 1_000_000 + round(LAPSE_S * 1_000)
        commands: list[Command] = [("ZREM", key_of(user), connection) for user, connection in gone]
        for user, connection in due:
            key = key_of(user)
            commands.append(("ZADD", key, lapse_ms, connection))
            commands.append(("ZREMRANGEBYSCORE", key, "-inf", lapse_ms - round(LAPSE_S * 1_000)))
            commands.append(("PEXPIRE", key, round(LAPSE_S * 1_000)))
        if not commands:
            return
        try:
            await self._line.exchange(commands)
        except Away:
            return  # the next round tries again
        self._gone.difference_update(gone)
        for one in due:
            if one in self._here:
                self._here[one] = now_s
