"""A wallet for tests: a secp256k1 key that signs texts as `personal_sign` does."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

import coincurve

from services.auth.model.ethereum import address_of, personal_digest


@dataclass(slots=True)
class Wallet:
    """A key and its address."""

    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    @property
    def address(self) -> str:
        """The address with its checksum."""
        return address_of(coincurve.PublicKey.from_secret(self.secret).format(compressed=False)[1:])

    def sign_bytes(self, text: str) -> bytes:
        """Return the 65 bytes of a signature over a text."""
        made = coincurve.PrivateKey(self.secret).sign_recoverable(personal_digest(text.encode()), hasher=None)
        return made[:64] + bytes([27 + made[64]])

    def sign(self, text: str) -> str:
        """Return a signature over a text in hex."""
        return "0x" + self.sign_bytes(text).hex()
