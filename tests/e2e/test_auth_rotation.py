"""A client that signed in goes on through the end of its tokens: calls, and a stream in the middle."""

from __future__ import annotations

import time

from perpmesh_client import KeyWallet, Login, Perpmesh

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
