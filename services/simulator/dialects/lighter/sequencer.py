"""Transactions on their way: admitted at once, queued for as long as the account's tier says, then carried out.

HTTP 200 means admitted: the nonce has moved, nothing else has. What the sequencer then refuses is told nowhere but in
the transaction itself (status 2 with an application error in `event_info.ae`): an order whose client id is in use, a
reduce-only order without a position, a cancel of what is not there.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from services.simulator.crypto.ethereum import recover_text
from services.simulator.dialects.lighter import checks, transactions
from services.simulator.dialects.lighter.holders import Approval, Holder, Holders, Row
from services.simulator.dialects.lighter.refusals import MESSAGES, RefusedError
from services.simulator.dialects.lighter.sampling import Sampler
from services.simulator.dialects.lighter.transactions import Transaction
from services.simulator.exchange.account import Account
from services.simulator.exchange.core import Exchange
from services.simulator.exchange.terms import Fraction, Setting
from services.simulator.exchange.values import Outcome
from services.simulator.market import Market
from services.simulator.street import now_us

QUEUE_MAX = 20_000
"""Transactions that may be queued; one more is answered 429 (21506 is its documented code, never captured)."""
LEAST_DELAY_MS = 5
_DELAYS_MS = {"standard": (300, 200), "plus": (300, 200), "premium": (200, 0)}
"""By tier: for takers; for makers and cancels (venue docs, mid-2026)."""
_SCHEDULE_MS = (5 * 60_000, 15 * 86_400_000)
SCHEDULE_SLACK_MS = 10_000
_NO_WALLET = frozenset({transactions.TRANSFER, transactions.APPROVE_INTEGRATOR})
USDC = 3


@dataclass(frozen=True, slots=True, order=True)
class Queued:
    """A transaction that was admitted and waits for its time (monotonic seconds)."""

    due: float
    seq: int
    tx: Transaction
    row: Row


class Sequencer:
    """Admits and carries out transactions."""

    def __init__(
        self, exchange: Exchange, holders: Holders, market: Market, sampler: Sampler, *, chain: int, delays: bool
    ) -> None:
        """Take the exchange to act on and the register of keys."""
        self._exchange = exchange
        self._holders = holders
        self._market = market
        self._sampler = sampler
        self.chain = chain
        self._delays = delays
        self._queue: list[Queued] = []
        self._seq = 9_000_000_000
        handlers: dict[int, Callable[[Transaction, Holder, int], None]] = {
            transactions.CREATE: self._create, transactions.CANCEL: self._cancel,
            transactions.CANCEL_ALL: self._cancel_all, transactions.MODIFY: self._modify,
            transactions.LEVERAGE: self._leverage, transactions.GROUPED: self._group,
            transactions.MARGIN: self._margin, transactions.CREATE_SUB: self._sub,
            transactions.TRANSFER: self._transfer, transactions.WITHDRAW: self._withdraw,
        }  # fmt: skip
        self._handlers = handlers

    # -- admission

    def read(self, type_number: int, info: object) -> Transaction:
        """Read a transaction. Raises RefusedError."""
        return transactions.read(type_number, info, self.chain)

    def check(self, tx: Transaction, nonce: int, now: float, *, protected: bool) -> None:
        """Check a transaction against the register and the market. Raises RefusedError; nothing changes."""
        holder, at_ms = self._holders.get(tx.account), now_us(self._market) // 1000
        if tx.key > 254:
            raise RefusedError(21110)
        public = tx.public_key if tx.type == transactions.CHANGE_KEY else self._holders.key(tx.account, tx.key).public
        skipping = tx.attributes.get(4) == 1
        if tx.nonce != nonce and not (skipping and nonce < tx.nonce < (1 << 47) - 1):
            raise RefusedError(21104)
        if tx.number("ExpiredAt") <= at_ms:
            raise RefusedError(21711)
        if len(tx.signature) != 80:
            raise RefusedError(21120)
        if any(public) and not self._sampler.verify(public, tx.hash, tx.signature, now):
            raise RefusedError(21120)
        self._check_wallet(tx, holder)
        self._check_business(tx, holder, at_ms, protected=protected)

    def _check_wallet(self, tx: Transaction, holder: Holder) -> None:
        """Check the wallet's own signature where one is needed; transfers within a wallet need none."""
        if tx.type != transactions.CHANGE_KEY and tx.type not in _NO_WALLET:
            return
        if tx.type in _NO_WALLET:
            other = tx.number("ToAccountIndex" if tx.type == transactions.TRANSFER else "IntegratorAccountIndex")
            strange = tx.type == transactions.APPROVE_INTEGRATOR and not self._holders.knows(other)
            if not strange and self._holders.get(other).wallet == holder.wallet:
                return
        try:
            signature = bytes.fromhex(str(tx.fields.get("L1Sig") or "").removeprefix("0x"))
        except ValueError:
            raise RefusedError(21504) from None
        if recover_text(transactions.wallet_text(tx, self.chain), signature) != holder.wallet:
            raise RefusedError(21504)

    def _check_business(self, tx: Transaction, holder: Holder, at_ms: int, *, protected: bool) -> None:
        account, fields = self._exchange.state.accounts[tx.account], tx.fields
        if tx.type == transactions.CREATE:
            order = {name: tx.number(name) for name in transactions.ORDER_FIELDS}
            checks.terms_of(self._exchange, order["MarketIndex"])
            checks.shape(order, at_ms)
            if tx.key in holder.maker_only and order["TimeInForce"] != checks.POST_ONLY:
                raise RefusedError(21515)
            wanted = checks.wanted_of(order, tx.attributes, holder, at_ms)
            checks.order(self._exchange, account, order, wanted, protected=protected)
        elif tx.type == transactions.GROUPED:
            checks.group(tx.orders, tx.number("GroupingType"), at_ms)
            first = tx.orders[0]
            wanted = checks.wanted_of(first, tx.attributes, holder, at_ms)
            checks.order(self._exchange, account, first, wanted, protected=protected)
        elif tx.type in (transactions.CANCEL, transactions.MODIFY):
            checks.terms_of(self._exchange, tx.number("MarketIndex"))
            if tx.type == transactions.MODIFY and not 1 <= tx.number("Price") <= checks.PRICE_MAX:
                raise RefusedError(21702)
        elif tx.type == transactions.CANCEL_ALL:
            self._check_cancel_all(tx, at_ms)
        elif tx.type == transactions.LEVERAGE:
            self._check_leverage(tx, account)
        elif tx.type == transactions.MARGIN:
            terms = checks.terms_of(self._exchange, tx.number("MarketIndex"))
            if tx.number("Direction") > 1:
                raise RefusedError(21615)
            if not account.size(terms.market):
                raise RefusedError(21614)
            if not account.position(terms.market).isolated:
                raise RefusedError(21613)
        elif tx.type in (transactions.TRANSFER, transactions.WITHDRAW) and fields["AssetIndex"] != USDC:
            raise RefusedError(21809)

    def _check_cancel_all(self, tx: Transaction, at_ms: int) -> None:
        way, time = tx.number("TimeInForce"), tx.number("Time")
        if way > 2:
            raise RefusedError(21713)
        low, high = _SCHEDULE_MS
        if (way == 1 and not at_ms + low - SCHEDULE_SLACK_MS <= time <= at_ms + high) or (way != 1 and time):
            raise RefusedError(21714)
        if way == 1 and 5 in tx.attributes:
            raise RefusedError(21714)

    def _check_leverage(self, tx: Transaction, account: Account) -> None:
        terms = checks.terms_of(self._exchange, tx.number("MarketIndex"))
        fraction, mode = tx.number("InitialMarginFraction"), tx.number("MarginMode")
        if not terms.tiers[0].initial.num <= fraction <= 10_000:
            raise RefusedError(21113)
        if mode > 1:
            raise RefusedError(21613)
        busy = account.size(terms.market) or any(o.wanted.market == terms.market for o in account.orders.values())
        if busy and account.setting(terms).isolated != (mode == 1):
            raise RefusedError(21132)

    def admit(self, tx: Transaction, now: float) -> Row:
        """Move the nonce and queue a transaction that was checked; return what is remembered of it."""
        if len(self._queue) >= QUEUE_MAX:
            raise RefusedError(21506, "too many pending txs. Please try again later", 429)
        at = now_us(self._market)
        self._holders.advance(tx.account, tx.key, tx.nonce + 1)
        self._seq += 1
        row = Row(
            hash=tx.hash.hex(), type=tx.type, info=tx.text, account=tx.account, key=tx.key, nonce=tx.nonce,
            expire_ms=tx.number("ExpiredAt"), queued_us=at, sequence=self._seq,
        )  # fmt: skip
        self._holders.remember(row)
        if tx.type in (transactions.CHANGE_KEY, transactions.APPROVE_INTEGRATOR) or tx.type in (
            transactions.ACCOUNT_CONFIG, transactions.ASSET_CONFIG,
        ):  # fmt: skip
            self._configure(tx, at)
            row.status, row.executed_us = 2, at
        else:
            heapq.heappush(self._queue, Queued(now + self.delay_ms(tx) / 1000, self._seq, tx, row))
        return row

    def delay_ms(self, tx: Transaction) -> int:
        """Return how long a transaction waits for its account's tier and its own kind."""
        if not self._delays:
            return LEAST_DELAY_MS
        taker, maker = _DELAYS_MS.get(self._exchange.state.accounts[tx.account].tier, _DELAYS_MS["standard"])
        order: Mapping[str, object] = tx.orders[0] if tx.orders else tx.fields
        if tx.type not in (transactions.CREATE, transactions.GROUPED) or order["TimeInForce"] == checks.POST_ONLY:
            return max(LEAST_DELAY_MS, maker)
        if order["TimeInForce"] == checks.IOC:
            return taker
        bid, ask = self._exchange.touch(str(order["MarketIndex"]))
        price = int(str(order["Price"]))
        crossing = (bid is not None and price <= bid) if order["IsAsk"] else (ask is not None and price >= ask)
        return max(LEAST_DELAY_MS, taker if crossing else maker)

    def _configure(self, tx: Transaction, at: int) -> None:
        holder = self._holders.get(tx.account)
        if tx.type == transactions.CHANGE_KEY:
            self._holders.register(holder, tx.key, tx.public_key, at)
        elif tx.type == transactions.ACCOUNT_CONFIG:
            holder.trading_mode = tx.number("AccountTradingMode")
        elif tx.type == transactions.ASSET_CONFIG:
            holder.asset_modes[tx.number("AssetIndex")] = tx.number("AssetMarginMode")
        else:
            names = ("MaxPerpsTakerFee", "MaxPerpsMakerFee", "MaxSpotTakerFee", "MaxSpotMakerFee", "ApprovalExpiry")
            approval = Approval(*(tx.number(name) for name in names))
            collector = tx.number("IntegratorAccountIndex")
            if not self._holders.knows(collector):
                self._holders.stand_in(collector, at)
                self._exchange.open_account(collector, tier="standard")
            if approval.expiry_ms == 0:
                holder.approvals.pop(collector, None)
            else:
                holder.approvals[collector] = approval

    # -- execution

    def run(self, now: float, executed: Callable[[Row], None]) -> None:
        """Carry out what is due, telling of each."""
        while self._queue and self._queue[0].due <= now:
            item = heapq.heappop(self._queue)
            at = now_us(self._market)
            error = ""
            try:
                if item.tx.number("ExpiredAt") <= at // 1000:
                    raise RefusedError(21711)
                self._handlers[item.tx.type](item.tx, self._holders.get(item.tx.account), at)
            except RefusedError as refusal:
                error = msgspec.json.encode(refusal.body()).decode()
            item.row.status, item.row.executed_us, item.row.height = 2, at, self._market.height
            item.row.event = msgspec.json.encode({"ae": error}).decode()
            executed(item.row)

    def _create(self, tx: Transaction, holder: Holder, at: int) -> None:
        order = {name: tx.number(name) for name in transactions.ORDER_FIELDS}
        wanted = checks.wanted_of(order, tx.attributes, holder, at // 1000)
        account = self._exchange.state.accounts[tx.account]
        if wanted.client and wanted.client in account.clients:
            raise RefusedError(21728)
        if order["Type"] == checks.TWAP:
            minutes = max(1, (wanted.expiry_ms - at // 1000) // 60_000)
            self._exchange.begin_twap(tx.account, wanted, minutes, False, at)
            return
        if wanted.size == 0 and order["Type"] not in checks.TRIGGERED:
            raise RefusedError(21701)
        _raise(self._exchange.place(tx.account, wanted, at))

    def _group(self, tx: Transaction, holder: Holder, at: int) -> None:
        way = tx.number("GroupingType")
        account = self._exchange.state.accounts[tx.account]
        wanted = [checks.wanted_of(order, tx.attributes, holder, at // 1000) for order in tx.orders]
        if any(item.client and item.client in account.clients for item in wanted):
            raise RefusedError(21728)
        ways = {1: "parent", 2: "pair", 3: "parent_pair"}
        _raise(self._exchange.place_group(tx.account, wanted, ways[way], at)[0])

    def _order_of(self, tx: Transaction) -> int | str:
        index = tx.number("Index")
        return str(index) if index <= checks.CLIENT_MAX else index

    def _cancel(self, tx: Transaction, _holder: Holder, at: int) -> None:
        key, market = self._order_of(tx), str(tx.number("MarketIndex"))
        if self._exchange.cancel(tx.account, key, at, market) is not None:
            return
        for twap in list(self._exchange.state.twaps.values()):
            if twap.account == tx.account and key in (twap.client, twap.parent_oid):
                self._exchange.stop_twap(tx.account, twap.id, at)
                return
        raise RefusedError(21715)

    def _cancel_all(self, tx: Transaction, _holder: Holder, at: int) -> None:
        way = tx.number("TimeInForce")
        if way == 0:
            market = tx.attributes.get(5)
            self._exchange.cancel_all(tx.account, at, None if market is None else str(market))
            for twap in list(self._exchange.state.twaps.values()):
                if twap.account == tx.account and market in (None, int(twap.market)):
                    self._exchange.stop_twap(tx.account, twap.id, at)
        else:
            self._exchange.schedule_cancel(tx.account, tx.number("Time") * 1000 if way == 1 else 0)

    def _modify(self, tx: Transaction, _holder: Holder, at: int) -> None:
        order = self._exchange.find(tx.account, self._order_of(tx))
        if order is None or order.wanted.market != str(tx.number("MarketIndex")):
            raise RefusedError(21600)
        version = tx.attributes.get(8)
        if version is not None and version != order.version:
            raise RefusedError(21600)
        size, price, trigger = tx.number("BaseAmount"), tx.number("Price"), tx.number("TriggerPrice")
        self._exchange.change(order, at, size=size, price=price, trigger=trigger)

    def _leverage(self, tx: Transaction, _holder: Holder, at: int) -> None:
        setting = Setting(tx.number("MarginMode") == 1, Fraction(tx.number("InitialMarginFraction"), 10_000))
        why = self._exchange.set_leverage(tx.account, str(tx.number("MarketIndex")), setting, at)
        if why:
            raise RefusedError(21132 if why == "mode" else 21133)

    def _margin(self, tx: Transaction, _holder: Holder, at: int) -> None:
        amount = tx.number("USDCAmount") * (1 if tx.number("Direction") else -1)
        why = self._exchange.move_margin(tx.account, str(tx.number("MarketIndex")), amount, at)
        if why:
            raise RefusedError({"empty": 21614, "cross": 21613, "account": 21301}.get(why, 21133))

    def _sub(self, _tx: Transaction, holder: Holder, at: int) -> None:
        sub = self._holders.open_sub(self._holders.get(holder.master), at)
        self._exchange.open_account(sub.index, master=holder.master, tier=self._tier(holder.master))

    def _tier(self, index: int) -> str:
        return self._exchange.state.accounts[index].tier

    def _transfer(self, tx: Transaction, _holder: Holder, at: int) -> None:
        target, amount, fee = tx.number("ToAccountIndex"), tx.number("Amount"), tx.number("USDCFee")
        self._holders.get(target)
        if not self._exchange.transfer(tx.account, target, amount, at, pools=("", ""), kind="transfer", fee=fee):
            raise RefusedError(21119)

    def _withdraw(self, tx: Transaction, _holder: Holder, at: int) -> None:
        if not self._exchange.withdraw(tx.account, tx.number("Amount"), 0, at):
            raise RefusedError(21117)


_REASONS = {
    "reduce_only": 21732, "tick": 21702, "margin": 21739, "position": 21738, "too_many_orders": 21717,
    "bad_trigger": 21729,
}  # fmt: skip


def _raise(outcome: Outcome) -> None:
    """Raise what the sequencer writes into a transaction whose order it refused; other ends are the order's own."""
    order = outcome.order
    if order is not None and order.status == "rejected" and outcome.reason in _REASONS:
        raise RefusedError(_REASONS[outcome.reason], MESSAGES[_REASONS[outcome.reason]])
