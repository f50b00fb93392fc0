"""Trading at one Hyperliquid: what `services.venues.trading.TradingVenue` asks, over `/exchange`, `/info` and a socket.

It signs nothing. Bytes come signed, are posted as they are, and what came of them is read by `wire.answers`. On a
refusal it looks, once, at what is needed to say what would pass: the best bid and ask, the mark price, what the account
may trade.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from services.chassis.clock import Clock
from services.domain.market import HYPERLIQUID, Listing
from services.domain.refusal import Origin, Refusal, RefusalReason
from services.venues import actions, rounding
from services.venues.account import AccountState, Fees, Fill, OrderRecord, Transfer
from services.venues.actions import Action, ActionError, OrderReference, OrderTerms
from services.venues.budget import BudgetUse
from services.venues.hyperliquid import tracing
from services.venues.hyperliquid.asking import AccountInfo, price_of
from services.venues.hyperliquid.budgets import HyperliquidBudgets, action_weight
from services.venues.hyperliquid.http import Info
from services.venues.hyperliquid.private import PING, PrivateDialect, subscriptions
from services.venues.hyperliquid.wire import answers
from services.venues.hyperliquid.wire.universe import EMPTY, Universe
from services.venues.hyperliquid.wire.values import WireError, decimal_of
from services.venues.lifecycle import SessionConfig
from services.venues.link import Breaker, Link
from services.venues.port import LimitUse, SeatsTakenError, VenueError, listing_of
from services.venues.rest import Importance, Rest, RestConfig, RestRefusedError, RestUnavailableError
from services.venues.session import Session
from services.venues.teaching import Scene
from services.venues.trading import (
    AccountEmit,
    AccountRef,
    NonceFate,
    Outcome,
    Refused,
    SignedBytes,
    Submission,
    Unknown,
)
from services.venues.watching import AccountWatch

COUNT_S: Final = 60.0
"""How long the venue's own count of an address's requests is shown before it is asked for again: it weighs 20."""
CANCELS_MAX: Final = 100
"""Cancels in one action: a batch counts as many requests, and its answer must be read as a whole."""
UNREAD: Final = frozenset((400, 413, 415, 422))
"""What the venue answers to a request it could not read, before it looks at its nonce."""
_NEEDS_BOOK: Final = frozenset(
    (RefusalReason.NOTIONAL_TOO_SMALL, RefusalReason.IMMEDIATE_NOT_FILLED, RefusalReason.POST_ONLY_CROSSED)
)
_NEEDS_ACCOUNT: Final = frozenset(
    (RefusalReason.INSUFFICIENT_MARGIN, RefusalReason.PRICE_OUT_OF_BAND, RefusalReason.TRIGGER_WRONG_SIDE,
     RefusalReason.OPEN_INTEREST_CAP, RefusalReason.NOTIONAL_TOO_SMALL, RefusalReason.SIZE_TOO_LARGE)
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TraderConfig:
    """Where and how to trade."""

    base_url: str
    dexes: tuple[str, ...] = ("",)
    """The dexes whose accounts are looked at; the first must be the venue's own, empty."""
    reconcile_every_s: float = 60.0
    connections_max: int = 16
    """HTTP connections, each of which carries one request at a time."""

    def socket_url(self) -> str:
        """Return the WebSocket's address."""
        return "ws" + self.base_url.rstrip("/")[len("http") :] + "/ws"


