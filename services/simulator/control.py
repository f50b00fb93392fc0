"""The control listener: faults, sources, time, and what is true. Loopback only; no venue has anything like it.

GET    /control/state            addresses, seed, sources, connections, totals
GET    /control/faults           rules in force, counts, what was injected (`?limit=`)
POST   /control/faults           a rule {"kind", "venue"?, "channel"?, "market"?, "probability"?, "count"?,
                                 "duration_s"?, "params"?} or {"rules": [...]}
DELETE /control/faults[/{id}]    end one rule or all
POST   /control/source           {"kind": "synthetic", "venue"?} | {"kind": "recording", "venue", "path", "speed"?} |
                                 {"kind": "script", "path" or "steps"}
POST   /control/clock            {"frozen": true} | {"frozen": false} | {"step_ms": 250}
GET    /control/book             ?venue=&market= : the true book now, and its nonce and offset on Lighter
GET    /control/accounts ...     see `control_accounts`
GET    /control/exchange         the sums of both exchanges, which must be zero
GET    /control/ledger           frames sent: totals, and the newest (`?venue=&limit=`)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from aiohttp import web

from services.simulator import replay, script
from services.simulator.control_accounts import AccountControl
from services.simulator.faults import KINDS, VARIANTS, Rule
from services.simulator.instrument import Instrument
from services.simulator.rules import fixed, plain
from services.simulator.runtime import Face, Runtime, venue_named

LISTED_MAX = 5_000
STEP_MS_MAX = 3_600_000
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Control:
    """Answers the control calls of one runtime."""

    def __init__(self, runtime: Runtime) -> None:
        """Take what is to be controlled."""
        self._runtime = runtime

    def routes(self, app: web.Application) -> None:
        """Serve every control call; a wrong request is answered 400 with what would pass."""
        app.router.add_get("/control/state", self._state)
        app.router.add_get("/control/faults", _teach(self._faults))
        app.router.add_post("/control/faults", _teach(self._add_faults))
        app.router.add_delete("/control/faults", self._end_faults)
        app.router.add_delete("/control/faults/{id}", self._end_faults)
        app.router.add_post("/control/source", _teach(self._source))
        app.router.add_post("/control/clock", _teach(self._clock))
        app.router.add_get("/control/book", _teach(self._book))
        app.router.add_get("/control/ledger", _teach(self._ledger))
        accounts = AccountControl(self._runtime)
        app.router.add_post("/control/accounts", _teach(accounts.create))
        app.router.add_get("/control/accounts", _teach(accounts.show))
        app.router.add_get("/control/accounts/journal", _teach(accounts.journal))
        app.router.add_post("/control/accounts/money", _teach(accounts.move))
        app.router.add_post("/control/accounts/forget", _teach(accounts.forget))
        app.router.add_post("/control/accounts/deleverage", _teach(accounts.deleverage))
        app.router.add_post("/control/accounts/fund", _teach(accounts.fund))
        app.router.add_get("/control/exchange", _teach(accounts.exchange))

    async def _state(self, _request: web.Request) -> web.Response:
        runtime = self._runtime
        return _json(
            {
                "simulated": True,
                "notice": runtime.notice,
                "seed": runtime.config.seed,
                "time_ms": runtime.market.now_ns // 1_000_000,
                "frozen": runtime.frozen,
                "script_steps_left": len(runtime.script),
                "script_errors": runtime.script_errors,
                "blocks": runtime.market.blocks,
                "batches": runtime.market.batches,
                "venues": {venue: self._venue(face) for venue, face in runtime.faces.items()},
                "fault_kinds": sorted(KINDS),
                "garbage_variants": VARIANTS,
                "totals": _totals(runtime),
            }
        )

    def _venue(self, face: Face) -> dict[str, object]:
        listener = self._runtime.listeners[face.venue]
        replays = face.replays
        paper = self._runtime.paper
        source: dict[str, object] = {"kind": "synthetic"} if paper is None else paper.status(venue_named(face.venue))
        if replays is not None:
            recording = replays.recording
            source = {
                "kind": "recording", "path": recording.path, "speed": recording.speed or "max",
                "frames": recording.frames, "skipped": recording.skipped, "streams_finished": replays.finished,
                "streams": [f"{name}:{market}" if market else name for name, market in recording.streams],
            }  # fmt: skip
        return {
            "address": listener.address,
            "refusing": listener.shut,
            "source": source,
            "limits": {
                name: dataclasses.asdict(tally)
                for name, tally in self._runtime.ledger.limits.get(face.venue, {}).items()
            },
            "connections": len(face.sockets.connections),
            "markets": len(self._runtime.market.venues[venue_named(face.venue)]),
        }

    async def _faults(self, request: web.Request) -> web.Response:
        faults = self._runtime.faults
        limit = _limit(request, 1000)
        return _json(
            {
                "seed": faults.seed,
                "rules": [_rule(rule) for rule in faults.rules],
                "counts": faults.counts,
                "injected": [dataclasses.asdict(item) for item in list(faults.injected)[-limit:]],
            }
        )

    async def _add_faults(self, request: web.Request) -> web.Response:
        body = await _body(request)
        rules = body.get("rules", [body])
        if not isinstance(rules, list) or not all(isinstance(spec, Mapping) for spec in rules):
            raise ValueError("rules: a list of rules would pass")
        return _json({"rules": [_rule(self._runtime.fault(dict(spec))) for spec in rules]})

    async def _end_faults(self, request: web.Request) -> web.Response:
        text = request.match_info.get("id")
        return _json({"ended": self._runtime.faults.clear(int(text) if text and text.isdigit() else None)})

    async def _source(self, request: web.Request) -> web.Response:
        body = await _body(request)
        kind, venue = body.get("kind"), str(body.get("venue", "*"))
        if self._runtime.paper is not None:
            raise ValueError("this simulator follows live prices; one without PERPMESH_SIMULATOR_PAPER takes a source")
        if kind == "synthetic":
            self._runtime.use_synthetic(venue)
            return _json({"kind": kind})
        if kind == "script":
            steps = script.load(str(body["path"])) if "path" in body else script.parse_steps(body.get("steps"))
            self._runtime.use_script(steps)
            return _json({"kind": kind, "steps": len(steps)})
        if kind == "recording":
            if venue not in self._runtime.faces:
                raise ValueError(f"venue: {venue!r}; hyperliquid or lighter would pass")
            speed = body.get("speed", 1)
            recording = replay.load(
                str(body.get("path", "")), venue, speed if isinstance(speed, (int, float)) else str(speed)
            )
            self._runtime.use_recording(recording)
            return _json({"kind": kind, "frames": recording.frames, "skipped": recording.skipped})
        raise ValueError(f"kind: {kind!r}; synthetic, recording or script would pass")

    async def _clock(self, request: web.Request) -> web.Response:
        body = await _body(request)
        if "step_ms" in body:
            step = body["step_ms"]
            if not isinstance(step, int) or not 0 < step <= STEP_MS_MAX or not self._runtime.frozen:
                raise ValueError(f"step_ms: 1 to {STEP_MS_MAX} would pass, while frozen")
            self._runtime.step(step)
        elif isinstance(body.get("frozen"), bool):
            (self._runtime.freeze if body["frozen"] else self._runtime.thaw)()
        else:
            raise ValueError('{"frozen": true}, {"frozen": false} or {"step_ms": 250} would pass')
        return _json({"frozen": self._runtime.frozen, "time_ms": self._runtime.market.now_ns // 1_000_000})

    async def _book(self, request: web.Request) -> web.Response:
        venue, name = request.query.get("venue"), request.query.get("market")
        instrument = script.find(self._runtime.market, venue, name)
        bids, asks = instrument.book.bid_levels(), instrument.book.ask_levels()
        return _json(
            {
                "venue": venue,
                "market": instrument.key,
                "symbol": instrument.name,
                "time_ms": self._runtime.market.now_ns // 1_000_000,
                "nonce": instrument.nonce,
                "offset": instrument.offset,
                "bids": _rows(instrument, bids),
                "asks": _rows(instrument, asks),
            }
        )

    async def _ledger(self, request: web.Request) -> web.Response:
        limit, venue = _limit(request, 500), request.query.get("venue", "")
        entries = [item for item in self._runtime.ledger.entries if venue in ("", item.venue)][-limit:]
        return _json({"totals": _totals(self._runtime), "frames": [dataclasses.asdict(item) for item in entries]})


def _rows(instrument: Instrument, levels: list[tuple[int, int]]) -> list[tuple[str, str]]:
    show = plain if instrument.venue == "hyperliquid" else fixed
    prices, sizes = instrument.price_decimals, instrument.size_decimals
    return [(show(price, prices), show(size, sizes)) for price, size in levels]


def _rule(rule: Rule) -> dict[str, object]:
    return {
        "id": rule.id, "kind": rule.kind, "venue": rule.venue, "channel": rule.channel, "market": rule.market,
        "probability": rule.probability, "count_left": rule.count, "injected": rule.injected,
        "params": dict(rule.params),
    }  # fmt: skip


def _totals(runtime: Runtime) -> dict[str, object]:
    return {
        venue: {channel: {"frames": total[0], "bytes": total[1]} for channel, total in channels.items()}
        for venue, channels in runtime.ledger.totals.items()
    }


def _limit(request: web.Request, default: int) -> int:
    text = request.query.get("limit", str(default))
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= LISTED_MAX:
        raise ValueError(f"limit: {text!r}; 1 to {LISTED_MAX} would pass")
    return int(text)


async def _body(request: web.Request) -> Mapping[str, object]:
    try:
        body = msgspec.json.decode(await request.read())
    except msgspec.DecodeError as error:
        raise ValueError(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise ValueError("the body: a JSON object would pass")
    return body


def _teach(handler: Handler) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except ValueError as error:
            return _json({"error": str(error)}, status=400)

    return handle


def _json(body: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json")
