"""What a caller has: the lists, and the accounts as they stand at the mark prices of now."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from services.domain.errors import DomainError, Reason, field_invalid
from services.portfolio.model.account import Account
from services.portfolio.model.life import LifeEvent
from services.portfolio.model.margin import MarketRules
from services.portfolio.model.values import Environment, Payment, Transfer
from services.portfolio.model.view import AccountView, Marks, PositionView, account_view
from services.portfolio.ports import FlowFilter, Held, Ledger, LifeFilter, Markets

EVENTS_EACH_MAX = 1_000


class Desk:
    """Answers the calls that list and show."""

    def __init__(self, ledger: Ledger, markets: Markets) -> None:
        self._ledger = ledger
        self._markets = markets

    async def positions(
        self, user_id: UUID, wanted: LifeFilter, *, after: tuple[str, str, UUID] | None, limit: int
    ) -> tuple[Sequence[PositionView], int]:
        """Return open positions by market, venue and account, and the log event they agree with."""
        held, sequence = await self._ledger.positions(user_id, wanted, after=after, limit=limit)
        accounts = {one.account.account_id: one.account for one in held}
        views = await self.views(accounts.values())
        by_id = {position.life.position_id: position for view in views.values() for position in view.positions}
        return [by_id[one.life.position_id] for one in held], sequence

    async def accounts(
        self, user_id: UUID, account_ids: Collection[UUID], environment: Environment = Environment.UNSPECIFIED
    ) -> list[AccountView]:
        """Return the caller's accounts, by venue; one that is not the caller's is left out, like one that is not."""
        found = await self._ledger.accounts(user_id, account_ids, environment)
        views = await self.views(found)
        return [views[one.account_id] for one in found]

    async def one_environment(
        self, user_id: UUID, account_ids: Collection[UUID], environment: Environment
    ) -> list[AccountView]:
        """Return the caller's accounts of one environment: real and test money are never added up."""
        views = await self.accounts(user_id, account_ids, environment)
        kinds = {view.account.environment for view in views}
        if len(kinds) > 1:
            names = ", ".join(sorted(f"ENVIRONMENT_{kind.name}" for kind in kinds))
            raise field_invalid("environment", f"your accounts live in {names}: name one of them")
        return views

    async def states(
        self, account_ids: Collection[UUID], user_id: UUID | None = None
    ) -> tuple[dict[UUID, AccountView], int]:
        """Return accounts for another room, and the log event they agree with at least; of a user, only the user's."""
        sequence = await self._ledger.cursor()
        if user_id is not None:
            return await self.views(
                await self._ledger.accounts(user_id, account_ids, Environment.UNSPECIFIED)
            ), sequence
        found = await self._ledger.load(account_ids)
        return await self.views(found.values()), sequence

    async def cursor(self) -> int:
        """Return the number of the last log event applied."""
        return await self._ledger.cursor()

    async def views(self, accounts: Collection[Account]) -> dict[UUID, AccountView]:
        """Return accounts at the marks of now."""
        marks, rules = await self.now({market for account in accounts for market in account.lives})
        return {account.account_id: account_view(account, marks, rules) for account in accounts}

    async def now(self, markets: Collection[str]) -> tuple[Marks, Mapping[tuple[str, str], MarketRules]]:
        """Return marks and margin rules."""
        marks = await self._markets.marks(markets) if markets else Marks()
        return marks, await self._markets.rules()

    async def lives(
        self, user_id: UUID, wanted: LifeFilter, *, after: tuple[datetime, UUID] | None, limit: int, events: bool
    ) -> tuple[Sequence[Held], Mapping[UUID, Sequence[LifeEvent]]]:
        """Return lives, the last opened first, and their events where they are asked for."""
        found = await self._ledger.lives(user_id, wanted, after=after, limit=limit)
        if wanted.position_id is not None and not found and after is None:
            known = await self._ledger.lives(user_id, LifeFilter(position_id=wanted.position_id), after=None, limit=1)
            if not known:
                raise unknown("position", str(wanted.position_id))
        asked = [one.life.position_id for one in found[: limit - 1]] if events else []
        return found, await self._ledger.events(asked, each_max=EVENTS_EACH_MAX) if asked else {}

    async def payments(
        self, user_id: UUID, wanted: FlowFilter, *, after: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[tuple[Payment, UUID | None, UUID, str]]:
        """Return funding payments, the newest first."""
        return await self._ledger.payments(user_id, wanted, after=after, limit=limit)

    async def transfers(
        self, user_id: UUID, wanted: FlowFilter, *, after: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[tuple[Transfer, UUID, str, datetime]]:
        """Return transfers, the newest first."""
        return await self._ledger.transfers(user_id, wanted, after=after, limit=limit)


def unknown(what: str, name: str) -> DomainError:
    """Return the refusal of something that is not there, or not the caller's."""
    return DomainError(
        Reason.RESOURCE_UNKNOWN,
        f"There is no such {what}; an account is known from its venue's first report on.",
        metadata={"kind": what, "id": name},
    )
