"""How Lighter refuses: an application code with its own message, over HTTP 400 unless said otherwise."""

from __future__ import annotations

MESSAGES = {
    20001: "invalid param ", 20013: "invalid auth: invalid auth string", 21100: "account not found",
    21102: "invalid account index", 21103: "invalid account l1 address", 21104: "invalid nonce",
    21105: "batch transaction nonce is not increasing", 21106: "invalid ToAccount",
    21108: "invalid PublicKey,please run changePubKey", 21109: "api key not found", 21110: "invalid api key index",
    21111: "account is in pre-liquidation and the transaction doesn't increase the account health",
    21113: "invalid initial margin fraction", 21117: "withdrawal amount is too high",
    21119: "transfer amount is too high", 21120: "invalid signature",
    21121: "all transactions in the batch must have use same account and apikey",
    21122: "dead man's switch should be triggered", 21124: "invalid route type", 21129: "too many sub accounts",
    21132: "margin mode change on a market with position or open order is not allowed",
    21133: "invalid risk change", 21149: "integrator is not approved", 21301: "not enough collateral",
    21500: "transaction not found", 21501: "invalid tx info", 21504: "fail to l1 signature",
    21505: "unsupported tx type", 21513: "TxInfos and TxTypes should have the same length",
    21514: "maximum 50 transactions allowed per batch", 21515: "transaction is not allowed",
    21600: "given order is not an active limit order", 21602: "invalid market index", 21605: "invalid market status",
    21613: "invalid margin mode", 21614: "no position found", 21615: "invalid update margin direction",
    21621: "invalid perps market index", 21700: "invalid order index", 21701: "invalid base amount",
    21702: "invalid price", 21703: "invalid isAsk", 21704: "invalid OrderType", 21705: "invalid OrderTimeInForce",
    21706: "invalid order base or quote amount", 21711: "invalid expiry",
    21713: "invalid cancel all time in force", 21714: "invalid cancel all time",
    21715: "given order is not an active order", 21717: "maximum active limit order count reached",
    21718: "maximum active limit order count per market reached", 21719: "maximum pending order count reached",
    21720: "maximum pending order count per market reached", 21727: "invalid client order index",
    21728: "client order index already exists", 21729: "invalid order trigger price",
    21732: "reduce only increases position", 21733: "order price flagged as an accidental price",
    21734: "limit order price is too far from the mark price",
    21735: "SL/TP order price is too far from the trigger price", 21738: "invalid reduce only direction",
    21739: "not enough margin to create the order", 21740: "invalid reduce only mode",
    21741: "invalid grouping type", 21742: "invalid order group size", 21743: "invalid order info",
    21809: "asset not found", 23000: "Too Many Requests!", 29404: "not found", 29500: "internal server error",
    29501: "process timeout", 62002: "invalid tier", 62003: "account already part of requested tier",
    62004: "account has open positions", 62005: "account has open orders", 62006: "too frequent tier change request",
}  # fmt: skip


class RefusedError(Exception):
    """The venue answers with an application error."""

    def __init__(self, code: int, message: str = "", status: int = 400) -> None:
        super().__init__(message or MESSAGES[code])
        self.code = code
        self.message = message or MESSAGES[code]
        self.status = status

    def body(self) -> dict[str, object]:
        """Return the body of the answer."""
        return {"code": self.code, "message": self.message}
