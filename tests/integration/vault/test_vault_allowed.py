"""What may be signed is a short list; nothing else can be asked for, by anybody, in any form."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any

import pytest
from perpmesh.type.v1 import margin_mode_pb2, side_pb2
from perpmesh.vault.v1 import account_pb2, action_pb2
from perpmesh.vault.v1 import vault_service_pb2 as pb
from perpmesh.vault.v1.signer_service_pb2 import SignRequest

from services.domain.errors import Reason
from services.simulator.dialects.hyperliquid.actions import KNOWN_UNSUPPORTED, L1_ACTIONS, USER_ACTIONS
from services.venues.lighter import library, signer_frames
from services.venues.lighter.signer import ChildSigner, SignerError
from services.venues.lighter.wire.transactions import SETUP, TRADING, TxType
from tests.support.auth import refusal
from tests.support.vault import Owner, client_id, middle, order, report_request, sign_request
from tests.support.vault_room import Client

pytestmark = pytest.mark.asyncio(loop_scope="session")
ALLOWED = {"place", "modify", "cancel", "cancel_all", "leverage", "scheduled_cancel"}
HYPERLIQUID_ALLOWED = {
    "order", "cancel", "cancelByCloid", "modify", "batchModify", "scheduleCancel", "updateLeverage",
}  # fmt: skip
BOTH = pytest.mark.parametrize("venue", ["hyperliquid", "lighter"])


async def ready(mesh: Client, venue: str) -> tuple[Owner, str]:
    owner = await mesh.owner(venue)
    await owner.ready()
    price = int(await middle(mesh.grounds.http, mesh.grounds.face(venue), venue)) * 95 // 100
    return owner, str(price)


def every_action(venue: str, price: str) -> dict[str, action_pb2.Action]:
    """Return one action of each kind that the contract has."""
    number = 0 if venue == "hyperliquid" else 1
    reference = action_pb2.OrderReference(market="BTC-PERP", venue_market_id=number, venue_client_id=client_id(venue))
    placed = order(venue, price=price)
    at = action_pb2.ScheduledCancelAction()
    at.cancel_time.FromSeconds(int(time.time()) + 600)
    return {
        "place": placed,
        "modify": action_pb2.Action(modify=action_pb2.ModifyAction(order=reference, terms=placed.place.orders[0])),
        "cancel": action_pb2.Action(cancel=action_pb2.CancelAction(orders=[reference])),
        "cancel_all": action_pb2.Action(cancel_all=action_pb2.CancelAllAction()),
        "leverage": action_pb2.Action(
            leverage=action_pb2.LeverageAction(
                market="BTC-PERP", venue_market_id=number, leverage=3, margin_mode=margin_mode_pb2.MARGIN_MODE_CROSS
            )
        ),
        "scheduled_cancel": action_pb2.Action(scheduled_cancel=at),
    }


@BOTH
async def test_what_the_contract_can_say_becomes_what_is_allowed_and_nothing_else(mesh: Client, venue: str) -> None:
    assert {field.name for field in action_pb2.Action.DESCRIPTOR.fields} == ALLOWED
    owner, price = await ready(mesh, venue)
    for name, action in every_action(venue, price).items():
        request = sign_request(owner.account_id, action)
        answer = await mesh.signer.Sign(request, timeout=20)
        if answer.HasField("refusal"):
            assert (venue, name) == ("hyperliquid", "cancel_all"), answer
            continue
        signed = answer.signed_action
        if venue == "hyperliquid":
            assert json.loads(signed.body)["action"]["type"] in HYPERLIQUID_ALLOWED
        else:
            assert TxType(signed.transaction_type) in TRADING
        await mesh.signer.ReportOutcome(report_request(request, "NOT_SENT"))


def tagged(number: int, payload: bytes) -> bytes:
    """Return a field of a message that the contract does not have."""
    tag, out = number << 3 | 2, b""
    while tag > 127:
        out += bytes([tag & 127 | 128])
        tag >>= 7
    return out + bytes([tag, len(payload)]) + payload


@BOTH
async def test_what_the_contract_cannot_say_is_refused(mesh: Client, venue: str) -> None:
    owner, price = await ready(mesh, venue)
    others = [name for name in (*L1_ACTIONS, *USER_ACTIONS, *KNOWN_UNSUPPORTED) if name not in HYPERLIQUID_ALLOWED]
    assert len(others) > 25
    payloads = [json.dumps({"type": name}).encode()[:120] for name in others] + [b"", b"\x08\x0d", b"\x08\x0c"]
    refused = 0
    for number in range(7, 64):
        for payload in (payloads[number % len(payloads)], payloads[(number * 7) % len(payloads)]):
            request = sign_request(owner.account_id, None)
            raw = request.SerializeToString() + tagged(5, tagged(number, payload))
            told = await refusal(mesh.signer.Sign(SignRequest.FromString(raw), timeout=20))
            assert told.reason is Reason.FIELD_INVALID, (number, told)
            refused += 1
    assert refused == 2 * 57
    # Beside an action that is allowed, what is unknown is left out of what is signed.
    request = sign_request(owner.account_id, order(venue, price=price))
    raw = request.SerializeToString() + tagged(5, tagged(9, payloads[0]))
    signed = (await mesh.signer.Sign(SignRequest.FromString(raw), timeout=20)).signed_action
    assert b"withdraw" not in signed.body


async def test_the_lighter_signer_has_no_way_to_sign_another_type() -> None:
    assert set(library._SIGNATURES) == TRADING | SETUP
    async with ChildSigner(chain_id=304, secrets=_secret) as signer:
        await signer.generate()
        signed = []
        for kind in range(1, 46):
            request = signer_frames.Sign(
                next(signer._ids), kind, {"AccountIndex": 1, "ApiKeyIndex": 5, "FromAccountIndex": 1, "AssetIndex": 3,
                                          "RouteType": 0, "Amount": 1}, {}, 0,
            )  # fmt: skip
            try:
                await signer._ask(request)
                signed.append(kind)
            except SignerError:
                continue
        assert [kind for kind in signed if kind not in {int(one) for one in TRADING | SETUP}] == []


async def _secret(_: Any) -> str:
    return "0b" * 39 + "00"


@pytest.mark.parametrize(
    ("venue", "fields", "words"),
    [
        ("hyperliquid", {"market_id": 1}, "is not that of BTC-PERP"),
        ("lighter", {"market_id": 0}, "is not that of BTC-PERP"),
        ("lighter", {"market": "NONE-PERP"}, "lists no NONE-PERP"),
        ("hyperliquid", {"size": "0.000000001"}, "cannot be asked for this"),
        ("lighter", {"price": "1.123456789"}, "beyond"),
    ],
)
async def test_what_a_rogue_caller_makes_up_is_refused(mesh: Client, venue: str, fields: Any, words: str) -> None:
    owner, price = await ready(mesh, venue)
    given = {"price": price, **fields}
    if given["price"] == "1.123456789":
        given["side"] = side_pb2.SIDE_SELL
    answer = await mesh.signer.Sign(sign_request(owner.account_id, order(venue, **given)), timeout=20)
    assert words in answer.refusal.message, answer


@BOTH
async def test_a_freeze_is_felt_within_a_second_under_load(mesh: Client, venue: str) -> None:
    owner, price = await ready(mesh, venue)
    stop, begun, last = asyncio.Event(), asyncio.Event(), [0.0]

    async def load() -> None:
        while not stop.is_set():
            request = sign_request(owner.account_id, order(venue, price=price))
            answer = await mesh.signer.Sign(request, timeout=25)
            if answer.HasField("signed_action"):
                last[0] = time.monotonic()
                begun.set()
                await mesh.signer.ReportOutcome(report_request(request, "NOT_SENT"), timeout=25)
            else:
                assert "frozen" in answer.refusal.message
                await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(load()) for _ in range(20)]
    await begun.wait()
    await owner.vault.FreezeTrading(pb.FreezeTradingRequest(account_id=owner.account_id), metadata=owner.metadata)
    frozen = time.monotonic()
    await asyncio.sleep(1.5)
    stop.set()
    await asyncio.gather(*tasks)
    assert last[0] - frozen < 1.0
    account = (await owner.get()).account
    assert account.state == account_pb2.Account.STATE_FROZEN


async def test_a_global_freeze_stops_everything_within_a_second(mesh: Client) -> None:
    owners = [await ready(mesh, venue) for venue in ("hyperliquid", "lighter")]
    for owner, price in owners:
        request = sign_request(owner.account_id, order(owner.account.venue, price=price))
        await mesh.signer.Sign(request)
        await mesh.signer.ReportOutcome(report_request(request, "NOT_SENT"))
    database = mesh.grounds.environ(mesh.grounds.folder / "unused.json")
    process = await _operator(database, "freeze-all", "fire", "drill")
    assert "nothing is signed" in process
    try:
        for owner, price in owners:
            answer = await mesh.signer.Sign(sign_request(owner.account_id, order(owner.account.venue, price=price)))
            assert "fire drill" in answer.refusal.message
    finally:
        await _operator(database, "unfreeze-all")
    for owner, price in owners:
        answer = await mesh.signer.Sign(sign_request(owner.account_id, order(owner.account.venue, price=price)))
        assert answer.HasField("signed_action")


async def _operator(environ: dict[str, str], *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.vault", *arguments, env={**environ, "PATH": os.environ["PATH"],
        "PYTHONPATH": "gen:."}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 0, out
    return out.decode()
