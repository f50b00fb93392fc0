"""Lighter's private half: an exchange over the market, the register, the sequencer, and who is told."""

from __future__ import annotations

from collections.abc import Mapping

from services.simulator.acks import maintenance
from services.simulator.config import Config
from services.simulator.connection import Rim
from services.simulator.crypto.ethereum import checksummed
from services.simulator.crypto.schnorr import Verifier
from services.simulator.dialects.lighter import transactions
from services.simulator.dialects.lighter.account_channels import AccountChannels
from services.simulator.dialects.lighter.holders import TIERS, Holders, Row
from services.simulator.dialects.lighter.refusals import RefusedError
from services.simulator.dialects.lighter.sampling import Sampler
from services.simulator.dialects.lighter.sequencer import Sequencer
from services.simulator.dialects.lighter.transactions import Transaction
from services.simulator.journal import Journal
from services.simulator.market import Event, Figures, Market
from services.simulator.records import Records
from services.simulator.street import now_us, open_exchange

Json = object
BATCH_MAX = 50
OVERLOADED = 429
QUOTA_TYPES = frozenset({transactions.CREATE, transactions.MODIFY, transactions.GROUPED})
"""What consumes the premium tier's volume quota; cancels are free."""
FAUCET_USDC = 10_000_000_000
"""What the faucet gives: 10,000 dollars."""


