"""Both venues: the simulator's exchange and its own words, behind a network that fails.

The far side is the simulator's (`services/simulator`): matching, `Trading` and `AccountInfo` of Hyperliquid,
`Sequencer` and `AccountRest` of Lighter. The near side is execution's own: `HyperliquidTrader`, `LighterTrader`, `Rest`
with its budget and breaker, `AccountWatch`. Between them, in place of sockets, are `Wire` (requests, in `near`) and
`Channel` (streams, in `channel`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from types import SimpleNamespace
from typing import Any, Protocol
from urllib.parse import parse_qsl

import msgspec

from services.domain.decimals import Rate, Usd
from services.domain.market import HYPERLIQUID, LIGHTER, Listing, Status
from services.simulator.crypto.schnorr import Verifier
from services.simulator.dialects.hyperliquid import accounts as hyper_accounts
from services.simulator.dialects.hyperliquid.account_info import AccountInfo
from services.simulator.dialects.hyperliquid.desk import size_of
from services.simulator.dialects.hyperliquid.members import Members
from services.simulator.dialects.hyperliquid.members import RefusedError as HyperRefusedError
from services.simulator.dialects.hyperliquid.trading import Trading
from services.simulator.dialects.lighter import accounts as lighter_accounts
from services.simulator.dialects.lighter import transactions
from services.simulator.dialects.lighter.account_rest import AccountRest
from services.simulator.dialects.lighter.holders import Holders, Key, Row
from services.simulator.dialects.lighter.refusals import RefusedError
from services.simulator.dialects.lighter.sampling import Sampler
from services.simulator.dialects.lighter.sequencer import Sequencer
from services.simulator.dialects.lighter.trades import user_trade
from services.simulator.exchange.core import Exchange
from services.simulator.exchange.terms import (
    Fraction,
    HyperliquidRules,
    LighterRules,
    Setting,
    Terms,
    fraction_tier,
    leverage_tiers,
)
from services.simulator.exchange.values import Event, Order, OrderChanged, Party, Trade, Traded
from services.simulator.records import Records
from services.simulator.rules import five_figures, fixed, one_tick, plain
from services.venues.hyperliquid.wire import account as hyper_wire
from services.venues.lighter.wire import account as lighter_wire
from services.venues.trading import AccountEvent, FillsSeen, OrdersSeen
from tests.simulation.chaos import Chaos
from tests.simulation.vaults import KEY, hash_of
from tests.simulation.virtual import Trace, VirtualLoop, WallClock
from tests.support.street import HandStreet

MARKET = "BTC-PERP"
ADDRESS = 0xA11CE
INDEX = 1001
DOLLAR = 1_000_000
UNIVERSE: Any = SimpleNamespace(coins={"BTC": SimpleNamespace(market=MARKET)}, listings=())
_encode = msgspec.json.Encoder().encode


def listing(venue: str) -> Listing:
    """Return what a venue demands of orders."""
    hyper = venue == HYPERLIQUID
    return Listing(
        market=MARKET, venue=venue, symbol="BTC", venue_market_id=0 if hyper else 1, quote="USDC", price_decimals=1,
        price_significant_figures=5 if hyper else 0, size_decimals=5, min_size=None, min_notional=Usd(10),
        max_leverage=40 if hyper else 50, leverage_tiers=(), maker_fee=Rate(0), taker_fee=Rate(0),
        funding_interval_s=3600, status=Status.ACTIVE,
    )  # fmt: skip


LISTINGS = {venue: listing(venue) for venue in (HYPERLIQUID, LIGHTER)}
UNIVERSE.listings = (LISTINGS[HYPERLIQUID],)


def _terms(venue: str) -> Terms:
    hyper = venue == HYPERLIQUID
    return Terms(
        market="BTC" if hyper else "1", asset=0 if hyper else 1, pool="", price_decimals=1, size_decimals=5,
        tick=five_figures(1) if hyper else one_tick,
        tiers=leverage_tiers(((0, 40),)) if hyper else fraction_tier(200, 120, 80),
        default=Setting(False, Fraction(1, 20)) if hyper else Setting(False, Fraction(500, 10_000)),
        max_leverage=40 if hyper else 0,
    )  # fmt: skip


class Hearer(Protocol):
    """A private socket, as the venue knows it."""

    def tell(self, events: tuple[AccountEvent, ...]) -> None:
        """Send events on their way."""

    def tell_transaction(self, raw: Any) -> None:
        """Tell what became of a transaction."""


class Far:
    """One venue as it is, whatever reaches us of it: its exchange, its histories, who listens."""

    def __init__(self, name: str, loop: VirtualLoop, clock: WallClock, chaos: Chaos, trace: Trace, seed: int) -> None:
        self.name, self.loop, self.clock, self.chaos, self.trace = name, loop, clock, chaos, trace
        self.rng = Random(f"{seed} {name}")
        self.street = HandStreet()
        rules = HyperliquidRules() if name == HYPERLIQUID else LighterRules()
        self.terms = _terms(name)
        self.exchange = Exchange(rules, self.street, (self.terms,), seed=seed)
        self.records = Records()
        self.journal: list[Event] = []
        self.watchers: list[Callable[[Event], None]] = []
        self.channels: list[Hearer] = []
        self.down_until = 0.0
        self.account = ADDRESS if name == HYPERLIQUID else INDEX
        self.received: dict[int, str] = {}
        """What was carried out under each nonce."""
        lags = chaos.has("look_ups_lag")
        self.lag_s = self.rng.random() * 0.9 if lags else 0.0
        self._noted_s: dict[type[Event], float] = {}
        """When look-ups show the last order, and the last trade."""
        self.height = 1
        self.catalog = SimpleNamespace(dexes=[])

    @property
    def now_ns(self) -> int:
        """The venue's own time, as the simulator's `Market` has it."""
        return self.clock.true_ns()

    def now_us(self) -> int:
        return self.clock.true_ns() // 1_000

    def is_down(self) -> bool:
        return self.loop.time() < self.down_until

    def flush(self) -> None:
        """Write down what happened, show it in look-ups, and tell who listens."""
        events = self.exchange.take_events()
        for event in events:
            if not isinstance(event, (OrderChanged, Traded)):
                continue
            self.journal.append(event)
            for watcher in self.watchers:
                watcher(event)
            if self.lag_s and self.chaos.is_on:
                self.chaos.met["look_ups_lag"] += 1
                self._note_later(event)
            elif max(self._noted_s.values(), default=0.0) >= self.loop.time():
                self._note_later(event)
            else:
                self.records.note(event)
        told = self._told(events) if events else ()
        if told:
            for channel in list(self.channels):
                channel.tell(told)

    def _note_later(self, event: Event) -> None:
        """Show orders and trades in look-ups a while later, each kind in its order."""
        kind = type(event)
        at_s = max(self._noted_s.get(kind, 0.0) + 1e-5, self.loop.time() + self.rng.random() * self.lag_s)
        self._noted_s[kind] = at_s
        self.loop.call_at(at_s, self.records.note, event)

    def _told(self, events: Sequence[Event]) -> tuple[AccountEvent, ...]:
        orders: dict[int, Order] = {}
        fills: list[tuple[Trade, Party]] = []
        for event in events:
            if isinstance(event, OrderChanged) and self._is_shown(event.order):
                orders[event.order.oid] = event.order
            elif isinstance(event, Traded):
                fills += [(event.trade, party) for party in event.trade.parties()]
        told: list[AccountEvent] = []
        if orders:
            told.append(OrdersSeen(orders=tuple(self.order_record(one) for one in orders.values())))
        if fills:
            told.append(FillsSeen(fills=tuple(self.fill(*one) for one in fills)))
        return tuple(told)

    def _is_shown(self, order: Order) -> bool:
        return True

    def order_record(self, order: Order) -> Any:
        raise NotImplementedError

    def fill(self, trade: Trade, party: Party) -> Any:
        raise NotImplementedError

    def handle(self, method: str, path: str, query: Mapping[str, str], body: bytes | None) -> tuple[int, bytes]:
        raise NotImplementedError

    def tick(self) -> None:
        """Let time pass at the venue."""
        self.exchange.marked(self.now_us())
        self.flush()

    def move(self, mid: int, size: int, spread: int) -> None:
        """Put the crowd's book and the mark around a price."""
        market = self.terms.market
        bids, asks = self.street.levels[market][True], self.street.levels[market][False]
        bids.clear()
        asks.clear()
        for depth in range(4):
            bids[mid - spread - 10 * depth] = size
            asks[mid + spread + 10 * depth] = size
        self.street.marks[market] = mid
        self.exchange.moved(market, self.now_us())
        self.exchange.marked(self.now_us())
        self.flush()


