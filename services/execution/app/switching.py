"""Dead man's switches: the venue keeps the clock where it can; where it cannot and its owner allows, we do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from services.domain.refusal import Refusal, RefusalReason
from services.execution.app.deeds import Deeds
from services.execution.app.leverage import account_of
from services.execution.model.deed import DeedState
from services.execution.model.order import mesh_says_no
from services.execution.model.switch import RULES, Switch
from services.execution.ports import Accounts, Clock, Orders, Switches, TradingAccount, Wake
from services.venues.actions import ScheduleCancel

LOOK_S: Final = 1.0
DUE_MAX: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmAsked:
    """What a caller asks for; without a delay the switch is disarmed."""

    account_ids: tuple[UUID, ...]
    delay: timedelta | None
    allow_mesh_keeper: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Armed:
    """Where a switch stands. `state` is the contract's name."""

    account: TradingAccount
    state: str
    switch: Switch | None = None
    refusal: Refusal | None = None


class Switching:
    """Arms and disarms switches, and fires those that we keep."""

    def __init__(
        self,
        *,
        deeds: Deeds,
        switches: Switches,
        accounts: Accounts,
        orders: Orders,
        clock: Clock,
        wake: Wake,
        tell_fault: Callable[[Exception], None],
    ) -> None:
        self._deeds = deeds
        self._switches = switches
        self._accounts = accounts
        self._orders = orders
        self._clock = clock
        self._wake = wake
        self._tell = tell_fault

    async def arm(self, user_id: UUID, asked: ArmAsked) -> Sequence[Armed]:
        """Arm, renew or disarm the switches of accounts; each answers for itself."""
        every = await self._accounts.of_user(user_id)
        chosen = [account_of(every, one) for one in asked.account_ids] or [one for one in every if one.can_trade]
        return await asyncio.gather(*(self._one(account, asked) for account in chosen))

    async def _one(self, account: TradingAccount, asked: ArmAsked) -> Armed:
        if not account.can_trade:
            why = mesh_says_no(RefusalReason.NO_ACCOUNT, account.why_not, "Set up a key.", field="account_ids")
            return Armed(account=account, state="REFUSED", refusal=why)
        known = await self._known(account)
        if known is not None and known.was_fired_by_venue(self._clock.now()):
            await self._switches.fired(known)  # before new terms take its place, uncounted
        if asked.delay is None:
            return await self._disarm(account)
        rule, now = RULES[account.venue], self._clock.now()
        refusal = rule.refusal(account.venue, asked.delay)
        if refusal is None:
            at = rule.time(asked.delay, now)
            action = ScheduleCancel(cancel_time_ms=round(at.timestamp() * 1_000))
            made = await self._told(account, action)
            if made.state != "REFUSED":
                return made
            refusal = made.refusal
        if not asked.allow_mesh_keeper:
            return Armed(account=account, state="REFUSED", refusal=refusal, switch=await self._known(account))
        kept = await self._switches.keep(_switch(account, by_mesh=True, at=now + asked.delay))
        return Armed(account=account, state="ARMED", switch=kept, refusal=refusal)

    async def _disarm(self, account: TradingAccount) -> Armed:
        known = await self._known(account)
        if known is not None and known.by_mesh:
            kept = await self._switches.keep(replace(known, cancel_time=None))
            return Armed(account=account, state="DISARMED", switch=kept)
        return await self._told(account, ScheduleCancel())

    async def _told(self, account: TradingAccount, action: ScheduleCancel) -> Armed:
        """Have the venue move its switch, and keep what it accepted."""
        deed = await self._deeds.do(account, "", action)
        if deed.action != action:
            other = mesh_says_no(
                RefusalReason.OUTCOME_UNKNOWN,
                "An earlier change of the switch is out, and what became of it is being found out.",
                "Arm it again in a moment.",
                venue=account.venue,
            )
            return Armed(account=account, state="UNKNOWN", refusal=other, switch=await self._known(account))
        if deed.state in (DeedState.REFUSED, DeedState.FAILED):
            return Armed(account=account, state="REFUSED", refusal=deed.refusal, switch=await self._known(account))
        if deed.state is not DeedState.DONE:
            return Armed(account=account, state="UNKNOWN", switch=await self._known(account))
        at = None
        if action.cancel_time_ms is not None:
            at = datetime.fromtimestamp(action.cancel_time_ms / 1_000, UTC)
        kept = await self._switches.keep(_switch(account, by_mesh=False, at=at))
        return Armed(account=account, state="DISARMED" if at is None else "ARMED", switch=kept)

    async def _known(self, account: TradingAccount) -> Switch | None:
        return await self._switches.get(account.account_id)

    async def run(self) -> None:
        """Fire what we keep, count what venues fired, until canceled; what came due meanwhile fires at the start."""
        while True:
            try:
                for switch in await self._switches.due(self._clock.now(), DUE_MAX):
                    if switch.by_mesh:
                        for order_id in await self._switches.open_orders(switch.account_id):
                            await self._orders.want_cancel(switch.user_id, order_id)
                        self._wake()
                    await self._switches.fired(switch)
            except Exception as error:  # the database is away: it fires when that answers
                self._tell(error)
            await self._clock.sleep(LOOK_S)


def _switch(account: TradingAccount, *, by_mesh: bool, at: datetime | None) -> Switch:
    return Switch(
        account_id=account.account_id, user_id=account.user_id, venue=account.venue, by_mesh=by_mesh, cancel_time=at
    )
