"""Strict verification of access tokens (RFC 7515, 7519, 8725, 9068): the form first, then the key, then the claims.

The form admits one spelling of a token: canonical base64url, no duplicate name in any object, exactly the three header
fields that our issuer writes, so that `crit`, `jwk`, `jku`, `x5c` and whatever else a header may invent are refused
unread. The `kid` finds a key and the key fixes the algorithm; the header's `alg` must agree and chooses nothing.
Pure: keys and `now` go in.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

TOKEN_CHARS_MAX = 2_048
LIFE_S_MAX = 900
"""The longest life of an access token; one that claims more is refused whoever signed it."""
SKEW_S = 5
"""How far clocks may differ; Envoy is given the same."""
TYPE = "at+jwt"

_PART = re.compile(r"[A-Za-z0-9_-]+")
_KID = re.compile(r"[A-Za-z0-9_-]{8,64}")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_WALLET = re.compile(r"0x[0-9a-fA-F]{40}")
_SECONDS_MAX = 253_402_300_799
_SCOPES = frozenset({"read", "trade"})
_VIA = frozenset({"session", "api_token"})
_CLAIMS = frozenset({"iss", "aud", "sub", "wallet", "sid", "scope", "via", "iat", "nbf", "exp", "jti"})
_SIGNATURE_BYTES = 64


class TokenError(Exception):
    """The token is refused; the message says why, for the log and not for the caller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a verified token says."""

    user: str
    wallet: str
    session: str
    scopes: frozenset[str]
    from_api_token: bool
    begin_s: int
    end_s: int
    kid: str


class VerifyingKey(Protocol):
    """A public key with its one algorithm."""

    @property
    def algorithm(self) -> str:
        """Return `EdDSA` or `ES256`."""

    def verify(self, signature: bytes, data: bytes) -> bool:
        """Say whether the signature is this key's over `data`."""


class Ed25519Key:
    """A key of Ed25519 (RFC 8032)."""

    algorithm = "EdDSA"

    def __init__(self, raw: bytes) -> None:
        self._key = ed25519.Ed25519PublicKey.from_public_bytes(raw)

    def verify(self, signature: bytes, data: bytes) -> bool:
        """Say whether the signature is this key's over `data`."""
        try:
            self._key.verify(signature, data)
        except InvalidSignature:
            return False
        return True


