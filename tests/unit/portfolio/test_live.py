"""Who is told what: every change of a watched user, also to a stream that was opened while the batch was written."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from services.portfolio.app.live import CHANGES_MAX, Live
from services.portfolio.model.account import Account, Changes, Known
from services.portfolio.model.fold import fold
from services.portfolio.model.values import Environment, Fill, LogEntry
from services.portfolio.model.view import Marks

USER, OTHER, ACCOUNT = (uuid.UUID(int=number) for number in (1, 2, 3))
START = datetime(2026, 9, 1, tzinfo=UTC)


class Nothing:
    """A ledger without accounts, and markets without prices."""

    async def accounts(self, user_id: uuid.UUID, account_ids: Collection[uuid.UUID], environment: Environment) -> Any:
        return []

    async def marks(self, markets: Collection[str]) -> Marks:
        return Marks()

    async def rules(self) -> dict[tuple[str, str], Any]:
        return {}


def folded(live: Live, count: int, accounts: dict[uuid.UUID, Account]) -> Changes:
    changes = Changes(watched=live.watched)
    for number in range(1, count + 1):
        fill = Fill(
            fill_id=uuid.uuid4(), order_id="", account_id=ACCOUNT, venue="lighter", market="BTC-PERP", size=Decimal(1),
            price=Decimal(1), time=START + timedelta(seconds=number),
        )  # fmt: skip
        fold(LogEntry(sequence=number, user_id=USER, written=START, what=(fill,)), accounts, Known(), changes)
    return changes


def new_live() -> Live:
    nothing: Any = Nothing()
    return Live(nothing, nothing, nothing, sequence=0)


async def test_every_fill_is_told_as_it_then_stood_and_to_its_user_alone() -> None:
    live = new_live()
    mine, theirs = await live.attach(USER), await live.attach(OTHER)
    live.applied(folded(live, 3, {}), 3)
    assert [(sequence, life.size) for sequence, _, life in mine.changes] == [(1, 1), (2, 2), (3, 3)]
    assert not theirs.changes
    assert live.sequence == 3


async def test_a_stream_opened_while_the_batch_is_written_misses_nothing() -> None:
    live = new_live()
    changes = folded(live, 3, {})  # nobody watched when it was folded
    watcher = await live.attach(USER)
    await live.prime(USER)
    live.applied(changes, 3)
    assert [(sequence, life.size) for sequence, _, life in watcher.changes] == [(3, 3)]


async def test_a_reader_too_slow_is_over_and_holds_no_more_than_its_bound() -> None:
    live = new_live()
    watcher = await live.attach(USER)
    live.applied(folded(live, CHANGES_MAX + 5, {}), CHANGES_MAX + 5)
    assert watcher.over
    assert len(watcher.changes) == CHANGES_MAX
    live.detach(watcher)
    assert not live.watched(USER)
    assert live.views(USER) == {}
