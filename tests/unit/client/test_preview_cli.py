"""What the command line understands of previews, and how it shows them."""

from __future__ import annotations

from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.type.v1 import refusal_pb2
from perpmesh_client.cli import preview
from perpmesh_client.cli.arguments import parse
from rich.console import Console


def test_a_preview_is_typed_like_the_order() -> None:
    typed = parse(["preview", "btc", "buy", "0.5", "--limit", "60000", "--tif", "post-only"])
    assert (typed.markets, typed.typed.size, typed.typed.tif) == (("BTC-PERP",), "0.5", "post-only")


def test_a_preview_that_would_not_pass_names_each_reason_with_what_would() -> None:
    found = pb.PreviewOrderResponse(
        max_size="2", explanation="It would not pass.",
        refusals=[
            refusal_pb2.Refusal(message="Too large.", field="size", passing_value="2"),
            refusal_pb2.Refusal(message="Halted."),
        ],
    )  # fmt: skip
    assert list(preview.preview_lines(found)) == [
        "The largest size that would pass now: 2", "- Too large. size 2 would pass.", "- Halted.",
    ]  # fmt: skip


def test_a_leg_shows_what_it_binds_or_that_it_is_not_known() -> None:
    console = Console(width=160)
    found = pb.PreviewOrderResponse(legs=[pb.PreviewOrderResponse.PreviewLeg(venue="lighter", size="1")])
    with console.capture() as capture:
        console.print(preview.legs_table(found))
    assert "not known" in capture.get()
