"""A client that signed in goes on through the end of its tokens: calls, and a stream in the middle."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import grpc
from perpmesh.auth.v1 import auth_service_pb2 as pb
from perpmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from perpmesh_client import KeyWallet, Login, Perpmesh

from tests.support.auth import sign_in
from tests.support.mesh import running_mesh
from tests.support.wallet import Wallet


async def test_a_stream_survives_the_end_of_its_token_by_itself() -> None:
    async with running_mesh(auth_access_s=5, sign_ins_per_minute=10_000) as mesh:
        login = Login(mesh.edge, KeyWallet(Wallet().secret.hex()))
        async with login, Perpmesh(mesh.edge, token=login) as client:
            began, last, longest, sequences = time.monotonic(), time.monotonic(), 0.0, []
            async for price in client.watch_prices("BTC-PERP"):
                now = time.monotonic()
                longest, last = max(longest, now - last), now
                sequences.append(price.sequence)
                if now - began > 13:  # 5 s of life and 5 s of leeway: at least one token has ended in mid-stream
                    break
            assert sequences == sorted(sequences)
            assert longest < 3.0, longest
            assert (await client.price("BTC-PERP")).market == "BTC-PERP"
            assert len(await login.sessions()) == 1
            assert "TOKEN_INVALID" not in mesh.printed()
            assert "UNAUTHENTICATED" in mesh.log("market_data")


async def test_no_session_is_lost_while_auth_and_the_edge_are_killed_under_load() -> None:
    async with running_mesh(sign_ins_per_minute=1_000_000, ip_requests_per_s=100_000) as mesh:
        channel = grpc.aio.insecure_channel(mesh.edge)
        stub = AuthServiceStub(channel)
        signed = [await sign_in(stub, Wallet()) for _ in range(12)]
        stop = asyncio.Event()
        renewals = Counter[str]()

        async def keep(session: Any) -> str:
            """Renew one session without end, as a client does: a call without an answer is made again."""
            held = session.refresh_token
            while not stop.is_set():
                try:
                    answer = await stub.RefreshSession(pb.RefreshSessionRequest(refresh_token=held), timeout=3)
                except grpc.aio.AioRpcError as error:
                    if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                        raise
                    renewals[error.code().name] += 1
                    await asyncio.sleep(0.1)
                else:
                    held = answer.refresh_token
                    renewals["OK"] += 1
            return str(held)

        tasks = [asyncio.create_task(keep(session)) for session in signed]
        for name in ("auth", "envoy"):
            done = renewals["OK"]
            async with asyncio.timeout(30):
                while renewals["OK"] < done + 30:  # noqa: ASYNC110 - what is awaited is in other processes
                    await asyncio.sleep(0.02)
            await mesh.restarted(name, than=mesh.kill(name))
        done = renewals["OK"]
        async with asyncio.timeout(30):
            while renewals["OK"] < done + 30:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        stop.set()
        held = await asyncio.gather(*tasks)
        for session, token in zip(signed, held, strict=True):
            last = await stub.RefreshSession(pb.RefreshSessionRequest(refresh_token=token))
            assert last.session.session_id == session.session.session_id
        print(dict(renewals))
        assert len(renewals) > 1, "nothing was under way when they were killed"
        await channel.close()
