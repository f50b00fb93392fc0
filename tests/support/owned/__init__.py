"""What an owner has: for each room a module that makes an owner's data, so that the auth matrix can prove whose it is.

The matrix (`tests/e2e/test_auth_matrix.py`) finds every call of every served room in the descriptors. For each call
that needs a token it must know one request that succeeds for an owner who has data, and by which words that data would
be known in somebody else's answer. A room says so in `tests/support/owned/<room>.py`:

    async def own(owner: Owner) -> list[Step]:
        stub = VaultServiceStub(owner.channel)
        request = pb.CreateAccountRequest(request_id=owner.new_id(), venue="hyperliquid", ...)
        account = (await stub.CreateAccount(request, metadata=owner.metadata)).account
        mark = account.account_id
        return [
            Step("CreateAccount", request, shows=(mark,)),
            Step("GetAccount", pb.GetAccountRequest(account_id=mark), shows=(mark,), hides=(mark,)),
            ...
        ]

Steps are made in their order; what ends something comes last. Names may carry the service (`SignerService/Sign`) where
a room has several. A call that no step can make stands in `LEFT_OUT` with the reason; everything else that is missing
fails the matrix, by name.
"""

from __future__ import annotations

import importlib
import importlib.util
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import grpc
from google.protobuf.message import Message

from tests.support.auth import bearer
from tests.support.wallet import Wallet


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Somebody who is signed in."""

    wallet: Wallet
    channel: grpc.aio.Channel
    """To the edge."""
    token: str
    session_id: str
    mesh: Any = None
    """The running mesh, for what is made past the edge (the simulator's control page)."""

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call of the owner carries."""
        return bearer(self.token)

    def new_id(self) -> str:
        """Return a fresh UUID, for a request_id."""
        return str(uuid.uuid4())


@dataclass(frozen=True, slots=True)
class Step:
    """One call that succeeds for the owner."""

    call: str
    request: Message
    shows: tuple[str, ...] = ()
    """Texts that the owner's answer must hold: that data was there."""
    hides: tuple[str, ...] = ()
    """Ids in the request that are the owner's: to another they are as unknown as fresh ones."""
    others: bool = field(default=True)
    """Whether another may try it before the owner; not where trying spends what the owner needs."""


Own = Callable[[Owner], Awaitable[list[Step]]]


def own_of(room: str) -> Own | None:
    """Return how an owner's data is made in a room; None where nobody has written it."""
    module = _module(room)
    return cast("Own", module.own) if module is not None else None


def left_out(room: str) -> Mapping[str, str]:
    """Return the calls that no step can make, with the reason."""
    module = _module(room)
    return cast("Mapping[str, str]", getattr(module, "LEFT_OUT", {})) if module is not None else {}


def _module(room: str) -> Any:
    name = f"{__name__}.{room}"
    return importlib.import_module(name) if importlib.util.find_spec(name) is not None else None
