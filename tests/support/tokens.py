"""An issuer of access tokens for tests, and every way we know to spoil one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import uuid
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.auth.store.keys import public_jwk

Json = Any


def b64(raw: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


class Issuer:
    """Signs whatever it is given, with one key of either kind."""

    def __init__(self, algorithm: str = "EdDSA", *, issuer: str = "perpmesh", audience: str = "perpmesh") -> None:
        self.algorithm = algorithm
        self.private: Any = (
            ed25519.Ed25519PrivateKey.generate() if algorithm == "EdDSA" else ec.generate_private_key(ec.SECP256R1())
        )
        self.kid = b64(uuid.uuid4().bytes)
        self.issuer, self.audience = issuer, audience

    @property
    def jwk(self) -> dict[str, str]:
        """The public key as auth publishes it."""
        return {**public_jwk(self.private), "kid": self.kid, "alg": self.algorithm, "use": "sig"}

    @property
    def jwks(self) -> bytes:
        """A key set of it alone."""
        return json.dumps({"keys": [self.jwk]}).encode()

    def claims(self, now_s: float, **changes: object) -> dict[str, object]:
        """Return right claims, changed as given."""
        return {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": str(uuid.uuid4()),
            "wallet": "0x" + "ab" * 20,
            "sid": str(uuid.uuid4()),
            "scope": "read trade",
            "via": "session",
            "iat": int(now_s),
            "nbf": int(now_s),
            "exp": int(now_s) + 900,
            "jti": str(uuid.uuid4()),
            **changes,
        }

    def header(self, **changes: object) -> dict[str, object]:
        """Return the right header, changed as given."""
        return {"alg": self.algorithm, "kid": self.kid, "typ": "at+jwt", **changes}

    def sign(self, header: str | dict[str, object], payload: str | dict[str, object]) -> str:
        """Return a token whose signature is right over whatever its parts say."""
        parts = [b64((part if isinstance(part, str) else json.dumps(part)).encode()) for part in (header, payload)]
        return ".".join([*parts, b64(self.signature(".".join(parts).encode()))])

    def signature(self, data: bytes) -> bytes:
        """Return the raw signature over bytes."""
        if self.algorithm == "EdDSA":
            return self.private.sign(data)  # type: ignore[no-any-return]
        r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def token(self, now_s: float, **changes: object) -> str:
        """Return a good token, its claims changed as given."""
        return self.sign(self.header(), self.claims(now_s, **changes))


def _drop(fields: dict[str, object], name: str) -> dict[str, object]:
    return {key: value for key, value in fields.items() if key != name}


def named_attacks(good: Issuer, now_s: float) -> dict[str, str]:
    """Return every attack that has a name; none of these tokens may pass."""
    header, claims = good.header(), good.claims(now_s)
    token = good.sign(header, claims)
    h, p, s = token.split(".")
    other, wrong_kind = Issuer(good.algorithm), Issuer("ES256" if good.algorithm == "EdDSA" else "EdDSA")
    pem = good.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    body = json.dumps(claims)

    def hmac_with(key: bytes) -> str:
        parts = f"{b64(json.dumps(good.header(alg='HS256')).encode())}.{p}"
        return f"{parts}.{b64(hmac.digest(key, parts.encode(), hashlib.sha256))}"

    found = {
        "alg none, no signature": f"{b64(json.dumps(good.header(alg='none')).encode())}.{p}.",
        "alg None, the old signature": f"{b64(json.dumps(good.header(alg='None')).encode())}.{p}.{s}",
        "HS256 with the public key as PEM": hmac_with(pem),
        "HS256 with the JWK": hmac_with(json.dumps(good.jwk).encode()),
        "HS256 with x": hmac_with(good.jwk["x"].encode()),
        "another key under our kid": other.sign(good.header(), claims),
        "another key under its own kid": other.sign(other.header(), claims),
        "a key of the other kind under our kid": wrong_kind.sign(good.header(), claims),
        "a key of the other kind, its alg": wrong_kind.sign(good.header(alg=wrong_kind.algorithm), claims),
        "the wrong alg, signed rightly": good.sign(good.header(alg="RS256"), claims),
        "alg in lower case": good.sign(good.header(alg=good.algorithm.lower()), claims),
        "no alg": good.sign(_drop(header, "alg"), claims),
        "no kid": good.sign(_drop(header, "kid"), claims),
        "no typ": good.sign(_drop(header, "typ"), claims),
        "typ JWT": good.sign(good.header(typ="JWT"), claims),
        "typ with its prefix": good.sign(good.header(typ="application/at+jwt"), claims),
        "kid that is a path": good.sign(good.header(kid="../../etc/passwd"), claims),
        "kid that is SQL": good.sign(good.header(kid="' OR 1=1 --"), claims),
        "kid of 10 KB": good.sign(good.header(kid="k" * 10_000), claims),
        "kid that is a number": good.sign(good.header(kid=1), claims),
        "kid beyond ASCII": good.sign(good.header(kid=good.kid + "\u00e9"), claims),
        "crit of a name nobody knows": good.sign(good.header(crit=["exp2"], exp2=1), claims),
        "crit, empty": good.sign(good.header(crit=[]), claims),
        "b64 false": good.sign(good.header(b64=False, crit=["b64"]), claims),
        "its own jwk": other.sign(good.header(jwk=other.jwk), claims),
        "jku": good.sign(good.header(jku="https://evil.example/jwks"), claims),
        "x5u": good.sign(good.header(x5u="https://evil.example/x"), claims),
        "x5c": good.sign(good.header(x5c=["MII"]), claims),
        "zip": good.sign(good.header(zip="DEF"), claims),
        "a header with a doubled name": good.sign(json.dumps(header)[:-1] + f', "alg": "{good.algorithm}"}}', claims),
        "claims with a doubled name": good.sign(header, body[:-1] + f', "sub": "{uuid.uuid4()}"}}'),
        "a header that is a list": good.sign("[]", claims),
        "claims that are a list": good.sign(header, "[]"),
        "claims that are no JSON": good.sign(header, body + "}"),
        "padding": token + "=",
        "padding inside": f"{h}.{p}=.{s}",
        "a trailing dot": token + ".",
        "five parts, as JWE": f"{token}.{h}.{p}",
        "two parts": f"{h}.{p}",
        "no signature": f"{h}.{p}.",
        "base64 that is not for URLs": f"{h}.{p}.{s[:-2]}+/",
        "stray bits in the signature": f"{h}.{p}.{_stray(s)}",
        "a line feed at the end": token + "\n",
        "a space inside": f"{h}.{p} .{s}",
        "a signature one byte longer": f"{h}.{p}.{b64(base64.urlsafe_b64decode(s + '==') + b'0')}",
        "oversize": good.sign(header, {**claims, "jti": "j" * 64, "more": "x" * 5_000}),
        "an unknown claim": good.sign(header, {**claims, "admin": True}),
        "deep nesting": good.sign(header, '{"sub":' + "[" * 2_000 + "]" * 2_000 + "}"),
    }
    if good.algorithm == "ES256":
        found["a signature of zeros (CVE-2022-21449)"] = f"{h}.{p}.{b64(bytes(64))}"
    return found | _claim_attacks(good, now_s)


def _claim_attacks(good: Issuer, now_s: float) -> dict[str, str]:
    now = int(now_s)
    claims = good.claims(now_s)
    wrong: dict[str, dict[str, object]] = {
        "iss of another": {"iss": "https://evil.example"},
        "aud of another": {"aud": "other"},
        "aud as a list": {"aud": [good.audience]},
        "expired": {"iat": now - 1_000, "nbf": now - 1_000, "exp": now - 120},
        "living too long": {"exp": now + 3_600},
        "exp before iat": {"exp": now - 1},
        "not valid yet": {"nbf": now + 120},
        "issued in the future": {"iat": now + 120, "exp": now + 900},
        "exp as a text": {"exp": str(now + 900)},
        "exp as a fraction": {"exp": now + 900.5},
        "exp as true": {"exp": True},
        "exp as a list": {"exp": [now + 900]},
        "exp negative": {"exp": -1},
        "exp huge": {"exp": 10**30},
        "nbf as null": {"nbf": None},
        "sub empty": {"sub": ""},
        "sub as a number": {"sub": 7},
        "sub in upper case": {"sub": str(uuid.uuid4()).upper()},
        "sid as null": {"sid": None},
        "scope of more": {"scope": "read trade admin"},
        "scope twice": {"scope": "read read"},
        "scope as a list": {"scope": ["read"]},
        "scope empty": {"scope": ""},
        "wallet of a name": {"wallet": "vitalik.eth"},
        "jti empty": {"jti": ""},
        "via something": {"via": "magic"},
    }
    found = {name: good.sign(good.header(), {**claims, **change}) for name, change in wrong.items()}
    found |= {f"no {name}": good.sign(good.header(), _drop(claims, name)) for name in claims}
    text = json.dumps(claims).replace(str(now + 900), "NaN")
    found["exp of NaN"] = good.sign(good.header(), text)
    found["exp of 1e99"] = good.sign(good.header(), json.dumps(claims).replace(str(now + 900), "1e99"))
    return found


def _stray(part: str) -> str:
    """Return base64url of the same bytes with a bit set that no canonical writer sets."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return part[:-1] + letters[letters.index(part[-1]) | 1] if len(part) % 4 else part


def mutations(token: str, rng: random.Random) -> Callable[[], str]:
    """Return a maker of texts that differ from a good token somewhere."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ %"

    def one() -> str:
        changed = token
        while changed == token:
            for _ in range(rng.choice((1, 1, 1, 2, 5))):
                at = rng.randrange(len(changed))
                kind = rng.randrange(5)
                if kind == 0:
                    changed = changed[:at] + rng.choice(letters) + changed[at + 1 :]
                elif kind == 1:
                    changed = changed[:at] + changed[at + 1 :]
                elif kind == 2:
                    changed = changed[:at] + rng.choice(letters) + changed[at:]
                elif kind == 3:
                    other = rng.randrange(len(changed))
                    low, high = min(at, other), max(at, other)
                    changed = changed[:low] + changed[high:]
                else:
                    parts = changed.split(".")
                    rng.shuffle(parts)
                    changed = ".".join(parts)
                changed = changed or "."
        return changed

    return one
