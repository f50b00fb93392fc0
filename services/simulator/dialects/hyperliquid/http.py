"""POST /info over HTTP, with the venue's ways of refusing: 400, 405, 415, 422, 429 null and 500 null.

Bytes after the first JSON value are ignored and a key given twice is refused, as measured on the venue. The weight of
the items in an answer is not counted against the address.
"""

from __future__ import annotations

import json

import msgspec
from aiohttp import web

from services.simulator.config import Config
from services.simulator.connection import Rim
from services.simulator.dialects.hyperliquid.info import Info, ServerNullError, UnprocessableError
from services.simulator.limits import Window

encode = msgspec.json.Encoder().encode


class Http:
    """The HTTP door."""

    def __init__(self, info: Info, rim: Rim, config: Config) -> None:
        """Take who answers."""
        self._info = info
        self._rim = rim
        self._weight = Window(config.hyperliquid_weight_max)

    def routes(self, app: web.Application) -> None:
        """Serve /info."""
        app.router.add_post("/info", self._post)
        app.router.add_route("*", "/info", _other_method)

    async def _post(self, request: web.Request) -> web.Response:
        kind = request.content_type
        if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
            return _text(415, "Expected request with `Content-Type: application/json`")
        raw = (await request.read()).decode(errors="replace").lstrip()
        try:
            body, _ = json.JSONDecoder(object_pairs_hook=_pairs).raw_decode(raw)
        except UnprocessableError:
            return _unprocessable()
        except (ValueError, RecursionError):
            return _text(400, "Failed to parse the request body as JSON")
        if not self._weight.take(request.remote or "", self._info.weight(body), self._rim.clock.monotonic()):
            return _json(429, None)
        try:
            return _json(200, self._info.answer(body))
        except UnprocessableError:
            return _unprocessable()
        except ServerNullError:
            return _json(500, None)


async def _other_method(_request: web.Request) -> web.Response:
    return web.Response(status=405)


def _pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise UnprocessableError
    return found


def _unprocessable() -> web.Response:
    return _text(422, "Failed to deserialize the JSON body into the target type")


def _text(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text, content_type="text/plain")


def _json(status: int, body: object) -> web.Response:
    return web.Response(status=status, body=encode(body), content_type="application/json")
