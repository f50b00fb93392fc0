"""Where actions are received, ordered into blocks, carried out and answered.

An envelope is read and its signer recovered as it comes; everything else happens at the next block, in the venue's
order: actions without a taking order first, then cancels, then those with a GTC or IOC order; within a class as they
came. While no block comes (a frozen market), what waits is carried out after `WAIT_MAX_S`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.chassis.clock import Clock
from services.simulator.dialects.hyperliquid.actions import KNOWN_UNSUPPORTED, Signed
from services.simulator.dialects.hyperliquid.members import Members, RefusedError
from services.simulator.dialects.hyperliquid.money import Money, hex_address
from services.simulator.dialects.hyperliquid.trading import Trading
from services.simulator.exchange.core import Exchange
from services.simulator.journal import Journal
from services.simulator.market import Market
from services.simulator.street import now_us

Json = object
Done = Callable[[dict[str, Json]], None]
Handler = Callable[[int, Mapping[str, Json], int], dict[str, Json]]
WAIT_MAX_S = 0.15
PENDING_MAX = 10_000
"""Actions that may wait for a block; one more is answered as the venue answers when it is overloaded: HTTP 429."""
EXPIRED_WEIGHT = 5
_CANCELS = frozenset({"cancel", "cancelByCloid", "scheduleCancel", "twapCancel"})


@dataclass(frozen=True, slots=True, order=True)
class Waiting:
    """An action that waits for a block: its class, its place in the line, and who is to be answered."""

    rank: int
    seq: int
    signed: Signed
    done: Done
    since: float


class Desk:
    """Carries out actions for one venue."""

    def __init__(self, exchange: Exchange, members: Members, market: Market, clock: Clock, journal: Journal) -> None:
        """Take everything an action may touch."""
        self.trading = Trading(exchange, members)
        self.ack_s = 0.0
        self._exchange = exchange
        self._members = members
        self._market = market
        self._clock = clock
        self._journal = journal
        self._waiting: list[Waiting] = []
        self._answers: list[tuple[float, int, Done, dict[str, Json]]] = []
        self._seq = 0
        self._block = False
        trading, money = self.trading, Money(exchange, members)
        self._handlers: dict[str, Handler] = {
            "order": trading.order, "cancel": trading.cancel, "cancelByCloid": trading.cancel,
            "modify": trading.modify, "batchModify": trading.batch_modify, "scheduleCancel": trading.schedule_cancel,
            "updateLeverage": trading.update_leverage, "updateIsolatedMargin": trading.update_margin,
            "topUpIsolatedOnlyMargin": trading.top_up, "twapOrder": trading.twap_order,
            "twapCancel": trading.twap_cancel, "reserveRequestWeight": money.reserve_weight, "noop": money.nothing,
            "setReferrer": money.set_referrer, "registerReferrer": money.set_referrer,
            "createSubAccount": money.create_sub, "subAccountTransfer": money.sub_transfer,
            "subAccountSpotTransfer": money.sub_spot_transfer, "vaultTransfer": money.vault_transfer,
            "claimRewards": money.claim_rewards, "agentEnableDexAbstraction": money.agent_dex_abstraction,
            "agentSetAbstraction": money.agent_abstraction, "agentSendAsset": money.agent_send_asset,
            "usdSend": money.usd_send, "spotSend": money.spot_send, "withdraw3": money.withdraw,
            "usdClassTransfer": money.class_transfer, "sendAsset": money.send_asset,
            "approveAgent": money.approve_agent, "approveBuilderFee": money.approve_builder,
            "userSetAbstraction": money.set_abstraction, "userDexAbstraction": money.set_dex_abstraction,
            "tokenDelegate": money.nothing,
        }  # fmt: skip

    def submit(self, signed: Signed, done: Done) -> bool:
        """Take an action for the next block; False when too many wait."""
        if len(self._waiting) >= PENDING_MAX:
            return False
        self._seq += 1
        self._waiting.append(Waiting(_rank(signed), self._seq, signed, done, self._clock.monotonic()))
        return True

    def block(self) -> None:
        """Learn that a block was made."""
        self._block = True

    def tick(self, now: float, carried_out: Callable[[], None]) -> None:
        """Carry out what waits if its block has come, telling after each, and answer what is due (`now` in s)."""
        if self._waiting and (self._block or now - self._waiting[0].since > WAIT_MAX_S):
            waiting, self._waiting = sorted(self._waiting, key=lambda item: (item.rank, item.seq)), []
            for item in waiting:
                answer = self.carry_out(item.signed)
                carried_out()
                heapq.heappush(self._answers, (now + self.ack_s, item.seq, item.done, answer))
        self._block = False
        while self._answers and self._answers[0][0] <= now:
            _, _, done, answer = heapq.heappop(self._answers)
            done(answer)

    def carry_out(self, signed: Signed) -> dict[str, Json]:
        """Do what an action says, now; return the body of the answer."""
        at = now_us(self._market)
        account = 0
        try:
            account = self._authorize(signed, at)
            response = self._handlers[signed.kind](account, signed.action, at)
            answer: dict[str, Json] = {"status": "ok", "response": response}
        except RefusedError as refusal:
            answer = {"status": "err", "response": str(refusal)}
        self._journal.write(at, "answered", account, {"action": signed.kind, "nonce": signed.nonce, "answer": answer})
        return answer

    def _authorize(self, signed: Signed, at: int) -> int:
        """Return the account that acts, having taken the nonce. Raises RefusedError in the venue's precedence."""
        now_ms = at // 1000
        if signed.signer is None:
            raise RefusedError("Unable to recover signer.")
        if signed.kind in KNOWN_UNSUPPORTED:
            raise RefusedError(f"Action {signed.kind} is not simulated.")
        account = signed.signer if signed.by_user else self._members.master_of(signed.signer, now_ms)
        if self._exchange.account(account) is None:
            if signed.by_user:
                raise RefusedError(f"Must deposit before performing actions. User: {hex_address(signed.signer)}")
            raise RefusedError(f"User or API Wallet {hex_address(signed.signer)} does not exist.")
        if signed.by_user and signed.wrong_chain:
            raise RefusedError("Mainnet and testnet require different signature.")
        if signed.by_user and signed.expires_after is not None:
            raise RefusedError("expiresAfter is not supported for this action")
        if signed.by_user and signed.action.get("nonce", signed.action.get("time")) != signed.nonce:
            raise RefusedError("Nonce mismatch.")
        if signed.vault is not None:
            owner = self._members.subs.get(signed.vault)
            if owner is None or owner[0] != account:
                raise RefusedError(f"Vault not registered: {hex_address(signed.vault)}")
            account = signed.vault
        self._members.admit(signed.signer, signed.nonce, now_ms)
        self._members.sent.add(account)
        late = signed.expires_after is not None and signed.expires_after < now_ms
        volume = self._exchange.state.accounts[account].lifetime
        count = EXPIRED_WEIGHT if late else size_of(signed.action)
        self._members.spend(account, count, volume, now_ms, cancels=signed.kind in _CANCELS)
        if late:
            raise RefusedError("Action already expired")
        return account


def size_of(action: Mapping[str, Json]) -> int:
    """Return how many requests an action counts as: the length of its batch."""
    for name in ("orders", "cancels", "modifies"):
        rows = action.get(name)
        if isinstance(rows, list):
            return max(1, len(rows))
    return 1


def _rank(signed: Signed) -> int:
    """Return an action's class within a block."""
    action = signed.action
    if signed.kind in ("cancel", "cancelByCloid"):
        return 1
    rows: list[Json] = []
    for name in ("orders", "modifies"):
        found = action.get(name)
        if isinstance(found, list):
            rows += [item.get("order", item) if isinstance(item, dict) else item for item in found]
    if signed.kind == "modify":
        rows.append(action["order"])
    for row in rows:
        kind = row.get("t") if isinstance(row, dict) else None
        limit = kind.get("limit") if isinstance(kind, dict) else None
        if isinstance(limit, dict) and limit["tif"] != "Alo":
            return 2
    return 2 if signed.kind == "twapOrder" else 0
