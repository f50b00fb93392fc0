"""The user: wallets and preferences."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from services.auth.app.sign_in import SignIn, spent
from services.auth.model import preferences, session
from services.auth.model.challenge import Purpose
from services.auth.model.ethereum import checksummed
from services.auth.model.session import User, Wallet
from services.auth.ports import Clock, Herald, Users
from services.chassis.principal import Principal

_SPENT_FOR = timedelta(minutes=15)
"""How long a spent nonce is remembered: longer than any text that holds it can pass."""


class Account:
    """What a user does with wallets and preferences."""

    def __init__(self, *, users: Users, sign_in: SignIn, herald: Herald, clock: Clock) -> None:
        self._users = users
        self._sign_in = sign_in
        self._herald = herald
        self._clock = clock

    async def get(self, caller: Principal) -> User:
        """Return the caller."""
        user = await self._users.get(UUID(caller.user))
        if user is None:
            raise session.unknown("user", caller.user)
        return user

    async def set_preferences(
        self,
        caller: Principal,
        given: Mapping[str, object],
        update_fields: Sequence[str],
        known: Collection[str],
    ) -> dict[str, object]:
        """Set those preferences that are named."""
        return await self._users.set_preferences(
            UUID(caller.user), lambda current: preferences.merge(current, given, update_fields, known)
        )

    async def link(self, caller: Principal, *, text: str, signature: bytes) -> User:
        """Link the wallet that signed the challenge."""
        _needs_session(caller)
        proved = await self._sign_in.prove(caller, Purpose.LINK_WALLET, text=text, signature=signature)
        now = self._clock.now()
        wallet = Wallet(
            address=proved.address, chain_id=proved.chain_id, kind=proved.kind, link_time=now, last_login_time=None
        )
        linked = await self._users.link(UUID(caller.user), wallet, nonce_hash=proved.nonce_hash, until=now + _SPENT_FOR)
        if not linked:
            raise spent()
        return await self.get(caller)

    async def unlink(self, caller: Principal, address: str, *, text: str, signature: bytes) -> User:
        """Unlink a wallet, proved by a signature of any wallet of the user, and end its sessions."""
        _needs_session(caller)
        proved = await self._sign_in.prove(caller, Purpose.UNLINK_WALLET, text=text, signature=signature)
        now = self._clock.now()
        ended = await self._users.unlink(
            UUID(caller.user),
            checksummed(address),
            proved.address,
            nonce_hash=proved.nonce_hash,
            until=now + _SPENT_FOR,
            now=now,
        )
        if ended is None:
            raise spent()
        self._herald.tell(ended)
        return await self.get(caller)


def _needs_session(caller: Principal) -> None:
    if caller.from_api_token:
        raise session.needs_session()