class FarHyperliquid(Far):
    """Hyperliquid."""

    def __init__(self, *given: Any) -> None:
        super().__init__(HYPERLIQUID, *given)
        self.members = Members(0)
        self.trading = Trading(self.exchange, self.members)
        self.info = AccountInfo(self.exchange, self.members, self.records, self)  # type: ignore[arg-type]
        self.exchange.open_account(ADDRESS)
        self.exchange.account(ADDRESS).lifetime = 2_000_000 * DOLLAR  # type: ignore[union-attr]

    def order_record(self, order: Order) -> Any:
        row = hyper_accounts.order_status(order, self.terms) | {"order": hyper_accounts.order(order, self.terms)}
        return hyper_wire.update_record(hyper_wire.convert(row, hyper_wire.RawUpdate), UNIVERSE)

    def fill(self, trade: Trade, party: Party) -> Any:
        row = hyper_accounts.fill(trade, party, self.terms)
        return hyper_wire.fill(hyper_wire.convert(row, hyper_wire.RawFill), UNIVERSE, user="")

    def handle(self, method: str, path: str, query: Mapping[str, str], body: bytes | None) -> tuple[int, bytes]:
        asked = msgspec.json.decode(body or b"{}")
        if path == "/exchange":
            answer = self._carry_out(asked)
            self.flush()
            return 200, _encode(answer)
        kind = asked["type"]
        if kind == "l2Book":
            sides = []
            for buy in (False, True):
                best = self.street.best(self.terms.market, buy)
                sides.append([] if best is None else [{"px": plain(best[0], 1), "sz": plain(best[1], 5), "n": 1}])
            return 200, _encode({"coin": "BTC", "time": self.now_us() // 1_000, "levels": sides})
        return 200, _encode(self.info.answers[kind](ADDRESS, asked))

    def _carry_out(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Do what the simulator's desk does, without signatures."""
        at, action, nonce = self.now_us(), asked["action"], asked["nonce"]
        handlers = {
            "order": self.trading.order, "cancel": self.trading.cancel, "cancelByCloid": self.trading.cancel,
            "scheduleCancel": self.trading.schedule_cancel, "updateLeverage": self.trading.update_leverage,
        }  # fmt: skip
        try:
            self.members.admit(ADDRESS, nonce, at // 1_000)
            self.members.spend(
                ADDRESS, size_of(action), 0, at // 1_000, cancels=action["type"].startswith(("cancel", "schedule"))
            )
            if asked["expiresAfter"] < at // 1_000:
                raise HyperRefusedError("Action already expired")
            text = repr(action)
            assert self.received.setdefault(nonce, text) == text, "one nonce, two payloads"
            return {"status": "ok", "response": handlers[action["type"]](ADDRESS, action, at)}
        except HyperRefusedError as refusal:
            return {"status": "err", "response": str(refusal)}


class _Holders(Holders):
    """The register, with tokens that nobody signed."""

    chaos: Chaos

    def authorize(self, token: str | None, account: int | None, now_s: int) -> int:
        if not token or int(token.split(":")[0]) < now_s or self.chaos.strikes("token_refused", 0.3):
            raise RefusedError(20013, "invalid auth: invalid deadline", 401)
        return INDEX


class _Query:
    """The parameters of a request, as the simulator's `Query` reads them."""

    def __init__(self, values: Mapping[str, str], token: str | None) -> None:
        self._values, self._token = values, token

    def token(self) -> str | None:
        return self._token

    def text(self, name: str, default: str | None = None, among: tuple[str, ...] | None = None) -> str:
        return str(self._values.get(name, default))

    def number(self, name: str, low: int, high: int, default: int | None = None) -> int:
        return int(self._values.get(name, str(default)))


class FarLighter(Far):
    """Lighter."""

    def __init__(self, *given: Any) -> None:
        super().__init__(LIGHTER, *given)
        verifier = Verifier()
        self.holders = _Holders(verifier)
        self.holders.chaos = self.chaos
        holder = self.holders.open(0x11, 0, INDEX)
        holder.keys[KEY] = Key(bytes(40))
        self.exchange.open_account(INDEX, tier="premium")
        self.symbols = {"1": "BTC"}
        self.dropped: set[str] = set()
        """What was taken in, and never acted on."""
        self.sequencer = Sequencer(
            self.exchange,
            self.holders,
            self,
            Sampler(verifier, 0),
            chain=304,
            delays=True,  # type: ignore[arg-type]
        )
        self.heard: list[Callable[[Any], None]] = []
        private: Any = SimpleNamespace(
            exchange=self.exchange, holders=self.holders, records=self.records, symbols=self.symbols,
            now_s=lambda: self.now_us() // 1_000_000, now_ms=lambda: self.now_us() // 1_000, height=lambda: 1,
        )  # fmt: skip
        rest = AccountRest(private, SimpleNamespace())  # type: ignore[arg-type]
        self.reads = rest.reads()
        self._trades = rest.trades

    def _is_shown(self, order: Order) -> bool:
        return lighter_accounts.is_shown(order)

    def order_record(self, order: Order) -> Any:
        row = lighter_accounts.order(order, self.terms, 1, snapshot=False)
        return lighter_wire.order_record(lighter_wire.convert(row, lighter_wire.RawOrder), {1: LISTINGS[LIGHTER]})

    def fill(self, trade: Trade, party: Party) -> Any:
        row = user_trade(trade, 1, (1, 5), INDEX)
        return lighter_wire.fill(lighter_wire.convert(row, lighter_wire.RawTrade), {1: LISTINGS[LIGHTER]}, INDEX)

    def next_nonce(self) -> int:
        return self.holders.nonce(INDEX, KEY)

    def handle(self, method: str, path: str, query: Mapping[str, str], body: bytes | None) -> tuple[int, bytes]:
        name = path.removeprefix("/api/v1/")
        try:
            if name == "sendTx":
                return 200, _encode(self._send(dict(parse_qsl((body or b"").decode()))))
            values = _Query(query, query.get("token"))
            if name == "trades":
                answer: dict[str, Any] = {"trades": self._trades(values, INDEX)}
            elif name in ("orderBookOrders", "orderBookDetails"):
                answer = self._book(name)
            else:
                answer = dict(self.reads[name](values))  # type: ignore[arg-type]
            return 200, _encode({"code": 200} | answer)
        except RefusedError as refusal:
            return refusal.status, _encode(refusal.body())

    def _book(self, name: str) -> dict[str, Any]:
        if name == "orderBookDetails":
            mark = fixed(self.street.marks[self.terms.market], 1)
            return {"order_book_details": [{"market_id": 1, "mark_price": mark, "last_trade_price": float(mark)}]}
        sides = {}
        for word, buy in (("bids", False), ("asks", True)):
            best = self.street.best(self.terms.market, buy)
            rows = [] if best is None else [{"price": fixed(best[0], 1), "remaining_base_amount": fixed(best[1], 5)}]
            sides[word] = rows
        return sides

    def _send(self, form: Mapping[str, str]) -> dict[str, Any]:
        fields = msgspec.json.decode(form["tx_info"])
        tx = transactions.Transaction(
            type=int(form["tx_type"]), fields=fields, orders=(), attributes={},
            hash=bytes.fromhex(hash_of(form["tx_info"].encode())), signature=bytes(80), text=form["tx_info"],
        )  # fmt: skip
        self.sequencer.check(tx, self.next_nonce(), self.loop.time(), protected=True)
        row = self.sequencer.admit(tx, self.loop.time())
        assert self.received.setdefault(tx.nonce, tx.text) == tx.text, "one nonce, two payloads"
        if self.chaos.strikes("dropped"):
            self.trace.note(self.name, "dropped", tx.nonce)
            self.dropped.add(tx.text)
            self.sequencer._queue = [one for one in self.sequencer._queue if one.row is not row]
            del self.holders.rows[row.hash]
        else:
            self.loop.call_later(self.sequencer.delay_ms(tx) / 1_000 + 0.001, self._run)
        return {"code": 200, "message": "", "tx_hash": row.hash, "predicted_execution_time_ms": 0}

    def _run(self) -> None:
        self.sequencer.run(self.loop.time(), self._executed)

    def _executed(self, row: Row) -> None:
        self.flush()
        raw = lighter_wire.convert(lighter_accounts.transaction(row, 0x11), lighter_wire.RawTx)
        for channel in list(self.channels):
            channel.tell_transaction(raw)
