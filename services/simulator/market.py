"""The synthetic market: a pure function of a seed, a start and the time it is advanced to.

Every asset has one reference price (a random walk in which the whole market shares a part, with rare jumps). Each
venue follows it with a basis of its own, so that the venues are correlated and not equal. Venue time is discrete:
Hyperliquid makes a block about every 70 ms, Lighter publishes a batch every 50 ms. In a block or batch some contracts
are active (majors nearly always, slow ones rarely) and their crowd (`book.Flow`) moves their book.

All books are always kept in full, whoever is subscribed; only the printing of frames depends on subscribers. So the
state at a time is the same for every set of clients, at a cost of one to two per cent of a core for some hundred
contracts (a test prints and bounds it). `advance` may be called at any times: the result depends on the last alone.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from services.simulator.book import Execution
from services.simulator.catalog import Catalog, HyperliquidListing, LighterListing
from services.simulator.chance import seeded
from services.simulator.history import HOUR_MS
from services.simulator.instrument import RATE_SCALE, Instrument, Settlement, Trade, VenueName, hourly_rate

MS = 1_000_000
REFERENCE_STEP_NS = 100 * MS
BATCH_STEP_NS = 50 * MS
FIGURES_STEP_NS = 1000 * MS
_DAY_STEPS = 86_400 * 10
_ACTIVE = {
    "hyperliquid": {"major": 0.92, "mid": 0.30, "slow": 0.05},
    "lighter": {"major": 0.85, "mid": 0.20, "slow": 0.035},
}
_TRADING = {
    "hyperliquid": {"major": 0.30, "mid": 0.10, "slow": 0.10},
    "lighter": {"major": 0.22, "mid": 0.10, "slow": 0.10},
}


@dataclass(frozen=True, slots=True)
class Block:
    """A Hyperliquid block: its time, the contracts whose touch changed, and the trades by contract, oldest first."""

    time_ms: int
    touched: list[Instrument]
    trades: list[tuple[Instrument, list[Trade]]]


@dataclass(frozen=True, slots=True)
class Delta:
    """What changed in one Lighter book: new absolute sizes by price, and its place in the chain."""

    instrument: Instrument
    bids: dict[int, int]
    asks: dict[int, int]
    begin_nonce: int
    nonce: int
    offset: int
    touched: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """A Lighter batch: time in microseconds, block height, book deltas, trades by market (oldest first)."""

    time_us: int
    height: int
    deltas: list[Delta]
    trades: list[tuple[Instrument, list[Trade]]]


@dataclass(frozen=True, slots=True)
class Figures:
    """Mark, index and funding were recomputed; `settled` says that an hour ended."""

    time_ms: int
    settled: bool


class Tape(Protocol):
    """A live venue, as the market takes it in: what arrived since the last block or batch."""

    def take(self, instrument: Instrument) -> list[Execution]:
        """Move a contract's crowd to where the venue's is, and return what the venue's crowd traded."""


Event = Block | Batch | Figures
Meeting = Callable[[Instrument, list[Execution], int], None]
"""Lets users meet the crowd after it moved: the contract, what the crowd traded, the time in nanoseconds. What comes
of it is appended to the contract's `pending` executions."""


