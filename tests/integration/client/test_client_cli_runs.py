"""The `perpmesh` command as a process: what it prints where, and the code it exits with."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import re
import resource
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import perpmesh_client
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb

from services.domain.errors import DomainError, FieldViolation, Reason
from tests.integration.client.client_process import DEADLINE_S, MODULE, environment, perpmesh
from tests.integration.client.scripted_mesh import ScriptedMesh, hang, messages, steps
from tests.unit.client.client_messages import candle, funding, funding_point, market, order_book, price, trade, venue


def rest_json(message: Message) -> dict[str, object]:
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["watch", "btc", "eth"], [price(), price("ETH-PERP")]),
        (["book", "btc"], [order_book()]),
        (["trades", "btc"], [trade(2), trade(1)]),
        (["funding"], [funding()]),
        (["candles", "btc"], [candle(1, closed=False), candle(0)]),
        (["funding", "btc", "--history"], [funding_point(0), funding_point(1)]),
        (["venues"], [venue()]),
    ],
)
async def test_json_once_prints_what_rest_gives_a_line_each(
    filled: ScriptedMesh, arguments: Sequence[str], expected: Sequence[Message]
) -> None:
    done = await perpmesh(*arguments, "--json", "--once", "--address", filled.address)
    assert (done.code, done.err) == (0, "")
    assert done.objects == [rest_json(message) for message in expected]


@pytest.mark.parametrize("arguments", [["markets", "--venue", "lighter"], ["market", "btc"]])
async def test_lists_print_json_too(filled: ScriptedMesh, arguments: Sequence[str]) -> None:
    done = await perpmesh(*arguments, "--json", PERPMESH_ADDRESS=filled.address)
    assert (done.code, done.objects) == (0, [rest_json(market())])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["watch", "btc"], [price(sequence=1), price(sequence=2)]),
        (["book", "btc"], [order_book()]),
        (["trades", "btc"], [trade(1), trade(2)]),
        (["funding", "btc"], [funding()]),
        (["candles", "btc"], [candle(1, closed=False), candle(1)]),
        (["venues"], [venue()]),
    ],
)
async def test_live_json_is_a_line_for_every_change_until_ctrl_c(
    filled: ScriptedMesh, arguments: Sequence[str], expected: Sequence[Message]
) -> None:
    done = await perpmesh(*arguments, "--json", "--address", filled.address, lines=len(expected))
    assert (done.code, done.err) == (130, "")
    assert done.objects == [rest_json(message) for message in expected]


async def test_a_gap_that_stays_is_a_line_among_the_trades(filled: ScriptedMesh) -> None:
    filled.stream("WatchTrades", steps(*messages(pb.WatchTradesResponse, "trade", [trade(1), trade(4)]), hang()))
    filled.answer("ListTrades", pb.ListTradesResponse())
    done = await perpmesh("trades", "btc", "--json", "--address", filled.address, lines=3)
    first, gap, last = done.objects
    assert (first["sequence"], last["sequence"]) == ("1", "4")
    assert isinstance(gap["gap"], dict)
    assert (gap["gap"]["from_sequence"], gap["gap"]["to_sequence"]) == ("2", "3")


async def test_without_a_terminal_the_views_are_plain_lines_that_say_what_is_simulated(filled: ScriptedMesh) -> None:
    live_view = await perpmesh("watch", "btc", "--address", filled.address, lines=2)
    assert live_view.code == 130
    assert "\x1b" not in live_view.out
    assert "hyperliquid(sim)=LIVE" in live_view.out
    once = await perpmesh("watch", "--once", "--address", filled.address)
    assert once.code == 0
    assert "\x1b" not in once.out
    assert "SIMULATED" in once.out


async def test_a_mesh_that_does_not_run_is_one_helpful_sentence() -> None:
    for arguments in (["watch", "btc"], ["venues", "--once", "--json"]):
        done = await perpmesh(*arguments, "--address", "127.0.0.1:1")
        assert (done.code, done.out) == (1, "")
        assert done.err == (
            "perpmesh: nothing answers at 127.0.0.1:1: start it with `make up`, or say where it is with --address or "
            "PERPMESH_ADDRESS\n"
        )


async def test_an_error_of_the_mesh_is_one_sentence_with_the_field(server: ScriptedMesh) -> None:
    fields = (FieldViolation("markets[0]", "must be a market's canonical name"),)
    server.answer("BatchGetPrices", DomainError(Reason.FIELD_INVALID, "The request is malformed.", fields=fields))
    done = await perpmesh("watch", "b!c", "--once", "--address", server.address)
    assert (done.code, done.out) == (1, "")
    assert done.err == "perpmesh: The request is malformed. markets[0]: must be a market's canonical name\n"


async def test_wrong_usage_exits_with_2() -> None:
    wrong = await perpmesh("watch", "--depth", "5")
    assert (wrong.code, wrong.out) == (2, "")
    address = await perpmesh("venues", "--once", "--address", "ftp://mesh")
    assert address.code == 2
    assert "write host:port" in address.err


async def test_a_reader_that_leaves_ends_it_quietly(filled: ScriptedMesh) -> None:
    async def endless(_: object):  # type: ignore[no-untyped-def]
        for number in range(1, 100_000):
            yield pb.WatchPricesResponse(cursor=f"c{number}", price=price(sequence=number))

    filled.stream("WatchPrices", endless)
    command = f"{' '.join(MODULE)} watch btc --json --address {filled.address} | head -n 1; echo ${{PIPESTATUS[0]}}"
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment()
    )
    async with asyncio.timeout(DEADLINE_S):
        out, err = await process.communicate()
    assert out.decode().splitlines()[1:] == ["0"]
    assert err == b""


async def test_record_becomes_the_recorder_in_a_checkout() -> None:
    done = await perpmesh("record", "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("usage: perpmesh record")
    assert "--venue" in done.out


async def test_record_names_what_is_missing_outside_a_checkout(tmp_path: Path) -> None:
    client = Path(perpmesh_client.__file__).parents[1]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-S",  # without site-packages, where the checkout may be installed
        *MODULE[1:],
        "record",
        "--anything",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=tmp_path,
        env={**environment(), "PYTHONPATH": str(client)},
    )
    out, err = await process.communicate()
    assert (process.returncode, out) == (1, b"")
    assert b"run it from a checkout" in err


async def test_help_is_there_at_once_and_loads_nothing_slow() -> None:
    least = min([await _cpu_of_help() for _ in range(5)])
    assert least < 0.150, f"perpmesh --help took {least * 1e3:.0f} ms of a processor at best"
    program = (
        "import sys\ntry:\n from perpmesh_client.cli import main; main(['--help'])\n"
        "except SystemExit: print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
    )
    _, loaded = await process.communicate()
    assert {"grpc", "google", "rich", "asyncio"}.isdisjoint(loaded.decode().split())


async def _cpu_of_help() -> float:
    """Return the processor's seconds that one run took: what else runs on the machine is not in them."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = await perpmesh("--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.code == 0
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


