"""The master keys: what every data key is wrapped under. They never reach the database.

A ring has one current key and any number of older ones that still open what they wrapped. A key's id is made from the
key itself, so a wrong key is known by its id before anything is opened with it. Where the ring comes from:

* a file that the vault keeps itself (`FileRing`): made at the first start, mode 0600, one key a line, the newest first;
* the environment, or a file that something else keeps (`StaticRing`);
* a key management service (`transit.py`), which wraps and unwraps and never gives the key away.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.chassis.config import ConfigError
from services.domain.errors import DomainError, Reason
from services.vault.ports import Chance

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
KEYS_MAX: Final = 16
DROP_AFTER_S: Final = 60
"""How long after a rotation old keys are kept in any case."""


class MasterKeys(Protocol):
    """What wraps data keys: the port to a ring, or to a key management service."""

    async def wrap(self, data_key: bytes, about: bytes) -> tuple[str, bytes]:
        """Wrap a data key under the current master key; return that key's id and the wrapped key."""
        ...

    async def unwrap(self, master_key_id: str, wrapped: bytes, about: bytes) -> bytes:
        """Unwrap a data key. Raises KEY_SEALED."""
        ...

    async def current(self) -> str:
        """Return the id of the key that wraps now."""
        ...

    async def opens(self, master_key_id: str) -> bool:
        """Say whether what a master key wrapped can be unwrapped."""
        ...


def id_of(key: bytes) -> str:
    """Return a master key's id, which says nothing of the key."""
    return "mk-" + hashlib.sha256(b"perpmesh master key id\0" + key).hexdigest()[:16]


def read_ring(text: str, where: str) -> tuple[bytes, ...]:
    """Return the keys of a text, the newest first. Raises `ConfigError` with one sentence."""
    keys = tuple(_read_key(part, where) for line in text.splitlines() for part in _parts(line))
    if not keys:
        raise ConfigError(f"{where} holds no master key: put 32 random bytes in it, as `openssl rand -hex 32` makes.")
    if len(keys) > KEYS_MAX or len(set(keys)) != len(keys):
        raise ConfigError(f"{where} holds a master key twice, or more than {KEYS_MAX}: remove what is not needed.")
    return keys


def _parts(line: str) -> list[str]:
    return [part.strip() for part in line.partition("#")[0].split(",") if part.strip()]


def _read_key(text: str, where: str) -> bytes:
    raw = b""
    with contextlib.suppress(ValueError):
        is_hex = len(text) == 2 * KEY_BYTES
        raw = bytes.fromhex(text) if is_hex else base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if len(raw) != KEY_BYTES or len(set(raw)) < KEY_BYTES // 2:
        raise ConfigError(
            f"{where} must hold master keys of 32 random bytes in base64url or hex, and not regular ones: "
            "make one with `openssl rand -hex 32`."
        )
    return raw


class Ring:
    """Master keys in this process."""

    def __init__(self, keys: Sequence[bytes], chance: Chance) -> None:
        self._chance = chance
        self._ciphers: dict[str, AESGCM] = {}
        self._current = ""
        self._take(keys)

    def _take(self, keys: Sequence[bytes]) -> None:
        self._ciphers = {id_of(key): AESGCM(key) for key in keys}
        self._current = id_of(keys[0])

    async def current(self) -> str:
        """Return the id of the key that wraps now."""
        return self._current

    async def opens(self, master_key_id: str) -> bool:
        """Say whether the ring holds a key."""
        return self._find(master_key_id) is not None

    async def wrap(self, data_key: bytes, about: bytes) -> tuple[str, bytes]:
        """Wrap a data key under the current master key."""
        nonce = self._chance.secret(NONCE_BYTES)
        return self._current, nonce + self._ciphers[self._current].encrypt(nonce, data_key, about)

    async def unwrap(self, master_key_id: str, wrapped: bytes, about: bytes) -> bytes:
        """Unwrap a data key. Raises KEY_SEALED."""
        cipher = self._find(master_key_id)
        if cipher is None:
            raise missing(master_key_id)
        try:
            return cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], about)
        except (InvalidTag, ValueError):
            raise altered(master_key_id) from None

    def _find(self, master_key_id: str) -> AESGCM | None:
        return self._ciphers.get(master_key_id)


