"""The signing keys: sealed in PostgreSQL, opened in memory.

Each private key is sealed with AES-256-GCM under a secret of the configuration that the database never sees; the kid,
the algorithm and the table stand in the additional data, so that a swapped row does not open. PyJWT signs.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import jwt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from services.auth.model.keyring import OVERLAP, KeyRecord
from services.auth.ports import Chance
from services.chassis.config import ConfigError
from services.chassis.postgres import Connection, Database

SECRET_BYTES = 32
_SEAL_NONCE_BYTES = 12
_TURN = 0x7065_7270_6B65_7973  # names the lock that lets one process make keys at a time
PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey


def read_sealing_secret(text: str) -> bytes:
    """Return the bytes of the sealing secret, or raise ConfigError: 32 random bytes in base64url or hex."""
    raw = b""
    with contextlib.suppress(ValueError):
        is_hex = len(text) == 2 * SECRET_BYTES
        raw = bytes.fromhex(text) if is_hex else base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if len(raw) != SECRET_BYTES or len(set(raw)) < SECRET_BYTES // 2:
        raise ConfigError(
            "PERPMESH_AUTH_KEY_SECRET must be 32 random bytes in base64url or hex, and not regular ones: "
            "make them with `openssl rand -hex 32`."
        )
    return raw


class PostgresKeys:
    """The port `Keys`."""

    def __init__(self, database: Database, *, secret: bytes, algorithm: str, chance: Chance) -> None:
        self._database = database
        self._cipher = AESGCM(hashlib.sha256(b"perpmesh signing keys\0" + secret).digest())
        self._algorithm = algorithm
        self._chance = chance
        self._open: dict[str, tuple[str, PrivateKey]] = {}

    async def load(self) -> Sequence[KeyRecord]:
        """Return every key that is still of use."""
        async with self._database.acquire() as connection:
            return await self._load(connection)

    async def advance(
        self, wanted: Callable[[Sequence[KeyRecord]], tuple[datetime, datetime] | None], now: datetime
    ) -> Sequence[KeyRecord]:
        """Make a key where `wanted` says so, one process at a time, and return every key of use."""
        known = await self.load()
        if wanted(known) is None:
            return known
        async with self._database.transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _TURN)
            known = await self._load(connection)
            due = wanted(known)
            while due is not None:  # the first and its successor at once
                await self._make(connection, due, now)
                known = await self._load(connection)
                due = wanted(known)
        return known

    def sign(self, kid: str, claims: dict[str, object]) -> str:
        """Return an access token signed by a loaded key."""
        algorithm, private = self._open[kid]
        return jwt.encode(claims, private, algorithm=algorithm, headers={"kid": kid, "typ": "at+jwt"})

    async def withdraw(self, now: datetime) -> int:
        """Withdraw every key at once, after a compromise; the next look makes a new one. Return how many there were."""
        async with self._database.acquire() as connection:
            rows = await connection.fetch(
                "UPDATE signing_keys SET revoke_time = $1 WHERE revoke_time IS NULL RETURNING kid",
                now,
            )
        return len(rows)

    async def _load(self, connection: Connection) -> list[KeyRecord]:
        rows = await connection.fetch(
            "SELECT kid, algorithm, public_jwk, sealed_private, sign_time, retire_time, revoke_time FROM signing_keys "
            "WHERE revoke_time IS NULL AND retire_time > now() - $1::interval ORDER BY sign_time, kid",
            2 * OVERLAP,
        )
        for row in rows:
            if row["kid"] not in self._open:
                self._open[row["kid"]] = (row["algorithm"], self._unseal(row))
        for kid in set(self._open) - {row["kid"] for row in rows}:
            del self._open[kid]
        return [
            KeyRecord(
                kid=row["kid"],
                algorithm=row["algorithm"],
                public=json.loads(row["public_jwk"]),
                sign_time=row["sign_time"],
                retire_time=row["retire_time"],
                revoke_time=row["revoke_time"],
            )
            for row in rows
        ]

    async def _make(self, connection: Connection, due: tuple[datetime, datetime], now: datetime) -> None:
        private: PrivateKey = (
            ed25519.Ed25519PrivateKey.generate()
            if self._algorithm == "EdDSA"
            else ec.generate_private_key(ec.SECP256R1())
        )
        public = public_jwk(private)
        kid = _encode(self._chance.secret(12))
        plain = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        nonce = self._chance.secret(_SEAL_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, plain, _about(kid, self._algorithm))
        await connection.execute(
            "INSERT INTO signing_keys (kid, algorithm, public_jwk, sealed_private, create_time, sign_time, "
            "retire_time) VALUES ($1, $2, $3, $4, $5, $6, $7)",
            kid,
            self._algorithm,
            json.dumps(public),
            sealed,
            now,
            *due,
        )

    def _unseal(self, row: Any) -> PrivateKey:
        sealed = row["sealed_private"]
        about = _about(row["kid"], row["algorithm"])
        try:
            plain = self._cipher.decrypt(sealed[:_SEAL_NONCE_BYTES], sealed[_SEAL_NONCE_BYTES:], about)
        except InvalidTag:
            raise ConfigError(
                f"The signing key {row['kid']} does not open with PERPMESH_AUTH_KEY_SECRET: restore the secret it was "
                "sealed with, or withdraw all keys with `python -m services.auth withdraw-keys`."
            ) from None
        private = load_der_private_key(plain, None)
        assert isinstance(private, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey)
        return private


def public_jwk(private: PrivateKey) -> dict[str, str]:
    """Return the public part of a key as a JWK without kid, alg and use (RFC 7517, RFC 8037)."""
    public = private.public_key()
    if isinstance(public, ed25519.Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": _encode(public.public_bytes(Encoding.Raw, PublicFormat.Raw))}
    numbers = public.public_numbers()
    return {
        "kty": "EC",
        "crv": "P-256",
        "x": _encode(numbers.x.to_bytes(32, "big")),
        "y": _encode(numbers.y.to_bytes(32, "big")),
    }


def _about(kid: str, algorithm: str) -> bytes:
    return f"auth.signing_keys\0{kid}\0{algorithm}\0v1".encode()


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
