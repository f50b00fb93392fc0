"""What an address that never traded is told, over HTTP and over the socket.

Accounts come with the matching core; until then every address is unknown, as most addresses are on the venue.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from services.simulator.dialects.hyperliquid.printing import Json

_ADDRESS = re.compile(r"(0x)?[0-9a-fA-F]{40}")
Body = Mapping[str, object]


def is_address(text: object) -> bool:
    """Say whether a text is an address; the 0x may be missing, 0X is refused."""
    return isinstance(text, str) and _ADDRESS.fullmatch(text) is not None


def _empty_margin() -> dict[str, Json]:
    return {"accountValue": "0.0", "totalNtlPos": "0.0", "totalRawUsd": "0.0", "totalMarginUsed": "0.0"}


def clearinghouse(time_ms: int) -> dict[str, Json]:
    """Print the state of an account without money or positions."""
    return {
        "marginSummary": _empty_margin(), "crossMarginSummary": _empty_margin(), "crossMaintenanceMarginUsed": "0.0",
        "withdrawable": "0.0", "assetPositions": [], "time": time_ms,
    }  # fmt: skip


def _nothing(_body: Body, _time: int) -> Json:
    return []


ANSWERS: dict[str, Callable[[Body, int], Json]] = {
    "clearinghouseState": lambda _body, time: clearinghouse(time),
    "spotClearinghouseState": lambda _body, _time: {"balances": []},
    "openOrders": _nothing,
    "frontendOpenOrders": _nothing,
    "userFills": _nothing,
    "userFillsByTime": _nothing,
    "userFunding": _nothing,
    "userNonFundingLedgerUpdates": _nothing,
    "historicalOrders": _nothing,
    "userTwapSliceFills": _nothing,
    "twapHistory": _nothing,
    "extraAgents": _nothing,
    "userVaultEquities": _nothing,
    "delegations": _nothing,
    "orderStatus": lambda _body, _time: {"status": "unknownOid"},
    "subAccounts": lambda _body, _time: None,
    "userRole": lambda _body, _time: {"role": "missing"},
    "userAbstraction": lambda _body, _time: "default",
    "userDexAbstraction": lambda _body, _time: None,
    "userRateLimit": lambda _body, _time: {
        "cumVlm": "0.0", "nRequestsUsed": 0, "nRequestsCap": 10000, "nRequestsSurplus": 0,
    },
}  # fmt: skip

SNAPSHOTS: dict[str, Callable[[str, int], Json]] = {
    "userFills": lambda user, _time: {"isSnapshot": True, "user": user, "fills": []},
    "userFundings": lambda user, _time: {"isSnapshot": True, "user": user, "fundings": []},
    "userNonFundingLedgerUpdates": lambda user, _time: {
        "isSnapshot": True, "user": user, "nonFundingLedgerUpdates": [],
    },
    "userHistoricalOrders": lambda user, _time: {"isSnapshot": True, "user": user, "orderHistory": []},
    "userTwapSliceFills": lambda user, _time: {"isSnapshot": True, "user": user, "twapSliceFills": []},
    "userTwapHistory": lambda user, _time: {"isSnapshot": True, "user": user, "history": []},
    "clearinghouseState": lambda user, time: {"dex": "", "user": user, "clearinghouseState": clearinghouse(time)},
    "openOrders": lambda user, _time: {"dex": "", "user": user, "orders": []},
    "spotState": lambda user, _time: {"user": user, "spotState": {"balances": []}},
    "allDexsClearinghouseState": lambda user, time: {"user": user, "clearinghouseStates": [["", clearinghouse(time)]]},
    "twapStates": lambda user, _time: {"dex": "", "user": user, "states": []},
}  # fmt: skip
"""First frames of the user channels that have one; userEvents, orderUpdates and notification have none."""

WITHOUT_SNAPSHOT = frozenset({"orderUpdates", "userEvents", "notification", "webData3"})
