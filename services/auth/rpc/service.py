"""`AuthService`: message to value, one use case, value to message."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from perpmesh.auth.v1 import auth_service_pb2 as pb
from perpmesh.auth.v1 import jwk_pb2
from perpmesh.auth.v1.auth_service_pb2_grpc import AuthServiceServicer

from services.auth.app.account import Account
from services.auth.app.api_tokens import ApiTokenDesk
from services.auth.app.issuing import Issuer
from services.auth.app.sessions import SessionDesk
from services.auth.app.sign_in import SignedIn, SignIn
from services.auth.model.challenge import Purpose
from services.auth.rpc import encode
from services.auth.rpc.page import jwk_of
from services.chassis import call
from services.chassis.principal import Principal
from services.domain.pages import Pager, page_size

PAGE_DEFAULT, PAGE_MAX = 50, 200
_PURPOSES = {
    pb.CreateChallengeRequest.PURPOSE_UNSPECIFIED: Purpose.SIGN_IN,
    pb.CreateChallengeRequest.PURPOSE_SIGN_IN: Purpose.SIGN_IN,
    pb.CreateChallengeRequest.PURPOSE_LINK_WALLET: Purpose.LINK_WALLET,
    pb.CreateChallengeRequest.PURPOSE_UNLINK_WALLET: Purpose.UNLINK_WALLET,
}


class AuthRpc(AuthServiceServicer):
    """Serves the contract."""

    def __init__(
        self,
        *,
        sign_in: SignIn,
        sessions: SessionDesk,
        account: Account,
        api_tokens: ApiTokenDesk,
        issuer: Issuer,
        pager: Pager,
    ) -> None:
        self._sign_in = sign_in
        self._sessions = sessions
        self._account = account
        self._api_tokens = api_tokens
        self._issuer = issuer
        self._pager = pager

    async def CreateChallenge(self, request: pb.CreateChallengeRequest, context: Any) -> pb.CreateChallengeResponse:
        """Compose the message that a wallet must sign."""
        serving = call.CURRENT.get()
        issued = await self._sign_in.challenge(
            serving.principal if serving is not None else None,
            address=request.address,
            chain_id=request.chain_id,
            purpose=_PURPOSES[request.purpose],
            binding=request.binding_challenge,
            origin=_header(context, "origin"),
        )
        return pb.CreateChallengeResponse(
            message=issued.text, nonce=issued.nonce, expire_time=encode.timestamp(issued.expire_time)
        )

    async def CreateSession(self, request: pb.CreateSessionRequest, context: Any) -> pb.CreateSessionResponse:
        """Sign in with a signed challenge."""
        done = await self._sign_in.create_session(
            text=request.message,
            signature=bytes.fromhex(request.signature[2:]),
            verifier=request.binding_verifier,
            client=encode.client_of(context),
        )
        return pb.CreateSessionResponse(**_tokens(done))

    async def RefreshSession(self, request: pb.RefreshSessionRequest, context: Any) -> pb.RefreshSessionResponse:
        """Trade a refresh token for a new pair."""
        done = await self._sessions.refresh(request.refresh_token, encode.client_of(context))
        return pb.RefreshSessionResponse(**_tokens(done))

    async def ListSessions(self, request: pb.ListSessionsRequest, context: Any) -> pb.ListSessionsResponse:
        """List the caller's sessions."""
        caller = _caller()
        limit = page_size(request.page_size, default=PAGE_DEFAULT, largest=PAGE_MAX)
        after = self._after("ListSessions", caller.user, request.page_token)
        found = await self._sessions.page(caller, after=after, limit=limit + 1)
        token = ""
        if len(found) > limit:
            last = found[limit - 1]
            token = self._token("ListSessions", caller.user, last.last_use_time, last.session_id)
        messages = [encode.session_message(one, current=caller.session) for one in found[:limit]]
        return pb.ListSessionsResponse(sessions=messages, next_page_token=token)

    async def RevokeSession(self, request: pb.RevokeSessionRequest, context: Any) -> pb.RevokeSessionResponse:
        """End a session of the caller."""
        await self._sessions.revoke(_caller(), UUID(request.session_id))
        return pb.RevokeSessionResponse()

    async def RevokeAllSessions(
        self, request: pb.RevokeAllSessionsRequest, context: Any
    ) -> pb.RevokeAllSessionsResponse:
        """End every session of the caller."""
        count = await self._sessions.revoke_all(_caller(), keep_current=request.keep_current)
        return pb.RevokeAllSessionsResponse(revoked_count=count)

    async def GetUser(self, request: pb.GetUserRequest, context: Any) -> pb.GetUserResponse:
        """Return the caller."""
        return pb.GetUserResponse(user=encode.user_message(await self._account.get(_caller())))

    async def UpdatePreferences(
        self, request: pb.UpdatePreferencesRequest, context: Any
    ) -> pb.UpdatePreferencesResponse:
        """Set preferences."""
        fields = await self._account.set_preferences(
            _caller(),
            encode.preferences_fields(request.preferences),
            list(request.update_fields),
            encode.preference_names(),
        )
        return pb.UpdatePreferencesResponse(preferences=encode.preferences_message(fields))

    async def LinkWallet(self, request: pb.LinkWalletRequest, context: Any) -> pb.LinkWalletResponse:
        """Link another wallet to the caller."""
        user = await self._account.link(_caller(), text=request.message, signature=bytes.fromhex(request.signature[2:]))
        return pb.LinkWalletResponse(user=encode.user_message(user))

    async def UnlinkWallet(self, request: pb.UnlinkWalletRequest, context: Any) -> pb.UnlinkWalletResponse:
        """Unlink a wallet from the caller."""
        user = await self._account.unlink(
            _caller(), request.address, text=request.message, signature=bytes.fromhex(request.signature[2:])
        )
        return pb.UnlinkWalletResponse(user=encode.user_message(user))

    async def CreateApiToken(self, request: pb.CreateApiTokenRequest, context: Any) -> pb.CreateApiTokenResponse:
        """Make an API token."""
        lifetime = timedelta(seconds=request.lifetime.seconds) if request.HasField("lifetime") else None
        token, secret = await self._api_tokens.create(
            _caller(),
            request_id=UUID(request.request_id),
            name=request.name,
            scopes=encode.scope_words(request.scopes),
            lifetime=lifetime,
        )
        return pb.CreateApiTokenResponse(api_token=encode.token_message(token), secret=secret)

    async def ListApiTokens(self, request: pb.ListApiTokensRequest, context: Any) -> pb.ListApiTokensResponse:
        """List the caller's API tokens."""
        caller = _caller()
        limit = page_size(request.page_size, default=PAGE_DEFAULT, largest=PAGE_MAX)
        arguments = f"{caller.user} {request.include_ended}"
        after = self._after("ListApiTokens", arguments, request.page_token)
        found = await self._api_tokens.page(caller, include_ended=request.include_ended, after=after, limit=limit + 1)
        token = ""
        if len(found) > limit:
            last = found[limit - 1]
            token = self._token("ListApiTokens", arguments, last.create_time, last.api_token_id)
        messages = [encode.token_message(one) for one in found[:limit]]
        return pb.ListApiTokensResponse(api_tokens=messages, next_page_token=token)

    async def RevokeApiToken(self, request: pb.RevokeApiTokenRequest, context: Any) -> pb.RevokeApiTokenResponse:
        """End an API token of the caller."""
        await self._api_tokens.revoke(_caller(), UUID(request.api_token_id))
        return pb.RevokeApiTokenResponse()

    async def ExchangeApiToken(self, request: pb.ExchangeApiTokenRequest, context: Any) -> pb.ExchangeApiTokenResponse:
        """Trade an API token for an access token."""
        access, token = await self._api_tokens.exchange(request.secret)
        return pb.ExchangeApiTokenResponse(
            access_token=access.token,
            expire_time=encode.timestamp(access.expire_time),
            scopes=encode.scope_values(token.scopes),
        )

    async def GetJwks(self, request: pb.GetJwksRequest, context: Any) -> pb.GetJwksResponse:
        """Return the public keys."""
        return pb.GetJwksResponse(keys=[jwk_pb2.Jwk(**jwk_of(key)) for key in self._issuer.published()])

    def _token(self, name: str, arguments: str, moment: datetime, last: UUID) -> str:
        return self._pager.token(name, arguments, f"{moment.isoformat()} {last}")

    def _after(self, name: str, arguments: str, token: str) -> tuple[datetime, UUID] | None:
        if not token:
            return None
        moment, _, last = self._pager.position(name, arguments, token).partition(" ")
        return datetime.fromisoformat(moment), UUID(last)


def _caller() -> Principal:
    """Return who calls; the chassis lets nobody else into a method that is not public."""
    serving = call.CURRENT.get()
    assert serving is not None
    assert serving.principal is not None
    return serving.principal


def _tokens(done: SignedIn) -> dict[str, Any]:
    return {
        "access_token": done.access.token,
        "refresh_token": done.refresh_token,
        "expire_time": encode.timestamp(done.access.expire_time),
        "session": encode.session_message(done.session, current=str(done.session.session_id)),
    }


def _header(context: Any, name: str) -> str:
    return next((value for key, value in context.invocation_metadata() or () if key == name), "")
