"""Contract wallets sign in on a real EVM: deployed (EIP-1271), not deployed yet (EIP-6492), and those that lie."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from perpmesh.auth.v1 import auth_service_pb2 as pb

from services.domain.errors import DomainError, Reason
from tests.support.auth import AuthRoom, challenge, refusal, running_auth
from tests.support.evm import FACTORY, ILL, OWNED, LocalChain, assemble, local_chain, undeployed, wrapped
from tests.support.postgres import Postgres
from tests.support.valkey import Valkey
from tests.support.wallet import Wallet


@pytest.fixture
async def chain() -> AsyncIterator[LocalChain]:
    async with local_chain() as running:
        yield running


@pytest.fixture
async def auth(
    tmp_path: Path, auth_postgres: Postgres, auth_valkey: Valkey, chain: LocalChain
) -> AsyncIterator[AuthRoom]:
    urls = {"postgres_url": auth_postgres.url(), "valkey_url": auth_valkey.url}
    async with running_auth(tmp_path, **urls, auth_rpc_urls=f"1={chain.url}") as room:
        yield room


def owned_by(wallet: Wallet) -> bytes:
    return assemble(OWNED.format(owner=wallet.address))


async def signed_in(auth: AuthRoom, address: str, sign: Any, *, chain_id: int = 1) -> Any:
    """Sign in as an address; `sign` makes the signature of the text."""
    issued = await auth.stub.CreateChallenge(pb.CreateChallengeRequest(address=address, chain_id=chain_id))
    request = pb.CreateSessionRequest(message=issued.message, signature="0x" + sign(issued.message).hex())
    return await auth.stub.CreateSession(request)


async def refused(auth: AuthRoom, address: str, sign: Any, **options: Any) -> DomainError:
    error = await refusal(signed_in(auth, address, sign, **options))
    assert error.reason in (Reason.SIGN_IN_REFUSED, Reason.WALLET_KIND_UNSUPPORTED), error
    return error


async def test_a_wallet_on_the_chain_signs_in_by_its_owners_key_and_by_no_other(
    auth: AuthRoom, chain: LocalChain
) -> None:
    owner, stranger = Wallet(), Wallet()
    address = chain.deploy(owned_by(owner))
    done = await signed_in(auth, address, owner.sign_bytes)
    assert done.session.address == address
    assert done.access_token
    await refused(auth, address, stranger.sign_bytes)
    await refused(auth, address, lambda text: owner.sign_bytes(text + " "))
    await refused(auth, address, lambda _: b"\1")
    # The key that owns the wallet is not the wallet, nor the other way round.
    await refused(auth, owner.address, stranger.sign_bytes)
    assert (await signed_in(auth, owner.address, owner.sign_bytes)).session.address == owner.address


async def test_a_wallet_that_is_not_there_yet_signs_in_wrapped_and_is_not_deployed_by_it(
    auth: AuthRoom, chain: LocalChain
) -> None:
    owner, stranger = Wallet(), Wallet()
    factory = chain.deploy(FACTORY)
    address, calldata = undeployed(factory, owned_by(owner))
    other, of_other = undeployed(factory, owned_by(stranger))
    done = await signed_in(auth, address, lambda text: wrapped(factory, calldata, owner.sign_bytes(text)))
    assert done.session.address == address
    assert chain.code(address) == "0x"
    await refused(auth, address, lambda text: wrapped(factory, calldata, stranger.sign_bytes(text)))
    await refused(auth, address, lambda text: wrapped(factory, of_other, stranger.sign_bytes(text)))
    await refused(auth, other, lambda text: wrapped(factory, calldata, owner.sign_bytes(text)))
    await refused(auth, address, owner.sign_bytes)
    await refused(auth, address, lambda text: owner.sign_bytes(text) + bytes.fromhex("6492" * 16))


async def test_two_wallets_of_one_owner_do_not_share_a_signature(auth: AuthRoom, chain: LocalChain) -> None:
    owner = Wallet()
    mine, also = chain.deploy(owned_by(owner)), chain.deploy(owned_by(owner))
    issued = await challenge(auth.stub, owner)
    request = pb.CreateSessionRequest(
        message=issued.message.replace(owner.address, also),
        signature=owner.sign(issued.message.replace(owner.address, also)),
    )
    assert (await refusal(auth.stub.CreateSession(request))).reason is Reason.SIGN_IN_REFUSED
    assert (await signed_in(auth, mine, owner.sign_bytes)).session.address == mine


@pytest.mark.parametrize("kind", ILL)
async def test_a_contract_that_answers_badly_signs_nobody_in(auth: AuthRoom, chain: LocalChain, kind: str) -> None:
    address = chain.deploy(assemble(ILL[kind]))
    error = await refused(auth, address, Wallet().sign_bytes)
    assert error.metadata["check"] == "signature"


async def test_a_chain_that_cannot_be_asked_says_so(auth: AuthRoom, chain: LocalChain) -> None:
    address = chain.deploy(owned_by(owner := Wallet()))
    error = await refused(auth, address, lambda text: owner.sign_bytes(text) + b"\0" * 7, chain_id=10)
    assert error.reason is Reason.WALLET_KIND_UNSUPPORTED
    assert "PERPMESH_AUTH_RPC_URLS" in error.message