async def on_a_terminal(
    arguments: Sequence[str],
    until: str,
    *,
    then: tuple[Callable[[], Awaitable[None]], str] | None = None,
    **variables: str,
) -> tuple[int, str]:
    """Run the command on a terminal of its own until it has shown `until`; then press Ctrl-C.

    `then` is something to do at that point, and what must be shown after it.
    """
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    process = await asyncio.create_subprocess_exec(
        *MODULE,
        *arguments,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        env=environment(TERM="xterm-256color", COLUMNS="180", LINES="24", **variables),
    )
    os.close(slave)
    seen, more, loop = b"", asyncio.Event(), asyncio.get_running_loop()
    loop.add_reader(master, more.set)

    def drain() -> None:
        nonlocal seen
        more.clear()
        with contextlib.suppress(OSError):  # nothing more now, or the terminal's other end is closed
            while data := os.read(master, 1 << 16):  # a terminal gives some 4 KiB at a time
                seen += data

    async def wait_for(text: str) -> None:
        while text.encode() not in re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", seen):
            await more.wait()
            drain()

    try:
        async with asyncio.timeout(DEADLINE_S):
            await wait_for(until)
            if then is not None:
                act, shown = then
                await act()
                await wait_for(shown)
            process.send_signal(signal.SIGINT)
            code = await process.wait()
        drain()
    finally:
        loop.remove_reader(master)
        os.close(master)
    return code, seen.decode(errors="replace")


@pytest.mark.parametrize(
    ("arguments", "until"),
    [
        (["watch"], "BTC-PERP"),
        (["book", "btc"], "100,002.5"),
        (["funding"], "SHORT/LONG"),
        (["candles", "btc"], "all venues"),
        (["venues"], "subscriptions"),
    ],
)
async def test_a_live_view_draws_on_a_screen_of_its_own_and_gives_the_terminal_back(
    filled: ScriptedMesh, arguments: Sequence[str], until: str
) -> None:
    code, seen = await on_a_terminal([*arguments, "--address", filled.address], until)
    assert code == 130
    assert seen.count("\x1b[?1049h") == seen.count("\x1b[?1049l") == 1
    assert seen.rindex("\x1b[?25h") > seen.index("\x1b[?25l"), "the cursor must be shown again"
    assert "Traceback" not in seen


async def test_no_color_is_honored(filled: ScriptedMesh) -> None:
    colors = re.compile(r"\x1b\[[0-9;]*3[0-7][0-9;]*m")
    arguments = ["watch", "--address", filled.address]
    assert colors.search((await on_a_terminal(arguments, "BTC-PERP"))[1])
    assert not colors.search((await on_a_terminal(arguments, "BTC-PERP", NO_COLOR="1"))[1])


async def test_a_view_on_a_screen_says_that_it_reconnects(filled: ScriptedMesh) -> None:
    arguments = ["watch", "--address", filled.address]
    code, seen = await on_a_terminal(arguments, "BTC-PERP", then=(filled.kill, "RECONNECTING"))
    assert code == 130
    assert "Traceback" not in seen
