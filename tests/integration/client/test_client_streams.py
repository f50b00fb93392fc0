"""A stream outlives its connections: resumed, restarted, or ended with the reason."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.protobuf.message import Message
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb
from perpmesh.marketdata.v1 import price_pb2
from perpmesh.type.v1 import stream_pb2
from perpmesh_client import Gap, Perpmesh, PerpmeshError, Price, Status, Tuning, Watch

from services.domain.errors import DomainError, Reason
from tests.integration.client.conftest import FAST
from tests.integration.client.scripted_mesh import Cut, FreezableLink, ScriptedMesh, end, hang, live, messages, steps
from tests.unit.client.client_messages import funding, price, venue


def prices(first: int, last: int) -> list[Message]:
    numbered = [price(sequence=number) for number in range(first, last + 1)]
    return messages(pb.WatchPricesResponse, "price", numbered, first)


async def take(watch: Watch[Price], count: int) -> list[int]:
    async with asyncio.timeout(5):
        return [(await anext(watch)).sequence for _ in range(count)]


async def test_a_server_killed_and_restarted_on_its_port_is_resumed_from_the_cursor(
    server: ScriptedMesh, mesh: Perpmesh, gaps: list[Gap]
) -> None:
    server.stream("WatchPrices", steps(*prices(1, 3), hang()), steps(*prices(4, 5), hang()))
    watch = mesh.watch_prices("BTC-PERP")
    assert await take(watch, 3) == [1, 2, 3]
    reading = asyncio.create_task(take(watch, 2))
    await server.kill()
    await server.start()
    assert await reading == [4, 5]
    assert [request.cursor for request in server.requests["WatchPrices"]] == ["", "c3"]
    assert gaps == []


async def test_while_it_is_made_again_a_stream_says_so_and_why(server: ScriptedMesh, mesh: Perpmesh) -> None:
    server.stream(
        "WatchPrices",
        steps(*prices(1, 1), live(pb.WatchPricesResponse), Cut(grpc.StatusCode.UNAVAILABLE)),
        steps(answer := hang(), *prices(2, 2), hang()),
    )
    watch = mesh.watch_prices("BTC-PERP")
    assert watch.status is Status.CONNECTING
    assert await take(watch, 1) == [1]
    assert watch.status is Status.CATCHING_UP
    reading = asyncio.create_task(take(watch, 1))
    await server.until(lambda: len(server.requests["WatchPrices"]) == 2)
    assert watch.status is Status.RECONNECTING
    assert watch.problem is not None
    assert watch.problem.code == "UNAVAILABLE"
    answer.set()
    assert await reading == [2]
    assert (watch.status, watch.problem) == (Status.CATCHING_UP, None)


async def test_a_cursor_too_old_starts_again_without_one_and_says_what_may_be_missing(
    server: ScriptedMesh, mesh: Perpmesh, gaps: list[Gap]
) -> None:
    expired = DomainError(Reason.CURSOR_EXPIRED, "The cursor is too old.", metadata={"earliest": "c90"})
    server.stream(
        "WatchPrices",
        steps(*prices(1, 2), Cut(grpc.StatusCode.UNAVAILABLE)),
        steps(expired),
        steps(*prices(95, 96), hang()),
    )
    assert await take(mesh.watch_prices("BTC-PERP"), 4) == [1, 2, 95, 96]
    assert [request.cursor for request in server.requests["WatchPrices"]] == ["", "c2", ""]
    assert [(gap.call, gap.market, gap.message) for gap in gaps] == [("WatchPrices", "", "The cursor is too old.")]


async def test_out_of_range_without_a_cursor_is_the_callers_to_know(server: ScriptedMesh, mesh: Perpmesh) -> None:
    server.stream("WatchPrices", steps(DomainError(Reason.CURSOR_EXPIRED, "There is nothing to start from.")))
    with pytest.raises(PerpmeshError, match="nothing to start from") as caught:
        await take(mesh.watch_prices("BTC-PERP"), 1)
    assert caught.value.code == "OUT_OF_RANGE"
    assert len(server.requests["WatchPrices"]) == 1


@pytest.mark.parametrize("reason", ["DRAINING", "SLOW_CONSUMER", "A_REASON_OF_THE_FUTURE"])
async def test_a_resumable_end_is_resumed_whatever_its_reason(
    server: ScriptedMesh, mesh: Perpmesh, gaps: list[Gap], reason: str
) -> None:
    server.stream(
        "WatchPrices",
        steps(*prices(1, 1), end(pb.WatchPricesResponse, reason, resumable=True)),
        steps(*prices(2, 2), hang()),
    )
    assert await take(mesh.watch_prices("BTC-PERP"), 2) == [1, 2]
    assert [request.cursor for request in server.requests["WatchPrices"]] == ["", "c1"]
    assert gaps == []


async def test_an_end_for_good_raises_with_the_reason_code_and_category(server: ScriptedMesh, mesh: Perpmesh) -> None:
    server.stream("WatchPrices", steps(*prices(1, 1), end(pb.WatchPricesResponse, "TOKEN_INVALID", resumable=False)))
    watch = mesh.watch_prices("BTC-PERP")
    assert await take(watch, 1) == [1]
    with pytest.raises(PerpmeshError, match="The stream ends: TOKEN_INVALID") as caught:
        await anext(watch)
    assert (caught.value.code, caught.value.reason) == ("UNAUTHENTICATED", "TOKEN_INVALID")
    assert caught.value.category == "authentication"
    assert watch.status is Status.CLOSED


async def test_a_stream_that_ends_without_a_word_is_resumed(server: ScriptedMesh, mesh: Perpmesh) -> None:
    server.stream("WatchPrices", steps(*prices(1, 2)), steps(*prices(3, 3), hang()))
    assert await take(mesh.watch_prices("BTC-PERP"), 3) == [1, 2, 3]
    assert [request.cursor for request in server.requests["WatchPrices"]] == ["", "c2"]


@pytest.mark.parametrize("code", ["UNAVAILABLE", "INTERNAL", "UNKNOWN", "CANCELLED", "DEADLINE_EXCEEDED"])
async def test_what_a_proxy_does_to_a_stream_is_resumed(server: ScriptedMesh, mesh: Perpmesh, code: str) -> None:
    server.stream("WatchPrices", steps(*prices(1, 1), Cut(grpc.StatusCode[code])), steps(*prices(2, 2), hang()))
    assert await take(mesh.watch_prices("BTC-PERP"), 2) == [1, 2]


@pytest.mark.parametrize("reason", [Reason.INTERNAL, Reason.MARKET_UNKNOWN, Reason.FIELD_INVALID])
async def test_what_another_attempt_cannot_mend_is_raised_at_once(
    server: ScriptedMesh, mesh: Perpmesh, reason: Reason
) -> None:
    server.stream("WatchPrices", steps(*prices(1, 1), DomainError(reason, "It cannot be.")), steps(*prices(2, 2)))
    watch = mesh.watch_prices("BTC-PERP")
    assert await take(watch, 1) == [1]
    with pytest.raises(PerpmeshError, match="It cannot be") as caught:
        await anext(watch)
    assert caught.value.reason == reason.value
    assert len(server.requests["WatchPrices"]) == 1


async def test_a_limit_met_while_reconnecting_is_waited_out_and_one_at_the_start_is_raised(
    server: ScriptedMesh, mesh: Perpmesh
) -> None:
    full = DomainError(Reason.LIMIT_REACHED, "Too many streams.", retry_after_s=0.2)
    server.stream(
        "WatchPrices", steps(*prices(1, 1), Cut(grpc.StatusCode.UNAVAILABLE)), steps(full), steps(*prices(2, 2), hang())
    )
    loop = asyncio.get_running_loop()
    watch = mesh.watch_prices("BTC-PERP")
    assert await take(watch, 1) == [1]
    began = loop.time()
    assert await take(watch, 1) == [2]
    assert loop.time() - began >= 0.2
    server.stream("WatchPrices", steps(full))
    with pytest.raises(PerpmeshError, match="Too many streams") as caught:
        await take(mesh.watch_prices("BTC-PERP"), 1)
    assert caught.value.retry_after is not None
    assert caught.value.retry_after.total_seconds() == 0.2


async def test_a_silent_line_is_noticed_and_another_connection_is_made(server: ScriptedMesh, gaps: list[Gap]) -> None:
    link = FreezableLink(server.port)
    await link.start()
    tuning = Tuning(silence_timeout_s=0.4, backoff_first_s=0.01, backoff_max_s=0.05, call_timeout_s=2)
    server.stream("WatchPrices", steps(*prices(1, 2), hang()), steps(*prices(3, 3), hang()))
    server.answer("GetPrice", pb.GetPriceResponse(price=price(sequence=9)))
    async with Perpmesh(f"127.0.0.1:{link.port}", on_gap=gaps.append, tuning=tuning) as mesh:
        watch = mesh.watch_prices("BTC-PERP")
        assert await take(watch, 2) == [1, 2]
        link.freeze()
        assert await take(watch, 1) == [3]
        assert link.accepted == 2, "the dead connection must not be used again"
        assert (await mesh.price("BTC-PERP")).sequence == 9
        assert link.accepted == 2
    assert [request.cursor for request in server.requests["WatchPrices"]] == ["", "c2"]
    await link.close()


class Warp:
    """Moves the time of the event loop on, as its timers see it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        self._ahead_s, real = 0.0, loop.time
        monkeypatch.setattr(loop, "time", lambda: real() + self._ahead_s)

    async def on(self, seconds: float) -> None:
        """Let so much time pass, a quarter of a second at a time, and every timer that falls due run."""
        for _ in range(round(seconds * 4)):
            self._ahead_s += 0.25
            for _turn in range(3):
                await asyncio.sleep(0)


