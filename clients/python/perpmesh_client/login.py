"""Signing in: a wallet proves itself once, and every call gets a token that counts.

    login = Login("127.0.0.1:8080", KeyWallet("0x..."))
    async with login, Perpmesh("127.0.0.1:8080", token=login) as mesh:
        print(await login.user_id())

A `Login` is what `Perpmesh(token=...)` takes: it is asked before every call and every stream, signs in when it must,
renews half a minute before the token ends, and fetches another when the mesh refuses one. A program without a wallet
starts from an API token or from a refresh token that was kept.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from google.protobuf.duration_pb2 import Duration
from perpmesh.auth.v1 import api_token_pb2, session_pb2
from perpmesh.auth.v1 import auth_service_pb2 as pb
from perpmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub

from perpmesh_client.errors import PerpmeshError
from perpmesh_client.part import Part

if TYPE_CHECKING:
    from perpmesh.auth.v1.auth_service_pb2_grpc import AuthServiceAsyncStub

RENEW_BEFORE = timedelta(seconds=30)
"""How long before its end a token is renewed."""
SCOPES = {"read": session_pb2.SCOPE_READ, "trade": session_pb2.SCOPE_TRADE}
_FIRST_LINE_END = " wants you to sign in with your Ethereum account:"


class Wallet(Protocol):
    """What proves an address: a key here, or whatever signs for you elsewhere."""

    @property
    def address(self) -> str:
        """Return the address."""

    async def sign(self, text: str) -> str:
        """Return the signature over a text as `personal_sign` makes it, in hex with 0x."""


@dataclass(frozen=True, slots=True)
class KeyWallet:
    """A wallet whose key is at hand. The key shows in no `repr` and leaves this process in no call."""

    private_key: str = field(repr=False)
    """64 hex digits, with or without 0x."""

    @classmethod
    def new(cls) -> KeyWallet:
        """Return a wallet of a new random key, which nobody keeps unless you do: for trying things."""
        return cls(secrets.token_hex(32))

    @property
    def address(self) -> str:
        """Return the address, with its checksum."""
        from eth_account import Account  # half a second to import, and only needed here

        try:
            return str(Account.from_key(self.private_key.strip()).address)
        except Exception:
            raise ValueError("a private key is 64 hex digits, with or without 0x") from None

    async def sign(self, text: str) -> str:
        """Return the signature over a text, in hex with 0x."""
        from eth_account import Account
        from eth_account.messages import encode_defunct

        signed = Account.sign_message(encode_defunct(text=text), self.private_key.strip())
        return "0x" + bytes(signed.signature).hex()

    async def sign_typed(self, payload: str) -> str:
        """Return the signature over typed data in JSON (EIP-712, `eth_signTypedData_v4`), in hex with 0x."""
        from eth_account import Account
        from eth_account.messages import encode_typed_data

        message = encode_typed_data(full_message=json.loads(payload))
        signed = Account.sign_message(message, self.private_key.strip())
        return "0x" + bytes(signed.signature).hex()


@dataclass(frozen=True, slots=True)
class CallbackWallet:
    """A wallet that signs elsewhere: a device, a remote signer, a person."""

    address: str
    signer: Callable[[str], Awaitable[str]] = field(repr=False)

    async def sign(self, text: str) -> str:
        """Return the signature over a text, in hex with 0x."""
        return await self.signer(text)


class Login(Part):
    """A token that counts, for as long as it is asked for. Call it, or give it to `Perpmesh(token=...)`.

    Closing it closes the connection; the session lives on.
    """

    def __init__(
        self,
        address: str,
        wallet: Wallet | None = None,
        *,
        chain_id: int = 1,
        refresh_token: str = "",
        api_token: str = "",
        root_certificates: bytes | None = None,
        on_refresh_token: Callable[[str], None] | None = None,
    ) -> None:
        """Prepare; the first token signs in.

        `refresh_token` goes on with an earlier session; `on_refresh_token` is called with every new one, since each is
        good for one use. `api_token` is for programs, and needs neither. `chain_id` is the wallet's chain.
        """
        if wallet is None and not refresh_token and not api_token:
            raise ValueError("a Login needs a wallet, a refresh token or an API token")
        super().__init__(address, token=self, root_certificates=root_certificates)
        self._wallet = wallet
        self._chain_id = chain_id
        self._refresh_token = refresh_token
        self._api_token = api_token
        self._on_refresh_token = on_refresh_token
        self._access_token = ""
        self._end = datetime.min.replace(tzinfo=UTC)
        self._turn = asyncio.Lock()

    async def __call__(self) -> str:
        """Return an access token that counts for the next half minute at least."""
        async with self._turn:
            if not self._access_token or datetime.now(UTC) >= self._end - RENEW_BEFORE:
                await self._renew()
            return self._access_token

    def refused(self) -> None:
        """Note that the mesh refused the token; the next is fetched anew."""
        self._access_token = ""

    async def sessions(self) -> list[session_pb2.Session]:
        """Return the user's sessions, the last used first."""
        request = pb.ListSessionsRequest(page_size=200)
        return await self._pages(self._stub().ListSessions, request, lambda page: page.sessions)

    async def revoke_session(self, session_id: str) -> None:
        """End one session of the user."""
        request = pb.RevokeSessionRequest(session_id=session_id)
        await self._ask(self._stub().RevokeSession, request)

    async def revoke_all_sessions(self, *, keep_current: bool = False) -> int:
        """End every session of the user; return how many there were."""
        request = pb.RevokeAllSessionsRequest(keep_current=keep_current)
        answer = await self._ask(self._stub().RevokeAllSessions, request)
        return int(answer.revoked_count)

    async def create_api_token(
        self, name: str, scopes: Sequence[str] = ("read",), *, lifetime: timedelta | None = None
    ) -> tuple[api_token_pb2.ApiToken, str]:
        """Make a token for a program; return it with its secret, which is shown this once."""
        span = None
        if lifetime is not None:
            span = Duration()
            span.FromTimedelta(lifetime)
        request = pb.CreateApiTokenRequest(
            request_id=str(uuid.uuid4()), name=name, scopes=[SCOPES[scope] for scope in scopes], lifetime=span
        )
        answer = await self._ask(self._stub().CreateApiToken, request)
        return answer.api_token, answer.secret

    async def api_tokens(self) -> list[api_token_pb2.ApiToken]:
        """Return the user's living API tokens, the newest first."""
        request = pb.ListApiTokensRequest(page_size=200)
        return list((await self._ask(self._stub().ListApiTokens, request)).api_tokens)

    async def revoke_api_token(self, api_token_id: str) -> None:
        """End an API token and what was exchanged from it."""
        request = pb.RevokeApiTokenRequest(api_token_id=api_token_id)
        await self._ask(self._stub().RevokeApiToken, request)

    async def user_id(self) -> str:
        """Return the user's id."""
        answer = await self._ask(self._stub().GetUser, pb.GetUserRequest())
        return str(answer.user.user_id)

    async def _renew(self) -> None:
        """Get a token by the cheapest way there is; raise `PerpmeshError` when none is left."""
        if self._api_token:
            exchange = pb.ExchangeApiTokenRequest(secret=self._api_token)
            exchanged = await self._ask(self._stub().ExchangeApiToken, exchange, signed_in=False)
            self._take(exchanged.access_token, exchanged.expire_time.ToDatetime(UTC))
            return
        if self._refresh_token:
            refresh = pb.RefreshSessionRequest(refresh_token=self._refresh_token)
            try:
                renewed = await self._ask(self._stub().RefreshSession, refresh, signed_in=False)
            except PerpmeshError as error:
                if error.reason != "TOKEN_INVALID":
                    raise
                self._refresh_token = ""
                if self._wallet is None:
                    raise _signed_out(error) from None
            else:
                self._keep(renewed.refresh_token)
                self._take(renewed.access_token, renewed.expire_time.ToDatetime(UTC))
                return
        await self._sign_in()

    async def _sign_in(self) -> None:
        assert self._wallet is not None
        wallet, verifier = self._wallet, secrets.token_urlsafe(32)
        binding = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        asked = pb.CreateChallengeRequest(address=wallet.address, chain_id=self._chain_id, binding_challenge=binding)
        issued = await self._ask(self._stub().CreateChallenge, asked, signed_in=False)
        _check_text(issued.message, wallet.address)
        answer = pb.CreateSessionRequest(
            message=issued.message, signature=await wallet.sign(issued.message), binding_verifier=verifier
        )
        done = await self._ask(self._stub().CreateSession, answer, signed_in=False)
        self._keep(done.refresh_token)
        self._take(done.access_token, done.expire_time.ToDatetime(UTC))

    def _take(self, access_token: str, end: datetime) -> None:
        self._access_token, self._end = access_token, end

    def _keep(self, refresh_token: str) -> None:
        self._refresh_token = refresh_token
        if self._on_refresh_token is not None:
            self._on_refresh_token(refresh_token)

    def _stub(self) -> AuthServiceAsyncStub:
        stub: AuthServiceAsyncStub = AuthServiceStub(self._open())
        return stub


def _check_text(text: str, address: str) -> None:
    """Sign nothing but a sign-in of this very wallet, whoever answered."""
    lines = text.split("\n")
    if len(lines) < 2 or not lines[0].endswith(_FIRST_LINE_END) or lines[1] != address:
        raise PerpmeshError(
            "What the mesh asked to sign is no sign-in of this wallet, so it was not signed.",
            code="INTERNAL",
            reason="SIGN_IN_REFUSED",
            category="authentication",
        )


def _signed_out(error: PerpmeshError) -> PerpmeshError:
    """Return the error of a session that cannot be renewed; its reason makes no stream try again."""
    return PerpmeshError(
        f"{error.message} Sign in again.", code="UNAUTHENTICATED", reason="SIGN_IN_REFUSED", category="authentication"
    )
