"""One connection to Valkey or Redis that can never hand a reply to the wrong caller.

redis-py brings addresses, authentication, TLS and the parser; who may use a connection, and what happens when a caller
is canceled between sending and reading, is decided here: a connection belongs to one exchange at a time, and whatever
ends an exchange early (cancellation, a time-out, a cut) closes it, so that a late reply dies with it. That closes the
class of CVE-2023-28858, where a canceled command's reply answered the next caller.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Sequence
from typing import Any

import redis.asyncio as redis
from redis.exceptions import RedisError, ResponseError

from services.chassis.config import ConfigError

Command = tuple[bytes | str | int, ...]
"""One command and its arguments."""

Away = (OSError, RedisError, TimeoutError, asyncio.IncompleteReadError)
"""What a server that is away, or answers nonsense, raises."""


class Connector:
    """Makes connections to one server from its URL."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        """Read `redis://`, `rediss://` or `unix://` URLs; `timeout_s` bounds connecting."""
        try:
            self._pool: Any = redis.ConnectionPool.from_url(
                url, socket_connect_timeout=timeout_s, socket_timeout=timeout_s, retry_on_timeout=False, protocol=2
            )
        except ValueError:
            raise ConfigError(
                "The Valkey URL must look like redis://user:password@host:6379/0, rediss://... or unix:///path."
            ) from None

    async def connect(self) -> Any:
        """Return a new, authenticated connection."""
        connection = self._pool.make_connection()
        try:
            await connection.connect()
        except BaseException:
            await drop(connection)
            raise
        return connection


async def drop(connection: Any) -> None:
    """Close a connection without waiting for the other side, whatever its state."""
    with contextlib.suppress(Exception):
        await connection.disconnect(nowait=True)


class Line:
    """One connection with one exchange at a time; it connects when needed."""

    def __init__(self, connector: Connector, *, timeout_s: float) -> None:
        self._connector = connector
        self._timeout_s = timeout_s
        self._connection: Any = None
        self._turn = asyncio.Lock()

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one write and return their replies in order; an error reply is returned, not raised.

        The whole takes at most the time-out, the wait for its turn included. Raises one of `Away`.
        """
        async with asyncio.timeout(self._timeout_s), self._turn:
            connection, self._connection = self._connection, None
            try:
                if connection is None:
                    connection = await self._connector.connect()
                await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
                replies = [await _reply(connection) for _ in commands]
            except BaseException:
                if connection is not None:
                    await drop(connection)
                raise
            self._connection = connection  # only a line that owes no reply is kept
            return replies

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await drop(connection)


async def _reply(connection: Any) -> Any:
    try:
        return await connection.read_response(disable_decoding=True, timeout=math.inf, disconnect_on_error=False)
    except ResponseError as error:
        return error
