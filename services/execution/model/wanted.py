"""Which of a user's orders or fills are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which of a user's rows; an empty value does not filter. `before` is where the page begins."""

    market: str = ""
    side: str = ""
    venue: str = ""
    states: tuple[str, ...] = ()
    active_only: bool = False
    client_order_id: str = ""
    request_id: UUID | None = None
    order_id: UUID | None = None
    account_ids: tuple[UUID, ...] = ()
    start: datetime | None = None
    end: datetime | None = None
    before: tuple[datetime, UUID] | None = None
    count: int = 100
