"""The check of the venues' shapes knows the simulator's, and names what drifts."""

from __future__ import annotations

import json

from tests.support.simulator import running_simulator
from tools import venue_check


def known() -> dict[str, venue_check.Shape]:
    return {
        name: {path: set(kinds) for path, kinds in shape.items()}
        for name, shape in json.loads(venue_check.KNOWN.read_text()).items()
    }


async def test_every_payload_of_the_simulated_venues_is_as_known() -> None:
    async with running_simulator(seed=5) as simulator:
        found, failures = await venue_check.gather(
            {"hyperliquid": simulator.hyperliquid_http, "lighter": simulator.lighter_http}
        )
    assert failures == []
    assert found.keys() == known().keys()
    drifts = {name: venue_check.compare(name, shape, known()[name]) for name, shape in found.items()}
    assert {name: drift for name, drift in drifts.items() if drift.gone or drift.changed} == {}


async def test_an_unreachable_venue_is_said_and_no_drift_is_made_up() -> None:
    found, failures = await venue_check.gather({"hyperliquid": "http://127.0.0.1:9", "lighter": "http://127.0.0.1:9"})
    assert found == {}
    assert len(failures) == 2


def test_new_gone_and_changed_paths_are_told_apart() -> None:
    before = venue_check.shape_of({"a": "1", "b": [{"c": 1}], "d": None})
    after = venue_check.shape_of({"a": 1, "b": [{"e": 1}], "d": {"0": 2}})
    drift = venue_check.compare("x", after, before)
    assert drift.new == ["$.b[].e", "$.d.*"]
    assert drift.gone == ["$.b[].c"]
    assert drift.changed == ["$.a: integer instead of text", "$.d: object instead of null"]
