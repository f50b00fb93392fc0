"""The vault: nonces by its own `Lane`, the same bytes for the same action, fences, outcomes; and the accounts.

What the vault does goes on when execution dies while it waits. Bytes are the venues' own, but for the signature, which
nobody checks here.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

from services.domain.errors import DomainError, Reason
from services.domain.refusal import Origin, Refusal, RefusalReason
from services.execution.model.deed import Deed
from services.execution.model.fate import Fate
from services.execution.ports import TradingAccount, Work
from services.vault.model.lane import Lane, Outcome
from services.venues.actions import Action, ActionError, Place
from services.venues.hyperliquid.wire import actions as hyperliquid
from services.venues.hyperliquid.wire import answers as hyperliquid_answers
from services.venues.lighter.tokens import VenueToken
from services.venues.lighter.wire import encode as lighter
from services.venues.lighter.wire.transactions import ApiKey, Scale, tx_info
from services.venues.port import VenueError
from services.venues.trading import AccountRef, SignedBytes
from tests.simulation.chaos import Chaos
from tests.simulation.virtual import Process, Trace, VirtualLoop, WallClock, apart

PATIENCE_S = 20.0
KEY = 3
SCALES = {1: Scale(1, 5)}
TOKEN_LIFE_S = 7 * 3_600


@dataclass(slots=True)
class Kept:
    """An action that was signed."""

    account_id: UUID
    digest: str
    signed: SignedBytes
    outcome: Outcome | None = None


class Vault:
    """What survives execution's death."""

    def __init__(
        self, loop: VirtualLoop, clock: WallClock, chaos: Chaos, trace: Trace, seed: int,
        next_nonce: Callable[[], int | None],
    ) -> None:  # fmt: skip
        """Prepare; `next_nonce` asks Lighter which nonce comes next, None where it does not answer."""
        self.loop, self.clock, self.chaos, self.trace = loop, clock, chaos, trace
        self.rng = Random(f"{seed} vault")
        self.accounts: dict[UUID, TradingAccount] = {}
        self.lanes: dict[UUID, Lane] = {}
        self.kept: dict[tuple[UUID, int], Kept] = {}
        self.fences: dict[UUID, int] = {}
        self.tokens: set[str] = set()
        self.limit = Decimal(10**9)
        self.life_s = self.rng.choice((12, 20, 20, 30, 45, 599)) if chaos.rng.random() < 0.3 else 20
        """How long Lighter's bytes may land; ten minutes in truth, which a few seeds keep."""
        self._moved = asyncio.Event()
        self._next_nonce = next_nonce

    def open(self, account: TradingAccount) -> None:
        """Have an account and its lane."""
        self.accounts[account.account_id] = account
        ordered = account.venue == "lighter"
        self.lanes[account.account_id] = Lane(lane_id=1, venue=account.venue, fence=1, nonce=None if ordered else 0)

    def now_ms(self) -> int:
        return self.clock.time_ns() // 1_000_000

    async def sign(
        self, name: tuple[UUID, int], fence: int, account: TradingAccount, action: Action
    ) -> SignedBytes | Refusal:
        """Sign an action, or give the bytes it was given before."""
        digest, end_s = repr(action), self.loop.time() + PATIENCE_S
        while True:
            self._fenced(name[0], fence)
            known = self.kept.get(name)
            if known is not None:
                if known.digest != digest or known.account_id != account.account_id:
                    raise DomainError(Reason.REQUEST_ID_REUSED, "signed before with other content")
                is_wiped = known.outcome is not None
                return replace(known.signed, body=b"") if is_wiped else known.signed
            if self._refuses(action):
                return _no("the account's limit")
            if await self._has_room(account.account_id):
                return self._signed(name, account, action, digest)
            if self.loop.time() >= end_s:
                raise DomainError(Reason.LIMIT_REACHED, "Earlier actions of this key are out without an outcome.")
            self._moved.clear()
            try:
                async with asyncio.timeout(0.4):
                    await self._moved.wait()
            except TimeoutError:
                pass

    def _refuses(self, action: Action) -> bool:
        if not isinstance(action, Place) or all(one.size <= self.limit or one.reduce_only for one in action.orders):
            return False
        self.chaos.met["vault_refuses"] += 1
        return True

    def _fenced(self, leg_id: UUID, fence: int) -> None:
        newest = self.fences.get(leg_id, 0)
        if fence < newest:
            raise DomainError(Reason.FENCED, f"fence {newest} took over, {fence} is old")
        self.fences[leg_id] = fence

    async def _has_room(self, account_id: UUID) -> bool:
        lane = self.lanes[account_id]
        lapsed = lane.lapsed(self.now_ms())
        if lane.is_ordered and (lapsed is not None or (lane.nonce is None and not lane.out)):
            await asyncio.sleep(0.02)
            found = self._next_nonce()
            if found is None:
                raise DomainError(Reason.VENUE_UNAVAILABLE, "Lighter does not say which nonce comes next.")
            if self.lanes[account_id] is not lane:
                return False
            self.trace.note("vault", "vault.asked", f"{found} {lapsed is not None}")
            self.lanes[account_id] = lane = lane.observed(found)
            if lapsed is not None and self.kept[lapsed.name].outcome is None:
                self.kept[lapsed.name].outcome = Outcome.LAPSED
        return lane.room(self.now_ms()) > 0

    def _signed(
        self, name: tuple[UUID, int], account: TradingAccount, action: Action, digest: str
    ) -> SignedBytes | Refusal:
        now_ms = self.now_ms()
        expire_ms = now_ms + (10_000 if account.venue == "hyperliquid" else self.life_s * 1_000)
        lane, nonce = self.lanes[account.account_id].allocate(name, now_ms, expire_ms)
        try:
            signed = _made(account, action, nonce, expire_ms, now_ms)
        except ActionError as error:
            return _no(str(error))
        self.lanes[account.account_id] = lane
        self.kept[name] = Kept(account.account_id, digest, signed)
        self.trace.note("vault", "vault.signed", f"{name[1]} {nonce}")
        return signed

    def settle(self, name: tuple[UUID, int], fence: int, fate: Fate) -> None:
        """Take an outcome."""
        outcome = Outcome(fate.value)
        known = self.kept.get(name)
        self._fenced(name[0], fence)
        if known is None:
            raise DomainError(Reason.RESOURCE_UNKNOWN, "nothing was signed for it")
        if known.outcome is outcome:
            return
        if known.outcome is not None and known.outcome is not Outcome.LAPSED:
            raise DomainError(Reason.OUTCOME_CONTRADICTED, f"{known.outcome} was reported, {outcome} says otherwise")
        if known.outcome is None:
            self.lanes[known.account_id] = self.lanes[known.account_id].settle(known.signed.nonce, outcome)
        known.outcome = outcome
        self.trace.note("vault", "vault.settled", f"{name[1]} {known.signed.nonce} {outcome}")
        self._moved.set()