class FileRing(Ring):
    """A ring in a file that the vault keeps itself. A key that a rotation added is found without a restart."""

    def __init__(self, path: Path, chance: Chance) -> None:
        self.path = path
        self._seen = 0
        super().__init__(self._read(), chance)

    async def wrap(self, data_key: bytes, about: bytes) -> tuple[str, bytes]:
        """Wrap a data key under the newest key of the file, as it is now."""
        self._follow()
        return await super().wrap(data_key, about)

    async def current(self) -> str:
        """Return the id of the key that wraps now."""
        self._follow()
        return await super().current()

    def _follow(self) -> None:
        with contextlib.suppress(OSError, ConfigError):
            if self.path.stat().st_mtime_ns != self._seen:
                self._take(self._read())

    def _read(self) -> tuple[bytes, ...]:
        try:
            about = self.path.stat()
            text = self.path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"The master keys in {self.path} cannot be read ({error}): restore the file.") from None
        if about.st_mode & 0o077:
            raise ConfigError(f"{self.path} holds master keys and is open to others: run `chmod 600 {self.path}`.")
        self._seen = about.st_mtime_ns
        return read_ring(text, str(self.path))

    def _find(self, master_key_id: str) -> AESGCM | None:
        found = super()._find(master_key_id)
        if found is None:
            with contextlib.suppress(ConfigError):
                self._take(self._read())
            found = super()._find(master_key_id)
        return found

    def add(self) -> str:
        """Put a new key at the head of the file, where it wraps from now on; return its id."""
        keys = (self._chance.secret(KEY_BYTES), *self._read())
        write_ring(self.path, keys)
        self._take(keys)
        return id_of(keys[0])

    def drop(self, unused: set[str], now_s: float) -> list[str]:
        """Remove keys that nothing is wrapped under; return their ids. Raises `ConfigError` soon after a rotation.

        A vault may have wrapped something under an old key just before the rotation that is not written yet.
        """
        keys = self._read()
        age_s = now_s - self._seen / 1e9
        if age_s < DROP_AFTER_S:
            raise ConfigError(f"{self.path} changed {max(0.0, age_s):.0f} s ago: wait {DROP_AFTER_S} s, then drop.")
        kept = [key for index, key in enumerate(keys) if index == 0 or id_of(key) not in unused]
        write_ring(self.path, kept)
        self._take(kept)
        return [id_of(key) for key in keys if key not in kept]

    def ids(self) -> list[str]:
        """Return the ids of all keys, the newest first."""
        return [id_of(key) for key in self._read()]


def make_ring_file(path: Path, chance: Chance) -> None:
    """Make the file with a new key, for its owner alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_ring(path, (chance.secret(KEY_BYTES),))


def write_ring(path: Path, keys: Sequence[bytes]) -> None:
    """Write the file so that a reader sees the whole old one or the whole new one, on the disk."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    lines = ["# Master keys of the vault, the newest first. Who has one and the database has every trading key.\n"]
    lines += [f"{base64.urlsafe_b64encode(key).decode().rstrip('=')}\n" for key in keys]
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, "".join(lines).encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def missing(master_key_id: str) -> DomainError:
    """Return the refusal where a master key is not here."""
    return DomainError(
        Reason.KEY_SEALED,
        f"The master key {master_key_id} is not here, so what it sealed stays closed: restore it. Nothing is lost.",
        metadata={"master_key_id": master_key_id},
    )


def altered(master_key_id: str) -> DomainError:
    """Return the refusal of what was changed, or moved to another row."""
    return DomainError(
        Reason.KEY_SEALED,
        "What is sealed does not open: it was changed, or belongs to something else. Nothing was done with it.",
        metadata={"master_key_id": master_key_id},
    )
