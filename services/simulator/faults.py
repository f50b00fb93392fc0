"""Everything that can go wrong on the way to a client, drawn from one seed and counted.

A `Rule` says what goes wrong, where (venue, channel, market; `*` for any) and how often: with a probability, at most
`count` times, for `duration_s`. What each kind does:

* `latency` (params ms, jitter_ms) delays frames, never past each other
* `drop` loses any frame; `gap` loses a book delta of a chain, which goes on behind it, so that the hole shows;
  `hidden_gap` loses deltas and mends the chain, so that only a comparison with a snapshot finds it
* `duplicate` (params times) repeats; `reorder` lets the next frame of the same channel and market pass first
* `garbage` (params variant, else drawn) spoils the text; the variants `digit` and `crossed` leave it well-formed
* `close` cuts lines without a close frame: at once, or with a probability given, at a frame
* `silent` sends nothing but pongs; `mute` not even pongs of either kind; with a channel named, only that channel stops
* `refuse` shuts the listener; `shutdown` (params close_in_ms) announces Lighter's restart and does it
* `ack_late` (params ms), `ack_lost`, `ack_error` (params status, text): an action (Hyperliquid) or a transaction
  (Lighter) is carried out, and then answered late, not at all with the line cut, or with an error;
  `market` names the action or the transaction's number, `channel` the path or `ws`
* `maintenance` (params mode): actions are not carried out; `down` answers 503, `post_only` refuses on Hyperliquid all
  but post-only orders
* `private` loses every frame of a user's own channels, whatever they are called; other frame faults take a channel's
  name to reach one of them
* `http_status` (params status), `http_html`, `http_garbage`, `http_delay` (params ms), `http_hang`, `http_reset` act on
  requests; their channel is the path, or `ws` for an upgrade

Frames pass through `Faults.deliver`, requests through `Faults.active`. The pure part is here; sockets are closed and
listeners shut by whoever asked.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from services.simulator.chance import seeded

RULES_MAX = 200
INJECTED_KEPT = 20_000

FRAME_KINDS = frozenset(
    {"latency", "drop", "duplicate", "gap", "hidden_gap", "reorder", "garbage", "close", "silent", "mute", "private"}
)
ACK_KINDS = frozenset({"ack_late", "ack_lost", "ack_error"})
DOWN_KINDS = frozenset({"maintenance"})
HTTP_KINDS = frozenset({"http_status", "http_html", "http_garbage", "http_delay", "http_hang", "http_reset"})
LISTENER_KINDS = frozenset({"refuse"})
NOTICE_KINDS = frozenset({"shutdown"})
KINDS = FRAME_KINDS | HTTP_KINDS | LISTENER_KINDS | NOTICE_KINDS | ACK_KINDS | DOWN_KINDS
VARIANTS = (
    "truncated", "wrong_type", "nan", "huge", "negative", "binary", "html", "null", "empty", "digit", "crossed",
)  # fmt: skip
HTML = b"<html><head><title>502 Bad Gateway</title></head><body><center>simulated</center></body></html>"

_NUMBER = re.compile(rb'(?<=:")-?[0-9]+(?:\.[0-9]+)?(?=")')
_BBO = re.compile(rb'("bbo":\[\{"px":")[^"]+')


@dataclass(frozen=True, slots=True)
class Frame:
    """One message to clients: its bytes, encoded once, and what it is.

    `kind` is snapshot, delta, data, ack, error, hello, pong, or ping for a ping of the WebSocket protocol. A delta of
    a chained book carries its `begin_nonce`; what only a user may see carries `private`.
    """

    payload: bytes
    channel: str
    market: str = ""
    kind: str = "data"
    begin_nonce: int | None = None
    private: bool = False


@dataclass(slots=True, kw_only=True)
class Rule:
    """One fault. `probability` is per frame or request; `until` is in seconds of the monotonic clock."""

    id: int
    kind: str
    venue: str = "*"
    channel: str = "*"
    market: str = "*"
    probability: float = 1.0
    count: int | None = None
    until: float | None = None
    params: Mapping[str, object] = field(default_factory=dict)
    injected: int = 0

    def matches(self, venue: str, channel: str, market: str) -> bool:
        """Say whether this rule is about such a frame or request."""
        return self.venue in ("*", venue) and self.channel in ("*", channel) and self.market in ("*", market)

    def number(self, name: str, default: float) -> float:
        """Return a numeric parameter."""
        value = self.params.get(name, default)
        return float(value) if isinstance(value, (int, float)) else default


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as it really goes out: after `delay_s`, as text or binary; `close` cuts the line instead."""

    payload: bytes
    delay_s: float = 0.0
    binary: bool = False
    close: bool = False
    fault: str = ""


