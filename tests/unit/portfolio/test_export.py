"""What an export adds up to is what the balance changed by, over random histories, however many events are listed."""

from __future__ import annotations

import csv
import io
import json
import uuid
from decimal import Decimal
from random import Random

import pytest
from perpmesh_client.cli.portfolio import write_ledger
from perpmesh_client.ledger import ledger

from services.portfolio.model.life import LifeEvent
from services.portfolio.rpc import encode
from tests.unit.portfolio.test_fold import ACCOUNT, history, run

D = Decimal
BROUGHT = D("100000.5")
"""What the account has where `history` begins."""


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("listed", [2, 10_000])
def test_the_lines_of_an_export_come_to_the_change_of_the_balance_to_the_last_unit(seed: int, listed: int) -> None:
    account, every = run(history(Random(seed), 1_000), 100)
    lives = {life.position_id: life for changes in every for _, life in changes.lives.values()}
    events: dict[uuid.UUID, list[LifeEvent]] = {position_id: [] for position_id in lives}
    for changes in every:
        for _, life, event in changes.events:
            events[life.position_id].append(event)
    assert max(map(len, events.values())) > 2, "with two listed some are left out"
    lines = ledger(
        [encode.record(account, life, events[life.position_id][-listed:]) for life in lives.values()],
        [encode.payment(paid, of, ACCOUNT, account.venue) for changes in every for _, of, paid in changes.payments],
        [encode.transfer(moved, ACCOUNT, account.venue, at) for changes in every for _, moved, at in changes.transfers],
    )
    assert {"fill", "deposit", "funding"} <= {line.kind for line in lines}
    assert ("earlier_events" in {line.kind for line in lines}) == (listed == 2)
    balance = account.balances["USDC"].computed
    assert balance is not None
    written = io.StringIO()
    write_ledger(lines, written, as_json=False)
    read = list(csv.DictReader(io.StringIO(written.getvalue())))
    assert sum((D(line["amount"]) for line in read), D(0)) == balance - BROUGHT
    written = io.StringIO()
    write_ledger(lines, written, as_json=True)
    assert D(json.loads(written.getvalue())["totals"]["amount"]) == balance - BROUGHT
