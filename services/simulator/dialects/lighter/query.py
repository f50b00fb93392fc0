"""The parameters of a request, and the venue's words when one is missing or wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping

from aiohttp import web

from services.simulator.dialects.lighter.refusals import RefusedError

_INTEGER = re.compile(r"-?[0-9]{1,16}")


class Query:
    """The parameters of a request, checked as they are read."""

    def __init__(self, request: web.Request, form: Mapping[str, str] | None = None) -> None:
        self._values: Mapping[str, str] = request.query if form is None else form
        self._request = request

    def token(self) -> str | None:
        """Return the token the request came with."""
        return self._request.headers.get("Authorization") or self._request.query.get("auth") or self._values.get("auth")

    def text(self, name: str, default: str | None = None, among: tuple[str, ...] | None = None) -> str:
        """Return a parameter. Raises RefusedError when it is missing or none of `among`."""
        value = self._values.get(name, default)
        if value is None:
            raise RefusedError(20001, f"invalid param : field {name} is not set")
        if among is not None and value not in among:
            raise RefusedError(20001, f"invalid param : value of field {name} is not one of {', '.join(among)}")
        return value

    def number(self, name: str, low: int, high: int, default: int | None = None) -> int:
        """Return a whole number. Raises RefusedError when it is missing or out of range."""
        text = self._values.get(name)
        if text is None and default is not None:
            return default
        if text is None:
            raise RefusedError(20001, f"invalid param : field {name} is not set")
        if _INTEGER.fullmatch(text) is None or not low <= int(text) <= high:
            raise RefusedError(20001, f"invalid param : value of field {name} is not between {low} and {high}")
        return int(text)
