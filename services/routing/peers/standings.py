"""What is known of a caller's accounts: nothing yet, so that every quote counts with the public base tier.

portfolio's `AccountStateService` takes this place when it is served.
"""

from __future__ import annotations

from services.routing.model.wish import Standing

_PUBLIC = Standing()


class PublicStandings:
    """The port `Standings` without accounts."""

    async def of_user(self, user: str | None, account_ids: tuple[str, ...], market: str) -> Standing:
        """Return the public standing."""
        return _PUBLIC

    async def of_accounts(self, account_ids: tuple[str, ...], market: str) -> Standing:
        """Return the public standing."""
        return _PUBLIC
