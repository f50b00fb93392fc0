"""The room's settings, and what is said about wrong ones."""

from __future__ import annotations

import pytest

from services.chassis.config import ConfigError, load
from services.stream.config import Config

GOOD = {"PERPMESH_MARKET_DATA_ADDRESS": "127.0.0.1:7001"}


def test_the_address_of_market_data_is_all_that_is_needed() -> None:
    config = load(Config, GOOD, known=())
    assert (config.host, config.port) == ("127.0.0.1", 0)


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
