"""Keeps a `TokenVerifier` up to date: keys and revocations from auth's page, revocations at once from the bus.

Every `POLL_S` the page is asked for what is new; together with auth's own pause that keeps a revocation under a second
even while the bus is away. While auth is away what was known goes on counting: a restart of auth refuses no request,
and a token that was to be revoked lives no longer than its own 15 minutes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from urllib.parse import urlsplit

from services.chassis.access_token import TokenError, read_keys
from services.chassis.bus import Channels
from services.chassis.clock import SYSTEM, Clock
from services.chassis.config import ConfigError
from services.chassis.metrics import METRICS, Metrics
from services.chassis.tasks import Supervisor
from services.chassis.telemetry import Log, log
from services.chassis.verifier import AuthConfig, TokenVerifier

POLL_S = 0.4
FIRST_POLL_S = 0.05
"""How often the page is asked until it has answered once."""
TIMEOUT_S = 2.0
ANSWER_BYTES_MAX = 4 << 20
"""What is read of an answer: 90,000 revocations."""
CHANNEL = "auth:ended"
"""Carries ids of ended sessions and API tokens, in ASCII, split by commas."""
CHANNEL_BUFFER_MAX = 10_000
PATH = "/verification"
KEYS_PATH = "/.well-known/jwks.json"


class AuthFeed:
    """What a room runs to know whose tokens count."""

    def __init__(
        self,
        config: AuthConfig,
        *,
        callers: Iterable[str] = (),
        clock: Clock = SYSTEM,
        metrics: Metrics = METRICS,
        logger: Log = log,
    ) -> None:
        """Prepare; `callers` are the services that may make the room's internal calls."""
        parts = urlsplit(config.url)
        if parts.scheme != "http" or not parts.hostname or not parts.port:
            raise ConfigError(
                f"PERPMESH_AUTH_URL must look like http://127.0.0.1:7102, not {config.url!r}: correct it."
            )
        self._host, self._port = parts.hostname, parts.port
        self.verifier = TokenVerifier(
            issuer=config.issuer, audience=config.audience, callers=callers, clock=clock, metrics=metrics
        )
        self._clock = clock
        self._log = logger
        self._epoch, self._after, self._keys = "", 0, ""
        self._heard_s: float | None = None
        self._well = True
        age = metrics.gauge("perpmesh_auth_feed_age_seconds", "How long ago auth was last heard; -1 before.")
        age.set_function(self._age_s)

    def _age_s(self) -> float:
        return -1.0 if self._heard_s is None else self._clock.monotonic() - self._heard_s

    async def run(self) -> None:
        """Ask again and again, until canceled."""
        while True:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    await self.look()
                self._tell(None)
            except (OSError, TimeoutError, ValueError, KeyError, TokenError, asyncio.IncompleteReadError) as error:
                self._tell(error)
            await self._clock.sleep(FIRST_POLL_S if self._heard_s is None else POLL_S)

    async def listen(self, channels: Channels) -> None:
        """Take revocations from the bus as they happen, until canceled; what is missed there the page has."""
        async with channels.subscribe([CHANNEL], buffer_max=CHANNEL_BUFFER_MAX) as heard:
            async for delivery in heard:
                self.verifier.set_ended(delivery.payload.decode("ascii", "replace").split(","), whole=False)

    async def look(self) -> None:
        """Ask once and take in what is new."""
        query = f"epoch={self._epoch}&after={self._after}&keys={self._keys}"
        said = json.loads(await _get(self._host, self._port, f"{PATH}?{query}"))
        keys = read_keys(json.dumps(said["keys"]).encode()) if "keys" in said else None
        self.verifier.set_ended(said["ended"], whole=said["whole"])  # before keys make the room able to verify
        if keys is not None:
            self.verifier.set_keys(keys)
            self._keys = said["keys_digest"]
        self._epoch, self._after = said["epoch"], said["last"]
        self._heard_s = self._clock.monotonic()

    def _tell(self, error: BaseException | None) -> None:
        """Log when the page comes and goes, and not at every look."""
        well = error is None
        if well != self._well:
            self._well = well
            self._log.warning("auth.heard" if well else "auth.away", error=repr(error)[:200] if error else "")


async def _get(host: str, port: int, target: str) -> bytes:
    """Return the body of a page; raises OSError or ValueError for anything but a whole answer of status 200."""
    reader, writer = await asyncio.open_connection(host, port, limit=ANSWER_BYTES_MAX)
    try:
        writer.write(f"GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii", "replace").lower()
        status, _, fields = head.partition("\r\n")
        lengths = [
            line.partition(":")[2].strip() for line in fields.split("\r\n") if line.startswith("content-length:")
        ]
        if " 200 " not in f"{status} " or len(lengths) != 1 or not 0 <= int(lengths[0]) <= ANSWER_BYTES_MAX:
            raise ValueError(f"auth answered {status[:80]!r}")
        return await reader.readexactly(int(lengths[0]))
    finally:
        writer.close()


def feed_of(config: AuthConfig, callers: Iterable[str] = ()) -> AuthFeed | None:
    """Return the feed of a room, or None where it verifies nobody."""
    return AuthFeed(config, callers=callers) if config.url else None


def start_feed(feed: AuthFeed | None, tasks: Supervisor, channels: Channels | None = None) -> None:
    """Keep a feed fresh in a room's supervised tasks; with channels, revocations come at once."""
    if feed is None:
        return
    tasks.start("auth_feed", feed.run)
    if channels is not None:
        tasks.start("auth_channel", lambda: feed.listen(channels))
