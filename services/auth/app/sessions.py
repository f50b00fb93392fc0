"""Sessions: refreshing, listing, ending them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from services.auth.app.issuing import Issuer
from services.auth.app.sign_in import SignedIn
from services.auth.model import session as model
from services.auth.model.session import Client, Lifetimes, Session, Verdict
from services.auth.ports import Chance, Clock, Herald, Sessions
from services.chassis.principal import Principal


class SessionDesk:
    """What a user does with sessions."""

    def __init__(
        self, *, sessions: Sessions, issuer: Issuer, herald: Herald, chance: Chance, clock: Clock, lifetimes: Lifetimes
    ) -> None:
        self._sessions = sessions
        self._issuer = issuer
        self._herald = herald
        self._chance = chance
        self._clock = clock
        self._lifetimes = lifetimes

    async def refresh(self, text: str, client: Client) -> SignedIn:
        """Trade a refresh token for a new pair; a second use ends the whole session."""
        old = model.read_secret(model.REFRESH_PREFIX, text)
        if old is None:
            raise model.token_refused("this is no refresh token")
        now = self._clock.now()
        successor = self._chance.secret(model.TOKEN_BYTES)
        found = await self._sessions.refresh(
            model.hash_secret(old),
            client=client,
            now=now,
            judge=lambda record, session: model.judge(record, session, client.device, now),
            successor_hash=model.hash_secret(successor),
            masked_successor=model.mask(successor, old),
            renewed=lambda session: model.refreshed(session, client, self._lifetimes, now),
        )
        if found is None:
            raise model.token_refused("this refresh token is not known; sign in again")
        verdict, session, masked = found
        if verdict is Verdict.END:
            self._herald.tell([session.session_id])
            raise model.token_refused("it was used before, so that its session was ended; sign in again")
        if verdict is Verdict.DEAD:
            raise model.token_refused("its session has ended; sign in again")
        if verdict is Verdict.REPEAT:
            assert masked is not None
            successor = model.mask(masked, old)
        access = self._issuer.issue(
            session.user_id,
            session.address,
            session.session_id,
            session.scopes,
            until=session.expire_time,
            from_api_token=False,
        )
        refresh_token = model.write_secret(model.REFRESH_PREFIX, successor)
        return SignedIn(access=access, refresh_token=refresh_token, session=session)

    async def page(self, caller: Principal, *, after: tuple[datetime, UUID] | None, limit: int) -> Sequence[Session]:
        """Return the caller's living sessions."""
        _session_of(caller)
        return await self._sessions.page(UUID(caller.user), self._clock.now(), after=after, limit=limit)

    async def revoke(self, caller: Principal, session_id: UUID) -> None:
        """End one session of the caller; one that has ended is no error."""
        _session_of(caller)
        user = UUID(caller.user)
        ended = await self._sessions.end(user, self._clock.now(), only=session_id, keep=None, reason="revoked")
        if not ended and not await self._sessions.exists(user, session_id):
            raise model.unknown("session", str(session_id))
        self._herald.tell(ended)

    async def revoke_all(self, caller: Principal, *, keep_current: bool) -> int:
        """End every session of the caller; return how many lived."""
        current = _session_of(caller)
        ended = await self._sessions.end(
            UUID(caller.user),
            self._clock.now(),
            only=None,
            keep=current if keep_current else None,
            reason="revoked",
        )
        self._herald.tell(ended)
        return len(ended)


def _session_of(caller: Principal) -> UUID:
    if caller.from_api_token:
        raise model.needs_session()
    return UUID(caller.session)