@dataclass(slots=True)
class Reference:
    """The spot price of one asset (as a logarithm) and each venue's basis to it, as fractions.

    A basis reverts to its venue's mean; the means share a premium, since arbitrage keeps the venues together.
    """

    log: float
    rng: Random
    step: float
    mean: dict[VenueName, float] = field(default_factory=dict)
    basis: dict[VenueName, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Draw the premium of the asset's perpetuals and each venue's distance from it."""
        shared = self.rng.gauss(-1.5e-4, 3.5e-4)
        venues: tuple[VenueName, ...] = ("hyperliquid", "lighter")
        self.mean = {venue: shared + self.rng.gauss(0.0, 0.4e-4) for venue in venues}
        self.basis = dict(self.mean)

    def move(self, common: float) -> None:
        """Make a step of 100 ms."""
        rng = self.rng
        self.log += self.step * (0.55 * common + 0.83 * rng.gauss(0.0, 1.0))
        if rng.random() < 2e-5:
            self.log += rng.choice((-1, 1)) * rng.uniform(0.0008, 0.004)
        for venue, mean in self.mean.items():
            self.basis[venue] += 0.004 * (mean - self.basis[venue]) + rng.gauss(0.0, 0.3e-5)

    def price(self, venue: VenueName) -> float:
        """Return the venue's fair price in dollars."""
        return math.exp(self.log) * (1.0 + self.basis[venue])


class Market:
    """Both venues' contracts and the one clock that moves them."""

    def __init__(self, catalog: Catalog, *, seed: int, start_ns: int) -> None:
        """List everything and fill the books; `start_ns` is the wall time at which the market begins.

        Where the catalog is not invented, books begin empty and only `tapes` move them.
        """
        self.catalog = catalog
        self.seed = seed
        self.tapes: dict[VenueName, Tape] = {}
        self.now_ns = start_ns
        self.start_ms = start_ns // MS
        self.flow_on = True
        self.height = 301_813_997
        self.batches = 0
        self.blocks = 0
        self.meetings: dict[VenueName, Meeting] = {}
        self._rng = seeded(f"{seed}:market")
        self._nonce = 17_926_042_000
        self._trade_id = 26_280_867_000
        self._references = {
            asset.name: Reference(
                math.log(asset.price),
                seeded(f"{seed}:{asset.name}"),
                asset.daily_volatility / math.sqrt(_DAY_STEPS),
            )
            for asset in catalog.assets
        }
        assets = {asset.name: asset for asset in catalog.assets}
        listings: tuple[tuple[VenueName, tuple[HyperliquidListing | LighterListing, ...]], ...] = (
            ("hyperliquid", catalog.hyperliquid), ("lighter", catalog.lighter),
        )  # fmt: skip
        self.venues: dict[VenueName, dict[str, Instrument]] = {}
        for venue, rows in listings:
            made = [
                Instrument(venue, assets[row.asset], row, str(seed), self.start_ms, invented=catalog.invented)
                for row in rows
            ]
            self.venues[venue] = {instrument.key: instrument for instrument in made}
        for venue in self.venues:
            for instrument in self.venues[venue].values():
                self._open(instrument)
        self._hour = self.start_ms // HOUR_MS
        self._due = {
            "reference": start_ns + REFERENCE_STEP_NS,
            "figures": _next_second(start_ns),
            "block": start_ns + 68 * MS,
            "batch": start_ns + BATCH_STEP_NS,
        }

    def _open(self, instrument: Instrument) -> None:
        """Fill the book of a live contract and give it a few trades in the past."""
        if not instrument.live:
            return
        if not instrument.invented:
            instrument.scripted = True
            instrument.nonce, instrument.offset = self._take_nonce(instrument.rng), 400_000
            instrument.updated_us = self.now_ns // 1000
            return
        instrument.flow.fill(self._fair(instrument))
        instrument.touch = (instrument.book.best_bid(), instrument.book.best_ask())
        self._refresh(instrument, sample=False)
        instrument.nonce, instrument.offset = (
            self._take_nonce(instrument.rng),
            400_000 + instrument.rng.randrange(10**6),
        )
        instrument.updated_us = self.now_ns // 1000
        spacing = {"major": 0.4, "mid": 4.0, "slow": 40.0}[instrument.asset.pace]
        at = self.now_ns // 1000 - int(60 * spacing * 1e6)
        for _ in range(60):
            at += int(instrument.rng.expovariate(1.0) * spacing * 0.8e6)
            best = instrument.book.best_bid() if instrument.rng.random() < 0.5 else instrument.book.best_ask()
            if best is None or at >= self.now_ns // 1000:
                break
            buy = instrument.rng.random() < 0.5
            instrument.trades.append(Trade(at, best[0], max(1, best[1] // 5), buy, self._take_trade_id(instrument)))
            instrument.last = best[0]

    def next_due_ns(self) -> int:
        """Return when something next happens."""
        return min(self._due.values())

    def skip_to(self, now_ns: int) -> None:
        """Jump over a time in which nobody ran the market, such as a suspended machine."""
        shift = now_ns - self.now_ns
        if shift > 0:
            self._due = {kind: due + shift for kind, due in self._due.items()}
            self._due["figures"] = _next_second(now_ns)
            self.now_ns = now_ns

    def advance(self, to_ns: int) -> list[Event]:
        """Run everything that is due up to and including `to_ns`; return what venues would publish."""
        events: list[Event] = []
        while (at := self.next_due_ns()) <= to_ns:
            kind = min(self._due, key=self._due.__getitem__)
            self.now_ns = at
            if kind == "reference":
                self._due[kind] = at + REFERENCE_STEP_NS
                self._move_references()
            elif kind == "block":
                self._due[kind] = at + int(min(156, 45 + self._rng.expovariate(1.0) * 30)) * MS
                events.append(self._block(at))
            elif kind == "batch":
                self._due[kind] = at + BATCH_STEP_NS
                events.append(self._batch(at))
            else:
                self._due[kind] = at + FIGURES_STEP_NS
                events.append(self._figures(at))
        self.now_ns = max(self.now_ns, to_ns)
        return events

    def digest(self) -> str:
        """Return a hash over all books, figures and counters; equal seeds and times give equal digests."""
        state = hashlib.sha256()
        for venue, instruments in self.venues.items():
            for key, item in instruments.items():
                state.update(f"{venue}:{key}:{item.nonce}:{item.offset}:{item.mark}:{item.index}:".encode())
                state.update(f"{item.rate}:{item.open_interest}:{item.day.quote}:{len(item.trades)}".encode())
                state.update(repr((item.book.bid_levels(), item.book.ask_levels())).encode())
        return state.hexdigest()

    def _move_references(self) -> None:
        if not self.catalog.invented:
            return
        common = self._rng.gauss(0.0, 1.0)
        for reference in self._references.values():
            reference.move(common)

    def _fair(self, instrument: Instrument) -> float:
        reference = self._references[instrument.asset.name]
        return max(2.0, reference.price(instrument.venue) * float(10**instrument.price_decimals))

    def _take_nonce(self, rng: Random) -> int:
        self._nonce += 1 + rng.randrange(12)
        return self._nonce

    def _take_trade_id(self, instrument: Instrument) -> int:
        """Lighter counts trades over the whole venue; Hyperliquid's ids are hashes of 50 bits."""
        if instrument.venue == "hyperliquid":
            return instrument.rng.getrandbits(50)
        self._trade_id += 1 + instrument.rng.randrange(3)
        return self._trade_id

    def _record(self, instrument: Instrument, execution: Execution, time_us: int) -> Trade:
        trade_id = execution.id or self._take_trade_id(instrument)
        trade = Trade(time_us, execution.price, execution.size, execution.buy, trade_id, execution.tag)
        instrument.trades.append(trade)
        instrument.last = execution.price
        instrument.day.add(execution.price, execution.size)
        instrument.bars.add(time_us // 1000, execution.price, execution.size, trade_id)
        if instrument.invented:
            swing = instrument.rng.randrange(-3, 4)
            instrument.open_interest = max(0, instrument.open_interest + swing * execution.size // 10)
        return trade

    def _live_step(self, instrument: Instrument) -> list[Execution]:
        """Let the crowd act if it is this contract's turn; return all executions, scripted ones first."""
        executions, instrument.pending = instrument.pending, []
        tape = self.tapes.get(instrument.venue)
        if tape is not None:
            return executions + tape.take(instrument)
        pace, rng = instrument.asset.pace, instrument.rng
        if not self.flow_on or instrument.scripted or not instrument.live:
            return executions
        if rng.random() >= _ACTIVE[instrument.venue][pace]:
            return executions
        executions += instrument.flow.step(self._fair(instrument), 1 + int(rng.expovariate(0.45)))
        if rng.random() < _TRADING[instrument.venue][pace]:
            executions += instrument.flow.trade(rng.random() < 0.5, 1.0)
        return executions

    def user_trade_id(self) -> int:
        """Return Lighter's next trade id for a trade of a user."""
        self._trade_id += 1
        return self._trade_id

    def _meet(self, instrument: Instrument, at: int) -> list[Execution]:
        """Move a contract's crowd, let it meet the users, and return everything that traded."""
        executions = self._live_step(instrument)
        meeting = self.meetings.get(instrument.venue)
        if meeting is not None:
            meeting(instrument, [item for item in executions if item.tag is None], at)
            executions, instrument.pending = executions + instrument.pending, []
        return executions

    def _block(self, at: int) -> Block:
        time_ms = at // MS
        touched: list[Instrument] = []
        trades: list[tuple[Instrument, list[Trade]]] = []
        self.blocks += 1
        for instrument in self.venues["hyperliquid"].values():
            executions = self._meet(instrument, at)
            if executions:
                trades.append((instrument, [self._record(instrument, e, time_ms * 1000) for e in executions]))
            bids, asks = instrument.book.take_changes()
            if bids or asks:
                instrument.version += 1
                touch = (instrument.book.best_bid(), instrument.book.best_ask())
                if touch != instrument.touch:
                    instrument.touch = touch
                    touched.append(instrument)
        return Block(time_ms, touched, trades)

    def _batch(self, at: int) -> Batch:
        time_us = at // 1000
        deltas: list[Delta] = []
        trades: list[tuple[Instrument, list[Trade]]] = []
        self.batches += 1
        self.height += 1
        for instrument in self.venues["lighter"].values():
            executions = self._meet(instrument, at)
            if executions:
                trades.append((instrument, [self._record(instrument, e, time_us) for e in executions]))
            bids, asks = instrument.book.take_changes()
            if not bids and not asks:
                continue
            instrument.version += 1
            begin, instrument.nonce = instrument.nonce, self._take_nonce(instrument.rng)
            instrument.offset += 1 + instrument.rng.randrange(12)
            instrument.updated_us = time_us
            touch = (instrument.book.best_bid(), instrument.book.best_ask())
            deltas.append(
                Delta(
                    instrument,
                    bids,
                    asks,
                    begin,
                    instrument.nonce,
                    instrument.offset,
                    touch != instrument.touch,
                )
            )
            instrument.touch = touch
        return Batch(time_us, self.height, deltas, trades)

    def _figures(self, at: int) -> Figures:
        """Recompute mark, index, premium and the running funding; settle when a whole hour has come."""
        time_ms = at // MS
        seconds = time_ms // 1000
        settled, self._hour = time_ms // HOUR_MS != self._hour, time_ms // HOUR_MS
        for venue, instruments in self.venues.items():
            if venue == "hyperliquid" and seconds % 3 and not settled:
                continue
            for instrument in instruments.values():
                if instrument.live and not instrument.scripted:
                    self._refresh(instrument, sample=seconds % (60 if venue == "lighter" else 6) == 0)
                if settled:
                    self._settle(instrument, time_ms - time_ms % HOUR_MS)
        return Figures(time_ms, settled)

    def _refresh(self, instrument: Instrument, *, sample: bool) -> None:
        reference = self._references[instrument.asset.name]
        instrument.index = max(1, int(math.exp(reference.log) * 10**instrument.price_decimals))
        mid2 = instrument.mid()
        if mid2 is None:
            return
        gap = mid2 / 2 - instrument.index
        instrument.mark_offset += 0.02 * (gap - instrument.mark_offset)
        instrument.mark = max(1, int(instrument.index + (instrument.mark_offset + gap) / 2))
        if not sample:
            return
        dollars = 20_000 if instrument.name in ("BTC", "ETH") else 6_000
        impact = instrument.impact(dollars)
        if impact is not None:
            over = max(impact[0] - instrument.index, 0) - max(instrument.index - impact[1], 0)
            instrument.premium = over * RATE_SCALE // instrument.index
            instrument.samples.append(instrument.premium)
            instrument.rate = hourly_rate(sum(instrument.samples) // len(instrument.samples))

    def _settle(self, instrument: Instrument, time_ms: int) -> None:
        average = sum(instrument.samples) // len(instrument.samples)
        rate = instrument.rate if instrument.live else 0
        instrument.settled = Settlement(time_ms + 1 + instrument.rng.randrange(118), rate, average)
        instrument.fundings.append(instrument.settled)
        instrument.samples = [instrument.premium]
        instrument.day.roll(instrument.last)
        hour = time_ms // HOUR_MS
        if hour - 24 <= self.start_ms // HOUR_MS and instrument.live and instrument.invented:
            past = max(1, int(instrument.past.at_hour(hour - 24) * 10**instrument.price_decimals))
            instrument.day_open = past - past % instrument.tick(past)


def _next_second(at_ns: int) -> int:
    return at_ns - at_ns % FIGURES_STEP_NS + FIGURES_STEP_NS
