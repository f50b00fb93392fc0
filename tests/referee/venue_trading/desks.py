"""Who trades in the referee: one desk a venue, which signs, counts nonces and posts through the adapter under test.

On the simulator by default. `PERPMESH_VENUES=testnet` takes the venues' testnets instead, with keys from the
environment: PERPMESH_HYPERLIQUID_SECRET (32 bytes in hex, of a funded account or its agent) and
PERPMESH_HYPERLIQUID_ADDRESS; PERPMESH_LIGHTER_SECRET (40 bytes in hex), PERPMESH_LIGHTER_ACCOUNT and
PERPMESH_LIGHTER_KEY (numbers). Without a venue's keys its tests are skipped, and so is what needs the simulator's own
hands. Each account needs 500 test dollars and is left as it was found: no orders and no position in ETH, before and
after each test, so it must be an account for tests alone.
"""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from services.chassis.clock import SYSTEM
from services.domain.decimals import Price, Size
from services.domain.market import HYPERLIQUID, LIGHTER, Listing
from services.venues.actions import Action, OrderTerms, OrderType, Place, Side, TimeInForce
from services.venues.circuit import REST, SOCKET, Circuit
from services.venues.hyperliquid import prepare as hl_prepare
from services.venues.hyperliquid.budgets import HyperliquidBudgets
from services.venues.hyperliquid.sign import Key
from services.venues.hyperliquid.trader import HyperliquidTrader
from services.venues.hyperliquid.trader import TraderConfig as HyperliquidConfig
from services.venues.hyperliquid.venue import TESTNET_URL as HYPERLIQUID_TESTNET
from services.venues.lighter import prepare as lighter_prepare
from services.venues.lighter import schnorr
from services.venues.lighter.budgets import LighterBudgets
from services.venues.lighter.signer import ChildSigner
from services.venues.lighter.tokens import VenueToken
from services.venues.lighter.trader import LighterTrader
from services.venues.lighter.trader import TraderConfig as LighterConfig
from services.venues.lighter.venue import TESTNET_URL as LIGHTER_TESTNET
from services.venues.lighter.wire.encode import encode
from services.venues.lighter.wire.transactions import ApiKey
from services.venues.port import listing_of
from services.venues.trading import (
    Accepted,
    AccountEvent,
    AccountRef,
    Outcome,
    SignedBytes,
    Standing,
    Submission,
    TradingVenue,
    Unknown,
)
from tests.support.simulator import Simulator, running_simulator

MARKET = "ETH-PERP"
TESTNET = os.environ.get("PERPMESH_VENUES") == "testnet"
KEYS = {
    HYPERLIQUID: ("PERPMESH_HYPERLIQUID_SECRET", "PERPMESH_HYPERLIQUID_ADDRESS"),
    LIGHTER: ("PERPMESH_LIGHTER_SECRET", "PERPMESH_LIGHTER_ACCOUNT", "PERPMESH_LIGHTER_KEY"),
}
DEPOSIT = "100000"
VOLUME = "2000000"
"""Dollars traded before: a dead man's switch needs them on Hyperliquid, and a volume quota on Lighter."""
EXPIRES_MS = 60_000
D = Decimal
UNLIMITED: dict[str, object] = {"seed": 7, "lighter_requests_max": 0, "hyperliquid_weight_max": 0}
"""A simulator that counts no requests; the budgets have a test of their own."""