class VaultLine:
    """The ports `Accounts`, `Signer` and `DeedSigner` of one process."""

    def __init__(self, vault: Vault, process: Process) -> None:
        self._vault = vault
        self._process = process

    async def of_user(self, user_id: UUID) -> Sequence[TradingAccount]:
        async def found() -> list[TradingAccount]:
            return [one for one in self._vault.accounts.values() if one.user_id == user_id]

        return await self._call("accounts", found)

    async def every(self) -> Sequence[TradingAccount]:
        async def found() -> list[TradingAccount]:
            return list(self._vault.accounts.values())

        return await self._call("accounts", found)

    async def sign(self, work: Work, account: TradingAccount, action: Action, number: int) -> SignedBytes | Refusal:
        name = (work.leg.leg_id, number)
        return await self._call("sign", lambda: self._vault.sign(name, work.fence, account, action))

    async def review(self, account_id: UUID, action: Action) -> Refusal | None:
        return None

    async def settle(self, work: Work, number: int, fate: Fate) -> None:
        await self._settled((work.leg.leg_id, number), work.fence, fate)

    async def sign_deed(self, deed: Deed, account: TradingAccount) -> SignedBytes | Refusal:
        return await self._call("sign", lambda: self._vault.sign((deed.deed_id, 0), deed.fence, account, deed.action))

    async def settle_deed(self, deed: Deed, fate: Fate) -> None:
        await self._settled((deed.deed_id, 0), deed.fence, fate)

    async def _settled(self, name: tuple[UUID, int], fence: int, fate: Fate) -> None:
        async def settle() -> None:
            self._vault.settle(name, fence, fate)

        await self._call("settle", settle)

    async def token(self, account: AccountRef) -> VenueToken:
        """Return what opens Lighter's private reads."""
        vault = self._vault
        if vault.chaos.strikes("vault_away"):
            raise VenueError("The vault issues no token.")
        end_s = vault.clock.true_ns() // 1_000_000_000 + TOKEN_LIFE_S
        text = f"{end_s}:{account.index}:{KEY}:" + "0" * 160
        vault.tokens.add(text)
        return VenueToken(text, float(end_s))

    async def _call(self, what: str, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        vault, process = self._vault, self._process
        await process.breathe()
        await asyncio.sleep(vault.rng.random() * 0.004)
        if vault.chaos.strikes("vault_away", 0.6):
            vault.trace.note(process.name, "vault.away", what)
            raise DomainError(Reason.PEER_UNAVAILABLE, "The vault does not answer.")
        lost = what != "accounts" and vault.chaos.strikes("vault_answer_lost", 0.6)
        if not process.is_alive:
            raise asyncio.CancelledError
        if what == "accounts":
            answer = await work()
        else:
            answer = await asyncio.shield(apart(vault.loop, work()))
        if lost:
            vault.trace.note(process.name, "vault.lost", what)
            raise DomainError(Reason.PEER_UNAVAILABLE, "The vault's answer did not come.")
        await asyncio.sleep(vault.rng.random() * 0.002)
        await process.breathe()
        return answer


def _made(account: TradingAccount, action: Action, nonce: int, expire_ms: int, now_ms: int) -> SignedBytes:
    if account.venue == "hyperliquid":
        body = hyperliquid_answers.body(hyperliquid.encode(action), nonce, None, expires_after_ms=expire_ms)
        return SignedBytes(body=body, action=action, nonce=nonce, expire_time_ms=expire_ms)
    key = ApiKey(account_index=account.ref.index, api_key_index=KEY)
    made = lighter.encode(action, key=key, scales=SCALES, now_ms=now_ms)
    info = tx_info(made, nonce=nonce, expired_at_ms=expire_ms, signature="")
    return SignedBytes(
        body=info, action=action, nonce=nonce, expire_time_ms=expire_ms, transaction_type=int(made.type),
        transaction_hash=hash_of(info),
    )  # fmt: skip


def hash_of(info: bytes) -> str:
    """Return what stands in for a transaction's hash, which takes a circuit's arithmetic in truth."""
    return hashlib.sha256(info).hexdigest() + "0" * 16


def _no(words: str) -> Refusal:
    return Refusal(reason=RefusalReason.TRADING_LIMIT, origin=Origin.MESH, message=words)
