"""The limits on position and on a day's loss: the signer asks the venue itself."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from perpmesh.type.v1 import order_type_pb2, time_in_force_pb2
from perpmesh.vault.v1 import account_pb2
from perpmesh.vault.v1 import vault_service_pb2 as pb

from tests.support.vault import Owner, middle, order, post, report_request, sign_request
from tests.support.vault_room import Client

pytestmark = pytest.mark.asyncio(loop_scope="session")
BOTH = pytest.mark.parametrize("venue", ["hyperliquid", "lighter"])


async def limited(owner: Owner, **limits: Any) -> None:
    request = pb.SetTradingLimitsRequest(account_id=owner.account_id, limits=account_pb2.TradingLimits(**limits))
    await owner.vault.SetTradingLimits(request, metadata=owner.metadata)


async def taking(mesh: Client, venue: str, usd: int, **fields: Any) -> Any:
    """Return an order that trades at once, worth about so much."""
    price = int(await middle(mesh.grounds.http, mesh.grounds.face(venue), venue))
    action = order(venue, price=str(price * 103 // 100), size=f"{usd / price:.4f}", **fields)
    action.place.orders[0].type = order_type_pb2.ORDER_TYPE_MARKET
    action.place.orders[0].time_in_force = time_in_force_pb2.TIME_IN_FORCE_IMMEDIATE_OR_CANCEL
    return action


@BOTH
async def test_a_position_stops_at_its_limit(mesh: Client, venue: str) -> None:
    owner = await mesh.owner(venue)
    await owner.ready()
    await limited(owner, max_position_notional="500")
    request = sign_request(owner.account_id, await taking(mesh, venue, 300))
    signed = (await mesh.signer.Sign(request, timeout=20)).signed_action
    said = await post(mesh.grounds.http, mesh.grounds.face(venue), signed)
    assert (said.get("code", 200), said.get("status", "ok")) == (200, "ok"), said
    await mesh.signer.ReportOutcome(report_request(request, "ACCEPTED"))
    at_once = await mesh.signer.Sign(sign_request(owner.account_id, await taking(mesh, venue, 300)), timeout=20)
    assert at_once.refusal.field == "limits.max_position_notional", "what was signed counts before the venue shows it"
    await asyncio.sleep(4.5)  # past what is remembered of a look and of what was signed
    later = await mesh.signer.Sign(sign_request(owner.account_id, await taking(mesh, venue, 300)), timeout=20)
    assert later.refusal.field == "limits.max_position_notional", "and the venue shows it then"
    less = await mesh.signer.Sign(
        sign_request(owner.account_id, await taking(mesh, venue, 600, reduce_only=True)), timeout=20
    )
    assert less.HasField("signed_action")


@BOTH
async def test_a_day_that_lost_too_much_takes_reduce_only_orders_alone(mesh: Client, venue: str) -> None:
    owner = await mesh.owner(venue)
    await owner.ready()
    await limited(owner, max_day_loss="100")
    request = sign_request(owner.account_id, await taking(mesh, venue, 100))
    database = await mesh.grounds.connection()
    await database.execute(
        "UPDATE accounts SET day_equity = 100200, equity_day = (now() AT TIME ZONE 'UTC')::date WHERE account_id = $1",
        uuid.UUID(owner.account_id),
    )
    await database.close()
    refused = await mesh.signer.Sign(request, timeout=20)
    assert refused.refusal.field == "limits.max_day_loss"
    assert refused.refusal.given_value.startswith(("200", "199"))
    reducing = sign_request(owner.account_id, await taking(mesh, venue, 100, reduce_only=True))
    assert (await mesh.signer.Sign(reducing, timeout=20)).HasField("signed_action")
