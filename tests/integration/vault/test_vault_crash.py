"""Kill -9 at every step of the event loop in Sign and ReportOutcome: no nonce is lost, doubled or skipped.

`PERPMESH_CRASH_STEPS=all` (`make vault-crashes`) takes every step; the suite a sample.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio

from services.domain.errors import DomainError
from tests.support.auth import refusal
from tests.support.crash import CrashingRoom, crashing
from tests.support.vault import middle, order, post, report_request, sign_request
from tests.support.vault_room import Client, Grounds, client

pytestmark = pytest.mark.asyncio(loop_scope="session")
SAMPLE = 5
ALL = os.environ.get("PERPMESH_CRASH_STEPS") == "all"
SEED = int(os.environ.get("PERPMESH_TEST_SEED", "20261127"))


class Brittle:
    """A vault that dies and comes back."""

    def __init__(self, ground: Grounds, room: CrashingRoom, run_file: Any) -> None:
        self.ground = ground
        self.room = room
        self.run_file = run_file
        self._held = contextlib.AsyncExitStack()
        self.client: Client

    async def start(self) -> None:
        """Start it and connect."""
        await self._held.aclose()
        self.run_file.unlink(missing_ok=True)
        self.room.start()
        self._held = contextlib.AsyncExitStack()
        self.client = await self._held.enter_async_context(client(self.ground, self.run_file))

    async def ask(self, method: str, request: Any) -> Any:
        """Make a call; None where the vault died of it."""
        try:
            return await getattr(self.client.signer, method)(request, timeout=20)
        except grpc.aio.AioRpcError:
            if await self.room.gone(5):
                return None
            raise

    async def surely(self, method: str, request: Any) -> Any:
        """Make a call of a vault that is told to die no more; start it again where it is still dying."""
        self.room.disarm()
        answer = await self.ask(method, request) if not self.room.died else None
        if answer is None:
            await self.start()
            answer = await self.ask(method, request)
        return answer

    async def close(self) -> None:
        """Let go."""
        await self._held.aclose()


@pytest_asyncio.fixture(loop_scope="session")
async def brittle(ground: Grounds) -> AsyncIterator[Brittle]:
    run_file = ground.folder / "brittle.json"
    environ = ground.environ(run_file, vault_lease_s=30)
    with crashing("services.vault.__main__", "vault", environ, ground.folder / "brittle.log") as room:
        made = Brittle(ground, room, run_file)
        await made.start()
        try:
            yield made
        finally:
            await made.close()


class Story:
    """One key's life: what was signed, and what the venue said."""

    def __init__(self, brittle: Brittle, venue: str, account_id: str, price: int) -> None:
        self.brittle = brittle
        self.venue = venue
        self.account_id = account_id
        self.price = price
        self.nonces: list[int] = []

    def wanted(self) -> Any:
        """Return a new request to sign."""
        action = order(self.venue, price=str(self.price), size="0.001")
        return sign_request(self.account_id, action)

    async def once(self, kill_sign: int, kill_report: int) -> tuple[int, int]:
        """Sign and report one action, with a death in either; return how many steps each took."""
        brittle, request = self.brittle, self.wanted()
        steps = [0, 0]
        brittle.room.arm(kill_at=kill_sign)
        first = await brittle.ask("Sign", request)
        steps[0] = brittle.room.steps
        second = await brittle.surely("Sign", request)
        assert second.HasField("signed_action"), second
        if first is not None:
            assert first == second, "the same leg, other bytes"
        signed = second.signed_action
        answer = await post(brittle.ground.http, brittle.ground.face(self.venue), signed)
        assert (answer.get("code", 200), answer.get("status", "ok")) == (200, "ok"), answer
        self.nonces.append(signed.nonce)
        report = report_request(request, "ACCEPTED")
        brittle.room.arm(kill_at=kill_report)
        await brittle.ask("ReportOutcome", report)
        steps[1] = brittle.room.steps
        await brittle.surely("ReportOutcome", report)
        contradicted = report_request(request, "NOT_SENT")
        assert isinstance(await refusal(brittle.client.signer.ReportOutcome(contradicted)), DomainError)
        return steps[0], steps[1]

    def check(self) -> None:
        """No nonce was lost, doubled or skipped."""
        assert len(set(self.nonces)) == len(self.nonces)
        assert self.nonces == sorted(self.nonces)
        if self.venue == "lighter":
            assert self.nonces == list(range(self.nonces[0], self.nonces[0] + len(self.nonces)))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("venue", ["hyperliquid", "lighter"])
async def test_no_step_loses_doubles_or_skips_a_nonce(brittle: Brittle, venue: str) -> None:
    owner = await brittle.client.owner(venue)
    await owner.ready()
    ground = brittle.ground
    price = int(await middle(ground.http, ground.face(venue), venue)) * 95 // 100
    story = Story(brittle, venue, owner.account_id, price)
    await story.once(0, 0)
    counts = [await story.once(0, 0) for _ in range(3)]
    sign_steps, report_steps = (max(count[n] for count in counts) for n in (0, 1))
    assert sign_steps > 3
    assert report_steps > 3
    signs, reports = list(range(1, sign_steps + 1)), list(range(1, report_steps + 1))
    if not ALL:
        rng = random.Random(SEED)
        signs, reports = sorted(rng.sample(signs, SAMPLE)), sorted(rng.sample(reports, SAMPLE))
    died = [0, 0]
    for index in range(max(len(signs), len(reports))):
        kill_sign = signs[index] if index < len(signs) else 0
        kill_report = reports[index] if index < len(reports) else 0
        before = brittle.room.pid
        await story.once(kill_sign, 0)
        died[0] += before != brittle.room.pid
        before = brittle.room.pid
        await story.once(0, kill_report)
        died[1] += before != brittle.room.pid
    story.check()
    print(
        f"\n{venue}: Sign has {sign_steps} steps, {len(signs)} tried, {died[0]} deaths; ReportOutcome {report_steps}, "
        f"{len(reports)} tried, {died[1]} deaths; {len(story.nonces)} nonces in order; seed {SEED}"
    )
    assert sum(died) >= 1
