"""What the command line understands of reports and previews, and how it shows them."""

from __future__ import annotations

import pytest
from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1 import report_pb2
from perpmesh.type.v1 import cost_pb2, refusal_pb2
from perpmesh_client.cli import reports
from perpmesh_client.cli.arguments import parse
from rich.console import Console
from rich.table import Table


def shown(table: Table) -> str:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_a_report_is_of_an_order_and_a_preview_is_typed_like_the_order() -> None:
    assert parse(["report", "some-id"]).typed.id == "some-id"
    typed = parse(["preview", "btc", "buy", "0.5", "--limit", "60000", "--tif", "post-only"])
    assert (typed.markets, typed.typed.size, typed.typed.tif) == (("BTC-PERP",), "0.5", "post-only")
    with pytest.raises(SystemExit):
        parse(["report"])


def test_a_report_shows_every_line_its_sums_and_every_cause() -> None:
    report = report_pb2.ExecutionReport(
        complete=True, explanation="1 of 1 is filled.", quoted_cost="2", achieved_cost="3", difference="1",
        lines=[report_pb2.ReportLine(kind=cost_pb2.COST_KIND_PLATFORM_FEE, quoted_amount="0", achieved_amount="0")],
        attributions=[
            report_pb2.Attribution(cause=report_pb2.Attribution.CAUSE_BOOK_MOVED, amount="1", venue="lighter"),
            report_pb2.Attribution(cause=report_pb2.Attribution.CAUSE_UNEXPLAINED, amount="0"),
        ],
        phases=[report_pb2.Phase(kind=report_pb2.Phase.KIND_LAST_FILL)],
    )  # fmt: skip
    report.phases[0].duration.FromMilliseconds(1_234)
    costs, causes = shown(reports.lines_table(report)), shown(reports.causes_table(report))
    assert "platform fee" in costs
    assert "sum" in costs
    assert "book moved" in causes
    assert "unexplained" in causes
    assert "1,234.0 ms" in shown(reports.phases_table(report))
    report.complete = False
    assert next(reports.report_lines(report)).startswith("So far: ")


def test_a_preview_that_would_not_pass_names_each_reason_with_what_would() -> None:
    found = pb.PreviewOrderResponse(
        max_size="2", explanation="It would not pass.",
        refusals=[
            refusal_pb2.Refusal(message="Too large.", field="size", passing_value="2"),
            refusal_pb2.Refusal(message="Halted."),
        ],
    )  # fmt: skip
    assert list(reports.preview_lines(found)) == [
        "The largest size that would pass now: 2", "- Too large. size 2 would pass.", "- Halted.",
    ]  # fmt: skip