class HyperliquidTrader:
    """Trading at one Hyperliquid, for any number of accounts."""

    def __init__(
        self,
        config: TraderConfig,
        *,
        clock: Clock,
        rng: random.Random,
        rest_breaker: Breaker,
        socket_breaker: Breaker,
        budgets: HyperliquidBudgets | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._rng = rng
        self._socket_breaker = socket_breaker
        self.budgets = budgets or HyperliquidBudgets()
        self._rest = Rest(
            base_url=config.base_url,
            budget=self.budgets.weight,
            breaker=rest_breaker,
            clock=clock,
            config=RestConfig(connections_max=config.connections_max),
        )
        self._info = Info(self._rest, clock)
        self._ask = AccountInfo(self._rest, self.budgets, clock, config.dexes)
        self.universe: Universe = EMPTY

    @property
    def name(self) -> str:
        """The venue's name."""
        return HYPERLIQUID

    @property
    def orders_nonces(self) -> bool:
        """Nonces here are a set: any that is newer than the hundred highest passes, once."""
        return False

    async def load(self) -> None:
        """Learn what is listed."""
        self.universe = await self._info.universe()

    # --- before a submission ------------------------------------------------------------------------------------

    def rounded(self, terms: OrderTerms) -> OrderTerms:
        """Return `terms` on the venue's grid. Raises `ActionError`."""
        return rounding.round_terms(self._listing(terms.market), terms)

    def split(self, action: Action) -> tuple[Action, ...]:
        """Return `action` as the venue takes it: cancels by one kind of id, at most `CANCELS_MAX` at a time."""
        if not isinstance(action, actions.Cancel):
            return (action,)
        by_id = [order for order in action.orders if order.order_id]
        by_us = [order for order in action.orders if not order.order_id]
        return tuple(
            actions.Cancel(orders=tuple(part[start : start + CANCELS_MAX]))
            for part in (by_id, by_us)
            for start in range(0, len(part), CANCELS_MAX)
        )

    async def plan_cancel_all(self, account: AccountRef, market: str = "") -> tuple[Action, ...]:
        """Return cancels of what is open now: the venue has no word for all."""
        references = []
        for record in await self.open_orders(account):
            listing = listing_of(self.universe.listings, record.market)
            if listing is not None and market in ("", record.market) and record.order_id != "0":
                references.append(
                    OrderReference(
                        market=record.market, venue_market_id=listing.venue_market_id, order_id=record.order_id
                    )
                )
        return self.split(actions.Cancel(orders=tuple(references))) if references else ()

    # --- submitting ---------------------------------------------------------------------------------------------

    async def submit(self, account: AccountRef, signed: SignedBytes, *, again: bool = False) -> Submission:
        """Post the bytes and say what came of them."""
        action, count = signed.action, answers.count_of(signed.action)
        is_cancel = isinstance(action, actions.Cancel)
        allotment = self.budgets.address(account.address)
        now_ns = self._clock.monotonic_ns()
        free_ns = allotment.free_at_ns(now_ns, count, cancel=is_cancel)
        if free_ns > now_ns:
            return self._held(
                signed, "The address has used up its requests at the venue.", (free_ns - now_ns) / 1e9, again
            )
        try:
            body = await self._rest.post(
                answers.PATH,
                signed.body,
                weight=action_weight(count),
                importance=Importance.URGENT if is_cancel else Importance.ORDER,
            )
        except RestRefusedError as error:
            allotment.spend(now_ns, count)
            return self._unread(signed, error, again)
        except RestUnavailableError as error:
            if not error.is_sent:
                return self._held(signed, str(error), error.retry_after_s, again)
            allotment.spend(now_ns, count)
            return Submission(outcomes=(Unknown(str(error), error.retry_after_s),) * count, nonce=NonceFate.UNKNOWN)
        allotment.spend(now_ns, count)
        scenes = [self._scene(action, index) for index in range(count)]
        return await self._taught(account, signed, body, answers.read(body, action, scenes, again=again), scenes)

    def _held(self, signed: SignedBytes, why: str, wait_s: float | None, again: bool) -> Submission:
        """Nothing was sent. Where the bytes may have been sent before, that leaves them as unknown as they were."""
        count = answers.count_of(signed.action)
        if again:
            return Submission(outcomes=(Unknown(why, wait_s),) * count, nonce=NonceFate.UNKNOWN)
        retry_ns = self._clock.time_ns() + round((wait_s or 0.0) * 1e9)
        budget = "used up" in why
        reason = RefusalReason.VENUE_BUDGET if budget else RefusalReason.VENUE_UNAVAILABLE
        refusal = Refusal(
            reason=reason,
            origin=Origin.MESH,
            message=why,
            advice="Try again later.",
            venue=HYPERLIQUID,
            retry_time_ns=retry_ns,
        )
        return Submission(outcomes=(Refused(refusal),) * count, nonce=NonceFate.NOT_SENT)

    def _unread(self, signed: SignedBytes, error: RestRefusedError, again: bool) -> Submission:
        count = answers.count_of(signed.action)
        if error.status not in UNREAD or again:
            return Submission(outcomes=(Unknown(str(error)),) * count, nonce=NonceFate.UNKNOWN)
        refusal = Refusal(
            reason=RefusalReason.NOT_SUPPORTED,
            origin=Origin.VENUE,
            message="The venue could not read the request.",
            venue=HYPERLIQUID,
            venue_code=str(error.status),
            venue_message=error.body[:1_000].decode("utf-8", "replace"),
        )
        return Submission(outcomes=(Refused(refusal),) * count, nonce=NonceFate.FREE)

    # --- what would pass ----------------------------------------------------------------------------------------

    def _scene(self, action: Action, index: int) -> Scene:
        if isinstance(action, actions.Place):
            terms = action.orders[index]
        elif isinstance(action, actions.Modify):
            terms = action.terms
        elif isinstance(action, actions.SetLeverage):
            return Scene(leverage=action, listing=listing_of(self.universe.listings, action.market))
        else:
            return Scene()
        return Scene(terms=terms, listing=listing_of(self.universe.listings, terms.market))

    async def _taught(
        self, account: AccountRef, signed: SignedBytes, body: bytes, made: Submission, scenes: Sequence[Scene]
    ) -> Submission:
        """Return the submission with refusals that say what would pass, where looking once can tell."""
        wanted = {
            scene.listing.symbol: outcome.refusal.reason
            for outcome, scene in zip(made.outcomes, scenes, strict=True)
            if isinstance(outcome, Refused)
            and scene.listing is not None
            and scene.terms is not None
            and outcome.refusal.reason in _NEEDS_BOOK | _NEEDS_ACCOUNT
        }
        if not wanted:
            return made
        richer = list(scenes)
        for symbol, reason in list(wanted.items())[:1]:  # one look a submission: others of its orders stay untaught
            seen = await self._look(account, symbol, reason)
            for index, scene in enumerate(scenes):
                if scene.listing is not None and scene.listing.symbol == symbol:
                    richer[index] = _with(scene, seen)
        return answers.read(body, signed.action, richer)

    async def look(self, account: AccountRef, action: Action, index: int) -> Scene:
        """Return what is known around one order of an action."""
        scene = self._scene(action, index)
        if scene.listing is None or scene.terms is None:
            return scene
        return _with(scene, await self._look(account, scene.listing.symbol, None))

    async def _look(self, account: AccountRef, symbol: str, reason: RefusalReason | None) -> Scene:
        """Return what is known of a coin and of what the account may do there; nothing where the venue is away."""
        seen = Scene()
        try:
            if reason is None or reason in _NEEDS_BOOK:
                bid, ask = await self._ask.best(symbol)
                seen = replace(seen, bid=price_of(bid), ask=price_of(ask))
            if reason is None or reason in _NEEDS_ACCOUNT:
                raw = await self._ask.asset(account.address, symbol)
                sizes = tuple(decimal_of(text, "maxTradeSzs") for text in raw.maxTradeSzs)
                seen = replace(seen, mark=price_of(raw.markPx), max_size=sizes[0], position=sizes[1])
        except (VenueError, WireError):
            pass
        return seen

    # --- asking -------------------------------------------------------------------------------------------------

    async def trace(self, account: AccountRef, signed: SignedBytes) -> tuple[Outcome, ...]:
        """Ask what became of these bytes."""
        return await tracing.trace(self, account, signed, now_ms=self._clock.time_ns() // 1_000_000)

    async def state(self, account: AccountRef) -> AccountState:
        """Return the account as it stands."""
        mode = await self._ask.mode(account.address)
        return await self._ask.state(account.address, self.universe, mode)

    async def fees(self, account: AccountRef) -> Fees:
        """Return what the account pays."""
        return await self._ask.fees(account.address)

    async def open_orders(self, account: AccountRef) -> tuple[OrderRecord, ...]:
        """Return all open orders."""
        return await self._ask.open_orders(account.address, self.universe)

    async def order(self, account: AccountRef, reference: OrderReference) -> OrderRecord | None:
        """Return one order; None where the venue knows none."""
        return await self._ask.order(account.address, reference, self.universe)

    async def fills(self, account: AccountRef, *, since_ms: int, until_ms: int | None = None) -> tuple[Fill, ...]:
        """Return all trades of a time."""
        return await self._ask.fills(account.address, self.universe, since_ms=since_ms, until_ms=until_ms)

    async def transfers(self, account: AccountRef, *, since_ms: int) -> tuple[Transfer, ...]:
        """Return the money that came and left since then."""
        return await self._ask.transfers(account.address, since_ms=since_ms)

    async def setting(self, account: AccountRef, market: str) -> actions.SetLeverage:
        """Return a market's leverage and margin mode, with a position or without."""
        listing = self._listing(market)
        found = await self._ask.setting(account.address, listing.symbol, market)
        return actions.SetLeverage(
            market=market,
            venue_market_id=listing.venue_market_id,
            leverage=int(found.leverage),
            margin_mode=found.margin_mode,
        )

    async def next_nonce(self, account: AccountRef) -> int | None:
        """Return None: nonces here have no order."""
        return None

    async def count_requests(self, account: AccountRef) -> None:
        """Take over the venue's own count of the address's requests; weight 20."""
        raw = await self._ask.requests(account.address)
        allotment = self.budgets.address(account.address)
        allotment.observe(used=raw.nRequestsUsed, cap=raw.nRequestsCap + raw.nRequestsSurplus)

    # --- watching -----------------------------------------------------------------------------------------------

    async def watch(self, account: AccountRef, emit: AccountEmit, *, since_ms: int = 0) -> None:
        """Tell everything that happens to the account until canceled. Raises `VenueError` when all seats are taken."""
        user = account.address
        if not self.budgets.users.take(user):
            raise SeatsTakenError(
                f"Hyperliquid lets one address listen to {self.budgets.users.limit} accounts, all taken"
            )
        try:
            dialect = PrivateDialect(user, self._config.dexes, self.universe)
            watch = AccountWatch(
                name=f"hyperliquid-{user[:10]}",
                dialect=dialect,
                sources=_Sources(self, account, dialect),
                emit=emit,
                clock=self._clock,
                since_ms=since_ms,
                reconcile_every_s=self._config.reconcile_every_s,
            )
            await watch.run(self._link(watch, len(subscriptions(user, self._config.dexes))))
        finally:
            self.budgets.users.give_back(user)

    def _link(self, watch: AccountWatch, count: int) -> Link:
        config = SessionConfig(ping=PING, closes_on_bad_subscription=True, subscriptions_max=count)
        session = Session(config, messages=self.budgets.messages, connects=self.budgets.connects, rng=self._rng)
        return Link(
            name=watch.name,
            url=self._config.socket_url(),
            session=session,
            listener=watch,
            breaker=_Counted(self._socket_breaker, self),
            clock=self._clock,
        )

    def count_connection(self) -> None:
        """A socket was accepted."""
        self.budgets.connects.accepted(self._clock.monotonic_ns())

    def limits(self) -> tuple[LimitUse, ...]:
        """Return how much of each limit is in use."""
        return self.budgets.limits(self._clock.monotonic_ns())

    async def budgets_of(self, account: AccountRef) -> tuple[BudgetUse, ...]:
        """Return how much of each limit is left for an account; its own count is asked for once a minute at most."""
        now_ns = self._clock.monotonic_ns()
        told = self.budgets.told.get(account.address)
        if told is None or now_ns - told[0] > COUNT_S * 1e9:
            with contextlib.suppress(VenueError):
                raw = await self._ask.requests(account.address)
                told = self.budgets.tell(
                    account.address, now_ns, used=raw.nRequestsUsed, cap=raw.nRequestsCap + raw.nRequestsSurplus
                )
        uses = self.budgets.of(account.address, now_ns)
        return uses if told is None else (*uses, told[1])

    def order_wait_s(self, account: AccountRef) -> float:
        """Return how long until one more order may go by what is counted; 0 for now."""
        return max(use.free_s for use in self.budgets.of(account.address, self._clock.monotonic_ns()))

    async def close(self) -> None:
        """Give the sockets back."""
        await self._rest.close()

    def _listing(self, market: str) -> Listing:
        listing = listing_of(self.universe.listings, market)
        if listing is None:
            raise ActionError("market", f"{market} is not listed at Hyperliquid")
        return listing


class _Counted:
    """The socket's breaker, which also counts each socket that was accepted."""

    def __init__(self, breaker: Breaker, trader: HyperliquidTrader) -> None:
        self._breaker = breaker
        self._trader = trader
        self.allow = breaker.allow
        self.failure = breaker.failure
        self.forget = breaker.forget
        self.retry_after_s = breaker.retry_after_s
        self.is_closed = breaker.is_closed

    def success(self) -> None:
        """The socket was accepted and speaks."""
        self._trader.count_connection()
        self._breaker.success()


class _Sources:
    """What reconciling asks, for one account."""

    def __init__(self, trader: HyperliquidTrader, account: AccountRef, dialect: PrivateDialect) -> None:
        self._trader = trader
        self._account = account
        self._dialect = dialect

    async def open_orders(self) -> tuple[OrderRecord, ...]:
        return await self._trader.open_orders(self._account)

    async def order(self, reference: OrderReference) -> OrderRecord | None:
        return await self._trader.order(self._account, reference)

    async def fills(self, since_ms: int) -> tuple[Fill, ...]:
        return await self._trader.fills(self._account, since_ms=since_ms)

    async def ended_orders(self, since_ms: int) -> tuple[OrderRecord, ...]:
        trader = self._trader
        return await trader._ask.ended_orders(self._account.address, trader.universe, since_ms)

    async def state(self) -> AccountState:
        state = await self._trader.state(self._account)
        self._dialect.mode = state.mode
        return state


def _with(scene: Scene, seen: Scene) -> Scene:
    """Return `scene` with what a look has shown; the largest size is of the order's side."""
    sizes = (seen.max_size, seen.position)
    buys = scene.terms is not None and scene.terms.side is actions.Side.BUY
    return replace(scene, bid=seen.bid, ask=seen.ask, mark=seen.mark, max_size=sizes[0] if buys else sizes[1])
