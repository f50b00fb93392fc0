"""Hyperliquid's WebSocket and HTTP door over one market.

The cadences are those measured on the venue: whole books every 5.36 s (20 levels, one clock per socket) or every
0.54 s (5 levels), the touch and trades per block, contexts about once a second, all mids every 5.05 s, all contexts
of all dexs every 13.6 s. `bbo` has no first frame: it speaks only when the touch changes.
"""

from __future__ import annotations

from collections import defaultdict

import msgspec
from aiohttp import web

from services.simulator.acks import Spoil
from services.simulator.config import Config
from services.simulator.connection import Connection, Rim
from services.simulator.dialects.hyperliquid import printing
from services.simulator.dialects.hyperliquid.frames import frame as _frame
from services.simulator.dialects.hyperliquid.frames import number as _number
from services.simulator.dialects.hyperliquid.frames import packed as _packed
from services.simulator.dialects.hyperliquid.http import Http
from services.simulator.dialects.hyperliquid.info import Info, ServerNullError, UnprocessableError
from services.simulator.dialects.hyperliquid.private import HyperliquidPrivate
from services.simulator.dialects.hyperliquid.subscriptions import (
    USER_KINDS,
    FatalError,
    Subscription,
    UnparsableError,
    normal,
)
from services.simulator.faults import Frame
from services.simulator.limits import Window
from services.simulator.market import Batch, Block, Event, Market
from services.simulator.replay import Recording, Replays
from services.simulator.rules import plain
from services.simulator.sockets import Sockets

BOOK_CLOCK_S = 5.36
FAST_CLOCK_S = 0.54
MIDS_CLOCK_S = 5.05
CONTEXT_CLOCK_S = 1.008
ALL_CONTEXTS_CLOCK_S = 13.6
CANDLE_CLOCK_S = 0.5
KILL_DELAY_S = 0.1
BACKFILL_TRADES = 30
POSTS_MAX = 100


class Client:
    """What the venue knows of one socket."""

    __slots__ = ("book_due", "connection", "fast_due", "kill_due", "subscriptions")

    def __init__(self, connection: Connection, now: float) -> None:
        self.connection = connection
        self.subscriptions: dict[str, Subscription] = {}
        self.book_due = now + BOOK_CLOCK_S
        self.fast_due = now + FAST_CLOCK_S
        self.kill_due: float | None = None


