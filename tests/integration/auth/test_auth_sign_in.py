"""Signing in: what passes, what does not and why, and that a nonce works once. Ids are of the security checklist."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from perpmesh.auth.v1 import auth_service_pb2 as pb

from services.auth.model import siwe
from services.auth.model.ethereum import CURVE_ORDER
from services.domain.errors import Reason
from tests.support.auth import AuthRoom, bearer, challenge, refusal, sign_in
from tests.support.wallet import Wallet


async def test_a_wallet_signs_in_and_the_session_is_its_own(auth: AuthRoom) -> None:
    wallet = Wallet()
    done = await sign_in(auth.stub, wallet)
    assert done.session.address == wallet.address
    assert done.session.current
    assert done.refresh_token.startswith("pmr_")
    user = (await auth.stub.GetUser(pb.GetUserRequest(), metadata=bearer(done.access_token))).user
    assert [one.address for one in user.wallets] == [wallet.address]
    again = await sign_in(auth.stub, wallet)
    user_again = (await auth.stub.GetUser(pb.GetUserRequest(), metadata=bearer(again.access_token))).user
    assert user_again.user_id == user.user_id
    assert again.session.session_id != done.session.session_id


async def test_the_text_is_eip_4361_with_our_fixed_statement_and_128_bits_of_nonce(auth: AuthRoom) -> None:
    issued = await challenge(auth.stub, Wallet())
    message = siwe.parse(issued.message)
    assert message.text() == issued.message
    assert message.domain == "127.0.0.1:8080"
    assert message.uri == "http://127.0.0.1:8080/"
    assert message.nonce == issued.nonce
    assert len(bytes.fromhex(issued.nonce)) == 16
    left = issued.expire_time.ToDatetime(UTC) - datetime.now(UTC)
    assert timedelta(minutes=4) < left <= timedelta(minutes=5)
    others = {(await challenge(auth.stub, Wallet())).nonce for _ in range(20)}
    assert len(others) == 20


async def test_of_a_hundred_simultaneous_uses_of_a_nonce_one_wins(auth: AuthRoom) -> None:
    wallet = Wallet()
    issued = await challenge(auth.stub, wallet)
    request = pb.CreateSessionRequest(message=issued.message, signature=wallet.sign(issued.message))
    results = await asyncio.gather(*(auth.stub.CreateSession(request) for _ in range(100)), return_exceptions=True)
    won = [one for one in results if not isinstance(one, BaseException)]
    assert len(won) == 1
    lost = [await refusal(_raise(one)) for one in results if isinstance(one, BaseException)]
    assert {(one.reason, one.metadata["check"]) for one in lost} == {(Reason.SIGN_IN_REFUSED, "nonce")}


async def _raise(error: BaseException) -> None:
    raise error


def _with(text: str, field: str, value: str) -> str:
    lines = text.split("\n")
    return "\n".join(f"{field}: {value}" if line.startswith(f"{field}: ") else line for line in lines)


def _time(offset_s: float) -> str:
    return siwe.print_time(datetime.now(UTC) + timedelta(seconds=offset_s))


CHANGES: dict[str, tuple[Callable[[str], str], str]] = {
    "S3 another domain": (lambda text: text.replace("127.0.0.1:8080 wants", "evil.example wants"), "domain"),
    "S3 a domain that begins like ours": (
        lambda text: text.replace("127.0.0.1:8080 wants", "127.0.0.1:80801 wants"),
        "domain",
    ),
    "S4 another site's URI": (lambda text: _with(text, "URI", "https://evil.example/"), "uri"),
    "S4 a URI that begins like ours": (lambda text: _with(text, "URI", "http://127.0.0.1:80801/"), "uri"),
    "S4 a chain that does not count": (lambda text: _with(text, "Chain ID", "99"), "chain"),
    "S5 a nonce of the caller's own": (lambda text: _with(text, "Nonce", "0123456789abcdef0123456789abcdef"), "nonce"),
    "S5 a short nonce": (lambda text: _with(text, "Nonce", "12341234"), "nonce"),
    "S7 issued in the future": (lambda text: _with(text, "Issued At", _time(60)), "time"),
    "S7 issued long ago": (lambda text: _with(text, "Issued At", _time(-660)), "time"),
    "S7 expired": (lambda text: _with(text, "Expiration Time", _time(-1)), "time"),
    "S7 never expiring": (
        lambda text: "\n".join(line for line in text.split("\n") if not line.startswith("Expiration")),
        "time",
    ),
    "S7 not valid yet": (lambda text: text.replace("\nResources:", f"\nNot Before: {_time(60)}\nResources:"), "time"),
    "S13 another statement": (lambda text: text.replace("This costs nothing", "This costs all"), "text"),
    "S6 the nonce in a resource as well": (lambda text: text + "\n- urn:nonce:12341234", "text"),
    "another scheme": (lambda text: "https://" + text, "scheme"),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_a_text_that_was_changed_and_signed_is_refused_by_the_check_it_fails(auth: AuthRoom, name: str) -> None:
    change, check = CHANGES[name]
    wallet = Wallet()
    text = change((await challenge(auth.stub, wallet)).message)
    error = await refusal(auth.stub.CreateSession(pb.CreateSessionRequest(message=text, signature=wallet.sign(text))))
    assert error.reason is Reason.SIGN_IN_REFUSED, error.message
    assert error.metadata["check"] == check, error.message


BAD_SIGNATURES: dict[str, Callable[[Wallet, str], bytes]] = {
    "S9 another wallet's": lambda _, text: Wallet().sign_bytes(text),
    "S9 of another text": lambda wallet, text: wallet.sign_bytes(text + " "),
    "S8 the malleable twin": lambda wallet, text: _twin(wallet.sign_bytes(text)),
    "S8 v of 2": lambda wallet, text: wallet.sign_bytes(text)[:64] + b"\x02",
    "S8 v of 29": lambda wallet, text: wallet.sign_bytes(text)[:64] + b"\x1d",
    "S8 v of 37, a transaction's": lambda wallet, text: wallet.sign_bytes(text)[:64] + b"\x25",
    "S8 r of zero": lambda wallet, text: bytes(32) + wallet.sign_bytes(text)[32:],
    "S8 r of the order": lambda wallet, text: CURVE_ORDER.to_bytes(32, "big") + wallet.sign_bytes(text)[32:],
    "S8 s of zero": lambda wallet, text: wallet.sign_bytes(text)[:32] + bytes(32) + b"\x1b",
    "S8 compact, EIP-2098": lambda wallet, text: wallet.sign_bytes(text)[:64],
    "S8 all zero": lambda wallet, text: bytes(65),
}


def _twin(signature: bytes) -> bytes:
    s = CURVE_ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([27 + (28 - signature[64])])


@pytest.mark.parametrize("name", BAD_SIGNATURES)
async def test_a_signature_that_is_not_the_wallets_one_is_refused(auth: AuthRoom, name: str) -> None:
    wallet = Wallet()
    text = (await challenge(auth.stub, wallet)).message
    signature = "0x" + BAD_SIGNATURES[name](wallet, text).hex()
    error = await refusal(auth.stub.CreateSession(pb.CreateSessionRequest(message=text, signature=signature)))
    assert (error.reason, error.metadata.get("check")) == (Reason.SIGN_IN_REFUSED, "signature")


@pytest.mark.parametrize("v", [0, 27])
async def test_both_ways_to_write_the_last_byte_pass(auth: AuthRoom, v: int) -> None:
    wallet = Wallet()
    text = (await challenge(auth.stub, wallet)).message
    made = wallet.sign_bytes(text)
    signature = made[:64] + bytes([made[64] - 27 + v])
    signed = await auth.stub.CreateSession(pb.CreateSessionRequest(message=text, signature="0x" + signature.hex()))
    assert signed.session.address == wallet.address


async def test_a_failed_attempt_takes_the_nonce_with_it(auth: AuthRoom) -> None:
    wallet = Wallet()
    text = (await challenge(auth.stub, wallet)).message
    bad = pb.CreateSessionRequest(message=text, signature=Wallet().sign(text))
    assert (await refusal(auth.stub.CreateSession(bad))).metadata["check"] == "signature"
    good = pb.CreateSessionRequest(message=text, signature=wallet.sign(text))
    assert (await refusal(auth.stub.CreateSession(good))).metadata["check"] == "nonce"


async def test_a_tied_challenge_needs_the_secret_of_whoever_asked(auth: AuthRoom) -> None:
    secret = "s" * 43
    binding = base64.urlsafe_b64encode(hashlib.sha256(secret.encode()).digest()).decode().rstrip("=")
    for verifier, passes in (("", False), ("t" * 43, False), (secret, True)):
        wallet = Wallet()
        text = (await challenge(auth.stub, wallet, binding_challenge=binding)).message
        request = pb.CreateSessionRequest(message=text, signature=wallet.sign(text), binding_verifier=verifier)
        if passes:
            await auth.stub.CreateSession(request)
        else:
            assert (await refusal(auth.stub.CreateSession(request))).metadata["check"] == "binding"


async def test_a_contract_wallet_without_an_rpc_address_gets_a_clear_error(auth: AuthRoom) -> None:
    text = (await challenge(auth.stub, Wallet())).message
    request = pb.CreateSessionRequest(message=text, signature="0x" + "ab" * 130)
    error = await refusal(auth.stub.CreateSession(request))
    assert error.reason is Reason.WALLET_KIND_UNSUPPORTED
    assert "PERPMESH_AUTH_RPC_URLS" in error.message


async def test_a_wrong_checksum_an_unknown_chain_and_64_kilobytes_are_named(auth: AuthRoom) -> None:
    address = Wallet().address
    swapped = address[:2] + address[2:].swapcase()
    error = await refusal(auth.stub.CreateChallenge(pb.CreateChallengeRequest(address=swapped, chain_id=1)))
    assert (error.reason, error.metadata["field"]) == (Reason.FIELD_INVALID, "address")
    error = await refusal(auth.stub.CreateChallenge(pb.CreateChallengeRequest(address=address, chain_id=77)))
    assert (error.reason, error.metadata["field"]) == (Reason.FIELD_INVALID, "chain_id")
    long = pb.CreateSessionRequest(message="x" * 65_000, signature="0x" + "ab" * 65)
    assert (await refusal(auth.stub.CreateSession(long))).metadata["field"] == "message"
    unicode = pb.CreateSessionRequest(message="\u202eperp\u043fmesh wants you", signature="0x" + "ab" * 65)
    assert (await refusal(auth.stub.CreateSession(unicode))).metadata["field"] == "message"
