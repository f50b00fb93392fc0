"""The room's settings, and what is said about wrong ones."""

from __future__ import annotations

import pytest

from services.chassis.config import ConfigError, load
from services.stream.config import Config

GOOD = {"PERPMESH_MARKET_DATA_ADDRESS": "127.0.0.1:7001"}


def test_the_address_of_market_data_is_all_that_is_needed() -> None:
    config = load(Config, GOOD, known=())
    assert (config.host, config.port) == ("127.0.0.1", 0)


def test_market_data_may_have_several_addresses_and_each_must_be_one() -> None:
    two = GOOD | {"PERPMESH_MARKET_DATA_ADDRESS": "127.0.0.1:7001,127.0.0.1:7002"}
    assert load(Config, two, known=()).market_data_address.count(",") == 1
    with pytest.raises(ConfigError, match="PERPMESH_MARKET_DATA_ADDRESS"):
        load(Config, GOOD | {"PERPMESH_MARKET_DATA_ADDRESS": "127.0.0.1:7001,market_data"}, known=())


def test_an_address_of_six_parts_keeps_its_host() -> None:
    config = load(Config, GOOD | {"PERPMESH_LISTEN": "[::1]:7000"}, known=())
    assert (config.host, config.port) == ("::1", 7000)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PERPMESH_LISTEN", "7000"),
        ("PERPMESH_LISTEN", "127.0.0.1:x"),
        ("PERPMESH_LISTEN", "127.0.0.1:70000"),
        ("PERPMESH_MARKET_DATA_ADDRESS", "market_data"),
        ("PERPMESH_MARKET_DATA_ADDRESS", "market_data:0"),
        ("PERPMESH_MARKET_DATA_ADDRESS", ""),
        ("PERPMESH_STREAM_TOPICS_MAX", "0"),
    ],
)
def test_a_wrong_setting_is_named(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=name):
        load(Config, GOOD | {name: text}, known=())
