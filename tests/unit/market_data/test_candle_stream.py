"""Streams of candles: collapsed within a candle, never over one; every loss told; resumed where they stood."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb

from services.chassis.watch import WatchRequest
from services.domain.errors import DomainError, Reason
from services.market_data.model.candle import MINUTE, MINUTE_NS, Candle
from services.market_data.rpc.candle_stream import KEPT, LINGER_S, QUEUED_MAX, CandleHub, CandleHubs
from services.market_data.rpc.framing import WatchFraming
from tests.support.clock import ManualClock

BTC = frozenset({"BTC-PERP"})


def candle(number: int, volume: int = 1, *, closed: bool = False) -> Candle:
    one = Decimal(1)
    return Candle(
        market="BTC-PERP",
        venue="",
        interval_s=MINUTE,
        open_ns=number * MINUTE_NS,
        open=one,
        high=one,
        low=one,
        close=one,
        volume=Decimal(volume),
        quote_volume=None,
        trade_count=1,
        first_ns=0,
        last_ns=0,
        closed=closed,
    )


def hub(clock: ManualClock) -> CandleHub:
    made = CandleHub(epoch=7, framing=WatchFraming(), clock=clock, streams_max=10)
    made.follow("BTC-PERP")
    return made


async def read(stream: AsyncIterator[bytes]) -> pb.WatchCandlesResponse:
    return pb.WatchCandlesResponse.FromString(await anext(stream))


async def test_a_slow_reader_gets_the_last_state_of_every_candle_once() -> None:
    served = hub(ManualClock())
    stream = served.stream(WatchRequest(keys=BTC))
    assert (await read(stream)).WhichOneof("event") == "live"
    for number in range(QUEUED_MAX):
        for volume in (1, 2, 3):
            served.put(candle(number, volume))
        served.put(candle(number, 4, closed=True))
    seen = [(await read(stream)).candle for _ in range(QUEUED_MAX)]
    assert [(one.volume, one.closed) for one in seen] == [("4", True)] * QUEUED_MAX
    assert len({one.open_time.seconds for one in seen}) == QUEUED_MAX


async def test_a_reader_too_slow_even_for_that_is_told() -> None:
    served = hub(ManualClock())
    stream = served.stream(WatchRequest(keys=BTC))
    await read(stream)
    for number in range(QUEUED_MAX + 5):
        served.put(candle(number, closed=True))
    gap = await read(stream)
    assert gap.WhichOneof("event") == "gap"
    assert gap.gap.market == "BTC-PERP"
    assert (await read(stream)).candle.open_time.seconds == 5 * 60


async def test_a_cursor_resumes_with_what_changed_after_it_and_is_refused_when_that_is_not_kept() -> None:
    served = hub(ManualClock())
    stream = served.stream(WatchRequest(keys=BTC))
    cursor = (await read(stream)).cursor
    for number in range(3):
        served.put(candle(number, closed=True))
    again = served.stream(WatchRequest(keys=BTC, cursor=cursor))
    assert [(await read(again)).candle.open_time.seconds for _ in range(3)] == [0, 60, 120]
    assert (await read(again)).WhichOneof("event") == "live"
    for number in range(3, KEPT + 4):
        served.put(candle(number, closed=True))
    with pytest.raises(DomainError) as refused:
        await anext(served.stream(WatchRequest(keys=BTC, cursor=cursor)))
    assert refused.value.reason is Reason.CURSOR_EXPIRED


async def test_a_state_that_was_sent_is_not_sent_again_and_another_market_is_not_kept() -> None:
    served = hub(ManualClock())
    served.put(candle(1))
    position = served.position
    served.put(candle(1))
    assert served.position == position
    assert list(served.markets) == ["BTC-PERP"]


async def test_a_hub_nobody_reads_lingers_and_is_dropped_with_its_cursors() -> None:
    clock = ManualClock()
    hubs = CandleHubs(epoch=1, framing=WatchFraming(), clock=clock, streams_max=10)
    first = hubs.get(MINUTE, "", ["BTC-PERP"])
    assert hubs.wanted() == {("BTC-PERP", MINUTE, "")}
    cursor = first.cursor(0)
    await clock.advance(LINGER_S + 1)
    hubs.expire()
    assert hubs.wanted() == frozenset()
    with pytest.raises(DomainError) as refused:
        hubs.get(MINUTE, "", ["BTC-PERP"]).parse_cursor(cursor)
    assert refused.value.reason is Reason.CURSOR_EXPIRED