@dataclass(slots=True)
class Line:
    """What faults remember about one connection: frames held back, and chains to patch after a hidden gap."""

    id: int
    held: dict[tuple[str, str], Frame] = field(default_factory=dict)
    patches: dict[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Injected:
    """A fault that happened: when (monotonic seconds), by which rule, to what."""

    at: float
    rule: int
    kind: str
    venue: str
    channel: str
    market: str
    line: int


class Faults:
    """The rules in force, their one source of chance and the list of what they did."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._rng = seeded(f"{seed}:faults")
        self._next = 1
        self.rules: list[Rule] = []
        self.injected: deque[Injected] = deque(maxlen=INJECTED_KEPT)
        self.counts: dict[str, int] = {}

    def add(self, spec: Mapping[str, object], now: float) -> Rule:
        """Put a rule in force. Raises ValueError that says which field is wrong and what would pass."""
        if len(self.rules) >= RULES_MAX:
            raise ValueError(f"faults: {RULES_MAX} rules are in force already; DELETE /control/faults first")
        rule = _rule(spec, self._next, now)
        self._next += 1
        self.rules.append(rule)
        return rule

    def clear(self, rule_id: int | None = None) -> int:
        """End one rule, or all; return how many ended. What was injected stays listed."""
        kept = [rule for rule in self.rules if rule_id is not None and rule.id != rule_id]
        ended = len(self.rules) - len(kept)
        self.rules = kept
        return ended

    def note(self, rule: Rule, venue: str, channel: str, market: str, line: int, now: float) -> None:
        """Count and list something injected."""
        rule.injected += 1
        if rule.count is not None:
            rule.count -= 1
        self.counts[rule.kind] = self.counts.get(rule.kind, 0) + 1
        self.injected.append(Injected(now, rule.id, rule.kind, venue, channel, market, line))

    def active(self, kinds: frozenset[str], venue: str, channel: str, market: str, now: float) -> Iterator[Rule]:
        """Yield the rules of some kinds that apply now, letting each draw its chance."""
        if not self.rules:
            return
        for rule in list(self.rules):
            if (rule.until is not None and now >= rule.until) or (rule.count is not None and rule.count <= 0):
                self.rules.remove(rule)
            elif rule.kind in kinds and rule.matches(venue, channel, market) and self._drawn(rule):
                yield rule

    def _drawn(self, rule: Rule) -> bool:
        return rule.probability >= 1.0 or self._rng.random() < rule.probability

    def muted(self, venue: str, now: float) -> bool:
        """Say whether protocol pings stay unanswered."""
        return any(
            rule.kind == "mute" and rule.matches(venue, "pong", "*") and (rule.until is None or now < rule.until)
            for rule in self.rules
        )

    def deliver(self, frame: Frame, line: Line, venue: str, now: float) -> list[Delivery]:
        """Return what really goes out for a frame, in order."""
        if frame.kind == "ping" or (not self.rules and not line.held and not line.patches):
            return [Delivery(frame.payload)]
        key = (frame.channel, frame.market)
        delay, copies, fault = 0.0, 1, ""
        payload, binary = frame.payload, False
        for rule in self.active(FRAME_KINDS, venue, frame.channel, frame.market, now):
            kind = rule.kind
            if (kind in ("gap", "hidden_gap") and frame.kind != "delta") or (
                kind == "reorder" and frame.kind == "snapshot"
            ):
                continue
            if kind == "private" and not frame.private:
                continue
            if kind == "silent" and frame.kind == "pong" and rule.channel == "*":
                continue
            self.note(rule, venue, frame.channel, frame.market, line.id, now)
            fault = kind
            if kind == "latency":
                delay += (rule.number("ms", 100.0) + self._rng.random() * rule.number("jitter_ms", 0.0)) / 1000
            elif kind == "duplicate":
                copies = 1 + max(1, int(rule.number("times", 1)))
            elif kind == "garbage":
                payload, binary = self._garble(frame, str(rule.params.get("variant") or ""))
            elif kind == "close":
                return [Delivery(b"", close=True, fault=kind)]
            elif kind == "reorder" and key not in line.held:
                line.held[key] = frame
                return []
            else:
                if kind == "hidden_gap" and frame.begin_nonce is not None:
                    line.patches.setdefault(key, frame.begin_nonce)
                return []
        if frame.begin_nonce is not None and key in line.patches:
            old = line.patches.pop(key)
            payload = payload.replace(b'"begin_nonce":%d' % frame.begin_nonce, b'"begin_nonce":%d' % old)
        out = [Delivery(payload, delay, binary, fault=fault)] * copies
        if key in line.held:
            out.append(Delivery(line.held.pop(key).payload, delay, fault="reorder"))
        return out

    def _garble(self, frame: Frame, variant: str) -> tuple[bytes, bool]:
        """Return a frame spoiled in a named way (or a drawn one), and whether it goes out as binary."""
        variant = variant or self._rng.choice(VARIANTS)
        payload = frame.payload
        if variant == "truncated":
            return payload[: max(1, len(payload) * self._rng.randrange(30, 95) // 100)], False
        if variant == "binary":
            return self._rng.randbytes(64), True
        fixed = {"html": HTML, "null": b"null", "empty": b""}
        if variant in fixed:
            return fixed[variant], False
        if variant == "crossed":
            return crossed(payload), False
        if variant == "digit":
            return self._change_digit(payload), False
        new = {"nan": b"NaN", "huge": b"9" * 400, "negative": b"-1", "wrong_type": b""}[variant]
        if variant == "wrong_type":
            return re.sub(rb':"-?[0-9]+(?:\.[0-9]+)?"', b':{"unexpected":[]}', payload, count=1), False
        return _NUMBER.sub(new, payload, count=1), False

    def _change_digit(self, payload: bytes) -> bytes:
        """Change one digit of one number, which no single message can reveal."""
        places = [m for m in _NUMBER.finditer(payload) if m.group().replace(b".", b"").strip(b"0")]
        if not places:
            return payload
        spot = self._rng.choice(places)
        digits = [i for i in range(spot.start(), spot.end()) if payload[i : i + 1].isdigit()]
        at = digits[-1]
        changed = b"%d" % ((int(payload[at : at + 1]) + self._rng.randrange(1, 9)) % 10)
        return payload[:at] + changed + payload[at + 1 :]


def crossed(payload: bytes) -> bytes:
    """Put a bid far above every ask into a book frame of either venue."""
    for mark, level in (
        (b'"bids":[', b'{"price":"99999999","size":"1"}'),
        (b'"levels":[[', b'{"px":"99999999.0","sz":"1.0","n":1}'),
    ):
        before, found, after = payload.partition(mark)
        if found:
            return before + found + level + (b"" if after.startswith(b"]") else b",") + after
    return _BBO.sub(rb"\g<1>99999999.0", payload, count=1)


def _rule(spec: Mapping[str, object], rule_id: int, now: float) -> Rule:
    """Check a rule as it came from outside."""
    kind = spec.get("kind")
    if kind not in KINDS:
        raise ValueError(f"kind: {kind!r} is no fault; one of {', '.join(sorted(KINDS))} would pass")
    known = {"kind", "venue", "channel", "market", "probability", "count", "duration_s", "params"}
    unknown = sorted(set(spec) - known)
    if unknown:
        raise ValueError(f"{unknown[0]}: no such field; {', '.join(sorted(known))} would pass")
    venue = str(spec.get("venue", "*"))
    if venue not in ("*", "hyperliquid", "lighter"):
        raise ValueError(f"venue: {venue!r}; hyperliquid, lighter or * would pass")
    probability = spec.get("probability", 1.0)
    if not isinstance(probability, (int, float)) or not 0.0 <= probability <= 1.0:
        raise ValueError(f"probability: {probability!r}; a number from 0 to 1 would pass")
    count, duration = spec.get("count"), spec.get("duration_s")
    if count is not None and (not isinstance(count, int) or count < 1):
        raise ValueError(f"count: {count!r}; a whole number from 1 would pass")
    if duration is not None and (not isinstance(duration, (int, float)) or duration <= 0):
        raise ValueError(f"duration_s: {duration!r}; seconds above 0 would pass")
    if kind in LISTENER_KINDS | NOTICE_KINDS and count is not None:
        raise ValueError(f"count: {kind} has none; duration_s, or ending the rule, would pass")
    params = spec.get("params") or {}
    if not isinstance(params, Mapping):
        raise ValueError(f"params: {params!r}; an object would pass")
    variant = params.get("variant")
    if variant is not None and variant not in VARIANTS:
        raise ValueError(f"params.variant: {variant!r}; one of {', '.join(VARIANTS)} would pass")
    return Rule(
        id=rule_id, kind=str(kind), venue=venue, channel=str(spec.get("channel", "*")),
        market=str(spec.get("market", "*")), probability=float(probability), count=count,
        until=None if duration is None else now + float(duration), params=dict(params),
    )  # fmt: skip
