"""Trading at one Lighter: what `services.venues.trading.TradingVenue` asks, over `sendTx`, REST and a socket.

It signs nothing. An answer of 200 means that a transaction waits for the sequencer; whether it was acted on is told by
the account's stream, or by `trace`. Transactions of one key are posted one after another: a nonce is known to be used
when the answer to the one before has come.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Final

from services.chassis.clock import Clock
from services.domain.market import LIGHTER, Listing
from services.domain.refusal import Origin, Refusal, RefusalReason
from services.venues import actions, rounding
from services.venues.account import AccountState, Fees, Fill, OrderRecord
from services.venues.actions import Action, ActionError, OrderReference, OrderTerms
from services.venues.budget import BudgetUse
from services.venues.lifecycle import SessionConfig
from services.venues.lighter import tracing
from services.venues.lighter.asking import AccountHttp
from services.venues.lighter.budgets import CANCELS, LighterBudgets
from services.venues.lighter.http import LighterHttp
from services.venues.lighter.private import CHANNELS, PING, PrivateDialect
from services.venues.lighter.tokens import Tokens, TokenSource
from services.venues.lighter.wire import account as wire
from services.venues.lighter.wire import answers
from services.venues.lighter.wire.transactions import Scale, Scales
from services.venues.link import Breaker, Link
from services.venues.port import LimitUse, VenueError, listing_of
from services.venues.rest import Importance, Rest, RestConfig, RestRefusedError, RestUnavailableError
from services.venues.session import Session
from services.venues.teaching import Scene
from services.venues.trading import (
    Accepted,
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

TRANSACTIONS_MAX: Final = 10_000
"""How many transactions heard of on the stream are remembered, for `trace`."""
_NEEDS_BOOK: Final = frozenset(
    (RefusalReason.NOTIONAL_TOO_SMALL, RefusalReason.SIZE_TOO_SMALL, RefusalReason.PRICE_OUT_OF_BAND,
     RefusalReason.TRIGGER_WRONG_SIDE, RefusalReason.INSUFFICIENT_MARGIN)
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TraderConfig:
    """Where and how to trade."""

    base_url: str
    reconcile_every_s: float = 60.0
    connections_max: int = 16
    """HTTP connections, each of which carries one request at a time."""
    price_protection: bool = True
    """Whether the venue's own guards against accidental prices are on."""

    def socket_url(self) -> str:
        """Return the WebSocket's address."""
        return "ws" + self.base_url.rstrip("/")[len("http") :] + "/stream"


