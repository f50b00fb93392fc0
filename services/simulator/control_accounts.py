"""Control calls about accounts: make and fund them, and read the witness. Only on the control listener.

POST   /control/accounts             {"venue", "address", "usdc"?: "1000", "pool"?, "volume"?, "tier"?} and on Lighter
                                     also {"api_keys"?: {"5": "<80 hex>"}, "index"?}: make the account if it is new,
                                     add money; `volume` is a trading history in dollars, `tier` decides fees and delays
GET    /control/accounts             ?venue= : every account, its money, positions and orders
POST   /control/accounts/money       {"venue", "account", "usdc", "to"?, "pools"?: ["", "spot"], "fee"?}: withdraw, or
                                     with `to` move to an account or, with `pools`, a wallet, as the owner would;
                                     "force": true withdraws what the margin needs, too
POST   /control/accounts/forget      {"venue", "account"}: forget the trades so far, as venues do the oldest
POST   /control/accounts/deleverage  {"venue", "market": "BTC", "size": "-0.5"}: close a bankrupt stranger's position of
                                     that signed size against the users of the other side
POST   /control/accounts/fund        {"venue", "open": false}: whether positions below the last margin are taken over;
                                     if not, they are deleveraged
GET    /control/accounts/journal     ?venue=&account=&kinds=&after=&limit= : received, answered, accepted, filled
GET    /control/exchange             both venues: the sums that must be zero, counts, how signatures are sampled
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import msgspec
from aiohttp import web

from services.simulator import script
from services.simulator.exchange.core import Exchange
from services.simulator.journal import Journal
from services.simulator.rules import parse, plain
from services.simulator.runtime import Runtime
from services.simulator.street import now_us

JOURNAL_MAX = 10_000
AMOUNT_MAX = 10**12


class AccountControl:
    """Answers the control calls about accounts."""

    def __init__(self, runtime: Runtime) -> None:
        """Take what is to be controlled."""
        self._runtime = runtime

    def _exchanges(self) -> dict[str, tuple[Exchange, Journal]]:
        mine, other = self._runtime.hyperliquid.private, self._runtime.lighter.private
        return {"hyperliquid": (mine.exchange, mine.journal), "lighter": (other.exchange, other.journal)}

    def _venue(self, name: object) -> tuple[str, Exchange, Journal]:
        found = self._exchanges().get(str(name))
        if found is None:
            raise ValueError(f"venue: {name!r}; hyperliquid or lighter would pass")
        return str(name), *found

    async def create(self, request: web.Request) -> web.Response:
        """Make or fund an account."""
        body = await _object(request)
        venue, _, _ = self._venue(body.get("venue"))
        amount, volume = _dollars(body, "usdc"), _dollars(body, "volume")
        address, tier = _address(body), str(body.get("tier") or "")
        if venue == "hyperliquid":
            pool = str(body.get("pool") or "")
            answer = self._runtime.hyperliquid.private.open_account(address, amount, pool, volume, tier)
        else:
            keys = body.get("api_keys") or {}
            if not isinstance(keys, Mapping):
                raise ValueError('api_keys: {"5": "<80 hexadecimal digits>"} would pass')
            index = body.get("index")
            if index is not None and not isinstance(index, int):
                raise ValueError(f"index: {index!r}; a whole number would pass")
            answer = self._runtime.lighter.private.open_account(
                address, amount, volume, tier, {int(slot): str(key) for slot, key in keys.items()}, index
            )
        return _json(answer)

    async def move(self, request: web.Request) -> web.Response:
        """Move money out of an account."""
        body = await _object(request)
        venue, exchange, _ = self._venue(body.get("venue"))
        source, amount, fee = _number(body, "account"), _dollars(body, "usdc"), _dollars(body, "fee")
        if exchange.account(source) is None:
            raise ValueError(f"account: {venue} has no {body.get('account')!r}")
        pools = body.get("pools") or ["", ""]
        if not (isinstance(pools, list) and len(pools) == 2 and all(isinstance(pool, str) for pool in pools)):
            raise ValueError(f'pools: {pools!r}; ["", "spot"] would pass')
        target = None if body.get("to") is None else _number(body, "to")
        if target is not None and exchange.account(target) is None:
            raise ValueError(f"to: {venue} has no {body.get('to')!r}")
        private = self._runtime.lighter.private if venue == "lighter" else self._runtime.hyperliquid.private
        if body.get("force") is True:
            private.take_money(source, amount, pools[0])
        elif not private.move_money(source, target, amount, (pools[0], pools[1]), fee):
            raise ValueError(f"usdc: {body.get('usdc')!r} is more than the account can spare")
        return _json({"venue": venue, "moved": plain(amount, 6)})

    async def forget(self, request: web.Request) -> web.Response:
        """Forget an account's trades."""
        body = await _object(request)
        venue, _, _ = self._venue(body.get("venue"))
        private = self._runtime.lighter.private if venue == "lighter" else self._runtime.hyperliquid.private
        return _json({"venue": venue, "forgotten": private.records.forget_trades(_number(body, "account"))})

    async def deleverage(self, request: web.Request) -> web.Response:
        """Close a bankrupt stranger's position against users."""
        body = await _object(request)
        venue, exchange, _ = self._venue(body.get("venue"))
        private = self._runtime.lighter.private if venue == "lighter" else self._runtime.hyperliquid.private
        market = self._runtime.market
        key = script.find(market, venue, body.get("market")).key
        try:
            size = parse(str(body.get("size") or ""), exchange.state.terms(key).size_decimals)
        except ValueError as error:
            raise ValueError(f"size: {error}") from None
        if not size:
            raise ValueError(f"size: {body.get('size')!r}; a signed size that is not zero would pass")
        met = exchange.deleverage(key, size, now_us(market))
        private.flush()
        return _json({"venue": venue, "deleveraged": [_shown(venue, number) for number in met]})

    async def fund(self, request: web.Request) -> web.Response:
        """Say whether positions are taken over."""
        body = await _object(request)
        venue, exchange, _ = self._venue(body.get("venue"))
        if not isinstance(body.get("open"), bool):
            raise ValueError(f"open: {body.get('open')!r}; true or false would pass")
        exchange.state.fund_open = bool(body["open"])
        return _json({"venue": venue, "open": exchange.state.fund_open})

    async def show(self, request: web.Request) -> web.Response:
        """Show every account of a venue."""
        venue, exchange, _ = self._venue(request.query.get("venue"))
        rows = [
            {
                "account": _shown(venue, account.number),
                "cash": dict(account.cash),
                "positions": {
                    market: {"size": held.size, "entry": held.entry, "raw": held.raw}
                    for market, held in account.positions.items() if held.size
                },
                "orders": len(account.orders), "lifetime_volume": account.lifetime, "tier": account.tier,
            }
            for account in exchange.state.accounts.values()
        ]  # fmt: skip
        return _json({"venue": venue, "accounts": rows})

    async def journal(self, request: web.Request) -> web.Response:
        """Show the witness."""
        _, _, journal = self._venue(request.query.get("venue"))
        text = request.query.get("account")
        account = None if not text else int(text, 16) if text.startswith("0x") else int(text)
        after, limit = int(request.query.get("after", "0")), int(request.query.get("limit", "1000"))
        if not 0 < limit <= JOURNAL_MAX:
            raise ValueError(f"limit: {limit}; 1 to {JOURNAL_MAX} would pass")
        kinds = frozenset(request.query.get("kinds", "").split(",")) - {""}
        entries = journal.read(account=account, after=after, limit=limit, kinds=kinds)
        return _json({
            "dropped": journal.dropped, "counts": journal.counts, "last": journal.last,
            "entries": [dataclasses.asdict(entry) for entry in entries],
        })  # fmt: skip

    async def exchange(self, _request: web.Request) -> web.Response:
        """Show the sums of both venues."""
        body: dict[str, object] = {}
        for venue, (exchange, journal) in self._exchanges().items():
            body[venue] = {
                "audit": exchange.audit(), "accounts": len(exchange.state.accounts), "journal": journal.counts,
            }  # fmt: skip
        body["lighter_signatures"] = self._runtime.lighter.private.sampling()
        return _json(body)


