"""The captured payloads of Hyperliquid, and universes to read them with.

The captures are not part of the tree: `PERPMESH_FIXTURES` names the folder that holds them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.venues.hyperliquid.wire import info
from services.venues.hyperliquid.wire.universe import Universe, build

SIZE_DECIMALS = {
    "BTC": 5, "ETH": 4, "SOL": 2, "kPEPE": 0, "MATIC": 1, "FXS": 1, "BANANA": 1, "MOODENG": 0, "SHIA": 0, "DYDX": 1,
}  # fmt: skip
"""From the captured testnet meta, and for SHIA and DYDX from the payloads' own texts and the meta of 2023."""
DEX_SIZE_DECIMALS = {"xyz:SP500": 3, "xyz:TSLA": 3}

needs_captures = pytest.mark.skipif(
    not os.environ.get("PERPMESH_FIXTURES"), reason="PERPMESH_FIXTURES does not name the folder of captured payloads"
)


def load(name: str) -> Any:
    """Return one captured file of Hyperliquid."""
    return json.loads((Path(os.environ["PERPMESH_FIXTURES"]) / "hyperliquid" / name).read_text())


def dump(value: Any) -> bytes:
    """Return `value` as the venue would send it."""
    return json.dumps(value, separators=(",", ":")).encode()


def cassette(name: str, kind: str) -> bytes:
    """Return the body of the answer to the question `kind` in one of the SDK's cassettes."""
    for interaction in load(f"sdk_cassettes/{name}.json")["interactions"]:
        if interaction["request"]["body"]["type"] == kind:
            return dump(interaction["response"]["body"])
    raise AssertionError(f"{name} holds no {kind}")


def markets(names: Iterable[tuple[str, int]], **more: Any) -> list[dict[str, Any]]:
    """Return universe entries as the venue writes them."""
    return [{"name": name, "szDecimals": decimals, "maxLeverage": 20, **more} for name, decimals in names]


def universe_of(first: list[dict[str, Any]], **dexes: list[dict[str, Any]]) -> Universe:
    """Return the universe of these entries; every dex is paid in USDC."""
    metas = [{"universe": entries, "marginTables": [], "collateralToken": 0} for entries in (first, *dexes.values())]
    names = [None, *({"name": name, "deployerFeeScale": "1.0"} for name in dexes)]
    return build(
        msgspec.convert(metas, list[info.RawMeta]),
        msgspec.convert(names, list[info.RawDex | None]),
        [info.RawToken("USDC", 0)],
    )


def small_universe() -> Universe:
    """Return a universe that knows every perpetual coin of the small captures."""
    return universe_of(markets(SIZE_DECIMALS.items()), xyz=markets(DEX_SIZE_DECIMALS.items()))