@dataclass
class Desk:
    """One account at one venue, and the adapter under test."""

    name: str
    venue: TradingVenue
    account: AccountRef
    listing: Listing
    simulator: Simulator | None
    rng: random.Random = field(default_factory=lambda: random.Random(20261122))
    last_nonce: int = 0
    events: list[AccountEvent] = field(default_factory=list)

    async def emit(self, event: AccountEvent) -> None:
        """Take what the stream tells."""
        self.events.append(event)

    async def sign(self, action: Action, *, expires_ms: int = EXPIRES_MS) -> SignedBytes:
        """Return the action signed with the next nonce."""
        raise NotImplementedError

    async def best(self) -> tuple[Decimal, Decimal]:
        """Return the best bid and ask."""
        raise NotImplementedError

    def client_id(self) -> str:
        """Return an id never used before."""
        raise NotImplementedError

    async def send(self, action: Action) -> Submission:
        """Sign and post."""
        return await self.venue.submit(self.account, await self.sign(action))

    async def settled(self, signed: SignedBytes) -> tuple[Outcome, ...]:
        """Post, and ask until it is evident what became of it."""
        made = await self.venue.submit(self.account, signed)
        if not any(
            isinstance(outcome, Unknown) or (isinstance(outcome, Accepted) and outcome.standing is Standing.QUEUED)
            for outcome in made.outcomes
        ):
            return made.outcomes
        for _ in range(60):
            outcomes = await self.venue.trace(self.account, signed)
            if not any(isinstance(outcome, Unknown) for outcome in outcomes):
                return outcomes
            await SYSTEM.sleep(0.1)
        return made.outcomes

    def terms(
        self,
        side: Side,
        price: Decimal,
        size: Decimal,
        *,
        tif: TimeInForce = TimeInForce.GOOD_TILL_CANCELED,
        kind: OrderType = OrderType.LIMIT,
        **more: Any,
    ) -> OrderTerms:
        """Return an order's terms, rounded by the adapter."""
        raw = OrderTerms(
            market=MARKET,
            venue_market_id=self.listing.venue_market_id,
            side=side,
            size=Size(size),
            limit_price=Price(price),
            type=kind,
            time_in_force=tif,
            client_id=self.client_id(),
            **more,
        )
        return self.venue.rounded(raw)

    async def far(self, side: Side = Side.BUY, size: str = "0.1") -> OrderTerms:
        """Return an order that rests, 5 % away from the market."""
        bid, ask = await self.best()
        price = bid * D("0.95") if side is Side.BUY else ask * D("1.05")
        return self.terms(side, price, D(size))

    async def taking(self, side: Side, size: str = "0.1", **more: Any) -> OrderTerms:
        """Return a market order that trades at once, within 3 %."""
        bid, ask = await self.best()
        price = ask * D("1.03") if side is Side.BUY else bid * D("0.97")
        return self.terms(side, price, D(size), tif=TimeInForce.IMMEDIATE_OR_CANCEL, kind=OrderType.MARKET, **more)


class HyperliquidDesk(Desk):
    """Signs with a key of its own; nonces are times."""

    key: Key
    mainnet = False

    async def sign(self, action: Action, *, expires_ms: int = EXPIRES_MS) -> SignedBytes:
        now_ms = SYSTEM.time_ns() // 1_000_000
        self.last_nonce = max(self.last_nonce + 1, now_ms)
        terms = hl_prepare.Terms(mainnet=False)
        return hl_prepare.signed(action, terms, self.key, nonce=self.last_nonce, expires_after_ms=now_ms + expires_ms)

    async def best(self) -> tuple[Decimal, Decimal]:
        assert isinstance(self.venue, HyperliquidTrader)
        bid, ask = await self.venue._ask.best(self.listing.symbol)
        return D(bid or "0"), D(ask or "0")

    def client_id(self) -> str:
        return "0x" + self.rng.randbytes(16).hex()


