"""What a client may say, and what it is told when it says something else."""

from __future__ import annotations

import json

import pytest

from services.domain.errors import Reason
from services.stream.model.limits import Limits
from services.stream.model.request import BadFrameError, Meter, Ping, Subscribe, Unsubscribe, parse_request

LIMITS = Limits()


def refusal_of(text: str) -> BadFrameError:
    with pytest.raises(BadFrameError) as caught:
        parse_request(text, LIMITS)
    return caught.value


def test_a_subscription_is_read_whole() -> None:
    text = '{"id": "a1", "subscribe": {"topics": ["prices:BTC-PERP"], "min_interval": "0.5s", "depth": 100}}'
    assert parse_request(text, LIMITS) == Subscribe(id="a1", topics=("prices:BTC-PERP",), min_interval_s=0.5, depth=100)


def test_what_is_left_out_has_its_default() -> None:
    assert parse_request('{"subscribe": {"topics": ["x"], "depth": 0, "min_interval": null}}', LIMITS) == Subscribe(
        id="", topics=("x",), min_interval_s=None, depth=20
    )


def test_a_number_is_an_id_and_comes_back_as_text() -> None:
    assert parse_request('{"id": 7, "ping": {}}', LIMITS) == Ping(id="7")


def test_proto_json_spellings_pass() -> None:
    text = '{"subscribe": {"topics": ["x", "x"], "minInterval": "60s", "depth": "5"}, "ping": null}'
    assert parse_request(text, LIMITS) == Subscribe(id="", topics=("x",), min_interval_s=60.0, depth=5)


def test_an_unsubscription_is_read() -> None:
    assert parse_request('{"id": "z", "unsubscribe": {"topics": ["a", "b"]}}', LIMITS) == Unsubscribe(
        id="z", topics=("a", "b")
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        '"x"',
        "7",
        "NaN",
        '{"id": NaN, "ping": {}}',
        '{"ping": {}} {"ping": {}}',
        '{"ping": {}, "ping": {}}',
        "[" * 16_000,
        '{"id": ' + "9" * 10_000 + "}",
        '{"a":' * 3_000,
    ],
)
def test_what_is_no_json_object_is_unreadable_and_shown_what_passes(text: str) -> None:
    refusal = refusal_of(text)
    assert refusal.error.reason is Reason.REQUEST_UNREADABLE
    assert '{"subscribe"' in refusal.error.message


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "request"),
        ({"id": "a"}, "request"),
        ({"ping": {}, "subscribe": {"topics": ["x"]}}, "request"),
        ({"ping": 1}, "ping"),
        ({"ping": {"x": 1}}, "ping.x"),
        ({"subscribe": []}, "subscribe"),
        ({"subscribe": {}}, "subscribe.topics"),
        ({"subscribe": {"topics": []}}, "subscribe.topics"),
        ({"subscribe": {"topics": "prices:BTC-PERP"}}, "subscribe.topics"),
        ({"subscribe": {"topics": ["x"] * 101}}, "subscribe.topics"),
        ({"subscribe": {"topics": ["x", 5]}}, "subscribe.topics[1]"),
        ({"subscribe": {"topics": ["x" * 97]}}, "subscribe.topics[0]"),
        ({"subscribe": {"topics": ["a\u0000b"]}}, "subscribe.topics[0]"),
        ({"subscribe": {"topics": ["\ud800"]}}, "subscribe.topics[0]"),
        ({"subscribe": {"topics": ["x"], "min_interval": 5}}, "subscribe.min_interval"),
        ({"subscribe": {"topics": ["x"], "min_interval": "5"}}, "subscribe.min_interval"),
        ({"subscribe": {"topics": ["x"], "min_interval": "-1s"}}, "subscribe.min_interval"),
        ({"subscribe": {"topics": ["x"], "min_interval": "60.001s"}}, "subscribe.min_interval"),
        ({"subscribe": {"topics": ["x"], "min_interval": "1s", "minInterval": "1s"}}, "subscribe.min_interval"),
        ({"subscribe": {"topics": ["x"], "depth": 21}}, "subscribe.depth"),
        ({"subscribe": {"topics": ["x"], "depth": True}}, "subscribe.depth"),
        ({"subscribe": {"topics": ["x"], "depth": 5.5}}, "subscribe.depth"),
        ({"subscribe": {"topics": ["x"], "depth": "many"}}, "subscribe.depth"),
        ({"subscribe": {"topics": ["x"], "levels": 5}}, "subscribe.levels"),
        ({"unsubscribe": {"topics": ["x"], "depth": 5}}, "unsubscribe.depth"),
        ({"Subscribe": {"topics": ["x"]}}, "Subscribe"),
        ({"id": ["a"], "ping": {}}, "id"),
        ({"id": True, "ping": {}}, "id"),
        ({"id": 1.5, "ping": {}}, "id"),
        ({"id": "x" * 65, "ping": {}}, "id"),
        ({"id": "\ud800", "ping": {}}, "id"),
        ({"id": 10**20, "ping": {}}, "id"),
    ],
)
def test_a_wrong_field_is_named(body: dict[str, object], field: str) -> None:
    refusal = refusal_of(json.dumps(body))
    assert refusal.error.reason is Reason.FIELD_INVALID
    assert refusal.error.fields[0].field == field


def test_the_id_of_a_refused_frame_is_known_where_it_could_be_read() -> None:
    assert refusal_of('{"id": "mine", "subscribe": {}}').frame_id == "mine"
    assert refusal_of('{"id": ["mine"], "subscribe": {}}').frame_id == ""


def test_infinity_written_as_a_number_is_no_depth() -> None:
    refusal = refusal_of('{"subscribe": {"topics": ["x"], "depth": 1e999}}')
    assert refusal.error.fields[0].field == "subscribe.depth"


def test_the_meter_admits_as_many_frames_as_the_limit_in_any_minute() -> None:
    meter = Meter(Limits(frames_per_minute_max=3))
    assert [meter.admit(at) for at in (0.0, 10.0, 20.0, 30.0, 59.9)] == [True, True, True, False, False]
    assert meter.admit(60.0)
    assert not meter.admit(69.9)
    assert meter.admit(70.0)


def test_going_on_after_as_many_refusals_as_the_limit_is_abuse() -> None:
    meter = Meter(Limits(frames_per_minute_max=2))
    for _ in range(4):
        meter.admit(0.0)
    assert not meter.abused
    meter.admit(0.0)
    assert meter.abused
