"""Envelopes: AES-256-GCM under a data key, which is wrapped under a master key. The port `Secrets`.

Every key that can trade has a data key of its own; every account has one for signed bytes and its audit chain. What a
ciphertext belongs to (table, ids, venue, environment, purpose) is associated data, so a row that was swapped or changed
does not open. Secrets are opened into a buffer for the time of a block and overwritten after it; copies that libraries
make are beyond Python's reach (docs/vault.md says which).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.vault.model.account import Account
from services.vault.model.audit import audit_key
from services.vault.model.key import Sealed, binding
from services.vault.ports import Chance, Clock
from services.vault.store.master_keys import KEY_BYTES, NONCE_BYTES, MasterKeys, altered

TAG_BYTES: Final = 16
REMEMBERED_S: Final = 60.0
"""How long an account's data key is remembered: it opens no key that can trade."""
REMEMBERED_MAX: Final = 1_024


def wipe(buffer: bytearray) -> None:
    """Overwrite a buffer."""
    buffer[:] = bytes(len(buffer))


class Sealer:
    """The port `Secrets`."""

    def __init__(self, masters: MasterKeys, chance: Chance, clock: Clock) -> None:
        self._masters = masters
        self._chance = chance
        self._clock = clock
        self._remembered: OrderedDict[UUID, tuple[bytes, bytes, float]] = OrderedDict()

    async def seal(self, secret: bytes | bytearray, about: bytes) -> Sealed:
        """Seal a secret under a new data key of its own."""
        data_key = self._chance.secret(KEY_BYTES)
        master_key_id, wrapped = await self._masters.wrap(data_key, _wrapping(about))
        return Sealed(self._encrypt(data_key, secret, about), wrapped, master_key_id)

    @asynccontextmanager
    async def opened(self, sealed: Sealed, about: bytes) -> AsyncIterator[bytearray]:
        """Open a secret for the time of a block."""
        data_key = bytearray(await self._masters.unwrap(sealed.master_key_id, sealed.wrapped_key, _wrapping(about)))
        buffer = bytearray(max(0, len(sealed.secret) - NONCE_BYTES - TAG_BYTES))
        try:
            AESGCM(data_key).decrypt_into(sealed.secret[:NONCE_BYTES], sealed.secret[NONCE_BYTES:], about, buffer)
            yield buffer
        except (InvalidTag, ValueError) as error:
            if isinstance(error, InvalidTag) or not any(buffer):
                raise altered(sealed.master_key_id) from None
            raise
        finally:
            wipe(buffer)
            wipe(data_key)

    async def new_data_key(self, account: Account) -> tuple[str, bytes]:
        """Return (master key id, wrapped key) of a new account's data key."""
        return await self._masters.wrap(self._chance.secret(KEY_BYTES), _wrapping(data_about(account)))

    async def rewrapped(self, master_key_id: str, wrapped: bytes, about: bytes) -> tuple[str, bytes]:
        """Return a data key under the current master key."""
        data_key = await self._masters.unwrap(master_key_id, wrapped, _wrapping(about))
        return await self._masters.wrap(data_key, _wrapping(about))

    async def seal_body(self, account: Account, body: bytes, about: bytes) -> bytes:
        """Seal bytes under the account's data key."""
        return self._encrypt(await self._data_key(account), body, about)

    async def open_body(self, account: Account, sealed: bytes, about: bytes) -> bytes:
        """Open such bytes."""
        try:
            return AESGCM(await self._data_key(account)).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], about)
        except (InvalidTag, ValueError):
            raise altered(account.wrapped[0] if account.wrapped else "") from None

    async def audit_key(self, account: Account) -> bytes:
        """Return the key of the account's audit chain."""
        return audit_key(await self._data_key(account), str(account.account_id))

    def _encrypt(self, key: bytes, plain: bytes | bytearray, about: bytes) -> bytes:
        nonce = self._chance.secret(NONCE_BYTES)
        return nonce + AESGCM(key).encrypt(nonce, plain, about)

    async def _data_key(self, account: Account) -> bytes:
        if account.wrapped is None:
            raise altered("")
        master_key_id, wrapped = account.wrapped
        known = self._remembered.get(account.account_id)
        if known is not None and known[0] == wrapped and known[2] > self._clock.monotonic():
            return known[1]
        data_key = await self._masters.unwrap(master_key_id, wrapped, _wrapping(data_about(account)))
        if len(self._remembered) >= REMEMBERED_MAX:
            self._remembered.popitem(last=False)
        self._remembered[account.account_id] = (wrapped, data_key, self._clock.monotonic() + REMEMBERED_S)
        return data_key


def data_about(account: Account) -> bytes:
    """Return what an account's data key is bound to."""
    return binding("vault.accounts", account.account_id, account.user_id, account.venue, account.environment, "data")


def _wrapping(about: bytes) -> bytes:
    return about + b"\0data key"
