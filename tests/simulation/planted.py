"""Mistakes planted in the application, each as somebody would make it, to prove that the simulation finds them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from services.domain.errors import DomainError
from services.domain.refusal import Origin, Refusal, RefusalReason
from services.execution.app.placing import bytes_of, key_index_of, place_of
from services.execution.app.settling import settle
from services.execution.app.worker import Worker
from services.execution.model.evidence import apply_outcome
from services.execution.model.fate import Fate
from services.execution.model.leg import Role
from services.execution.model.order import Order
from services.execution.model.remedy import to_trade_back
from services.execution.ports import TradingAccount, Work
from services.venues.trading import AccountRef, NonceFate, Refused, SignedBytes, Submission, TradingVenue, Unknown
from tests.simulation.room import Room
from tests.simulation.world import Variant


class SignsAgain(Worker):
    """Signs the order anew when the answer to it did not come."""

    async def _resolve(self, work: Work, account: TradingAccount, venue: TradingVenue) -> None:
        signed = await self._signer.sign(work, account, place_of(work.leg), work.leg.send_count)
        if not isinstance(signed, Refusal) and signed.body:
            await venue.submit(replace(account.ref, api_key_index=key_index_of(signed)), signed)
        await super()._resolve(work, account, venue)


class Hasty:
    """A venue whose silence is taken for a no."""

    def __init__(self, venue: TradingVenue) -> None:
        self._venue = venue

    def __getattr__(self, name: str) -> Any:
        return getattr(self._venue, name)

    async def submit(self, account: AccountRef, signed: SignedBytes, *, again: bool = False) -> Submission:
        made = await self._venue.submit(account, signed, again=again)
        if not isinstance(made.outcomes[0], Unknown):
            return made
        no = Refusal(reason=RefusalReason.VENUE_UNAVAILABLE, origin=Origin.VENUE, message="It timed out.")
        return Submission(outcomes=(Refused(no),), nonce=NonceFate.USED)


class TakesSilenceForNo(Worker):
    """Takes a time-out for the venue's refusal."""

    async def _post(self, work: Work, account: TradingAccount, venue: TradingVenue, signed: SignedBytes) -> None:
        await super()._post(work, account, Hasty(venue), signed)  # type: ignore[arg-type]


class NotesAfterSending(Worker):
    """Posts first and notes that it did afterwards."""

    async def _post(self, work: Work, account: TradingAccount, venue: TradingVenue, signed: SignedBytes) -> None:
        await venue.submit(replace(account.ref, api_key_index=key_index_of(signed)), signed)
        await super()._post(work, account, venue, signed)


class ForgetsWhatWasLost(Worker):
    """Gives an order that the venue does not know up at once, with its nonce, before its bytes are dead."""

    async def _resolve(self, work: Work, account: TradingAccount, venue: TradingVenue) -> None:
        (outcome, *_) = await venue.trace(replace(account.ref, api_key_index=work.leg.key_index), bytes_of(work.leg))
        if isinstance(outcome, Unknown):
            await settle(self._signer, work, 0, Fate.NEVER_LANDED)
            refusal = Refusal(reason=RefusalReason.NEVER_LANDED, origin=Origin.VENUE, message="It is not there.")
            await self._orders.change(
                work, lambda leg: apply_outcome(leg, Refused(refusal), self._clock.now()), due_s=1.0
            )
            return
        await super()._resolve(work, account, venue)


def answers_first(room: Room) -> None:
    """Answers a caller though the order could not be written."""
    add = room.intake._orders.add

    async def added(order: Order, *, lease_s: float | None = None) -> Order:
        try:
            return await add(order, lease_s=lease_s)
        except (ConnectionError, DomainError):
            return order

    room.intake._orders.add = added  # type: ignore[method-assign]


def counts_by_time(room: Room) -> None:
    """Knows a trade by its time of arrival instead of the venue's id."""
    record = room.watcher._orders.record

    async def recorded(account: TradingAccount, trades: Any) -> int:
        return await record(
            account, [replace(one, fill_id=type(one.fill_id)(int=one.receive_time.microsecond)) for one in trades]
        )

    room.watcher._orders.record = recorded  # type: ignore[method-assign]


def trades_back_twice(room: Room) -> None:
    """Trades back what it once saw standing alone, without looking whether another room does so already."""
    remedies = room.remedies

    async def trade_back(order: Order, accounts: Any) -> None:
        made = await remedies._backs(order, to_trade_back(order), accounts)
        if isinstance(made, Refusal):
            await remedies._change(order, lambda current: remedies._over(current, made))
        else:
            await remedies._change(order, lambda current: remedies._with(current, made, Role.UNWIND))

    remedies._trade_back = trade_back  # type: ignore[method-assign]


PLANTED: dict[str, Variant] = {
    "signs again on a time-out": Variant(worker=SignsAgain),
    "takes a time-out for a refusal": Variant(worker=TakesSilenceForNo),
    "posts before it is noted": Variant(worker=NotesAfterSending),
    "gives up before the bytes are dead": Variant(worker=ForgetsWhatWasLost),
    "answers before the commit": Variant(room=answers_first),
    "counts trades by when they came": Variant(room=counts_by_time),
    "trades back what another room does": Variant(room=trades_back_twice, stories=("hedge", "policy")),
}
