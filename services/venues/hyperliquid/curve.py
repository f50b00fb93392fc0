"""secp256k1, recoverable and deterministic (RFC 6979, low s), as Ethereum signs: libsecp256k1 where it is installed.

`coincurve` (libsecp256k1) signs in 25 microseconds; without it the pure Python of `eth-keys` makes the same bytes in
some milliseconds, which is enough for setting up an account and too slow for trading. `BACKEND` tells which one works.
"""

from __future__ import annotations

from typing import Final, Protocol

from Crypto.Hash import keccak as _keccak

ORDER: Final = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
"""How many points the curve has; every r, s and secret lies between 0 and it."""


class Secret(Protocol):
    """A secret key, made ready for signing once."""

    def sign(self, digest: bytes) -> bytes:
        """Return r (32 bytes), s (32) and the recovery id (1) for a digest of 32 bytes."""

    def public(self) -> bytes:
        """Return the public point as 64 bytes, x then y."""


def keccak256(data: bytes) -> bytes:
    """Return the Keccak-256 hash of `data`, as Ethereum uses it (not SHA3-256)."""
    return _keccak.new(digest_bits=256, data=data).digest()


def address_of(public: bytes) -> str:
    """Return the Ethereum address, in lower case, of a public point of 64 bytes."""
    return "0x" + keccak256(public)[12:].hex()


class _PurePython:
    """The same curve in pure Python, for where libsecp256k1 is not installed."""

    def __init__(self, secret: bytes) -> None:
        from eth_keys.backends.native.main import NativeECCBackend
        from eth_keys.datatypes import PrivateKey

        self._key = PrivateKey(secret, backend=NativeECCBackend())

    def sign(self, digest: bytes) -> bytes:
        """Return r, s and the recovery id."""
        return bytes(self._key.sign_msg_hash(digest).to_bytes())

    def public(self) -> bytes:
        """Return the public point."""
        return bytes(self._key.public_key.to_bytes())


def _recover_pure(digest: bytes, signature: bytes) -> bytes:
    from eth_keys.backends.native.main import NativeECCBackend
    from eth_keys.datatypes import Signature
    from eth_keys.exceptions import BadSignature
    from eth_utils.exceptions import ValidationError

    try:
        found = Signature(signature, backend=NativeECCBackend()).recover_public_key_from_msg_hash(digest)
    except (BadSignature, ValidationError, ValueError) as error:
        raise ValueError(f"no key made this signature: {error}") from None
    return bytes(found.to_bytes())


try:
    import coincurve
except ImportError:  # pragma: no cover - the lock has it; a client's installation need not
    BACKEND = "python"
    load_secret: type[_PurePython] | type[_Coincurve] = _PurePython
    recover = _recover_pure
else:
    BACKEND = "libsecp256k1"

    class _Coincurve:
        """libsecp256k1 through coincurve."""

        def __init__(self, secret: bytes) -> None:
            self._key = coincurve.PrivateKey(secret)

        def sign(self, digest: bytes) -> bytes:
            """Return r, s and the recovery id."""
            return self._key.sign_recoverable(digest, hasher=None)

        def public(self) -> bytes:
            """Return the public point."""
            return self._key.public_key.format(compressed=False)[1:]

    load_secret = _Coincurve

    def recover(digest: bytes, signature: bytes) -> bytes:
        """Return the public point that signed `digest`; `signature` is r, s and the recovery id.

        Raises `ValueError` for a signature that no key can have made.
        """
        try:
            found = coincurve.PublicKey.from_signature_and_message(signature, digest, hasher=None)
        except Exception as error:  # coincurve raises bare exceptions
            raise ValueError(f"no key made this signature: {error}") from None
        return found.format(compressed=False)[1:]
