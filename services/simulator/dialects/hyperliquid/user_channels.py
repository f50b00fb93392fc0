"""A user's own channels: what happened goes out at once, states go out whole every few seconds.

`orderUpdates`, `userEvents` and `notification` begin without a snapshot and name no user in their frames; the others
begin with one. An order that fills as it arrives is told in one frame with two rows, open and filled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import msgspec

from services.simulator.connection import Connection
from services.simulator.dialects.hyperliquid import accounts
from services.simulator.dialects.hyperliquid.account_info import FILLS_MAX, AccountInfo
from services.simulator.dialects.hyperliquid.members import Members
from services.simulator.dialects.hyperliquid.money import hex_address
from services.simulator.dialects.hyperliquid.printing import Json
from services.simulator.dialects.hyperliquid.subscriptions import SNAPSHOTS, Subscription
from services.simulator.exchange.core import Exchange
from services.simulator.exchange.values import (
    Event,
    Funded,
    Liquidated,
    Moved,
    Order,
    OrderChanged,
    Party,
    Trade,
    Traded,
    TwapChanged,
    copy_of,
)
from services.simulator.faults import Frame

STATE_CLOCK_S = 4.5
ASSET_CLOCK_S = 1.0
_STATES = frozenset({
    "clearinghouseState", "openOrders", "spotState", "allDexsClearinghouseState", "twapStates", "webData3",
})  # fmt: skip
encode = msgspec.json.Encoder().encode
Topic = tuple[int, str]


class UserChannels:
    """Who watches which user, and what they are told."""

    def __init__(self, exchange: Exchange, members: Members, info: AccountInfo) -> None:
        """Take where the states are."""
        self._exchange = exchange
        self._members = members
        self._info = info
        self._topics: defaultdict[Topic, dict[tuple[int, str], tuple[Connection, Subscription]]] = defaultdict(dict)
        self._state_due = 0.0
        self._asset_due = 0.0
        self._said: set[int] = set()

    def add(self, connection: Connection, subscription: Subscription) -> None:
        """Begin to tell a connection; the snapshot goes out at once."""
        topic = (int(subscription.user, 16), subscription.type)
        self._topics[topic][connection.number, subscription.text] = (connection, subscription)
        data = self._first(topic[0], subscription)
        if data is not None:
            connection.send(_frame(subscription.type, data, subscription.coin, "snapshot"))

    def remove(self, connection: Connection, subscription: Subscription) -> None:
        """Stop telling."""
        topic = (int(subscription.user, 16), subscription.type)
        self._topics[topic].pop((connection.number, subscription.text), None)
        if not self._topics[topic]:
            del self._topics[topic]

    def users_of(self, remote: str) -> set[int]:
        """Return which users are watched from an address."""
        return {
            user for (user, _), held in self._topics.items()
            if any(connection.remote == remote for connection, _ in held.values())
        }  # fmt: skip

    def _first(self, user: int, subscription: Subscription) -> Json:
        """Return the data of a subscription's first frame, None when it has none."""
        kind, name = subscription.type, hex_address(user)
        if kind in _STATES or kind == "activeAssetData":
            return self._state(user, subscription)
        if kind not in SNAPSHOTS:
            return None
        info, snapshot = self._info, {"isSnapshot": True, "user": name}
        if kind == "userFills":
            rows = info.fills(user, aggregate=bool(subscription.fields["aggregateByTime"]))[:FILLS_MAX]
            return snapshot | {"fills": rows}
        found: dict[str, tuple[str, Json]] = {
            "userFundings": ("fundings", info.fundings(user)),
            "userNonFundingLedgerUpdates": ("nonFundingLedgerUpdates", info.ledger(user)),
            "userHistoricalOrders": ("orderHistory", info.order_history(user)),
            "userTwapSliceFills": ("twapSliceFills", info.slice_fills(user)),
            "userTwapHistory": ("history", info.twap_history(user)),
        }
        key, value = found[kind]
        return snapshot | {key: value}

    def _state(self, user: int, subscription: Subscription) -> Json:
        """Return a whole state."""
        kind, name, info = subscription.type, hex_address(user), self._info
        dex = str(subscription.fields.get("dex") or "")
        if kind == "clearinghouseState":
            return {"dex": dex, "user": name, "clearinghouseState": info.clearinghouse(user, dex)}
        if kind == "openOrders":
            return {"dex": dex, "user": name, "orders": info.frontend_orders(user, dex)}
        if kind == "spotState":
            return {"user": name, "spotState": info.spot(user)}
        if kind == "allDexsClearinghouseState":
            names = self._info.dex_names()
            return {"user": name, "clearinghouseStates": [[item, info.clearinghouse(user, item)] for item in names]}
        if kind == "twapStates":
            return {"dex": dex, "user": name, "states": info.twap_states(user)}
        if kind == "activeAssetData":
            return info.active_asset(user, subscription.coin)
        agent = next((item for item in self._members.agents_of(user) if not item.name), None)
        return {
            "userState": {
                "agentAddress": None if agent is None else hex_address(agent.address),
                "agentValidUntil": None if agent is None else agent.valid_until_ms, "serverTime": info.time_ms(),
                "cumLedger": accounts.usd(self._put_in(user)), "isVault": False, "user": name,
                "abstraction": info.abstraction(user),
            },
            "perpDexStates": [
                {"totalVaultEquity": "0.0", "perpsAtOpenInterestCap": [], "leadingVaults": []}
                for _ in self._info.dex_names()
            ],
        }  # fmt: skip

    def _put_in(self, user: int) -> int:
        account = self._exchange.account(user)
        return 0 if account is None else sum(account.cash.values())

    def tick(self, now: float) -> None:
        """Send states that are due; `now` in monotonic seconds."""
        if now >= self._state_due:
            self._state_due = now + STATE_CLOCK_S
            self._resend(_STATES)
        if now >= self._asset_due:
            self._asset_due = now + ASSET_CLOCK_S
            self._resend({"activeAssetData"})

    def _resend(self, kinds: Iterable[str]) -> None:
        for (user, kind), held in list(self._topics.items()):
            if kind in kinds:
                for connection, subscription in list(held.values()):
                    data = self._state(user, subscription)
                    if data is not None:
                        connection.send(_frame(kind, data, subscription.coin))

    # -- what happened

    def publish(self, events: list[Event]) -> None:
        """Tell everyone what happened, one frame a user and channel."""
        if not self._topics:
            return
        terms = self._exchange.state.terms
        orders: defaultdict[int, list[Order]] = defaultdict(list)
        fills: defaultdict[int, list[tuple[Trade, Party]]] = defaultdict(list)
        for event in events:
            if isinstance(event, OrderChanged):
                orders[event.order.account].append(event.order)
            elif isinstance(event, Traded):
                for party in event.trade.parties():
                    fills[party.account].append((event.trade, party))
            elif isinstance(event, Funded):
                body = accounts.funding(event, terms(event.market))
                self._tell(event.account, "userFundings", {"user": hex_address(event.account), "fundings": [body]})
                self._tell(event.account, "userEvents", {"funding": body})
            elif isinstance(event, Moved):
                self._tell_ledger(event.account, accounts.ledger_row(event))
            elif isinstance(event, Liquidated):
                self._tell_liquidation(event)
            elif isinstance(event, TwapChanged):
                row = accounts.twap_history(event.twap, event.at_us, terms(event.twap.market))
                user = event.twap.account
                self._tell(user, "userTwapHistory", {"user": hex_address(user), "history": [row]})
                self._tell(user, "userEvents", {"twapHistory": [row]})
        for user, changed in orders.items():
            self._tell_orders(user, changed)
        for user, pairs in fills.items():
            self._tell_fills(user, pairs)

    def _tell(self, user: int, kind: str, data: Json, market: str = "") -> None:
        held = self._topics.get((user, kind))
        if held:
            frame = _frame("user" if kind == "userEvents" else kind, data, market)
            for connection, _ in list(held.values()):
                connection.send(frame)

    def _tell_ledger(self, user: int, row: Json) -> None:
        data = {"user": hex_address(user), "nonFundingLedgerUpdates": [row]}
        self._tell(user, "userNonFundingLedgerUpdates", data)

    def _tell_liquidation(self, event: Liquidated) -> None:
        self._tell_ledger(event.account, accounts.liquidation_row(event, self._exchange.state))
        self._tell(event.account, "userEvents", {"liquidation": {
            "lid": event.id, "liquidator": "0x" + "0" * 40, "liquidated_user": hex_address(event.account),
            "liquidated_ntl_pos": accounts.usd(event.notional), "liquidated_account_value": accounts.usd(event.value),
        }})  # fmt: skip

    def _tell_orders(self, user: int, changed: list[Order]) -> None:
        """Tell of orders; the venue's own cancels are events of the user as well."""
        terms = self._exchange.state.terms
        rows: list[Json] = []
        history: list[Json] = []
        for item in changed:
            if item.status == "waiting":
                continue
            market = terms(item.wanted.market)
            for shown in _with_opening(item):
                full = accounts.order_status(shown, market)
                history.append(full)
                rows.append(full | {"order": accounts.order(shown, market)})
        if rows:
            self._tell(user, "orderUpdates", rows)
            self._tell(user, "userHistoricalOrders", {"user": hex_address(user), "orderHistory": history})
        gone: list[Json] = [
            {"coin": item.wanted.market, "oid": item.oid} for item in changed
            if item.status == "canceled" and item.reason not in ("user", "reduce_only", "no_liquidity", "modified")
        ]  # fmt: skip
        if gone:
            self._tell(user, "userEvents", {"nonUserCancel": gone})

    def _tell_fills(self, user: int, pairs: list[tuple[Trade, Party]]) -> None:
        terms, name = self._exchange.state.terms, hex_address(user)
        plain_rows = self._info.fill_rows(pairs, aggregate=False)
        self._tell(user, "userEvents", {"fills": plain_rows})
        for connection, subscription in list(self._topics.get((user, "userFills"), {}).values()):
            aggregate = bool(subscription.fields["aggregateByTime"])
            rows = self._info.fill_rows(pairs, aggregate=True) if aggregate else plain_rows
            connection.send(_frame("userFills", {"user": name, "fills": rows}))
        slices: list[Json] = [
            {"fill": accounts.fill(trade, party, terms(trade.market)), "twapId": party.twap}
            for trade, party in pairs if party.twap is not None
        ]  # fmt: skip
        if slices:
            self._tell(user, "userTwapSliceFills", {"user": name, "twapSliceFills": slices})
            self._tell(user, "userEvents", {"twapSliceFills": slices})
        for trade, party in pairs:
            if not party.taker:
                text = accounts.words_of_fill(trade, party, terms(trade.market))
                self._tell(user, "notification", {"notification": text})


def _with_opening(item: Order) -> list[Order]:
    """Return an order, preceded by itself as open when it ended in the moment it arrived."""
    if item.status != "filled" or item.placed_us != item.changed_us or item.fired:
        return [item]
    opening = copy_of(item)
    opening.status, opening.left = "open", item.asked
    return [opening, item]


def _frame(channel: str, data: Json, market: str = "", kind: str = "data") -> Frame:
    name = "user" if channel == "userEvents" else channel
    return Frame(encode({"channel": name, "data": data}), name, market, kind, private=True)
