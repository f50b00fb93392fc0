"""What execution must know of accounts: whose they are, whether they can trade, which keys trade for them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from services.vault.app.accounts import AccountDesk
from services.vault.model.account import Account
from services.vault.ports import Accounts, Keys

LOOK_WAIT_S: Final = 1.0
"""How long an answer waits for what venues say of keys authorized elsewhere."""


@dataclass(frozen=True, slots=True)
class SigningAccount:
    """An account, and the addresses or public keys that trade for it."""

    account: Account
    trading_keys: tuple[str, ...]


class Directory:
    """The accounts of all users, for the mesh's own use."""

    def __init__(self, accounts: Accounts, keys: Keys, desk: AccountDesk) -> None:
        self._accounts = accounts
        self._keys = keys
        self._desk = desk

    async def get(self, account_id: UUID) -> Account:
        """Return an account. Raises RESOURCE_UNKNOWN."""
        return await self._accounts.get(None, account_id)

    async def page(
        self, ids: Collection[UUID], user_id: UUID | None, *, after: UUID | None, limit: int
    ) -> Sequence[SigningAccount]:
        """Return accounts by id."""
        found = await self._accounts.every(ids, user_id, after=after, limit=limit)
        ours = await self._keys.trading([account.account_id for account in found])
        return [await self._with_keys(account, ours.get(account.account_id, ()), look=bool(ids)) for account in found]

    async def _with_keys(self, account: Account, ours: Sequence[str], *, look: bool) -> SigningAccount:
        names = [*ours]
        if look:  # a listing of everybody would ask the venues thousands of questions
            try:
                async with asyncio.timeout(LOOK_WAIT_S):
                    looked = await self._desk.authorizations(account)
            except TimeoutError:
                looked = None
            names += (
                [one.grantee for one in looked.authorizations if one.kind in ("AGENT", "API_KEY")] if looked else []
            )
        return SigningAccount(account, tuple(dict.fromkeys(names)))
