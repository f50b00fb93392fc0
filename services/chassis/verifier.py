"""Who calls, decided in the room itself: so that a room reached without its edge is as safe as behind it.

    feed = AuthFeed(config.auth)                    # None where the room serves only public calls
    server = Server("execution", ..., verifier=feed.verifier)
    tasks.start("auth_feed", feed.run)

`TokenVerifier` holds the keys and what was revoked, and turns a call's credentials into a `Principal` by the rule that
the contract states for the method. `auth_feed.py` keeps it up to date. A verified token is remembered until it ends, so
that its signature is checked once and not on every call; revocation is looked at on every call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from services.chassis.access_token import SKEW_S, TokenError, VerifyingKey, verify
from services.chassis.clock import SYSTEM, Clock
from services.chassis.config import setting
from services.chassis.interceptors import Credentials
from services.chassis.methods import Access
from services.chassis.metrics import METRICS, Metrics
from services.chassis.principal import READ, TRADE, Principal
from services.chassis.tls import EDGE
from services.domain.errors import DomainError, Reason

REMEMBERED_MAX = 10_000
"""Verified tokens remembered; beyond it the oldest is verified anew when it comes again."""
FOLLOWED_MAX = 100_000
"""Streams tied to tokens at once; further ones are refused."""
ENDED_KEPT_S = 1_200.0
"""For how long an end is remembered: no access token outlives it."""
ENDED_SWEPT_AT = 10_000
"""Ends remembered before old ones are forgotten."""
_SCHEME = "bearer "
_SCOPE_OF: dict[int, str] = {Access.ACCESS_READ: READ, Access.ACCESS_TRADE: TRADE}


@dataclass(frozen=True, kw_only=True)
class AuthConfig:
    """Whose tokens count, and where their keys come from."""

    url: str = setting(
        "PERPMESH_AUTH_URL",
        "The auth room's page of keys and revocations, such as http://127.0.0.1:7102; without it only calls that need "
        "no sign-in are served.",
        default="",
    )
    issuer: str = setting(
        "PERPMESH_AUTH_ISSUER",
        "The `iss` of the access tokens; of auth, the edge and every room alike.",
        default="perpmesh",
    )
    audience: str = setting(
        "PERPMESH_AUTH_AUDIENCE",
        "The `aud` of the access tokens; of auth, the edge and every room alike.",
        default="perpmesh",
    )


class TokenVerifier:
    """The interceptors' `Verifier`, and the WebSocket door's."""

    def __init__(
        self,
        *,
        issuer: str,
        audience: str,
        callers: Iterable[str] = (),
        clock: Clock = SYSTEM,
        metrics: Metrics = METRICS,
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        self._callers = frozenset(callers) - {EDGE}
        self._clock = clock
        self._keys: Mapping[str, VerifyingKey] | None = None
        self._ended: dict[str, float] = {}
        self._remembered: dict[str, Principal] = {}
        self._followers: dict[str, dict[int, Callable[[DomainError], None]]] = {}
        self._followed = 0
        self._next = 0
        self._refused = metrics.counter("perpmesh_tokens_refused_total", "Access tokens refused, by why.", ("why",))
        shown = metrics.gauge("perpmesh_tokens_followed", "Streams and sockets tied to a token.")
        shown.set_function(lambda: float(self._followed))

    @property
    def ready(self) -> bool:
        """Say whether keys are known, so that tokens can be verified."""
        return self._keys is not None

    def set_keys(self, keys: Mapping[str, VerifyingKey]) -> None:
        """Take the keys that count from now on; what was remembered is verified anew."""
        self._keys = dict(keys)
        self._remembered.clear()

    def set_ended(self, sessions: Iterable[str], *, whole: bool) -> None:
        """Take in sessions and API tokens that have ended; `whole` replaces what was known."""
        now_s = self._clock.monotonic()
        if whole:
            self._ended = {}
        elif len(self._ended) > ENDED_SWEPT_AT:
            self._ended = {one: at for one, at in self._ended.items() if now_s - at < ENDED_KEPT_S}
        for session in sessions:
            self._ended.setdefault(session, now_s)
            for end in list(self._followers.get(session, {}).values()):
                end(_revoked())

    def verify(self, access: int, method: str, credentials: Credentials) -> Principal | None:
        """Return who calls, None for nobody where `access` is public, or raise TOKEN_* or PERMISSION_DENIED."""
        if access == Access.ACCESS_INTERNAL:
            return self._internal(method, credentials.service)
        if not credentials.authorization:
            if access == Access.ACCESS_PUBLIC:
                return None
            raise DomainError(
                Reason.TOKEN_MISSING,
                "This call needs a signed-in user: send the access token as `authorization: Bearer ...`.",
                metadata={"method": method},
            )
        principal = self.principal(_bearer(credentials.authorization))
        needed = _SCOPE_OF.get(access)
        if needed is None and access != Access.ACCESS_PUBLIC:
            raise _denied(method, "this call has no rule that lets anybody in")
        if needed is not None and not principal.may(needed):
            raise _denied(method, f"the token lacks the scope {needed}", scope=needed)
        return principal

    def principal(self, token: str) -> Principal:
        """Return whom an access token names, or raise TOKEN_INVALID, or PEER_UNAVAILABLE before any key is known."""
        now_s = self._clock.time_ns() / 1e9
        known = self._remembered.get(token)
        if known is None:
            known = self._read(token, now_s)
        if known.token_end_s + SKEW_S <= now_s:
            self._remembered.pop(token, None)
            self._refused.labels("ended").inc()
            raise _invalid()
        if known.session in self._ended:
            self._refused.labels("revoked").inc()
            raise _invalid()
        return known

    def _read(self, token: str, now_s: float) -> Principal:
        if self._keys is None:
            raise DomainError(
                Reason.PEER_UNAVAILABLE,
                "Tokens cannot be verified yet, since auth was not heard: call again in a moment.",
                metadata={"peer": "auth"},
                retry_after_s=0.5,
            )
        try:
            claims = verify(token, self._keys, issuer=self._issuer, audience=self._audience, now_s=now_s)
        except TokenError:
            self._refused.labels("malformed").inc()
            raise _invalid() from None
        principal = Principal(
            user=claims.user,
            wallet=claims.wallet,
            session=claims.session,
            scopes=claims.scopes,
            from_api_token=claims.from_api_token,
            token_end_s=float(claims.end_s),
        )
        if len(self._remembered) >= REMEMBERED_MAX:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[token] = principal
        return principal

    def _internal(self, method: str, service: str) -> Principal:
        if not service:
            raise _denied(method, "this call is made by other services of the mesh alone, with a certificate")
        if service not in self._callers:
            raise _denied(method, f"the service {service[:40]} may not call this room")
        return Principal(user="", service=service)

    def follow(self, principal: Principal, end: Callable[[DomainError], None]) -> Callable[[], None]:
        """Call `end` once when the principal's token ends or is revoked; return what stops that."""
        if self._followed >= FOLLOWED_MAX:
            raise DomainError(
                Reason.LIMIT_REACHED,
                f"This room holds {FOLLOWED_MAX} streams of signed-in users, which is the most: try another time.",
                metadata={"limit": "followed_streams", "limit_max": str(FOLLOWED_MAX)},
                retry_after_s=5.0,
            )
        number, self._next = self._next, self._next + 1
        self._followed += 1
        left_s = principal.token_end_s + SKEW_S - self._clock.time_ns() / 1e9
        alarm = asyncio.get_running_loop().call_later(max(0.0, left_s), lambda: once(_over()))
        followers = self._followers.setdefault(principal.session, {})

        def stop() -> None:
            if followers.pop(number, None) is None:
                return
            alarm.cancel()
            self._followed -= 1
            if not followers and self._followers.get(principal.session) is followers:
                del self._followers[principal.session]

        def once(why: DomainError) -> None:
            if number in followers:
                stop()
                end(why)

        followers[number] = once
        return stop


def _bearer(authorization: tuple[str, ...]) -> str:
    """Return the token of the one header there may be."""
    if len(authorization) != 1 or not authorization[0][: len(_SCHEME)].lower() == _SCHEME:
        raise _invalid()
    return authorization[0][len(_SCHEME) :]


def _invalid() -> DomainError:
    return DomainError(
        Reason.TOKEN_INVALID,
        "The access token was refused: it is malformed, has ended, was revoked, or is not for this mesh. "
        "Refresh the session or sign in again.",
    )


def _revoked() -> DomainError:
    return DomainError(Reason.TOKEN_INVALID, "The session was ended: sign in again.", metadata={"why": "revoked"})


def _over() -> DomainError:
    return DomainError(
        Reason.TOKEN_INVALID,
        "The access token that opened this has ended: open it again with a fresh one, from the last cursor.",
        metadata={"why": "ended"},
    )


def _denied(method: str, why: str, **metadata: str) -> DomainError:
    return DomainError(Reason.PERMISSION_DENIED, f"Not permitted: {why}.", metadata={"method": method, **metadata})