class LighterDesk(Desk):
    """Signs through the library's child; nonces are counted, and asked for when one was not used."""

    key: ApiKey
    signer: ChildSigner
    next_id: int = 0

    async def sign(self, action: Action, *, expires_ms: int = EXPIRES_MS) -> SignedBytes:
        assert isinstance(self.venue, LighterTrader)
        nonce = await self.venue.next_nonce(self.account)
        assert nonce is not None
        transaction = encode(action, key=self.key, scales=self.venue.scales, now_ms=SYSTEM.time_ns() // 1_000_000)
        return lighter_prepare.posted(action, await self.signer.sign(self.key, transaction, nonce))

    async def best(self) -> tuple[Decimal, Decimal]:
        assert isinstance(self.venue, LighterTrader)
        bid, ask, _ = await self.venue._http.prices(self.listing)
        return bid or D(0), ask or D(0)

    def client_id(self) -> str:
        self.next_id = self.next_id + 1 if self.next_id else SYSTEM.time_ns() // 1_000_000 % 2**40
        return str(self.next_id)


@asynccontextmanager
async def desk_at(
    name: str, *, reconcile_every_s: float = 5.0, volume: str = VOLUME, **options: object
) -> AsyncIterator[Desk]:
    """Open an account with money at a venue, and trade there."""
    if TESTNET:
        missing = [variable for variable in KEYS[name] if not os.environ.get(variable)]
        if missing:
            pytest.skip(f"PERPMESH_VENUES=testnet trades on {name}'s testnet only with {', '.join(missing)} set.")
        async with _desk(
            name, HYPERLIQUID_TESTNET if name == HYPERLIQUID else LIGHTER_TESTNET, None, reconcile_every_s
        ) as desk:
            await leave_nothing(desk)
            try:
                yield desk
            finally:
                await leave_nothing(desk)
        return
    async with running_simulator(**(UNLIMITED | options)) as simulator:
        url = simulator.hyperliquid_http if name == HYPERLIQUID else simulator.lighter_http
        async with _desk(name, url, simulator, reconcile_every_s, volume) as desk:
            yield desk


@asynccontextmanager
async def _desk(name: str, url: str, simulator: Simulator | None, every_s: float, volume: str) -> AsyncIterator[Desk]:
    if name == HYPERLIQUID:
        secret = bytes.fromhex(os.environ["PERPMESH_HYPERLIQUID_SECRET"]) if TESTNET else b"\x11" * 32
        key = Key(secret)
        address = os.environ.get("PERPMESH_HYPERLIQUID_ADDRESS", key.address).lower()
        if simulator is not None:
            body = {"venue": HYPERLIQUID, "address": address, "usdc": DEPOSIT, "volume": volume}
            await simulator.call("POST", "accounts", body)
        trader = HyperliquidTrader(
            HyperliquidConfig(base_url=url, reconcile_every_s=every_s),
            clock=SYSTEM,
            rng=random.Random(1),
            rest_breaker=Circuit(HYPERLIQUID, REST, clock=SYSTEM),
            socket_breaker=Circuit(HYPERLIQUID, SOCKET, clock=SYSTEM),
            budgets=HyperliquidBudgets() if TESTNET else HyperliquidBudgets(weight_per_minute=1_000_000),
        )
        await trader.load()
        account = AccountRef(account_id="referee", address=address)
        listing = listing_of(trader.universe.listings, MARKET)
        assert listing is not None
        desk = HyperliquidDesk(name=name, venue=trader, account=account, listing=listing, simulator=simulator)
        desk.key = key
        try:
            yield desk
        finally:
            await trader.close()
        return
    async with _lighter_desk(url, simulator, every_s, volume) as desk_:
        yield desk_


@asynccontextmanager
async def _lighter_desk(url: str, simulator: Simulator | None, every_s: float, volume: str) -> AsyncIterator[Desk]:
    secret = os.environ["PERPMESH_LIGHTER_SECRET"] if TESTNET else "0b" * 39 + "00"
    index = int(os.environ.get("PERPMESH_LIGHTER_ACCOUNT", "1234"))
    slot = int(os.environ.get("PERPMESH_LIGHTER_KEY", "5"))
    address = "0x" + "22" * 20
    if simulator is not None:
        public = schnorr.public_key_of(bytes.fromhex(secret)).hex()
        body = {
            "venue": LIGHTER,
            "address": address,
            "usdc": DEPOSIT,
            "api_keys": {str(slot): public},
            "index": index,
            "tier": "premium",
            "volume": volume,
        }
        await simulator.call("POST", "accounts", body)
    key = ApiKey(account_index=index, api_key_index=slot)

    async def secrets(_: ApiKey) -> str:
        return secret

    async with ChildSigner(chain_id=300 if TESTNET else 304, secrets=secrets) as signer:

        async def token(_: AccountRef) -> VenueToken:
            deadline_s = SYSTEM.time_ns() // 1_000_000_000 + 3_600
            return VenueToken(await signer.token(key, deadline_s), deadline_s)

        trader = LighterTrader(
            LighterConfig(base_url=url, reconcile_every_s=every_s),
            clock=SYSTEM,
            rng=random.Random(1),
            rest_breaker=Circuit(LIGHTER, REST, clock=SYSTEM),
            socket_breaker=Circuit(LIGHTER, SOCKET, clock=SYSTEM),
            tokens=token,
            budgets=LighterBudgets()
            if TESTNET
            else LighterBudgets(requests_per_minute=24_000, sends_per_minute=4_000, kind_per_minute=4_000),
        )
        await trader.load()
        account = AccountRef(account_id="referee", address=address, index=index, api_key_index=slot)
        listing = listing_of(trader._listings, MARKET)
        assert listing is not None
        desk = LighterDesk(name=LIGHTER, venue=trader, account=account, listing=listing, simulator=simulator)
        desk.key, desk.signer = key, signer
        try:
            yield desk
        finally:
            await trader.close()


async def leave_nothing(desk: Desk) -> None:
    """Cancel every order and close the position in `MARKET`."""
    for action in await desk.venue.plan_cancel_all(desk.account):
        await desk.settled(await desk.sign(action))
    for position in (await desk.venue.state(desk.account)).positions:
        if position.market == MARKET and position.size:
            side = Side.SELL if position.size > 0 else Side.BUY
            closing = await desk.taking(side, str(abs(position.size)), reduce_only=True)
            await desk.settled(await desk.sign(place(closing)))
    for _ in range(100):
        if not await desk.venue.open_orders(desk.account):
            return
        await SYSTEM.sleep(0.1)
    raise AssertionError("orders stay open")


def place(*orders: OrderTerms) -> Place:
    """Return the placing of orders that hang together in no way."""
    return Place(orders=orders)


def of_kind(events: Sequence[AccountEvent], kind: type) -> list[Any]:
    """Return the events of one kind."""
    return [event for event in events if isinstance(event, kind)]