class P256Key:
    """A key of ECDSA on P-256 with SHA-256 (RFC 7518, 3.4)."""

    algorithm = "ES256"

    def __init__(self, x: bytes, y: bytes) -> None:
        numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1())
        self._key = numbers.public_key()

    def verify(self, signature: bytes, data: bytes) -> bool:
        """Say whether the signature is this key's over `data`."""
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        try:
            self._key.verify(encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


def read_keys(text: bytes) -> dict[str, VerifyingKey]:
    """Return the keys of a JSON Web Key Set by kid, or raise TokenError; fields must be as our issuer writes them."""
    document = _json(text)
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise TokenError("this is no key set")
    return dict(_read_key(one) for one in document["keys"])


def _read_key(jwk: Any) -> tuple[str, VerifyingKey]:
    if not isinstance(jwk, dict) or not all(isinstance(value, str) for value in jwk.values()):
        raise TokenError("a key is no object of texts")
    if jwk.get("use") != "sig" or _KID.fullmatch(jwk.get("kid", "")) is None:
        raise TokenError("a key has no kid, or is not for signatures")
    known = {(one, jwk.get(one)) for one in ("kty", "crv", "alg")}
    try:
        if known == {("kty", "OKP"), ("crv", "Ed25519"), ("alg", "EdDSA")}:
            return jwk["kid"], Ed25519Key(_decode(jwk["x"]))
        if known == {("kty", "EC"), ("crv", "P-256"), ("alg", "ES256")}:
            return jwk["kid"], P256Key(_decode(jwk["x"]), _decode(jwk["y"]))
    except (KeyError, ValueError):
        raise TokenError("a key's numbers are no key") from None
    raise TokenError("a key is of a kind that is not used here")


def read_kid(token: str) -> str:
    """Return the kid of a token of the right form, before anything is verified; raises TokenError."""
    return _header(_split(token)[0])["kid"]


def verify(token: str, keys: Mapping[str, VerifyingKey], *, issuer: str, audience: str, now_s: float) -> Claims:
    """Return what a token says, or raise TokenError."""
    header, payload, signature = _split(token)
    fields = _header(header)
    key = keys.get(fields["kid"])
    if key is None:
        raise TokenError("no key has this kid")
    if fields["alg"] != key.algorithm:
        raise TokenError("the algorithm is not the key's")
    raw = _decode(signature)
    if len(raw) != _SIGNATURE_BYTES or not key.verify(raw, f"{header}.{payload}".encode()):
        raise TokenError("the signature is not the key's")
    return _claims(_json(_decode(payload)), fields["kid"], issuer=issuer, audience=audience, now_s=now_s)


def _split(token: str) -> tuple[str, str, str]:
    if len(token) > TOKEN_CHARS_MAX:
        raise TokenError(f"a token has at most {TOKEN_CHARS_MAX} characters")
    parts = token.split(".")
    if len(parts) != 3 or not all(_PART.fullmatch(part) for part in parts):
        raise TokenError("a token is three parts of base64url")
    return parts[0], parts[1], parts[2]


def _header(part: str) -> dict[str, str]:
    fields = _json(_decode(part))
    if not isinstance(fields, dict) or fields.keys() != {"alg", "kid", "typ"}:
        raise TokenError("the header must hold alg, kid and typ and nothing else")
    if not all(isinstance(value, str) for value in fields.values()):
        raise TokenError("the header's fields are texts")
    if fields["typ"] != TYPE:
        raise TokenError(f"the token is not of type {TYPE}")
    if _KID.fullmatch(fields["kid"]) is None:
        raise TokenError("the kid has a wrong form")
    return fields


def _decode(part: str) -> bytes:
    """Decode base64url that is canonical: no padding, no stray bits."""
    try:
        raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        raise TokenError("a part is not base64url") from None
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != part.encode():
        raise TokenError("a part is not canonical base64url")
    return raw


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw.decode(), object_pairs_hook=_unique, parse_float=_no_number, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise TokenError("a part is not plain JSON") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text[:20]} is no whole number")


def _claims(said: Any, kid: str, *, issuer: str, audience: str, now_s: float) -> Claims:
    if not isinstance(said, dict) or said.keys() != _CLAIMS:
        raise TokenError("the claims are not those of an access token")
    if said["iss"] != issuer or said["aud"] != audience:
        raise TokenError("the token is of another issuer or for another audience")
    begin, since, end = (_seconds(said[name]) for name in ("iat", "nbf", "exp"))
    if not 0 < end - begin <= LIFE_S_MAX:
        raise TokenError("the token lives too long")
    if begin > now_s + SKEW_S or since > now_s + SKEW_S:
        raise TokenError("the token is not valid yet")
    if end + SKEW_S <= now_s:
        raise TokenError("the token has ended")
    texts = {name: said[name] for name in ("sub", "wallet", "sid", "scope", "via", "jti")}
    if not all(isinstance(value, str) for value in texts.values()):
        raise TokenError("a claim that should be a text is none")
    if _UUID.fullmatch(texts["sub"]) is None or _UUID.fullmatch(texts["sid"]) is None:
        raise TokenError("sub and sid are UUIDs")
    if _WALLET.fullmatch(texts["wallet"]) is None or not 1 <= len(texts["jti"]) <= 64 or texts["via"] not in _VIA:
        raise TokenError("wallet, jti or via has a wrong form")
    scopes = texts["scope"].split(" ")
    if len(set(scopes)) != len(scopes) or not set(scopes) <= _SCOPES:
        raise TokenError("the scope is not known")
    return Claims(
        user=texts["sub"],
        wallet=texts["wallet"],
        session=texts["sid"],
        scopes=frozenset(scopes),
        from_api_token=texts["via"] == "api_token",
        begin_s=begin,
        end_s=end,
        kid=kid,
    )


def _seconds(value: object) -> int:
    if type(value) is not int or not 0 <= value <= _SECONDS_MAX:
        raise TokenError("a time is whole seconds since 1970")
    return value