class LighterTrader:
    """Trading at one Lighter, for any number of accounts."""

    def __init__(
        self,
        config: TraderConfig,
        *,
        clock: Clock,
        rng: random.Random,
        rest_breaker: Breaker,
        socket_breaker: Breaker,
        tokens: TokenSource,
        budgets: LighterBudgets | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._rng = rng
        self._socket_breaker = socket_breaker
        self.budgets = budgets or LighterBudgets()
        self._rest = Rest(
            base_url=config.base_url,
            budget=self.budgets.requests,
            breaker=rest_breaker,
            clock=clock,
            config=RestConfig(connections_max=config.connections_max, budget_wait_s=15.0),
        )
        self._http = LighterHttp(self._rest, clock)
        self.tokens = Tokens(tokens, clock)
        self._ask = AccountHttp(self._rest, self.tokens)
        self._listings: tuple[Listing, ...] = ()
        self._markets: dict[int, Listing] = {}
        self._transactions: OrderedDict[str, wire.RawTx] = OrderedDict()
        self._keys: dict[tuple[int, int], asyncio.Lock] = {}

    @property
    def name(self) -> str:
        """The venue's name."""
        return LIGHTER

    @property
    def orders_nonces(self) -> bool:
        """Nonces here count up by one for each key."""
        return True

    @property
    def scales(self) -> Scales:
        """How many decimals each market's prices and sizes have; the encoder needs them."""
        return {number: Scale(item.price_decimals, item.size_decimals) for number, item in self._markets.items()}

    async def load(self) -> None:
        """Learn what is listed."""
        self._listings = (await self._http.listings()).listings
        self._markets = {listing.venue_market_id: listing for listing in self._listings}

    # --- before a submission ------------------------------------------------------------------------------------

    def rounded(self, terms: OrderTerms) -> OrderTerms:
        """Return `terms` on the venue's grid. Raises `ActionError`."""
        listing = listing_of(self._listings, terms.market)
        if listing is None:
            raise ActionError("market", f"{terms.market} is not listed at Lighter")
        return rounding.round_terms(listing, terms)

    def split(self, action: Action) -> tuple[Action, ...]:
        """Return `action` as the venue takes it: one order a transaction, save groups."""
        if isinstance(action, actions.Cancel):
            return tuple(actions.Cancel(orders=(order,)) for order in action.orders)
        if isinstance(action, actions.Place) and action.grouping is actions.Grouping.NONE:
            return tuple(replace(action, orders=(order,)) for order in action.orders)
        return (action,)

    async def plan_cancel_all(self, account: AccountRef, market: str = "") -> tuple[Action, ...]:
        """Return the venue's own cancellation of all orders, or of one market's."""
        listing = listing_of(self._listings, market) if market else None
        if market and listing is None:
            raise VenueError(f"{market} is not listed at Lighter")
        number = None if listing is None else listing.venue_market_id
        return (actions.CancelAll(market=market, venue_market_id=number),)

    # --- submitting ---------------------------------------------------------------------------------------------

    async def submit(self, account: AccountRef, signed: SignedBytes, *, again: bool = False) -> Submission:
        """Post the bytes and say what came of them."""
        lock = self._keys.setdefault((account.index, account.api_key_index), asyncio.Lock())
        async with lock:
            return self._spread(await self._submit(account, signed, again), signed)

    async def _submit(self, account: AccountRef, signed: SignedBytes, again: bool) -> Submission:
        kind, address = signed.transaction_type, account.address or str(account.index)
        now_ns = self._clock.monotonic_ns()
        free_ns = self.budgets.send_at_ns(address, kind, now_ns)
        if free_ns > now_ns:
            why = "The account has used up its transactions of this minute, or its volume quota."
            return self._held(why, (free_ns - now_ns) / 1e9, again, RefusalReason.VENUE_BUDGET)
        try:
            body = await self._rest.post(
                answers.SEND,
                answers.form(kind, signed.body, price_protection=self._config.price_protection),
                content_type=answers.FORM,
                importance=Importance.URGENT if kind in CANCELS else Importance.ORDER,
            )
        except RestRefusedError as error:
            self.budgets.sent(address, kind, now_ns)
            body = error.body
        except RestUnavailableError as error:
            if not error.is_sent:
                return self._held(str(error), error.retry_after_s, again, RefusalReason.VENUE_UNAVAILABLE)
            self.budgets.sent(address, kind, now_ns)
            if error.status != 429 or b"23000" not in error.body:
                return Submission(outcomes=(Unknown(str(error), error.retry_after_s),), nonce=NonceFate.UNKNOWN)
            body = error.body
        else:
            self.budgets.sent(address, kind, now_ns)
        left = answers.quota_left(body)
        if left is not None:
            self.budgets.quota_told(address, left, now_ns)
        scene = self._scene(signed.action)
        made = self._read(body, signed, scene, again)
        refused = made.outcomes[0]
        if isinstance(refused, Refused) and refused.refusal.reason in _NEEDS_BOOK and scene.listing is not None:
            return self._read(body, signed, await self._look(account, scene), again)
        return made

    def _read(self, body: bytes, signed: SignedBytes, scene: Scene, again: bool) -> Submission:
        client_id = _client_id(signed.action)
        return answers.read(body, client_id=client_id, tx_hash=signed.transaction_hash, scene=scene, again=again)

    def _spread(self, made: Submission, signed: SignedBytes) -> Submission:
        """Return one outcome for each order of a group: the venue takes or refuses a group as a whole."""
        action = signed.action
        if not isinstance(action, actions.Place) or len(action.orders) == 1:
            return made
        outcome = made.outcomes[0]
        spread = tuple(
            replace(outcome, client_id=terms.client_id) if isinstance(outcome, Accepted) else outcome
            for terms in action.orders
        )
        return replace(made, outcomes=spread)

    def _held(self, why: str, wait_s: float | None, again: bool, reason: RefusalReason) -> Submission:
        if again:
            return Submission(outcomes=(Unknown(why, wait_s),), nonce=NonceFate.UNKNOWN)
        refusal = Refusal(
            reason=reason,
            origin=Origin.MESH,
            message=why,
            advice="Try again later.",
            venue=LIGHTER,
            retry_time_ns=self._clock.time_ns() + round((wait_s or 0.0) * 1e9),
        )
        return Submission(outcomes=(Refused(refusal),), nonce=NonceFate.NOT_SENT)

    def _scene(self, action: Action) -> Scene:
        if isinstance(action, actions.SetLeverage):
            return Scene(leverage=action, listing=self._markets.get(action.venue_market_id))
        terms = None
        if isinstance(action, actions.Place):
            terms = action.orders[0]
        elif isinstance(action, actions.Modify):
            terms = action.terms
        return Scene(terms=terms, listing=self._markets.get(terms.venue_market_id) if terms is not None else None)

    async def look(self, account: AccountRef, action: Action, index: int) -> Scene:
        """Return what is known around one order of an action."""
        if isinstance(action, actions.Place):
            terms = action.orders[index]
            scene = Scene(terms=terms, listing=self._markets.get(terms.venue_market_id))
        else:
            scene = self._scene(action)
        return await self._look(account, scene) if scene.listing is not None and scene.terms is not None else scene

    async def _look(self, account: AccountRef, scene: Scene) -> Scene:
        """Return what is known of a market and of what the account may do there."""
        listing = scene.listing
        assert listing is not None
        try:
            bid, ask, mark = await self._http.prices(listing)
            scene = replace(scene, bid=bid, ask=ask, mark=mark)
            state = await self._ask.state(account, self._markets)
        except VenueError:
            return scene
        setting = next((item for item in state.settings if item.market == listing.market), None)
        leverage = setting.leverage if setting is not None else 1
        limit = scene.terms.limit_price if scene.terms is not None else None
        price = max(value for value in (mark, ask, limit) if value is not None)
        most = rounding.size_within(listing, state.margin.available * leverage, price)
        return replace(scene, max_size=most)

    # --- asking -------------------------------------------------------------------------------------------------

    async def trace(self, account: AccountRef, signed: SignedBytes) -> tuple[Outcome, ...]:
        """Ask what became of these bytes."""
        return await tracing.trace(self, account, signed, now_ms=self._clock.time_ns() // 1_000_000)

    async def transaction(self, tx_hash: str) -> wire.RawTx | None:
        """Return what is known of a transaction: from the stream where it was final there, else from the venue."""
        heard = self._transactions.get(tx_hash)
        if heard is not None and heard.status in (answers.FAILED, answers.EXECUTED):
            return heard
        return await self._ask.transaction(tx_hash)

    async def state(self, account: AccountRef) -> AccountState:
        """Return the account as it stands."""
        return await self._ask.state(account, self._markets)

    async def setting(self, account: AccountRef, market: str) -> actions.SetLeverage:
        """Return a market's leverage and margin mode; one that was never set is cross, and its leverage is not said."""
        listing = listing_of(self._listings, market)
        if listing is None:
            raise ActionError("market", f"{market} is not listed at Lighter")
        state = await self.state(account)
        found = next((one for one in state.settings if one.market == market), None)
        return actions.SetLeverage(
            market=market,
            venue_market_id=listing.venue_market_id,
            leverage=0 if found is None else round(found.leverage),
            margin_mode=actions.MarginMode.CROSS if found is None else found.margin_mode,
        )

    async def fees(self, account: AccountRef) -> Fees:
        """Return what the account pays."""
        return await self._ask.fees(account)

    async def open_orders(self, account: AccountRef) -> tuple[OrderRecord, ...]:
        """Return all open orders."""
        return await self._ask.open_orders(account, self._markets)

    async def order(self, account: AccountRef, reference: OrderReference) -> OrderRecord | None:
        """Return one order; None where the venue knows none."""
        return await self._ask.order(account, reference, self._markets)

    async def fills(self, account: AccountRef, *, since_ms: int, until_ms: int | None = None) -> tuple[Fill, ...]:
        """Return all trades of a time."""
        return await self._ask.fills(account, self._markets, since_ms=since_ms, until_ms=until_ms)

    async def next_nonce(self, account: AccountRef) -> int | None:
        """Return the nonce the venue expects of the key next."""
        return await self._ask.next_nonce(account)

    # --- watching -----------------------------------------------------------------------------------------------

    async def watch(self, account: AccountRef, emit: AccountEmit, *, since_ms: int = 0) -> None:
        """Tell everything that happens to the account until canceled."""
        dialect = PrivateDialect(account, self.tokens, self._clock, lambda: self._markets, self._heard)
        watch = AccountWatch(
            name=f"lighter-{account.index}",
            dialect=dialect,
            sources=_Sources(self, account),
            emit=emit,
            clock=self._clock,
            since_ms=since_ms,
            reconcile_every_s=self._config.reconcile_every_s,
        )
        config = SessionConfig(ping=PING, expects_greeting=True, subscriptions_max=len(CHANNELS))
        session = Session(config, messages=self.budgets.messages, connects=self.budgets.connects, rng=self._rng)
        link = Link(
            name=watch.name,
            url=self._config.socket_url(),
            session=session,
            listener=watch,
            breaker=self._socket_breaker,
            clock=self._clock,
        )
        await watch.run(link)

    def _heard(self, transaction: wire.RawTx) -> None:
        self._transactions[transaction.hash] = transaction
        while len(self._transactions) > TRANSACTIONS_MAX:
            self._transactions.popitem(last=False)

    def limits(self) -> tuple[LimitUse, ...]:
        """Return how much of each limit is in use."""
        return self.budgets.limits(self._clock.monotonic_ns())

    async def budgets_of(self, account: AccountRef) -> tuple[BudgetUse, ...]:
        """Return how much of each limit is left for an account."""
        return self.budgets.of(account.address or str(account.index), self._clock.monotonic_ns())

    def order_wait_s(self, account: AccountRef) -> float:
        """Return how long until one more order may go by what is counted; 0 for now."""
        uses = self.budgets.of(account.address or str(account.index), self._clock.monotonic_ns())
        return max(use.free_s for use in uses)

    async def close(self) -> None:
        """Give the sockets back."""
        await self._rest.close()


class _Sources:
    """What reconciling asks, for one account."""

    def __init__(self, trader: LighterTrader, account: AccountRef) -> None:
        self._trader = trader
        self._account = account

    async def open_orders(self) -> tuple[OrderRecord, ...]:
        return await self._trader.open_orders(self._account)

    async def order(self, reference: OrderReference) -> OrderRecord | None:
        return await self._trader.order(self._account, reference)

    async def fills(self, since_ms: int) -> tuple[Fill, ...]:
        return await self._trader.fills(self._account, since_ms=since_ms)

    async def ended_orders(self, since_ms: int) -> tuple[OrderRecord, ...]:
        return await self._trader._ask.ended_orders(self._account, self._trader._markets, since_ms)

    async def state(self) -> AccountState:
        return await self._trader.state(self._account)


def _client_id(action: Action) -> str:
    if isinstance(action, actions.Place):
        return action.orders[0].client_id
    if isinstance(action, actions.Cancel):
        return action.orders[0].client_id
    return action.order.client_id if isinstance(action, actions.Modify) else ""
