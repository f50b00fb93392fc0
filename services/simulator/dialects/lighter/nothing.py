"""Paths of the official client behind which there is nothing here: each answers with the shape of nothing.

Pools, leases, points, referrals, bridges, requests for quotes, event markets and the explorer are not simulated.
"""

from __future__ import annotations

Json = object

READS: dict[str, dict[str, Json]] = {
    "leaderboard": {"entries": []}, "pnlLeaderboard": {"entries": []}, "leases": {"leases": []},
    "partnerStats": {"stats": []}, "referral/userReferrals": {"referrals": [], "cursor": ""},
    "referral/get": {"referral_code": "", "remaining_usage": 0}, "referral/stats": {"stats": []},
    "rfq/get": {"rfq": None}, "rfq/list": {"rfqs": [], "next_cursor": ""}, "livePoints/total": {"total_points": 0.0},
    "block": {"blocks": []}, "blocks": {"total": 0, "blocks": []}, "blockTxs": {"txs": []}, "txs": {"txs": []},
    "deposit/latest": {"source": "", "status": "none"}, "deposit/networks": {"networks": []},
    "fastbridge/info": {"fast_bridge_limit": "0"}, "fastwithdraw/info": {"to_account_index": 0, "withdraw_limit": "0"},
    "layer1BasicInfo": {
        "l1_providers": [], "l1_providers_health": True, "validator_info": [], "contract_addresses": [],
        "latest_l1_generic_block": 0, "latest_l1_governance_block": 0, "latest_l1_desert_block": 0,
    },
    "priceOracleInfo": {"prices": []}, "syntheticSpotInfo": {"info": None}, "tokenlist": {"tokens": []},
    "exchangeMetrics": {"metrics": []}, "executeStats": {"stats": []}, "export": {"data_url": ""},
    "export/historicalTrades": {"data_url": ""}, "portfolio/boPnl": {"pnl": [], "next_cursor": ""},
    "upDownCandles": {"candles": []}, "markPriceCandles": {"r": "1m", "c": []}, "marketPriceCharts": {"charts": []},
    "events": {"events": [], "next_cursor": ""},
}  # fmt: skip
WRITES = (
    "referral/create", "referral/update", "referral/use", "referral/kickback/update", "rfq/create", "rfq/respond",
    "rfq/update", "litLease", "fastwithdraw", "createIntentAddress", "setAccountMetadata",
)  # fmt: skip
"""Paths that would change something: refused with 21515, transaction is not allowed."""
