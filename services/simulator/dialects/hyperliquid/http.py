"""POST /info and /exchange over HTTP, with the venue's ways of refusing: 400, 405, 415, 422, 429 null and 500 null.

Bytes after the first JSON value are ignored and a key given twice is refused, as measured on the venue. The items of an
answer are counted against the address after it was given.
"""

from __future__ import annotations

import asyncio
import json

import msgspec
from aiohttp import web

from services.simulator.acks import Spoil
from services.simulator.config import Config
from services.simulator.connection import Rim
from services.simulator.dialects.hyperliquid.desk import size_of
from services.simulator.dialects.hyperliquid.info import Info, ServerNullError, UnprocessableError, extra_weight
from services.simulator.dialects.hyperliquid.private import HyperliquidPrivate
from services.simulator.limits import Window

encode = msgspec.json.Encoder().encode


class Http:
    """The HTTP door."""

    def __init__(self, info: Info, private: HyperliquidPrivate, rim: Rim, config: Config) -> None:
        """Take who answers questions, and who carries out actions."""
        self._info = info
        self._private = private
        self._rim = rim
        self._weight = Window(config.hyperliquid_weight_max)

    def routes(self, app: web.Application) -> None:
        """Serve /info and /exchange."""
        app.router.add_post("/info", self._post)
        app.router.add_post("/exchange", self._exchange)
        for path in ("/info", "/exchange"):
            app.router.add_route("*", path, _other_method)

    async def _body(self, request: web.Request) -> object:
        """Read a body. Raises the response with which the venue refuses it."""
        kind = request.content_type
        if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
            raise Refusal(_text(415, "Expected request with `Content-Type: application/json`"))
        raw = (await request.read()).decode(errors="replace").lstrip()
        try:
            body, _ = json.JSONDecoder(object_pairs_hook=_pairs).raw_decode(raw)
        except UnprocessableError:
            raise Refusal(_unprocessable()) from None
        except (ValueError, RecursionError):
            raise Refusal(_text(400, "Failed to parse the request body as JSON")) from None
        return body

    def _take(self, request: web.Request, weight: int) -> None:
        fits = self._weight.take(request.remote or "", weight, self._rim.clock.monotonic())
        self._rim.ledger.counted("hyperliquid", "weight", weight, refused=not fits)
        if not fits:
            raise Refusal(_json(429, None))

    async def _post(self, request: web.Request) -> web.Response:
        try:
            body = await self._body(request)
            self._take(request, self._info.weight(body))
            answer = self._info.answer(body)
        except Refusal as refusal:
            return refusal.response
        except UnprocessableError:
            return _unprocessable()
        except ServerNullError:
            return _json(500, None)
        extra = extra_weight(body, answer)
        self._weight.add(request.remote or "", extra, self._rim.clock.monotonic())
        self._rim.ledger.counted("hyperliquid", "weight", extra)
        return _json(200, answer)

    async def _exchange(self, request: web.Request) -> web.Response:
        try:
            body = await self._body(request)
            signed = self._private.read(body)
            self._take(request, 1 + size_of(signed.action) // 40)
        except Refusal as refusal:
            return refusal.response
        except UnprocessableError:
            return _unprocessable()
        waiting: asyncio.Future[tuple[int, object, Spoil]] = asyncio.get_running_loop().create_future()

        def done(status: int, answer: object, spoiled: Spoil) -> None:
            if not waiting.done():
                waiting.set_result((status, answer, spoiled))

        self._private.submit(signed, "/exchange", done)
        status, answer, spoiled = await waiting
        if spoiled.delay_s:
            await self._rim.clock.sleep(spoiled.delay_s)
        if spoiled.lost and request.transport is not None:
            request.transport.abort()
        if spoiled.error is not None and status != 200 and spoiled.text:
            return _text(status, spoiled.text)
        return _json(status, answer)


class Refusal(Exception):  # noqa: N818 - not an error of the simulator but the venue's answer
    """A request ends with this response."""

    def __init__(self, response: web.Response) -> None:
        super().__init__(response.status)
        self.response = response


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
