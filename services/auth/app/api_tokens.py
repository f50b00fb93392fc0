"""API tokens: making, listing, revoking and exchanging them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from services.auth.app.issuing import Access, Issuer
from services.auth.model import api_token as model
from services.auth.model import session
from services.auth.model.api_token import ApiToken
from services.auth.ports import ApiTokens, Chance, Clock, Herald
from services.chassis.principal import Principal


class ApiTokenDesk:
    """What a user, or a program with a token, does with API tokens."""

    def __init__(self, *, tokens: ApiTokens, issuer: Issuer, herald: Herald, chance: Chance, clock: Clock) -> None:
        self._tokens = tokens
        self._issuer = issuer
        self._herald = herald
        self._chance = chance
        self._clock = clock

    async def create(
        self, caller: Principal, *, request_id: UUID, name: str, scopes: Sequence[str], lifetime: timedelta | None
    ) -> tuple[ApiToken, str]:
        """Make a token and return it with its secret; the secret is empty when the request_id was used before."""
        _needs_session(caller)
        now = self._clock.now()
        secret = self._chance.secret(session.TOKEN_BYTES)
        text = session.write_secret(model.PREFIX, secret)
        wanted = ApiToken(
            api_token_id=self._chance.uuid(),
            user_id=UUID(caller.user),
            request_id=request_id,
            name=model.checked_name(name),
            scopes=model.read_scopes(scopes, caller.scopes),
            prefix=text[: model.SHOWN_CHARS],
            address=caller.wallet,
            create_time=now,
            expire_time=now + (lifetime or model.LIFETIME_DEFAULT),
        )
        token, fresh = await self._tokens.add(wanted, session.hash_secret(secret), live_max=model.LIVE_MAX)
        if not fresh and not token.same_request(wanted):
            raise model.reused()
        return token, text if fresh else ""

    async def page(
        self, caller: Principal, *, include_ended: bool, after: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[ApiToken]:
        """Return the caller's tokens, the newest first."""
        _needs_session(caller)
        now = self._clock.now()
        since = now - model.ENDED_SHOWN if include_ended else None
        return await self._tokens.page(UUID(caller.user), now=now, ended_since=since, after=after, limit=limit)

    async def revoke(self, caller: Principal, api_token_id: UUID) -> None:
        """End a token of the caller and every access token that came from it; one that has ended is no error."""
        _needs_session(caller)
        lived = await self._tokens.revoke(UUID(caller.user), api_token_id, self._clock.now())
        if lived is None:
            raise session.unknown("API token", str(api_token_id))
        if lived:
            self._herald.tell([api_token_id])

    async def exchange(self, text: str) -> tuple[Access, ApiToken]:
        """Trade a secret for an access token of its scopes."""
        secret = session.read_secret(model.PREFIX, text)
        token = None if secret is None else await self._tokens.use(session.hash_secret(secret), self._clock.now())
        if token is None:
            raise session.token_refused("this API token is not known, has expired or was revoked")
        access = self._issuer.issue(
            token.user_id, token.address, token.api_token_id, token.scopes, until=token.expire_time, from_api_token=True
        )
        return access, token


def _needs_session(caller: Principal) -> None:
    if caller.from_api_token:
        raise session.needs_session()
