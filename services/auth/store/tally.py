"""One bucket for each user, in Valkey, so that every edge and every replica of this room counts the same requests.

The bucket is one number: the moment at which it will be full again (the generic cell rate algorithm, ITU-T I.371). It
is read, judged and moved by one script, by the server's own clock, so that no two edges both take the last place. It
expires with the moment it names; losing it gives a user one burst more, and nothing else.
"""

from __future__ import annotations

import itertools
from typing import Final

from services.auth.model.allowance import Allowance, Standing
from services.chassis.valkey import Away, Connector, Line

TIMEOUT_S: Final = 0.3
"""How long an exchange may take: the edge does not wait longer, and lets the request pass."""
LINES: Final = 4
"""Connections: an exchange waits for its turn on one of them."""

SCRIPT: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local every, room, hits = tonumber(ARGV[1]), tonumber(ARGV[1]) * tonumber(ARGV[2]), tonumber(ARGV[3])
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local after = full + every * hits
if after > now + room then
  return {0, math.floor((now + room - full) / every), after - now - room}
end
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000) + 1)
return {1, math.floor((now + room - after) / every), after - now}
"""


class ValkeyTally:
    """The port `Tally`."""

    def __init__(self, url: str, allowance: Allowance, *, timeout_s: float = TIMEOUT_S) -> None:
        connector = Connector(url, timeout_s=timeout_s)
        self._lines = [Line(connector, timeout_s=timeout_s) for _ in range(LINES)]
        self._turn = itertools.cycle(self._lines)
        self._allowance = allowance

    async def close(self) -> None:
        """Close the connections."""
        for line in self._lines:
            await line.close()

    async def take(self, user: str, hits: int) -> Standing | None:
        """Count `hits` requests of a user where they fit; None when nobody can count now."""
        of = self._allowance
        command = ("EVAL", SCRIPT, 1, f"auth:tally:{user}", of.every_us, of.burst, hits)
        try:
            (reply,) = await next(self._turn).exchange([command])
        except Away:
            return None
        if not isinstance(reply, list):  # an error of the server's
            return None
        fits, left, reset_us = (int(one) for one in reply)
        return Standing(fits=fits == 1, left=max(0, left), reset_us=reset_us)
