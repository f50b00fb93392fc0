"""Lighter's private channels of one account, read.

One channel for orders, one for trades, one for positions, one for transactions, one for margin: all of an account, over
every market. The trades' snapshot is empty, so what was missed comes by REST. Each subscription carries an auth token,
and all are asked for anew with a fresh one before it lapses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from services.chassis.clock import Clock
from services.venues.lighter.plan import key_of
from services.venues.lighter.tokens import Tokens
from services.venues.lighter.wire import account as wire
from services.venues.lighter.wire.account import Markets
from services.venues.lighter.wire.numbers import WireError
from services.venues.link import Link
from services.venues.subscriptions import Subscription
from services.venues.trading import AccountEvent, AccountRef, BalancesSeen, FillsSeen, OrdersSeen, PositionsSeen

PING: Final = '{"type":"ping"}'
PONG: Final = '{"type":"pong"}'
CHANNELS: Final = (
    "account_all_orders",
    "account_all_trades",
    "account_all_positions",
    "account_tx",
    "user_stats",
    "account_all_assets",
)
THROTTLE_S: Final = 5.0
_ALREADY: Final = 30003
_TOO_MUCH: Final = frozenset((30009, 30010))
_BAD_TOKEN: Final = frozenset((20001, 20013))
_FRAME: Final = msgspec.json.Decoder(dict[str, Any])


def subscriptions(account_index: int, token: str) -> tuple[Subscription, ...]:
    """Return what is subscribed for an account."""
    return tuple(
        Subscription(
            key=f"{channel}/{account_index}",
            subscribe=msgspec.json.encode(
                {"type": "subscribe", "channel": f"{channel}/{account_index}", "auth": token}
            ).decode(),
            unsubscribe=f'{{"type":"unsubscribe","channel":"{channel}/{account_index}"}}',
        )
        for channel in CHANNELS
    )


class PrivateDialect:
    """Reads the frames of one account's socket."""

    def __init__(
        self,
        account: AccountRef,
        tokens: Tokens,
        clock: Clock,
        markets: Callable[[], Markets],
        on_transaction: Callable[[wire.RawTx], None],
    ) -> None:
        self._account = account
        self._tokens = tokens
        self._clock = clock
        self._markets = markets
        self._on_transaction = on_transaction
        self.unknown_frames = 0
        self.margin: wire.RawStats | None = None
        """What `user_stats` said last."""

    async def subscriptions(self) -> tuple[tuple[Subscription, ...], int | None]:
        """Return what to subscribe, and when the token in it must be renewed."""
        token = await self._tokens.get(self._account)
        renew_s = await self._tokens.renew_in_s(self._account)
        wanted = subscriptions(self._account.index, token.text)
        return wanted, self._clock.monotonic_ns() + round(renew_s * 1e9)

    def heard(self, link: Link, data: bytes, receive_time_ns: int) -> Sequence[AccountEvent]:
        """Say what a frame means. Raises `WireError`."""
        try:
            frame = _FRAME.decode(data)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise WireError("$", str(error)[:200]) from None
        kind, channel = str(frame.get("type", "")), str(frame.get("channel", ""))
        if "error" in frame:
            return self._error(link, frame["error"])
        if kind == "connected":
            link.greeted()
        elif kind == "ping":
            link.reply(PONG)
        elif kind == "shutdown":
            link.recycle("the venue restarts")
        elif kind in ("pong", "unsubscribed"):
            pass
        elif channel:
            name, _, number = channel.partition(":")
            if name not in CHANNELS or number != str(self._account.index):
                self.unknown_frames += 1
                return ()
            if kind.startswith("subscribed/"):
                link.acked(key_of(channel))
            return self._of_account(name, frame, snapshot=kind.startswith("subscribed/"))
        return ()

    def _of_account(self, name: str, frame: dict[str, Any], *, snapshot: bool) -> Sequence[AccountEvent]:
        markets = self._markets()
        if name == "account_all_orders":
            rows = wire.convert(frame.get("orders") or {}, dict[str, list[wire.RawOrder]], channel=name)
            orders = tuple(wire.order_record(row, markets) for of in rows.values() for row in of)
            return (OrdersSeen(orders=orders),) if orders else ()
        if name == "account_all_trades":
            trades = wire.convert(frame.get("trades") or {}, dict[str, list[wire.RawTrade]], channel=name)
            fills = tuple(wire.fill(row, markets, self._account.index) for of in trades.values() for row in of)
            return (FillsSeen(fills=fills),) if fills else ()
        if name == "account_all_positions":
            held = wire.convert(frame.get("positions") or {}, dict[str, wire.RawPosition], channel=name)
            positions = tuple(wire.position(row, markets) for row in held.values())
            return (PositionsSeen(positions=positions, whole=snapshot),) if positions or snapshot else ()
        if name == "account_tx":
            for row in wire.convert(frame.get("txs") or [], list[wire.RawTx], channel=name):
                self._on_transaction(row)
            return ()
        if name == "user_stats":
            self.margin = wire.convert(frame.get("stats"), wire.RawStats, channel=name)
            return ()
        assets = wire.convert(frame.get("assets") or {}, dict[str, wire.RawAsset], channel=name)
        return (BalancesSeen(balances=tuple(wire.asset(row) for row in assets.values())),)

    def _error(self, link: Link, said: Any) -> Sequence[AccountEvent]:
        code = said.get("code") if isinstance(said, dict) else None
        words = str(said.get("message", "") if isinstance(said, dict) else said)[:200]
        named = next((key for key in self._keys() if key in words or key.replace("/", ":") in words), None)
        if code == _ALREADY and named is not None:
            link.renew(named, again=True)  # no snapshot follows, so nothing would prove that it is delivered
        elif code in _TOO_MUCH:
            link.throttle(THROTTLE_S)
        elif code in _BAD_TOKEN:
            self._tokens.forget(self._account)
            link.recycle(f"the venue refused the token: {words}")
        elif named is not None:
            link.refuse(named, words)
        return ()

    def _keys(self) -> list[str]:
        return [f"{channel}/{self._account.index}" for channel in CHANNELS]
