"""Signing, as execution asks for it: finds the desk of an account and gives it the job."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from services.domain.market import LIGHTER
from services.domain.refusal import Refusal
from services.vault.app.desk import DeskWorker
from services.vault.app.exposure import Exposures
from services.vault.app.job import Answer, Job
from services.vault.app.maker import Maker
from services.vault.model import signing as model
from services.vault.model.account import Account, forbids
from services.vault.model.key import KeyState
from services.vault.model.signing import CallerKey, Kept, Leg, Report, SignedAction, Wanted
from services.vault.ports import Accounts, Clock, Keys, Secrets, Signing, Venues
from services.venues.actions import Action

DESKS_MAX: Final = 10_000
LEGS_MAX: Final = 50_000
PATIENCE_S: Final = 20.0
"""How long a job waits where its caller sets no deadline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What signing stands on."""

    signing: Signing
    accounts: Accounts
    keys: Keys
    secrets: Secrets
    venues: Venues
    clock: Clock


@dataclass(frozen=True, slots=True)
class _Place:
    account_id: UUID
    signer: str = ""
    caller: CallerKey | None = field(default=None, compare=False)


class Signer:
    """The use cases of `SignerService`."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._maker = Maker(ground.secrets, ground.venues, ground.clock, Exposures(ground.signing, ground.clock))
        self._desks: OrderedDict[_Place, DeskWorker] = OrderedDict()
        self._places: OrderedDict[tuple[UUID, int], _Place] = OrderedDict()

    async def sign(self, wanted: Wanted, *, patience_s: float = PATIENCE_S) -> SignedAction | Refusal:
        """Sign an action, or give the bytes it was given before."""
        place = _Place(wanted.account_id)
        answer = await self._desk(place).ask(Job(leg=wanted.leg, wanted=wanted), patience_s)
        self._remember(wanted.leg, place)
        return _some(answer)

    async def review(self, account_id: UUID, action: Action) -> Refusal | None:
        """Say why an action would not be signed now; None where it would be."""
        return await self._desk(_Place(account_id)).review(action)

    async def prepare(
        self, wanted: Wanted, account: Account, *, patience_s: float = PATIENCE_S
    ) -> SignedAction | Refusal:
        """Prepare an action for a caller who signs, with a leased nonce."""
        assert wanted.signer is not None
        place = self._callers(account, wanted.signer)
        answer = await self._desk(place).ask(Job(leg=wanted.leg, wanted=wanted), patience_s)
        self._remember(wanted.leg, place)
        return _some(answer)

    async def accept(self, leg: Leg, signature: str) -> SignedAction | Refusal:
        """Take a caller's signature of a prepared action."""
        place = await self._find(leg)
        return _some(await self._desk(place).ask(Job(leg=leg, signature=signature), PATIENCE_S))

    async def report(self, report: Report) -> None:
        """Settle a nonce."""
        place = await self._find(report.leg)
        await self._desk(place).ask(Job(leg=report.leg, report=report), PATIENCE_S)

    async def token(self, account_id: UUID, lifetime: timedelta) -> tuple[str, datetime | None]:
        """Issue what opens an account's private streams; empty where the venue needs nothing."""
        ground = self._ground
        account = await ground.accounts.get(None, account_id)
        if account.venue != LIGHTER:
            return "", None
        if account.freeze_time is not None:
            raise forbids("The account is frozen: no token is issued.", account_id=str(account_id), state="FROZEN")
        key = await ground.keys.active(account_id)
        if key is None or key.sealed is None:
            raise forbids("No key of ours works for the account.", account_id=str(account_id), state="NEEDS_KEY")
        sealed = key.sealed
        end = ground.clock.now() + lifetime
        venue = ground.venues.at(account.venue, account.environment)
        text = await venue.token(account, key, lambda: ground.secrets.opened(sealed, key.about), int(end.timestamp()))
        return text, end.replace(microsecond=0)

    def forget(self, account_id: UUID) -> None:
        """Let the desks of an account read anew; what they decided on has changed."""
        for place, desk in self._desks.items():
            if place.account_id == account_id:
                desk.forget()

    def _callers(self, account: Account, caller: CallerKey) -> _Place:
        signer = caller.public_key if account.venue != LIGHTER else f"{account.venue_account}:{caller.api_key_index}"
        return _Place(account.account_id, signer, caller)

    async def _find(self, leg: Leg) -> _Place:
        found = self._places.get(leg.name)
        if found is not None:
            return found
        kept, _ = await self._ground.signing.known([leg])
        one = kept.get(leg.name)
        if one is None:
            raise model.never_signed(leg)
        place = await self._place_of(one)
        self._remember(leg, place)
        return place

    async def _place_of(self, kept: Kept) -> _Place:
        if kept.key_id is not None:
            return _Place(kept.account_id)
        account = await self._ground.accounts.get(None, kept.account_id)
        slot = kept.signer.rpartition(":")[2]
        caller = (
            CallerKey(public_key="", api_key_index=int(slot))
            if account.venue == LIGHTER
            else CallerKey(public_key=kept.signer)
        )
        return _Place(kept.account_id, kept.signer, caller)

    def _remember(self, leg: Leg, place: _Place) -> None:
        self._places[leg.name] = place
        if len(self._places) > LEGS_MAX:
            self._places.popitem(last=False)

    def _desk(self, place: _Place) -> DeskWorker:
        found = self._desks.get(place)
        if found is None:
            if len(self._desks) >= DESKS_MAX:
                self._drop_idle()
            found = self._desks[place] = DeskWorker(
                place.account_id,
                place.caller,
                signing=self._ground.signing,
                secrets=self._ground.secrets,
                maker=self._maker,
                clock=self._ground.clock,
                key_died=self._key_died,
            )
        return found

    def _drop_idle(self) -> None:
        idle = [place for place, desk in self._desks.items() if desk.is_idle]
        for place in idle[: DESKS_MAX // 10]:
            del self._desks[place]

    async def _key_died(self, account: Account, key_id: UUID, why: str) -> None:
        key = await self._ground.keys.get(account.account_id, key_id)
        if key is not None and not key.state.is_final:
            await self._ground.keys.end(account, key, KeyState.DEAD, why)
            await self._ground.venues.at(account.venue, account.environment).forget()


def _some(answer: Answer) -> SignedAction | Refusal:
    assert answer is not None
    return answer
