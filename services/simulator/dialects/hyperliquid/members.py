"""Who may act for whom on Hyperliquid: agents, sub-accounts, nonces, approvals, and each address's request budget."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field

from services.simulator.exchange.values import MICRO

NONCES_KEPT = 100
DAY_MS = 86_400_000
MARGIN_MS = 120_000
"""The venue refuses nonces two minutes inside the ends of its documented window (measured)."""
NAMED_AGENTS_MAX = 3
AGENT_LIFE_MS = 180 * DAY_MS
REQUEST_BUFFER = 10_000
EXHAUSTED_WAIT_MS = 10_000
BUILDERS_MAX = 10


class RefusedError(Exception):
    """The whole action is refused: HTTP 200 with status `err` and this text."""


@dataclass(slots=True)
class Agent:
    """A wallet that may sign for an account."""

    address: int
    master: int
    name: str
    valid_until_ms: int | None


@dataclass(slots=True)
class Nonces:
    """What one signer has used: the highest hundred decide the floor, duplicates are remembered for the window."""

    highest: list[int] = field(default_factory=list)
    used: set[int] = field(default_factory=set)

    def admit(self, nonce: int, now_ms: int) -> None:
        """Take a nonce. Raises RefusedError with the venue's words."""
        low, high = now_ms - 2 * DAY_MS + MARGIN_MS, now_ms + DAY_MS - MARGIN_MS
        if nonce in self.used:
            raise RefusedError(f"Invalid nonce: duplicate nonce {nonce}")
        if nonce > high:
            raise RefusedError(f"Invalid nonce: nonce too high {nonce} > {high}")
        if len(self.highest) >= NONCES_KEPT:
            low = max(low, self.highest[0] + 1)
        if nonce < low:
            raise RefusedError(f"Invalid nonce: nonce too low {nonce} < {low}")
        self.used.add(nonce)
        insort(self.highest, nonce)
        if len(self.highest) > NONCES_KEPT:
            del self.highest[0]
        if len(self.used) > 100_000:
            self.used = {item for item in self.used if item > now_ms - 2 * DAY_MS}


@dataclass(slots=True)
class Budget:
    """Requests an address has made, those it bought, and when it last made one while exhausted."""

    used: int = 0
    surplus: int = 0
    last_ms: int = 0


class Members:
    """Everything the venue knows of addresses besides money and orders."""

    def __init__(self, request_buffer: int) -> None:
        """Take how many requests an address may make before it has traded; 0 is no limit."""
        self.request_buffer = request_buffer
        self.agents: dict[int, Agent] = {}
        self.subs: dict[int, tuple[int, str]] = {}
        self.nonces: dict[int, Nonces] = {}
        self.budgets: dict[int, Budget] = {}
        self.builders: dict[int, dict[int, int]] = {}
        self.abstractions: dict[int, str] = {}
        self.referrers: dict[int, str] = {}
        self.sent: set[int] = set()

    def master_of(self, signer: int, now_ms: int) -> int:
        """Return the account a signer acts for: an agent's master, or itself."""
        agent = self.agents.get(signer)
        if agent is None:
            return signer
        if agent.valid_until_ms is not None and agent.valid_until_ms <= now_ms:
            del self.agents[signer]
            return signer
        return agent.master

    def agents_of(self, master: int) -> list[Agent]:
        """Return an account's agents."""
        return [agent for agent in self.agents.values() if agent.master == master]

    def approve_agent(self, master: int, address: int, name: str, now_ms: int) -> None:
        """Approve an agent; the same name, or no name again, replaces. An address of zero ends the unnamed agent."""
        until: int | None = None
        label, marker, suffix = name.partition(" valid_until ")
        if marker:
            if not suffix.isdigit() or not now_ms < int(suffix) <= now_ms + AGENT_LIFE_MS:
                raise RefusedError("Invalid agent valid_until")
            name, until = label, int(suffix)
        if len(name) > 16:
            raise RefusedError("Extra agent name must be between 1 and 16 characters long")
        if address in self.agents and self.agents[address].master != master:
            raise RefusedError("Extra agent already used.")
        old = next((agent for agent in self.agents_of(master) if agent.name == name), None)
        named = [agent for agent in self.agents_of(master) if agent.name]
        allowed = NAMED_AGENTS_MAX + 2 * sum(owner == master for owner, _ in self.subs.values())
        if old is None and name and len(named) >= allowed:
            raise RefusedError("Too many extra agents.")
        if old is not None:
            del self.agents[old.address]
            self.nonces.pop(old.address, None)
        if address:
            self.agents[address] = Agent(address, master, name, until)

    def admit(self, signer: int, nonce: int, now_ms: int) -> None:
        """Take a signer's nonce. Raises RefusedError."""
        self.nonces.setdefault(signer, Nonces()).admit(nonce, now_ms)

    def cap(self, volume: int) -> int:
        """Return how many requests a lifetime volume (in 1e-6) allows."""
        return self.request_buffer + volume // MICRO

    def spend(self, account: int, count: int, volume: int, now_ms: int, *, cancels: bool) -> None:
        """Count an address's requests. Raises RefusedError when it has none left and has not waited."""
        budget = self.budgets.setdefault(account, Budget())
        cap = self.cap(volume) + budget.surplus
        limit = min(cap + 100_000, 2 * cap) if cancels else cap
        if self.request_buffer and budget.used + count > limit:
            if now_ms - budget.last_ms < EXHAUSTED_WAIT_MS:
                raise RefusedError(
                    f"Too many cumulative requests sent ({budget.used + count} > {limit}) for cumulative volume traded "
                    f"${volume / MICRO:.2f}. Place taker orders to free up 1 request per USDC traded."
                )
            budget.last_ms = now_ms
        budget.used += count

    def approve_builder(self, account: int, builder: int, rate: str) -> None:
        """Approve a builder's highest fee, a text such as "0.05%"; zero ends the approval."""
        number = rate.removesuffix("%")
        whole, _, fraction = number.partition(".")
        if not rate.endswith("%") or not (whole + fraction).isdigit() or len(fraction) > 3:
            raise RefusedError("Invalid builder fee rate")
        tenths = int(whole + fraction.ljust(3, "0"))
        if tenths > 1000:
            raise RefusedError("Builder fee rate is too high")
        held = self.builders.setdefault(account, {})
        if tenths == 0:
            held.pop(builder, None)
        elif builder not in held and len(held) >= BUILDERS_MAX:
            raise RefusedError("Too many builder approvals")
        else:
            held[builder] = tenths
