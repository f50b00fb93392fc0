"""A master key in a key management service that speaks the transit protocol (HashiCorp Vault, OpenBao).

The key never leaves the service: data keys go there to be wrapped and unwrapped. What a data key belongs to goes along
as `associated_data`, which the service binds by AES-GCM as we do. Rotation is the service's own; `rewrap` moves data
keys on.
"""

from __future__ import annotations

import base64
from typing import Any, Final

import aiohttp
import msgspec

from services.domain.errors import DomainError, Reason
from services.vault.store.master_keys import altered

TIMEOUT_S: Final = 5.0
_ANSWER: Final = msgspec.json.Decoder(dict[str, Any])


class Transit:
    """The port `MasterKeys` over HTTP."""

    def __init__(self, url: str, key: str, token: str, http: aiohttp.ClientSession) -> None:
        self._url = url.rstrip("/")
        self._key = key
        self._token = token
        self._http = http
        self._latest = 0

    async def current(self) -> str:
        """Return the id of the key that wraps now: the service's name and newest version of it."""
        found = await self._ask("GET", f"keys/{self._key}", None)
        self._latest = int(found.get("latest_version") or 0)
        return self._id(self._latest)

    async def opens(self, master_key_id: str) -> bool:
        """Say whether the service holds a version."""
        found = await self._ask("GET", f"keys/{self._key}", None)
        versions = found.get("keys") or {}
        return any(self._id(int(version)) == master_key_id for version in versions)

    async def wrap(self, data_key: bytes, about: bytes) -> tuple[str, bytes]:
        """Wrap a data key under the newest version."""
        sent = {"plaintext": _text(data_key), "associated_data": _text(about)}
        found = str((await self._ask("POST", f"encrypt/{self._key}", sent)).get("ciphertext", ""))
        version = found.split(":")[1].removeprefix("v") if found.startswith("vault:v") else "0"
        return self._id(int(version)), found.encode()

    async def unwrap(self, master_key_id: str, wrapped: bytes, about: bytes) -> bytes:
        """Unwrap a data key. Raises KEY_SEALED, or PEER_UNAVAILABLE while the service is silent."""
        sent = {"ciphertext": wrapped.decode("ascii", "replace"), "associated_data": _text(about)}
        found = await self._ask("POST", f"decrypt/{self._key}", sent, refused=master_key_id)
        return base64.b64decode(str(found.get("plaintext", "")))

    def _id(self, version: int) -> str:
        return f"transit-{self._key}-v{version}"

    async def _ask(self, method: str, path: str, body: object, *, refused: str = "") -> dict[str, Any]:
        headers = {"X-Vault-Token": self._token}
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        url = f"{self._url}/{path}"
        try:
            async with self._http.request(
                method, url, json=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as answer:
                raw = await answer.read()
                status = answer.status
        except (TimeoutError, aiohttp.ClientError) as error:
            raise _silent(type(error).__name__) from None
        if status == 400 and refused:
            raise altered(refused)
        if status != 200:
            raise _silent(f"HTTP {status}")
        found = _ANSWER.decode(raw).get("data")
        return found if isinstance(found, dict) else {}


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _silent(why: str) -> DomainError:
    return DomainError(
        Reason.PEER_UNAVAILABLE,
        f"The key management service does not answer ({why}): nothing can be opened now, nothing is lost.",
        metadata={"peer": "kms"},
        retry_after_s=1.0,
    )
