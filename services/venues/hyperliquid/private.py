"""Hyperliquid's private channels of one account, read.

`orderUpdates` and `user` (userEvents) do not name the account they are about, so one socket serves one account. Neither
repeats what was missed; `userFills` and `userFundings` do. The state channels repeat the whole every few seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from services.domain.feed import FeedState
from services.venues.hyperliquid.wire import account
from services.venues.hyperliquid.wire.universe import Universe
from services.venues.hyperliquid.wire.values import DECODE_ERRORS, WireError, undecodable
from services.venues.link import Link
from services.venues.subscriptions import Subscription
from services.venues.trading import (
    AccountEvent,
    BalancesSeen,
    FillsSeen,
    FundingSeen,
    OrdersSeen,
    StateSeen,
    StreamChanged,
)

PING: Final = '{"method":"ping"}'
CHANNELS: Final = ("orderUpdates", "userFills", "userEvents", "userFundings", "clearinghouseState", "spotState")
_SOCKET_CHANNEL: Final = {"user": "userEvents"}
_FRAME: Final = msgspec.json.Decoder(dict[str, Any])
_GREETING: Final = b"Websocket connection established."


def subscriptions(user: str, dexes: Sequence[str]) -> tuple[Subscription, ...]:
    """Return what is subscribed for `user`, an address in lower case."""
    found = [_subscription(kind, user, None) for kind in CHANNELS if kind != "clearinghouseState"]
    found += [_subscription("clearinghouseState", user, dex) for dex in dexes]
    return tuple(found)


def _subscription(kind: str, user: str, dex: str | None) -> Subscription:
    named = {"type": kind, "user": user} | ({} if not dex else {"dex": dex})
    text = msgspec.json.encode(named).decode()
    return Subscription(
        key=_key(kind, dex or ""),
        subscribe=f'{{"method":"subscribe","subscription":{text}}}',
        unsubscribe=f'{{"method":"unsubscribe","subscription":{text}}}',
    )


def _key(kind: str, dex: str) -> str:
    return f"{kind}:{dex}" if dex else kind


class PrivateDialect:
    """Reads the frames of one account's socket. `mode` is the account's, as the last reconciling found it."""

    def __init__(self, user: str, dexes: Sequence[str], universe: Universe) -> None:
        self.universe = universe
        self.mode = "default"
        self._user = user
        self._dexes = tuple(dexes)
        self.unknown_frames = 0

    async def subscriptions(self) -> tuple[tuple[Subscription, ...], int | None]:
        """Return what to subscribe; the frames never need to be made anew."""
        return subscriptions(self._user, self._dexes), None

    def heard(self, link: Link, data: bytes, receive_time_ns: int) -> Sequence[AccountEvent]:
        """Say what a frame means. Raises `WireError`."""
        if data == _GREETING:
            return ()
        try:
            frame = _FRAME.decode(data)
        except DECODE_ERRORS as error:
            undecodable(error)
        channel, body = frame.get("channel"), frame.get("data")
        if channel == "subscriptionResponse":
            self._acked(link, body)
            return ()
        if channel == "error":
            return self._error(link, str(body))
        if channel == "orderUpdates":
            rows = account.convert(body, list[account.RawUpdate])
            return (OrdersSeen(orders=tuple(account.update_record(row, self.universe) for row in rows)),)
        if isinstance(body, dict):
            return self._of_user(str(channel), body)
        self.unknown_frames += channel != "pong"
        return ()

    def _of_user(self, channel: str, body: dict[str, Any]) -> Sequence[AccountEvent]:
        if channel == "userFills":
            self._check_user(body)
            return (self._fills(body.get("fills")),)
        if channel == "user":
            return self._event(body)
        if channel == "userFundings":
            self._check_user(body)
            return (self._funding(body.get("fundings") or []),)
        if channel == "clearinghouseState":
            self._check_user(body)
            if body.get("dex", "") != "":
                return ()  # told by reconciling, which sums all dexes
            raw = account.convert(body.get("clearinghouseState"), account.RawState)
            if len(self._dexes) > 1:
                return ()
            return (StateSeen(state=account.account_state(raw, self.universe, mode=self.mode)),)
        if channel == "spotState":
            spot = account.convert(body.get("spotState"), account.RawSpot)
            return (BalancesSeen(balances=tuple(account.balance(item) for item in spot.balances)),)
        self.unknown_frames += 1
        return ()

    def _event(self, body: dict[str, Any]) -> Sequence[AccountEvent]:
        """A frame of `userEvents`: exactly one kind. Trades come over `userFills` as well, and are told once."""
        if "fills" in body:
            return (self._fills(body["fills"]),)
        if "funding" in body:
            return (self._funding([body["funding"]]),)
        if "liquidation" in body:
            return (StreamChanged(state=FeedState.LIVE, reason="the venue liquidated a position of the account"),)
        return ()  # nonUserCancel comes as an order's change, too; TWAPs of the venue's own are none of ours

    def _fills(self, rows: Any) -> FillsSeen:
        raw = account.convert(rows, list[account.RawFill])
        return FillsSeen(fills=tuple(account.fill(row, self.universe, user=self._user) for row in raw))

    def _funding(self, rows: Any) -> FundingSeen:
        payments = []
        for row in account.convert(rows, list[dict[str, Any]]):
            raw = account.convert(row, account.RawFundingDelta)
            payments.append(account.funding(raw, account.convert(row.get("time"), int), self.universe))
        return FundingSeen(payments=tuple(payments))

    def _check_user(self, body: dict[str, Any]) -> None:
        user = body.get("user")
        if user is not None and str(user).lower() != self._user:
            raise WireError("data.user", f"{user!r:.60}; the account of this socket is {self._user}")

    def _acked(self, link: Link, body: Any) -> None:
        if isinstance(body, dict) and body.get("method") == "subscribe":
            asked = body.get("subscription") or {}
            link.acked(_key(str(asked.get("type")), str(asked.get("dex") or "")))

    def _error(self, link: Link, text: str) -> Sequence[AccountEvent]:
        for kind in CHANNELS:
            if f'"{kind}"' in text:
                if text.startswith("Already subscribed"):
                    link.acked(kind)
                else:
                    link.refuse(kind, text[:200])
                return ()
        if "Cannot track more than" in text:
            link.recycle(text[:200])
        return ()
