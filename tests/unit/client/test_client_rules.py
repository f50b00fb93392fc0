"""The rules of the client that need no connection: what to try again, how long to wait, what was yielded before."""

from __future__ import annotations

import random
import subprocess
import sys

import perpmesh_client
import pytest
from perpmesh_client import PerpmeshError, Trade, Tuning
from perpmesh_client.trades import REMEMBERED_TRADES_MAX, Ledger, Place
from perpmesh_client.transport import Endpoint
from perpmesh_client.tuning import Verdict, backoff_s, judge

from tests.unit.client import client_messages as make


def trade(sequence: int, trade_id: str | None = None) -> Trade:
    return Trade.from_proto(make.trade(sequence, trade_id=trade_id))


@pytest.mark.parametrize(
    ("code", "reason", "had_cursor", "answered", "verdict"),
    [
        ("OUT_OF_RANGE", "CURSOR_EXPIRED", True, True, Verdict.RESTART),
        ("OUT_OF_RANGE", "", True, False, Verdict.RESTART),
        ("INVALID_ARGUMENT", "CURSOR_INVALID", True, True, Verdict.RESTART),
        ("OUT_OF_RANGE", "CURSOR_EXPIRED", False, True, Verdict.RAISE),
        ("INVALID_ARGUMENT", "FIELD_INVALID", True, True, Verdict.RAISE),
        ("UNAVAILABLE", "DRAINING", True, True, Verdict.RESUME),
        ("UNAVAILABLE", "", False, False, Verdict.RESUME),
        ("ABORTED", "SLOW_CONSUMER", True, True, Verdict.RESUME),
        ("INTERNAL", "", True, True, Verdict.RESUME),
        ("INTERNAL", "INTERNAL", True, True, Verdict.RAISE),
        ("RESOURCE_EXHAUSTED", "LIMIT_REACHED", True, True, Verdict.RESUME),
        ("RESOURCE_EXHAUSTED", "LIMIT_REACHED", False, False, Verdict.RAISE),
        ("RESOURCE_EXHAUSTED", "REQUEST_TOO_LARGE", True, True, Verdict.RAISE),
        ("UNAUTHENTICATED", "TOKEN_INVALID", True, True, Verdict.RAISE),
        ("UNIMPLEMENTED", "", False, False, Verdict.RAISE),
    ],
)
def test_an_error_is_resumed_restarted_or_raised(
    code: str, reason: str, had_cursor: bool, answered: bool, verdict: Verdict
) -> None:
    error = PerpmeshError("It failed.", code=code, reason=reason)
    assert judge(error, had_cursor=had_cursor, answered=answered) is verdict


def test_waits_double_up_to_the_cap_are_spread_and_never_next_to_nothing() -> None:
    tuning, dice = Tuning(backoff_first_s=0.1, backoff_max_s=5.0), random.Random(1)
    for failures in (1, 2, 3, 6, 7, 50, 5_000):
        step = min(5.0, 0.1 * 2 ** min(failures - 1, 20))
        waits = [backoff_s(tuning, failures, dice) for _ in range(200)]
        assert all(step / 2 <= wait <= step for wait in waits)
        assert max(waits) - min(waits) > step / 4


def test_a_wait_the_mesh_asks_for_is_a_floor_and_is_bounded() -> None:
    tuning, dice = Tuning(retry_after_max_s=60), random.Random(1)
    assert backoff_s(tuning, 1, dice, retry_after_s=2.5) == 2.5
    assert backoff_s(tuning, 1, dice, retry_after_s=86_400) == 60


@pytest.mark.parametrize(
    ("address", "target", "tls"),
    [
        ("127.0.0.1:8080", "127.0.0.1:8080", False),
        ("mesh", "mesh:8080", False),
        ("http://mesh:9000/", "mesh:9000", False),
        ("https://mesh.example", "mesh.example:443", True),
        ("https://mesh.example:8443", "mesh.example:8443", True),
        ("[::1]:8080", "[::1]:8080", False),
        ("https://[::1]", "[::1]:443", True),
    ],
)
def test_an_address_is_taken_apart(address: str, target: str, tls: bool) -> None:
    assert Endpoint.parse(address) == Endpoint(target=target, tls=tls)


@pytest.mark.parametrize(
    "address", ["", "ftp://mesh", "mesh:port", "mesh:70000", "http://mesh:1/path", ":8080", "mesh:"]
)
def test_an_address_that_is_none_says_what_would_pass(address: str) -> None:
    with pytest.raises(ValueError, match="write host:port, http://host:port or https://host"):
        Endpoint.parse(address)


def test_a_ledger_knows_the_next_the_later_the_seen_and_the_strange() -> None:
    ledger = Ledger()
    assert ledger.place(trade(10)) is Place.NEXT
    ledger.add(trade(10))
    assert ledger.place(trade(11)) is Place.NEXT
    assert ledger.place(trade(13)) is Place.LATER
    assert ledger.place(trade(10)) is Place.SEEN
    assert ledger.place(trade(9)) is Place.SEEN
    assert ledger.place(trade(10, "another")) is Place.STRANGE


def test_a_ledger_is_bounded_and_forgets_the_oldest() -> None:
    ledger = Ledger()
    for sequence in range(1, REMEMBERED_TRADES_MAX + 100):
        ledger.add(trade(sequence))
    kept = ledger._markets["BTC-PERP"]
    assert len(kept.by_sequence) == len(kept.ids) == REMEMBERED_TRADES_MAX
    assert ledger.is_last(trade(REMEMBERED_TRADES_MAX + 99))


def test_renumbered_a_ledger_still_knows_the_ids() -> None:
    ledger = Ledger()
    for sequence in (5, 6):
        ledger.add(trade(sequence))
    ledger.renumber("BTC-PERP")
    assert ledger.last("BTC-PERP") == 0
    assert not ledger.is_new(trade(2, "t6"))
    assert ledger.is_new(trade(2, "fresh"))
    assert ledger.place(trade(1, "fresh")) is Place.NEXT


def test_every_public_name_can_be_imported_and_no_other() -> None:
    assert all(hasattr(perpmesh_client, name) for name in perpmesh_client.__all__)
    assert dir(perpmesh_client) == sorted(perpmesh_client.__all__)
    with pytest.raises(AttributeError, match="perpmesh_client has no 'Order'"):
        perpmesh_client.Order  # noqa: B018


def test_the_client_needs_neither_the_services_nor_rich() -> None:
    """Every module but the command line is imported in a fresh interpreter, and the modules it loaded are listed."""
    program = (
        "import sys, perpmesh_client;"
        "[getattr(perpmesh_client, name) for name in perpmesh_client.__all__];"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    ).stdout.split()
    assert {"services", "rich", "aiohttp", "msgspec"}.isdisjoint(loaded)
    assert {"grpc", "perpmesh"} <= set(loaded)