class HyperliquidFace:
    """Speaks Hyperliquid: hears clients, prints the market's events, keeps the clocks."""

    venue = "hyperliquid"

    def __init__(self, market: Market, rim: Rim, config: Config) -> None:
        """Take the market to print and the limits to hold clients to."""
        self.rim = rim
        self.private = HyperliquidPrivate(market, rim, config)
        self.info = Info(market, self.private.info)
        self.sockets = Sockets(
            rim,
            self,
            per_address_max=config.hyperliquid_connections_max,
            per_minute_max=config.hyperliquid_new_connections_max,
            deflate=False,
        )
        self.replays: Replays | None = None
        self._market = market
        self._config = config
        self._clients: dict[int, Client] = {}
        self._topics: defaultdict[tuple[str, str], dict[int, Client]] = defaultdict(dict)
        self._http = Http(self.info, self.private, rim, config)
        self._messages = Window(config.hyperliquid_messages_max)
        self._cache: dict[tuple[object, ...], Frame] = {}
        self._due = {"mids": 0.0, "context": 0.0, "all": 0.0, "candle": 0.0}
        self._moving: set[str] = set()
        self._delayed: list[tuple[float, Connection, Frame]] = []
        self._fast_sent: dict[str, dict[str, object]] = {}

    def routes(self, app: web.Application) -> None:
        """Serve /info, /exchange and /ws."""
        self._http.routes(app)
        app.router.add_get("/ws", self.sockets.handle)

    def replay(self, recording: Recording | None) -> None:
        """Print a recording instead of the market, or the market again; connections begin anew."""
        self.replays = None if recording is None else Replays(recording, self.rim)
        self.info.replaying = recording is not None
        self.sockets.cut_all("the source changed")

    # -- conversation

    def opened(self, connection: Connection) -> None:
        """Remember a client; the venue sends no greeting."""
        self._clients[connection.number] = Client(connection, self.rim.clock.monotonic())

    def closed(self, connection: Connection) -> None:
        """Forget a client."""
        client = self._clients.pop(connection.number, None)
        if client is None:
            return
        for subscription in client.subscriptions.values():
            self._drop(client, subscription)
        if self.replays is not None:
            self.replays.forget(connection)

    def said(self, connection: Connection, text: str) -> None:
        """Answer one client frame."""
        client = self._clients.get(connection.number)
        if client is None:
            return
        if not self._messages.take(connection.remote, 1, self.rim.clock.monotonic()):
            connection.cut("more messages than the venue allows in a minute")
            return
        try:
            frame = msgspec.json.decode(text)
            method = frame["method"]
            if method == "ping":
                connection.send(Frame(b'{"channel":"pong"}', "pong", kind="pong"))
            elif method in ("subscribe", "unsubscribe"):
                self._subscribe(client, frame["subscription"], wanted=method == "subscribe")
            elif method == "post":
                self._post(client, frame)
            else:
                raise UnparsableError
        except FatalError:
            client.kill_due = self.rim.clock.monotonic() + KILL_DELAY_S
        except (UnparsableError, msgspec.DecodeError, KeyError, TypeError, RecursionError):
            self._error(client, f"Error parsing JSON into valid websocket request: {text}")

    def _error(self, client: Client, text: str) -> None:
        client.connection.send(_frame("error", text, kind="error"))

    def _known_coin(self, coin: str) -> bool:
        return self.info.instrument(coin) is not None

    def _subscribe(self, client: Client, raw: object, *, wanted: bool) -> None:
        subscription = normal(raw, self._known_coin, self.info.dex_names().__contains__)
        held = subscription.text in client.subscriptions
        if wanted == held:
            self._error(client, f"Already {'' if wanted else 'un'}subscribed: {subscription.text}")
            return
        if wanted and self._strangers(client, subscription):
            self._error(client, f"Cannot track more than {self._config.hyperliquid_users_max} total users.")
            return
        if wanted and self._held_by(client.connection.remote) >= self._config.hyperliquid_subscriptions_max > 0:
            self._error(
                client,
                f"Cannot subscribe to more than {self._config.hyperliquid_subscriptions_max} channels.",
            )
            return
        data = {"method": "subscribe" if wanted else "unsubscribe", "subscription": subscription.fields}
        client.connection.send(_frame("subscriptionResponse", data, kind="ack"))
        if wanted:
            client.subscriptions[subscription.text] = subscription
            if subscription.type in USER_KINDS:
                self.private.channels.add(client.connection, subscription)
                return
            self._topics[subscription.type, subscription.coin][client.connection.number] = client
            self._first(client, subscription)
        else:
            del client.subscriptions[subscription.text]
            self._drop(client, subscription)

    def _strangers(self, client: Client, subscription: Subscription) -> bool:
        """Say whether a subscription would be of one user more than an address may watch."""
        most = self._config.hyperliquid_users_max
        if not most or subscription.type not in USER_KINDS:
            return False
        users = self.private.channels.users_of(client.connection.remote)
        return int(subscription.user, 16) not in users and len(users) >= most

    def _held_by(self, address: str) -> int:
        return sum(len(c.subscriptions) for c in self._clients.values() if c.connection.remote == address)

    def _drop(self, client: Client, subscription: Subscription) -> None:
        if subscription.type in USER_KINDS:
            self.private.channels.remove(client.connection, subscription)
            return
        same = any(
            other.type == subscription.type and other.coin == subscription.coin
            for other in client.subscriptions.values()
            if other is not subscription
        )
        if not same:
            clients = self._topics[subscription.type, subscription.coin]
            clients.pop(client.connection.number, None)
            if not clients:
                del self._topics[subscription.type, subscription.coin]
        if self.replays is not None:
            self.replays.stop(client.connection, (subscription.type, subscription.coin))

    def _post(self, client: Client, frame: dict[str, object]) -> None:
        number, request = frame["id"], frame["request"]
        if not isinstance(number, int) or not isinstance(request, dict):
            raise UnparsableError
        kind, payload = request["type"], request["payload"]
        if kind == "action":
            self._act(client, number, payload)
            return
        if kind != "info" or not isinstance(payload, dict):
            raise UnparsableError
        try:
            data = {"type": payload.get("type"), "data": self.info.answer(payload)}
            response: dict[str, object] = {"type": "info", "payload": data}
        except UnprocessableError:
            response = {"type": "error", "payload": "422 UnprocessableError Entity"}
        except ServerNullError:
            response = {"type": "error", "payload": "500 Internal Server Error"}
        client.connection.send(_frame("post", {"id": number, "response": response}))

    def _act(self, client: Client, number: int, payload: object) -> None:
        """Carry out a posted action; the answer is what /exchange would say."""
        connection = client.connection
        try:
            signed = self.private.read(payload)
        except UnprocessableError:
            response: dict[str, object] = {"type": "error", "payload": "422 UnprocessableError Entity"}
            connection.send(_frame("post", {"id": number, "response": response}))
            return

        def done(status: int, answer: object, spoiled: Spoil) -> None:
            if spoiled.lost:
                connection.cut("fault: ack_lost")
                return
            body = {"type": "action", "payload": answer}
            if status != 200:
                body = {"type": "error", "payload": f"{status} {spoiled.text}".strip()}
            self._later(spoiled.delay_s, connection, _frame("post", {"id": number, "response": body}))

        self.private.submit(signed, "ws", done)

    def _later(self, delay_s: float, connection: Connection, frame: Frame) -> None:
        if delay_s:
            self._delayed.append((self.rim.clock.monotonic() + delay_s, connection, frame))
        else:
            connection.send(frame)

    def _first(self, client: Client, subscription: Subscription) -> None:
        """Send what a new subscription begins with."""
        connection, kind = client.connection, subscription.type
        if self.replays is not None:
            self.replays.start(connection, (kind, subscription.coin))
            return
        frame = self._current(subscription)
        if frame is not None:
            connection.send(frame)

    def _current(self, subscription: Subscription) -> Frame | None:
        """Print a subscription's present state; None for channels that only speak of changes."""
        kind, coin = subscription.type, subscription.coin
        instrument = self.info.instrument(coin) if coin else None
        if kind == "l2Book":
            return self._book(subscription)
        if kind == "trades" and instrument is not None:
            rows = [printing.trade(instrument, item) for item in list(instrument.trades)[-BACKFILL_TRADES:]]
            return _frame("trades", rows, coin, "snapshot") if rows else None
        if kind == "activeAssetCtx":
            return self._context(coin)
        if kind == "candle":
            return self._candle(coin, str(subscription.fields["interval"]))
        if kind == "allMids":
            return self._mids(subscription)
        if kind == "allDexsAssetCtxs":
            return self._all_contexts()
        if kind == "assetCtxs":
            dex = str(subscription.fields["dex"])
            return _frame("assetCtxs", {"dex": dex, "ctxs": self.info.contexts(dex)})
        if kind == "spotAssetCtxs":
            return _frame("spotAssetCtxs", self.info.spot_contexts())
        if kind == "fastAssetCtxs":
            return _packed(self._fast_contexts())
        return None

    # -- the market's events and the clocks

    def on_event(self, event: Event) -> None:
        """Print a block."""
        self.private.on_event(event)
        if not isinstance(event, Block) or isinstance(event, Batch) or self.replays is not None:
            return
        self._cache.clear()
        for instrument in event.touched:
            if clients := self._topics.get(("bbo", instrument.key)):
                frame = _frame("bbo", printing.bbo(instrument, event.time_ms), instrument.key)
                for client in list(clients.values()):
                    client.connection.send(frame)
        for instrument, trades in event.trades:
            self._moving.add(instrument.key)
            if clients := self._topics.get(("trades", instrument.key)):
                frame = _frame("trades", [printing.trade(instrument, item) for item in trades], instrument.key)
                for client in list(clients.values()):
                    client.connection.send(frame)

    def tick(self, now: float) -> None:
        """Do what the clocks ask for; `now` is in monotonic seconds."""
        self.private.tick(now)
        if self._delayed:
            due = [item for item in self._delayed if item[0] <= now]
            self._delayed = [item for item in self._delayed if item[0] > now]
            for _, connection, frame in due:
                connection.send(frame)
        idle = self._config.hyperliquid_idle_s
        for client in list(self._clients.values()):
            if client.kill_due is not None and now >= client.kill_due:
                client.connection.cut("a subscription that the venue does not survive")
            elif idle and now - client.connection.last_sent_at > idle:
                client.connection.cut("nothing was sent for a minute")
            elif self.replays is None:
                self._tick_books(client, now)
        if self.replays is not None:
            return
        if self._is_due("candle", now, CANDLE_CLOCK_S):
            self._send_candles()
        if self._is_due("context", now, CONTEXT_CLOCK_S):
            self._broadcast("activeAssetCtx", "assetCtxs", "spotAssetCtxs")
            self._send_fast_contexts()
        if self._is_due("mids", now, MIDS_CLOCK_S):
            self._broadcast("allMids")
        if self._is_due("all", now, ALL_CONTEXTS_CLOCK_S):
            self._broadcast("allDexsAssetCtxs")

    def _is_due(self, clock: str, now: float, every: float) -> bool:
        if now < self._due[clock]:
            return False
        self._due[clock] = now + every if now - self._due[clock] > every else self._due[clock] + every
        return True

    def _tick_books(self, client: Client, now: float) -> None:
        slow, fast = now >= client.book_due, now >= client.fast_due
        if not slow and not fast:
            return
        if slow:
            client.book_due = now + BOOK_CLOCK_S
        if fast:
            client.fast_due = now + FAST_CLOCK_S
        for subscription in client.subscriptions.values():
            if subscription.type == "l2Book" and (fast if subscription.fields["fast"] else slow):
                client.connection.send(self._book(subscription))

    def _broadcast(self, *kinds: str) -> None:
        """Send the present state of some channels to all who want it, printed once a block."""
        for client in list(self._clients.values()):
            for subscription in list(client.subscriptions.values()):
                if subscription.type not in kinds:
                    continue
                key = ("current", subscription.text)
                frame = self._cache.get(key) or self._current(subscription)
                if frame is not None:
                    self._cache[key] = frame
                    client.connection.send(frame)

    def _send_candles(self) -> None:
        moving, self._moving = self._moving, set()
        for coin in moving:
            for client in list(self._topics.get(("candle", coin), {}).values()):
                for subscription in client.subscriptions.values():
                    if subscription.type == "candle" and subscription.coin == coin:
                        frame = self._candle(coin, str(subscription.fields["interval"]))
                        if frame is not None:
                            client.connection.send(frame)

    def _send_fast_contexts(self) -> None:
        clients = self._topics.get(("fastAssetCtxs", ""))
        if not clients:
            return
        every = self._fast_contexts()
        before, self._fast_sent = self._fast_sent, every
        changed: dict[str, dict[str, object]] = {}
        for coin, row in every.items():
            old = before.get(coin, {})
            if new := {key: value for key, value in row.items() if old.get(key) != value}:
                changed[coin] = new
        if changed:
            frame = _packed(changed)
            for client in list(clients.values()):
                client.connection.send(frame)

    # -- printing, cached per block

    def _now_ms(self) -> int:
        return self._market.now_ns // 1_000_000

    def _book(self, subscription: Subscription) -> Frame:
        key = ("l2Book", subscription.text)
        found = self._cache.get(key)
        if found is None:
            instrument = self.info.instrument(subscription.coin)
            if instrument is None:
                raise KeyError(subscription.coin)
            fields, fast = subscription.fields, bool(subscription.fields["fast"])
            data = printing.book(
                instrument, self._now_ms(), figures=_number(fields["nSigFigs"]), mantissa=_number(fields["mantissa"]),
                depth=printing.FAST_LEVELS if fast else printing.BOOK_LEVELS,
            )  # fmt: skip
            found = self._cache[key] = _frame("l2Book", data, subscription.coin)
        return found

    def _context(self, coin: str) -> Frame | None:
        instrument = self.info.instrument(coin)
        if instrument is None:
            return None
        if printing.listing_of(instrument).spot_index is not None:
            return _frame("activeSpotAssetCtx", {"coin": coin, "ctx": printing.spot_context(instrument)}, coin)
        return _frame("activeAssetCtx", {"coin": coin, "ctx": printing.context(instrument)}, coin)

    def _candle(self, coin: str, interval: str) -> Frame | None:
        instrument = self.info.instrument(coin)
        bar = None if instrument is None else instrument.bars.current(interval, self._now_ms())
        if instrument is None or bar is None:
            return None
        return _frame("candle", printing.candle(instrument, interval, bar), coin)

    def _mids(self, subscription: Subscription) -> Frame:
        data: dict[str, object] = {"mids": self.info.mids(str(subscription.fields.get("dex") or ""))}
        if subscription.fields.get("dex"):
            data["dex"] = subscription.fields["dex"]
        return _frame("allMids", data)

    def _all_contexts(self) -> Frame:
        rows = [[dex, self.info.contexts(dex)] for dex in self.info.dex_names()]
        return _frame("allDexsAssetCtxs", {"ctxs": rows})

    def _fast_contexts(self) -> dict[str, dict[str, object]]:
        rows: dict[str, dict[str, object]] = {}
        for dex in self.info.dex_names():
            for item in self.info.perps(dex) + (self.info.spots() if dex == "" else []):
                rows[item.key] = {
                    "markPx": plain(item.mark, item.price_decimals),
                    "midPx": printing.half(item.mid(), item.price_decimals),
                }
        return rows
