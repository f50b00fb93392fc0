"""Hyperliquid's private half: an exchange over the market, the desk that carries out actions, and who is told.

`HyperliquidPrivate` is what the public face, the HTTP door and the control calls hold. Everything that happens passes
through `flush`: it is written down, remembered and published, in that order.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from services.simulator.acks import Spoil, maintenance, spoil
from services.simulator.config import Config
from services.simulator.connection import Rim
from services.simulator.dialects.hyperliquid.account_info import AccountInfo
from services.simulator.dialects.hyperliquid.actions import Signed, read_envelope
from services.simulator.dialects.hyperliquid.desk import Desk
from services.simulator.dialects.hyperliquid.members import Members
from services.simulator.dialects.hyperliquid.money import hex_address
from services.simulator.dialects.hyperliquid.user_channels import UserChannels
from services.simulator.journal import Journal
from services.simulator.market import Block, Event, Figures, Market
from services.simulator.records import Records
from services.simulator.street import now_us, open_exchange

Json = object
Answered = Callable[[int, Json, Spoil], None]
"""Takes the HTTP status and body of an answer, and what the faults do to it."""
OVERLOADED = 429
encode = msgspec.json.Encoder().encode


class HyperliquidPrivate:
    """Accounts, orders and actions of one simulated Hyperliquid."""

    def __init__(self, market: Market, rim: Rim, config: Config) -> None:
        """Open an exchange over a market."""
        self.exchange = open_exchange(market, "hyperliquid")
        self.members = Members(config.hyperliquid_requests_max)
        self.records = Records()
        self.journal = Journal()
        self.info = AccountInfo(self.exchange, self.members, self.records, market)
        self.channels = UserChannels(self.exchange, self.members, self.info)
        self.desk = Desk(self.exchange, self.members, market, rim.clock, self.journal)
        self.desk.ack_s = config.hyperliquid_ack_ms / 1000
        self._market = market
        self._rim = rim

    def read(self, body: Json) -> Signed:
        """Read a posted body. Raises UnprocessableError."""
        self.journal.write(
            now_us(self._market), "received", 0, {"body": encode(body).decode(), "wall_ns": self._rim.clock.time_ns()}
        )
        return read_envelope(body)

    def submit(self, signed: Signed, channel: str, done: Answered) -> None:
        """Carry out an action with the next block and answer; `channel` is the path or `ws`."""
        mode = maintenance(self._rim, channel, signed.kind)
        if mode and mode != "post_only":
            done(503, None, Spoil())
            return
        self.desk.trading.post_only = mode == "post_only"

        def answered(body: dict[str, Json]) -> None:
            spoiled = spoil(self._rim, channel, signed.kind)
            if spoiled != Spoil():
                what = "lost" if spoiled.lost else "error" if spoiled.error else "late"
                self.journal.write(now_us(self._market), "fault", 0, {"answer": what, "nonce": signed.nonce})
            if spoiled.error is not None and spoiled.status == 200:
                done(200, {"status": "err", "response": spoiled.text or "Internal error"}, spoiled)
            elif spoiled.error is not None:
                done(spoiled.status, None, spoiled)
            else:
                done(200, body, spoiled)

        if not self.desk.submit(signed, answered):
            done(OVERLOADED, None, Spoil())

    def on_event(self, event: Event) -> None:
        """Follow the market: blocks for actions, figures for triggers, liquidations and funding."""
        if isinstance(event, Block):
            self.desk.block()
        elif isinstance(event, Figures):
            at = now_us(self._market)
            if event.settled:
                for name, instrument in self._market.venues["hyperliquid"].items():
                    self.exchange.settle_hour(name, instrument.settled.rate, at)
            self.exchange.marked(at)
        self.flush()

    def tick(self, now: float) -> None:
        """Do what is due; `now` in monotonic seconds."""
        self.desk.tick(now, self.flush)
        self.channels.tick(now)

    def flush(self) -> None:
        """Write down, remember and publish what happened."""
        events = self.exchange.take_events()
        for event in events:
            self.journal.note(event)
            self.records.note(event)
        if events:
            self.channels.publish(events)

    # -- control

    def take_money(self, source: int, amount: int, pool: str) -> None:
        """Withdraw whatever the margin needs: what is left may be liquidated."""
        self.exchange.deposit(source, -amount, now_us(self._market), pool, "withdraw")
        self.flush()

    def move_money(self, source: int, target: int | None, amount: int, pools: tuple[str, str], fee: int) -> bool:
        """Withdraw, or move to an account or a wallet; False when the source cannot spare it."""
        at = now_us(self._market)
        if target is None:
            moved = self.exchange.withdraw(source, amount, fee, at, pools[0])
        else:
            kind = "internalTransfer" if source != target else "accountClassTransfer"
            moved = self.exchange.transfer(source, target, amount, at, pools=pools, kind=kind, fee=fee)
        self.flush()
        return moved

    def open_account(self, address: int, amount: int, pool: str, volume: int, tier: str) -> dict[str, Json]:
        """Make an account if it is new, and bring it money and a trading history."""
        at = now_us(self._market)
        account = self.exchange.open_account(address)
        if tier:
            account.tier = tier
        if amount:
            self.exchange.deposit(address, amount, at, pool)
        account.lifetime += volume
        self.flush()
        return {"venue": "hyperliquid", "account": hex_address(address), "cash": dict(account.cash)}
