"""Hyperliquid's questions about one account over `POST /info`, each with its weight. Raises `VenueError`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final, TypeVar

from services.chassis.clock import Clock
from services.chassis.telemetry import log
from services.venues.account import AccountState, Fees, Fill, OrderRecord, Setting, Transfer
from services.venues.actions import MarginMode, OrderReference
from services.venues.hyperliquid.budgets import HyperliquidBudgets, answer_weight, info_weight
from services.venues.hyperliquid.http import PATH
from services.venues.hyperliquid.wire import account, info, ledger
from services.venues.hyperliquid.wire.universe import Universe
from services.venues.hyperliquid.wire.values import WireError, decimal_of
from services.venues.port import VenueError
from services.venues.rest import Importance, Rest

PAGE: Final = 2_000
"""Trades in one answer."""
PAGES_MAX: Final = 6
"""The venue gives the newest 10,000 trades only."""

LEDGER_PAGE: Final = 500
"""Entries of the ledger in one answer, at least: the venue's page on ranges of time says 500, captures have fewer."""
LEDGER_PAGES_MAX: Final = 20

T = TypeVar("T")


class AccountInfo:
    """Questions about accounts."""

    def __init__(self, rest: Rest, budgets: HyperliquidBudgets, clock: Clock, dexes: Sequence[str]) -> None:
        self._rest = rest
        self._budgets = budgets
        self._clock = clock
        self._dexes = tuple(dexes)

    async def mode(self, user: str) -> str:
        """Return how the account holds its collateral, in the venue's word."""
        return await self.ask(str, "userAbstraction", user=user)

    async def state(self, user: str, universe: Universe, mode: str) -> AccountState:
        """Return the account: the first dex's sums, and the positions of all."""
        spot = await self.ask(account.RawSpot, "spotClearinghouseState", user=user)
        found: AccountState | None = None
        for dex in self._dexes:
            raw = await self.ask(account.RawState, "clearinghouseState", user=user, dex=dex)
            try:
                part = account.account_state(raw, universe, mode=mode, spot=spot)
            except WireError as error:
                raise VenueError(f"Hyperliquid's account cannot be read: {error}") from error
            found = part if found is None else _joined(found, part)
        assert found is not None
        return found

    async def open_orders(self, user: str, universe: Universe) -> tuple[OrderRecord, ...]:
        """Return all open orders."""
        found: tuple[OrderRecord, ...] = ()
        for dex in self._dexes:
            raw = await self.ask(list[account.RawOrder], "frontendOpenOrders", user=user, dex=dex)
            try:
                found += account.open_records(raw, universe)
            except WireError as error:
                raise VenueError(f"Hyperliquid's open orders cannot be read: {error}") from error
        return found

    async def order(self, user: str, reference: OrderReference, universe: Universe) -> OrderRecord | None:
        """Return one order; None where the venue knows none, which it says for up to a second after it took one in."""
        oid: int | str = int(reference.order_id) if reference.order_id else reference.client_id
        raw = await self.ask(account.RawStatus, "orderStatus", user=user, oid=oid)
        if raw.status != "order" or raw.order is None:
            return None
        try:
            return account.update_record(raw.order, universe)
        except WireError as error:
            raise VenueError(f"Hyperliquid's order {oid} cannot be read: {error}") from error

    async def ended_orders(self, user: str, universe: Universe, since_ms: int) -> tuple[OrderRecord, ...]:
        """Return the orders that ended since then, of the 2,000 newest changes; weight up to 120."""
        raw = await self.ask(list[account.RawUpdate], "historicalOrders", user=user)
        try:
            records = [account.update_record(row, universe) for row in raw if row.statusTimestamp >= since_ms]
        except WireError as error:
            raise VenueError(f"Hyperliquid's past orders cannot be read: {error}") from error
        return tuple(record for record in reversed(records) if record.status.is_final)

    async def fills(self, user: str, universe: Universe, *, since_ms: int, until_ms: int | None) -> tuple[Fill, ...]:
        """Return all trades of a time, oldest first, each once."""
        found: dict[str, Fill] = {}
        start = since_ms
        for _ in range(PAGES_MAX):
            raw = await self.ask(
                list[account.RawFill],
                "userFillsByTime",
                user=user,
                startTime=start,
                endTime=until_ms,
                aggregateByTime=False,
            )
            try:
                for row in raw:
                    made = account.fill(row, universe, user=user)
                    found[made.fill_id] = made
            except WireError as error:
                raise VenueError(f"Hyperliquid's trades cannot be read: {error}") from error
            if len(raw) < PAGE:
                return tuple(sorted(found.values(), key=lambda fill: fill.time_ms))
            last = max(row.time for row in raw)
            start = last if last > start else last + 1
        raise VenueError(f"Hyperliquid has more than {PAGE * PAGES_MAX} trades since then; ask for a shorter time")

    async def transfers(self, user: str, *, since_ms: int) -> tuple[Transfer, ...]:
        """Return the money that came and left since then, oldest first; weight 20 and more by its length."""
        rows: list[ledger.RawEntry] = []
        start = since_ms
        for _ in range(LEDGER_PAGES_MAX):
            page = await self.ask(
                list[ledger.RawEntry], "userNonFundingLedgerUpdates", user=user, startTime=start, endTime=None
            )
            last = max((row.time for row in page), default=start)
            rows = [row for row in rows if row.time < start] + page  # those of its first moment are on both pages
            if len(page) < LEDGER_PAGE or last == start:
                break
            start = last
        try:
            return tuple(ledger.transfers(sorted(rows, key=lambda row: row.time), user, _tell_unknown))
        except WireError as error:
            raise VenueError(f"Hyperliquid's ledger cannot be read: {error}") from error

    async def fees(self, user: str) -> Fees:
        """Return what the account pays."""
        return account.fees(await self.ask(account.RawFees, "userFees", user=user))

    async def requests(self, user: str) -> account.RawRateLimit:
        """Return how many requests the address has."""
        return await self.ask(account.RawRateLimit, "userRateLimit", user=user)

    async def asset(self, user: str, coin: str) -> account.RawAssetData:
        """Return leverage, mark price and what may be traded of a coin."""
        return await self.ask(account.RawAssetData, "activeAssetData", user=user, coin=coin)

    async def best(self, coin: str) -> tuple[str | None, str | None]:
        """Return the best bid and ask of a coin, as the venue writes them."""
        body = await self._rest.post(PATH, info.ask("l2Book", coin=coin), weight=2, importance=Importance.URGENT)
        raw = info.decode_book(body)
        if raw is None:
            return None, None
        bids, asks = raw.levels
        return (bids[0].px if bids else None), (asks[0].px if asks else None)

    async def ask(self, kind: type[T], question: str, **fields: Any) -> T:
        """Return the answer to one question, with its length charged. Look-ups pass an open breaker."""
        body = await self._rest.post(
            PATH,
            info.ask(question, **fields),
            weight=info_weight(question),
            importance=Importance.URGENT,
        )
        try:
            found = account.decode(body, kind)
        except WireError as error:
            raise VenueError(f"Hyperliquid's answer to {question} cannot be read: {error}") from error
        if isinstance(found, list):
            self._budgets.weight.charge(self._clock.monotonic_ns(), answer_weight(question, len(found)))
        return found

    async def setting(self, user: str, coin: str, market: str) -> Setting:
        """Return leverage and margin mode of a market, with a position or without."""
        raw = await self.asset(user, coin)
        mode = MarginMode.ISOLATED if raw.leverage.type == "isolated" else MarginMode.CROSS
        return Setting(market=market, leverage=raw.leverage.value, margin_mode=mode)


def _joined(one: AccountState, other: AccountState) -> AccountState:
    """Return an account over two dexes: the first dex's sums, both dexes' positions."""
    return replace(one, positions=one.positions + other.positions, settings=one.settings + other.settings)


def _tell_unknown(kind: str) -> None:
    log.warning("hyperliquid.ledger_unknown", kind=kind[:60])


def price_of(text: str | None) -> Decimal | None:
    """Return a price text as a number, None for none."""
    return None if text is None else decimal_of(text, "px")
