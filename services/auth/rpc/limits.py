"""What an edge asks before it lets a user's request in, where several edges share one limit: Envoy's own contract.

Nobody but an edge reaches it: it has no route, and the certificate of the connection is asked for its name. What cannot
be counted is answered with UNAVAILABLE, upon which Envoy lets the request pass: each edge's own limit holds on.
"""

from __future__ import annotations

from typing import Any, Final

import grpc
from envoyrls.v3 import rls_pb2 as pb

from services.auth.model.allowance import SECOND_US, Allowance
from services.auth.ports import Tally

PATH: Final = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
ENTRY: Final = "user"
"""The descriptor's entry that names the user, as `envoy/edge.yaml` writes it."""
_CODES: Final = {True: pb.RateLimitResponse.OK, False: pb.RateLimitResponse.OVER_LIMIT}


class Limits:
    """Answers edges."""

    def __init__(self, tally: Tally, allowance: Allowance) -> None:
        self._tally = tally
        self._limit = pb.RateLimitResponse.RateLimit(
            requests_per_unit=allowance.burst, unit=pb.RateLimitResponse.RateLimit.SECOND
        )

    async def should_rate_limit(self, raw: bytes, context: Any) -> bytes:
        """Answer for each descriptor; one that names no user fits."""
        asked = pb.RateLimitRequest.FromString(raw)
        answer = pb.RateLimitResponse(overall_code=pb.RateLimitResponse.OK)
        for descriptor in asked.descriptors:
            user = next((entry.value for entry in descriptor.entries if entry.key == ENTRY), "")
            status = answer.statuses.add(code=pb.RateLimitResponse.OK)
            if not user:
                continue
            standing = await self._tally.take(user, asked.hits_addend or 1)
            if standing is None:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "Requests cannot be counted now.")
                raise AssertionError("abort raises")
            status.code = _CODES[standing.fits]
            status.current_limit.CopyFrom(self._limit)
            status.limit_remaining = standing.left
            # Whole seconds are what Envoy tells callers: none of them is told to come back too early.
            status.duration_until_reset.seconds = -(-standing.reset_us // SECOND_US)
            if not standing.fits:
                answer.overall_code = pb.RateLimitResponse.OVER_LIMIT
        return answer.SerializeToString()