class LighterPrivate:
    """Accounts, orders and transactions of one simulated Lighter."""

    def __init__(self, market: Market, rim: Rim, config: Config) -> None:
        """Open an exchange over a market."""
        self.exchange = open_exchange(market, "lighter")
        verifier = Verifier()
        self.holders = Holders(verifier)
        self.records = Records()
        self.journal = Journal()
        self._sampler = Sampler(verifier, config.lighter_verifications_max)
        self.sequencer = Sequencer(
            self.exchange, self.holders, market, self._sampler, chain=config.lighter_chain,
            delays=config.lighter_delays,
        )  # fmt: skip
        symbols = {key: item.name for key, item in market.venues["lighter"].items()}
        self.symbols = symbols
        self.channels = AccountChannels(
            self.exchange, self.holders, symbols, lambda: market.height, lambda: market.now_ns // 1_000_000
        )
        self._market = market
        self._rim = rim
        self._sends_max = config.lighter_sends_max

    def height(self) -> int:
        """Return the block height."""
        return self._market.height

    def now_s(self) -> int:
        """Return the market's time in seconds."""
        return now_us(self._market) // 1_000_000

    def now_ms(self) -> int:
        """Return the market's time in milliseconds."""
        return now_us(self._market) // 1000

    def sampling(self) -> dict[str, Json]:
        """Return how signatures are verified."""
        return self._sampler.shown()

    # -- transactions

    def send(self, kinds: list[int], infos: list[Json], channel: str, *, protected: bool) -> dict[str, Json]:
        """Admit transactions, all or none; return the body of the answer. Raises RefusedError."""
        at = now_us(self._market)
        words: dict[str, object] = {"types": kinds, "infos": infos, "channel": channel}
        self.journal.write(at, "received", 0, {**words, "wall_ns": self._rim.clock.time_ns()})
        if len(kinds) != len(infos):
            raise RefusedError(21513)
        if not 0 < len(kinds) <= BATCH_MAX:
            raise RefusedError(21514)
        if maintenance(self._rim, channel, str(kinds[0])):
            raise RefusedError(29501, status=503)
        now = self._rim.clock.monotonic()
        txs = [self.sequencer.read(kind, info) for kind, info in zip(kinds, infos, strict=True)]
        try:
            rows, quota = self._admit(txs, now, protected=protected)
        except RefusedError as refusal:
            self._rim.ledger.counted("lighter", "sends", len(txs), refused=refusal.status == OVERLOADED)
            self.journal.write(at, "answered", txs[0].account, {"answer": refusal.body(), "nonce": txs[0].nonce})
            raise
        self._rim.ledger.counted("lighter", "sends", len(txs))
        waits = [self.sequencer.delay_ms(tx) for tx in txs]
        answer: dict[str, Json] = {
            "code": 200, "message": '{"ratelimit": "didn\'t use volume quota"}',
            "tx_hash": [row.hash for row in rows], "predicted_execution_time_ms": at // 1000 + max(waits),
        }  # fmt: skip
        if quota is not None:
            answer["message"] = f"{quota} volume quota remaining."
            answer["volume_quota_remaining"] = quota
        if self._sends_max == 0:
            answer["message"] = '{"ratelimit": "Ratelimit is off"}'
        self.journal.write(at, "answered", txs[0].account, {"answer": answer, "nonce": txs[0].nonce})
        self.flush()
        return answer

    def _admit(self, txs: list[Transaction], now: float, *, protected: bool) -> tuple[list[Row], int | None]:
        """Return the rows of admitted transactions and what is left of the volume quota, None where none was used."""
        first = txs[0]
        holder = self.holders.get(first.account)
        if any((tx.account, tx.key) != (first.account, first.key) for tx in txs):
            raise RefusedError(21121)
        nonce = self.holders.nonce(first.account, first.key)
        for place, tx in enumerate(txs):
            if place and tx.nonce <= txs[place - 1].nonce:
                raise RefusedError(21105)
            self.sequencer.check(tx, nonce if place == 0 else txs[place - 1].nonce + 1, now, protected=protected)
        tier = self.exchange.state.accounts[first.account].tier
        self.holders.allow(holder, tier, first.type, len(txs), self._sends_max, now)
        quota: int | None = None
        spending = sum(tx.type in QUOTA_TYPES for tx in txs)
        if self._sends_max and tier == "premium" and spending:
            accounts = [self.exchange.state.accounts[item.index] for item in self.holders.all_of(holder.wallet)]
            quota = self.holders.take_quota(holder, sum(item.lifetime for item in accounts), spending, now)
        return [self.sequencer.admit(tx, now) for tx in txs], quota

    # -- the world moves

    def on_event(self, event: Event) -> None:
        """Follow the market's figures: triggers, liquidations, funding."""
        if isinstance(event, Figures):
            at = now_us(self._market)
            if event.settled:
                for name, instrument in self._market.venues["lighter"].items():
                    self.exchange.settle_hour(name, instrument.settled.rate, at)
            self.exchange.marked(at)
        self.flush()

    def tick(self, now: float) -> None:
        """Carry out what is due; `now` in monotonic seconds."""
        self.sequencer.run(now, self._executed)
        self.channels.tick(now)

    def _executed(self, row: Row) -> None:
        self.journal.write(row.executed_us, "executed", row.account, {"hash": row.hash, "event": row.event})
        self.flush()
        self.channels.executed(row)

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
            kind = "transfer"
            moved = self.exchange.transfer(source, target, amount, at, pools=pools, kind=kind, fee=fee)
        self.flush()
        return moved

    def open_account(
        self, wallet: int, amount: int, volume: int, tier: str, keys: Mapping[int, str], index: int | None
    ) -> dict[str, Json]:
        """Make a wallet's account if it is new, bring it money, register keys. Raises ValueError that teaches."""
        if tier and tier not in TIERS:
            raise ValueError(f"tier: {tier!r}; one of {', '.join(TIERS)} would pass")
        at = now_us(self._market)
        holder = self.holders.open(wallet, at, index)
        account = self.exchange.open_account(holder.index, tier=tier or "standard")
        if tier:
            account.tier = tier
        for slot, text in keys.items():
            raw = bytes.fromhex(text.removeprefix("0x"))
            if len(raw) != 40 or not 0 <= slot < 255:
                raise ValueError(f"api_keys: {slot}: {text!r}; a slot of 0 to 254 and 80 hexadecimal digits would pass")
            self.holders.register(holder, slot, raw, at)
        if amount:
            self.exchange.deposit(holder.index, amount, at)
        account.lifetime += volume
        self.flush()
        return {
            "venue": "lighter", "account": holder.index, "l1_address": checksummed(wallet), "cash": dict(account.cash),
            "api_keys": {str(slot): key.public.hex() for slot, key in holder.keys.items()},
        }  # fmt: skip
