"""Hand-written frames are what the generated classes read, for every Watch call of the contract."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb

from services.domain.errors import Reason
from services.market_data.rpc.framing import WatchFraming, varint

WATCHES = {name: getattr(pb, name) for name in dir(pb) if name.startswith("Watch") and name.endswith("Response")}
VALUE_FIELDS = {
    "WatchVenuesResponse": "venue",
    "WatchPricesResponse": "price",
    "WatchOrderBookResponse": "snapshot",
    "WatchTradesResponse": "trade",
    "WatchFundingRatesResponse": "funding_rate",
    "WatchCandlesResponse": "candle",
}


def test_every_watch_call_is_known_here() -> None:
    assert WATCHES.keys() == VALUE_FIELDS.keys()


@pytest.mark.parametrize("name", sorted(WATCHES))
@pytest.mark.parametrize("size", [0, 1, 127, 128, 20_000])
def test_a_framed_value_reads_as_the_generated_class_wrote_it(name: str, size: int) -> None:
    message = WATCHES[name](cursor="p1-2")
    value = getattr(message, VALUE_FIELDS[name])
    value.SetInParent()
    if size:
        setattr(value, "venue" if name == "WatchVenuesResponse" else "market", "x" * size)
    assert WatchFraming().value("p1-2", value.SerializeToString()) == message.SerializeToString()


@pytest.mark.parametrize("name", sorted(WATCHES))
def test_marks_read_the_same_in_every_watch_call(name: str) -> None:
    framing, kind = WatchFraming(), WATCHES[name]
    assert kind.FromString(framing.live("c", 5)).live.send_time.ToNanoseconds() == 5
    assert kind.FromString(framing.heartbeat("c", 7)).heartbeat.watermark_time.ToNanoseconds() == 7
    gap = kind.FromString(framing.gap("c", "BTC-PERP", 3, 9)).gap
    assert (gap.market, gap.from_sequence, gap.to_sequence) == ("BTC-PERP", 3, 9)
    assert kind.FromString(framing.venue_gap("c", "BTC-PERP", "lighter", "why")).gap.venue == "lighter"
    end = kind.FromString(framing.end("c", Reason.DRAINING, "stopping")).end
    assert (end.reason, end.resumable) == ("DRAINING", True)


def test_a_batch_reads_as_the_generated_class_wrote_it() -> None:
    message = pb.WatchPricesResponse(cursor="p1-9")
    for market in ("A-PERP", "B-PERP" * 40):
        message.prices.prices.add(market=market)
    payloads = [one.SerializeToString() for one in message.prices.prices]
    assert WatchFraming().values("p1-9", payloads) == message.SerializeToString()


@given(st.integers(0, 2**63))
def test_varints_are_protobufs(number: int) -> None:
    from google.protobuf.internal.encoder import _VarintBytes  # type: ignore[attr-defined]

    assert varint(number) == _VarintBytes(number)
