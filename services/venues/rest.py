"""A venue's REST face: bounded in time, size, rate and trust.

Each phase of a request has a time limit; a body has a size limit; redirects and compressed bodies are refused (a
compressed body can be a thousand times larger than its limit suggests); the weight budget of the venue is kept; the
endpoint's circuit breaker hears how each request went. Every failure is a `VenueError` whose message is a sentence:
`RestRefusedError` where the venue understood and said no, `RestUnavailableError` where it did not answer, or not in its
protocol.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Final

import aiohttp

from services.chassis.clock import Clock
from services.venues.budget import Budget
from services.venues.link import Breaker
from services.venues.port import VenueError

_ERROR_TEXT_MAX: Final = 300
_CHUNK_BYTES: Final = 64 * 1024


class RestRefusedError(VenueError):
    """The venue answered and said no: a client error of its protocol. `body` is what it said, cut."""

    def __init__(self, message: str, *, status: int, body: bytes) -> None:
        super().__init__(message)
        self.status = status
        self.body = body


class RestUnavailableError(VenueError):
    """The venue did not answer in time, not at all, or not in its protocol. `retry_after_s` where it said when.

    `is_sent` is False only where not a byte of the request can have reached the venue. `status` and `body` are what it
    answered, 0 and empty where it did not.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        is_sent: bool = True,
        status: int = 0,
        body: bytes = b"",
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.is_sent = is_sent
        self.status = status
        self.body = body


class Importance(Enum):
    """What a request may do to the budget and the circuit breaker."""

    NORMAL = "normal"
    """Waits for the budget; may be a half-open breaker's probe."""
    ORDER = "order"
    """Waits for the budget; is never a probe: it goes only through a closed breaker."""
    URGENT = "urgent"
    """Cancels and look-ups: may use the budget's reserve, and no breaker holds them back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestConfig:
    """The limits of one venue's REST face. Times in seconds."""

    connect_timeout_s: float = 3.0
    read_timeout_s: float = 5.0
    """The longest silence within an answer."""
    total_timeout_s: float = 10.0
    body_bytes_max: int = 16 * 1024 * 1024
    budget_wait_s: float = 5.0
    """How long a request waits for the venue's budget before it fails."""
    connections_max: int = 4
    retry_after_max_s: float = 60.0


