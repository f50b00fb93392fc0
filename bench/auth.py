"""What signing in and verifying cost: `python -m bench.auth`.

Verifications per second of each algorithm, first time and remembered, beside PyJWT; sign-ins per second through a real
auth room with its database; and what verification adds to a call, beside the same call of the same room without it.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import jwt

from services.chassis.access_token import read_keys, verify
from services.chassis.interceptors import Credentials
from services.chassis.methods import Access
from services.chassis.metrics import Metrics
from services.chassis.server import Server, ServerConfig
from services.chassis.telemetry import Level, log
from services.chassis.verifier import TokenVerifier
from tests.support.auth import running_auth, sign_in
from tests.support.echo import SERVICE, Echo, SayRequest
from tests.support.postgres import postgres
from tests.support.tokens import Issuer
from tests.support.valkey import valkey
from tests.support.wallet import Wallet

GOAL = 0.10
"""What verification may add to a call."""


def rate(work: Callable[[], object], seconds: float) -> float:
    """Return how often a second some work can be done on one core."""
    begun, count = time.process_time(), 0
    while time.process_time() - begun < seconds:
        for _ in range(20):
            work()
        count += 20
    return count / (time.process_time() - begun)


def _ways(kind: str) -> dict[str, Callable[[], object]]:
    """Return the ways to verify one token."""
    issuer, now = Issuer(kind), time.time()
    token, keys = issuer.token(now), read_keys(issuer.jwks)
    verifier = TokenVerifier(issuer="perpmesh", audience="perpmesh", metrics=Metrics())
    verifier.set_keys(keys)
    brought = Credentials(authorization=(f"Bearer {token}",))
    public = jwt.PyJWK(issuer.jwk)
    return {
        "ours, first time": lambda: verify(token, keys, issuer="perpmesh", audience="perpmesh", now_s=now),
        "ours, remembered": lambda: verifier.verify(Access.ACCESS_READ, "m", brought),
        "PyJWT": lambda: jwt.decode(token, public, algorithms=[kind], audience="perpmesh"),
    }


def verifications(seconds: float) -> None:
    """Print verifications per second."""
    print(f"{'verifications a second, one core':<44} {'EdDSA':>10} {'ES256':>10}")
    rows: dict[str, list[float]] = {"ours, first time": [], "ours, remembered": [], "PyJWT": []}
    for kind in ("EdDSA", "ES256"):
        for name, work in _ways(kind).items():
            rows[name].append(rate(work, seconds))
    for name, values in rows.items():
        print(f"{name:<44} {values[0]:>10.0f} {values[1]:>10.0f}")


async def calls(address: str, count: int, metadata: tuple[tuple[str, str], ...]) -> float:
    """Return the seconds of processor time that one call takes on average, ten at a time.

    Client and server share this process, so that nothing of the call is left out, and what else the machine does is.
    """
    async with grpc.aio.insecure_channel(address) as channel:
        say, raw = channel.unary_unary(f"/{SERVICE}/Say"), SayRequest(text="hi").SerializeToString()

        async def some() -> None:
            for _ in range(count // 10):
                await say(raw, metadata=metadata)

        begun = time.process_time()
        await asyncio.gather(*(some() for _ in range(10)))
        return (time.process_time() - begun) / count


async def added(rounds: int, count: int) -> None:
    """Print what verification adds to a call."""
    issuer = Issuer()
    verifier = TokenVerifier(issuer="perpmesh", audience="perpmesh", metrics=Metrics())
    verifier.set_keys(read_keys(issuer.jwks))
    token = (("authorization", f"Bearer {issuer.token(time.time())}"),)
    servers = {
        name: Server("echo", ServerConfig(), verifier=one, metrics=Metrics())
        for name, one in (("without", None), ("with", verifier))
    }
    ports = {}
    for name, server in servers.items():
        server.add(SERVICE, Echo())
        ports[name] = await server.start()
    pairs = []
    for _ in range(rounds):  # in turns, so that the machine's moods fall on both
        bare = await calls(f"127.0.0.1:{ports['without']}", count, token)
        verified = await calls(f"127.0.0.1:{ports['with']}", count, token)
        pairs.append((bare, verified))
    for server in servers.values():
        await server.stop()
    bare, verified = (statistics.median(column) for column in zip(*pairs, strict=True))
    share = statistics.median(verified / bare - 1 for bare, verified in pairs)
    print(f"\n{'a call, client and server, ms of processor time':<44} {bare * 1e3:>10.3f} without verification")
    print(f"{'':<44} {verified * 1e3:>10.3f} with it: {share:+.1%} (goal {GOAL:+.0%})")


async def sign_ins(seconds: float) -> None:
    """Print sign-ins per second."""
    with tempfile.TemporaryDirectory() as folder, postgres() as database, valkey(Path(folder)) as cache:
        async with running_auth(Path(folder), postgres_url=database.url(), valkey_url=cache.url) as auth:
            end, counts = time.perf_counter() + seconds, [0] * 8

            async def one(number: int) -> None:
                while time.perf_counter() < end:
                    await sign_in(auth.stub, Wallet())
                    counts[number] += 1

            await asyncio.gather(*(one(number) for number in range(len(counts))))
    print(f"\n{'sign-ins a second (new users, wallet included)':<44} {sum(counts) / seconds:>10.0f}")


def main() -> None:
    """Print the figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=1.0)
    chosen = options.parse_args()
    log.configure(room="bench", level=Level.ERROR, per_second=1, burst=1)
    verifications(chosen.seconds)
    asyncio.run(added(9, 1_000))
    asyncio.run(sign_ins(3 * chosen.seconds))


if __name__ == "__main__":
    main()
