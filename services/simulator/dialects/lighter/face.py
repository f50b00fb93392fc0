"""Lighter's WebSocket door over one market.

Requests name channels with `/`, replies with `:`. A book begins with its full depth and goes on with batches every
50 ms, each naming the nonce of the one before (`begin_nonce`); the nonce is one sequence for the whole venue.
"""

from __future__ import annotations

from collections import defaultdict

import msgspec
from aiohttp import web

from services.chassis.ids import new_id
from services.simulator.acks import spoil
from services.simulator.config import Config
from services.simulator.connection import Connection, Rim
from services.simulator.dialects.lighter import printing
from services.simulator.dialects.lighter.account_channels import CLOSED, OPEN, topic_of
from services.simulator.dialects.lighter.account_rest import AccountRest
from services.simulator.dialects.lighter.private import LighterPrivate
from services.simulator.dialects.lighter.refusals import RefusedError
from services.simulator.dialects.lighter.rest import RESOLUTIONS, Rest
from services.simulator.faults import Frame
from services.simulator.instrument import Instrument, Trade
from services.simulator.limits import Window
from services.simulator.market import Batch, Event, Figures, Market
from services.simulator.replay import Recording, Replays
from services.simulator.sockets import Sockets

STATS_CLOCK_S = 0.1
ALL_STATS_CLOCK_S = 0.5
CANDLE_CLOCK_S = 0.5
TRADES_REPLAYED = 50
Key = tuple[str, str]

_BY_MARKET = frozenset({"order_book", "ticker", "trade"})
_STATS = frozenset({"market_stats", "spot_market_stats"})

encode = msgspec.json.Encoder().encode


class Client:
    """What the venue knows of one socket."""

    __slots__ = ("connection", "heard_at", "keys", "ping_due")

    def __init__(self, connection: Connection, now: float, ping_s: float) -> None:
        self.connection = connection
        self.keys: set[Key] = set()
        self.heard_at = now
        self.ping_due = now + ping_s