async def _object(request: web.Request) -> dict[str, object]:
    try:
        body = msgspec.json.decode(await request.read())
    except msgspec.DecodeError as error:
        raise ValueError(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise ValueError("the body: a JSON object would pass")
    return body


def _shown(venue: str, account: int) -> str:
    return str(account) if venue == "lighter" else f"0x{account:040x}"


def _dollars(body: Mapping[str, object], name: str) -> int:
    value = body.get(name)
    if value is None:
        return 0
    try:
        amount = parse(str(value), 6)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if not 0 <= amount <= AMOUNT_MAX * 1_000_000:
        raise ValueError(f"{name}: {value!r}; dollars from 0 to {AMOUNT_MAX} would pass")
    return amount


def _number(body: Mapping[str, object], name: str) -> int:
    text = str(body.get(name) or "")
    try:
        return int(text, 16) if text.startswith("0x") else int(text)
    except ValueError:
        raise ValueError(f"{name}: {text!r}; an address or an index would pass") from None


def _address(body: Mapping[str, object]) -> int:
    text = str(body.get("address") or "")
    digits = text.removeprefix("0x")
    if len(digits) != 40 or not all(digit in "0123456789abcdefABCDEF" for digit in digits):
        raise ValueError(f"address: {text!r}; 0x and 40 hexadecimal digits would pass")
    return int(digits, 16)


def _json(body: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), content_type="application/json")
