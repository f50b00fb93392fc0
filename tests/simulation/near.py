"""Execution's own side of the venues: its traders as they are, over requests and streams that fail as networks do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from random import Random
from types import SimpleNamespace
from typing import Any

from services.domain.errors import DomainError, Reason
from services.domain.market import HYPERLIQUID, LIGHTER
from services.venues.circuit import REST, SOCKET, Circuit
from services.venues.hyperliquid.budgets import TRADING_WEIGHT, HyperliquidBudgets
from services.venues.hyperliquid.trader import HyperliquidTrader
from services.venues.hyperliquid.trader import TraderConfig as HyperliquidConfig
from services.venues.hyperliquid.trader import _Sources as HyperliquidSources
from services.venues.lighter.budgets import LighterBudgets
from services.venues.lighter.tokens import TokenSource
from services.venues.lighter.trader import LighterTrader
from services.venues.lighter.trader import TraderConfig as LighterConfig
from services.venues.lighter.trader import _Sources as LighterSources
from services.venues.rest import Rest, RestUnavailableError
from services.venues.trading import AccountEmit, AccountRef, TradingVenue
from services.venues.watching import AccountWatch
from tests.simulation.channel import Channel, Spoken
from tests.simulation.venues import LISTINGS, UNIVERSE, Far
from tests.simulation.virtual import Process, WallClock

WRITES = ("/exchange", "/api/v1/sendTx")
GIVE_UP_S = 10.0
"""How long a request waits for its answer: `RestConfig.total_timeout_s`."""
RECONCILE_S = 180.0


class Wire(Rest):
    """`Rest` whose requests go to the far side of the simulation; budget, breaker and verdicts are its own."""

    def __init__(self, far: Far, process: Process, **given: Any) -> None:
        super().__init__(base_url=f"http://{far.name}", **given)
        self._far = far
        self._process = process

    async def _exchange(
        self, method: str, path: str, query: dict[str, str], body: bytes | None, headers: Mapping[str, str]
    ) -> bytes:
        far, chaos, rng, loop = self._far, self._far.chaos, self._far.rng, self._far.loop
        await self._process.breathe()
        writes = path in WRITES
        what = f"{far.name}.{'send' if writes else path.rpartition('/')[2]}"
        if chaos.strikes("not_sent", 0.7 if writes else 0.2):
            far.trace.note(self._process.name, f"{what}.not_sent")
            raise RestUnavailableError(f"{path} failed: no connection", is_sent=False)
        answered: asyncio.Future[tuple[int, bytes]] = loop.create_future()
        asked = dict(query)
        if "Authorization" in headers:
            asked["token"] = headers["Authorization"]
        delay_s = 0.005 + rng.random() * 0.06
        if writes and chaos.strikes("request_late"):
            delay_s = rng.random() * 14
        if not chaos.strikes("request_lost", 0.7 if writes else 0.2):
            given = (what, (method, path, asked, body))
            if writes and chaos.strikes("request_twice"):
                loop.call_later(delay_s, self._arrive, answered, *given, False)
                loop.call_later(delay_s + rng.random() * 5, self._arrive, None, *given, False)
            else:
                loop.call_later(
                    delay_s, self._arrive, answered, *given, chaos.strikes("too_many", 0.7 if writes else 0.2)
                )
        if writes and chaos.strikes("crash_in_flight", 0.3):
            loop.call_later(rng.random() * 0.2, self._process.kill)
        try:
            async with asyncio.timeout(GIVE_UP_S):
                status, content = await answered
        except TimeoutError as error:
            far.trace.note(self._process.name, f"{what}.late")
            raise RestUnavailableError(f"{path} was not answered within {GIVE_UP_S:g} s") from error
        await self._process.breathe()
        far.trace.note(self._process.name, what, status)
        self._check(SimpleNamespace(status=status, headers={"Retry-After": "1"}), content, path)  # type: ignore[arg-type]
        return content

    def _arrive(
        self, answered: asyncio.Future[tuple[int, bytes]] | None, what: str, asked: Any, is_too_much: bool
    ) -> None:
        """Be received by the venue, whether or not anybody waits for the answer any more."""
        far, chaos = self._far, self._far.chaos
        writes = what.endswith(".send")
        if far.is_down():
            status, content = 503, b"<html>down for maintenance</html>"
        elif is_too_much:
            status, content = 429, b'{"code":23000,"message":"Too Many Requests!"}' if far.name == LIGHTER else b"null"
        else:
            status, content = far.handle(*asked)
            far.trace.note(far.name, f"{what}.arrived", _told(content))
            if chaos.strikes("garbage", 0.7 if writes else 0.2):
                content = content[: len(content) // 2]
            if writes and chaos.strikes("error_but_done"):
                status, content = far.rng.choice(
                    ((502, b"bad gateway"), (200, b'{"status":"err","response":"Internal error"}'), (500, b""),
                     (200, b"<html>busy</html>"))
                )  # fmt: skip
            if chaos.strikes("answer_lost", 1.0 if writes else 0.1):
                return
        if answered is not None:
            far.loop.call_later(0.005 + far.rng.random() * 0.06, _answer, answered, status, content)


def _answer(answered: asyncio.Future[tuple[int, bytes]], status: int, content: bytes) -> None:
    if not answered.done():
        answered.set_result((status, content))


def _told(content: bytes) -> str:
    return content[:160].decode(errors="replace")


class NearHyperliquid(HyperliquidTrader):
    """`HyperliquidTrader` with a stream that is a `Channel`."""

    far: Far
    process: Process

    async def watch(self, account: AccountRef, emit: AccountEmit, *, since_ms: int = 0) -> None:
        dialect = Spoken()
        dialect.mode = ""  # type: ignore[attr-defined]
        sources = HyperliquidSources(self, account, dialect)  # type: ignore[arg-type]
        await _watch(self, self.far, self.process, sources, emit, dialect, since_ms, None)


class NearLighter(LighterTrader):
    """`LighterTrader` with a stream that is a `Channel`."""

    far: Far
    process: Process

    async def watch(self, account: AccountRef, emit: AccountEmit, *, since_ms: int = 0) -> None:
        sources = LighterSources(self, account)
        await _watch(self, self.far, self.process, sources, emit, Spoken(), since_ms, self._heard)


async def _watch(
    trader: Any, far: Far, process: Process, sources: Any, emit: AccountEmit, dialect: Any, since_ms: int, hear: Any
) -> None:
    watch = AccountWatch(
        name=far.name, dialect=dialect, sources=sources, emit=emit, clock=trader._clock, since_ms=since_ms,
        reconcile_every_s=RECONCILE_S,
    )  # fmt: skip
    await watch.run(Channel(far, watch, hear, process.breathe))  # type: ignore[arg-type]


def roomy() -> LighterBudgets:
    """Return Lighter's budgets a hundred times as large, so that most seeds need no minutes."""
    return LighterBudgets(requests_per_minute=6_000, sends_per_minute=6_000, kind_per_minute=6_000)


