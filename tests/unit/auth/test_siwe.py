"""The text of EIP-4361: the public vectors, the library that judges us, and generated texts."""

from __future__ import annotations

import importlib.util
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.auth.model import siwe
from services.auth.model.ethereum import KeySignature, address_of, checksummed, personal_digest
from services.auth.model.siwe import SiweError, SiweMessage

FIXTURES = os.environ.get("PERPMESH_FIXTURES", "")
needs_vectors = pytest.mark.skipif(not FIXTURES, reason="PERPMESH_FIXTURES is not set: the SIWE vectors are there")
needs_judge = pytest.mark.skipif(
    importlib.util.find_spec("siwe") is None, reason="signinwithethereum is not installed: it is no dependency of ours"
)
ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
STATEMENT = ALPHABET + "-._~!$&'()*+,;=:/?#[]@ "


def vectors(name: str) -> dict[str, Any]:
    return json.loads((Path(FIXTURES) / "vectors" / "siwe" / f"{name}.json").read_text())  # type: ignore[no-any-return]


def as_message(fields: dict[str, Any]) -> SiweMessage:
    resources = fields.get("resources")
    return SiweMessage(
        scheme=fields.get("scheme"),
        domain=fields["domain"],
        address=fields["address"],
        statement=fields.get("statement"),
        uri=fields["uri"],
        chain_id=fields["chainId"],
        nonce=fields["nonce"],
        issued_at=fields["issuedAt"],
        expiration_time=fields.get("expirationTime"),
        not_before=fields.get("notBefore"),
        request_id=fields.get("requestId"),
        resources=None if resources is None else tuple(resources),
    )


@needs_vectors
def test_every_positive_vector_is_read_and_printed_back() -> None:
    found = vectors("parsing_positive")
    assert len(found) == 19
    for name, vector in found.items():
        message = siwe.parse(vector["message"])
        assert message.text() == vector["message"], name
        assert message == as_message(vector["fields"]), name


def is_refused(text: str) -> bool:
    try:
        siwe.parse(text)
    except SiweError:
        return True
    return False


@needs_vectors
def test_every_negative_vector_is_refused() -> None:
    found = vectors("parsing_negative")
    assert len(found) == 29
    assert [name for name, text in found.items() if not is_refused(text)] == []


@needs_vectors
def test_every_object_that_is_no_message_is_refused_once_printed() -> None:
    printed = {}
    for name, fields in vectors("parsing_negative_objects").items():
        required = {"domain", "address", "uri", "version", "chainId", "nonce", "issuedAt"}
        if required <= fields.keys():  # without one of them there is no text to refuse
            printed[name] = as_message(fields).text().replace("Version: 1", f"Version: {fields['version']}")
    assert len(printed) >= 10
    assert [name for name, text in printed.items() if not is_refused(text)] == []


@needs_vectors
def test_every_verification_vector_recovers_to_its_address() -> None:
    import coincurve

    for name, vector in vectors("verification_positive").items():
        message = as_message(vector)
        assert siwe.parse(message.text()) == message, name
        shape = KeySignature.read(bytes.fromhex(vector["signature"][2:]))
        digest = personal_digest(message.text().encode())
        key = coincurve.PublicKey.from_signature_and_message(shape.recoverable, digest, hasher=None)
        assert address_of(key.format(compressed=False)[1:]) == vector["address"], name


words = st.text(alphabet=ALPHABET, min_size=1, max_size=12)
times = st.datetimes(allow_imaginary=False).map(lambda moment: moment.isoformat(timespec="milliseconds") + "Z")
uris = st.builds(lambda host, path: f"https://{host}.example/{path}", words, words)
messages = st.builds(
    SiweMessage,
    scheme=st.none() | st.sampled_from(["http", "https"]),
    domain=words | st.builds(lambda host, port: f"{host}:{port}", words, st.integers(1, 65535)),
    address=st.binary(min_size=20, max_size=20).map(lambda raw: checksummed("0x" + raw.hex())),
    statement=st.none() | st.text(alphabet=STATEMENT, min_size=1, max_size=60),
    uri=uris,
    chain_id=st.integers(1, 2**53 - 1),
    nonce=st.text(alphabet=ALPHABET, min_size=8, max_size=40),
    issued_at=times,
    expiration_time=st.none() | times,
    not_before=st.none() | times,
    request_id=st.none() | words,
    resources=st.none() | st.lists(uris, max_size=10).map(tuple),
)


@given(messages)
@settings(max_examples=300, deadline=None)
def test_what_is_printed_is_read_as_the_same(message: SiweMessage) -> None:
    assert siwe.parse(message.text()) == message


@given(messages, st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_a_text_with_one_byte_changed_is_refused_or_says_exactly_that(message: SiweMessage, rng: random.Random) -> None:
    text = message.text()
    at, byte = rng.randrange(len(text)), chr(rng.randrange(256))
    changed = text[:at] + byte + text[at + 1 :]
    try:
        read = siwe.parse(changed)
    except SiweError:
        return
    assert read.text() == changed


@needs_judge
@given(messages, st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_what_we_read_the_library_reads_the_same(message: SiweMessage, rng: random.Random) -> None:
    from siwe import SiweMessage as Judge

    text = message.text()
    if rng.random() < 0.7:
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice(STATEMENT + "\n\r\0") + text[at + rng.randrange(2) :]
    try:
        ours = siwe.parse(text)
    except SiweError:
        return  # we may refuse more (lengths, checksums that are missing), never less
    theirs = Judge.from_message(text)
    assert theirs.prepare_message() == ours.text()
    assert (theirs.domain, theirs.address, theirs.uri) == (ours.domain, ours.address, ours.uri)
    assert (theirs.nonce, theirs.chain_id, theirs.statement) == (ours.nonce, ours.chain_id, ours.statement)


def test_lengths_are_bounded_and_nothing_but_ascii_passes() -> None:
    base = SiweMessage(
        domain="a.example",
        address=checksummed("0x" + "ab" * 20),
        statement=None,
        uri="https://a.example/",
        chain_id=1,
        nonce="12345678",
        issued_at="2026-01-01T00:00:00Z",
    )
    assert siwe.parse(base.text()) == base
    eleven = tuple(f"https://a.example/{number}" for number in range(11))
    too_much: list[dict[str, Any]] = [
        {"statement": "x" * 5_000},
        {"resources": eleven},
        {"nonce": "x" * 129},
        {"chain_id": 10**16},
        {"statement": "zażółć"},
        {"statement": ""},
        {"address": base.address.lower()},
        {"issued_at": "2026-02-30T00:00:00Z"},
    ]
    for change in too_much:
        fields = {name: getattr(base, name) for name in SiweMessage.__dataclass_fields__} | change
        assert is_refused(SiweMessage(**fields).text()), change
    for text in (base.text() + "\n", "\ufeff" + base.text(), base.text().replace("\n", "\r\n"), base.text() + "\0"):
        assert is_refused(text)