class LighterFace:
    """Speaks Lighter: hears clients, prints the market's events, keeps the clocks."""

    venue = "lighter"

    def __init__(self, market: Market, rim: Rim, config: Config) -> None:
        """Take the market to print and the limits to hold clients to."""
        self.rim = rim
        self.private = LighterPrivate(market, rim, config)
        self.rest = Rest(market, AccountRest(self.private, rim), rim, config)
        self.sockets = Sockets(
            rim,
            self,
            per_address_max=config.lighter_connections_max,
            per_minute_max=config.lighter_new_connections_max,
            deflate=config.lighter_deflate,
        )
        self.replays: Replays | None = None
        self._market = market
        self._config = config
        self._clients: dict[int, Client] = {}
        self._topics: defaultdict[Key, dict[int, Client]] = defaultdict(dict)
        self._messages = Window(config.lighter_messages_max)
        self._due = {"stats": 0.0, "all": 0.0, "candle": 0.0}
        self._moved: set[str] = set()
        self._delayed: list[tuple[float, Connection, Frame]] = []
        self._stats_versions: dict[tuple[str, str], tuple[int, int, int]] = {}

    def routes(self, app: web.Application) -> None:
        """Serve REST and /stream."""
        self.rest.routes(app)
        app.router.add_get("/stream", self.sockets.handle)

    def replay(self, recording: Recording | None) -> None:
        """Print a recording instead of the market, or the market again; connections begin anew."""
        self.replays = None if recording is None else Replays(recording, self.rim)
        self.rest.replaying = recording is not None
        self.sockets.cut_all("the source changed")

    # -- conversation

    def opened(self, connection: Connection) -> None:
        """Greet a client with a session id."""
        now = self.rim.clock.monotonic()
        self._clients[connection.number] = Client(connection, now, self._config.lighter_ping_s or 1e9)
        hello = {"session_id": new_id(self.rim.clock), "type": "connected"}
        connection.send(Frame(encode(hello), "connected", kind="hello"))

    def closed(self, connection: Connection) -> None:
        """Forget a client."""
        client = self._clients.pop(connection.number, None)
        for key in client.keys if client is not None else ():
            self._drop(client, key)
        if self.replays is not None:
            self.replays.forget(connection)

    def said(self, connection: Connection, text: str) -> None:
        """Answer one client frame."""
        client = self._clients.get(connection.number)
        if client is None:
            return
        now = self.rim.clock.monotonic()
        client.heard_at = now
        try:
            sending = text.startswith('{"type":"jsonapi/') or '"jsonapi/sendtx' in text[:200]
            if not sending and not self._messages.take(connection.remote, 1, now):
                raise RefusedError(30009, "Too Many Websocket Messages!")
            self._obey(client, text)
        except RefusedError as refusal:
            connection.send(Frame(encode({"error": refusal.body()}), "error", kind="error"))

    def _obey(self, client: Client, text: str) -> None:
        try:
            frame = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            raise RefusedError(30000, "Invalid Json") from None
        kind = frame.get("type") if isinstance(frame, dict) else None
        if kind == "ping":
            client.connection.send(Frame(b'{"type":"pong"}', "pong", kind="pong"))
        elif kind == "subscribe":
            self._subscribe(client, self._key(frame))
        elif kind == "unsubscribe":
            self._unsubscribe(client, self._key(frame))
        elif kind in ("jsonapi/sendtx", "jsonapi/sendtxbatch"):
            self._send_transactions(client, kind, frame)
        elif kind != "pong":
            raise RefusedError(30001, "Invalid Type")

    def _send_transactions(self, client: Client, kind: str, frame: dict[str, object]) -> None:
        """Admit transactions; the answer carries the request's id and, on success, the body that REST gives."""
        data, one = frame.get("data"), kind == "jsonapi/sendtx"
        if not isinstance(data, dict):
            raise RefusedError(30007, "Invalid Data")
        try:
            if one:
                kinds, infos = [int(data["tx_type"])], [data["tx_info"]]
            else:
                kinds, infos = (
                    msgspec.json.decode(raw) if isinstance(raw := data[name], str) else raw
                    for name in ("tx_types", "tx_infos")
                )
            protected = data.get("price_protection") is not False
            body = self.private.send(list(kinds), list(infos), "ws", protected=protected)
        except (KeyError, ValueError, TypeError, msgspec.DecodeError):
            raise RefusedError(30007, "Invalid Data") from None
        spoiled = spoil(self.rim, "ws", str(kinds[0]))
        if spoiled.lost:
            client.connection.cut("fault: ack_lost")
            return
        if one and isinstance(body["tx_hash"], list):
            body["tx_hash"] = body["tx_hash"][0]
        named: dict[str, object] = {"id": data["id"]} if "id" in data else {}
        if spoiled.error is not None:
            body = {"error": {"code": 29500, "message": spoiled.text or "internal server error"}}
        reply = Frame(encode({"type": kind} | named | body), kind, kind="ack")
        self._delayed.append((self.rim.clock.monotonic() + spoiled.delay_s, client.connection, reply))
        self._send_delayed(self.rim.clock.monotonic())

    def _send_delayed(self, now: float) -> None:
        due = [item for item in self._delayed if item[0] <= now]
        self._delayed = [item for item in self._delayed if item[0] > now]
        for _, connection, reply in due:
            connection.send(reply)

    def _key(self, frame: dict[str, object]) -> Key:
        """Return channel and market of a request. Raises RefusedError for what the venue does not have."""
        channel = frame.get("channel")
        if not isinstance(channel, str):
            raise RefusedError(30005, "Invalid Channel")
        name, _, rest = channel.partition("/")
        markets = self._market.venues["lighter"]
        if name in _BY_MARKET and rest in markets:
            return name, rest
        if name in _STATS and (
            rest == "all" or (rest in markets and printing.listing_of(markets[rest]).spot == (name[0] == "s"))
        ):
            return name, rest
        if name == "candle":
            market, _, resolution = rest.partition("/")
            if market in markets and resolution in RESOLUTIONS:
                return name, f"{market}:{resolution}"
        if name == "height" and rest == "":
            return name, rest
        if name in OPEN | CLOSED:
            return self._account_key(name, rest, frame)
        if name in _BY_MARKET | _STATS | {"candle"}:
            raise RefusedError(30005, "Invalid Channel:  (marketId)")
        raise RefusedError(30005, "Invalid Channel")

    def _account_key(self, name: str, rest: str, frame: dict[str, object]) -> Key:
        """Return the key of an account's channel, after its token was checked where one is needed."""
        topic, token = topic_of(name, rest), frame.get("auth")
        if topic is None:
            raise RefusedError(30005, "Invalid Channel:  (account)")
        if name in CLOSED and frame.get("type") == "subscribe":
            if not token:
                shown = f"{name}/{rest}".replace("/", ":")
                raise RefusedError(20001, f"invalid param : auth field is required: {shown}")
            self.private.holders.authorize(str(token), topic[2], self.private.now_s())
        return name, rest

    def _subscribe(self, client: Client, key: Key) -> None:
        name = _name(key)
        if key in client.keys:
            raise RefusedError(30003, f"Already Subscribed to : {name}")
        if len(client.keys) >= self._config.lighter_subscriptions_max > 0:
            raise RefusedError(23001, "Too Many Subscriptions!")
        client.keys.add(key)
        topic = topic_of(*key) if key[0] in OPEN | CLOSED else None
        if topic is not None:
            self.private.channels.add(client.connection, topic)
            return
        self._topics[key][client.connection.number] = client
        if self.replays is not None:
            if not self.replays.start(client.connection, key) and key[0] == "order_book":
                client.connection.send(self._empty_book(key))
            return
        client.connection.send(self._first(key))

    def _unsubscribe(self, client: Client, key: Key) -> None:
        name = _name(key)
        if key not in client.keys:
            raise RefusedError(30002, f"Not Subscribed to : {name}")
        client.keys.discard(key)
        self._drop(client, key)
        if self.replays is not None:
            self.replays.stop(client.connection, key)
        body = f'{{"type": "unsubscribed", "channel": "{name}"}}'
        client.connection.send(Frame(body.encode(), "unsubscribed", kind="ack"))

    def _drop(self, client: Client | None, key: Key) -> None:
        topic = topic_of(*key) if key[0] in OPEN | CLOSED else None
        if topic is not None and client is not None:
            self.private.channels.remove(client.connection, topic)
            return
        clients = self._topics.get(key, {})
        if client is not None:
            clients.pop(client.connection.number, None)
        if not clients:
            self._topics.pop(key, None)

    # -- first frames

    def _first(self, key: Key) -> Frame:
        """Print the frame that a subscription begins with."""
        name, rest = key
        now_ms = self._market.now_ns // 1_000_000
        if name == "height":
            return _frame(self._height(now_ms, "subscribed"), key, "snapshot")
        if name in _STATS and rest == "all":
            wanted = [item for item in self._all() if printing.listing_of(item).spot == (name[0] == "s")]
            return self._all_stats(key, wanted, now_ms, "subscribed")
        instrument = self._market.venues["lighter"][rest.partition(":")[0]]
        if name == "order_book":
            return _frame(printing.book_snapshot(instrument, now_ms), key, "snapshot")
        if name == "ticker":
            return _frame(printing.ticker(instrument, now_ms, "subscribed"), key, "snapshot")
        if name == "trade":
            rows = list(instrument.trades)[: -TRADES_REPLAYED - 1 : -1]
            return self._trades(instrument, rows, "subscribed")
        if name in _STATS:
            return self._stats(key, instrument, now_ms, "subscribed")
        return self._candle(key, now_ms, "subscribed")

    def _all(self) -> list[Instrument]:
        return list(self._market.venues["lighter"].values())

    def _empty_book(self, key: Key) -> Frame:
        body = {
            "asks": [],
            "begin_nonce": 0,
            "bids": [],
            "code": 0,
            "last_updated_at": 0,
            "nonce": 0,
            "offset": 1,
        }
        frame = {"channel": _name(key), "offset": 1, "order_book": body,
                 "timestamp": self._market.now_ns // 1_000_000, "type": "subscribed/order_book"}  # fmt: skip
        return _frame(frame, key, "snapshot")

    def _height(self, now_ms: int, kind: str) -> dict[str, object]:
        return {
            "channel": "height",
            "height": self._market.height,
            "timestamp": now_ms,
            "type": f"{kind}/height",
        }

    def _trades(self, instrument: Instrument, newest_first: list[Trade], kind: str) -> Frame:
        rows = [printing.trade(instrument, item, self._market.height) for item in newest_first]
        body = {
            "channel": f"trade:{instrument.key}", "liquidation_trades": [], "nonce": instrument.nonce, "trades": rows,
            "type": f"{kind}/trade",
        }  # fmt: skip
        return _frame(body, ("trade", instrument.key), "snapshot" if kind == "subscribed" else "data")

    def _stats(self, key: Key, instrument: Instrument, now_ms: int, kind: str) -> Frame:
        name = key[0]
        figures = printing.spot_stats(instrument) if name[0] == "s" else printing.market_stats(instrument)
        body = {"channel": _name(key), name: figures, "timestamp": now_ms, "type": f"{kind}/{name}"}
        return _frame(body, key, "snapshot" if kind == "subscribed" else "data")

    def _all_stats(self, key: Key, wanted: list[Instrument], now_ms: int, kind: str) -> Frame:
        name = key[0]
        show = printing.spot_stats if name[0] == "s" else printing.market_stats
        body = {"channel": _name(key), name: {item.key: show(item) for item in wanted}, "timestamp": now_ms,
                "type": f"{kind}/{name}"}  # fmt: skip
        return _frame(body, key, "snapshot" if kind == "subscribed" else "data")

    def _candle(self, key: Key, now_ms: int, kind: str) -> Frame:
        market, _, resolution = key[1].partition(":")
        instrument = self._market.venues["lighter"][market]
        bar = instrument.bars.current(resolution, now_ms)
        rows = [] if bar is None else [printing.candle(instrument, bar)]
        body = {"candles": rows, "channel": _name(key), "timestamp": now_ms, "type": f"{kind}/candle"}
        return _frame(body, key, "snapshot" if kind == "subscribed" else "data")

    # -- the market's events and the clocks

    def on_event(self, event: Event) -> None:
        """Print a batch."""
        self.private.on_event(event)
        if not isinstance(event, Batch) or isinstance(event, Figures) or self.replays is not None:
            return
        for delta in event.deltas:
            instrument = delta.instrument
            self._moved.add(instrument.key)
            if clients := self._topics.get(("order_book", instrument.key)):
                body = printing.book_update(
                    instrument, delta.bids, delta.asks, begin=delta.begin_nonce, nonce=delta.nonce,
                    offset=delta.offset, time_us=event.time_us,
                )  # fmt: skip
                _send(clients, _frame(body, ("order_book", instrument.key), "delta", delta.begin_nonce))
            if delta.touched and (clients := self._topics.get(("ticker", instrument.key))):
                body = printing.ticker(instrument, event.time_us // 1000, "update")
                _send(clients, _frame(body, ("ticker", instrument.key)))
        for instrument, trades in event.trades:
            if clients := self._topics.get(("trade", instrument.key)):
                _send(clients, self._trades(instrument, trades[::-1], "update"))
        if clients := self._topics.get(("height", "")):
            _send(clients, _frame(self._height(event.time_us // 1000, "update"), ("height", "")))

    def tick(self, now: float) -> None:
        """Do what the clocks ask for; `now` is in monotonic seconds."""
        self.private.tick(now)
        self._send_delayed(now)
        for client in list(self._clients.values()):
            if self._config.lighter_idle_s and now - client.heard_at > self._config.lighter_idle_s:
                client.connection.cut("the client said nothing for two minutes")
            elif self._config.lighter_ping_s and now >= client.ping_due:
                client.ping_due = now + self._config.lighter_ping_s
                client.connection.send(Frame(b'{"type":"ping"}', "ping"))
                client.connection.send(Frame(b"", "ping", kind="ping"))
        if self.replays is not None:
            return
        if self._is_due("stats", now, STATS_CLOCK_S):
            self._send_stats()
        if self._is_due("all", now, ALL_STATS_CLOCK_S):
            self._send_all_stats()
        if self._is_due("candle", now, CANDLE_CLOCK_S):
            moved, self._moved = self._moved, set()
            for key, clients in list(self._topics.items()):
                if clients and key[0] == "candle" and key[1].partition(":")[0] in moved:
                    _send(clients, self._candle(key, self._market.now_ns // 1_000_000, "update"))

    def _is_due(self, clock: str, now: float, every: float) -> bool:
        if now < self._due[clock]:
            return False
        self._due[clock] = now + every if now - self._due[clock] > every else self._due[clock] + every
        return True

    def _fresh(self, scope: str, instrument: Instrument) -> bool:
        """Say whether a market's figures changed since this scope last asked."""
        state = (instrument.version, instrument.mark, instrument.index)
        key = (scope, instrument.key)
        if self._stats_versions.get(key) == state:
            return False
        self._stats_versions[key] = state
        return True

    def _send_stats(self) -> None:
        now_ms = self._market.now_ns // 1_000_000
        for key, clients in list(self._topics.items()):
            if clients and key[0] in _STATS and key[1] != "all":
                instrument = self._market.venues["lighter"][key[1]]
                if self._fresh("one", instrument):
                    _send(clients, self._stats(key, instrument, now_ms, "update"))

    def _send_all_stats(self) -> None:
        now_ms = self._market.now_ns // 1_000_000
        for name in _STATS:
            if not (clients := self._topics.get((name, "all"))):
                continue
            spot = name[0] == "s"
            wanted = [
                item for item in self._all() if printing.listing_of(item).spot == spot and self._fresh(name, item)
            ]
            if wanted:
                _send(clients, self._all_stats((name, "all"), wanted, now_ms, "update"))


def _name(key: Key) -> str:
    return f"{key[0]}:{key[1]}" if key[1] else key[0]


def _frame(body: object, key: Key, kind: str = "data", begin_nonce: int | None = None) -> Frame:
    return Frame(encode(body), key[0], key[1], kind, begin_nonce)


def _send(clients: dict[int, Client], frame: Frame) -> None:
    for client in list(clients.values()):
        client.connection.send(frame)