async def test_heartbeats_keep_a_quiet_stream_and_a_slow_reader_is_no_silence(
    server: ScriptedMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = [asyncio.Event() for _ in range(6)]
    beats = [pb.WatchPricesResponse(cursor=f"beat{n}", heartbeat=stream_pb2.Heartbeat()) for n in range(6)]
    quiet = [step for pair in zip(due, beats, strict=True) for step in pair]
    server.stream(
        "WatchPrices", steps(*prices(1, 1), live(pb.WatchPricesResponse), *quiet, *prices(2, 3), hang()), steps(hang())
    )
    async with Perpmesh(server.address, tuning=Tuning(silence_timeout_s=20)) as mesh:
        watch = mesh.watch_prices("BTC-PERP")
        assert (await anext(watch)).sequence == 1
        reading = asyncio.create_task(anext(watch))
        warp = Warp(monkeypatch)
        for event, beat in zip(due, beats, strict=True):
            await warp.on(15)  # what a heartbeat comes after, and less than the silence that is a fault
            event.set()
            while beat is not beats[-1] and watch.cursor != beat.cursor:  # noqa: ASYNC110 - the reader is the client itself
                await asyncio.sleep(0)
        assert (await reading).sequence == 2
        await warp.on(120)
        assert (await anext(watch)).sequence == 3
    assert len(server.requests["WatchPrices"]) == 1


async def test_a_stream_without_heartbeats_is_made_again(server: ScriptedMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    server.stream("WatchPrices", steps(*prices(1, 1), hang()), steps(*prices(2, 2), hang()))
    async with Perpmesh(server.address, tuning=Tuning(silence_timeout_s=20, backoff_first_s=0.01)) as mesh:
        watch = mesh.watch_prices("BTC-PERP")
        assert (await anext(watch)).sequence == 1
        reading = asyncio.create_task(anext(watch))
        await Warp(monkeypatch).on(30)
        assert (await reading).sequence == 2
    assert len(server.requests["WatchPrices"]) == 2


async def test_a_mesh_that_never_answers_is_given_up_after_the_connect_timeout() -> None:
    tuning = Tuning(connect_timeout_s=0.3, backoff_first_s=0.02, backoff_max_s=0.05)
    async with Perpmesh("127.0.0.1:1", tuning=tuning) as mesh:
        with pytest.raises(PerpmeshError, match=r"Nothing answers at 127\.0\.0\.1:1") as caught:
            await take(mesh.watch_prices("BTC-PERP"), 1)
    assert caught.value.code == "UNAVAILABLE"
    assert caught.value.category == "network"


async def test_gaps_of_a_price_stream_are_reported_and_prices_go_on(
    server: ScriptedMesh, mesh: Perpmesh, gaps: list[Gap]
) -> None:
    lost = stream_pb2.Gap(market="BTC-PERP", from_sequence=2, to_sequence=6, message="You read too slowly.")
    server.stream(
        "WatchPrices",
        steps(*prices(1, 1), live(pb.WatchPricesResponse), pb.WatchPricesResponse(gap=lost), *prices(7, 7), hang()),
    )
    watch = mesh.watch_prices("BTC-PERP")
    assert await take(watch, 2) == [1, 7]
    assert watch.status is Status.LIVE
    assert gaps == [
        Gap(
            call="WatchPrices",
            market="BTC-PERP",
            venue="",
            from_sequence=2,
            to_sequence=6,
            message="You read too slowly.",
        )
    ]


async def test_many_markets_travel_in_batches_and_come_out_one_by_one(server: ScriptedMesh, mesh: Perpmesh) -> None:
    names = [f"M{number}-PERP" for number in range(40)]
    batch = price_pb2.Price
    listed: list[batch] = [price(market=name) for name in names]
    server.stream(
        "WatchPrices",
        steps(
            pb.WatchPricesResponse(cursor="c1", prices=pb.PriceBatch(prices=listed)),
            pb.WatchPricesResponse(cursor="c2", price=price(market="M7-PERP", sequence=2)),
            hang(),
        ),
    )
    watch = mesh.watch_prices(*names, min_interval=0.25)
    async with asyncio.timeout(5):
        first = [await anext(watch) for _ in range(40)]
        assert watch.cursor == "", "the batch is not finished before its last price is"
        later = await anext(watch)
    assert [item.market for item in first] == names
    assert (later.market, later.sequence, watch.cursor) == ("M7-PERP", 2, "c1")
    request = server.requests["WatchPrices"][0]
    assert request.batch_size == 40
    assert request.min_interval.ToMilliseconds() == 250
    await watch.aclose()
    async with mesh.watch_prices() as everything:
        await anext(everything)
    assert [request.batch_size for request in server.requests["WatchPrices"]] == [40, 100]


async def test_a_kept_cursor_resumes_in_another_process(server: ScriptedMesh, mesh: Perpmesh) -> None:
    server.stream("WatchPrices", steps(*prices(8, 9), hang()))
    assert await take(mesh.watch_prices("BTC-PERP", cursor="c7"), 2) == [8, 9]
    assert server.requests["WatchPrices"][0].cursor == "c7"


async def test_leaving_a_watch_ends_its_stream_at_the_server(server: ScriptedMesh, mesh: Perpmesh) -> None:
    server.stream("WatchPrices", steps(*prices(1, 1), hang()))
    async with mesh.watch_prices("BTC-PERP") as watch:
        await anext(watch)
        assert server.open_streams == 1
    await server.until(lambda: server.open_streams == 0)
    async for _ in mesh.watch_prices("BTC-PERP"):
        break
    await server.until(lambda: server.open_streams == 0)


async def test_canceling_the_reader_cancels_and_is_not_taken_for_silence(server: ScriptedMesh, mesh: Perpmesh) -> None:
    server.stream("WatchPrices", steps(hang()))
    reading = asyncio.create_task(take(mesh.watch_prices("BTC-PERP"), 1))
    await server.until(lambda: server.open_streams == 1)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await server.until(lambda: server.open_streams == 0)
    assert len(server.requests["WatchPrices"]) == 1


async def test_closing_the_client_ends_its_streams_without_an_error(server: ScriptedMesh, mesh: Perpmesh) -> None:
    server.stream("WatchPrices", steps(*prices(1, 1), hang()))

    async def read() -> list[int]:
        return [item.sequence async for item in mesh.watch_prices("BTC-PERP")]

    reading = asyncio.create_task(read())
    await server.until(lambda: server.open_streams == 1)
    await mesh.aclose()
    async with asyncio.timeout(5):
        assert await reading in ([], [1])


async def test_funding_and_venues_are_watched_the_same_way(server: ScriptedMesh, mesh: Perpmesh) -> None:
    server.stream("WatchFundingRates", steps(pb.WatchFundingRatesResponse(cursor="c1", funding_rate=funding()), hang()))
    server.stream("WatchVenues", steps(pb.WatchVenuesResponse(cursor="c1", venue=venue()), hang()))
    async with asyncio.timeout(5), mesh.watch_funding_rates("BTC-PERP", min_interval=1) as rates:
        assert (await anext(rates)).highest_venue == "hyperliquid"
    async with asyncio.timeout(5), mesh.watch_venues() as venues:
        assert (await anext(venues)).connections[0].name == "ws-0"


async def test_every_stream_of_a_client_shares_one_connection_until_it_dies(server: ScriptedMesh) -> None:
    link = FreezableLink(server.port)
    await link.start()
    server.stream("WatchPrices", steps(*prices(1, 1), hang()))
    async with Perpmesh(f"127.0.0.1:{link.port}", tuning=FAST) as mesh:
        watches = [mesh.watch_prices("BTC-PERP") for _ in range(5)]
        for watch in watches:
            assert await take(watch, 1) == [1]
        assert link.accepted == 1
        for watch in watches:
            await watch.aclose()
    await link.close()