class Near:
    """The port `Venues` of one process."""

    def __init__(
        self, fars: Mapping[str, Far], process: Process, clock: WallClock, tokens: TokenSource, rng: Random
    ) -> None:
        rest = {name: Circuit(name, REST, clock=clock) for name in fars}
        socket = {name: Circuit(name, SOCKET, clock=clock) for name in fars}
        is_tight = fars[HYPERLIQUID].chaos.has("venue_budget")
        if is_tight:
            fars[HYPERLIQUID].chaos.met["venue_budget"] += 1
        hyper = NearHyperliquid(
            HyperliquidConfig(base_url="http://hyperliquid", reconcile_every_s=RECONCILE_S), clock=clock, rng=rng,
            rest_breaker=rest[HYPERLIQUID], socket_breaker=socket[HYPERLIQUID],
            budgets=HyperliquidBudgets(weight_per_minute=TRADING_WEIGHT if is_tight else 100_000),
        )  # fmt: skip
        hyper.universe = UNIVERSE
        lighter = NearLighter(
            LighterConfig(base_url="http://lighter", reconcile_every_s=RECONCILE_S), clock=clock, rng=rng,
            rest_breaker=rest[LIGHTER], socket_breaker=socket[LIGHTER], tokens=tokens,
            budgets=LighterBudgets() if is_tight else roomy(),
        )  # fmt: skip
        lighter._listings = (LISTINGS[LIGHTER],)
        lighter._markets = {1: LISTINGS[LIGHTER]}
        self._venues: dict[str, TradingVenue] = {HYPERLIQUID: hyper, LIGHTER: lighter}
        for name, trader in ((HYPERLIQUID, hyper), (LIGHTER, lighter)):
            budget = hyper.budgets.weight if trader is hyper else lighter.budgets.requests
            wire = Wire(
                fars[name], process, budget=budget, breaker=rest[name], clock=clock, config=trader._rest._config
            )  # type: ignore[attr-defined]
            trader._rest = trader._ask._rest = wire  # type: ignore[attr-defined]
            trader.far, trader.process = fars[name], process  # type: ignore[attr-defined]
        lighter._http._rest = lighter._rest

    def at(self, venue: str, environment: str) -> TradingVenue:
        """Return one."""
        found = self._venues.get(venue)
        if found is None:
            raise DomainError(Reason.VENUE_UNKNOWN, venue)
        return found
