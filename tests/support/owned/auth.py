"""What somebody has at auth: sessions, wallets, API tokens, preferences."""

from __future__ import annotations

from perpmesh.auth.v1 import auth_service_pb2 as pb
from perpmesh.auth.v1 import session_pb2, user_pb2
from perpmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub

from tests.support.auth import challenge, sign_in
from tests.support.owned import Owner, Step
from tests.support.wallet import Wallet

LEFT_OUT: dict[str, str] = {}


async def own(owner: Owner) -> list[Step]:
    """Open a second session, link a second wallet, make a token."""
    stub = AuthServiceStub(owner.channel)
    second = await sign_in(stub, owner.wallet)
    made = pb.CreateApiTokenRequest(request_id=owner.new_id(), name="mine", scopes=[session_pb2.SCOPE_READ])
    token = (await stub.CreateApiToken(made, metadata=owner.metadata)).api_token.api_token_id
    linked = Wallet()
    purposes = pb.CreateChallengeRequest
    link = await challenge(stub, linked, token=owner.token, purpose=purposes.PURPOSE_LINK_WALLET)
    unlink = await challenge(stub, linked, token=owner.token, purpose=purposes.PURPOSE_UNLINK_WALLET)
    address, session = owner.wallet.address, second.session.session_id
    return [
        Step("GetUser", pb.GetUserRequest(), shows=(address,)),
        Step("ListSessions", pb.ListSessionsRequest(), shows=(session, owner.session_id)),
        Step("CreateApiToken", made, shows=(token,)),
        Step("ListApiTokens", pb.ListApiTokensRequest(), shows=(token,)),
        Step(
            "UpdatePreferences",
            pb.UpdatePreferencesRequest(preferences=user_pb2.Preferences(max_slippage_bps=37)),
        ),
        Step(
            "LinkWallet",
            pb.LinkWalletRequest(message=link.message, signature=linked.sign(link.message)),
            shows=(linked.address, address),
            others=False,
        ),
        Step(
            "UnlinkWallet",
            pb.UnlinkWalletRequest(
                address=linked.address, message=unlink.message, signature=linked.sign(unlink.message)
            ),
            shows=(address,),
            others=False,
        ),
        Step("RevokeApiToken", pb.RevokeApiTokenRequest(api_token_id=token), hides=(token,)),
        Step("RevokeSession", pb.RevokeSessionRequest(session_id=session), hides=(session,)),
        Step("RevokeAllSessions", pb.RevokeAllSessionsRequest(keep_current=True)),
    ]
