"""`SignerService`, for execution alone: message to value, one use case, value to message."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from perpmesh.vault.v1 import signer_service_pb2 as pb
from perpmesh.vault.v1.signer_service_pb2_grpc import SignerServiceServicer

from services.domain.errors import field_invalid
from services.domain.market import LIGHTER
from services.domain.pages import Pager, page_size
from services.domain.refusal import Refusal
from services.vault.app.directory import Directory
from services.vault.app.signer import Signer
from services.vault.model.signing import CallerKey
from services.vault.ports import Clock
from services.vault.rpc import decode, encode

PAGE_DEFAULT, PAGE_MAX = 100, 1_000
PATIENCE_MAX_S = 25.0
MARGIN_S = 0.25
"""What is kept of a caller's deadline for the answer."""


class SignerRpc(SignerServiceServicer):
    """Serves the contract."""

    def __init__(self, *, signer: Signer, directory: Directory, pager: Pager, clock: Clock) -> None:
        self._signer = signer
        self._directory = directory
        self._pager = pager
        self._clock = clock

    async def Sign(self, request: pb.SignRequest, context: Any) -> pb.SignResponse:
        """Sign an action, or give the bytes it was given before."""
        wanted = decode.wanted(request, self._now_ms())
        answer = await self._signer.sign(wanted, patience_s=_patience(context))
        if isinstance(answer, Refusal):
            return pb.SignResponse(refusal=encode.refusal(answer))
        return pb.SignResponse(signed_action=encode.signed_action(answer))

    async def ReviewAction(self, request: pb.ReviewActionRequest, context: Any) -> pb.ReviewActionResponse:
        """Say whether an action would be signed now."""
        refusal = await self._signer.review(UUID(request.account_id), decode.action(request.action))
        return pb.ReviewActionResponse(refusal=None if refusal is None else encode.refusal(refusal))

    async def ReportOutcome(self, request: pb.ReportOutcomeRequest, context: Any) -> pb.ReportOutcomeResponse:
        """Settle a nonce."""
        await self._signer.report(decode.report(request))
        return pb.ReportOutcomeResponse()

    async def PrepareAction(self, request: pb.PrepareActionRequest, context: Any) -> pb.PrepareActionResponse:
        """Prepare an action for a caller who signs."""
        slot = request.api_key_index if request.HasField("api_key_index") else None
        account = await self._directory.get(UUID(request.account_id))
        if account.venue == LIGHTER and (not request.public_key or slot is None):
            raise field_invalid("public_key", "the public key and api_key_index that will sign would pass, for Lighter")
        if account.venue != LIGHTER and not request.signer_address:
            raise field_invalid("signer_address", "the address that will sign would pass, for Hyperliquid")
        caller = CallerKey(
            public_key=request.public_key if account.venue == LIGHTER else request.signer_address.lower(),
            api_key_index=slot if account.venue == LIGHTER else None,
        )
        wanted = replace(decode.wanted(request, self._now_ms()), signer=caller)
        answer = await self._signer.prepare(wanted, account, patience_s=_patience(context))
        if isinstance(answer, Refusal):
            return pb.PrepareActionResponse(refusal=encode.refusal(answer))
        return pb.PrepareActionResponse(prepared=encode.prepared(answer))

    async def AcceptSignature(self, request: pb.AcceptSignatureRequest, context: Any) -> pb.AcceptSignatureResponse:
        """Take a caller's signature of a prepared action."""
        answer = await self._signer.accept(decode.leg(request), request.signature)
        if isinstance(answer, Refusal):
            return pb.AcceptSignatureResponse(refusal=encode.refusal(answer))
        return pb.AcceptSignatureResponse(signed_action=encode.signed_action(answer))

    async def IssueVenueToken(self, request: pb.IssueVenueTokenRequest, context: Any) -> pb.IssueVenueTokenResponse:
        """Issue what opens an account's private streams."""
        lifetime = timedelta(seconds=request.lifetime.seconds)
        text, end = await self._signer.token(UUID(request.account_id), lifetime)
        return pb.IssueVenueTokenResponse(venue_token=text, expire_time=encode.timestamp(end))

    async def BatchGetSigningAccounts(
        self, request: pb.BatchGetSigningAccountsRequest, context: Any
    ) -> pb.BatchGetSigningAccountsResponse:
        """Return what execution must know of accounts."""
        limit = page_size(request.page_size, default=PAGE_DEFAULT, largest=PAGE_MAX)
        name, arguments = "BatchGetSigningAccounts", f"{sorted(request.account_ids)} {request.user_id}"
        after = self._pager.position(name, arguments, request.page_token) if request.page_token else ""
        found = await self._directory.page(
            [UUID(one) for one in request.account_ids],
            UUID(request.user_id) if request.HasField("user_id") else None,
            after=UUID(after) if after else None,
            limit=limit + 1,
        )
        token = ""
        if len(found) > limit:
            token = self._pager.token(name, arguments, str(found[limit - 1].account.account_id))
        accounts = [
            pb.BatchGetSigningAccountsResponse.SigningAccount(
                account=encode.account(one.account), user_id=str(one.account.user_id), trading_keys=one.trading_keys
            )
            for one in found[:limit]
        ]
        return pb.BatchGetSigningAccountsResponse(accounts=accounts, next_page_token=token)

    def _now_ms(self) -> int:
        return self._clock.time_ns() // 1_000_000


def _patience(context: Any) -> float:
    """Return how long a job may wait for room, so that its refusal still reaches the caller."""
    left = context.time_remaining()
    return PATIENCE_MAX_S if left is None else max(0.05, min(PATIENCE_MAX_S, left - MARGIN_S))
