"""A caller's own topics: told to nobody else, every message in its order, and resumed where they stood."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from services.chassis.access_token import read_keys
from services.chassis.metrics import Metrics
from services.chassis.verifier import TokenVerifier
from services.domain.errors import DomainError, Reason
from services.stream.model.private import QUEUED_MAX, Private, Told
from tests.integration.stream.conftest import Mesh, Reader, eventually
from tests.support.own_rooms import OwnRooms
from tests.support.tokens import Issuer


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def verifier(issuer: Issuer) -> TokenVerifier:
    made = TokenVerifier(issuer="perpmesh", audience="perpmesh", metrics=Metrics())
    made.set_keys(read_keys(issuer.jwks))
    return made


async def signed_in(mesh: Mesh, issuer: Issuer, **claims: Any) -> tuple[Reader, str]:
    reader = await mesh.client()
    token = issuer.token(time.time(), **claims)
    await reader.send(authenticate={"access_token": token})
    await reader.until("authenticated")
    return reader, token


def order(number: int) -> bytes:
    return json.dumps({"order_id": str(number), "explanation": "x" * 500}).encode()


async def test_nobody_follows_own_topics_without_a_token(make_mesh: Any, verifier: TokenVerifier) -> None:
    rooms = OwnRooms()
    mesh = await make_mesh(verifier=verifier, rooms=rooms)
    reader = await mesh.client()
    await reader.subscribe("orders", "fills", "positions")
    for _ in Private:
        assert (await reader.status("REFUSED"))["status"]["reason"] == "TOKEN_MISSING"
    assert rooms.opened == []


async def test_the_present_then_the_mark_then_every_change_with_its_cursor(
    make_mesh: Any, verifier: TokenVerifier, issuer: Issuer
) -> None:
    rooms = OwnRooms()
    rooms.write(Private.ORDERS, order(1), order(2))
    mesh = await make_mesh(verifier=verifier, rooms=rooms)
    reader, token = await signed_in(mesh, issuer)
    await reader.send(id="mine", subscribe={"topics": ["orders"]})
    status = await reader.next()
    assert (status["id"], status["status"]["state"], "cursor" in status) == ("mine", "STATE_SUBSCRIBED", False)
    seen = [await reader.next() for _ in range(3)]
    assert [next(iter(set(one) - {"topic", "id", "cursor"})) for one in seen] == ["order", "order", "live"]
    assert [one["cursor"] for one in seen] == ["1", "2", "2"]
    rooms.write(Private.ORDERS, order(3))
    assert (await reader.until("order"))["order"]["order_id"] == "3"
    assert [(one.topic, one.token) for one in rooms.opened] == [(Private.ORDERS, token)], "the caller's own token"


async def test_a_new_connection_goes_on_after_the_cursor(
    make_mesh: Any, verifier: TokenVerifier, issuer: Issuer
) -> None:
    rooms = OwnRooms()
    rooms.write(Private.FILLS, *(b'{"fill_id":"%d"}' % number for number in range(1, 6)))
    mesh = await make_mesh(verifier=verifier, rooms=rooms)
    reader, _ = await signed_in(mesh, issuer)
    await reader.subscribe("fills", cursor="3")
    assert [(await reader.until("fill"))["fill"]["fill_id"] for _ in range(2)] == ["4", "5"]
    await reader.subscribe("fills", "orders", cursor="3")
    assert (await reader.until("error"))["error"]["field"] == "subscribe.cursor"
    await reader.subscribe("prices:BTC-PERP", cursor="3")
    assert (await reader.until("error"))["error"]["field"] == "subscribe.cursor"


async def test_a_stream_that_is_cut_goes_on_where_it_stood_and_one_that_is_refused_says_why(
    make_mesh: Any, verifier: TokenVerifier, issuer: Issuer
) -> None:
    rooms = OwnRooms()
    rooms.write(Private.POSITIONS, b'{"market":"A"}')
    mesh = await make_mesh(verifier=verifier, rooms=rooms)
    reader, _ = await signed_in(mesh, issuer)
    await reader.subscribe("positions")
    await reader.until("live", "positions")
    rooms.opened[0].fault.set_result(Told(cursor="1", event="end", reason="DRAINING", message="going away"))
    assert (await reader.status("INTERRUPTED"))["status"]["reason"] == "DRAINING"
    await eventually(lambda: len(rooms.opened) == 2)
    assert rooms.opened[1].cursor == "1"
    rooms.write(Private.POSITIONS, b'{"market":"B"}')
    assert (await reader.until("position"))["position"]["market"] == "B"
    rooms.refusal = DomainError(Reason.PERMISSION_DENIED, "No.")
    rooms.opened[1].fault.set_result(DomainError(Reason.PEER_UNAVAILABLE, "cut"))
    assert (await reader.status("REFUSED"))["status"]["reason"] == "PERMISSION_DENIED"
    rooms.refusal = None
    await reader.subscribe("positions")
    assert (await reader.status("SUBSCRIBED"))["topic"] == "positions"


async def test_a_cursor_that_is_too_old_begins_anew(make_mesh: Any, verifier: TokenVerifier, issuer: Issuer) -> None:
    rooms = OwnRooms()
    rooms.write(Private.ORDERS, order(1))
    mesh = await make_mesh(verifier=verifier, rooms=rooms)
    reader, _ = await signed_in(mesh, issuer)
    rooms.refusal = DomainError(Reason.CURSOR_EXPIRED, "too old")
    await reader.subscribe("orders", cursor="1")
    assert (await reader.status("INTERRUPTED"))["status"]["reason"] == "CURSOR_EXPIRED"
    rooms.refusal = None
    assert (await reader.until("order"))["order"]["order_id"] == "1"


async def test_a_fresh_token_carries_the_topics_over_the_end_of_the_old_one(
    make_mesh: Any, verifier: TokenVerifier, issuer: Issuer
) -> None:
    rooms = OwnRooms()
    mesh = await make_mesh(verifier=verifier, rooms=rooms)
    user = "01a20366-5099-7093-a42f-fcdfcc83ec35"
    reader, _ = await signed_in(mesh, issuer, sub=user)
    await reader.subscribe("orders")
    await reader.until("live", "orders")
    fresh = issuer.token(time.time() + 1, sub=user)
    await reader.send(authenticate={"access_token": fresh})
    await reader.until("authenticated")
    rooms.opened[0].fault.set_result(DomainError(Reason.TOKEN_INVALID, "The token has ended."))
    await eventually(lambda: len(rooms.opened) == 2)
    assert rooms.opened[1].token == fresh
    rooms.write(Private.ORDERS, order(1))
    assert (await reader.until("order"))["order"]["order_id"] == "1"


async def test_what_is_left_is_followed_no_longer(make_mesh: Any, verifier: TokenVerifier, issuer: Issuer) -> None:
    rooms = OwnRooms()
    mesh = await make_mesh(verifier=verifier, rooms=rooms)
    reader, _ = await signed_in(mesh, issuer)
    await reader.subscribe("orders")
    await reader.until("live", "orders")
    await reader.send(unsubscribe={"topics": ["orders", "fills"]})
    assert (await reader.status("UNSUBSCRIBED"))["topic"] == "orders"
    assert (await reader.status("UNSUBSCRIBED"))["topic"] == "fills"
    rooms.write(Private.ORDERS, order(1))
    await reader.send(ping={})
    assert "pong" in await reader.next()


async def test_a_reader_that_pauses_loses_nothing_and_stops_the_reading_upstream(
    make_mesh: Any, verifier: TokenVerifier, issuer: Issuer
) -> None:
    rooms = OwnRooms()
    mesh = await make_mesh(verifier=verifier, rooms=rooms)
    reader, _ = await signed_in(mesh, issuer)
    await reader.subscribe("orders")
    await reader.until("live", "orders")
    (connection,) = mesh.door._connections
    count = 10 * QUEUED_MAX
    connection.closing, reading = True, rooms.opened[0]  # the door hands nothing to the socket
    rooms.write(Private.ORDERS, *map(order, range(count)))
    await eventually(lambda: reading.said >= QUEUED_MAX)
    for _ in range(20):
        await asyncio.sleep(0)
    assert reading.said == QUEUED_MAX, "no more is read than can wait"
    connection.closing = False
    mesh.door.flush((connection,))
    seen = [(await reader.until("order"))["order"]["order_id"] for _ in range(count)]
    assert seen == [str(number) for number in range(count)], "every one, in order"
