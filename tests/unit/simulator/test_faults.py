"""Faults happen where and as often as their rule says, from one seed, and are counted."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from services.simulator.faults import KINDS, VARIANTS, Delivery, Faults, Frame, Line
from tests.unit.simulator.clients import Stage


def delta(number: int, market: str = "1") -> Frame:
    """A chained delta whose nonce is its number."""
    payload = b'{"bids":[{"price":"10.5","size":"2.25"}],"nonce":%d,"begin_nonce":%d}' % (number, number - 1)
    return Frame(payload, "order_book", market, "delta", number - 1)


def sent(faults: Faults, frames: list[Frame], line: Line | None = None, now: float = 0.0) -> list[Delivery]:
    line = line or Line(1)
    return [item for frame in frames for item in faults.deliver(frame, line, "lighter", now)]


def nonces(deliveries: list[Delivery]) -> list[int]:
    return [msgspec.json.decode(item.payload)["nonce"] for item in deliveries]


def test_without_rules_everything_goes_out_as_it_is() -> None:
    frames = [delta(n) for n in range(1, 5)]
    assert [item.payload for item in sent(Faults(1), frames)] == [frame.payload for frame in frames]


@pytest.mark.parametrize("kind", ["drop", "gap"])
def test_a_lost_delta_leaves_a_hole_in_the_chain(kind: str) -> None:
    faults = Faults(1)
    faults.add({"kind": kind, "count": 1}, 0.0)
    out = sent(faults, [delta(n) for n in range(1, 4)])
    assert nonces(out) == [2, 3]
    assert msgspec.json.decode(out[0].payload)["begin_nonce"] == 1
    assert faults.counts == {kind: 1}
    assert [(item.kind, item.channel, item.market) for item in faults.injected] == [(kind, "order_book", "1")]


def test_a_hidden_gap_keeps_the_chain_whole_although_deltas_are_lost() -> None:
    faults = Faults(1)
    faults.add({"kind": "hidden_gap", "count": 2}, 0.0)
    out = sent(faults, [delta(n) for n in range(1, 5)])
    assert nonces(out) == [3, 4]
    assert [msgspec.json.decode(item.payload)["begin_nonce"] for item in out] == [0, 3]


def test_a_gap_only_takes_deltas_of_a_chain() -> None:
    faults = Faults(1)
    faults.add({"kind": "gap"}, 0.0)
    snapshot = Frame(b'{"nonce":1}', "order_book", "1", "snapshot")
    assert len(sent(faults, [snapshot, Frame(b'{"nonce":2}', "trade", "1")])) == 2


def test_duplicates_follow_their_original() -> None:
    faults = Faults(1)
    faults.add({"kind": "duplicate", "count": 1, "params": {"times": 2}}, 0.0)
    assert nonces(sent(faults, [delta(1), delta(2)])) == [1, 1, 1, 2]


def test_reordered_frames_come_after_their_successor_on_the_same_channel() -> None:
    faults = Faults(1)
    faults.add({"kind": "reorder", "market": "1", "count": 1}, 0.0)
    assert nonces(sent(faults, [delta(1), delta(50, "2"), delta(2), delta(3)])) == [50, 2, 1, 3]


def test_latency_delays_and_jitters_within_its_bounds() -> None:
    faults = Faults(1)
    faults.add({"kind": "latency", "params": {"ms": 40, "jitter_ms": 20}}, 0.0)
    delays = [item.delay_s for item in sent(faults, [delta(n) for n in range(1, 50)])]
    assert all(0.040 <= delay <= 0.060 for delay in delays)
    assert len(set(delays)) > 30


def test_a_silent_line_still_answers_pings_and_a_mute_one_does_not() -> None:
    pong = Frame(b"{}", "pong", kind="pong")
    faults = Faults(1)
    faults.add({"kind": "silent", "venue": "lighter", "duration_s": 5}, 0.0)
    assert sent(faults, [delta(1), pong], now=1.0)[0].payload == b"{}"
    assert not faults.muted("lighter", 1.0)
    assert len(sent(faults, [delta(1), pong], now=5.0)) == 2
    faults.clear()
    faults.add({"kind": "mute", "venue": "lighter"}, 0.0)
    assert sent(faults, [delta(1), pong]) == []
    assert faults.muted("lighter", 0.0)
    assert not faults.muted("hyperliquid", 0.0)


def test_a_rule_for_one_market_or_channel_leaves_the_others_alone() -> None:
    faults = Faults(1)
    faults.add({"kind": "drop", "venue": "lighter", "channel": "order_book", "market": "2"}, 0.0)
    assert nonces(sent(faults, [delta(1), delta(2, "2"), delta(3)])) == [1, 3]
    assert len(faults.deliver(delta(2, "2"), Line(1), "hyperliquid", 0.0)) == 1


def test_chance_comes_from_the_seed_alone() -> None:
    def run(seed: int) -> list[int]:
        faults = Faults(seed)
        faults.add({"kind": "drop", "probability": 0.3}, 0.0)
        return nonces(sent(faults, [delta(n) for n in range(1, 400)]))

    assert run(5) == run(5)
    assert run(5) != run(6)
    assert 230 < len(run(5)) < 330


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "digit"])
def test_each_garbage_variant_really_spoils_the_frame(variant: str) -> None:
    faults = Faults(1)
    faults.add({"kind": "garbage", "count": 1, "params": {"variant": variant}}, 0.0)
    out = sent(faults, [delta(1)])
    assert out[0].payload != delta(1).payload
    assert out[0].binary == (variant == "binary")


def test_a_changed_digit_is_still_a_well_formed_frame_of_the_same_length() -> None:
    for seed in range(20):
        faults = Faults(seed)
        faults.add({"kind": "garbage", "params": {"variant": "digit"}}, 0.0)
        payload = sent(faults, [delta(1)])[0].payload
        assert payload != delta(1).payload
        assert len(payload) == len(delta(1).payload)
        msgspec.json.decode(payload)


@pytest.mark.parametrize(
    ("rule", "lesson"),
    [
        ({"kind": "fire"}, "kind: 'fire' is no fault"),
        ({"kind": "drop", "venue": "binance"}, "hyperliquid, lighter or"),
        ({"kind": "drop", "probability": 2}, "from 0 to 1"),
        ({"kind": "drop", "count": 0}, "from 1"),
        ({"kind": "drop", "duration_s": -1}, "above 0"),
        ({"kind": "drop", "marktet": "1"}, "marktet: no such field"),
        ({"kind": "garbage", "params": {"variant": "odd"}}, "params.variant"),
        ({"kind": "refuse", "count": 1}, "duration_s"),
    ],
)
def test_a_wrong_rule_is_refused_with_what_would_pass(rule: dict[str, Any], lesson: str) -> None:
    with pytest.raises(ValueError, match=lesson):
        Faults(1).add(rule, 0.0)


def test_rules_are_bounded_and_can_be_ended() -> None:
    faults = Faults(1)
    for _ in range(200):
        faults.add({"kind": "drop"}, 0.0)
    with pytest.raises(ValueError, match="200 rules"):
        faults.add({"kind": "drop"}, 0.0)
    assert faults.clear(7) == 1
    assert faults.clear() == 199


def test_a_crossing_bid_can_be_put_into_the_books_of_both_venues() -> None:
    stage = Stage()
    ear = stage.join("hyperliquid")
    book = stage.watch(ear, type="l2Book", coin="BTC")[1]
    faults = Faults(1)
    faults.add({"kind": "garbage", "params": {"variant": "crossed"}}, 0.0)
    raw = msgspec.json.encode(book)
    spoiled = msgspec.json.decode(faults.deliver(Frame(raw, "l2Book", "BTC"), Line(1), "hyperliquid", 0.0)[0].payload)
    bids, asks = spoiled["data"]["levels"]
    assert float(bids[0]["px"]) > float(asks[0]["px"])
    full = msgspec.json.encode(stage.follow(stage.join("lighter"), "order_book/1")[0])
    spoiled = msgspec.json.decode(faults.deliver(Frame(full, "order_book", "1"), Line(1), "lighter", 0.0)[0].payload)
    assert float(spoiled["order_book"]["bids"][0]["price"]) > float(spoiled["order_book"]["asks"][0]["price"])


def test_every_kind_is_known_by_name() -> None:
    for kind in KINDS:
        assert Faults(1).add({"kind": kind}, 0.0).kind == kind
