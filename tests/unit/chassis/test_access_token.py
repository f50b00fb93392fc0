"""Access tokens: what is right passes, and nothing else does."""

from __future__ import annotations

import os
import random
import sys
import time

import pytest

from services.chassis.access_token import TokenError, read_keys, verify
from services.chassis.interceptors import Credentials
from services.chassis.methods import Access
from services.chassis.metrics import Metrics
from services.chassis.verifier import TokenVerifier
from services.domain.errors import DomainError, Reason
from tests.support.tokens import Issuer, mutations, named_attacks

NOW = float(int(time.time()))
KINDS = ("EdDSA", "ES256")


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has its own moment: a token of the time of collection has ended when the suite takes a quarter hour."""
    monkeypatch.setattr(sys.modules[__name__], "NOW", float(int(time.time())))


def passes(good: Issuer, token: str) -> bool:
    try:
        verify(token, read_keys(good.jwks), issuer="perpmesh", audience="perpmesh", now_s=NOW)
    except TokenError:
        return False
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_a_right_token_says_who_calls(kind: str) -> None:
    good = Issuer(kind)
    token = good.token(NOW, scope="read", via="api_token")
    claims = verify(token, read_keys(good.jwks), issuer="perpmesh", audience="perpmesh", now_s=NOW)
    assert claims.scopes == {"read"}
    assert claims.from_api_token
    assert claims.end_s == int(NOW) + 900


@pytest.mark.parametrize("kind", KINDS)
def test_no_named_attack_passes(kind: str) -> None:
    good = Issuer(kind)
    attacks = named_attacks(good, NOW)
    assert len(attacks) > 80
    assert [name for name, token in attacks.items() if passes(good, token)] == []


@pytest.mark.parametrize("kind", KINDS)
def test_of_five_thousand_mutations_none_passes(kind: str) -> None:
    seed = int(os.environ.get("PERPMESH_TEST_SEED", "0")) or random.randrange(1 << 32)
    print(f"PERPMESH_TEST_SEED={seed}")
    good = Issuer(kind)
    make = mutations(good.token(NOW), random.Random(seed))
    assert [token for token in (make() for _ in range(5_000)) if passes(good, token)] == []


@pytest.mark.parametrize(
    "spoil",
    [
        {"use": "enc"},
        {"alg": "HS256"},
        {"kty": "oct"},
        {"crv": "secp256k1"},
        {"x": "AAAA"},
        {"kid": ""},
        {"key_ops": ["verify"]},
    ],
)
def test_a_key_set_with_anything_odd_is_refused_whole(spoil: dict[str, object]) -> None:
    import json

    good = Issuer()
    with pytest.raises(TokenError):
        read_keys(json.dumps({"keys": [{**good.jwk, **spoil}]}).encode())


def of(token: str) -> Credentials:
    return Credentials(authorization=(f"Bearer {token}",))


def test_the_rule_of_the_method_decides() -> None:
    good = Issuer()
    verifier = TokenVerifier(issuer="perpmesh", audience="perpmesh", callers=("execution",), metrics=Metrics())
    with pytest.raises(DomainError) as early:
        verifier.verify(Access.ACCESS_READ, "m", of(good.token(NOW)))
    assert early.value.reason is Reason.PEER_UNAVAILABLE
    verifier.set_keys(read_keys(good.jwks))
    reader, trader = good.token(NOW, scope="read"), good.token(NOW)
    nobody, service, stranger = Credentials(), Credentials(service="execution"), Credentials(service="portfolio")
    two = Credentials(authorization=(f"Bearer {trader}", f"Bearer {trader}"))
    basic = Credentials(authorization=(f"Basic {trader}",))
    table: list[tuple[int, Credentials, Reason | None]] = [
        (Access.ACCESS_PUBLIC, nobody, None),
        (Access.ACCESS_PUBLIC, of(trader), None),
        (Access.ACCESS_PUBLIC, of("garbage"), Reason.TOKEN_INVALID),
        (Access.ACCESS_READ, nobody, Reason.TOKEN_MISSING),
        (Access.ACCESS_READ, of(reader), None),
        (Access.ACCESS_READ, service, Reason.TOKEN_MISSING),
        (Access.ACCESS_READ, two, Reason.TOKEN_INVALID),
        (Access.ACCESS_READ, basic, Reason.TOKEN_INVALID),
        (Access.ACCESS_TRADE, of(reader), Reason.PERMISSION_DENIED),
        (Access.ACCESS_TRADE, of(trader), None),
        (Access.ACCESS_INTERNAL, nobody, Reason.PERMISSION_DENIED),
        (Access.ACCESS_INTERNAL, of(trader), Reason.PERMISSION_DENIED),
        (Access.ACCESS_INTERNAL, stranger, Reason.PERMISSION_DENIED),
        (Access.ACCESS_INTERNAL, service, None),
        (Access.ACCESS_UNSPECIFIED, of(trader), Reason.PERMISSION_DENIED),
        (99, of(trader), Reason.PERMISSION_DENIED),
    ]
    for access, credentials, expected in table:
        got: Reason | None = None
        try:
            verifier.verify(access, "m", credentials)
        except DomainError as error:
            got = error.reason
        assert got is expected, (access, credentials)


async def test_a_revoked_session_is_refused_and_its_streams_are_told_once() -> None:
    good = Issuer()
    verifier = TokenVerifier(issuer="perpmesh", audience="perpmesh", metrics=Metrics())
    verifier.set_keys(read_keys(good.jwks))
    token, other = good.token(NOW), good.token(NOW)
    principal = verifier.principal(token)
    told: list[DomainError] = []
    stop = verifier.follow(principal, told.append)
    untold = verifier.follow(verifier.principal(other), told.append)
    verifier.set_ended([principal.session], whole=False)
    verifier.set_ended([principal.session], whole=False)
    assert [one.reason for one in told] == [Reason.TOKEN_INVALID]
    with pytest.raises(DomainError):
        verifier.principal(token)
    verifier.principal(other)
    stop()
    untold()
    assert verifier._followed == 0
    assert verifier._followers == {}


def test_a_key_that_is_withdrawn_takes_its_remembered_tokens_with_it() -> None:
    old, new = Issuer(), Issuer()
    verifier = TokenVerifier(issuer="perpmesh", audience="perpmesh", metrics=Metrics())
    verifier.set_keys(read_keys(old.jwks))
    token = old.token(NOW)
    verifier.principal(token)
    verifier.set_keys(read_keys(new.jwks))
    with pytest.raises(DomainError):
        verifier.principal(token)
    verifier.principal(new.token(NOW))