class Rest:
    """Requests to one venue. Use as an async context manager, or call `close`."""

    def __init__(
        self,
        *,
        base_url: str,
        budget: Budget,
        breaker: Breaker,
        clock: Clock,
        config: RestConfig | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._budget = budget
        self._breaker = breaker
        self._clock = clock
        self._config = config or RestConfig()
        self._http: aiohttp.ClientSession | None = None
        self._blocked_until_ns = 0

    async def __aenter__(self) -> Rest:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Give the sockets back."""
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def get(
        self,
        path: str,
        params: Mapping[str, str | int] | None = None,
        *,
        weight: int = 1,
        headers: Mapping[str, str] | None = None,
        importance: Importance = Importance.NORMAL,
    ) -> bytes:
        """Return the body of a GET that was answered with 200. Raises `RestRefusedError` or `RestUnavailableError`."""
        query = {key: str(value) for key, value in (params or {}).items()}
        return await self._request("GET", path, weight, query, None, headers or {}, importance)

    async def post(
        self,
        path: str,
        body: bytes,
        *,
        weight: int = 1,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        importance: Importance = Importance.NORMAL,
    ) -> bytes:
        """Return the body of a POST that was answered with 200. Raises as `get`."""
        held = {"Content-Type": content_type, **(headers or {})}
        return await self._request("POST", path, weight, {}, body, held, importance)

    async def _request(
        self,
        method: str,
        path: str,
        weight: int,
        query: dict[str, str],
        body: bytes | None,
        headers: Mapping[str, str],
        importance: Importance,
    ) -> bytes:
        await self._spend(weight, urgent=importance is Importance.URGENT)
        if importance is Importance.ORDER and not self._breaker.is_closed():
            raise RestUnavailableError(
                f"the circuit breaker of {self.base_url} is not closed; no order goes first",
                retry_after_s=max(self._breaker.retry_after_s(), 0.1),
                is_sent=False,
            )
        allowed = self._breaker.allow()
        if not allowed and importance is not Importance.URGENT:
            retry_s = self._breaker.retry_after_s()
            raise RestUnavailableError(
                f"the circuit breaker of {self.base_url} is open for {retry_s:.1f} s more",
                retry_after_s=retry_s,
                is_sent=False,
            )
        if not allowed:
            return await self._exchange(method, path, query, body, headers)
        try:
            answer = await self._exchange(method, path, query, body, headers)
        except RestRefusedError:
            self._breaker.success()  # the venue is well; the request was not
            raise
        except RestUnavailableError as error:
            self._breaker.failure(str(error))
            raise
        except asyncio.CancelledError:
            self._breaker.forget()
            raise
        self._breaker.success()
        return answer

    async def _spend(self, weight: int, *, urgent: bool) -> None:
        """Wait for the budget, or for the end of a pause the venue asked for; fail when that takes too long."""
        deadline_ns = self._clock.monotonic_ns() + round(self._config.budget_wait_s * 1e9)
        while True:
            now_ns = self._clock.monotonic_ns()
            free_ns = max(self._budget.free_at_ns(now_ns, weight, urgent=urgent), self._blocked_until_ns)
            if free_ns <= now_ns and self._budget.take(now_ns, weight, urgent=urgent):
                return
            if free_ns > deadline_ns:
                wait_s = (free_ns - now_ns) / 1e9
                raise RestUnavailableError(
                    f"the request budget of {self.base_url} is used up; it is free in {wait_s:.1f} s",
                    retry_after_s=wait_s,
                    is_sent=False,
                )
            await self._clock.sleep((free_ns - now_ns) / 1e9)

    async def _exchange(
        self, method: str, path: str, query: dict[str, str], body: bytes | None, headers: Mapping[str, str]
    ) -> bytes:
        where = f"{method} {path}"
        try:
            async with self._client().request(
                method, self.base_url + path, params=query, data=body, headers=headers, allow_redirects=False
            ) as response:
                content = await self._body(response, where)
                self._check(response, content, where)
                return content
        except TimeoutError as error:
            raise RestUnavailableError(f"{where} was not answered within {self._config.total_timeout_s:g} s") from error
        except aiohttp.ClientConnectorError as error:
            raise RestUnavailableError(f"{where} failed: {str(error)[:_ERROR_TEXT_MAX]}", is_sent=False) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise RestUnavailableError(
                f"{where} failed: {str(error)[:_ERROR_TEXT_MAX] or type(error).__name__}"
            ) from error

    async def _body(self, response: aiohttp.ClientResponse, where: str) -> bytes:
        limit = self._config.body_bytes_max
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise RestUnavailableError(f"{where} was answered in encoding {encoding[:40]!r}, which was not asked for")
        parts: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            size += len(chunk)
            if size > limit:
                response.close()
                raise RestUnavailableError(f"{where} was answered with more than {limit} bytes")
            parts.append(chunk)
        return b"".join(parts)

    def _check(self, response: aiohttp.ClientResponse, content: bytes, where: str) -> None:
        status = response.status
        if status == 429 or (status == 405 and content[:1] != b"{"):
            retry_s = self._retry_after_s(response)
            self._blocked_until_ns = self._clock.monotonic_ns() + round(retry_s * 1e9)
            raise RestUnavailableError(
                f"{where}: the venue says too many requests (HTTP {status}); waiting {retry_s:g} s",
                retry_after_s=retry_s,
                status=status,
                body=content[:65_536],
            )
        said = content[:_ERROR_TEXT_MAX].decode("utf-8", "replace").strip()
        if status >= 500:
            raise RestUnavailableError(
                f"{where} failed at the venue with HTTP {status}: {said}", status=status, body=content[:65_536]
            )
        if 300 <= status < 400:
            raise RestUnavailableError(f"{where} was redirected (HTTP {status}); redirects are not followed")
        if content.lstrip()[:1] == b"<":
            raise RestUnavailableError(f"{where} was answered with a web page (HTTP {status}) instead of JSON")
        if status != 200:
            raise RestRefusedError(
                f"{where} was refused with HTTP {status}: {said}", status=status, body=content[:65_536]
            )

    def _retry_after_s(self, response: aiohttp.ClientResponse) -> float:
        text = response.headers.get("Retry-After", "")
        seconds = float(text) if text.isdecimal() and text.isascii() and len(text) < 9 else 5.0
        return min(max(seconds, 1.0), self._config.retry_after_max_s)

    def _client(self) -> aiohttp.ClientSession:
        if self._http is None:
            config = self._config
            local = self.base_url.startswith(("http://127.0.0.1", "http://localhost", "http://[::1]"))
            self._http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=config.connections_max),
                timeout=aiohttp.ClientTimeout(
                    total=config.total_timeout_s,
                    sock_connect=config.connect_timeout_s,
                    sock_read=config.read_timeout_s,
                ),
                headers={"User-Agent": "perpmesh", "Accept-Encoding": "identity", "Accept": "application/json"},
                auto_decompress=False,
                trust_env=not local,
            )
        return self._http
