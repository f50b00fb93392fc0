"""Setting leverage and margin mode of a market: asked of the venue, waited for, and answered with what then stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.domain.errors import DomainError, Reason
from services.domain.refusal import Refusal, RefusalReason
from services.execution.app.deeds import Deeds
from services.execution.model.deed import Deed, DeedState
from services.execution.model.order import mesh_says_no
from services.execution.ports import Accounts, Clock, TradingAccount, Venues
from services.venues.actions import ActionError, MarginMode, SetLeverage
from services.venues.port import VenueError
from services.venues.trading import TradingVenue


@dataclass(frozen=True, slots=True, kw_only=True)
class LeverageAsked:
    """What a caller asks for; without a mode it stays."""

    account_id: UUID
    market: str
    leverage: int
    margin_mode: MarginMode | None
    request_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeverageHeld:
    """What the venue holds, as far as it is known; `leverage` is 0 where it is not."""

    account: TradingAccount
    market: str
    leverage: int
    margin_mode: MarginMode | None
    state: str
    """CONFIRMED, REFUSED or UNKNOWN, the contract's names."""
    refusal: Refusal | None
    update_time: datetime


class Leverages:
    """Sets leverages."""

    def __init__(self, *, deeds: Deeds, accounts: Accounts, venues: Venues, clock: Clock) -> None:
        self._deeds = deeds
        self._accounts = accounts
        self._venues = venues
        self._clock = clock

    async def set(self, user_id: UUID, asked: LeverageAsked) -> LeverageHeld:
        """Have a venue set a leverage; return what it holds after that."""
        account = account_of(await self._accounts.of_user(user_id), asked.account_id)
        if not account.can_trade:
            why = mesh_says_no(RefusalReason.NO_ACCOUNT, account.why_not, "Set up a key.", field="account_id")
            return self._held(account, asked, None, "REFUSED", why)
        venue = self._venues.at(account.venue, account.environment)
        try:
            before = await venue.setting(account.ref, asked.market)
        except ActionError as error:
            why = mesh_says_no(
                RefusalReason.MARKET_NOT_LISTED, f"{error.problem[0].upper()}{error.problem[1:]}.",
                "Take a name from ListMarkets.", field="market", given=asked.market, venue=account.venue,
            )  # fmt: skip
            return self._held(account, asked, None, "REFUSED", why)
        except VenueError as error:
            raise DomainError(
                Reason.VENUE_UNAVAILABLE,
                f"{account.venue} does not say how the market is set now: {error}",
                metadata={"venue": account.venue},
                retry_after_s=1.0,
            ) from None
        action = SetLeverage(
            market=asked.market,
            venue_market_id=before.venue_market_id,
            leverage=asked.leverage,
            margin_mode=asked.margin_mode or before.margin_mode,
        )

        deed = await self._deeds.do(
            account, asked.market, action, request_id=asked.request_id, is_same=lambda deed: _is_same(deed, asked)
        )
        if not _is_same(deed, asked):
            other = mesh_says_no(
                RefusalReason.OUTCOME_UNKNOWN,
                "Another setting of the same market is out, and what became of it is being found out.",
                "Set it again in a moment.",
                venue=account.venue,
            )
            return self._held(account, asked, before, "UNKNOWN", other)
        state = {DeedState.DONE: "CONFIRMED", DeedState.REFUSED: "REFUSED", DeedState.FAILED: "REFUSED"}
        told = state.get(deed.state, "UNKNOWN")
        assumed = action if told == "CONFIRMED" else before
        return self._held(account, asked, await _seen(venue, account, assumed), told, deed.refusal)

    def _held(
        self, account: TradingAccount, asked: LeverageAsked, held: SetLeverage | None, state: str, why: Refusal | None
    ) -> LeverageHeld:
        return LeverageHeld(
            account=account,
            market=asked.market,
            leverage=0 if held is None else held.leverage,
            margin_mode=None if held is None else held.margin_mode,
            state=state,
            refusal=why,
            update_time=self._clock.now(),
        )


def _is_same(deed: Deed, asked: LeverageAsked) -> bool:
    one = deed.action
    assert isinstance(one, SetLeverage), "a leverage's deed"
    wanted = (asked.account_id, asked.market, asked.leverage, asked.margin_mode or one.margin_mode)
    return (deed.account_id, one.market, one.leverage, one.margin_mode) == wanted


async def _seen(venue: TradingVenue, account: TradingAccount, assumed: SetLeverage) -> SetLeverage:
    try:
        return await venue.setting(account.ref, assumed.market)
    except VenueError:
        return assumed


def account_of(every: Sequence[TradingAccount], account_id: UUID) -> TradingAccount:
    """Return one of a user's accounts. Raises RESOURCE_UNKNOWN."""
    for one in every:
        if one.account_id == account_id:
            return one
    raise DomainError(
        Reason.RESOURCE_UNKNOWN,
        f"There is no account {account_id} of yours.",
        metadata={"field": "account_id", "account_id": str(account_id)},
    )
