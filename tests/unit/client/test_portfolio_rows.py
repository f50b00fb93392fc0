"""Rows for data frames, the accountant's ledger, and the chart of a terminal."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from decimal import Decimal

from perpmesh.portfolio.v1 import funding_payment_pb2, position_pb2, position_record_pb2, transfer_pb2
from perpmesh.type.v1 import cost_pb2, position_side_pb2
from perpmesh_client.cli.portfolio import draw_curve, write_ledger
from perpmesh_client.ledger import ledger, totals
from perpmesh_client.portfolio import rows

D = Decimal
FEE = cost_pb2.COST_KIND_VENUE_FEE
KINDS = position_record_pb2.PositionEvent


def test_a_row_has_decimals_times_words_and_a_column_for_each_fee() -> None:
    message = position_pb2.Position(
        position_id="12", market="BTC-PERP", side=position_side_pb2.POSITION_SIDE_SHORT, size="-1.50",
        costs=[cost_pb2.Cost(kind=FEE, amount="0.1")], reported=position_pb2.ReportedPosition(size="-1.5"),
    )  # fmt: skip
    message.create_time.FromDatetime(datetime(2026, 9, 1, tzinfo=UTC))
    (row,) = rows([message])
    assert (row["size"], row["side"], row["position_id"]) == (D("-1.50"), "short", "12")
    assert (row["cost_venue_fee"], row["reported_size"], row["mark_price"]) == (D("0.1"), D("-1.5"), None)
    assert row["create_time"] == datetime(2026, 9, 1, tzinfo=UTC)
    assert row["reported_venue_time"] is None


def a_record() -> position_record_pb2.PositionRecord:
    """A life of five events of which two are listed."""
    fee, funding = cost_pb2.Cost(kind=FEE, amount="0.2"), cost_pb2.Cost(kind=cost_pb2.COST_KIND_FUNDING, amount="1.5")
    return position_record_pb2.PositionRecord(
        position_id="p", account_id="a", venue="lighter", market="ETH-PERP", realized_pnl="30", funding_paid="2",
        costs=[cost_pb2.Cost(kind=FEE, amount="0.5")], event_count=5,
        events=[
            KINDS(kind=KINDS.KIND_FILL, size_change="-1", price="10", realized_pnl="20", costs=[fee], fill_id="f"),
            KINDS(kind=KINDS.KIND_FUNDING, costs=[funding]),
        ],
    )  # fmt: skip


def test_the_ledger_adds_up_whatever_is_listed() -> None:
    lone = funding_payment_pb2.FundingPayment(funding_payment_id="l", amount="-3")
    counted = funding_payment_pb2.FundingPayment(funding_payment_id="c", position_id="p", amount="-1.5")
    moved = transfer_pb2.Transfer(transfer_id="t", kind=transfer_pb2.Transfer.KIND_DEPOSIT, asset="USDC", amount="100")
    lines = ledger([a_record()], [lone, counted], [moved])
    assert [line.kind for line in lines if line.kind == "earlier_events"] == ["earlier_events"]
    sums = totals(lines)
    assert (sums["realized_pnl"], sums["fees"], sums["funding_paid"]) == (D(30), D("0.5"), D(5))
    assert sums["amount"] == D(30) - D("0.5") - D(5) + D(100)
    text = io.StringIO()
    write_ledger(lines, text, as_json=False)
    read = list(csv.DictReader(io.StringIO(text.getvalue())))
    assert sum((D(line["amount"]) for line in read), D(0)) == sums["amount"]
    text = io.StringIO()
    write_ledger(lines, text, as_json=True)
    found = json.loads(text.getvalue())
    assert sum((D(line["amount"]) for line in found["entries"]), D(0)) == D(found["totals"]["amount"])


def test_a_curve_fits_its_place_and_rises_where_its_values_do() -> None:
    drawn = draw_curve([D(number) for number in range(100)], width=40, height=6).splitlines()
    assert len(drawn) == 6
    assert all(len(line) == 13 + 40 for line in drawn)
    assert drawn[0].startswith("       99.00")
    assert drawn[0].rstrip().endswith("█")
    assert drawn[-1][13:].startswith(("▁", "▂"))
    assert draw_curve([D(1)], width=40, height=6) == "too little for a curve"
    assert len(draw_curve([D(5), D(5)], width=40, height=2).splitlines()) == 2
