"""An account's channels: each begins with what is there and goes on with what changed.

`account_all`, `user_stats`, `account_all_trades` and `account_all_positions` ask for no token, the others do. Trades
are never replayed: their first frame is empty.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import msgspec

from services.simulator.connection import Connection
from services.simulator.dialects.lighter import accounts
from services.simulator.dialects.lighter.holders import Holders, Row
from services.simulator.dialects.lighter.printing import Json
from services.simulator.dialects.lighter.trades import user_trade
from services.simulator.exchange.core import Exchange
from services.simulator.exchange.terms import Terms
from services.simulator.exchange.values import (
    MICRO,
    Event,
    Funded,
    Liquidated,
    Moved,
    Order,
    OrderChanged,
    SettingChanged,
    Traded,
    TwapChanged,
)
from services.simulator.faults import Frame

OPEN = frozenset({"account_all", "user_stats", "account_all_trades", "account_all_positions"})
CLOSED = frozenset({
    "account_all_orders", "account_orders", "account_market", "account_tx", "account_all_assets",
    "account_spot_avg_entry_prices", "notification", "pool_data", "rfq",
})  # fmt: skip
STATS_CLOCK_S = 1.0
encode = msgspec.json.Encoder().encode
Topic = tuple[str, str, int]
"""Channel, market (empty but for account_orders and account_market), account."""


def topic_of(name: str, rest: str) -> Topic | None:
    """Return the topic of a channel's name and the rest of it, None when it is none of an account's."""
    parts = rest.split("/")
    wanted = 2 if name in ("account_orders", "account_market") else 1
    if len(parts) != wanted or not all(part.isdigit() and len(part) <= 15 for part in parts):
        return None
    return name, parts[0] if wanted == 2 else "", int(parts[-1])


class AccountChannels:
    """Who watches which account, and what they are told."""

    def __init__(
        self, exchange: Exchange, holders: Holders, symbols: dict[str, str], height: Callable[[], int],
        now_ms: Callable[[], int],
    ) -> None:  # fmt: skip
        """Take where the states are; `symbols` names markets."""
        self._exchange = exchange
        self._holders = holders
        self._symbols = symbols
        self._height = height
        self._now_ms = now_ms
        self._topics: defaultdict[Topic, dict[int, Connection]] = defaultdict(dict)
        self._nonce = 3_693_029_263
        self._stats_due = 0.0
        self._stats: dict[int, bytes] = {}

    def add(self, connection: Connection, topic: Topic) -> None:
        """Begin to tell a connection."""
        self._topics[topic][connection.number] = connection
        connection.send(self._frame(topic, self._first(topic), "subscribed"))

    def remove(self, connection: Connection, topic: Topic) -> None:
        """Stop telling."""
        self._topics[topic].pop(connection.number, None)
        if not self._topics[topic]:
            del self._topics[topic]

    def _frame(self, topic: Topic, body: dict[str, Json], kind: str) -> Frame:
        name, market, account = topic
        shown = f"{name}:{market}" if market else f"{name}:{account}"
        whole = {"channel": shown} | body | {"type": f"{kind}/{name}"}
        return Frame(encode(whole), name, market, "snapshot" if kind == "subscribed" else "data", private=True)

    def _first(self, topic: Topic) -> dict[str, Json]:
        name, market, number = topic
        account = self._exchange.account(number)
        if name == "account_all":
            spans = {f"{span}_{what}": 0 for span in ("daily", "weekly", "monthly", "total")
                     for what in ("trades_count", "volume")}  # fmt: skip
            volume = 0.0 if account is None else account.lifetime / MICRO
            return {"account": number} | spans | {
                "total_volume": volume, "funding_histories": {}, "positions": self._positions(number), "shares": [],
                "trades": {},
            }  # fmt: skip
        if name == "account_all_positions":
            return {"positions": self._positions(number), "shares": []}
        if name == "account_all_trades":
            return self._volumes(number) | {"trades": {}}
        if name == "user_stats":
            return self._user_stats(number)
        if name in ("account_all_orders", "account_orders"):
            rows = [] if account is None else list(account.orders.values())
            chosen = [item for item in rows if market in ("", item.wanted.market)]
            body: dict[str, Json] = {"orders": self._orders(chosen, snapshot=True)}
            return body if name == "account_all_orders" else {"account": number, "nonce": self._next()} | body
        if name == "account_market":
            held = {} if account is None else self._positions(number).get(market, {})
            rows = [] if account is None else [o for o in account.orders.values() if o.wanted.market == market]
            return {"account": number, "position": held, "orders": self._orders(rows, snapshot=True), "trades": []}
        if name == "account_all_assets":
            assets = {} if account is None else {"3": accounts.asset(self._exchange.state, account)}
            return {"assets": assets, "timestamp": self._now_ms()}
        if name == "notification":
            return {"notifs": []}
        return {}

    def _next(self) -> int:
        self._nonce += 1
        return self._nonce

    def _positions(self, number: int, markets: set[str] | None = None) -> dict[str, Json]:
        account = self._exchange.account(number)
        if account is None:
            return {}
        chosen = accounts.known_markets(account) if markets is None else sorted(markets, key=int)
        state = self._exchange.state
        return {market: accounts.position(state, account, market, self._symbols[market]) for market in chosen}

    def _orders(self, orders: list[Order], *, snapshot: bool) -> dict[str, Json]:
        rows: defaultdict[str, list[Json]] = defaultdict(list)
        for item in orders[::-1] if snapshot else orders:
            terms = self._exchange.state.terms(item.wanted.market)
            rows[item.wanted.market].append(accounts.order(item, terms, self._height(), snapshot=snapshot))
        return dict(rows)

    def _volumes(self, number: int) -> dict[str, Json]:
        account = self._exchange.account(number)
        volume: Json = 0 if account is None or not account.lifetime else account.lifetime / MICRO
        return {"daily_volume": volume, "monthly_volume": volume, "total_volume": volume, "weekly_volume": volume}

    def _user_stats(self, number: int) -> dict[str, Json]:
        account = self._exchange.account(number)
        if account is None:
            return {"stats": {}}
        holder = self._holders.get(number)
        return {"stats": accounts.stats(self._exchange.state, account, holder), "timestamp": self._now_ms()}

    def tick(self, now: float) -> None:
        """Send figures that changed; `now` in monotonic seconds."""
        if now < self._stats_due:
            return
        self._stats_due = now + STATS_CLOCK_S
        for topic in [item for item in self._topics if item[0] == "user_stats"]:
            body = self._user_stats(topic[2])
            printed = encode(body.get("stats"))
            if self._stats.get(topic[2]) != printed:
                self._stats[topic[2]] = printed
                self._tell(topic, body)

    def _tell(self, topic: Topic, body: dict[str, Json]) -> None:
        held = self._topics.get(topic)
        if held:
            frame = self._frame(topic, body, "update")
            for connection in list(held.values()):
                connection.send(frame)

    # -- what happened

    def executed(self, row: Row) -> None:
        """Tell that a transaction was carried out."""
        wallet = self._holders.get(row.account).wallet
        self._tell(("account_tx", "", row.account), {"txs": [accounts.transaction(row, wallet)]})

    def publish(self, events: list[Event]) -> None:
        """Tell everyone what happened: orders and trades first, positions behind them."""
        if not self._topics:
            return
        orders: defaultdict[int, dict[int, Order]] = defaultdict(dict)
        trades: defaultdict[int, defaultdict[str, list[Json]]] = defaultdict(lambda: defaultdict(list))
        moved: defaultdict[int, set[str]] = defaultdict(set)
        money: set[int] = set()
        state = self._exchange.state
        for event in events:
            if isinstance(event, OrderChanged):
                if accounts.is_shown(event.order):
                    orders[event.order.account][event.order.oid] = event.order
                    moved[event.order.account].add(event.order.wanted.market)
            elif isinstance(event, Traded):
                row = user_trade(event.trade, self._height(), _decimals(state.terms(event.trade.market)))
                for party in event.trade.parties():
                    trades[party.account][event.trade.market].insert(0, row)
                    moved[party.account].add(event.trade.market)
                    money.add(party.account)
            elif isinstance(event, (Funded, SettingChanged)):
                moved[event.account].add(event.market)
                money.add(event.account)
            elif isinstance(event, (Moved, Liquidated)):
                money.add(event.account)
            elif isinstance(event, TwapChanged):
                self._tell_twap(event)
        for number, changed in orders.items():
            self._tell_orders(number, list(changed.values()))
        for number, rows in trades.items():
            self._tell(("account_all_trades", "", number), self._volumes(number) | {"trades": dict(rows)})
            self._tell(("account_all", "", number), self._all(number) | {"trades": dict(rows)})
        for number, markets in moved.items():
            held = self._positions(number, markets)
            self._tell(("account_all_positions", "", number), {"positions": held, "shares": []})
            self._tell(("account_all", "", number), self._all(number) | {"positions": held})
        for number in money:
            account = self._exchange.account(number)
            if account is not None:
                body: dict[str, Json] = {"assets": {"3": accounts.asset(state, account)}, "timestamp": self._now_ms()}
                self._tell(("account_all_assets", "", number), body)

    def _all(self, number: int) -> dict[str, Json]:
        return {"account": number, "funding_histories": {}, "positions": {}, "shares": [], "trades": {}}

    def _tell_orders(self, number: int, changed: list[Order]) -> None:
        rows = self._orders(changed, snapshot=False)
        self._tell(("account_all_orders", "", number), {"orders": rows})
        for market, printed in rows.items():
            body: dict[str, Json] = {"account": number, "nonce": self._next(), "orders": {market: printed}}
            self._tell(("account_orders", market, number), body)
            self._tell(("account_market", market, number), {"account": number, "orders": {market: printed}})

    def _tell_twap(self, event: TwapChanged) -> None:
        item = event.twap
        row = accounts.twap(item, self._exchange.state.terms(item.market), event.at_us, self._height())
        self._tell(("account_all_orders", "", item.account), {"orders": {item.market: [row]}})


def _decimals(terms: Terms) -> tuple[int, int]:
    return terms.price_decimals, terms.size_decimals
